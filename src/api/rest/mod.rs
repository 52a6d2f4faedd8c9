//! REST: the two routes of the original design, lists and the event stream ([`lists`]), hubs ([`hub`]), health and metrics. Errors are problem JSON (RFC 9457) with the `RLY-…` code.

pub(super) mod body;
mod hub;
mod lists;
mod sse;

use super::error::{ApiError, BODY, Kind, TOO_LARGE};
use super::{Api, ServeError, health};
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::StreamExt;
use relayer_proto::v1;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.kind.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let problem = json!({
            "type": format!("urn:relayer:error:{}", self.code.code),
            "title": self.code.title,
            "status": status.as_u16(),
            "code": self.code.code,
            "detail": self.message,
            "hint": self.code.you,
            "metadata": self.metadata,
        });
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/problem+json"),
        );
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from(after.as_secs().max(1)));
        }
        response
    }
}

/// Name of a state in the original design's vocabulary.
fn status_of(state: &str) -> &'static str {
    match state {
        "accepted" | "batched" => "pending",
        "settled" => "completed",
        "expired" | "burned" | "superseded" | "cancelled" => "failed",
        _ => "in_progress",
    }
}

fn token(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?;
    Some(value.to_str().unwrap_or("?").to_owned())
}

async fn submit(State(api): State<Api>, request: Request) -> Result<Response, ApiError> {
    let token = token(request.headers());
    let bytes = read(request.into_body(), api.handlers.limits().body_bytes_max).await?;
    let request = body::submission(&bytes)?;
    let accepted = api.handlers.submit(token.as_deref(), request).await?;
    let answer = json!({
        "message_id": accepted.settlement_id,
        "status": "pending",
        "state": accepted.state,
        "duplicate": accepted.duplicate,
        "revocable": accepted.revocable,
        "trace_id": accepted.trace_id,
    });
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// Stops reading at the bound, so that the answer can say what was wrong.
async fn read(body: Body, limit: usize) -> Result<Vec<u8>, ApiError> {
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk
            .map_err(|error| ApiError::new(Kind::InvalidArgument, BODY, format!("body cannot be read: {error}")))?;
        if bytes.len().saturating_add(chunk.len()) > limit {
            let message = format!("body is larger than {limit} bytes");
            return Err(ApiError::new(Kind::InvalidArgument, TOO_LARGE, message));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

async fn status(
    State(api): State<Api>,
    Path(settlement_id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<serde_json::Value>, ApiError> {
    let request = v1::GetRequest { settlement_id };
    let found = api.handlers.get(token(&headers).as_deref(), request).await?;
    let settlement = found.settlement.unwrap_or_default();
    let evidence = settlement.evidence.clone().unwrap_or_default();
    Ok(Json(json!({
        "message_id": settlement.settlement_id,
        "status": status_of(&settlement.state),
        "state": settlement.state,
        "transaction_hash": evidence.transaction_hash,
        "created_at_ms": settlement.accepted_at_ms,
        "completed_at_ms": settlement.ended_at_ms,
        "settlement": settlement,
        "bundle": found.bundle,
    })))
}

async fn no_route() -> ApiError {
    ApiError::new(Kind::NotFound, super::error::ROUTE, "no such route")
}

pub(super) fn router(api: Api) -> Router {
    Router::new()
        .route("/v1/settlement/cross-chain", post(submit))
        .route("/v1/settlement/{message_id}/status", get(status))
        .route("/v1/settlements", get(lists::list))
        .route("/v1/events", get(lists::events))
        .merge(hub::routes())
        .fallback(no_route)
        .with_state(api.clone())
        .merge(health::routes(api.health))
}

pub(super) async fn serve(api: Api, listener: TcpListener, stop: CancellationToken) -> Result<(), ServeError> {
    axum::serve(listener, router(api))
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
        .map_err(|error| ServeError::Serve {
            face: "REST",
            reason: error.to_string(),
        })
}
