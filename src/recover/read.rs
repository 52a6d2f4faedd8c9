//! What logs and calldata say of the messages of a chain.

use super::error::RecoverError;
use super::service::RecoverChain;
use crate::chain::calldata::read_batch;
use crate::settlement::{ChainId, MessageId, SettlementId};
use crate::store::{AdoptedDispatch, AdoptedMessage, ChainLog, Store};
use alloy::primitives::{Address, B256};
use relayer_adapter_api::{Header, Lane};
use std::collections::BTreeMap;

/// The dispatches of a message, in chain order.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    pub message: MessageId,
    pub logs: Vec<ChainLog>,
}

/// Groups dispatch logs by message, in the order of their first. Checkpoints, which count no leaves, are a matter of their own: their
/// messages are made again, bit for bit, from what the hub's contract says.
pub fn sent(logs: Vec<ChainLog>) -> Vec<Sent> {
    let mut order: Vec<MessageId> = Vec::new();
    let mut by_message: BTreeMap<MessageId, Vec<ChainLog>> = BTreeMap::new();
    for log in logs {
        if log.detail["count"].as_str() == Some("0") {
            continue;
        }
        let message = MessageId(log.key);
        let entry = by_message.entry(message).or_default();
        if entry.is_empty() {
            order.push(message);
        }
        entry.push(log);
    }
    order
        .into_iter()
        .map(|message| Sent {
            message,
            logs: by_message.remove(&message).unwrap_or_default(),
        })
        .collect()
}

/// Header and leaves, from the first of its dispatches whose calldata has them. None when no endpoint does.
pub(super) async fn batch(
    chain: &RecoverChain,
    sent: &Sent,
) -> Result<Option<(Header, Vec<SettlementId>)>, RecoverError> {
    let mut txs: Vec<B256> = Vec::new();
    for log in &sent.logs {
        if !txs.contains(&log.tx_hash) {
            txs.push(log.tx_hash);
        }
    }
    for tx in txs {
        let read = read_batch(chain.transactions.as_ref(), tx, sent.message).await?;
        if let Some((header, ids)) = read.filter(|(_, ids)| !ids.is_empty()) {
            return Ok(Some((header, ids)));
        }
    }
    Ok(None)
}

/// A message with what is known of its carriage. The second value counts dispatches over ports no configured bridge has: nobody could follow
/// them, so they are left out.
pub(super) async fn adopted(
    store: &Store,
    lanes: &[Lane],
    sent: &Sent,
    header: Header,
    ids: Vec<SettlementId>,
) -> Result<(AdoptedMessage, u64), RecoverError> {
    let arrivals = store
        .find_logs(header.target, "message_received", sent.message.0, None, false)
        .await?;
    let mut dispatches: Vec<AdoptedDispatch> = Vec::new();
    let mut unknown = 0u64;
    for log in &sent.logs {
        let Some(lane) = lane_of(lanes, header.source, header.target, Address::from_word(log.key2)) else {
            unknown = unknown.saturating_add(1);
            continue;
        };
        let arrived = arrivals
            .iter()
            .find(|arrival| Address::from_word(arrival.key2) == lane.target_port);
        dispatches.push(AdoptedDispatch {
            bridge: lane.bridge.clone(),
            sent_at: millis(log),
            received_at: arrived.map(millis),
        });
    }
    let message = AdoptedMessage {
        id: sent.message,
        header,
        ids,
        sent_at: sent.logs.first().map_or(0, millis),
        dispatches,
    };
    Ok((message, unknown))
}

fn lane_of(lanes: &[Lane], source: ChainId, target: ChainId, port: Address) -> Option<&Lane> {
    lanes
        .iter()
        .find(|lane| lane.source == source && lane.target == target && lane.source_port == port)
}

/// Of the block, Unix ms.
fn millis(log: &ChainLog) -> i64 {
    i64::try_from(log.block_timestamp.saturating_mul(1_000)).unwrap_or(i64::MAX)
}
