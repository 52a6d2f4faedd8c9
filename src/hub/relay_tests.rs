#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::model::Eon;
use super::registry::hub_id;
use super::relay_error::{CONFLICT, WRONG_ROOT};
use super::{CheckpointRelay, Recorder};
use crate::chain::eon_word;
use crate::ledger::AccountKind;
use crate::settlement::MessageId;
use crate::settlement::states::{DispatchSource, MessageState, SettlementState};
use crate::store::testing::{INBOX, OUTBOX, SOURCE, TARGET};
use crate::store::{
    DriftClass, Halt, HaltReason, HubFact, HubId, Intent, IntentKind, Message, NewHub, NewHubLog, NewSignedCheckpoint,
    SignatureState, TxChange, TxRow,
};
use crate::testing::{Flow, HUB, PATIENCE, REGISTRY, TIMEOUT_MS, block, hub_lane};
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::sol_types::{SolCall, SolError};
use relayer_adapter_api::abi::{ICheckpointRegistry, ISettlementOutbox};
use relayer_adapter_api::{Kind, WireMessage};
use serde_json::json;

fn root(n: u64) -> B256 {
    B256::left_padding_from(&n.to_be_bytes())
}

/// A hub that is followed, and registered at the target with this quorum.
async fn with_hub(bridges: &[&str], quorum: u8) -> (Flow, HubId) {
    let flow = Flow::new(bridges, 3).await;
    flow.world().registry.quorum = quorum;
    let mut txn = flow.store().begin(flow.now_ms()).await.unwrap();
    let new = NewHub {
        name: "exchange".into(),
        chain: SOURCE,
        contract: HUB,
        genesis: 1,
        blocks_per_eon: 10,
        start_block: 1,
    };
    let hub = txn.register_hub(&new).await.unwrap();
    txn.commit().await.unwrap();
    (flow, hub)
}

/// The hub's contract took a checkpoint in a block of this number.
async fn submit(flow: &Flow, hub: HubId, eon: u64, root: B256, number: u64) {
    let log = NewHubLog {
        hub,
        eon: Eon(eon),
        block: block(number),
        log_index: 0,
        tx_hash: B256::repeat_byte(9),
        fact: HubFact::Checkpoint { eon: Eon(eon), root },
    };
    let mut txn = flow.store().begin(flow.now_ms()).await.unwrap();
    txn.put_hub_logs(&[log]).await.unwrap();
    txn.commit().await.unwrap();
}

async fn finalize(flow: &Flow, number: u64) {
    let mut txn = flow.store().begin(flow.now_ms()).await.unwrap();
    txn.finalize_hub_logs(SOURCE, number).await.unwrap();
    txn.commit().await.unwrap();
}

/// Checkpoints of these eons, in final blocks.
async fn certain(flow: &Flow, hub: HubId, eons: std::ops::RangeInclusive<u64>) {
    for eon in eons.clone() {
        submit(flow, hub, eon, root(eon), eon + 1).await;
    }
    finalize(flow, *eons.end() + 1).await;
}

async fn messages(flow: &Flow) -> Vec<Message> {
    let lane = hub_lane().lane;
    flow.store().list_checkpoint_messages(lane, 0, 100).await.unwrap()
}

async fn eons(flow: &Flow, state: MessageState) -> Vec<u64> {
    let all = messages(flow).await;
    let of_state = all.iter().filter(|message| message.state == state);
    of_state.map(|message| message.header.sequence).collect()
}

async fn recording(flow: &Flow, eon: u64, what: &str) -> Option<TxRow> {
    let intent = Intent::new(IntentKind::Record, hub_lane().lane.record_intent(eon, what));
    flow.store().find_live_tx(&intent).await.unwrap()
}

/// Seals a checkpoint and lets bridge `a` bring it.
async fn received(flow: &Flow, hub: HubId, eon: u64) -> MessageId {
    certain(flow, hub, eon..=eon).await;
    flow.step(&flow.relay).await;
    let id = messages(flow).await.last().unwrap().id;
    flow.log_received(id, "a", 12).await;
    flow.step(&flow.tracker).await;
    id
}

/// The observer of the target has read on; five blocks below is final.
async fn target_at(flow: &Flow, number: u64) {
    flow.read_up_to(TARGET, number).await;
}

