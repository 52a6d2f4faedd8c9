//! What lies behind the handlers in the product: the store answers, the intake accepts, the router quotes.

use super::convert;
use super::error::{ApiError, DATABASE, Kind, LANE};
use super::handlers::Settlements;
use super::parse;
use super::stream::SubmitReply;
use crate::clock::Clock;
use crate::intake::{Accepted, Intake, IntakeError, Refusal};
use crate::payout::{PayoutError, bundle_for};
use crate::router::{Hypothetical, Router};
use crate::settlement::states::SettlementState;
use crate::store::{Message, SettlementFilter, Store, StoreError, TxId};
use alloy::primitives::{Address, B256};
use async_trait::async_trait;
use relayer_adapter_api::{ChainId, Class, SettlementId};
use relayer_proto::v1;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Newest events of one settlement that are shown; a settlement that needs more has other problems.
const HISTORY_MAX: u64 = 1_000;

/// Our contracts of one chain, as far as quoting needs them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ends {
    pub outbox: Option<Address>,
    pub inbox: Option<Address>,
}

/// The product's [`Settlements`].
pub struct Service {
    pub store: Store,
    pub intake: Intake,
    pub router: Arc<Router>,
    pub clock: Arc<dyn Clock>,
    pub ends: BTreeMap<ChainId, Ends>,
    /// Settlements in a full message.
    pub count_max: u32,
    pub quote_age_ms_max: u64,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let kind = match error.class() {
            Class::Retry { .. } | Class::NotYet => Kind::Unavailable,
            Class::Reject | Class::Bug => Kind::Internal,
        };
        tracing::error!(%error, "a request met a database error");
        Self::new(
            kind,
            DATABASE,
            "the database did not answer; the relayer's log has the details",
        )
    }
}

impl From<IntakeError> for ApiError {
    fn from(error: IntakeError) -> Self {
        let kind = match error.refusal() {
            Refusal::Invalid => Kind::InvalidArgument,
            Refusal::Denied => Kind::PermissionDenied,
            Refusal::Precondition => Kind::FailedPrecondition,
            Refusal::Exists => Kind::AlreadyExists,
            Refusal::Busy => Kind::ResourceExhausted,
            Refusal::Unavailable => Kind::Unavailable,
        };
        if let IntakeError::Store(error) = &error {
            tracing::error!(%error, "a submission met a database error");
        }
        let mut refusal = Self::as_kind(kind, &error);
        if let Some(by) = error.conflict() {
            refusal = refusal.with("conflict", by.to_string());
        }
        refusal
    }
}

#[async_trait]
impl Settlements for Service {
    async fn submit(&self, coordinator: &str, request: v1::SubmitRequest) -> Result<v1::SubmitResponse, ApiError> {
        let accepted = self.intake.submit(convert::submission(coordinator, request)?).await?;
        Ok(convert::accepted(&accepted))
    }

    async fn submit_with(&self, coordinator: &str, request: v1::SubmitRequest, reply: SubmitReply) {
        let request = match convert::submission(coordinator, request) {
            Ok(request) => request,
            Err(error) => return reply(Err(error)),
        };
        let answer = move |word: Result<Accepted, IntakeError>| {
            reply(
                word.map(|accepted| convert::accepted(&accepted))
                    .map_err(ApiError::from),
            );
        };
        self.intake.submit_with(request, answer).await;
    }

    async fn submit_group(
        &self,
        coordinator: &str,
        request: v1::SubmitGroupRequest,
    ) -> Result<v1::SubmitGroupResponse, ApiError> {
        let group = convert::group(coordinator, request)?;
        Ok(convert::group_answer(self.intake.submit_group(group).await?))
    }

    async fn find(&self, id: SettlementId) -> Result<Option<v1::GetResponse>, ApiError> {
        let Some(row) = self.store.find_settlement(id).await? else {
            return Ok(None);
        };
        let receipts = self.store.list_covered_receipts(id).await?;
        let mut answer = v1::GetResponse {
            settlement: Some(convert::settlement(&row, &receipts)),
            ..Default::default()
        };
        if let Some(relies_on) = row.relies_on
            && let Some((hub, checkpoint)) = self.store.find_reliance(relies_on).await?
        {
            let bounds = self.store.list_hub_bounds(checkpoint.id).await?;
            answer.relies_on = Some(convert::reliance(&hub, &checkpoint, &bounds));
        }
        let mut also: Vec<(&str, String)> = Vec::new();
        let mut committed = false;
        for (message_id, leaf) in self.store.list_messages_of(id).await? {
            let row = self.store.get_message(message_id).await?;
            also.push(("message", message_id.to_string()));
            let (message, on_source) = self.message(&row, leaf, &mut also).await?;
            committed |= on_source;
            answer.messages.push(message);
        }
        if committed && !row.state.is_terminal() {
            answer.bundle = match bundle_for(&self.store, id).await {
                Ok(bundle) => Some(convert::bundle(&bundle)),
                // A reorg took the dispatch back between two reads: there is no bundle now.
                Err(PayoutError::NotDispatched(_)) => None,
                Err(error) => return Err(ApiError::of(&error)),
            };
        }
        let history = self.store.list_history(id, &also, HISTORY_MAX).await?;
        answer.history = history.into_iter().map(convert::event).collect();
        Ok(Some(answer))
    }

