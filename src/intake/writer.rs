//! The one task that stores. It takes what queued up while it committed the last batch; no timer, so an idle intake answers at once.

use super::authorize::Authority;
use super::error::IntakeError;
use super::judge::judge;
use super::policy::IntakePolicy;
use super::request::Accepted;
use super::verify::Verified;
use crate::clock::Clock;
use crate::settlement::{ChainId, SettlementId};
use crate::store::{Accept, FactsQuery, Settlement, Store, StoreError, Txn, VaultFacts};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// A verified request and who waits for the answer.
#[derive(Debug)]
pub(super) struct Job {
    pub verified: Verified,
    pub authority: Authority,
    pub answer: oneshot::Sender<Result<Accepted, IntakeError>>,
}

type Answer = Result<Accepted, IntakeError>;

/// Run it in a task of its own.
#[derive(Debug)]
pub struct IntakeWriter {
    policy: Arc<IntakePolicy>,
    store: Store,
    clock: Arc<dyn Clock>,
    jobs: mpsc::Receiver<Job>,
    accepted: Arc<Notify>,
}

/// What is known about a target in one transaction.
struct Target {
    facts: VaultFacts,
    /// Timestamp of the newest block whose logs are known; None before the first.
    head: Option<u64>,
}

impl IntakeWriter {
    pub(super) fn new(
        policy: Arc<IntakePolicy>,
        store: Store,
        clock: Arc<dyn Clock>,
        jobs: mpsc::Receiver<Job>,
        accepted: Arc<Notify>,
    ) -> Self {
        Self {
            policy,
            store,
            clock,
            jobs,
            accepted,
        }
    }

    /// Until `stop`, or until the intake is gone. What was handed over before is still answered.
    pub async fn run(mut self, stop: CancellationToken) {
        let max = self.policy.commit_rows_max.max(1);
        let mut batch = Vec::with_capacity(max);
        loop {
            tokio::select! {
                biased;
                count = self.jobs.recv_many(&mut batch, max) => {
                    if count == 0 {
                        return;
                    }
                    self.write(std::mem::take(&mut batch)).await;
                }
                () = stop.cancelled() => return,
            }
        }
    }

    /// Commits a batch and answers. When the batch as a whole cannot be stored, each is tried alone, so that a poisoned one fails alone.
    async fn write(&self, jobs: Vec<Job>) {
        let parts: Vec<(&Verified, &Authority)> = jobs.iter().map(|job| (&job.verified, &job.authority)).collect();
        let answers = match self.commit(&parts).await {
            Ok(answers) => answers,
            Err(error) if parts.len() > 1 => {
                tracing::warn!(%error, settlements = parts.len(), "intake batch failed, storing one by one");
                let mut answers = Vec::with_capacity(parts.len());
                for part in &parts {
                    let answer = self.commit(std::slice::from_ref(part)).await;
                    answers.push(answer.map_or_else(|error| Err(error.into()), only));
                }
                answers
            }
            Err(error) => vec![Err(error.into())],
        };
        if answers.iter().any(Result::is_ok) {
            self.accepted.notify_one();
        }
        for (job, answer) in jobs.into_iter().zip(answers) {
            // A client that hung up finds its settlement by submitting it again.
            let _ = job.answer.send(answer);
        }
    }