async fn registry_log(flow: &Flow, number: u64, kind: &str, eon: u64, mut detail: serde_json::Value) {
    detail["eon"] = json!(eon.to_string());
    let log = (kind, hub_id(hub_lane().lane), eon_word(eon));
    flow.put_log(TARGET, number, log, detail).await;
    flow.finalize_logs(TARGET, number).await;
}

async fn root_drifts(flow: &Flow) -> Vec<(String, String)> {
    let open = flow.store().list_open_drifts().await.unwrap();
    let of_class = open.into_iter().filter(|row| row.drift.class == DriftClass::Root);
    of_class.map(|row| (row.drift.subject, row.drift.actual)).collect()
}

#[tokio::test]
async fn a_checkpoint_sets_out_once_when_its_block_is_final() {
    let (flow, hub) = with_hub(&["a"], 1).await;
    submit(&flow, hub, 1, root(1), 5).await;
    flow.step(&flow.relay).await;
    assert_eq!(messages(&flow).await, [], "its block is not final");
    finalize(&flow, 5).await;
    flow.step(&flow.relay).await;
    // Another process, which remembers nothing.
    let chains = Default::default();
    let other = CheckpointRelay::new(flow.store().clone(), chains, vec![hub_lane()]);
    flow.step(&other).await;
    let all = messages(&flow).await;
    assert_eq!(all.len(), 1);
    let header = &all[0].header;
    assert_eq!(
        (header.kind, header.sequence, header.root),
        (Kind::Checkpoint, 1, root(1))
    );
    assert_eq!((header.outbox, header.inbox, all[0].tier), (OUTBOX, INBOX, 1));
    let wire = WireMessage {
        header: header.clone(),
        hub: Some(HUB),
    };
    assert_eq!(all[0].id, wire.id());
}

#[tokio::test]
async fn the_outbox_is_asked_to_read_the_root_itself_and_nothing_is_owed_for_it() {
    let (flow, hub) = with_hub(&["a"], 1).await;
    certain(&flow, hub, 7..=7).await;
    for stage in [&flow.relay as &dyn crate::stage::Stage, &flow.router, &flow.dispatcher] {
        flow.step(stage).await;
    }
    let id = messages(&flow).await[0].id;
    let dispatch = flow.dispatch_over(id, "a").await;
    assert_eq!(dispatch.source_state, DispatchSource::Prepared);
    let tx = flow.tx(dispatch.tx.unwrap()).await;
    let call = ISettlementOutbox::dispatchCheckpointCall::abi_decode(&tx.data).unwrap();
    assert_eq!(
        (tx.to, call.hub, call.eon, call.targetChain),
        (OUTBOX, HUB, 7, TARGET.0)
    );
    let lane = crate::store::LaneKey {
        source: SOURCE,
        target: TARGET,
        bridge: dispatch.bridge.clone(),
    };
    let passages = flow.store().value_in_flight(&lane).await.unwrap();
    assert_eq!(
        (passages.lane, passages.unknown),
        (U256::ZERO, 0),
        "its value at stake is known: none"
    );
}

#[tokio::test]
async fn what_arrived_is_recorded_once_and_touches_no_settlement_and_no_account() {
    let (flow, hub) = with_hub(&["a"], 1).await;
    let batch = flow.seal(2).await;
    flow.dispatch(batch, "a", 11).await;
    let kinds = [
        AccountKind::Available,
        AccountKind::Reserved,
        AccountKind::Payee,
        AccountKind::Unclaimed,
    ];
    let books = flow.store().list_accounts_of(&kinds, None).await.unwrap();
    let id = received(&flow, hub, 3).await;
    assert_eq!(flow.message_state(id).await, MessageState::Received);
    flow.step(&flow.payout).await;
    assert_eq!(flow.executions(id).await, [], "payout pays settlements only");
    flow.step(&flow.recorder).await;
    flow.step(&flow.recorder).await;
    let other = Recorder::new(flow.store().clone(), Default::default(), Default::default(), vec![]);
    flow.step(&other).await;
    let tx = recording(&flow, 3, &id.to_string()).await.unwrap();
    let call = ICheckpointRegistry::recordCall::abi_decode(&tx.data).unwrap();
    assert_eq!((tx.to, tx.nonce, tx.value), (REGISTRY, Some(0), U256::ZERO));
    assert_eq!(WireMessage::decode(&call.message).unwrap().id(), id);
    flow.change_tx(tx.id, TxChange::Submit).await;
    flow.include(tx.id, 13, true).await;
    flow.world().registry.recorded.insert(3, (13, root(3), B256::ZERO));
    target_at(&flow, 14).await;
    flow.step(&flow.recorder).await;
    assert_eq!(flow.message_state(id).await, MessageState::Received, "not final yet");
    target_at(&flow, 20).await;
    flow.step(&flow.recorder).await;
    assert_eq!(flow.message_state(id).await, MessageState::Executed);
    assert_eq!(flow.store().list_accounts_of(&kinds, None).await.unwrap(), books);
    assert_eq!(flow.states(batch).await, [SettlementState::Dispatched; 2]);
}

