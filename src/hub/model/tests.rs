#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::state::{BalanceMarker, Holder, SignatureError, WithdrawalAuthorization, check_signer, signer};
use super::transfer::{SwapOrder, Transfer, passive_tree};
use super::*;
use crate::error::Coded;
use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::sol_types::SolValue;

fn u(n: u64) -> U256 {
    U256::from(n)
}

fn wallet(n: u8) -> Address {
    Address::repeat_byte(n)
}

const HOLDER: Holder = Holder {
    contract: Address::repeat_byte(1),
    token: Address::repeat_byte(2),
    wallet: Address::repeat_byte(3),
};

fn hashed(holder: Holder) -> (B256, B256, B256) {
    (
        keccak256(holder.contract),
        keccak256(holder.token),
        keccak256(holder.wallet),
    )
}

#[test]
fn eons_begin_at_genesis_and_last_their_blocks() {
    let clock = EonClock::new(100, 60).unwrap();
    let at = |block| (clock.eon(block).unwrap().0, clock.era(block).unwrap());
    assert_eq!([at(100), at(159), at(160), at(219)], [(1, 0), (1, 59), (2, 0), (2, 59)]);
    assert_eq!(
        (clock.first_block(Eon(2)), clock.last_block(Eon(2))),
        (Ok(160), Ok(219))
    );
    assert_eq!(clock.first_block(Eon(1)), Ok(100));
    assert_eq!((clock.epoch_blocks(), clock.extended_epoch_blocks()), (15, 20));
    assert_eq!((clock.genesis(), clock.blocks_per_eon()), (100, 60));
}

#[test]
fn time_outside_the_hub_has_no_eon() {
    let clock = EonClock::new(100, 60).unwrap();
    let before = ClockError::BeforeGenesis {
        block: 99,
        genesis: 100,
    };
    assert_eq!(clock.eon(99), Err(before));
    assert_eq!(clock.era(99), Err(before));
    assert_eq!(clock.first_block(Eon(0)), Err(ClockError::OutOfRange(Eon(0))));
    assert_eq!(
        clock.last_block(Eon(u64::MAX)),
        Err(ClockError::OutOfRange(Eon(u64::MAX)))
    );
    assert_eq!(EonClock::new(100, 0), Err(ClockError::NoBlocks));
    assert_eq!(ClockError::NoBlocks.code().code, "RLY-HUB-010");
    assert_eq!(EonClock::new(0, 1).unwrap().eon(u64::MAX), Ok(Eon(u64::MAX)));
}

#[test]
fn a_checkpoint_is_missed_when_a_whole_eon_went_without() {
    let clock = EonClock::new(0, 10).unwrap();
    let missed = |block, last| clock.checkpoint_is_missed(block, Eon(last));
    assert_eq!(
        (missed(5, 0), missed(15, 1), missed(19, 2)),
        (Ok(false), Ok(false), Ok(false))
    );
    assert_eq!((missed(15, 0), missed(35, 2)), (Ok(true), Ok(true)));
    let ahead = ClockError::Ahead {
        last: Eon(3),
        current: Eon(2),
    };
    assert_eq!(missed(15, 3), Err(ahead));
}

#[test]
fn challenges_count_after_the_first_epoch() {
    let clock = EonClock::new(0, 40).unwrap();
    assert_eq!(clock.challenges_are_open(50), Ok(false));
    assert_eq!(clock.challenges_are_open(51), Ok(true));
    assert_eq!(clock.challenges_are_outstanding(50, 1), Ok(false));
    assert_eq!(clock.challenges_are_outstanding(51, 1), Ok(true));
    assert_eq!(clock.challenges_are_outstanding(51, 0), Ok(false));
}

#[test]
fn withdrawals_ripen_over_two_eons_and_an_extended_epoch() {
    let clock = EonClock::new(0, 30).unwrap();
    let payable = |block| clock.withdrawal_is_payable(block, Eon(1)).unwrap();
    // Eon 3 begins at block 60, its extended epoch ends 10 blocks later.
    assert_eq!(
        [payable(59), payable(69), payable(70), payable(90)],
        [false, false, true, true]
    );
}

#[test]
fn a_checkpoint_is_due_when_the_previous_eon_is_buried() {
    let clock = EonClock::new(0, 30).unwrap();
    assert_eq!(clock.checkpoint_is_due(35, 3), Ok(false));
    assert_eq!(clock.checkpoint_is_due(36, 3), Ok(true));
}

#[test]
fn a_checkpoint_is_final_once_the_next_is_accepted() {
    assert_eq!(Standing::of(Eon(4), Eon(4)), Standing::Provisional);
    assert_eq!(Standing::of(Eon(4), Eon(5)), Standing::Final);
}

