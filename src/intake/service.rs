//! The front of the intake: bounds what is under way by number and bytes, and hands it on.

use super::authorize::Authority;
use super::error::IntakeError;
use super::policy::IntakePolicy;
use super::pool::{Pending, Pool, VerifyPool};
use super::request::{Accepted, SubmitRequest};
use super::verify::Verified;
use super::writer::{Answer, Candidate, Group, IntakeWriter, Job, Reply};
use crate::chain::Chain;
use crate::clock::Clock;
use crate::settlement::ChainId;
use crate::store::{NewGroup, Store};
use futures::future::join_all;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot};

/// What one permit of the byte bound stands for; semaphores count to 2^29 on small machines.
const BYTES_PER_PERMIT: usize = 1_024;

/// Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    inner: Arc<Inner>,
}

struct Inner {
    policy: Arc<IntakePolicy>,
    store: Store,
    chains: Arc<BTreeMap<ChainId, Arc<dyn Chain>>>,
    pool: Pool,
    gate: Gate,
    /// Never longer than the gate lets in.
    pending: mpsc::UnboundedSender<Pending>,
    /// Weak, so that the writer sees the end when verification has ended.
    jobs: mpsc::WeakUnboundedSender<Job>,
}

/// Bounds what is under way. Closed when the intake stops.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    count: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    count_max: usize,
    permits_max: u32,
}

/// The place of a request among those under way, given back when dropped.
#[derive(Debug)]
pub(super) struct Room {
    _count: OwnedSemaphorePermit,
    bytes: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// The raw bytes are gone; the settlement itself still waits for its commit.
    pub fn free_bytes(&mut self) {
        self.bytes = None;
    }
}

impl Gate {
    fn new(policy: &IntakePolicy) -> Self {
        let count_max = policy.queue_max.clamp(1, Semaphore::MAX_PERMITS);
        let permits = (policy.queue_bytes_max / BYTES_PER_PERMIT).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            count: Arc::new(Semaphore::new(count_max)),
            bytes: Arc::new(Semaphore::new(permits)),
            count_max,
            permits_max: u32::try_from(permits).unwrap_or(u32::MAX),
        }
    }

    /// A request larger than the whole bound takes all of it and so goes alone.
    fn permits(&self, bytes: usize) -> u32 {
        let wanted = u32::try_from(bytes.div_ceil(BYTES_PER_PERMIT)).unwrap_or(u32::MAX);
        wanted.min(self.permits_max)
    }

    fn places(&self, requests: usize) -> u32 {
        u32::try_from(requests.min(self.count_max)).unwrap_or(u32::MAX)
    }

    fn try_enter(&self, requests: usize, bytes: usize) -> Result<Room, IntakeError> {
        let refused = |error| match error {
            TryAcquireError::NoPermits => IntakeError::Busy {
                queued: self.under_way(),
            },
            TryAcquireError::Closed => IntakeError::Stopping,
        };
        let count = self.count.clone().try_acquire_many_owned(self.places(requests));
        let count = count.map_err(refused)?;
        let bytes = self.bytes.clone().try_acquire_many_owned(self.permits(bytes));
        Ok(Room {
            _count: count,
            bytes: Some(bytes.map_err(refused)?),
        })
    }

    async fn enter(&self, requests: usize, bytes: usize) -> Result<Room, IntakeError> {
        let stopping = |_| IntakeError::Stopping;
        let count = self.count.clone().acquire_many_owned(self.places(requests)).await;
        let count = count.map_err(stopping)?;
        let bytes = self.bytes.clone().acquire_many_owned(self.permits(bytes)).await;
        Ok(Room {
            _count: count,
            bytes: Some(bytes.map_err(stopping)?),
        })
    }

    pub fn under_way(&self) -> usize {
        self.count_max.saturating_sub(self.count.available_permits())
    }

    pub fn close(&self) {
        self.count.close();
        self.bytes.close();
    }
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake").finish_non_exhaustive()
    }
}