#[tokio::test]
async fn a_recording_that_reverted_is_sent_again_when_that_is_final() {
    let (flow, hub) = with_hub(&["a"], 1).await;
    let id = received(&flow, hub, 3).await;
    flow.step(&flow.recorder).await;
    let first = recording(&flow, 3, &id.to_string()).await.unwrap();
    flow.change_tx(first.id, TxChange::Submit).await;
    flow.include(first.id, 13, false).await;
    target_at(&flow, 14).await;
    flow.step(&flow.recorder).await;
    assert_eq!(
        recording(&flow, 3, &id.to_string()).await.unwrap().id,
        first.id,
        "could still come back"
    );
    flow.change_tx(first.id, TxChange::Finalize).await;
    target_at(&flow, 20).await;
    flow.step(&flow.recorder).await;
    assert_ne!(recording(&flow, 3, &id.to_string()).await.unwrap().id, first.id);
}

#[tokio::test]
async fn eons_are_recorded_one_at_a_time_oldest_first() {
    let (flow, hub) = with_hub(&["a"], 1).await;
    certain(&flow, hub, 1..=2).await;
    flow.step(&flow.relay).await;
    let ids: Vec<MessageId> = messages(&flow).await.iter().map(|message| message.id).collect();
    for id in ids.iter().rev() {
        flow.log_received(*id, "a", 12).await;
        flow.step(&flow.tracker).await;
    }
    flow.step(&flow.recorder).await;
    let first = recording(&flow, 1, &ids[0].to_string()).await.unwrap();
    assert_eq!(recording(&flow, 2, &ids[1].to_string()).await, None);
    flow.change_tx(first.id, TxChange::Submit).await;
    flow.include(first.id, 13, true).await;
    flow.world().registry.recorded.insert(1, (13, root(1), B256::ZERO));
    target_at(&flow, 14).await;
    flow.step(&flow.recorder).await;
    assert!(recording(&flow, 2, &ids[1].to_string()).await.is_some());
}

#[tokio::test]
async fn nothing_of_a_halted_hub_sets_out_until_it_goes_on() {
    let (flow, hub) = with_hub(&["a"], 1).await;
    certain(&flow, hub, 1..=1).await;
    let halt = async |halt| {
        let mut txn = flow.store().begin(flow.now_ms()).await.unwrap();
        txn.set_hub_halt(hub, halt, "test").await.unwrap();
        txn.commit().await.unwrap();
    };
    halt(Some(Halt {
        reason: HaltReason::LiveChallenge,
        eon: Eon(2),
        since_ms: 1,
        is_final: true,
    }))
    .await;
    flow.step(&flow.relay).await;
    assert_eq!(messages(&flow).await, []);
    halt(None).await;
    flow.step(&flow.relay).await;
    assert_eq!(eons(&flow, MessageState::Sealed).await, [1]);
}

