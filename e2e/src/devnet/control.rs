//! `GET /roles` and `PUT /roles` on loopback: the switches of DVN and executor, for scripts.

use super::switches::{Setting, Switches};
use anyhow::Result;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves until cancelled; returns the address.
pub async fn serve(switches: Switches, stop: CancellationToken) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let routes = Router::new().route("/roles", get(read).put(write)).with_state(switches);
    tokio::spawn(async move {
        let served = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::warn!(%error, "devnet control endpoint ended");
        }
    });
    Ok(format!("http://{address}"))
}

async fn read(State(switches): State<Switches>) -> Json<Setting> {
    Json(switches.get())
}

async fn write(State(switches): State<Switches>, Json(setting): Json<Setting>) -> Json<Setting> {
    switches.set(setting);
    Json(switches.get())
}
