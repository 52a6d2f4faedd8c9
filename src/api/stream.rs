//! SubmitStream: many submissions over one call, each answered by itself. Whatever the transport, a stream reads no faster than its items
//! are stored and answered, holds a bounded number of them, and ends with a reason.

use super::convert;
use super::error::{ApiError, BODY, BUSY, Kind, STALLED, STOPPING};
use super::handlers::Handlers;
use crate::metrics as names;
use futures::{Stream, StreamExt};
use metrics::{counter, gauge};
use relayer_proto::v1;
use relayer_proto::v1::submit_stream_response::Result as Outcome;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Name of the method in metrics.
const METHOD: &str = "SubmitStream";

/// Takes the word on one submission; called exactly once, from any task.
pub type SubmitReply = Box<dyn FnOnce(Result<v1::SubmitResponse, ApiError>) + Send + Sync>;

type Answered = (v1::SubmitStreamResponse, OwnedSemaphorePermit);

/// What the reading half and the answers share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Answers that are ready, and those the transport has taken: a client that does not read is told from a busy store by them.
    ready: AtomicU64,
    taken: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// None after the stream was given up: what waited is freed at once.
    answers: Option<mpsc::UnboundedReceiver<Answered>>,
    /// The stream's last word; None = all is said.
    end: Option<ApiError>,
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answers of one stream, in any order. Ends with an error when the relayer ends it.
#[derive(Debug)]
pub struct SubmitAnswers(Arc<Shared>);

impl Stream for SubmitAnswers {
    type Item = Result<v1::SubmitStreamResponse, ApiError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.state();
        if let Some(answers) = &mut state.answers {
            match answers.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some((answer, _place))) => {
                    self.0.taken.fetch_add(1, Ordering::Relaxed);
                    return Poll::Ready(Some(Ok(answer)));
                }
                Poll::Ready(None) => {}
            }
        }
        Poll::Ready(state.end.take().map(Err))
    }
}

impl Drop for SubmitAnswers {
    fn drop(&mut self) {
        // The client is gone: its places are free, so that the reading half comes to its end.
        self.0.state().answers = None;
    }
}

/// Why reading ended.
enum End {
    /// The client has said everything.
    Finished,
    Unreadable(String),
    Stopping,
    Stalled,
}

/// The reading half of one stream.
struct Reader {
    handlers: Arc<Handlers>,
    caller: super::auth::Caller,
    shared: Arc<Shared>,
    answers: mpsc::UnboundedSender<Answered>,
    places: Arc<Semaphore>,
    stall: Duration,
}

impl Handlers {
    /// Starts a stream. Refused as a whole only for its token, or when there are too many requests in flight.
    pub fn submit_stream<R, E>(self: &Arc<Self>, token: Option<&str>, requests: R) -> Result<SubmitAnswers, ApiError>
    where
        R: Stream<Item = Result<v1::SubmitStreamRequest, E>> + Send + Unpin + 'static,
        E: std::fmt::Display + Send,
    {
        let caller = self.caller(token)?;
        let slot = self.slots().try_acquire_owned().map_err(|_| {
            let mut error = ApiError::new(Kind::ResourceExhausted, BUSY, "too many requests in flight");
            error.retry_after = Some(Duration::from_secs(1));
            error
        })?;
        let (answers, ready) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                answers: Some(ready),
                end: None,
            }),
            ready: AtomicU64::new(0),
            taken: AtomicU64::new(0),
        });
        let reader = Reader {
            handlers: self.clone(),
            caller,
            shared: shared.clone(),
            answers,
            places: Arc::new(Semaphore::new(self.limits().stream_items_max)),
            stall: Duration::from_millis(self.limits().stream_stall_ms),
        };
        tokio::spawn(async move {
            gauge!(names::API_STREAM_COUNT, "method" => METHOD).increment(1.0);
            let code = reader.run(requests).await;
            gauge!(names::API_STREAM_COUNT, "method" => METHOD).decrement(1.0);
            counter!(names::API_REQUESTS_TOTAL, "method" => METHOD, "code" => code).increment(1);
            drop(slot);
        });
        Ok(SubmitAnswers(shared))
    }
}

