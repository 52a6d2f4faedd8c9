#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::single_range_in_vec_init
)]
use super::*;
use crate::settlement::MessageId;
use crate::settlement::states::{ExecutionState, MessageState, TxState};
use crate::store::testing::{SOURCE, TARGET, payment};
use crate::store::{Intent, IntentKind, TxChange, TxId};
use crate::testing::{Flow, TIMEOUT_MS};
use alloy::primitives::{Address, Bytes, U256};
use relayer_adapter_api::{Call, Delivery, GasRule};
use std::ops::Range;

/// A flow with one received message of `n` settlements.
async fn received(n: u64) -> (Flow, MessageId) {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(n).await;
    flow.dispatch(message, "a", 11).await;
    flow.log_received(message, "a", 9).await;
    flow.step(&flow.tracker).await;
    (flow, message)
}

async fn ranges(flow: &Flow, message: MessageId) -> Vec<Range<usize>> {
    flow.executions(message)
        .await
        .into_iter()
        .map(|execution| execution.leaves)
        .collect()
}

async fn only_tx(flow: &Flow, message: MessageId) -> TxId {
    let executions = flow.executions(message).await;
    assert_eq!(executions.len(), 1, "{executions:?}");
    executions[0].tx.unwrap()
}

async fn last_state(flow: &Flow, message: MessageId) -> ExecutionState {
    flow.executions(message).await.last().unwrap().state
}

#[tokio::test]
async fn a_received_message_is_executed_once_and_ends_when_its_leaves_are_resolved() {
    let (flow, message) = received(3).await;
    flow.step(&flow.payout).await;
    flow.wait(20_000);
    flow.step(&flow.payout).await;
    assert_eq!(ranges(&flow, message).await, [0..3], "in flight, so not planned again");
    let tx = only_tx(&flow, message).await;
    assert_eq!(flow.tx(tx).await.state, TxState::Prepared);
    flow.change_tx(tx, TxChange::Submit).await;
    flow.include(tx, 12, true).await;
    flow.wait(20_000);
    flow.step(&flow.payout).await;
    flow.wait(20_000);
    flow.step(&flow.payout).await;
    assert_eq!(ranges(&flow, message).await, [0..3], "its block has not been read");
    for id in flow.ids(message).await {
        flow.log_paid(id, 12).await;
    }
    flow.read_up_to(TARGET, 12).await;
    flow.wait(20_000);
    flow.step(&flow.payout).await;
    assert_eq!(ranges(&flow, message).await, [0..3]);
    flow.change_tx(tx, TxChange::Finalize).await;
    flow.step(&flow.payout).await;
    let execution = flow.executions(message).await.remove(0);
    assert_eq!((execution.state, execution.paid), (ExecutionState::Finalized, Some(3)));
    for (index, id) in flow.ids(message).await.into_iter().enumerate() {
        let mut txn = flow.store().begin(flow.now_ms()).await.unwrap();
        txn.settlement_pay(id, &payment(12, index as u64)).await.unwrap();
        txn.commit().await.unwrap();
    }
    assert_eq!(flow.message_state(message).await, MessageState::Executed);
}

#[tokio::test]
async fn a_revert_is_planned_anew() {
    let (flow, message) = received(2).await;
    flow.step(&flow.payout).await;
    let tx = only_tx(&flow, message).await;
    flow.change_tx(tx, TxChange::Submit).await;
    flow.include(tx, 12, false).await;
    flow.step(&flow.payout).await;
    let executions = flow.executions(message).await;
    assert_eq!(executions[0].state, ExecutionState::Reverted);
    assert_eq!(executions[1].leaves, 0..2);
    assert_ne!(executions[1].tx, Some(tx));
}

#[tokio::test]
async fn a_reorg_unwinds_an_execution_and_nothing_is_sent_twice_meanwhile() {
    let (flow, message) = received(2).await;
    flow.step(&flow.payout).await;
    let tx = only_tx(&flow, message).await;
    flow.change_tx(tx, TxChange::Submit).await;
    flow.include(tx, 12, true).await;
    for id in flow.ids(message).await {
        flow.log_paid(id, 12).await;
    }
    flow.read_up_to(TARGET, 12).await;
    flow.step(&flow.payout).await;
    assert_eq!(last_state(&flow, message).await, ExecutionState::Included);
    flow.change_tx(tx, TxChange::Unwind).await;
    flow.orphan_above(TARGET, 11).await;
    flow.wait(20_000);
    flow.step(&flow.payout).await;
    assert_eq!(last_state(&flow, message).await, ExecutionState::Submitted);
    assert_eq!(ranges(&flow, message).await, [0..2]);
}

