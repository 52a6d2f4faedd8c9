// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Test} from "forge-std/Test.sol";
import {Vm} from "forge-std/Vm.sol";
import {SettlementInbox} from "../src/SettlementInbox.sol";
import {SettlementOutbox} from "../src/SettlementOutbox.sol";
import {WormholePort} from "../src/WormholePort.sol";
import {ISettlementInbox} from "../src/interfaces/ISettlementInbox.sol";
import {IWormholeCore} from "../src/interfaces/IWormholeCore.sol";
import {IWormholePort} from "../src/interfaces/IWormholePort.sol";
import {RealWormhole} from "./mocks/Wormhole.sol";
import {PlainTree} from "./PlainTree.sol";

/// @dev Two chains in one EVM: chain ids change with `vm.chainId`, the protocol's own core stands on each.
contract WormholePortTest is Test, RealWormhole {
    uint64 private constant A = 31337;
    uint64 private constant B = 31338;
    uint16 private constant WH_A = 2;
    uint16 private constant WH_B = 23;
    uint256 private constant GUARDIANS = 19;
    uint256 private constant QUORUM = 13;
    uint256 private constant GAS_MAX = 185_000;

    address private owner = makeAddr("owner");
    address private dispatcher = makeAddr("dispatcher");
    IWormholeCore private coreA;
    IWormholeCore private coreB;
    SettlementOutbox private outbox;
    SettlementInbox private inbox;
    WormholePort private portA;
    WormholePort private portB;

    function setUp() public {
        vm.warp(1_800_000_000);
        vm.chainId(A);
        coreA = deployCore(WH_A, GUARDIANS);
        outbox = new SettlementOutbox(owner);
        vm.chainId(B);
        coreB = deployCore(WH_B, GUARDIANS);
        inbox = new SettlementInbox(owner, makeAddr("guardian"), 7 days, 3 days, 14 days);
        vm.chainId(A);
        portA = new WormholePort(address(coreA), address(outbox), address(0), owner);
        portB = new WormholePort(address(coreB), address(0), address(inbox), owner);
        vm.startPrank(owner);
        portA.setLane(B, IWormholePort.Lane(WH_B, word(address(portB)), 0));
        portB.setLane(A, IWormholePort.Lane(WH_A, word(address(portA)), word(address(outbox))));
        portA.freeze();
        portB.freeze();
        outbox.setDispatcher(dispatcher, true);
        outbox.addPort(address(portA));
        inbox.proposePort(address(portB));
        inbox.activatePort(address(portB));
        vm.stopPrank();
        vm.deal(dispatcher, 1 ether);
    }

    function word(address account) private pure returns (bytes32) {
        return bytes32(uint256(uint160(account)));
    }

    function message(uint64 sequence) private view returns (bytes memory) {
        return abi.encodePacked(
            uint8(1), uint8(1), A, B, word(address(outbox)), word(address(inbox)), sequence, root(), uint32(2), word(address(0xFE))
        );
    }

    function root() private pure returns (bytes32) {
        return PlainTree.root(ids());
    }

    function ids() private pure returns (bytes32[] memory list) {
        list = new bytes32[](2);
        (list[0], list[1]) = (keccak256("one"), keccak256("two"));
    }

    /// @dev Sends on A and returns what the guardians see.
    function dispatch(uint64 sequence, uint256 value) private returns (Body memory body, bytes32 bridgeRef) {
        vm.chainId(A);
        vm.recordLogs();
        vm.prank(dispatcher);
        bridgeRef = outbox.dispatch{value: value}(message(sequence), ids(), address(portA), 0);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.chainId(B);
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].topics[0] != IWormholeCore.LogMessagePublished.selector) continue;
            assertEq(logs[i].emitter, address(coreA));
            body.timestamp = uint32(block.timestamp);
            body.chain = WH_A;
            body.emitter = logs[i].topics[1];
            (body.sequence, body.nonce, body.payload, body.consistency) = abi.decode(logs[i].data, (uint64, uint32, bytes, uint8));
            return (body, bridgeRef);
        }
        revert("nothing published");
    }

    function sent(uint64 sequence) private returns (Body memory body) {
        (body,) = dispatch(sequence, 0);
    }

    function votes(bytes memory data) private view returns (uint256) {
        return inbox.votes(keccak256(data));
    }

    // ---------------------------------------------------------------------------------------------- the way

    function test_a_dispatched_message_is_recorded_by_the_inbox() public {
        (Body memory body, bytes32 bridgeRef) = dispatch(1, 0);
        assertEq(body.emitter, word(address(portA)));
        assertEq(body.consistency, 1);
        assertEq(body.payload, message(1));
        bytes memory vaa = sign(body, 0, QUORUM);
        (IWormholeCore.VM memory vm_, bool valid,) = coreB.parseAndVerifyVM(vaa);
        assertTrue(valid);
        assertEq(bridgeRef, vm_.hash, "the reference is the digest of the VAA");
        vm.expectEmit(address(inbox));
        emit ISettlementInbox.MessageReceived(keccak256(message(1)), address(portB), 1);
        portB.executeVAAv1(vaa);
        assertEq(portB.delivered(A, body.sequence), bridgeRef);
    }

    function test_more_signatures_than_the_quorum_are_accepted() public {
        portB.executeVAAv1(sign(sent(1), 0, GUARDIANS));
        assertEq(votes(message(1)), 1);
    }

    function test_a_single_guardian_is_a_quorum_of_one() public {
        vm.chainId(B);
        IWormholeCore small = deployCore(WH_B, 1);
        WormholePort port = receiver(small);
        port.executeVAAv1(sign(sent(1), 0, 1));
        assertEq(votes(message(1)), 2, "the second port's slot");
    }

    /// @dev Another port of the inbox on another core.
    function receiver(IWormholeCore core) private returns (WormholePort port) {
        port = new WormholePort(address(core), address(0), address(inbox), owner);
        vm.startPrank(owner);
        port.setLane(A, IWormholePort.Lane(WH_A, word(address(portA)), word(address(outbox))));
        port.freeze();
        inbox.proposePort(address(port));
        inbox.activatePort(address(port));
        vm.stopPrank();
    }

    // -------------------------------------------------------------------------------------------- refusals

    function test_a_vaa_comes_in_once() public {
        Body memory body = sent(1);
        portB.executeVAAv1(sign(body, 0, QUORUM));
        bytes32 digest = digestOf(body);
        bytes memory again = sign(body, 0, QUORUM + 2);
        vm.expectRevert(abi.encodeWithSelector(IWormholePort.AlreadyDelivered.selector, digest));
        portB.executeVAAv1(again);
    }

    function test_other_bytes_of_the_same_vaa_are_the_same_vaa() public {
        Body memory body = sent(1);
        bytes memory vaa = sign(body, 0, QUORUM);
        portB.executeVAAv1(malleate(vaa));
        vm.expectRevert(abi.encodeWithSelector(IWormholePort.AlreadyDelivered.selector, digestOf(body)));
        portB.executeVAAv1(vaa);
    }

    /// @dev r, n - s, v ^ 1 of the first signature: the core takes it too.
    function malleate(bytes memory vaa) private pure returns (bytes memory) {
        uint256 s;
        assembly ("memory-safe") {
            s := mload(add(vaa, 71))
        }
        s = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141 - s;
        assembly ("memory-safe") {
            mstore(add(vaa, 71), s)
        }
        vaa[71] = bytes1(uint8(vaa[71]) ^ 1);
        return vaa;
    }

    function test_a_second_vaa_of_a_sequence_is_refused() public {
        Body memory body = sent(1);
        portB.executeVAAv1(sign(body, 0, QUORUM));
        bytes32 first = digestOf(body);
        body.payload = message(2);
        bytes memory other = sign(body, 0, QUORUM);
        vm.expectRevert(abi.encodeWithSelector(IWormholePort.SequenceTaken.selector, body.sequence, first));
        portB.executeVAAv1(other);
    }

    function test_only_the_peer_of_a_known_chain_is_heard() public {
        Body memory body = sent(1);
        body.emitter = word(address(this));
        refuse(body, abi.encodeWithSelector(IWormholePort.NotPeer.selector, WH_A, body.emitter));
        body.emitter = 0;
        refuse(body, abi.encodeWithSelector(IWormholePort.NotPeer.selector, WH_A, bytes32(0)));
        (body.emitter, body.chain) = (word(address(portA)), 4);
        refuse(body, abi.encodeWithSelector(IWormholePort.NotPeer.selector, 4, body.emitter));
        (body.emitter, body.chain) = (0, 4);
        refuse(body, abi.encodeWithSelector(IWormholePort.NotPeer.selector, 4, bytes32(0)));
    }

    function refuse(Body memory body, bytes memory why) private {
        bytes memory vaa = sign(body, 0, QUORUM);
        vm.expectRevert(why);
        portB.executeVAAv1(vaa);
    }

    function test_a_lane_without_a_remote_outbox_receives_nothing() public {
        Body memory body = sent(1);
        WormholePort port = new WormholePort(address(coreB), address(0), address(inbox), owner);
        vm.startPrank(owner);
        port.setLane(A, IWormholePort.Lane(WH_A, word(address(portA)), 0));
        port.freeze();
        vm.stopPrank();
        bytes memory vaa = sign(body, 0, QUORUM);
        vm.expectRevert(abi.encodeWithSelector(IWormholePort.NotPeer.selector, WH_A, body.emitter));
        port.executeVAAv1(vaa);
    }

    function test_only_final_messages_are_taken() public {
        Body memory body = sent(1);
        uint8[4] memory levels = [0, 200, 201, 202];
        for (uint256 i; i < levels.length; ++i) {
            body.consistency = levels[i];
            refuse(body, abi.encodeWithSelector(IWormholePort.BadVaa.selector));
        }
    }

    function test_a_checkpoint_comes_in_as_a_batch_does() public {
        Body memory body = sent(1);
        body.payload = checkpoint();
        assertEq(body.payload.length, 190);
        portB.executeVAAv1(sign(body, 0, QUORUM));
        assertEq(votes(checkpoint()), 1);
    }

    function checkpoint() private view returns (bytes memory) {
        return abi.encodePacked(
            uint8(1),
            uint8(2),
            A,
            B,
            word(address(outbox)),
            word(address(inbox)),
            uint64(7),
            root(),
            uint32(0),
            bytes32(0),
            word(address(0x4B))
        );
    }

    function test_only_messages_of_our_length_are_taken() public {
        Body memory body = sent(1);
        body.payload = bytes.concat(body.payload, hex"00");
        refuse(body, abi.encodeWithSelector(IWormholePort.BadVaa.selector));
        body.payload = "";
        refuse(body, abi.encodeWithSelector(IWormholePort.BadVaa.selector));
    }

    function test_a_message_for_another_chain_does_not_get_past_the_inbox() public {
        Body memory body = sent(1);
        body.payload = message(1);
        body.payload[17] = 0x01;
        refuse(body, abi.encodeWithSelector(ISettlementInbox.BadMessage.selector));
    }

    function test_a_message_that_names_another_outbox_does_not_get_past_the_inbox() public {
        Body memory body = sent(1);
        body.payload[49] = 0x01;
        refuse(body, abi.encodeWithSelector(ISettlementInbox.WrongSource.selector));
    }

    function test_too_few_signatures_are_no_quorum() public {
        bytes memory vaa = sign(sent(1), 0, QUORUM - 1);
        vm.expectRevert(abi.encodeWithSelector(IWormholePort.NoQuorum.selector, QUORUM - 1, QUORUM));
        portB.executeVAAv1(vaa);
        vaa = sign(sent(2), 0, 0);
        vm.expectRevert(abi.encodeWithSelector(IWormholePort.NoQuorum.selector, 0, QUORUM));
        portB.executeVAAv1(vaa);
    }

    function test_one_guardian_does_not_count_twice() public {
        Body memory body = sent(1);
        uint256[] memory indices = new uint256[](QUORUM);
        bytes memory vaa = signAs(body, 0, 0, indices);
        vm.expectRevert(abi.encodeWithSelector(IWormholePort.BadSignature.selector, 0));
        portB.executeVAAv1(vaa);
        for (uint256 i; i < QUORUM; ++i) {
            indices[i] = QUORUM - i;
        }
        vaa = signAs(body, 0, 0, indices);
        vm.expectRevert(abi.encodeWithSelector(IWormholePort.BadSignature.selector, QUORUM - 1));
        portB.executeVAAv1(vaa);
    }

    function test_signatures_of_strangers_are_refused() public {
        Body memory body = sent(1);
        uint256[] memory indices = new uint256[](QUORUM);
        for (uint256 i; i < QUORUM; ++i) {
            indices[i] = i;
        }
        bytes memory vaa = signAs(body, 0, 7, indices);
        vm.expectRevert(abi.encodeWithSelector(IWormholePort.BadSignature.selector, 0));
        portB.executeVAAv1(vaa);
        indices[QUORUM - 1] = GUARDIANS;
        vaa = signAs(body, 0, 0, indices);
        vm.expectRevert(abi.encodeWithSelector(IWormholePort.BadSignature.selector, GUARDIANS));
        portB.executeVAAv1(vaa);
    }

    /// @dev A failed recovery answers the zero address; so would an index behind the last key.
    function test_an_unrecoverable_signature_does_not_match_a_missing_key() public {
        bytes memory vaa = sign(sent(1), 0, QUORUM);
        uint256 last = 6 + 66 * (QUORUM - 1);
        vaa[last] = bytes1(uint8(200));
        vaa[last + 65] = bytes1(uint8(9));
        vm.expectRevert(abi.encodeWithSelector(IWormholePort.BadSignature.selector, 200));
        portB.executeVAAv1(vaa);
    }

    function test_value_is_refused() public {
        bytes memory vaa = sign(sent(1), 0, QUORUM);
        vm.deal(address(this), 1);
        vm.expectRevert(IWormholePort.ValueRefused.selector);
        portB.executeVAAv1{value: 1}(vaa);
    }

    function test_short_bytes_and_other_versions_are_refused() public {
        bytes memory vaa = sign(sent(1), 0, QUORUM);
        vaa[0] = 0x02;
        bytes[3] memory bad = [bytes(""), hex"01000000000d", vaa];
        for (uint256 i; i < bad.length; ++i) {
            vm.expectRevert(IWormholePort.BadVaa.selector);
            portB.executeVAAv1(bad[i]);
        }
    }

    /// @dev What the core refuses, the port refuses: one changed byte anywhere.
    function testFuzz_the_port_takes_nothing_the_core_would_not(uint256 place, uint8 change) public {
        Body memory body = sent(1);
        bytes memory vaa = sign(body, 0, QUORUM);
        place = bound(place, 0, vaa.length - 1);
        vaa[place] = bytes1(uint8(vaa[place]) ^ change);
        bool core;
        try coreB.parseAndVerifyVM(vaa) returns (IWormholeCore.VM memory, bool valid, string memory) {
            core = valid;
        } catch {}
        bool port;
        try portB.executeVAAv1(vaa) {
            port = true;
        } catch {}
        assertEq(port, core);
        assertEq(change == 0, core, "no byte can change without notice");
    }

    // ---------------------------------------------------------------------------------------- guardian sets

    function test_a_set_that_was_replaced_counts_for_a_day() public {
        (bytes memory early, bytes memory late) = (sign(sent(1), 0, QUORUM), sign(sent(2), 0, QUORUM));
        rotate(coreB, GUARDIANS, GUARDIANS);
        portB.executeVAAv1(early);
        assertEq(votes(message(1)), 1);
        vm.warp(block.timestamp + 1 days + 1);
        vm.expectRevert(abi.encodeWithSelector(IWormholePort.NotVerified.selector, "guardian set has expired"));
        portB.executeVAAv1(late);
    }

    /// @dev The copied keys of a set must not outlive it.
    function test_a_remembered_set_expires_all_the_same() public {
        portB.executeVAAv1(sign(sent(1), 0, QUORUM));
        bytes memory late = sign(sent(2), 0, QUORUM);
        rotate(coreB, GUARDIANS, 7);
        vm.warp(block.timestamp + 1 days + 1);
        vm.expectRevert(abi.encodeWithSelector(IWormholePort.NotVerified.selector, "guardian set has expired"));
        portB.executeVAAv1(late);
    }

    function test_a_new_set_is_used_at_once_with_its_own_size_and_keys() public {
        portB.executeVAAv1(sign(sent(1), 0, QUORUM));
        rotate(coreB, GUARDIANS, 7);
        Body memory body = sent(2);
        bytes memory few = sign(body, 1, 4);
        vm.expectRevert(abi.encodeWithSelector(IWormholePort.NoQuorum.selector, 4, 5));
        portB.executeVAAv1(few);
        bytes memory relabelled = relabel(sign(body, 0, QUORUM), 1);
        vm.expectRevert(abi.encodeWithSelector(IWormholePort.BadSignature.selector, 0));
        portB.executeVAAv1(relabelled);
        vm.expectEmit(address(portB));
        emit IWormholePort.GuardianSetRemembered(1, 7);
        portB.executeVAAv1(sign(body, 1, 5));
        assertEq(votes(message(2)), 1);
    }

    function relabel(bytes memory vaa, uint8 set) private pure returns (bytes memory) {
        vaa[4] = bytes1(set);
        return vaa;
    }

    function test_a_set_the_core_does_not_know_is_refused() public {
        bytes memory vaa = sign(sent(1), 9, QUORUM);
        vm.expectRevert(abi.encodeWithSelector(IWormholePort.NotVerified.selector, "invalid guardian set"));
        portB.executeVAAv1(vaa);
    }

    // ------------------------------------------------------------------------------------------------- fees

    function test_the_fee_is_paid_exactly_and_the_rest_returned() public {
        setMessageFee(coreA, GUARDIANS, 7);
        vm.chainId(A);
        assertEq(outbox.quote(message(1), address(portA), 0), 7);
        uint256 before = dispatcher.balance;
        dispatch(1, 100);
        assertEq(before - dispatcher.balance, 7);
        assertEq(address(coreA).balance, 7);
        assertEq(address(portA).balance + address(outbox).balance, 0);
    }

    function test_a_fee_that_rose_since_the_quote_refuses_the_send() public {
        setMessageFee(coreA, GUARDIANS, 7);
        vm.chainId(A);
        bytes memory data = message(1);
        vm.expectRevert(abi.encodeWithSelector(IWormholePort.FeeTooLow.selector, 7, 6));
        vm.prank(dispatcher);
        outbox.dispatch{value: 6}(data, ids(), address(portA), 0);
    }

    // ------------------------------------------------------------------------------------------- the wiring

    function test_only_the_outbox_sends() public {
        vm.expectRevert(IWormholePort.NotOutbox.selector);
        portA.send(B, message(1), 0, dispatcher);
    }

    function test_nothing_is_sent_before_the_freeze_or_without_a_lane() public {
        WormholePort port = new WormholePort(address(coreA), address(this), address(0), owner);
        vm.expectRevert(IWormholePort.NotFrozen.selector);
        port.send(B, message(1), 0, dispatcher);
        vm.prank(owner);
        port.freeze();
        vm.expectRevert(abi.encodeWithSelector(IWormholePort.NoLane.selector, B));
        port.send(B, message(1), 0, dispatcher);
        vm.expectRevert(abi.encodeWithSelector(IWormholePort.NoLane.selector, B));
        port.quote(B, message(1), 0);
    }

    function test_nothing_comes_in_before_the_freeze() public {
        bytes memory vaa = sign(sent(1), 0, QUORUM);
        WormholePort port = new WormholePort(address(coreB), address(0), address(inbox), owner);
        vm.prank(owner);
        port.setLane(A, IWormholePort.Lane(WH_A, word(address(portA)), word(address(outbox))));
        vm.expectRevert(IWormholePort.NotFrozen.selector);
        port.executeVAAv1(vaa);
        assertEq(port.delivered(A, 0), 0);
        vm.prank(owner);
        port.freeze();
        vm.startPrank(owner);
        inbox.proposePort(address(port));
        inbox.activatePort(address(port));
        vm.stopPrank();
        port.executeVAAv1(vaa);
        assertEq(votes(message(1)), 2, "the second port's slot");
    }

    function test_lanes_are_set_once_by_the_owner_until_the_freeze() public {
        WormholePort port = new WormholePort(address(coreA), address(outbox), address(0), owner);
        IWormholePort.Lane memory lane = IWormholePort.Lane(WH_B, word(address(portB)), 0);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, address(this)));
        port.setLane(B, lane);
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(IWormholePort.NoLane.selector, 0));
        port.setLane(0, lane);
        lane.wormholeChain = WH_A;
        vm.expectRevert(abi.encodeWithSelector(IWormholePort.NoLane.selector, B));
        port.setLane(B, lane);
        lane.wormholeChain = WH_B;
        lane.peer = 0;
        vm.expectRevert(IWormholePort.ZeroAddress.selector);
        port.setLane(B, lane);
        lane.peer = word(address(portB));
        port.setLane(B, lane);
        vm.expectRevert(abi.encodeWithSelector(IWormholePort.LaneExists.selector, B));
        port.setLane(B, lane);
        vm.expectRevert(abi.encodeWithSelector(IWormholePort.LaneExists.selector, B + 1));
        port.setLane(B + 1, lane);
        port.freeze();
        lane.wormholeChain = 5;
        vm.expectRevert(IWormholePort.AlreadyFrozen.selector);
        port.setLane(137, lane);
        vm.expectRevert(IWormholePort.AlreadyFrozen.selector);
        port.freeze();
        vm.stopPrank();
        assertEq(abi.encode(port.lane(B)), abi.encode(IWormholePort.Lane(WH_B, word(address(portB)), 0)));
        assertEq(port.chainOf(WH_B), B);
    }

    function test_a_port_needs_a_core_and_a_side() public {
        vm.expectRevert(IWormholePort.ZeroAddress.selector);
        new WormholePort(address(0), address(outbox), address(inbox), owner);
        vm.expectRevert(IWormholePort.ZeroAddress.selector);
        new WormholePort(address(coreA), address(0), address(0), owner);
    }

    // -------------------------------------------------------------------------------------------------- gas

    /// @dev The whole transaction: intrinsic gas, calldata, execution with everything cold as in a transaction of its own.
    function test_gas_a_delivery_with_thirteen_signatures_stays_below_its_limit() public {
        portB.executeVAAv1(sign(sent(1), 0, QUORUM));
        bytes memory call = abi.encodeCall(IWormholePort.executeVAAv1, (sign(sent(2), 0, QUORUM)));
        uint256 intrinsic = 21_000;
        for (uint256 i; i < call.length; ++i) {
            intrinsic += call[i] == 0 ? 4 : 16;
        }
        address keys = vm.computeCreate2Address(0, keysCreation(), address(portB));
        assertGt(keys.code.length, 0);
        vm.cool(address(portB));
        vm.cool(address(coreB));
        vm.cool(address(inbox));
        vm.cool(keys);
        uint256 used = gasleft();
        (bool done,) = address(portB).call(call);
        used = used - gasleft() + intrinsic;
        assertTrue(done);
        emit log_named_uint("whole delivery, 13 of 19", used);
        assertLe(used, GAS_MAX);
    }

    function keysCreation() private pure returns (bytes32) {
        bytes memory packed;
        address[] memory keys = addresses(0, GUARDIANS);
        for (uint256 i; i < keys.length; ++i) {
            packed = abi.encodePacked(packed, keys[i]);
        }
        return keccak256(bytes.concat(hex"600b5981380380925939f300", packed));
    }
}
