//! A target transaction that pays a range of leaves.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "execution")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub message_id: Vec<u8>,
    pub target_chain: i64,
    pub first_leaf: i32,
    pub leaves: i32,
    #[sea_orm(column_type = "Text")]
    pub state: String,
    pub tx_id: Option<i64>,
    pub gas_used: Option<i64>,
    /// settlements it paid
    pub paid: Option<i32>,
    /// ms
    pub next_at: i64,
    pub attempts: i32,
    #[sea_orm(column_type = "Text")]
    pub note: Option<String>,
    pub created_at: i64,
    pub version: i64,
    /// worker that holds the row
    #[sea_orm(column_type = "Text")]
    pub lease_owner: Option<String>,
    /// database clock, ms; 0 = free
    pub lease_until: i64,
    /// grows with every claim; completing writes check it
    pub lease_token: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