#[test]
fn swap_orders_and_markers_are_packed_as_solidity_packs_them() {
    let order = SwapOrder {
        sell_token: wallet(7),
        buy_token: wallet(8),
        recipient_trail: 0x0102_0304_0506_0708,
        sell: u(10),
        buy: u(20),
        start_balance: U256::MAX,
        nonce: u(5),
    };
    let tokens = (keccak256(wallet(7)), keccak256(wallet(8)));
    let packed = (
        tokens.0,
        tokens.1,
        order.recipient_trail,
        order.sell,
        order.buy,
        order.start_balance,
        order.nonce,
    );
    assert_eq!(order.checksum(), keccak256(packed.abi_encode_packed()));

    let marker = BalanceMarker {
        holder: HOLDER,
        eon: Eon(12),
        amount: u(99),
    };
    let (contract, token, wallet) = hashed(HOLDER);
    let packed = (contract, token, wallet, u(12), u(99));
    assert_eq!(marker.checksum(), keccak256(packed.abi_encode_packed()));
    let authorization = WithdrawalAuthorization {
        holder: HOLDER,
        expiry: u(12),
        amount_with_pending: u(99),
    };
    assert_eq!(authorization.checksum(), marker.checksum());
}

#[test]
fn a_positioned_passive_transfer_has_another_checksum() {
    let transfer = Transfer {
        counterparty: wallet(1),
        amount: u(5),
        recipient_trail: 1,
        nonce: u(2),
    };
    let nonce = keccak256((u(40), u(2)).abi_encode_packed());
    assert_eq!(transfer.passive_nonce(Some(u(40))), U256::from_be_bytes(nonce.0));
    assert_ne!(transfer.passive_checksum(Some(u(40))), transfer.passive_checksum(None));
    assert_eq!(
        transfer.passive_checksum(Some(U256::MAX)),
        transfer.passive_checksum(None)
    );
}

#[test]
fn a_passive_set_larger_than_what_was_credited_proves_nothing() {
    let transfers = [(B256::repeat_byte(1), u(3)), (B256::repeat_byte(2), u(4))];
    let tree = passive_tree(&transfers).unwrap();
    let siblings = tree.proof(1).unwrap();
    let proof = proof::PassiveProof {
        interval: tree.interval(1).unwrap(),
        trail: 1,
        chain: siblings.chain,
        values: siblings.values,
    };
    assert_eq!(proof.verify(transfers[1].0, tree.root(), u(7)), Ok(()));
    assert_eq!(proof.verify(transfers[1].0, tree.root(), u(8)), Ok(()));
    let short = ProofError::PassiveSum {
        sum: u(7),
        credited: u(6),
    };
    assert_eq!(proof.verify(transfers[1].0, tree.root(), u(6)), Err(short));
    assert!(proof.verify(transfers[0].0, tree.root(), u(7)).is_err());
}

#[test]
fn signatures_that_are_none_say_why() {
    let checksum = B256::repeat_byte(9);
    assert_eq!(signer(checksum, "12"), Err(SignatureError::Hex));
    assert_eq!(signer(checksum, &"zz".repeat(65)), Err(SignatureError::Hex));
    assert_eq!(
        signer(checksum, &format!("{}1d", "11".repeat(64))),
        Err(SignatureError::V(29))
    );
    assert_eq!(
        signer(checksum, &format!("{}1b", "00".repeat(64))),
        Err(SignatureError::Invalid)
    );
    // The signature of the vectors, over another checksum.
    let some = concat!(
        "bd4d217521042ace702039d37ce4e76d8214230d3e14e1eaa7f7796e4564095773b9b8190aa78093425d00e3fec9e146794dda92a3498f86f43e00306f8a1e04",
        "1c"
    );
    let found = signer(checksum, some).unwrap();
    let other = SignatureError::Signer {
        expected: wallet(1),
        found,
    };
    assert_eq!(other.code().code, "RLY-HUB-011");
    assert_eq!(check_signer(checksum, some, wallet(1)), Err(other));
    assert_eq!(check_signer(checksum, some, found), Ok(()));
}

#[test]
fn an_accumulator_slot_is_carried_on_from_five_eons_ago() {
    let operation = |eon| ParentOperation {
        eon: Eon(eon),
        token: wallet(1),
        participant: wallet(2),
        operation: Operation::Deposit,
        value: u(1),
    };
    let mut accumulator = Accumulator::from_slots([B256::ZERO; 5]);
    accumulator.append(&operation(2));
    let old = accumulator.at(Eon(2));
    accumulator.append(&operation(7));
    assert_eq!(accumulator.at(Eon(7)), operation(7).step(old));
    assert_ne!(accumulator.at(Eon(7)), operation(7).step(B256::ZERO));
    assert_eq!(accumulator.at(Eon(3)), B256::ZERO);
    assert_eq!(accumulator.slots()[2], accumulator.at(Eon(12)));
}

