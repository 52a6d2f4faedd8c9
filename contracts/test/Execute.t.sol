// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {ISettlementInbox} from "../src/interfaces/ISettlementInbox.sol";
import {ISettlementVault} from "../src/interfaces/ISettlementVault.sol";
import {Wallet} from "./mocks/Wallet.sol";
import {Fixture} from "./Fixture.sol";
import {Packer} from "./Packer.sol";
import {PlainTree} from "./PlainTree.sol";

/// @dev What is paid, what is skipped and why, what reverts.
contract ExecuteTest is Fixture {
    using Packer for Packer.Buffer;

    ISettlementInbox.Settlement[] internal all;
    bytes32[] internal ids;

    /// @dev Five settlements to three payees, recorded by one family.
    function setUp() public override {
        super.setUp();
        commit(many(5, 3));
    }

    function commit(ISettlementInbox.Settlement[] memory settlements) internal {
        delete all;
        for (uint256 i; i < settlements.length; ++i) {
            all.push(settlements[i]);
        }
        ids = idsOf(settlements);
        bring(portA, messageOf(ids));
    }

    function used(ISettlementInbox.Settlement memory s) internal view returns (bool) {
        return vault.nonceBitmap(s.payer, s.nonce >> 8) >> (s.nonce & 0xff) & 1 == 1;
    }

    function packed() internal view returns (bytes memory) {
        return pack(all, ids, signAll(ids), 0, all.length);
    }

    function one(uint256 index) internal returns (ISettlementInbox.Skip) {
        return oneWith(index, sign(PAYER_KEY, ids[index]));
    }

    function oneWith(uint256 index, bytes memory auth) internal returns (ISettlementInbox.Skip) {
        return inbox.executeOne(messageOf(ids), all[index], auth, index, PlainTree.rangeProof(ids, index, index + 1));
    }

    /// @dev Both forms must skip leaf `index` for `reason` and pay all others.
    function skipsOnly(uint256 index, ISettlementInbox.Skip reason) internal {
        uint256 snapshot = vm.snapshotState();
        vm.expectEmit(address(inbox));
        emit ISettlementInbox.SettlementSkipped(ids[index], uint8(reason));
        assertEq(uint8(one(index)), uint8(reason), "plain");
        assertFalse(used(all[index]));
        vm.revertToState(snapshot);
        vm.expectEmit(address(inbox));
        emit ISettlementInbox.SettlementSkipped(ids[index], uint8(reason));
        assertEq(inbox.execute(packed()), all.length - 1, "packed");
        for (uint256 i; i < all.length; ++i) {
            assertEq(used(all[i]), i != index);
        }
    }

    function skipsAll(ISettlementInbox.Skip reason) internal {
        for (uint256 i; i < all.length; ++i) {
            vm.expectEmit(address(inbox));
            emit ISettlementInbox.SettlementSkipped(ids[i], uint8(reason));
        }
        assertEq(inbox.execute(packed()), 0, "packed");
        assertEq(uint8(one(0)), uint8(reason), "plain");
    }

    // ---------------------------------------------------------------------------------------------- paid

    function test_a_batch_is_paid_to_its_payees_and_the_fees_to_the_recipient() public {
        commit(many(16, 4));
        uint256 sum;
        uint256 fees;
        for (uint256 i; i < all.length; ++i) {
            sum += all[i].amount;
            fees += all[i].fee;
        }
        uint256 before = vault.balanceOf(payer, address(token));
        assertEq(inbox.execute(packed()), 16);
        uint256 got;
        for (uint256 i; i < 4; ++i) {
            uint256 due;
            for (uint256 k; k < all.length; ++k) {
                if (all[k].payee == payeeAt(i)) due += all[k].amount;
            }
            assertEq(token.balanceOf(payeeAt(i)), due);
            got += due;
        }
        assertEq(got, sum);
        assertEq(token.balanceOf(feeRecipient), fees);
        assertEq(vault.balanceOf(payer, address(token)), before - sum - fees);
        (, uint128 paid) = inbox.counters();
        assertEq(paid, 16);
        (uint128 deposited,, uint128 debited, uint128 credited,) = vault.totals(address(token));
        assertEq(debited, sum + fees);
        assertEq(credited, 0);
        assertEq(deposited, before);
    }

    function test_events_name_every_settlement_and_every_run() public {
        for (uint256 i; i < 5; ++i) {
            vm.expectEmit(address(inbox));
            emit ISettlementInbox.SettlementPaid(ids[i], payer, all[i].nonce);
        }
        vm.expectEmit(address(inbox));
        emit ISettlementInbox.RunsPaid(keccak256(messageOf(ids)), address(token), payer, Packer.transfers(all));
        inbox.execute(packed());
    }

    function test_events_name_only_what_was_paid() public {
        assertEq(uint8(one(1)), 0);
        ISettlementInbox.Settlement[] memory rest = new ISettlementInbox.Settlement[](4);
        for (uint256 i; i < 4; ++i) {
            rest[i] = all[i == 0 ? 0 : i + 1];
        }
        vm.expectEmit(address(inbox));
        emit ISettlementInbox.SettlementSkipped(ids[1], uint8(ISettlementInbox.Skip.NonceUsed));
        vm.expectEmit(address(inbox));
        emit ISettlementInbox.RunsPaid(keccak256(messageOf(ids)), address(token), payer, Packer.transfers(rest));
        assertEq(inbox.execute(packed()), 4);
    }

    function test_one_settlement_executes_in_plain_abi() public {
        vm.expectEmit(address(inbox));
        emit ISettlementInbox.SettlementPaid(ids[3], payer, all[3].nonce);
        vm.expectEmit(address(inbox));
        emit ISettlementInbox.RunsPaid(keccak256(messageOf(ids)), address(token), payer, Packer.transfers(slice(all, 3, 4)));
        assertEq(uint8(one(3)), 0);
        assertEq(token.balanceOf(all[3].payee), all[3].amount);
        assertEq(token.balanceOf(feeRecipient), all[3].fee);
        (, uint128 paid) = inbox.counters();
        assertEq(paid, 1);
    }

    function test_a_fee_of_zero_makes_no_transfer_and_a_recipient_of_zero_takes_none() public {
        ISettlementInbox.Settlement[] memory list = many(2, 2);
        list[0].fee = 0;
        feeRecipient = address(0);
        commit(list);
        skipsOnly(1, ISettlementInbox.Skip.TokenRefused);
        assertEq(token.balanceOf(list[0].payee), list[0].amount);
    }

    function test_any_two_chunks_of_a_message_pay_all_of_it(uint256 split) public {
        commit(many(23, 7));
        split = bound(split, 1, 22);
        bytes[] memory auths = signAll(ids);
        assertEq(inbox.execute(pack(all, ids, auths, split, 23)), 23 - split);
        assertEq(inbox.execute(pack(all, ids, auths, 0, split)), split);
        assertEq(inbox.execute(pack(all, ids, auths, 0, 23)), 0);
    }

    function testFuzz_any_range_is_proved_and_pays_just_itself(uint256 width, uint256 lo, uint256 hi) public {
        width = bound(width, 1, 40);
        lo = bound(lo, 0, width - 1);
        hi = bound(hi, lo + 1, width);
        commit(many(width, 1 + width / 3));
        assertEq(inbox.execute(pack(all, ids, signAll(ids), lo, hi)), hi - lo);
        for (uint256 i; i < width; ++i) {
            assertEq(used(all[i]), i >= lo && i < hi);
        }
    }

    function test_several_payers_tokens_and_nonce_words_share_a_message() public {
        uint256 key = 0xB0B;
        address other = vm.addr(key);
        fund(other, 1_000e6);
        ISettlementInbox.Settlement[] memory list = new ISettlementInbox.Settlement[](520);
        for (uint256 i; i < 520; ++i) {
            list[i] = terms(payeeAt(i / 4), 1e6, i);
        }
        for (uint256 i = 515; i < 520; ++i) {
            list[i].payer = other;
        }
        commit(list);
        bytes[] memory auths = signAll(ids);
        for (uint256 i = 515; i < 520; ++i) {
            auths[i] = sign(key, ids[i]);
        }
        assertEq(inbox.execute(pack(all, ids, auths, 0, 520)), 520);
        assertEq(vault.nonceBitmap(payer, 0), type(uint256).max);
        assertEq(vault.nonceBitmap(payer, 1), type(uint256).max);
        assertEq(vault.nonceBitmap(payer, 2), 7);
        assertEq(vault.nonceBitmap(other, 2), 0xf8);
        assertEq(token.balanceOf(payeeAt(128)), 4e6);
    }

    // ---------------------------------------------------------------------------------------------- skipped

    function test_NonceUsed_a_settlement_is_paid_once_whoever_brings_it() public {
        inbox.execute(packed());
        uint256 balance = token.balanceOf(all[0].payee);
        skipsAll(ISettlementInbox.Skip.NonceUsed);
        // The same terms in another message, over another port.
        bytes memory again = header(PlainTree.root(ids), 5, 2);
        bring(portB, again);
        ISettlementInbox.Skip skip = inbox.executeOne(again, all[0], sign(PAYER_KEY, ids[0]), 0, PlainTree.rangeProof(ids, 0, 1));
        assertEq(uint8(skip), uint8(ISettlementInbox.Skip.NonceUsed));
        assertEq(token.balanceOf(all[0].payee), balance);
    }

    function test_NonceUsed_two_settlements_with_one_nonce_pay_the_first() public {
        ISettlementInbox.Settlement[] memory list = many(4, 4);
        list[2].nonce = list[1].nonce;
        commit(list);
        assertEq(inbox.execute(packed()), 3);
        assertEq(token.balanceOf(list[1].payee), list[1].amount);
        assertEq(token.balanceOf(list[2].payee), 0);
    }

    function test_NonceUsed_one_leaf_twice_in_a_message_pays_once() public {
        ISettlementInbox.Settlement[] memory list = many(4, 1);
        list[1] = list[0];
        list[3] = list[0];
        commit(list);
        assertEq(inbox.execute(packed()), 2);
        assertEq(token.balanceOf(list[0].payee), list[0].amount + list[2].amount);
    }

    function test_Expired_the_deadline_is_the_last_second() public {
        ISettlementInbox.Settlement[] memory list = many(5, 3);
        list[2].deadline = vm.getBlockTimestamp() + 10;
        commit(list);
        vm.warp(list[2].deadline + 1);
        skipsOnly(2, ISettlementInbox.Skip.Expired);
        list = many(1, 1);
        list[0].nonce = 0x900;
        commit(list);
        vm.warp(all[0].deadline);
        assertEq(uint8(one(0)), 0);
    }

    function test_PayerPaused_stops_one_payer_or_all() public {
        vm.prank(guardian);
        vault.pause(payer, 1 hours);
        skipsAll(ISettlementInbox.Skip.PayerPaused);
        vm.startPrank(guardian);
        vault.unpause(payer);
        vault.pause(address(0), 1 hours);
        vm.stopPrank();
        skipsAll(ISettlementInbox.Skip.PayerPaused);
        vm.warp(vm.getBlockTimestamp() + 1 hours);
        assertEq(inbox.execute(packed()), 5);
    }

    function test_TokenRefused_an_unlisted_token_pays_nothing() public {
        vm.prank(admin);
        vault.delistToken(address(token));
        skipsAll(ISettlementInbox.Skip.TokenRefused);
    }

    function test_TokenRefused_an_amount_above_the_last_open_tier() public {
        ISettlementInbox.Settlement[] memory list = many(5, 5);
        list[3].amount = uint256(LIMIT2) + 1;
        commit(list);
        bring(portB, messageOf(ids));
        skipsOnly(3, ISettlementInbox.Skip.TokenRefused);
    }

    function test_TokenRefused_nothing_and_nobody_cannot_be_paid() public {
        ISettlementInbox.Settlement[] memory list = many(5, 5);
        list[3].amount = 0;
        commit(list);
        skipsOnly(3, ISettlementInbox.Skip.TokenRefused);
        list = many(5, 5);
        for (uint256 i; i < 5; ++i) {
            list[i].nonce += 0x1000;
        }
        list[1].payee = address(0);
        commit(list);
        skipsOnly(1, ISettlementInbox.Skip.TokenRefused);
    }

    function test_QuorumShort_a_larger_amount_waits_for_the_second_family() public {
        ISettlementInbox.Settlement[] memory list = many(5, 5);
        list[4].amount = uint256(LIMIT1) + 1;
        commit(list);
        uint256 snapshot = vm.snapshotState();
        skipsOnly(4, ISettlementInbox.Skip.QuorumShort);
        vm.revertToState(snapshot);
        bring(portB, messageOf(ids));
        assertEq(inbox.execute(packed()), 5);
    }

    function test_QuorumShort_a_message_that_no_port_brought_pays_nothing() public {
        ISettlementInbox.Settlement[] memory list = many(3, 3);
        list[0].jobId = 0;
        all.pop();
        all.pop();
        for (uint256 i; i < 3; ++i) {
            all[i] = list[i];
        }
        ids = idsOf(list);
        skipsAll(ISettlementInbox.Skip.QuorumShort);
    }

    function test_QuorumShort_a_removed_port_s_word_no_longer_counts() public {
        vm.prank(admin);
        inbox.removePort(address(portA));
        skipsAll(ISettlementInbox.Skip.QuorumShort);
    }

    function test_SignatureRefused_for_signatures_of_others_and_of_other_terms() public {
        bytes[] memory auths = signAll(ids);
        auths[2] = sign(0xBAD, ids[2]);
        auths[3] = sign(PAYER_KEY, ids[2]);
        assertEq(inbox.execute(pack(all, ids, auths, 0, 5)), 3);
        assertFalse(used(all[2]));
        assertFalse(used(all[3]));
        assertEq(uint8(oneWith(2, auths[2])), uint8(ISettlementInbox.Skip.SignatureRefused));
    }

    function test_SignatureRefused_for_malleable_short_long_and_empty_signatures() public {
        bytes memory good = sign(PAYER_KEY, ids[0]);
        (bytes32 r, bytes32 s) = (at(good, 0), at(good, 32));
        uint8 v = uint8(good[64]);
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        bytes[9] memory bad = [
            abi.encodePacked(r, order - uint256(s), v == 27 ? uint8(28) : uint8(27)), // high s
            abi.encodePacked(r, s, v - 27), // v 0 or 1
            abi.encodePacked(r, s, v ^ 7), // the other v
            abi.encodePacked(r, s, uint8(29)),
            abi.encodePacked(r, s), // no v
            abi.encodePacked(r, s, v, uint8(0)),
            new bytes(0),
            new bytes(65), // ecrecover answers 0
            new bytes(1024)
        ];
        for (uint256 i; i < bad.length; ++i) {
            assertEq(uint8(oneWith(0, bad[i])), uint8(ISettlementInbox.Skip.SignatureRefused));
        }
        assertEq(uint8(oneWith(0, good)), 0);
    }

    function test_SignatureRefused_for_a_payer_of_zero() public {
        ISettlementInbox.Settlement[] memory list = many(1, 1);
        list[0].payer = address(0);
        fund(makeAddr("x"), 1);
        commit(list);
        assertEq(uint8(oneWith(0, new bytes(65))), uint8(ISettlementInbox.Skip.SignatureRefused));
    }

    function test_PayerShort_is_decided_item_by_item() public {
        address poor = vm.addr(0xB0B);
        fund(poor, 30e6);
        ISettlementInbox.Settlement[] memory list = new ISettlementInbox.Settlement[](4);
        uint256[4] memory amounts = [uint256(20e6), 11e6, 5e6, 1e6];
        for (uint256 i; i < 4; ++i) {
            list[i] = terms(payeeAt(i), amounts[i], i);
            list[i].payer = poor;
            list[i].fee = 1e6;
        }
        commit(list);
        bytes[] memory auths = new bytes[](4);
        for (uint256 i; i < 4; ++i) {
            auths[i] = sign(0xB0B, ids[i]);
        }
        vm.expectEmit(address(inbox));
        emit ISettlementInbox.SettlementSkipped(ids[1], uint8(ISettlementInbox.Skip.PayerShort));
        // 30 - 21 leaves 9: 12 is too much, 6 and 2 are not; 1 remains.
        assertEq(inbox.execute(pack(all, ids, auths, 0, 4)), 3);
        assertEq(vault.balanceOf(poor, address(token)), 1e6);
        assertEq(uint8(oneWith(1, auths[1])), uint8(ISettlementInbox.Skip.PayerShort));
        fund(poor, 11e6);
        assertEq(uint8(oneWith(1, auths[1])), 0);
    }

    function test_an_announced_withdrawal_or_burn_does_not_stop_execution() public {
        vm.startPrank(payer);
        vault.announceWithdrawal(address(token), type(uint128).max);
        vault.announceBurn(all[0].nonce);
        vm.stopPrank();
        assertEq(inbox.execute(packed()), 5);
    }

    function test_NonceUsed_after_a_burn() public {
        ISettlementInbox.Settlement[] memory list = many(5, 3);
        for (uint256 i; i < 5; ++i) {
            list[i].deadline += 30 days;
        }
        commit(list);
        vm.prank(payer);
        vault.announceBurn(list[1].nonce);
        vm.warp(vm.getBlockTimestamp() + EXIT_DELAY);
        vm.prank(payer);
        vault.burn(list[1].nonce);
        vm.expectEmit(address(inbox));
        emit ISettlementInbox.SettlementSkipped(ids[1], uint8(ISettlementInbox.Skip.NonceUsed));
        assertEq(inbox.execute(packed()), 4);
    }

    // ---------------------------------------------------------------------------------------------- signers and wallets

    function test_a_registered_signer_s_word_holds_until_it_is_removed() public {
        uint256 key = 0x51613;
        bytes[] memory auths = new bytes[](5);
        for (uint256 i; i < 5; ++i) {
            auths[i] = sign(key, ids[i]);
        }
        assertEq(inbox.execute(pack(all, ids, auths, 0, 5)), 0);
        vm.prank(payer);
        vault.addSigner(vm.addr(key));
        auths[3] = sign(PAYER_KEY, ids[3]);
        assertEq(inbox.execute(pack(all, ids, auths, 0, 4)), 4);
        vm.startPrank(payer);
        vault.announceSignerRemoval(vm.addr(key));
        vm.warp(vm.getBlockTimestamp() + EXIT_DELAY);
        vault.removeSigner(vm.addr(key));
        vm.warp(vm.getBlockTimestamp() - EXIT_DELAY);
        assertEq(uint8(oneWith(4, auths[4])), uint8(ISettlementInbox.Skip.SignatureRefused));
    }

    function test_a_signer_of_one_payer_signs_for_no_other() public {
        uint256 key = 0x51613;
        vm.prank(makeAddr("somebody"));
        vault.addSigner(vm.addr(key));
        assertEq(uint8(oneWith(0, sign(key, ids[0]))), uint8(ISettlementInbox.Skip.SignatureRefused));
    }

    function walletTerms() internal returns (Wallet wallet, bytes memory honest) {
        wallet = new Wallet();
        fund(address(wallet), 1000e6);
        ISettlementInbox.Settlement[] memory list = many(1, 1);
        list[0].payer = address(wallet);
        commit(list);
        honest = abi.encode(keccak256(abi.encode("ok", ids[0])));
    }

    function test_a_contract_payer_is_asked_and_believed() public {
        (, bytes memory honest) = walletTerms();
        assertEq(uint8(oneWith(0, bytes.concat(honest, hex"00"))), uint8(ISettlementInbox.Skip.SignatureRefused));
        assertEq(uint8(oneWith(0, honest)), 0);
    }

    function test_a_contract_payer_gets_every_length_of_auth_untouched() public {
        (Wallet wallet,) = walletTerms();
        uint256 snapshot = vm.snapshotState();
        for (uint256 length; length <= 1024; length += length < 70 ? 1 : 53) {
            bytes memory auth = new bytes(length);
            for (uint256 i; i < length; ++i) {
                auth[i] = bytes1(uint8(i * 7 + 1));
            }
            wallet.setMood(Wallet.Mood.AcceptAll);
            vm.expectCall(address(wallet), abi.encodeCall(Wallet.isValidSignature, (ids[0], auth)));
            assertEq(uint8(oneWith(0, auth)), 0);
            vm.revertToState(snapshot);
        }
    }

    function test_a_contract_payer_that_refuses_misbehaves_or_burns_gas_is_a_refused_signature() public {
        (Wallet wallet, bytes memory honest) = walletTerms();
        Wallet.Mood[4] memory moods = [Wallet.Mood.Refuse, Wallet.Mood.Revert, Wallet.Mood.BurnGas, Wallet.Mood.ReturnShort];
        for (uint256 i; i < moods.length; ++i) {
            wallet.setMood(moods[i]);
            uint256 before = gasleft();
            assertEq(uint8(oneWith(0, honest)), uint8(ISettlementInbox.Skip.SignatureRefused));
            assertLt(before - gasleft(), 450_000, "bounded by the stipend");
        }
    }

    function test_a_return_bomb_of_a_contract_payer_is_not_copied() public {
        (Wallet wallet, bytes memory honest) = walletTerms();
        wallet.setMood(Wallet.Mood.ReturnBomb);
        uint256 before = gasleft();
        oneWith(0, honest);
        assertLt(before - gasleft(), 600_000);
    }

    function test_a_payer_with_a_key_and_code_may_use_either() public {
        vm.etch(payer, address(new Wallet()).code);
        assertEq(uint8(oneWith(0, sign(PAYER_KEY, ids[0]))), 0);
        assertEq(uint8(oneWith(1, abi.encode(keccak256(abi.encode("ok", ids[1]))))), 0);
        assertEq(uint8(oneWith(2, sign(0xBAD, ids[2]))), uint8(ISettlementInbox.Skip.SignatureRefused));
    }

    // ---------------------------------------------------------------------------------------------- reverts

    function test_a_wrong_root_range_or_proof_reverts() public {
        bytes[] memory auths = signAll(ids);
        bytes memory good = pack(all, ids, auths, 1, 3);
        bytes memory shifted = bytes.concat(good);
        shifted[161] = 0x02; // first
        vm.expectRevert(ISettlementInbox.WrongRoot.selector);
        inbox.execute(shifted);
        ISettlementInbox.Settlement[] memory list = all;
        list[1].amount += 1;
        vm.expectRevert(ISettlementInbox.WrongRoot.selector);
        inbox.execute(pack(list, ids, auths, 1, 3));
        bytes32[] memory proof = PlainTree.rangeProof(ids, 0, 1);
        vm.expectRevert(ISettlementInbox.WrongRoot.selector);
        inbox.executeOne(messageOf(ids), all[0], auths[0], 1, proof);
        vm.expectRevert(ISettlementInbox.WrongRoot.selector);
        inbox.executeOne(messageOf(ids), all[0], auths[0], type(uint256).max, proof);
        vm.expectRevert(ISettlementInbox.WrongRoot.selector);
        inbox.executeOne(messageOf(ids), all[0], auths[0], 0, new bytes32[](0));
        assertEq(inbox.execute(good), 2);
    }

    function test_broken_layouts_revert() public {
        bytes memory good = packed();
        vm.expectRevert(ISettlementInbox.BadLayout.selector);
        inbox.execute("");
        vm.expectRevert(ISettlementInbox.BadLayout.selector);
        inbox.execute(new bytes(164));
        vm.expectRevert(ISettlementInbox.BadLayout.selector);
        inbox.execute(bytes.concat(good, hex"00"));
        bytes memory none = bytes.concat(good);
        none[163] = 0; // n = 0
        vm.expectRevert(ISettlementInbox.BadLayout.selector);
        inbox.execute(none);
        none[162] = 0x04; // n = 1025
        none[163] = 0x01;
        vm.expectRevert(ISettlementInbox.BadLayout.selector);
        inbox.execute(none);
        bytes memory mode = bytes.concat(good);
        mode[165] = 0x02;
        vm.expectRevert(ISettlementInbox.BadLayout.selector);
        inbox.execute(mode);
        bytes memory foreign = bytes.concat(good);
        foreign[81] = bytes1(uint8(foreign[81]) ^ 1); // another inbox
        vm.expectRevert(ISettlementInbox.BadMessage.selector);
        inbox.execute(foreign);
    }

    function test_plain_terms_that_no_packed_item_can_hold_revert() public {
        bytes memory message = messageOf(ids);
        bytes32[] memory proof = PlainTree.rangeProof(ids, 0, 1);
        for (uint256 i; i < 6; ++i) {
            ISettlementInbox.Settlement memory s = all[0];
            bytes memory auth = new bytes(i == 4 ? 1025 : 65);
            if (i == 0) s.amount = 1 << 96;
            if (i == 1) s.fee = 1 << 96;
            if (i == 2) s.nonce = 1 << 255;
            if (i == 3) s.deadline = 1 << 40;
            if (i == 5) s.sourceChainId += 1;
            vm.expectRevert(i == 5 ? ISettlementInbox.WrongSource.selector : ISettlementInbox.BadLayout.selector);
            inbox.executeOne(message, s, auth, 0, proof);
        }
    }

    function test_the_largest_terms_are_paid() public {
        ISettlementInbox.Settlement[] memory list = many(2, 2);
        vm.prank(admin);
        vault.listToken(address(token), 18, 1, 2, 1, 1, 1);
        fund(payer, 1 << 98);
        for (uint256 i; i < 2; ++i) {
            list[i].amount = type(uint96).max;
            list[i].fee = type(uint96).max;
            list[i].deadline = type(uint40).max;
            list[i].nonce = (uint256(1) << 255) - 1 - i;
        }
        commit(list);
        assertEq(inbox.execute(packed()), 2);
        assertEq(token.balanceOf(list[0].payee), type(uint96).max);
        assertEq(token.balanceOf(feeRecipient), 2 * uint256(type(uint96).max));
        assertTrue(used(list[0]) && used(list[1]));
    }

    function at(bytes memory data, uint256 offset) internal pure returns (bytes32 word) {
        assembly ("memory-safe") {
            word := mload(add(add(data, 32), offset))
        }
    }
}
