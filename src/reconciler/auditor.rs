//! The continuous three-way comparison of one chain, beside the loop that books: stretch by stretch of final blocks, read from endpoints of its
//! own, against what the observer stored and the ledger booked; and page by page the ledger against what is stored. A difference becomes a
//! drift, its absence closes it; nothing is adjusted.

use super::compare::{self, Finding, Patience};
use super::error::{DRIFT, GAP, ReconcilerError};
use super::examine::{self, PAGE};
use super::intervals::{self, Stretch};
use super::one_sided::told_less;
use super::reading::{Reader, Reading, Unreadable, as_stored};
use super::report::Since;
use crate::chain::{Chain, Contracts, TransactionSource};
use crate::error::Coded;
use crate::metrics as names;
use crate::settlement::{ChainId, MessageId, SettlementId};
use crate::stage::{Outcome, Stage};
use crate::store::{ChainLog, Counters, Drift, DriftClass, Interval, LogStatus, NewChainLog, Standing, Store};
use alloy::primitives::B256;
use async_trait::async_trait;
use metrics::gauge;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Failures after which somebody is told.
const ATTEMPTS_TOLD: u32 = 3;
/// Longest and shortest wait before a gap is tried again, ms.
const RETRY_MS: (i64, i64) = (2_000, 600_000);
/// Differences of one stretch put on record one by one.
const TOLD_MAX: usize = 200;
/// Open drifts looked at again in one step.
const RECHECK: usize = 200;

#[derive(Debug, Clone)]
pub struct AuditorParams {
    pub contracts: Contracts,
    pub start_block: u64,
    /// Blocks of one stretch.
    pub range_max: u64,
    /// Time between looks, ms.
    pub every_ms: i64,
    /// How late is too late, seconds.
    pub patience: u64,
}

/// One per chain.
pub struct Auditor {
    pub(super) store: Store,
    /// Behind other endpoints than the observer's, where there are any.
    pub(super) chain: Arc<dyn Chain>,
    pub(super) bodies: Arc<dyn TransactionSource>,
    pub(super) params: AuditorParams,
    next_look: AtomicI64,
    /// Rows after which the next pages of settlements and of messages start.
    settlement_row: AtomicI64,
    message_row: AtomicI64,
}

impl fmt::Debug for Auditor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auditor")
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}

/// What became of one stretch.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    pub first: u64,
    pub last: u64,
    pub logs: u64,
    /// The contracts' counters bear it out.
    pub proven: bool,
    pub findings: Vec<Finding>,
    /// Why it stays a gap.
    pub failed: Option<String>,
}

impl Auditor {
    pub fn new(store: Store, chain: Arc<dyn Chain>, bodies: Arc<dyn TransactionSource>, params: AuditorParams) -> Self {
        Self {
            store,
            chain,
            bodies,
            params,
            next_look: AtomicI64::new(i64::MIN),
            settlement_row: AtomicI64::new(0),
            message_row: AtomicI64::new(0),
        }
    }

    pub fn id(&self) -> ChainId {
        self.chain.id()
    }

    pub fn start_block(&self) -> u64 {
        self.params.start_block
    }

    /// The newest block that both the observer and these endpoints hold for final, and how late is too late as of it.
    pub async fn horizon(&self) -> Result<Option<(u64, Patience)>, ReconcilerError> {
        let Some(cursor) = self.store.get_cursor(self.id()).await? else {
            return Ok(None);
        };
        let own = self
            .chain
            .finalized()
            .await
            .map_err(|error| Unreadable::of(self.id(), error))?;
        let patience = Patience {
            now: cursor.finalized.timestamp,
            seconds: self.params.patience,
        };
        Ok(Some((cursor.finalized.number.min(own.number), patience)))
    }

    pub(super) fn range_max(&self) -> u64 {
        self.params.range_max
    }

