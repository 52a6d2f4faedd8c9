//! Receipts a settlement covers; a receipt is held by at most one settlement of a coordinator.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "settlement_receipt")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub settlement_id: Vec<u8>,
    pub position: i32,
    #[sea_orm(column_type = "Text")]
    pub coordinator_id: String,
    /// sha256 of the canonical receipt
    pub receipt_hash: Vec<u8>,
    #[sea_orm(column_type = "Text")]
    pub receipt_id: String,
    #[sea_orm(column_type = "Text")]
    pub job_id: String,
    #[sea_orm(column_type = "Text")]
    pub provider: String,
    /// decimal lexeme of the canonical bytes
    #[sea_orm(column_type = "Text")]
    pub price: Option<String>,
    /// false once the settlement ended unpaid
    pub holds: bool,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
