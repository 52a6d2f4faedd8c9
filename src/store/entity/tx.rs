//! One account nonce and what it is for.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "tx")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub chain: i64,
    pub signer: Vec<u8>,
    pub nonce: i64,
    /// dispatch | execution | rescue | noop
    #[sea_orm(column_type = "Text")]
    pub intent_kind: String,
    #[sea_orm(column_type = "Text")]
    pub intent_id: String,
    pub to_address: Vec<u8>,
    pub value: Vec<u8>,
    pub data: Vec<u8>,
    pub gas_limit: i64,
    #[sea_orm(column_type = "Text")]
    pub state: String,
    /// outcome once included
    pub succeeded: Option<bool>,
    /// ms, written before the first send; unset = the nonce is free
    pub first_sent_at: Option<i64>,
    /// attempt that is in a block
    pub included_hash: Option<Vec<u8>>,
    pub included_block: Option<i64>,
    pub included_block_hash: Option<Vec<u8>>,
    pub gas_used: Option<i64>,
    /// effective, wei
    pub gas_price: Option<Vec<u8>>,
    pub signer_epoch: i64,
    /// lease token under which it was made
    pub signer_counter: i64,
    /// ms
    pub next_at: i64,
    pub created_at: i64,
    pub updated_at: i64,
    pub version: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
