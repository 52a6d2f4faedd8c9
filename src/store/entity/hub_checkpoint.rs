//! One CheckpointSubmission.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "hub_checkpoint")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub hub_id: i64,
    pub eon: i64,
    pub root: Vec<u8>,
    /// accumulator of the eon before, as followed
    pub basis: Option<Vec<u8>>,
    /// why nobody may rely on it
    #[sea_orm(column_type = "Text")]
    pub refused: Option<String>,
    /// seen | provisional | final | orphaned
    #[sea_orm(column_type = "Text")]
    pub standing: String,
    pub block_number: i64,
    pub block_hash: Vec<u8>,
    /// unix seconds
    pub block_timestamp: i64,
    pub log_index: i64,
    pub tx_hash: Vec<u8>,
    /// ms
    pub created_at: i64,
    /// ms
    pub updated_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
