//! Builds the program from its configuration: store, chains, bridges, stages, listeners. The only place that names a concrete bridge.
//!
//! Layout: this page puts together; [`serve`] runs and stops; [`chains`] endpoints, signers, fee caps; [`bridges`] adapters; [`stages`] the pipeline and the intake.

mod bridges;
mod chains;
mod serve;
mod stages;

pub use bridges::{adapters, inspect_bridge};
pub use chains::{chain_ids, rpc_chain, signers};
pub use serve::serve;

use crate::api::{Ends, Service};
use crate::chain::Chain;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::error::{Coded, ErrorCode};
use crate::intake::IntakeWriter;
use crate::store::{Store, StoreConfig, StoreError};
use crate::supervisor::{Task, Wakers};
use relayer_adapter_api::{ChainId, Class};
use stages::Wiring;
use std::collections::BTreeMap;
use std::sync::Arc;
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
    let store = Store::open(&StoreConfig::new(url)).await?;
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
