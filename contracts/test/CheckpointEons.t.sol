// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {ICheckpointRegistry} from "../src/interfaces/ICheckpointRegistry.sol";
import {CheckpointFixture} from "./CheckpointFixture.sol";

/// @dev Which eons are taken, and when: the hub's clock and the gap.
contract CheckpointEonsTest is CheckpointFixture {
    address private constant OTHER = address(0x4C);

    /// @dev A second hub of which one family's word is enough.
    function register(uint64 firstEon, uint8 gapMax, uint32 eonSeconds) private returns (bytes32 otherId) {
        ICheckpointRegistry.Hub memory hub = bridgedHub(OTHER);
        (hub.firstEon, hub.gapMax, hub.eonSeconds) = (firstEon, gapMax, eonSeconds);
        vm.prank(admin);
        registry.registerHub(hub);
        otherId = registry.hubIdOf(SOURCE, OTHER);
    }

    function recordOther(uint64 eon) private {
        bring(portA, checkpoint(OTHER, eon, rootOf(eon)));
        registry.record(checkpoint(OTHER, eon, rootOf(eon)));
    }

    function refusedOther(uint64 eon, uint64 last) private {
        bring(portA, checkpoint(OTHER, eon, rootOf(eon)));
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.EonTooNew.selector, eon, last));
        registry.record(checkpoint(OTHER, eon, rootOf(eon)));
    }

    function tooOld(uint64 eon, uint64 first) private {
        bring(portA, checkpoint(OTHER, eon, rootOf(eon)));
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.EonTooOld.selector, eon, first));
        registry.record(checkpoint(OTHER, eon, rootOf(eon)));
    }

    function passEons(uint256 count) private {
        vm.warp(vm.getBlockTimestamp() + count * EON_SECONDS);
    }

    // ------------------------------------------------------------------------------------------------ ahead

    function test_eons_follow_one_another_within_the_gap() public {
        carry(NOW);
        refusedEon(104, NOW);
        carry(103);
        assertStanding(NOW, ICheckpointRegistry.Standing.Final);
        assertStanding(101, ICheckpointRegistry.Standing.Unknown);
        // By the clock no more than 103, past the newest up to 106.
        carry(104);
        refusedEon(108, 104);
        refusedEon(type(uint64).max, 104);
    }

    function test_an_eon_may_be_as_far_ahead_as_the_hub_s_clock_can_be() public {
        carry(NOW);
        passEons(10);
        refusedEon(114, NOW);
        carry(113);
        refusedEon(117, 113);
    }

    function test_a_part_of_an_eon_is_none() public {
        carry(NOW);
        vm.warp(vm.getBlockTimestamp() + 11 * uint256(EON_SECONDS) - 1);
        refusedEon(114, NOW);
        vm.warp(vm.getBlockTimestamp() + 1);
        carry(114);
    }

    function test_an_old_eon_that_comes_late_does_not_put_the_newest_out_of_reach() public {
        carry(99);
        passEons(1000);
        // The clock is at 1100, whatever is recorded meanwhile.
        carry(NOW);
        refusedEon(1104, NOW);
        carry(1103);
        assertStanding(NOW, ICheckpointRegistry.Standing.Final);
        assertStanding(1103, ICheckpointRegistry.Standing.Provisional);
    }

    function testFuzz_late_recordings_never_move_the_clock(uint256 seed) public {
        uint64 last;
        uint64 clock = NOW;
        for (uint256 i; i < 8; ++i) {
            uint256 draw = uint256(keccak256(abi.encode(seed, i)));
            passEons(draw % 7);
            // forge-lint: disable-next-line(unsafe-typecast)
            clock += uint64(draw % 7);
            // forge-lint: disable-next-line(unsafe-typecast)
            uint64 old = uint64(1 + (draw >> 64) % NOW);
            carry(old);
            if (old > last) last = old;
        }
        refusedEon(clock + 4, last);
        carry(clock + 3);
    }

    function test_the_clock_begins_at_the_registration_in_the_first_eon() public {
        register(500, 2, EON_SECONDS);
        refusedOther(503, 0);
        recordOther(502);
        passEons(5);
        refusedOther(508, 502);
        recordOther(507);
        assertEq(registry.hubOf(registry.hubIdOf(SOURCE, OTHER)).firstEon, 500);
    }

    function test_a_first_eon_at_the_end_of_time_overflows_nothing() public {
        bytes32 otherId = register(type(uint64).max - 1, 5, 1);
        passEons(1);
        recordOther(type(uint64).max);
        recordOther(type(uint64).max - 1);
        (uint64 last,) = registry.stateOf(otherId);
        assertEq(last, type(uint64).max);
        tooOld(1, type(uint64).max - 1);
    }

    // ------------------------------------------------------------------------------------------------ without a clock

    function test_without_the_hub_s_clock_the_gap_never_grows() public {
        register(1, 1, 0);
        recordOther(5);
        vm.warp(vm.getBlockTimestamp() + 1000 days);
        refusedOther(7, 5);
        recordOther(6);
        recordOther(7);
    }

    function test_without_the_hub_s_clock_the_first_recorded_eon_may_be_any_from_the_first_on() public {
        bytes32 otherId = register(40, 1, 0);
        tooOld(39, 40);
        recordOther(5000);
        (uint64 last,) = registry.stateOf(otherId);
        assertEq(last, 5000);
        tooOld(39, 40);
        recordOther(40);
    }

    // ------------------------------------------------------------------------------------------------ behind

    function test_a_hole_is_filled_at_any_time_and_final_at_once() public {
        carry(NOW);
        carry(103);
        bytes memory message = checkpoint(HUB, 101, rootOf(101));
        bring(portA, message);
        bring(portB, message);
        vm.expectEmit(address(registry));
        emit ICheckpointRegistry.CheckpointRecorded(hubId, 101, rootOf(101));
        vm.expectEmit(address(registry));
        emit ICheckpointRegistry.CheckpointFinal(hubId, 101, rootOf(101));
        registry.record(message);
        assertStanding(101, ICheckpointRegistry.Standing.Final);
        assertStanding(103, ICheckpointRegistry.Standing.Provisional);
        (uint64 last,) = registry.stateOf(hubId);
        assertEq(last, 103);
        carry(106);
        assertStanding(103, ICheckpointRegistry.Standing.Final);
    }

    function test_an_eon_far_behind_is_recorded_and_final_at_once() public {
        passEons(1000);
        carry(1000);
        bytes memory message = checkpoint(HUB, 1, rootOf(1));
        bring(portA, message);
        bring(portB, message);
        vm.expectEmit(address(registry));
        emit ICheckpointRegistry.CheckpointRecorded(hubId, 1, rootOf(1));
        vm.expectEmit(address(registry));
        emit ICheckpointRegistry.CheckpointFinal(hubId, 1, rootOf(1));
        registry.record(message);
        assertStanding(1, ICheckpointRegistry.Standing.Final);
        assertStanding(1000, ICheckpointRegistry.Standing.Provisional);
        (uint64 last,) = registry.stateOf(hubId);
        assertEq(last, 1000);
        // The operator's word may complete such a quorum too.
        bring(portA, checkpoint(HUB, 2, rootOf(2)));
        registry.recordSigned(SOURCE, HUB, 2, rootOf(2), signCheckpoint(OPERATOR_KEY, 2, rootOf(2)));
        assertStanding(2, ICheckpointRegistry.Standing.Final);
    }

    function test_nothing_before_the_first_eon_is_recorded() public {
        register(50, 5, EON_SECONDS);
        tooOld(49, 50);
        recordOther(52);
        tooOld(49, 50);
        tooOld(1, 50);
        recordOther(50);
    }
}
