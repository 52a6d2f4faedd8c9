//! The comparison against a chain that works, and against endpoints and databases that do not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::model::{Emitted, Model, VAULT};
use super::tests::{STRANGE, World, item, stranger};
use super::*;
use crate::chain::Contracts;
use crate::ledger::{AccountKey, Cause, Posting, Reason};
use crate::settlement::states::SettlementState;
use crate::settlement::{MessageId, SettlementId};
use crate::stage::Stage;
use crate::store::testing::{
    ASSET, DEADLINE, INBOX, OUTBOX, PAYEE, PAYER, TARGET, new_settlement, paid, reserved, seal,
};
use crate::store::{DriftClass, DriftFilter, DriftRow, NewChainLog, NewSettlement, Standing, Store};
use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::sol_types::SolCall;
use relayer_adapter_api::abi::ISettlementOutbox::dispatchCall;
use serde_json::json;
use std::sync::Arc;

const PATIENCE: u64 = 600;
pub(super) const PORT: Address = Address::repeat_byte(0x70);

pub(super) fn auditor(store: &Store, model: &Model) -> Auditor {
    let params = AuditorParams {
        contracts: Contracts {
            outbox: Some(OUTBOX),
            inbox: Some(INBOX),
            vault: Some(VAULT),
            registry: None,
        },
        start_block: 0,
        range_max: 4,
        every_ms: 0,
        patience: PATIENCE,
    };
    Auditor::new(store.clone(), Arc::new(model.clone()), Arc::new(model.clone()), params)
}

pub(super) struct Audited {
    pub world: World,
    auditor: Auditor,
}

impl std::ops::Deref for Audited {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl Audited {
    /// Stores a log of the payer at the vault, in the newest block, that no chain has.
    pub async fn make_up(&self, kind: &str, amount: u64) {
        let head = self.model.head();
        let made_up = NewChainLog {
            chain: TARGET,
            block_number: head.number,
            block_hash: head.hash,
            block_timestamp: head.timestamp,
            log_index: 77,
            tx_hash: B256::repeat_byte(0x66),
            address: VAULT,
            kind: kind.into(),
            key: PAYER.into_word(),
            key2: ASSET.token.into_word(),
            amount: U256::from(amount),
            detail: json!({}),
        };
        let mut txn = self.store.begin(5).await.unwrap();
        txn.put_back_logs(&[made_up]).await.unwrap();
        txn.commit().await.unwrap();
    }

    pub async fn new() -> Self {
        let world = World::new(1_000).await;
        let auditor = auditor(&world.store, &world.model);
        Self { world, auditor }
    }

    /// Looks until there is nothing more to look at.
    pub async fn audit(&self, now_ms: i64) {
        for _ in 0..50 {
            if !self.auditor.step(now_ms, 100).await.unwrap().more {
                return;
            }
        }
        panic!("the auditor does not come to an end");
    }

    async fn open(&self) -> Vec<DriftRow> {
        self.store.list_open_drifts().await.unwrap()
    }

    async fn classes(&self) -> Vec<(DriftClass, String)> {
        let open = self.open().await;
        open.into_iter()
            .map(|row| (row.drift.class, row.drift.subject))
            .collect()
    }

    pub fn faults(&self, change: impl FnOnce(&mut super::model::Faults)) {
        change(&mut self.model.faults.lock().unwrap());
    }

    pub async fn reconcile(&self, action: Action) -> Report {
        self.reconcile_since(Since::Block(0), action).await
    }

    async fn reconcile_since(&self, since: Since, action: Action) -> Report {
        let books = [ChainBooks {
            auditor: auditor(&self.store, &self.model),
            reconciler: super::tests::reconciler(&self.store, &self.model),
            own_endpoints: true,
        }];
        reconcile(&self.store, &books, (since, &action), 90, &mut |_, _| {})
            .await
            .unwrap()
    }

    /// As an operator would who was told of a difference: without saying where to look.
    pub async fn repair(&self) -> Report {
        let repair = Action::Repair {
            by: "operator alice".into(),
        };
        self.reconcile_since(Since::Unread, repair).await
    }

    /// Accepted, sealed, sent, and paid in a block that is final.
    pub async fn paid(&self, nonce: u64) -> NewSettlement {
        let new = new_settlement(PAYER, nonce, 100, 5, nonce);
        self.accept(&new).await;
        let sealed = seal(&self.store, &[new.id]).await;
        self.send(sealed.id()).await;
        self.model.execute(sealed.id(), &[item(&new)], false, false).await;
        self.model.finalize().await;
        new
    }