    /// The block from which the chain is to be read again; None for what has not been read.
    pub(super) async fn first_block(&self, since: Since, finalized: u64) -> Result<Option<u64>, ReconcilerError> {
        let time = match since {
            Since::Unread => return Ok(None),
            Since::Block(block) => return Ok(Some(block.max(self.params.start_block))),
            Since::Time(time) => time,
        };
        // Invariant: blocks below `low` are older than the time, those from `high` on are not.
        let (mut low, mut high) = (self.params.start_block, finalized.saturating_add(1));
        while low < high {
            let middle = low.midpoint(high);
            let there = self.chain.block_at(middle).await;
            let there = there.map_err(|error| Unreadable::of(self.id(), error))?;
            match there {
                Some((block, _)) if block.timestamp < time => low = middle.saturating_add(1),
                _ => high = middle,
            }
        }
        Ok(Some(low))
    }

    /// Compares one stretch and keeps that it was read, or that it failed.
    pub(super) async fn compare_and_keep(
        &self,
        stretch: Stretch,
        patience: &Patience,
        now_ms: i64,
    ) -> Result<Compared, ReconcilerError> {
        let known = self.store.list_intervals(self.id()).await?;
        let before = counters_at(&known, stretch);
        let (compared, reading) = self.compare((stretch.first, stretch.last), before, patience).await?;
        self.record(now_ms, stretch, &compared, reading.as_ref(), patience.now)
            .await?;
        Ok(compared)
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader {
            chain: &self.chain,
            contracts: &self.params.contracts,
            start_block: self.params.start_block,
            tokens: std::collections::BTreeSet::new(),
        }
    }

    /// Reads one stretch and compares it. Writes nothing.
    pub async fn compare(
        &self,
        (first, last): (u64, u64),
        before: Option<Counters>,
        patience: &Patience,
    ) -> Result<(Compared, Option<Reading>), ReconcilerError> {
        let mut reader = self.reader();
        if self.params.contracts.vault.is_some() {
            reader.tokens = self.store.list_tokens(self.id()).await?;
        }
        let mut compared = Compared {
            first,
            last,
            logs: 0,
            proven: false,
            findings: Vec::new(),
            failed: None,
        };
        let reading = match reader.read(first, last, before).await {
            Ok(reading) => reading,
            Err(error) => {
                compared.failed = Some(error.to_string());
                return Ok((compared, None));
            }
        };
        compared.logs = reading.logs.len() as u64;
        compared.proven = reading.proven;
        let stored = self.stored(first, last).await?;
        if !reading.proven && told_less(&reading.logs, &stored) {
            // Which of the two is right cannot be told without the contracts' counts.
            compared.failed = Some("fewer logs than are stored, and the contracts could not be asked".into());
            return Ok((compared, None));
        }
        let absent = match reader.absent(&reading, &stored).await {
            Ok(absent) => absent,
            Err(error) => {
                compared.proven = false;
                compared.failed = Some(error.to_string());
                return Ok((compared, None));
            }
        };
        let read = self.without_pruned(&reading.logs, &stored).await?;
        let mut found = compare::check_logs(self.id(), &read, &stored, &absent);
        found.extend(self.check_read(&reading.logs, &read, patience).await?);
        found.extend(examine::unbooked_moves(&self.store, &stored, patience).await?);
        tracing::trace!(first, last, found = found.len(), "compared");
        compared.findings = examine::confirmed(&self.store, self.id(), found, patience).await?;
        Ok((compared, Some(reading)))
    }

    /// The payments and departures that were read, against the books. A transaction is only understood as a whole, with those of its logs that
    /// were pruned here; departures that were pruned are not missed.
    async fn check_read(
        &self,
        all: &[NewChainLog],
        unpruned: &[NewChainLog],
        patience: &Patience,
    ) -> Result<Vec<Finding>, ReconcilerError> {
        let logs: Vec<ChainLog> = all.iter().map(as_stored).collect();
        let (txs, mut found) = examine::tx_runs(self.id(), &logs);
        let known = examine::known_of(&self.store, &txs).await?;
        found.extend(examine::check_runs(self.id(), &txs, &known));
        let books: Vec<_> = known.settlements.into_values().collect();
        found.extend(examine::check_all(&self.store, self.id(), &books, patience).await?);
        let departures: Vec<ChainLog> = unpruned.iter().map(as_stored).collect();
        found.extend(examine::unknown_messages(&self.store, self.id(), &departures).await?);
        Ok(found)
    }

