//! Writes of transactions and attempts; reads and shapes are in [`super::tx`].

use super::entity::{attempt, tx};
use super::tx::{
    Intent, NewAttempt, NewTx, POSTED, TxChange, TxId, TxRow, last_nonce, missing, nonces_from, read_live, read_tx,
};
use super::txn::expect_one;
use super::{NewEvent, StoreError, Txn, codec};
use crate::settlement::states::TxState;
use crate::settlement::transitions::Machine;
use alloy::primitives::{Address, U256};
use relayer_adapter_api::ChainId;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, EntityTrait, QueryFilter, UpdateMany,
};

fn forget_inclusion(update: UpdateMany<tx::Entity>) -> UpdateMany<tx::Entity> {
    update
        .col_expr(tx::Column::Succeeded, Expr::value(None::<bool>))
        .col_expr(tx::Column::IncludedHash, Expr::value(None::<Vec<u8>>))
        .col_expr(tx::Column::IncludedBlock, Expr::value(None::<i64>))
        .col_expr(tx::Column::IncludedBlockHash, Expr::value(None::<Vec<u8>>))
        .col_expr(tx::Column::GasUsed, Expr::value(None::<i64>))
        .col_expr(tx::Column::GasPrice, Expr::value(None::<Vec<u8>>))
}

impl Txn {
    pub async fn get_tx(&self, id: TxId) -> Result<TxRow, StoreError> {
        read_tx(&self.tx, id).await?.ok_or_else(|| missing(id))
    }

    /// See [`Store::find_live_tx`].
    pub async fn find_live_tx(&self, intent: &Intent) -> Result<Option<TxRow>, StoreError> {
        read_live(&self.tx, intent).await
    }

    /// Highest nonce stored for a signer.
    pub async fn find_last_nonce(&self, chain: ChainId, signer: Address) -> Result<Option<u64>, StoreError> {
        last_nonce(&self.tx, chain, signer).await
    }

    /// Lowest nonce from `count` on that no row holds: gaps first, then the one after the last.
    pub async fn lowest_free_nonce(&self, chain: ChainId, signer: Address, count: u64) -> Result<u64, StoreError> {
        let mut free = count;
        for nonce in nonces_from(&self.tx, chain, signer, count).await? {
            if nonce != free {
                break;
            }
            free += 1;
        }
        Ok(free)
    }

    /// Stores a signed transaction in state prepared with its first attempt. UNIQUE(chain, signer, nonce) is the last guard.
    pub async fn insert_tx(&mut self, new: NewTx, first: NewAttempt) -> Result<TxId, StoreError> {
        let row = tx::ActiveModel {
            id: NotSet,
            chain: Set(codec::int("tx.chain", new.chain.0)?),
            signer: Set(new.signer.to_vec()),
            nonce: Set(codec::int("tx.nonce", new.nonce)?),
            intent_kind: Set(new.intent.kind.as_str().to_owned()),
            intent_id: Set(new.intent.id.clone()),
            to_address: Set(new.to.to_vec()),
            value: Set(codec::u256_bytes(new.value)),
            data: Set(new.data.to_vec()),
            gas_limit: Set(codec::int("tx.gas_limit", new.gas_limit)?),
            state: Set(TxState::INITIAL.as_str().to_owned()),
            succeeded: Set(None),
            first_sent_at: Set(None),
            included_hash: Set(None),
            included_block: Set(None),
            included_block_hash: Set(None),
            gas_used: Set(None),
            gas_price: Set(None),
            signer_epoch: Set(new.token.epoch),
            signer_counter: Set(new.token.counter),
            next_at: Set(self.now_ms),
            created_at: Set(self.now_ms),
            updated_at: Set(self.now_ms),
            version: Set(0),
        };
        let inserted = tx::Entity::insert(row).exec(&self.tx).await;
        let inserted = inserted.map_err(|error| StoreError::or_race(error, "the next nonce of a signer"))?;
        let id = TxId(inserted.last_insert_id);
        let hash = first.hash;
        self.insert_attempt(id, first).await?;
        self.record(NewEvent {
            aggregate: "tx",
            aggregate_id: id.to_string(),
            event: "prepare".into(),
            to_state: Some(TxState::INITIAL.to_string()),
            cause: format!("{} {}", new.intent.kind.as_str(), new.intent.id),
            detail: Some(
                serde_json::json!({"chain": new.chain.0, "signer": new.signer, "nonce": new.nonce, "hash": hash})
                    .to_string(),
            ),
            ..Default::default()
        });
        Ok(id)
    }

