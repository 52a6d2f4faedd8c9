//! What an operator names: our ports and CCIP's Router, per chain. Ramps are not named: CCIP changes them.

use alloy::primitives::Address;
use relayer_adapter_api::{BridgeId, ChainId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One bridge instance: one port per chain; ports of all chains are peers of one another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CcipConfig {
    pub id: BridgeId,
    pub chains: Vec<CcipChain>,
    /// Gas of the receive callback; the port raises it to its floor. All of it is paid for, used or not.
    #[serde(default = "default_gas_limit")]
    pub gas_limit: u128,
    /// Added to the quoted fee, so that a price that moves before inclusion does not revert the send. What is not used comes back.
    #[serde(default = "default_fee_buffer_percent")]
    pub fee_buffer_percent: u8,
    /// Seconds from source finality to arrival that are normal before the lane has a history.
    #[serde(default = "default_expected_seconds")]
    pub expected_seconds: u64,
    /// Seconds a quote is good for.
    #[serde(default = "default_quote_valid_seconds")]
    pub quote_valid_seconds: u64,
    /// Blocks searched for the commit of a message (target) and for the other messages of its batch (source). Manual execution may be hours
    /// after the commit.
    #[serde(default = "default_search_blocks")]
    pub search_blocks: u64,
    /// The most gas a rescue gives our own receiver.
    #[serde(default = "default_rescue_gas_max")]
    pub rescue_gas_max: u32,
}

/// CCIP and our port on one chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CcipChain {
    pub chain: ChainId,
    /// CCIP's id of the chain; never the chain id.
    pub selector: u64,
    /// CCIP's Router.
    pub router: Address,
    /// Our port of this instance.
    pub port: Address,
    /// Our outbox; none on a chain that only receives.
    #[serde(default)]
    pub outbox: Option<Address>,
    /// What the port pays with, as it was deployed: absent = native coin, else the token (LINK). The dispatching account must have approved the port.
    #[serde(default)]
    pub fee_token: Option<Address>,
    /// The lanes of the port pay no executor (2.0), as they were wired: we bring in what leaves this chain.
    #[serde(default)]
    pub self_execute: bool,
}

fn default_gas_limit() -> u128 {
    120_000
}

fn default_fee_buffer_percent() -> u8 {
    10
}

fn default_expected_seconds() -> u64 {
    300
}

fn default_quote_valid_seconds() -> u64 {
    60
}

fn default_search_blocks() -> u64 {
    50_000
}

fn default_rescue_gas_max() -> u32 {
    2_000_000
}

impl CcipConfig {
    /// An instance with the defaults of everything else.
    pub fn new(id: BridgeId, chains: Vec<CcipChain>) -> Self {
        Self {
            id,
            chains,
            gas_limit: default_gas_limit(),
            fee_buffer_percent: default_fee_buffer_percent(),
            expected_seconds: default_expected_seconds(),
            quote_valid_seconds: default_quote_valid_seconds(),
            search_blocks: default_search_blocks(),
            rescue_gas_max: default_rescue_gas_max(),
        }
    }

    pub fn check(&self) -> Result<(), ConfigError> {
        let (mut chains, mut selectors) = (BTreeSet::new(), BTreeSet::new());
        for entry in &self.chains {
            if !chains.insert(entry.chain) {
                return Err(ConfigError::ChainTwice(entry.chain));
            }
            if entry.selector == 0 || !selectors.insert(entry.selector) {
                return Err(ConfigError::Selector(entry.chain, entry.selector));
            }
            if entry.selector == entry.chain.0 {
                return Err(ConfigError::ChainId(entry.chain));
            }
            if entry.port.is_zero() || entry.router.is_zero() {
                return Err(ConfigError::Zero(entry.chain));
            }
        }
        Ok(())
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("chain {0} is named twice")]
    ChainTwice(ChainId),
    #[error("chain {0}: selector {1} is zero or another chain's")]
    Selector(ChainId, u64),
    #[error("chain {0}: the selector is the chain id; CCIP has ids of its own")]
    ChainId(ChainId),
    #[error("chain {0}: port and router must be set")]
    Zero(ChainId),
    #[error("{0:?} is not the address of a web endpoint")]
    Endpoint(String),
    #[error("no HTTP client: {0}")]
    Client(String),
}
