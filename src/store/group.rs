//! Groups: many settlements a payer signed at once. The row keeps what the signature covers, refused members included, because a proof of
//! one member needs the hashes of all.

use super::codec::int;
use super::entity::settlement_group;
use super::{StoreError, Txn};
use crate::settlement::{ChainId, SettlementId};
use alloy::primitives::{Address, B256, Bytes};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, EntityTrait};

/// A group to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGroup {
    pub root: B256,
    pub coordinator_id: String,
    pub payer: Address,
    pub target: ChainId,
    pub inbox: Address,
    /// In the order they were signed.
    pub ids: Vec<SettlementId>,
    /// Normalized.
    pub auth: Bytes,
}

impl Txn {
    /// Keeps a group. The same root is the same ids; the newest word for them is kept, since that was found good a moment ago.
    pub async fn put_group(&mut self, group: &NewGroup) -> Result<(), StoreError> {
        let members = i32::try_from(group.ids.len()).map_err(|error| StoreError::Corrupt {
            column: "settlement_group.members",
            reason: error.to_string(),
        })?;
        let row = settlement_group::ActiveModel {
            group_root: Set(group.root.to_vec()),
            coordinator_id: Set(group.coordinator_id.clone()),
            payer: Set(group.payer.to_vec()),
            target_chain: Set(int("settlement_group.target_chain", group.target.0)?),
            inbox: Set(group.inbox.to_vec()),
            members: Set(members),
            ids: Set(group.ids.iter().flat_map(|id| id.0).collect()),
            auth: Set(group.auth.to_vec()),
            created_at: Set(self.now_ms),
        };
        use settlement_group::Column;
        let on_conflict = OnConflict::columns([Column::TargetChain, Column::Inbox, Column::GroupRoot])
            .update_column(Column::Auth)
            .to_owned();
        settlement_group::Entity::insert_many([row])
            .on_conflict(on_conflict)
            .exec_without_returning(&self.tx)
            .await?;
        Ok(())
    }
}
