//! What the devnet's DVN and executor are told to do, changeable while they run: by handle in tests, over HTTP from outside.

use super::guardians::GuardianSetting;
use alloy::primitives::Address;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A packet of one path, by the chain it was sent on, the sending port and LayerZero's nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PacketName {
    pub source_chain: u64,
    pub sender: Address,
    pub nonce: u64,
}

/// The whole setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Setting {
    /// The DVN attests.
    pub dvn: bool,
    /// Extra wait before an attestation.
    pub dvn_delay_ms: u64,
    /// The executor commits and delivers.
    pub executor: bool,
    pub executor_delay_ms: u64,
    /// Packets the DVN never attests.
    pub ignored: BTreeSet<PacketName>,
    /// Every packet of these sending ports is ignored by the DVN.
    pub silent_ports: BTreeSet<Address>,
    /// Wormhole's guardians and their endpoints.
    pub guardians: GuardianSetting,
    /// The CCIP committee.
    pub ccip: CcipSetting,
    /// The hub's operator and its wallets.
    pub hub: HubSetting,
}

/// What the hub's operator and wallets are told to do, where the devnet has a hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HubSetting {
    /// The operator submits a checkpoint in every eon. One eon without halts the hub for ever.
    pub submits: bool,
    /// It submits a root that its ledger does not give.
    pub wrong_root: bool,
    /// A wallet challenges the operator once in every eon.
    pub challenges: bool,
    /// The operator answers challenges.
    pub answers: bool,
    /// Wallets deposit, pay one another and withdraw.
    pub plays: bool,
}

impl Default for HubSetting {
    fn default() -> Self {
        Self {
            submits: true,
            wrong_root: false,
            challenges: false,
            answers: true,
            plays: true,
        }
    }
}

/// What the CCIP committee is told to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CcipSetting {
    pub commits: bool,
    /// Extra wait before a commit.
    pub commit_delay_ms: u64,
    pub executes: bool,
    pub execute_delay_ms: u64,
    /// Gas of an execution, when it shall be too little: the message then counts as failed, and the committee never tries it again.
    pub execute_gas: Option<u64>,
    /// The RMN has cursed the other chain, on both chains.
    pub cursed: bool,
}

impl Default for CcipSetting {
    fn default() -> Self {
        Self {
            commits: true,
            commit_delay_ms: 0,
            executes: true,
            execute_delay_ms: 0,
            execute_gas: None,
            cursed: false,
        }
    }
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            dvn: true,
            dvn_delay_ms: 0,
            executor: true,
            executor_delay_ms: 0,
            ignored: BTreeSet::new(),
            silent_ports: BTreeSet::new(),
            guardians: GuardianSetting::default(),
            ccip: CcipSetting::default(),
            hub: HubSetting::default(),
        }
    }
}

impl Setting {
    /// Whether the DVN attests a packet that was first seen `age` ago.
    pub fn attests(&self, packet: PacketName, age: Duration) -> bool {
        self.dvn
            && age >= Duration::from_millis(self.dvn_delay_ms)
            && !self.ignored.contains(&packet)
            && !self.silent_ports.contains(&packet.sender)
    }

    pub fn executes(&self, age: Duration) -> bool {
        self.executor && age >= Duration::from_millis(self.executor_delay_ms)
    }
}

/// Shared by roles, tests and the control endpoint.
#[derive(Debug, Clone, Default)]
pub struct Switches(Arc<Mutex<Setting>>);

impl Switches {
    fn lock(&self) -> MutexGuard<'_, Setting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self) -> Setting {
        self.lock().clone()
    }

    pub fn set(&self, setting: Setting) {
        *self.lock() = setting;
    }

    pub fn change(&self, change: impl FnOnce(&mut Setting)) {
        change(&mut self.lock());
    }
}