impl Reader {
    /// Reads to an end, then waits until what was taken is answered and the answers are taken. Returns the code of the end.
    async fn run<R, E>(self, mut requests: R) -> &'static str
    where
        R: Stream<Item = Result<v1::SubmitStreamRequest, E>> + Send + Unpin,
        E: std::fmt::Display + Send,
    {
        let end = tokio::select! {
            end = self.read(&mut requests) => end,
            () = self.stalled() => End::Stalled,
        };
        // Whatever the client still says is not read any more.
        drop(requests);
        let word = match end {
            End::Finished => None,
            End::Unreadable(reason) => Some(ApiError::new(Kind::InvalidArgument, BODY, reason)),
            End::Stopping => Some(ApiError::new(Kind::Unavailable, STOPPING, "the relayer is stopping")),
            End::Stalled => return self.give_up(),
        };
        let code = word.as_ref().map_or("ok", |error| error.code.code);
        self.shared.state().end = word;
        let all = u32::try_from(self.handlers.limits().stream_items_max).unwrap_or(u32::MAX);
        tokio::select! {
            _ = self.places.acquire_many(all) => code,
            () = self.stalled() => self.give_up(),
        }
    }

    async fn read<R, E>(&self, requests: &mut R) -> End
    where
        R: Stream<Item = Result<v1::SubmitStreamRequest, E>> + Send + Unpin,
        E: std::fmt::Display + Send,
    {
        let stop = self.handlers.stop().clone();
        loop {
            let next = async {
                // A place first: without one nothing is read, and the transport holds the client back.
                let place = self.places.clone().acquire_owned().await.ok()?;
                Some((place, requests.next().await))
            };
            let next = tokio::select! {
                biased;
                () = stop.cancelled() => return End::Stopping,
                next = next => next,
            };
            match next {
                Some((place, Some(Ok(request)))) => self.take(request, place).await,
                Some((_, Some(Err(error)))) => return End::Unreadable(error.to_string()),
                Some((_, None)) | None => return End::Finished,
            }
        }
    }

    /// Hands one item over; waits while the intake is full.
    async fn take(&self, request: v1::SubmitStreamRequest, place: OwnedSemaphorePermit) {
        let (item, answers, shared) = (request.item, self.answers.clone(), self.shared.clone());
        let reply: SubmitReply = Box::new(move |outcome| {
            count(&outcome);
            let result = match outcome {
                Ok(accepted) => Outcome::Accepted(accepted),
                Err(error) => Outcome::Refused(convert::refusal(&error)),
            };
            let answer = v1::SubmitStreamResponse {
                item,
                result: Some(result),
            };
            shared.ready.fetch_add(1, Ordering::Relaxed);
            // The client may be gone, or was given up; it finds its settlement by submitting it again.
            let _ = answers.send((answer, place));
        });
        match request.submit {
            Some(submit) => self.handlers.submit_item(&self.caller, submit, reply).await,
            None => reply(Err(ApiError::field("submit", "is missing"))),
        }
    }

    /// Returns when an answer has waited for the whole stall time and the transport took none meanwhile.
    async fn stalled(&self) {
        loop {
            let taken = self.shared.taken.load(Ordering::Relaxed);
            let waits = self.shared.ready.load(Ordering::Relaxed) > taken;
            tokio::time::sleep(self.stall).await;
            if waits && self.shared.taken.load(Ordering::Relaxed) == taken {
                return;
            }
        }
    }

    /// Frees what waits; the client learns why when it reads again.
    fn give_up(&self) -> &'static str {
        let message = format!("no answer was taken for {} ms", self.stall.as_millis());
        let mut state = self.shared.state();
        state.answers = None;
        state.end = Some(ApiError::new(Kind::DeadlineExceeded, STALLED, message));
        STALLED.code
    }
}

/// Counts the outcome of one submission.
pub(super) fn count(outcome: &Result<v1::SubmitResponse, ApiError>) {
    match outcome {
        Ok(accepted) => {
            let duplicate = if accepted.duplicate { "true" } else { "false" };
            counter!(names::INTAKE_ACCEPTED_TOTAL, "duplicate" => duplicate).increment(1);
        }
        Err(error) => counter!(names::INTAKE_REFUSED_TOTAL, "code" => error.code.code).increment(1),
    }
}
