//! What a hub's contract said, read back: to follow its accumulator, to add up its eons, to answer questions.

use super::codec::{address, b256, int, name, u256, uint};
use super::entity::{hub_bound, hub_challenge, hub_checkpoint, hub_operation, hub_trail};
use super::hub::{HubCheckpoint, HubId, decode_checkpoint};
use super::hub_chain::HubOperationKind;
use super::{LogStatus, Store, StoreError};
use crate::hub::model::Eon;
use alloy::primitives::{Address, B256, U256};
use relayer_adapter_api::BlockRef;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use std::collections::{BTreeMap, BTreeSet};

/// Rows of one page when all of them are wanted.
const PAGE: u64 = 5_000;

/// A deposit, a request to withdraw, or its confirmation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubOperation {
    /// Row number.
    pub id: i64,
    pub hub: HubId,
    pub kind: HubOperationKind,
    pub token: Address,
    pub wallet: Address,
    pub amount: U256,
    /// Of its block.
    pub eon: Eon,
    pub standing: LogStatus,
    pub block: BlockRef,
    pub log_index: u64,
    pub tx_hash: B256,
}

/// A challenge that was issued, or the answer to one.
#[derive(Debug, Clone, PartialEq)]
pub struct HubChallenge {
    /// Row number.
    pub id: i64,
    pub hub: HubId,
    pub token: Address,
    pub wallet: Address,
    /// Who issued it; None for an answer.
    pub sender: Option<Address>,
    /// Of the block it was issued in; of the state that answers.
    pub eon: Eon,
    /// Every field of an answer.
    pub proof: Option<serde_json::Value>,
    pub standing: LogStatus,
    pub block: BlockRef,
    pub log_index: u64,
    pub tx_hash: B256,
}

/// What a checkpoint promises of a token in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubBound {
    pub checkpoint: i64,
    pub token: Address,
    pub upper_bound: U256,
    /// Whether the contract had as much for it; None = not compared yet.
    pub solvent: Option<bool>,
}

/// A place on the chain that comes after all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HubPlace {
    pub block: u64,
    pub log_index: u64,
}

impl HubPlace {
    /// After everything in a block.
    pub fn end_of(block: u64) -> Self {
        Self {
            block,
            log_index: i64::MAX.unsigned_abs(),
        }
    }
}

