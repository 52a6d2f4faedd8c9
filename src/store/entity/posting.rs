//! One row per movement: debit, credit, amount, cause.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "posting")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub debit_account: i64,
    pub credit_account: i64,
    pub amount: Vec<u8>,
    #[sea_orm(column_type = "Text")]
    pub cause_kind: String,
    /// unique with its kind: a cause posts once
    #[sea_orm(column_type = "Text")]
    pub cause_ref: String,
    pub settlement_id: Option<Vec<u8>>,
    /// posting undone by this one
    pub reverses: Option<i64>,
    pub at_ms: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
