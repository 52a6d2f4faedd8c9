//! Decoded logs of our contracts with their standing: seen, final, orphaned; and who has applied them.

use super::entity::chain_log;
use super::txn::expect_one;
use super::{Store, StoreError, Txn, codec};
use crate::names::names;
use alloy::primitives::{Address, B256, U256};
use relayer_adapter_api::ChainId;
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
};

names! {
    /// Standing of a log.
    LogStatus, "log status" {
        /// In a block of the canonical chain that is not final yet.
        Seen = "seen",
        /// In a final block.
        Final = "final",
        /// A reorg took its block.
        Orphaned = "orphaned",
    }
}

/// A decoded log as the observer stores it.
#[derive(Debug, Clone, PartialEq)]
pub struct NewChainLog {
    pub chain: ChainId,
    pub block_number: u64,
    pub block_hash: B256,
    /// Unix seconds.
    pub block_timestamp: u64,
    pub log_index: u64,
    pub tx_hash: B256,
    pub address: Address,
    /// snake_case event name.
    pub kind: String,
    pub key: B256,
    pub key2: B256,
    pub amount: U256,
    /// Every field, hashes and addresses as hex, integers as decimal strings.
    pub detail: serde_json::Value,
}

/// A stored log.
#[derive(Debug, Clone, PartialEq)]
pub struct ChainLog {
    pub id: i64,
    pub chain: ChainId,
    pub block_number: u64,
    pub block_hash: B256,
    /// Unix seconds.
    pub block_timestamp: u64,
    pub log_index: u64,
    pub tx_hash: B256,
    pub address: Address,
    pub kind: String,
    pub key: B256,
    pub key2: B256,
    pub amount: U256,
    pub detail: serde_json::Value,
    pub status: LogStatus,
    pub applied_seen: bool,
    pub applied_final: bool,
}

impl ChainLog {
    /// Name of this log in causes: `<chain>:<block hash>:<log index>`.
    pub fn reference(&self) -> String {
        format!("{}:{}:{}", self.chain, self.block_hash, self.log_index)
    }
}

fn log_row(m: chain_log::Model) -> Result<ChainLog, StoreError> {
    Ok(ChainLog {
        id: m.id,
        chain: ChainId(codec::uint("chain_log.chain", m.chain)?),
        block_number: codec::uint("chain_log.block_number", m.block_number)?,
        block_hash: codec::b256("chain_log.block_hash", &m.block_hash)?,
        block_timestamp: codec::uint("chain_log.block_timestamp", m.block_timestamp)?,
        log_index: codec::uint("chain_log.log_index", m.log_index)?,
        tx_hash: codec::b256("chain_log.tx_hash", &m.tx_hash)?,
        address: codec::address("chain_log.address", &m.address)?,
        kind: m.kind,
        key: codec::b256("chain_log.key", &m.key)?,
        key2: codec::b256("chain_log.key2", &m.key2)?,
        amount: codec::u256("chain_log.amount", &m.amount)?,
        detail: codec::json("chain_log.detail", &m.detail)?,
        status: codec::name("chain_log.status", &m.status)?,
        applied_seen: m.applied_seen,
        applied_final: m.applied_final,
    })
}

pub(super) fn rows(models: Vec<chain_log::Model>) -> Result<Vec<ChainLog>, StoreError> {
    models.into_iter().map(log_row).collect()
}

impl Store {
    /// Logs the stages have not looked at in their present standing: new ones, and orphaned ones again.
    pub async fn list_unapplied_seen(&self, chain: ChainId, limit: u64) -> Result<Vec<ChainLog>, StoreError> {
        let models = chain_log::Entity::find()
            .filter(chain_log::Column::Chain.eq(codec::int("chain_log.chain", chain.0)?))
            // A literal, so that the partial index serves.
            .filter(Expr::cust("NOT applied_seen"))
            .order_by_asc(chain_log::Column::Id)
            .limit(limit)
            .all(&self.db)
            .await?;
        rows(models)
    }

    /// Final logs the ledger has not posted, as they were stored: in chain order, but for what a reorg brought back.
    pub async fn list_unapplied_final(&self, chain: ChainId, limit: u64) -> Result<Vec<ChainLog>, StoreError> {
        let models = chain_log::Entity::find()
            .filter(chain_log::Column::Chain.eq(codec::int("chain_log.chain", chain.0)?))
            // Literals, so that the partial index serves.
            .filter(Expr::cust("status = 'final' AND NOT applied_final"))
            .order_by_asc(chain_log::Column::Id)
            .limit(limit)
            .all(&self.db)
            .await?;
        rows(models)
    }

