//! What an operator decides. Layers, later wins: defaults, file, `RELAYER_…` environment (nesting by `__`), command-line flags.
//!
//! Layout: this page loads; [`values`] money, secrets and chain names; one file per part of the tree; [`validate`] says which key
//! is wrong and why. Unknown keys are refused. `config/relayer.toml` documents every key and is tested against the defaults.

mod bridge;
mod chain;
mod coordinator;
mod hub;
pub mod network;
mod prices;
mod roles;
mod service;
mod stages;
mod validate;
mod values;

pub use bridge::{BridgeChainConfig, BridgeConfig, Protocol};
pub use chain::{ChainConfig, ContractsConfig, FeesConfig, Finality, FinalityTag};
pub use coordinator::CoordinatorConfig;
pub use hub::{HubConfig, HubToken};
pub use prices::{PricesConfig, TokenPrice, value};
pub use roles::{Role, Roles};
pub use service::{ApiConfig, LogConfig, LogFormat, OperatorConfig, StoreSection};
pub use stages::{
    BatcherConfig, DispatcherConfig, IntakeConfig, PayoutConfig, ReconcilerConfig, RouterConfig, SettlementConfig,
    SupervisorConfig, TrackerConfig, TxConfig,
};
pub use validate::Problem;
pub use values::{ChainName, Secret, Wei};

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Coded, ErrorCode};
use relayer_adapter_api::{BridgeId, Class};

/// Prefix of environment variables; `RELAYER_STORE__URL` is `store.url`.
pub const ENV_PREFIX: &str = "RELAYER_";
/// Variables with the prefix that are not configuration: they name the file, or belong to client commands.
const ENV_RESERVED: &[&str] = &[
    "config",
    "server",
    "token",
    "operator_token",
    "payer_key",
    "key",
    "test_postgres",
    "test_store",
    "e2e_store",
];

/// The whole configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub store: StoreSection,
    pub api: ApiConfig,
    pub log: LogConfig,
    pub settlement: SettlementConfig,
    pub supervisor: SupervisorConfig,
    pub intake: IntakeConfig,
    pub batcher: BatcherConfig,
    pub router: RouterConfig,
    pub dispatcher: DispatcherConfig,
    pub tracker: TrackerConfig,
    pub payout: PayoutConfig,
    pub reconciler: ReconcilerConfig,
    pub tx: TxConfig,
    pub prices: PricesConfig,
    pub chains: BTreeMap<ChainName, ChainConfig>,
    pub bridges: BTreeMap<BridgeId, BridgeConfig>,
    pub hubs: BTreeMap<String, HubConfig>,
    pub coordinators: BTreeMap<String, CoordinatorConfig>,
    pub operator: OperatorConfig,
    /// `serve --dry-run`: simulate, report, send nothing. A flag of one run, never a setting that could be forgotten in a file.
    #[serde(skip)]
    pub dry_run: bool,
}

/// Why there is no configuration to run with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("configuration file {0} cannot be read: {1}")]
    File(PathBuf, std::io::Error),
    #[error("configuration: {0}")]
    Parse(String),
    #[error("configuration has {} problem(s):\n{}", .0.len(), problems(.0))]
    Invalid(Vec<Problem>),
    #[error("secret {key}: {reason}")]
    Secret { key: String, reason: String },
}

fn problems(list: &[Problem]) -> String {
    let lines: Vec<String> = list.iter().map(|problem| format!("  {problem}")).collect();
    lines.join("\n")
}

/// A file that cannot be read or parsed.
pub const UNREADABLE: ErrorCode = ErrorCode {
    code: "RLY-CONFIG-001",
    title: "Configuration cannot be read",
    meaning: "The file does not exist, is not TOML, or has a key this program does not know.",
    relayer: "Does not start.",
    you: "Correct the key the message names; `config/relayer.toml` documents every key.",
};
/// Values that cannot work.
pub const INVALID: ErrorCode = ErrorCode {
    code: "RLY-CONFIG-002",
    title: "Configuration is inconsistent",
    meaning: "Every key was understood, but some values cannot work, alone or together. The message lists all of them.",
    relayer: "Does not start.",
    you: "Correct the listed keys and run `relayer config check`.",
};
/// Secrets that are not there.
pub const SECRET: ErrorCode = ErrorCode {
    code: "RLY-CONFIG-003",
    title: "A secret is missing",
    meaning: "A key or token is configured to come from an environment variable or a file that is not there or is empty.",
    relayer: "Does not start.",
    you: "Set the variable or create the file; it must be readable by the relayer's user only.",
};

/// Codes of this module, for docs/errors.md.
pub const CODES: &[ErrorCode] = &[UNREADABLE, INVALID, SECRET];

impl Coded for ConfigError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::File(..) | Self::Parse(_) => UNREADABLE,
            Self::Invalid(_) => INVALID,
            Self::Secret { .. } => SECRET,
        }
    }

    fn class(&self) -> Class {
        Class::Reject
    }
}

impl Config {
    /// Reads all layers and validates. `flags` are dotted keys and values of command-line flags.
    pub fn load(file: Option<&Path>, flags: &[(&str, String)]) -> Result<Self, ConfigError> {
        let config = Self::read(file, flags)?;
        let problems = config.problems();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Invalid(problems))
        }
    }

    /// Reads all layers without judging the values.
    pub fn read(file: Option<&Path>, flags: &[(&str, String)]) -> Result<Self, ConfigError> {
        let mut figment = Figment::new();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|error| ConfigError::File(path.to_owned(), error))?;
            figment = figment.merge(Toml::string(&text));
        }
        figment = figment.merge(Env::prefixed(ENV_PREFIX).ignore(ENV_RESERVED).split("__"));
        for (key, value) in flags {
            figment = figment.merge(Serialized::default(key, value));
        }
        let config: Self = figment
            .extract()
            .map_err(|error| ConfigError::Parse(describe(&error)))?;
        Ok(config)
    }

    /// The configuration as text without its secrets.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Figment::from(Toml::string(text))
            .extract()
            .map_err(|error| ConfigError::Parse(describe(&error)))
    }

    /// Every secret with its key.
    pub fn secrets(&self) -> Vec<(String, &Secret)> {
        let mut all = vec![("store.url".to_owned(), &self.store.url)];
        for (name, chain) in &self.chains {
            for (index, url) in chain.rpc.iter().enumerate() {
                all.push((format!("chains.\"{name}\".rpc[{index}]"), url));
            }
            for (index, url) in chain.reconcile_rpc.iter().enumerate() {
                all.push((format!("chains.\"{name}\".reconcile_rpc[{index}]"), url));
            }
            for (index, key) in chain.signers.iter().enumerate() {
                all.push((format!("chains.\"{name}\".signers[{index}]"), key));
            }
        }
        for (id, coordinator) in &self.coordinators {
            if let Some(token) = &coordinator.token {
                all.push((format!("coordinators.{id}.token"), token));
            }
        }
        if let Some(token) = &self.operator.token {
            all.push(("operator.token".to_owned(), token));
        }
        all
    }

    /// Chains by numeric id.
    pub fn chain(&self, id: u64) -> Option<(&ChainName, &ChainConfig)> {
        self.chains.iter().find(|(_, chain)| chain.chain_id == id)
    }
}

/// Figment's errors name the key and where it came from; one line each.
fn describe(error: &figment::Error) -> String {
    let lines: Vec<String> = error.clone().into_iter().map(|one| one.to_string()).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests;
