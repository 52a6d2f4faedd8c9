//! What gRPC allows: the service itself with handlers that do nothing, in a process of its own, under the same load generator.

use super::load::{Client, stream, unary};
use super::report::Table;
use super::{Bench, connect};
use crate::leash::{Leash, own_group};
use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use futures::stream::BoxStream;
use relayer_e2e_postgres::free_port;
use relayer_proto::v1;
use relayer_proto::v1::settlement_service_server::{SettlementService, SettlementServiceServer};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tonic::{Request, Response, Status, Streaming};

/// Table of this family.
pub const KEY: &str = "grpc";

/// Answers at once, with nothing.
#[derive(Debug, Clone, Copy)]
struct Nothing;

type Answer<T> = Result<Response<T>, Status>;

fn not_here<T>() -> Answer<T> {
    Err(Status::unimplemented("this server only measures calls"))
}

#[tonic::async_trait]
impl SettlementService for Nothing {
    type SubmitStreamStream = BoxStream<'static, Result<v1::SubmitStreamResponse, Status>>;
    type WatchStream = BoxStream<'static, Result<v1::WatchResponse, Status>>;

    async fn submit(&self, _: Request<v1::SubmitRequest>) -> Answer<v1::SubmitResponse> {
        Ok(Response::new(v1::SubmitResponse::default()))
    }

    async fn submit_stream(
        &self,
        request: Request<Streaming<v1::SubmitStreamRequest>>,
    ) -> Answer<Self::SubmitStreamStream> {
        let answers = request.into_inner().map(|item| {
            item.map(|item| v1::SubmitStreamResponse {
                item: item.item,
                result: Some(v1::submit_stream_response::Result::Accepted(
                    v1::SubmitResponse::default(),
                )),
            })
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn submit_group(&self, _: Request<v1::SubmitGroupRequest>) -> Answer<v1::SubmitGroupResponse> {
        not_here()
    }

    async fn watch(&self, _: Request<v1::WatchRequest>) -> Answer<Self::WatchStream> {
        not_here()
    }

    async fn get(&self, _: Request<v1::GetRequest>) -> Answer<v1::GetResponse> {
        not_here()
    }

    async fn list(&self, _: Request<v1::ListRequest>) -> Answer<v1::ListResponse> {
        not_here()
    }

    async fn quote(&self, _: Request<v1::QuoteRequest>) -> Answer<v1::QuoteResponse> {
        not_here()
    }

    async fn cancel(&self, _: Request<v1::CancelRequest>) -> Answer<v1::CancelResponse> {
        not_here()
    }
}

/// Serves until the process is ended.
pub async fn serve(listen: SocketAddr) -> Result<()> {
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .add_service(SettlementServiceServer::new(Nothing))
        .serve(listen)
        .await
        .context("the empty gRPC server")
}

/// The empty server as a child process; ends with this value.
struct EmptyServer {
    url: String,
    child: Child,
    _leash: Leash,
}

impl EmptyServer {
    async fn start() -> Result<Self> {
        let listen = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--serve-nothing", &listen]);
        let child = own_group(&mut command).stdin(Stdio::null()).spawn()?;
        let leash = Leash::on(child.id())?;
        let server = Self {
            url: format!("http://{listen}"),
            child,
            _leash: leash,
        };
        for _ in 0..200 {
            if connect(&server.url, 1).await.is_ok() {
                return Ok(server);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::bail!("the empty gRPC server did not start")
    }
}

impl Drop for EmptyServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub async fn run(bench: &Bench) -> Result<Vec<Table>> {
    let calls: usize = if bench.quick { 20_000 } else { 100_000 };
    let server = EmptyServer::start().await?;
    let mut table = Table::new(
        KEY,
        "gRPC",
        &["per_second", "p50_ms", "p99_ms"],
        &format!(
            "{calls} empty calls to handlers that do nothing, in another process on the same cores, with the load generator used below \
             (4 connections; a stream has 2,048 items under way). Calls per second, and milliseconds per call."
        ),
    );
    let empty = |count: usize| vec![v1::SubmitRequest::default(); count];
    for in_flight in [64, 256] {
        bench.progress.say(&format!("empty unary calls, {in_flight} in flight"));
        let clients: Vec<Client> = connect(&server.url, 4).await?;
        let outcome = unary(&clients, empty(calls), in_flight).await?;
        ensure!(outcome.refused == 0, "an empty call was refused");
        put(
            &mut table,
            &format!("unary_{in_flight}"),
            &format!("unary, {in_flight} in flight"),
            &outcome,
        );
    }
    for streams in [1, 2] {
        bench.progress.say(&format!("empty streamed calls, {streams} streams"));
        let clients = connect(&server.url, streams).await?;
        let outcome = stream(&clients, empty(calls * 2)).await?;
        ensure!(outcome.refused == 0, "an empty item was refused");
        put(
            &mut table,
            &format!("stream_{streams}"),
            &format!("streamed, {streams} stream(s)"),
            &outcome,
        );
    }
    Ok(vec![table])
}

fn put(table: &mut Table, key: &str, what: &str, outcome: &super::stats::Outcome) {
    let values = vec![
        Some(outcome.per_second()),
        outcome.times.percentile_ms(50),
        outcome.times.percentile_ms(99),
    ];
    table.row(key, what, "", values);
}
