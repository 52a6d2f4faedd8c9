//! The run: read, adopt, take over the nonces, open the gate.

use super::error::RecoverError;
use super::read::{Sent, adopted, batch, sent};
use super::report::{ChainReport, Report, SignerReport};
use crate::chain::{ChainError, Contracts, Observer, TransactionSource, TxChain, counters};
use crate::clock::Clock;
use crate::settlement::states::TxState;
use crate::settlement::{ChainId, MessageId, SettlementId};
use crate::store::{AttemptRow, Cursor, Store, StoreError, TallyKey, TxRow};
use alloy::primitives::Address;
use futures::future::join_all;
use relayer_adapter_api::{BlockRef, Header, Lane, ViewError};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Dispatch logs read from the database at once.
const PAGE: u64 = 1_000;
/// Transactions asked for at the same time.
const CONCURRENT: usize = 8;
/// Blocks near the head read in one step of the observer.
const BLOCKS: usize = 500;
/// Between two looks at a chain that is not where it must be.
const PAUSE: Duration = Duration::from_millis(250);
/// Races one write may lose against a process that runs beside: each has a winner.
const ATTEMPTS_MAX: usize = 20;

/// One chain, and what reads it.
pub struct RecoverChain {
    pub chain: Arc<dyn TxChain>,
    pub transactions: Arc<dyn TransactionSource>,
    pub contracts: Contracts,
    pub observer: Observer,
    /// Accounts that sign for us there.
    pub signers: Vec<Address>,
}

impl fmt::Debug for RecoverChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecoverChain")
            .field("chain", &self.chain.id())
            .finish_non_exhaustive()
    }
}

/// What a run tells while it works: a chain and a sentence.
pub type Progress<'a> = &'a (dyn Fn(ChainId, &str) + Send + Sync);

/// How a run is to go.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// How long a chain may take to become final up to where it was at the start, and its signers to fall silent.
    pub wait: Duration,
    /// Goes on over messages whose calldata nobody has.
    pub accept_unreadable: bool,
}

/// See the module's page.
#[derive(Debug)]
pub struct Recover {
    store: Store,
    chains: BTreeMap<ChainId, RecoverChain>,
    lanes: Vec<Lane>,
}

impl Recover {
    pub fn new(store: Store, chains: BTreeMap<ChainId, RecoverChain>, lanes: Vec<Lane>) -> Self {
        Self { store, chains, lanes }
    }

    /// What is ahead of the database now, as far as nonces and logs tell, without changing anything.
    pub async fn dry_run(&self) -> Result<Report, RecoverError> {
        let mut report = Report {
            dry_run: true,
            awaited: self.store.count_awaited_leaves().await?,
            ..Report::default()
        };
        for (id, chain) in &self.chains {
            let head = read(chain.chain.head().await, "reading the head")?;
            let cursor = self.store.get_cursor(*id).await?;
            let mut line = ChainReport {
                chain: id.0,
                block: cursor.map_or(0, |cursor| cursor.finalized.number),
                signers: self.signers(*id, chain, head).await?,
                ..ChainReport::default()
            };
            line.messages = self.store.count_unknown_dispatches(*id).await?;
            let behind = head
                .number
                .saturating_sub(cursor.map_or(0, |cursor| cursor.seen.number));
            let nonces = line.signers.iter().any(|signer| signer.count > signer.known);
            let pending = self.store.is_recovery_pending(*id).await?;
            if pending || nonces || line.messages > 0 || cursor.is_none() {
                line.ahead = Some(ahead(&line, behind));
            }
            report.chains.push(line);
        }
        Ok(report)
    }

