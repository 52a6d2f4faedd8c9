//! What the observers saw at the inboxes: votes counted, messages received and unreceived.

use super::error::TrackerError;
use super::quorum::{PortChange, Ports, Vote, reached};
use super::service::Tracker;
use crate::settlement::MessageId;
use crate::settlement::states::{
    DispatchSource, DispatchTarget, DispatchTargetEvent, MessageEvent, MessageState, SettlementEvent,
};
use crate::store::{
    ChainLog, Dispatch, DispatchChange, DispatchPatch, LogStatus, Message, MessagePatch, StoreError, Txn,
};
use alloy::primitives::Address;
use relayer_adapter_api::{ChainId, Family};
use std::collections::BTreeMap;

impl Tracker {
    /// Takes note of logs nobody has looked at in their present standing. Returns how many.
    pub(super) async fn apply_seen(&self, chain: ChainId, now_ms: i64, limit: usize) -> Result<usize, TrackerError> {
        let logs = self.store.list_unapplied_seen(chain, limit as u64).await?;
        let total = logs.len();
        let mut arrivals: BTreeMap<MessageId, Vec<ChainLog>> = BTreeMap::new();
        let mut others = Vec::new();
        for log in logs {
            if log.kind == "message_received" {
                arrivals.entry(MessageId(log.key)).or_default().push(log);
            } else {
                others.push(log);
            }
        }
        for (message, logs) in arrivals {
            match self.arrived(chain, message, &logs, now_ms).await {
                // The standing of a log changed while we looked: it is listed again.
                Err(TrackerError::Store(StoreError::Conflict { what })) => {
                    tracing::debug!(%message, what, "an arrival changed while it was counted");
                }
                other => other?,
            }
        }
        self.mark(others, now_ms).await?;
        Ok(total)
    }

    /// Other kinds are read where they are needed; being seen is all that happens to them here.
    async fn mark(&self, logs: Vec<ChainLog>, now_ms: i64) -> Result<(), TrackerError> {
        if logs.is_empty() {
            return Ok(());
        }
        let mut txn = self.store.begin(now_ms).await?;
        match txn.mark_applied_seen(&logs).await {
            Err(StoreError::Conflict { .. }) => return Ok(()),
            other => other?,
        }
        txn.commit().await?;
        Ok(())
    }

    async fn arrived(&self, chain: ChainId, id: MessageId, logs: &[ChainLog], now_ms: i64) -> Result<(), TrackerError> {
        let Some(message) = self.store.find_message(id).await? else {
            // A stranger's message, or one of a database that was lost: the reconciler knows what it paid.
            return self.mark(logs.to_vec(), now_ms).await;
        };
        let standing = self
            .store
            .find_logs(chain, "message_received", id.0, None, false)
            .await?;
        let votes: Vec<Vote> = standing.iter().map(vote).collect();
        let ports = self.ports(&message).await?;
        let block = reached(&votes, &ports, usize::from(message.tier));
        let cause = logs
            .last()
            .map_or_else(String::new, |log| format!("log {}", log.reference()));
        let mut txn = self.store.begin(now_ms).await?;
        for dispatch in txn.dispatches_of(id).await? {
            let Some(port) = self.target_port(&dispatch) else {
                continue;
            };
            let brought = votes.iter().any(|vote| vote.port == port);
            move_target(&mut txn, &dispatch, brought, &cause, now_ms).await?;
        }
        move_message(&mut txn, &message, block, &cause, now_ms).await?;
        txn.mark_applied_seen(logs).await?;
        txn.commit().await?;
        Ok(())
    }

    fn target_port(&self, dispatch: &Dispatch) -> Option<Address> {
        let adapter = self.adapters.iter().find(|adapter| adapter.id() == dispatch.bridge)?;
        Some(adapter.lane(dispatch.source, dispatch.target)?.target_port)
    }

    /// Ports of the message's inbox: the configured ones, corrected by what the chain said.
    async fn ports(&self, message: &Message) -> Result<Ports, TrackerError> {
        let (source, target) = (message.header.source, message.header.target);
        let configured = self
            .adapters
            .iter()
            .filter_map(|adapter| adapter.lane(source, target))
            .map(|lane| (lane.target_port, lane.family));
        let logs = self.store.list_port_logs(target).await?;
        let of_inbox = logs.iter().filter(|log| log.address == message.header.inbox);
        let changes: Vec<PortChange> = of_inbox.filter_map(port_change).collect();
        Ok(Ports::new(configured, &changes))
    }
}

fn vote(log: &ChainLog) -> Vote {
    debug_assert_ne!(log.status, LogStatus::Orphaned, "orphaned logs are not votes");
    Vote {
        port: Address::from_word(log.key2),
        block: log.block_number,
    }
}

fn port_change(log: &ChainLog) -> Option<PortChange> {
    let port = Address::from_word(log.key);
    if log.kind == "port_removed" {
        return Some(PortChange::Removed { port });
    }
    let family = log.detail["family"].as_str()?.parse().ok()?;
    Some(PortChange::Activated {
        port,
        family: Family(family),
    })
}

/// The dispatch follows what the inbox says about its port.
async fn move_target(
    txn: &mut Txn,
    dispatch: &Dispatch,
    brought: bool,
    cause: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    let is_received = dispatch.target_state == DispatchTarget::Received;
    let (event, patch) = match (brought, is_received) {
        (true, false) => {
            let patch = DispatchPatch {
                received_at: Some(Some(now_ms)),
                note: Some(None),
                ..DispatchPatch::default()
            };
            (DispatchTargetEvent::Receive, patch)
        }
        (false, true) => {
            let patch = DispatchPatch {
                received_at: Some(None),
                next_at: Some(now_ms),
                note: Some(Some("a reorg took its arrival back".into())),
                ..DispatchPatch::default()
            };
            (DispatchTargetEvent::Unwind, patch)
        }
        _ => return Ok(()),
    };
    // A dropped dispatch was never sent; its port brought the message on somebody else's behalf.
    if dispatch.source_state != DispatchSource::Dropped {
        txn.dispatch_apply(dispatch.id, None, DispatchChange::Target(event), patch, cause)
            .await?;
    }
    Ok(())
}

/// `block` = where the quorum is reached on the canonical chain now, if it is.
async fn move_message(
    txn: &mut Txn,
    message: &Message,
    block: Option<u64>,
    cause: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    let state = txn.lock_message(message.id).await?.state;
    let (event, members) = match (state, block) {
        (MessageState::Sealed, Some(_)) => (MessageEvent::Receive, SettlementEvent::Deliver),
        (MessageState::Received, None) => (MessageEvent::Unreceive, SettlementEvent::Undeliver),
        // Executed and abandoned messages have no open leaves; a quorum that moved to another block changes nothing here.
        _ => return Ok(()),
    };
    let patch = MessagePatch {
        received_block: Some(block),
        next_at: Some(now_ms),
        ..MessagePatch::default()
    };
    txn.message_apply(message.id, event, &patch, None, cause).await?;
    let open: Vec<_> = txn
        .open_leaves(message.id)
        .await?
        .into_iter()
        .map(|leaf| leaf.settlement)
        .collect();
    txn.settlements_apply(&open, members, cause).await?;
    Ok(())
}
