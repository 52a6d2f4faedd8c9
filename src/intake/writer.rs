//! The one task that stores. It takes what was verified while it committed the last batch; no timer, so an idle intake answers at once.

use super::allotment::Proven;
use super::authorize::Authority;
use super::error::IntakeError;
use super::judge::{judge, judge_recalled};
use super::policy::IntakePolicy;
use super::pool::VerifyPool;
use super::request::Accepted;
use super::service::{Gate, Room};
use super::verify::Verified;
use crate::clock::Clock;
use crate::hub::model::Eon;
use crate::metrics as names;
use crate::settlement::{ChainId, SettlementId};
use crate::store::{
    Accept, FactsQuery, HubFacts, NewGroup, NewSettlement, Settlement, Store, StoreError, Txn, VaultFacts,
};
use alloy::primitives::Address;
use metrics::{gauge, histogram};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Races one batch may lose. Each has a winner, so this many in a row say that something else is wrong.
const ATTEMPTS_MAX: usize = 5;

pub(super) type Answer = Result<Accepted, IntakeError>;

/// Who gets the answer. Dropped without one, it answers that the intake is stopping, so that nobody waits for ever.
pub(super) struct Reply(Option<Box<dyn FnOnce(Answer) + Send + Sync>>);

impl Reply {
    pub fn new(to: impl FnOnce(Answer) + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(to)))
    }

    pub fn send(mut self, answer: Answer) {
        if let Some(to) = self.0.take() {
            to(answer);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(to) = self.0.take() {
            to(Err(IntakeError::Stopping));
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// A settlement that waits for its commit.
#[derive(Debug)]
pub(super) struct Candidate {
    pub verified: Verified,
    pub authority: Authority,
}

/// Items under one signature, stored in one commit.
#[derive(Debug)]
pub(super) struct Group {
    pub group: NewGroup,
    pub candidates: Vec<Candidate>,
    pub done: oneshot::Sender<Vec<Answer>>,
}

/// What is stored together or not at all, who waits for it, and its room.
#[derive(Debug)]
pub(super) struct Job {
    work: Work,
    /// Given back with the answer.
    _room: Room,
}

#[derive(Debug)]
enum Work {
    One(Box<Candidate>, Reply),
    Group(Box<Group>),
}

impl Job {
    pub fn one(candidate: Candidate, room: Room, reply: Reply) -> Self {
        Self {
            work: Work::One(Box::new(candidate), reply),
            _room: room,
        }
    }

    pub fn group(group: Group, room: Room) -> Self {
        Self {
            work: Work::Group(Box::new(group)),
            _room: room,
        }
    }

    fn candidates(&self) -> &[Candidate] {
        match &self.work {
            Work::One(candidate, _) => std::slice::from_ref(candidate),
            Work::Group(group) => &group.candidates,
        }
    }

    fn group_row(&self) -> Option<&NewGroup> {
        match &self.work {
            Work::One(..) => None,
            Work::Group(group) => Some(&group.group),
        }
    }

    /// `answers` are those of its candidates, in order.
    fn answer(self, mut answers: Vec<Answer>) {
        match self.work {
            Work::One(_, reply) => reply.send(answers.pop().unwrap_or(Err(IntakeError::Stopping))),
            Work::Group(group) => {
                // A client that hung up finds its settlements by submitting them again.
                let _ = group.done.send(answers);
            }
        }
    }
}

/// Run it in a task of its own.
#[derive(Debug)]
pub struct IntakeWriter {
    verifier: VerifyPool,
    jobs: mpsc::UnboundedReceiver<Job>,
    committer: Committer,
}

#[derive(Debug)]
struct Committer {
    policy: Arc<IntakePolicy>,
    store: Store,
    clock: Arc<dyn Clock>,
    gate: Gate,
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
        gate: Gate,
        verifier: VerifyPool,
        jobs: mpsc::UnboundedReceiver<Job>,
        accepted: Arc<Notify>,
    ) -> Self {
        let committer = Committer {
            policy,
            store,
            clock,
            gate,
            accepted,
        };
        Self {
            verifier,
            jobs,
            committer,
        }
    }

    /// Until the intake is gone, or until `stop`; then nothing new is taken, and what was taken is still stored and answered.
    pub async fn run(mut self, stop: CancellationToken) {
        let verifier = tokio::spawn(self.verifier.run(stop));
        let rows_max = self.committer.policy.commit_rows_max.max(1);
        // One commit at a time: two would meet at the payer's account and the order of events, each with half the rows.
        while let Some(first) = self.jobs.recv().await {
            let mut rows = first.candidates().len();
            let mut batch = vec![first];
            while rows < rows_max {
                let Ok(job) = self.jobs.try_recv() else { break };
                rows = rows.saturating_add(job.candidates().len());
                batch.push(job);
            }
            let answers = self.committer.write(&batch).await;
            // The next commit need not wait for the answers.
            tokio::spawn(async move {
                for (job, answers) in batch.into_iter().zip(answers) {
                    job.answer(answers);
                }
            });
        }
        let _ = verifier.await;
    }
}

impl Committer {
    /// Commits a batch. When the batch as a whole cannot be stored, each job is tried alone, so that a poisoned one fails alone.
    async fn write(&self, jobs: &[Job]) -> Vec<Vec<Answer>> {
        let started = Instant::now();
        let answers = match self.commit(jobs).await {
            Ok(answers) => answers,
            // A database that is down or full fails each of them as well, and the clients would wait for every time-out.
            Err(error) if error.is_outage() => {
                let error = IntakeError::from(error);
                jobs.iter().map(|job| failed(job, &error)).collect()
            }
            Err(error) if jobs.len() > 1 => {
                tracing::warn!(%error, requests = jobs.len(), "intake batch failed, storing one by one");
                let mut answers = Vec::with_capacity(jobs.len());
                for job in jobs {
                    answers.push(match self.commit(std::slice::from_ref(job)).await {
                        Ok(mut only) => only.pop().unwrap_or_default(),
                        Err(error) => failed(job, &error.into()),
                    });
                }
                answers
            }
            Err(error) => {
                let error = IntakeError::from(error);
                jobs.iter().map(|job| failed(job, &error)).collect()
            }
        };
        if answers.iter().flatten().any(Result::is_ok) {
            self.accepted.notify_one();
        }
        histogram!(names::INTAKE_COMMIT_SECONDS).record(started.elapsed().as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        gauge!(names::INTAKE_QUEUE_COUNT).set(self.gate.under_way() as f64);
        answers
    }

    /// Again from the start when another process was faster: nothing is left of an attempt that lost.
    async fn commit(&self, jobs: &[Job]) -> Result<Vec<Vec<Answer>>, StoreError> {
        let mut attempts = 1;
        loop {
            match self.attempt(jobs).await {
                Err(error) if attempts < ATTEMPTS_MAX && error.is_race() => attempts += 1,
                done => return done,
            }
        }
    }

    /// One transaction. An answer exists only after its commit.
    async fn attempt(&self, jobs: &[Job]) -> Result<Vec<Vec<Answer>>, StoreError> {
        let parts: Vec<&Candidate> = jobs.iter().flat_map(Job::candidates).collect();
        // Before the transaction: one writer on SQLite has one connection.
        let mut heads = BTreeMap::new();
        for Candidate { verified, .. } in &parts {
            if let std::collections::btree_map::Entry::Vacant(entry) = heads.entry(verified.target) {
                let cursor = self.store.get_cursor(verified.target).await?;
                entry.insert(cursor.map(|cursor| cursor.seen.timestamp));
            }
        }
        let mut txn = self.store.begin(self.clock.now_ms()).await?;
        let known = known(&txn, &parts).await?;
        let targets = targets(&txn, &parts, &heads).await?;
        let hubs = hubs(&txn, &parts).await?;
        let mut answers: Vec<Option<Answer>> = vec![None; parts.len()];
        let mut candidates = Vec::new();
        let mut refused: BTreeMap<ChainId, Vec<usize>> = BTreeMap::new();
        for (index, Candidate { verified, authority }) in parts.iter().enumerate() {
            if let Some(existing) = known.get(&verified.id) {
                answers[index] = Some(again(existing, &verified.coordinator_id));
                continue;
            }
            match self.judge(verified, authority, &targets, &hubs) {
                Ok(new) => candidates.push((index, new)),
                Err(error) => {
                    answers[index] = Some(Err(error));
                    refused.entry(verified.target).or_default().push(index);
                }
            }
        }
        for (target, indices) in refused {
            let Some(facts) = targets.get(&target).map(|target| &target.facts) else {
                continue;
            };
            for (index, new) in recalled(&txn, target, &indices, &parts, facts).await? {
                answers[index] = None;
                candidates.push((index, new));
            }
        }
        let (indices, news): (Vec<_>, Vec<_>) = candidates.into_iter().unzip();
        if !news.is_empty() {
            let decided = txn.accept_settlements(&news).await?;
            for ((index, accept), new) in indices.into_iter().zip(decided).zip(&news) {
                let proven = parts[index].verified.allotment.as_ref();
                if let (Accept::Accepted(_), Some(relies_on), Some(proven)) = (&accept, new.relies_on, proven) {
                    txn.put_hub_bound(relies_on.checkpoint, proven.token, proven.upper_bound)
                        .await?;
                }
                answers[index] = Some(answer(accept, &parts[index].verified.coordinator_id));
            }
        }
        // Every index was answered above; a missing answer would leave its client without one, so it is reported as such.
        let mut answers = answers
            .into_iter()
            .map(|answer| answer.unwrap_or(Err(IntakeError::Stopping)));
        let answers: Vec<Vec<Answer>> = jobs
            .iter()
            .map(|job| answers.by_ref().take(job.candidates().len()).collect())
            .collect();
        for (job, answers) in jobs.iter().zip(&answers) {
            let mut parts = job.candidates().iter().zip(answers);
            let is_new = |answer: &Answer| matches!(answer, Ok(accepted) if !accepted.existing);
            if let Some(group) = job.group_row()
                && parts.any(|(part, answer)| part.verified.group.is_some() && is_new(answer))
            {
                txn.put_group(group).await?;
            }
        }
        if !news.is_empty() {
            txn.commit().await?;
        }
        Ok(answers)
    }

    fn judge(
        &self,
        verified: &Verified,
        authority: &Authority,
        targets: &BTreeMap<ChainId, Target>,
        hubs: &Hubs,
    ) -> Result<NewSettlement, IntakeError> {
        let target = targets
            .get(&verified.target)
            .ok_or(IntakeError::TargetNotReady(verified.target))?;
        let head = target.head.ok_or(IntakeError::TargetNotReady(verified.target))?;
        let hub = verified
            .allotment
            .as_ref()
            .and_then(|proven| hubs.get(&hub_key(proven)));
        judge(&self.policy, verified, authority, &target.facts, hub, head)
    }
}

/// Those of the refused that a chain knows: they were accepted once, before this database was what it is.
async fn recalled(
    txn: &Txn,
    target: ChainId,
    refused: &[usize],
    parts: &[&Candidate],
    facts: &VaultFacts,
) -> Result<Vec<(usize, NewSettlement)>, StoreError> {
    let ids: Vec<SettlementId> = refused.iter().map(|index| parts[*index].verified.id).collect();
    let known = txn.known_on_chain(target, &ids).await?;
    let judged = refused.iter().filter_map(|index| {
        let Candidate { verified, authority } = parts[*index];
        let known = known.get(&verified.id)?;
        Some((*index, judge_recalled(verified, authority, facts, *known)?))
    });
    Ok(judged.collect())
}

/// The answer to every candidate of a job that could not be stored.
fn failed(job: &Job, error: &IntakeError) -> Vec<Answer> {
    job.candidates().iter().map(|_| Err(error.clone())).collect()
}

/// Settlements of the batch that were accepted before: they get their original answer, whatever the world looks like now.
async fn known(txn: &Txn, parts: &[&Candidate]) -> Result<HashMap<SettlementId, Settlement>, StoreError> {
    let ids: Vec<SettlementId> = parts.iter().map(|part| part.verified.id).collect();
    let found = txn.find_settlements(&ids).await?;
    Ok(found
        .into_iter()
        .map(|settlement| (settlement.id, settlement))
        .collect())
}

/// Hubs that candidates showed allotments of, by name, eon and token.
type Hubs = BTreeMap<(String, Eon, Address), HubFacts>;

fn hub_key(proven: &Proven) -> (String, Eon, Address) {
    (proven.hub.clone(), proven.eon, proven.token)
}

async fn hubs(txn: &Txn, parts: &[&Candidate]) -> Result<Hubs, StoreError> {
    let mut hubs = Hubs::new();
    for proven in parts.iter().filter_map(|part| part.verified.allotment.as_ref()) {
        let key = hub_key(proven);
        if hubs.contains_key(&key) {
            continue;
        }
        if let Some(facts) = txn.hub_facts(&proven.hub, proven.eon, proven.token).await? {
            hubs.insert(key, facts);
        }
    }
    Ok(hubs)
}

async fn targets(
    txn: &Txn,
    parts: &[&Candidate],
    heads: &BTreeMap<ChainId, Option<u64>>,
) -> Result<BTreeMap<ChainId, Target>, StoreError> {
    let mut queries: BTreeMap<ChainId, FactsQuery> = BTreeMap::new();
    for Candidate { verified, .. } in parts {
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
