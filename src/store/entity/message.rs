//! A sealed message.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "message")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub message_id: Vec<u8>,
    /// 1 batch, 2 checkpoint
    pub kind: i32,
    /// 20 bytes; empty for a batch
    pub hub: Vec<u8>,
    /// 158 bytes
    pub header: Vec<u8>,
    pub source_chain: i64,
    pub target_chain: i64,
    pub tier: i32,
    /// of its members; NULL = as configured
    #[sea_orm(column_type = "Text")]
    pub policy: Option<String>,
    pub sequence: i64,
    pub root: Vec<u8>,
    pub leaves: i32,
    #[sea_orm(column_type = "Text")]
    pub state: String,
    /// target block in which the quorum was reached, as seen
    pub received_block: Option<i64>,
    #[sea_orm(column_type = "Text")]
    pub abandon_reason: Option<String>,
    /// ms; router or payout looks again then
    pub next_at: i64,
    pub created_at: i64,
    pub updated_at: i64,
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
