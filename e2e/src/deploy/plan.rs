//! The file an operator writes: what shall exist on which chain. `config/contracts.example.toml` documents every key.

use alloy::primitives::{Address, aliases::U96};
use anyhow::{Context, Result, bail};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Where addresses are kept; relative to the plan's folder.
    pub state: PathBuf,
    /// By numeric chain id.
    pub chains: BTreeMap<String, ChainPlan>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainPlan {
    pub rpc: String,
    /// Environment variable that holds the deployer's private key (hex).
    pub deployer_key_env: String,
    /// Owner of every contract: meant to be a timelocked multisig.
    pub admin: Address,
    /// May pause payers and skip a blocked LayerZero nonce.
    pub guardian: Address,
    /// Seconds; see docs/security.md.
    pub exit_delay: u64,
    pub claim_window: u64,
    /// Seconds; more than exit_delay + 72 h.
    pub port_delay: u64,
    /// Accounts that may dispatch (the relayer's signers).
    #[serde(default)]
    pub dispatchers: Vec<Address>,
    #[serde(default)]
    pub tokens: Vec<TokenPlan>,
    /// By bridge id.
    #[serde(default)]
    pub layerzero: BTreeMap<String, LayerZeroPlan>,
    /// By bridge id.
    #[serde(default)]
    pub wormhole: BTreeMap<String, WormholePlan>,
    /// By bridge id.
    #[serde(default)]
    pub ccip: BTreeMap<String, CcipPlan>,
    /// Records the checkpoints of hubs on other chains.
    #[serde(default)]
    pub registry: Option<RegistryPlan>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryPlan {
    /// Seconds between announcing and making a choice between two roots of one eon.
    pub resolve_delay: u64,
    /// By name; a registered hub can never change.
    #[serde(default)]
    pub hubs: BTreeMap<String, HubPlan>,
}

/// A hub whose checkpoints a registry records. Its outbox is that of its chain in this plan; with none, only its operator's signature counts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubPlan {
    /// Numeric id of the chain the hub's contract is on.
    pub chain: u64,
    pub contract: Address,
    /// Whose signature counts as a family of its own; absent = nobody's.
    #[serde(default)]
    pub operator: Option<Address>,
    /// Families that must have brought a root; at least 2 where there are both an outbox and an operator.
    pub quorum: u8,
    /// Eons the next may lie past the newest recorded one, 1 to 5.
    pub gap_max: u8,
    /// Shortest time in seconds an eon takes: the hub's clock, by which eons may lie further ahead. 0 = no clock.
    pub eon_seconds: u32,
    /// The eon the hub is in when it is registered: none before it is recorded, and its clock runs from it. Not 0.
    pub first_eon: u64,
    /// Positions of its tokens, as its contract's `getTokenTrail` says; the native coin is known.
    #[serde(default)]
    pub tokens: Vec<HubTokenPlan>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubTokenPlan {
    /// On the hub's chain.
    pub address: Address,
    pub trail: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenPlan {
    pub address: Address,
    pub decimals: u8,
    /// Base units (decimal string) up to which `quorum1` bridge families suffice.
    #[serde(deserialize_with = "decimal")]
    pub limit1: U96,
    /// Base units (decimal string) up to which `quorum2` families suffice; above it `quorum3`, 0 = refused.
    #[serde(deserialize_with = "decimal")]
    pub limit2: U96,
    pub quorum1: u8,
    pub quorum2: u8,
    pub quorum3: u8,
}

/// One LayerZero port of one chain. Ports of the same bridge id on two chains become peers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerZeroPlan {
    pub eid: u32,
    pub endpoint: Address,
    pub send_library: Address,
    pub receive_library: Address,
    pub executor: Address,
    /// Largest message in bytes the executor takes.
    pub max_message_size: u32,
    /// Source blocks the verifiers wait; the same on both sides of a lane.
    pub confirmations: u64,
    /// Verifiers on this chain that attest for it, sorted ascending: required ones only.
    pub verifiers: Vec<Address>,
}

/// One CCIP port of one chain. Ports of the same bridge id on two chains become peers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CcipPlan {
    /// CCIP's id of this chain, as a decimal string.
    #[serde(deserialize_with = "selector")]
    pub selector: u64,
    pub router: Address,
    /// What the port pays with; absent = native coin.
    #[serde(default)]
    pub fee_token: Option<Address>,
    /// Pay no executor and leave the execution to the relayer; CCIP 2.0 and later.
    #[serde(default)]
    pub self_execute: bool,
}

/// Half of all selectors are above what a TOML integer holds.
fn selector<'de, D: Deserializer<'de>>(source: D) -> Result<u64, D::Error> {
    let text = String::deserialize(source)?;
    text.parse()
        .map_err(|_| Error::custom(format!("{text:?} is not a decimal number below 2^64")))
}

