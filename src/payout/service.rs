//! One step: follow executions whose transaction moved, pay received messages, rescue what is stuck.

use super::error::PayoutError;
use super::gas::TrustedTokens;
use super::mirror::follow;
use crate::chain::Chain;
use crate::chain::sender::Sender;
use crate::error::Coded;
use crate::settlement::packed::{ChunkLimits, GasModel};
use crate::settlement::states::{ExecutionEvent, MessageState};
use crate::stage::{Outcome, Stage, retry_at};
use crate::store::{Claim, Cursor, Execution, ExecutionPatch, Message, NewEvent, Store, StoreError, TxRow};
use alloy::primitives::U256;
use async_trait::async_trait;
use futures::future::join_all;
use relayer_adapter_api::{BridgeAdapter, ChainId, Kind};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Messages claimed in one step: what can be simulated and signed before the lease runs out…
const MESSAGES_MAX: usize = 32;
/// …and how many of them at the same time: while the node simulates one, the next is read.
const CONCURRENT: usize = 4;

/// Configuration of payout.
#[derive(Debug, Clone)]
pub struct PayoutParams {
    /// Name of this worker in leases.
    pub owner: String,
    pub lease_ms: i64,
    pub limits: ChunkLimits,
    pub gas: GasModel,
    /// Leaves that an execution would merely skip and that are carried along rather than paid for with a second transaction.
    pub gap_max: usize,
    /// Executions of one chain that are not in a block yet.
    pub executions_max: usize,
    /// Simulations of one message in one step.
    pub simulations_max: usize,
    /// Leaves of one message asked for their skip reason in one step.
    pub probes_max: usize,
    /// Bounds of the wait before what could not be paid is tried again.
    pub retry_min_ms: i64,
    pub retry_max_ms: i64,
    /// How often a received message is looked at in any case.
    pub recheck_ms: i64,
    pub rescue: RescueParams,
}

/// How far payout goes to bring a stuck message in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RescueParams {
    pub enabled: bool,
    /// An attested message is helped in when nobody has for this long after source finality.
    pub patience_ms: i64,
    pub interval_ms: i64,
    /// Rescue transactions per dispatch.
    pub attempts_max: i64,
    /// Wei a rescue call may carry.
    pub value_cap: U256,
}

/// See the module's page.
pub struct Payout {
    pub(super) store: Store,
    pub(super) adapters: Vec<Arc<dyn BridgeAdapter>>,
    pub(super) chains: BTreeMap<ChainId, Arc<dyn Chain>>,
    pub(super) senders: BTreeMap<ChainId, Arc<Sender>>,
    pub(super) params: PayoutParams,
    pub(super) trusted: TrustedTokens,
    /// One estimate at a time: it makes the node run a whole execution many times over, and the first one often spares the others.
    pub(super) estimating: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Payout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Payout")
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Stage for Payout {
    fn name(&self) -> String {
        "payout".into()
    }

    async fn step(&self, now_ms: i64, limit: usize) -> Result<Outcome, Box<dyn Coded>> {
        let mirrored = self.mirror_executions(now_ms, limit).await?;
        let paid = self.pay_messages(now_ms, limit).await?;
        let rescued = self.rescue_dispatches(now_ms, limit).await?;
        Ok(Outcome {
            processed: mirrored.saturating_add(paid).saturating_add(rescued),
            more: mirrored >= limit || paid >= limit.min(MESSAGES_MAX),
        })
    }
}

impl Payout {
    pub fn new(
        store: Store,
        adapters: Vec<Arc<dyn BridgeAdapter>>,
        chains: BTreeMap<ChainId, Arc<dyn Chain>>,
        senders: BTreeMap<ChainId, Arc<Sender>>,
        params: PayoutParams,
    ) -> Self {
        Self {
            store,
            adapters,
            chains,
            senders,
            params,
            trusted: TrustedTokens::default(),
            estimating: tokio::sync::Mutex::new(()),
        }
    }

    async fn mirror_executions(&self, now_ms: i64, limit: usize) -> Result<usize, PayoutError> {
        let params = &self.params;
        let claims = self
            .store
            .claim_moved_executions(&params.owner, limit, params.lease_ms)
            .await?;
        for claim in &claims {
            match self.mirror(claim, now_ms).await {
                Err(PayoutError::Store(StoreError::Conflict { what })) => {
                    tracing::debug!(execution = %claim.row.id, what, "mirroring an execution lost a race");
                }
                other => other?,
            }
        }
        Ok(claims.len())
    }