#[tokio::test]
async fn a_root_that_a_broken_finality_replaced_is_given_up_for_the_new_one() {
    let (flow, hub) = with_hub(&["a"], 1).await;
    certain(&flow, hub, 4..=4).await;
    flow.step(&flow.relay).await;
    let mut txn = flow.store().begin(flow.now_ms()).await.unwrap();
    txn.orphan_hub_logs_above(SOURCE, 4).await.unwrap();
    txn.commit().await.unwrap();
    submit(&flow, hub, 4, B256::repeat_byte(0x44), 6).await;
    flow.step(&flow.relay).await;
    assert_eq!(
        eons(&flow, MessageState::Sealed).await,
        [4],
        "the new one is not final yet"
    );
    finalize(&flow, 6).await;
    flow.step(&flow.relay).await;
    assert_eq!(eons(&flow, MessageState::Abandoned).await, [4]);
    let live: Vec<_> = messages(&flow).await;
    let sealed = live
        .iter()
        .find(|message| message.state == MessageState::Sealed)
        .unwrap();
    assert_eq!(sealed.header.root, B256::repeat_byte(0x44));
    let by_root = |n: &Message| n.abandon_reason.is_some() == (n.header.root == root(4));
    assert!(live.iter().all(by_root));
}

#[tokio::test]
async fn what_a_registry_has_already_is_not_carried_again() {
    let (flow, hub) = with_hub(&["a"], 1).await;
    flow.world().registry.recorded.insert(1, (1, root(1), B256::ZERO));
    certain(&flow, hub, 1..=2).await;
    flow.step(&flow.relay).await;
    assert_eq!(eons(&flow, MessageState::Sealed).await, [2]);
}

#[tokio::test]
async fn no_checkpoint_goes_where_the_hub_is_not_registered_or_with_another_outbox() {
    let (flow, hub) = with_hub(&["a"], 0).await;
    certain(&flow, hub, 1..=1).await;
    flow.step(&flow.relay).await;
    assert_eq!(messages(&flow).await, []);
    {
        let mut world = flow.world();
        world.registry.quorum = 1;
        world.registry.outbox = Some(Address::repeat_byte(1));
    }
    flow.step(&flow.relay).await;
    assert_eq!(messages(&flow).await, []);
}

#[tokio::test]
async fn with_every_lane_stalled_a_checkpoint_waits_and_is_never_abandoned_by_the_router() {
    let (flow, hub) = with_hub(&["a"], 1).await;
    certain(&flow, hub, 1..=1).await;
    flow.step(&flow.relay).await;
    let id = messages(&flow).await[0].id;
    flow.dispatch(id, "a", 11).await;
    flow.wait(2 * TIMEOUT_MS);
    flow.step(&flow.tracker).await;
    for _ in 0..3 {
        flow.wait(PATIENCE.without_lane_ms);
        flow.step(&flow.router).await;
    }
    assert_eq!(flow.message_state(id).await, MessageState::Sealed);
    flow.log_received(id, "a", 12).await;
    flow.step(&flow.tracker).await;
    assert_eq!(flow.message_state(id).await, MessageState::Received);
}

#[tokio::test]
async fn what_the_registry_does_not_take_now_waits_with_its_reason() {
    let (flow, hub) = with_hub(&["a"], 1).await;
    let id = received(&flow, hub, 9).await;
    let behind = ICheckpointRegistry::EonTooNew { eon: 9, last: 1 };
    flow.world().registry.refuses.insert(9, behind.abi_encode());
    for number in 14..17 {
        target_at(&flow, number).await;
        flow.step(&flow.recorder).await;
    }
    assert_eq!(recording(&flow, 9, &id.to_string()).await, None);
    let events = flow
        .store()
        .list_aggregate_events("message", &id.to_string())
        .await
        .unwrap();
    let waits: Vec<_> = events.iter().filter(|event| event.event == "wait").collect();
    assert_eq!(waits.len(), 1, "told once");
    assert!(waits[0].detail.as_deref().unwrap().contains("too far behind"));
    flow.world().registry.refuses.clear();
    target_at(&flow, 18).await;
    flow.step(&flow.recorder).await;
    assert!(recording(&flow, 9, &id.to_string()).await.is_some());
}

#[tokio::test]
async fn what_the_registry_can_never_take_is_given_up() {
    let (flow, hub) = with_hub(&["a"], 1).await;
    let id = received(&flow, hub, 2).await;
    let past = ICheckpointRegistry::EonTooOld { eon: 2, first: 90 };
    flow.world().registry.refuses.insert(2, past.abi_encode());
    flow.step(&flow.recorder).await;
    assert_eq!(flow.message_state(id).await, MessageState::Abandoned);
}

