// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Test} from "forge-std/Test.sol";
import {Vm} from "forge-std/Vm.sol";
import {Origin} from "@layerzerolabs/lz-evm-protocol-v2/contracts/interfaces/ILayerZeroEndpointV2.sol";
import {ILayerZeroEndpointV2, MessagingParams} from "@layerzerolabs/lz-evm-protocol-v2/contracts/interfaces/ILayerZeroEndpointV2.sol";
import {SetConfigParam} from "@layerzerolabs/lz-evm-protocol-v2/contracts/interfaces/IMessageLibManager.sol";
import {LayerZeroPort} from "../src/LayerZeroPort.sol";
import {SettlementInbox} from "../src/SettlementInbox.sol";
import {SettlementOutbox} from "../src/SettlementOutbox.sol";
import {ILayerZeroPort} from "../src/interfaces/ILayerZeroPort.sol";
import {ISettlementInbox} from "../src/interfaces/ISettlementInbox.sol";
import {ExecutorConfig, IEndpointErrors, IUln, RealLayerZero, UlnConfig, Worker} from "./mocks/LayerZero.sol";
import {FakeHub} from "./mocks/FakeHub.sol";
import {PlainTree} from "./PlainTree.sol";

/// @dev Two chains in one EVM: chain ids change with `vm.chainId`, the protocol's own contracts stand on each.
contract LayerZeroPortTest is Test, RealLayerZero {
    uint64 private constant A = 31337;
    uint64 private constant B = 31338;
    uint32 private constant EID_A = 30101;
    uint32 private constant EID_B = 30109;
    uint64 private constant CONFIRMATIONS = 15;

    address private owner = makeAddr("owner");
    address private guardian = makeAddr("guardian");
    address private dispatcher = makeAddr("dispatcher");
    address private dvn = makeAddr("dvn");
    address private defaultDvn = makeAddr("default dvn");
    Protocol private a;
    Protocol private b;
    SettlementOutbox private outbox;
    SettlementInbox private inbox;
    LayerZeroPort private portA;
    LayerZeroPort private portB;

    struct Packet {
        bytes header;
        bytes32 payloadHash;
        bytes32 guid;
        bytes message;
        Origin origin;
        bytes options;
    }

    function setUp() public {
        a = deployProtocol(EID_A, EID_B, defaultDvn);
        b = deployProtocol(EID_B, EID_A, defaultDvn);
        outbox = new SettlementOutbox(owner);
        vm.chainId(B);
        inbox = new SettlementInbox(owner, guardian, 7 days, 3 days, 14 days);
        vm.chainId(A);
        portA = new LayerZeroPort(address(a.endpoint), address(outbox), address(0), owner, guardian);
        portB = new LayerZeroPort(address(b.endpoint), address(0), address(inbox), owner, guardian);
        vm.startPrank(owner);
        setLane(portA, B, laneTo(b, address(portB), address(0)), a);
        setLane(portB, A, laneTo(a, address(portA), address(outbox)), b);
        portA.freeze();
        portB.freeze();
        outbox.setDispatcher(dispatcher, true);
        outbox.addPort(address(portA));
        inbox.proposePort(address(portB));
        inbox.activatePort(address(portB));
        vm.stopPrank();
        vm.deal(dispatcher, 1 ether);
    }

    /// @dev `remote` gives the eid; the libraries are those of the other protocol, the chain the port is on.
    function laneTo(Protocol memory remote, address peer, address remoteOutbox) private view returns (ILayerZeroPort.Lane memory) {
        Protocol memory here = remote.eid == EID_A ? b : a;
        return ILayerZeroPort.Lane(remote.eid, word(peer), word(remoteOutbox), address(here.sendLibrary), address(here.receiveLibrary));
    }

    function setLane(LayerZeroPort port, uint64 chainId, ILayerZeroPort.Lane memory lane, Protocol memory here) private {
        port.setLane(
            chainId, lane, uln(here.worker, CONFIRMATIONS), abi.encode(ExecutorConfig(10_000, here.worker)), uln(dvn, CONFIRMATIONS)
        );
    }

    function word(address account) private pure returns (bytes32) {
        return bytes32(uint256(uint160(account)));
    }

    function message(uint64 sequence) private view returns (bytes memory) {
        return message(sequence, address(outbox));
    }

    function message(uint64 sequence, address from) private view returns (bytes memory) {
        bytes32 root = PlainTree.root(ids());
        return abi.encodePacked(uint8(1), uint8(1), A, B, word(from), word(address(inbox)), sequence, root, uint32(2), word(address(0xFE)));
    }

    function ids() private pure returns (bytes32[] memory list) {
        list = new bytes32[](2);
        (list[0], list[1]) = (keccak256("one"), keccak256("two"));
    }

    function dispatch(uint64 sequence, uint128 gasLimit) private returns (Packet memory) {
        vm.recordLogs();
        vm.prank(dispatcher);
        bytes32 guid = outbox.dispatch{value: 0.1 ether}(message(sequence), ids(), address(portA), gasLimit);
        Packet memory packet = sent();
        assertEq(guid, packet.guid);
        return packet;
    }

    /// @dev A second packet with a message the outbox would send only once.
    function resend(bytes memory data) private returns (Packet memory) {
        vm.recordLogs();
        vm.deal(address(outbox), 1 ether);
        vm.prank(address(outbox));
        portA.send{value: 0.1 ether}(B, data, 0, dispatcher);
        return sent();
    }

    function sent() private returns (Packet memory packet) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].topics[0] != ILayerZeroEndpointV2.PacketSent.selector) continue;
            (bytes memory encoded, bytes memory options,) = abi.decode(logs[i].data, (bytes, bytes, address));
            packet.options = options;
            return this.parse(encoded, packet);
        }
        revert("no packet");
    }

    /// @dev version 1 | nonce 8 | srcEid 4 | sender 32 | dstEid 4 | receiver 32 | guid 32 | message
    function parse(bytes calldata encoded, Packet memory packet) external pure returns (Packet memory) {
        packet.header = encoded[:81];
        packet.payloadHash = keccak256(encoded[81:]);
        packet.guid = bytes32(encoded[81:113]);
        packet.message = encoded[113:];
        packet.origin = Origin(uint32(bytes4(encoded[9:13])), bytes32(encoded[13:45]), uint64(bytes8(encoded[1:9])));
        return packet;
    }

    function verify(Packet memory packet) private {
        vm.prank(dvn);
        b.receiveLibrary.verify(packet.header, packet.payloadHash, CONFIRMATIONS);
        b.receiveLibrary.commitVerification(packet.header, packet.payloadHash);
    }

    function deliver(Packet memory packet) private {
        vm.chainId(B);
        vm.prank(makeAddr("stranger"));
        b.endpoint.lzReceive(packet.origin, address(portB), packet.guid, packet.message, "");
        vm.chainId(A);
    }

    // ------------------------------------------------------------------------------------------------ the way of a message

    function test_a_dispatched_message_becomes_a_vote() public {
        Packet memory packet = dispatch(1, 0);
        verify(packet);
        vm.expectEmit(address(inbox));
        emit ISettlementInbox.MessageReceived(keccak256(message(1)), address(portB), 1);
        deliver(packet);
        assertEq(packet.message, message(1));
        assertEq(inbox.familiesOf(keccak256(message(1))), 1);
    }

    function test_the_fee_is_what_quote_said_and_the_rest_comes_back() public {
        uint256 fee = outbox.quote(message(1), address(portA), 0);
        assertEq(fee, 2 * Worker(a.worker).FEE());
        dispatch(1, 0);
        assertEq(dispatcher.balance, 1 ether - fee);
        assertEq(address(portA).balance, 0);
        assertEq(address(outbox).balance, 0);
    }

    function test_too_little_value_sends_nothing() public {
        uint256 fee = outbox.quote(message(1), address(portA), 0);
        vm.expectRevert(abi.encodeWithSelector(IEndpointErrors.LZ_InsufficientFee.selector, fee, fee - 1, 0, 0));
        vm.prank(dispatcher);
        outbox.dispatch{value: fee - 1}(message(1), ids(), address(portA), 0);
    }

    function test_messages_arrive_in_any_order() public {
        Packet memory first = dispatch(1, 0);
        Packet memory second = dispatch(2, 0);
        verify(first);
        verify(second);
        deliver(second);
        deliver(first);
        assertEq(inbox.votes(keccak256(message(1))), 1);
        assertEq(inbox.votes(keccak256(message(2))), 1);
    }

    function test_a_message_brought_again_changes_nothing_and_does_not_revert() public {
        Packet memory packet = dispatch(1, 0);
        Packet memory again = resend(message(1));
        verify(packet);
        verify(again);
        deliver(packet);
        vm.expectEmit(address(inbox));
        emit ISettlementInbox.MessageRepeated(keccak256(message(1)), address(portB));
        deliver(again);
        (uint128 received,) = inbox.counters();
        assertEq(received, 1);
    }

    function test_a_message_of_another_outbox_is_refused_by_the_inbox() public {
        Packet memory packet = resend(message(1, address(this)));
        verify(packet);
        vm.chainId(B);
        vm.expectRevert(ISettlementInbox.WrongSource.selector);
        b.endpoint.lzReceive(packet.origin, address(portB), packet.guid, packet.message, "");
    }

    // ------------------------------------------------------------------------------------------------ gas

    function test_options_hold_the_gas_limit_and_never_less_than_the_floor() public {
        uint128 floor = portA.MIN_GAS();
        assertEq(dispatch(1, 0).options, abi.encodePacked(hex"0003010011", hex"01", floor));
        assertEq(dispatch(2, floor - 1).options, abi.encodePacked(hex"000301001101", floor));
        assertEq(dispatch(3, floor + 1).options, abi.encodePacked(hex"000301001101", floor + 1));
        assertEq(dispatch(4, 0).options, hex"00030100110100000000000000000000000000030d40");
    }

    function test_the_floor_covers_a_first_delivery_with_room() public {
        Packet memory packet = dispatch(1, 0);
        verify(packet);
        vm.chainId(B);
        // Everything cold, as in a transaction of its own.
        uint256 used = deliverWith(packet, portB.MIN_GAS());
        assertLt(used, 110_000);
        assertEq(inbox.votes(keccak256(message(1))), 1);
    }

    function test_the_floor_covers_a_checkpoint_too() public {
        FakeHub hub = new FakeHub();
        hub.submit(7, keccak256("root"));
        vm.recordLogs();
        vm.prank(dispatcher);
        outbox.dispatchCheckpoint{value: 0.1 ether}(address(hub), 7, B, address(inbox), address(portA), 0);
        Packet memory packet = sent();
        assertEq(packet.message.length, 190);
        verify(packet);
        vm.chainId(B);
        assertLt(deliverWith(packet, portB.MIN_GAS()), 112_000);
        assertEq(inbox.votes(keccak256(packet.message)), 1);
    }

    function test_the_floor_covers_a_backlog_of_thirty() public {
        Packet memory last;
        for (uint64 i = 1; i <= 31; ++i) {
            last = dispatch(i, 0);
            verify(last);
        }
        vm.chainId(B);
        deliverWith(last, portB.MIN_GAS());
        assertEq(inbox.votes(keccak256(message(31))), 1);
    }

    function deliverWith(Packet memory packet, uint256 gasLimit) private returns (uint256 used) {
        vm.cool(address(b.endpoint));
        vm.cool(address(portB));
        vm.cool(address(inbox));
        vm.prank(makeAddr("executor"));
        used = gasleft();
        b.endpoint.lzReceive{gas: gasLimit}(packet.origin, address(portB), packet.guid, packet.message, "");
        used -= gasleft();
    }

    // ------------------------------------------------------------------------------------------------ who is believed

    function test_only_the_endpoint_may_deliver() public {
        Origin memory origin = Origin(EID_A, word(address(portA)), 1);
        vm.expectRevert(ILayerZeroPort.NotEndpoint.selector);
        portB.lzReceive(origin, 0, message(1), address(0), "");
    }

    function test_only_the_peer_is_believed() public {
        Origin memory origin = Origin(EID_A, word(address(this)), 1);
        vm.startPrank(address(b.endpoint));
        vm.expectRevert(abi.encodeWithSelector(ILayerZeroPort.NotPeer.selector, EID_A, origin.sender));
        portB.lzReceive(origin, 0, message(1), address(0), "");
        origin = Origin(EID_A + 1, word(address(portA)), 1);
        vm.expectRevert(abi.encodeWithSelector(ILayerZeroPort.NotPeer.selector, EID_A + 1, origin.sender));
        portB.lzReceive(origin, 0, message(1), address(0), "");
        origin = Origin(EID_A + 1, 0, 1);
        vm.expectRevert(abi.encodeWithSelector(ILayerZeroPort.NotPeer.selector, EID_A + 1, bytes32(0)));
        portB.lzReceive(origin, 0, message(1), address(0), "");
    }

    function test_a_lane_without_remote_outbox_receives_nothing() public {
        Origin memory origin = Origin(EID_B, word(address(portB)), 1);
        assertFalse(portA.allowInitializePath(origin));
        vm.prank(address(a.endpoint));
        vm.expectRevert(abi.encodeWithSelector(ILayerZeroPort.NotPeer.selector, EID_B, origin.sender));
        portA.lzReceive(origin, 0, message(1), address(0), "");
    }

    function test_a_stranger_s_packet_is_never_committed() public {
        vm.recordLogs();
        a.endpoint.send{value: 1 ether}(
            MessagingParams(EID_B, word(address(portB)), message(1), abi.encodePacked(hex"000301001101", uint128(200_000)), false),
            address(this)
        );
        Packet memory packet = sent();
        vm.prank(dvn);
        b.receiveLibrary.verify(packet.header, packet.payloadHash, CONFIRMATIONS);
        vm.expectRevert(IEndpointErrors.LZ_PathNotInitializable.selector);
        b.receiveLibrary.commitVerification(packet.header, packet.payloadHash);
    }

    function test_only_the_lane_s_verifiers_count() public {
        Packet memory packet = dispatch(1, 0);
        vm.prank(defaultDvn);
        b.receiveLibrary.verify(packet.header, packet.payloadHash, CONFIRMATIONS);
        vm.expectRevert(IUln.LZ_ULN_Verifying.selector);
        b.receiveLibrary.commitVerification(packet.header, packet.payloadHash);
        vm.prank(dvn);
        b.receiveLibrary.verify(packet.header, packet.payloadHash, CONFIRMATIONS - 1);
        vm.expectRevert(IUln.LZ_ULN_Verifying.selector);
        b.receiveLibrary.commitVerification(packet.header, packet.payloadHash);
        verify(packet);
    }

    function test_money_sent_along_with_a_delivery_is_refused() public {
        Packet memory packet = dispatch(1, 0);
        verify(packet);
        vm.chainId(B);
        vm.expectRevert(ILayerZeroPort.ValueRefused.selector);
        b.endpoint.lzReceive{value: 1}(packet.origin, address(portB), packet.guid, packet.message, "");
    }

    function test_only_the_outbox_may_send() public {
        vm.expectRevert(ILayerZeroPort.NotOutbox.selector);
        portA.send(B, message(1), 0, address(this));
        vm.prank(address(outbox));
        vm.expectRevert(abi.encodeWithSelector(ILayerZeroPort.NoLane.selector, B + 1));
        portA.send(B + 1, message(1), 0, address(this));
        vm.expectRevert(abi.encodeWithSelector(ILayerZeroPort.NoLane.selector, B + 1));
        portA.quote(B + 1, message(1), 0);
    }

    // ------------------------------------------------------------------------------------------------ lanes are set once

    function test_a_lane_pins_libraries_executor_and_verifiers() public {
        assertEq(a.endpoint.getSendLibrary(address(portA), EID_B), address(a.sendLibrary));
        assertFalse(a.endpoint.isDefaultSendLibrary(address(portA), EID_B));
        (address library_, bool isDefault) = b.endpoint.getReceiveLibrary(address(portB), EID_A);
        assertEq(library_, address(b.receiveLibrary));
        assertFalse(isDefault);
        assertEq(IEndpointErrors(address(a.endpoint)).delegates(address(portA)), address(0));

        // LayerZero changes its defaults; nothing moves.
        setDefaultDvn(b, EID_A, makeAddr("newest dvn"));
        UlnConfig memory config = b.receiveLibrary.getUlnConfig(address(portB), EID_A);
        assertEq(config.confirmations, CONFIRMATIONS);
        assertEq(config.requiredDVNCount, 1);
        assertEq(config.requiredDVNs[0], dvn);
        assertEq(config.optionalDVNCount, 0);
        assertEq(a.sendLibrary.getExecutorConfig(address(portA), EID_B).executor, a.worker);
        assertEq(a.sendLibrary.getUlnConfig(address(portA), EID_B).confirmations, CONFIRMATIONS);

        ILayerZeroPort.Lane memory lane = portB.lane(A);
        assertEq(lane.peer, word(address(portA)));
        assertEq(lane.remoteOutbox, word(address(outbox)));
        assertEq(portB.chainOf(EID_A), A);
    }

    function test_nobody_reconfigures_a_port_behind_its_back() public {
        SetConfigParam[] memory params = new SetConfigParam[](1);
        params[0] = SetConfigParam(EID_A, 2, uln(owner, 1));
        vm.startPrank(owner);
        vm.expectRevert(IEndpointErrors.LZ_Unauthorized.selector);
        b.endpoint.setConfig(address(portB), address(b.receiveLibrary), params);
        vm.expectRevert(IEndpointErrors.LZ_Unauthorized.selector);
        b.endpoint.clear(address(portB), Origin(EID_A, word(address(portA)), 1), 0, "");
    }

    function test_a_frozen_port_takes_no_lane() public {
        vm.startPrank(owner);
        vm.expectRevert(ILayerZeroPort.AlreadyFrozen.selector);
        setLane(portA, B + 1, laneTo(b, address(portB), address(0)), a);
        vm.expectRevert(ILayerZeroPort.AlreadyFrozen.selector);
        portA.freeze();
    }

    function test_a_lane_is_set_once() public {
        LayerZeroPort port = fresh();
        vm.startPrank(owner);
        ILayerZeroPort.Lane memory lane = laneTo(a, address(portA), address(outbox));
        setLane(port, A, lane, b);
        vm.expectRevert(abi.encodeWithSelector(ILayerZeroPort.LaneExists.selector, A));
        setLane(port, A, lane, b);
        vm.expectRevert(abi.encodeWithSelector(ILayerZeroPort.LaneExists.selector, A + 5));
        setLane(port, A + 5, lane, b);
    }

    function test_a_lane_that_leaves_a_choice_to_the_defaults_is_refused() public {
        LayerZeroPort port = fresh();
        ILayerZeroPort.Lane memory lane = laneTo(a, address(portA), address(outbox));
        bytes memory good = uln(dvn, CONFIRMATIONS);
        bytes memory executor = abi.encode(ExecutorConfig(10_000, b.worker));
        UlnConfig[3] memory lazy;
        lazy[0] = UlnConfig(0, 1, 255, 0, one(dvn), new address[](0));
        lazy[1] = UlnConfig(1, 0, 255, 0, new address[](0), new address[](0));
        lazy[2] = UlnConfig(1, 1, 0, 0, one(dvn), new address[](0));
        vm.startPrank(owner);
        for (uint256 i; i < 3; ++i) {
            vm.expectRevert(ILayerZeroPort.DefersToDefault.selector);
            port.setLane(A, lane, abi.encode(lazy[i]), executor, good);
            vm.expectRevert(ILayerZeroPort.DefersToDefault.selector);
            port.setLane(A, lane, good, executor, abi.encode(lazy[i]));
        }
        vm.expectRevert(ILayerZeroPort.DefersToDefault.selector);
        port.setLane(A, lane, good, abi.encode(ExecutorConfig(0, b.worker)), good);
        vm.expectRevert(ILayerZeroPort.DefersToDefault.selector);
        port.setLane(A, lane, good, abi.encode(ExecutorConfig(10_000, address(0))), good);
    }

    function test_an_incomplete_lane_is_refused() public {
        LayerZeroPort port = fresh();
        vm.startPrank(owner);
        ILayerZeroPort.Lane memory lane = laneTo(a, address(portA), address(outbox));
        lane.peer = 0;
        vm.expectRevert(ILayerZeroPort.ZeroAddress.selector);
        setLane(port, A, lane, b);
        lane = laneTo(a, address(portA), address(outbox));
        vm.expectRevert(abi.encodeWithSelector(ILayerZeroPort.NoLane.selector, 0));
        setLane(port, 0, lane, b);
        lane.eid = 0;
        vm.expectRevert(abi.encodeWithSelector(ILayerZeroPort.NoLane.selector, A));
        setLane(port, A, lane, b);
    }

    function test_only_the_owner_sets_lanes_and_freezes() public {
        LayerZeroPort port = fresh();
        bytes memory refusal = abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, address(this));
        ILayerZeroPort.Lane memory lane = laneTo(a, address(portA), address(outbox));
        vm.expectRevert(refusal);
        setLane(port, A, lane, b);
        vm.expectRevert(refusal);
        port.freeze();
    }

    function test_a_port_that_is_not_frozen_neither_sends_nor_receives() public {
        LayerZeroPort port = new LayerZeroPort(address(a.endpoint), address(outbox), address(inbox), owner, guardian);
        vm.startPrank(owner);
        setLane(port, B, laneTo(b, address(portB), address(outbox)), a);
        outbox.addPort(address(port));
        inbox.proposePort(address(port));
        vm.expectRevert(abi.encodeWithSelector(ISettlementInbox.PortNotFrozen.selector, address(port)));
        inbox.activatePort(address(port));
        vm.stopPrank();
        assertFalse(port.allowInitializePath(Origin(EID_B, word(address(portB)), 1)));
        vm.expectRevert(ILayerZeroPort.NotFrozen.selector);
        vm.prank(dispatcher);
        outbox.dispatch{value: 1 ether}(message(1), ids(), address(port), 0);
        vm.prank(owner);
        port.freeze();
        assertTrue(port.allowInitializePath(Origin(EID_B, word(address(portB)), 1)));
    }

    function test_a_port_needs_an_endpoint_a_guardian_and_a_side() public {
        vm.expectRevert(ILayerZeroPort.ZeroAddress.selector);
        new LayerZeroPort(address(0), address(outbox), address(inbox), owner, guardian);
        vm.expectRevert(ILayerZeroPort.ZeroAddress.selector);
        new LayerZeroPort(address(a.endpoint), address(outbox), address(inbox), owner, address(0));
        vm.expectRevert(ILayerZeroPort.ZeroAddress.selector);
        new LayerZeroPort(address(a.endpoint), address(0), address(0), owner, guardian);
    }

    function fresh() private returns (LayerZeroPort) {
        return new LayerZeroPort(address(b.endpoint), address(outbox), address(inbox), owner, guardian);
    }

    // ------------------------------------------------------------------------------------------------ skip

    function test_the_guardian_skips_a_nonce_that_blocks_the_path() public {
        dispatch(1, 0);
        Packet memory second = dispatch(2, 0);
        verify(second);
        vm.chainId(B);
        vm.expectRevert(abi.encodeWithSelector(IEndpointErrors.LZ_InvalidNonce.selector, 1));
        b.endpoint.lzReceive(second.origin, address(portB), second.guid, second.message, "");
        vm.prank(guardian);
        portB.skip(EID_A, word(address(portA)), 1);
        deliver(second);
        assertEq(inbox.votes(keccak256(message(1))), 0);
        assertEq(inbox.votes(keccak256(message(2))), 1);
    }

    function test_nobody_else_skips() public {
        vm.expectRevert(ILayerZeroPort.NotGuardian.selector);
        vm.prank(owner);
        portB.skip(EID_A, word(address(portA)), 1);
    }

    receive() external payable {}
}
