//! Sends what is prepared and watches it until it is final. Safe to kill between any two lines: everything it needs is stored before
//! it is needed, and every step starts from what is stored.

use super::error::Attempted;
use super::fee::{Nudge, Tried, TxFees, nudge, price_cap};
use super::nonce::gaps;
use super::sender::Sender;
use super::{ChainError, Submission, TxChain};
use crate::error::Coded;
use crate::settlement::states::TxState;
use crate::stage::{Outcome, Stage};
use crate::store::{
    AttemptRow, Cursor, Inclusion, NewEvent, SignerLease, Store, StoreError, StoredBlock, TxChange, TxId, TxRow,
};
use alloy::primitives::{Address, B256, U256};
use async_trait::async_trait;
use relayer_adapter_api::{BlockRef, ChainId, TxReceipt};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How long a transaction is left alone after its chain could not be asked about it.
const REST_MS: i64 = 2_000;
/// What an attempt's error column says when the endpoints want more money.
const UNDERPRICED: &str = "underpriced";
/// …and when we do not want to pay more.
const CAPPED: &str = "more would be above the cap";

/// See the module.
pub struct TxEngine {
    chain: Arc<dyn TxChain>,
    store: Store,
    sender: Arc<Sender>,
    memory: Mutex<Memory>,
}

/// Saves calls; losing it costs calls only.
#[derive(Default)]
struct Memory {
    /// Transaction counts at the block of this hash.
    counts: BTreeMap<Address, (B256, u64)>,
    /// Final block of the last sweep for finality that broke.
    swept: Option<BlockRef>,
    /// Block at which receipts of a transaction were last looked for in vain.
    missed: BTreeMap<TxId, B256>,
    /// When a transaction that failed to be looked after is looked at again.
    resting: BTreeMap<TxId, i64>,
}

impl std::fmt::Debug for TxEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TxEngine")
            .field("chain", &self.chain.id())
            .finish_non_exhaustive()
    }
}

fn dearest(attempts: &[AttemptRow]) -> TxFees {
    TxFees {
        max_fee: attempts.iter().map(|attempt| attempt.max_fee).max().unwrap_or_default(),
        max_priority_fee: attempts
            .iter()
            .map(|attempt| attempt.max_priority_fee)
            .max()
            .unwrap_or_default(),
    }
}

/// Whether an error is about this row only, so that the others go on.
fn is_passing(error: &ChainError) -> bool {
    !matches!(
        error,
        ChainError::Store(StoreError::Database(_) | StoreError::Corrupt { .. })
    )
}

impl TxEngine {
    pub fn new(chain: Arc<dyn TxChain>, store: Store, sender: Arc<Sender>) -> Self {
        Self {
            chain,
            store,
            sender,
            memory: Mutex::new(Memory::default()),
        }
    }

