//! One carriage of one message over one bridge.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "dispatch")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub message_id: Vec<u8>,
    #[sea_orm(column_type = "Text")]
    pub bridge: String,
    pub source_chain: i64,
    pub target_chain: i64,
    #[sea_orm(column_type = "Text")]
    pub source_state: String,
    #[sea_orm(column_type = "Text")]
    pub target_state: String,
    /// JSON: all lanes with quotes and scores
    #[sea_orm(column_type = "Text")]
    pub decision: String,
    /// wei
    pub fee_quoted: Vec<u8>,
    /// wei
    pub fee_cap: Vec<u8>,
    /// what depends on it, in the unit of prices (10^-18); empty = unknown
    pub value_at_stake: Option<Vec<u8>>,
    /// of the receive callback
    pub gas_limit: i64,
    /// ms
    pub quoted_at: i64,
    pub tx_id: Option<i64>,
    /// guid
    pub bridge_ref: Option<Vec<u8>>,
    /// adapter's own
    pub evidence: Option<Vec<u8>>,
    /// what it waits for
    #[sea_orm(column_type = "Text")]
    pub note: Option<String>,
    /// ms; overdue against the lane's history
    pub stalled_at: Option<i64>,
    /// ms; last rescue attempt
    pub rescued_at: Option<i64>,
    /// ms
    pub next_at: i64,
    /// consecutive failures
    pub attempts: i32,
    pub planned_at: i64,
    pub included_at: Option<i64>,
    pub finalized_at: Option<i64>,
    pub received_at: Option<i64>,
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
