//! Groups a payer signed once (mode 1).

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "settlement_group")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub group_root: Vec<u8>,
    #[sea_orm(column_type = "Text")]
    pub coordinator_id: String,
    pub payer: Vec<u8>,
    #[sea_orm(primary_key, auto_increment = false)]
    pub target_chain: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub inbox: Vec<u8>,
    pub members: i32,
    /// all ids in signed order, 32 bytes each
    pub ids: Vec<u8>,
    pub auth: Vec<u8>,
    pub created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
