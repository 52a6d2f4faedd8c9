//! Verification on every core. Whatever came in while the threads were busy is verified in chunks: at rest a chunk is one request and waits
//! for nobody, under load it is large enough that handing it over costs nothing.

use super::authorize::{self, Authority};
use super::error::IntakeError;
use super::policy::IntakePolicy;
use super::request::SubmitRequest;
use super::service::{Gate, Room};
use super::verify::{Verified, verify_chunk};
use super::writer::{Candidate, Job, Reply};
use crate::chain::Chain;
use crate::settlement::ChainId;
use crate::store::Store;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// Requests of one chunk. Batches of signatures gain little beyond; at 0.1 ms each a chunk keeps a thread for a few milliseconds.
const CHUNK_MAX: usize = 64;
/// Contract payers asked at once.
const ASKED_MAX: usize = 64;

/// A request that has room and waits for a thread.
#[derive(Debug)]
pub(super) struct Pending {
    pub request: SubmitRequest,
    pub room: Room,
    pub reply: Reply,
}

/// The threads. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Pool(Arc<ThreadPool>);

impl Pool {
    /// 0 threads = one per core.
    pub fn new(threads: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("verify-{index}"))
            .build()?;
        Ok(Self(Arc::new(pool)))
    }

    pub fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        self.0.spawn(work);
    }

    fn threads(&self) -> usize {
        self.0.current_num_threads()
    }
}

/// Takes what waits, verifies it, hands it to the writer.
#[derive(Debug)]
pub(super) struct VerifyPool {
    pool: Pool,
    gate: Gate,
    waiting: mpsc::UnboundedReceiver<Pending>,
    verifier: Verifier,
}

/// What a chunk needs.
#[derive(Clone)]
struct Verifier {
    policy: Arc<IntakePolicy>,
    store: Store,
    chains: Arc<BTreeMap<ChainId, Arc<dyn Chain>>>,
    jobs: mpsc::UnboundedSender<Job>,
    asking: Arc<Semaphore>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

impl VerifyPool {
    pub fn new(
        policy: Arc<IntakePolicy>,
        store: Store,
        chains: Arc<BTreeMap<ChainId, Arc<dyn Chain>>>,
        pool: Pool,
        gate: Gate,
        waiting: mpsc::UnboundedReceiver<Pending>,
        jobs: mpsc::UnboundedSender<Job>,
    ) -> Self {
        let verifier = Verifier {
            policy,
            store,
            chains,
            jobs,
            asking: Arc::new(Semaphore::new(ASKED_MAX)),
        };
        Self {
            pool,
            gate,
            waiting,
            verifier,
        }
    }

    /// Until the intake is gone, or until `stop`; what has room then is still verified and handed over.
    pub async fn run(mut self, stop: CancellationToken) {
        // One chunk more than threads, so that no thread waits for the next.
        let slots = Arc::new(Semaphore::new(self.pool.threads().saturating_add(1)));
        let mut chunk = Vec::with_capacity(CHUNK_MAX);
        let mut stopping = false;
        while let Ok(slot) = slots.clone().acquire_owned().await {
            let count = tokio::select! {
                biased;
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    self.gate.close();
                    self.waiting.close();
                    continue;
                }
                count = self.waiting.recv_many(&mut chunk, CHUNK_MAX) => count,
            };
            if count == 0 {
                return;
            }
            let (verifier, runtime) = (self.verifier.clone(), Handle::current());
            let taken = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK_MAX));
            self.pool.spawn(move || {
                verifier.verify(taken, &runtime);
                drop(slot);
            });
        }
    }
}

impl Verifier {
    fn verify(&self, chunk: Vec<Pending>, runtime: &Handle) {
        let mut requests = Vec::with_capacity(chunk.len());
        let mut waiting = Vec::with_capacity(chunk.len());
        for Pending { request, room, reply } in chunk {
            requests.push(request);
            waiting.push((room, reply));
        }
        let verdicts = verify_chunk(&self.policy, &requests);
        drop(requests);
        for ((mut room, reply), verdict) in waiting.into_iter().zip(verdicts) {
            room.free_bytes();
            match verdict {
                Err(error) => reply.send(Err(error)),
                Ok(verified) => match authorize::fast(&verified) {
                    Some(authority) => self.hand_over(verified, authority, room, reply),
                    None => {
                        let verifier = self.clone();
                        runtime.spawn(async move { verifier.ask(verified, room, reply).await });
                    }
                },
            }
        }
    }

    /// The way of those whose authorization takes the database or a chain to judge.
    async fn ask(self, verified: Verified, room: Room, reply: Reply) {
        let Ok(_turn) = self.asking.acquire().await else {
            return reply.send(Err(IntakeError::Stopping));
        };
        let chain = self.chains.get(&verified.target).map(AsRef::as_ref);
        match authorize::slow(&self.store, chain, &verified).await {
            Ok(authority) => self.hand_over(verified, authority, room, reply),
            Err(error) => reply.send(Err(error)),
        }
    }

    fn hand_over(&self, verified: Verified, authority: Authority, room: Room, reply: Reply) {
        let candidate = Candidate { verified, authority };
        // A writer that is gone drops the job, and its reply says so.
        let _ = self.jobs.send(Job::one(candidate, room, reply));
    }
}