#[tokio::test]
async fn an_unreceived_message_is_not_paid_out() {
    let (flow, message) = received(1).await;
    flow.orphan_above(TARGET, 8).await;
    flow.step(&flow.tracker).await;
    flow.step(&flow.payout).await;
    assert!(flow.executions(message).await.is_empty());
}

#[tokio::test]
async fn one_poisoned_leaf_is_found_by_halving_and_everyone_else_is_paid() {
    let (flow, message) = received(16).await;
    flow.world().poisoned.insert(5);
    flow.step(&flow.payout).await;
    let mut covered: Vec<usize> = ranges(&flow, message).await.into_iter().flatten().collect();
    covered.sort();
    let everyone_else: Vec<usize> = (0..16).filter(|leaf| *leaf != 5).collect();
    assert_eq!(covered, everyone_else);
    let reasons = flow.reasons(message).await;
    assert_eq!(reasons[5].as_deref(), Some("reverts: OutOfStipend"));
    assert_eq!(reasons.iter().flatten().count(), 1);
    assert!(
        flow.world().simulations <= 12,
        "{} simulations",
        flow.world().simulations
    );
}

#[tokio::test]
async fn what_cannot_be_paid_waits_with_its_reason_and_is_paid_when_it_can() {
    let (flow, message) = received(2).await;
    flow.world().skipped.extend([(0, 7), (1, 7)]);
    flow.step(&flow.payout).await;
    assert!(flow.executions(message).await.is_empty());
    assert_eq!(
        flow.reasons(message).await,
        [Some("payer_short".into()), Some("payer_short".into())]
    );
    let before = flow.world().simulations;
    flow.step(&flow.payout).await;
    assert_eq!(flow.world().simulations, before, "not before its time");
    flow.world().skipped.clear();
    flow.wait(60_000);
    flow.step(&flow.payout).await;
    assert_eq!(ranges(&flow, message).await, [0..2]);
}

#[tokio::test]
async fn a_leaf_skipped_on_chain_is_tried_again_alone() {
    let (flow, message) = received(3).await;
    flow.step(&flow.payout).await;
    let tx = only_tx(&flow, message).await;
    flow.change_tx(tx, TxChange::Submit).await;
    flow.include(tx, 12, true).await;
    let ids = flow.ids(message).await;
    flow.log_paid(ids[0], 12).await;
    flow.log_skipped(ids[1], 7, 12).await;
    flow.log_paid(ids[2], 12).await;
    flow.read_up_to(TARGET, 12).await;
    flow.world().skipped.insert(1, 7);
    flow.step(&flow.payout).await;
    assert_eq!(ranges(&flow, message).await, [0..3], "nothing to gain now");
    assert_eq!(flow.reasons(message).await[1].as_deref(), Some("payer_short"));
    flow.world().skipped.clear();
    flow.wait(60_000);
    flow.step(&flow.payout).await;
    assert_eq!(ranges(&flow, message).await, [0..3, 1..2]);
}

#[tokio::test]
async fn a_stubborn_leaf_costs_the_fresh_ones_nothing() {
    let (flow, message) = received(8).await;
    // One of eight cannot be paid: worth carrying along.
    flow.world().skipped.insert(7, 3);
    flow.step(&flow.payout).await;
    assert_eq!(ranges(&flow, message).await, [0..8]);
    // Seven of eight cannot be paid: only the half that pays is sent, without the rest of it where that is cheap to find.
    let (flow, message) = received(8).await;
    flow.world().skipped.extend((1..8).map(|nonce| (nonce, 3)));
    flow.step(&flow.payout).await;
    let found = ranges(&flow, message).await;
    assert_eq!(found.len(), 1);
    assert!(found[0].contains(&0) && found[0].len() <= 2, "{found:?}");
}

