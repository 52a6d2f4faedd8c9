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
    /// @dev Five words instead of eight slices with a bounds check each: a bridge pays for this in every delivery. The length is checked first, so no
    /// load leaves `raw`.
    function parse(bytes calldata raw) internal pure returns (bool valid, Header memory header) {
        if (raw.length != LENGTH) return (false, header);
        uint256 head;
        bytes32 outbox;
        bytes32 inbox;
        uint256 sequence;
        bytes32 root;
        uint256 count;
        uint256 recipient;
        assembly ("memory-safe") {
            head := calldataload(raw.offset)
            outbox := calldataload(add(raw.offset, 18))
            inbox := calldataload(add(raw.offset, 50))
            sequence := shr(192, calldataload(add(raw.offset, 82)))
            root := calldataload(add(raw.offset, 90))
            count := shr(224, calldataload(add(raw.offset, 122)))
            recipient := calldataload(add(raw.offset, 126))
        }
        header.sourceChain = uint64(head >> 176);
        header.targetChain = uint64(head >> 112);
        header.outbox = outbox;
        header.inbox = inbox;
        header.sequence = uint64(sequence);
        header.root = root;
        header.count = uint32(count);
        header.feeRecipient = address(uint160(recipient));
        valid = head >> 240 == (uint256(VERSION) << 8 | KIND_BATCH) && count != 0 && count <= MAX_COUNT && header.sourceChain != 0
            && header.targetChain != 0 && recipient >> 160 == 0;
    }
}
