//! How far a chain has been read, and block hashes by height until well past finality.

use super::entity::{chain_block, chain_cursor};
use super::txn::expect_one;
use super::{Store, StoreError, Txn, codec};
use alloy::primitives::B256;
use relayer_adapter_api::{BlockRef, ChainId};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

/// Where the observer of a chain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Newest block whose logs are stored. Deadlines are measured against its timestamp.
    pub seen: BlockRef,
    /// Newest final block whose logs are stored.
    pub finalized: BlockRef,
}

/// A block the observer has walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBlock {
    pub block: BlockRef,
    pub parent_hash: B256,
}

fn block_ref(number: i64, hash: &[u8], timestamp: i64) -> Result<BlockRef, StoreError> {
    Ok(BlockRef {
        number: codec::uint("block.number", number)?,
        hash: codec::b256("block.hash", hash)?,
        timestamp: codec::uint("block.timestamp", timestamp)?,
    })
}

fn stored(m: chain_block::Model) -> Result<StoredBlock, StoreError> {
    Ok(StoredBlock {
        block: block_ref(m.number, &m.hash, m.timestamp)?,
        parent_hash: codec::b256("chain_block.parent_hash", &m.parent_hash)?,
    })
}

impl Store {
    /// None before the observer's first step.
    pub async fn get_cursor(&self, chain: ChainId) -> Result<Option<Cursor>, StoreError> {
        let id = codec::int("chain_cursor.chain", chain.0)?;
        let Some(row) = chain_cursor::Entity::find_by_id(id).one(&self.db).await? else {
            return Ok(None);
        };
        Ok(Some(Cursor {
            seen: block_ref(row.seen_number, &row.seen_hash, row.seen_timestamp)?,
            finalized: block_ref(row.final_number, &row.final_hash, row.final_timestamp)?,
        }))
    }

    /// The stored block of this height.
    pub async fn find_block(&self, chain: ChainId, number: u64) -> Result<Option<StoredBlock>, StoreError> {
        let key = (
            codec::int("chain_block.chain", chain.0)?,
            codec::int("chain_block.number", number)?,
        );
        let row = chain_block::Entity::find_by_id(key).one(&self.db).await?;
        row.map(stored).transpose()
    }

    /// The highest stored block at or below a height.
    pub async fn find_block_at_or_below(&self, chain: ChainId, number: u64) -> Result<Option<StoredBlock>, StoreError> {
        let row = chain_block::Entity::find()
            .filter(chain_block::Column::Chain.eq(codec::int("chain_block.chain", chain.0)?))
            .filter(chain_block::Column::Number.lte(codec::int("chain_block.number", number)?))
            .order_by_desc(chain_block::Column::Number)
            .one(&self.db)
            .await?;
        row.map(stored).transpose()
    }
}

impl Txn {
    /// Moves the cursor from `old` to `new`; `Conflict` when another observer moved it first.
    pub async fn move_cursor(&mut self, chain: ChainId, old: Option<&Cursor>, new: &Cursor) -> Result<(), StoreError> {
        let id = codec::int("chain_cursor.chain", chain.0)?;
        let what = || format!("cursor of chain {chain}");
        let values = (
            codec::int("chain_cursor.seen_number", new.seen.number)?,
            codec::int("chain_cursor.seen_timestamp", new.seen.timestamp)?,
            codec::int("chain_cursor.final_number", new.finalized.number)?,
            codec::int("chain_cursor.final_timestamp", new.finalized.timestamp)?,
        );
        let Some(old) = old else {
            let row = chain_cursor::ActiveModel {
                chain: Set(id),
                seen_number: Set(values.0),
                seen_hash: Set(new.seen.hash.to_vec()),
                seen_timestamp: Set(values.1),
                final_number: Set(values.2),
                final_hash: Set(new.finalized.hash.to_vec()),
                final_timestamp: Set(values.3),
                updated_at: Set(self.now_ms),
            };
            let inserted = chain_cursor::Entity::insert(row)
                .on_conflict_do_nothing_on([chain_cursor::Column::Chain])
                .exec_without_returning(&self.tx)
                .await?;
            let rows = match inserted {
                sea_orm::TryInsertResult::Inserted(rows) => rows,
                _ => 0,
            };
            return expect_one(rows, what());
        };
        let result = chain_cursor::Entity::update_many()
            .col_expr(chain_cursor::Column::SeenNumber, Expr::value(values.0))
            .col_expr(chain_cursor::Column::SeenHash, Expr::value(new.seen.hash.to_vec()))
            .col_expr(chain_cursor::Column::SeenTimestamp, Expr::value(values.1))
            .col_expr(chain_cursor::Column::FinalNumber, Expr::value(values.2))
            .col_expr(
                chain_cursor::Column::FinalHash,
                Expr::value(new.finalized.hash.to_vec()),
            )
            .col_expr(chain_cursor::Column::FinalTimestamp, Expr::value(values.3))
            .col_expr(chain_cursor::Column::UpdatedAt, Expr::value(self.now_ms))
            .filter(chain_cursor::Column::Chain.eq(id))
            .filter(chain_cursor::Column::SeenHash.eq(old.seen.hash.to_vec()))
            .filter(chain_cursor::Column::FinalHash.eq(old.finalized.hash.to_vec()))
            .exec(&self.tx)
            .await?;
        expect_one(result.rows_affected, what())
    }

    /// Stores walked blocks; a height that is stored already takes the new hash.
    pub async fn put_blocks(&mut self, chain: ChainId, blocks: &[StoredBlock]) -> Result<(), StoreError> {
        let id = codec::int("chain_block.chain", chain.0)?;
        let rows = blocks
            .iter()
            .map(|stored| {
                Ok(chain_block::ActiveModel {
                    chain: Set(id),
                    number: Set(codec::int("chain_block.number", stored.block.number)?),
                    hash: Set(stored.block.hash.to_vec()),
                    parent_hash: Set(stored.parent_hash.to_vec()),
                    timestamp: Set(codec::int("chain_block.timestamp", stored.block.timestamp)?),
                })
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        for chunk in rows.chunks(1_000) {
            let conflict = OnConflict::columns([chain_block::Column::Chain, chain_block::Column::Number])
                .update_columns([
                    chain_block::Column::Hash,
                    chain_block::Column::ParentHash,
                    chain_block::Column::Timestamp,
                ])
                .to_owned();
            chain_block::Entity::insert_many(chunk.to_vec())
                .on_conflict(conflict)
                .exec_without_returning(&self.tx)
                .await?;
        }
        Ok(())
    }

    /// Forgets blocks above a height: a reorg took them.
    pub async fn drop_blocks_above(&mut self, chain: ChainId, number: u64) -> Result<(), StoreError> {
        chain_block::Entity::delete_many()
            .filter(chain_block::Column::Chain.eq(codec::int("chain_block.chain", chain.0)?))
            .filter(chain_block::Column::Number.gt(codec::int("chain_block.number", number)?))
            .exec(&self.tx)
            .await?;
        Ok(())
    }

    /// Forgets blocks below a height: long final.
    pub async fn prune_blocks_below(&mut self, chain: ChainId, number: u64) -> Result<(), StoreError> {
        chain_block::Entity::delete_many()
            .filter(chain_block::Column::Chain.eq(codec::int("chain_block.chain", chain.0)?))
            .filter(chain_block::Column::Number.lt(codec::int("chain_block.number", number)?))
            .exec(&self.tx)
            .await?;
        Ok(())
    }
}
