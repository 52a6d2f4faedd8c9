//! A deposit, a request to withdraw, or its confirmation.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "hub_operation")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub hub_id: i64,
    /// deposit | withdrawal_request | withdrawal_confirmation
    #[sea_orm(column_type = "Text")]
    pub kind: String,
    pub token: Vec<u8>,
    pub wallet: Vec<u8>,
    pub amount: Vec<u8>,
    /// of its block
    pub eon: i64,
    /// seen | final | orphaned
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
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
