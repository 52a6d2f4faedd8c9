//! `HubService` over gRPC.

use super::{Streamed, token};
use crate::api::handlers::Handlers;
use futures::TryStreamExt;
use relayer_proto::v1;
use relayer_proto::v1::hub_service_server::HubService;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

pub(super) struct HubMethods(pub Arc<Handlers>);

macro_rules! method {
    ($self:ident, $request:ident, $name:ident) => {{
        let token = token(&$request);
        let answer = $self.0.$name(token.as_deref(), $request.into_inner()).await;
        Ok(Response::new(answer?))
    }};
}

#[tonic::async_trait]
impl HubService for HubMethods {
    type BuildCheckpointStream = Streamed<v1::BuildCheckpointResponse>;
    type WatchStream = Streamed<v1::WatchHubResponse>;

    async fn submit_checkpoint(
        &self,
        request: Request<v1::SubmitCheckpointRequest>,
    ) -> Result<Response<v1::SubmitCheckpointResponse>, Status> {
        method!(self, request, submit_checkpoint)
    }

    async fn list_hubs(&self, request: Request<v1::ListHubsRequest>) -> Result<Response<v1::ListHubsResponse>, Status> {
        method!(self, request, list_hubs)
    }

    async fn get_checkpoint(
        &self,
        request: Request<v1::GetCheckpointRequest>,
    ) -> Result<Response<v1::GetCheckpointResponse>, Status> {
        method!(self, request, get_checkpoint)
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        method!(self, request, list_tokens)
    }

    async fn whois(&self, request: Request<v1::WhoisRequest>) -> Result<Response<v1::WhoisResponse>, Status> {
        method!(self, request, whois)
    }

    async fn get_allotment(
        &self,
        request: Request<v1::GetAllotmentRequest>,
    ) -> Result<Response<v1::GetAllotmentResponse>, Status> {
        method!(self, request, get_allotment)
    }

    async fn list_transactions(
        &self,
        request: Request<v1::ListTransactionsRequest>,
    ) -> Result<Response<v1::ListTransactionsResponse>, Status> {
        method!(self, request, list_transactions)
    }

    async fn get_transaction(
        &self,
        request: Request<v1::GetTransactionRequest>,
    ) -> Result<Response<v1::GetTransactionResponse>, Status> {
        method!(self, request, get_transaction)
    }

    async fn register_token(
        &self,
        request: Request<v1::RegisterTokenRequest>,
    ) -> Result<Response<v1::RegisterTokenResponse>, Status> {
        method!(self, request, register_token)
    }

    async fn admit_wallets(
        &self,
        request: Request<Streaming<v1::AdmitWalletsRequest>>,
    ) -> Result<Response<v1::AdmitWalletsResponse>, Status> {
        method!(self, request, admit_wallets)
    }

    async fn record_transfers(
        &self,
        request: Request<Streaming<v1::RecordTransfersRequest>>,
    ) -> Result<Response<v1::RecordTransfersResponse>, Status> {
        method!(self, request, record_transfers)
    }

    async fn import_allotments(
        &self,
        request: Request<Streaming<v1::ImportAllotmentsRequest>>,
    ) -> Result<Response<v1::ImportAllotmentsResponse>, Status> {
        method!(self, request, import_allotments)
    }

    async fn build_checkpoint(
        &self,
        request: Request<v1::BuildCheckpointRequest>,
    ) -> Result<Response<Self::BuildCheckpointStream>, Status> {
        let token = token(&request);
        let building = self.0.build_checkpoint(token.as_deref(), request.into_inner()).await?;
        Ok(Response::new(Box::pin(building.map_err(Status::from))))
    }

    async fn watch(&self, request: Request<v1::WatchHubRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let token = token(&request);
        let watching = self.0.watch_hub(token.as_deref(), request.into_inner()).await?;
        Ok(Response::new(Box::pin(watching.map_err(Status::from))))
    }
}