    /// One transaction. An answer exists only after its commit.
    async fn commit(&self, parts: &[(&Verified, &Authority)]) -> Result<Vec<Answer>, StoreError> {
        // Before the transaction: one writer on SQLite has one connection.
        let mut heads = BTreeMap::new();
        for (verified, _) in parts {
            if let std::collections::btree_map::Entry::Vacant(entry) = heads.entry(verified.target) {
                let cursor = self.store.get_cursor(verified.target).await?;
                entry.insert(cursor.map(|cursor| cursor.seen.timestamp));
            }
        }
        let mut txn = self.store.begin(self.clock.now_ms()).await?;
        let known = known(&txn, parts).await?;
        let targets = targets(&txn, parts, &heads).await?;
        let mut answers: Vec<Option<Answer>> = vec![None; parts.len()];
        let mut candidates = Vec::new();
        for (index, (verified, authority)) in parts.iter().enumerate() {
            if let Some(existing) = known.get(&verified.id) {
                answers[index] = Some(again(existing, &verified.coordinator_id));
                continue;
            }
            match self.judge(verified, authority, &targets) {
                Ok(new) => candidates.push((index, new)),
                Err(error) => answers[index] = Some(Err(error)),
            }
        }
        let (indices, news): (Vec<_>, Vec<_>) = candidates.into_iter().unzip();
        if !news.is_empty() {
            let decided = txn.accept_settlements(&news).await?;
            for (index, accept) in indices.into_iter().zip(decided) {
                answers[index] = Some(answer(accept, &parts[index].0.coordinator_id));
            }
            txn.commit().await?;
        }
        // Every index was answered above; a missing answer would leave its client without one, so it is reported as such.
        Ok(answers
            .into_iter()
            .map(|answer| answer.unwrap_or(Err(IntakeError::Stopping)))
            .collect())
    }

    fn judge(
        &self,
        verified: &Verified,
        authority: &Authority,
        targets: &BTreeMap<ChainId, Target>,
    ) -> Result<crate::store::NewSettlement, IntakeError> {
        let target = targets
            .get(&verified.target)
            .ok_or(IntakeError::TargetNotReady(verified.target))?;
        let head = target.head.ok_or(IntakeError::TargetNotReady(verified.target))?;
        judge(&self.policy, verified, authority, &target.facts, head)
    }
}

/// Settlements of the batch that were accepted before: they get their original answer, whatever the world looks like now.
async fn known(txn: &Txn, parts: &[(&Verified, &Authority)]) -> Result<HashMap<SettlementId, Settlement>, StoreError> {
    let ids: Vec<SettlementId> = parts.iter().map(|(verified, _)| verified.id).collect();
    let found = txn.find_settlements(&ids).await?;
    Ok(found
        .into_iter()
        .map(|settlement| (settlement.id, settlement))
        .collect())
}

async fn targets(
    txn: &Txn,
    parts: &[(&Verified, &Authority)],
    heads: &BTreeMap<ChainId, Option<u64>>,
) -> Result<BTreeMap<ChainId, Target>, StoreError> {
    let mut queries: BTreeMap<ChainId, FactsQuery> = BTreeMap::new();
    for (verified, _) in parts {
        let query = queries.entry(verified.target).or_default();
        query.tokens.insert(verified.terms.token);
        query.payers.insert(verified.terms.payer);
        query.nonces.insert((verified.terms.payer, verified.terms.nonce));
    }
    let mut targets = BTreeMap::new();
    for (chain, query) in queries {
        let target = Target {
            facts: txn.vault_facts(chain, &query).await?,
            head: heads.get(&chain).copied().flatten(),
        };
        targets.insert(chain, target);
    }
    Ok(targets)
}

/// The original answer; to another coordinator only that the place is taken.
fn again(existing: &Settlement, coordinator_id: &str) -> Answer {
    if existing.coordinator_id == coordinator_id {
        Ok(Accepted::of(existing, true))
    } else {
        Err(IntakeError::NonceTaken { by: existing.id })
    }
}

fn answer(accept: Accept, coordinator_id: &str) -> Answer {
    match accept {
        Accept::Accepted(settlement) => Ok(Accepted::of(&settlement, false)),
        Accept::Existing(settlement) => again(&settlement, coordinator_id),
        Accept::NonceTaken { by } => Err(IntakeError::NonceTaken { by }),
        Accept::ReceiptHeld { receipt, by } => Err(IntakeError::ReceiptHeld { receipt, by }),
        Accept::JobHeld { job_id, by } => Err(IntakeError::JobHeld { job_id, by }),
        Accept::Insufficient { available, needed } => Err(IntakeError::Insufficient { available, needed }),
    }
}

/// The answer to a batch of one.
fn only(answers: Vec<Answer>) -> Answer {
    answers.into_iter().next().unwrap_or(Err(IntakeError::Stopping))
}
