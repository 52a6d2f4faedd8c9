//! Every change of state with its cause; what Watch, webhooks and explain read.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "event")]
pub struct Model {
    /// commit order
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    pub at_ms: i64,
    /// settlement | message | dispatch | execution | tx | chain | ledger
    #[sea_orm(column_type = "Text")]
    pub aggregate: String,
    /// hex id or decimal row id
    #[sea_orm(column_type = "Text")]
    pub aggregate_id: String,
    /// snake_case event of the transition table
    #[sea_orm(column_type = "Text")]
    pub event: String,
    #[sea_orm(column_type = "Text")]
    pub from_state: Option<String>,
    #[sea_orm(column_type = "Text")]
    pub to_state: Option<String>,
    /// what made it happen
    #[sea_orm(column_type = "Text")]
    pub cause: String,
    /// JSON
    #[sea_orm(column_type = "Text")]
    pub detail: Option<String>,
    /// when the event is about one settlement
    pub settlement_id: Option<Vec<u8>>,
    #[sea_orm(column_type = "Text")]
    pub coordinator_id: Option<String>,
    #[sea_orm(column_type = "Text")]
    pub trace_id: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
