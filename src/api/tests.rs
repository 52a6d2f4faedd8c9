#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod operator;
mod stream;

use super::error::{FIELD, NOT_FOUND, TIMEOUT, TOKEN};
use super::*;
use crate::config::{CoordinatorConfig, Secret};
use crate::liveness::Liveness;
use alloy::primitives::B256;
use async_trait::async_trait;
use relayer_adapter_api::SettlementId;
use relayer_proto::v1;
use relayer_proto::v1::settlement_service_client::SettlementServiceClient;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt;

const ID: &str = "0x1111111111111111111111111111111111111111111111111111111111111111";

/// Remembers what it was asked; one settlement of `closed`.
#[derive(Default)]
struct Fake {
    submitted: Mutex<Vec<(String, v1::SubmitRequest)>>,
    listed: Mutex<Vec<v1::ListRequest>>,
    /// Streamed submissions that wait for the test's word.
    held: Mutex<Vec<SubmitReply>>,
}

impl Fake {
    fn release(&self) {
        for reply in self.held.lock().unwrap().drain(..) {
            reply(Ok(v1::SubmitResponse::default()));
        }
    }
}

#[async_trait]
impl Settlements for Fake {
    async fn submit(&self, coordinator: &str, request: v1::SubmitRequest) -> Result<v1::SubmitResponse, ApiError> {
        let amount = request.terms.clone().unwrap_or_default().amount;
        self.submitted.lock().unwrap().push((coordinator.to_owned(), request));
        match amount.as_str() {
            "13" => Err(ApiError::new(Kind::AlreadyExists, FIELD, "taken").with("conflict", ID)),
            "14" => std::future::pending().await,
            "17" => Ok(v1::SubmitResponse {
                trace_id: "x".repeat(16 << 10),
                ..Default::default()
            }),
            "18" => Err(crate::intake::IntakeError::Busy { queued: 1 }.into()),
            _ => Ok(v1::SubmitResponse {
                settlement_id: ID.into(),
                state: "accepted".into(),
                ..Default::default()
            }),
        }
    }

    async fn submit_with(&self, coordinator: &str, request: v1::SubmitRequest, reply: SubmitReply) {
        if request.terms.as_ref().is_some_and(|terms| terms.amount == "15") {
            self.held.lock().unwrap().push(reply);
        } else {
            reply(self.submit(coordinator, request).await);
        }
    }

    async fn submit_group(
        &self,
        _: &str,
        request: v1::SubmitGroupRequest,
    ) -> Result<v1::SubmitGroupResponse, ApiError> {
        let refused = ApiError::new(Kind::AlreadyExists, FIELD, "taken").with("conflict", ID);
        let results = request.items.iter().map(|_| v1::GroupResult {
            result: Some(v1::group_result::Result::Refused(super::convert::refusal(&refused))),
        });
        Ok(v1::SubmitGroupResponse {
            group_root: ID.into(),
            results: results.collect(),
        })
    }

    async fn find(&self, id: SettlementId) -> Result<Option<v1::GetResponse>, ApiError> {
        let settlement = v1::Settlement {
            settlement_id: ID.into(),
            coordinator: "closed".into(),
            state: "settled".into(),
            ..Default::default()
        };
        Ok((id.0 == B256::repeat_byte(0x11)).then(|| v1::GetResponse {
            settlement: Some(settlement),
            ..Default::default()
        }))
    }

    async fn list(&self, request: v1::ListRequest) -> Result<v1::ListResponse, ApiError> {
        self.listed.lock().unwrap().push(request);
        Ok(v1::ListResponse::default())
    }

    async fn quote(&self, _: v1::QuoteRequest) -> Result<v1::QuoteResponse, ApiError> {
        Ok(v1::QuoteResponse::default())
    }

    async fn cancel(&self, _: &str, id: SettlementId) -> Result<v1::CancelResponse, ApiError> {
        Ok(v1::CancelResponse {
            settlement_id: id.to_string(),
            ..Default::default()
        })
    }
}

struct Bench {
    db: crate::store::testing::TestStore,
    fake: Arc<Fake>,
    grpc: SettlementServiceClient<Channel>,
    channel: Channel,
    grpc_address: SocketAddr,
    handlers: Arc<Handlers>,
    rest: SocketAddr,
    liveness: Liveness,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), ServeError>>,
}

