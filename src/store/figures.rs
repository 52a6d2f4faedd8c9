//! Counts for gauges.

use super::entity::{dispatch, drift, message, tx};
use super::{Store, StoreError, codec};
use relayer_adapter_api::ChainId;
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QuerySelect};

fn count(value: i64) -> Result<u64, StoreError> {
    codec::uint("count", value)
}

impl Store {
    /// Unresolved differences by class; 0 for a class that had any.
    pub async fn count_drift(&self) -> Result<Vec<(String, u64)>, StoreError> {
        // COUNT skips NULL, so that resolved rows are subtracted without losing their class.
        let open = drift::Column::Id.count().sub(drift::Column::ResolvedAt.count());
        let rows: Vec<(String, i64)> = drift::Entity::find()
            .select_only()
            .column(drift::Column::Class)
            .column_as(open, "n")
            .group_by(drift::Column::Class)
            .into_tuple()
            .all(&self.db)
            .await?;
        rows.into_iter().map(|(class, n)| Ok((class, count(n)?))).collect()
    }

    /// Dispatches that are overdue and have not arrived, by bridge.
    pub async fn count_stalled(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let rows: Vec<(String, i64)> = dispatch::Entity::find()
            .select_only()
            .column(dispatch::Column::Bridge)
            .column_as(dispatch::Column::Id.count(), "n")
            .filter(dispatch::Column::StalledAt.is_not_null())
            .filter(dispatch::Column::ReceivedAt.is_null())
            .group_by(dispatch::Column::Bridge)
            .into_tuple()
            .all(&self.db)
            .await?;
        rows.into_iter().map(|(bridge, n)| Ok((bridge, count(n)?))).collect()
    }

    /// Messages by state.
    pub async fn count_messages(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let rows: Vec<(String, i64)> = message::Entity::find()
            .select_only()
            .column(message::Column::State)
            .column_as(message::Column::Id.count(), "n")
            .group_by(message::Column::State)
            .into_tuple()
            .all(&self.db)
            .await?;
        rows.into_iter().map(|(state, n)| Ok((state, count(n)?))).collect()
    }

    /// Transactions by chain and state.
    pub async fn count_txs(&self) -> Result<Vec<(ChainId, String, u64)>, StoreError> {
        let rows: Vec<(i64, String, i64)> = tx::Entity::find()
            .select_only()
            .column(tx::Column::Chain)
            .column(tx::Column::State)
            .column_as(tx::Column::Id.count(), "n")
            .group_by(tx::Column::Chain)
            .group_by(tx::Column::State)
            .into_tuple()
            .all(&self.db)
            .await?;
        rows.into_iter()
            .map(|(chain, state, n)| Ok((ChainId(codec::uint("tx.chain", chain)?), state, count(n)?)))
            .collect()
    }
}