    /// Logs the ledger has posted and a broken finality has orphaned since: to be reversed, then [`Txn::unmark_applied_final`].
    pub async fn list_orphaned_applied(&self, chain: ChainId, limit: u64) -> Result<Vec<ChainLog>, StoreError> {
        let models = chain_log::Entity::find()
            .filter(chain_log::Column::Chain.eq(codec::int("chain_log.chain", chain.0)?))
            // Literals, so that the partial index serves.
            .filter(Expr::cust("status = 'orphaned' AND applied_final"))
            .order_by_asc(chain_log::Column::Id)
            .limit(limit)
            .all(&self.db)
            .await?;
        rows(models)
    }

    /// Logs about a subject, in chain order.
    pub async fn find_logs(
        &self,
        chain: ChainId,
        kind: &str,
        key: B256,
        key2: Option<B256>,
        include_orphaned: bool,
    ) -> Result<Vec<ChainLog>, StoreError> {
        let mut query = chain_log::Entity::find()
            .filter(chain_log::Column::Chain.eq(codec::int("chain_log.chain", chain.0)?))
            .filter(chain_log::Column::Kind.eq(kind))
            .filter(chain_log::Column::Key.eq(key.to_vec()));
        if let Some(key2) = key2 {
            query = query.filter(chain_log::Column::Key2.eq(key2.to_vec()));
        }
        if !include_orphaned {
            query = query.filter(chain_log::Column::Status.ne(LogStatus::Orphaned.as_str()));
        }
        let models = query
            .order_by_asc(chain_log::Column::BlockNumber)
            .order_by_asc(chain_log::Column::LogIndex)
            .all(&self.db)
            .await?;
        rows(models)
    }
}

