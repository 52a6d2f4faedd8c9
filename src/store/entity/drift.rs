//! A difference found between ledger, source and target.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "drift")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    /// missing | duplicate | amount | payee | root | stale | unknown | forged
    #[sea_orm(column_type = "Text")]
    pub class: String,
    pub chain: i64,
    #[sea_orm(column_type = "Text")]
    pub subject: String,
    /// asset of the chain it is about
    pub token: Option<Vec<u8>>,
    pub settlement_id: Option<Vec<u8>>,
    /// where to read again
    pub block_number: Option<i64>,
    #[sea_orm(column_type = "Text")]
    pub expected: String,
    #[sea_orm(column_type = "Text")]
    pub actual: String,
    /// order of changes of all drifts
    pub changed_seq: i64,
    /// ms
    pub found_at: i64,
    /// ms
    pub resolved_at: Option<i64>,
    #[sea_orm(column_type = "Text")]
    pub resolution: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