    /// One stretch, or None when everything final has been compared.
    async fn advance(&self, now_ms: i64) -> Result<Option<Compared>, ReconcilerError> {
        let chain = self.id();
        let Some((finalized, patience)) = self.horizon().await? else {
            return Ok(None);
        };
        // What is final and not booked yet is about to be; what cannot be booked holds the comparison up only for a while.
        let unbooked = self.store.find_unbooked_log(chain, finalized).await?;
        let waits = unbooked.filter(|log| patience.now <= log.block_timestamp.saturating_add(patience.seconds));
        let finalized = waits.map_or(finalized, |log| finalized.min(log.block_number.saturating_sub(1)));
        let known = self.unforked(now_ms).await?;
        let (start, range) = (self.params.start_block, self.params.range_max);
        let Some(stretch) = intervals::next(&known, start, finalized, range, now_ms) else {
            return Ok(None);
        };
        Ok(Some(self.compare_and_keep(stretch, &patience, now_ms).await?))
    }

    /// What was compared on a branch the chain has left is compared again.
    async fn unforked(&self, now_ms: i64) -> Result<Vec<Interval>, ReconcilerError> {
        let chain = self.id();
        let known = self.store.list_intervals(chain).await?;
        let Some((newest, hash)) = known.iter().rev().find_map(|interval| match interval.standing {
            Standing::Checked { last_hash, .. } => Some((interval, last_hash?)),
            Standing::Gap { .. } => None,
        }) else {
            return Ok(known);
        };
        let there = self
            .chain
            .block_at(newest.last)
            .await
            .map_err(|error| Unreadable::of(chain, error))?;
        if there.is_none_or(|(block, _)| block.hash == hash) {
            return Ok(known);
        }
        // How far back the branch goes is the observer's business; its cursor is on the chain again by now, or soon.
        let cut = newest.last.saturating_sub(self.params.range_max.max(64));
        let mut txn = self.store.begin(now_ms).await?;
        let before = txn.lock_intervals(chain).await?;
        let after = intervals::cut(&before, cut);
        txn.write_intervals(chain, &before, &after).await?;
        txn.commit().await?;
        tracing::warn!(%chain, block = newest.last, "compared blocks left the chain; they are compared again");
        Ok(after)
    }

    async fn record(
        &self,
        now_ms: i64,
        stretch: Stretch,
        compared: &Compared,
        reading: Option<&Reading>,
        chain_now: u64,
    ) -> Result<(), ReconcilerError> {
        let chain = self.id();
        let mut txn = self.store.begin(now_ms).await?;
        let before = txn.lock_intervals(chain).await?;
        let failed_before = before
            .iter()
            .find(|interval| interval.first <= stretch.first && interval.last >= stretch.first)
            .map(|interval| (&interval.standing, interval.since));
        let (attempts, since) = match failed_before {
            Some((Standing::Gap { attempts, .. }, since)) => (attempts.saturating_add(1), since),
            _ => (1, now_ms),
        };
        let standing = match reading {
            Some(reading) => Standing::Checked {
                last_hash: Some(reading.end.hash),
                counters: reading.counters.clone(),
            },
            None => Standing::Gap {
                reason: compared.failed.clone().unwrap_or_default(),
                attempts,
                next_at: crate::stage::retry_at(now_ms, since, RETRY_MS.0, RETRY_MS.1),
            },
        };
        let new = Interval {
            first: stretch.first,
            last: stretch.last,
            last_timestamp: reading.map_or(chain_now, |reading| reading.end.timestamp),
            logs: compared.logs,
            since: if reading.is_some() { now_ms } else { since },
            standing,
        };
        let after = intervals::put(&before, new);
        txn.write_intervals(chain, &before, &after).await?;
        for finding in compared.findings.iter().take(TOLD_MAX) {
            tell(&mut txn, finding).await?;
        }
        if compared.findings.len() > TOLD_MAX {
            // One thing that is wrong with all of a chain is not told a million times.
            let found = Drift {
                class: DriftClass::Missing,
                chain,
                subject: format!("blocks {} to {}", stretch.first, stretch.last),
                expected: "no difference".into(),
                actual: format!(
                    "{} differences, of which {TOLD_MAX} are listed",
                    compared.findings.len()
                ),
            };
            txn.report_drift(&found).await?;
        }
        self.tell_gaps(&mut txn, &after).await?;
        txn.commit().await?;
        if let Some(reason) = &compared.failed {
            tracing::warn!(code = GAP.code, %chain, first = stretch.first, last = stretch.last, attempts, reason, "{}", GAP.title);
        }
        Ok(())
    }

