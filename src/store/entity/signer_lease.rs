//! Which worker may take nonces of a signer.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "signer_lease")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub chain: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub signer: Vec<u8>,
    #[sea_orm(column_type = "Text")]
    pub owner: Option<String>,
    /// database clock
    pub until_ms: i64,
    /// raised by recover
    pub epoch: i64,
    /// raised by every acquisition
    pub counter: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
