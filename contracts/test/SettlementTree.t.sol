// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Test} from "forge-std/Test.sol";

import {SettlementTree} from "../src/SettlementTree.sol";
import {PlainTree} from "./PlainTree.sol";

contract TreeHarness {
    function rootOf(bytes32[] calldata ids) external pure returns (bytes32) {
        return SettlementTree.rootOf(ids);
    }

    function rangeRoot(bytes32[] calldata ids, uint256 first, uint256 width, bytes32[] calldata proof)
        external
        pure
        returns (bool, bytes32)
    {
        uint256 nodes = SettlementTree.allocate(ids.length);
        for (uint256 i; i < ids.length; ++i) {
            bytes32 leaf = SettlementTree.leaf(ids[i]);
            assembly ("memory-safe") {
                mstore(add(nodes, mul(i, 32)), leaf)
            }
        }
        uint256 proofAt;
        assembly ("memory-safe") {
            proofAt := proof.offset
        }
        return SettlementTree.rangeRoot(nodes, ids.length, first, width, proofAt, proof.length);
    }
}

/// @dev The folded tree against its plain twin.
contract SettlementTreeTest is Test {
    TreeHarness internal harness = new TreeHarness();

    function ids(uint256 seed, uint256 count) internal pure returns (bytes32[] memory list) {
        list = new bytes32[](count);
        for (uint256 i; i < count; ++i) {
            list[i] = keccak256(abi.encode(seed, i));
        }
    }

    function part(bytes32[] memory all, uint256 lo, uint256 hi) internal pure returns (bytes32[] memory list) {
        list = new bytes32[](hi - lo);
        for (uint256 i = lo; i < hi; ++i) {
            list[i - lo] = all[i];
        }
    }

    function test_every_range_of_every_small_tree_is_proved() public view {
        for (uint256 width = 1; width <= 17; ++width) {
            bytes32[] memory all = ids(width, width);
            bytes32 root = PlainTree.root(all);
            assertEq(harness.rootOf(all), root);
            for (uint256 lo; lo < width; ++lo) {
                for (uint256 hi = lo + 1; hi <= width; ++hi) {
                    (bool holds, bytes32 got) = harness.rangeRoot(part(all, lo, hi), lo, width, PlainTree.rangeProof(all, lo, hi));
                    assertTrue(holds, "holds");
                    assertEq(got, root, "root");
                }
            }
        }
    }

    function test_the_largest_tree_has_a_root_and_one_more_leaf_has_none() public view {
        bytes32[] memory all = ids(1, 1024);
        assertEq(harness.rootOf(all), PlainTree.root(all));
        (bool holds,) = harness.rangeRoot(ids(1, 1), 0, 1025, new bytes32[](11));
        assertFalse(holds);
    }

    function testFuzz_ranges_agree_with_the_plain_twin(uint256 seed, uint256 width, uint256 lo, uint256 hi) public view {
        width = bound(width, 1, 300);
        lo = bound(lo, 0, width - 1);
        hi = bound(hi, lo + 1, width);
        bytes32[] memory all = ids(seed, width);
        (bool holds, bytes32 root) = harness.rangeRoot(part(all, lo, hi), lo, width, PlainTree.rangeProof(all, lo, hi));
        assertTrue(holds);
        assertEq(root, PlainTree.root(all));
    }

    /// @dev Also where the range does not fit, the proof has any length, or the position is absurd.
    function testFuzz_any_claim_agrees_with_the_plain_twin(uint256 seed, uint256 count, uint256 first, uint256 width, uint256 siblings)
        public
        view
    {
        bytes32[] memory some = ids(seed, bound(count, 0, 40));
        width = bound(width, 0, 60);
        if (seed % 7 != 0) first = bound(first, 0, 61);
        bytes32[] memory proof = ids(~seed, bound(siblings, 0, 14));
        (bool holds, bytes32 root) = harness.rangeRoot(some, first, width, proof);
        (bool expected, bytes32 expectedRoot) = PlainTree.rangeRoot(PlainTree.leaves(some), first, width, proof);
        assertEq(holds, expected);
        if (holds) assertEq(root, expectedRoot);
    }

    function testFuzz_another_leaf_or_place_gives_another_root(uint256 seed, uint256 width, uint256 at, uint256 to) public view {
        width = bound(width, 2, 100);
        at = bound(at, 0, width - 1);
        to = bound(to, 0, width - 1);
        vm.assume(at != to);
        bytes32[] memory all = ids(seed, width);
        (bool holds, bytes32 root) = harness.rangeRoot(part(all, at, at + 1), to, width, PlainTree.rangeProof(all, at, at + 1));
        assertFalse(holds && root == PlainTree.root(all));
        (holds, root) = harness.rangeRoot(ids(~seed, 1), at, width, PlainTree.rangeProof(all, at, at + 1));
        assertFalse(holds && root == PlainTree.root(all));
    }

    function test_an_inner_node_is_no_leaf() public view {
        bytes32[] memory all = ids(3, 4);
        bytes32[] memory level = PlainTree.up(PlainTree.leaves(all));
        // Claim the two inner nodes as the two leaves of a smaller tree.
        (bool holds, bytes32 root) = harness.rangeRoot(level, 0, 2, new bytes32[](0));
        assertTrue(holds);
        assertTrue(root != PlainTree.root(all));
    }
}
