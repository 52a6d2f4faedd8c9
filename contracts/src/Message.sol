// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @title The bytes that cross a bridge; docs/wire.md section 2. Outbox, ports, inbox and registry read them with this one parser.
/// @dev The length tells the kinds apart before anything is read, and each parser demands its own kind: no bytes are both.
library Message {
    uint256 internal constant LENGTH = 158;
    uint256 internal constant CHECKPOINT_LENGTH = 190;
    uint8 internal constant VERSION = 1;
    uint8 internal constant KIND_BATCH = 1;
    uint8 internal constant KIND_CHECKPOINT = 2;
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

    /// @notice Reads a message of any kind that crosses bridges, as `parse` and `parseCheckpoint` do.
    function parseAny(bytes calldata raw) internal pure returns (bool valid, Header memory header) {
        if (raw.length == LENGTH) return _parseBatch(raw);
        (valid, header,) = parseCheckpoint(raw);
    }

    /// @notice Reads a settlement batch. `valid` is false for another length, version or kind, a count out of bounds, a zero chain and a fee
    /// recipient that is not an address; the caller knows which error that is for it.
    /// @dev Five words instead of eight slices with a bounds check each: a bridge pays for this in every delivery. The length is checked first, so no
    /// load leaves `raw`.
    function parse(bytes calldata raw) internal pure returns (bool valid, Header memory header) {
        if (raw.length == LENGTH) return _parseBatch(raw);
    }

    /// @dev The caller has checked the length.
    function _parseBatch(bytes calldata raw) private pure returns (bool valid, Header memory header) {
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

    /// @notice Reads a hub's checkpoint: `sequence` is its eon, and the hub follows the header. `valid` is false for another length, version or
    /// kind, a zero chain, eon, root or hub, and for anything in the fields a checkpoint has no use for: one checkpoint has one encoding.
    function parseCheckpoint(bytes calldata raw) internal pure returns (bool valid, Header memory header, address hub) {
        if (raw.length != CHECKPOINT_LENGTH) return (false, header, hub);
        header.sourceChain = uint64(bytes8(raw[2:10]));
        header.targetChain = uint64(bytes8(raw[10:18]));
        header.outbox = bytes32(raw[18:50]);
        header.inbox = bytes32(raw[50:82]);
        header.sequence = uint64(bytes8(raw[82:90]));
        header.root = bytes32(raw[90:122]);
        uint256 body = uint256(bytes32(raw[158:190]));
        hub = address(uint160(body));
        valid = bytes2(raw[:2]) == bytes2(uint16(VERSION) << 8 | KIND_CHECKPOINT) && header.sourceChain != 0 && header.targetChain != 0
            && header.sequence != 0 && header.root != 0 && bytes4(raw[122:126]) == 0 && bytes32(raw[126:158]) == 0 && hub != address(0)
            && body >> 160 == 0;
    }

    /// @notice The one encoding of a checkpoint.
    function encodeCheckpoint(uint64 sourceChain, uint64 targetChain, address outbox, address inbox, address hub, uint64 eon, bytes32 root)
        internal
        pure
        returns (bytes memory)
    {
        return abi.encodePacked(
            VERSION,
            KIND_CHECKPOINT,
            sourceChain,
            targetChain,
            word(outbox),
            word(inbox),
            eon,
            root,
            uint32(0), // count
            bytes32(0), // fee recipient
            word(hub)
        );
    }

    /// @notice An address as messages carry it.
    function word(address account) internal pure returns (bytes32) {
        return bytes32(uint256(uint160(account)));
    }
}