    /// Recovers every chain. What was done stands when it fails or is cut off; run again, it goes on.
    pub async fn run(&self, how: Standing, clock: &dyn Clock, tell: Progress<'_>) -> Result<Report, RecoverError> {
        for id in self.chains.keys() {
            let mut txn = self.store.begin(clock.now_ms()).await?;
            txn.begin_recovery(*id, "relayer recover").await?;
            txn.commit().await?;
        }
        let mut report = Report::default();
        let mut failed = None;
        // One that cannot be asked keeps no other shut.
        let each = self
            .chains
            .iter()
            .map(|(id, chain)| self.one(*id, chain, how, clock, tell));
        for (id, done) in self.chains.keys().zip(join_all(each).await) {
            match done {
                Ok(line) => report.chains.push(line),
                Err(error) => {
                    tell(*id, &format!("stays shut: {error}"));
                    failed = failed.or(Some(error));
                }
            }
        }
        // Messages of these chains are known now, and no stored transaction can send one of them behind our back.
        for line in &mut report.chains {
            self.give_up_overtaken(ChainId(line.chain), line, clock).await?;
        }
        self.open(&report, clock).await?;
        if let Some(error) = failed {
            return Err(error);
        }
        report.awaited = self.store.count_awaited_leaves().await?;
        Ok(report)
    }

    /// Everything that is one chain's, up to the opening of its gate.
    async fn one(
        &self,
        id: ChainId,
        chain: &RecoverChain,
        how: Standing,
        clock: &dyn Clock,
        tell: Progress<'_>,
    ) -> Result<ChainReport, RecoverError> {
        self.read_up(chain, how, clock, tell).await?;
        let mut line = self.adopt(id, chain, how, clock, tell).await?;
        self.silence(id, chain, &mut line, how, clock, tell).await?;
        self.count(id, chain).await?;
        self.forget(id, chain, &mut line, clock).await?;
        Ok(line)
    }

    /// The contracts' own counters against the logs: what an endpoint left out would be sent a second time.
    async fn count(&self, id: ChainId, chain: &RecoverChain) -> Result<(), RecoverError> {
        let at = self.cursor(id).await?.finalized;
        let counts = counters::read(id, &chain.contracts, chain.chain.view(at).as_ref()).await?;
        let sent = counts
            .outbox
            .map(|outbox| (outbox.address, "message_dispatched", "dispatches", outbox.dispatches));
        let arrived = counts
            .inbox
            .map(|inbox| (inbox.address, "message_received", "arrivals", inbox.received));
        let paid = counts
            .inbox
            .map(|inbox| (inbox.address, "settlement_paid", "payments", inbox.paid));
        for (address, kind, what, counted) in [sent, arrived, paid].into_iter().flatten() {
            let key = TallyKey {
                chain: id,
                address,
                kind: kind.to_owned(),
            };
            let logs = self.store.count_final_logs(&key, at.number).await?;
            if u128::from(logs) < counted {
                return Err(RecoverError::Incomplete {
                    chain: id,
                    what,
                    counted,
                    logs,
                    block: at.number,
                });
            }
        }
        Ok(())
    }