async fn bench() -> Bench {
    let open = CoordinatorConfig::default();
    let closed = CoordinatorConfig {
        token: Some(Secret::Value("hunter2".into())),
        ..CoordinatorConfig::default()
    };
    let coordinators = BTreeMap::from([("open".to_owned(), open), ("closed".to_owned(), closed)]);
    let limits = ApiConfig {
        grpc_listen: "127.0.0.1:0".parse().unwrap(),
        rest_listen: "127.0.0.1:0".parse().unwrap(),
        body_bytes_max: 2_048,
        request_timeout_ms: 300,
        stream_items_max: 64,
        stream_stall_ms: 500,
        ..ApiConfig::default()
    };
    let fake = Arc::new(Fake::default());
    let auth = Auth::from_config(&coordinators).unwrap();
    let liveness = Liveness::default();
    let listeners = Listeners::bind(&limits).await.unwrap();
    let (grpc, rest) = listeners.addresses().unwrap();
    let stop = CancellationToken::new();
    let db = crate::store::testing::open().await;
    let feed_limits = FeedLimits {
        ring_events: 1_000,
        streams_max: 8,
        stall: std::time::Duration::from_secs(5),
        outage: std::time::Duration::from_secs(2),
    };
    let clock = Arc::new(crate::clock::SystemClock);
    let feed = Feed::start(db.store.clone(), clock, feed_limits, stop.clone());
    let handlers = Arc::new(
        Handlers::new(fake.clone(), auth, limits)
            .with_stop(stop.clone())
            .with_feed(feed),
    );
    let api = Api {
        handlers: handlers.clone(),
        operators: Some(crate::api::Operators::new(
            db.store.clone(),
            Arc::new(crate::clock::SystemClock),
            Some("operator's"),
            stop.clone(),
        )),
        health: Health {
            metrics: None,
            liveness: liveness.clone(),
        },
    };
    let task = tokio::spawn(listeners.serve(api, stop.clone()));
    let channel = Channel::from_shared(format!("http://{grpc}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    Bench {
        db,
        fake,
        grpc: SettlementServiceClient::new(channel.clone()),
        channel,
        grpc_address: grpc,
        handlers,
        rest,
        liveness,
        stop,
        task,
    }
}

fn with_token<T>(token: &str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request
        .metadata_mut()
        .insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

fn submission(coordinator: &str, amount: &str) -> v1::SubmitRequest {
    v1::SubmitRequest {
        coordinator: coordinator.into(),
        terms: Some(v1::Terms {
            amount: amount.into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[track_caller]
fn refused(status: tonic::Status, code: Code, reason: &str) {
    let info = status.get_details_error_info().expect("ErrorInfo");
    assert_eq!(
        (status.code(), info.reason.as_str(), info.domain.as_str()),
        (code, reason, "relayer"),
        "{status:?}"
    );
}

async fn http(bench: &Bench, method: &str, path: &str, headers: &str, body: &str) -> (u16, Value) {
    let mut stream = tokio::net::TcpStream::connect(bench.rest).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer[9..12].parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (status, serde_json::from_str(body).unwrap_or_else(|_| json!(body)))
}

#[tokio::test]
async fn refusals_carry_error_info() {
    let mut bench = bench().await;
    let status = bench.grpc.submit(submission("open", "13")).await.unwrap_err();
    assert_eq!(status.get_details_error_info().unwrap().metadata["conflict"], ID);
    refused(status, Code::AlreadyExists, FIELD.code);
    let status = bench.grpc.submit(submission("open", "14")).await.unwrap_err();
    refused(status, Code::DeadlineExceeded, TIMEOUT.code);
    let status = bench
        .grpc
        .get(v1::GetRequest {
            settlement_id: "0x12".into(),
        })
        .await
        .unwrap_err();
    refused(status, Code::InvalidArgument, FIELD.code);
    let mut large = submission("open", "1");
    large.proof = vec![0; 3_000];
    let status = bench.grpc.submit(large).await.unwrap_err();
    refused(status, Code::InvalidArgument, error::TOO_LARGE.code);
}

#[tokio::test]
async fn a_coordinator_with_a_token_must_show_it() {
    let mut bench = bench().await;
    let status = bench.grpc.submit(submission("closed", "1")).await.unwrap_err();
    refused(status, Code::Unauthenticated, TOKEN.code);
    let status = bench
        .grpc
        .submit(with_token("wrong", submission("closed", "1")))
        .await
        .unwrap_err();
    refused(status, Code::Unauthenticated, TOKEN.code);
    let status = bench
        .grpc
        .submit(with_token("hunter2", submission("open", "1")))
        .await
        .unwrap_err();
    refused(status, Code::PermissionDenied, error::COORDINATOR.code);
    let status = bench.grpc.submit(submission("nobody", "1")).await.unwrap_err();
    refused(status, Code::PermissionDenied, error::COORDINATOR.code);
    assert!(bench.fake.submitted.lock().unwrap().is_empty());
    bench
        .grpc
        .submit(with_token("hunter2", submission("", "1")))
        .await
        .unwrap();
    bench.grpc.submit(submission("open", "1")).await.unwrap();
    let who: Vec<_> = bench
        .fake
        .submitted
        .lock()
        .unwrap()
        .iter()
        .map(|(who, _)| who.clone())
        .collect();
    assert_eq!(who, ["closed", "open"]);
}

#[tokio::test]
async fn settlements_of_others_do_not_exist() {
    let mut bench = bench().await;
    let get = || v1::GetRequest {
        settlement_id: ID.into(),
    };
    refused(bench.grpc.get(get()).await.unwrap_err(), Code::NotFound, NOT_FOUND.code);
    let cancel = v1::CancelRequest {
        settlement_id: ID.into(),
    };
    refused(
        bench.grpc.cancel(cancel).await.unwrap_err(),
        Code::NotFound,
        NOT_FOUND.code,
    );
    bench.grpc.get(with_token("hunter2", get())).await.unwrap();
    refused(
        bench.grpc.list(v1::ListRequest::default()).await.unwrap_err(),
        Code::Unauthenticated,
        TOKEN.code,
    );
    let request = v1::ListRequest {
        page_size: 9_999,
        ..Default::default()
    };
    bench.grpc.list(with_token("hunter2", request)).await.unwrap();
    let listed = bench.fake.listed.lock().unwrap();
    assert_eq!((listed[0].coordinator.as_str(), listed[0].page_size), ("closed", 500));
}

#[tokio::test]
async fn rest_answers_the_two_routes_of_the_original_design() {
    let bench = bench().await;
    let body = r#"{"coordinator":"open","auth":"0x","terms":{"source_chain":1,"target_chain":2,"payer":"0x","payee":"0x",
        "token":"0x","amount":"1","nonce":"1","deadline":5},"receipts":[{"price": 1.10}, "{\"a\":1}"]}"#;
    let (status, answer) = http(&bench, "POST", "/v1/settlement/cross-chain", "", body).await;
    assert_eq!(
        (status, &answer["message_id"], &answer["status"]),
        (202, &json!(ID), &json!("pending"))
    );
    let receipts = bench.fake.submitted.lock().unwrap()[0].1.receipts.clone();
    assert_eq!(receipts, [b"{\"price\": 1.10}".to_vec(), b"{\"a\":1}".to_vec()]);
    let path = format!("/v1/settlement/{ID}/status");
    let (status, answer) = http(&bench, "GET", &path, "authorization: Bearer hunter2\r\n", "").await;
    assert_eq!(
        (status, &answer["status"], &answer["state"]),
        (200, &json!("completed"), &json!("settled"))
    );
    let (status, answer) = http(&bench, "GET", &path, "", "").await;
    assert_eq!((status, &answer["code"]), (404, &json!(NOT_FOUND.code)));
}

#[tokio::test]
async fn rest_refusals_are_problem_json() {
    let bench = bench().await;
    let (status, answer) = http(&bench, "POST", "/v1/settlement/cross-chain", "", "{\"nonsense\":1}").await;
    assert_eq!(status, 400);
    insta::assert_json_snapshot!("problem", answer);
    let (status, answer) = http(&bench, "POST", "/v1/settlement/cross-chain", "", &"x".repeat(2_049)).await;
    assert_eq!((status, &answer["code"]), (400, &json!(error::TOO_LARGE.code)));
    let (status, answer) = http(&bench, "GET", "/nowhere", "", "").await;
    assert_eq!((status, &answer["code"]), (404, &json!(error::ROUTE.code)));
}

#[tokio::test]
async fn health_and_reflection_answer_and_a_stop_ends_the_listeners() {
    let bench = bench().await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(bench.channel.clone());
    let check = tonic_health::pb::HealthCheckRequest {
        service: "relayer.v1.SettlementService".into(),
    };
    assert_eq!(health.check(check).await.unwrap().into_inner().status, 1);
    let mut reflection =
        tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(bench.channel.clone());
    let ask = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            tonic_reflection::pb::v1::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
    };
    let answers = reflection
        .server_reflection_info(tokio_stream::once(ask))
        .await
        .unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    assert!(format!("{answer:?}").contains("relayer.v1.SettlementService"));
    assert_eq!(http(&bench, "GET", "/healthz", "", "").await.0, 200);
    assert_eq!(http(&bench, "GET", "/readyz", "", "").await.0, 503);
    assert!(bench.liveness.snapshot().is_empty());
    drop((health, reflection, bench.channel, bench.grpc));
    bench.stop.cancel();
    tokio::time::timeout(std::time::Duration::from_secs(10), bench.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

/// Two changes: one of `closed`, one of `open`.
async fn changes(bench: &Bench) {
    let mut txn = bench.db.begin(5).await.unwrap();
    for coordinator in ["closed", "open"] {
        txn.record(crate::store::NewEvent {
            aggregate: "settlement",
            aggregate_id: ID.into(),
            event: "accept".into(),
            to_state: Some("accepted".into()),
            cause: "intake".into(),
            settlement_id: Some(B256::repeat_byte(0x11)),
            coordinator_id: Some(coordinator.into()),
            ..Default::default()
        });
    }
    txn.commit().await.unwrap();
}

#[tokio::test]
async fn watch_sends_what_the_token_may_see_and_ends_with_the_relayer() {
    let mut bench = bench().await;
    changes(&bench).await;
    let request = || v1::WatchRequest {
        heartbeat_ms: 100,
        ..Default::default()
    };
    refused(
        bench.grpc.watch(request()).await.unwrap_err(),
        Code::Unauthenticated,
        TOKEN.code,
    );
    let mut wrong = request();
    wrong.states = vec!["done".into()];
    refused(
        bench.grpc.watch(with_token("hunter2", wrong)).await.unwrap_err(),
        Code::InvalidArgument,
        FIELD.code,
    );
    let mut more = request();
    more.aggregates = vec!["tx".into()];
    refused(
        bench.grpc.watch(with_token("hunter2", more)).await.unwrap_err(),
        Code::PermissionDenied,
        error::COORDINATOR.code,
    );
    let mut future = request();
    future.after_seq = 3;
    refused(
        bench.grpc.watch(with_token("hunter2", future)).await.unwrap_err(),
        Code::FailedPrecondition,
        error::CURSOR_FUTURE.code,
    );
    let mut stream = bench
        .grpc
        .watch(with_token("hunter2", request()))
        .await
        .unwrap()
        .into_inner();
    let mut events = Vec::new();
    let mut last = v1::WatchResponse::default();
    while last.after_seq < 2 {
        last = stream.message().await.unwrap().unwrap();
        events.extend(last.events.clone());
    }
    assert_eq!((last.newest_seq, events.len()), (2, 1));
    let event = events.remove(0);
    let expected = v1::Event {
        seq: 1,
        at_ms: 5,
        aggregate: "settlement".into(),
        aggregate_id: ID.into(),
        event: "accept".into(),
        to_state: "accepted".into(),
        cause: "intake".into(),
        settlement_id: ID.into(),
        coordinator: "closed".into(),
        ..Default::default()
    };
    assert_eq!(event, expected);
    bench.stop.cancel();
    let status = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("ended without a word"),
            Err(status) => break status,
        }
    };
    assert!(status.message().contains("after_seq 2"), "{status:?}");
    refused(status, Code::Unavailable, error::STOPPING.code);
}

/// Reads a stream until `enough` is in it.
async fn read_events(bench: &Bench, path: &str, headers: &str, enough: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(bench.rest).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4_096];
    while !text.contains(enough) {
        let read = tokio::time::timeout(std::time::Duration::from_secs(10), stream.read(&mut buffer));
        let count = read.await.expect("in time").unwrap();
        assert!(count > 0, "closed after: {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    text
}

#[tokio::test]
async fn rest_lists_and_streams_events_a_browser_can_continue() {
    let bench = bench().await;
    changes(&bench).await;
    let path = "/v1/settlements?coordinator=open&state=settled&page_size=7";
    assert_eq!(http(&bench, "GET", path, "", "").await.0, 200);
    let asked = bench.fake.listed.lock().unwrap()[0].clone();
    assert_eq!(
        (asked.coordinator.as_str(), asked.state.as_str(), asked.page_size),
        ("open", "settled", 7)
    );
    let (status, problem) = http(&bench, "GET", "/v1/settlements?coordinator=open&colour=red", "", "").await;
    assert_eq!((status, &problem["code"]), (400, &json!(FIELD.code)));
    let (status, problem) = http(&bench, "GET", "/v1/events", "", "").await;
    assert_eq!((status, &problem["code"]), (401, &json!(TOKEN.code)));
    let path = "/v1/events?coordinator=open&after_seq=0&heartbeat_ms=100";
    let text = read_events(&bench, path, "", "id: 2\n\n").await;
    assert!(text.contains("content-type: text/event-stream"), "{text}");
    assert!(text.contains("id: 2\nevent: settlement\ndata: {\"seq\":2,"), "{text}");
    assert!(!text.contains("\"seq\":1,"), "another coordinator's change: {text}");
    // Continues where the browser says it was; nothing of before comes again.
    let path = "/v1/events?coordinator=open&heartbeat_ms=100";
    let text = read_events(&bench, path, "last-event-id: 2\r\n", ": newest 2\nid: 2\n\n").await;
    assert!(!text.contains("data:"), "{text}");
    let (status, problem) = http(&bench, "GET", path, "last-event-id: 9\r\n", "").await;
    assert_eq!((status, &problem["code"]), (422, &json!(error::CURSOR_FUTURE.code)));
}

#[tokio::test]
async fn a_watch_over_either_face_hears_that_the_database_is_away() {
    let mut bench = bench().await;
    changes(&bench).await;
    let request = v1::WatchRequest {
        coordinator: "open".into(),
        heartbeat_ms: 100,
        ..Default::default()
    };
    let mut stream = bench.grpc.watch(request).await.unwrap().into_inner();
    stream.message().await.unwrap();
    let path = "/v1/events?coordinator=open&after_seq=0&heartbeat_ms=100";
    let db = bench.db.store.clone();
    let away = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        crate::store::testing::close(&db).await;
    };
    let ended = async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("ended without a word"),
                Err(status) => return status,
            }
        }
    };
    let (status, text, ()) = tokio::join!(ended, read_events(&bench, path, "", error::UNREADABLE.code), away);
    refused(status, Code::Unavailable, error::UNREADABLE.code);
    assert!(
        text.contains("id: 2\n\n") && text.contains("event: end\ndata: {"),
        "{text}"
    );
}

#[tokio::test]
async fn a_dry_run_answers_questions_and_accepts_nothing() {
    let fake = Arc::new(Fake::default());
    let dry = super::DryRun(fake.clone());
    let refusal = |error: ApiError| assert!(format!("{error:?}").contains("RLY-API-019"), "{error:?}");
    refusal(dry.submit("open", v1::SubmitRequest::default()).await.unwrap_err());
    refusal(
        dry.submit_group("open", v1::SubmitGroupRequest::default())
            .await
            .unwrap_err(),
    );
    let (told, heard) = tokio::sync::oneshot::channel();
    let reply: SubmitReply = Box::new(move |answer| drop(told.send(answer)));
    dry.submit_with("open", v1::SubmitRequest::default(), reply).await;
    refusal(heard.await.unwrap().unwrap_err());
    let id = SettlementId(B256::repeat_byte(0x11));
    refusal(dry.cancel("open", id).await.unwrap_err());
    assert!(fake.submitted.lock().unwrap().is_empty(), "nothing reached the intake");
    assert!(dry.find(id).await.unwrap().is_some());
    assert!(dry.quote(v1::QuoteRequest::default()).await.is_ok());
}