    /// Gaps that stay are a drift of their own; it closes when they are filled.
    async fn tell_gaps(&self, txn: &mut crate::store::Txn, known: &[Interval]) -> Result<(), ReconcilerError> {
        let chain = self.id();
        let lasting: Vec<(&Interval, &String)> = known
            .iter()
            .filter_map(|interval| match &interval.standing {
                Standing::Gap { attempts, reason, .. } if *attempts >= ATTEMPTS_TOLD => Some((interval, reason)),
                _ => None,
            })
            .collect();
        let Some((oldest, reason)) = lasting.first() else {
            txn.resolve_drift(DriftClass::Stale, chain, GAPS, "every block was compared")
                .await?;
            return Ok(());
        };
        let blocks: u64 = lasting
            .iter()
            .map(|(interval, _)| interval.last.saturating_sub(interval.first).saturating_add(1))
            .sum();
        let found = Drift {
            class: DriftClass::Stale,
            chain,
            subject: GAPS.into(),
            expected: "every final block compared".into(),
            actual: format!("{blocks} not, from {}: {reason}", oldest.first),
        };
        txn.report_drift(&found).await?;
        Ok(())
    }

    /// A page of settlements and one of messages. Returns whether there is more of this round.
    async fn turn_page(&self, now_ms: i64) -> Result<(), ReconcilerError> {
        let chain = self.id();
        let Some(cursor) = self.store.get_cursor(chain).await? else {
            return Ok(());
        };
        let patience = Patience {
            now: cursor.finalized.timestamp,
            seconds: self.params.patience,
        };
        let mut found = Vec::new();
        if self.params.contracts.inbox.is_some() {
            let after = self.settlement_row.load(Ordering::Relaxed);
            let page = self.store.page_books(chain, after, PAGE / 4).await?;
            let last = page.last().map_or(0, |last| last.row);
            self.settlement_row.store(last, Ordering::Relaxed);
            let first = examine::check_all(&self.store, chain, &page, &patience).await?;
            found.extend(examine::confirmed(&self.store, chain, first, &patience).await?);
        }
        if self.params.contracts.outbox.is_some() {
            let after = self.message_row.load(Ordering::Relaxed);
            let last = examine::check_messages(&self.store, chain, after, &mut found).await?;
            self.message_row
                .store(last.map_or(0, |(row, _)| row), Ordering::Relaxed);
        }
        if found.is_empty() {
            return Ok(());
        }
        let mut txn = self.store.begin(now_ms).await?;
        for finding in &found {
            tell(&mut txn, finding).await?;
        }
        txn.commit().await?;
        Ok(())
    }

    /// Open drifts of settlements, messages and logs that are gone are closed.
    pub async fn recheck(&self, now_ms: i64) -> Result<usize, ReconcilerError> {
        let chain = self.id();
        let Some(cursor) = self.store.get_cursor(chain).await? else {
            return Ok(0);
        };
        let patience = Patience {
            now: cursor.finalized.timestamp,
            seconds: self.params.patience,
        };
        let open = self.store.list_open_drifts().await?;
        let open: Vec<Drift> = open
            .into_iter()
            .map(|row| row.drift)
            .filter(|drift| drift.chain == chain)
            .take(RECHECK)
            .collect();
        let mut gone = Vec::new();
        for drift in open {
            if self.is_gone(&drift, &patience).await? {
                gone.push(drift);
            }
        }
        if gone.is_empty() {
            return Ok(0);
        }
        let mut txn = self.store.begin(now_ms).await?;
        let how = format!("agrees again at block {}", cursor.finalized.number);
        for drift in &gone {
            txn.resolve_drift(drift.class, chain, &drift.subject, &how).await?;
        }
        txn.commit().await?;
        Ok(gone.len())
    }

