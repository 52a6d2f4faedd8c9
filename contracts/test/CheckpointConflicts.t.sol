// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Vm} from "forge-std/Vm.sol";
import {ICheckpointRegistry} from "../src/interfaces/ICheckpointRegistry.sol";
import {CheckpointFixture} from "./CheckpointFixture.sol";

/// @dev Two roots for one eon, and what the owner may do about it.
contract CheckpointConflictsTest is CheckpointFixture {
    bytes32 private constant FORGED = keccak256("forged");
    bytes32 private constant THIRD = keccak256("third");

    function conflict(uint64 eon) private {
        bytes memory message = checkpoint(HUB, eon, FORGED);
        bring(portA, message);
        bring(portB, message);
        bytes32 recorded = registry.checkpointOf(hubId, eon).root;
        vm.expectEmit(address(registry));
        emit ICheckpointRegistry.CheckpointConflict(hubId, eon, recorded, FORGED);
        registry.record(message);
    }

    function resolve(uint64 eon, bytes32 root) private {
        vm.startPrank(admin);
        registry.announceResolution(hubId, eon, root);
        vm.warp(vm.getBlockTimestamp() + RESOLVE_DELAY);
        registry.resolve(hubId, eon, root);
        vm.stopPrank();
    }

    function test_a_second_root_is_kept_beside_the_first_and_freezes_the_hub() public {
        carry(7);
        carry(8);
        conflict(8);
        ICheckpointRegistry.Checkpoint memory found = registry.checkpointOf(hubId, 8);
        assertEq(found.root, rootOf(8));
        assertEq(found.other, FORGED);
        assertStanding(8, ICheckpointRegistry.Standing.Conflicting);
        assertStanding(7, ICheckpointRegistry.Standing.Final);
        (, bool frozen) = registry.stateOf(hubId);
        assertTrue(frozen);
        refusedFrozen(9, rootOf(9));
        refusedFrozen(6, rootOf(6));
        refusedFrozen(8, THIRD);
        // What is known already is known.
        registry.record(checkpoint(HUB, 8, FORGED));
        registry.record(checkpoint(HUB, 7, rootOf(7)));
    }

    function refusedFrozen(uint64 eon, bytes32 root) private {
        bytes memory message = checkpoint(HUB, eon, root);
        bring(portA, message);
        bring(portB, message);
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.HubFrozen.selector, hubId));
        registry.record(message);
    }

    function test_one_family_alone_freezes_nothing_that_needs_two() public {
        carry(7);
        bring(portA, checkpoint(HUB, 7, FORGED));
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.QuorumShort.selector, 1, 2));
        registry.record(checkpoint(HUB, 7, FORGED));
        carry(8);
    }

    function test_one_hub_s_conflict_is_not_another_s() public {
        address other = address(0x4C);
        vm.prank(admin);
        registry.registerHub(bridgedHub(other));
        carry(2);
        conflict(2);
        bring(portA, checkpoint(other, 2, rootOf(2)));
        registry.record(checkpoint(other, 2, rootOf(2)));
        assertEq(registry.checkpointOf(registry.hubIdOf(SOURCE, other), 2).root, rootOf(2));
    }

    function test_the_owner_chooses_between_the_two_after_the_delay() public {
        carry(7);
        conflict(7);
        vm.startPrank(admin);
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.NoConflict.selector, hubId, 7));
        registry.announceResolution(hubId, 7, keccak256("a root of the owner's"));
        vm.expectRevert(ICheckpointRegistry.NotAnnounced.selector);
        registry.resolve(hubId, 7, FORGED);
        uint256 due = vm.getBlockTimestamp() + RESOLVE_DELAY;
        vm.expectEmit(address(registry));
        emit ICheckpointRegistry.ResolutionAnnounced(hubId, 7, FORGED, due);
        registry.announceResolution(hubId, 7, FORGED);
        vm.warp(due - 1);
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.TooEarly.selector, due));
        registry.resolve(hubId, 7, FORGED);
        vm.warp(due);
        vm.expectRevert(ICheckpointRegistry.NotAnnounced.selector);
        registry.resolve(hubId, 7, rootOf(7));
        vm.expectEmit(address(registry));
        emit ICheckpointRegistry.ConflictResolved(hubId, 7, FORGED);
        registry.resolve(hubId, 7, FORGED);
        vm.stopPrank();
        ICheckpointRegistry.Checkpoint memory found = registry.checkpointOf(hubId, 7);
        assertEq(found.root, FORGED);
        assertEq(found.other, 0);
        (, bool frozen) = registry.stateOf(hubId);
        assertFalse(frozen);
    }

    function test_the_root_that_lost_cannot_come_back() public {
        carry(7);
        conflict(7);
        resolve(7, rootOf(7));
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.RootRejected.selector, hubId, 7, FORGED));
        registry.record(checkpoint(HUB, 7, FORGED));
        carry(8);
        assertStanding(7, ICheckpointRegistry.Standing.Final);
    }

    function test_a_resolved_eon_behind_the_newest_is_final() public {
        carry(7);
        carry(8);
        conflict(7);
        vm.startPrank(admin);
        registry.announceResolution(hubId, 7, FORGED);
        vm.warp(vm.getBlockTimestamp() + RESOLVE_DELAY);
        vm.expectEmit(address(registry));
        emit ICheckpointRegistry.CheckpointFinal(hubId, 7, FORGED);
        registry.resolve(hubId, 7, FORGED);
        assertStanding(7, ICheckpointRegistry.Standing.Final);
    }

    function test_a_hub_stays_frozen_until_every_conflict_is_resolved() public {
        carry(7);
        carry(8);
        conflict(7);
        conflict(8);
        resolve(8, rootOf(8));
        refusedFrozen(9, rootOf(9));
        resolve(7, rootOf(7));
        carry(9);
    }

    function test_an_announcement_serves_one_conflict() public {
        carry(7);
        conflict(7);
        resolve(7, rootOf(7));
        bytes memory message = checkpoint(HUB, 7, THIRD);
        bring(portA, message);
        bring(portB, message);
        registry.record(message);
        vm.startPrank(admin);
        vm.expectRevert(ICheckpointRegistry.NotAnnounced.selector);
        registry.resolve(hubId, 7, rootOf(7));
        registry.announceResolution(hubId, 7, rootOf(7));
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.TooEarly.selector, vm.getBlockTimestamp() + RESOLVE_DELAY));
        registry.resolve(hubId, 7, rootOf(7));
    }

    function test_a_new_announcement_starts_the_delay_anew() public {
        carry(7);
        conflict(7);
        vm.startPrank(admin);
        registry.announceResolution(hubId, 7, FORGED);
        vm.warp(vm.getBlockTimestamp() + RESOLVE_DELAY);
        registry.announceResolution(hubId, 7, rootOf(7));
        vm.expectRevert(ICheckpointRegistry.NotAnnounced.selector);
        registry.resolve(hubId, 7, FORGED);
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.TooEarly.selector, vm.getBlockTimestamp() + RESOLVE_DELAY));
        registry.resolve(hubId, 7, rootOf(7));
    }

    function test_without_a_conflict_there_is_nothing_to_resolve() public {
        carry(7);
        vm.startPrank(admin);
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.NoConflict.selector, hubId, 7));
        registry.announceResolution(hubId, 7, rootOf(7));
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.NoConflict.selector, hubId, 8));
        registry.announceResolution(hubId, 8, FORGED);
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.NoConflict.selector, hubId, 7));
        registry.resolve(hubId, 7, rootOf(7));
    }

    // ------------------------------------------------------------------------------------------------ neither

    function test_the_owner_may_choose_neither_and_both_are_refused_from_then_on() public {
        carry(7);
        carry(8);
        conflict(8);
        vm.startPrank(admin);
        vm.expectRevert(ICheckpointRegistry.NotAnnounced.selector);
        registry.resolve(hubId, 8, 0);
        uint256 due = vm.getBlockTimestamp() + RESOLVE_DELAY;
        vm.expectEmit(address(registry));
        emit ICheckpointRegistry.ResolutionAnnounced(hubId, 8, 0, due);
        registry.announceResolution(hubId, 8, 0);
        vm.warp(due - 1);
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.TooEarly.selector, due));
        registry.resolve(hubId, 8, 0);
        vm.warp(due);
        vm.expectRevert(ICheckpointRegistry.NotAnnounced.selector);
        registry.resolve(hubId, 8, rootOf(8));
        vm.expectEmit(address(registry));
        emit ICheckpointRegistry.ConflictResolved(hubId, 8, 0);
        registry.resolve(hubId, 8, 0);
        vm.stopPrank();

        ICheckpointRegistry.Checkpoint memory found = registry.checkpointOf(hubId, 8);
        assertEq(found.root, 0);
        assertEq(found.other, 0);
        assertStanding(8, ICheckpointRegistry.Standing.Unknown);
        assertStanding(7, ICheckpointRegistry.Standing.Final);
        (uint64 last, bool frozen) = registry.stateOf(hubId);
        assertEq(last, 8);
        assertFalse(frozen);
        refusedRoot(8, rootOf(8));
        refusedRoot(8, FORGED);
        bytes memory signature = signCheckpoint(OPERATOR_KEY, 8, FORGED);
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.RootRejected.selector, hubId, 8, FORGED));
        registry.recordSigned(SOURCE, HUB, 8, FORGED, signature);
    }

    function refusedRoot(uint64 eon, bytes32 root) private {
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.RootRejected.selector, hubId, eon, root));
        registry.record(checkpoint(HUB, eon, root));
    }

    function test_after_neither_a_third_root_of_the_newest_eon_is_recorded_as_any_other() public {
        carry(7);
        carry(8);
        conflict(8);
        resolve(8, 0);
        bytes memory message = checkpoint(HUB, 8, THIRD);
        bring(portA, message);
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.QuorumShort.selector, 1, 2));
        registry.record(message);
        bring(portB, message);
        vm.recordLogs();
        registry.record(message);
        // Not final: no later one is recorded.
        onlyLog(ICheckpointRegistry.CheckpointRecorded.selector, 8, THIRD);
        assertStanding(8, ICheckpointRegistry.Standing.Provisional);
        vm.recordLogs();
        registry.record(message);
        assertEq(vm.getRecordedLogs().length, 0);
        bring(portA, checkpoint(HUB, 9, rootOf(9)));
        bring(portB, checkpoint(HUB, 9, rootOf(9)));
        vm.expectEmit(address(registry));
        emit ICheckpointRegistry.CheckpointFinal(hubId, 8, THIRD);
        registry.record(checkpoint(HUB, 9, rootOf(9)));
        assertStanding(8, ICheckpointRegistry.Standing.Final);
    }

    function test_after_neither_the_next_eon_makes_nothing_final_and_a_third_root_may_come_later() public {
        carry(8);
        conflict(8);
        resolve(8, 0);
        bytes memory next = checkpoint(HUB, 9, rootOf(9));
        bring(portA, next);
        bring(portB, next);
        vm.recordLogs();
        registry.record(next);
        onlyLog(ICheckpointRegistry.CheckpointRecorded.selector, 9, rootOf(9));
        assertStanding(8, ICheckpointRegistry.Standing.Unknown);
        bytes memory message = checkpoint(HUB, 8, THIRD);
        bring(portA, message);
        bring(portB, message);
        vm.expectEmit(address(registry));
        emit ICheckpointRegistry.CheckpointRecorded(hubId, 8, THIRD);
        vm.expectEmit(address(registry));
        emit ICheckpointRegistry.CheckpointFinal(hubId, 8, THIRD);
        registry.record(message);
        assertStanding(8, ICheckpointRegistry.Standing.Final);
        (uint64 last,) = registry.stateOf(hubId);
        assertEq(last, 9);
    }

    function test_neither_of_an_eon_behind_the_newest_is_not_final() public {
        carry(7);
        carry(8);
        conflict(7);
        vm.startPrank(admin);
        registry.announceResolution(hubId, 7, 0);
        vm.warp(vm.getBlockTimestamp() + RESOLVE_DELAY);
        vm.recordLogs();
        registry.resolve(hubId, 7, 0);
        vm.stopPrank();
        onlyLog(ICheckpointRegistry.ConflictResolved.selector, 7, 0);
        assertStanding(7, ICheckpointRegistry.Standing.Unknown);
        assertStanding(8, ICheckpointRegistry.Standing.Provisional);
    }

    function test_the_third_root_can_be_contradicted_too() public {
        carry(7);
        conflict(7);
        resolve(7, 0);
        carry(7, THIRD);
        bytes32 fourth = keccak256("fourth");
        bytes memory message = checkpoint(HUB, 7, fourth);
        bring(portA, message);
        bring(portB, message);
        vm.expectEmit(address(registry));
        emit ICheckpointRegistry.CheckpointConflict(hubId, 7, THIRD, fourth);
        registry.record(message);
        (, bool frozen) = registry.stateOf(hubId);
        assertTrue(frozen);
        // Neither of the first two can be chosen any more.
        vm.startPrank(admin);
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.NoConflict.selector, hubId, 7));
        registry.announceResolution(hubId, 7, FORGED);
        vm.stopPrank();
        resolve(7, THIRD);
        assertEq(registry.checkpointOf(hubId, 7).root, THIRD);
    }

    function onlyLog(bytes32 kind, uint64 eon, bytes32 root) private {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 1);
        assertEq(logs[0].topics[0], kind);
        assertEq(logs[0].topics[1], hubId);
        assertEq(logs[0].topics[2], bytes32(uint256(eon)));
        assertEq(abi.decode(logs[0].data, (bytes32)), root);
    }
}
