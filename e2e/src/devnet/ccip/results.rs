//! What CCIP's public endpoint serves of messages of 2.0, for both directions of the devnet: the verifiers' results, once a message's block is as
//! deep as the committee waits.

use super::v2::Aggregator;
use alloy::primitives::{Address, B256, Bytes};
use alloy::providers::{DynProvider, Provider};
use alloy::rpc::types::Filter;
use alloy::sol_types::SolEvent;
use anyhow::Result;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use relayer_adapter_ccip::VerifierResults;
use relayer_adapter_ccip::abi::v2_0::IOnRamp;
use serde_json::json;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// One direction.
#[derive(Debug, Clone)]
pub struct Way {
    pub source_provider: DynProvider,
    pub on_ramp: Address,
    /// Blocks the committee waits on the source.
    pub confirmations: u64,
    pub aggregator: Aggregator,
}

impl Way {
    /// The message as it was sent, when it was sent this way and is deep enough.
    async fn encoded(&self, message: B256) -> Result<Option<Bytes>> {
        let head = self.source_provider.get_block_number().await?;
        let filter = Filter::new()
            .address(self.on_ramp)
            .event_signature(IOnRamp::CCIPMessageSent::SIGNATURE_HASH)
            .topic3(message)
            .from_block(0)
            .to_block(head.saturating_sub(self.confirmations));
        let logs = self.source_provider.get_logs(&filter).await?;
        let log = logs.last().map(|log| IOnRamp::CCIPMessageSent::decode_log(&log.inner));
        Ok(log.transpose()?.map(|event| event.encodedMessage.clone()))
    }
}

/// Serves until cancelled; returns the base address.
pub async fn serve(ways: Vec<Way>, stop: CancellationToken) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let routes = Router::new()
        .route("/v2/messages/{id}/execution-inputs", get(inputs))
        .with_state(Arc::new(ways));
    tokio::spawn(async move {
        let served = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::warn!(%error, "the devnet's CCIP results endpoint ended");
        }
    });
    Ok(format!("http://{address}"))
}

async fn inputs(State(ways): State<Arc<Vec<Way>>>, Path(id): Path<String>) -> Response {
    let Ok(message) = id.parse::<B256>() else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    match find(&ways, message).await {
        Ok(Some(answer)) => Json(answer).into_response(),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
    }
}

async fn find(ways: &[Way], message: B256) -> Result<Option<serde_json::Value>> {
    for way in ways {
        let Some(encoded) = way.encoded(message).await? else {
            continue;
        };
        let verified = way.aggregator.find(message, &encoded).await?;
        let (ccvs, results) = verified.map_or_else(Default::default, |verified| (verified.ccvs, verified.results));
        return Ok(Some(json!({
            "encodedMessage": encoded,
            "verificationComplete": !results.is_empty(),
            "ccvData": results,
            "verifierAddresses": ccvs,
        })));
    }
    Ok(None)
}
