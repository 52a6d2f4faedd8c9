//! Reading the event table: what happened, in commit order.

use super::codec::b256;
use super::entity::{counter, event};
use super::{Store, StoreError};
use crate::settlement::SettlementId;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

/// Counter that holds the newest `seq` that was ever pruned.
pub(super) const EVENTS_PRUNED: &str = "event_pruned";
/// Settlements are found by their own column; the index over aggregates leaves them out, and serves where this stands literally.
const NOT_SETTLEMENT: &str = "aggregate <> 'settlement'";

/// One change with its cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
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
    pub settlement: Option<SettlementId>,
    pub coordinator_id: Option<String>,
    pub trace_id: Option<String>,
}

impl Store {
    /// Everything that is about one settlement, oldest first.
    pub async fn list_settlement_events(&self, id: SettlementId) -> Result<Vec<Event>, StoreError> {
        let rows = event::Entity::find()
            .filter(event::Column::SettlementId.eq(id.0.to_vec()))
            .order_by_asc(event::Column::Seq)
            .all(&self.db)
            .await?;
        rows.into_iter().map(decode).collect()
    }

    /// Events of one aggregate other than a settlement, oldest first.
    pub async fn list_aggregate_events(&self, aggregate: &str, id: &str) -> Result<Vec<Event>, StoreError> {
        let rows = event::Entity::find()
            .filter(Expr::cust(NOT_SETTLEMENT))
            .filter(event::Column::Aggregate.eq(aggregate))
            .filter(event::Column::AggregateId.eq(id))
            .order_by_asc(event::Column::Seq)
            .all(&self.db)
            .await?;
        rows.into_iter().map(decode).collect()
    }

    /// Events of a settlement and of the given aggregates (kind, id), in commit order; the newest `limit` of them.
    pub async fn list_history(
        &self,
        id: SettlementId,
        also: &[(&str, String)],
        limit: u64,
    ) -> Result<Vec<Event>, StoreError> {
        use event::Column;
        let mut any = Condition::any().add(Column::SettlementId.eq(id.0.to_vec()));
        for (aggregate, aggregate_id) in also {
            let one = Condition::all()
                .add(Expr::cust(NOT_SETTLEMENT))
                .add(Column::Aggregate.eq(*aggregate))
                .add(Column::AggregateId.eq(aggregate_id));
            any = any.add(one);
        }
        let rows = event::Entity::find()
            .filter(any)
            .order_by_desc(Column::Seq)
            .limit(limit)
            .all(&self.db)
            .await?;
        rows.into_iter().rev().map(decode).collect()
    }

    /// The oldest `seq` after which nothing has been pruned: a reader who has seen everything up to it, or later, misses nothing.
    pub async fn oldest_cursor(&self) -> Result<i64, StoreError> {
        self.counter(EVENTS_PRUNED).await
    }

    async fn counter(&self, name: &str) -> Result<i64, StoreError> {
        let row = counter::Entity::find_by_id(name).one(&self.db).await?;
        Ok(row.map_or(0, |row| row.value))
    }

    /// Events after a position in the order of all, oldest first.
    pub async fn list_events_after(&self, seq: i64, limit: u64) -> Result<Vec<Event>, StoreError> {
        let rows = event::Entity::find()
            .filter(event::Column::Seq.gt(seq))
            .order_by_asc(event::Column::Seq)
            .limit(limit)
            .all(&self.db)
            .await?;
        rows.into_iter().map(decode).collect()
    }
}

fn decode(row: event::Model) -> Result<Event, StoreError> {
    let settlement = row.settlement_id.as_deref();
    Ok(Event {
        seq: row.seq,
        at_ms: row.at_ms,
        aggregate: row.aggregate,
        aggregate_id: row.aggregate_id,
        event: row.event,
        from_state: row.from_state,
        to_state: row.to_state,
        cause: row.cause,
        detail: row.detail,
        settlement: settlement
            .map(|id| b256("event.settlement_id", id).map(SettlementId))
            .transpose()?,
        coordinator_id: row.coordinator_id,
        trace_id: row.trace_id,
    })
}