    pub async fn send(&self, message: MessageId) {
        let mut state = self.model.state();
        state.dispatched.insert((message.0, PORT));
        let log = Emitted {
            address: OUTBOX,
            kind: "message_dispatched",
            key: message.0,
            key2: PORT.into_word(),
            amount: U256::ZERO,
            detail: json!({}),
        };
        self.model.mine(0, state, vec![log]).await;
    }

    async fn audit_rows(&self) -> usize {
        let events = self.store.list_events_after(0, 1_000).await.unwrap();
        let of_alice = |event: &&crate::store::Event| event.event == "repaired" && event.cause == "operator alice";
        events.iter().filter(of_alice).count()
    }
}

#[tokio::test]
async fn a_life_without_trouble_is_compared_once_and_leaves_no_difference() {
    let world = Audited::new().await;
    world.paid(1).await;
    let (id, terms) = stranger(9, 50, 1);
    world.model.execute(STRANGE, &[(id, terms)], false, false).await;
    world.model.withdraw(PAYER, 10).await;
    world.settle().await;
    world.audit(50).await;
    assert_eq!(world.classes().await, vec![]);
    let known = world.store.list_intervals(TARGET).await.unwrap();
    assert_eq!(known.len(), 1);
    assert_eq!((known[0].first, known[0].last), (0, world.model.head().number));
    let Standing::Checked { counters, last_hash } = &known[0].standing else {
        panic!("{known:?}")
    };
    assert_eq!(counters.as_ref().unwrap().paid, Some(2));
    assert_eq!(*last_hash, Some(world.model.head().hash));
    let report = world.reconcile(Action::Report).await;
    assert!(report.agrees() && report.is_complete(), "{report:?}");
    assert_eq!((report.chains[0].settlements, report.chains[0].payments), (1, 2));
    assert!(report.chains[0].proven);
}

#[tokio::test]
async fn a_payment_the_observers_endpoint_left_out_is_found_put_back_and_booked_once() {
    let world = Audited::new().await;
    let new = new_settlement(PAYER, 1, 100, 5, 1);
    world.accept(&new).await;
    let sealed = seal(&world.store, &[new.id]).await;
    world.send(sealed.id()).await;
    world.faults(|faults| faults.observer_blind = true);
    world.model.execute(sealed.id(), &[item(&new)], false, false).await;
    world.faults(|faults| faults.observer_blind = false);
    world.settle().await;
    assert_eq!(world.state(new.id).await, SettlementState::Batched);
    world.audit(50).await;
    let found = world.classes().await;
    let logs = found
        .iter()
        .filter(|(class, subject)| *class == DriftClass::Missing && subject.starts_with("log "));
    assert_eq!(logs.count(), 2, "{found:?}");

    let would = world.reconcile(Action::Rehearse).await;
    assert!(!would.agrees());
    assert_eq!(world.state(new.id).await, SettlementState::Batched);
    assert_eq!(world.audit_rows().await, 0);

    let report = world.repair().await;
    assert!(report.agrees(), "{report:?}");
    assert_eq!(world.state(new.id).await, SettlementState::Settled);
    assert_eq!(paid(&world.store, PAYEE).await, 100);
    world.settle().await;
    world.audit(60).await;
    assert_eq!(world.classes().await, vec![]);
    assert_eq!(world.audit_rows().await, 2);
    assert!(world.repair().await.differences.is_empty());
    assert_eq!(paid(&world.store, PAYEE).await, 100);
    world.assert_agreed().await;
}

#[tokio::test]
async fn an_endpoint_of_the_comparison_that_answers_nothing_makes_a_gap_and_no_difference() {
    let world = Audited::new().await;
    world.paid(1).await;
    world.settle().await;
    world.faults(|faults| faults.auditor_blind = true);
    for round in 0..4 {
        world.audit(1_000_000 * (round + 1)).await;
    }
    let known = world.store.list_intervals(TARGET).await.unwrap();
    assert!(known.iter().any(crate::store::Interval::is_gap), "{known:?}");
    let found = world.classes().await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, DriftClass::Stale);
    assert!(!world.reconcile(Action::Report).await.is_complete());