#[tokio::test]
async fn a_second_root_for_an_eon_is_drift_until_the_owner_has_chosen() {
    let (flow, hub) = with_hub(&["a"], 1).await;
    let id = received(&flow, hub, 5).await;
    let lie = B256::repeat_byte(0x66);
    flow.world().registry.recorded.insert(5, (1, root(5), lie));
    let both = json!({ "recorded": root(5), "other": lie });
    registry_log(&flow, 13, "checkpoint_conflict", 5, both).await;
    target_at(&flow, 20).await;
    flow.step(&flow.recorder).await;
    assert_eq!(
        root_drifts(&flow).await,
        [(
            "registry exchange conflict of eon 5".to_owned(),
            format!("{lie} beside it")
        )]
    );
    assert_eq!(
        recording(&flow, 5, &id.to_string()).await,
        None,
        "the registry has it already"
    );
    assert_eq!(flow.message_state(id).await, MessageState::Received);
    flow.world().registry.recorded.insert(5, (1, root(5), B256::ZERO));
    registry_log(&flow, 21, "conflict_resolved", 5, json!({ "root": root(5) })).await;
    target_at(&flow, 30).await;
    flow.step(&flow.recorder).await;
    assert_eq!(root_drifts(&flow).await, []);
    assert_eq!(flow.message_state(id).await, MessageState::Executed);
    assert_eq!(CONFLICT.code, "RLY-HUB-044");
}

#[tokio::test]
async fn a_recorded_root_the_hub_never_had_is_drift_and_the_true_one_is_brought_beside_it() {
    let (flow, hub) = with_hub(&["a"], 1).await;
    let lie = B256::repeat_byte(0x66);
    flow.world().registry.recorded.insert(5, (1, lie, B256::ZERO));
    registry_log(&flow, 9, "checkpoint_recorded", 5, json!({ "root": lie })).await;
    let id = received(&flow, hub, 5).await;
    target_at(&flow, 20).await;
    flow.step(&flow.recorder).await;
    assert_eq!(
        root_drifts(&flow).await,
        [("registry exchange root of eon 5".to_owned(), lie.to_string())]
    );
    assert!(
        recording(&flow, 5, &id.to_string()).await.is_some(),
        "so that the lie shows on chain"
    );
    // The owner chose the lie: the true root is refused for good.
    let rejected = ICheckpointRegistry::RootRejected {
        hubId: B256::ZERO,
        eon: 5,
        root: root(5),
    };
    flow.world().registry.refuses.insert(5, rejected.abi_encode());
    target_at(&flow, 30).await;
    flow.step(&flow.recorder).await;
    assert_eq!(flow.message_state(id).await, MessageState::Abandoned);
    assert_eq!(root_drifts(&flow).await.len(), 1, "still not what the hub says");
    assert_eq!(WRONG_ROOT.code, "RLY-HUB-045");
}

async fn sign(flow: &Flow, eon: u64) -> bool {
    let new = NewSignedCheckpoint {
        lane: hub_lane().lane,
        eon,
        root: root(eon),
        signature: Bytes::from(vec![1; 65]),
    };
    let mut txn = flow.store().begin(flow.now_ms()).await.unwrap();
    let fresh = txn.put_signed_checkpoint(&new, "test").await.unwrap();
    txn.commit().await.unwrap();
    fresh
}

#[tokio::test]
async fn a_signed_checkpoint_is_brought_once_and_done_when_the_registry_has_it() {
    let (flow, _) = with_hub(&["a"], 1).await;
    flow.world().registry.operator = Address::repeat_byte(2);
    assert!(sign(&flow, 4).await);
    assert!(!sign(&flow, 4).await, "the same again is the same");
    for _ in 0..3 {
        flow.step(&flow.recorder).await;
        flow.wait(10_000);
    }
    let row = &flow.store().list_signatures_of(SOURCE, HUB, 4).await.unwrap()[0];
    let tx = recording(&flow, 4, &format!("signature {}", row.id)).await.unwrap();
    let call = ICheckpointRegistry::recordSignedCall::abi_decode(&tx.data).unwrap();
    assert_eq!((call.chain, call.hub, call.eon, call.root), (SOURCE.0, HUB, 4, root(4)));
    flow.world().registry.recorded.insert(4, (1, root(4), B256::ZERO));
    flow.step(&flow.recorder).await;
    let row = &flow.store().list_signatures_of(SOURCE, HUB, 4).await.unwrap()[0];
    assert_eq!(row.state, SignatureState::Recorded);
}

