//! What the members of a message say about carrying it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::hub::model::Eon;
use crate::settlement::{MessageId, SettlementId};
use crate::store::testing::{self as fixtures, PAYER};
use crate::store::{
    AdoptedMessage, Halt, HaltReason, HubBound, HubFact, HubId, NewHub, NewHubLog, NewSettlement, Reliance,
};
use alloy::primitives::{Address, B256};
use relayer_adapter_api::BlockRef;

/// A hub whose first checkpoint is final and found to be covered.
async fn covered_hub(flow: &Flow) -> Reliance {
    let new = NewHub {
        name: "exchange".into(),
        chain: SOURCE,
        contract: Address::repeat_byte(0x4b),
        genesis: 1,
        blocks_per_eon: 2,
        start_block: 0,
    };
    let mut txn = flow.store().begin(1).await.unwrap();
    let hub = txn.register_hub(&new).await.unwrap();
    let logs = [1, 2].map(|eon| NewHubLog {
        hub,
        eon: Eon(eon),
        block: BlockRef {
            number: eon,
            hash: B256::from(U256::from(eon)),
            timestamp: 1,
        },
        log_index: 0,
        tx_hash: B256::ZERO,
        fact: HubFact::Checkpoint {
            eon: Eon(eon),
            root: B256::repeat_byte(1),
        },
    });
    txn.put_hub_logs(&logs).await.unwrap();
    txn.finalize_hub_logs(SOURCE, 5).await.unwrap();
    txn.commit().await.unwrap();
    let checkpoint = flow.store().find_checkpoint(hub, Eon(1)).await.unwrap().unwrap().id;
    let bound = HubBound {
        checkpoint,
        token: fixtures::TOKEN,
        upper_bound: U256::from(5),
        solvent: None,
    };
    let mut txn = flow.store().begin(1).await.unwrap();
    txn.put_hub_bound(checkpoint, bound.token, bound.upper_bound)
        .await
        .unwrap();
    txn.judge_hub_bound(&bound, Some(U256::from(5)), true, 5).await.unwrap();
    txn.commit().await.unwrap();
    Reliance { hub, checkpoint }
}

async fn halt(flow: &Flow, hub: HubId) {
    let halt = Halt {
        reason: HaltReason::MissedCheckpoint,
        eon: Eon(3),
        since_ms: 1,
        is_final: true,
    };
    let mut txn = flow.store().begin(1).await.unwrap();
    txn.set_hub_halt(hub, Some(halt), "test").await.unwrap();
    txn.commit().await.unwrap();
}

/// One that relies on the hub and one that relies on nobody, in one message.
async fn sealed(flow: &Flow, relies_on: Reliance) -> (MessageId, SettlementId) {
    fixtures::deposit(flow.store(), PAYER, 1_000, 1).await;
    let plain = fixtures::new_settlement(PAYER, 1, 100, 0, 1);
    let relying = NewSettlement {
        relies_on: Some(relies_on),
        ..fixtures::new_settlement(PAYER, 2, 100, 0, 2)
    };
    fixtures::accept(flow.store(), &[plain.clone(), relying.clone()]).await;
    let message = fixtures::seal(flow.store(), &[plain.id, relying.id]).await;
    (message.id(), plain.id)
}

async fn assert_given_up(flow: &Flow, (message, plain): (MessageId, SettlementId)) {
    assert_eq!(flow.message_state(message).await, MessageState::Abandoned);
    let dispatches = flow.store().list_dispatches(message).await.unwrap();
    assert!(dispatches.iter().all(|one| one.source_state == DispatchSource::Dropped));
    assert_eq!(flow.states(message).await, [SettlementState::Accepted; 2]);
    let again = flow.store().list_batchable(TARGET, flow.now_ms(), 0, 10).await.unwrap();
    let again: Vec<_> = again.into_iter().map(|row| row.id).collect();
    assert_eq!(again, [plain], "the other one waits for its hub");
}

#[tokio::test]
async fn a_message_is_given_up_when_a_hub_halts_before_it_has_left() {
    let flow = Flow::new(&["a"], 3).await;
    let relies_on = covered_hub(&flow).await;
    let sealed = sealed(&flow, relies_on).await;
    halt(&flow, relies_on.hub).await;
    flow.step(&flow.router).await;
    assert_given_up(&flow, sealed).await;
}

#[tokio::test]
async fn a_dispatch_that_was_planned_is_not_sent_when_a_hub_has_halted_since() {
    let flow = Flow::new(&["a"], 3).await;
    let relies_on = covered_hub(&flow).await;
    let sealed = sealed(&flow, relies_on).await;
    flow.step(&flow.router).await;
    assert_eq!(
        flow.dispatch_over(sealed.0, "a").await.source_state,
        DispatchSource::Planned
    );
    halt(&flow, relies_on.hub).await;
    flow.step(&flow.dispatcher).await;
    assert_eq!(
        flow.dispatch_over(sealed.0, "a").await.source_state,
        DispatchSource::Dropped
    );
    flow.step(&flow.router).await;
    assert_given_up(&flow, sealed).await;
}

#[tokio::test]
async fn what_has_left_goes_on_when_a_hub_halts() {
    let flow = Flow::new(&["a"], 3).await;
    let relies_on = covered_hub(&flow).await;
    let (message, _) = sealed(&flow, relies_on).await;
    flow.dispatch(message, "a", 11).await;
    halt(&flow, relies_on.hub).await;
    flow.wait(1_000_000);
    flow.step(&flow.router).await;
    assert_eq!(flow.message_state(message).await, MessageState::Sealed);
}

#[tokio::test]
async fn nothing_is_spent_on_a_message_nobody_here_could_pay_out() {
    let flow = Flow::new(&["a"], 3).await;
    let news: Vec<NewSettlement> = (1..=2).map(|n| fixtures::new_settlement(PAYER, n, 100, 0, n)).collect();
    let ids: Vec<SettlementId> = news.iter().map(|new| new.id).collect();
    let sealed = fixtures::sealed(&ids, 1);
    let adopted = AdoptedMessage {
        id: sealed.id(),
        header: sealed.header,
        ids,
        sent_at: flow.now_ms(),
        dispatches: Vec::new(),
    };
    let mut txn = flow.store().begin(flow.now_ms()).await.unwrap();
    txn.adopt_message(&adopted).await.unwrap();
    txn.commit().await.unwrap();
    for _ in 0..3 {
        flow.step(&flow.router).await;
        flow.wait(100_000);
    }
    assert!(flow.store().list_dispatches(adopted.id).await.unwrap().is_empty());
    assert_eq!(flow.message_state(adopted.id).await, MessageState::Sealed);
    // One of them is submitted again, and wakes it at once.
    flow.step(&flow.router).await;
    fixtures::deposit(flow.store(), PAYER, 1_000, 1).await;
    let mut txn = flow.store().begin(flow.now_ms()).await.unwrap();
    txn.accept_settlements(&news[..1]).await.unwrap();
    txn.commit().await.unwrap();
    flow.step(&flow.router).await;
    assert_eq!(flow.store().list_dispatches(adopted.id).await.unwrap().len(), 1);
}
