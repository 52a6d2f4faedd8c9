//! An endpoint in front of a chain's node that forgets logs when it is told to: it answers `eth_getLogs` with an empty list, as endpoints
//! with a pruned or lagging index do, and everything else honestly.

use super::anvil::Anvil;
use alloy::rpc::client::RpcClient;
use alloy::transports::TransportError;
use anyhow::{Context, Result};
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

#[derive(Debug)]
struct Inner {
    node: RpcClient,
    forgets: AtomicBool,
    forgotten: AtomicU64,
}

/// Serves until it is dropped.
#[derive(Debug)]
pub struct Forgetful {
    pub url: String,
    inner: Arc<Inner>,
    _stop: DropGuard,
}

impl Forgetful {
    pub async fn before(node: &Anvil) -> Result<Self> {
        let inner = Arc::new(Inner {
            node: RpcClient::new_http(node.url.parse().context("the node's address")?),
            forgets: AtomicBool::new(false),
            forgotten: AtomicU64::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let routes = Router::new().route("/", post(answer)).with_state(Arc::clone(&inner));
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            let served = axum::serve(listener, routes).with_graceful_shutdown(stopped.cancelled_owned());
            if let Err(error) = served.await {
                tracing::warn!(%error, "a forgetful endpoint ended");
            }
        });
        Ok(Self {
            url,
            inner,
            _stop: stop.drop_guard(),
        })
    }

    /// From now on.
    pub fn forget(&self, forgets: bool) {
        self.inner.forgets.store(forgets, Ordering::SeqCst);
    }

    /// Logs it has kept to itself.
    pub fn forgotten(&self) -> u64 {
        self.inner.forgotten.load(Ordering::SeqCst)
    }
}

async fn answer(State(inner): State<Arc<Inner>>, Json(request): Json<Value>) -> Json<Value> {
    match request {
        Value::Array(calls) => {
            let mut answers = Vec::with_capacity(calls.len());
            for call in calls {
                answers.push(one(&inner, call).await);
            }
            Json(Value::Array(answers))
        }
        call => Json(one(&inner, call).await),
    }
}

async fn one(inner: &Inner, call: Value) -> Value {
    let id = call["id"].clone();
    let method = call["method"].as_str().unwrap_or_default().to_owned();
    let forgets = method == "eth_getLogs" && inner.forgets.load(Ordering::SeqCst);
    match inner.node.request::<Value, Value>(method, call["params"].clone()).await {
        Ok(logs) if forgets => {
            let kept = logs.as_array().map_or(0, Vec::len);
            inner.forgotten.fetch_add(kept as u64, Ordering::SeqCst);
            json!({"jsonrpc": "2.0", "id": id, "result": []})
        }
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(TransportError::ErrorResp(error)) => json!({"jsonrpc": "2.0", "id": id, "error": error}),
        Err(error) => {
            let error = json!({"code": -32000, "message": error.to_string()});
            json!({"jsonrpc": "2.0", "id": id, "error": error})
        }
    }
}