    /// Reads the logs until the block that was the head at the start is final.
    async fn read_up(
        &self,
        chain: &RecoverChain,
        how: Standing,
        clock: &dyn Clock,
        tell: Progress<'_>,
    ) -> Result<(), RecoverError> {
        let id = chain.chain.id();
        let head = read(chain.chain.head().await, "reading the head")?;
        let (since, mut told) = (clock.now_ms(), clock.now_ms());
        let mut reached = self
            .store
            .get_cursor(id)
            .await?
            .map_or(0, |cursor| cursor.finalized.number);
        tell(id, &format!("reading blocks {reached} to {}", head.number));
        loop {
            let more = match chain.observer.read_on(clock.now_ms(), BLOCKS).await {
                Ok(outcome) => outcome.more,
                // A process beside this one reads the same chain.
                Err(ChainError::Store(StoreError::Conflict { .. })) => true,
                Err(error) => return Err(error.into()),
            };
            reached = self
                .store
                .get_cursor(id)
                .await?
                .map_or(0, |cursor| cursor.finalized.number);
            if reached >= head.number {
                return Ok(());
            }
            if more {
                continue;
            }
            let now = clock.now_ms();
            let waited = now.saturating_sub(since);
            if waited >= millis(how.wait) {
                return Err(RecoverError::NotFinal {
                    chain: id,
                    wanted: head.number,
                    reached,
                    waited_s: u64::try_from(waited / 1_000).unwrap_or_default(),
                });
            }
            if now.saturating_sub(told) > 5_000 {
                told = now;
                tell(
                    id,
                    &format!("waiting until block {} is final, it is {reached} now", head.number),
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Messages and dispatches the chain knows.
    async fn adopt(
        &self,
        id: ChainId,
        chain: &RecoverChain,
        how: Standing,
        clock: &dyn Clock,
        tell: Progress<'_>,
    ) -> Result<ChainReport, RecoverError> {
        let mut line = ChainReport {
            chain: id.0,
            ..ChainReport::default()
        };
        let mut all = Vec::new();
        let mut after = 0;
        loop {
            let page = self.store.list_final_dispatches(id, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            all.extend(page);
        }
        all.sort_by_key(|log| (log.block_number, log.log_index));
        let all = sent(all);
        let total = all.len();
        let mut unreadable: Vec<MessageId> = Vec::new();
        for (done, chunk) in all.chunks(CONCURRENT).enumerate() {
            let asked = chunk.iter().map(|sent| self.batch_of(chain, sent));
            for (sent, found) in chunk.iter().zip(join_all(asked).await) {
                match found? {
                    Some((header, ids)) => self.adopt_one(sent, header, ids, &mut line, clock).await?,
                    None => unreadable.push(sent.message),
                }
            }
            if done % 64 == 0 {
                tell(id, &format!("messages {} of {total}", done.saturating_mul(CONCURRENT)));
            }
        }
        if let Some(first) = unreadable.first().filter(|_| !how.accept_unreadable) {
            return Err(RecoverError::Unreadable {
                chain: id,
                count: unreadable.len(),
                first: first.to_string(),
            });
        }
        line.unreadable = unreadable.iter().map(MessageId::to_string).collect();
        tell(
            id,
            &format!("messages {total} of {total}, {} were unknown", line.messages),
        );
        Ok(line)
    }

    /// From the database where it is known, else from the chain.
    async fn batch_of(
        &self,
        chain: &RecoverChain,
        sent: &Sent,
    ) -> Result<Option<(Header, Vec<SettlementId>)>, RecoverError> {
        match self.store.find_message(sent.message).await? {
            Some(_) => {
                let known = self.store.get_sealed_message(sent.message, true).await?;
                let ids = known.ids().to_vec();
                Ok(Some((known.header, ids)))
            }
            None => batch(chain, sent).await,
        }
    }

    async fn adopt_one(
        &self,
        sent: &Sent,
        header: Header,
        ids: Vec<SettlementId>,
        line: &mut ChainReport,
        clock: &dyn Clock,
    ) -> Result<(), RecoverError> {
        let (message, unknown) = adopted(&self.store, &self.lanes, sent, header, ids).await?;
        line.unknown_ports = line.unknown_ports.saturating_add(unknown);
        for attempt in 0.. {
            let mut txn = self.store.begin(clock.now_ms()).await?;
            let done = match txn.adopt_message(&message).await {
                Ok(done) => txn.commit().await.map(|_| done),
                Err(error) => Err(error),
            };
            match done {
                Ok(done) => {
                    line.add(done);
                    break;
                }
                Err(error) if attempt < ATTEMPTS_MAX && error.is_race() => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until every transaction a signer ever sent is final and read, so that no batch is on its way that the logs do not tell of.
    async fn silence(
        &self,
        id: ChainId,
        chain: &RecoverChain,
        line: &mut ChainReport,
        how: Standing,
        clock: &dyn Clock,
        tell: Progress<'_>,
    ) -> Result<(), RecoverError> {
        let since = clock.now_ms();
        let mut told = i64::MIN;
        loop {
            let cursor = self.cursor(id).await?;
            let head = read(chain.chain.head().await, "reading the head")?;
            let mut busy = None;
            for signer in &chain.signers {
                let count = chain.chain.transaction_count(*signer, cursor.finalized).await;
                let settled = read(count, "reading the transaction count")?;
                let latest = read(
                    chain.chain.transaction_count(*signer, head).await,
                    "reading the transaction count",
                )?;
                let pooled = read(chain.chain.pooled_count(*signer).await, "reading the pool")?;
                let pooled = self.unknown_in_pool(id, *signer, latest, pooled).await?;
                if latest.max(pooled) > settled {
                    busy = Some((*signer, settled, latest.max(pooled)));
                }
            }
            let Some((signer, settled, counted)) = busy else {
                line.block = cursor.finalized.number;
                line.signers = self.signers(id, chain, cursor.finalized).await?;
                return Ok(());
            };
            let now = clock.now_ms();
            if now.saturating_sub(since) >= millis(how.wait) {
                return Err(RecoverError::Busy {
                    chain: id,
                    signer,
                    settled,
                    counted,
                });
            }
            if now.saturating_sub(told) > 5_000 {
                told = now;
                tell(
                    id,
                    &format!(
                        "waiting for {} transactions of {signer} to become final",
                        counted - settled
                    ),
                );
            }
            tokio::time::sleep(PAUSE).await;
            self.read_up(chain, how, clock, &|_, _| {}).await?;
            // What became final meanwhile may have been a dispatch.
            let more = self.adopt(id, chain, how, clock, &|_, _| {}).await?;
            line.messages = line.messages.saturating_add(more.messages);
            line.dispatches = line.dispatches.saturating_add(more.dispatches);
            line.leaves = line.leaves.saturating_add(more.leaves);
            line.attached = line.attached.saturating_add(more.attached);
            line.unreadable = more.unreadable;
        }
    }

    /// What counts of a signer's pool: nothing when every nonce there is one this database has sent a transaction on. Nobody but the engine,
    /// which waits for the gate, can get such a transaction into a block when its fee is too low.
    async fn unknown_in_pool(
        &self,
        id: ChainId,
        signer: Address,
        latest: u64,
        pooled: u64,
    ) -> Result<u64, RecoverError> {
        if pooled <= latest {
            return Ok(latest);
        }
        let waiting = self.store.list_waiting_txs(id, signer, u64::MAX >> 1).await?;
        let sent: BTreeSet<u64> = waiting
            .iter()
            .filter(|row| row.first_sent_at.is_some())
            .filter_map(|row| row.nonce)
            .collect();
        let known = (latest..pooled).all(|nonce| sent.contains(&nonce));
        Ok(if known { latest } else { pooled })
    }

    /// Stored transactions that can never be sent, because a final block has another on their nonce.
    async fn forget(
        &self,
        id: ChainId,
        chain: &RecoverChain,
        line: &mut ChainReport,
        clock: &dyn Clock,
    ) -> Result<(), RecoverError> {
        let block = self.cursor(id).await?.finalized;
        for signer in &line.signers {
            let waiting = self.store.list_waiting_txs(id, signer.signer, u64::MAX >> 1).await?;
            for row in waiting {
                let Some(nonce) = row.nonce.filter(|nonce| *nonce < signer.count) else {
                    continue;
                };
                let ours = self.store.list_attempts(row.id).await?;
                if is_mined(chain, &ours, block).await? {
                    continue;
                }
                let by = match chain.chain.find_by_nonce(signer.signer, nonce, block).await {
                    Ok(Some((by, _))) => by,
                    Ok(None) => continue,
                    // The search reads old state, which not every node keeps. The engine searches too, and sends nothing on a nonce that is used.
                    Err(error) => {
                        tracing::warn!(chain = id.0, tx = row.id.0, nonce, %error, "who took the nonce is not known");
                        continue;
                    }
                };
                if ours.iter().any(|attempt| attempt.hash == by) {
                    continue;
                }
                if self.forget_one(&row, by, clock).await? {
                    line.forgotten = line.forgotten.saturating_add(1);
                }
            }
        }
        Ok(())
    }

    async fn forget_one(
        &self,
        row: &TxRow,
        by: alloy::primitives::B256,
        clock: &dyn Clock,
    ) -> Result<bool, RecoverError> {
        debug_assert!(matches!(row.state, TxState::Prepared | TxState::Submitted));
        let mut txn = self.store.begin(clock.now_ms()).await?;
        match txn.forget_tx(row, by).await {
            Ok(()) => {}
            // The engine of a process beside this one came first.
            Err(StoreError::Conflict { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        txn.commit().await?;
        Ok(true)
    }

    async fn give_up_overtaken(
        &self,
        id: ChainId,
        line: &mut ChainReport,
        clock: &dyn Clock,
    ) -> Result<(), RecoverError> {
        for overtaken in self.store.list_overtaken(id).await? {
            let mut txn = self.store.begin(clock.now_ms()).await?;
            let (given_up, attached) = txn.abandon_overtaken(&overtaken).await?;
            txn.commit().await?;
            if given_up {
                tracing::info!(message = %overtaken.message, by = %overtaken.by, "message given up: another carries its settlements");
                line.overtaken = line.overtaken.saturating_add(1);
            }
            line.attached = line.attached.saturating_add(attached);
        }
        Ok(())
    }

    /// Takes over the nonces and opens the gates, in one transaction.
    async fn open(&self, report: &Report, clock: &dyn Clock) -> Result<(), RecoverError> {
        let now_ms = clock.now_ms();
        let mut txn = self.store.begin(now_ms).await?;
        // Micro-seconds of now: more than one event each was never written, and numbers of JSON hold it.
        txn.skip_events_to(now_ms.saturating_mul(1_000)).await?;
        for line in &report.chains {
            let chain = ChainId(line.chain);
            for signer in &line.signers {
                txn.adopt_signer(chain, signer.signer, signer.count).await?;
            }
            let detail = serde_json::to_value(line).unwrap_or_default();
            txn.end_recovery(chain, line.unreadable.len() as u64, &detail).await?;
        }
        txn.commit().await?;
        Ok(())
    }

    async fn signers(
        &self,
        id: ChainId,
        chain: &RecoverChain,
        block: BlockRef,
    ) -> Result<Vec<SignerReport>, RecoverError> {
        let mut found = Vec::with_capacity(chain.signers.len());
        for signer in &chain.signers {
            let count = chain.chain.transaction_count(*signer, block).await;
            let base = self.store.find_nonce_base(id, *signer).await?;
            let last = self.store.find_last_nonce(id, *signer).await?;
            found.push(SignerReport {
                signer: *signer,
                count: read(count, "reading the transaction count")?,
                known: last.map_or(0, |last| last.saturating_add(1)).max(base),
            });
        }
        Ok(found)
    }

    async fn cursor(&self, id: ChainId) -> Result<Cursor, RecoverError> {
        let cursor = self.store.get_cursor(id).await?;
        cursor.ok_or(RecoverError::Chain(ChainError::GateUnknown { chain: id }))
    }
}

/// Whether one of these has a receipt: found without the state of old blocks.
async fn is_mined(chain: &RecoverChain, attempts: &[AttemptRow], block: BlockRef) -> Result<bool, RecoverError> {
    let view = chain.chain.view(block);
    for attempt in attempts.iter().rev() {
        if read(view.receipt(attempt.hash).await, "reading a receipt")?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn ahead(line: &ChainReport, behind: u64) -> String {
    let signers = line.signers.iter().filter(|signer| signer.count > signer.known);
    let nonces: u64 = signers.map(|signer| signer.count.saturating_sub(signer.known)).sum();
    format!(
        "{nonces} transactions and {} messages are unknown, {behind} blocks have not been read",
        line.messages
    )
}

fn read<T>(answer: Result<T, ViewError>, attempted: &'static str) -> Result<T, RecoverError> {
    answer.map_err(|source| RecoverError::Chain(ChainError::View { attempted, source }))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
