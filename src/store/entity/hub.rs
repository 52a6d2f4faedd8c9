//! A hub's contract and how far it was followed.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "hub")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    /// as configured
    #[sea_orm(column_type = "Text")]
    pub name: String,
    pub chain: i64,
    pub contract: Vec<u8>,
    /// block of its deployment
    pub genesis: i64,
    pub blocks_per_eon: i64,
    /// first block whose logs are read
    pub start_block: i64,
    /// its logs are stored up to this block
    pub read_to: i64,
    /// of its newest checkpoint, 0 before the first
    pub last_eon: i64,
    /// missed_checkpoint | live_challenge
    #[sea_orm(column_type = "Text")]
    pub halted: Option<String>,
    /// eon in which that was seen
    pub halted_eon: Option<i64>,
    /// ms
    pub halted_at: Option<i64>,
    /// seen in a final block
    pub halt_final: bool,
    /// the accumulator was confirmed in this block
    pub base_block: i64,
    /// its five slots, 160 bytes
    pub base_slots: Vec<u8>,
    /// final block of the last comparison with the contract
    pub checked_block: Option<i64>,
    /// ms
    pub created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
