//! `OperatorService` over gRPC.

use super::{Streamed, token};
use crate::api::operator::Operators;
use futures::TryStreamExt;
use relayer_proto::v1;
use relayer_proto::v1::operator_service_server::OperatorService;
use tonic::{Request, Response, Status};

pub(super) struct Operator(pub Operators);

#[tonic::async_trait]
impl OperatorService for Operator {
    type StreamDriftStream = Streamed<v1::DriftChange>;

    async fn list_drift(
        &self,
        request: Request<v1::ListDriftRequest>,
    ) -> Result<Response<v1::ListDriftResponse>, Status> {
        let token = token(&request);
        let answer = self.0.list_drift(token.as_deref(), request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn stream_drift(
        &self,
        request: Request<v1::StreamDriftRequest>,
    ) -> Result<Response<Self::StreamDriftStream>, Status> {
        let token = token(&request);
        let changes = self.0.stream_drift(token.as_deref(), request.get_ref())?;
        Ok(Response::new(Box::pin(changes.map_err(Status::from))))
    }

    async fn resolve_dispute(
        &self,
        request: Request<v1::ResolveDisputeRequest>,
    ) -> Result<Response<v1::ResolveDisputeResponse>, Status> {
        let token = token(&request);
        let answer = self.0.resolve_dispute(token.as_deref(), request.into_inner()).await?;
        Ok(Response::new(answer))
    }
}