    world.faults(|faults| faults.auditor_blind = false);
    world.audit(100_000_000).await;
    let known = world.store.list_intervals(TARGET).await.unwrap();
    assert!(!known.iter().any(crate::store::Interval::is_gap), "{known:?}");
    assert_eq!(world.classes().await, vec![]);
}

#[tokio::test]
async fn an_endpoint_without_old_state_is_believed_only_where_it_knows_as_much_as_we_do() {
    let world = Audited::new().await;
    world.paid(1).await;
    world.settle().await;
    world.faults(|faults| faults.no_state = true);
    world.audit(50).await;
    assert_eq!(world.classes().await, vec![]);
    let report = world.reconcile(Action::Report).await;
    assert!(
        report.agrees() && report.is_complete() && !report.chains[0].proven,
        "{report:?}"
    );
    world.faults(|faults| faults.auditor_blind = true);
    let report = world.reconcile(Action::Report).await;
    assert!(!report.is_complete());
    assert!(report.differences.is_empty(), "{report:?}");
}

#[tokio::test]
async fn dark_endpoints_hold_up_only_their_own_blocks() {
    let world = Audited::new().await;
    world.audit(50).await;
    world.paid(1).await;
    world.settle().await;
    world.faults(|faults| faults.dark = true);
    assert!(world.auditor.step(60, 100).await.is_err());
    world.faults(|faults| faults.dark = false);
    world.audit(70).await;
    assert_eq!(world.classes().await, vec![]);
    let known = world.store.list_intervals(TARGET).await.unwrap();
    assert_eq!(known.last().unwrap().last, world.model.head().number);
}

#[tokio::test]
async fn a_payment_that_was_marked_booked_and_is_not_is_found_and_booked() {
    let world = Audited::new().await;
    let new = world.paid(1).await;
    let open = world.store.list_unapplied_final(TARGET, 100).await.unwrap();
    let ids: Vec<i64> = open.iter().map(|log| log.id).collect();
    let mut txn = world.store.begin(5).await.unwrap();
    txn.mark_applied_final(&ids).await.unwrap();
    txn.commit().await.unwrap();
    world.audit(50).await;
    let found = world.open().await;
    assert!(
        found
            .iter()
            .any(|row| row.drift.class == DriftClass::Missing && row.about.settlement == Some(new.id))
    );
    assert_eq!(found[0].about.token, Some(ASSET.token));
    let report = world.repair().await;
    assert!(report.agrees(), "{report:?}");
    assert_eq!(world.state(new.id).await, SettlementState::Settled);
    assert_eq!(paid(&world.store, PAYEE).await, 100);
    assert_eq!(reserved(&world.store, PAYER).await, 0);
    world.settle().await;
    world.assert_agreed().await;
}

#[tokio::test]
async fn a_deposit_that_was_marked_booked_and_is_not_is_booked() {
    let world = Audited::new().await;
    world.model.deposit(PAYER, 70).await;
    world.model.finalize().await;
    let open = world.store.list_unapplied_final(TARGET, 100).await.unwrap();
    let mut txn = world.store.begin(5).await.unwrap();
    txn.mark_applied_final(&[open[0].id]).await.unwrap();
    txn.commit().await.unwrap();
    world.audit(50).await;
    let subject = format!("log {}", open[0].reference());
    assert_eq!(world.classes().await, vec![(DriftClass::Missing, subject)]);
    world.audit(60).await;
    assert_eq!(world.classes().await.len(), 1);
    assert!(world.repair().await.agrees());
    let available = AccountKey::available(ASSET, PAYER);
    assert_eq!(
        world.store.get_balance(available).await.unwrap().amount(),
        U256::from(1_070)
    );
    world.settle().await;
    world.assert_agreed().await;
}

#[tokio::test]
async fn a_second_booking_is_reversed_by_a_new_posting_and_the_first_stays() {
    let world = Audited::new().await;
    let new = world.paid(1).await;
    world.settle().await;
    let again = Posting {
        debit: AccountKey::available(ASSET, PAYER),
        credit: AccountKey::payee(ASSET, PAYEE),
        amount: U256::from(100),
        reason: Reason::Payment,
        settlement: Some(new.id),
        cause: Cause::Operator("a mistake".into()),
    };
    let mut txn = world.store.begin(5).await.unwrap();
    txn.post(&[again]).await.unwrap();
    txn.commit().await.unwrap();
    let before = world.store.list_postings(new.id).await.unwrap();
    world.audit(50).await;
    let subject = format!("settlement {}", new.id);
    assert_eq!(world.classes().await, vec![(DriftClass::Duplicate, subject)]);
    assert!(world.repair().await.agrees());
    let after = world.store.list_postings(new.id).await.unwrap();
    assert_eq!(after[..before.len()], before[..]);
    assert_eq!(after.len(), before.len() + 1);
    assert_eq!(paid(&world.store, PAYEE).await, 100);
    world.settle().await;
    world.assert_agreed().await;
}

