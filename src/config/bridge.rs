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
    Wormhole,
    /// Chainlink CCIP.
    Ccip,
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
    /// Wormhole: public REST endpoints of guardians, all asked, none trusted.
    pub guardian_endpoints: Vec<String>,
    /// Where CCIP 2.0's verifier results are served; without it, messages of 2.0 are executed by CCIP's executors only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub results_endpoint: Option<String>,
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
            guardian_endpoints: Vec::new(),
            results_endpoint: None,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eid: Option<u32>,
    /// LayerZero's EndpointV2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_address: Option<Address>,
    /// Wormhole's id of the chain.
    pub wormhole_chain: Option<u16>,
    /// Wormhole's core contract.
    pub bridge_address: Option<Address>,
    /// CCIP's id of the chain, as decimal text: half of them are above what a TOML integer holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// CCIP's Router.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub router_address: Option<Address>,
    /// What a CCIP port pays with, as it was deployed; none = native coin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fee_token: Option<Address>,
    /// CCIP 2.0: the port's lanes pay no executor, as they were wired; the relayer brings in what leaves this chain.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub self_execute: bool,
}
