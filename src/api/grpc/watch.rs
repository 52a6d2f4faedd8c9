//! Watch over gRPC. Events were encoded once for all watchers; here their bytes are copied into responses, where the generated code would
//! build and encode every event for every watcher anew. The bytes on the wire are those of `WatchResponse`.

use super::{Service, token};
use crate::api::feed::{Frame, Watching};
use crate::api::handlers::Handlers;
use futures::StreamExt;
use futures::stream::BoxStream;
use prost::Message as _;
use prost::bytes::{Buf, BufMut};
use relayer_proto::v1;
use relayer_proto::v1::settlement_service_server::SettlementServiceServer;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Service as TowerService, http};
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic::{Request, Response, Status};

const PATH: &str = "/relayer.v1.SettlementService/Watch";

/// Reads `WatchRequest`, writes frames.
#[derive(Debug, Default)]
struct WatchCodec;

impl Codec for WatchCodec {
    type Encode = Frame;
    type Decode = v1::WatchRequest;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for WatchCodec {
    type Item = Frame;
    type Error = Status;

    fn encode(&mut self, frame: Frame, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let rest = frame.rest();
        let bytes = frame.selection.pieces.iter().map(|piece| piece.len()).sum::<usize>();
        into.reserve(bytes.saturating_add(rest.encoded_len()));
        for piece in &frame.selection.pieces {
            into.put_slice(piece);
        }
        rest.encode(into).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for WatchCodec {
    type Item = v1::WatchRequest;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<v1::WatchRequest>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        let request = v1::WatchRequest::decode(bytes).map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Some(request))
    }
}

struct Watch(Arc<Handlers>);

impl ServerStreamingService<v1::WatchRequest> for Watch {
    type Response = Frame;
    type ResponseStream = BoxStream<'static, Result<Frame, Status>>;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Self::ResponseStream>, Status>> + Send>>;

    fn call(&mut self, request: Request<v1::WatchRequest>) -> Self::Future {
        let handlers = self.0.clone();
        Box::pin(async move {
            let token = token(&request);
            let watching = handlers.watch(token.as_deref(), request.into_inner()).await?;
            Ok(Response::new(frames(watching).boxed()))
        })
    }
}

fn frames(watching: Watching) -> impl futures::Stream<Item = Result<Frame, Status>> {
    watching.map(|frame| frame.map_err(Status::from))
}

/// Watch for the generated service: the same call through its own types.
pub(super) fn responses(watching: Watching) -> impl futures::Stream<Item = Result<v1::WatchResponse, Status>> {
    frames(watching).map(|frame| {
        frame.map(|frame| v1::WatchResponse {
            events: frame.events(),
            ..frame.rest()
        })
    })
}

/// The generated service with Watch taken out of its hands.
#[derive(Clone)]
pub(super) struct WithWatch {
    pub inner: SettlementServiceServer<Service>,
    pub handlers: Arc<Handlers>,
}

impl NamedService for WithWatch {
    const NAME: &'static str = <SettlementServiceServer<Service> as NamedService>::NAME;
}

impl TowerService<http::Request<Body>> for WithWatch {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != PATH {
            return self.inner.call(request);
        }
        let watch = Watch(self.handlers.clone());
        Box::pin(async move { Ok(Grpc::new(WatchCodec).server_streaming(watch, request).await) })
    }
}
