// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {ISettlementInbox} from "../src/interfaces/ISettlementInbox.sol";
import {Fixture} from "./Fixture.sol";
import {Packer} from "./Packer.sol";
import {PlainTree} from "./PlainTree.sol";

contract ExecuteTest is Fixture {
    using Packer for Packer.Buffer;

    function assertPaid(ISettlementInbox.Settlement memory s) internal view {
        assertEq(vault.nonceBitmap(s.payer, s.nonce >> 8) >> (s.nonce & 0xff) & 1, 1, "nonce not used");
    }

    function test_a_batch_is_paid_to_its_payees_and_the_fees_to_the_recipient() public {
        ISettlementInbox.Settlement[] memory all = many(16, 4);
        bytes memory packed = packAndBring(all);
        uint256 sum;
        uint256 fees;
        for (uint256 i; i < all.length; ++i) {
            sum += all[i].amount;
            fees += all[i].fee;
        }
        uint256 before = vault.balanceOf(payer, address(token));
        assertEq(inbox.execute(packed), 16);
        uint256 got;
        for (uint256 i; i < 4; ++i) {
            got += token.balanceOf(payeeAt(i));
        }
        assertEq(got, sum);
        assertEq(token.balanceOf(feeRecipient), fees);
        assertEq(vault.balanceOf(payer, address(token)), before - sum - fees);
        for (uint256 i; i < all.length; ++i) {
            assertPaid(all[i]);
        }
        (uint128 received, uint128 paid) = inbox.counters();
        assertEq(received, 2);
        assertEq(paid, 16);
    }

    function test_a_group_signature_pays_all_members() public {
        ISettlementInbox.Settlement[] memory all = many(11, 3);
        bytes32[] memory ids = idsOf(all);
        bring(portA, messageOf(ids));
        Packer.Buffer memory buffer = Packer.make(20_000);
        buffer.put(messageOf(ids));
        buffer.put(abi.encodePacked(uint32(0), uint16(11), uint8(0)));
        buffer.sections(all, new bytes[](0), 0, 11, groupOf(ids, 0, 11, PAYER_KEY));
        assertEq(inbox.execute(buffer.done()), 11);
    }

    function test_one_settlement_executes_in_plain_abi() public {
        ISettlementInbox.Settlement[] memory all = many(5, 5);
        bytes32[] memory ids = idsOf(all);
        bytes memory message = messageOf(ids);
        bring(portA, message);
        ISettlementInbox.Skip skip = inbox.executeOne(message, all[3], sign(PAYER_KEY, ids[3]), 3, PlainTree.rangeProof(ids, 3, 4));
        assertEq(uint8(skip), 0);
        assertEq(token.balanceOf(all[3].payee), all[3].amount);
    }
}
