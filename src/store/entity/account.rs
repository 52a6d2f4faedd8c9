//! Ledger account; balance = credits - debits.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "account")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    /// available | reserved | payee | unclaimed | fees_bridge | fees_gas | fees_income | external
    #[sea_orm(column_type = "Text")]
    pub kind: String,
    pub chain: i64,
    /// zero = native coin
    pub token: Vec<u8>,
    /// zero = nobody's
    pub holder: Vec<u8>,
    /// total
    pub debits: Vec<u8>,
    /// total
    pub credits: Vec<u8>,
    pub version: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
