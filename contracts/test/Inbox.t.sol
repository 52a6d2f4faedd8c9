// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable2Step.sol";

import {SettlementInbox} from "../src/SettlementInbox.sol";
import {SettlementVault} from "../src/SettlementVault.sol";
import {ISettlementInbox} from "../src/interfaces/ISettlementInbox.sol";
import {FakePort} from "./mocks/FakePort.sol";
import {Fixture} from "./Fixture.sol";

/// @dev Ports and votes.
contract InboxTest is Fixture {
    bytes32 internal constant ROOT = keccak256("root");

    function message() internal view returns (bytes memory) {
        return header(ROOT, 5, 9);
    }

    function patched(uint256 offset, bytes memory with) internal view returns (bytes memory raw) {
        raw = message();
        for (uint256 i; i < with.length; ++i) {
            raw[offset + i] = with[i];
        }
    }

    // ---------------------------------------------------------------------------------------------- recording

    function test_each_port_s_word_is_one_vote() public {
        bytes memory raw = message();
        bytes32 id = keccak256(raw);
        vm.expectEmit(address(inbox));
        emit ISettlementInbox.MessageReceived(id, address(portA), 1);
        bring(portA, raw);
        assertEq(inbox.votes(id), 1);
        assertEq(inbox.familiesOf(id), 1);
        vm.expectEmit(address(inbox));
        emit ISettlementInbox.MessageReceived(id, address(portB), 3);
        bring(portB, raw);
        assertEq(inbox.votes(id), 3);
        assertEq(inbox.familiesOf(id), 2);
    }

    function test_a_repeated_delivery_changes_nothing_and_succeeds() public {
        bytes memory raw = message();
        bring(portA, raw);
        vm.expectEmit(address(inbox));
        emit ISettlementInbox.MessageRepeated(keccak256(raw), address(portA));
        bring(portA, raw);
        assertEq(inbox.votes(keccak256(raw)), 1);
        (uint128 received,) = inbox.counters();
        assertEq(received, 1);
    }

    function test_only_active_ports_may_record() public {
        bytes memory raw = message();
        vm.expectRevert(abi.encodeWithSelector(ISettlementInbox.NotPort.selector, address(this)));
        inbox.receiveMessage(SOURCE, OUTBOX, raw);
        vm.prank(admin);
        inbox.removePort(address(portA));
        vm.expectRevert(abi.encodeWithSelector(ISettlementInbox.NotPort.selector, address(portA)));
        bring(portA, raw);
    }

    function test_a_source_that_the_port_did_not_authenticate_is_refused() public {
        vm.expectRevert(ISettlementInbox.WrongSource.selector);
        portA.bring(SOURCE + 1, OUTBOX, message());
        vm.expectRevert(ISettlementInbox.WrongSource.selector);
        portA.bring(SOURCE, bytes32(uint256(1)), message());
    }

    function test_messages_that_are_not_for_this_inbox_are_refused() public {
        bytes[9] memory bad = [
            patched(0, hex"02"), // version
            patched(1, hex"02"), // kind
            patched(10, abi.encodePacked(uint64(block.chainid + 1))), // target chain
            patched(81, hex"00"), // inbox
            patched(50, hex"01"), // inbox, padding
            patched(122, abi.encodePacked(uint32(0))), // count
            patched(122, abi.encodePacked(uint32(1025))),
            patched(126, hex"01"), // fee recipient that is no address
            patched(2, abi.encodePacked(uint64(0))) // source chain
        ];
        for (uint256 i; i < bad.length; ++i) {
            vm.expectRevert(ISettlementInbox.BadMessage.selector);
            bring(portA, bad[i]);
        }
        vm.expectRevert(ISettlementInbox.BadMessage.selector);
        bring(portA, bytes.concat(message(), hex"00"));
        vm.expectRevert(ISettlementInbox.BadMessage.selector);
        bring(portA, "");
        bring(portA, patched(122, abi.encodePacked(uint32(1024))));
    }

    // ---------------------------------------------------------------------------------------------- quorum

    function test_a_second_port_of_one_family_counts_nothing() public {
        FakePort twin = new FakePort(1, address(inbox));
        vm.startPrank(admin);
        inbox.proposePort(address(twin));
        vm.warp(vm.getBlockTimestamp() + PORT_DELAY);
        inbox.activatePort(address(twin));
        vm.stopPrank();
        bring(portA, message());
        bring(twin, message());
        assertEq(inbox.votes(keccak256(message())), 5);
        assertEq(inbox.familiesOf(keccak256(message())), 1);
    }

    function test_a_removed_port_s_vote_counts_nothing_and_its_slot_is_never_used_again() public {
        bring(portA, message());
        bring(portB, message());
        bytes32 id = keccak256(message());
        vm.startPrank(admin);
        vm.expectEmit(address(inbox));
        emit ISettlementInbox.PortRemoved(address(portA), 0);
        inbox.removePort(address(portA));
        assertEq(inbox.familiesOf(id), 1);
        assertEq(inbox.votes(id), 3, "votes stay");
        FakePort next = new FakePort(3, address(inbox));
        inbox.proposePort(address(next));
        vm.warp(vm.getBlockTimestamp() + PORT_DELAY);
        inbox.activatePort(address(next));
        (uint8 slot, uint8 family, bool active,) = inbox.portInfo(address(next));
        assertEq(slot, 2);
        assertEq(family, 3);
        assertTrue(active);
        assertEq(inbox.familiesOf(id), 1, "the new port cast no vote");
        // What was received before the removal still counts as received.
        (uint128 received,) = inbox.counters();
        assertEq(received, 2);
    }

    function testFuzz_families_are_counted_as_a_plain_loop_does(uint256 seed) public {
        SettlementInbox fresh = new SettlementInbox(admin, guardian, EXIT_DELAY, CLAIM_WINDOW, PORT_DELAY);
        inbox = fresh;
        FakePort[] memory ports = new FakePort[](1 + seed % 20);
        vm.startPrank(admin);
        for (uint256 i; i < ports.length; ++i) {
            // forge-lint: disable-next-line(unsafe-typecast)
            ports[i] = new FakePort(uint8(1 + draw(seed, i) % 15), address(fresh));
            fresh.proposePort(address(ports[i]));
            fresh.activatePort(address(ports[i]));
        }
        vm.stopPrank();
        bool[16] memory seen;
        uint256 expected;
        bytes memory raw = message();
        for (uint256 i; i < ports.length; ++i) {
            uint8 family = ports[i].family();
            bool brought = draw(seed, i) >> 8 & 1 == 1;
            bool removed = draw(seed, i) >> 9 & 1 == 1;
            if (brought) bring(ports[i], raw);
            if (removed) {
                vm.prank(admin);
                fresh.removePort(address(ports[i]));
            }
            if (brought && !removed && !seen[family]) {
                seen[family] = true;
                ++expected;
            }
        }
        assertEq(fresh.familiesOf(keccak256(raw)), expected);
    }

    function draw(uint256 seed, uint256 i) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, i)));
    }

    // ---------------------------------------------------------------------------------------------- ports

    function test_a_port_waits_its_delay_once_a_token_was_ever_listed() public {
        FakePort port = new FakePort(3, address(inbox));
        vm.startPrank(admin);
        vault.delistToken(address(token));
        uint256 due = vm.getBlockTimestamp() + PORT_DELAY;
        vm.expectEmit(address(inbox));
        emit ISettlementInbox.PortProposed(address(port), 3, due);
        inbox.proposePort(address(port));
        (,, bool active, uint256 activatableAt) = inbox.portInfo(address(port));
        assertFalse(active);
        assertEq(activatableAt, due);
        vm.warp(due - 1);
        vm.expectRevert(abi.encodeWithSelector(ISettlementInbox.TooEarly.selector, due));
        inbox.activatePort(address(port));
        vm.warp(due);
        vm.expectEmit(address(inbox));
        emit ISettlementInbox.PortActivated(address(port), 2, 3);
        inbox.activatePort(address(port));
    }

    function test_a_port_proposed_before_the_first_listing_waits_if_activated_after_it() public {
        SettlementInbox fresh = new SettlementInbox(admin, guardian, EXIT_DELAY, CLAIM_WINDOW, PORT_DELAY);
        FakePort port = new FakePort(1, address(fresh));
        vm.startPrank(admin);
        fresh.proposePort(address(port));
        (,,, uint256 activatableAt) = fresh.portInfo(address(port));
        assertEq(activatableAt, vm.getBlockTimestamp());
        SettlementVault(payable(fresh.vault())).listToken(address(token), 6, 1, 2, 1, 1, 1);
        vm.expectRevert(abi.encodeWithSelector(ISettlementInbox.TooEarly.selector, vm.getBlockTimestamp() + PORT_DELAY));
        fresh.activatePort(address(port));
    }

    function test_a_port_waits_its_delay_once_anything_was_received_though_no_token_was_listed() public {
        SettlementInbox fresh = new SettlementInbox(admin, guardian, EXIT_DELAY, CLAIM_WINDOW, PORT_DELAY);
        inbox = fresh;
        FakePort first = new FakePort(1, address(fresh));
        FakePort before = new FakePort(2, address(fresh));
        FakePort later = new FakePort(3, address(fresh));
        vm.startPrank(admin);
        fresh.proposePort(address(first));
        fresh.activatePort(address(first));
        fresh.proposePort(address(before));
        vm.stopPrank();
        bring(first, message());

        uint256 due = vm.getBlockTimestamp() + PORT_DELAY;
        vm.startPrank(admin);
        vm.expectEmit(address(fresh));
        emit ISettlementInbox.PortProposed(address(later), 3, due);
        fresh.proposePort(address(later));
        (,,, uint256 activatableAt) = fresh.portInfo(address(later));
        assertEq(activatableAt, due);
        // The one that was proposed before has to wait all the same.
        vm.expectRevert(abi.encodeWithSelector(ISettlementInbox.TooEarly.selector, due));
        fresh.activatePort(address(before));
        // What a port has brought counts when the port is gone.
        fresh.removePort(address(first));
        vm.warp(due - 1);
        vm.expectRevert(abi.encodeWithSelector(ISettlementInbox.TooEarly.selector, due));
        fresh.activatePort(address(later));
        vm.warp(due);
        fresh.activatePort(address(later));
        fresh.activatePort(address(before));
        vm.stopPrank();
        assertFalse(SettlementVault(payable(fresh.vault())).everListed());
    }

    function test_only_a_frozen_port_of_this_inbox_and_of_the_proposed_family_is_activated() public {
        SettlementInbox fresh = new SettlementInbox(admin, guardian, EXIT_DELAY, CLAIM_WINDOW, PORT_DELAY);
        FakePort soft = new FakePort(1, address(fresh));
        soft.setFrozen(false);
        FakePort foreign = new FakePort(1, address(inbox));
        FakePort turncoat = new FakePort(1, address(fresh));
        vm.startPrank(admin);
        fresh.proposePort(address(soft));
        vm.expectRevert(abi.encodeWithSelector(ISettlementInbox.PortNotFrozen.selector, address(soft)));
        fresh.activatePort(address(soft));
        fresh.proposePort(address(foreign));
        vm.expectRevert(abi.encodeWithSelector(ISettlementInbox.PortRefused.selector, address(foreign)));
        fresh.activatePort(address(foreign));
        fresh.proposePort(address(turncoat));
        turncoat.setFamily(2);
        vm.expectRevert(abi.encodeWithSelector(ISettlementInbox.PortRefused.selector, address(turncoat)));
        fresh.activatePort(address(turncoat));
    }

    function test_families_are_1_to_15() public {
        FakePort none = new FakePort(0, address(inbox));
        FakePort wide = new FakePort(16, address(inbox));
        vm.startPrank(admin);
        vm.expectRevert(abi.encodeWithSelector(ISettlementInbox.PortRefused.selector, address(none)));
        inbox.proposePort(address(none));
        vm.expectRevert(abi.encodeWithSelector(ISettlementInbox.PortRefused.selector, address(wide)));
        inbox.proposePort(address(wide));
    }

    function test_a_port_that_was_active_never_comes_back() public {
        vm.startPrank(admin);
        vm.expectRevert(abi.encodeWithSelector(ISettlementInbox.PortRefused.selector, address(portA)));
        inbox.proposePort(address(portA));
        vm.expectRevert(abi.encodeWithSelector(ISettlementInbox.PortRefused.selector, address(portA)));
        inbox.activatePort(address(portA));
        inbox.removePort(address(portA));
        vm.expectRevert(abi.encodeWithSelector(ISettlementInbox.PortRefused.selector, address(portA)));
        inbox.proposePort(address(portA));
        vm.expectRevert(abi.encodeWithSelector(ISettlementInbox.PortRefused.selector, address(portA)));
        inbox.activatePort(address(portA));
        vm.expectRevert(abi.encodeWithSelector(ISettlementInbox.PortRefused.selector, address(portA)));
        inbox.removePort(address(portA));
    }

    function test_a_proposal_can_be_withdrawn_and_an_unknown_port_is_refused() public {
        FakePort port = new FakePort(3, address(inbox));
        vm.startPrank(admin);
        vm.expectRevert(abi.encodeWithSelector(ISettlementInbox.NotProposed.selector, address(port)));
        inbox.activatePort(address(port));
        vm.expectRevert(abi.encodeWithSelector(ISettlementInbox.NotProposed.selector, address(port)));
        inbox.removePort(address(port));
        inbox.proposePort(address(port));
        inbox.removePort(address(port));
        vm.warp(vm.getBlockTimestamp() + PORT_DELAY);
        vm.expectRevert(abi.encodeWithSelector(ISettlementInbox.NotProposed.selector, address(port)));
        inbox.activatePort(address(port));
    }

    function test_there_are_64_slots_for_ever() public {
        SettlementInbox fresh = new SettlementInbox(admin, guardian, EXIT_DELAY, CLAIM_WINDOW, PORT_DELAY);
        inbox = fresh;
        vm.startPrank(admin);
        FakePort last;
        for (uint256 i; i < 64; ++i) {
            last = new FakePort(15, address(fresh));
            fresh.proposePort(address(last));
            fresh.activatePort(address(last));
            if (i < 63) fresh.removePort(address(last));
        }
        FakePort over = new FakePort(1, address(fresh));
        fresh.proposePort(address(over));
        vm.expectRevert(ISettlementInbox.NoFreeSlot.selector);
        fresh.activatePort(address(over));
        vm.stopPrank();
        bring(last, message());
        assertEq(fresh.votes(keccak256(message())), 1 << 63);
        assertEq(fresh.familiesOf(keccak256(message())), 1);
    }

    function test_only_the_owner_changes_ports() public {
        bytes memory stranger = abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, address(this));
        vm.expectRevert(stranger);
        inbox.proposePort(address(portA));
        vm.expectRevert(stranger);
        inbox.activatePort(address(portA));
        vm.expectRevert(stranger);
        inbox.removePort(address(portA));
    }

    function test_ownership_moves_in_two_steps() public {
        address heir = makeAddr("heir");
        vm.prank(admin);
        inbox.transferOwnership(heir);
        assertEq(inbox.owner(), admin);
        vm.prank(heir);
        inbox.acceptOwnership();
        assertEq(inbox.owner(), heir);
    }

    // ---------------------------------------------------------------------------------------------- construction

    function test_the_port_delay_is_longer_than_any_payer_needs_to_leave() public {
        vm.expectRevert(ISettlementInbox.BadDelay.selector);
        new SettlementInbox(admin, guardian, 1 days, 1 days, 1 days + 72 hours);
        new SettlementInbox(admin, guardian, 1 days, 1 days, 1 days + 72 hours + 1);
        vm.expectRevert(ISettlementInbox.BadDelay.selector);
        new SettlementInbox(admin, guardian, 0, 1 days, 10 days);
        vm.expectRevert(ISettlementInbox.BadDelay.selector);
        new SettlementInbox(admin, guardian, 1 days, 0, 10 days);
        vm.expectRevert(ISettlementInbox.BadDelay.selector);
        new SettlementInbox(admin, guardian, 366 days, 1 days, 400 days);
        vm.expectRevert(ISettlementInbox.BadDelay.selector);
        new SettlementInbox(admin, guardian, 1 days, 1 days, 1001 days);
    }

    function test_inbox_and_vault_know_each_other() public view {
        assertEq(vault.inbox(), address(inbox));
        assertEq(inbox.vault(), address(vault));
        assertEq(vault.owner(), admin);
        assertEq(vault.guardian(), guardian);
        assertEq(vault.exitDelay(), EXIT_DELAY);
        assertEq(vault.claimWindow(), CLAIM_WINDOW);
        assertEq(inbox.portDelay(), PORT_DELAY);
    }

    function test_contracts_fit_the_size_limit() public view {
        assertLt(address(inbox).code.length, 24_576);
        assertLt(address(vault).code.length, 24_576);
    }

    function test_the_domain_follows_a_fork_of_the_chain() public {
        bytes32 before = inbox.DOMAIN_SEPARATOR();
        assertEq(
            before,
            keccak256(
                abi.encode(
                    keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                    keccak256("Settlement"),
                    keccak256("1"),
                    block.chainid,
                    address(inbox)
                )
            )
        );
        vm.chainId(777);
        assertTrue(inbox.DOMAIN_SEPARATOR() != before);
    }
}
