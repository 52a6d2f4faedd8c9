//! What the configuration says about who may submit what. Wiring builds it.

use super::allotment::HubPolicy;
use crate::chain::ExitDelay;
use crate::settlement::ChainId;
use crate::settlement::receipt::{AmountRule, PinnedKeys};
use alloy::primitives::Address;
use std::collections::{BTreeMap, BTreeSet};

/// One API client.
#[derive(Debug, Clone)]
pub struct CoordinatorPolicy {
    /// Ed25519 keys that may sign its receipts.
    pub keys: PinnedKeys,
    /// Payers it may use; empty = any.
    pub payers: BTreeSet<Address>,
    pub amount_rule: AmountRule,
    /// Contract payers can revoke their word at will.
    pub allow_contract_payers: bool,
    /// Required when terms carry a fee.
    pub fee_recipient: Option<Address>,
}

/// A chain payees are paid on.
#[derive(Debug, Clone)]
pub struct TargetPolicy {
    pub inbox: Address,
    pub vault: Address,
    /// From the vault; nothing is accepted for the target before it is known.
    pub exit_delay: ExitDelay,
}

/// All of it.
#[derive(Debug, Clone)]
pub struct IntakePolicy {
    pub coordinators: BTreeMap<String, CoordinatorPolicy>,
    pub targets: BTreeMap<ChainId, TargetPolicy>,
    /// (source, target) → number of bridge families that connect them.
    pub lanes: BTreeMap<(ChainId, ChainId), u8>,
    /// By name.
    pub hubs: BTreeMap<String, HubPolicy>,
    pub receipt_bytes_max: usize,
    pub receipts_max: usize,
    pub proof_bytes_max: usize,
    /// Requests under way, verified or waiting for the writer; one more is refused as busy.
    pub queue_max: usize,
    /// Bytes of the requests that are not verified yet; beyond them requests are refused as busy.
    pub queue_bytes_max: usize,
    /// Settlements in one commit.
    pub commit_rows_max: usize,
    /// Threads of the CPU pool; 0 = one per core.
    pub verify_threads: usize,
    /// A deadline must be at least this many seconds after the target head: time to cross the bridge.
    pub deadline_margin: u64,
    /// A deadline must be at least this many seconds before what is announced now could take effect.
    pub exit_margin: u64,
}

impl Default for IntakePolicy {
    fn default() -> Self {
        Self {
            coordinators: BTreeMap::new(),
            targets: BTreeMap::new(),
            lanes: BTreeMap::new(),
            hubs: BTreeMap::new(),
            receipt_bytes_max: 262_144,
            receipts_max: 64,
            proof_bytes_max: 65_536,
            queue_max: 8_192,
            queue_bytes_max: 64 << 20,
            commit_rows_max: 512,
            verify_threads: 0,
            deadline_margin: 900,
            exit_margin: 600,
        }
    }
}