impl Txn {
    /// Stores logs as seen. A log that was orphaned and came back is seen again; any other repetition changes nothing.
    pub async fn put_logs(&mut self, logs: &[NewChainLog]) -> Result<(), StoreError> {
        let models = logs
            .iter()
            .map(|log| {
                Ok(chain_log::ActiveModel {
                    id: NotSet,
                    chain: Set(codec::int("chain_log.chain", log.chain.0)?),
                    block_hash: Set(log.block_hash.to_vec()),
                    log_index: Set(codec::int("chain_log.log_index", log.log_index)?),
                    block_number: Set(codec::int("chain_log.block_number", log.block_number)?),
                    block_timestamp: Set(codec::int("chain_log.block_timestamp", log.block_timestamp)?),
                    tx_hash: Set(log.tx_hash.to_vec()),
                    address: Set(log.address.to_vec()),
                    kind: Set(log.kind.clone()),
                    key: Set(log.key.to_vec()),
                    key2: Set(log.key2.to_vec()),
                    amount: Set(codec::u256_bytes(log.amount)),
                    detail: Set(log.detail.to_string()),
                    status: Set(LogStatus::Seen.as_str().to_owned()),
                    applied_seen: Set(false),
                    applied_final: Set(false),
                })
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        for chunk in models.chunks(1_000) {
            let mut conflict = OnConflict::columns([
                chain_log::Column::Chain,
                chain_log::Column::BlockHash,
                chain_log::Column::LogIndex,
            ]);
            conflict
                .value(chain_log::Column::Status, Expr::value(LogStatus::Seen.as_str()))
                .value(chain_log::Column::AppliedSeen, Expr::value(false))
                .action_and_where(
                    Expr::col((chain_log::Entity, chain_log::Column::Status)).eq(LogStatus::Orphaned.as_str()),
                );
            chain_log::Entity::insert_many(chunk.to_vec())
                .on_conflict(conflict)
                .exec_without_returning(&self.tx)
                .await?;
        }
        Ok(())
    }

    /// A reorg took every block above `number`: their logs are orphaned and shown to the stages again. Returns how many.
    pub async fn orphan_logs_above(&mut self, chain: ChainId, number: u64) -> Result<u64, StoreError> {
        let result = chain_log::Entity::update_many()
            .col_expr(chain_log::Column::Status, Expr::value(LogStatus::Orphaned.as_str()))
            .col_expr(chain_log::Column::AppliedSeen, Expr::value(false))
            .filter(chain_log::Column::Chain.eq(codec::int("chain_log.chain", chain.0)?))
            .filter(chain_log::Column::BlockNumber.gt(codec::int("chain_log.block_number", number)?))
            .filter(chain_log::Column::Status.ne(LogStatus::Orphaned.as_str()))
            .exec(&self.tx)
            .await?;
        self.reset_tallies(chain, number).await?;
        Ok(result.rows_affected)
    }

    /// Logs in blocks above `after` (what was final before) and up to `number` are final. Returns how many became so.
    pub async fn finalize_logs(&mut self, chain: ChainId, after: Option<u64>, number: u64) -> Result<u64, StoreError> {
        let mut newly = chain_log::Entity::update_many();
        if let Some(after) = after {
            newly = newly.filter(chain_log::Column::BlockNumber.gt(codec::int("chain_log.block_number", after)?));
        }
        let result = newly
            .col_expr(chain_log::Column::Status, Expr::value(LogStatus::Final.as_str()))
            .filter(chain_log::Column::Chain.eq(codec::int("chain_log.chain", chain.0)?))
            .filter(chain_log::Column::BlockNumber.lte(codec::int("chain_log.block_number", number)?))
            .filter(chain_log::Column::Status.eq(LogStatus::Seen.as_str()))
            .exec(&self.tx)
            .await?;
        Ok(result.rows_affected)
    }

    /// The stages have taken note of these logs. `Conflict` when a reorg changed the standing of one since it was listed, or another
    /// worker was faster: then nothing of the caller's transaction may stand.
    pub async fn mark_applied_seen(&mut self, logs: &[ChainLog]) -> Result<(), StoreError> {
        let (orphaned, alive): (Vec<&ChainLog>, Vec<&ChainLog>) =
            logs.iter().partition(|log| log.status == LogStatus::Orphaned);
        for (group, is_orphaned) in [(orphaned, true), (alive, false)] {
            for chunk in group.chunks(10_000) {
                let standing = if is_orphaned {
                    chain_log::Column::Status.eq(LogStatus::Orphaned.as_str())
                } else {
                    chain_log::Column::Status.ne(LogStatus::Orphaned.as_str())
                };
                let result = chain_log::Entity::update_many()
                    .col_expr(chain_log::Column::AppliedSeen, Expr::value(true))
                    .filter(chain_log::Column::Id.is_in(chunk.iter().map(|log| log.id)))
                    .filter(chain_log::Column::AppliedSeen.eq(false))
                    .filter(standing)
                    .exec(&self.tx)
                    .await?;
                if result.rows_affected != chunk.len() as u64 {
                    return Err(StoreError::Conflict {
                        what: "the standing of a log".into(),
                    });
                }
            }
        }
        Ok(())
    }

    /// The ledger has posted these logs. A log a reorg took in between, or that another worker has posted, is left alone, and the
    /// caller's transaction fails.
    pub async fn mark_applied_final(&mut self, ids: &[i64]) -> Result<(), StoreError> {
        for chunk in ids.chunks(10_000) {
            let result = chain_log::Entity::update_many()
                .col_expr(chain_log::Column::AppliedFinal, Expr::value(true))
                .filter(
                    Condition::all()
                        .add(chain_log::Column::Id.is_in(chunk.to_vec()))
                        .add(chain_log::Column::Status.eq(LogStatus::Final.as_str()))
                        .add(chain_log::Column::AppliedFinal.eq(false)),
                )
                .exec(&self.tx)
                .await?;
            if result.rows_affected != chunk.len() as u64 {
                return Err(StoreError::Conflict {
                    what: "the standing of a final log".into(),
                });
            }
        }
        Ok(())
    }

    /// Fails unless a log is orphaned and what it caused is still on the books; nobody else reverses it until the end of the transaction.
    pub async fn expect_orphaned_applied(&mut self, log: &ChainLog) -> Result<(), StoreError> {
        let held = chain_log::Entity::find_by_id(log.id)
            .filter(chain_log::Column::Status.eq(LogStatus::Orphaned.as_str()))
            .filter(chain_log::Column::AppliedFinal.eq(true))
            .lock_exclusive()
            .one(&self.tx)
            .await?;
        expect_one(u64::from(held.is_some()), format!("log {}", log.reference()))
    }

    /// The ledger has reversed what these orphaned logs had caused.
    pub async fn unmark_applied_final(&mut self, ids: &[i64]) -> Result<(), StoreError> {
        for chunk in ids.chunks(10_000) {
            chain_log::Entity::update_many()
                .col_expr(chain_log::Column::AppliedFinal, Expr::value(false))
                .filter(chain_log::Column::Id.is_in(chunk.to_vec()))
                .exec(&self.tx)
                .await?;
        }
        Ok(())
    }
}