    async fn list(&self, request: v1::ListRequest) -> Result<v1::ListResponse, ApiError> {
        let filter = filter(&request)?;
        let before = match request.page_token.as_str() {
            "" => None,
            token => {
                let row = token.strip_prefix('r').and_then(|row| row.parse::<i64>().ok());
                Some(row.ok_or_else(|| ApiError::field("page_token", "is not one of ours"))?)
            }
        };
        let limit = u64::from(request.page_size);
        let (rows, next) = self.store.page_settlements(&filter, before, limit).await?;
        let next = next.map(|row| format!("r{row}"));
        Ok(v1::ListResponse {
            settlements: rows.iter().map(|row| convert::settlement(row, &[])).collect(),
            next_page_token: next.unwrap_or_default(),
        })
    }

    async fn quote(&self, request: v1::QuoteRequest) -> Result<v1::QuoteResponse, ApiError> {
        let (source, target) = (ChainId(request.source_chain), ChainId(request.target_chain));
        let end = |chain: ChainId| self.ends.get(&chain).copied().unwrap_or_default();
        let (Some(outbox), Some(inbox)) = (end(source).outbox, end(target).inbox) else {
            return Err(no_lane(source, target));
        };
        let wanted = Hypothetical {
            source,
            target,
            outbox,
            inbox,
            count: self.count_max,
        };
        let offers = self
            .router
            .quote(&wanted, self.clock.now_ms())
            .await
            .map_err(|error| ApiError::of(&error))?;
        if offers.is_empty() {
            return Err(no_lane(source, target));
        }
        let lanes = offers
            .iter()
            .map(|offer| convert::offer(offer, self.quote_age_ms_max, self.count_max));
        Ok(v1::QuoteResponse { lanes: lanes.collect() })
    }

    async fn cancel(&self, coordinator: &str, id: SettlementId) -> Result<v1::CancelResponse, ApiError> {
        let mut txn = self.store.begin(self.clock.now_ms()).await?;
        let row = txn.request_cancel(id, &format!("coordinator {coordinator}")).await?;
        txn.commit().await?;
        Ok(v1::CancelResponse {
            settlement_id: row.id.to_string(),
            state: row.state.to_string(),
            cancel_requested_at_ms: convert::stamp(row.cancel_requested_at),
        })
    }
}

fn no_lane(source: ChainId, target: ChainId) -> ApiError {
    let message = format!("no enabled bridge carries messages from chain {source} to chain {target}");
    ApiError::new(Kind::FailedPrecondition, LANE, message)
}

fn filter(request: &v1::ListRequest) -> Result<SettlementFilter, ApiError> {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let state = match request.state.as_str() {
        "" => None,
        name => Some(
            name.parse::<SettlementState>()
                .map_err(|error| ApiError::field("state", error))?,
        ),
    };
    Ok(SettlementFilter {
        coordinator_id: text(&request.coordinator),
        state,
        payer: parse::optional_address("payer", &request.payer)?,
        payee: parse::optional_address("payee", &request.payee)?,
        target: (request.target_chain != 0).then_some(ChainId(request.target_chain)),
        job_id: text(&request.job_id),
        row_min: None,
    })
}

impl Service {
    /// A message with how it travels, and whether the source chain has it.
    async fn message(
        &self,
        row: &Message,
        leaf: usize,
        also: &mut Vec<(&str, String)>,
    ) -> Result<(v1::Message, bool), ApiError> {
        let mut message = convert::message(row, leaf);
        let mut on_source = false;
        for dispatch in self.store.list_dispatches(row.id).await? {
            also.push(("dispatch", dispatch.id.to_string()));
            on_source |= dispatch.is_included();
            let hash = self.transaction_hash(dispatch.tx).await?;
            message.dispatches.push(convert::dispatch(&dispatch, hash));
        }
        let covering = self.store.list_executions(row.id).await?;
        for execution in covering
            .into_iter()
            .filter(|execution| execution.leaves.contains(&leaf))
        {
            also.push(("execution", execution.id.to_string()));
            let hash = self.transaction_hash(execution.tx).await?;
            message.executions.push(convert::execution(&execution, hash));
        }
        Ok((message, on_source))
    }

    /// The included hash, or the newest one sent.
    async fn transaction_hash(&self, tx: Option<TxId>) -> Result<Option<B256>, ApiError> {
        let Some(id) = tx else { return Ok(None) };
        let Some(row) = self.store.find_tx(id).await? else {
            return Ok(None);
        };
        if let Some(included) = row.included {
            return Ok(Some(included.hash));
        }
        let attempts = self.store.list_attempts(id).await?;
        Ok(attempts.last().map(|attempt| attempt.hash))
    }
}

#[cfg(test)]
mod tests;
