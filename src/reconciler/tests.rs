#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::model::{Model, VAULT};
use super::*;
use crate::ledger::{AccountKey, Asset, Balance};
use crate::settlement::states::{MessageState, SettlementState};
use crate::settlement::terms::{Domain, Terms};
use crate::settlement::{MessageId, SettlementId};
use crate::stage::Stage;
use crate::store::testing::{
    self, ASSET, DEADLINE, FEE_RECIPIENT, INBOX, OUTBOX, PAYEE, PAYER, TARGET, TOKEN, TestStore, accept, available,
    balance, income, new_settlement, paid, reserved, seal,
};
use crate::store::{DriftClass, NewSettlement, Store};
use alloy::primitives::{Address, B256, U256};
use std::sync::Arc;
use sweep::{Totals, check_count, check_token};

pub(super) fn reconciler(store: &Store, model: &Model) -> Reconciler {
    let target = TargetContracts {
        inbox: INBOX,
        vault: VAULT,
    };
    let params = ReconcilerParams {
        chain_id: TARGET,
        target: Some(target),
        outbox: Some(OUTBOX),
        sweep_ms: 0,
    };
    Reconciler::new(store.clone(), Arc::new(model.clone()), params)
}

pub(super) struct World {
    pub store: TestStore,
    pub model: Model,
    pub reconciler: Reconciler,
}

impl World {
    pub async fn new(deposit: u128) -> Self {
        let store = testing::open().await;
        let model = Model::new(&store);
        let reconciler = reconciler(&store, &model);
        let world = Self {
            store,
            model,
            reconciler,
        };
        world.model.deposit(PAYER, deposit).await;
        world.settle().await;
        world
    }

    /// What is mined becomes final, and is booked and compared.
    pub async fn settle(&self) {
        self.model.finalize().await;
        self.reconciler.step(50, 1_000).await.unwrap();
    }

    pub async fn accept(&self, new: &NewSettlement) {
        let answers = accept(&self.store, std::slice::from_ref(new)).await;
        assert!(matches!(answers[0], crate::store::Accept::Accepted(_)), "{answers:?}");
    }

    pub async fn state(&self, id: SettlementId) -> SettlementState {
        self.store.get_settlement(id).await.unwrap().state
    }

    pub async fn assert_agreed(&self) {
        assert_eq!(self.store.list_open_drifts().await.unwrap(), vec![]);
        assert!(self.store.list_unbalanced_accounts().await.unwrap().is_empty());
    }

    /// Every log looks unbooked again, as after a restore of an older database.
    async fn forget_applied(&self) {
        let mut txn = self.store.begin(1).await.unwrap();
        let ids: Vec<i64> = (1..200).collect();
        txn.unmark_applied_final(&ids).await.unwrap();
        txn.commit().await.unwrap();
    }
}

pub(super) fn item(new: &NewSettlement) -> (SettlementId, Terms) {
    (new.id, new.terms)
}

/// Terms of the payer that this database never saw.
pub(super) fn stranger(nonce: u64, amount: u64, fee: u64) -> (SettlementId, Terms) {
    let terms = testing::terms(PAYER, nonce, amount, fee, B256::repeat_byte(0xee));
    (Domain::new(TARGET, INBOX).settlement_id(&terms), terms)
}

pub(super) const STRANGE: MessageId = MessageId(B256::repeat_byte(0x99));

#[tokio::test]
async fn deposits_and_withdrawals_count_when_final_and_once() {
    let world = World::new(1_000).await;
    assert_eq!(available(&world.store, PAYER).await, 1_000);
    world.model.withdraw(PAYER, 300).await;
    world.reconciler.step(50, 1_000).await.unwrap();
    assert_eq!(available(&world.store, PAYER).await, 1_000);
    world.settle().await;
    assert_eq!(available(&world.store, PAYER).await, 700);
    world.forget_applied().await;
    world.settle().await;
    assert_eq!(available(&world.store, PAYER).await, 700);
    world.assert_agreed().await;
}

