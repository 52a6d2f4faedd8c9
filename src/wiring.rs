//! Builds the program from its configuration: store, chains, bridges, stages, listeners. The only place that names a concrete bridge.
//!
//! Layout: this page puts together; [`serve`] runs and stops; [`chains`] endpoints, signers, fee caps; [`bridges`] adapters; [`books`] what books and compares; [`network`] what a public network's file is compared with; [`stages`] the pipeline and the intake.

mod books;
mod bridges;
mod chains;
mod hubs;
mod network;
mod serve;
mod stages;

pub use books::books;
pub use bridges::{adapters, inspect_bridge, top_up_bridge};
pub use chains::{chain_ids, rpc_chain, signers};
pub use network::inspect_network;
pub use serve::serve;
pub use stages::breaker_rule;

use crate::api::Service;
use crate::chain::{Chain, Sender};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Role};
use crate::error::{Coded, ErrorCode};
use crate::hub::SignedCheckpoints;
use crate::intake::IntakeWriter;
use crate::store::{Store, StoreConfig, StoreError};
use crate::supervisor::{Task, Wakers};
use relayer_adapter_api::Class;
use stages::Wiring;
use std::collections::BTreeMap;
use std::sync::Arc;

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

/// Recovery over the configured chains, built but not running.
pub async fn recover(config: &Config, store: Store) -> Result<crate::recover::Recover, WiringError> {
    chains::check_chain_ids(config).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let rpc = chains::chains(config, &clock)?;
    stages::recover(config, store, &rpc, &adapters(config)?)
}

/// What the role `api` has beyond loops.
#[derive(Debug)]
pub struct Face {
    pub service: Service,
    writer: IntakeWriter,
    /// Where a hub has a target, unless nothing may be sent.
    signed: Option<Arc<SignedCheckpoints>>,
}

/// A name no other process has, so that leases of a killed predecessor are never taken for ours. Host and process id are for people.
fn owner() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.trim().chars().take(64).collect();
    format!("{host}-{}-{:016x}", std::process::id(), rand::random::<u64>())
}

/// The stages and what the API needs, built but not running.
#[derive(Debug)]
pub struct Wired {
    pub store: Store,
    pub tasks: Vec<Task>,
    /// With the role `api` only.
    pub face: Option<Face>,
    pub wakers: Wakers,
    /// This process's name in leases.
    pub owner: String,
    senders: Vec<Arc<Sender>>,
    clock: Arc<dyn Clock>,
}

/// Builds what the process's roles need. No stage runs yet; targets are asked for what never changes.
pub async fn wire(config: &Config, store: Store) -> Result<Wired, WiringError> {
    let roles = &config.supervisor.roles;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let rpc = chains::chains(config, &clock)?;
    let mut wiring = Wiring {
        config,
        store: store.clone(),
        clock: clock.clone(),
        owner: owner(),
        chains: rpc
            .iter()
            .map(|(id, chain)| (*id, chain.clone() as Arc<dyn Chain>))
            .collect(),
        rpc,
        senders: BTreeMap::new(),
        adapters: adapters(config)?,
        tasks: Vec::new(),
        gates: BTreeMap::new(),
    };
    if roles.has(Role::Observer) {
        wiring.observers();
    }
    if roles.has(Role::Engine) {
        wiring.engines()?;
        wiring.stages()?;
    }
    let wakers = Wakers::default();
    let face = match roles.has(Role::Api) {
        true => Some(wiring.face(wakers.of("batcher")).await?),
        false => None,
    };
    Ok(Wired {
        store,
        tasks: wiring.tasks,
        face,
        wakers,
        owner: wiring.owner,
        senders: wiring.senders.into_values().collect(),
        clock,
    })
}
