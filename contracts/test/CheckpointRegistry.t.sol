// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {CheckpointRegistry} from "../src/CheckpointRegistry.sol";
import {ICheckpointRegistry} from "../src/interfaces/ICheckpointRegistry.sol";
import {ISettlementInbox} from "../src/interfaces/ISettlementInbox.sol";
import {CheckpointFixture} from "./CheckpointFixture.sol";
import {FakePort} from "./mocks/FakePort.sol";

contract CheckpointRegistryTest is CheckpointFixture {
    bytes32 private constant FORGED = keccak256("forged");

    // ------------------------------------------------------------------------------------------------ bringing

    function test_the_inbox_records_votes_for_a_checkpoint_as_for_a_batch() public {
        bytes memory message = checkpoint(HUB, 7, rootOf(7));
        bytes32 id = keccak256(message);
        vm.expectEmit(address(inbox));
        emit ISettlementInbox.MessageReceived(id, address(portA), 1);
        bring(portA, message);
        bring(portB, message);
        assertEq(inbox.familiesOf(id), 2);
        assertEq(registry.familiesOf(hubId, 7, rootOf(7)), 2);
        (uint128 received,) = inbox.counters();
        assertEq(received, 2);
        vm.expectEmit(address(inbox));
        emit ISettlementInbox.MessageRepeated(id, address(portB));
        bring(portB, message);
    }

    function test_the_inbox_refuses_a_checkpoint_it_cannot_have_been_sent() public {
        bytes memory message = checkpoint(HUB, 7, rootOf(7));
        vm.expectRevert(ISettlementInbox.WrongSource.selector);
        portA.bring(SOURCE + 1, OUTBOX, message);
        vm.expectRevert(ISettlementInbox.WrongSource.selector);
        portA.bring(SOURCE, bytes32(uint256(1)), message);
        // Each byte of a field that must be what it is: version, kind, target chain, inbox, count, fee recipient, the hub's padding.
        uint256[7] memory offsets = [uint256(0), 1, 17, 81, 125, 157, 158];
        for (uint256 i; i < offsets.length; ++i) {
            bytes memory bad = bytes.concat(message);
            bad[offsets[i]] ^= 0x01;
            vm.expectRevert(ISettlementInbox.BadMessage.selector);
            bring(portA, bad);
            vm.expectRevert(ICheckpointRegistry.BadMessage.selector);
            registry.record(bad);
        }
        vm.expectRevert(ISettlementInbox.BadMessage.selector);
        bring(portA, bytes.concat(message, hex"00"));
    }

    function test_a_checkpoint_is_never_executable() public {
        // The root is that of a settlement which its payer signed: only the kind stands in the way.
        ISettlementInbox.Settlement[] memory all = many(1, 1);
        bytes32[] memory ids = idsOf(all);
        bytes memory message = checkpoint(HUB, 1, keccak256(abi.encodePacked(uint8(0), ids[0])));
        bring(portA, message);
        bring(portB, message);
        bytes memory auth = sign(PAYER_KEY, ids[0]);
        vm.expectRevert(ISettlementInbox.BadMessage.selector);
        inbox.executeOne(message, all[0], auth, 0, new bytes32[](0));

        bytes memory packed = pack(all, ids, signAll(ids), 0, 1);
        for (uint256 i; i < 158; ++i) {
            packed[i] = message[i];
        }
        vm.expectRevert(ISettlementInbox.BadMessage.selector);
        inbox.execute(packed);
    }

    function test_a_batch_is_never_recorded() public {
        bytes memory batch = header(rootOf(1), 1, 1);
        bring(portA, batch);
        bring(portB, batch);
        vm.expectRevert(ICheckpointRegistry.BadMessage.selector);
        registry.record(batch);
        // What nobody brought is not the batch, whatever it begins with.
        bytes memory longer = bytes.concat(batch, bytes32(uint256(uint160(HUB))));
        vm.expectRevert(ICheckpointRegistry.BadMessage.selector);
        registry.record(longer);
    }

    // ------------------------------------------------------------------------------------------------ recording

    function test_a_root_is_recorded_at_the_quorum_by_anyone() public {
        bytes memory message = checkpoint(HUB, 7, rootOf(7));
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.QuorumShort.selector, 0, 2));
        registry.record(message);
        bring(portA, message);
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.QuorumShort.selector, 1, 2));
        registry.record(message);
        bring(portB, message);
        vm.expectEmit(address(registry));
        emit ICheckpointRegistry.CheckpointRecorded(hubId, 7, rootOf(7));
        vm.prank(makeAddr("anyone"));
        registry.record(message);
        ICheckpointRegistry.Checkpoint memory found = registry.checkpointOf(hubId, 7);
        assertEq(found.root, rootOf(7));
        assertEq(found.other, 0);
        assertEq(found.recordedAt, vm.getBlockTimestamp());
        assertStanding(7, ICheckpointRegistry.Standing.Provisional);
        (uint64 last, bool frozen) = registry.stateOf(hubId);
        assertEq(last, 7);
        assertFalse(frozen);
    }

    function test_two_ports_of_one_family_are_no_quorum() public {
        FakePort twin = new FakePort(1, address(inbox));
        vm.startPrank(admin);
        inbox.proposePort(address(twin));
        vm.warp(vm.getBlockTimestamp() + PORT_DELAY);
        inbox.activatePort(address(twin));
        vm.stopPrank();
        bytes memory message = checkpoint(HUB, 7, rootOf(7));
        bring(portA, message);
        bring(twin, message);
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.QuorumShort.selector, 1, 2));
        registry.record(message);
    }

    function test_a_removed_port_s_word_counts_no_more() public {
        bytes memory message = checkpoint(HUB, 7, rootOf(7));
        bring(portA, message);
        bring(portB, message);
        vm.prank(admin);
        inbox.removePort(address(portB));
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.QuorumShort.selector, 1, 2));
        registry.record(message);
    }

    function test_what_was_recorded_stays_when_its_port_is_removed_afterwards() public {
        carry(7);
        vm.prank(admin);
        inbox.removePort(address(portB));
        assertEq(registry.familiesOf(hubId, 7, rootOf(7)), 1);
        registry.record(checkpoint(HUB, 7, rootOf(7)));
        assertEq(registry.checkpointOf(hubId, 7).root, rootOf(7));
        assertStanding(7, ICheckpointRegistry.Standing.Provisional);
        // It becomes final as any other.
        bring(portA, checkpoint(HUB, 8, rootOf(8)));
        registry.recordSigned(SOURCE, HUB, 8, rootOf(8), signCheckpoint(OPERATOR_KEY, 8, rootOf(8)));
        assertStanding(7, ICheckpointRegistry.Standing.Final);
    }

    function test_recording_again_changes_nothing() public {
        carry(7);
        carry(8);
        uint256 at = vm.getBlockTimestamp();
        vm.warp(at + 1 days);
        vm.recordLogs();
        registry.record(checkpoint(HUB, 7, rootOf(7)));
        registry.record(checkpoint(HUB, 8, rootOf(8)));
        assertEq(vm.getRecordedLogs().length, 0);
        assertEq(registry.checkpointOf(hubId, 8).recordedAt, at);
    }

    function test_a_recorded_root_makes_the_one_before_it_final() public {
        carry(7);
        bytes memory message = checkpoint(HUB, 8, rootOf(8));
        bring(portA, message);
        bring(portB, message);
        vm.expectEmit(address(registry));
        emit ICheckpointRegistry.CheckpointRecorded(hubId, 8, rootOf(8));
        vm.expectEmit(address(registry));
        emit ICheckpointRegistry.CheckpointFinal(hubId, 7, rootOf(7));
        registry.record(message);
        assertStanding(7, ICheckpointRegistry.Standing.Final);
        assertStanding(8, ICheckpointRegistry.Standing.Provisional);
        assertStanding(9, ICheckpointRegistry.Standing.Unknown);
    }

    function test_a_message_is_held_against_the_hub_it_names() public {
        address other = address(0x4C);
        bytes memory message = checkpoint(other, 2, rootOf(2));
        bring(portA, message);
        bring(portB, message);
        bytes32 otherId = registry.hubIdOf(SOURCE, other);
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.UnknownHub.selector, otherId));
        registry.record(message);
        vm.prank(admin);
        registry.registerHub(hubOf(other, 2));
        registry.record(message);
        assertEq(registry.checkpointOf(otherId, 2).root, rootOf(2));
        assertEq(registry.checkpointOf(hubId, 2).root, 0);
    }

    function test_only_the_hub_s_own_outbox_speaks_for_it() public {
        bytes32 foreign = bytes32(uint256(0xBAD));
        bytes memory message = checkpoint(HUB, 7, FORGED);
        for (uint256 i; i < 32; ++i) {
            message[18 + i] = foreign[i];
        }
        portA.bring(SOURCE, foreign, message);
        portB.bring(SOURCE, foreign, message);
        vm.expectRevert(ICheckpointRegistry.BadMessage.selector);
        registry.record(message);
        assertEq(registry.familiesOf(hubId, 7, FORGED), 0);
    }

    // ------------------------------------------------------------------------------------------------ the operator's word

    function test_the_operator_s_signature_is_a_family_of_its_own() public {
        bytes memory message = checkpoint(HUB, 7, rootOf(7));
        bytes memory signature = signCheckpoint(OPERATOR_KEY, 7, rootOf(7));
        vm.expectEmit(address(registry));
        emit ICheckpointRegistry.CheckpointSigned(hubId, 7, rootOf(7));
        registry.recordSigned(SOURCE, HUB, 7, rootOf(7), signature);
        assertEq(registry.familiesOf(hubId, 7, rootOf(7)), 1);
        assertStanding(7, ICheckpointRegistry.Standing.Unknown);
        // Twice is once.
        registry.recordSigned(SOURCE, HUB, 7, rootOf(7), signature);
        assertEq(registry.familiesOf(hubId, 7, rootOf(7)), 1);
        assertStanding(7, ICheckpointRegistry.Standing.Unknown);
        bring(portA, message);
        registry.record(message);
        assertStanding(7, ICheckpointRegistry.Standing.Provisional);
    }

    function test_a_signature_that_completes_the_quorum_records() public {
        bring(portB, checkpoint(HUB, 7, rootOf(7)));
        bytes memory signature = signCheckpoint(OPERATOR_KEY, 7, rootOf(7));
        vm.expectEmit(address(registry));
        emit ICheckpointRegistry.CheckpointRecorded(hubId, 7, rootOf(7));
        registry.recordSigned(SOURCE, HUB, 7, rootOf(7), signature);
        // Known already: no conflict with itself.
        registry.recordSigned(SOURCE, HUB, 7, rootOf(7), signature);
        assertStanding(7, ICheckpointRegistry.Standing.Provisional);
    }

    function test_a_hub_without_an_outbox_has_the_operator_only() public {
        address far = address(0x4D);
        ICheckpointRegistry.Hub memory hub = signedHub(far);
        (hub.chain, hub.firstEon) = (5, 9);
        vm.prank(admin);
        registry.registerHub(hub);
        bytes32 farId = registry.hubIdOf(5, far);
        bytes memory signature = sign(OPERATOR_KEY, registry.checkpointDigest(5, far, 9, rootOf(9)));
        registry.recordSigned(5, far, 9, rootOf(9), signature);
        assertEq(registry.checkpointOf(farId, 9).root, rootOf(9));
        // Nobody's word over a bridge counts for it, not even an outbox of 0.
        bytes memory message = abi.encodePacked(
            uint8(1),
            uint8(2),
            uint64(5),
            uint64(block.chainid),
            bytes32(0),
            uint256(uint160(address(inbox))),
            uint64(9),
            FORGED,
            uint32(0),
            uint256(0),
            uint256(uint160(far))
        );
        portA.bring(5, bytes32(0), message);
        vm.expectRevert(ICheckpointRegistry.BadMessage.selector);
        registry.record(message);
        assertEq(registry.familiesOf(farId, 9, FORGED), 0);
        // Two words of the operator contradict each other.
        signature = sign(OPERATOR_KEY, registry.checkpointDigest(5, far, 9, FORGED));
        registry.recordSigned(5, far, 9, FORGED, signature);
        (, bool frozen) = registry.stateOf(farId);
        assertTrue(frozen);
    }

    function test_signatures_hold_for_one_registry_chain_hub_eon_and_root() public {
        bytes memory signature = signCheckpoint(OPERATOR_KEY, 7, rootOf(7));
        refusedSignature(8, rootOf(7), signature);
        refusedSignature(7, rootOf(8), signature);
        address other = address(0x4C);
        vm.prank(admin);
        registry.registerHub(signedHub(other));
        vm.expectRevert(ICheckpointRegistry.SignatureRefused.selector);
        registry.recordSigned(SOURCE, other, 7, rootOf(7), signature);
        ICheckpointRegistry.Hub memory elsewhere = signedHub(HUB);
        elsewhere.chain = SOURCE + 1;
        vm.prank(admin);
        registry.registerHub(elsewhere);
        vm.expectRevert(ICheckpointRegistry.SignatureRefused.selector);
        registry.recordSigned(SOURCE + 1, HUB, 7, rootOf(7), signature);

        CheckpointRegistry second = new CheckpointRegistry(address(inbox), admin, RESOLVE_DELAY);
        vm.prank(admin);
        second.registerHub(signedHub(HUB));
        vm.expectRevert(ICheckpointRegistry.SignatureRefused.selector);
        second.recordSigned(SOURCE, HUB, 7, rootOf(7), signature);
        // The other half of a fork.
        vm.chainId(777);
        refusedSignature(7, rootOf(7), signature);
    }

    function test_no_second_form_of_a_signature_is_taken() public {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(OPERATOR_KEY, registry.checkpointDigest(SOURCE, HUB, 7, rootOf(7)));
        refusedSignature(7, rootOf(7), abi.encodePacked(r, bytes32(ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27)));
        refusedSignature(7, rootOf(7), abi.encodePacked(r, s, v - 27));
        refusedSignature(7, rootOf(7), abi.encodePacked(r, s, v, uint8(0)));
        refusedSignature(7, rootOf(7), abi.encodePacked(r, s));
        refusedSignature(7, rootOf(7), "");
        refusedSignature(7, rootOf(7), signCheckpoint(PAYER_KEY, 7, rootOf(7)));
        registry.recordSigned(SOURCE, HUB, 7, rootOf(7), abi.encodePacked(r, s, v));
    }

    function test_an_operator_of_zero_never_signed() public {
        address other = address(0x4C);
        vm.prank(admin);
        registry.registerHub(bridgedHub(other));
        // Recovers to 0.
        vm.expectRevert(ICheckpointRegistry.SignatureRefused.selector);
        registry.recordSigned(SOURCE, other, 7, rootOf(7), abi.encodePacked(bytes32(0), bytes32(0), uint8(27)));
        vm.expectRevert(ICheckpointRegistry.SignatureRefused.selector);
        registry.recordSigned(SOURCE, other, 7, rootOf(7), "");
    }

    function test_what_no_message_can_say_cannot_be_signed() public {
        bytes memory noEon = signCheckpoint(OPERATOR_KEY, 0, rootOf(1));
        vm.expectRevert(ICheckpointRegistry.BadMessage.selector);
        registry.recordSigned(SOURCE, HUB, 0, rootOf(1), noEon);
        bytes memory noRoot = signCheckpoint(OPERATOR_KEY, 1, 0);
        vm.expectRevert(ICheckpointRegistry.BadMessage.selector);
        registry.recordSigned(SOURCE, HUB, 1, 0, noRoot);
        bytes32 unknown = registry.hubIdOf(SOURCE, address(0x4C));
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.UnknownHub.selector, unknown));
        registry.recordSigned(SOURCE, address(0x4C), 1, rootOf(1), noEon);
    }

    function refusedSignature(uint64 eon, bytes32 root, bytes memory signature) private {
        vm.expectRevert(ICheckpointRegistry.SignatureRefused.selector);
        registry.recordSigned(SOURCE, HUB, eon, root, signature);
    }

    // ------------------------------------------------------------------------------------------------ what the owner may do

    function test_a_hub_is_registered_once_and_for_ever() public {
        address other = address(0x4C);
        bytes32 otherId = registry.hubIdOf(SOURCE, other);
        assertEq(otherId, keccak256(abi.encode(SOURCE, other)));
        vm.startPrank(admin);
        vm.expectEmit(address(registry));
        emit ICheckpointRegistry.HubRegistered(otherId, SOURCE, other, address(0xB0B), operator, 2, 3, EON_SECONDS, 1);
        registry.registerHub(hubOf(other, 2));
        assertEq(abi.encode(registry.hubOf(otherId)), abi.encode(hubOf(other, 2)));
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.HubExists.selector, otherId));
        registry.registerHub(bridgedHub(other));
    }

    function test_a_hub_must_name_somebody_whose_word_can_reach_its_quorum() public {
        refusedHub(0, HUB, OUTBOX, operator, 2, 1, 1);
        refusedHub(5, address(0), OUTBOX, operator, 2, 1, 1);
        refusedHub(5, HUB, 0, address(0), 1, 1, 1);
        refusedHub(5, HUB, OUTBOX, operator, 0, 1, 1);
        refusedHub(5, HUB, OUTBOX, operator, 17, 1, 1);
        refusedHub(5, HUB, OUTBOX, address(0), 16, 1, 1);
        refusedHub(5, HUB, 0, operator, 2, 1, 1);
        refusedHub(5, HUB, OUTBOX, operator, 2, 0, 1);
        refusedHub(5, HUB, OUTBOX, operator, 2, 6, 1);
        vm.prank(admin);
        registry.registerHub(ICheckpointRegistry.Hub(5, HUB, address(0xB0B), 1, operator, 16, 5, 0));
    }

    function test_a_hub_must_have_a_first_eon() public {
        refusedHub(5, HUB, OUTBOX, operator, 2, 1, 0);
    }

    function test_beside_an_outbox_the_operator_alone_is_no_quorum() public {
        refusedHub(5, HUB, OUTBOX, operator, 1, 1, 1);
        vm.startPrank(admin);
        registry.registerHub(hubOf(address(0x4C), 2));
        registry.registerHub(bridgedHub(address(0x4D)));
        registry.registerHub(signedHub(address(0x4E)));
    }

    function refusedHub(uint64 chain, address hub, bytes32 outbox, address signer, uint8 quorum, uint8 gapMax, uint64 firstEon) private {
        vm.prank(admin);
        vm.expectRevert(ICheckpointRegistry.BadHub.selector);
        registry.registerHub(ICheckpointRegistry.Hub(chain, hub, address(uint160(uint256(outbox))), firstEon, signer, quorum, gapMax, 0));
    }

    function test_a_token_has_one_position_and_a_position_one_token() public {
        (bool known, uint64 trail) = registry.trailOf(hubId, HUB);
        assertTrue(known, "the native coin");
        assertEq(trail, 0);
        (known,) = registry.trailOf(hubId, address(token));
        assertFalse(known);
        vm.startPrank(admin);
        vm.expectEmit(address(registry));
        emit ICheckpointRegistry.TokenRegistered(hubId, address(token), 3);
        registry.registerToken(hubId, address(token), 3);
        (known, trail) = registry.trailOf(hubId, address(token));
        assertTrue(known);
        assertEq(trail, 3);
        refusedToken(address(token), 4);
        refusedToken(address(this), 3);
        refusedToken(address(this), 0);
        refusedToken(HUB, 1);
        refusedToken(address(0), 1);
        bytes32 nobody = keccak256("nobody");
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.UnknownHub.selector, nobody));
        registry.registerToken(nobody, address(token), 3);
        (known,) = registry.trailOf(nobody, address(0));
        assertFalse(known);
    }

    function refusedToken(address which, uint64 trail) private {
        vm.expectRevert(ICheckpointRegistry.BadToken.selector);
        registry.registerToken(hubId, which, trail);
    }

    function test_only_the_owner_decides() public {
        bytes memory stranger = abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, address(this));
        vm.expectRevert(stranger);
        registry.registerHub(hubOf(address(0x4C), 2));
        vm.expectRevert(stranger);
        registry.registerToken(hubId, address(token), 1);
        vm.expectRevert(stranger);
        registry.announceResolution(hubId, 7, FORGED);
        vm.expectRevert(stranger);
        registry.resolve(hubId, 7, FORGED);
        assertEq(registry.owner(), admin);
    }

    function test_the_owner_cannot_leave_without_an_heir() public {
        address heir = makeAddr("heir");
        vm.expectRevert(ICheckpointRegistry.OwnerNeeded.selector);
        registry.renounceOwnership();
        vm.startPrank(admin);
        vm.expectRevert(ICheckpointRegistry.OwnerNeeded.selector);
        registry.renounceOwnership();
        registry.transferOwnership(heir);
        vm.stopPrank();
        assertEq(registry.owner(), admin);
        vm.prank(heir);
        registry.acceptOwnership();
        assertEq(registry.owner(), heir);
    }

    function test_the_delay_is_bounded_and_the_inbox_is_a_contract() public {
        vm.expectRevert(ICheckpointRegistry.BadDelay.selector);
        new CheckpointRegistry(address(inbox), admin, 0);
        vm.expectRevert(ICheckpointRegistry.BadDelay.selector);
        new CheckpointRegistry(address(inbox), admin, 365 days + 1);
        vm.expectRevert(ICheckpointRegistry.BadInbox.selector);
        new CheckpointRegistry(makeAddr("nothing"), admin, 1);
        assertEq(registry.inbox(), address(inbox));
        assertEq(registry.resolveDelay(), RESOLVE_DELAY);
        assertLt(address(registry).code.length, 24_576);
    }

    // ------------------------------------------------------------------------------------------------ gas

    function test_gas_recording_stays_below_its_limit() public {
        carry(7);
        bytes memory message = checkpoint(HUB, 8, rootOf(8));
        bring(portA, message);
        bring(portB, message);
        bytes memory call = abi.encodeCall(registry.record, (message));
        uint256 intrinsic = 21_000;
        for (uint256 i; i < call.length; ++i) {
            intrinsic += call[i] == 0 ? 4 : 16;
        }
        vm.cool(address(registry));
        vm.cool(address(inbox));
        uint256 used = gasleft();
        (bool done,) = address(registry).call(call);
        used = used - gasleft() + intrinsic;
        assertTrue(done);
        assertStanding(8, ICheckpointRegistry.Standing.Provisional);
        emit log_named_uint("recording a checkpoint, the whole transaction", used);
        assertLe(used, 110_000);
    }

    function test_gas_bringing_a_checkpoint_costs_a_port_hardly_more_than_a_batch() public {
        uint256 batch = deliver(header(rootOf(1), 1, 1));
        uint256 checkpointed = deliver(checkpoint(HUB, 7, rootOf(7)));
        emit log_named_uint("receiveMessage, a batch", batch);
        emit log_named_uint("receiveMessage, a checkpoint", checkpointed);
        assertLe(checkpointed, batch + 1_500);
    }

    function deliver(bytes memory message) private returns (uint256 used) {
        vm.cool(address(inbox));
        vm.prank(address(portA));
        used = gasleft();
        inbox.receiveMessage(SOURCE, OUTBOX, message);
        used -= gasleft();
    }
}
