#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use crate::settlement::states::{DispatchSource, DispatchTarget, MessageState, SettlementState, TxState};
use crate::store::TxChange;
use crate::store::testing::SOURCE;
use crate::testing::{FEE_CAP, Flow};
use alloy::primitives::{Address, B256};
use alloy::sol_types::SolError;
use relayer_adapter_api::abi::ISettlementOutbox::{AlreadyDispatched, NotDispatcher};

#[tokio::test]
async fn a_planned_dispatch_is_prepared_with_its_transaction_once() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(2).await;
    flow.step(&flow.router).await;
    flow.step(&flow.dispatcher).await;
    flow.step(&flow.dispatcher).await;
    let dispatch = flow.dispatch_over(message, "a").await;
    assert_eq!(dispatch.source_state, DispatchSource::Prepared);
    let tx = flow.tx(dispatch.tx.unwrap()).await;
    assert_eq!((tx.state, tx.nonce), (TxState::Prepared, Some(0)));
    assert_eq!(flow.store().find_last_nonce(SOURCE, tx.signer).await.unwrap(), Some(0));
    assert_eq!(flow.states(message).await, [SettlementState::Batched; 2]);
}

#[tokio::test]
async fn it_follows_its_transaction_to_finality() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(1).await;
    let dispatch = flow.dispatch(message, "a", 11).await;
    assert_eq!(dispatch.source_state, DispatchSource::Included);
    assert_eq!(flow.states(message).await, [SettlementState::Dispatched]);
    flow.change_tx(dispatch.tx.unwrap(), TxChange::Finalize).await;
    flow.step(&flow.dispatcher).await;
    let dispatch = flow.dispatch_over(message, "a").await;
    assert_eq!(dispatch.source_state, DispatchSource::Finalized);
    assert!(dispatch.finalized_at.is_some());
}

#[tokio::test]
async fn a_revert_is_planned_again_with_a_fresh_quote_after_a_wait() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(1).await;
    flow.step(&flow.router).await;
    flow.step(&flow.dispatcher).await;
    let first = flow.dispatch_over(message, "a").await.tx.unwrap();
    flow.change_tx(first, TxChange::Submit).await;
    flow.include(first, 11, false).await;
    flow.world().fees.insert("a".into(), 77);
    flow.step(&flow.dispatcher).await;
    let waiting = flow.dispatch_over(message, "a").await;
    assert_eq!(
        (waiting.source_state, waiting.tx, waiting.attempts),
        (DispatchSource::Planned, None, 1)
    );
    assert_eq!(flow.states(message).await, [SettlementState::Batched]);
    flow.wait(2_000);
    flow.step(&flow.dispatcher).await;
    let again = flow.dispatch_over(message, "a").await;
    assert_eq!(again.source_state, DispatchSource::Prepared);
    assert_ne!(again.tx, Some(first));
    assert_eq!(flow.tx(again.tx.unwrap()).await.value.to::<u64>(), 77);
}

#[tokio::test]
async fn a_reorg_takes_an_included_dispatch_back_and_forth() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(1).await;
    let dispatch = flow.dispatch(message, "a", 11).await;
    flow.step(&flow.tracker).await;
    assert!(flow.dispatch_over(message, "a").await.bridge_ref.is_some());
    let tx = dispatch.tx.unwrap();
    flow.change_tx(tx, TxChange::Unwind).await;
    flow.orphan_above(SOURCE, 10).await;
    flow.step(&flow.dispatcher).await;
    let unwound = flow.dispatch_over(message, "a").await;
    assert_eq!(
        (unwound.source_state, unwound.bridge_ref),
        (DispatchSource::Submitted, None)
    );
    assert_eq!(flow.states(message).await, [SettlementState::Batched]);
    flow.include(tx, 12, true).await;
    flow.step(&flow.dispatcher).await;
    assert_eq!(
        flow.dispatch_over(message, "a").await.source_state,
        DispatchSource::Included
    );
    assert_eq!(flow.states(message).await, [SettlementState::Dispatched]);
}

#[tokio::test]
async fn broken_finality_unwinds_a_finalized_dispatch() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(1).await;
    let tx = flow.dispatch(message, "a", 11).await.tx.unwrap();
    flow.change_tx(tx, TxChange::Finalize).await;
    flow.step(&flow.dispatcher).await;
    flow.change_tx(tx, TxChange::Unwind).await;
    flow.step(&flow.dispatcher).await;
    let dispatch = flow.dispatch_over(message, "a").await;
    assert_eq!(
        (dispatch.source_state, dispatch.finalized_at),
        (DispatchSource::Submitted, None)
    );
    assert_eq!(flow.states(message).await, [SettlementState::Batched]);
}

