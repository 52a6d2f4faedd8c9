#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod lanes;
mod members;

use super::*;
use crate::settlement::states::{DispatchSource, MessageState, SettlementState};
use crate::store::testing::{INBOX, OUTBOX, SOURCE, TARGET};
use crate::testing::{FEE_CAP, Flow, PATIENCE, QUOTE_MS, TIMEOUT_MS};
use alloy::primitives::U256;

fn decision(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn a_sealed_message_gets_one_dispatch_over_the_preferred_lane_with_its_reasons() {
    let flow = Flow::new(&["a", "b"], 3).await;
    let message = flow.seal(2).await;
    flow.step(&flow.router).await;
    flow.step(&flow.router).await;
    let dispatches = flow.store().list_dispatches(message).await.unwrap();
    assert_eq!(dispatches.len(), 1);
    let dispatch = &dispatches[0];
    assert_eq!(dispatch.bridge.as_str(), "a");
    assert_eq!(dispatch.source_state, DispatchSource::Planned);
    assert_eq!(dispatch.fee_quoted, U256::from(10));
    let decision = decision(&dispatch.decision);
    assert_eq!(decision["chosen"], "a");
    assert_eq!(decision["lanes"].as_array().unwrap().len(), 2);
    assert!(decision["why"].as_str().unwrap().contains("preferred order"));
}

#[tokio::test]
async fn a_lane_that_refuses_is_passed_over_and_named() {
    let flow = Flow::new(&["a", "b"], 3).await;
    flow.world().fees.remove("a");
    let message = flow.seal(1).await;
    flow.step(&flow.router).await;
    let dispatch = flow.dispatch_over(message, "b").await;
    let lanes = decision(&dispatch.decision)["lanes"].clone();
    assert!(
        lanes[0]["answer"]["refused"]["reason"]
            .as_str()
            .unwrap()
            .contains("closed")
    );
}

#[tokio::test]
async fn a_fee_above_the_cap_waits_and_is_taken_when_it_falls() {
    let flow = Flow::new(&["a"], 3).await;
    flow.world().fees.insert("a".into(), FEE_CAP + 1);
    let message = flow.seal(1).await;
    flow.step(&flow.router).await;
    assert!(flow.store().list_dispatches(message).await.unwrap().is_empty());
    assert_eq!(flow.message_state(message).await, MessageState::Sealed);
    flow.world().fees.insert("a".into(), FEE_CAP);
    flow.step(&flow.router).await;
    assert!(
        flow.store().list_dispatches(message).await.unwrap().is_empty(),
        "not before its time"
    );
    flow.wait(60_000);
    flow.step(&flow.router).await;
    assert_eq!(flow.dispatch_over(message, "a").await.fee_quoted, U256::from(FEE_CAP));
}

#[tokio::test]
async fn a_stalled_dispatch_sends_the_same_message_over_the_second_lane() {
    let flow = Flow::new(&["a", "b"], 3).await;
    let message = flow.seal(2).await;
    flow.dispatch(message, "a", 11).await;
    flow.step(&flow.tracker).await;
    flow.wait(2 * TIMEOUT_MS);
    flow.step(&flow.tracker).await;
    assert!(flow.dispatch_over(message, "a").await.stalled_at.is_some());
    flow.step(&flow.router).await;
    let second = flow.dispatch_over(message, "b").await;
    assert_eq!(decision(&second.decision)["lanes"][0]["answer"], "used");
    flow.step(&flow.dispatcher).await;
    let tx = flow.tx(flow.dispatch_over(message, "b").await.tx.unwrap()).await;
    // The outbox has committed to the message, so the second port needs only the header.
    assert!(tx.data.len() < 400, "{} bytes", tx.data.len());
    assert_eq!(flow.states(message).await, [SettlementState::Dispatched; 2]);
}

#[tokio::test]
async fn new_messages_avoid_a_lane_that_holds_something_up() {
    let flow = Flow::new(&["a", "b"], 1).await;
    let first = flow.seal(1).await;
    flow.dispatch(first, "a", 11).await;
    flow.wait(2 * TIMEOUT_MS);
    flow.step(&flow.tracker).await;
    let offers = flow
        .router
        .quote(
            &Hypothetical {
                source: SOURCE,
                target: TARGET,
                outbox: OUTBOX,
                inbox: INBOX,
                count: 5,
            },
            flow.now_ms(),
        )
        .await
        .unwrap();
    let order: Vec<_> = offers
        .iter()
        .map(|offer| (offer.bridge.as_str(), offer.lane_stalled))
        .collect();
    assert_eq!(order, [("b", false), ("a", true)]);
}

#[tokio::test]
async fn a_message_out_of_lanes_is_abandoned_and_its_settlements_are_batched_again() {
    // One dispatch per message: the second lane is for the next message only.
    let flow = Flow::new(&["a", "b"], 1).await;
    let message = flow.seal(2).await;
    flow.dispatch(message, "a", 11).await;
    flow.wait(2 * TIMEOUT_MS);
    flow.step(&flow.tracker).await;
    flow.step(&flow.router).await;
    assert_eq!(
        flow.message_state(message).await,
        MessageState::Sealed,
        "patience first"
    );
    flow.wait(PATIENCE.with_lane_ms);
    flow.step(&flow.router).await;
    assert_eq!(flow.message_state(message).await, MessageState::Abandoned);
    assert_eq!(flow.states(message).await, [SettlementState::Accepted; 2]);
    let due = flow.store().list_batchable(TARGET, flow.now_ms(), 0, 10).await.unwrap();
    assert_eq!(due.len(), 2);
    // The first one arrives after all: nothing moves back.
    flow.log_received(message, "a", 12).await;
    flow.step(&flow.tracker).await;
    assert_eq!(flow.message_state(message).await, MessageState::Abandoned);
    assert_eq!(flow.states(message).await, [SettlementState::Accepted; 2]);
}

#[tokio::test]
async fn with_every_lane_stalled_the_router_waits_longer_before_it_batches_again() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(1).await;
    flow.dispatch(message, "a", 11).await;
    flow.wait(2 * TIMEOUT_MS);
    flow.step(&flow.tracker).await;
    flow.wait(PATIENCE.with_lane_ms);
    flow.step(&flow.router).await;
    assert_eq!(flow.message_state(message).await, MessageState::Sealed);
    flow.wait(PATIENCE.without_lane_ms);
    flow.step(&flow.router).await;
    assert_eq!(flow.message_state(message).await, MessageState::Abandoned);
}

