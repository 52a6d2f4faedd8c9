//! The front of the intake: bounds what is under way, verifies on the pool, hands over to the writer, waits for its word.

use super::authorize::{self, Authority};
use super::error::IntakeError;
use super::policy::IntakePolicy;
use super::request::{Accepted, SubmitRequest};
use super::verify::{Verified, verify};
use super::writer::{IntakeWriter, Job};
use crate::chain::Chain;
use crate::clock::Clock;
use crate::settlement::ChainId;
use crate::store::Store;
use futures::future::join_all;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

/// Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    inner: Arc<Inner>,
}

struct Inner {
    policy: Arc<IntakePolicy>,
    store: Store,
    chains: BTreeMap<ChainId, Arc<dyn Chain>>,
    pool: ThreadPool,
    /// One permit per request under way; the queue has room for all of them, so handing over never waits.
    permits: Semaphore,
    queue: mpsc::Sender<Job>,
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
        let pool = ThreadPoolBuilder::new()
            .num_threads(policy.verify_threads)
            .thread_name(|index| format!("verify-{index}"))
            .build()?;
        let (queue, jobs) = mpsc::channel(policy.queue_max.max(1));
        let writer = IntakeWriter::new(policy.clone(), store.clone(), clock, jobs, accepted);
        let inner = Inner {
            permits: Semaphore::new(policy.queue_max.max(1)),
            policy,
            store,
            chains,
            pool,
            queue,
        };
        Ok((Self { inner: Arc::new(inner) }, writer))
    }

    /// Accepts one settlement. `Ok` means durable. Dropping the future does not undo what the writer already has.
    pub async fn submit(&self, request: SubmitRequest) -> Result<Accepted, IntakeError> {
        let inner = &self.inner;
        let _permit = inner.permits.try_acquire().map_err(|_| IntakeError::Busy {
            queued: inner.policy.queue_max,
        })?;
        let verified = self.verify(request).await?;
        let authority = self.authorize(&verified).await?;
        let (answer, answered) = oneshot::channel();
        let job = Job {
            verified,
            authority,
            answer,
        };
        inner.queue.send(job).await.map_err(|_| IntakeError::Stopping)?;
        answered.await.map_err(|_| IntakeError::Stopping)?
    }

    /// Many at once; each is judged alone, answers in the order given.
    pub async fn submit_many(&self, requests: Vec<SubmitRequest>) -> Vec<Result<Accepted, IntakeError>> {
        join_all(requests.into_iter().map(|request| self.submit(request))).await
    }

    async fn verify(&self, request: SubmitRequest) -> Result<Verified, IntakeError> {
        let (done, verified) = oneshot::channel();
        let policy = self.inner.policy.clone();
        self.inner.pool.spawn(move || {
            // Nobody waits any more when the client has hung up.
            let _ = done.send(verify(&policy, &request));
        });
        verified.await.map_err(|_| IntakeError::Stopping)?
    }

    async fn authorize(&self, verified: &Verified) -> Result<Authority, IntakeError> {
        match authorize::fast(verified) {
            Some(authority) => Ok(authority),
            None => {
                let chain = self.inner.chains.get(&verified.target).map(AsRef::as_ref);
                authorize::slow(&self.inner.store, chain, verified).await
            }
        }
    }
}
