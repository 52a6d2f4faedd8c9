//! Decoded logs of our contracts with their standing.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "chain_log")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub chain: i64,
    pub block_hash: Vec<u8>,
    pub log_index: i64,
    pub block_number: i64,
    pub block_timestamp: i64,
    pub tx_hash: Vec<u8>,
    pub address: Vec<u8>,
    /// snake_case event name, e.g. settlement_paid
    #[sea_orm(column_type = "Text")]
    pub kind: String,
    /// first subject: settlement or message id, or the payer, left-padded
    pub key: Vec<u8>,
    /// second subject: token, nonce, signer or port, left-padded; zero if none
    pub key2: Vec<u8>,
    /// zero if none
    pub amount: Vec<u8>,
    /// JSON of all fields
    #[sea_orm(column_type = "Text")]
    pub detail: String,
    /// seen | final | orphaned
    #[sea_orm(column_type = "Text")]
    pub status: String,
    /// stages have seen it
    pub applied_seen: bool,
    /// the ledger has posted it
    pub applied_final: bool,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