    fn id(&self) -> ChainId {
        self.chain.id()
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self, now_ms: i64, limit: usize) -> Result<Outcome, ChainError> {
        // Says why by itself; what is stored and may have been sent waits with the rest.
        if self.sender.check_gate().await.is_err() {
            return Ok(Outcome::default());
        }
        let cursor = self.store.get_cursor(self.id()).await?;
        let mut processed = 0;
        if let Some(cursor) = &cursor {
            processed += self.sweep_broken_finality(now_ms, cursor).await?;
        }
        let mut failed = None;
        for signer in self.sender.addresses() {
            match self.mind(now_ms, signer, cursor.as_ref(), limit.max(1) as u64).await {
                Ok(moved) => processed += moved,
                // The other signers do not wait for this one.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(Outcome { processed, more: false }),
        }
    }

    async fn mind(
        &self,
        now_ms: i64,
        signer: Address,
        cursor: Option<&Cursor>,
        limit: u64,
    ) -> Result<usize, ChainError> {
        // Listed apart: a long wait for finality must not keep new ones from being sent.
        let waiting = self.store.list_waiting_txs(self.id(), signer, limit).await?;
        let included = self.store.list_included_txs(self.id(), signer, limit).await?;
        if waiting.is_empty() && included.is_empty() {
            return Ok(0);
        }
        let Some(lease) = self.sender.lease(signer).await? else {
            return Ok(0);
        };
        let mut processed = self.send_first(now_ms, &waiting).await?;
        if let Some(cursor) = cursor {
            processed += self.settle(now_ms, &included, cursor).await?;
            processed += self.follow(now_ms, &lease, &waiting, cursor).await?;
        }
        Ok(processed)
    }

    /// Prepared transactions: write that they may have left, then let them leave.
    async fn send_first(&self, now_ms: i64, rows: &[TxRow]) -> Result<usize, ChainError> {
        let prepared: Vec<&TxRow> = rows.iter().filter(|row| row.state == TxState::Prepared).collect();
        if prepared.is_empty() {
            return Ok(0);
        }
        let mut txn = self.store.begin(now_ms).await?;
        for row in &prepared {
            txn.tx_apply(row, TxChange::Submit, "engine").await?;
        }
        txn.commit().await?;
        for row in &prepared {
            if let Some(attempt) = self.store.list_attempts(row.id).await?.pop() {
                self.send(now_ms, row, &attempt).await?;
            }
        }
        Ok(prepared.len())
    }

    /// Hands an attempt's bytes to the endpoints and notes what they said.
    async fn send(&self, now_ms: i64, row: &TxRow, attempt: &AttemptRow) -> Result<(), ChainError> {
        let policy = self.sender.policy();
        let (note, wait_ms) = match self.chain.submit(&attempt.raw).await {
            Ok(Submission::Accepted) => (None, policy.rebroadcast_ms),
            Ok(Submission::NonceTooLow) => (Some("nonce too low".to_owned()), policy.rebroadcast_ms),
            Ok(Submission::Underpriced) => (Some(UNDERPRICED.to_owned()), 0),
            Ok(Submission::FundsShort) => {
                // What exactly is short is the sender's next plan to find out; this is proof enough to alert.
                self.sender
                    .note_funds(row.signer, U256::ZERO, row.value.max(U256::ONE))
                    .await?;
                (Some("funds short".to_owned()), policy.rebroadcast_ms)
            }
            Ok(Submission::Refused(reason)) => (Some(reason), policy.rebroadcast_ms),
            Err(error) => (Some(error.to_string()), policy.rebroadcast_ms),
        };
        if let Some(note) = &note {
            tracing::warn!(chain = row.chain.0, tx = row.id.0, hash = %attempt.hash, note, "broadcast");
        }
        let mut txn = self.store.begin(now_ms).await?;
        txn.note_attempt(attempt.id, note).await?;
        txn.schedule_tx(row.id, now_ms.saturating_add(wait_ms)).await?;
        txn.commit().await?;
        Ok(())
    }

    /// The canonical block of a height as far as the observer has walked; ranges it skipped are asked for.
    async fn canonical(&self, number: u64, cursor: &Cursor) -> Result<Option<B256>, ChainError> {
        if number > cursor.seen.number {
            return Ok(None);
        }
        if let Some(StoredBlock { block, .. }) = self.store.find_block(self.id(), number).await? {
            return Ok(Some(block.hash));
        }
        let found = self.chain.block_at(number).await.attempted("reading a block")?;
        Ok(found.map(|(block, _)| block.hash))
    }

    /// Included transactions: final, still in their block, or taken out of it.
    async fn settle(&self, now_ms: i64, rows: &[TxRow], cursor: &Cursor) -> Result<usize, ChainError> {
        let mut hashes: BTreeMap<u64, Option<B256>> = BTreeMap::new();
        let mut moved = 0;
        for row in rows.iter().filter(|row| row.state == TxState::Included) {
            let Some(inclusion) = row.included else {
                continue;
            };
            let number = inclusion.block_number;
            let hash = match hashes.get(&number) {
                Some(hash) => *hash,
                None => {
                    let hash = match self.canonical(number, cursor).await {
                        Ok(hash) => hash,
                        Err(error) if is_passing(&error) => None,
                        Err(error) => return Err(error),
                    };
                    hashes.insert(number, hash);
                    hash
                }
            };
            let change = match hash {
                // The observer is behind, or went back: it will get there.
                None => continue,
                Some(hash) if hash != inclusion.block_hash => TxChange::Unwind,
                Some(_) if number <= cursor.finalized.number => TxChange::Finalize,
                Some(_) => continue,
            };
            let refund = (change == TxChange::Finalize).then_some(dearest(&self.store.list_attempts(row.id).await?));
            let mut txn = self.store.begin(now_ms).await?;
            txn.tx_apply(row, change, &format!("block {number}")).await?;
            if let Some(dearest) = refund {
                self.sender.refund(&txn, row, &dearest).await?;
            }
            txn.commit().await?;
            moved += 1;
        }
        Ok(moved)
    }

    /// Finalized transactions whose block left the chain. Only looked for when the final block of the last look is gone.
    async fn sweep_broken_finality(&self, now_ms: i64, cursor: &Cursor) -> Result<usize, ChainError> {
        let swept = self.memory().swept;
        if swept == Some(cursor.finalized) {
            return Ok(0);
        }
        let intact = match swept {
            Some(block) => {
                let stored = self.store.find_block(self.id(), block.number).await?;
                // Final blocks of the cursor are always stored, so a missing one was taken too.
                stored.is_some_and(|stored| stored.block.hash == block.hash)
            }
            None => false,
        };
        let mut moved = 0;
        if !intact {
            for row in self
                .store
                .list_displaced_finalized_txs(self.id(), cursor.finalized.number)
                .await?
            {
                tracing::error!(chain = row.chain.0, tx = row.id.0, "a final transaction left the chain");
                let mut txn = self.store.begin(now_ms).await?;
                txn.tx_apply(&row, TxChange::Unwind, "finality broken").await?;
                txn.commit().await?;
                moved += 1;
            }
        }
        self.memory().swept = Some(cursor.finalized);
        Ok(moved)
    }

    async fn count_at(&self, signer: Address, block: BlockRef) -> Result<u64, ChainError> {
        if let Some((hash, count)) = self.memory().counts.get(&signer)
            && *hash == block.hash
        {
            return Ok(*count);
        }
        let count = self
            .chain
            .transaction_count(signer, block)
            .await
            .attempted("reading the transaction count")?;
        self.memory().counts.insert(signer, (block.hash, count));
        Ok(count)
    }

    /// Submitted transactions: find those the chain has taken, push those it has not, fill what is missing between.
    async fn follow(
        &self,
        now_ms: i64,
        lease: &SignerLease,
        rows: &[TxRow],
        cursor: &Cursor,
    ) -> Result<usize, ChainError> {
        let waiting: Vec<(&TxRow, u64)> = rows
            .iter()
            .filter(|row| row.state == TxState::Submitted)
            .filter_map(|row| row.nonce.map(|nonce| (row, nonce)))
            .collect();
        if waiting.is_empty() {
            return Ok(0);
        }
        let count = self.count_at(lease.signer, cursor.seen).await?;
        let mut moved = match self.fill_gaps(now_ms, lease, count, &waiting).await {
            Ok(filled) => filled,
            Err(error) if is_passing(&error) => {
                tracing::warn!(chain = self.id().0, signer = %lease.signer, %error, "nonce gap not filled");
                0
            }
            Err(error) => return Err(error),
        };
        for (row, nonce) in waiting {
            if self.memory().resting.get(&row.id).is_some_and(|until| now_ms < *until) {
                continue;
            }
            let done = if nonce < count {
                self.locate(now_ms, row, nonce, cursor).await
            } else if row.next_at <= now_ms {
                self.push(now_ms, lease, row, nonce, nonce == count).await
            } else {
                Ok(false)
            };
            match done {
                Ok(true) => moved += 1,
                Ok(false) => {}
                Err(error) if is_passing(&error) => {
                    tracing::warn!(chain = self.id().0, tx = row.id.0, %error, "transaction waits");
                    self.memory().resting.insert(row.id, now_ms.saturating_add(REST_MS));
                    continue;
                }
                Err(error) => return Err(error),
            }
            self.memory().resting.remove(&row.id);
        }
        Ok(moved)
    }

    /// The chain has taken this nonce: by one of our attempts, or by a transaction that is not ours.
    async fn locate(&self, now_ms: i64, row: &TxRow, nonce: u64, cursor: &Cursor) -> Result<bool, ChainError> {
        if self.memory().missed.get(&row.id) == Some(&cursor.seen.hash) {
            return Ok(false);
        }
        let attempts = self.store.list_attempts(row.id).await?;
        let view = self.chain.view(cursor.seen);
        for attempt in attempts.iter().rev() {
            if let Some(receipt) = view.receipt(attempt.hash).await.attempted("reading a receipt")? {
                self.memory().missed.remove(&row.id);
                self.include(now_ms, row, &receipt).await?;
                return Ok(true);
            }
        }
        // A missing receipt proves nothing. Only the block's body shows who took the nonce, and only a final one counts.
        let found = self
            .chain
            .find_by_nonce(row.signer, nonce, cursor.finalized)
            .await
            .attempted("searching who took a nonce")?;
        match found {
            Some((hash, block)) if !attempts.iter().any(|attempt| attempt.hash == hash) => {
                tracing::error!(chain = row.chain.0, tx = row.id.0, nonce, %hash, "a foreign transaction took the nonce");
                let mut txn = self.store.begin(now_ms).await?;
                let cause = format!("block {} ({})", block.number, block.hash);
                txn.tx_apply(row, TxChange::Replace { by: hash }, &cause).await?;
                txn.commit().await?;
                self.memory().missed.remove(&row.id);
                Ok(true)
            }
            _ => {
                self.memory().missed.insert(row.id, cursor.seen.hash);
                Ok(false)
            }
        }
    }

    async fn include(&self, now_ms: i64, row: &TxRow, receipt: &TxReceipt) -> Result<(), ChainError> {
        let change = TxChange::Include {
            inclusion: Inclusion {
                hash: receipt.tx_hash,
                block_number: receipt.block_number,
                block_hash: receipt.block_hash,
            },
            succeeded: receipt.succeeded,
            gas_used: receipt.gas_used,
            gas_price: receipt.effective_gas_price,
        };
        let mut txn = self.store.begin(now_ms).await?;
        txn.tx_apply(row, change, &format!("receipt {}", receipt.tx_hash))
            .await?;
        txn.commit().await?;
        Ok(())
    }

    /// The chain has not taken this nonce: send again, or pay more.
    async fn push(
        &self,
        now_ms: i64,
        lease: &SignerLease,
        row: &TxRow,
        nonce: u64,
        first_in_line: bool,
    ) -> Result<bool, ChainError> {
        let attempts = self.store.list_attempts(row.id).await?;
        let Some(last) = attempts.last() else {
            return Ok(false);
        };
        let tried: Vec<Tried> = attempts
            .iter()
            .map(|attempt| Tried {
                fees: TxFees {
                    max_fee: attempt.max_fee,
                    max_priority_fee: attempt.max_priority_fee,
                },
                created_at: attempt.created_at,
            })
            .collect();
        let policy = self.sender.policy();
        let underpriced = last.error.as_deref() == Some(UNDERPRICED);
        let fees = self.chain.fees().await.attempted("reading fees")?;
        let cap = price_cap(policy, row.gas_limit);
        match nudge(policy, cap, &tried, underpriced, first_in_line, fees, now_ms) {
            Nudge::Rebroadcast => {
                // Pools forget; the earlier attempts may be all an endpoint would still take.
                self.send(now_ms, row, last).await?;
                Ok(true)
            }
            Nudge::Replace(fees) => {
                let whole = self.store.get_tx(row.id).await?;
                let mut txn = self.store.begin(now_ms).await?;
                let new = match self
                    .sender
                    .replace(&mut txn, lease, &whole, nonce, &dearest(&attempts), &fees)
                    .await
                {
                    Err(ChainError::DayCap { .. }) => {
                        drop(txn);
                        return self.capped(now_ms, row, last).await;
                    }
                    other => other?,
                };
                txn.record(NewEvent {
                    aggregate: "tx",
                    aggregate_id: row.id.to_string(),
                    event: "reprice".into(),
                    cause: if underpriced { "underpriced" } else { "waited" }.into(),
                    detail: Some(
                        serde_json::json!({"hash": new.hash, "max_fee": fees.max_fee.to_string()}).to_string(),
                    ),
                    ..Default::default()
                });
                txn.commit().await?;
                let attempts = self.store.list_attempts(row.id).await?;
                match attempts.iter().find(|attempt| attempt.hash == new.hash) {
                    Some(attempt) => self.send(now_ms, row, attempt).await.map(|()| true),
                    None => Ok(false),
                }
            }
            Nudge::Capped => self.capped(now_ms, row, last).await,
        }
    }

    /// Worth more than we may pay: alert once, keep it in the pools, wait for cheaper gas.
    async fn capped(&self, now_ms: i64, row: &TxRow, last: &AttemptRow) -> Result<bool, ChainError> {
        self.send(now_ms, row, last).await?;
        let mut txn = self.store.begin(now_ms).await?;
        if last.error.as_deref() != Some(CAPPED) {
            tracing::error!(chain = row.chain.0, tx = row.id.0, "transaction stuck at the fee cap");
            txn.record(NewEvent {
                aggregate: "tx",
                aggregate_id: row.id.to_string(),
                event: "fee_capped".into(),
                cause: "engine".into(),
                ..Default::default()
            });
        }
        txn.note_attempt(last.id, Some(CAPPED.to_owned())).await?;
        txn.schedule_tx(row.id, now_ms.saturating_add(self.sender.policy().rebroadcast_ms))
            .await?;
        txn.commit().await?;
        Ok(true)
    }

    /// Nonces nobody holds jam those behind them: a transaction that does nothing takes each.
    async fn fill_gaps(
        &self,
        now_ms: i64,
        lease: &SignerLease,
        count: u64,
        waiting: &[(&TxRow, u64)],
    ) -> Result<usize, ChainError> {
        let last = waiting.last().map(|(_, nonce)| *nonce);
        if last.is_none_or(|last| last <= count) {
            return Ok(0);
        }
        let taken = self.store.list_nonces_from(self.id(), lease.signer, count).await?;
        let missing = gaps(count, &taken, last);
        if missing.is_empty() {
            return Ok(0);
        }
        let fees = self.sender.noop_fees().await?;
        let mut txn = self.store.begin(now_ms).await?;
        // Below the base are nonces of an earlier life of the key: not ours to fill.
        let base = txn.nonce_base(self.id(), lease.signer).await?;
        for nonce in missing.iter().filter(|nonce| **nonce >= base) {
            let id: TxId = self.sender.prepare_noop(&mut txn, lease, *nonce, fees).await?;
            tracing::warn!(chain = self.id().0, signer = %lease.signer, nonce, tx = id.0, "filling a nonce gap");
        }
        txn.commit().await?;
        Ok(missing.len())
    }
}

#[async_trait]
impl Stage for TxEngine {
    fn name(&self) -> String {
        format!("tx_engine:{}", self.id())
    }

    async fn step(&self, now_ms: i64, limit: usize) -> Result<Outcome, Box<dyn Coded>> {
        Ok(self.run(now_ms, limit).await?)
    }
}
