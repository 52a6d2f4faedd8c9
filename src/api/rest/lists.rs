//! Lists and the event stream over REST: the handlers of List and Watch behind query parameters.

use super::token;
use crate::api::Api;
use crate::api::error::{ApiError, FIELD, Kind};
use crate::api::feed::{Frame, Watching};
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use prost::bytes::Bytes;
use relayer_proto::v1;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Write as _;

/// Sent by a browser that connects again: the last `id` it received.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListQuery {
    coordinator: String,
    state: String,
    payer: String,
    payee: String,
    target_chain: u64,
    job_id: String,
    page_size: u32,
    page_token: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct EventsQuery {
    after_seq: Option<u64>,
    coordinator: String,
    /// Comma-separated, as are the next two.
    settlement_id: String,
    state: String,
    aggregate: String,
    heartbeat_ms: u32,
}

pub(super) fn read<T: DeserializeOwned>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    match query {
        Ok(Query(query)) => Ok(query),
        Err(error) => {
            let message = format!("query parameters: {}", error.body_text());
            Err(ApiError::new(Kind::InvalidArgument, FIELD, message))
        }
    }
}

pub(super) fn names(text: &str) -> Vec<String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

pub(super) async fn list(
    State(api): State<Api>,
    headers: HeaderMap,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<v1::ListResponse>, ApiError> {
    let query = read(query)?;
    let request = v1::ListRequest {
        coordinator: query.coordinator,
        state: query.state,
        payer: query.payer,
        payee: query.payee,
        target_chain: query.target_chain,
        job_id: query.job_id,
        page_size: query.page_size,
        page_token: query.page_token,
    };
    Ok(Json(api.handlers.list(token(&headers).as_deref(), request).await?))
}

/// Server-sent events. `id` is the cursor, so that a browser that lost the connection continues by itself; without a cursor the stream
/// starts now, and `after_seq=0` starts at the beginning of what is kept.
pub(super) async fn events(
    State(api): State<Api>,
    headers: HeaderMap,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let query = read(query)?;
    let after = match headers.get(LAST_EVENT_ID) {
        None => query.after_seq,
        Some(id) => {
            let id = id.to_str().ok().and_then(|id| id.trim().parse().ok());
            Some(id.ok_or_else(|| ApiError::field("last-event-id", "is not a cursor of this stream"))?)
        }
    };
    let request = v1::WatchRequest {
        after_seq: after.unwrap_or_default(),
        from_now: after.is_none(),
        coordinator: query.coordinator,
        settlement_ids: names(&query.settlement_id),
        states: names(&query.state),
        aggregates: names(&query.aggregate),
        heartbeat_ms: query.heartbeat_ms,
    };
    let watching = api.handlers.watch(token(&headers).as_deref(), request).await?;
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies that collect answers would hold events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(stream(watching))).into_response())
}

fn stream(watching: Watching) -> impl futures::Stream<Item = Result<Bytes, std::convert::Infallible>> {
    watching.map(|frame| {
        let text = match frame {
            Ok(frame) => text(&frame),
            Err(error) => farewell(&error),
        };
        Ok(Bytes::from(text))
    })
}

fn text(frame: &Frame) -> String {
    let mut text = String::new();
    for event in frame.events() {
        let data = serde_json::to_string(&event).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(text, "id: {}\nevent: {}\ndata: {data}\n\n", event.seq, event.aggregate);
    }
    // A block without data is no event to a browser, but moves its cursor over what the filters held back.
    let _ = write!(text, ": newest {}\nid: {}\n\n", frame.newest_seq, frame.after_seq);
    text
}

/// Why the stream ends. A browser connects again and is then told by status what it can do.
pub(super) fn farewell(error: &ApiError) -> String {
    let data =
        json!({ "code": error.code.code, "detail": error.message, "hint": error.code.you, "metadata": error.metadata });
    format!("retry: 1000\nevent: end\ndata: {data}\n\n")
}
