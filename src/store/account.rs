//! Ledger accounts. A balance is credits minus debits; both totals only grow, in the transaction that inserts the posting.

use super::codec::{address, int, name, u256, u256_bytes, uint};
use super::entity::account;
use super::{Store, StoreError, Txn};
use crate::settlement::ChainId;
use alloy::primitives::{Address, U256};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// What an account stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountKind {
    /// What a payer's vault balance leaves for new settlements.
    Available,
    /// Held for accepted settlements that have not ended.
    Reserved,
    /// Paid out.
    Payee,
    /// Credited in the vault, not yet claimed.
    Unclaimed,
    FeesBridge,
    FeesGas,
    /// Fees earned by a fee recipient.
    FeesIncome,
    /// The world outside: deposits come from it, withdrawals and gas go to it.
    External,
}

impl AccountKind {
    pub const ALL: &'static [Self] = &[
        Self::Available,
        Self::Reserved,
        Self::Payee,
        Self::Unclaimed,
        Self::FeesBridge,
        Self::FeesGas,
        Self::FeesIncome,
        Self::External,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Reserved => "reserved",
            Self::Payee => "payee",
            Self::Unclaimed => "unclaimed",
            Self::FeesBridge => "fees_bridge",
            Self::FeesGas => "fees_gas",
            Self::FeesIncome => "fees_income",
            Self::External => "external",
        }
    }
}

impl fmt::Display for AccountKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Text that names no account kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an account kind")]
pub struct AccountKindError(pub String);

impl FromStr for AccountKind {
    type Err = AccountKindError;

    fn from_str(text: &str) -> Result<Self, AccountKindError> {
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| AccountKindError(text.to_owned()))
    }
}

/// What names an account. Zero token is the native coin, zero holder is nobody in particular.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountKey {
    pub kind: AccountKind,
    pub chain: ChainId,
    pub token: Address,
    pub holder: Address,
}

impl AccountKey {
    pub fn new(kind: AccountKind, chain: ChainId, token: Address, holder: Address) -> Self {
        Self {
            kind,
            chain,
            token,
            holder,
        }
    }
}

/// Credits minus debits, with its sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// Zero or more.
    Credit(U256),
    /// More debits than credits, by this much.
    Debit(U256),
}

impl Balance {
    /// What can be spent: zero when overdrawn.
    pub fn spendable(self) -> U256 {
        match self {
            Self::Credit(amount) => amount,
            Self::Debit(_) => U256::ZERO,
        }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credit(amount) => write!(f, "{amount}"),
            Self::Debit(amount) => write!(f, "-{amount}"),
        }
    }
}

/// One account with its totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    pub key: AccountKey,
    pub debits: U256,
    pub credits: U256,
}

impl Account {
    pub fn balance(&self) -> Balance {
        match self.credits.checked_sub(self.debits) {
            Some(amount) => Balance::Credit(amount),
            None => Balance::Debit(self.debits.saturating_sub(self.credits)),
        }
    }
}

/// An account row held for the rest of the transaction.
#[derive(Debug, Clone)]
pub(super) struct LockedAccount {
    pub row: i64,
    pub version: i64,
    pub account: Account,
}

pub(super) type LockedAccounts = BTreeMap<AccountKey, LockedAccount>;

impl Store {
    pub async fn find_account(&self, key: AccountKey) -> Result<Option<Account>, StoreError> {
        let row = account::Entity::find()
            .filter(account::Column::Kind.eq(key.kind.as_str()))
            .filter(account::Column::Chain.eq(int("chain", key.chain.0)?))
            .filter(account::Column::Token.eq(key.token.to_vec()))
            .filter(account::Column::Holder.eq(key.holder.to_vec()))
            .one(&self.db)
            .await?;
        row.map(|row| Ok(decode(&row)?.account)).transpose()
    }

    /// Balance of an account; zero for one that does not exist yet.
    pub async fn get_balance(&self, key: AccountKey) -> Result<Balance, StoreError> {
        let account = self.find_account(key).await?;
        Ok(account.map_or(Balance::Credit(U256::ZERO), |account| account.balance()))
    }

