//! One client's stream: a task that reads the feed at the pace the client takes responses.

use super::page::{Filter, Frame, Selection};
use super::{Inner, Seat};
use crate::api::error::{ApiError, Kind, STALLED, STOPPING, UNREADABLE};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Responses made ahead of the client.
const AHEAD: usize = 2;

/// Where a client starts and what it wants.
#[derive(Debug, Clone)]
pub struct Plan {
    /// None = from now on; 0 = the beginning of what is kept.
    pub after: Option<i64>,
    pub filter: Filter,
    pub heartbeat: Duration,
}

/// Responses, and at the end why it ended.
#[derive(Debug)]
pub struct Watching {
    frames: mpsc::Receiver<Frame>,
    end: Arc<Mutex<Option<ApiError>>>,
}

impl futures::Stream for Watching {
    type Item = Result<Frame, ApiError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.frames.poll_recv(cx) {
            Poll::Ready(Some(frame)) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(None) => {
                let end = self.end.lock().unwrap_or_else(PoisonError::into_inner).take();
                Poll::Ready(end.map(Err))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

pub(super) fn start(seat: Seat, plan: Plan, after: i64) -> Watching {
    let (sender, frames) = mpsc::channel(AHEAD);
    let end = Arc::new(Mutex::new(None));
    let why = end.clone();
    let watcher = Watcher {
        newest: seat.0.newest.subscribe(),
        outages: seat.0.outages.subscribe(),
        seat,
        plan,
        after,
        told: after,
        sender,
    };
    tokio::spawn(async move {
        let (error, _sender) = watcher.run().await;
        // Stored before the channel closes, so that the client hears it.
        *why.lock().unwrap_or_else(PoisonError::into_inner) = error;
    });
    Watching { frames, end }
}

struct Watcher {
    seat: Seat,
    plan: Plan,
    /// How far it has looked.
    after: i64,
    /// How far the client knows.
    told: i64,
    newest: watch::Receiver<i64>,
    /// Of the reader; those from before it came are none of its own.
    outages: watch::Receiver<u64>,
    sender: mpsc::Sender<Frame>,
}

/// Why a watch ends; None when the client is gone.
type End = Option<ApiError>;

impl Watcher {
    async fn run(mut self) -> (End, mpsc::Sender<Frame>) {
        let end = match self.serve().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        (end, self.sender)
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        let inner = self.seat.0.clone();
        let mut heartbeat = Instant::now() + self.plan.heartbeat;
        // Tells the cursor at once, so that a client that starts now can continue from it even if nothing ever comes.
        self.send(&inner, Selection::default()).await?;
        loop {
            if inner.stop.is_cancelled() {
                return Err(Some(self.stopping()));
            }
            let newest = *self.newest.borrow_and_update();
            if self.after < newest {
                let page = tokio::select! {
                    page = inner.page_after(self.after) => page.map_err(|error| Some(self.with_cursor(error)))?,
                    _ = self.outages.changed() => return Err(Some(self.unreadable(inner.limits.outage))),
                };
                match page {
                    Some(page) => {
                        let selection = page.select(self.after, &self.plan.filter);
                        self.after = page.last();
                        if selection.count > 0 {
                            self.send(&inner, selection).await?;
                            heartbeat = Instant::now() + self.plan.heartbeat;
                        } else if Instant::now() >= heartbeat {
                            self.send(&inner, Selection::default()).await?;
                            heartbeat = Instant::now() + self.plan.heartbeat;
                        }
                        continue;
                    }
                    // The table ends before what was announced; only a database put back in time does that.
                    None => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
            tokio::select! {
                () = inner.stop.cancelled() => {}
                () = self.sender.closed() => return Err(None),
                () = tokio::time::sleep_until(heartbeat) => {
                    self.send(&inner, Selection::default()).await?;
                    heartbeat = Instant::now() + self.plan.heartbeat;
                }
                _ = self.outages.changed() => return Err(Some(self.unreadable(inner.limits.outage))),
                changed = self.newest.changed() => if changed.is_err() { return Err(None) },
            }
        }
    }

    async fn send(&mut self, inner: &Inner, selection: Selection) -> Result<(), End> {
        let frame = Frame {
            selection,
            after_seq: self.after,
            newest_seq: self.after.max(*self.newest.borrow()),
            at_ms: inner.clock.now_ms(),
        };
        tokio::select! {
            sent = tokio::time::timeout(inner.limits.stall, self.sender.send(frame)) => match sent {
                Ok(Ok(())) => {
                    self.told = self.after;
                    Ok(())
                }
                Ok(Err(_)) => Err(None),
                Err(_) => Err(Some(self.stalled(inner.limits.stall))),
            },
            () = inner.stop.cancelled() => Err(Some(self.stopping())),
        }
    }

    fn with_cursor(&self, error: ApiError) -> ApiError {
        error.with("after_seq", self.told.to_string())
    }

    fn stopping(&self) -> ApiError {
        let message = format!("the relayer stops: continue from after_seq {}", self.told);
        self.with_cursor(ApiError::new(Kind::Unavailable, STOPPING, message))
    }

    fn unreadable(&self, outage: Duration) -> ApiError {
        let message = format!(
            "the database has not answered for {} ms, so changes cannot be read: continue from after_seq {}",
            outage.as_millis(),
            self.told
        );
        let mut error = self.with_cursor(ApiError::new(Kind::Unavailable, UNREADABLE, message));
        error.retry_after = Some(Duration::from_secs(1));
        error
    }

    fn stalled(&self, stall: Duration) -> ApiError {
        let message = format!(
            "nothing was read from this stream for {} ms: continue from after_seq {}",
            stall.as_millis(),
            self.told
        );
        self.with_cursor(ApiError::new(Kind::ResourceExhausted, STALLED, message))
    }
}
