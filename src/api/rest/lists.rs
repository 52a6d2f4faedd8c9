//! Lists and the event stream over REST: the handlers of List and Watch behind query parameters.

use super::{sse, token};
use crate::api::Api;
use crate::api::error::{ApiError, FIELD, Kind};
use crate::api::feed::Frame;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use relayer_proto::v1;
use serde::Deserialize;
use serde::de::DeserializeOwned;

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
    let after = sse::cursor(&headers, query.after_seq)?;
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
    Ok(sse::answer(watching, text))
}

fn text(frame: &Frame) -> String {
    let mut text = String::new();
    for event in frame.events() {
        sse::write_event(&mut text, event.seq, &event.aggregate, &event);
    }
    sse::write_cursor(&mut text, &format!("newest {}", frame.newest_seq), frame.after_seq);
    text
}
