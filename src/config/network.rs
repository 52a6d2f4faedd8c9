//! Public networks as `config/networks/NAME.toml` describes them: what each bridge calls the chain, and where its contracts are.
//!
//! The files are part of the program and are data, not trust: every section names its source and date, a value without a source stays
//! out, and `relayer doctor --network NAME` asks the chain about each of them.

use super::{ConfigError, Finality, FinalityTag, Problem};
use alloy::primitives::Address;
use serde::{Deserialize, Deserializer, de::Error as _};
use std::collections::BTreeMap;
use std::path::Path;

/// The files in the program, by name.
const FILES: &[(&str, &str)] = &[
    ("ethereum", include_str!("../../config/networks/ethereum.toml")),
    ("polygon", include_str!("../../config/networks/polygon.toml")),
    ("bsc", include_str!("../../config/networks/bsc.toml")),
    ("arbitrum", include_str!("../../config/networks/arbitrum.toml")),
    ("sepolia", include_str!("../../config/networks/sepolia.toml")),
    ("amoy", include_str!("../../config/networks/amoy.toml")),
    ("bsc-testnet", include_str!("../../config/networks/bsc-testnet.toml")),
    (
        "arbitrum-sepolia",
        include_str!("../../config/networks/arbitrum-sepolia.toml"),
    ),
];

/// Which world a network belongs to: ids of the bridges are unique within one, and lanes never leave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkKind {
    Mainnet,
    Testnet,
    /// A development chain.
    Local,
}

/// One network.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    pub name: String,
    pub kind: NetworkKind,
    pub chain_id: u64,
    pub finality: Option<NetworkFinality>,
    pub layerzero: Option<LayerZeroNetwork>,
    pub ccip: Option<CcipNetwork>,
    pub wormhole: Option<WormholeNetwork>,
}

/// When a block of the network counts as final: a tag or a depth.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkFinality {
    pub tag: Option<FinalityTag>,
    pub depth: Option<u64>,
    pub source: String,
    pub date: String,
}

