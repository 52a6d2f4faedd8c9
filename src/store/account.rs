//! Ledger accounts. A balance is credits minus debits; both totals only grow, in the transaction that inserts the posting.

use super::bulk::{Update, padded};
use super::codec::{address, int, name, u256, u256_bytes, uint};
use super::entity::account;
use super::{Store, StoreError, Txn};
use crate::ledger::{AccountKey, AccountKind, Asset, Balance};
use crate::settlement::ChainId;
use alloy::primitives::{Address, U256};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Value,
};
use std::collections::{BTreeMap, BTreeSet};

/// New totals, each where the version is still the one that was read.
const TOTALS: Update = Update {
    columns: "id, version, debits, credits",
    update: "UPDATE account SET debits = v.debits, credits = v.credits, version = v.version + 1 FROM v \
             WHERE account.id = v.id AND account.version = v.version",
};

/// An account row held for the rest of the transaction.
#[derive(Debug, Clone)]
pub(super) struct LockedAccount {
    pub row: i64,
    pub version: i64,
    pub key: AccountKey,
    pub balance: Balance,
}

pub(super) type LockedAccounts = BTreeMap<AccountKey, LockedAccount>;

impl Store {
    /// Totals of an account; zero for one that nothing was posted to yet.
    pub async fn get_balance(&self, key: AccountKey) -> Result<Balance, StoreError> {
        let row = account::Entity::find()
            .filter(account::Column::Kind.eq(key.kind().as_str()))
            .filter(account::Column::Chain.eq(int("account.chain", key.asset().chain.0)?))
            .filter(account::Column::Token.eq(key.asset().token.to_vec()))
            .filter(account::Column::Holder.eq(holder_of(&key).to_vec()))
            .one(&self.db)
            .await?;
        row.map_or(Ok(Balance::default()), |row| Ok(decode(&row)?.balance))
    }

    /// Accounts of these kinds, of one asset or of all, in row order.
    pub async fn list_accounts_of(
        &self,
        kinds: &[AccountKind],
        asset: Option<Asset>,
    ) -> Result<Vec<(AccountKey, Balance)>, StoreError> {
        let mut query = account::Entity::find()
            .filter(account::Column::Kind.is_in(kinds.iter().map(|kind| kind.as_str())))
            .order_by_asc(account::Column::Id);
        if let Some(asset) = asset {
            query = query
                .filter(account::Column::Chain.eq(int("account.chain", asset.chain.0)?))
                .filter(account::Column::Token.eq(asset.token.to_vec()));
        }
        let rows = query.all(&self.db).await?;
        rows.iter()
            .map(|row| decode(row).map(|locked| (locked.key, locked.balance)))
            .collect()
    }

    /// All accounts of an asset (all there are when none is named), in row order.
    pub async fn list_accounts(&self, asset: Option<Asset>) -> Result<Vec<(AccountKey, Balance)>, StoreError> {
        let mut query = account::Entity::find().order_by_asc(account::Column::Id);
        if let Some(asset) = asset {
            query = query
                .filter(account::Column::Chain.eq(int("account.chain", asset.chain.0)?))
                .filter(account::Column::Token.eq(asset.token.to_vec()));
        }
        let rows = query.all(&self.db).await?;
        rows.iter()
            .map(|row| decode(row).map(|locked| (locked.key, locked.balance)))
            .collect()
    }
}

impl Txn {
    /// Locks accounts in row order. Those that do not exist are made first, in key order, while nothing is locked: concurrent writers
    /// then queue instead of deadlocking.
    pub(super) async fn lock_accounts(&self, keys: &BTreeSet<AccountKey>) -> Result<LockedAccounts, StoreError> {
        let mut found = self.select_accounts(keys).await?;
        if found.len() < keys.len() {
            self.make_accounts(keys.iter().filter(|key| !found.contains_key(key)))
                .await?;
            found = self.select_accounts(keys).await?;
        }
        if let Some(key) = keys.iter().find(|key| !found.contains_key(key)) {
            return Err(StoreError::Missing {
                what: format!("account {key}"),
            });
        }
        // A write transaction of SQLite is alone.
        if self.tx.get_database_backend() == DbBackend::Sqlite {
            return Ok(found);
        }
        let mut rows: Vec<i64> = found.values().map(|account| account.row).collect();
        rows.sort_unstable();
        let mut locked = LockedAccounts::new();
        for chunk in rows.chunks(1_000) {
            let models = account::Entity::find()
                .filter(account::Column::Id.is_in(chunk.iter().copied()))
                .order_by_asc(account::Column::Id)
                .lock_exclusive()
                .all(&self.tx)
                .await?;
            for row in &models {
                let account = decode(row)?;
                locked.insert(account.key, account);
            }
        }
        Ok(locked)
    }