#[tokio::test]
async fn a_message_the_outbox_has_already_is_adopted_by_its_log() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(1).await;
    flow.step(&flow.router).await;
    let refused = AlreadyDispatched {
        messageId: message.0,
        port: Address::ZERO,
    };
    flow.world().estimate_reverts.insert(SOURCE, refused.abi_encode());
    for _ in 0..5 {
        flow.step(&flow.dispatcher).await;
        flow.wait(60_000);
    }
    let waiting = flow.dispatch_over(message, "a").await;
    assert_eq!(waiting.source_state, DispatchSource::Planned);
    assert_eq!(waiting.stalled_at, None, "no fault of the lane");
    flow.log_dispatched(message, "a", 9).await;
    flow.step(&flow.dispatcher).await;
    let adopted = flow.dispatch_over(message, "a").await;
    assert_eq!((adopted.source_state, adopted.tx), (DispatchSource::Included, None));
    assert_eq!(flow.states(message).await, [SettlementState::Dispatched]);
    flow.step(&flow.tracker).await;
    assert!(flow.dispatch_over(message, "a").await.bridge_ref.is_some());
    flow.finalize_logs(SOURCE, 9).await;
    flow.step(&flow.dispatcher).await;
    assert_eq!(
        flow.dispatch_over(message, "a").await.source_state,
        DispatchSource::Finalized
    );
}

#[tokio::test]
async fn an_adopted_dispatch_whose_log_is_orphaned_is_sent_after_all() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(1).await;
    flow.log_dispatched(message, "a", 9).await;
    flow.step(&flow.router).await;
    flow.step(&flow.dispatcher).await;
    assert_eq!(
        flow.dispatch_over(message, "a").await.source_state,
        DispatchSource::Included
    );
    flow.orphan_above(SOURCE, 8).await;
    flow.step(&flow.dispatcher).await;
    flow.wait(2_000);
    flow.step(&flow.dispatcher).await;
    let dispatch = flow.dispatch_over(message, "a").await;
    assert_eq!(dispatch.source_state, DispatchSource::Prepared);
    assert!(dispatch.tx.is_some());
}

#[tokio::test]
async fn a_lane_that_keeps_reverting_is_left_for_the_next_one() {
    let flow = Flow::new(&["a", "b"], 3).await;
    let message = flow.seal(1).await;
    flow.step(&flow.router).await;
    let refused = NotDispatcher { caller: Address::ZERO };
    flow.world().estimate_reverts.insert(SOURCE, refused.abi_encode());
    for _ in 0..3 {
        flow.step(&flow.dispatcher).await;
        flow.wait(60_000);
    }
    assert!(flow.dispatch_over(message, "a").await.stalled_at.is_some());
    flow.step(&flow.router).await;
    assert_eq!(
        flow.dispatch_over(message, "b").await.source_state,
        DispatchSource::Planned
    );
    assert_eq!(
        flow.dispatch_over(message, "a").await.source_state,
        DispatchSource::Dropped
    );
}

#[tokio::test]
async fn a_fee_that_rose_above_the_cap_waits() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(1).await;
    flow.step(&flow.router).await;
    flow.world().fees.insert("a".into(), FEE_CAP + 1);
    flow.wait(40_000);
    for _ in 0..4 {
        flow.step(&flow.dispatcher).await;
        flow.wait(60_000);
    }
    let dispatch = flow.dispatch_over(message, "a").await;
    assert_eq!(
        (dispatch.source_state, dispatch.stalled_at),
        (DispatchSource::Planned, None)
    );
    assert!(dispatch.note.unwrap().contains("above the cap"));
    flow.world().fees.insert("a".into(), 5);
    flow.step(&flow.dispatcher).await;
    assert_eq!(
        flow.dispatch_over(message, "a").await.source_state,
        DispatchSource::Prepared
    );
}

#[tokio::test]
async fn a_planned_dispatch_of_a_message_that_arrived_otherwise_is_dropped() {
    let flow = Flow::new(&["a"], 3).await;
    let message = flow.seal(1).await;
    flow.step(&flow.router).await;
    flow.log_received(message, "b", 9).await;
    let family = serde_json::json!({ "family": "1" });
    let port = crate::testing::target_port("b").into_word();
    flow.put_log(
        crate::store::testing::TARGET,
        2,
        ("port_activated", port, B256::ZERO),
        family,
    )
    .await;
    flow.step(&flow.tracker).await;
    assert_eq!(flow.message_state(message).await, MessageState::Received);
    flow.step(&flow.dispatcher).await;
    let dispatch = flow.dispatch_over(message, "a").await;
    assert_eq!(dispatch.source_state, DispatchSource::Dropped);
    assert_eq!(dispatch.target_state, DispatchTarget::Pending);
}
