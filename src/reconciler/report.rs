//! One reconciliation from beginning to end, and what it came to: for `relayer reconcile`.

use super::auditor::GAPS;
use super::compare::Finding;
use super::error::ReconcilerError;
use super::intervals;
use super::pass;
use super::repair::{self, ChainBooks, RepairLine, Repaired};
use crate::error::Coded;
use crate::store::{Drift, DriftAbout, DriftClass, Interval, Standing, Store, Txn};
use serde::Serialize;

/// From where the chains are read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// What has not been compared yet, and everything from the first open difference on.
    Unread,
    Block(u64),
    /// Unix seconds.
    Time(u64),
}

/// What to do about differences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Report,
    Rehearse,
    Repair { by: String },
}

/// One chain.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ChainReport {
    pub chain: u64,
    /// This database knows of final blocks of the chain. Without them nothing was compared.
    pub read: bool,
    /// Blocks compared now.
    pub first_block: Option<u64>,
    pub last_block: Option<u64>,
    pub blocks: u64,
    pub logs: u64,
    /// The contracts' counters bear out every one of these blocks: messages sent and received, payments, and the vault's sums of every token. What
    /// else a contract tells (burns, announcements, signers, ports, listings) it does not count.
    pub proven: bool,
    /// The counters and the vault's sums at the newest final block were compared with all logs and accounts.
    pub totals: bool,
    pub own_endpoints: bool,
    pub settlements: u64,
    pub payments: u64,
    pub messages: u64,
    pub gaps: Vec<GapLine>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GapLine {
    pub first_block: u64,
    pub last_block: u64,
    pub reason: String,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub class: String,
    pub chain: u64,
    pub subject: String,
    pub token: Option<String>,
    pub expected: String,
    pub actual: String,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    pub chains: Vec<ChainReport>,
    /// Accounts whose totals are not the sums of their postings.
    pub unbalanced_accounts: Vec<i64>,
    pub differences: Vec<Difference>,
    /// Differences on record that others found (sums, forged votes, hubs), that this comparison does not look at, and that are still open.
    pub on_record: Vec<Difference>,
    pub repairs: Vec<RepairLine>,
    /// Drifts that were open and are gone.
    pub closed: usize,
}

impl Report {
    /// Whether nothing is left to be done.
    pub fn agrees(&self) -> bool {
        let done = self.repairs.iter().filter(|line| line.result == Repaired::Done).count();
        self.unbalanced_accounts.is_empty() && self.on_record.is_empty() && self.differences.len() <= done
    }

    /// Whether every chain was read, and all of it.
    pub fn is_complete(&self) -> bool {
        self.chains.iter().all(|chain| chain.read && chain.gaps.is_empty())
    }

    /// Whether the report tells of a drift in another place.
    fn tells(&self, drift: &Drift) -> bool {
        if drift.class == DriftClass::Stale && drift.subject == GAPS {
            return self
                .chains
                .iter()
                .any(|one| one.chain == drift.chain.0 && !one.gaps.is_empty());
        }
        let class = drift.class.to_string();
        let same = |one: &Difference| (one.chain, &one.class, &one.subject) == (drift.chain.0, &class, &drift.subject);
        self.differences.iter().any(same)
    }
}

impl Difference {
    fn of(drift: &Drift, about: &DriftAbout) -> Self {
        Self {
            class: drift.class.to_string(),
            chain: drift.chain.0,
            subject: drift.subject.clone(),
            token: about.token.map(|token| token.to_string()),
            expected: drift.expected.clone(),
            actual: drift.actual.clone(),
        }
    }
}

/// What is being done, and how far it got.
pub type Progress<'a> = &'a mut (dyn FnMut(&str, u64) + Send);

/// Compares everything there is to compare, once, and puts differences right if that is wanted.
pub async fn reconcile(
    store: &Store,
    books: &[ChainBooks],
    (since, action): (Since, &Action),
    now_ms: i64,
    progress: Progress<'_>,
) -> Result<Report, ReconcilerError> {
    let mut report = Report::default();
    for chain in books {
        // What is on record already was compared already: it is looked at again, so that it can be put right.
        let oldest = match since {
            Since::Unread => store.find_oldest_drift_block(chain.auditor.id()).await?,
            Since::Block(_) | Since::Time(_) => None,
        };
        let since = oldest.map_or(since, Since::Block);
        let (mut own, mut findings) = read_chain(store, chain, since, now_ms, progress).await?;
        if let Some((through, patience)) = chain.auditor.horizon().await? {
            let passed = pass::pass(store, chain.auditor.id(), through, patience, progress).await?;
            own.settlements = passed.settlements;
            own.payments = passed.payments;
            own.messages = passed.messages;
            merge(&mut findings, passed.findings);
        }
        let mut txn = store.begin(now_ms).await?;
        for finding in &findings {
            super::auditor::tell(&mut txn, finding).await?;
        }
        txn.commit().await?;
        let told = findings
            .iter()
            .map(|finding| Difference::of(&finding.drift, &finding.about));
        report.differences.extend(told);
        match action {
            Action::Report => {}
            Action::Rehearse => report.repairs.extend(repair::rehearse(&findings)),
            Action::Repair { by } => report.repairs.extend(chain.repair(&findings, by, now_ms).await?),
        }
        report.closed = report.closed.saturating_add(chain.auditor.recheck(now_ms).await?);
        own.totals = compare_totals(chain, now_ms).await?;
        report.chains.push(own);
    }
    progress("accounts", 0);
    report.unbalanced_accounts = store.list_unbalanced_accounts().await?;
    let open = store.list_open_drifts().await?;
    report.on_record = open
        .iter()
        .filter(|row| !report.tells(&row.drift))
        .map(|row| Difference::of(&row.drift, &row.about))
        .collect();
    Ok(report)
}

