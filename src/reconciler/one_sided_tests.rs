//! Logs that only one side has: lost, pruned, made up, or not told of; and what a report says of what it did not compare.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::auditor_tests::{Audited, PORT, auditor};
use super::model::Model;
use super::tests::{STRANGE, item};
use super::*;
use crate::settlement::states::SettlementState;
use crate::stage::Stage;
use crate::store::DriftClass;
use crate::store::testing::{DEADLINE, PAYEE, PAYER, TARGET, new_settlement, paid, seal};
use alloy::primitives::U256;

/// Retention, after the stages have taken note of every log.
async fn prune(world: &Audited) -> crate::store::Pruned {
    world.store.execute("UPDATE chain_log SET applied_seen = TRUE").await;
    let rule = crate::store::PruneRule {
        before_ms: 1_000_000,
        now_ms: 1_000_000,
    };
    world.store.prune(&rule, None, &mut |_| {}).await.unwrap()
}

/// Nothing counts burns, so a range without logs is as proven as one with them.
#[tokio::test]
async fn a_log_of_a_kind_nothing_counts_stays_when_only_a_range_did_not_tell_of_it() {
    let world = Audited::new().await;
    let new = new_settlement(PAYER, 1, 100, 5, 1);
    world.accept(&new).await;
    world.audit(40).await;
    assert!(world.model.burn(PAYER, U256::from(1)).await);
    world.settle().await;
    assert_eq!(world.state(new.id).await, SettlementState::Burned);
    world.faults(|faults| faults.auditor_blind = true);
    let report = world.repair().await;
    assert!(report.repairs.is_empty(), "{report:?}");
    assert!(!report.is_complete() && !report.chains[0].proven, "{report:?}");
    assert!(report.chains[0].gaps[0].reason.contains("nonce_burned"), "{report:?}");
    assert_eq!(world.state(new.id).await, SettlementState::Burned);

    world.faults(|faults| faults.auditor_blind = false);
    let report = world.repair().await;
    assert!(report.agrees() && report.is_complete(), "{report:?}");
    world.assert_agreed().await;
}

#[tokio::test]
async fn a_log_of_a_kind_nothing_counts_goes_when_the_chain_has_it_nowhere() {
    let world = Audited::new().await;
    world.make_up("withdrawal_announced", 1_000).await;
    world.reconciler.step(50, 100).await.unwrap();
    let report = world.repair().await;
    assert_eq!(report.repairs.len(), 1, "{report:?}");
    assert!(report.agrees() && report.is_complete(), "{report:?}");
    let left = world
        .store
        .find_logs(TARGET, "withdrawal_announced", PAYER.into_word(), None, false)
        .await
        .unwrap();
    assert_eq!(left, vec![]);
}

#[tokio::test]
async fn an_execution_that_was_lost_after_others_were_pruned_is_put_back_whole() {
    let world = Audited::new().await;
    let kept = world.paid(1).await;
    world.settle().await;
    let lost = new_settlement(PAYER, 2, 100, 5, 2);
    world.accept(&lost).await;
    let sealed = seal(&world.store, &[lost.id]).await;
    world.send(sealed.id()).await;
    world.model.finalize().await;
    world.faults(|faults| faults.observer_blind = true);
    world.model.execute(sealed.id(), &[item(&lost)], false, false).await;
    world.faults(|faults| faults.observer_blind = false);
    world.model.wait_until(DEADLINE + 1).await;
    world.settle().await;
    let pruned = prune(&world).await;
    assert_eq!((pruned.settlements, pruned.messages), (1, 1));
    assert!(world.store.list_books(&[kept.id]).await.unwrap()[0].archived);
    assert_eq!(world.state(lost.id).await, SettlementState::Batched);

    let report = world.reconcile(Action::Report).await;
    let logs = report.differences.iter().filter(|one| one.subject.starts_with("log "));
    assert_eq!(
        logs.count(),
        2,
        "the payment and its sums, nothing of what was pruned: {report:?}"
    );
    let report = world.repair().await;
    assert!(report.agrees(), "{report:?}");
    assert_eq!(world.state(lost.id).await, SettlementState::Settled);
    assert!(world.store.is_fully_applied(TARGET).await.unwrap());
    assert_eq!(paid(&world.store, PAYEE).await, 200);
    world.settle().await;
    let report = world.reconcile(Action::Report).await;
    assert!(
        report.agrees() && report.is_complete() && report.chains[0].totals,
        "{report:?}"
    );
    world.assert_agreed().await;
}