/// Sums of one eon by kind and token; None where a sum does not fit 256 bits.
pub type HubSums = BTreeMap<(&'static str, Address), Option<U256>>;

impl Store {
    /// Final operations after a place and up to a block, in chain order.
    pub async fn list_final_hub_operations(
        &self,
        hub: HubId,
        after: HubPlace,
        to_block: u64,
        limit: u64,
    ) -> Result<Vec<HubOperation>, StoreError> {
        use hub_operation::Column;
        let after_block = int("hub_operation.block_number", after.block)?;
        let rows = hub_operation::Entity::find()
            .filter(Column::HubId.eq(hub.0))
            .filter(Column::Standing.eq(LogStatus::Final.as_str()))
            .filter(Column::BlockNumber.gte(after_block))
            .filter(Column::BlockNumber.lte(int("hub_operation.block_number", to_block)?))
            .filter(
                Condition::any()
                    .add(Column::BlockNumber.gt(after_block))
                    .add(Column::LogIndex.gt(int("hub_operation.log_index", after.log_index)?)),
            )
            .order_by_asc(Column::BlockNumber)
            .order_by_asc(Column::LogIndex)
            .limit(limit)
            .all(&self.db)
            .await?;
        rows.into_iter().map(decode_operation).collect()
    }

    /// Operations of a hub after this row on the chain as it is now, by row; `wallet` and `token` filter.
    pub async fn list_hub_operations(
        &self,
        hub: HubId,
        (wallet, token): (Option<Address>, Option<Address>),
        after: i64,
        limit: u64,
    ) -> Result<Vec<HubOperation>, StoreError> {
        use hub_operation::Column;
        let mut query = hub_operation::Entity::find()
            .filter(Column::HubId.eq(hub.0))
            .filter(Column::Standing.ne(LogStatus::Orphaned.as_str()))
            .filter(Column::Id.gt(after));
        if let Some(wallet) = wallet {
            query = query.filter(Column::Wallet.eq(wallet.to_vec()));
        }
        if let Some(token) = token {
            query = query.filter(Column::Token.eq(token.to_vec()));
        }
        let rows = query.order_by_asc(Column::Id).limit(limit).all(&self.db).await?;
        rows.into_iter().map(decode_operation).collect()
    }

    /// Checkpoints submitted in final blocks after one and up to another, in chain order.
    pub async fn list_final_checkpoints_between(
        &self,
        hub: HubId,
        after_block: u64,
        to_block: u64,
    ) -> Result<Vec<HubCheckpoint>, StoreError> {
        use hub_checkpoint::Column;
        let rows = hub_checkpoint::Entity::find()
            .filter(Column::HubId.eq(hub.0))
            .filter(Column::Standing.is_in(["provisional", "final"]))
            .filter(Column::BlockNumber.gt(int("hub_checkpoint.block_number", after_block)?))
            .filter(Column::BlockNumber.lte(int("hub_checkpoint.block_number", to_block)?))
            .order_by_asc(Column::BlockNumber)
            .order_by_asc(Column::LogIndex)
            .all(&self.db)
            .await?;
        rows.into_iter().map(decode_checkpoint).collect()
    }

    /// What final blocks up to this one add up to for an eon.
    pub async fn sum_hub_operations(&self, hub: HubId, eon: Eon, to_block: u64) -> Result<HubSums, StoreError> {
        let of_eon = hub_operation::Column::Eon.eq(int("hub_operation.eon", eon.0)?);
        let mut sums = HubSums::new();
        self.each_final_operation(hub, of_eon, to_block, |operation| {
            let key = (operation.kind.as_str(), operation.token);
            let sum = sums.entry(key).or_insert(Some(U256::ZERO));
            *sum = sum.and_then(|sum| sum.checked_add(operation.amount));
        })
        .await?;
        Ok(sums)
    }

    /// All that was asked to be withdrawn and all that was confirmed, by final blocks up to this one, by token.
    pub async fn sum_hub_withdrawals(
        &self,
        hub: HubId,
        to_block: u64,
    ) -> Result<BTreeMap<Address, (U256, U256)>, StoreError> {
        let kinds = [
            HubOperationKind::WithdrawalRequest.as_str(),
            HubOperationKind::WithdrawalConfirmation.as_str(),
        ];
        let mut sums: BTreeMap<Address, (U256, U256)> = BTreeMap::new();
        self.each_final_operation(hub, hub_operation::Column::Kind.is_in(kinds), to_block, |operation| {
            let (requested, confirmed) = sums.entry(operation.token).or_default();
            let sum = match operation.kind {
                HubOperationKind::WithdrawalRequest => requested,
                _ => confirmed,
            };
            *sum = sum.saturating_add(operation.amount);
        })
        .await?;
        Ok(sums)
    }

    /// Final operations of a hub up to a block that meet a condition, a page at a time.
    async fn each_final_operation(
        &self,
        hub: HubId,
        which: Expr,
        to_block: u64,
        mut each: impl FnMut(HubOperation),
    ) -> Result<(), StoreError> {
        use hub_operation::Column;
        let mut after = 0_i64;
        loop {
            let rows = hub_operation::Entity::find()
                .filter(Column::HubId.eq(hub.0))
                .filter(which.clone())
                .filter(Column::Standing.eq(LogStatus::Final.as_str()))
                .filter(Column::BlockNumber.lte(int("hub_operation.block_number", to_block)?))
                .filter(Column::Id.gt(after))
                .order_by_asc(Column::Id)
                .limit(PAGE)
                .all(&self.db)
                .await?;
            let full = rows.len() as u64 == PAGE;
            for row in rows {
                after = row.id;
                each(decode_operation(row)?);
            }
            if !full {
                return Ok(());
            }
        }
    }

    /// Tokens a hub holds or held, by final blocks.
    pub async fn list_hub_tokens(&self, hub: HubId) -> Result<BTreeSet<Address>, StoreError> {
        let rows: Vec<Vec<u8>> = hub_operation::Entity::find()
            .select_only()
            .column(hub_operation::Column::Token)
            .distinct()
            .filter(hub_operation::Column::HubId.eq(hub.0))
            .filter(hub_operation::Column::Standing.eq(LogStatus::Final.as_str()))
            .into_tuple()
            .all(&self.db)
            .await?;
        rows.iter().map(|token| address("hub_operation.token", token)).collect()
    }

    /// Positions of tokens at a hub, as far as the contract was asked.
    pub async fn list_hub_trails(&self, hub: HubId) -> Result<BTreeMap<Address, u64>, StoreError> {
        let rows = hub_trail::Entity::find()
            .filter(hub_trail::Column::HubId.eq(hub.0))
            .all(&self.db)
            .await?;
        rows.into_iter()
            .map(|row| {
                Ok((
                    address("hub_trail.token", &row.token)?,
                    uint("hub_trail.trail", row.trail)?,
                ))
            })
            .collect()
    }

    /// Challenges and answers of a hub after this row on the chain as it is now, by row.
    pub async fn list_hub_challenges(
        &self,
        hub: HubId,
        from_eon: Eon,
        after: i64,
        limit: u64,
    ) -> Result<Vec<HubChallenge>, StoreError> {
        use hub_challenge::Column;
        let rows = hub_challenge::Entity::find()
            .filter(Column::HubId.eq(hub.0))
            .filter(Column::Eon.gte(int("hub_challenge.eon", from_eon.0)?))
            .filter(Column::Standing.ne(LogStatus::Orphaned.as_str()))
            .filter(Column::Id.gt(after))
            .order_by_asc(Column::Id)
            .limit(limit)
            .all(&self.db)
            .await?;
        rows.into_iter().map(decode_challenge).collect()
    }

    /// Upper bounds known of a checkpoint.
    pub async fn list_hub_bounds(&self, checkpoint: i64) -> Result<Vec<HubBound>, StoreError> {
        let rows = hub_bound::Entity::find()
            .filter(hub_bound::Column::HubCheckpointId.eq(checkpoint))
            .all(&self.db)
            .await?;
        rows.into_iter()
            .map(|row| {
                Ok(HubBound {
                    checkpoint: row.hub_checkpoint_id,
                    token: address("hub_bound.token", &row.token)?,
                    upper_bound: u256("hub_bound.upper_bound", &row.upper_bound)?,
                    solvent: row.solvent,
                })
            })
            .collect()
    }
}

fn block(number: i64, hash: &[u8], timestamp: i64) -> Result<BlockRef, StoreError> {
    Ok(BlockRef {
        number: uint("block_number", number)?,
        hash: b256("block_hash", hash)?,
        timestamp: uint("block_timestamp", timestamp)?,
    })
}

fn decode_operation(row: hub_operation::Model) -> Result<HubOperation, StoreError> {
    Ok(HubOperation {
        id: row.id,
        hub: HubId(row.hub_id),
        kind: name("hub_operation.kind", &row.kind)?,
        token: address("hub_operation.token", &row.token)?,
        wallet: address("hub_operation.wallet", &row.wallet)?,
        amount: u256("hub_operation.amount", &row.amount)?,
        eon: Eon(uint("hub_operation.eon", row.eon)?),
        standing: name("hub_operation.standing", &row.standing)?,
        block: block(row.block_number, &row.block_hash, row.block_timestamp)?,
        log_index: uint("hub_operation.log_index", row.log_index)?,
        tx_hash: b256("hub_operation.tx_hash", &row.tx_hash)?,
    })
}

fn decode_challenge(row: hub_challenge::Model) -> Result<HubChallenge, StoreError> {
    let proof = row.proof.as_deref().map(serde_json::from_str).transpose();
    Ok(HubChallenge {
        id: row.id,
        hub: HubId(row.hub_id),
        token: address("hub_challenge.token", &row.token)?,
        wallet: address("hub_challenge.wallet", &row.wallet)?,
        sender: row
            .sender
            .as_deref()
            .map(|sender| address("hub_challenge.sender", sender))
            .transpose()?,
        eon: Eon(uint("hub_challenge.eon", row.eon)?),
        proof: proof.map_err(|error| StoreError::Corrupt {
            column: "hub_challenge.proof",
            reason: error.to_string(),
        })?,
        standing: name("hub_challenge.standing", &row.standing)?,
        block: block(row.block_number, &row.block_hash, row.block_timestamp)?,
        log_index: uint("hub_challenge.log_index", row.log_index)?,
        tx_hash: b256("hub_challenge.tx_hash", &row.tx_hash)?,
    })
}
