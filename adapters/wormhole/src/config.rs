//! What an operator names: our ports, Wormhole's contracts and the guardians' endpoints.

use alloy::primitives::Address;
use relayer_adapter_api::{BridgeId, ChainId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One bridge instance: one port per chain; ports of all chains are peers of one another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WormholeConfig {
    pub id: BridgeId,
    pub chains: Vec<WormholeChain>,
    /// Public REST endpoints of guardians (or of Wormholescan, which mirrors them), asked all at once. None is trusted.
    pub guardian_endpoints: Vec<String>,
    /// Milliseconds an endpoint may take.
    #[serde(default = "default_endpoint_timeout_ms")]
    pub endpoint_timeout_ms: u64,
    /// Seconds from source finality to arrival that are normal before the lane has a history.
    #[serde(default = "default_expected_seconds")]
    pub expected_seconds: u64,
    /// Seconds a quote is good for.
    #[serde(default = "default_quote_valid_seconds")]
    pub quote_valid_seconds: u64,
}

/// Wormhole and our port on one chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WormholeChain {
    pub chain: ChainId,
    /// Wormhole's id of the chain; never the chain id.
    pub wormhole_chain: u16,
    /// Wormhole's core contract; not the same address on every chain.
    pub core: Address,
    /// Our port of this instance.
    pub port: Address,
    /// Our outbox; none on a chain that only receives.
    #[serde(default)]
    pub outbox: Option<Address>,
}

fn default_endpoint_timeout_ms() -> u64 {
    5_000
}

fn default_expected_seconds() -> u64 {
    60
}

fn default_quote_valid_seconds() -> u64 {
    60
}

impl WormholeConfig {
    /// An instance with the defaults of everything that is not named here.
    pub fn new(id: BridgeId, chains: Vec<WormholeChain>, guardian_endpoints: Vec<String>) -> Self {
        Self {
            id,
            chains,
            guardian_endpoints,
            endpoint_timeout_ms: default_endpoint_timeout_ms(),
            expected_seconds: default_expected_seconds(),
            quote_valid_seconds: default_quote_valid_seconds(),
        }
    }

    pub fn check(&self) -> Result<(), ConfigError> {
        let (mut chains, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for entry in &self.chains {
            if !chains.insert(entry.chain) {
                return Err(ConfigError::ChainTwice(entry.chain));
            }
            if entry.wormhole_chain == 0 || !ids.insert(entry.wormhole_chain) {
                return Err(ConfigError::WormholeChain(entry.chain, entry.wormhole_chain));
            }
            if entry.port.is_zero() || entry.core.is_zero() {
                return Err(ConfigError::Zero(entry.chain));
            }
        }
        if self.guardian_endpoints.is_empty() {
            return Err(ConfigError::NoEndpoint);
        }
        Ok(())
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("chain {0} is named twice")]
    ChainTwice(ChainId),
    #[error("chain {0}: Wormhole chain id {1} is zero or another chain's")]
    WormholeChain(ChainId, u16),
    #[error("chain {0}: port and core must be set")]
    Zero(ChainId),
    #[error("at least one guardian endpoint is needed")]
    NoEndpoint,
    #[error("guardian endpoint {0:?} is not an http(s) URL")]
    Endpoint(String),
    #[error("the HTTP client could not be made: {0}")]
    Client(String),
}
