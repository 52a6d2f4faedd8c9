//! An operator's signature over a checkpoint, for one registry.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "checkpoint_signature")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub hub_chain: i64,
    pub hub: Vec<u8>,
    pub eon: i64,
    pub root: Vec<u8>,
    pub target_chain: i64,
    pub signature: Vec<u8>,
    /// open, recorded or refused
    #[sea_orm(column_type = "Text")]
    pub state: String,
    #[sea_orm(column_type = "Text")]
    pub note: Option<String>,
    /// ms; the recorder looks again then
    pub next_at: i64,
    pub created_at: i64,
    pub updated_at: i64,
    pub version: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