#[test]
fn a_checkpoint_may_allot_what_backs_it_and_no_more() {
    let backing = Backing {
        balance: u(100),
        confirmed_withdrawals: u(20),
        deposits: u(30),
        pending_withdrawals: u(15),
    };
    assert_eq!(backing.amount(), Ok(u(75)));
    assert_eq!(backing.check(u(75)), Ok(()));
    let over = SolvencyError::OverCommitted {
        upper_bound: u(76),
        backing: u(75),
    };
    assert_eq!(backing.check(u(76)), Err(over));
    assert_eq!(over.code().code, "RLY-HUB-008");
    for (deposits, pending, confirmed) in [(121, 0, 20), (100, 21, 20), (0, 0, u64::MAX)] {
        let broken = Backing {
            balance: if confirmed == u64::MAX { U256::MAX } else { u(100) },
            confirmed_withdrawals: u(confirmed),
            deposits: u(deposits),
            pending_withdrawals: u(pending),
        };
        let contradiction = SolvencyError::Contradiction {
            balance: broken.balance,
        };
        assert_eq!(broken.check(u(0)), Err(contradiction));
    }
}

#[test]
fn totals_of_an_eon_give_way_to_those_five_eons_later() {
    let mut totals = EonTotals::default();
    for (eon, amount) in [(1, 1), (2, 2), (2, 3), (3, 10)] {
        totals.add(Eon(eon), u(amount)).unwrap();
    }
    assert_eq!((totals.since(Eon(2)), totals.since(Eon(1))), (Some(u(15)), Some(u(16))));
    totals.add(Eon(7), u(100)).unwrap();
    assert_eq!(totals.since(Eon(1)), Some(u(111)));
    assert_eq!(totals.add(Eon(7), U256::MAX), None);
    let slots = [
        (Eon(5), U256::MAX),
        (Eon(6), u(1)),
        Default::default(),
        Default::default(),
        Default::default(),
    ];
    assert_eq!(EonTotals::from_slots(slots).since(Eon(5)), None);
}

#[test]
fn a_token_without_accounts_is_one_leaf_of_padding() {
    let contract = wallet(1);
    let tree = AccountTreeBuilder::new(contract, contract, 0).finish().unwrap();
    let nothing = Interval::default();
    assert_eq!(
        tree.root(),
        preimage::interval_leaf(nothing, account::padding_content())
    );
    assert_eq!((tree.len(), tree.depth(), tree.is_empty()), (0, 0, true));
    assert_eq!(tree.proof(0), Err(TreeError::NoSuchLeaf { leaf: 0, count: 0 }));
    assert_eq!(HashTree::new(vec![]).unwrap().root(), B256::ZERO);
    assert!(HashTree::new(vec![]).unwrap().is_empty());
}

#[test]
fn amounts_that_overflow_leave_the_tree_as_it_was() {
    let allotment = |amount| Allotment {
        account: Account::default(),
        amount,
    };
    let mut tree = AccountTreeBuilder::new(wallet(1), wallet(1), 0);
    tree.extend(&[allotment(u(1))]).unwrap();
    let before = tree.clone().finish().unwrap();
    let refused = tree.extend(&[allotment(u(5)), allotment(U256::MAX)]);
    assert_eq!(refused, Err(TreeError::Overflow { leaf: 2 }));
    assert_eq!(tree.finish().unwrap(), before);
}

#[test]
fn a_checkpoint_begins_with_the_native_coin_and_has_each_token_once() {
    let commitment = |token| TokenCommitment {
        token,
        accounts: AccountTreeBuilder::new(wallet(1), token, 0).finish().unwrap(),
    };
    let build = |tokens: &[u8]| {
        let tokens = tokens.iter().map(|token| commitment(wallet(*token))).collect();
        Checkpoint::new(wallet(1), tokens).map(|checkpoint| checkpoint.root())
    };
    assert!(build(&[1, 2]).is_ok());
    assert_eq!(build(&[]), Err(TreeError::FirstToken));
    assert_eq!(build(&[2, 1]), Err(TreeError::FirstToken));
    assert_eq!(build(&[1, 2, 2]), Err(TreeError::TokenTwice(wallet(2))));
    let checkpoint = Checkpoint::new(wallet(1), vec![commitment(wallet(1))]).unwrap();
    assert!(checkpoint.proof(0, 0).is_err());
    assert!(checkpoint.proof(1, 0).is_err());
    assert!(checkpoint.membership_chain(u64::MAX).is_err());
}
