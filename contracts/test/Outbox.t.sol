// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Test} from "forge-std/Test.sol";
import {SettlementOutbox} from "../src/SettlementOutbox.sol";
import {ISettlementOutbox} from "../src/interfaces/ISettlementOutbox.sol";
import {OutboxPort} from "./mocks/OutboxPort.sol";
import {PlainTree} from "./PlainTree.sol";

/// @dev A dispatcher that tries to dispatch again from inside its refund.
contract GreedyDispatcher {
    SettlementOutbox private immutable OUTBOX;
    bytes private _again;
    bytes public answer;
    bool public done;

    constructor(SettlementOutbox outbox) {
        OUTBOX = outbox;
    }

    function dispatch(bytes calldata header, bytes32[] calldata ids, address port) external payable {
        _again = abi.encodeCall(OUTBOX.dispatch, (header, ids, port, 0));
        OUTBOX.dispatch{value: msg.value}(header, ids, port, 0);
    }

    receive() external payable {
        (done, answer) = address(OUTBOX).call(_again);
    }
}

/// @dev A dispatcher that takes no money back.
contract StiffDispatcher {
    function dispatch(SettlementOutbox outbox, bytes calldata header, bytes32[] calldata ids, address port) external {
        outbox.dispatch(header, ids, port, 0);
    }
}

