//! The process itself: database, listeners, logs.

use super::Secret;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Where the data is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSection {
    /// A URL may carry a password, so it is treated as a secret.
    pub url: Secret,
    pub migrate_on_start: bool,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self {
            url: Secret::Value("sqlite://relayer.db".into()),
            migrate_on_start: true,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    pub grpc_listen: SocketAddr,
    pub rest_listen: SocketAddr,
    pub insecure_listen: bool,
    pub body_bytes_max: usize,
    pub requests_max: usize,
    pub request_timeout_ms: u64,
    pub stream_items_max: usize,
    pub stream_stall_ms: u64,
    pub page_size_max: u32,
    pub watch_streams_max: usize,
    pub watch_ring_events: usize,
    pub watch_stall_ms: u64,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            grpc_listen: SocketAddr::from(([127, 0, 0, 1], 50_051)),
            rest_listen: SocketAddr::from(([127, 0, 0, 1], 8_080)),
            insecure_listen: false,
            body_bytes_max: 1 << 20,
            requests_max: 1_024,
            request_timeout_ms: 30_000,
            stream_items_max: 2_048,
            stream_stall_ms: 60_000,
            page_size_max: 500,
            watch_streams_max: 1_024,
            watch_ring_events: 20_000,
            watch_stall_ms: 30_000,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    pub level: String,
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            level: "info".into(),
            format: LogFormat::Text,
        }
    }
}

/// Who may see differences and end disputes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OperatorConfig {
    /// Bearer token of the operators; without one the operator's service refuses everybody.
    pub token: Option<Secret>,
}
