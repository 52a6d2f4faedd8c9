//! A stretch of final blocks the three-way comparison has read, or must read again.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "reconcile_interval")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub chain: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub first_block: i64,
    pub last_block: i64,
    /// of a checked one
    pub last_hash: Option<Vec<u8>>,
    /// unix seconds
    pub last_timestamp: i64,
    /// checked | gap
    #[sea_orm(column_type = "Text")]
    pub standing: String,
    /// JSON; what the contracts had counted by the last block, NULL when they could not be asked
    #[sea_orm(column_type = "Text")]
    pub counters: Option<String>,
    /// logs read
    pub logs: i64,
    /// failed readings
    pub attempts: i32,
    /// ms; a gap is not tried before
    pub next_at: i64,
    /// why it is a gap
    #[sea_orm(column_type = "Text")]
    pub reason: Option<String>,
    /// ms; checked or failed first
    pub since_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