/// TOML integers end at 2^63, below what a token with 18 decimals needs.
fn decimal<'de, D: Deserializer<'de>>(source: D) -> Result<U96, D::Error> {
    let text = String::deserialize(source)?;
    U96::from_str_radix(&text, 10).map_err(|_| Error::custom(format!("{text:?} is not a decimal number below 2^96")))
}

/// One Wormhole port of one chain. Ports of the same bridge id on two chains become peers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WormholePlan {
    /// Wormhole's id of the chain; never the chain id.
    pub wormhole_chain: u16,
    /// Wormhole's core contract.
    pub core: Address,
}

impl Plan {
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?;
        let mut plan: Self = toml::from_str(&text).with_context(|| format!("{} is not a plan", path.display()))?;
        if let (true, Some(folder)) = (plan.state.is_relative(), path.parent()) {
            plan.state = folder.join(&plan.state);
        }
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<()> {
        for (name, chain) in &self.chains {
            let id: u64 = name
                .parse()
                .with_context(|| format!("chains.{name}: the name must be the numeric chain id"))?;
            if id == 0 {
                bail!("chains.{name}: chain id 0 does not exist");
            }
            if chain.port_delay <= chain.exit_delay + 72 * 3600 {
                bail!(
                    "chains.{name}.port_delay must be more than exit_delay + 72 h ({} s)",
                    chain.exit_delay + 72 * 3600
                );
            }
            for (hub, wanted) in chain.registry.iter().flat_map(|registry| &registry.hubs) {
                let key = format!("chains.{name}.registry.hubs.{hub}");
                if wanted.chain == 0 || wanted.quorum == 0 || !(1..=5).contains(&wanted.gap_max) {
                    bail!("{key}: chain and quorum must not be 0, gap_max must be 1 to 5");
                }
                if wanted.first_eon == 0 {
                    bail!("{key}.first_eon must not be 0: it is the eon the hub is in when it is registered");
                }
                let has_outbox = self.chains.contains_key(&wanted.chain.to_string());
                if !has_outbox && (wanted.operator.is_none() || wanted.quorum != 1) {
                    bail!(
                        "{key}: chain {} is not in this plan, so its operator alone vouches for it: operator is needed, and quorum 1",
                        wanted.chain
                    );
                }
                if has_outbox && wanted.operator.is_some() && wanted.quorum == 1 {
                    bail!(
                        "{key}.quorum must be at least 2: chain {} has an outbox, and beside it the operator's word must not be enough; \
                         or leave {key}.operator out",
                        wanted.chain
                    );
                }
            }
            for (bridge, port) in &chain.layerzero {
                if port.verifiers.is_empty() || !port.verifiers.is_sorted() {
                    bail!("chains.{name}.layerzero.{bridge}.verifiers must be sorted ascending and not empty");
                }
            }
        }
        Ok(())
    }

    pub fn chain_ids(&self) -> impl Iterator<Item = (u64, &ChainPlan)> {
        self.chains
            .iter()
            .filter_map(|(name, chain)| Some((name.parse().ok()?, chain)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const EXAMPLE: &str = include_str!("../../../config/contracts.example.toml");

    /// Replaces lines of the example; None = it is a plan.
    fn check(changes: &[(&str, &str)], expected: Option<&str>) {
        let mut text = EXAMPLE.to_owned();
        for (from, to) in changes {
            let line = format!("\n{from}\n");
            assert_eq!(text.matches(&line).count(), 1, "{from}");
            text = text.replace(&line, &format!("\n{to}\n"));
        }
        let read = toml::from_str::<Plan>(&text).map_err(anyhow::Error::from);
        let said = read
            .and_then(|plan| plan.check())
            .err()
            .map(|error| format!("{error:#}"));
        match expected {
            None => assert_eq!(said, None, "{changes:?}"),
            Some(expected) => assert!(said.as_ref().is_some_and(|said| said.contains(expected)), "{said:?}"),
        }
    }

    #[test]
    fn the_example_is_a_plan_and_a_hub_no_registry_would_take_is_refused() {
        let key = "chains.31337.registry.hubs.example";
        let no_operator = ("operator = \"0x000000000000000000000000000000000000000d\"", "");
        let quorum = |to| ("quorum = 2", to);
        check(&[], None);
        check(&[quorum("quorum = 0")], Some(key));
        check(
            &[quorum("quorum = 1")],
            Some(&format!("{key}.quorum must be at least 2")),
        );
        check(&[quorum("quorum = 1"), no_operator], None);
        check(
            &[("first_eon = 1", "first_eon = 0")],
            Some(&format!("{key}.first_eon must not be 0")),
        );
        check(&[("first_eon = 1", "")], Some("first_eon"));
        let elsewhere = ("chain = 31338", "chain = 31339");
        check(&[elsewhere], Some("quorum 1"));
        check(&[elsewhere, quorum("quorum = 1")], None);
        check(
            &[elsewhere, quorum("quorum = 1"), no_operator],
            Some("operator is needed"),
        );
    }
}
