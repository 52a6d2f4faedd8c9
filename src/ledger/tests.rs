#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::postings::{bridge_fee, claimed, deposit_finalized, gas_fee, withdrawn};
use super::*;
use alloy::primitives::{Address, B256, U256};
use proptest::prelude::*;
use relayer_adapter_api::{ChainId, SettlementId};
use std::collections::BTreeMap;

const ASSET: Asset = Asset {
    chain: ChainId(5),
    token: Address::repeat_byte(0x70),
};

fn payer(n: u8) -> Address {
    Address::repeat_byte(0xa0 | n)
}

fn payee(n: u8) -> Address {
    Address::repeat_byte(0xb0 | n)
}

fn event(log_index: u64) -> EventRef {
    EventRef {
        chain: ASSET.chain,
        block: B256::repeat_byte(1),
        log_index,
    }
}

fn obligation(n: u64, payer_index: u8, amount: u64, fee: u64) -> Obligation {
    Obligation {
        settlement: SettlementId(B256::from(U256::from(n))),
        asset: ASSET,
        payer: payer(payer_index),
        payee: payee(payer_index),
        amount: U256::from(amount),
        fee: U256::from(fee),
    }
}

/// Books in memory, as the store keeps them in rows.
#[derive(Default, Clone)]
struct Books {
    balances: BTreeMap<AccountKey, Balance>,
    rows: Vec<Posting>,
}

impl Books {
    fn post(&mut self, postings: impl IntoIterator<Item = Posting>) -> Result<(), BalanceError> {
        let postings: Vec<_> = postings.into_iter().collect();
        let changed = new_balances(&postings, |key| self.balance(key))?;
        self.balances.extend(changed);
        self.rows.extend(postings);
        Ok(())
    }

    fn balance(&self, key: &AccountKey) -> Balance {
        self.balances.get(key).copied().unwrap_or_default()
    }

    fn amount(&self, key: AccountKey) -> u64 {
        self.balance(&key).amount().to()
    }

    fn shape(&self) -> [u64; 6] {
        [
            AccountKey::available(ASSET, payer(1)),
            AccountKey::reserved(ASSET, payer(1)),
            AccountKey::payee(ASSET, payee(1)),
            AccountKey::unclaimed(ASSET, payee(1)),
            AccountKey::fees_income(ASSET),
            AccountKey::external(ASSET),
        ]
        .map(|key| self.amount(key))
    }
}

fn with_deposit(amount: u64) -> Books {
    let mut books = Books::default();
    books
        .post(deposit_finalized(ASSET, payer(1), U256::from(amount), event(0)))
        .unwrap();
    books
}

#[test]
fn a_paid_settlement_moves_amount_and_fee_out_of_the_reserve() {
    let mut books = with_deposit(100);
    let due = obligation(1, 1, 40, 2);
    books.post(due.accept()).unwrap();
    assert_eq!(books.shape(), [58, 42, 0, 0, 0, 0]);
    books.post(due.executed(Payout::Paid, event(1))).unwrap();
    assert_eq!(books.shape(), [58, 0, 40, 0, 2, 0]);
}

#[test]
fn a_credited_settlement_waits_until_it_is_claimed() {
    let mut books = with_deposit(100);
    let due = obligation(1, 1, 40, 2);
    books.post(due.accept()).unwrap();
    books.post(due.executed(Payout::Credited, event(1))).unwrap();
    assert_eq!(books.shape(), [58, 0, 0, 40, 2, 0]);
    books.post(claimed(ASSET, payee(1), U256::from(40), event(2))).unwrap();
    assert_eq!(books.shape(), [58, 0, 40, 0, 2, 0]);
    let again = books.post(claimed(ASSET, payee(1), U256::from(1), event(3)));
    assert!(matches!(again, Err(BalanceError::Short { .. })));
}