#[tokio::test]
async fn a_signature_of_somebody_else_is_refused_and_not_tried_again() {
    let (flow, _) = with_hub(&["a"], 1).await;
    flow.world().registry.operator = Address::repeat_byte(2);
    let refused = ICheckpointRegistry::SignatureRefused {}.abi_encode();
    flow.world().registry.refuses.insert(4, refused);
    sign(&flow, 4).await;
    flow.step(&flow.recorder).await;
    let row = &flow.store().list_signatures_of(SOURCE, HUB, 4).await.unwrap()[0];
    assert_eq!(row.state, SignatureState::Refused);
    assert!(row.note.as_deref().unwrap().contains("operator"));
}

#[tokio::test]
async fn the_operators_signature_completes_a_quorum_one_bridge_is_short_of() {
    let (flow, hub) = with_hub(&["a"], 2).await;
    flow.world().registry.operator = Address::repeat_byte(2);
    certain(&flow, hub, 3..=3).await;
    flow.step(&flow.relay).await;
    let id = messages(&flow).await[0].id;
    flow.dispatch(id, "a", 11).await;
    flow.log_received(id, "a", 12).await;
    flow.step(&flow.tracker).await;
    flow.world().registry.families = 1;
    flow.step(&flow.recorder).await;
    assert_eq!(recording(&flow, 3, &id.to_string()).await, None);
    flow.world().registry.families = 2;
    target_at(&flow, 14).await;
    flow.step(&flow.recorder).await;
    assert!(recording(&flow, 3, &id.to_string()).await.is_some());
    flow.world().registry.recorded.insert(3, (1, root(3), B256::ZERO));
    target_at(&flow, 20).await;
    flow.step(&flow.recorder).await;
    assert_eq!(flow.message_state(id).await, MessageState::Executed);
}

#[tokio::test]
async fn an_eon_has_one_live_message_per_target_and_batches_know_nothing_of_it() {
    let (flow, _) = with_hub(&["a"], 1).await;
    // A batch of the same chains with the same number.
    let batch = flow.seal(1).await;
    let number = flow.store().get_message(batch).await.unwrap().header.sequence;
    let message = hub_lane().message(OUTBOX, Eon(number), root(1));
    let id = message.id();
    let mut txn = flow.store().begin(flow.now_ms()).await.unwrap();
    assert!(txn.seal_checkpoint(&message, 1, None, "test").await.unwrap());
    txn.commit().await.unwrap();
    let sealed = flow.store().get_sealed_message(id, false).await.unwrap();
    assert_eq!((sealed.id(), sealed.hub()), (id, Some(HUB)));
    let again = hub_lane().message(OUTBOX, Eon(number), root(2));
    let mut txn = flow.store().begin(flow.now_ms()).await.unwrap();
    assert!(!txn.seal_checkpoint(&again, 1, None, "test").await.unwrap());
    assert!(txn.seal_message(&again, 1, None, "test").await.is_err());
    drop(txn);
    assert_eq!(flow.store().list_message_leaves(id).await.unwrap(), []);
}

