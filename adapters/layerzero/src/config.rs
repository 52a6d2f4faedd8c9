//! What an operator names: our ports and LayerZero's contracts, per chain.

use alloy::primitives::Address;
use relayer_adapter_api::{BridgeId, ChainId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One bridge instance: one port per chain; ports of all chains are peers of one another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerZeroConfig {
    pub id: BridgeId,
    pub chains: Vec<LayerZeroChain>,
    /// Gas of the receive callback; the port raises it to its floor.
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
    /// Source blocks searched for the packet of an earlier nonce that blocks ours.
    #[serde(default = "default_search_blocks")]
    pub search_blocks: u64,
}

/// LayerZero and our port on one chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerZeroChain {
    pub chain: ChainId,
    /// LayerZero's id of the chain; never the chain id.
    pub eid: u32,
    /// EndpointV2; not the same address on every chain.
    pub endpoint: Address,
    /// Our port of this instance.
    pub port: Address,
    /// Our outbox; none on a chain that only receives.
    #[serde(default)]
    pub outbox: Option<Address>,
    /// ReceiveUln302 of the port; read from the endpoint when absent.
    #[serde(default)]
    pub receive_library: Option<Address>,
}

fn default_gas_limit() -> u128 {
    200_000
}

fn default_fee_buffer_percent() -> u8 {
    10
}

fn default_expected_seconds() -> u64 {
    180
}

fn default_quote_valid_seconds() -> u64 {
    60
}

fn default_search_blocks() -> u64 {
    10_000
}

impl LayerZeroConfig {
    /// An instance without chains and with the defaults of everything else.
    pub fn new(id: BridgeId, chains: Vec<LayerZeroChain>) -> Self {
        Self {
            id,
            chains,
            gas_limit: default_gas_limit(),
            fee_buffer_percent: default_fee_buffer_percent(),
            expected_seconds: default_expected_seconds(),
            quote_valid_seconds: default_quote_valid_seconds(),
            search_blocks: default_search_blocks(),
        }
    }

    pub fn check(&self) -> Result<(), ConfigError> {
        let (mut chains, mut eids) = (BTreeSet::new(), BTreeSet::new());
        for entry in &self.chains {
            if !chains.insert(entry.chain) {
                return Err(ConfigError::ChainTwice(entry.chain));
            }
            if entry.eid == 0 || !eids.insert(entry.eid) {
                return Err(ConfigError::Eid(entry.chain, entry.eid));
            }
            if entry.port.is_zero() || entry.endpoint.is_zero() {
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
    #[error("chain {0}: endpoint id {1} is zero or another chain's")]
    Eid(ChainId, u32),
    #[error("chain {0}: port and endpoint must be set")]
    Zero(ChainId),
}
