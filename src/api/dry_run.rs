//! The API of a dry run: everything may be looked at, nothing that leads to spending is accepted.

use super::error::{ApiError, DRY_RUN, Kind};
use super::handlers::Settlements;
use super::stream::SubmitReply;
use async_trait::async_trait;
use relayer_adapter_api::SettlementId;
use relayer_proto::v1;
use std::sync::Arc;

/// Answers questions from what it wraps and refuses the rest: an accepted settlement would be a promise to pay.
pub struct DryRun(pub Arc<dyn Settlements>);

impl std::fmt::Debug for DryRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DryRun")
    }
}

fn refusal() -> ApiError {
    ApiError::new(
        Kind::FailedPrecondition,
        DRY_RUN,
        "this process is a dry run: it changes nothing",
    )
}

#[async_trait]
impl Settlements for DryRun {
    async fn submit(&self, _: &str, _: v1::SubmitRequest) -> Result<v1::SubmitResponse, ApiError> {
        Err(refusal())
    }

    async fn submit_with(&self, _: &str, _: v1::SubmitRequest, reply: SubmitReply) {
        reply(Err(refusal()));
    }

    async fn submit_group(&self, _: &str, _: v1::SubmitGroupRequest) -> Result<v1::SubmitGroupResponse, ApiError> {
        Err(refusal())
    }

    async fn find(&self, id: SettlementId) -> Result<Option<v1::GetResponse>, ApiError> {
        self.0.find(id).await
    }

    async fn list(&self, request: v1::ListRequest) -> Result<v1::ListResponse, ApiError> {
        self.0.list(request).await
    }

    async fn quote(&self, request: v1::QuoteRequest) -> Result<v1::QuoteResponse, ApiError> {
        self.0.quote(request).await
    }

    async fn cancel(&self, _: &str, _: SettlementId) -> Result<v1::CancelResponse, ApiError> {
        Err(refusal())
    }
}