    pub(super) async fn is_gone(&self, drift: &Drift, patience: &Patience) -> Result<bool, ReconcilerError> {
        let Some((what, id)) = drift.subject.split_once(' ') else {
            return Ok(false);
        };
        match what {
            "settlement" => {
                let Ok(id) = id.parse::<SettlementId>() else {
                    return Ok(false);
                };
                self.settlement_agrees(drift, id, patience).await
            }
            "message" => {
                let Ok(id) = id.parse::<MessageId>() else {
                    return Ok(false);
                };
                match drift.class {
                    DriftClass::Unknown => Ok(self.store.find_message(id).await?.is_some()),
                    DriftClass::Root => self.root_agrees(id).await,
                    _ => Ok(false),
                }
            }
            "log" => self.log_agrees(drift, id, patience).await,
            "transaction" => {
                let Ok(tx) = id.parse::<B256>() else {
                    return Ok(false);
                };
                let logs = self.store.list_final_logs_of_tx(self.id(), tx).await?;
                Ok(!logs.is_empty() && examine::tx_runs(self.id(), &logs).1.is_empty())
            }
            "blocks" => {
                let Some((Ok(first), Ok(last))) =
                    id.split_once(" to ").map(|(first, last)| (first.parse(), last.parse()))
                else {
                    return Ok(false);
                };
                let (compared, _) = self.compare((first, last), None, patience).await?;
                Ok(compared.failed.is_none() && compared.findings.len() <= TOLD_MAX)
            }
            _ => Ok(false),
        }
    }

    async fn settlement_agrees(
        &self,
        drift: &Drift,
        id: SettlementId,
        patience: &Patience,
    ) -> Result<bool, ReconcilerError> {
        let chain = self.id();
        let books = self.store.list_books(&[id]).await?;
        let logs = self
            .store
            .find_logs(chain, "settlement_paid", id.0, None, false)
            .await?;
        let mut again = examine::check_all(&self.store, chain, &books, patience).await?;
        let txs: HashSet<B256> = logs.iter().map(|log| log.tx_hash).collect();
        for tx in txs {
            let logs = self.store.list_final_logs_of_tx(chain, tx).await?;
            let (runs, broken) = examine::tx_runs(chain, &logs);
            let known = examine::known_of(&self.store, &runs).await?;
            again.extend(broken);
            again.extend(examine::check_runs(chain, &runs, &known));
        }
        // A payment nobody has stored was told of by the chain alone; without it nothing says that it is gone.
        let lost = books.is_empty() && logs.is_empty();
        let same = |finding: &Finding| finding.drift.class == drift.class && finding.drift.subject == drift.subject;
        Ok(!lost && !again.iter().any(same))
    }

    async fn root_agrees(&self, id: MessageId) -> Result<bool, ReconcilerError> {
        let Some(message) = self.store.find_message(id).await? else {
            return Ok(true);
        };
        let leaves = self.store.list_message_leaves(id).await?;
        let leaves: Vec<B256> = leaves.iter().map(|leaf| leaf.settlement.0).collect();
        Ok(relayer_adapter_api::tree::root(&leaves) == Ok(message.header.root))
    }

    /// A log that was missing is here now, booked; one that was too much is here no more.
    async fn log_agrees(&self, drift: &Drift, reference: &str, patience: &Patience) -> Result<bool, ReconcilerError> {
        let found = self.store.find_log_by_reference(reference).await?;
        Ok(match drift.class {
            DriftClass::Missing => match found {
                Some(log) if log.applied_final && log.status == LogStatus::Final => {
                    examine::unbooked_moves(&self.store, &[log], patience).await?.is_empty()
                }
                _ => false,
            },
            DriftClass::Unknown => match found.filter(|log| log.status != LogStatus::Orphaned) {
                // The endpoint that did not tell of it may have come to.
                Some(log) => self.reader().has(&log).await.unwrap_or(false),
                None => true,
            },
            _ => false,
        })
    }

