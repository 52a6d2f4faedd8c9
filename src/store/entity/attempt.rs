//! One signed hash of a transaction; all are watched.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "attempt")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub tx_id: i64,
    pub hash: Vec<u8>,
    /// signed bytes
    pub raw: Vec<u8>,
    /// wei
    pub max_fee: Vec<u8>,
    /// wei
    pub max_priority_fee: Vec<u8>,
    pub created_at: i64,
    /// last broadcast
    pub sent_at: Option<i64>,
    /// last answer of the endpoint
    #[sea_orm(column_type = "Text")]
    pub error: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
