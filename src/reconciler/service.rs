//! The reconciler's step for one chain.

use super::error::ReconcilerError;
use super::forged::Origin;
use crate::chain::Chain;
use crate::error::Coded;
use crate::settlement::ChainId;
use crate::stage::{Outcome, Stage};
use crate::store::Store;
use alloy::primitives::{Address, Bytes, U256};
use alloy::sol_types::SolCall;
use async_trait::async_trait;
use relayer_adapter_api::ChainView;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Our contracts on a chain payees are paid on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetContracts {
    pub inbox: Address,
    pub vault: Address,
}

#[derive(Debug, Clone, Copy)]
pub struct ReconcilerParams {
    pub chain_id: ChainId,
    /// None on a chain that is only a source.
    pub target: Option<TargetContracts>,
    /// None on a chain that is only a target.
    pub outbox: Option<Address>,
    /// Time between comparisons, ms.
    pub sweep_ms: i64,
}

/// One per chain.
pub struct Reconciler {
    pub(super) store: Store,
    pub(super) chain: Arc<dyn Chain>,
    pub(super) params: ReconcilerParams,
    /// Chains messages come from.
    pub(super) origins: Vec<Origin>,
    /// Row after which the next page of expiry candidates starts.
    expiry_row: AtomicI64,
    next_sweep: AtomicI64,
    next_judgement: AtomicI64,
}

impl fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconciler")
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}

impl Reconciler {
    pub fn new(store: Store, chain: Arc<dyn Chain>, params: ReconcilerParams) -> Self {
        Self {
            store,
            chain,
            params,
            origins: Vec::new(),
            expiry_row: AtomicI64::new(0),
            next_sweep: AtomicI64::new(i64::MIN),
            next_judgement: AtomicI64::new(i64::MIN),
        }
    }

    /// Compares what arrives with what was sent from there; without origins nothing is compared.
    pub fn with_origins(mut self, origins: Vec<Origin>) -> Self {
        self.origins = origins;
        self
    }

    pub(super) fn take_expiry_row(&self) -> i64 {
        self.expiry_row.swap(0, Ordering::Relaxed)
    }

    pub(super) fn set_expiry_row(&self, row: i64) {
        self.expiry_row.store(row, Ordering::Relaxed);
    }

    pub(super) async fn call<C: SolCall>(
        &self,
        view: &dyn ChainView,
        to: Address,
        call: &C,
        attempted: &'static str,
    ) -> Result<Bytes, ReconcilerError> {
        view.call(None, to, call.abi_encode().into(), U256::ZERO)
            .await
            .map_err(|source| ReconcilerError::View {
                chain: self.params.chain_id,
                attempted,
                source,
            })
    }

    pub(super) fn undecodable(&self, attempted: &'static str, error: &alloy::sol_types::Error) -> ReconcilerError {
        ReconcilerError::Decode {
            chain: self.params.chain_id,
            attempted,
            reason: error.to_string(),
        }
    }

    async fn sweep_when_due(&self, now_ms: i64) -> Result<usize, ReconcilerError> {
        if now_ms < self.next_sweep.load(Ordering::Relaxed) {
            return Ok(0);
        }
        if self.sweep(now_ms).await? {
            let next = now_ms.saturating_add(self.params.sweep_ms);
            self.next_sweep.store(next, Ordering::Relaxed);
        }
        Ok(0)
    }

    /// As often as a sweep; at once again while there is more.
    async fn judge_when_due(&self, now_ms: i64, limit: usize) -> Result<usize, ReconcilerError> {
        if now_ms < self.next_judgement.load(Ordering::Relaxed) {
            return Ok(0);
        }
        let judged = self.judge_votes(now_ms, limit).await?;
        if judged == 0 {
            let next = now_ms.saturating_add(self.params.sweep_ms);
            self.next_judgement.store(next, Ordering::Relaxed);
        }
        Ok(judged)
    }
}

#[async_trait]
impl Stage for Reconciler {
    fn name(&self) -> String {
        format!("reconciler:{}", self.params.chain_id)
    }

    async fn step(&self, now_ms: i64, limit: usize) -> Result<Outcome, Box<dyn Coded>> {
        // Each part stands alone: a chain that cannot be read now still lets the ledger book what is stored.
        let parts = [
            self.reverse_orphaned(now_ms, limit).await,
            self.apply_final(now_ms, limit).await,
            self.expire(now_ms, limit).await,
            self.book_costs(now_ms, limit).await,
            self.judge_when_due(now_ms, limit).await,
            self.sweep_when_due(now_ms).await,
        ];
        let mut outcome = Outcome::default();
        let mut failed = None;
        for part in parts {
            match part {
                Ok(count) => {
                    outcome.processed = outcome.processed.saturating_add(count);
                    outcome.more |= count >= limit;
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