    async fn make_accounts(&self, keys: impl Iterator<Item = &AccountKey>) -> Result<(), StoreError> {
        let mut missing = Vec::new();
        for key in keys {
            missing.push(account::ActiveModel {
                kind: Set(key.kind().as_str().to_owned()),
                chain: Set(int("account.chain", key.asset().chain.0)?),
                token: Set(key.asset().token.to_vec()),
                holder: Set(holder_of(key).to_vec()),
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
        Ok(())
    }

    /// As they are now, not locked.
    async fn select_accounts(&self, keys: &BTreeSet<AccountKey>) -> Result<LockedAccounts, StoreError> {
        let mut found = LockedAccounts::new();
        let keys_in_order: Vec<&AccountKey> = keys.iter().collect();
        for chunk in keys_in_order.chunks(500) {
            let chains: BTreeSet<i64> = chunk
                .iter()
                .map(|key| int("account.chain", key.asset().chain.0))
                .collect::<Result<_, _>>()?;
            let kinds: BTreeSet<&str> = chunk.iter().map(|key| key.kind().as_str()).collect();
            let tokens: BTreeSet<Vec<u8>> = chunk.iter().map(|key| key.asset().token.to_vec()).collect();
            let holders: BTreeSet<Vec<u8>> = chunk.iter().map(|key| holder_of(key).to_vec()).collect();
            // A superset by columns, narrowed below: tuples in IN lists are not portable.
            let rows = account::Entity::find()
                .filter(account::Column::Kind.is_in(kinds))
                .filter(account::Column::Chain.is_in(chains))
                .filter(account::Column::Token.is_in(tokens))
                .filter(account::Column::Holder.is_in(padded(holders.into_iter().collect())))
                .all(&self.tx)
                .await?;
            for row in &rows {
                let account = decode(row)?;
                if keys.contains(&account.key) {
                    found.insert(account.key, account);
                }
            }
        }
        Ok(found)
    }

    /// Writes the new totals of locked accounts.
    pub(super) async fn write_accounts(
        &self,
        accounts: &mut LockedAccounts,
        totals: BTreeMap<AccountKey, Balance>,
    ) -> Result<(), StoreError> {
        let mut rows: Vec<Vec<Value>> = Vec::with_capacity(totals.len());
        for (key, balance) in totals {
            let Some(locked) = accounts.get_mut(&key) else { continue };
            rows.push(vec![
                locked.row.into(),
                locked.version.into(),
                u256_bytes(balance.debits).into(),
                u256_bytes(balance.credits).into(),
            ]);
            locked.balance = balance;
            locked.version = locked.version.saturating_add(1);
        }
        let expected = rows.len() as u64;
        let written = TOTALS.run(&self.tx, rows).await?;
        if written == expected {
            Ok(())
        } else {
            Err(StoreError::Conflict { what: "account".into() })
        }
    }
}

/// Zero stands for nobody in particular.
fn holder_of(key: &AccountKey) -> Address {
    key.holder().unwrap_or_default()
}

pub(super) fn decode(row: &account::Model) -> Result<LockedAccount, StoreError> {
    let kind: AccountKind = name("account.kind", &row.kind)?;
    let asset = Asset {
        chain: ChainId(uint("account.chain", row.chain)?),
        token: address("account.token", &row.token)?,
    };
    let holder = address("account.holder", &row.holder)?;
    let key = AccountKey::new(kind, asset, kind.has_holder().then_some(holder));
    Ok(LockedAccount {
        row: row.id,
        version: row.version,
        key: key.ok_or_else(|| StoreError::Corrupt {
            column: "account.holder",
            reason: format!("{holder} on an account of kind {kind}"),
        })?,
        balance: Balance {
            debits: u256("account.debits", &row.debits)?,
            credits: u256("account.credits", &row.credits)?,
        },
    })
}
