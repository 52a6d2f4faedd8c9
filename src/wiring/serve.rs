//! Runs what the wiring built: listeners, loops and the writer, from the first look at the chains to a clean stop.

use super::chains::check_chain_ids;
use super::{WiringError, store, wire, wrong};
use crate::api::{Api, Auth, Handlers, Listeners};
use crate::config::Config;
use crate::liveness::Liveness;
use crate::store::Store;
use crate::supervisor::Supervisor;
use metrics_exporter_prometheus::PrometheusHandle;
use relayer_adapter_api::ChainId;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long the listeners wait for the first look at every chain.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// Runs the relayer until `stop`. Fails early, before it listens, when it could not keep its promises.
pub async fn serve(
    config: &Config,
    metrics: Option<PrometheusHandle>,
    stop: CancellationToken,
) -> Result<(), WiringError> {
    let store = store(config).await?;
    check_chain_ids(config).await?;
    let auth = Auth::from_config(&config.coordinators)?;
    let listeners = Listeners::bind(&config.api).await?;
    let wired = match wire(config, store, &stop).await {
        // Stopped while it waited for a chain: nothing has started, nothing is wrong.
        Err(_) if stop.is_cancelled() => return Ok(()),
        wired => wired?,
    };
    let (grpc, rest) = listeners.addresses().map_err(|error| wrong("api", error))?;
    let liveness = Liveness::default();
    let handlers = Handlers::new(Arc::new(wired.service), auth, config.api.clone()).with_stop(stop.clone());
    let api = Api {
        handlers: Arc::new(handlers),
        metrics,
        liveness: liveness.clone(),
    };
    let supervisor = Supervisor {
        config: config.supervisor.clone(),
        clock: wired.clock,
        wakers: wired.wakers,
        liveness,
    };
    tracing::info!(%grpc, %rest, loops = wired.tasks.len(), "relayer runs");
    let writer = tokio::spawn(wired.writer.run(stop.clone()));
    let loops = tokio::spawn(supervisor.run(wired.tasks, stop.clone()));
    first_look(&wired.store, config, &stop).await;
    let served = tokio::select! {
        served = listeners.serve(api, stop.clone()) => served,
        () = outlast(&stop, config.supervisor.stop_ms_max) => Ok(()),
    };
    // A listener that failed ends the process; the loops are stopped as on a signal.
    stop.cancel();
    // What was handed to the writer is answered or lost with the connection; either way nothing half-done remains.
    let _ = tokio::time::timeout(Duration::from_millis(config.supervisor.stop_ms_max), writer).await;
    match loops.await {
        Ok(cut) if cut.is_empty() => tracing::info!("relayer stopped"),
        Ok(cut) => tracing::warn!(
            ?cut,
            "relayer stopped; these steps were cut off and will be claimed again"
        ),
        Err(error) => tracing::error!(%error, "the supervisor ended abnormally"),
    }
    Ok(served?)
}

/// Waits until every chain has been read once, so that the first submissions are not refused for want of a head or of a deposit. A chain that does not answer
/// may not keep the others waiting: the listeners answer after a moment in any case.
async fn first_look(store: &Store, config: &Config, stop: &CancellationToken) {
    let read_all = async {
        for chain in config.chains.values().map(|chain| ChainId(chain.chain_id)) {
            while !is_caught_up(store, chain).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(FIRST_LOOK) => tracing::warn!("a chain has not been read yet; answering all the same"),
        () = read_all => {}
    }
}

/// Whether a chain has been read and what it said for good is in the books: before that, a payer's deposit looks like nothing.
async fn is_caught_up(store: &Store, chain: ChainId) -> bool {
    matches!(store.get_cursor(chain).await, Ok(Some(_)))
        && store
            .list_unapplied_final(chain, 1)
            .await
            .is_ok_and(|waiting| waiting.is_empty())
}

/// Open connections may not hold a stop up for ever.
async fn outlast(stop: &CancellationToken, bound_ms: u64) {
    stop.cancelled().await;
    tokio::time::sleep(Duration::from_millis(bound_ms)).await;
}