    /// An observer that has fallen far behind leaves the ledger too old to be compared.
    async fn tell_lag(&self, now_ms: i64) -> Result<(), ReconcilerError> {
        let chain = self.id();
        let (Some(cursor), Ok(own)) = (self.store.get_cursor(chain).await?, self.chain.finalized().await) else {
            return Ok(());
        };
        let read = cursor.finalized;
        let mut txn = self.store.begin(now_ms).await?;
        if own.timestamp > read.timestamp.saturating_add(self.params.patience) {
            let found = Drift {
                class: DriftClass::Stale,
                chain,
                subject: OBSERVER.into(),
                expected: format!("final block {}", own.number),
                actual: format!("read up to {}", read.number),
            };
            txn.report_drift(&found).await?;
        } else {
            txn.resolve_drift(DriftClass::Stale, chain, OBSERVER, "the observer has caught up")
                .await?;
        }
        txn.commit().await?;
        Ok(())
    }

    async fn measure(&self) -> Result<(), ReconcilerError> {
        let chain = self.id();
        let Some(cursor) = self.store.get_cursor(chain).await? else {
            return Ok(());
        };
        let known = self.store.list_intervals(chain).await?;
        let (first, before) = intervals::frontier(&known, self.params.start_block);
        let age = if first > cursor.finalized.number {
            0
        } else {
            let since = before.unwrap_or(cursor.finalized.timestamp);
            cursor.finalized.timestamp.saturating_sub(since)
        };
        let gaps: u64 = known
            .iter()
            .filter(|interval| interval.is_gap())
            .map(|interval| interval.last.saturating_sub(interval.first).saturating_add(1))
            .sum();
        let label = chain.to_string();
        gauge!(names::RECONCILER_UNCOMPARED_AGE_SECONDS, "chain" => label.clone()).set(age as f64);
        gauge!(names::RECONCILER_GAP_BLOCKS, "chain" => label).set(gaps as f64);
        Ok(())
    }

    async fn look(&self, now_ms: i64) -> Result<Outcome, ReconcilerError> {
        if let Some(compared) = self.advance(now_ms).await? {
            self.measure().await?;
            return Ok(Outcome {
                processed: usize::try_from(compared.logs).unwrap_or(usize::MAX).max(1),
                more: compared.failed.is_none(),
            });
        }
        self.turn_page(now_ms).await?;
        self.recheck(now_ms).await?;
        self.tell_lag(now_ms).await?;
        self.measure().await?;
        let next = now_ms.saturating_add(self.params.every_ms);
        self.next_look.store(next, Ordering::Relaxed);
        Ok(Outcome::default())
    }
}

/// Subject of the drift about how far the observer is behind.
const OBSERVER: &str = "observer";
/// Subject of the drift about gaps.
pub(super) const GAPS: &str = "comparison of blocks";

/// Puts a finding on record. True when it is new.
pub(super) async fn tell(txn: &mut crate::store::Txn, finding: &Finding) -> Result<bool, ReconcilerError> {
    let drift = &finding.drift;
    let fresh = txn.report_drift_about(drift, finding.about).await?;
    if fresh {
        tracing::error!(code = DRIFT.code, chain = %drift.chain, class = %drift.class, subject = %drift.subject, expected = %drift.expected, actual = %drift.actual, "{}", DRIFT.title);
    }
    Ok(fresh)
}

/// What the contracts had counted right before a stretch, where that was read.
fn counters_at(known: &[Interval], stretch: Stretch) -> Option<Counters> {
    known.iter().find_map(|interval| match &interval.standing {
        Standing::Checked { counters, .. } if interval.last.saturating_add(1) == stretch.first => counters.clone(),
        _ => None,
    })
}

#[async_trait]
impl Stage for Auditor {
    fn name(&self) -> String {
        format!("auditor:{}", self.id())
    }

    async fn step(&self, now_ms: i64, _: usize) -> Result<Outcome, Box<dyn Coded>> {
        if now_ms < self.next_look.load(Ordering::Relaxed) {
            return Ok(Outcome::default());
        }
        Ok(self.look(now_ms).await?)
    }
}
