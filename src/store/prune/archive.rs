//! The archive: one JSON object per line and thing that goes, bytes as 0x hex. A line may come twice when a run was cut off between
//! writing it and deleting the rows.

use crate::store::StoreError;
use crate::store::entity::{
    dispatch, event, execution, message, message_settlement, settlement, settlement_group, settlement_receipt, tx,
};
use alloy::hex::encode_prefixed as hex;
use serde_json::{Value, json};

/// Where lines go.
pub trait Archive: Send {
    fn line(&mut self, line: &Value) -> std::io::Result<()>;

    /// Everything written so far survives a power loss.
    fn sync(&mut self) -> std::io::Result<()>;
}

pub(super) fn settlements(
    archive: &mut dyn Archive,
    rows: &[settlement::Model],
    receipts: &[settlement_receipt::Model],
    events: &[event::Model],
) -> Result<(), StoreError> {
    for row in rows {
        let own = |id: &[u8]| id == row.settlement_id;
        let receipts = receipts
            .iter()
            .filter(|receipt| own(&receipt.settlement_id))
            .map(receipt);
        let events = events
            .iter()
            .filter(|event| event.settlement_id.as_deref().is_some_and(own))
            .map(self::event);
        archive.line(&json!({
            "settlement": settlement(row),
            "receipts": receipts.collect::<Vec<_>>(),
            "events": events.collect::<Vec<_>>(),
        }))?;
    }
    Ok(archive.sync()?)
}

fn settlement(row: &settlement::Model) -> Value {
    let mut terms = json!({
        "source_chain": row.source_chain, "target_chain": row.target_chain, "inbox": hex(&row.inbox), "job_id": hex(&row.job_hash),
        "receipt_hash": hex(&row.receipt_hash), "proof_hash": hex(&row.proof_hash), "payer": hex(&row.payer), "payee": hex(&row.payee),
        "token": hex(&row.token), "deadline": row.deadline,
    });
    for (name, bytes) in [("amount", &row.amount), ("fee", &row.fee), ("nonce", &row.nonce)] {
        terms[name] = alloy::primitives::U256::try_from_be_slice(bytes)
            .unwrap_or_default()
            .to_string()
            .into();
    }
    json!({
        "settlement_id": hex(&row.settlement_id), "coordinator": row.coordinator_id, "trace_id": row.trace_id, "terms": terms,
        "auth": hex(&row.auth), "auth_kind": row.auth_kind, "revocable": row.revocable,
        "group_root": row.group_root.as_ref().map(hex), "group_index": row.group_index, "tier": row.tier,
        "fee_recipient": hex(&row.fee_recipient), "policy": row.policy, "state": row.state, "cancel_requested_at_ms": row.cancel_requested_at,
        "supersedes": row.supersedes.as_ref().map(hex), "batched_times": row.batched_times, "accepted_at_ms": row.accepted_at,
        "ended_at_ms": row.ended_at, "credited": row.credited,
        "evidence": {
            "block_number": row.evidence_chain_block, "block_hash": row.evidence_block_hash.as_ref().map(hex),
            "transaction_hash": row.evidence_tx.as_ref().map(hex),
        },
    })
}

fn receipt(row: &settlement_receipt::Model) -> Value {
    json!({
        "receipt_hash": hex(&row.receipt_hash), "receipt_id": row.receipt_id, "job_id": row.job_id, "provider": row.provider,
        "price": row.price, "holds": row.holds,
    })
}

fn event(row: &event::Model) -> Value {
    json!({
        "seq": row.seq, "at_ms": row.at_ms, "aggregate": row.aggregate, "aggregate_id": row.aggregate_id, "event": row.event,
        "from_state": row.from_state, "to_state": row.to_state, "cause": row.cause, "detail": row.detail,
    })
}

pub(super) fn messages(
    archive: &mut dyn Archive,
    rows: &[message::Model],
    leaves: &[message_settlement::Model],
    dispatches: &[dispatch::Model],
    executions: &[execution::Model],
) -> Result<(), StoreError> {
    for row in rows {
        let own = |id: &[u8]| id == row.message_id;
        let leaves = leaves.iter().filter(|leaf| own(&leaf.message_id));
        let dispatches = dispatches
            .iter()
            .filter(|dispatch| own(&dispatch.message_id))
            .map(|dispatch| {
                json!({
                    "id": dispatch.id, "bridge": dispatch.bridge, "source_state": dispatch.source_state,
                    "target_state": dispatch.target_state, "decision": dispatch.decision, "tx": dispatch.tx_id,
                    "bridge_ref": dispatch.bridge_ref.as_ref().map(hex), "planned_at_ms": dispatch.planned_at,
                    "included_at_ms": dispatch.included_at, "finalized_at_ms": dispatch.finalized_at,
                    "received_at_ms": dispatch.received_at,
                })
            });
        let executions = executions.iter().filter(|execution| own(&execution.message_id)).map(|execution| {
            json!({
                "id": execution.id, "first_leaf": execution.first_leaf, "leaves": execution.leaves, "state": execution.state,
                "tx": execution.tx_id, "gas_used": execution.gas_used, "paid": execution.paid,
            })
        });
        archive.line(&json!({ "message": {
            "message_id": hex(&row.message_id), "header": hex(&row.header), "hub": hex(&row.hub), "state": row.state,
            "abandon_reason": row.abandon_reason, "created_at_ms": row.created_at,
            "settlement_ids": leaves.map(|leaf| hex(&leaf.settlement_id)).collect::<Vec<_>>(),
            "dispatches": dispatches.collect::<Vec<_>>(), "executions": executions.collect::<Vec<_>>(),
        }}))?;
    }
    Ok(archive.sync()?)
}

pub(super) fn group(archive: &mut dyn Archive, row: &settlement_group::Model) -> Result<(), StoreError> {
    archive.line(&json!({ "group": {
        "group_root": hex(&row.group_root), "coordinator": row.coordinator_id, "payer": hex(&row.payer),
        "target_chain": row.target_chain, "inbox": hex(&row.inbox),
        "settlement_ids": row.ids.chunks(32).map(hex).collect::<Vec<_>>(), "auth": hex(&row.auth), "created_at_ms": row.created_at,
    }}))?;
    Ok(archive.sync()?)
}

pub(super) fn txs(archive: &mut dyn Archive, rows: &[tx::Model]) -> Result<(), StoreError> {
    for row in rows {
        archive.line(&json!({ "transaction": {
            "id": row.id, "chain": row.chain, "signer": hex(&row.signer), "nonce": row.nonce, "intent": row.intent_kind,
            "intent_id": row.intent_id, "to": hex(&row.to_address), "state": row.state, "succeeded": row.succeeded,
            "hash": row.included_hash.as_ref().map(hex), "block_number": row.included_block, "gas_used": row.gas_used,
        }}))?;
    }
    Ok(archive.sync()?)
}