#[tokio::test]
async fn nothing_is_quoted_before_the_source_chain_was_read() {
    let flow = Flow::new(&["a"], 3).await;
    let unknown = Hypothetical {
        source: crate::settlement::ChainId(9),
        target: TARGET,
        outbox: OUTBOX,
        inbox: INBOX,
        count: 1,
    };
    assert!(matches!(
        flow.router.quote(&unknown, flow.now_ms()).await,
        Err(RouterError::UnknownChain(_))
    ));
}

#[tokio::test]
async fn a_wake_while_a_message_is_held_is_not_lost() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(1).await;
    let now = flow.now_ms();
    let claim = async || {
        flow.store()
            .claim_messages(&[MessageState::Sealed], "w", now, 1, 60_000)
            .await
            .unwrap()
    };
    for (woken, due) in [(true, true), (false, false)] {
        let held = claim().await.remove(0);
        let mut txn = flow.store().begin(now).await.unwrap();
        if woken {
            txn.wake_message(message).await.unwrap();
        }
        txn.release_claim(&held, now + 1_000).await.unwrap();
        txn.commit().await.unwrap();
        assert_eq!(flow.store().get_message(message).await.unwrap().next_at <= now, due);
    }
}

#[tokio::test]
async fn the_quote_of_a_lane_stands_for_the_next_messages_for_a_while() {
    let flow = Flow::new(&["a"], 3).await;
    let first = flow.seal(1).await;
    flow.step(&flow.router).await;
    flow.world().fees.insert("a".into(), 20);
    let second = flow.seal(1).await;
    flow.wait(QUOTE_MS - 1);
    flow.step(&flow.router).await;
    flow.wait(1);
    let third = flow.seal(1).await;
    flow.step(&flow.router).await;
    for (message, fee) in [(first, 10), (second, 10), (third, 20)] {
        assert_eq!(flow.dispatch_over(message, "a").await.fee_quoted, U256::from(fee));
    }
}
