//! Prices of coins and tokens, so that fees and amounts compare.

use super::ChainName;
use crate::settlement::price::{Coin, Price, StaticPrices};
use alloy::primitives::{Address, U256};
use relayer_adapter_api::ChainId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Native coins of EVM chains have as many.
const NATIVE_DECIMALS: u8 = 18;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PricesConfig {
    /// Name of the unit all prices are in.
    pub unit: String,
    /// Decimal price of one whole native coin, by chain.
    pub native: BTreeMap<ChainName, String>,
    pub tokens: BTreeMap<ChainName, BTreeMap<Address, TokenPrice>>,
}

impl Default for PricesConfig {
    fn default() -> Self {
        Self {
            unit: "usd".to_owned(),
            native: BTreeMap::new(),
            tokens: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenPrice {
    /// Of one whole token.
    pub price: String,
    pub decimals: u8,
}

impl PricesConfig {
    /// What the router reads; the error names the key.
    pub fn parse(&self) -> Result<StaticPrices, (String, String)> {
        let mut prices = BTreeMap::new();
        for (chain, text) in &self.native {
            let key = || format!("prices.native.\"{chain}\"");
            let price = Price::parse(text, NATIVE_DECIMALS).map_err(|reason| (key(), reason))?;
            prices.insert(Coin::Native(ChainId(chain.reference())), price);
        }
        for (chain, tokens) in &self.tokens {
            for (token, entry) in tokens {
                let key = || format!("prices.tokens.\"{chain}\".\"{token}\"");
                let price = Price::parse(&entry.price, entry.decimals).map_err(|reason| (key(), reason))?;
                prices.insert(Coin::Token(ChainId(chain.reference()), *token), price);
            }
        }
        Ok(StaticPrices {
            unit: self.unit.clone(),
            prices,
        })
    }
}

/// A cap on value, written in whole units, as the router counts it.
pub fn value(text: &str) -> Result<U256, String> {
    let whole = Price::parse(text, 0)?;
    whole
        .value_down(U256::from(1))
        .ok_or_else(|| format!("{text:?} is too large"))
}
