// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Test} from "forge-std/Test.sol";
import {SettlementInbox} from "../src/SettlementInbox.sol";
import {SettlementOutbox} from "../src/SettlementOutbox.sol";
import {SettlementVault} from "../src/SettlementVault.sol";
import {HostileToken} from "./mocks/Tokens.sol";
import {OutboxPort} from "./mocks/OutboxPort.sol";
import {PlainTree} from "./PlainTree.sol";
import {SettlementHandler} from "./SettlementHandler.sol";

/// @dev G1, G4, G5 and G6 on the target chain, whatever anybody does in whatever order.
contract InboxInvariants is Test {
    SettlementInbox private inbox;
    SettlementVault private vault;
    SettlementHandler private handler;
    HostileToken[2] private tokens;
    address private admin = makeAddr("admin");

    function setUp() public {
        vm.warp(1_800_000_000);
        inbox = new SettlementInbox(admin, admin, 7 days, 3 days, 14 days);
        vault = SettlementVault(payable(inbox.vault()));
        tokens = [new HostileToken(), new HostileToken()];
        handler = new SettlementHandler(inbox, tokens[0], tokens[1], admin);
        for (uint256 i; i < 6; ++i) {
            handler.addPort(i % 3 + 1);
        }
        vm.startPrank(admin);
        vault.listToken(address(tokens[0]), 6, 1000e6, 10_000e6, 1, 2, 0);
        vault.listToken(address(tokens[1]), 6, 1000e6, 10_000e6, 1, 2, 3);
        vm.stopPrank();
        for (uint256 i; i < 6; ++i) {
            handler.deposit(i % 3, i / 3, 20_000e6);
        }
        targetContract(address(handler));
    }

    /// @dev One run of calls for all of them: the calls cost far more than the looking.
    function invariant_payments_and_books() public view {
        check_no_nonce_is_paid_twice_or_after_its_burn();
        check_nothing_is_paid_that_was_not_signed_and_sealed();
        check_removed_ports_and_second_ports_of_a_family_count_nothing();
        check_a_bit_is_set_exactly_when_its_nonce_was_paid_or_burned();
        check_the_vault_holds_what_it_owes();
        check_the_sums_close();
        check_inbox_and_ports_hold_nothing();
    }

    function check_no_nonce_is_paid_twice_or_after_its_burn() private view {
        assertEq(handler.paidTwice(), 0);
        assertEq(handler.paidAfterBurn(), 0);
    }

    function check_nothing_is_paid_that_was_not_signed_and_sealed() private view {
        assertEq(handler.paidUnsigned(), 0);
        assertEq(handler.paidUnknown(), 0);
    }

    function check_removed_ports_and_second_ports_of_a_family_count_nothing() private view {
        assertEq(handler.paidBelowQuorum(), 0);
        bytes32[] memory ids = handler.messageIds();
        for (uint256 i; i < ids.length; ++i) {
            assertEq(inbox.familiesOf(ids[i]), handler.familiesOf(ids[i]));
        }
    }

    function check_a_bit_is_set_exactly_when_its_nonce_was_paid_or_burned() private view {
        for (uint256 i; i < 3; ++i) {
            address payer = handler.payers(i);
            for (uint256 seed; seed < 24; ++seed) {
                uint256 nonce = handler.nonceAt(seed);
                bool set = vault.nonceBitmap(payer, nonce >> 8) >> (nonce & 0xff) & 1 == 1;
                assertEq(set, handler.timesPaid(payer, nonce) == 1 || handler.burned(payer, nonce));
            }
        }
    }

    function check_the_vault_holds_what_it_owes() private view {
        for (uint256 i; i < 2; ++i) {
            (uint256 balances, uint256 credits,) = owed(tokens[i]);
            assertEq(tokens[i].balanceOf(address(vault)), balances + credits);
        }
    }

    function check_the_sums_close() private view {
        for (uint256 i; i < 2; ++i) {
            (uint128 deposited, uint128 withdrawn, uint128 debited, uint128 credited, uint128 claimed) = vault.totals(address(tokens[i]));
            (uint256 balances, uint256 credits, uint256 received) = owed(tokens[i]);
            assertEq(deposited, withdrawn + debited + balances);
            assertEq(debited, handler.spent(address(tokens[i])));
            assertEq(received, debited - credited + claimed);
            assertEq(credits, credited - claimed);
            assertEq(claimed, handler.claimed(address(tokens[i])));
        }
        (uint128 votes, uint128 paid) = inbox.counters();
        assertEq(paid, handler.paidCount());
        assertEq(votes, handler.voteCount());
    }

    function check_inbox_and_ports_hold_nothing() private view {
        for (uint256 i; i < 2; ++i) {
            assertEq(tokens[i].balanceOf(address(inbox)), 0);
            for (uint256 port; port < handler.portCount(); ++port) {
                assertEq(tokens[i].balanceOf(address(handler.ports(port))), 0);
            }
        }
        assertEq(address(inbox).balance + address(vault).balance, 0);
    }

    /// @dev What the vault owes to payers and to credited accounts, and what payees and the fee recipient have got.
    function owed(HostileToken token) private view returns (uint256 balances, uint256 credits, uint256 received) {
        for (uint256 i; i < 3; ++i) {
            balances += vault.balanceOf(handler.payers(i), address(token));
        }
        for (uint256 i; i < 5; ++i) {
            address account = i == 4 ? handler.feeRecipient() : handler.payees(i);
            credits += vault.creditOf(account, address(token));
            received += token.balanceOf(account);
        }
    }

    /// @dev The handler reaches everything that the invariants speak about; without this they could hold because nothing ever happens.
    function test_the_handler_reaches_every_outcome() public {
        for (uint256 i; i < 24; ++i) {
            handler.seal(uint256(keccak256(abi.encode(i))), 6, i % 2 == 0);
            for (uint256 port; port < 6; ++port) {
                handler.bring(i, port);
            }
            if (i == 12) {
                handler.setMood(0, 2, 0);
                handler.setMood(1, 3, 1);
            }
            handler.execute(i, 0, 3, i % 4 == 0);
            handler.executeOne(i, 4);
            handler.execute(i, 0, 6, i % 4 == 0);
        }
        handler.setMood(0, 0, 0);
        handler.setMood(1, 0, 1);
        uint256 burns;
        for (uint256 seed; seed < 24 && burns == 0; ++seed) {
            try handler.announceBurn(0, seed) {
                handler.burn(0, seed, true);
                ++burns;
            } catch {}
        }
        handler.announceWithdrawal(0, 0, 1);
        handler.announceWithdrawal(1, 0, 1);
        handler.withdraw(0, 0, true);
        handler.withdraw(1, 0, true);
        assertGt(handler.paidCount(), 20);
        assertGt(handler.creditedCount(), 0);
        assertGt(handler.burnedCount(), 0);
        assertGt(handler.withdrawnCount(), 0);
        invariant_payments_and_books();
    }
}