#[tokio::test]
async fn a_final_payment_of_a_batch_settles_it_and_a_repeated_log_books_nothing() {
    let world = World::new(1_000).await;
    let news: Vec<_> = (1..4).map(|n| new_settlement(PAYER, n, 100, 5, n)).collect();
    for new in &news {
        world.accept(new).await;
    }
    let ids: Vec<SettlementId> = news.iter().map(|new| new.id).collect();
    let sealed = seal(&world.store, &ids).await;
    let items: Vec<_> = news.iter().map(item).collect();
    assert_eq!(world.model.execute(sealed.id(), &items, false, false).await, ids);
    world.settle().await;
    world.forget_applied().await;
    world.settle().await;
    for id in &ids {
        let row = world.store.get_settlement(*id).await.unwrap();
        assert_eq!((row.state, row.credited), (SettlementState::Settled, false));
        assert_eq!(row.evidence.unwrap().block_number, world.model.head().number);
    }
    assert_eq!(paid(&world.store, PAYEE).await, 300);
    assert_eq!(income(&world.store).await, 15);
    assert_eq!(reserved(&world.store, PAYER).await, 0);
    let message = world.store.get_message(sealed.id()).await.unwrap();
    assert_eq!(message.state, MessageState::Executed);
    world.assert_agreed().await;
}

#[tokio::test]
async fn failed_transfers_wait_as_claims_and_so_do_failed_fees() {
    let world = World::new(1_000).await;
    let new = new_settlement(PAYER, 1, 100, 5, 1);
    world.accept(&new).await;
    let sealed = seal(&world.store, &[new.id]).await;
    world.model.execute(sealed.id(), &[item(&new)], true, true).await;
    world.settle().await;
    assert!(world.store.get_settlement(new.id).await.unwrap().credited);
    assert_eq!(balance(&world.store, AccountKey::unclaimed(ASSET, PAYEE)).await, 100);
    assert_eq!(
        balance(&world.store, AccountKey::unclaimed(ASSET, FEE_RECIPIENT)).await,
        5
    );
    assert_eq!(income(&world.store).await, 0);
    world.assert_agreed().await;
    world.model.claim(PAYEE).await;
    world.model.claim(FEE_RECIPIENT).await;
    world.settle().await;
    assert_eq!(paid(&world.store, PAYEE).await, 100);
    world.assert_agreed().await;
}

#[tokio::test]
async fn a_strangers_payment_leaves_the_available_balance_and_supersedes_its_rival() {
    let world = World::new(1_000).await;
    let ours = new_settlement(PAYER, 1, 100, 5, 1);
    let rival = new_settlement(PAYER, 2, 100, 5, 2);
    world.accept(&ours).await;
    world.accept(&rival).await;
    let sealed = seal(&world.store, &[ours.id, rival.id]).await;
    // One run: one of ours, one on the rival's nonce, one on a nonce nobody here knows.
    let items = [item(&ours), stranger(2, 40, 1), stranger(7, 30, 2)];
    assert_eq!(world.model.execute(STRANGE, &items, false, false).await.len(), 3);
    world.settle().await;
    assert_eq!(world.state(ours.id).await, SettlementState::Settled);
    assert_eq!(world.state(rival.id).await, SettlementState::Superseded);
    assert_eq!(reserved(&world.store, PAYER).await, 0);
    assert_eq!(available(&world.store, PAYER).await, 1_000 - 105 - 41 - 32);
    assert_eq!(paid(&world.store, PAYEE).await, 170);
    // The message was nobody's we know, so no fee of it is income.
    assert_eq!(income(&world.store).await, 0);
    let message = world.store.get_message(sealed.id()).await.unwrap();
    assert_eq!(message.state, MessageState::Executed);
    world.assert_agreed().await;
}

#[tokio::test]
async fn a_burned_nonce_ends_its_settlement_and_a_cancel_gives_the_end_its_name() {
    let world = World::new(1_000).await;
    let (one, two) = (new_settlement(PAYER, 1, 100, 5, 1), new_settlement(PAYER, 2, 100, 5, 2));
    world.accept(&one).await;
    world.accept(&two).await;
    let mut txn = world.store.begin(1).await.unwrap();
    txn.request_cancel(two.id, "operator").await.unwrap();
    txn.commit().await.unwrap();
    assert!(world.model.burn(PAYER, U256::from(1)).await);
    assert!(world.model.burn(PAYER, U256::from(2)).await);
    world.settle().await;
    assert_eq!(world.state(one.id).await, SettlementState::Burned);
    assert_eq!(world.state(two.id).await, SettlementState::Cancelled);
    assert_eq!(available(&world.store, PAYER).await, 1_000);
    world.assert_agreed().await;
}

