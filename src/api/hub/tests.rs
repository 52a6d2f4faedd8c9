#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::api::error::{FIELD, TOKEN as NO_TOKEN};
use crate::api::{Api, Auth, Health, Listeners};
use crate::config::{ApiConfig, CoordinatorConfig, Secret};
use crate::hub::ledger::tests::{Bench, CONTRACT, KEEPER, OPERATOR, TOKEN, wallet};
use crate::liveness::Liveness;
use alloy::primitives::B256;
use relayer_proto::v1::hub_service_client::HubServiceClient;
use serde_json::Value;
use std::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt;

struct Served {
    bench: Bench,
    grpc: HubServiceClient<Channel>,
    rest: std::net::SocketAddr,
    looked: Arc<Mutex<Vec<ChainId>>>,
    stop: CancellationToken,
}

/// Nobody submits settlements here.
struct None_;

#[async_trait::async_trait]
impl crate::api::Settlements for None_ {
    async fn submit(&self, _: &str, _: v1::SubmitRequest) -> Result<v1::SubmitResponse, ApiError> {
        Ok(v1::SubmitResponse::default())
    }
    async fn submit_with(&self, _: &str, _: v1::SubmitRequest, _: crate::api::SubmitReply) {}
    async fn submit_group(&self, _: &str, _: v1::SubmitGroupRequest) -> Result<v1::SubmitGroupResponse, ApiError> {
        Ok(v1::SubmitGroupResponse::default())
    }
    async fn find(&self, _: relayer_adapter_api::SettlementId) -> Result<Option<v1::GetResponse>, ApiError> {
        Ok(None)
    }
    async fn list(&self, _: v1::ListRequest) -> Result<v1::ListResponse, ApiError> {
        Ok(v1::ListResponse::default())
    }
    async fn quote(&self, _: v1::QuoteRequest) -> Result<v1::QuoteResponse, ApiError> {
        Ok(v1::QuoteResponse::default())
    }
    async fn cancel(&self, _: &str, _: relayer_adapter_api::SettlementId) -> Result<v1::CancelResponse, ApiError> {
        Ok(v1::CancelResponse::default())
    }
}

