//! Reading the event table: the history of a settlement and of what carried it.

use super::entity::event::{Column, Entity, Model};
use super::{Store, StoreError};
use relayer_adapter_api::SettlementId;
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

/// One change with its cause, as it was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    pub seq: i64,
    pub at_ms: i64,
    pub aggregate: String,
    pub aggregate_id: String,
    pub event: String,
    pub from_state: Option<String>,
    pub to_state: Option<String>,
    pub cause: String,
    /// JSON.
    pub detail: Option<String>,
}

impl From<Model> for StoredEvent {
    fn from(row: Model) -> Self {
        Self {
            seq: row.seq,
            at_ms: row.at_ms,
            aggregate: row.aggregate,
            aggregate_id: row.aggregate_id,
            event: row.event,
            from_state: row.from_state,
            to_state: row.to_state,
            cause: row.cause,
            detail: row.detail,
        }
    }
}

impl Store {
    /// Events of a settlement and of the given aggregates (kind, id), in commit order; the newest `limit` of them.
    pub async fn list_history(
        &self,
        id: SettlementId,
        also: &[(&str, String)],
        limit: u64,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let mut any = Condition::any().add(Column::SettlementId.eq(id.0.to_vec()));
        for (aggregate, aggregate_id) in also {
            any = any.add(
                Condition::all()
                    .add(Column::Aggregate.eq(*aggregate))
                    .add(Column::AggregateId.eq(aggregate_id)),
            );
        }
        let rows = Entity::find()
            .filter(any)
            .order_by_desc(Column::Seq)
            .limit(limit)
            .all(&self.db)
            .await?;
        Ok(rows.into_iter().rev().map(StoredEvent::from).collect())
    }
}