#[tokio::test]
async fn a_payment_by_a_stranger_is_not_paid_again() {
    let (flow, message) = received(3).await;
    let ids = flow.ids(message).await;
    flow.log_paid(ids[0], 9).await;
    flow.step(&flow.payout).await;
    assert_eq!(ranges(&flow, message).await, [1..3]);
}

#[tokio::test]
async fn a_signer_that_cannot_send_delays_and_loses_nothing() {
    let (flow, message) = received(1).await;
    flow.world().estimate_reverts.insert(TARGET, vec![1, 2, 3, 4]);
    flow.step(&flow.payout).await;
    assert!(flow.executions(message).await.is_empty());
    flow.world().estimate_reverts.clear();
    flow.wait(60_000);
    flow.step(&flow.payout).await;
    assert_eq!(ranges(&flow, message).await, [0..1]);
}

#[tokio::test]
async fn large_messages_go_in_chunks_that_fit_a_transaction() {
    let (flow, message) = received(700).await;
    flow.step(&flow.payout).await;
    let found = ranges(&flow, message).await;
    assert!(found.len() > 1, "{found:?}");
    let covered: Vec<usize> = found.into_iter().flatten().collect();
    assert_eq!(covered, (0..700).collect::<Vec<_>>());
    for execution in flow.executions(message).await {
        assert!(flow.tx(execution.tx.unwrap()).await.data.len() <= 120_100);
    }
}

fn nudge(value: u64) -> Call {
    Call {
        chain: TARGET,
        to: Address::repeat_byte(3),
        data: Bytes::from(vec![1]),
        value: U256::from(value),
        gas: GasRule::Fixed(100_000),
    }
}

#[tokio::test]
async fn an_attested_message_is_helped_in_within_its_caps() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(1).await;
    let dispatch = flow.dispatch(message, "a", 11).await;
    flow.change_tx(dispatch.tx.unwrap(), TxChange::Finalize).await;
    flow.step(&flow.dispatcher).await;
    flow.world().delivery.insert(
        "a".into(),
        Delivery::Attested {
            note: "verified".into(),
        },
    );
    flow.world().advance = vec![nudge(0), nudge(1_000)];
    flow.step(&flow.tracker).await;
    flow.step(&flow.payout).await;
    let rescue = |n: i64| Intent::new(IntentKind::Rescue, format!("dispatch:{}:{n}", dispatch.id));
    let sent = async |n: i64| flow.store().find_live_tx(&rescue(n)).await.unwrap().is_some();
    assert!(!sent(1).await, "patience first");
    flow.wait(30_000);
    flow.step(&flow.payout).await;
    assert!(sent(1).await);
    assert!(!sent(2).await, "the second call wants more than the cap");
    flow.step(&flow.payout).await;
    assert!(!sent(2).await, "not again before the interval");
    for n in [2, 3, 4] {
        flow.wait(20_000);
        flow.step(&flow.payout).await;
        assert_eq!(sent(n).await, n <= 3, "attempt {n}");
    }
}

#[tokio::test]
async fn what_nobody_else_delivers_is_brought_in_at_once_even_with_rescues_off() {
    let mut flow = Flow::new(&["a"], 3).await;
    flow.payout.params.rescue.enabled = false;
    flow.world().self_delivered = true;
    let message = flow.seal(1).await;
    let dispatch = flow.dispatch(message, "a", 11).await;
    flow.change_tx(dispatch.tx.unwrap(), TxChange::Finalize).await;
    flow.step(&flow.dispatcher).await;
    let note = "signed".to_owned();
    flow.world().delivery.insert("a".into(), Delivery::Attested { note });
    flow.world().advance = vec![nudge(0)];
    flow.step(&flow.tracker).await;
    flow.step(&flow.payout).await;
    let delivery = Intent::new(IntentKind::Rescue, format!("dispatch:{}:1", dispatch.id));
    assert!(flow.store().find_live_tx(&delivery).await.unwrap().is_some());
}

