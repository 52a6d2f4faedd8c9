//! How far a chain has been read.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "chain_cursor")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub chain: i64,
    pub seen_number: i64,
    pub seen_hash: Vec<u8>,
    /// unix seconds
    pub seen_timestamp: i64,
    pub final_number: i64,
    pub final_hash: Vec<u8>,
    pub final_timestamp: i64,
    /// ms
    pub updated_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