impl NetworkFinality {
    /// The rule; None when the file names none or both, which [`Network::parse`] refuses.
    pub fn rule(&self) -> Option<Finality> {
        match (self.tag, self.depth) {
            (Some(tag), None) => Some(Finality::Tag(tag)),
            (None, Some(depth)) => Some(Finality::Depth(depth)),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerZeroNetwork {
    /// LayerZero's id of the chain; never the chain id.
    pub eid: u32,
    #[serde(deserialize_with = "checksummed")]
    pub endpoint: Address,
    #[serde(deserialize_with = "checksummed")]
    pub send_library: Address,
    #[serde(deserialize_with = "checksummed")]
    pub receive_library: Address,
    pub source: String,
    pub date: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CcipNetwork {
    /// CCIP's id of the chain.
    #[serde(deserialize_with = "decimal")]
    pub selector: u64,
    #[serde(deserialize_with = "checksummed")]
    pub router: Address,
    #[serde(deserialize_with = "checksummed")]
    pub rmn_proxy: Address,
    #[serde(deserialize_with = "checksummed")]
    pub token_admin_registry: Address,
    #[serde(deserialize_with = "checksummed")]
    pub link: Address,
    pub source: String,
    pub date: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WormholeNetwork {
    /// Wormhole's id of the chain; test networks may repeat one of a mainnet.
    pub chain_id: u16,
    #[serde(deserialize_with = "checksummed")]
    pub core: Address,
    pub source: String,
    pub date: String,
}

/// An address that is one typing error away from another is refused: mixed case is its check digit, so it is demanded.
fn checksummed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
    let text = String::deserialize(deserializer)?;
    Address::parse_checksummed(&text, None)
        .map_err(|_| D::Error::custom(format!("{text:?} is not an address with its checksum (EIP-55)")))
}

fn decimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    let value = text.parse().ok().filter(|value: &u64| value.to_string() == text);
    value.ok_or_else(|| D::Error::custom(format!("{text:?} is not a decimal number below 2^64")))
}

/// `YYYY-MM-DD`.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else { return false };
    let number = |part: &str, len: usize| (part.len() == len).then(|| part.parse::<u32>().ok()).flatten();
    matches!(
        (number(year, 4), number(month, 2), number(day, 2)),
        (Some(2000..), Some(1..=12), Some(1..=31))
    )
}

/// Name, addresses by role, source and date of one table.
type Section<'a> = (&'static str, Vec<(&'static str, Address)>, &'a str, &'a str);

impl Network {
    /// One file. `label` names it in errors.
    pub fn parse(label: &str, text: &str) -> Result<Self, ConfigError> {
        let parse =
            |error: toml::de::Error| ConfigError::Parse(format!("network {label}: {}", error.to_string().trim()));
        let network: Self = toml::from_str(text).map_err(parse)?;
        let problems = network.problems();
        if problems.is_empty() {
            Ok(network)
        } else {
            Err(ConfigError::Invalid(problems))
        }
    }

    /// Every network in the program, checked against one another.
    pub fn all() -> Result<Vec<Self>, ConfigError> {
        let networks: Vec<Self> = FILES
            .iter()
            .map(|(name, text)| Self::parse(name, text))
            .collect::<Result<_, _>>()?;
        let mut problems = clashes(&networks);
        let misnamed = FILES
            .iter()
            .zip(&networks)
            .filter(|((name, _), network)| *name != network.name);
        problems.extend(misnamed.map(|((name, _), network)| problem(name, "name", format!("is {:?}", network.name))));
        if problems.is_empty() {
            Ok(networks)
        } else {
            Err(ConfigError::Invalid(problems))
        }
    }

    /// A network of the program by its name, or a file of one's own: anything that ends in `.toml`.
    pub fn find(name: &str) -> Result<Self, ConfigError> {
        if name.ends_with(".toml") {
            let path = Path::new(name);
            let text = std::fs::read_to_string(path).map_err(|error| ConfigError::File(path.to_owned(), error))?;
            return Self::parse(name, &text);
        }
        let known = Self::all()?;
        let names: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        let unknown = || ConfigError::Parse(format!("network {name:?} is unknown; there are {}", names.join(", ")));
        known
            .into_iter()
            .find(|network| network.name == name)
            .ok_or_else(unknown)
    }

    /// Every section with its addresses, source and date.
    fn sections(&self) -> Vec<Section<'_>> {
        let mut all = Vec::new();
        if let Some(it) = &self.finality {
            all.push(("finality", vec![], it.source.as_str(), it.date.as_str()));
        }
        if let Some(it) = &self.layerzero {
            let addresses = vec![
                ("endpoint", it.endpoint),
                ("send_library", it.send_library),
                ("receive_library", it.receive_library),
            ];
            all.push(("layerzero", addresses, &it.source, &it.date));
        }
        if let Some(it) = &self.ccip {
            let addresses = vec![
                ("router", it.router),
                ("rmn_proxy", it.rmn_proxy),
                ("token_admin_registry", it.token_admin_registry),
                ("link", it.link),
            ];
            all.push(("ccip", addresses, &it.source, &it.date));
        }
        if let Some(it) = &self.wormhole {
            all.push(("wormhole", vec![("core", it.core)], &it.source, &it.date));
        }
        all
    }

    fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut add = |key: &str, reason: String| found.push(problem(&self.name, key, reason));
        if self.chain_id == 0 {
            add("chain_id", "is required".into());
        }
        if let Some(finality) = &self.finality
            && finality.rule().is_none()
        {
            add("finality", "needs either tag or depth".into());
        }
        // LayerZero numbers its worlds: 3xxxx main networks, 4xxxx test networks.
        let wrong_world = |eid: u32| match self.kind {
            NetworkKind::Mainnet => eid / 10_000 != 3,
            NetworkKind::Testnet => eid / 10_000 != 4,
            NetworkKind::Local => eid == 0,
        };
        if let Some(eid) = self.layerzero.as_ref().map(|it| it.eid).filter(|eid| wrong_world(*eid)) {
            add("layerzero.eid", format!("{eid} is not an id of this kind of network"));
        }
        if self.ccip.as_ref().is_some_and(|it| it.selector == 0) {
            add("ccip.selector", "is zero".into());
        }
        if self.wormhole.as_ref().is_some_and(|it| it.chain_id == 0) {
            add("wormhole.chain_id", "is zero".into());
        }
        // Two roles at one address on one chain are a copying error.
        let mut roles: BTreeMap<Address, String> = BTreeMap::new();
        for (section, addresses, source, date) in self.sections() {
            if source.trim().is_empty() {
                add(&format!("{section}.source"), "is required".into());
            }
            if !is_date(date) {
                add(&format!("{section}.date"), format!("{date:?} is not YYYY-MM-DD"));
            }
            for (role, address) in addresses {
                let key = format!("{section}.{role}");
                if address.is_zero() {
                    add(&key, "is zero".into());
                } else if let Some(other) = roles.insert(address, key.clone()) {
                    add(&key, format!("{address} is {other} as well"));
                }
            }
        }
        found
    }
}

fn problem(network: &str, key: &str, reason: String) -> Problem {
    Problem {
        key: format!("networks.{network}.{key}"),
        reason,
    }
}

/// Names and ids that two networks share. Ids of bridges count within one kind.
pub fn clashes(networks: &[Network]) -> Vec<Problem> {
    let mut owners: BTreeMap<(String, Option<NetworkKind>, String), &str> = BTreeMap::new();
    let mut found = Vec::new();
    for network in networks {
        let kind = Some(network.kind);
        let mut ids = vec![
            ("name", None, network.name.clone()),
            ("chain_id", None, network.chain_id.to_string()),
        ];
        ids.extend(
            network
                .layerzero
                .as_ref()
                .map(|it| ("layerzero.eid", None, it.eid.to_string())),
        );
        ids.extend(
            network
                .ccip
                .as_ref()
                .map(|it| ("ccip.selector", None, it.selector.to_string())),
        );
        ids.extend(
            network
                .wormhole
                .as_ref()
                .map(|it| ("wormhole.chain_id", kind, it.chain_id.to_string())),
        );
        for (key, kind, value) in ids {
            if let Some(other) = owners.insert((key.to_owned(), kind, value.clone()), &network.name) {
                found.push(problem(&network.name, key, format!("{value} is {other}'s as well")));
            }
        }
    }
    found
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
