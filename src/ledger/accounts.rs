//! Accounts and their balances.

use crate::names::names;
use alloy::primitives::{Address, U256};
use relayer_adapter_api::ChainId;
use std::fmt;
use std::str::FromStr;

names! {
    /// What an account holds. The order is the order in which rows are locked.
    AccountKind, "kind of account" {
        /// A payer's deposits that no accepted settlement has claimed.
        Available = "available",
        /// A payer's deposits that accepted settlements have claimed.
        Reserved = "reserved",
        /// What a payee was paid, outside the vault.
        Payee = "payee",
        /// What a payee can claim from the vault because its transfer failed.
        Unclaimed = "unclaimed",
        /// What we spent on bridges.
        FeesBridge = "fees_bridge",
        /// What we spent on gas.
        FeesGas = "fees_gas",
        /// Fees of settlements paid to our fee recipient.
        FeesIncome = "fees_income",
        /// Everything outside the books: deposits come from it, withdrawals and costs go to or come from it.
        External = "external",
    }
}

impl AccountKind {
    /// Whether accounts of this kind belong to a payer or payee.
    pub fn has_holder(self) -> bool {
        matches!(self, Self::Available | Self::Reserved | Self::Payee | Self::Unclaimed)
    }
}

/// A token on a chain; the zero address is the chain's native coin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asset {
    pub chain: ChainId,
    pub token: Address,
}

impl Asset {
    pub fn native(chain: ChainId) -> Self {
        Self {
            chain,
            token: Address::ZERO,
        }
    }
}

/// Text that names no account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an account")]
pub struct AccountKeyError(pub String);

/// Names one account. As text: `kind:chain:token` or `kind:chain:token:holder`, addresses in lower-case hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountKey {
    kind: AccountKind,
    asset: Asset,
    holder: Option<Address>,
}

impl AccountKey {
    /// A holder is given exactly for the kinds that have one.
    pub fn new(kind: AccountKind, asset: Asset, holder: Option<Address>) -> Option<Self> {
        (kind.has_holder() == holder.is_some()).then_some(Self { kind, asset, holder })
    }

    pub fn available(asset: Asset, payer: Address) -> Self {
        Self::held(AccountKind::Available, asset, payer)
    }

    pub fn reserved(asset: Asset, payer: Address) -> Self {
        Self::held(AccountKind::Reserved, asset, payer)
    }

    pub fn payee(asset: Asset, payee: Address) -> Self {
        Self::held(AccountKind::Payee, asset, payee)
    }

    pub fn unclaimed(asset: Asset, payee: Address) -> Self {
        Self::held(AccountKind::Unclaimed, asset, payee)
    }

    pub fn fees_bridge(asset: Asset) -> Self {
        Self::common(AccountKind::FeesBridge, asset)
    }

    pub fn fees_gas(asset: Asset) -> Self {
        Self::common(AccountKind::FeesGas, asset)
    }

    pub fn fees_income(asset: Asset) -> Self {
        Self::common(AccountKind::FeesIncome, asset)
    }

    pub fn external(asset: Asset) -> Self {
        Self::common(AccountKind::External, asset)
    }

    fn held(kind: AccountKind, asset: Asset, holder: Address) -> Self {
        Self {
            kind,
            asset,
            holder: Some(holder),
        }
    }

    fn common(kind: AccountKind, asset: Asset) -> Self {
        Self {
            kind,
            asset,
            holder: None,
        }
    }

    pub fn kind(&self) -> AccountKind {
        self.kind
    }

    pub fn asset(&self) -> Asset {
        self.asset
    }

    pub fn holder(&self) -> Option<Address> {
        self.holder
    }
}

impl fmt::Display for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{:#x}", self.kind, self.asset.chain, self.asset.token)?;
        match self.holder {
            Some(holder) => write!(f, ":{holder:#x}"),
            None => Ok(()),
        }
    }
}

impl FromStr for AccountKey {
    type Err = AccountKeyError;

    /// Reads back exactly what `Display` writes, so that an account has one text only.
    fn from_str(text: &str) -> Result<Self, AccountKeyError> {
        let parse = || {
            let mut parts = text.split(':');
            let kind = parts.next()?.parse().ok()?;
            let chain = ChainId(parts.next()?.parse().ok()?);
            let token = parts.next()?.parse().ok()?;
            let holder = parts.next().map(str::parse).transpose().ok()?;
            if parts.next().is_some() {
                return None;
            }
            Self::new(kind, Asset { chain, token }, holder)
        };
        parse()
            .filter(|key| key.to_string() == text)
            .ok_or_else(|| AccountKeyError(text.to_owned()))
    }
}

/// Why a balance cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BalanceError {
    #[error("account {account} would be short by {short}")]
    Short { account: AccountKey, short: U256 },
    #[error("the totals of account {0} would overflow")]
    Overflow(AccountKey),
}

/// Two totals that only grow; the balance is their difference. Keeping both makes corrections visible and updates
/// commutative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    pub debits: U256,
    pub credits: U256,
}

impl Balance {
    /// `credits - debits`, zero when that is negative.
    pub fn amount(&self) -> U256 {
        self.credits.saturating_sub(self.debits)
    }

    /// `debits - credits`, zero when that is negative: what is missing, to be reported and never adjusted.
    pub fn shortfall(&self) -> U256 {
        self.debits.saturating_sub(self.credits)
    }

    /// Both totals grown by `delta`.
    pub fn plus(&self, delta: &Self) -> Option<Self> {
        Some(Self {
            debits: self.debits.checked_add(delta.debits)?,
            credits: self.credits.checked_add(delta.credits)?,
        })
    }
}
