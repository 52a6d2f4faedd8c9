//! The feed: what Watch and the event stream of REST read. One reader per process follows the end of the event table while anybody
//! watches, and keeps the newest changes, encoded once, for all watchers; a watcher further behind reads pages of the table through one
//! shared door. Every watcher has a task of its own that hands out no more than its client takes, so a slow client holds up nobody.
//!
//! `seq` is gap-free in commit order: it is taken from one counter row in the transaction that writes the events, as its last statements.
//! So a change that follows is the one with the next number, and a missing number can only have been pruned.
//!
//! A database that is away is told: after [`FeedLimits::outage`] without a read every watcher ends with the cursor to continue from, because
//! heartbeats that go on would say that nothing happens.
//!
//! Layout: this page reads; [`page`] is a run of events and a filter over it; [`watcher`] serves one client.

pub mod page;
mod watcher;

pub use page::{Filter, Frame, Symbols};
pub use watcher::{Plan, Watching};

use super::error::{ApiError, BUSY, CURSOR_FUTURE, CURSOR_OLD, Kind};
use crate::clock::Clock;
use crate::store::Store;
use page::Page;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Events read from the table at once: large enough that a read is cheap per event, small enough for one response.
const PAGE_EVENTS: u64 = 1_000;
/// Pages watchers that are behind share: those that catch up together read each page once.
const CATCH_UP_PAGES: usize = 16;
/// The reader looks for changes at least this often; the store wakes it earlier, but a notification can be lost.
const POLL: Duration = Duration::from_millis(500);
/// Commits within this time go out together.
const GATHER: Duration = Duration::from_millis(4);
/// After a failed read.
const RETRY: Duration = Duration::from_millis(500);

/// Bounds of the feed.
#[derive(Debug, Clone, Copy)]
pub struct FeedLimits {
    /// Newest changes kept in memory.
    pub ring_events: usize,
    pub streams_max: usize,
    /// A client that takes nothing for so long is cut off.
    pub stall: Duration,
    /// Watchers end when nothing could be read for so long.
    pub outage: Duration,
}

impl FeedLimits {
    /// Longer than a restart of a database that is well, shorter than people's patience with silence.
    pub const OUTAGE: Duration = Duration::from_secs(10);
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Feed(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    limits: FeedLimits,
    symbols: Symbols,
    ring: Mutex<Ring>,
    /// Newest change the reader has put into the ring.
    newest: watch::Sender<i64>,
    /// Moves on each time nothing could be read for as long as is bearable.
    outages: watch::Sender<u64>,
    catch_up: tokio::sync::Mutex<VecDeque<Arc<Page>>>,
    watchers: AtomicUsize,
    /// Wakes the reader when the first watcher comes.
    first: Notify,
    stop: CancellationToken,
}

/// The newest pages, oldest first, without a gap between them.
#[derive(Debug, Default)]
struct Ring {
    pages: VecDeque<Arc<Page>>,
    events: usize,
}

impl Ring {
    fn push(&mut self, page: Arc<Page>, max: usize) {
        self.events = self.events.saturating_add(page.count());
        self.pages.push_back(page);
        while self.events > max && self.pages.len() > 1 {
            if let Some(old) = self.pages.pop_front() {
                self.events = self.events.saturating_sub(old.count());
            }
        }
    }

