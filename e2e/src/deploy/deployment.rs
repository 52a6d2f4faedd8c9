//! What exists so far: addresses by chain, written before and after every deployment, so that an interrupted run is continued, not repeated.

use alloy::primitives::Address;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// By numeric chain id.
    pub chains: BTreeMap<String, ChainDeployment>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainDeployment {
    pub outbox: Option<Address>,
    pub inbox: Option<Address>,
    pub vault: Option<Address>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<Address>,
    /// By bridge id.
    #[serde(default)]
    pub ports: BTreeMap<String, Address>,
    /// Addresses whose deployment was sent but not confirmed yet, by contract name.
    #[serde(default)]
    pub pending: BTreeMap<String, Address>,
    /// Block of the first deployment: where an observer starts.
    pub start_block: Option<u64>,
}

impl Deployment {
    /// Reads the file; an absent one is an empty deployment.
    pub fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not a deployment", path.display()))
    }

    /// Replaces the file as a whole, so that a crash leaves the old or the new one.
    pub fn write(&self, path: &Path) -> Result<()> {
        let partial = path.with_extension("partial");
        std::fs::write(&partial, serde_json::to_string_pretty(self)? + "\n")
            .and_then(|()| std::fs::rename(&partial, path))
            .with_context(|| format!("could not write {}", path.display()))
    }

    pub fn chain(&mut self, id: u64) -> &mut ChainDeployment {
        self.chains.entry(id.to_string()).or_default()
    }

    pub fn find(&self, id: u64) -> Option<&ChainDeployment> {
        self.chains.get(&id.to_string())
    }
}
