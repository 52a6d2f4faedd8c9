//! Which settlements a message commits to.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "message_settlement")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub message_id: Vec<u8>,
    #[sea_orm(primary_key, auto_increment = false)]
    pub leaf: i32,
    pub settlement_id: Vec<u8>,
    /// the settlement ended or left this message
    pub resolved: bool,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
