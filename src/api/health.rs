//! How a process stands: health, readiness, metrics. Every process answers these, also one without the rest of the API.

use super::ServeError;
use crate::liveness::Liveness;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the routes read.
#[derive(Clone)]
pub struct Health {
    pub metrics: Option<PrometheusHandle>,
    pub liveness: Liveness,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health")
            .field("liveness", &self.liveness)
            .finish_non_exhaustive()
    }
}

async fn healthz() -> &'static str {
    "ok\n"
}

/// Ready while every loop finished its last step without an error.
async fn readyz(State(health): State<Health>) -> Response {
    let loops = health.liveness.snapshot();
    let ready = !loops.is_empty() && loops.values().all(|state| state.error.is_none());
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(json!({ "ready": ready, "loops": loops }))).into_response()
}

async fn metrics(State(health): State<Health>) -> String {
    let Some(handle) = &health.metrics else {
        return String::new();
    };
    handle.run_upkeep();
    handle.render()
}

pub(super) fn routes(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
}

/// The REST listener of a process that is no API.
pub(super) async fn serve(health: Health, listener: TcpListener, stop: CancellationToken) -> Result<(), ServeError> {
    axum::serve(listener, routes(health))
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
        .map_err(|error| ServeError::Serve {
            face: "REST",
            reason: error.to_string(),
        })
}
