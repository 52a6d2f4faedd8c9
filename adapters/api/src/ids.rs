//! Newtypes for every identity that crosses the adapter boundary: a wrong argument must not compile.

use alloy::primitives::B256;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Numeric EVM chain id, as `eth_chainId` answers. Never a protocol's own id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(pub u64);

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Name of a configured bridge instance: 1 to 32 characters of `a-z`, `0-9`, `-`. Two instances may speak one protocol over two port pairs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BridgeId(String);

/// A bridge name that breaks the rule of [`BridgeId`].
#[derive(Debug, thiserror::Error)]
#[error("bridge id {0:?} must be 1 to 32 characters of a-z, 0-9 and '-'")]
pub struct BridgeIdError(pub String);

impl BridgeId {
    pub fn new(name: &str) -> Result<Self, BridgeIdError> {
        let valid = (1..=32).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if valid {
            Ok(Self(name.to_owned()))
        } else {
            Err(BridgeIdError(name.to_owned()))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BridgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BridgeId {
    type Err = BridgeIdError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

impl TryFrom<String> for BridgeId {
    type Error = BridgeIdError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(&name)
    }
}

impl From<BridgeId> for String {
    fn from(id: BridgeId) -> Self {
        id.0
    }
}

/// Bridge family as the inbox counts it: 1 layerzero, 2 ccip, 3 wormhole, 4 operator-signed, up to 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Family(pub u8);

impl Family {
    pub const LAYERZERO: Self = Self(1);
    pub const WORMHOLE: Self = Self(3);
    pub const CCIP: Self = Self(2);
}

macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub B256);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = alloy::hex::FromHexError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                B256::from_str(text).map(Self)
            }
        }

        impl From<B256> for $name {
            fn from(hash: B256) -> Self {
                Self(hash)
            }
        }
    };
}

hash_id! {
    /// EIP-712 digest of the terms: binds everything about a settlement and is its id in every layer.
    SettlementId
}
hash_id! {
    /// keccak256 of the 158 message bytes.
    MessageId
}
