//! One chain: endpoints, finality, contracts, signers, fee caps.

use super::{Secret, Wei};
use alloy::primitives::Address;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChainConfig {
    /// Required; there is no default chain id.
    pub chain_id: u64,
    /// Required. A URL may carry an access key, so it is treated as a secret.
    pub rpc: Vec<Secret>,
    /// Endpoints that must agree; 0 = 2 of 3 or more, else 1.
    pub rpc_quorum: usize,
    pub rpc_timeout_ms: u64,
    /// Endpoints the comparison of ledger and chain reads from; empty = those of `rpc` the observer asks last.
    pub reconcile_rpc: Vec<Secret>,
    pub poll_ms: u64,
    pub finality: Finality,
    pub start_block: u64,
    pub log_range_max: u64,
    pub signers: Vec<Secret>,
    pub contracts: ContractsConfig,
    pub fees: FeesConfig,
}

impl Default for ChainConfig {
    fn default() -> Self {
        Self {
            chain_id: 0,
            rpc: Vec::new(),
            rpc_quorum: 0,
            rpc_timeout_ms: 10_000,
            reconcile_rpc: Vec::new(),
            poll_ms: 1_000,
            finality: Finality::Tag(FinalityTag::Finalized),
            start_block: 0,
            log_range_max: 2_000,
            signers: Vec::new(),
            contracts: ContractsConfig::default(),
            fees: FeesConfig::default(),
        }
    }
}

impl ChainConfig {
    /// How many endpoints must agree.
    pub fn quorum(&self) -> usize {
        match self.rpc_quorum {
            0 => usual_quorum(self.rpc.len()),
            set => set,
        }
    }

    /// How many of the endpoints of the comparison must agree.
    pub fn reconcile_quorum(&self) -> usize {
        if self.reconcile_rpc.is_empty() {
            return self.quorum();
        }
        let count = self.reconcile_rpc.len();
        match self.rpc_quorum {
            0 => usual_quorum(count),
            set => set.min(count),
        }
    }
}

fn usual_quorum(endpoints: usize) -> usize {
    if endpoints >= 3 { 2 } else { 1 }
}

/// When a block counts as final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finality {
    Tag(FinalityTag),
    /// This many blocks below the head; 0 is for tests only.
    Depth(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalityTag {
    Finalized,
    Safe,
}

/// Our contracts on the chain. A source needs the outbox, a target the inbox and the vault; one that learns checkpoints the registry too.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContractsConfig {
    pub outbox: Option<Address>,
    pub inbox: Option<Address>,
    pub vault: Option<Address>,
    /// Checkpoints of hubs on other chains, as the inbox received them.
    pub registry: Option<Address>,
}

/// Absolute caps; funds or caps too small pause sending with an alert, nothing is dropped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeesConfig {
    pub max_fee_per_gas: Wei,
    pub priority_fee_min: Wei,
    pub per_tx: Wei,
    pub per_day: Wei,
    pub legacy: bool,
    pub balance_min: Wei,
}

impl Default for FeesConfig {
    fn default() -> Self {
        Self {
            max_fee_per_gas: Wei::new(300_000_000_000),
            priority_fee_min: Wei::new(1_000_000),
            per_tx: Wei::new(500_000_000_000_000_000),
            per_day: Wei::new(10_000_000_000_000_000_000),
            legacy: false,
            balance_min: Wei::new(50_000_000_000_000_000),
        }
    }
}
