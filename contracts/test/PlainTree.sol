// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @dev The tree of docs/wire.md section 3, written from the text in plain Solidity: the twin of src/SettlementTree.sol, and the prover of the tests.
library PlainTree {
    function leaves(bytes32[] memory ids) internal pure returns (bytes32[] memory level) {
        level = new bytes32[](ids.length);
        for (uint256 i; i < ids.length; ++i) {
            level[i] = keccak256(abi.encodePacked(uint8(0), ids[i]));
        }
    }

    function up(bytes32[] memory level) internal pure returns (bytes32[] memory next) {
        next = new bytes32[]((level.length + 1) / 2);
        for (uint256 i; i < next.length; ++i) {
            next[i] = 2 * i + 1 < level.length ? keccak256(abi.encodePacked(uint8(1), level[2 * i], level[2 * i + 1])) : level[2 * i];
        }
    }

    function root(bytes32[] memory ids) internal pure returns (bytes32) {
        bytes32[] memory level = leaves(ids);
        while (level.length > 1) level = up(level);
        return level[0];
    }

    function rangeProof(bytes32[] memory ids, uint256 lo, uint256 hi) internal pure returns (bytes32[] memory proof) {
        bytes32[] memory level = leaves(ids);
        bytes32[] memory found = new bytes32[](64);
        uint256 k;
        while (level.length > 1) {
            if (lo % 2 == 1) {
                lo -= 1;
                found[k++] = level[lo];
            }
            if (hi % 2 == 1 && hi < level.length) {
                found[k++] = level[hi];
                hi += 1;
            }
            level = up(level);
            lo = lo / 2;
            hi = (hi + 1) / 2;
        }
        proof = new bytes32[](k);
        for (uint256 i; i < k; ++i) {
            proof[i] = found[i];
        }
    }

    /// @dev Verifies by rebuilding level by level with fresh arrays; (false, 0) when the range or the proof does not fit.
    function rangeRoot(bytes32[] memory nodes, uint256 first, uint256 width, bytes32[] memory proof) internal pure returns (bool, bytes32) {
        if (nodes.length == 0 || width > 1024 || first > width || nodes.length > width - first) return (false, 0);
        uint256 lo = first;
        uint256 hi = first + nodes.length;
        uint256 used;
        while (width > 1) {
            uint256 left = lo % 2;
            uint256 right = hi % 2 == 1 && hi < width ? 1 : 0;
            if (used + left + right > proof.length) return (false, 0);
            bytes32[] memory level = new bytes32[](nodes.length + left + right);
            if (left == 1) level[0] = proof[used++];
            for (uint256 i; i < nodes.length; ++i) {
                level[left + i] = nodes[i];
            }
            if (right == 1) level[level.length - 1] = proof[used++];
            nodes = up(level);
            lo = (lo - left) / 2;
            hi = (hi + right + 1) / 2;
            width = (width + 1) / 2;
        }
        return (used == proof.length, nodes[0]);
    }
}
