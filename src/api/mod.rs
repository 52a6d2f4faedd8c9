//! The faces: gRPC `relayer.v1` and REST, the same handlers behind both. The only user of tonic, axum and the proto crate.
//!
//! Layout: this page binds and serves; [`client`] and [`hub_client`] the command line's side; [`handlers`] what every method does; [`auth`] who is asking; [`dry_run`] what `--dry-run` refuses; [`error`] refusals with their codes;
//! [`feed`] what watchers read; [`health`] what every process answers; [`hub`] hubs and their ledgers; [`operator`] what only operators may; [`stream`] many submissions over one call; [`service`] what lies behind them; [`watching`] what a watch asks for; [`parse`] and [`convert`] proto to domain and back; `grpc/` and `rest/` the two transports.

pub mod auth;
pub mod client;
mod convert;
mod dry_run;
pub mod error;
pub mod feed;
mod grpc;
pub mod handlers;
mod health;
pub mod hub;
pub mod hub_client;
mod operator;
pub(crate) mod parse;
mod rest;
mod service;
mod stream;
mod watching;

pub use auth::Auth;
pub use client::Client;
pub(crate) use convert::bundle_file;
pub use dry_run::DryRun;
pub use error::{ApiError, Kind};
pub use feed::{Feed, FeedLimits};
pub use handlers::{Handlers, Settlements};
pub use health::Health;
pub use hub::Hubs;
pub use operator::Operators;
pub use relayer_proto::v1;
pub(crate) use rest::body::{group as group_submission, submission};
pub use service::{Ends, Service};
pub use stream::{SubmitAnswers, SubmitReply};

use crate::config::ApiConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Everything the transports need.
#[derive(Clone)]
pub struct Api {
    pub handlers: Arc<Handlers>,
    /// None where nobody operates, as in tests of the other services.
    pub operators: Option<Operators>,
    pub health: Health,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api")
            .field("handlers", &self.handlers)
            .finish_non_exhaustive()
    }
}

/// Listeners that are bound but do not answer yet, so that a taken port fails the start.
#[derive(Debug)]
pub struct Listeners {
    grpc: TcpListener,
    rest: TcpListener,
}

/// The REST listener of a process that is no API.
#[derive(Debug)]
pub struct HealthListener(TcpListener);

impl HealthListener {
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Answers `/healthz`, `/readyz` and `/metrics` until `stop`.
    pub async fn serve(self, health: Health, stop: CancellationToken) -> Result<(), ServeError> {
        health::serve(health, self.0, stop).await
    }
}

/// A listener failed.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {address} ({key}): {source}")]
    Bind {
        key: &'static str,
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("serving {face} failed: {reason}")]
    Serve { face: &'static str, reason: String },
}

impl crate::error::Coded for ServeError {
    fn code(&self) -> crate::error::ErrorCode {
        error::LISTEN
    }

    fn class(&self) -> relayer_adapter_api::Class {
        relayer_adapter_api::Class::Reject
    }
}

impl Listeners {
    pub async fn bind(config: &ApiConfig) -> Result<Self, ServeError> {
        let bind = |key, address| async move {
            TcpListener::bind(address)
                .await
                .map_err(|source| ServeError::Bind { key, address, source })
        };
        Ok(Self {
            grpc: bind("api.grpc_listen", config.grpc_listen).await?,
            rest: bind("api.rest_listen", config.rest_listen).await?,
        })
    }

    /// Without gRPC: for a process that only shows how it stands.
    pub async fn bind_health(config: &ApiConfig) -> Result<HealthListener, ServeError> {
        let (key, address) = ("api.rest_listen", config.rest_listen);
        let bound = TcpListener::bind(address).await;
        Ok(HealthListener(bound.map_err(|source| ServeError::Bind {
            key,
            address,
            source,
        })?))
    }

    /// Addresses really bound (port 0 takes a free one): gRPC, REST.
    pub fn addresses(&self) -> std::io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.grpc.local_addr()?, self.rest.local_addr()?))
    }

    /// Answers until `stop`; requests under way are finished.
    pub async fn serve(self, api: Api, stop: CancellationToken) -> Result<(), ServeError> {
        tokio::try_join!(
            grpc::serve(api.clone(), self.grpc, stop.clone()),
            rest::serve(api, self.rest, stop),
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
