//! The batcher's step.

use super::error::BatcherError;
use super::plan::{Batch, BatchRule, GROUP_SPREAD, plan, whole_groups};
use crate::chain::Gate;
use crate::error::Coded;
use crate::settlement::ChainId;
use crate::settlement::terms::words;
use crate::stage::{Outcome, Stage};
use crate::store::Store;
use alloy::primitives::Address;
use async_trait::async_trait;
use relayer_adapter_api::{Body, Header, Kind, SealedMessage, tree};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, Clone)]
pub struct BatcherParams {
    pub rule: BatchRule,
    /// Seconds a settlement must have left at the target's head; with less it is left to expire.
    pub deadline_margin: u64,
    /// Chains to batch for.
    pub targets: Vec<ChainId>,
    /// Our outbox on each source chain.
    pub outboxes: BTreeMap<ChainId, Address>,
}

/// Needs no lease: a batch is sealed in one transaction that fails when a member has moved.
#[derive(Debug)]
pub struct Batcher {
    store: Store,
    params: BatcherParams,
    gates: BTreeMap<ChainId, Arc<Gate>>,
}

impl Batcher {
    pub fn new(store: Store, params: BatcherParams) -> Self {
        Self {
            store,
            params,
            gates: BTreeMap::new(),
        }
    }

    /// Seals nothing that leaves a chain whose gate is closed: it may be on its way already, in a message this database does not know.
    pub fn behind(mut self, gates: BTreeMap<ChainId, Arc<Gate>>) -> Self {
        self.gates = gates;
        self
    }

    async fn is_open(&self, source: ChainId) -> bool {
        match self.gates.get(&source) {
            Some(gate) => gate.check().await.is_ok(),
            None => true,
        }
    }

    async fn batch(&self, target: ChainId, now_ms: i64, limit: usize) -> Result<Outcome, BatcherError> {
        let Some(cursor) = self.store.get_cursor(target).await? else {
            // Without the target's time nobody can say what is about to expire.
            return Ok(Outcome::default());
        };
        let deadline_min = cursor.seen.timestamp.saturating_add(self.params.deadline_margin);
        // At least one full batch, or a small limit would seal small batches.
        let scan = limit.max(self.params.rule.count_max);
        // And so many more that the groups at the end can be left out and a batch's worth remains.
        let read = scan.saturating_add(2 * GROUP_SPREAD);
        let waiting = self
            .store
            .list_batchable(target, now_ms, deadline_min, read as u64)
            .await?;
        let waiting = whole_groups(waiting, read);
        let mut outcome = Outcome::default();
        for batch in plan(now_ms, &waiting, self.params.rule) {
            if !self.is_open(batch.key.source).await {
                continue;
            }
            match self.params.outboxes.get(&batch.key.source) {
                Some(outbox) => self.seal(now_ms, *outbox, &batch).await?,
                None => {
                    let error = BatcherError::NoOutbox(batch.key.source);
                    tracing::error!(%error, settlements = batch.ids.len(), "not batched");
                    continue;
                }
            }
            outcome.processed = outcome.processed.saturating_add(batch.ids.len());
        }
        outcome.more = outcome.processed > 0 && waiting.len() >= scan;
        Ok(outcome)
    }

    async fn seal(&self, now_ms: i64, outbox: Address, batch: &Batch) -> Result<(), BatcherError> {
        let root = tree::root(&words(&batch.ids))?;
        let mut txn = self.store.begin(now_ms).await?;
        let sequence = txn
            .next_sequence(outbox, batch.key.target, Kind::SettlementBatch as u8)
            .await?;
        let message = SealedMessage {
            header: Header {
                kind: Kind::SettlementBatch,
                source: batch.key.source,
                target: batch.key.target,
                outbox,
                inbox: batch.key.inbox,
                sequence,
                root,
                // A tree has at most 1,024 leaves.
                count: u32::try_from(batch.ids.len()).unwrap_or(u32::MAX),
                fee_recipient: batch.key.fee_recipient,
            },
            body: Body::Batch { ids: batch.ids.clone() },
            committed: false,
        };
        txn.seal_message(&message, batch.key.tier, batch.key.policy, "batcher")
            .await?;
        txn.commit().await?;
        tracing::info!(message = %message.id(), sequence, settlements = batch.ids.len(), "message sealed");
        Ok(())
    }
}

#[async_trait]
impl Stage for Batcher {
    fn name(&self) -> String {
        "batcher".into()
    }

    async fn step(&self, now_ms: i64, limit: usize) -> Result<Outcome, Box<dyn Coded>> {
        let mut outcome = Outcome::default();
        let mut failed = None;
        for target in &self.params.targets {
            // One target that fails holds no other up.
            match self.batch(*target, now_ms, limit).await {
                Ok(done) => {
                    outcome.processed = outcome.processed.saturating_add(done.processed);
                    outcome.more |= done.more;
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(outcome),
        }
    }
}