#[test]
fn an_unpaid_settlement_gives_its_reservation_back() {
    let mut books = with_deposit(100);
    let due = obligation(1, 1, 40, 2);
    books.post(due.accept()).unwrap();
    let proof = Cause::Proof {
        settlement: due.settlement,
        block: B256::repeat_byte(2),
    };
    books.post(due.ended_unpaid(&proof)).unwrap();
    assert_eq!(books.shape(), [100, 0, 0, 0, 0, 0]);
    assert!(books.post(due.ended_unpaid(&proof)).is_err());
}

#[test]
fn a_stranger_pays_from_what_is_available() {
    for (fee_is_ours, expected) in [(true, [58, 0, 40, 0, 2, 0]), (false, [58, 0, 40, 0, 0, 0])] {
        let mut books = with_deposit(100);
        let due = obligation(1, 1, 40, 2);
        let postings = due.paid_by_stranger(Payout::Paid, fee_is_ours, event(1));
        let reasons: Vec<Reason> = postings.iter().map(|posting| posting.reason).collect();
        // Two reasons, so that both rows of one event have a cause of their own.
        assert_eq!(reasons, [Reason::External, Reason::Fee]);
        books.post(postings).unwrap();
        assert_eq!(books.shape(), expected);
        let external = books.balance(&AccountKey::external(ASSET)).shortfall();
        assert_eq!(external, U256::from(if fee_is_ours { 100 } else { 98 }));
    }
}

#[test]
fn accepting_more_than_is_available_is_refused_as_a_whole() {
    let mut books = with_deposit(41);
    let short = books.post(obligation(1, 1, 40, 2).accept()).unwrap_err();
    assert_eq!(
        short,
        BalanceError::Short {
            account: AccountKey::available(ASSET, payer(1)),
            short: U256::from(1)
        }
    );
    assert_eq!(books.shape(), [41, 0, 0, 0, 0, 0]);
    let two = [obligation(1, 1, 30, 0).accept(), obligation(2, 1, 30, 0).accept()].concat();
    assert!(books.post(two).is_err());
    assert_eq!(books.shape(), [41, 0, 0, 0, 0, 0]);
}

#[test]
fn what_happened_on_chain_is_booked_even_when_it_leaves_a_shortfall() {
    let mut books = with_deposit(50);
    books.post(obligation(1, 1, 40, 0).accept()).unwrap();
    books
        .post(withdrawn(ASSET, payer(1), U256::from(30), event(1)))
        .unwrap();
    let available = books.balance(&AccountKey::available(ASSET, payer(1)));
    assert_eq!(
        (available.amount(), available.shortfall()),
        (U256::ZERO, U256::from(20))
    );
    assert!(books.post(obligation(2, 1, 1, 0).accept()).is_err());
    assert_eq!(books.amount(AccountKey::reserved(ASSET, payer(1))), 40);
}

#[test]
fn costs_are_booked_in_the_native_coin_of_their_chain() {
    let mut books = Books::default();
    let hash = B256::repeat_byte(3);
    books.post(bridge_fee(ChainId(1), U256::from(7), hash)).unwrap();
    books.post(gas_fee(ChainId(2), U256::from(9), hash)).unwrap();
    assert_eq!(books.amount(AccountKey::fees_bridge(Asset::native(ChainId(1)))), 7);
    assert_eq!(books.amount(AccountKey::fees_gas(Asset::native(ChainId(2)))), 9);
}

#[test]
fn nothing_is_posted_where_nothing_moves() {
    assert_eq!(deposit_finalized(ASSET, payer(1), U256::ZERO, event(0)), None);
    assert_eq!(obligation(1, 1, 40, 0).executed(Payout::Paid, event(0)).len(), 1);
    assert_eq!(obligation(1, 1, 40, 2).executed(Payout::Paid, event(0)).len(), 2);
}

#[test]
fn totals_cannot_wrap() {
    let mut books = Books::default();
    books
        .post(deposit_finalized(ASSET, payer(1), U256::MAX, event(0)))
        .unwrap();
    let more = books.post(deposit_finalized(ASSET, payer(1), U256::from(1), event(1)));
    assert!(matches!(more, Err(BalanceError::Overflow(_))));
}