    /// Stores one more signing of a transaction. Idempotent by hash.
    pub async fn insert_attempt(&mut self, id: TxId, new: NewAttempt) -> Result<(), StoreError> {
        let row = attempt::ActiveModel {
            id: NotSet,
            tx_id: Set(id.0),
            hash: Set(new.hash.to_vec()),
            raw: Set(new.raw.to_vec()),
            max_fee: Set(codec::u256_bytes(U256::from(new.max_fee))),
            max_priority_fee: Set(codec::u256_bytes(U256::from(new.max_priority_fee))),
            created_at: Set(self.now_ms),
            sent_at: Set(None),
            error: Set(None),
        };
        attempt::Entity::insert(row)
            .on_conflict_do_nothing_on([attempt::Column::Hash])
            .exec_without_returning(&self.tx)
            .await?;
        Ok(())
    }

    /// Notes what the endpoints said to a broadcast.
    pub async fn note_attempt(&mut self, attempt_id: i64, error: Option<String>) -> Result<(), StoreError> {
        attempt::Entity::update_many()
            .col_expr(attempt::Column::SentAt, Expr::value(self.now_ms))
            .col_expr(attempt::Column::Error, Expr::value(error))
            .filter(attempt::Column::Id.eq(attempt_id))
            .exec(&self.tx)
            .await?;
        Ok(())
    }

    /// Sets when to look at a transaction again.
    pub async fn schedule_tx(&mut self, id: TxId, next_at: i64) -> Result<(), StoreError> {
        tx::Entity::update_many()
            .col_expr(tx::Column::NextAt, Expr::value(next_at))
            .filter(tx::Column::Id.eq(id.0))
            .exec(&self.tx)
            .await?;
        Ok(())
    }

    /// The only writer of a transaction's state: table, compare-and-set by version, event.
    pub async fn tx_apply(&mut self, row: &TxRow, change: TxChange, cause: &str) -> Result<TxState, StoreError> {
        let to = row.state.apply(change.event())?;
        let mut update = tx::Entity::update_many()
            .col_expr(tx::Column::State, Expr::value(to.as_str()))
            .col_expr(tx::Column::Version, Expr::value(row.version + 1))
            .col_expr(tx::Column::UpdatedAt, Expr::value(self.now_ms));
        let mut detail = None;
        match &change {
            TxChange::Submit => update = update.col_expr(tx::Column::FirstSentAt, Expr::value(self.now_ms)),
            TxChange::Include {
                inclusion,
                succeeded,
                gas_used,
                gas_price,
            } => {
                update = update
                    .col_expr(tx::Column::Succeeded, Expr::value(*succeeded))
                    .col_expr(tx::Column::IncludedHash, Expr::value(inclusion.hash.to_vec()))
                    .col_expr(
                        tx::Column::IncludedBlock,
                        Expr::value(codec::int("tx.included_block", inclusion.block_number)?),
                    )
                    .col_expr(
                        tx::Column::IncludedBlockHash,
                        Expr::value(inclusion.block_hash.to_vec()),
                    )
                    .col_expr(tx::Column::GasUsed, Expr::value(codec::int("tx.gas_used", *gas_used)?))
                    .col_expr(
                        tx::Column::GasPrice,
                        Expr::value(codec::u256_bytes(U256::from(*gas_price))),
                    );
                detail = Some(
                    serde_json::json!({"hash": inclusion.hash, "block": inclusion.block_number, "succeeded": succeeded})
                        .to_string(),
                );
            }
            TxChange::Finalize => update = update.col_expr(tx::Column::NextAt, Expr::value(self.now_ms)),
            TxChange::Unwind => {
                update = forget_inclusion(update).col_expr(tx::Column::NextAt, Expr::value(self.now_ms))
            }
            TxChange::Replace { by } => detail = Some(serde_json::json!({"by": by}).to_string()),
            // The row keeps its history but no longer holds the nonce; a negative number is unique and never a nonce.
            TxChange::Cancel => {
                update = update.col_expr(tx::Column::Nonce, Expr::value(-row.id.0));
                detail = Some(serde_json::json!({"nonce": row.nonce}).to_string());
            }
        }
        let result = update
            .filter(tx::Column::Id.eq(row.id.0))
            .filter(tx::Column::Version.eq(row.version))
            .exec(&self.tx)
            .await?;
        expect_one(result.rows_affected, format!("transaction {}", row.id))?;
        self.record(NewEvent {
            aggregate: "tx",
            aggregate_id: row.id.to_string(),
            event: change.event().to_string(),
            from_state: Some(row.state.to_string()),
            to_state: Some(to.to_string()),
            cause: cause.to_owned(),
            detail,
            ..Default::default()
        });
        Ok(to)
    }

    /// The costs of this finalized transaction are in the ledger now.
    pub async fn mark_tx_posted(&mut self, id: TxId) -> Result<(), StoreError> {
        let result = tx::Entity::update_many()
            .col_expr(tx::Column::NextAt, Expr::value(POSTED))
            .filter(tx::Column::Id.eq(id.0))
            .filter(tx::Column::State.eq(TxState::Finalized.as_str()))
            .exec(&self.tx)
            .await?;
        expect_one(result.rows_affected, format!("transaction {id}"))
    }
}