#[tokio::test]
async fn expiry_needs_a_final_block_past_the_deadline_with_the_nonce_unused_there() {
    let world = World::new(1_000).await;
    let (unpaid, paid_late) = (new_settlement(PAYER, 1, 100, 5, 1), new_settlement(PAYER, 2, 100, 5, 2));
    world.accept(&unpaid).await;
    world.accept(&paid_late).await;
    // The deadline itself is still in time.
    world.model.wait_until(DEADLINE).await;
    world.settle().await;
    assert_eq!(world.state(unpaid.id).await, SettlementState::Accepted);
    world.model.execute(STRANGE, &[item(&paid_late)], false, false).await;
    world.model.wait_until(DEADLINE + 1).await;
    world.reconciler.step(50, 1_000).await.unwrap();
    assert_eq!(world.state(unpaid.id).await, SettlementState::Accepted, "not final yet");
    world.settle().await;
    assert_eq!(world.state(unpaid.id).await, SettlementState::Expired);
    assert_eq!(world.state(paid_late.id).await, SettlementState::Settled);
    assert_eq!(reserved(&world.store, PAYER).await, 0);
    world.assert_agreed().await;
}

#[tokio::test]
async fn an_expired_candidate_with_a_used_nonce_does_not_hide_those_behind_it() {
    let world = World::new(1_000).await;
    let news: Vec<_> = (1..6).map(|n| new_settlement(PAYER, n, 10, 0, n)).collect();
    for new in &news {
        world.accept(new).await;
    }
    for nonce in 1..5 {
        // Used on chain, and the log not booked: burned in a block that is not final here yet.
        world.model.burn(PAYER, U256::from(nonce)).await;
    }
    world.model.wait_until(DEADLINE + 1).await;
    let head = world.model.head();
    let old = world.store.get_cursor(TARGET).await.unwrap();
    let cursor = crate::store::Cursor {
        seen: head,
        finalized: head,
    };
    let mut txn = world.store.begin(1).await.unwrap();
    txn.move_cursor(TARGET, old.as_ref(), &cursor).await.unwrap();
    txn.commit().await.unwrap();
    for _ in 0..4 {
        let _ = world.reconciler.step(50, 2).await;
    }
    assert_eq!(world.state(news[4].id).await, SettlementState::Expired);
    assert_eq!(world.state(news[0].id).await, SettlementState::Accepted);
}

#[tokio::test]
async fn broken_finality_is_reversed_reported_and_closed_once_the_sides_agree() {
    let world = World::new(1_000).await;
    let new = new_settlement(PAYER, 1, 100, 5, 1);
    world.accept(&new).await;
    let sealed = seal(&world.store, &[new.id]).await;
    world.model.deposit(PAYER, 11).await;
    world.model.execute(sealed.id(), &[item(&new)], false, false).await;
    world.settle().await;
    assert_eq!(world.state(new.id).await, SettlementState::Settled);
    world.model.drop_head().await;
    world.reconciler.step(60, 1_000).await.unwrap_err();
    assert_eq!(world.state(new.id).await, SettlementState::Delivered);
    assert_eq!(reserved(&world.store, PAYER).await, 105);
    assert_eq!(paid(&world.store, PAYEE).await, 0);
    let drifts = world.store.list_open_drifts().await.unwrap();
    assert_eq!(drifts[0].drift.class, DriftClass::Stale);
    // It is paid again, in another block.
    world.model.deposit(PAYER, 1).await;
    world.model.execute(sealed.id(), &[item(&new)], false, false).await;
    world.settle().await;
    assert_eq!(world.state(new.id).await, SettlementState::Settled);
    assert_eq!(available(&world.store, PAYER).await, 1_000 - 105 + 12);
    world.assert_agreed().await;
}

#[tokio::test]
async fn a_difference_is_reported_and_never_adjusted() {
    let world = World::new(1_000).await;
    // Money moves without a log.
    let mut state = world.model.state();
    state.deposited += 7;
    state.paid += 1;
    world.model.mine(0, state, Vec::new()).await;
    world.settle().await;
    let drifts = world.store.list_open_drifts().await.unwrap();
    let found: Vec<_> = drifts
        .iter()
        .map(|row| (row.drift.class, row.drift.expected.as_str(), row.drift.actual.as_str()))
        .collect();
    assert_eq!(
        found,
        [(DriftClass::Missing, "1", "0"), (DriftClass::Amount, "1007", "1000")]
    );
    assert_eq!(available(&world.store, PAYER).await, 1_000);
    let mut state = world.model.state();
    state.deposited -= 7;
    state.paid -= 1;
    world.model.mine(0, state, Vec::new()).await;
    world.settle().await;
    world.assert_agreed().await;
}