/// The sweep, once: it tells what it finds, and closes what agrees by now. False when it cannot be made now: something final is not booked, the
/// chain moved on meanwhile, or its node has forgotten the state of that block.
async fn compare_totals(books: &ChainBooks, now_ms: i64) -> Result<bool, ReconcilerError> {
    match books.reconciler.sweep(now_ms).await {
        Ok(done) => Ok(done),
        Err(error @ (ReconcilerError::View { .. } | ReconcilerError::Decode { .. })) => {
            tracing::warn!(code = error.code().code, chain = %books.auditor.id(), %error, "totals were not compared");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// A difference both sides of the comparison found is one.
fn merge(into: &mut Vec<Finding>, more: Vec<Finding>) {
    for finding in more {
        let same =
            |known: &&Finding| known.drift.class == finding.drift.class && known.drift.subject == finding.drift.subject;
        if into.iter().find(same).is_none() {
            into.push(finding);
        }
    }
}

/// Reads the blocks of a chain stretch by stretch, and keeps what was read.
async fn read_chain(
    store: &Store,
    books: &ChainBooks,
    since: Since,
    now_ms: i64,
    progress: Progress<'_>,
) -> Result<(ChainReport, Vec<Finding>), ReconcilerError> {
    let auditor = &books.auditor;
    let mut report = ChainReport {
        chain: auditor.id().0,
        own_endpoints: books.own_endpoints,
        ..ChainReport::default()
    };
    let mut findings = Vec::new();
    let Some((finalized, patience)) = auditor.horizon().await? else {
        return Ok((report, findings));
    };
    (report.read, report.proven) = (true, true);
    if let Some(from) = auditor.first_block(since, finalized).await? {
        let mut txn = store.begin(now_ms).await?;
        forget_from(&mut txn, auditor.id(), from).await?;
        txn.commit().await?;
    }
    let mut failed = std::collections::BTreeSet::new();
    loop {
        let known = store.list_intervals(auditor.id()).await?;
        // Every gap is tried once, however recently it failed.
        let open: Vec<Interval> = known
            .iter()
            .filter(|one| !failed.contains(&one.first))
            .cloned()
            .collect();
        let covered = covering(&known, &open);
        let next = intervals::next(
            &covered,
            auditor.start_block(),
            finalized,
            auditor.range_max(),
            i64::MAX,
        );
        let Some(stretch) = next else { break };
        let compared = auditor.compare_and_keep(stretch, &patience, now_ms).await?;
        report.first_block = Some(
            report
                .first_block
                .map_or(stretch.first, |first| first.min(stretch.first)),
        );
        report.last_block = Some(report.last_block.map_or(stretch.last, |last| last.max(stretch.last)));
        report.blocks = report
            .blocks
            .saturating_add(stretch.last.saturating_sub(stretch.first).saturating_add(1));
        report.logs = report.logs.saturating_add(compared.logs);
        if compared.failed.is_some() {
            failed.insert(stretch.first);
        }
        report.proven &= compared.failed.is_none() && compared.proven;
        merge(&mut findings, compared.findings);
        progress("blocks", stretch.last);
    }
    for interval in store.list_intervals(auditor.id()).await? {
        if let Standing::Gap { reason, .. } = interval.standing {
            report.gaps.push(GapLine {
                first_block: interval.first,
                last_block: interval.last,
                reason,
            });
        }
    }
    Ok((report, findings))
}

/// `known`, with gaps that were tried already standing as if they need no more.
fn covering(known: &[Interval], open: &[Interval]) -> Vec<Interval> {
    known
        .iter()
        .map(|interval| {
            if interval.is_gap() && !open.contains(interval) {
                return Interval {
                    standing: Standing::Checked {
                        last_hash: None,
                        counters: None,
                    },
                    ..interval.clone()
                };
            }
            interval.clone()
        })
        .collect()
}

/// What was read from a block on is read again.
async fn forget_from(txn: &mut Txn, chain: crate::settlement::ChainId, from: u64) -> Result<(), ReconcilerError> {
    let before = txn.lock_intervals(chain).await?;
    let after = match from.checked_sub(1) {
        Some(last) => intervals::cut(&before, last),
        None => Vec::new(),
    };
    txn.write_intervals(chain, &before, &after).await?;
    Ok(())
}
