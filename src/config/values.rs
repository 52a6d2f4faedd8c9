//! Values with a shape of their own: wei, secrets, chain names.

use super::ConfigError;
use alloy::primitives::{U256, utils::parse_units};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// An amount of native coin: a decimal number of wei, or a decimal with a unit (`30 gwei`, `0.05 ether`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Wei(pub U256);

impl Wei {
    pub const fn new(wei: u128) -> Self {
        Self(U256::from_limbs([wei as u64, (wei >> 64) as u64, 0, 0]))
    }

    pub fn as_u128(self) -> u128 {
        u128::try_from(self.0).unwrap_or(u128::MAX)
    }
}

impl fmt::Display for Wei {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Wei {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not an amount: use wei (\"1000\"), \"30 gwei\" or \"0.05 ether\"");
        let (number, unit) = text.trim().split_once(' ').unwrap_or((text.trim(), "wei"));
        let decimals = match unit.trim() {
            "wei" => 0,
            "gwei" => 9,
            "ether" => 18,
            _ => return Err(bad()),
        };
        // parse_units would cut off digits beyond the unit; an amount is exact or refused.
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > decimals as usize {
            return Err(bad());
        }
        let value = parse_units(number, decimals).map_err(|_| bad())?;
        Ok(Self(value.get_absolute()))
    }
}

impl<'de> Deserialize<'de> for Wei {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(u64),
            Text(String),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Number(wei) => Ok(Self(U256::from(wei))),
            Raw::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

impl Serialize for Wei {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A key or token. Written in the configuration as the value itself, as `{ env = "NAME" }` or as `{ file = "path" }`; never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    Value(String),
    Env(String),
    File(PathBuf),
}

impl Secret {
    /// Fetches the value. `key` names the configuration key in errors.
    pub fn resolve(&self, key: &str) -> Result<String, ConfigError> {
        let fail = |reason: String| ConfigError::Secret {
            key: key.to_owned(),
            reason,
        };
        let value = match self {
            Self::Value(value) => value.clone(),
            Self::Env(name) => {
                std::env::var(name).map_err(|_| fail(format!("environment variable {name} is not set")))?
            }
            Self::File(path) => std::fs::read_to_string(path)
                .map_err(|error| fail(format!("file {} cannot be read: {error}", path.display())))?,
        };
        let value = value.trim().to_owned();
        if value.is_empty() {
            Err(fail("is empty".into()))
        } else {
            Ok(value)
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Source {
            env: Option<String>,
            file: Option<PathBuf>,
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Value(String),
            Source(Source),
        }
        // The error must not repeat what was written: it may be the secret itself.
        let raw = Raw::deserialize(deserializer);
        match raw {
            Ok(Raw::Value(value)) => Ok(Self::Value(value)),
            Ok(Raw::Source(Source {
                env: Some(name),
                file: None,
            })) => Ok(Self::Env(name)),
            Ok(Raw::Source(Source {
                env: None,
                file: Some(path),
            })) => Ok(Self::File(path)),
            _ => Err(D::Error::custom(
                "a secret is a string, { env = \"NAME\" } or { file = \"path\" }",
            )),
        }
    }
}

/// CAIP-2 name of an EVM chain, `eip155:<chain id>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChainName(String);

impl ChainName {
    /// The numeric id in the name.
    pub fn reference(&self) -> u64 {
        self.0
            .strip_prefix("eip155:")
            .and_then(|id| id.parse().ok())
            .unwrap_or_default()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ChainName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let id = name.strip_prefix("eip155:").and_then(|id| id.parse::<u64>().ok());
        match id {
            Some(id) if id > 0 && name == format!("eip155:{id}") => Ok(Self(name.to_owned())),
            _ => Err(format!("chain name {name:?} must be eip155:<chain id>, as in CAIP-2")),
        }
    }
}

impl TryFrom<String> for ChainName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl From<ChainName> for String {
    fn from(name: ChainName) -> Self {
        name.0
    }
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