/// @dev Dispatches, doubles, lost and returned ports, fees of any height.
contract OutboxHandler is Test {
    SettlementOutbox public immutable OUTBOX;
    OutboxPort[] public ports;
    mapping(bytes32 messageId => mapping(address port => uint256)) public times;
    bytes32[] private _sent;
    uint256 public sentTwice;
    uint256 public dispatches;
    uint256 public messages;
    mapping(bytes32 messageId => bool) private _seen;

    constructor() {
        OUTBOX = new SettlementOutbox(address(this));
        OUTBOX.setDispatcher(address(this), true);
        for (uint256 i; i < 3; ++i) {
            ports.push(new OutboxPort(address(OUTBOX)));
            OUTBOX.addPort(address(ports[i]));
        }
    }

    function dispatch(uint256 sequence, uint256 port, uint256 count, bool withIds, uint256 value) external {
        OutboxPort through = ports[port % 3];
        value = bound(value, 0, 1 ether);
        vm.deal(address(this), value);
        bytes32[] memory ids = new bytes32[](bound(count, 1, 4));
        for (uint256 i; i < ids.length; ++i) {
            ids[i] = keccak256(abi.encode(i));
        }
        bytes memory header = abi.encodePacked(
            uint16(0x0101),
            uint64(block.chainid),
            uint64(2),
            uint256(uint160(address(OUTBOX))),
            uint256(1),
            uint64(sequence % 32),
            PlainTree.root(ids),
            uint32(ids.length),
            uint256(0)
        );
        OUTBOX.dispatch{value: value}(header, withIds ? ids : new bytes32[](0), address(through), 0);
        bytes32 id = keccak256(header);
        if (++times[id][address(through)] > 1) ++sentTwice;
        if (!_seen[id]) ++messages;
        _seen[id] = true;
        ++dispatches;
    }

    function setPort(uint256 port, uint256 fee, uint256 dice) external {
        bool broken = dice % 5 == 0;
        bool listed = dice % 5 != 1;
        OutboxPort which = ports[port % 3];
        which.setFee(bound(fee, 0, 0.1 ether));
        which.setBroken(broken);
        if (listed && OUTBOX.portSlot(address(which)) == 0) OUTBOX.addPort(address(which));
        if (!listed && OUTBOX.portSlot(address(which)) != 0) OUTBOX.removePort(address(which));
    }

    function force(uint256 value) external {
        vm.deal(address(OUTBOX), bound(value, 0, 1 ether));
        vm.deal(address(this), 1 ether);
        // The next dispatch takes it out; done here so that the invariant may look after any call.
        this.dispatch(value, 0, 1, true, 1 ether);
    }

    receive() external payable {}
}

contract OutboxInvariants is Test {
    OutboxHandler private handler;

    function setUp() public {
        handler = new OutboxHandler();
        targetContract(address(handler));
        bytes4[] memory selectors = new bytes4[](3);
        selectors[0] = handler.dispatch.selector;
        selectors[1] = handler.setPort.selector;
        selectors[2] = handler.force.selector;
        targetSelector(FuzzSelector(address(handler), selectors));
    }

    function invariant_outbox_and_ports_hold_nothing() public view {
        assertEq(address(handler.OUTBOX()).balance, 0);
        for (uint256 i; i < 3; ++i) {
            assertEq(address(handler.ports(i)).balance, 0);
        }
    }

    function invariant_no_message_goes_over_one_port_twice() public view {
        assertEq(handler.sentTwice(), 0);
        (uint128 messages, uint128 dispatches) = handler.OUTBOX().counters();
        assertEq(messages, handler.messages());
        assertEq(dispatches, handler.dispatches());
        assertEq(dispatches, handler.ports(0).sends() + handler.ports(1).sends() + handler.ports(2).sends());
    }
}
