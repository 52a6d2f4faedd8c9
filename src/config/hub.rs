//! A hub whose checkpoints are followed and carried. Its clock, operator and tokens come from its contract, what a checkpoint needs to be
//! believed from the registry of each target.

use super::ChainName;
use crate::settlement::policy::RoutePolicy;
use alloy::primitives::Address;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubConfig {
    pub chain: ChainName,
    /// The commit chain on it.
    pub contract: Address,
    /// 0 = from its genesis.
    #[serde(default)]
    pub start_block: u64,
    /// Coordinator that keeps this hub's ledger here: tokens, wallets and transfers are taken from it only.
    #[serde(default)]
    pub coordinator: Option<String>,
    /// Chains that learn its checkpoints, each with a registry.
    #[serde(default)]
    pub targets: Vec<ChainName>,
    /// How the lanes of its checkpoints are ranked, in place of `router.policy`.
    #[serde(default)]
    pub policy: Option<RoutePolicy>,
    /// What the hub calls tokens of the chains payees are paid on, where the addresses differ.
    #[serde(default)]
    pub tokens: Vec<HubToken>,
    /// Wallets whose allotments vouch for a payer besides those of its own address: payer = wallet.
    #[serde(default)]
    pub wallets: BTreeMap<Address, Address>,
}

/// One token under two names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubToken {
    pub chain: ChainName,
    /// On that chain.
    pub token: Address,
    /// On the hub's; its contract stands for the native coin.
    pub at_hub: Address,
}
