//! Which final blocks the three-way comparison has read: stretches that were checked, and gaps.

use super::codec::{b256, int, uint};
use super::entity::reconcile_interval as row;
use super::{Store, StoreError, Txn};
use crate::settlement::ChainId;
use alloy::primitives::{Address, B256};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the contracts of a chain had counted by a block. None for a contract that is not configured there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub dispatched: Option<u128>,
    pub received: Option<u128>,
    pub paid: Option<u128>,
    /// By token, what the vault ever saw: deposited, withdrawn, debited, credited, claimed.
    pub vault: BTreeMap<Address, [u128; 5]>,
}

/// How a stretch of blocks stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Compared with the ledger.
    Checked {
        /// None when the end of it was cut off.
        last_hash: Option<B256>,
        /// None when the contracts could not be asked (a node without old state).
        counters: Option<Counters>,
    },
    /// Could not be read, or contradicted the contracts.
    Gap {
        reason: String,
        attempts: u32,
        /// Not tried before, Unix ms.
        next_at: i64,
    },
}

/// Blocks `first..=last`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    pub first: u64,
    pub last: u64,
    /// Of the last block, Unix seconds; of a gap the best that is known.
    pub last_timestamp: u64,
    pub logs: u64,
    /// Unix ms.
    pub since: i64,
    pub standing: Standing,
}

impl Interval {
    pub fn is_gap(&self) -> bool {
        matches!(self.standing, Standing::Gap { .. })
    }
}

impl Store {
    /// In block order.
    pub async fn list_intervals(&self, chain: ChainId) -> Result<Vec<Interval>, StoreError> {
        let rows = row::Entity::find()
            .filter(row::Column::Chain.eq(int("reconcile_interval.chain", chain.0)?))
            .order_by_asc(row::Column::FirstBlock)
            .all(&self.db)
            .await?;
        rows.iter().map(decode).collect()
    }
}

impl Txn {
    /// [`Store::list_intervals`], kept for this transaction.
    pub async fn lock_intervals(&mut self, chain: ChainId) -> Result<Vec<Interval>, StoreError> {
        // Those of a chain are replaced as a whole, so two processes must not read the same state of them.
        self.reserve_counter(&format!("reconcile_interval:{chain}"), 1).await?;
        let rows = row::Entity::find()
            .filter(row::Column::Chain.eq(int("reconcile_interval.chain", chain.0)?))
            .order_by_asc(row::Column::FirstBlock)
            .lock_exclusive()
            .all(&self.tx)
            .await?;
        rows.iter().map(decode).collect()
    }

    /// Writes what differs between `before`, as locked, and `after`.
    pub async fn write_intervals(
        &mut self,
        chain: ChainId,
        before: &[Interval],
        after: &[Interval],
    ) -> Result<(), StoreError> {
        let chain = int("reconcile_interval.chain", chain.0)?;
        let gone: Vec<i64> = before
            .iter()
            .filter(|old| !after.contains(old))
            .map(|old| int("reconcile_interval.first_block", old.first))
            .collect::<Result<_, _>>()?;
        for chunk in gone.chunks(1_000) {
            row::Entity::delete_many()
                .filter(row::Column::Chain.eq(chain))
                .filter(row::Column::FirstBlock.is_in(chunk.to_vec()))
                .exec(&self.tx)
                .await?;
        }
        let mut fresh = Vec::new();
        for new in after.iter().filter(|new| !before.contains(new)) {
            fresh.push(encode(chain, new)?);
        }
        for chunk in fresh.chunks(500) {
            row::Entity::insert_many(chunk.to_vec())
                .exec_without_returning(&self.tx)
                .await?;
        }
        Ok(())
    }
}

fn encode(chain: i64, interval: &Interval) -> Result<row::ActiveModel, StoreError> {
    let mut model = row::ActiveModel {
        chain: Set(chain),
        first_block: Set(int("reconcile_interval.first_block", interval.first)?),
        last_block: Set(int("reconcile_interval.last_block", interval.last)?),
        last_hash: Set(None),
        last_timestamp: Set(int("reconcile_interval.last_timestamp", interval.last_timestamp)?),
        standing: Set(String::new()),
        counters: Set(None),
        logs: Set(int("reconcile_interval.logs", interval.logs)?),
        attempts: Set(0),
        next_at: Set(0),
        reason: Set(None),
        since_at: Set(interval.since),
    };
    match &interval.standing {
        Standing::Checked { last_hash, counters } => {
            let text = counters.as_ref().map(serde_json::to_string).transpose();
            model.standing = Set("checked".into());
            model.last_hash = Set(last_hash.map(|hash| hash.to_vec()));
            model.counters = Set(text.map_err(|error| corrupt("counters", error))?);
        }
        Standing::Gap {
            reason,
            attempts,
            next_at,
        } => {
            model.standing = Set("gap".into());
            model.reason = Set(Some(reason.clone()));
            model.attempts = Set(i32::try_from(*attempts).unwrap_or(i32::MAX));
            model.next_at = Set(*next_at);
        }
    }
    Ok(model)
}

fn corrupt(column: &'static str, error: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt {
        column,
        reason: error.to_string(),
    }
}

fn decode(row: &row::Model) -> Result<Interval, StoreError> {
    let standing = match row.standing.as_str() {
        "checked" => Standing::Checked {
            last_hash: row
                .last_hash
                .as_deref()
                .map(|hash| b256("reconcile_interval.last_hash", hash))
                .transpose()?,
            counters: row
                .counters
                .as_deref()
                .map(serde_json::from_str)
                .transpose()
                .map_err(|error| corrupt("reconcile_interval.counters", error))?,
        },
        _ => Standing::Gap {
            reason: row.reason.clone().unwrap_or_default(),
            attempts: u32::try_from(row.attempts).unwrap_or_default(),
            next_at: row.next_at,
        },
    };
    Ok(Interval {
        first: uint("reconcile_interval.first_block", row.first_block)?,
        last: uint("reconcile_interval.last_block", row.last_block)?,
        last_timestamp: uint("reconcile_interval.last_timestamp", row.last_timestamp)?,
        logs: uint("reconcile_interval.logs", row.logs)?,
        since: row.since_at,
        standing,
    })
}
