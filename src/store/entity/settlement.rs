//! One payment obligation.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "settlement")]
pub struct Model {
    /// row number: paging and age order only
    #[sea_orm(primary_key)]
    pub id: i64,
    /// EIP-712 digest of the terms
    pub settlement_id: Vec<u8>,
    #[sea_orm(column_type = "Text")]
    pub coordinator_id: String,
    #[sea_orm(column_type = "Text")]
    pub trace_id: String,
    pub source_chain: i64,
    pub target_chain: i64,
    pub inbox: Vec<u8>,
    /// jobId of the terms
    pub job_hash: Vec<u8>,
    pub receipt_hash: Vec<u8>,
    pub proof_hash: Vec<u8>,
    pub payer: Vec<u8>,
    pub payee: Vec<u8>,
    pub token: Vec<u8>,
    pub amount: Vec<u8>,
    pub fee: Vec<u8>,
    pub nonce: Vec<u8>,
    /// unix seconds, inclusive
    pub deadline: i64,
    /// normalized signature, or the group's
    pub auth: Vec<u8>,
    /// ecdsa | erc1271
    #[sea_orm(column_type = "Text")]
    pub auth_kind: String,
    /// a contract payer can revoke its signature
    pub revocable: bool,
    /// mode 1: group the payer signed
    pub group_root: Option<Vec<u8>>,
    /// place in the group
    pub group_index: Option<i32>,
    /// bridge families this amount needs
    pub tier: i32,
    /// zero when fee is 0
    pub fee_recipient: Vec<u8>,
    /// how its lanes are ranked; NULL = as configured
    #[sea_orm(column_type = "Text")]
    pub policy: Option<String>,
    /// hub whose checkpoint says that the payer can pay; it is not batched while that hub is halted
    pub hub_id: Option<i64>,
    /// that checkpoint
    pub hub_checkpoint_id: Option<i64>,
    #[sea_orm(column_type = "Text")]
    pub state: String,
    /// last reason an execution left it as it was
    #[sea_orm(column_type = "Text")]
    pub skip_reason: Option<String>,
    /// ms; stops batching
    pub cancel_requested_at: Option<i64>,
    /// ended settlement this one replaces
    pub supersedes: Option<Vec<u8>>,
    /// ms; not batched before
    pub batch_after: i64,
    pub batched_times: i32,
    /// ms
    pub accepted_at: i64,
    /// ms
    pub updated_at: i64,
    /// ms
    pub ended_at: Option<i64>,
    /// ms; history and authorization were pruned
    pub archived_at: Option<i64>,
    /// block of the proof that ended it
    pub evidence_chain_block: Option<i64>,
    pub evidence_block_hash: Option<Vec<u8>>,
    pub evidence_tx: Option<Vec<u8>>,
    /// paid as a credit, not a transfer
    pub credited: Option<bool>,
    /// compare-and-set
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