#[tokio::test]
async fn a_log_that_is_on_no_chain_is_taken_back() {
    let world = Audited::new().await;
    world.make_up("deposited", 5_000).await;
    world.reconciler.step(50, 100).await.unwrap();
    let available = AccountKey::available(ASSET, PAYER);
    assert_eq!(
        world.store.get_balance(available).await.unwrap().amount(),
        U256::from(6_000)
    );
    world.audit(50).await;
    let found = world.classes().await;
    assert!(
        found
            .iter()
            .any(|(class, subject)| *class == DriftClass::Unknown && subject.starts_with("log ")),
        "{found:?}"
    );
    assert!(world.repair().await.agrees());
    assert_eq!(
        world.store.get_balance(available).await.unwrap().amount(),
        U256::from(1_000)
    );
    world.settle().await;
    world.audit(60).await;
    assert_eq!(world.classes().await, vec![]);
}

#[tokio::test]
async fn a_message_nobody_here_sealed_is_unknown_until_it_is_recovered() {
    let world = Audited::new().await;
    world.send(STRANGE).await;
    world.settle().await;
    world.audit(50).await;
    assert_eq!(
        world.classes().await,
        vec![(DriftClass::Unknown, format!("message {STRANGE}"))]
    );
    let report = world.repair().await;
    assert!(!report.agrees());
    assert!(report.repairs[0].what.contains("relayer recover"), "{report:?}");
}

#[tokio::test]
async fn leaves_that_were_lost_come_back_from_the_outboxs_calldata() {
    let world = Audited::new().await;
    let news: Vec<NewSettlement> = (1..4).map(|nonce| new_settlement(PAYER, nonce, 10, 0, nonce)).collect();
    for new in &news {
        world.accept(new).await;
    }
    let ids: Vec<SettlementId> = news.iter().map(|new| new.id).collect();
    let sealed = seal(&world.store, &ids).await;
    world.send(sealed.id()).await;
    let call = dispatchCall {
        header: sealed.header.encode().to_vec().into(),
        settlementIds: sealed.ids().iter().map(|id| id.0).collect(),
        port: PORT,
        gasLimit: 200_000,
    };
    let tx = keccak256(world.model.head().hash);
    world.model.inputs.lock().unwrap().insert(tx, call.abi_encode().into());
    world.settle().await;
    let mut wrong = sealed.ids().to_vec();
    wrong.swap(0, 2);
    let mut txn = world.store.begin(5).await.unwrap();
    assert_eq!(txn.put_back_leaves(sealed.id(), &wrong).await.unwrap(), 2);
    txn.commit().await.unwrap();
    // The seal of the tests is made from the source chain, which the model is not: the messages are looked at by their source.
    let mut found = Vec::new();
    super::examine::check_messages(&world.store, crate::store::testing::SOURCE, 0, &mut found)
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].drift.class, DriftClass::Root);
    found[0].remedy = super::compare::Remedy::PutLeavesBack {
        chain: TARGET,
        message: sealed.id(),
    };
    let books = ChainBooks {
        auditor: auditor(&world.store, &world.model),
        reconciler: super::tests::reconciler(&world.store, &world.model),
        own_endpoints: false,
    };
    let lines = books.repair(&found, "operator alice", 60).await.unwrap();
    assert_eq!(lines[0].result, Repaired::Done, "{lines:?}");
    let leaves = world.store.list_message_leaves(sealed.id()).await.unwrap();
    let back: Vec<SettlementId> = leaves.iter().map(|leaf| leaf.settlement).collect();
    assert_eq!(back, sealed.ids());
    assert!(leaves.iter().all(|leaf| !leaf.resolved));
}