impl Intake {
    /// The intake and its writer, which must run for anything to be accepted. `chains` are the targets; `accepted` is notified after
    /// each commit, so that the batcher need not wait for its next look.
    pub fn new(
        policy: IntakePolicy,
        store: Store,
        chains: BTreeMap<ChainId, Arc<dyn Chain>>,
        clock: Arc<dyn Clock>,
        accepted: Arc<Notify>,
    ) -> Result<(Self, IntakeWriter), rayon::ThreadPoolBuildError> {
        let policy = Arc::new(policy);
        let chains = Arc::new(chains);
        let pool = Pool::new(policy.verify_threads)?;
        let gate = Gate::new(&policy);
        let (pending, waiting) = mpsc::unbounded_channel();
        let (jobs, verified) = mpsc::unbounded_channel();
        let inner = Inner {
            policy: policy.clone(),
            store: store.clone(),
            chains: chains.clone(),
            pool: pool.clone(),
            gate: gate.clone(),
            pending,
            jobs: jobs.downgrade(),
        };
        let verifier = VerifyPool::new(policy.clone(), store.clone(), chains, pool, gate.clone(), waiting, jobs);
        let writer = IntakeWriter::new(policy, store, clock, gate, verifier, verified, accepted);
        Ok((Self { inner: Arc::new(inner) }, writer))
    }

    /// Accepts one settlement, or refuses when the intake is full. `Ok` means durable. Dropping the future does not undo what the
    /// writer already has.
    pub async fn submit(&self, request: SubmitRequest) -> Result<Accepted, IntakeError> {
        let room = self.inner.gate.try_enter(1, request.bytes())?;
        let (answer, answered) = oneshot::channel();
        self.hand_over(
            request,
            room,
            Reply::new(move |word| {
                // Nobody waits any more when the client has hung up.
                let _ = answer.send(word);
            }),
        );
        answered.await.map_err(|_| IntakeError::Stopping)?
    }

    /// Many at once; each is judged alone, answers in the order given.
    pub async fn submit_many(&self, requests: Vec<SubmitRequest>) -> Vec<Result<Accepted, IntakeError>> {
        join_all(requests.into_iter().map(|request| self.submit(request))).await
    }

    /// Hands over one settlement of many; a full intake lets the caller wait. Returns when the request is taken or refused; `reply` is
    /// called exactly once, from any task, with what [`Intake::submit`] would have returned. Dropping the future before it returned
    /// submits nothing and still calls `reply`.
    pub async fn submit_with(&self, request: SubmitRequest, reply: impl FnOnce(Answer) + Send + Sync + 'static) {
        let reply = Reply::new(reply);
        match self.inner.gate.enter(1, request.bytes()).await {
            Ok(room) => self.hand_over(request, room, reply),
            Err(error) => reply.send(Err(error)),
        }
    }

    fn hand_over(&self, request: SubmitRequest, room: Room, reply: Reply) {
        // When the intake has stopped, the reply is dropped with the request, and says so.
        let _ = self.inner.pending.send(Pending { request, room, reply });
    }
}

/// What a group needs of the pipeline.
impl Intake {
    pub(super) fn policy(&self) -> &Arc<IntakePolicy> {
        &self.inner.policy
    }

    pub(super) fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(super) fn chain(&self, id: ChainId) -> Option<&dyn Chain> {
        self.inner.chains.get(&id).map(AsRef::as_ref)
    }

    /// Room for this many requests of together so many bytes, or a refusal.
    pub(super) fn room(&self, requests: usize, bytes: usize) -> Result<Room, IntakeError> {
        self.inner.gate.try_enter(requests, bytes)
    }

    /// Runs CPU work on the verification threads; rayon's parallel iterators inside it use all of them.
    pub(super) async fn on_pool<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, IntakeError> {
        let (done, result) = oneshot::channel();
        self.inner.pool.spawn(move || {
            let _ = done.send(work());
        });
        result.await.map_err(|_| IntakeError::Stopping)
    }

    /// Has the writer store these items in one commit, and the group with them when at least one is accepted. Answers in order.
    pub(super) async fn commit_group(
        &self,
        group: NewGroup,
        items: Vec<(Verified, Authority)>,
        room: Room,
    ) -> Result<Vec<Answer>, IntakeError> {
        let jobs = self.inner.jobs.upgrade().ok_or(IntakeError::Stopping)?;
        let (done, answered) = oneshot::channel();
        let candidates = items
            .into_iter()
            .map(|(verified, authority)| Candidate { verified, authority })
            .collect();
        let group = Group {
            group,
            candidates,
            done,
        };
        jobs.send(Job::group(group, room)).map_err(|_| IntakeError::Stopping)?;
        drop(jobs);
        answered.await.map_err(|_| IntakeError::Stopping)
    }
}
