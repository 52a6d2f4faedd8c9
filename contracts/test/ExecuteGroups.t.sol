// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {ISettlementInbox} from "../src/interfaces/ISettlementInbox.sol";
import {SignatureCheck} from "../src/SignatureCheck.sol";
import {HostileToken} from "./mocks/Tokens.sol";
import {Wallet} from "./mocks/Wallet.sol";
import {Fixture} from "./Fixture.sol";
import {Packer} from "./Packer.sol";
import {PlainTree} from "./PlainTree.sol";

/// @dev One signature for many settlements: mode 1 of the packed encoding.
contract ExecuteGroupsTest is Fixture {
    using Packer for Packer.Buffer;

    /// @dev The group, in the order it was signed.
    ISettlementInbox.Settlement[] internal all;
    bytes32[] internal ids;

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

    function usedAre(uint256 mask) internal view {
        for (uint256 i; i < all.length; ++i) {
            assertEq(used(all[i]), mask >> i & 1 == 1, vm.toString(i));
        }
    }

    function startOf(bytes32[] memory leaves) internal view returns (Packer.Buffer memory buffer) {
        buffer = Packer.make(2000 + leaves.length * 1000);
        buffer.put(messageOf(leaves));
        buffer.put(abi.encodePacked(uint32(0), uint16(leaves.length), uint8(0)));
    }

    /// @dev The members whose bit is set, alone in a message, in as few sections as the holes and the nonce words allow.
    function packMembers(uint256 mask, uint256 key) internal returns (bytes memory) {
        uint256 count;
        for (uint256 i; i < all.length; ++i) {
            count += mask >> i & 1;
        }
        bytes32[] memory present = new bytes32[](count);
        for (uint256 i = all.length; i != 0; --i) {
            if (mask >> i - 1 & 1 == 1) present[--count] = ids[i - 1];
        }
        bring(portA, messageOf(present));
        Packer.Buffer memory buffer = startOf(present);
        for (uint256 lo; lo < all.length;) {
            if (mask >> lo & 1 == 0) {
                ++lo;
                continue;
            }
            uint256 hi = lo + 1;
            while (hi < all.length && mask >> hi & 1 == 1 && Packer.sameSection(all[lo], all[hi])) ++hi;
            buffer.sections(all, new bytes[](0), lo, hi, groupOf(ids, lo, hi, key));
            lo = hi;
        }
        return buffer.done();
    }

    /// @dev All members with `claim` as the group's part of the section.
    function packClaim(bytes memory claim) internal view returns (bytes memory) {
        Packer.Buffer memory buffer = startOf(ids);
        buffer.sections(all, new bytes[](0), 0, all.length, claim);
        return buffer.done();
    }

    function claimOf(uint256 count, bytes memory auth) internal pure returns (bytes memory) {
        return abi.encodePacked(uint32(count), uint32(0), uint8(0), uint16(auth.length), auth);
    }

    function skips(uint256 index, ISettlementInbox.Skip reason) internal {
        vm.expectEmit(address(inbox));
        emit ISettlementInbox.SettlementSkipped(ids[index], uint8(reason));
    }

    struct Part {
        uint256 lo;
        uint256 hi;
    }

    /// @dev Signs all of `all` as one group and packs a message that holds only `part` of it.
    function packGroup(Part memory part, uint256 key) internal returns (bytes memory) {
        ISettlementInbox.Settlement[] memory some = slice(all, part.lo, part.hi);
        bytes32[] memory someIds = slice(ids, part.lo, part.hi);
        bring(portA, messageOf(someIds));
        Packer.Buffer memory buffer = Packer.make(40_000);
        buffer.put(messageOf(someIds));
        buffer.put(abi.encodePacked(uint32(0), uint16(some.length), uint8(0)));
        buffer.sections(some, new bytes[](0), 0, some.length, groupOf(ids, part.lo, part.hi, key));
        return buffer.done();
    }

    function testFuzz_a_group_pays_its_present_members_whichever_are_absent(uint256 count, uint256 lo, uint256 hi) public {
        count = bound(count, 1, 60);
        lo = bound(lo, 0, count - 1);
        hi = bound(hi, lo + 1, count);
        commit(many(count, 1 + count / 4));
        assertEq(inbox.execute(packGroup(Part(lo, hi), PAYER_KEY)), hi - lo);
        for (uint256 i; i < count; ++i) {
            assertEq(used(all[i]), i >= lo && i < hi);
        }
    }

    function test_a_group_signed_by_another_skips_all_its_members_and_pays_other_sections() public {
        assertEq(inbox.execute(packGroup(Part(0, 5), 0xBAD)), 0);
        assertEq(inbox.execute(packGroup(Part(0, 5), PAYER_KEY)), 5);
    }

    function test_a_group_with_a_hole_is_two_sections() public {
        commit(many(9, 3));
        ISettlementInbox.Settlement[] memory some = new ISettlementInbox.Settlement[](7);
        bytes32[] memory someIds = new bytes32[](7);
        for (uint256 i; i < 7; ++i) {
            some[i] = all[i < 3 ? i : i + 2];
            someIds[i] = ids[i < 3 ? i : i + 2];
        }
        bring(portA, messageOf(someIds));
        Packer.Buffer memory buffer = Packer.make(20_000);
        buffer.put(messageOf(someIds));
        buffer.put(abi.encodePacked(uint32(0), uint16(7), uint8(0)));
        buffer.sections(some, new bytes[](0), 0, 3, groupOf(ids, 0, 3, PAYER_KEY));
        buffer.sections(some, new bytes[](0), 3, 7, groupOf(ids, 5, 9, PAYER_KEY));
        assertEq(inbox.execute(buffer.done()), 7);
    }

    function test_a_group_whose_claim_does_not_fit_skips_its_members_only() public {
        bring(portA, messageOf(ids));
        bytes[] memory auths = signAll(ids);
        // A wrong place, a wrong count, a wrong proof; each with a good section beside it.
        bytes[4] memory claims = [
            groupOf(ids, 0, 3, PAYER_KEY),
            abi.encodePacked(uint32(4), uint32(0), uint8(0), uint16(65), sign(PAYER_KEY, bytes32(0))),
            abi.encodePacked(uint32(type(uint32).max), uint32(type(uint32).max), uint8(1), bytes32(0), uint16(0)),
            abi.encodePacked(uint32(0), uint32(0), uint8(0), uint16(0))
        ];
        uint256 snapshot = vm.snapshotState();
        for (uint256 i; i < claims.length; ++i) {
            Packer.Buffer memory buffer = Packer.make(20_000);
            buffer.put(messageOf(ids));
            buffer.put(abi.encodePacked(uint32(0), uint16(5), uint8(0)));
            buffer.sections(all, new bytes[](0), 0, 4, claims[i]);
            buffer.sections(all, auths, 4, 5, "");
            assertEq(inbox.execute(buffer.done()), 1);
            assertTrue(used(all[4]));
            vm.revertToState(snapshot);
        }
    }

    function test_a_contract_payer_may_sign_a_group() public {
        Wallet wallet = new Wallet();
        fund(address(wallet), 1000e6);
        ISettlementInbox.Settlement[] memory list = many(6, 2);
        for (uint256 i; i < 6; ++i) {
            list[i].payer = address(wallet);
        }
        commit(list);
        bytes memory auth = abi.encode(keccak256(abi.encode("ok", inbox.groupDigest(PlainTree.root(ids), 6))));
        Packer.Buffer memory buffer = Packer.make(20_000);
        buffer.put(messageOf(ids));
        buffer.put(abi.encodePacked(uint32(0), uint16(6), uint8(0)));
        buffer.sections(all, new bytes[](0), 0, 6, abi.encodePacked(uint32(6), uint32(0), uint8(0), uint16(auth.length), auth));
        vm.expectCall(address(wallet), abi.encodeWithSelector(Wallet.isValidSignature.selector), 1);
        assertEq(inbox.execute(buffer.done()), 6);
    }

    // ---------------------------------------------------------------------------------------------- members

    function testFuzz_a_group_with_any_holes_over_two_words_pays_exactly_what_is_present(uint256 count, uint256 mask, uint256 split)
        public
    {
        count = bound(count, 1, 40);
        split = bound(split, 0, count);
        mask = bound(mask, 1, (1 << count) - 1);
        ISettlementInbox.Settlement[] memory list = many(count, 1 + count / 3);
        for (uint256 i = split; i < count; ++i) {
            list[i].nonce += 0x100;
        }
        commit(list);
        uint256 present;
        for (uint256 i; i < count; ++i) {
            present += mask >> i & 1;
        }
        bytes memory packed = packMembers(mask, PAYER_KEY);
        assertEq(inbox.execute(packed), present);
        usedAre(mask);
        assertEq(inbox.execute(packed), 0, "again");
        assertEq(inbox.execute(packMembers((1 << count) - 1, PAYER_KEY)), count - present, "the rest, once");
        usedAre((1 << count) - 1);
    }

    function test_what_cannot_be_paid_of_a_group_is_left_as_it_was_and_paid_later() public {
        ISettlementInbox.Settlement[] memory list = many(7, 7);
        list[1].deadline = vm.getBlockTimestamp() - 1;
        list[2].payee = address(0);
        list[3].amount = uint256(LIMIT1) + 1; // Needs two families.
        list[4].amount = uint256(LIMIT2) + 1; // Refused by the token's tiers.
        commit(list);
        // Paid alone before.
        inbox.executeOne(messageOf(ids), all[5], sign(PAYER_KEY, ids[5]), 5, PlainTree.rangeProof(ids, 5, 6));
        bytes memory packed = packMembers(0x7f, PAYER_KEY);
        skips(1, ISettlementInbox.Skip.Expired);
        skips(2, ISettlementInbox.Skip.TokenRefused);
        skips(3, ISettlementInbox.Skip.QuorumShort);
        skips(4, ISettlementInbox.Skip.TokenRefused);
        skips(5, ISettlementInbox.Skip.NonceUsed);
        assertEq(inbox.execute(packed), 2);
        usedAre(0x61);
        bring(portB, messageOf(ids));
        assertEq(inbox.execute(packed), 1);
        usedAre(0x69);
    }

    function test_a_short_payer_s_group_is_paid_as_far_as_the_money_goes() public {
        address poor = vm.addr(0xB0B);
        fund(poor, 45e6);
        ISettlementInbox.Settlement[] memory list = many(5, 5);
        for (uint256 i; i < 5; ++i) {
            list[i].payer = poor;
            list[i].amount = i == 1 ? 40e6 : 10e6;
            list[i].fee = 1e6;
        }
        commit(list);
        bytes memory packed = packMembers(0x1f, 0xB0B);
        skips(1, ISettlementInbox.Skip.PayerShort);
        assertEq(inbox.execute(packed), 4);
        usedAre(0x1d);
        assertEq(vault.balanceOf(poor, address(token)), 1e6);
        fund(poor, 40e6);
        assertEq(inbox.execute(packed), 1);
    }

    function test_a_paused_payer_s_group_waits() public {
        bytes memory packed = packMembers(0x1f, PAYER_KEY);
        vm.prank(guardian);
        vault.pause(payer, 1 hours);
        skips(0, ISettlementInbox.Skip.PayerPaused);
        assertEq(inbox.execute(packed), 0);
        vm.warp(vm.getBlockTimestamp() + 1 hours);
        assertEq(inbox.execute(packed), 5);
    }

    function test_one_hostile_payee_of_a_group_gets_a_credit_and_the_others_their_money() public {
        HostileToken hostile = new HostileToken();
        vm.prank(admin);
        list(address(hostile));
        hostile.mint(address(this), 1000e6);
        hostile.approve(address(vault), 1000e6);
        vault.depositFor(payer, address(hostile), 1000e6);
        ISettlementInbox.Settlement[] memory members = many(6, 3);
        for (uint256 i; i < 6; ++i) {
            members[i].token = address(hostile);
        }
        commit(members);
        hostile.setMood(HostileToken.Mood.Revert, payeeAt(1));
        bytes memory packed = packMembers(0x3f, PAYER_KEY);
        for (uint256 i; i < 6; ++i) {
            vm.expectEmit(address(inbox));
            emit ISettlementInbox.SettlementPaid(ids[i], payer, all[i].nonce | (i / 2 == 1 ? 1 << 255 : 0));
        }
        assertEq(inbox.execute(packed), 6);
        assertEq(vault.creditOf(payeeAt(1), address(hostile)), all[2].amount + all[3].amount);
        assertEq(hostile.balanceOf(payeeAt(1)), 0);
        assertEq(hostile.balanceOf(payeeAt(2)), all[4].amount + all[5].amount);
    }

    // ---------------------------------------------------------------------------------------------- signatures

    function test_a_group_signature_is_for_its_root_count_order_and_inbox_only() public {
        bytes32 root = PlainTree.root(ids);
        bytes32[] memory swapped = idsOf(all);
        (swapped[0], swapped[1]) = (swapped[1], swapped[0]);
        bytes32 elsewhere = keccak256(
            abi.encodePacked(
                hex"1901",
                keccak256("another domain"),
                keccak256(abi.encode(keccak256("SettlementGroup(bytes32 root,uint256 count)"), root, uint256(5)))
            )
        );
        bytes32[6] memory digests = [
            inbox.groupDigest(root, 6), inbox.groupDigest(root, 4), inbox.groupDigest(PlainTree.root(swapped), 5), elsewhere, root, ids[0]
        ];
        for (uint256 i; i < digests.length; ++i) {
            skips(0, ISettlementInbox.Skip.SignatureRefused);
            assertEq(inbox.execute(packClaim(claimOf(5, sign(PAYER_KEY, digests[i])))), 0);
        }
        usedAre(0);
        assertEq(inbox.execute(packClaim(claimOf(5, sign(PAYER_KEY, inbox.groupDigest(root, 5))))), 5);
    }

    function test_a_group_s_signature_authorizes_no_single_settlement_and_the_reverse() public {
        commit(many(1, 1));
        bytes memory ofGroup = sign(PAYER_KEY, inbox.groupDigest(PlainTree.root(ids), 1));
        bytes memory ofOne = sign(PAYER_KEY, ids[0]);
        bytes[] memory auths = new bytes[](1);
        auths[0] = ofGroup;
        assertEq(inbox.execute(pack(all, ids, auths, 0, 1)), 0);
        assertEq(inbox.execute(packClaim(claimOf(1, ofOne))), 0);
        assertEq(inbox.execute(packClaim(claimOf(1, ofGroup))), 1);
    }

    function test_a_proof_with_one_word_too_many_is_no_proof_though_the_root_is_right() public {
        bytes memory auth = sign(PAYER_KEY, inbox.groupDigest(PlainTree.root(ids), 5));
        bytes memory packed = packClaim(abi.encodePacked(uint32(5), uint32(0), uint8(1), bytes32(uint256(7)), uint16(auth.length), auth));
        skips(0, ISettlementInbox.Skip.SignatureRefused);
        assertEq(inbox.execute(packed), 0);
        assertEq(inbox.execute(packClaim(claimOf(5, auth))), 5);
    }

    function test_a_registered_signer_may_sign_a_group() public {
        bytes memory packed = packMembers(0x1f, 0x51613);
        assertEq(inbox.execute(packed), 0);
        vm.prank(payer);
        vault.addSigner(vm.addr(0x51613));
        assertEq(inbox.execute(packed), 5);
    }

    function test_a_contract_payer_s_misbehaviour_is_a_refused_signature_and_starving_it_reverts() public {
        Wallet wallet = new Wallet();
        fund(address(wallet), 1000e6);
        ISettlementInbox.Settlement[] memory members = many(3, 3);
        for (uint256 i; i < 3; ++i) {
            members[i].payer = address(wallet);
        }
        commit(members);
        bytes memory packed = packClaim(claimOf(3, abi.encode(keccak256(abi.encode("ok", inbox.groupDigest(PlainTree.root(ids), 3))))));
        Wallet.Mood[4] memory moods = [Wallet.Mood.Refuse, Wallet.Mood.Revert, Wallet.Mood.BurnGas, Wallet.Mood.ReturnShort];
        for (uint256 i; i < moods.length; ++i) {
            wallet.setMood(moods[i]);
            skips(2, ISettlementInbox.Skip.SignatureRefused);
            assertEq(inbox.execute(packed), 0);
        }
        wallet.setMood(Wallet.Mood.Honest);
        vm.expectRevert(ISettlementInbox.OutOfStipend.selector);
        inbox.execute{gas: SignatureCheck.GAS_NEEDED}(packed);
        assertEq(inbox.execute(packed), 3);
    }

    function test_a_section_never_borrows_the_signature_of_the_one_before_it() public {
        ISettlementInbox.Settlement[] memory members = many(6, 6);
        for (uint256 i = 4; i < 6; ++i) {
            members[i].payer = vm.addr(0xB0B);
        }
        commit(members);
        fund(vm.addr(0xB0B), 100e6);
        bytes memory good = sign(PAYER_KEY, inbox.groupDigest(PlainTree.root(slice(ids, 0, 2)), 2));
        bytes[] memory auths = new bytes[](6);
        auths[3] = good;
        Packer.Buffer memory buffer = startOf(ids);
        buffer.sections(all, new bytes[](0), 0, 2, claimOf(2, good));
        // The same payer with a group it did not sign, one by one, and another payer.
        buffer.sections(all, new bytes[](0), 2, 3, claimOf(1, good));
        buffer.sections(all, auths, 3, 4, "");
        buffer.sections(all, new bytes[](0), 4, 6, groupOf(slice(ids, 4, 6), 0, 2, PAYER_KEY));
        assertEq(inbox.execute(buffer.done()), 2);
        usedAre(3);
    }

    function test_groups_and_single_settlements_of_several_payers_share_a_call() public {
        ISettlementInbox.Settlement[] memory members = many(8, 8);
        for (uint256 i = 6; i < 8; ++i) {
            members[i].payer = vm.addr(0xB0B);
        }
        commit(members);
        fund(vm.addr(0xB0B), 100e6);
        Packer.Buffer memory buffer = startOf(ids);
        // Two groups of one payer in one nonce word, one settlement signed alone, one group of somebody else.
        buffer.sections(all, new bytes[](0), 0, 3, groupOf(slice(ids, 0, 3), 0, 3, PAYER_KEY));
        buffer.sections(all, new bytes[](0), 3, 5, groupOf(slice(ids, 3, 5), 0, 2, PAYER_KEY));
        buffer.sections(all, signAll(ids), 5, 6, "");
        buffer.sections(all, new bytes[](0), 6, 8, groupOf(slice(ids, 6, 8), 0, 2, 0xB0B));
        bytes memory packed = buffer.done();
        assertEq(inbox.execute(packed), 8);
        for (uint256 i; i < 8; ++i) {
            assertEq(token.balanceOf(all[i].payee), all[i].amount);
        }
        assertEq(inbox.execute(packed), 0);
    }

    function test_the_signature_of_a_group_is_not_asked_for_when_nothing_needs_it() public {
        Wallet wallet = new Wallet();
        ISettlementInbox.Settlement[] memory members = many(2, 2);
        for (uint256 i; i < 2; ++i) {
            members[i].payer = address(wallet);
            members[i].deadline = vm.getBlockTimestamp() - 1;
        }
        commit(members);
        vm.expectCall(address(wallet), abi.encodeWithSelector(Wallet.isValidSignature.selector), 0);
        assertEq(inbox.execute(packClaim(claimOf(2, new bytes(70)))), 0);
    }

    /// @dev Every byte after the message is signed, proven, or makes the layout: with one of them changed nothing is paid.
    function testFuzz_a_changed_byte_pays_nothing(uint256 where, uint8 what) public {
        bytes memory packed = packMembers(0x1e, PAYER_KEY);
        where = bound(where, 158, packed.length - 1);
        vm.assume(uint8(packed[where]) != what);
        packed[where] = bytes1(what);
        try inbox.execute(packed) returns (uint256 paid) {
            assertEq(paid, 0);
        } catch {}
        usedAre(0);
    }
}
