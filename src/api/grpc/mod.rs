//! gRPC: `SettlementService`, `HubService` ([`hub`]), `OperatorService` ([`operator`]), health, reflection. Statuses carry `ErrorInfo` with the
//! `RLY-…` code.

mod hub;
mod operator;
mod watch;

use super::error::{ApiError, DOMAIN};
use super::handlers::Handlers;
use super::{Api, ServeError};
use futures::TryStreamExt;
use relayer_proto::v1;
use relayer_proto::v1::hub_service_server::HubServiceServer;
use relayer_proto::v1::operator_service_server::OperatorServiceServer;
use relayer_proto::v1::settlement_service_server::{SettlementService, SettlementServiceServer};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Requests between the bound of the handlers and this one are refused with a code; beyond it they are not even read.
const DECODE_HEADROOM: usize = 4;

/// A piece of 10,000 accounts with every field set.
const HUB_PIECE_BYTES: usize = 8 << 20;

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let metadata: HashMap<String, String> = error
            .metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
        let mut details = ErrorDetails::with_error_info(error.code.code, DOMAIN, metadata);
        if let Some(after) = error.retry_after {
            details.set_retry_info(Some(after));
        }
        Self::with_error_details(error.kind.grpc(), error.message.clone(), details)
    }
}

struct Service(Arc<Handlers>);

fn token<T>(request: &Request<T>) -> Option<String> {
    let value = request.metadata().get("authorization")?;
    // Bytes that are no text are a token nobody has, not the absence of one.
    Some(value.to_str().unwrap_or("?").to_owned())
}

macro_rules! method {
    ($self:ident, $request:ident, $name:ident) => {{
        let token = token(&$request);
        let answer = $self.0.$name(token.as_deref(), $request.into_inner()).await;
        Ok(Response::new(answer?))
    }};
}

type Streamed<T> = std::pin::Pin<Box<dyn futures::Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SettlementService for Service {
    type SubmitStreamStream = Streamed<v1::SubmitStreamResponse>;
    type WatchStream = Streamed<v1::WatchResponse>;

    async fn submit_stream(
        &self,
        request: Request<tonic::Streaming<v1::SubmitStreamRequest>>,
    ) -> Result<Response<Self::SubmitStreamStream>, Status> {
        let token = token(&request);
        let answers = self.0.submit_stream(token.as_deref(), request.into_inner())?;
        Ok(Response::new(Box::pin(answers.map_err(Status::from))))
    }

    async fn submit_group(
        &self,
        request: Request<v1::SubmitGroupRequest>,
    ) -> Result<Response<v1::SubmitGroupResponse>, Status> {
        method!(self, request, submit_group)
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let token = token(&request);
        let watching = self.0.watch(token.as_deref(), request.into_inner()).await?;
        Ok(Response::new(Box::pin(watch::responses(watching))))
    }

    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Result<Response<v1::SubmitResponse>, Status> {
        method!(self, request, submit)
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        method!(self, request, get)
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        method!(self, request, list)
    }

    async fn quote(&self, request: Request<v1::QuoteRequest>) -> Result<Response<v1::QuoteResponse>, Status> {
        method!(self, request, quote)
    }

    async fn cancel(&self, request: Request<v1::CancelRequest>) -> Result<Response<v1::CancelResponse>, Status> {
        method!(self, request, cancel)
    }
}

pub(super) async fn serve(api: Api, listener: TcpListener, stop: CancellationToken) -> Result<(), ServeError> {
    let failed = |reason: String| ServeError::Serve { face: "gRPC", reason };
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<SettlementServiceServer<Service>>().await;
    health.set_serving::<HubServiceServer<hub::HubMethods>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(relayer_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| failed(error.to_string()))?;
    let decode_max = api.handlers.limits().body_bytes_max.saturating_mul(DECODE_HEADROOM);
    let handlers = api.handlers;
    let inner = SettlementServiceServer::new(Service(handlers.clone())).max_decoding_message_size(decode_max);
    let hubs = HubServiceServer::new(hub::HubMethods(handlers.clone()))
        .max_decoding_message_size(decode_max.max(HUB_PIECE_BYTES));
    let service = watch::WithWatch { inner, handlers };
    let operators = api
        .operators
        .map(|operators| OperatorServiceServer::new(operator::Operator(operators)));
    tonic::transport::Server::builder()
        .add_service(health_service)
        .add_service(reflection)
        .add_service(service)
        .add_service(hubs)
        .add_optional_service(operators)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move {
            stop.cancelled().await;
            // Streams of health watchers would hold the stop up; telling them ends nothing else.
            health.set_not_serving::<SettlementServiceServer<Service>>().await;
            health.set_not_serving::<HubServiceServer<hub::HubMethods>>().await;
        })
        .await
        .map_err(|error| failed(error.to_string()))
}