/// An execution pays two; what is left of it here after one was archived, and the other's payment lost, is one log.
#[tokio::test]
async fn what_was_pruned_of_a_lost_transaction_comes_back_with_it_and_counts_once() {
    let world = Audited::new().await;
    let news = [new_settlement(PAYER, 1, 100, 5, 1), new_settlement(PAYER, 2, 50, 5, 2)];
    for new in &news {
        world.accept(new).await;
    }
    let sealed = seal(&world.store, &[news[0].id, news[1].id]).await;
    world.send(sealed.id()).await;
    world
        .model
        .execute(sealed.id(), &news.each_ref().map(item), false, false)
        .await;
    world.model.wait_until(DEADLINE + 1).await;
    world.settle().await;
    world
        .store
        .execute("UPDATE settlement SET ended_at = 2000000 WHERE id = (SELECT MAX(id) FROM settlement)")
        .await;
    let pruned = prune(&world).await;
    assert_eq!((pruned.settlements, pruned.messages, pruned.logs), (1, 0, 1));
    let report = world.reconcile(Action::Report).await;
    assert!(report.agrees() && report.is_complete(), "{report:?}");
    world
        .store
        .execute("DELETE FROM chain_log WHERE kind = 'settlement_paid'")
        .await;
    let repair = Action::Repair {
        by: "operator alice".into(),
    };
    let report = world.reconcile(repair).await;
    let logs = report.differences.iter().filter(|one| one.subject.starts_with("log "));
    assert_eq!(logs.count(), 1, "{report:?}");
    assert!(
        report.repairs.iter().any(|line| line.result == Repaired::Done),
        "{report:?}"
    );
    world.settle().await;
    let report = world.reconcile(Action::Report).await;
    assert!(report.agrees() && report.chains[0].totals, "{report:?}");
    assert_eq!(paid(&world.store, PAYEE).await, 150);
    world.assert_agreed().await;
}

#[tokio::test]
async fn a_chain_that_was_never_read_does_not_agree() {
    let store = crate::store::testing::open().await;
    let model = Model::new(&store);
    let books = [ChainBooks {
        auditor: auditor(&store, &model),
        reconciler: super::tests::reconciler(&store, &model),
        own_endpoints: true,
    }];
    let report = reconcile(&store, &books, (Since::Unread, &Action::Report), 90, &mut |_, _| {})
        .await
        .unwrap();
    assert!(!report.is_complete(), "{report:?}");
    assert!(!report.chains[0].read && !report.chains[0].proven);
}

#[tokio::test]
async fn what_others_found_and_nobody_closed_is_part_of_the_verdict() {
    let world = Audited::new().await;
    world.settle().await;
    let vote = crate::store::Drift {
        class: DriftClass::Forged,
        chain: TARGET,
        subject: format!("vote {STRANGE} {PORT}"),
        expected: "sent by the outbox on chain 1".into(),
        actual: "only here".into(),
    };
    let mut txn = world.store.begin(5).await.unwrap();
    txn.report_drift(&vote).await.unwrap();
    txn.commit().await.unwrap();
    let report = world.reconcile(Action::Report).await;
    assert!(report.is_complete() && !report.agrees(), "{report:?}");
    assert!(report.differences.is_empty());
    assert_eq!(report.on_record.len(), 1);
    assert_eq!(report.on_record[0].class, "forged");
}
