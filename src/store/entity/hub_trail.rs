//! Position of a token at a hub, as its contract registered it.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "hub_trail")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub hub_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub token: Vec<u8>,
    pub trail: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
