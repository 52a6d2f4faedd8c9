//! Server-sent events: the cursor a browser sends, the answer, its events, and the word at its end.

use crate::api::error::ApiError;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use prost::bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use std::convert::Infallible;
use std::fmt::{Display, Write as _};

/// Sent by a browser that connects again: the last `id` it received.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Where the stream goes on: behind the last event a browser has seen, else where the query says, else, with `None`, now.
pub(super) fn cursor(headers: &HeaderMap, after_seq: Option<u64>) -> Result<Option<u64>, ApiError> {
    let Some(id) = headers.get(LAST_EVENT_ID) else {
        return Ok(after_seq);
    };
    let id = id.to_str().ok().and_then(|id| id.trim().parse().ok());
    let id = id.ok_or_else(|| ApiError::field("last-event-id", "is not a cursor of this stream"))?;
    Ok(Some(id))
}

/// The answer that writes each item as `text` says; an error is the last of it.
pub(super) fn answer<T: 'static>(
    items: impl Stream<Item = Result<T, ApiError>> + Send + 'static,
    text: fn(&T) -> String,
) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies that collect answers would hold events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let texts = items.map(move |item| {
        let text = match item {
            Ok(item) => text(&item),
            Err(error) => farewell(&error),
        };
        Ok::<_, Infallible>(Bytes::from(text))
    });
    (headers, Body::from_stream(texts)).into_response()
}

/// Appends an event; `seq` becomes the browser's cursor.
pub(super) fn write_event(text: &mut String, seq: impl Display, name: &str, event: &impl Serialize) {
    let data = serde_json::to_string(event).unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = write!(text, "id: {seq}\nevent: {name}\ndata: {data}\n\n");
}

/// Appends a block without data: no event to a browser, but it moves its cursor over what the filters held back.
pub(super) fn write_cursor(text: &mut String, comment: &str, seq: impl Display) {
    let _ = write!(text, ": {comment}\nid: {seq}\n\n");
}

/// Why the stream ends. A browser connects again and is then told by status what it can do.
fn farewell(error: &ApiError) -> String {
    let data =
        json!({ "code": error.code.code, "detail": error.message, "hint": error.code.you, "metadata": error.metadata });
    format!("retry: 1000\nevent: end\ndata: {data}\n\n")
}