    fn find(&self, after: i64) -> Option<Arc<Page>> {
        let index = self.pages.partition_point(|page| page.last() <= after);
        self.pages.get(index).filter(|page| page.follows(after)).cloned()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds the lock, and a ring is whole at every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feed {
    /// Starts the reader, which rests until somebody watches and ends with `stop`.
    pub fn start(store: Store, clock: Arc<dyn Clock>, limits: FeedLimits, stop: CancellationToken) -> Self {
        let feed = Self(Arc::new(Inner {
            store,
            clock,
            limits,
            symbols: Symbols::default(),
            ring: Mutex::default(),
            newest: watch::Sender::new(0),
            outages: watch::Sender::new(0),
            catch_up: tokio::sync::Mutex::default(),
            watchers: AtomicUsize::new(0),
            first: Notify::new(),
            stop,
        }));
        tokio::spawn(follow(feed.0.clone()));
        feed
    }

    pub fn symbols(&self) -> &Symbols {
        &self.0.symbols
    }

    /// Serves one client from where its plan says. Refuses a cursor that cannot be continued from.
    pub async fn watch(&self, plan: Plan) -> Result<Watching, ApiError> {
        let inner = &self.0;
        let seat = Seat::take(inner)?;
        let newest = inner.store.newest_seq().await?;
        let oldest = inner.store.oldest_cursor().await?;
        let after = match plan.after {
            None => newest,
            // The beginning of what is kept.
            Some(0) => oldest,
            Some(after) if after < oldest => return Err(too_old(after, oldest)),
            Some(after) if after > newest => return Err(in_the_future(after, newest)),
            Some(after) => after,
        };
        Ok(watcher::start(seat, plan, after))
    }

    /// Streams open now.
    pub fn streams(&self) -> usize {
        self.0.watchers.load(Ordering::Relaxed)
    }
}

/// One of the streams there may be; given back when dropped.
#[derive(Debug)]
struct Seat(Arc<Inner>);

impl Seat {
    fn take(inner: &Arc<Inner>) -> Result<Self, ApiError> {
        let taken = inner.watchers.fetch_add(1, Ordering::Relaxed);
        let seat = Self(inner.clone());
        if taken >= inner.limits.streams_max {
            let mut error = ApiError::new(Kind::ResourceExhausted, BUSY, "too many watches are open");
            error.retry_after = Some(Duration::from_secs(5));
            return Err(error);
        }
        if taken == 0 {
            inner.first.notify_one();
        }
        Ok(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) fn too_old(after: i64, oldest: i64) -> ApiError {
    let message = format!(
        "changes up to {oldest} have been pruned, so nothing can follow cursor {after} without a gap: read the present with List or Get, \
         then watch from_now or after {oldest}"
    );
    ApiError::new(Kind::OutOfRange, CURSOR_OLD, message).with("oldest_cursor", oldest.to_string())
}

fn in_the_future(after: i64, newest: i64) -> ApiError {
    let message = format!(
        "cursor {after} is ahead of the newest change there is, {newest}: the database was restored from a backup, or the cursor is of \
         another relayer"
    );
    ApiError::new(Kind::FailedPrecondition, CURSOR_FUTURE, message).with("newest_seq", newest.to_string())
}

/// The reader: follows the end of the event table while anybody watches.
async fn follow(inner: Arc<Inner>) {
    loop {
        tokio::select! {
            () = inner.stop.cancelled() => return,
            () = inner.first.notified() => {}
        }
        let mut last = None;
        let mut changes = inner.store.changes();
        let mut silence = Silence::default();
        while inner.watchers.load(Ordering::Relaxed) > 0 && !inner.stop.is_cancelled() {
            changes.mark_unchanged();
            let began = Instant::now();
            let read = tokio::time::timeout(silence.left(inner.limits.outage), read_new(&inner, &mut last));
            let (wait, wakes) = match read.await {
                Ok(Ok(more)) => {
                    silence.end();
                    if more { (GATHER, false) } else { (POLL, true) }
                }
                failed => {
                    match failed {
                        Ok(Err(error)) => tracing::warn!(%error, "reading changes for watchers failed; trying again"),
                        _ => tracing::warn!("reading changes for watchers takes too long; trying again"),
                    }
                    if silence.lasts(began, inner.limits.outage) {
                        inner.outages.send_modify(|outages| *outages = outages.wrapping_add(1));
                    }
                    (RETRY, false)
                }
            };
            tokio::select! {
                () = inner.stop.cancelled() => return,
                Ok(()) = changes.changed(), if wakes => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        // Nobody watches: what is in memory grows stale, so it goes.
        *locked(&inner.ring) = Ring::default();
    }
}

/// Since when nothing could be read.
#[derive(Debug, Default)]
struct Silence(Option<Instant>);

impl Silence {
    /// How long the next read may take, so that one that hangs is noticed when one that fails would be.
    fn left(&self, outage: Duration) -> Duration {
        let spent = self.0.map_or(Duration::ZERO, |since| since.elapsed());
        outage.saturating_sub(spent).max(RETRY.min(outage))
    }

    fn end(&mut self) {
        self.0 = None;
    }

    /// A read that began then failed; true when watchers are to be told, once in each such time.
    fn lasts(&mut self, began: Instant, outage: Duration) -> bool {
        let told = self.0.get_or_insert(began).elapsed() >= outage;
        if told {
            self.0 = Some(Instant::now());
        }
        told
    }
}

/// Puts the changes after `last` into the ring; true when there were any.
async fn read_new(inner: &Inner, last: &mut Option<i64>) -> Result<bool, crate::store::StoreError> {
    let after = match *last {
        Some(after) => after,
        None => {
            let newest = inner.store.newest_seq().await?;
            *last = Some(newest);
            inner.newest.send_replace(newest);
            newest
        }
    };
    let events = inner.store.list_events_after(after, PAGE_EVENTS).await?;
    let Some(page) = Page::new(events, &inner.symbols) else {
        return Ok(false);
    };
    let newest = page.last();
    {
        let mut ring = locked(&inner.ring);
        if page.first() != after.saturating_add(1) {
            // Numbers are missing: the table was pruned past the reader. Watchers find out by themselves.
            *ring = Ring::default();
        }
        ring.push(Arc::new(page), inner.limits.ring_events);
    }
    *last = Some(newest);
    inner.newest.send_replace(newest);
    Ok(true)
}

impl Inner {
    /// The page that goes on after a cursor, from memory or from the table; None when the table has nothing there.
    async fn page_after(&self, after: i64) -> Result<Option<Arc<Page>>, ApiError> {
        if let Some(page) = locked(&self.ring).find(after) {
            return Ok(Some(page));
        }
        // One at a time: watchers that are far behind must not crowd out those who write.
        let mut pages = self.catch_up.lock().await;
        if let Some(page) = pages.iter().find(|page| page.follows(after)) {
            return Ok(Some(page.clone()));
        }
        let events = self.store.list_events_after(after, PAGE_EVENTS).await?;
        let Some(page) = Page::new(events, &self.symbols) else {
            return Ok(None);
        };
        if page.first() != after.saturating_add(1) {
            let oldest = self.store.oldest_cursor().await?;
            return Err(too_old(after, oldest));
        }
        let page = Arc::new(page);
        if pages.len() == CATCH_UP_PAGES {
            pages.pop_front();
        }
        pages.push_back(page.clone());
        Ok(Some(page))
    }
}

#[cfg(test)]
mod tests;
