#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use crate::settlement::states::{DispatchTarget, MessageState, SettlementState};
use crate::store::testing::{SOURCE, TARGET};
use crate::store::{LaneKey, TxChange};
use crate::testing::{Flow, TIMEOUT_MS, bridge_ref};
use alloy::primitives::keccak256;
use relayer_adapter_api::{BridgeId, Delivery};

#[tokio::test]
async fn a_message_is_received_when_its_vote_is_seen() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(2).await;
    flow.dispatch(message, "a", 11).await;
    flow.log_received(message, "a", 12).await;
    flow.step(&flow.tracker).await;
    assert_eq!(flow.message_state(message).await, MessageState::Received);
    assert_eq!(flow.states(message).await, [SettlementState::Delivered; 2]);
    let dispatch = flow.dispatch_over(message, "a").await;
    assert_eq!(dispatch.target_state, DispatchTarget::Received);
    assert!(flow.unapplied(TARGET).await.is_empty());
}

#[tokio::test]
async fn a_message_that_arrives_before_its_dispatch_is_seen_in_a_block_is_delivered_all_the_same() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(1).await;
    flow.step(&flow.router).await;
    flow.step(&flow.dispatcher).await;
    flow.log_received(message, "a", 12).await;
    flow.step(&flow.tracker).await;
    assert_eq!(flow.states(message).await, [SettlementState::Delivered]);
    let tx = flow.dispatch_over(message, "a").await.tx.unwrap();
    flow.include(tx, 11, true).await;
    flow.step(&flow.dispatcher).await;
    assert_eq!(flow.states(message).await, [SettlementState::Delivered]);
}

#[tokio::test]
async fn a_reorg_of_the_target_takes_the_arrival_back_and_it_can_come_again() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(2).await;
    flow.dispatch(message, "a", 11).await;
    flow.log_received(message, "a", 12).await;
    flow.step(&flow.tracker).await;
    flow.orphan_above(TARGET, 11).await;
    flow.step(&flow.tracker).await;
    assert_eq!(flow.message_state(message).await, MessageState::Sealed);
    assert_eq!(flow.states(message).await, [SettlementState::Dispatched; 2]);
    assert_eq!(
        flow.dispatch_over(message, "a").await.target_state,
        DispatchTarget::Pending
    );
    flow.log_received(message, "a", 12).await;
    flow.step(&flow.tracker).await;
    assert_eq!(flow.message_state(message).await, MessageState::Received);
    assert_eq!(flow.states(message).await, [SettlementState::Delivered; 2]);
}

#[tokio::test]
async fn the_vote_of_an_unknown_port_delivers_nothing() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(1).await;
    flow.log_received(message, "stranger", 12).await;
    flow.step(&flow.tracker).await;
    assert_eq!(flow.message_state(message).await, MessageState::Sealed);
    assert!(flow.unapplied(TARGET).await.is_empty());
}

#[tokio::test]
async fn logs_of_unknown_messages_and_other_kinds_are_taken_note_of() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(1).await;
    flow.log_received(crate::settlement::MessageId(keccak256("stranger")), "a", 12)
        .await;
    flow.log_skipped(flow.ids(message).await[0], 7, 12).await;
    flow.step(&flow.tracker).await;
    assert!(flow.unapplied(TARGET).await.is_empty());
    assert_eq!(flow.message_state(message).await, MessageState::Sealed);
}

#[tokio::test]
async fn the_bridges_word_attests_but_only_the_inbox_receives() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(1).await;
    flow.dispatch(message, "a", 11).await;
    flow.step(&flow.tracker).await;
    let dispatch = flow.dispatch_over(message, "a").await;
    assert_eq!(dispatch.target_state, DispatchTarget::Pending);
    assert_eq!(dispatch.note.as_deref(), Some("waits for the verifiers"));
    let say = |delivery: Delivery| flow.world().delivery.insert("a".into(), delivery);
    say(Delivery::Attested {
        note: "verified".into(),
    });
    flow.wait(2_000);
    flow.step(&flow.tracker).await;
    assert_eq!(
        flow.dispatch_over(message, "a").await.target_state,
        DispatchTarget::Attested
    );
    say(Delivery::Received);
    flow.wait(2_000);
    flow.step(&flow.tracker).await;
    assert_eq!(
        flow.dispatch_over(message, "a").await.target_state,
        DispatchTarget::Attested
    );
    assert_eq!(flow.message_state(message).await, MessageState::Sealed);
    say(Delivery::Pending { note: "a reorg".into() });
    flow.wait(2_000);
    flow.step(&flow.tracker).await;
    assert_eq!(
        flow.dispatch_over(message, "a").await.target_state,
        DispatchTarget::Pending
    );
}

