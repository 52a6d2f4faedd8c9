// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable2Step.sol";

import {ISettlementVault} from "../src/interfaces/ISettlementVault.sol";
import {HostileToken} from "./mocks/Tokens.sol";
import {Fixture} from "./Fixture.sol";

/// @dev Deposits, exits, pauses, listing. Payments and credits are in the Execute tests. The time is asked of the machine: the compiler takes
/// `block.timestamp` for constant within a call and may read it after a warp.
contract VaultTest is Fixture {
    address internal alice = makeAddr("alice");
    HostileToken internal hostile;

    function setUp() public override {
        super.setUp();
        hostile = new HostileToken();
        vm.prank(admin);
        list(address(hostile));
        token.mint(alice, 1000);
        hostile.mint(alice, 1000);
        vm.startPrank(alice);
        token.approve(address(vault), type(uint256).max);
        hostile.approve(address(vault), type(uint256).max);
        vm.stopPrank();
    }

    // ---------------------------------------------------------------------------------------------- deposits

    function test_a_deposit_is_credited_to_the_payer_it_names() public {
        vm.startPrank(alice);
        vm.expectEmit(address(vault));
        emit ISettlementVault.Deposited(alice, address(token), alice, 10);
        vault.deposit(address(token), 10);
        vm.expectEmit(address(vault));
        emit ISettlementVault.Deposited(admin, address(token), alice, 5);
        vault.depositFor(admin, address(token), 5);
        assertEq(vault.balanceOf(alice, address(token)), 10);
        assertEq(vault.balanceOf(admin, address(token)), 5);
        (uint128 deposited,,,,) = vault.totals(address(token));
        assertEq(deposited, 1_000_000e6 + 15);
    }

    function test_a_deposit_that_arrives_short_is_refused() public {
        hostile.setMood(HostileToken.Mood.TakeFee, address(0));
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(ISettlementVault.DepositMismatch.selector, 10, 9));
        vault.deposit(address(hostile), 10);
    }

    function test_a_deposit_that_the_token_refuses_is_refused() public {
        HostileToken.Mood[5] memory moods = [
            HostileToken.Mood.Revert,
            HostileToken.Mood.ReturnFalse,
            HostileToken.Mood.ReturnTwo,
            HostileToken.Mood.ReturnShort,
            HostileToken.Mood.RevertBomb
        ];
        for (uint256 i; i < moods.length; ++i) {
            hostile.setMood(moods[i], address(0));
            vm.prank(alice);
            vm.expectRevert(abi.encodeWithSelector(ISettlementVault.TransferFailed.selector, address(hostile)));
            vault.deposit(address(hostile), 10);
        }
    }

    function test_a_token_without_a_return_value_is_accepted() public {
        hostile.setMood(HostileToken.Mood.ReturnNothing, address(0));
        vm.prank(alice);
        vault.deposit(address(hostile), 10);
        assertEq(vault.balanceOf(alice, address(hostile)), 10);
    }

    function test_unlisted_tokens_native_coin_and_nothing_are_refused() public {
        vm.startPrank(alice);
        vm.expectRevert(abi.encodeWithSelector(ISettlementVault.TokenNotListed.selector, alice));
        vault.deposit(alice, 1);
        vm.expectRevert(ISettlementVault.NativeRefused.selector);
        vault.deposit(address(0), 1);
        vm.expectRevert(ISettlementVault.BadAmount.selector);
        vault.deposit(address(token), 0);
        vm.expectRevert(ISettlementVault.BadAmount.selector);
        vault.deposit(address(token), 1 << 128);
        vm.expectRevert(ISettlementVault.ZeroAddress.selector);
        vault.depositFor(address(0), address(token), 1);
        vm.stopPrank();
        vm.deal(address(this), 1);
        (bool sent, bytes memory why) = address(vault).call{value: 1}("");
        assertFalse(sent);
        assertEq(bytes4(why), ISettlementVault.NativeRefused.selector);
    }

    function test_a_token_that_calls_back_finds_every_door_shut() public {
        vm.prank(alice);
        vault.deposit(address(hostile), 100);
        bytes[5] memory doors = [
            abi.encodeCall(vault.deposit, (address(hostile), 1)),
            abi.encodeCall(vault.withdraw, (address(hostile))),
            abi.encodeCall(vault.claim, (address(hostile), alice)),
            abi.encodeCall(vault.burn, (1)),
            abi.encodeCall(vault.removeSigner, (alice))
        ];
        hostile.setMood(HostileToken.Mood.CallBack, address(0));
        for (uint256 i; i < doors.length; ++i) {
            hostile.setCallback(address(vault), doors[i]);
            vm.prank(alice);
            vault.deposit(address(hostile), 1);
            assertFalse(hostile.callbackDone());
            assertEq(bytes4(hostile.callbackAnswer()), ISettlementVault.Reentered.selector);
        }
    }

    // ---------------------------------------------------------------------------------------------- withdrawals

    function announced(uint256 amount) internal returns (uint256 maturesAt) {
        vm.prank(payer);
        vault.announceWithdrawal(address(token), amount);
        (, maturesAt,) = vault.withdrawalOf(payer, address(token));
    }

    function tryWithdraw(bytes memory refusal) internal {
        vm.prank(payer);
        vm.expectRevert(refusal);
        vault.withdraw(address(token));
    }

    function test_a_withdrawal_is_paid_between_maturity_and_the_end_of_its_window() public {
        uint256 start = vm.getBlockTimestamp();
        vm.expectEmit(address(vault));
        emit ISettlementVault.WithdrawalAnnounced(payer, address(token), 7);
        announced(7);
        (uint256 amount, uint256 maturesAt, uint256 closesAt) = vault.withdrawalOf(payer, address(token));
        assertEq(amount, 7);
        assertEq(maturesAt, start + EXIT_DELAY);
        assertEq(closesAt, maturesAt + CLAIM_WINDOW);

        vm.warp(maturesAt - 1);
        tryWithdraw(abi.encodeWithSelector(ISettlementVault.TooEarly.selector, maturesAt));
        uint256 snapshot = vm.snapshotState();
        vm.warp(closesAt + 1);
        tryWithdraw(abi.encodeWithSelector(ISettlementVault.WindowClosed.selector, closesAt));
        vm.revertToState(snapshot);
        vm.warp(closesAt);
        vm.prank(payer);
        vm.expectEmit(address(vault));
        emit ISettlementVault.Withdrawn(payer, address(token), 7);
        assertEq(vault.withdraw(address(token)), 7);
        assertEq(token.balanceOf(payer), 7);
        assertEq(vault.balanceOf(payer, address(token)), 1_000_000e6 - 7);
        (, uint128 withdrawn,,,) = vault.totals(address(token));
        assertEq(withdrawn, 7);
        tryWithdraw(abi.encodeWithSelector(ISettlementVault.NothingAnnounced.selector));
        (amount, maturesAt, closesAt) = vault.withdrawalOf(payer, address(token));
        assertEq(amount + maturesAt + closesAt, 0);
    }

    function test_a_withdrawal_pays_no_more_than_the_balance_left() public {
        vm.warp(announced(type(uint128).max));
        vm.startPrank(payer);
        assertEq(vault.withdraw(address(token)), 1_000_000e6);
        vault.announceWithdrawal(address(token), 5);
        vm.warp(vm.getBlockTimestamp() + EXIT_DELAY);
        assertEq(vault.withdraw(address(token)), 0);
    }

    function test_a_new_announcement_replaces_the_old_one_and_starts_anew() public {
        announced(7);
        vm.warp(vm.getBlockTimestamp() + EXIT_DELAY - 1);
        uint256 maturesAt = announced(3);
        vm.warp(vm.getBlockTimestamp() + 1);
        tryWithdraw(abi.encodeWithSelector(ISettlementVault.TooEarly.selector, maturesAt));
        vm.warp(maturesAt);
        vm.prank(payer);
        assertEq(vault.withdraw(address(token)), 3);
    }

    function test_a_cancelled_withdrawal_is_gone() public {
        uint256 maturesAt = announced(7);
        vm.startPrank(payer);
        vm.expectEmit(address(vault));
        emit ISettlementVault.WithdrawalCancelled(payer, address(token));
        vault.cancelWithdrawal(address(token));
        vm.expectRevert(ISettlementVault.NothingAnnounced.selector);
        vault.cancelWithdrawal(address(token));
        vm.stopPrank();
        vm.warp(maturesAt);
        tryWithdraw(abi.encodeWithSelector(ISettlementVault.NothingAnnounced.selector));
    }

    function test_a_withdrawal_of_nothing_or_too_much_is_refused() public {
        vm.startPrank(payer);
        vm.expectRevert(ISettlementVault.BadAmount.selector);
        vault.announceWithdrawal(address(token), 0);
        vm.expectRevert(ISettlementVault.BadAmount.selector);
        vault.announceWithdrawal(address(token), 1 << 128);
    }

    function test_a_delisted_token_can_be_withdrawn_and_one_that_refuses_leaves_the_balance() public {
        vm.startPrank(alice);
        vault.deposit(address(hostile), 50);
        vault.announceWithdrawal(address(hostile), 50);
        vm.stopPrank();
        vm.prank(admin);
        vault.delistToken(address(hostile));
        vm.warp(vm.getBlockTimestamp() + EXIT_DELAY);
        hostile.setMood(HostileToken.Mood.ReturnFalse, address(0));
        vm.startPrank(alice);
        vm.expectRevert(abi.encodeWithSelector(ISettlementVault.TransferFailed.selector, address(hostile)));
        vault.withdraw(address(hostile));
        hostile.setMood(HostileToken.Mood.Kind, address(0));
        assertEq(vault.withdraw(address(hostile)), 50);
    }

    // ---------------------------------------------------------------------------------------------- burns

    function test_a_burn_takes_effect_only_in_its_second_call() public {
        uint256 nonce = 0x1234;
        vm.startPrank(payer);
        vm.expectEmit(address(vault));
        emit ISettlementVault.BurnAnnounced(payer, nonce);
        vault.announceBurn(nonce);
        assertEq(vault.nonceBitmap(payer, 0x12), 0);
        (uint256 maturesAt, uint256 closesAt) = vault.burnOf(payer, nonce);
        assertEq(closesAt, maturesAt + CLAIM_WINDOW);
        vm.expectRevert(abi.encodeWithSelector(ISettlementVault.TooEarly.selector, maturesAt));
        vault.burn(nonce);
        vm.warp(maturesAt);
        vm.expectEmit(address(vault));
        emit ISettlementVault.NonceBurned(payer, nonce);
        vault.burn(nonce);
        assertEq(vault.nonceBitmap(payer, 0x12), 1 << 0x34);
        vm.expectRevert(ISettlementVault.NothingAnnounced.selector);
        vault.burn(nonce);
        vm.expectRevert(abi.encodeWithSelector(ISettlementVault.NonceAlreadyUsed.selector, nonce));
        vault.announceBurn(nonce);
        vm.expectRevert(ISettlementVault.BadAmount.selector);
        vault.announceBurn(1 << 255);
    }

    function test_a_burn_after_its_window_or_without_announcement_is_refused() public {
        vm.startPrank(payer);
        vm.expectRevert(ISettlementVault.NothingAnnounced.selector);
        vault.burn(1);
        vault.announceBurn(1);
        (, uint256 closesAt) = vault.burnOf(payer, 1);
        vm.warp(closesAt + 1);
        vm.expectRevert(abi.encodeWithSelector(ISettlementVault.WindowClosed.selector, closesAt));
        vault.burn(1);
    }

    function test_a_nonce_that_was_paid_meanwhile_cannot_be_burned() public {
        vm.prank(payer);
        vault.announceBurn(0x700);
        inbox.execute(packAndBring(many(1, 1)));
        vm.warp(vm.getBlockTimestamp() + EXIT_DELAY);
        vm.prank(payer);
        vm.expectRevert(abi.encodeWithSelector(ISettlementVault.NonceAlreadyUsed.selector, 0x700));
        vault.burn(0x700);
    }

    // ---------------------------------------------------------------------------------------------- signers

    function test_a_signer_stays_until_its_removal_matured() public {
        vm.startPrank(payer);
        vm.expectRevert(ISettlementVault.ZeroAddress.selector);
        vault.addSigner(address(0));
        vm.expectRevert(ISettlementVault.NothingAnnounced.selector);
        vault.announceSignerRemoval(alice);
        vm.expectEmit(address(vault));
        emit ISettlementVault.SignerAdded(payer, alice);
        vault.addSigner(alice);
        vm.expectRevert(ISettlementVault.NothingAnnounced.selector);
        vault.removeSigner(alice);
        vm.expectEmit(address(vault));
        emit ISettlementVault.SignerRemovalAnnounced(payer, alice);
        vault.announceSignerRemoval(alice);
        assertTrue(vault.isSigner(payer, alice));
        (uint256 maturesAt, uint256 closesAt) = vault.signerRemovalOf(payer, alice);
        vm.expectRevert(abi.encodeWithSelector(ISettlementVault.TooEarly.selector, maturesAt));
        vault.removeSigner(alice);
        vm.warp(closesAt + 1);
        vm.expectRevert(abi.encodeWithSelector(ISettlementVault.WindowClosed.selector, closesAt));
        vault.removeSigner(alice);
        vm.warp(maturesAt);
        vm.expectEmit(address(vault));
        emit ISettlementVault.SignerRemoved(payer, alice);
        vault.removeSigner(alice);
        assertFalse(vault.isSigner(payer, alice));
    }

    function test_a_signer_added_again_is_not_struck_by_the_old_removal() public {
        vm.startPrank(payer);
        vault.addSigner(alice);
        vault.announceSignerRemoval(alice);
        vault.addSigner(alice);
        vm.warp(vm.getBlockTimestamp() + EXIT_DELAY);
        vm.expectRevert(ISettlementVault.NothingAnnounced.selector);
        vault.removeSigner(alice);
    }

    // ---------------------------------------------------------------------------------------------- pauses

    function pauseBy(address whom, uint256 duration) internal {
        vm.prank(guardian);
        vault.pause(whom, duration);
    }

    function test_only_the_guardian_pauses_and_never_for_longer_than_72_hours() public {
        vm.expectRevert(ISettlementVault.NotGuardian.selector);
        vault.pause(payer, 1);
        vm.expectRevert(ISettlementVault.NotGuardian.selector);
        vault.unpause(payer);
        vm.startPrank(guardian);
        vm.expectRevert(ISettlementVault.PauseTooLong.selector);
        vault.pause(payer, 72 hours + 1);
        vm.expectRevert(ISettlementVault.BadAmount.selector);
        vault.pause(payer, 0);
        vm.expectRevert(ISettlementVault.NotPaused.selector);
        vault.unpause(payer);
        vm.expectEmit(address(vault));
        emit ISettlementVault.Paused(payer, vm.getBlockTimestamp() + 72 hours);
        vault.pause(payer, 72 hours);
        assertTrue(vault.isPaused(payer));
        assertFalse(vault.isPaused(alice));
        vm.warp(vm.getBlockTimestamp() + 72 hours);
        assertFalse(vault.isPaused(payer));
    }

    function test_after_a_pause_a_cooldown_must_pass_for_the_same_payer_only() public {
        pauseBy(payer, 10 hours);
        vm.startPrank(guardian);
        uint256 until = vm.getBlockTimestamp() + 82 hours;
        vm.expectRevert(abi.encodeWithSelector(ISettlementVault.PauseCooldown.selector, until));
        vault.pause(payer, 1 hours);
        vault.pause(alice, 1 hours);
        vault.pause(address(0), 1 hours);
        vm.warp(until - 1);
        vm.expectRevert(abi.encodeWithSelector(ISettlementVault.PauseCooldown.selector, until));
        vault.pause(payer, 1 hours);
        vm.warp(until);
        vault.pause(payer, 1 hours);
    }

    function test_the_cooldown_counts_from_an_early_end() public {
        pauseBy(address(0), 72 hours);
        assertTrue(vault.isPaused(alice));
        vm.warp(vm.getBlockTimestamp() + 1 hours);
        vm.startPrank(guardian);
        vm.expectEmit(address(vault));
        emit ISettlementVault.Unpaused(address(0));
        vault.unpause(address(0));
        assertFalse(vault.isPaused(alice));
        vm.expectRevert(ISettlementVault.NotPaused.selector);
        vault.unpause(address(0));
        vm.expectRevert(abi.encodeWithSelector(ISettlementVault.PauseCooldown.selector, vm.getBlockTimestamp() + 72 hours));
        vault.pause(address(0), 1);
    }

    function test_a_maturity_clock_stands_still_while_paused() public {
        uint256 start = vm.getBlockTimestamp();
        announced(7);
        vm.warp(start + 1 days);
        pauseBy(payer, 2 days);
        vm.warp(start + 2 days);
        (, uint256 maturesAt,) = vault.withdrawalOf(payer, address(token));
        assertEq(maturesAt, start + EXIT_DELAY + 1 days, "moves while the pause lasts");
        vm.warp(start + 5 days);
        (, maturesAt,) = vault.withdrawalOf(payer, address(token));
        assertEq(maturesAt, start + EXIT_DELAY + 2 days);
        vm.warp(start + EXIT_DELAY);
        tryWithdraw(abi.encodeWithSelector(ISettlementVault.TooEarly.selector, maturesAt));
        vm.warp(maturesAt);
        vm.prank(payer);
        vault.withdraw(address(token));
    }

    function test_a_pause_never_blocks_a_matured_withdrawal_and_its_window_stays_open() public {
        uint256 maturesAt = announced(7);
        vm.warp(maturesAt + CLAIM_WINDOW);
        pauseBy(address(0), 72 hours);
        vm.warp(vm.getBlockTimestamp() + 72 hours);
        vm.prank(payer);
        assertEq(vault.withdraw(address(token)), 7);
    }

    function test_overlapping_pauses_count_once_even_long_after() public {
        uint256 start = vm.getBlockTimestamp();
        // Global [0, 60h), own [50h, 100h): 100h together. Then two more global pauses that the payer's pause does not touch.
        pauseBy(address(0), 60 hours);
        announced(7);
        vm.warp(start + 50 hours);
        pauseBy(payer, 50 hours);
        vm.warp(start + 200 hours);
        (, uint256 maturesAt,) = vault.withdrawalOf(payer, address(token));
        assertEq(maturesAt, start + EXIT_DELAY + 100 hours);
        pauseBy(address(0), 10 hours);
        vm.warp(start + 300 hours);
        pauseBy(address(0), 10 hours);
        vm.warp(start + 400 hours);
        (, maturesAt,) = vault.withdrawalOf(payer, address(token));
        assertEq(maturesAt, start + EXIT_DELAY + 120 hours);
    }

    /// @dev The clock against a ledger kept hour by hour: every hour that was paused by anything counts once.
    function testFuzz_the_clock_counts_unpaused_hours(uint256 seed) public {
        announced(1);
        uint256 start = vm.getBlockTimestamp();
        uint256 pausedHours;
        for (uint256 hour; hour < 900; ++hour) {
            uint256 draw = uint256(keccak256(abi.encode(seed, hour)));
            address whom = draw & 1 == 0 ? address(0) : payer;
            vm.prank(guardian);
            if (draw >> 8 & 15 == 0) {
                try vault.pause(whom, (1 + (draw >> 16) % 72) * 1 hours) {} catch {}
            } else if (draw >> 8 & 15 == 1) {
                try vault.unpause(whom) {} catch {}
            }
            if (vault.isPaused(payer)) ++pausedHours;
            vm.warp(start + (hour + 1) * 1 hours);
            (, uint256 maturesAt,) = vault.withdrawalOf(payer, address(token));
            assertEq(maturesAt, start + EXIT_DELAY + pausedHours * 1 hours);
        }
    }

    // ---------------------------------------------------------------------------------------------- listing

    function test_tiers_say_how_many_families_an_amount_needs() public {
        assertEq(vault.quorumFor(address(token), 0), 1);
        assertEq(vault.quorumFor(address(token), LIMIT1), 1);
        assertEq(vault.quorumFor(address(token), LIMIT1 + 1), 2);
        assertEq(vault.quorumFor(address(token), LIMIT2), 2);
        assertEq(vault.quorumFor(address(token), LIMIT2 + 1), 0);
        assertEq(vault.quorumFor(alice, 1), 0, "not listed");
        vm.prank(admin);
        vm.expectEmit(address(vault));
        emit ISettlementVault.TokenListed(address(token), 18, 1, type(uint96).max, 1, 14, 15);
        vault.listToken(address(token), 18, 1, type(uint96).max, 1, 14, 15);
        assertEq(vault.quorumFor(address(token), type(uint96).max), 14);
        (bool listed, uint8 decimals, uint96 limit1, uint96 limit2, uint8 q1, uint8 q2, uint8 q3) = vault.tokenConfig(address(token));
        assertTrue(listed);
        assertEq(decimals, 18);
        assertEq(limit1, 1);
        assertEq(limit2, type(uint96).max);
        assertEq(abi.encodePacked(q1, q2, q3), hex"010e0f");
    }

    function test_tiers_that_do_not_ascend_are_refused() public {
        uint8[3][6] memory bad = [[2, 1, 3], [1, 3, 2], [0, 1, 1], [1, 0, 1], [16, 16, 16], [1, 1, 16]];
        vm.startPrank(admin);
        for (uint256 i; i < bad.length; ++i) {
            vm.expectRevert(ISettlementVault.BadTier.selector);
            vault.listToken(alice, 6, 1, 2, bad[i][0], bad[i][1], bad[i][2]);
        }
        vm.expectRevert(ISettlementVault.BadTier.selector);
        vault.listToken(alice, 6, 2, 1, 1, 1, 1);
        vm.expectRevert(ISettlementVault.NativeRefused.selector);
        vault.listToken(address(0), 6, 1, 2, 1, 1, 1);
        vault.listToken(alice, 6, 1, 2, 1, 0, 0);
    }

    function test_a_delisted_token_takes_no_deposits() public {
        vm.startPrank(admin);
        vm.expectEmit(address(vault));
        emit ISettlementVault.TokenDelisted(address(token));
        vault.delistToken(address(token));
        vm.expectRevert(abi.encodeWithSelector(ISettlementVault.TokenNotListed.selector, address(token)));
        vault.delistToken(address(token));
        vm.stopPrank();
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(ISettlementVault.TokenNotListed.selector, address(token)));
        vault.deposit(address(token), 1);
    }

    function test_only_the_owner_lists_and_names_the_guardian_and_only_the_inbox_pays() public {
        bytes memory stranger = abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, address(this));
        vm.expectRevert(stranger);
        vault.listToken(address(token), 6, 1, 2, 1, 1, 1);
        vm.expectRevert(stranger);
        vault.delistToken(address(token));
        vm.expectRevert(stranger);
        vault.setGuardian(alice);
        vm.expectRevert(ISettlementVault.NotInbox.selector);
        vault.settle(address(token), payer, 0, 1, 0, alice, 0, "");
        vm.prank(admin);
        vm.expectEmit(address(vault));
        emit ISettlementVault.GuardianSet(alice);
        vault.setGuardian(alice);
        vm.prank(alice);
        vault.pause(payer, 1);
    }

    function test_the_inbox_itself_cannot_reuse_a_nonce_overdraw_or_miscount() public {
        vm.startPrank(address(inbox));
        vault.settle(address(token), payer, 0, 1, 5, alice, 0, abi.encodePacked(alice, uint16(1), uint104(5), uint104(0)));
        vm.expectRevert(abi.encodeWithSelector(ISettlementVault.NonceAlreadyUsed.selector, 0));
        vault.settle(address(token), payer, 0, 1, 5, alice, 0, abi.encodePacked(alice, uint16(1), uint104(5), uint104(0)));
        vm.expectRevert();
        vault.settle(
            address(token), payer, 0, 2, 2_000_000e6, alice, 0, abi.encodePacked(alice, uint16(1), uint104(2_000_000e6), uint104(0))
        );
        vm.expectRevert();
        vault.settle(address(token), payer, 0, 2, 5, alice, 0, abi.encodePacked(alice, uint16(1), uint104(6), uint104(0)));
    }

    function test_nothing_to_claim_is_refused() public {
        vm.expectRevert(ISettlementVault.NothingToClaim.selector);
        vault.claim(address(token), alice);
    }
}
