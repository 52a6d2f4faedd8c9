// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Test} from "forge-std/Test.sol";
import {SettlementOutbox} from "../src/SettlementOutbox.sol";
import {ISettlementOutbox} from "../src/interfaces/ISettlementOutbox.sol";
import {FakeHub} from "./mocks/FakeHub.sol";
import {OutboxPort} from "./mocks/OutboxPort.sol";

/// @dev A hub whose answers try to dispatch.
contract TalkingHub {
    SettlementOutbox private immutable OUTBOX;
    address private immutable PORT;

    constructor(SettlementOutbox outbox, address port) {
        (OUTBOX, PORT) = (outbox, port);
    }

    fallback() external {
        OUTBOX.dispatchCheckpoint(address(this), 1, 137, address(0x1B), PORT, 0);
    }
}

/// @dev A dispatcher that tries to dispatch the same checkpoint again from inside its refund.
contract GreedyCheckpointer {
    SettlementOutbox private immutable OUTBOX;
    bytes private _again;
    bytes public answer;
    bool public done;

    constructor(SettlementOutbox outbox) {
        OUTBOX = outbox;
    }

    function dispatch(address hub, address port) external payable {
        _again = abi.encodeCall(OUTBOX.dispatchCheckpoint, (hub, 12, 137, address(0x1B), port, 0));
        OUTBOX.dispatchCheckpoint{value: msg.value}(hub, 12, 137, address(0x1B), port, 0);
    }

    receive() external payable {
        (done, answer) = address(OUTBOX).call(_again);
    }
}

