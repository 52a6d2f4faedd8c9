//! Live events of a hub: read from the ledger after a cursor, at once when the store tells of a change.

use super::super::error::{ApiError, CURSOR_FUTURE, Kind, STOPPING};
use super::super::handlers::Handlers;
use super::super::parse;
use super::convert;
use crate::store::{HubEventFilter, HubEventKind, HubId, Store};
use futures::Stream;
use relayer_proto::v1;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Events of one answer.
const PAGE: u64 = 500;
/// Looks at least this often: a notification can be lost.
const POLL: Duration = Duration::from_millis(500);
const HEARTBEAT_MS: u32 = 10_000;
const HEARTBEAT_MS_MIN: u32 = 100;

/// Answers as they come; ends with a reason.
pub type HubWatching = Pin<Box<dyn Stream<Item = Result<v1::WatchHubResponse, ApiError>> + Send>>;

struct Watcher {
    store: Store,
    hub: HubId,
    after: i64,
    filter: HubEventFilter,
    heartbeat: Duration,
    changes: tokio::sync::watch::Receiver<i64>,
    stop: CancellationToken,
    ended: bool,
    _seat: OwnedSemaphorePermit,
}

impl Handlers {
    /// Checks who asks for what and starts the stream.
    pub async fn watch_hub(&self, token: Option<&str>, request: v1::WatchHubRequest) -> Result<HubWatching, ApiError> {
        let work = async {
            let (hubs, hub) = self.hub_of(token, &request.hub).await?;
            let store = hubs.ledger.store().clone();
            let kinds = request.types.iter().map(|name| {
                name.parse::<HubEventKind>()
                    .map_err(|error| ApiError::field("types", error))
            });
            let filter = HubEventFilter {
                token: parse::optional_address("token", &request.token)?,
                wallet: parse::optional_address("wallet", &request.wallet)?,
                kinds: kinds.collect::<Result<_, _>>()?,
            };
            if request.from_now && request.after_seq != 0 {
                return Err(ApiError::field("from_now", "and after_seq exclude one another"));
            }
            let newest = store.find_hub_ledger(hub.id).await?.map_or(0, |head| head.seq);
            let asked = i64::try_from(request.after_seq).map_err(|error| ApiError::field("after_seq", error))?;
            if asked > newest {
                let message = format!("cursor {asked} is ahead of the hub's newest event, {newest}");
                let error = ApiError::new(Kind::FailedPrecondition, CURSOR_FUTURE, message);
                return Err(error.with("newest_seq", newest.to_string()));
            }
            let heartbeat = match request.heartbeat_ms {
                0 => HEARTBEAT_MS,
                asked => asked.max(HEARTBEAT_MS_MIN),
            };
            let watcher = Watcher {
                changes: store.changes(),
                store,
                hub: hub.id,
                after: if request.from_now { newest } else { asked },
                filter,
                heartbeat: Duration::from_millis(heartbeat.into()),
                stop: self.stop().clone(),
                ended: false,
                _seat: self.seat()?,
            };
            let answers = futures::stream::unfold(watcher, |mut watcher| async {
                let answer = watcher.next().await?;
                Some((answer, watcher))
            });
            Ok(Box::pin(answers) as HubWatching)
        };
        self.admit("WatchHub", work).await
    }
}

impl Watcher {
    /// The next answer: events, or where it stands when the heartbeat is due. None after the last word.
    async fn next(&mut self) -> Option<Result<v1::WatchHubResponse, ApiError>> {
        if self.ended {
            return None;
        }
        let due = Instant::now() + self.heartbeat;
        loop {
            self.changes.mark_unchanged();
            let read = self
                .store
                .list_hub_events(self.hub, self.after, &self.filter, PAGE)
                .await;
            let (events, after) = match read {
                Ok(read) => read,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error.into()));
                }
            };
            let moved = after > self.after;
            self.after = after;
            if !events.is_empty() || Instant::now() >= due {
                return Some(Ok(v1::WatchHubResponse {
                    events: events.iter().map(convert::event).collect(),
                    after_seq: u64::try_from(after).unwrap_or_default(),
                }));
            }
            if moved {
                continue;
            }
            let wait = POLL.min(due.saturating_duration_since(Instant::now()));
            tokio::select! {
                () = self.stop.cancelled() => {
                    self.ended = true;
                    return Some(Err(ApiError::new(Kind::Unavailable, STOPPING, "the relayer stops")));
                }
                _ = self.changes.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}
