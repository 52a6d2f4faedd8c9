//! What a checkpoint promises of a token in all.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "hub_bound")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub hub_checkpoint_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub token: Vec<u8>,
    pub upper_bound: Vec<u8>,
    /// what the contract had for it
    pub backing: Option<Vec<u8>>,
    /// NULL = not compared yet
    pub solvent: Option<bool>,
    pub checked_block: Option<i64>,
    /// ms
    pub created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