    async fn mirror(&self, claim: &Claim<Execution>, now_ms: i64) -> Result<(), PayoutError> {
        let Some(tx) = claim.row.tx else { return Ok(()) };
        let tx = self.store.get_tx(tx).await?;
        let events = follow(claim.row.state, tx.state, tx.succeeded);
        let paid = self.paid_by(&tx, &events).await?;
        let cause = format!("tx {} {}", tx.id, tx.state);
        let mut txn = self.store.begin(now_ms).await?;
        for event in &events {
            let patch = match event {
                ExecutionEvent::Include | ExecutionEvent::Finalize => ExecutionPatch {
                    gas_used: tx.gas_used,
                    paid,
                    ..ExecutionPatch::default()
                },
                ExecutionEvent::Revert => ExecutionPatch {
                    note: Some(Some(format!("paid nothing: {cause}"))),
                    ..ExecutionPatch::default()
                },
                _ => ExecutionPatch::default(),
            };
            let (id, token) = (claim.row.id, Some(claim.token));
            txn.execution_apply(id, token, *event, patch, &cause).await?;
        }
        // What it left unpaid is planned again; having been sent, it has left nothing yet.
        if events != [ExecutionEvent::Submit] {
            txn.wake_message(claim.row.message).await?;
        }
        txn.commit().await?;
        Ok(())
    }

    /// Settlements a final execution paid, by the logs the observer read.
    async fn paid_by(&self, tx: &TxRow, events: &[ExecutionEvent]) -> Result<Option<u32>, PayoutError> {
        let Some(included) = tx.included.filter(|_| events.contains(&ExecutionEvent::Finalize)) else {
            return Ok(None);
        };
        let count = self
            .store
            .count_logs_of_tx(tx.chain, "settlement_paid", included.hash)
            .await?;
        Ok(u32::try_from(count).ok())
    }

    async fn pay_messages(&self, now_ms: i64, limit: usize) -> Result<usize, PayoutError> {
        let params = &self.params;
        let limit = limit.min(MESSAGES_MAX);
        let states = [MessageState::Received];
        let claims = self
            .store
            // A checkpoint has nothing to pay; the recorder takes it from here.
            .claim_messages_of(
                Kind::SettlementBatch,
                &states,
                &params.owner,
                now_ms,
                limit,
                params.lease_ms,
            )
            .await?;
        for chunk in claims.chunks(CONCURRENT) {
            for result in join_all(chunk.iter().map(|claim| self.pay_or_defer(claim, now_ms))).await {
                result?;
            }
        }
        Ok(claims.len())
    }

    /// One message; only a broken database stops the others.
    async fn pay_or_defer(&self, claim: &Claim<Message>, now_ms: i64) -> Result<(), PayoutError> {
        match self.pay(claim, now_ms).await {
            Ok(next_at) => self.release(claim, next_at, None, now_ms).await,
            Err(PayoutError::Store(StoreError::Conflict { what })) => {
                tracing::debug!(message = %claim.row.id, what, "paying a message lost a race");
                Ok(())
            }
            Err(PayoutError::Store(error)) => Err(error.into()),
            Err(error) => {
                tracing::warn!(message = %claim.row.id, code = error.code().code, %error, "message waits to be paid out");
                let again = self.retry_at(&claim.row, now_ms);
                self.release(claim, again, Some(error.to_string()), now_ms).await
            }
        }
    }

    pub(super) fn retry_at(&self, message: &Message, now_ms: i64) -> i64 {
        let params = &self.params;
        retry_at(now_ms, message.created_at, params.retry_min_ms, params.retry_max_ms)
    }

    async fn release(
        &self,
        claim: &Claim<Message>,
        next_at: i64,
        why: Option<String>,
        now_ms: i64,
    ) -> Result<(), PayoutError> {
        let mut txn = self.store.begin(now_ms).await?;
        match txn.release_claim(claim, next_at).await {
            // Its last leaf was resolved, or a reorg moved it, while it was worked on.
            Err(StoreError::Conflict { .. }) => return Ok(()),
            other => other?,
        }
        if let Some(why) = why {
            txn.record(NewEvent {
                aggregate: "message",
                aggregate_id: claim.row.id.to_string(),
                event: "wait".into(),
                cause: "payout".into(),
                detail: Some(serde_json::json!({ "why": why, "until_ms": next_at }).to_string()),
                ..NewEvent::default()
            });
        }
        txn.commit().await?;
        Ok(())
    }

    pub(super) async fn cursor(&self, chain: ChainId) -> Result<Cursor, PayoutError> {
        self.store.get_cursor(chain).await?.ok_or(PayoutError::NotRead(chain))
    }

    pub(super) fn chain(&self, chain: ChainId) -> Result<&Arc<dyn Chain>, PayoutError> {
        self.chains.get(&chain).ok_or(PayoutError::UnknownChain(chain))
    }

    pub(super) fn sender(&self, chain: ChainId) -> Result<&Arc<Sender>, PayoutError> {
        self.senders.get(&chain).ok_or(PayoutError::UnknownChain(chain))
    }
}