#[tokio::test]
async fn an_operators_signature_is_taken_for_the_registry_it_names_and_a_strangers_is_not() {
    use super::SignedCheckpoints;
    use super::registry::checkpoint_digest;
    use alloy::signers::{SignerSync, local::PrivateKeySigner};
    let (flow, _) = with_hub(&["a"], 1).await;
    let clock = || std::sync::Arc::new(crate::clock::SystemClock);
    let operator = PrivateKeySigner::from_bytes(&B256::repeat_byte(3)).unwrap();
    flow.world().registry.operator = operator.address();
    let lanes = vec![hub_lane()];
    let taker = SignedCheckpoints::new(flow.store().clone(), flow.chains.clone(), lanes, clock());
    let signed = |registry, eon| -> Bytes {
        let digest = checkpoint_digest(hub_lane().lane, registry, eon, root(eon));
        operator.sign_hash_sync(&digest).unwrap().as_bytes().into()
    };
    let submit = async |eon, signature: Bytes| {
        let taken = taker.submit((SOURCE, HUB), Eon(eon), root(eon), &signature).await;
        taken.map_err(|error| crate::error::Coded::code(&error).code)
    };
    assert_eq!(submit(4, signed(REGISTRY, 4)).await, Ok(vec![TARGET]));
    assert_eq!(submit(4, signed(REGISTRY, 4)).await, Ok(vec![TARGET]), "again the same");
    let refused = Err("RLY-HUB-047");
    assert_eq!(submit(5, signed(REGISTRY, 4)).await, refused, "another eon");
    assert_eq!(submit(5, signed(OUTBOX, 5)).await, refused, "for another registry");
    assert_eq!(submit(5, Bytes::from(vec![1; 64])).await, refused);
    flow.world().registry.operator = Address::ZERO;
    let nobodys = SignedCheckpoints::new(flow.store().clone(), flow.chains.clone(), vec![hub_lane()], clock());
    let taken = nobodys
        .submit((SOURCE, HUB), Eon(6), root(6), &signed(REGISTRY, 6))
        .await;
    assert!(taken.is_err(), "its registry takes no signatures");
    let of = async |eon| flow.store().list_signatures_of(SOURCE, HUB, eon).await.unwrap().len();
    assert_eq!((of(4).await, of(5).await, of(6).await), (1, 0, 0));
}

#[tokio::test]
async fn a_checkpoint_tells_how_it_fares() {
    use super::carriage::carriages;
    let (flow, id) = with_hub(&["a"], 1).await;
    certain(&flow, id, 2..=2).await;
    let hub = flow.store().get_hub(id).await.unwrap();
    let headline = async || {
        let found = carriages(flow.store(), &hub, Eon(2)).await.unwrap();
        found
            .messages
            .iter()
            .map(super::carriage::Carriage::headline)
            .collect::<Vec<_>>()
            .join(";")
    };
    assert_eq!(headline().await, "");
    flow.step(&flow.relay).await;
    assert_eq!(headline().await, "sealed, waits for a lane");
    let message = messages(&flow).await[0].id;
    flow.dispatch(message, "a", 11).await;
    assert_eq!(headline().await, "under way over 1 bridge(s), 0 arrived of 1 needed");
    flow.log_received(message, "a", 12).await;
    flow.step(&flow.tracker).await;
    assert_eq!(headline().await, "arrived on chain 31338, waits to be recorded");
}

#[tokio::test]
async fn of_many_who_seal_the_same_eon_one_does() {
    let (flow, _) = with_hub(&["a"], 1).await;
    let seal = async |n: u64| {
        // Every process sees the root; one of them lies.
        let message = hub_lane().message(OUTBOX, Eon(1), root(1 + n / 7));
        let mut txn = flow.store().begin(flow.now_ms()).await?;
        let fresh = txn.seal_checkpoint(&message, 1, None, "test").await?;
        txn.commit().await?;
        Ok::<_, crate::store::StoreError>(fresh)
    };
    let answers = futures::future::join_all((0..8).map(seal)).await;
    let sealed = answers.iter().filter(|answer| matches!(answer, Ok(true))).count();
    assert_eq!((sealed, messages(&flow).await.len()), (1, 1), "{answers:?}");
}

#[tokio::test]
async fn a_conflict_that_is_not_final_or_that_a_reorg_took_is_no_drift() {
    let (flow, _) = with_hub(&["a"], 1).await;
    let both = json!({ "recorded": root(5), "other": root(6), "eon": "5" });
    let log = ("checkpoint_conflict", hub_id(hub_lane().lane), eon_word(5));
    flow.put_log(TARGET, 13, log, both).await;
    target_at(&flow, 14).await;
    flow.step(&flow.recorder).await;
    assert_eq!(root_drifts(&flow).await, []);
    flow.orphan_above(TARGET, 12).await;
    target_at(&flow, 20).await;
    flow.step(&flow.recorder).await;
    assert_eq!(root_drifts(&flow).await, []);
}
