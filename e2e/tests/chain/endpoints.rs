//! Endpoints that lie, fail, or serve another chain.

use crate::world::{Anvil, CHAIN, SIGNER, World, payee};
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::rpc::client::RpcClient;
use axum::Json;
use axum::extract::State;
use axum::routing::post;
use relayer::adapter::{ChainId, LogFilter, ViewError};
use relayer::chain::fee::FeePolicy;
use relayer::chain::{Chain, Contracts, Finality, RpcChain, RpcConfig};
use relayer::clock::Clock;
use relayer::settlement::states::TxState;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// How a proxy in front of an honest node lies.
#[derive(Clone, Copy)]
enum Lie {
    /// Invents a head far ahead, other call results, other counts, no logs and no receipts.
    Everything(u8),
    /// HTTP 200 with an error object.
    Error,
    /// HTTP 200 with null.
    Null,
    /// Says it serves another chain.
    Chain,
}

struct Proxy {
    url: String,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn invent(seed: u8, method: &str, honest: Value) -> Value {
    let word = B256::repeat_byte(seed);
    match method {
        "eth_getBlockByNumber" => {
            let mut block = honest;
            if block.is_object() {
                block["number"] = json!(format!("{:#x}", 1_000_000 + u64::from(seed)));
                block["hash"] = json!(word);
            }
            block
        }
        "eth_call" => json!(word),
        "eth_getTransactionCount" | "eth_getBalance" => json!(format!("{:#x}", 7_000 + u64::from(seed))),
        "eth_getLogs" => json!([]),
        "eth_getTransactionReceipt" => Value::Null,
        _ => honest,
    }
}

async fn proxy(anvil: &Anvil, lie: Lie) -> Proxy {
    let client = RpcClient::new_http(anvil.url.parse().unwrap());
    let answer = move |State(client): State<RpcClient>, Json(request): Json<Value>| async move {
        let method = request["method"].as_str().unwrap().to_owned();
        let id = request["id"].clone();
        let params = request["params"].clone();
        let honest = client.request::<Value, Value>(method.clone(), params).await;
        let result = match (lie, honest) {
            (Lie::Chain, _) if method == "eth_chainId" => json!("0x1"),
            (_, Ok(value)) if method == "eth_chainId" => value,
            (Lie::Error, _) => {
                return Json(
                    json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32603, "message": "Internal error"}}),
                );
            }
            (Lie::Null, _) => Value::Null,
            (Lie::Everything(seed), Ok(value)) => invent(seed, &method, value),
            (_, Ok(value)) => value,
            (_, Err(error)) => {
                let message = error.to_string();
                return Json(json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32000, "message": message}}));
            }
        };
        Json(json!({"jsonrpc": "2.0", "id": id, "result": result}))
    };
    let app = axum::Router::new().route("/", post(answer)).with_state(client);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    Proxy { url, task }
}

#[derive(Debug)]
struct Standing;

impl Clock for Standing {
    fn now_ms(&self) -> i64 {
        0
    }
}

fn chain(urls: Vec<String>, finality: Finality) -> RpcChain {
    let mut config = RpcConfig::new(CHAIN, &urls, finality);
    config.head_age_ms_max = 0;
    RpcChain::new(&config, Arc::new(Standing)).unwrap()
}

async fn node() -> Anvil {
    let anvil = Anvil::start(CHAIN);
    let echo = Address::repeat_byte(0xbb);
    // Returns 42.
    anvil
        .rpc("anvil_setCode", json!([echo, "0x602a60005260206000f3"]))
        .await;
    anvil.mine(10).await;
    anvil
}