#[test]
fn accounts_have_one_text_each() {
    let held = AccountKey::available(ASSET, payer(1));
    assert_eq!(
        held.to_string(),
        "available:5:0x7070707070707070707070707070707070707070:0xa1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"
    );
    let common = AccountKey::fees_gas(Asset::native(ChainId(9)));
    assert_eq!(
        common.to_string(),
        "fees_gas:9:0x0000000000000000000000000000000000000000"
    );
    for key in [
        held,
        common,
        AccountKey::external(ASSET),
        AccountKey::unclaimed(ASSET, payee(2)),
    ] {
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    for bad in [
        "",
        "available:5:0x7070707070707070707070707070707070707070",
        "external:5:0x7070707070707070707070707070707070707070:0xa1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1",
        "fees_gas:09:0x0000000000000000000000000000000000000000",
        "fees_gas:9:0000000000000000000000000000000000000000",
        "fees_gas:9:0x0000000000000000000000000000000000000000:",
        "FEES_GAS:9:0x0000000000000000000000000000000000000000",
    ] {
        assert!(bad.parse::<AccountKey>().is_err(), "{bad}");
    }
}

#[test]
fn reasons_and_causes_have_stable_texts() {
    for text in [
        "deposit",
        "accept",
        "payment",
        "external",
        "bridge_fee",
        "gas_fee",
        "reversal",
    ] {
        assert_eq!(text.parse::<Reason>().unwrap().as_str(), text);
    }
    let zero = B256::ZERO;
    assert_eq!(
        Cause::Event(event(3)).to_string(),
        format!("event:5:{}:3", B256::repeat_byte(1))
    );
    assert_eq!(
        Cause::Accepted(SettlementId(zero)).to_string(),
        format!("accepted:{zero}")
    );
    assert_eq!(Cause::Reversal { posting: 17 }.to_string(), "reversal:17");
}

/// What can happen to a few payers; numbers pick settlements and rows.
#[derive(Debug, Clone)]
enum Step {
    Deposit(u8, u64),
    Withdraw(u8, u64),
    Accept(u8, u64, u64),
    Execute(usize, bool),
    EndUnpaid(usize),
    Stranger(u8, u64, bool),
    Claim(u8),
    Gas(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0u8..3, 0u64..500).prop_map(|(n, amount)| Step::Deposit(n, amount)),
        1 => (0u8..3, 0u64..100).prop_map(|(n, amount)| Step::Withdraw(n, amount)),
        3 => (0u8..3, 1u64..120, 0u64..5).prop_map(|(n, amount, fee)| Step::Accept(n, amount, fee)),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(at, credited)| Step::Execute(at, credited)),
        1 => (any::<usize>()).prop_map(Step::EndUnpaid),
        1 => (0u8..3, 1u64..50, any::<bool>()).prop_map(|(n, amount, ours)| Step::Stranger(n, amount, ours)),
        1 => (0u8..3).prop_map(Step::Claim),
        1 => (0u64..9).prop_map(Step::Gas),
    ]
}

/// Books together with the settlements that still hold a reservation.
#[derive(Default)]
struct World {
    books: Books,
    open: Vec<Obligation>,
    next: u64,
}