async fn serve(bench: Bench, token: Option<&str>) -> Served {
    let keeper = CoordinatorConfig {
        token: token.map(|token| Secret::Value(token.into())),
        ..CoordinatorConfig::default()
    };
    let others = [KEEPER, "other"].map(|name| (name.to_owned(), keeper.clone()));
    let limits = ApiConfig {
        grpc_listen: "127.0.0.1:0".parse().unwrap(),
        rest_listen: "127.0.0.1:0".parse().unwrap(),
        ..ApiConfig::default()
    };
    let auth = Auth::from_config(&others.into()).unwrap();
    let listeners = Listeners::bind(&limits).await.unwrap();
    let (grpc, rest) = listeners.addresses().unwrap();
    let stop = CancellationToken::new();
    let looked: Arc<Mutex<Vec<ChainId>>> = Arc::default();
    let seen = looked.clone();
    let hubs = Hubs {
        ledger: bench.ledger.clone(),
        keepers: [("own".to_owned(), KEEPER.to_owned())].into(),
        look: Arc::new(move |chain| seen.lock().unwrap().push(chain)),
        dry_run: false,
    };
    let handlers = Handlers::new(Arc::new(None_), auth, limits)
        .with_stop(stop.clone())
        .with_hubs(hubs);
    let api = Api {
        handlers: Arc::new(handlers),
        operators: None,
        health: Health {
            metrics: None,
            liveness: Liveness::default(),
        },
    };
    tokio::spawn(listeners.serve(api, stop.clone()));
    let channel = Channel::from_shared(format!("http://{grpc}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    Served {
        bench,
        grpc: HubServiceClient::new(channel),
        rest,
        looked,
        stop,
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn code(status: &tonic::Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

fn text(address: Address) -> String {
    address.to_string()
}

impl Served {
    async fn get(&self, path: &str) -> (u16, Value) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(self.rest).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer[9..12].parse().unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    async fn setup(&mut self) {
        for (trail, token) in [CONTRACT, TOKEN].into_iter().enumerate() {
            let request = v1::RegisterTokenRequest {
                hub: "own".into(),
                token: text(token),
                trail: trail as u64,
                name: "Ethereum".into(),
                short_name: "ETH".into(),
                coordinator: KEEPER.into(),
            };
            self.grpc.register_token(request).await.unwrap();
        }
        let piece = |wallets: std::ops::Range<u64>| v1::AdmitWalletsRequest {
            hub: "own".into(),
            token: text(CONTRACT),
            coordinator: KEEPER.into(),
            wallets: wallets
                .map(|n| v1::WalletAdmission {
                    wallet: text(wallet(n)),
                    ..Default::default()
                })
                .collect(),
        };
        let pieces = futures::stream::iter(vec![piece(0..2), piece(1..4)]);
        let answer = self.grpc.admit_wallets(pieces).await.unwrap().into_inner();
        assert_eq!((answer.admitted, answer.known, answer.next_trail), (4, 1, 4));
        self.bench.deposit(1, 0, 1_000).await;
        self.bench.read_to(2, 1).await;
        self.bench.follow().await;
    }

    async fn record(&mut self, ids: std::ops::Range<u64>, amount: &str) -> v1::RecordTransfersResponse {
        let one = |n: u64| v1::TransferRecord {
            tx_id: format!("id {n}"),
            token: text(CONTRACT),
            wallet: text(wallet(0)),
            recipient: text(wallet(1 + n % 3)),
            amount: amount.into(),
            nonce: n.to_string(),
            active_state: None,
        };
        let piece = |ids: std::ops::Range<u64>| v1::RecordTransfersRequest {
            hub: "own".into(),
            coordinator: KEEPER.into(),
            eon: 0,
            transfers: ids.map(one).collect(),
        };
        let middle = u64::midpoint(ids.start, ids.end);
        let pieces = futures::stream::iter(vec![piece(ids.start..middle), piece(middle..ids.end)]);
        self.grpc.record_transfers(pieces).await.unwrap().into_inner()
    }

    async fn build(&mut self, eon: u64) -> Result<v1::BuiltCheckpoint, tonic::Status> {
        let request = v1::BuildCheckpointRequest {
            hub: "own".into(),
            eon,
            coordinator: KEEPER.into(),
            leftover_to: text(OPERATOR),
            rebuild: false,
        };
        let mut answers = self.grpc.build_checkpoint(request).await?.into_inner();
        let mut built = None;
        while let Some(answer) = answers.message().await? {
            built = answer.checkpoint.or(built);
        }
        Ok(built.unwrap())
    }
}

#[tokio::test]
async fn a_coordinator_keeps_its_hub_over_grpc_and_wallets_audit_it_over_rest() {
    let mut served = serve(Bench::open().await, None).await;
    served.setup().await;
    let answer = served.record(0..60, "10").await;
    assert_eq!((answer.recorded, answer.refused), (60, 0));
    let again = served.record(0..60, "10").await;
    assert_eq!((again.recorded, again.known), (0, 60));
    let refused = served.record(60..62, "1000").await;
    assert_eq!(refused.refused, 2);
    assert_eq!(
        (refused.refusals[0].tx_id.as_str(), refused.refusals[0].code.as_str()),
        ("id 60", "RLY-HUB-065")
    );

    let open = served.build(2).await.unwrap_err();
    assert_eq!(
        (open.code(), code(&open).as_str()),
        (Code::FailedPrecondition, "RLY-HUB-069")
    );
    served.bench.read_to(13, 11).await;
    let built = served.build(2).await.unwrap();
    assert_eq!(
        (
            built.eon,
            built.contents.clone().unwrap().tokens[0].upper_bound.as_str()
        ),
        (2, "1000")
    );
    assert!(!built.accumulator.is_empty());

    let path = |rest: &str| format!("/v1/hubs/own/audit/{rest}");
    let (status, state) = served.get("/v1/hubs/own/audit/").await;
    assert_eq!(
        (status, &state["latest"]["eon_number"], &state["blocks_per_eon"]),
        (200, &2.into(), &10.into())
    );
    let (_, tokens) = served.get(&path("tokens/")).await;
    assert_eq!(
        (tokens.as_array().unwrap().len(), &tokens[0]["short_name"]),
        (2, &"ETH".into())
    );
    let (_, whois) = served.get(&path(&format!("{CONTRACT}/{}/whois", wallet(2)))).await;
    assert_eq!(
        (&whois["trail_identifier"], &whois["operator_authorization"]),
        (&2.into(), &Value::Null)
    );
    let (_, audit) = served.get(&path(&format!("2/{CONTRACT}/{}/", wallet(1)))).await;
    assert_eq!(
        (&audit["merkle_proof"]["left"], &audit["merkle_proof"]["right"]),
        (&"400".into(), &"600".into())
    );
    assert_eq!(audit["root"], Value::from(built.root.clone()));
    let (_, audit) = served.get(&path(&format!("1/{CONTRACT}/{}", wallet(0)))).await;
    assert_eq!(audit["transactions"].as_array().unwrap().len(), 60);
    assert_eq!(
        (&audit["deposits"][0]["amount"], &audit["merkle_proof"]),
        (&"1000".into(), &Value::Null)
    );

    let (_, page) = served.get(&path("transactions/?eon_number=1&limit=1000")).await;
    assert_eq!(
        (&page["count"], page["results"].as_array().unwrap().len()),
        (&60.into(), 50)
    );
    let next = page["next"].as_str().unwrap().to_owned();
    let (_, rest) = served.get(&next).await;
    assert_eq!(
        (rest["results"].as_array().unwrap().len(), &rest["next"]),
        (10, &Value::Null)
    );
    assert_eq!(rest["results"][9]["tx_id"], Value::from("id 0"));
    let (_, one) = served.get(&path("transactions/id%207/")).await;
    assert_eq!((&one["nonce"], &one["complete"]), (&"7".into(), &true.into()));
    assert!(
        one["delivery_proof"]["transfer_membership_chain"]
            .as_array()
            .unwrap()
            .len()
            >= 4
    );
    let (status, problem) = served.get(&path("transactions/none")).await;
    assert_eq!((status, &problem["code"]), (404, &"RLY-API-021".into()));
    let (status, problem) = served.get("/v1/hubs/other/audit").await;
    assert_eq!((status, &problem["code"]), (404, &"RLY-HUB-061".into()));
}

#[tokio::test]
async fn a_hint_rings_the_reader_s_bell_and_a_signature_is_not_taken() {
    let mut served = serve(Bench::open().await, None).await;
    let request = v1::SubmitCheckpointRequest {
        hub: "own".into(),
        eon: 3,
        ..Default::default()
    };
    let answer = served
        .grpc
        .submit_checkpoint(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.status, "looking");
    assert_eq!(served.looked.lock().unwrap().len(), 1);
    let root = B256::repeat_byte(3);
    let fact = crate::store::HubFact::Checkpoint { eon: Eon(3), root };
    served.bench.log(25, fact).await;
    let answer = served
        .grpc
        .submit_checkpoint(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (answer.status.as_str(), answer.checkpoint.unwrap().root),
        ("known", root.to_string())
    );
    let other = v1::SubmitCheckpointRequest {
        root: B256::repeat_byte(4).to_string(),
        ..request.clone()
    };
    let answer = served.grpc.submit_checkpoint(other).await.unwrap().into_inner();
    assert_eq!(answer.status, "looking");
    let signed = v1::SubmitCheckpointRequest {
        signature: format!("0x{}", "11".repeat(65)),
        root: root.to_string(),
        ..request
    };
    let refused = served.grpc.submit_checkpoint(signed).await.unwrap_err();
    assert_eq!(code(&refused), "RLY-HUB-079");
}

#[tokio::test]
async fn ledgers_and_tokens_belong_to_their_coordinators() {
    let mut served = serve(Bench::open().await, Some("hunter2")).await;
    let list = served.grpc.list_hubs(v1::ListHubsRequest {}).await.unwrap_err();
    assert_eq!(
        (list.code(), code(&list).as_str()),
        (Code::Unauthenticated, NO_TOKEN.code)
    );
    let (status, _) = served.get("/v1/hubs").await;
    assert_eq!(status, 401);

    let mut served = serve(Bench::open().await, None).await;
    let request = v1::RegisterTokenRequest {
        hub: "own".into(),
        token: text(CONTRACT),
        coordinator: "other".into(),
        ..Default::default()
    };
    let refused = served.grpc.register_token(request.clone()).await.unwrap_err();
    assert_eq!(
        (refused.code(), code(&refused).as_str()),
        (Code::PermissionDenied, "RLY-HUB-062")
    );
    let request = v1::RegisterTokenRequest {
        coordinator: KEEPER.into(),
        token: "0x12".into(),
        ..request
    };
    let refused = served.grpc.register_token(request).await.unwrap_err();
    assert_eq!(
        (refused.code(), code(&refused).as_str()),
        (Code::InvalidArgument, FIELD.code)
    );
}

#[tokio::test]
async fn events_come_as_they_happen_and_from_a_cursor() {
    let mut served = serve(Bench::open().await, None).await;
    served.setup().await;
    let watch = |after_seq: u64, types: &[&str]| v1::WatchHubRequest {
        hub: "own".into(),
        after_seq,
        types: types.iter().map(|name| (*name).to_owned()).collect(),
        heartbeat_ms: 200,
        ..Default::default()
    };
    let mut events = served.grpc.watch(watch(0, &[])).await.unwrap().into_inner();
    let first = events.message().await.unwrap().unwrap();
    assert_eq!(
        (first.events[0].r#type.as_str(), first.events[0].amount.as_str()),
        ("CONFIRMED_DEPOSIT", "1000")
    );
    served.record(0..2, "5").await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let answer = events.message().await.unwrap().unwrap();
        seen.extend(answer.events.into_iter().map(|event| (event.seq, event.reference)));
    }
    assert_eq!(seen, [(2, "id 0".to_owned()), (3, "id 1".to_owned())]);
    let mut none = served
        .grpc
        .watch(watch(1, &["CONFIRMED_DEPOSIT"]))
        .await
        .unwrap()
        .into_inner();
    let heartbeat = none.message().await.unwrap().unwrap();
    assert_eq!(
        (heartbeat.events.len(), heartbeat.after_seq),
        (0, 3),
        "what is held back moves the cursor"
    );
    let future = served.grpc.watch(watch(9, &[])).await.unwrap_err();
    assert_eq!(code(&future), "RLY-API-014");
    let wrong = served.grpc.watch(watch(0, &["NOTHING"])).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    served.stop.cancel();
    let last = loop {
        match events.message().await {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert_eq!(code(&last.unwrap_err()), "RLY-API-016");
}