#[tokio::test]
async fn a_transaction_that_cannot_be_booked_is_reported_and_holds_no_other_up() {
    let world = World::new(1_000).await;
    let broken = model::Emitted {
        address: INBOX,
        kind: "settlement_paid",
        key: B256::repeat_byte(1),
        key2: PAYER.into_word(),
        amount: U256::from(1),
        detail: serde_json::json!({}),
    };
    world.model.mine(0, world.model.state(), vec![broken]).await;
    world.model.deposit(PAYER, 5).await;
    world.model.finalize().await;
    world.reconciler.step(50, 1_000).await.unwrap_err();
    assert_eq!(available(&world.store, PAYER).await, 1_005);
    let drifts = world.store.list_open_drifts().await.unwrap();
    assert!(drifts[0].drift.subject.starts_with("log "), "{drifts:?}");
}

#[test]
fn counts_are_missing_or_duplicate_never_both() {
    let cases = [(3, 3, [true, true]), (3, 2, [false, true]), (3, 4, [true, false])];
    for (contract, logs, expected) in cases {
        let checks = check_count("x", contract, logs);
        assert_eq!([checks[0].agrees(), checks[1].agrees()], expected, "{contract} {logs}");
    }
}

#[test]
fn a_token_agrees_when_balances_and_claims_do() {
    let cr = |credits: u64, debits: u64| Balance {
        debits: U256::from(debits),
        credits: U256::from(credits),
    };
    let totals = Totals {
        deposited: 100,
        withdrawn: 10,
        debited: 50,
        credited: 20,
        claimed: 5,
    };
    let accounts = [
        (AccountKey::available(ASSET, PAYER), cr(90, 60)),
        (AccountKey::reserved(ASSET, PAYER), cr(60, 50)),
        (AccountKey::unclaimed(ASSET, PAYEE), cr(20, 5)),
        (AccountKey::payee(ASSET, PAYEE), cr(30, 0)),
        (
            AccountKey::available(
                Asset {
                    token: Address::repeat_byte(1),
                    ..ASSET
                },
                PAYER,
            ),
            cr(9, 0),
        ),
    ];
    assert!(check_token(ASSET, totals, &accounts).iter().all(sweep::Check::agrees));
    let mut off = accounts;
    off[1].1 = cr(60, 51);
    assert!(!check_token(ASSET, totals, &off)[0].agrees());
    let mut short = accounts;
    short[1].1 = cr(50, 60);
    short[0].1 = cr(110, 60);
    let checks = check_token(ASSET, totals, &short);
    assert!(checks[0].agrees());
    assert!(checks[2].subject.contains("reserved") && !checks[2].agrees());
    let _ = TOKEN;
}

#[test]
fn the_bridge_fee_is_what_is_missing_and_never_more_than_was_sent() {
    let fee = |before: u64, after: u64, gas: u64, value: u64| -> u64 {
        let u = U256::from::<u64>;
        costs::spent(u(before), u(after), u(gas), u(value)).to()
    };
    assert_eq!(fee(1_000, 900, 40, 80), 60);
    assert_eq!(fee(1_000, 1_500, 40, 80), 80, "money came in");
    assert_eq!(fee(1_000, 100, 40, 80), 80, "money went elsewhere");
    assert_eq!(fee(1_000, 960, 40, 80), 0);
}

#[tokio::test]
async fn no_jump_of_our_clock_ends_a_settlement() {
    let world = World::new(1_000).await;
    let new = new_settlement(PAYER, 1, 100, 0, 1);
    world.accept(&new).await;
    let deadline_ms = i64::try_from(DEADLINE).unwrap() * 1_000;
    for now_ms in [deadline_ms + 1, deadline_ms * 1_000, 0, deadline_ms + 1] {
        world.model.finalize().await;
        world.reconciler.step(now_ms, 1_000).await.unwrap();
        assert_eq!(world.state(new.id).await, SettlementState::Accepted, "at {now_ms}");
    }
    assert_eq!(reserved(&world.store, PAYER).await, 100);
}
