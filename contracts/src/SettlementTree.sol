// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @title The positional hash tree of docs/wire.md section 3.
/// @dev The assembly blocks hash and move words in one standing buffer: `abi.encodePacked` would allocate fresh memory for every node, which at
/// 1,024 leaves costs more than the hashing. test/SettlementTree.t.sol holds the plain twin that must agree.
library SettlementTree {
    uint256 internal constant MAX_COUNT = 1024;

    /// @notice keccak256(0x00 | id): a leaf can never be read as an inner node.
    function leaf(bytes32 id) internal pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            // 33 bytes of the scratch space.
            mstore8(0, 0)
            mstore(1, id)
            hash := keccak256(0, 33)
        }
    }

    /// @notice Root over `ids`. The caller has checked 1 <= count <= MAX_COUNT.
    function rootOf(bytes32[] calldata ids) internal pure returns (bytes32) {
        uint256 count = ids.length;
        uint256 nodes = allocate(count);
        unchecked {
            for (uint256 i; i < count; ++i) {
                store(nodes + (i << 5), leaf(ids[i]));
            }
        }
        (, bytes32 root) = rangeRoot(nodes, count, 0, count, 0, 0);
        return root;
    }

    /// @notice Memory for `count` leaf hashes, with the spare word on each side that `rangeRoot` needs for siblings.
    /// @return nodes address of the first leaf hash.
    function allocate(uint256 count) internal pure returns (uint256 nodes) {
        assembly ("memory-safe") {
            let start := mload(0x40)
            nodes := add(start, 32)
            mstore(0x40, add(nodes, shl(5, add(count, 1))))
        }
    }

    /// @notice Copies `words` words of memory, between allocations of the caller.
    function copy(uint256 to, uint256 from, uint256 words) internal pure {
        assembly ("memory-safe") {
            mcopy(to, from, shl(5, words))
        }
    }

    function store(uint256 cursor, bytes32 word) private pure {
        assembly ("memory-safe") {
            // `cursor` lies inside an allocation of `allocate`.
            mstore(cursor, word)
        }
    }

    /// @notice Root of the tree of `width` leaves whose leaves [first, first + count) are the hashes at `nodes`, which are overwritten.
    /// @param proof calldata address of `siblings` consecutive words: the range proof.
    /// @return holds false when the range does not fit the tree or the proof is too short or too long; the root then means nothing.
    function rangeRoot(uint256 nodes, uint256 count, uint256 first, uint256 width, uint256 proof, uint256 siblings)
        internal
        pure
        returns (bool holds, bytes32 root)
    {
        // Every operand is at most 2^32, so the sum cannot wrap.
        if (count == 0 || width > MAX_COUNT || first > width || first + count > width) return (false, 0);
        assembly ("memory-safe") {
            let buffer := mload(0x40)
            mstore8(buffer, 1)
            let lo := first
            let hi := add(first, count)
            let end := add(proof, shl(5, siblings))
            holds := 1
            for {} gt(width, 1) {} {
                let from := nodes
                if and(lo, 1) {
                    // The left sibling goes into the spare word before the nodes.
                    if eq(proof, end) {
                        holds := 0
                        break
                    }
                    from := sub(nodes, 32)
                    mstore(from, calldataload(proof))
                    proof := add(proof, 32)
                    lo := sub(lo, 1)
                }
                if and(and(hi, 1), lt(hi, width)) {
                    // The right sibling goes into the word after them.
                    if eq(proof, end) {
                        holds := 0
                        break
                    }
                    mstore(add(from, shl(5, sub(hi, lo))), calldataload(proof))
                    proof := add(proof, 32)
                    hi := add(hi, 1)
                }
                let to := nodes
                let last := add(from, shl(6, shr(1, sub(hi, lo))))
                for {} lt(from, last) { from := add(from, 64) } {
                    // Writing at `to` never passes the next read at `from`.
                    mcopy(add(buffer, 1), from, 64)
                    mstore(to, keccak256(buffer, 65))
                    to := add(to, 32)
                }
                // Only the last node of an odd level can be left over: promoted unchanged.
                if and(hi, 1) { mstore(to, mload(from)) }
                lo := shr(1, lo)
                hi := shr(1, add(hi, 1))
                width := shr(1, add(width, 1))
            }
            holds := and(holds, eq(proof, end))
            root := mload(nodes)
        }
    }
}