#[tokio::test(flavor = "multi_thread")]
async fn one_liar_of_three_changes_nothing() {
    let anvil = node().await;
    let liar = proxy(&anvil, Lie::Everything(1)).await;
    for urls in [
        vec![liar.url.clone(), anvil.url.clone(), anvil.url.clone()],
        vec![anvil.url.clone(), liar.url.clone(), anvil.url.clone()],
    ] {
        let chain = chain(urls, Finality::Depth(3));
        let head = chain.head().await.unwrap();
        assert_eq!(head.number, 10);
        assert_eq!(chain.finalized().await.unwrap().number, 7);
        assert_eq!(chain.transaction_count(SIGNER, head).await.unwrap(), 0);
        let view = chain.view(head);
        let answer = view
            .call(None, Address::repeat_byte(0xbb), Bytes::new(), U256::ZERO)
            .await
            .unwrap();
        assert_eq!(answer, Bytes::from(B256::with_last_byte(42).0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_settle_with_a_liar_among_three() {
    let anvil = node().await;
    let liar = proxy(&anvil, Lie::Everything(1)).await;
    let urls = vec![liar.url.clone(), anvil.url.clone(), anvil.url.clone()];
    let world = World::with(anvil, urls, 2, FeePolicy::default(), Contracts::default()).await;
    let id = world.prepare_transfer(1).await;
    world.until(id, TxState::Finalized).await;
    assert_eq!(world.anvil.balance(payee(1)).await, U256::from(1_001));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_there_is_no_answer_rather_than_a_wrong_one() {
    let anvil = node().await;
    let liars = [
        proxy(&anvil, Lie::Everything(1)).await,
        proxy(&anvil, Lie::Everything(2)).await,
    ];
    let honest = chain(vec![anvil.url.clone()], Finality::Depth(3));
    let head = honest.head().await.unwrap();
    let urls = vec![liars[0].url.clone(), liars[1].url.clone(), anvil.url.clone()];
    let outvoted = chain(urls, Finality::Depth(3));
    let error = outvoted.transaction_count(SIGNER, head).await.unwrap_err();
    assert!(matches!(error, ViewError::Unavailable { .. }), "{error}");
    let call = outvoted
        .view(head)
        .call(None, Address::repeat_byte(0xbb), Bytes::new(), U256::ZERO)
        .await;
    assert!(matches!(call, Err(ViewError::Unavailable { .. })), "{call:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_nulls_wrong_chains_and_dead_endpoints_count_as_no_answer() {
    let anvil = node().await;
    for lie in [Lie::Error, Lie::Null, Lie::Chain] {
        let bad = proxy(&anvil, lie).await;
        let alone = chain(vec![bad.url.clone()], Finality::Depth(3));
        let error = alone.head().await.unwrap_err();
        assert!(matches!(error, ViewError::Unavailable { .. }), "{error}");
        let dead = "http://127.0.0.1:9".to_owned();
        let most = chain(
            vec![bad.url.clone(), anvil.url.clone(), anvil.url.clone()],
            Finality::Depth(3),
        );
        assert_eq!(most.head().await.unwrap().number, 10);
        let few = chain(vec![bad.url.clone(), anvil.url.clone(), dead], Finality::Depth(3));
        assert!(few.head().await.is_err(), "one honest answer is not a quorum of two");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_chain_is_never_used() {
    let other = Anvil::start(ChainId(5));
    let alone = chain(vec![other.url.clone()], Finality::Depth(0));
    let error = alone.head().await.unwrap_err().to_string();
    assert!(error.contains("serves chain 5"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pinned_reads_of_a_block_that_is_gone_say_so() {
    let anvil = node().await;
    let chain = chain(vec![anvil.url.clone()], Finality::Depth(3));
    let head = chain.head().await.unwrap();
    anvil.reorg(1).await;
    let view = chain.view(head);
    let unknown = |error: ViewError| matches!(error, ViewError::UnknownBlock { .. });
    assert!(unknown(view.logs(&LogFilter::default()).await.unwrap_err()));
    let range = LogFilter {
        from_block: Some(0),
        ..LogFilter::default()
    };
    assert!(unknown(view.logs(&range).await.unwrap_err()));
    assert!(unknown(
        view.call(None, SIGNER, Bytes::new(), U256::ZERO).await.unwrap_err()
    ));
    assert!(
        unknown(view.receipt(B256::repeat_byte(1)).await.unwrap_err()),
        "no receipt is no proof without the block"
    );
    assert!(unknown(chain.transaction_count(SIGNER, head).await.unwrap_err()));
}

#[tokio::test(flavor = "multi_thread")]
async fn finality_by_tag_is_the_nodes_word() {
    let anvil = node().await;
    anvil.mine(90).await;
    for (tag, number) in [
        (relayer::chain::FinalityTag::Safe, 68),
        (relayer::chain::FinalityTag::Finalized, 36),
    ] {
        let chain = chain(vec![anvil.url.clone()], Finality::Tag(tag));
        // anvil answers 32 and 64 blocks below the head.
        assert_eq!(chain.finalized().await.unwrap().number, number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revert_carries_its_data() {
    let anvil = node().await;
    let reverting = Address::repeat_byte(0xcc);
    anvil
        .rpc("anvil_setCode", json!([reverting, "0x63deadbeef6000526004601cfd"]))
        .await;
    let chain = chain(vec![anvil.url.clone()], Finality::Depth(0));
    let head = chain.head().await.unwrap();
    let error = chain
        .view(head)
        .call(None, reverting, Bytes::new(), U256::ZERO)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ViewError::Reverted { data } if data == &[0xde, 0xad, 0xbe, 0xef]),
        "{error}"
    );
}
