// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @title The 158 bytes that cross a bridge; docs/wire.md section 2. Outbox, ports and inbox read them with this one parser.
library Message {
    uint256 internal constant LENGTH = 158;
    uint8 internal constant VERSION = 1;
    uint8 internal constant KIND_BATCH = 1;
    uint256 internal constant MAX_COUNT = 1024;

    struct Header {
        uint64 sourceChain;
        uint64 targetChain;
        bytes32 outbox;
        bytes32 inbox;
        uint64 sequence;
        bytes32 root;
        uint32 count;
        address feeRecipient;
    }

    /// @notice Reads a settlement batch. `valid` is false for another length, version or kind, a count out of bounds, a zero chain and a fee
    /// recipient that is not an address; the caller knows which error that is for it.
    function parse(bytes calldata raw) internal pure returns (bool valid, Header memory header) {
        if (raw.length != LENGTH) return (false, header);
        header.sourceChain = uint64(bytes8(raw[2:10]));
        header.targetChain = uint64(bytes8(raw[10:18]));
        header.outbox = bytes32(raw[18:50]);
        header.inbox = bytes32(raw[50:82]);
        header.sequence = uint64(bytes8(raw[82:90]));
        header.root = bytes32(raw[90:122]);
        header.count = uint32(bytes4(raw[122:126]));
        uint256 recipient = uint256(bytes32(raw[126:158]));
        header.feeRecipient = address(uint160(recipient));
        valid = uint8(raw[0]) == VERSION && uint8(raw[1]) == KIND_BATCH && header.count != 0 && header.count <= MAX_COUNT
            && header.sourceChain != 0 && header.targetChain != 0 && recipient >> 160 == 0;
    }
}