    /// All accounts of a chain (of all chains when none is named), in row order.
    pub async fn list_accounts(&self, chain: Option<ChainId>) -> Result<Vec<Account>, StoreError> {
        let mut query = account::Entity::find().order_by_asc(account::Column::Id);
        if let Some(chain) = chain {
            query = query.filter(account::Column::Chain.eq(int("chain", chain.0)?));
        }
        let rows = query.all(&self.db).await?;
        rows.iter().map(|row| Ok(decode(row)?.account)).collect()
    }
}

impl Txn {
    /// Locks accounts in row order, making those that do not exist: concurrent writers then queue instead of deadlocking.
    pub(super) async fn lock_accounts(&self, keys: &BTreeSet<AccountKey>) -> Result<LockedAccounts, StoreError> {
        let mut locked = self.select_accounts(keys).await?;
        if locked.len() == keys.len() {
            return Ok(locked);
        }
        let mut missing = Vec::new();
        for key in keys.iter().filter(|key| !locked.contains_key(key)) {
            missing.push(account::ActiveModel {
                kind: Set(key.kind.as_str().to_owned()),
                chain: Set(int("chain", key.chain.0)?),
                token: Set(key.token.to_vec()),
                holder: Set(key.holder.to_vec()),
                debits: Set(u256_bytes(U256::ZERO)),
                credits: Set(u256_bytes(U256::ZERO)),
                version: Set(0),
                ..Default::default()
            });
        }
        for chunk in missing.chunks(1_000) {
            account::Entity::insert_many(chunk.to_vec())
                .on_conflict(OnConflict::new().do_nothing().to_owned())
                .try_insert()
                .exec_without_returning(&self.tx)
                .await?;
        }
        locked = self.select_accounts(keys).await?;
        match keys.iter().find(|key| !locked.contains_key(key)) {
            None => Ok(locked),
            Some(key) => Err(StoreError::Missing {
                what: format!("account {key:?}"),
            }),
        }
    }

    async fn select_accounts(&self, keys: &BTreeSet<AccountKey>) -> Result<LockedAccounts, StoreError> {
        let mut locked = LockedAccounts::new();
        let keys_in_order: Vec<&AccountKey> = keys.iter().collect();
        for chunk in keys_in_order.chunks(500) {
            let chains: BTreeSet<i64> = chunk
                .iter()
                .map(|key| int("chain", key.chain.0))
                .collect::<Result<_, _>>()?;
            let kinds: BTreeSet<&str> = chunk.iter().map(|key| key.kind.as_str()).collect();
            let tokens: BTreeSet<Vec<u8>> = chunk.iter().map(|key| key.token.to_vec()).collect();
            let holders: BTreeSet<Vec<u8>> = chunk.iter().map(|key| key.holder.to_vec()).collect();
            // A superset by columns, narrowed below: tuples in IN lists are not portable.
            let rows = account::Entity::find()
                .filter(account::Column::Kind.is_in(kinds))
                .filter(account::Column::Chain.is_in(chains))
                .filter(account::Column::Token.is_in(tokens))
                .filter(account::Column::Holder.is_in(holders))
                .order_by_asc(account::Column::Id)
                .lock_exclusive()
                .all(&self.tx)
                .await?;
            for row in &rows {
                let account = decode(row)?;
                if keys.contains(&account.account.key) {
                    locked.insert(account.account.key, account);
                }
            }
        }
        Ok(locked)
    }

    /// Writes the new totals of one locked account.
    pub(super) async fn write_account(&self, locked: &LockedAccount) -> Result<(), StoreError> {
        let written = account::Entity::update_many()
            .set(account::ActiveModel {
                debits: Set(u256_bytes(locked.account.debits)),
                credits: Set(u256_bytes(locked.account.credits)),
                version: Set(locked.version.saturating_add(1)),
                ..Default::default()
            })
            .filter(account::Column::Id.eq(locked.row))
            .filter(account::Column::Version.eq(locked.version))
            .exec(&self.tx)
            .await?;
        super::txn::expect_one(written.rows_affected, "account")
    }
}

pub(super) fn decode(row: &account::Model) -> Result<LockedAccount, StoreError> {
    Ok(LockedAccount {
        row: row.id,
        version: row.version,
        account: Account {
            key: AccountKey {
                kind: name("account.kind", &row.kind)?,
                chain: ChainId(uint("account.chain", row.chain)?),
                token: address("account.token", &row.token)?,
                holder: address("account.holder", &row.holder)?,
            },
            debits: u256("account.debits", &row.debits)?,
            credits: u256("account.credits", &row.credits)?,
        },
    })
}
