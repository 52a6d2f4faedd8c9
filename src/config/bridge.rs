//! One bridge instance. Two instances may speak one protocol over two port pairs.

use super::{ChainName, Wei};
use alloy::primitives::Address;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Protocols this program has an adapter for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    #[default]
    Layerzero,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BridgeConfig {
    pub protocol: Protocol,
    pub enabled: bool,
    /// Cap on the native fee of one message, wei of the source chain.
    pub default_fee: Wei,
    /// Value, in whole units of `prices`, that may depend on one of its lanes at once; none = no cap.
    pub lane_value_max: Option<String>,
    /// The same for all its lanes together.
    pub value_max: Option<String>,
    /// Chains it serves, each with a table below.
    pub supported_chains: Vec<ChainName>,
    /// Gas of the receive callback; raised to the port's floor.
    pub receive_gas: u64,
    /// Seconds from source finality to arrival that are normal before the lane has a history.
    pub expected: u64,
    pub chains: BTreeMap<ChainName, BridgeChainConfig>,
}

impl Default for BridgeConfig {
    fn default() -> Self {
        Self {
            protocol: Protocol::Layerzero,
            enabled: true,
            default_fee: Wei::new(50_000_000_000_000_000),
            lane_value_max: None,
            value_max: None,
            supported_chains: Vec::new(),
            receive_gas: 200_000,
            expected: 180,
            chains: BTreeMap::new(),
        }
    }
}

/// A bridge on one chain.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BridgeChainConfig {
    /// Our port contract.
    pub port: Option<Address>,
    /// Cap on the native fee of one message that starts here; none = the bridge's default_fee.
    pub fee_cap: Option<Wei>,
    /// LayerZero's id of the chain.
    pub eid: Option<u32>,
    /// LayerZero's EndpointV2.
    pub endpoint_address: Option<Address>,
}