impl World {
    fn take(&mut self, step: &Step) -> Result<(), BalanceError> {
        self.next += 1;
        let (n, event) = (self.next, event(self.next));
        let payout = |credited| if credited { Payout::Credited } else { Payout::Paid };
        match *step {
            Step::Deposit(who, amount) => {
                self.books
                    .post(deposit_finalized(ASSET, payer(who), U256::from(amount), event))
            }
            Step::Withdraw(who, amount) => self.books.post(withdrawn(ASSET, payer(who), U256::from(amount), event)),
            Step::Accept(who, amount, fee) => {
                let due = obligation(n, who, amount, fee);
                self.books.post(due.accept())?;
                self.open.push(due);
                Ok(())
            }
            Step::Execute(at, credited) if !self.open.is_empty() => {
                let due = self.open.swap_remove(at % self.open.len());
                self.books.post(due.executed(payout(credited), event))
            }
            Step::EndUnpaid(at) if !self.open.is_empty() => {
                let due = self.open.swap_remove(at % self.open.len());
                self.books.post(due.ended_unpaid(&Cause::Event(event)))
            }
            Step::Stranger(who, amount, ours) => {
                self.books
                    .post(obligation(n, who, amount, 1).paid_by_stranger(payout(ours), ours, event))
            }
            Step::Claim(who) => {
                let owed = self.books.balance(&AccountKey::unclaimed(ASSET, payee(who))).amount();
                self.books.post(claimed(ASSET, payee(who), owed, event))
            }
            Step::Gas(amount) => self.books.post(gas_fee(ASSET.chain, U256::from(amount), B256::ZERO)),
            Step::Execute(..) | Step::EndUnpaid(_) => Ok(()),
        }
    }

    fn check(&self) {
        let sum = |pick: fn(&Balance) -> U256| self.books.balances.values().map(pick).fold(U256::ZERO, |a, b| a + b);
        assert_eq!(sum(|balance| balance.debits), sum(|balance| balance.credits));
        for who in 0..3 {
            let reserved = self.books.balance(&AccountKey::reserved(ASSET, payer(who)));
            let open = self.open.iter().filter(|due| due.payer == payer(who));
            let claims = open.map(|due| due.amount + due.fee).fold(U256::ZERO, |a, b| a + b);
            assert_eq!((reserved.amount(), reserved.shortfall()), (claims, U256::ZERO));
            assert_eq!(
                self.books
                    .balance(&AccountKey::unclaimed(ASSET, payee(who)))
                    .shortfall(),
                U256::ZERO
            );
        }
    }
}

proptest! {
    #[test]
    fn any_sequence_keeps_debits_equal_to_credits_and_the_reserve_equal_to_its_claims(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::default();
        for step in &steps {
            let before = world.books.balances.clone();
            let result = world.take(step);
            if let Step::Accept(who, ..) = step {
                let account = AccountKey::available(ASSET, payer(*who));
                let short = world.books.balance(&account).shortfall();
                prop_assert!(result.is_err() || short.is_zero());
            } else {
                prop_assert_eq!(result, Ok(()));
            }
            for (account, balance) in &before {
                let after = world.books.balance(account);
                prop_assert!(after.debits >= balance.debits && after.credits >= balance.credits);
            }
            world.check();
        }
    }

    #[test]
    fn reversing_every_posting_from_the_last_to_the_first_restores_every_balance(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::default();
        for step in &steps {
            let _ = world.take(step);
        }
        let rows = world.books.rows.clone();
        for (index, posting) in rows.iter().enumerate().rev() {
            let reversal = posting.reversed(i64::try_from(index).unwrap());
            prop_assert_eq!(reversal.reason, Reason::Reversal);
            prop_assert_eq!(world.books.post([reversal]), Ok(()));
        }
        for (account, balance) in &world.books.balances {
            prop_assert_eq!(balance.debits, balance.credits, "{}", account);
        }
    }

    #[test]
    fn one_commit_of_many_postings_equals_many_commits_of_one(amounts in prop::collection::vec((0u8..3, 1u64..50), 1..20)) {
        let mut one = Books::default();
        for who in 0..3 {
            one.post(deposit_finalized(ASSET, payer(who), U256::from(1000), event(0))).unwrap();
        }
        let mut many = one.clone();
        let all: Vec<_> = (1u64..).zip(&amounts).flat_map(|(n, (who, amount))| obligation(n, *who, *amount, 1).accept()).collect();
        for posting in all.clone() {
            many.post([posting]).unwrap();
        }
        one.post(all).unwrap();
        prop_assert_eq!(one.balances, many.balances);
    }
}