contract OutboxCheckpointTest is Test {
    uint64 private constant TARGET = 137;
    address private constant INBOX = address(0x1B);
    bytes32 private constant ROOT = keccak256("root");
    address private owner = makeAddr("owner");
    address private dispatcher = makeAddr("dispatcher");
    SettlementOutbox private outbox;
    OutboxPort private port;
    OutboxPort private second;
    FakeHub private hub;

    function setUp() public {
        outbox = new SettlementOutbox(owner);
        port = new OutboxPort(address(outbox));
        second = new OutboxPort(address(outbox));
        hub = new FakeHub();
        hub.submit(12, ROOT);
        vm.startPrank(owner);
        outbox.setDispatcher(dispatcher, true);
        outbox.addPort(address(port));
        outbox.addPort(address(second));
        vm.stopPrank();
        vm.deal(dispatcher, 10 ether);
    }

    function send(address which, uint64 eon, OutboxPort over) private returns (bytes32) {
        vm.prank(dispatcher);
        return outbox.dispatchCheckpoint(which, eon, TARGET, INBOX, address(over), 300_000);
    }

    function expected(uint64 eon, bytes32 root) private view returns (bytes memory) {
        return abi.encodePacked(
            uint8(1),
            uint8(2),
            uint64(block.chainid),
            TARGET,
            uint256(uint160(address(outbox))),
            uint256(uint160(INBOX)),
            eon,
            root,
            uint32(0),
            uint256(0),
            uint256(uint160(address(hub)))
        );
    }

    function test_the_message_says_what_the_hub_s_contract_says() public {
        bytes memory message = expected(12, ROOT);
        bytes32 id = keccak256(message);
        vm.expectEmit(address(outbox));
        emit ISettlementOutbox.MessageDispatched(id, address(port), port.BRIDGE_REF(), TARGET, 12, 0);
        assertEq(send(address(hub), 12, port), port.BRIDGE_REF());
        assertEq(message.length, 190);
        assertEq(port.lastMessage(), message);
        assertEq(port.lastTarget(), TARGET);
        assertEq(port.lastGasLimit(), 300_000);
        assertTrue(outbox.committed(id));
        assertTrue(outbox.dispatched(id, address(port)));
        assertFalse(outbox.dispatched(id, address(second)));
    }

    function test_every_port_and_dispatcher_carries_the_same_bytes_once_each() public {
        address other = makeAddr("other dispatcher");
        vm.prank(owner);
        outbox.setDispatcher(other, true);
        send(address(hub), 12, port);
        vm.prank(other);
        outbox.dispatchCheckpoint(address(hub), 12, TARGET, INBOX, address(second), 1);
        assertEq(second.lastMessage(), port.lastMessage());
        vm.expectRevert(
            abi.encodeWithSelector(ISettlementOutbox.AlreadyDispatched.selector, keccak256(expected(12, ROOT)), address(second))
        );
        send(address(hub), 12, second);
        (uint128 messages, uint128 dispatches) = outbox.counters();
        assertEq(messages, 1);
        assertEq(dispatches, 2);
    }

    function test_an_eon_the_hub_does_not_keep_is_refused() public {
        hub.submit(13, keccak256("13"));
        uint64[5] memory eons = [uint64(11), 17, 7, 0, 12 + 2 ** 32];
        for (uint256 i; i < eons.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.NoCheckpoint.selector, address(hub), eons[i]));
            send(address(hub), eons[i], port);
        }
        // Eon 17 takes the slot of eon 12.
        send(address(hub), 12, port);
        hub.submit(17, keccak256("17"));
        vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.NoCheckpoint.selector, address(hub), 12));
        send(address(hub), 12, second);
        send(address(hub), 17, second);
    }

    function test_a_slot_that_says_nothing_is_refused() public {
        hub.setSlot(3, 13, 0);
        vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.NoCheckpoint.selector, address(hub), 13));
        send(address(hub), 13, port);
        // An unused slot, and eon 0 with a root.
        hub.setSlot(0, 0, ROOT);
        vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.NoCheckpoint.selector, address(hub), 0));
        send(address(hub), 0, port);
        // An eon that only looks the same in 64 bits.
        hub.setSlot(4, 14 + 2 ** 64, ROOT);
        vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.NoCheckpoint.selector, address(hub), 14));
        send(address(hub), 14, port);
    }

    function test_a_halted_hub_is_not_carried() public {
        hub.setHalted(true, false);
        vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.HubHalted.selector, address(hub)));
        send(address(hub), 12, port);
        hub.setHalted(false, true);
        vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.HubHalted.selector, address(hub)));
        send(address(hub), 12, port);
        hub.setHalted(false, false);
        send(address(hub), 12, port);
    }

    function test_what_is_no_hub_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.NoCheckpoint.selector, address(0), 12));
        send(address(0), 12, port);
        vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.NoCheckpoint.selector, dispatcher, 12));
        send(dispatcher, 12, port);
        vm.expectRevert();
        send(address(port), 12, port);
    }

    function test_a_lying_hub_speaks_for_itself_only() public {
        FakeHub liar = new FakeHub();
        liar.submit(12, ROOT);
        send(address(liar), 12, port);
        bytes memory message = port.lastMessage();
        assertTrue(keccak256(message) != keccak256(expected(12, ROOT)));
        assertFalse(outbox.committed(keccak256(expected(12, ROOT))));
    }

    function test_a_hub_s_answers_change_nothing() public {
        TalkingHub talking = new TalkingHub(outbox, address(port));
        vm.prank(owner);
        outbox.setDispatcher(address(talking), true);
        vm.expectRevert();
        send(address(talking), 1, port);
        assertEq(port.sends(), 0);
    }

    function test_a_refund_that_dispatches_again_is_refused() public {
        GreedyCheckpointer greedy = new GreedyCheckpointer(outbox);
        vm.prank(owner);
        outbox.setDispatcher(address(greedy), true);
        greedy.dispatch{value: 1 ether}(address(hub), address(port));
        assertFalse(greedy.done());
        bytes32 id = keccak256(expected(12, ROOT));
        assertEq(greedy.answer(), abi.encodeWithSelector(ISettlementOutbox.AlreadyDispatched.selector, id, address(port)));
        assertEq(port.sends(), 1);
    }

    function test_only_dispatchers_over_active_ports_to_somewhere() public {
        vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.NotDispatcher.selector, address(this)));
        outbox.dispatchCheckpoint(address(hub), 12, TARGET, INBOX, address(port), 0);
        OutboxPort stranger = new OutboxPort(address(outbox));
        vm.expectRevert(abi.encodeWithSelector(ISettlementOutbox.UnknownPort.selector, address(stranger)));
        send(address(hub), 12, stranger);
        vm.startPrank(dispatcher);
        vm.expectRevert(ISettlementOutbox.BadHeader.selector);
        outbox.dispatchCheckpoint(address(hub), 12, 0, INBOX, address(port), 0);
        vm.expectRevert(ISettlementOutbox.BadHeader.selector);
        outbox.dispatchCheckpoint(address(hub), 12, TARGET, address(0), address(port), 0);
    }

    /// @dev A batch's way in cannot commit to a checkpoint, nor to a batch that reads like one.
    function test_dispatch_never_commits_to_a_checkpoint() public {
        send(address(hub), 12, port);
        bytes memory message = expected(12, ROOT);
        bytes32[] memory none = new bytes32[](0);
        vm.startPrank(dispatcher);
        vm.expectRevert(ISettlementOutbox.BadHeader.selector);
        outbox.dispatch(message, none, address(second), 0);
        bytes memory header = new bytes(158);
        for (uint256 i; i < 158; ++i) {
            header[i] = message[i];
        }
        vm.expectRevert(ISettlementOutbox.BadHeader.selector);
        outbox.dispatch(header, none, address(second), 0);
    }

    function test_what_the_port_does_not_use_returns_to_the_sender() public {
        port.setFee(0.3 ether);
        vm.deal(address(outbox), 1 ether);
        vm.prank(dispatcher);
        outbox.dispatchCheckpoint{value: 1 ether}(address(hub), 12, TARGET, INBOX, address(port), 0);
        assertEq(dispatcher.balance, 10.7 ether);
        assertEq(address(outbox).balance, 0);
    }

    function test_quote_takes_a_checkpoint_too() public {
        port.setFee(7);
        assertEq(outbox.quote(expected(12, ROOT), address(port), 100), 107);
        bytes memory foreign = expected(12, ROOT);
        foreign[9] ^= 0x01;
        vm.expectRevert(ISettlementOutbox.BadHeader.selector);
        outbox.quote(foreign, address(port), 100);
    }
}