#[tokio::test]
async fn a_settlement_nobody_ended_is_stale_and_its_reservation_is_released() {
    let world = Audited::new().await;
    let new = new_settlement(PAYER, 1, 100, 5, 1);
    world.accept(&new).await;
    world.model.wait_until(DEADLINE + PATIENCE + 1).await;
    world.model.finalize().await;
    world.audit(50).await;
    assert_eq!(
        world.classes().await,
        vec![(DriftClass::Stale, format!("settlement {}", new.id))]
    );
    assert!(world.repair().await.agrees());
    assert_eq!(world.state(new.id).await, SettlementState::Expired);
    assert_eq!(reserved(&world.store, PAYER).await, 0);
    world.assert_agreed().await;
}

#[tokio::test]
async fn compared_blocks_that_left_the_chain_are_compared_again() {
    let world = Audited::new().await;
    let new = world.paid(1).await;
    world.settle().await;
    world.audit(50).await;
    world.model.drop_head().await;
    world.model.wait_until(0).await;
    world.model.finalize().await;
    world.reconciler.step(60, 1_000).await.unwrap();
    assert_eq!(world.state(new.id).await, SettlementState::Delivered);
    world.audit(60).await;
    let known = world.store.list_intervals(TARGET).await.unwrap();
    let Standing::Checked { last_hash, .. } = &known.last().unwrap().standing else {
        panic!("{known:?}")
    };
    assert_eq!(*last_hash, Some(world.model.head().hash));
}

#[tokio::test]
async fn drifts_are_listed_and_followed_in_the_order_of_their_changes() {
    let world = Audited::new().await;
    world.send(STRANGE).await;
    world.settle().await;
    world.audit(50).await;
    let first = world.store.list_drift_changes(0, 10).await.unwrap();
    assert_eq!(first.len(), 1);
    let mut txn = world.store.begin(70).await.unwrap();
    let drift = &first[0].drift;
    assert!(
        txn.resolve_drift(drift.class, drift.chain, &drift.subject, "known now")
            .await
            .unwrap()
    );
    txn.commit().await.unwrap();
    let second = world.store.list_drift_changes(first[0].seq, 10).await.unwrap();
    assert_eq!(second.len(), 1);
    assert_eq!(second[0].resolution.as_deref(), Some("known now"));
    let filter = DriftFilter::default();
    assert_eq!(world.store.list_drifts(&filter, None, 10).await.unwrap(), vec![]);
    let all = DriftFilter {
        resolved: true,
        class: Some(DriftClass::Unknown),
        ..filter
    };
    assert_eq!(world.store.list_drifts(&all, None, 10).await.unwrap().len(), 1);
}

/// The million of the benchmark, small: seeded books agree with themselves, and one payment too many in them is found.
#[tokio::test]
async fn a_whole_database_is_gone_through_in_one_pass() {
    use crate::store::seed::Seed;
    let store = crate::store::testing::open().await;
    let seed = Seed {
        per_message: 16,
        events: false,
        ..Seed::new(1_000, 40)
    };
    store.fill(&seed, |_| {}).await.unwrap();
    let patience = super::compare::Patience {
        now: 0,
        seconds: PATIENCE,
    };
    let all = |store: Store| async move {
        let target = pass(&store, seed_chain(true), u64::MAX >> 1, patience, &mut |_, _| {})
            .await
            .unwrap();
        let source = pass(&store, seed_chain(false), u64::MAX >> 1, patience, &mut |_, _| {})
            .await
            .unwrap();
        (target, source)
    };
    let (target, source) = all(store.store.clone()).await;
    assert_eq!((target.settlements, target.payments), (1_040, 1_000));
    assert_eq!(source.messages, 63);
    assert_eq!((target.findings, source.findings), (vec![], vec![]));
    let victim = crate::store::seed::settlement_id(700).unwrap();
    let again = Posting {
        debit: AccountKey::available(ASSET, seed.payer),
        credit: AccountKey::payee(ASSET, seed.payee),
        amount: U256::from(100),
        reason: Reason::Payment,
        settlement: Some(victim),
        cause: Cause::Operator("a mistake".into()),
    };
    let mut txn = store.begin(5).await.unwrap();
    txn.post(&[again]).await.unwrap();
    txn.commit().await.unwrap();
    let (target, _) = all(store.store.clone()).await;
    assert_eq!(target.findings.len(), 1);
    assert_eq!(target.findings[0].drift.class, DriftClass::Duplicate);
    assert_eq!(target.findings[0].about.settlement, Some(victim));
}

fn seed_chain(target: bool) -> crate::settlement::ChainId {
    if target { TARGET } else { crate::store::testing::SOURCE }
}