contract OutboxTest is Test {
    uint64 private constant TARGET = 137;
    address private owner = makeAddr("owner");
    address private dispatcher = makeAddr("dispatcher");
    SettlementOutbox private outbox;
    OutboxPort private port;
    OutboxPort private second;

    function setUp() public {
        outbox = new SettlementOutbox(owner);
        port = new OutboxPort(address(outbox));
        second = new OutboxPort(address(outbox));
        vm.startPrank(owner);
        outbox.setDispatcher(dispatcher, true);
        outbox.addPort(address(port));
        outbox.addPort(address(second));
        vm.stopPrank();
        vm.deal(dispatcher, 10 ether);
    }

    function idsOf(uint256 count) private pure returns (bytes32[] memory ids) {
        ids = new bytes32[](count);
        for (uint256 i; i < count; ++i) {
            ids[i] = keccak256(abi.encode("id", i));
        }
    }

    function header(bytes32[] memory ids) private view returns (bytes memory) {
        return header(uint64(block.chainid), address(outbox), PlainTree.root(ids), uint32(ids.length));
    }

    function header(uint64 source, address from, bytes32 root, uint32 count) private pure returns (bytes memory) {
        return abi.encodePacked(
            uint8(1),
            uint8(1),
            source,
            TARGET,
            uint256(uint160(from)),
            uint256(uint160(address(0x1B))),
            uint64(9),
            root,
            count,
            uint256(uint160(address(0xFE)))
        );
    }

    function send(bytes memory message, bytes32[] memory ids, OutboxPort over) private returns (bytes32) {
        vm.prank(dispatcher);
        return outbox.dispatch(message, ids, address(over), 300_000);
    }

    // ------------------------------------------------------------------------------------------------ dispatch

    function test_dispatch_commits_and_hands_the_message_to_the_port() public {
        bytes32[] memory ids = idsOf(3);
        bytes memory message = header(ids);
        bytes32 id = keccak256(message);
        assertFalse(outbox.committed(id));
        vm.expectEmit(address(outbox));
        emit ISettlementOutbox.MessageDispatched(id, address(port), port.BRIDGE_REF(), TARGET, 9, 3);
        assertEq(send(message, ids, port), port.BRIDGE_REF());

        assertTrue(outbox.committed(id));
        assertTrue(outbox.dispatched(id, address(port)));
        assertFalse(outbox.dispatched(id, address(second)));
        assertEq(port.lastTarget(), TARGET);
        assertEq(port.lastMessage(), message);
        assertEq(port.lastGasLimit(), 300_000);
        (uint128 messages, uint128 dispatches) = outbox.counters();
        assertEq(messages, 1);
        assertEq(dispatches, 1);
    }

    function testFuzz_any_batch_size_up_to_1024_is_recomputed(uint256 count) public {
        bytes32[] memory ids = idsOf(bound(count, 1, 1024));
        send(header(ids), ids, port);
    }

    function test_a_further_port_needs_only_the_header() public {
        bytes32[] memory ids = idsOf(5);
        bytes memory message = header(ids);
        send(message, ids, port);
        send(message, new bytes32[](0), second);
        assertTrue(outbox.dispatched(keccak256(message), address(second)));
        assertEq(second.lastMessage(), message);
        (uint128 messages, uint128 dispatches) = outbox.counters();
        assertEq(messages, 1);
        assertEq(dispatches, 2);
    }

    function test_ids_given_again_for_a_further_port_are_checked_again() public {
        bytes32[] memory ids = idsOf(2);
        bytes memory message = header(ids);
        send(message, ids, port);
        bytes32[] memory others = idsOf(2);
        others[1] = keccak256("another");
        vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.WrongRoot.selector, PlainTree.root(ids), PlainTree.root(others)));
        send(message, others, second);
        send(message, ids, second);
    }

    function test_the_same_message_never_goes_over_one_port_twice() public {
        bytes32[] memory ids = idsOf(2);
        bytes memory message = header(ids);
        send(message, ids, port);
        bytes memory refusal = abi.encodeWithSelector(ISettlementOutbox.AlreadyDispatched.selector, keccak256(message), address(port));
        vm.expectRevert(refusal);
        send(message, ids, port);
        vm.expectRevert(refusal);
        send(message, new bytes32[](0), port);
        assertEq(port.sends(), 1);
    }

    function test_a_port_that_came_back_does_not_send_again() public {
        bytes32[] memory ids = idsOf(2);
        bytes memory message = header(ids);
        send(message, ids, port);
        vm.startPrank(owner);
        outbox.removePort(address(port));
        assertEq(outbox.portSlot(address(port)), 0);
        assertTrue(outbox.dispatched(keccak256(message), address(port)));
        outbox.addPort(address(new OutboxPort(address(outbox))));
        outbox.addPort(address(port));
        vm.stopPrank();
        assertEq(outbox.portSlot(address(port)), 1);
        vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.AlreadyDispatched.selector, keccak256(message), address(port)));
        send(message, ids, port);
    }

    function test_a_failed_send_commits_nothing() public {
        bytes32[] memory ids = idsOf(2);
        bytes memory message = header(ids);
        port.setBroken(true);
        vm.expectRevert("broken");
        send(message, ids, port);
        assertFalse(outbox.committed(keccak256(message)));
        port.setBroken(false);
        send(message, ids, port);
    }

    function test_only_dispatchers_dispatch() public {
        bytes32[] memory ids = idsOf(1);
        bytes memory message = header(ids);
        vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.NotDispatcher.selector, address(this)));
        outbox.dispatch(message, ids, address(port), 0);
        vm.prank(owner);
        outbox.setDispatcher(dispatcher, false);
        vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.NotDispatcher.selector, dispatcher));
        send(message, ids, port);
    }

    function test_ids_must_give_the_header_s_root_and_count() public {
        bytes32[] memory ids = idsOf(4);
        bytes memory message = header(ids);
        bytes32[] memory swapped = idsOf(4);
        (swapped[0], swapped[1]) = (swapped[1], swapped[0]);
        vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.WrongRoot.selector, PlainTree.root(ids), PlainTree.root(swapped)));
        send(message, swapped, port);
        vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.WrongCount.selector, 4, 3));
        send(message, idsOf(3), port);
        // A right root under a wrong count.
        bytes memory three = header(uint64(block.chainid), address(outbox), PlainTree.root(idsOf(3)), 4);
        vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.WrongCount.selector, 4, 3));
        send(three, idsOf(3), port);
    }

    function test_a_header_alone_commits_to_nothing() public {
        bytes memory message = header(idsOf(1));
        vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.NotCommitted.selector, keccak256(message)));
        send(message, new bytes32[](0), port);
    }

    function test_a_header_of_another_source_is_refused() public {
        bytes32[] memory ids = idsOf(1);
        bytes32 root = PlainTree.root(ids);
        refused(header(uint64(block.chainid) + 1, address(outbox), root, 1), ids);
        refused(header(uint64(block.chainid), address(this), root, 1), ids);
        bytes memory message = header(ids);
        message[18] = 0x01;
        refused(message, ids);
    }

    function test_a_header_of_another_layout_is_refused() public {
        bytes32[] memory ids = idsOf(1);
        bytes memory message = header(ids);
        message[0] = 0x02;
        refused(message, ids);
        message = header(ids);
        message[1] = 0x02;
        refused(message, ids);
        refused(abi.encodePacked(header(ids), uint8(0)), ids);
        refused(header(uint64(block.chainid), address(outbox), PlainTree.root(ids), 0), new bytes32[](0));
        bytes32[] memory many = idsOf(1025);
        refused(header(uint64(block.chainid), address(outbox), PlainTree.root(many), 1025), many);
    }

    function refused(bytes memory message, bytes32[] memory ids) private {
        vm.expectRevert(ISettlementOutbox.BadHeader.selector);
        send(message, ids, port);
    }

    // ------------------------------------------------------------------------------------------------ money

    function test_what_the_port_does_not_use_returns_to_the_sender() public {
        bytes32[] memory ids = idsOf(1);
        port.setFee(0.3 ether);
        vm.prank(dispatcher);
        outbox.dispatch{value: 1 ether}(header(ids), ids, address(port), 0);
        assertEq(dispatcher.balance, 9.7 ether);
        assertEq(address(outbox).balance, 0);
        assertEq(address(port).balance, 0);
    }

    function test_money_forced_in_leaves_with_the_next_dispatch() public {
        bytes32[] memory ids = idsOf(1);
        vm.deal(address(outbox), 1 ether);
        send(header(ids), ids, port);
        assertEq(address(outbox).balance, 0);
        assertEq(dispatcher.balance, 11 ether);
    }

    function test_a_dispatcher_that_takes_no_money_back_dispatches_nothing() public {
        StiffDispatcher stiff = new StiffDispatcher();
        vm.prank(owner);
        outbox.setDispatcher(address(stiff), true);
        vm.deal(address(outbox), 1);
        bytes32[] memory ids = idsOf(1);
        vm.expectRevert(ISettlementOutbox.RefundFailed.selector);
        stiff.dispatch(outbox, header(ids), ids, address(port));
    }

    function test_plain_transfers_are_refused() public {
        (bool done,) = address(outbox).call{value: 1}("");
        assertFalse(done);
    }

    function test_a_refund_that_dispatches_again_is_refused() public {
        GreedyDispatcher greedy = new GreedyDispatcher(outbox);
        vm.prank(owner);
        outbox.setDispatcher(address(greedy), true);
        bytes32[] memory ids = idsOf(1);
        bytes memory message = header(ids);
        greedy.dispatch{value: 1 ether}(message, ids, address(port));
        assertFalse(greedy.done());
        assertEq(greedy.answer(), abi.encodeWithSelector(ISettlementOutbox.AlreadyDispatched.selector, keccak256(message), address(port)));
        assertEq(port.sends(), 1);
    }

    function test_quote_asks_the_port() public {
        port.setFee(7);
        assertEq(outbox.quote(header(idsOf(1)), address(port), 100), 107);
        vm.expectRevert(ISettlementOutbox.BadHeader.selector);
        outbox.quote(header(1, address(outbox), 0, 1), address(port), 100);
        vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.UnknownPort.selector, address(this)));
        outbox.quote(header(idsOf(1)), address(this), 100);
    }

    // ------------------------------------------------------------------------------------------------ ports and rights

    function test_an_unknown_or_removed_port_is_refused() public {
        bytes32[] memory ids = idsOf(1);
        OutboxPort stranger = new OutboxPort(address(outbox));
        vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.UnknownPort.selector, address(stranger)));
        send(header(ids), ids, stranger);
        vm.prank(owner);
        outbox.removePort(address(port));
        vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.UnknownPort.selector, address(port)));
        send(header(ids), ids, port);
    }

    function test_a_port_of_another_outbox_is_refused() public {
        OutboxPort stranger = new OutboxPort(address(this));
        vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.UnknownPort.selector, address(stranger)));
        vm.prank(owner);
        outbox.addPort(address(stranger));
    }

    function test_a_port_is_added_once() public {
        vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.UnknownPort.selector, address(port)));
        vm.prank(owner);
        outbox.addPort(address(port));
    }

    function test_slots_end_at_255_and_each_has_a_bit_of_its_own() public {
        vm.startPrank(owner);
        for (uint160 i = 2; i < 255; ++i) {
            address next = address(0x1000 + i);
            vm.etch(next, hex"00");
            vm.mockCall(next, abi.encodeWithSignature("outbox()"), abi.encode(address(outbox)));
            vm.mockCall(next, abi.encodeWithSignature("family()"), abi.encode(2));
            vm.mockCall(next, abi.encodeWithSignature("send(uint64,bytes,uint128,address)"), abi.encode(bytes32(0)));
            outbox.addPort(next);
        }
        OutboxPort last = new OutboxPort(address(outbox));
        vm.expectRevert(ISettlementOutbox.NoFreeSlot.selector);
        outbox.addPort(address(last));
        vm.stopPrank();

        address highest = address(0x1000 + 254);
        assertEq(outbox.portSlot(highest), 255);
        bytes32[] memory ids = idsOf(1);
        send(header(ids), ids, OutboxPort(highest));
        assertTrue(outbox.dispatched(keccak256(header(ids)), highest));
        assertFalse(outbox.dispatched(keccak256(header(ids)), address(port)));
        send(header(ids), new bytes32[](0), port);
    }

    function test_only_the_owner_changes_rights() public {
        vm.startPrank(dispatcher);
        bytes memory refusal = abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, dispatcher);
        vm.expectRevert(refusal);
        outbox.setDispatcher(dispatcher, true);
        vm.expectRevert(refusal);
        outbox.addPort(address(port));
        vm.expectRevert(refusal);
        outbox.removePort(address(port));
        vm.stopPrank();
        vm.startPrank(owner);
        vm.expectRevert(ISettlementOutbox.ZeroAddress.selector);
        outbox.setDispatcher(address(0), true);
        vm.expectRevert(ISettlementOutbox.ZeroAddress.selector);
        outbox.addPort(address(0));
        outbox.transferOwnership(dispatcher);
        assertEq(outbox.owner(), owner);
    }
}
