// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {ICheckpointRegistry} from "./interfaces/ICheckpointRegistry.sol";

/// @title Proofs that a wallet is allotted an interval of a token in a hub's checkpoint; docs/hub.md has the preimages.
/// @dev As the hub's contract judges them, and stricter where it is lax: a trail may have no bits above its proof, or one leaf would answer to many.
/// Whether the hub holds as much as it allots is for its own chain to know; here the upper bound is only told.
/// Nothing tags leaves and nodes apart but the lengths of what is hashed and the height inside nodes, so every preimage here has a fixed length.
library AllotmentProof {
    /// @dev What the hub stores, and more accounts than any hub has.
    uint256 internal constant DEPTH_MAX = 32;

    /// @param hub the hub's contract, to which every leaf is bound.
    /// @return holds whether the allotment is in the checkpoint of this root.
    /// @return upperBound what the checkpoint allots of the token in all; 0 when it does not hold.
    function check(ICheckpointRegistry.Allotment calldata allotment, address hub, bytes32 root)
        internal
        pure
        returns (bool holds, uint256 upperBound)
    {
        uint256 depth = allotment.allotmentChain.length;
        if (depth != allotment.values.length || allotment.right < allotment.left) return (false, 0);
        if (!_fits(allotment.trail, depth) || !_fits(allotment.tokenTrail, allotment.membershipChain.length)) return (false, 0);
        (bool whole, bytes32 accounts, uint256 right) = _climbAccounts(allotment, _leaf(allotment, hub));
        if (!whole) return (false, 0);
        bytes32 token = keccak256(abi.encodePacked(uint256(0), accounts, right));
        holds = _climb(token, allotment.tokenTrail, allotment.membershipChain) == root;
        if (holds) upperBound = right;
    }

    function _fits(uint64 trail, uint256 depth) private pure returns (bool) {
        return depth <= DEPTH_MAX && trail >> depth == 0;
    }

    function _leaf(ICheckpointRegistry.Allotment calldata allotment, address hub) private pure returns (bytes32) {
        bytes32 passive = keccak256(abi.encodePacked(allotment.passiveRoot, allotment.passiveAmount, allotment.passiveMarker));
        bytes32 content = keccak256(
            abi.encodePacked(
                keccak256(abi.encodePacked(hub)),
                keccak256(abi.encodePacked(allotment.token)),
                keccak256(abi.encodePacked(allotment.wallet)),
                passive,
                allotment.activeStateChecksum
            )
        );
        return keccak256(abi.encodePacked(allotment.left, content, allotment.right));
    }

    /// @return whole whether siblings and leaf cover a line from 0 without overlapping: no two wallets are allotted the same coin.
    /// @return node root of the account tree.
    /// @return right the line's end, the token's upper bound.
    function _climbAccounts(ICheckpointRegistry.Allotment calldata allotment, bytes32 leaf)
        private
        pure
        returns (bool whole, bytes32 node, uint256 right)
    {
        node = leaf;
        right = allotment.right;
        uint256 left = allotment.left;
        uint256 trail = allotment.trail;
        uint256 depth = allotment.allotmentChain.length;
        for (uint256 level; level < depth; ++level) {
            bytes32 sibling = allotment.allotmentChain[level];
            // The sibling's bound that is further out; the bound between the two is the left one of whichever stands on the right.
            uint256 outer = allotment.values[level];
            if (trail >> level & 1 != 0) {
                if (outer > left) return (false, 0, 0);
                node = _interval(level, outer, keccak256(abi.encodePacked(sibling, left, node)), right);
                left = outer;
            } else {
                if (outer < right) return (false, 0, 0);
                node = _interval(level, left, keccak256(abi.encodePacked(node, right, sibling)), outer);
                right = outer;
            }
        }
        whole = left == 0;
    }

    function _interval(uint256 level, uint256 left, bytes32 children, uint256 right) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(uint32(level), left, children, right));
    }

    function _climb(bytes32 node, uint256 trail, bytes32[] calldata chain) private pure returns (bytes32) {
        for (uint256 level; level < chain.length; ++level) {
            node = trail >> level & 1 != 0
                ? keccak256(abi.encodePacked(uint32(level), chain[level], node))
                : keccak256(abi.encodePacked(uint32(level), node, chain[level]));
        }
        return node;
    }
}
