//! What every method does, whatever the transport: admit, authorize, do, count.

use super::auth::{Auth, Caller};
use super::error::{ApiError, BUSY, COORDINATOR, Kind, NO_FEED, TIMEOUT, TOKEN, TOO_LARGE};
use super::feed::{Feed, Watching};
use super::hub::Hubs;
use super::stream::{SubmitReply, count};
use super::{parse, watching};
use crate::config::ApiConfig;
use crate::hub::SignedCheckpoints;
use crate::metrics as names;
use async_trait::async_trait;
use metrics::{counter, histogram};
use prost::Message as _;
use relayer_adapter_api::SettlementId;
use relayer_proto::v1;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// A group may be as large as this many single requests; a thousand receipts are larger than the largest one.
const GROUP_BODIES: usize = 4;

/// What lies behind the handlers: the store, the intake and the lanes.
#[async_trait]
pub trait Settlements: Send + Sync {
    async fn submit(&self, coordinator: &str, request: v1::SubmitRequest) -> Result<v1::SubmitResponse, ApiError>;

    /// Takes one of many submissions and returns; waits while there is no room for it. `reply` gets what [`Settlements::submit`] would
    /// have returned.
    async fn submit_with(&self, coordinator: &str, request: v1::SubmitRequest, reply: SubmitReply);

    async fn submit_group(
        &self,
        coordinator: &str,
        request: v1::SubmitGroupRequest,
    ) -> Result<v1::SubmitGroupResponse, ApiError>;

    async fn find(&self, id: SettlementId) -> Result<Option<v1::GetResponse>, ApiError>;

    /// `request.page_size` is within bounds; `request.coordinator` is one the caller may see, or empty for all.
    async fn list(&self, request: v1::ListRequest) -> Result<v1::ListResponse, ApiError>;

    async fn quote(&self, request: v1::QuoteRequest) -> Result<v1::QuoteResponse, ApiError>;

    async fn cancel(&self, coordinator: &str, id: SettlementId) -> Result<v1::CancelResponse, ApiError>;
}

/// The handlers.
pub struct Handlers {
    inner: Arc<dyn Settlements>,
    auth: Auth,
    limits: ApiConfig,
    slots: Arc<Semaphore>,
    stop: CancellationToken,
    feed: Option<Feed>,
    pub(super) hubs: Option<Hubs>,
    /// Takes operators' signatures; None where no hub has a target.
    pub(super) signed: Option<Arc<SignedCheckpoints>>,
    /// Watches of hubs that may be open.
    seats: Arc<Semaphore>,
}

