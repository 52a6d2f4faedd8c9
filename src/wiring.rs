//! Builds the program from its configuration: store, chains, bridges, stages, listeners. The only place that names a concrete bridge.
//!
//! Layout: this page serves; [`chains`] endpoints, signers, fee caps; [`bridges`] adapters; [`stages`] the pipeline and the intake.

mod bridges;
mod chains;
mod stages;

pub use bridges::{adapters, inspect_bridge};
pub use chains::{chain_ids, rpc_chain, signers};

use crate::api::{Api, Auth, Ends, Handlers, Listeners, Service};
use crate::chain::Chain;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::error::{Coded, ErrorCode};
use crate::intake::IntakeWriter;
use crate::liveness::Liveness;
use crate::store::{Store, StoreConfig, StoreError};
use crate::supervisor::{Supervisor, Task, Wakers};
use metrics_exporter_prometheus::PrometheusHandle;
use relayer_adapter_api::{ChainId, Class};
use stages::Wiring;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The program cannot be built from its configuration.
#[derive(Debug, thiserror::Error)]
pub enum WiringError {
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    #[error("database: {0}")]
    Store(#[from] StoreError),
    #[error("{key}: endpoint {index} serves chain {found}, not {expected}")]
    ChainId {
        key: String,
        index: usize,
        found: u64,
        expected: u64,
    },
    #[error("{key}: {reason}")]
    Key { key: String, reason: String },
    #[error(transparent)]
    Chain(#[from] crate::chain::ChainError),
    #[error("metrics cannot be recorded: {0}")]
    Metrics(String),
    #[error(transparent)]
    Serve(#[from] crate::api::ServeError),
}

macro_rules! codes {
    ($($name:ident = $code:literal, $title:literal, $meaning:literal, $relayer:literal, $you:literal;)*) => {
        $(const $name: ErrorCode = ErrorCode {
            code: $code, title: $title, meaning: $meaning, relayer: $relayer, you: $you,
        };)*
        /// Codes of this module, for docs/errors.md.
        pub const CODES: &[ErrorCode] = &[$($name),*];
    };
}

codes! {
    STORE = "RLY-START-001", "The database cannot be used",
        "It cannot be opened, does not keep what it acknowledges, or has another schema than this program.",
        "Does not start: accepting settlements would promise what the database does not keep.",
        "The message says which: correct store.url, the database's durability settings, or run `relayer migrate`.";
    CHAIN_ID = "RLY-START-002", "An endpoint serves another chain",
        "A configured RPC endpoint answers with another chain id than its table says.",
        "Does not start.",
        "Correct the URL or the chain's table.";
    KEY = "RLY-START-003", "A configured value cannot be used",
        "A key, bridge or chain in the configuration is well formed but cannot be built from.",
        "Does not start.",
        "Correct the key the message names.";
    METRICS = "RLY-START-004", "Metrics cannot be recorded",
        "Another recorder is installed in this process.",
        "Does not start.",
        "Report it.";
}

impl Coded for WiringError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Config(error) => error.code(),
            Self::Store(_) => STORE,
            Self::ChainId { .. } => CHAIN_ID,
            Self::Key { .. } => KEY,
            Self::Chain(error) => error.code(),
            Self::Metrics(_) => METRICS,
            Self::Serve(error) => error.code(),
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            _ => Class::Reject,
        }
    }
}

/// How long the listeners wait for the first look at every chain.
const FIRST_LOOK: Duration = Duration::from_secs(5);

fn wrong(key: impl Into<String>, reason: impl std::fmt::Display) -> WiringError {
    WiringError::Key {
        key: key.into(),
        reason: reason.to_string(),
    }
}

fn ms(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn seconds_ms(value: u64) -> i64 {
    ms(value.saturating_mul(1_000))
}

/// Opens the database; refuses one that loses acknowledged commits or has another schema.
pub async fn store(config: &Config) -> Result<Store, WiringError> {
    let url = config.store.url.resolve("store.url")?;
    let store = Store::open(&StoreConfig { url }).await?;
    store.assert_durable().await?;
    if config.store.migrate_on_start {
        store.migrate().await?;
    }
    store.check_schema().await?;
    Ok(store)
}

/// The stages and what the API needs, built but not running.
#[derive(Debug)]
pub struct Wired {
    pub store: Store,
    pub tasks: Vec<Task>,
    pub service: Service,
    pub wakers: Wakers,
    writer: IntakeWriter,
    clock: Arc<dyn Clock>,
}

/// Builds everything. No stage runs yet; targets are asked for what never changes.
pub async fn wire(config: &Config, store: Store, stop: &CancellationToken) -> Result<Wired, WiringError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let rpc = chains::chains(config, &clock)?;
    let mut wiring = Wiring {
        config,
        store: store.clone(),
        clock: clock.clone(),
        // A name no other process has, so that leases of a killed predecessor are never taken for ours.
        owner: format!("relayer-{}-{:08x}", std::process::id(), rand::random::<u32>()),
        chains: rpc
            .iter()
            .map(|(id, chain)| (*id, chain.clone() as Arc<dyn Chain>))
            .collect(),
        rpc,
        senders: BTreeMap::new(),
        adapters: adapters(config)?,
        tasks: Vec::new(),
    };
    wiring.chain_stages()?;
    wiring.stages();
    let ends = config.chains.values().map(|chain| {
        let ends = Ends {
            outbox: chain.contracts.outbox,
            inbox: chain.contracts.inbox,
        };
        (ChainId(chain.chain_id), ends)
    });
    let wakers = Wakers::default();
    let (intake, writer) = wiring.intake(wakers.of("batcher"), stop).await?;
    let service = Service {
        store: store.clone(),
        intake,
        router: Arc::new(wiring.router()),
        clock: clock.clone(),
        ends: ends.collect(),
        count_max: config.batcher.count_max,
        quote_age_ms_max: config.dispatcher.quote_age_ms_max,
    };
    Ok(Wired {
        store,
        tasks: wiring.tasks,
        service,
        wakers,
        writer,
        clock,
    })
}

/// Runs the relayer until `stop`. Fails early, before it listens, when it could not keep its promises.
pub async fn serve(
    config: &Config,
    metrics: Option<PrometheusHandle>,
    stop: CancellationToken,
) -> Result<(), WiringError> {
    let store = store(config).await?;
    chains::check_chain_ids(config).await?;
    let auth = Auth::from_config(&config.coordinators)?;
    let listeners = Listeners::bind(&config.api).await?;
    let wired = wire(config, store, &stop).await?;
    let (grpc, rest) = listeners.addresses().map_err(|error| wrong("api", error))?;
    let liveness = Liveness::default();
    let api = Api {
        handlers: Arc::new(Handlers::new(Arc::new(wired.service), auth, config.api.clone())),
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

/// Waits until every chain has been read once, so that the first submissions are not refused for want of a head. A chain that does not answer
/// may not keep the others waiting: the listeners answer after a moment in any case.
async fn first_look(store: &Store, config: &Config, stop: &CancellationToken) {
    let read_all = async {
        for chain in config.chains.values() {
            while !matches!(store.get_cursor(ChainId(chain.chain_id)).await, Ok(Some(_))) {
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

/// Open connections may not hold a stop up for ever.
async fn outlast(stop: &CancellationToken, bound_ms: u64) {
    stop.cancelled().await;
    tokio::time::sleep(Duration::from_millis(bound_ms)).await;
}