#[tokio::test]
async fn with_rescues_off_what_others_deliver_is_left_to_them() {
    let mut flow = Flow::new(&["a"], 3).await;
    flow.payout.params.rescue.enabled = false;
    let message = flow.seal(1).await;
    let dispatch = flow.dispatch(message, "a", 11).await;
    flow.change_tx(dispatch.tx.unwrap(), TxChange::Finalize).await;
    flow.step(&flow.dispatcher).await;
    let note = "verified".to_owned();
    flow.world().delivery.insert("a".into(), Delivery::Attested { note });
    flow.world().advance = vec![nudge(0)];
    flow.step(&flow.tracker).await;
    flow.wait(2 * TIMEOUT_MS);
    flow.step(&flow.payout).await;
    let rescue = Intent::new(IntentKind::Rescue, format!("dispatch:{}:1", dispatch.id));
    assert!(flow.store().find_live_tx(&rescue).await.unwrap().is_none());
}

#[tokio::test]
async fn a_stalled_message_nothing_helps_is_left_alone() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(1).await;
    flow.dispatch(message, "a", 11).await;
    flow.step(&flow.tracker).await;
    flow.wait(2 * TIMEOUT_MS);
    flow.step(&flow.tracker).await;
    flow.step(&flow.payout).await;
    let dispatch = flow.dispatch_over(message, "a").await;
    assert!(dispatch.stalled_at.is_some());
    assert_eq!(dispatch.rescued_at, Some(flow.now_ms()));
}

#[tokio::test]
async fn a_bundle_carries_all_a_payee_needs_once_dispatched() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(5).await;
    let id = flow.ids(message).await[3];
    assert!(matches!(
        bundle_for(flow.store(), id).await,
        Err(PayoutError::NotDispatched(_))
    ));
    flow.dispatch(message, "a", 11).await;
    let bundle = bundle_for(flow.store(), id).await.unwrap();
    assert_eq!((bundle.leaf, bundle.settlement_id, bundle.message_id), (3, id, message));
    bundle.verify().unwrap();
    let text = serde_json::to_string(&bundle).unwrap();
    let read: Bundle = serde_json::from_str(&text).unwrap();
    assert_eq!(read, bundle);
    assert_eq!(read.call().to, bundle.inbox);
    assert_ne!(SOURCE.0, bundle.chain_id);
}

#[tokio::test]
async fn a_bundle_that_was_tampered_with_does_not_verify() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(5).await;
    flow.dispatch(message, "a", 11).await;
    let good = bundle_for(flow.store(), flow.ids(message).await[2]).await.unwrap();
    let check = |change: fn(&mut Bundle)| {
        let mut bundle = good.clone();
        change(&mut bundle);
        assert!(bundle.verify().is_err(), "{bundle:?}");
    };
    check(|bundle| bundle.version = 2);
    check(|bundle| bundle.terms.amount += U256::from(1));
    check(|bundle| bundle.terms.payee = Address::repeat_byte(9));
    check(|bundle| bundle.leaf = 1);
    check(|bundle| bundle.proof.truncate(1));
    check(|bundle| bundle.chain_id += 1);
    check(|bundle| bundle.message = bundle.message.slice(1..));
    check(|bundle| bundle.packed = bundle.packed.slice(..bundle.packed.len() - 1));
}

#[tokio::test]
async fn a_disputed_settlement_is_an_operators_business() {
    let (flow, message) = received(2).await;
    let id = flow.ids(message).await[0];
    let mut txn = flow.store().begin(flow.now_ms()).await.unwrap();
    assert!(txn.settlement_dispute(id, "test").await.unwrap());
    txn.commit().await.unwrap();
    flow.step(&flow.payout).await;
    assert_eq!(ranges(&flow, message).await, [1..2]);
}

#[tokio::test]
async fn a_worker_whose_clock_jumps_takes_no_message_from_another() {
    const DAY_MS: i64 = 86_400_000;
    let (flow, message) = received(2).await;
    let states = [MessageState::Received];
    let held = flow
        .store()
        .claim_messages(&states, "another worker", flow.now_ms(), 10, 60_000);
    assert_eq!(held.await.unwrap().len(), 1);
    for jump in [DAY_MS, 365 * DAY_MS, -2 * 365 * DAY_MS, 3 * 365 * DAY_MS] {
        flow.wait(jump);
        flow.step(&flow.payout).await;
        assert!(
            ranges(&flow, message).await.is_empty(),
            "stolen after a jump of {jump} ms"
        );
    }
}
