// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {Test} from "forge-std/Test.sol";
import {CcipPort} from "../src/CcipPort.sol";
import {SettlementInbox} from "../src/SettlementInbox.sol";
import {SettlementOutbox} from "../src/SettlementOutbox.sol";
import {SettlementVault} from "../src/SettlementVault.sol";
import {ICcipPort} from "../src/interfaces/ICcipPort.sol";
import {ICcipReceiver, ICcipRouter} from "../src/interfaces/ICcipRouter.sol";
import {ISettlementInbox} from "../src/interfaces/ISettlementInbox.sol";
import {ISettlementVault} from "../src/interfaces/ISettlementVault.sol";
import {FakeRouter} from "./mocks/Ccip.sol";
import {HostileToken, PlainToken} from "./mocks/Tokens.sol";
import {PlainTree} from "./PlainTree.sol";

/// @dev Two chains in one EVM: chain ids change with `vm.chainId`, a router stands on each.
contract CcipPortTest is Test {
    uint64 private constant A = 31337;
    uint64 private constant B = 31338;
    uint64 private constant SELECTOR_A = 3379446385462418246;
    uint64 private constant SELECTOR_B = 7759470850252068959;

    address private owner = makeAddr("owner");
    address private dispatcher = makeAddr("dispatcher");
    address private payer = makeAddr("payer");
    FakeRouter private routerA;
    FakeRouter private routerB;
    PlainToken private link;
    PlainToken private token;
    SettlementOutbox private outbox;
    SettlementInbox private inbox;
    SettlementVault private vault;
    CcipPort private portA;
    CcipPort private linkPort;
    CcipPort private portB;

    function setUp() public {
        vm.warp(1_800_000_000);
        (routerA, routerB) = (new FakeRouter(), new FakeRouter());
        (link, token) = (new PlainToken(), new PlainToken());
        outbox = new SettlementOutbox(owner);
        vm.chainId(B);
        inbox = new SettlementInbox(owner, makeAddr("guardian"), 7 days, 3 days, 14 days);
        vault = SettlementVault(payable(inbox.vault()));
        vm.chainId(A);
        portA = new CcipPort(address(routerA), address(0), address(outbox), address(0), owner);
        linkPort = new CcipPort(address(routerA), address(link), address(outbox), address(0), owner);
        portB = new CcipPort(address(routerB), address(0), address(0), address(inbox), owner);
        vm.startPrank(owner);
        portA.setLane(B, lane(SELECTOR_B, address(portB), address(0)));
        ICcipPort.Lane memory alone = lane(SELECTOR_B, address(portB), address(0));
        alone.selfExecute = true;
        linkPort.setLane(B, alone);
        portB.setLane(A, lane(SELECTOR_A, address(portA), address(outbox)));
        portA.freeze();
        linkPort.freeze();
        portB.freeze();
        outbox.setDispatcher(dispatcher, true);
        outbox.addPort(address(portA));
        outbox.addPort(address(linkPort));
        inbox.proposePort(address(portB));
        inbox.activatePort(address(portB));
        vault.listToken(address(token), 18, 1000e18, 10_000e18, 1, 2, 0);
        vm.stopPrank();
        vm.deal(dispatcher, 1 ether);
    }

    function lane(uint64 selector, address peer, address remoteOutbox) private pure returns (ICcipPort.Lane memory) {
        return ICcipPort.Lane(selector, word(peer), word(remoteOutbox), false);
    }

    function word(address account) private pure returns (bytes32) {
        return bytes32(uint256(uint160(account)));
    }

    function ids() private pure returns (bytes32[] memory list) {
        list = new bytes32[](2);
        (list[0], list[1]) = (keccak256("one"), keccak256("two"));
    }

    function message(uint64 sequence, address from) private view returns (bytes memory) {
        bytes32 root = PlainTree.root(ids());
        return abi.encodePacked(uint8(1), uint8(1), A, B, word(from), word(address(inbox)), sequence, root, uint32(2), word(address(0xFE)));
    }

    function message() private view returns (bytes memory) {
        return message(1, address(outbox));
    }

    function dispatch(CcipPort port, uint256 value, uint128 gasLimit) private returns (bytes32) {
        vm.prank(dispatcher);
        return outbox.dispatch{value: value}(message(), ids(), address(port), gasLimit);
    }

    function incoming(bytes memory data) private view returns (ICcipRouter.Incoming memory) {
        return ICcipRouter.Incoming("ccip", SELECTOR_A, abi.encode(portA), data, new ICcipRouter.TokenAmount[](0));
    }

    function topUp(address which, uint256 amount, bytes memory data) private returns (ICcipRouter.Incoming memory) {
        ICcipRouter.TokenAmount[] memory amounts = new ICcipRouter.TokenAmount[](1);
        amounts[0] = ICcipRouter.TokenAmount(which, amount);
        // From a chain and an account the port has never heard of: a deposit is welcome from anybody.
        return ICcipRouter.Incoming("top-up", 99, abi.encode(makeAddr("stranger")), data, amounts);
    }

    function receiveOnB(ICcipRouter.Incoming memory what) private {
        vm.chainId(B);
        vm.prank(address(routerB));
        portB.ccipReceive(what);
    }

    // ------------------------------------------------------------------------------------------------ sending

    function test_a_dispatch_gives_ccip_the_message_for_the_peer_out_of_order() public {
        bytes32 ref = dispatch(portA, 1000, 0);
        assertEq(ref, keccak256(abi.encode(1, outgoing())));
        assertEq(routerA.lastSelector(), SELECTOR_B);
        assertEq(routerA.lastReceiver(), abi.encode(address(portB)));
        assertEq(routerA.lastData(), message());
        assertEq(routerA.lastFeeToken(), address(0));
        assertEq(routerA.lastExtraArgs(), abi.encodeWithSelector(0x181dcf10, 120_000, true));
    }

    function outgoing() private view returns (ICcipRouter.Outgoing memory) {
        return ICcipRouter.Outgoing(
            abi.encode(address(portB)),
            message(),
            new ICcipRouter.TokenAmount[](0),
            address(0),
            abi.encodeWithSelector(0x181dcf10, 120_000, true)
        );
    }

    function test_the_gas_limit_is_the_callers_and_never_less_than_the_floor() public {
        uint128 floor = portA.MIN_GAS();
        dispatch(portA, 1000, floor - 1);
        assertEq(routerA.lastExtraArgs(), abi.encodeWithSelector(0x181dcf10, floor, true));
        vm.prank(dispatcher);
        outbox.dispatch{value: 1000}(message(2, address(outbox)), ids(), address(portA), floor + 1);
        assertEq(routerA.lastExtraArgs(), abi.encodeWithSelector(0x181dcf10, floor + 1, true));
    }

    function test_the_router_keeps_what_is_overpaid_so_the_port_pays_exactly_and_gives_back_the_rest() public {
        uint256 fee = outbox.quote(message(), address(portA), 0);
        assertEq(fee, 1000);
        dispatch(portA, 0.5 ether, 0);
        assertEq(routerA.lastValue(), fee);
        assertEq(dispatcher.balance, 1 ether - fee);
        assertEq(address(portA).balance, 0);
        assertEq(address(outbox).balance, 0);
    }

    function test_a_fee_that_moved_up_since_the_quote_sends_nothing() public {
        routerA.setFee(1001);
        vm.expectRevert(abi.encodeWithSelector(ICcipPort.FeeTooLow.selector, 1001, 1000));
        dispatch(portA, 1000, 0);
        assertEq(routerA.sends(), 0);
    }

    function test_a_port_that_pays_in_link_pulls_exactly_the_fee_from_the_dispatcher() public {
        link.mint(dispatcher, 5000);
        vm.prank(dispatcher);
        link.approve(address(linkPort), 5000);
        assertEq(outbox.quote(message(), address(linkPort), 0), 0);
        assertEq(linkPort.feeIn(address(link), B, message(), 0), 2000);
        assertEq(linkPort.feeIn(address(0), B, message(), 0), 1000);
        dispatch(linkPort, 0, 0);
        assertEq(link.balanceOf(dispatcher), 3000);
        assertEq(link.balanceOf(address(routerA)), 2000);
        assertEq(link.balanceOf(address(linkPort)), 0);
        assertEq(link.allowance(address(linkPort), address(routerA)), 0);
        assertEq(routerA.lastFeeToken(), address(link));
    }

    function test_value_sent_to_a_port_that_pays_in_link_comes_back() public {
        link.mint(dispatcher, 2000);
        vm.prank(dispatcher);
        link.approve(address(linkPort), 2000);
        dispatch(linkPort, 0.25 ether, 0);
        assertEq(dispatcher.balance, 1 ether);
    }

    function test_without_an_allowance_a_port_that_pays_in_link_sends_nothing() public {
        link.mint(dispatcher, 2000);
        vm.expectRevert();
        dispatch(linkPort, 0, 0);
        assertEq(routerA.sends(), 0);
    }

    function test_a_lane_without_executor_names_nobody_in_the_extra_arguments_of_2_0() public {
        link.mint(dispatcher, 2000);
        vm.prank(dispatcher);
        link.approve(address(linkPort), 2000);
        dispatch(linkPort, 0, 300_000);
        assertEq(
            routerA.lastExtraArgs(),
            hex"a69dd4aa" hex"000493e0" hex"00000000" hex"00" hex"14eba517d200000000000000000000000000000000" hex"0000" hex"00" hex"0000"
        );
    }

    function test_a_refund_that_is_refused_takes_the_send_with_it() public {
        vm.deal(address(outbox), 1 ether);
        vm.prank(address(outbox));
        vm.expectRevert(ICcipPort.RefundFailed.selector);
        portA.send{value: 0.5 ether}(B, message(), 0, address(routerB));
    }

    function test_only_the_outbox_may_send_and_only_over_a_lane() public {
        vm.expectRevert(ICcipPort.NotOutbox.selector);
        portA.send(B, message(), 0, address(this));
        vm.prank(address(outbox));
        vm.expectRevert(abi.encodeWithSelector(ICcipPort.NoLane.selector, B + 1));
        portA.send(B + 1, message(), 0, address(this));
        vm.expectRevert(abi.encodeWithSelector(ICcipPort.NoLane.selector, B + 1));
        portA.quote(B + 1, message(), 0);
    }

    // ------------------------------------------------------------------------------------------------ receiving messages

    function test_a_message_of_the_peer_becomes_a_vote() public {
        vm.expectEmit(address(inbox));
        emit ISettlementInbox.MessageReceived(keccak256(message()), address(portB), 1);
        receiveOnB(incoming(message()));
        assertEq(inbox.familiesOf(keccak256(message())), 1);
    }

    function test_a_message_brought_again_changes_nothing_and_does_not_revert() public {
        receiveOnB(incoming(message()));
        vm.expectEmit(address(inbox));
        emit ISettlementInbox.MessageRepeated(keccak256(message()), address(portB));
        receiveOnB(incoming(message()));
    }

    function test_the_floor_covers_a_first_delivery_with_room() public {
        vm.chainId(B);
        vm.cool(address(portB));
        vm.cool(address(inbox));
        uint256 used = gasleft();
        (bool done,) = routerB.route(address(portB), portB.MIN_GAS(), incoming(message()));
        used -= gasleft();
        assertTrue(done);
        assertLt(used, 75_000);
        assertEq(inbox.votes(keccak256(message())), 1);
    }

    function test_the_floor_covers_a_checkpoint_too() public {
        bytes memory checkpoint = abi.encodePacked(
            uint8(1),
            uint8(2),
            A,
            B,
            word(address(outbox)),
            word(address(inbox)),
            uint64(7),
            keccak256("root"),
            uint32(0),
            bytes32(0),
            word(address(0x4B))
        );
        vm.chainId(B);
        vm.cool(address(portB));
        vm.cool(address(inbox));
        uint256 used = gasleft();
        (bool done,) = routerB.route(address(portB), portB.MIN_GAS(), incoming(checkpoint));
        used -= gasleft();
        assertTrue(done);
        assertLt(used, 77_000);
        assertEq(inbox.votes(keccak256(checkpoint)), 1);
    }

    function test_only_the_router_may_deliver() public {
        vm.expectRevert(ICcipPort.NotRouter.selector);
        portB.ccipReceive(incoming(message()));
        vm.prank(address(routerA));
        vm.expectRevert(ICcipPort.NotRouter.selector);
        portB.ccipReceive(incoming(message()));
    }

    function test_only_the_peer_on_its_own_chain_is_believed() public {
        ICcipRouter.Incoming memory forged = incoming(message());
        forged.sender = abi.encode(address(this));
        refused(forged);
        forged = incoming(message());
        forged.sourceChainSelector = SELECTOR_B;
        refused(forged);
        // A sender that only begins or ends like the peer.
        forged = incoming(message());
        forged.sender = abi.encodePacked(word(address(portA)), uint8(0));
        refused(forged);
        forged.sender = abi.encodePacked(address(portA));
        refused(forged);
        forged.sender = "";
        refused(forged);
        // A lane that does not exist has peer 0.
        forged.sourceChainSelector = 77;
        forged.sender = abi.encode(address(0));
        refused(forged);
    }

    function refused(ICcipRouter.Incoming memory forged) private {
        vm.prank(address(routerB));
        vm.expectRevert(abi.encodeWithSelector(ICcipPort.NotPeer.selector, forged.sourceChainSelector, forged.sender));
        portB.ccipReceive(forged);
    }

    function test_a_message_of_another_outbox_is_refused_by_the_inbox() public {
        vm.chainId(B);
        vm.prank(address(routerB));
        vm.expectRevert(ISettlementInbox.WrongSource.selector);
        portB.ccipReceive(incoming(message(1, address(this))));
    }

    function test_a_lane_without_remote_outbox_receives_nothing() public {
        ICcipRouter.Incoming memory back = incoming(message());
        (back.sourceChainSelector, back.sender) = (SELECTOR_B, abi.encode(portB));
        vm.prank(address(routerA));
        vm.expectRevert(abi.encodeWithSelector(ICcipPort.NotPeer.selector, SELECTOR_B, back.sender));
        portA.ccipReceive(back);
    }

    function test_ccip_is_told_that_this_is_a_receiver() public view {
        assertEq(type(ICcipReceiver).interfaceId, bytes4(0x85572ffb));
        assertTrue(portB.supportsInterface(0x85572ffb));
        assertTrue(portB.supportsInterface(type(IERC165).interfaceId));
        assertFalse(portB.supportsInterface(0xffffffff));
    }

    // ------------------------------------------------------------------------------------------------ top-ups

    function test_tokens_that_come_with_a_payer_are_deposited_for_it_in_the_same_call() public {
        vm.expectEmit(address(vault));
        emit ISettlementVault.Deposited(payer, address(token), address(portB), 25e18);
        vm.expectEmit(address(portB));
        emit ICcipPort.ToppedUp("top-up", payer, address(token), 25e18);
        routerB.routeTokens(address(portB), topUp(address(token), 25e18, abi.encode(payer)));
        assertEq(vault.balanceOf(payer, address(token)), 25e18);
        assertEq(token.balanceOf(address(vault)), 25e18);
        assertEq(token.balanceOf(address(portB)), 0);
        assertEq(token.allowance(address(portB), address(vault)), 0);
    }

    function test_a_top_up_in_a_token_the_vault_does_not_list_is_not_even_minted() public {
        vm.expectRevert(abi.encodeWithSelector(ISettlementVault.TokenNotListed.selector, address(link)));
        routerB.routeTokens(address(portB), topUp(address(link), 25e18, abi.encode(payer)));
        assertEq(link.totalSupply(), 0);
    }

    function test_a_top_up_without_a_proper_payer_is_refused() public {
        vm.expectRevert(ICcipPort.BadTopUp.selector);
        routerB.routeTokens(address(portB), topUp(address(token), 1, ""));
        vm.expectRevert(ICcipPort.BadTopUp.selector);
        routerB.routeTokens(address(portB), topUp(address(token), 1, message()));
        vm.expectRevert();
        routerB.routeTokens(address(portB), topUp(address(token), 1, abi.encode(type(uint256).max)));
        vm.expectRevert(ISettlementVault.ZeroAddress.selector);
        routerB.routeTokens(address(portB), topUp(address(token), 1, abi.encode(address(0))));
        vm.expectRevert(ICcipPort.BadTopUp.selector);
        routerA.routeTokens(address(portA), topUp(address(token), 1, abi.encode(payer)));
        assertEq(token.totalSupply(), 0);
    }

    function test_a_message_with_tokens_is_never_a_vote() public {
        ICcipRouter.Incoming memory both = incoming(message());
        both.destTokenAmounts = new ICcipRouter.TokenAmount[](1);
        both.destTokenAmounts[0] = ICcipRouter.TokenAmount(address(token), 1e18);
        vm.chainId(B);
        vm.expectRevert(ICcipPort.BadTopUp.selector);
        routerB.routeTokens(address(portB), both);
        assertEq(inbox.votes(keccak256(message())), 0);
    }

    function test_tokens_that_are_announced_but_not_there_credit_nobody() public {
        vm.expectRevert(abi.encodeWithSelector(ISettlementVault.TransferFailed.selector, address(token)));
        receiveOnB(topUp(address(token), 1e18, abi.encode(payer)));
    }

    function test_a_token_that_keeps_a_part_or_calls_back_credits_nobody() public {
        HostileToken hostile = new HostileToken();
        vm.prank(owner);
        vault.listToken(address(hostile), 18, 1000e18, 10_000e18, 1, 2, 0);
        ICcipRouter.Incoming memory what = topUp(address(hostile), 1e18, abi.encode(payer));
        hostile.setMood(HostileToken.Mood.TakeFee, address(vault));
        vm.expectRevert(abi.encodeWithSelector(ISettlementVault.DepositMismatch.selector, 1e18, 1e18 - 1));
        routerB.routeTokens(address(portB), what);

        // It calls the port as if it were the router, in the middle of the deposit.
        hostile.setMood(HostileToken.Mood.CallBack, address(vault));
        hostile.setCallback(address(portB), abi.encodeCall(CcipPort.ccipReceive, (what)));
        routerB.routeTokens(address(portB), what);
        assertFalse(hostile.callbackDone());
        assertEq(vault.balanceOf(payer, address(hostile)), 1e18);
    }

    // ------------------------------------------------------------------------------------------------ lanes are set once

    function test_a_lane_is_set_once_and_never_after_the_freeze() public {
        CcipPort port = fresh();
        vm.startPrank(owner);
        port.setLane(A, lane(SELECTOR_A, address(portA), address(outbox)));
        vm.expectRevert(abi.encodeWithSelector(ICcipPort.LaneExists.selector, A));
        port.setLane(A, lane(SELECTOR_B, address(portA), address(outbox)));
        vm.expectRevert(abi.encodeWithSelector(ICcipPort.LaneExists.selector, A + 5));
        port.setLane(A + 5, lane(SELECTOR_A, address(portA), address(outbox)));
        vm.expectRevert(ICcipPort.AlreadyFrozen.selector);
        portA.setLane(A + 5, lane(5, address(portA), address(outbox)));
        vm.expectRevert(ICcipPort.AlreadyFrozen.selector);
        portA.freeze();
        assertEq(port.chainOf(SELECTOR_A), A);
        assertEq(port.lane(A).peer, word(address(portA)));
    }

    function test_an_incomplete_lane_is_refused() public {
        CcipPort port = fresh();
        vm.startPrank(owner);
        vm.expectRevert(ICcipPort.ZeroAddress.selector);
        port.setLane(A, lane(SELECTOR_A, address(0), address(outbox)));
        vm.expectRevert(abi.encodeWithSelector(ICcipPort.NoLane.selector, 0));
        port.setLane(0, lane(SELECTOR_A, address(portA), address(outbox)));
        vm.expectRevert(abi.encodeWithSelector(ICcipPort.NoLane.selector, A));
        port.setLane(A, lane(0, address(portA), address(outbox)));
    }

    function test_only_the_owner_sets_lanes_and_freezes() public {
        CcipPort port = fresh();
        bytes memory refusal = abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, address(this));
        vm.expectRevert(refusal);
        port.setLane(A, lane(SELECTOR_A, address(portA), address(outbox)));
        vm.expectRevert(refusal);
        port.freeze();
    }

    function test_a_port_that_is_not_frozen_neither_sends_nor_believes() public {
        CcipPort port = new CcipPort(address(routerB), address(0), address(outbox), address(inbox), owner);
        vm.startPrank(owner);
        port.setLane(A, lane(SELECTOR_A, address(portA), address(outbox)));
        inbox.proposePort(address(port));
        vm.warp(block.timestamp + 15 days);
        vm.expectRevert(abi.encodeWithSelector(ISettlementInbox.PortNotFrozen.selector, address(port)));
        inbox.activatePort(address(port));
        vm.stopPrank();
        vm.prank(address(outbox));
        vm.expectRevert(ICcipPort.NotFrozen.selector);
        port.send(A, message(), 0, dispatcher);
        vm.prank(address(routerB));
        vm.expectRevert(abi.encodeWithSelector(ICcipPort.NotPeer.selector, SELECTOR_A, abi.encode(portA)));
        port.ccipReceive(incoming(message()));
    }

    function test_a_port_needs_a_router_and_a_side() public {
        vm.expectRevert(ICcipPort.ZeroAddress.selector);
        new CcipPort(address(0), address(0), address(outbox), address(inbox), owner);
        vm.expectRevert(ICcipPort.ZeroAddress.selector);
        new CcipPort(address(routerA), address(0), address(0), address(0), owner);
        assertEq(portB.family(), 2);
        assertEq(portB.vault(), inbox.vault());
        assertEq(portA.vault(), address(0));
    }

    function fresh() private returns (CcipPort) {
        return new CcipPort(address(routerB), address(0), address(outbox), address(inbox), owner);
    }
}