impl std::fmt::Debug for Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handlers")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Handlers {
    pub fn new(inner: Arc<dyn Settlements>, auth: Auth, limits: ApiConfig) -> Self {
        Self {
            inner,
            auth,
            slots: Arc::new(Semaphore::new(limits.requests_max)),
            stop: CancellationToken::new(),
            seats: Arc::new(Semaphore::new(limits.watch_streams_max)),
            limits,
            feed: None,
            hubs: None,
            signed: None,
        }
    }

    /// Also answers Watch.
    pub fn with_feed(mut self, feed: Feed) -> Self {
        self.feed = Some(feed);
        self
    }

    /// Also answers `HubService`.
    pub fn with_hubs(mut self, hubs: Hubs) -> Self {
        self.hubs = Some(hubs);
        self
    }

    /// Takes checkpoints that operators have signed.
    pub fn with_signed(mut self, signed: Arc<SignedCheckpoints>) -> Self {
        self.signed = Some(signed);
        self
    }

    /// Streams end when this is cancelled, after what they had taken is answered.
    pub fn with_stop(mut self, stop: CancellationToken) -> Self {
        self.stop = stop;
        self
    }

    pub(super) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    pub(super) fn slots(&self) -> Arc<Semaphore> {
        self.slots.clone()
    }

    pub(super) fn caller(&self, token: Option<&str>) -> Result<Caller, ApiError> {
        self.auth.caller(token)
    }

    /// The coordinator a caller acts as.
    pub(super) fn acts_as(&self, token: Option<&str>, requested: &str) -> Result<String, ApiError> {
        self.auth.act_as(&self.auth.caller(token)?, requested)
    }

    /// What belongs to no coordinator is for everybody with a token, or for all where nobody has one.
    pub(super) fn may_read(&self, token: Option<&str>, what: &str) -> Result<(), ApiError> {
        if self.auth.caller(token)? == Caller::Anonymous && !self.auth.open() {
            let message = format!("a bearer token is needed to {what}");
            return Err(ApiError::new(Kind::Unauthenticated, TOKEN, message));
        }
        Ok(())
    }

    /// One of the watches of hubs there may be.
    pub(super) fn seat(&self) -> Result<tokio::sync::OwnedSemaphorePermit, ApiError> {
        self.seats.clone().try_acquire_owned().map_err(|_| {
            let mut error = ApiError::new(Kind::ResourceExhausted, BUSY, "too many watches are open");
            error.retry_after = Some(Duration::from_secs(5));
            error
        })
    }

    /// One item of a stream: what holds for a submission by itself holds for it.
    pub(super) async fn submit_item(&self, caller: &Caller, request: v1::SubmitRequest, reply: SubmitReply) {
        let admitted = self.auth.act_as(caller, &request.coordinator);
        match admitted.and_then(|coordinator| self.fits(request.encoded_len(), 1).map(|()| coordinator)) {
            Ok(coordinator) => self.inner.submit_with(&coordinator, request, reply).await,
            Err(error) => reply(Err(error)),
        }
    }

    pub fn limits(&self) -> &ApiConfig {
        &self.limits
    }

    pub async fn submit(
        &self,
        token: Option<&str>,
        request: v1::SubmitRequest,
    ) -> Result<v1::SubmitResponse, ApiError> {
        let work = async {
            let coordinator = self.auth.act_as(&self.auth.caller(token)?, &request.coordinator)?;
            self.fits(request.encoded_len(), 1)?;
            self.inner.submit(&coordinator, request).await
        };
        let answer = self.admit("Submit", work).await;
        count(&answer);
        answer
    }

    pub async fn submit_group(
        &self,
        token: Option<&str>,
        request: v1::SubmitGroupRequest,
    ) -> Result<v1::SubmitGroupResponse, ApiError> {
        let work = async {
            let coordinator = self.auth.act_as(&self.auth.caller(token)?, &request.coordinator)?;
            self.fits(request.encoded_len(), GROUP_BODIES)?;
            self.inner.submit_group(&coordinator, request).await
        };
        let answer = self.admit("SubmitGroup", work).await;
        match &answer {
            Ok(answer) => answer.results.iter().for_each(count_result),
            Err(error) => counter!(names::INTAKE_REFUSED_TOTAL, "code" => error.code.code).increment(1),
        }
        answer
    }

    pub async fn get(&self, token: Option<&str>, request: v1::GetRequest) -> Result<v1::GetResponse, ApiError> {
        let work = async {
            let id = SettlementId(parse::hash("settlement_id", &request.settlement_id)?);
            self.visible(&self.auth.caller(token)?, id).await
        };
        self.admit("Get", work).await
    }

    /// Checks who asks for what and starts the stream; its end is the stream's last word.
    pub async fn watch(&self, token: Option<&str>, request: v1::WatchRequest) -> Result<Watching, ApiError> {
        let work = async {
            let feed = self
                .feed
                .as_ref()
                .ok_or_else(|| ApiError::new(Kind::Unavailable, NO_FEED, "this listener has no changes to watch"))?;
            let coordinator = self.sees(token, &request.coordinator, "watch")?;
            let plan = watching::plan(&request, &coordinator, feed.symbols())?;
            if !coordinator.is_empty() && watching::beyond_settlements(&request) {
                let message = "only settlements belong to a coordinator; leave aggregates empty";
                return Err(ApiError::new(Kind::PermissionDenied, COORDINATOR, message));
            }
            feed.watch(plan).await
        };
        self.admit("Watch", work).await
    }

    /// The coordinator whose settlements a caller reads, empty for all of them where nobody has a token.
    fn sees(&self, token: Option<&str>, requested: &str, what: &str) -> Result<String, ApiError> {
        let caller = self.auth.caller(token)?;
        if !requested.is_empty() || matches!(caller, Caller::Coordinator(_)) {
            return self.auth.act_as(&caller, requested);
        }
        if self.auth.open() {
            return Ok(String::new());
        }
        let message = format!("a bearer token is needed to {what}");
        Err(ApiError::new(Kind::Unauthenticated, TOKEN, message))
    }

    pub async fn list(&self, token: Option<&str>, mut request: v1::ListRequest) -> Result<v1::ListResponse, ApiError> {
        let work = async {
            request.coordinator = self.sees(token, &request.coordinator, "list")?;
            request.page_size = match request.page_size {
                0 => 50.min(self.limits.page_size_max),
                asked => asked.min(self.limits.page_size_max),
            };
            self.inner.list(request).await
        };
        self.admit("List", work).await
    }

    pub async fn quote(&self, token: Option<&str>, request: v1::QuoteRequest) -> Result<v1::QuoteResponse, ApiError> {
        let work = async {
            self.may_read(token, "quote")?;
            self.inner.quote(request).await
        };
        self.admit("Quote", work).await
    }

    pub async fn cancel(
        &self,
        token: Option<&str>,
        request: v1::CancelRequest,
    ) -> Result<v1::CancelResponse, ApiError> {
        let work = async {
            let id = SettlementId(parse::hash("settlement_id", &request.settlement_id)?);
            let found = self.visible(&self.auth.caller(token)?, id).await?;
            let owner = found
                .settlement
                .map(|settlement| settlement.coordinator)
                .unwrap_or_default();
            self.inner.cancel(&owner, id).await
        };
        self.admit("Cancel", work).await
    }

    /// A settlement of somebody else is answered as one that does not exist.
    async fn visible(&self, caller: &Caller, id: SettlementId) -> Result<v1::GetResponse, ApiError> {
        let found = self.inner.find(id).await?;
        found
            .filter(|found| {
                let owner = found
                    .settlement
                    .as_ref()
                    .map(|settlement| settlement.coordinator.as_str());
                owner.is_some_and(|owner| self.auth.may_see(caller, owner))
            })
            .ok_or_else(|| ApiError::not_found(id))
    }

    fn fits(&self, bytes: usize, bodies: usize) -> Result<(), ApiError> {
        let limit = self.limits.body_bytes_max.saturating_mul(bodies);
        if bytes <= limit {
            return Ok(());
        }
        let message = format!("request of {bytes} bytes is larger than {limit}");
        Err(ApiError::new(Kind::InvalidArgument, TOO_LARGE, message))
    }

    /// Bounds the number of requests and the time of each, and counts what happened.
    pub(super) async fn admit<T>(
        &self,
        method: &'static str,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let started = Instant::now();
        let answer = match self.slots.try_acquire() {
            Ok(_slot) => {
                let bound = Duration::from_millis(self.limits.request_timeout_ms);
                match tokio::time::timeout(bound, work).await {
                    Ok(answer) => answer,
                    Err(_) => Err(ApiError::new(
                        Kind::DeadlineExceeded,
                        TIMEOUT,
                        format!("{method} took longer than {} ms", self.limits.request_timeout_ms),
                    )),
                }
            }
            Err(_) => {
                let mut error = ApiError::new(Kind::ResourceExhausted, BUSY, "too many requests in flight");
                error.retry_after = Some(Duration::from_secs(1));
                Err(error)
            }
        };
        let code = answer.as_ref().err().map_or("ok", |error| error.code.code);
        counter!(names::API_REQUESTS_TOTAL, "method" => method, "code" => code).increment(1);
        histogram!(names::API_REQUEST_SECONDS, "method" => method).record(started.elapsed().as_secs_f64());
        answer
    }
}

fn count_result(result: &v1::GroupResult) {
    use v1::group_result::Result;
    match &result.result {
        Some(Result::Accepted(accepted)) => {
            counter!(names::INTAKE_ACCEPTED_TOTAL, "duplicate" => accepted.duplicate.to_string()).increment(1);
        }
        Some(Result::Refused(refused)) => {
            counter!(names::INTAKE_REFUSED_TOTAL, "code" => refused.code.clone()).increment(1);
        }
        None => {}
    }
}