#[tokio::test]
async fn a_send_that_moved_to_another_block_is_decoded_again() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(1).await;
    flow.dispatch(message, "a", 11).await;
    flow.step(&flow.tracker).await;
    let first = flow.dispatch_over(message, "a").await.bridge_ref.unwrap();
    // Out of one block and into another between two looks.
    flow.orphan_above(SOURCE, 10).await;
    flow.log_dispatched(message, "a", 12).await;
    flow.wait(2_000);
    flow.step(&flow.tracker).await;
    let second = flow.dispatch_over(message, "a").await.bridge_ref.unwrap();
    assert_ne!(first, second);
    let hash = flow
        .store()
        .find_logs(SOURCE, "message_dispatched", message.0, None, false)
        .await
        .unwrap()[0]
        .tx_hash;
    assert_eq!(second, bridge_ref(hash));
}

#[tokio::test]
async fn an_overdue_dispatch_stalls_once_and_its_lane_with_it_until_something_arrives() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(1).await;
    let tx = flow.dispatch(message, "a", 11).await.tx.unwrap();
    flow.change_tx(tx, TxChange::Finalize).await;
    flow.step(&flow.dispatcher).await;
    flow.step(&flow.tracker).await;
    flow.wait(TIMEOUT_MS - 1);
    flow.step(&flow.tracker).await;
    assert_eq!(flow.dispatch_over(message, "a").await.stalled_at, None);
    flow.wait(10_000);
    flow.step(&flow.tracker).await;
    let stalled_at = flow.dispatch_over(message, "a").await.stalled_at;
    assert_eq!(stalled_at, Some(flow.now_ms()));
    let lane = LaneKey {
        source: SOURCE,
        target: TARGET,
        bridge: BridgeId::new("a").unwrap(),
    };
    assert_eq!(flow.store().list_stalled_lanes().await.unwrap(), [lane]);
    flow.wait(20_000);
    flow.step(&flow.tracker).await;
    assert_eq!(flow.dispatch_over(message, "a").await.stalled_at, stalled_at);
    flow.log_received(message, "a", 12).await;
    flow.step(&flow.tracker).await;
    assert!(flow.store().list_stalled_lanes().await.unwrap().is_empty());
    assert_eq!(flow.states(message).await, [SettlementState::Delivered]);
}

#[tokio::test]
async fn a_message_the_bridge_gave_up_stalls_at_once() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(1).await;
    flow.dispatch(message, "a", 11).await;
    flow.world()
        .delivery
        .insert("a".into(), Delivery::Failed { why: "skipped".into() });
    flow.step(&flow.tracker).await;
    let dispatch = flow.dispatch_over(message, "a").await;
    assert!(dispatch.stalled_at.is_some());
    assert!(dispatch.note.unwrap().contains("skipped"));
    assert_eq!(flow.message_state(message).await, MessageState::Sealed);
}

#[tokio::test]
async fn nobody_asks_the_bridge_while_a_message_is_on_its_normal_way() {
    let mut flow = Flow::new(&["a"], 3).await;
    flow.tracker.params.ask_early = false;
    let message = flow.seal(1).await;
    let tx = flow.dispatch(message, "a", 11).await.tx.unwrap();
    let verified = Delivery::Attested {
        note: "verified".into(),
    };
    flow.world().delivery.insert("a".into(), verified);
    flow.step(&flow.tracker).await;
    let dispatch = flow.dispatch_over(message, "a").await;
    assert!(dispatch.bridge_ref.is_some(), "what was sent is decoded at once");
    assert_eq!(dispatch.target_state, DispatchTarget::Pending);
    flow.change_tx(tx, TxChange::Finalize).await;
    flow.step(&flow.dispatcher).await;
    flow.step(&flow.tracker).await;
    // The lane normally takes a minute from finality.
    flow.wait(59_999);
    flow.step(&flow.tracker).await;
    let dispatch = flow.dispatch_over(message, "a").await;
    assert_eq!(dispatch.target_state, DispatchTarget::Pending);
    flow.wait(1);
    flow.step(&flow.tracker).await;
    let dispatch = flow.dispatch_over(message, "a").await;
    assert_eq!(dispatch.target_state, DispatchTarget::Attested);
}

#[tokio::test]
async fn a_bridge_that_waits_for_us_is_asked_from_source_finality_on() {
    let mut flow = Flow::new(&["a"], 3).await;
    flow.tracker.params.ask_early = false;
    flow.world().self_delivered = true;
    let message = flow.seal(1).await;
    let tx = flow.dispatch(message, "a", 11).await.tx.unwrap();
    let signed = Delivery::Attested { note: "signed".into() };
    flow.world().delivery.insert("a".into(), signed);
    flow.step(&flow.tracker).await;
    let dispatch = flow.dispatch_over(message, "a").await;
    assert_eq!(dispatch.target_state, DispatchTarget::Pending, "not before finality");
    flow.change_tx(tx, TxChange::Finalize).await;
    flow.step(&flow.dispatcher).await;
    flow.step(&flow.tracker).await;
    let dispatch = flow.dispatch_over(message, "a").await;
    assert_eq!(dispatch.target_state, DispatchTarget::Attested);
}
