//! Counts for gauges. What is open is counted as it is; what has come to rest is only ever more, and is counted a stretch of rows at a time.

use super::entity::{dispatch, drift, message, settlement};
use super::{Store, StoreError, codec};
use crate::settlement::states::SettlementState;
use alloy::primitives::Address;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QuerySelect, Statement};
use std::collections::BTreeMap;

/// Rows looked at in one step of a census: some ten milliseconds.
const STRETCH: i64 = 20_000;

/// Oldest rows of a state of which the one that waits longest is found.
const OLDEST: u64 = 100;

fn count(value: i64) -> Result<u64, StoreError> {
    codec::uint("count", value)
}

/// What a census counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// By state.
    Settlements,
    /// By state.
    Messages,
    /// By `<chain> <state>`.
    Txs,
}

/// Rows by name over a whole table, counted stretch by stretch: a table of any size costs the same at every step, and its figures are as old
/// as its last round. A table within one stretch is always up to date.
#[derive(Debug)]
pub struct Census {
    of: Counted,
    after: i64,
    running: BTreeMap<String, u64>,
    counted: BTreeMap<String, u64>,
}

impl Census {
    pub fn new(of: Counted) -> Self {
        Self {
            of,
            after: 0,
            running: BTreeMap::new(),
            counted: BTreeMap::new(),
        }
    }

    /// As of the last full round; 0 before the first.
    pub fn get(&self, name: &str) -> u64 {
        self.counted.get(name).copied().unwrap_or_default()
    }
}

impl Store {
    /// The next stretch of a census.
    pub async fn census(&self, census: &mut Census) -> Result<(), StoreError> {
        let (table, name) = match census.of {
            Counted::Settlements => ("settlement", "state"),
            Counted::Messages => ("message", "state"),
            Counted::Txs => ("tx", "CAST(chain AS TEXT) || ' ' || state"),
        };
        let backend = self.db.get_database_backend();
        let last = Statement::from_string(backend, format!("SELECT COALESCE(MAX(id), 0) AS n FROM {table}"));
        let last: i64 = self
            .db
            .query_one_raw(last)
            .await?
            .map_or(Ok(0), |row| row.try_get("", "n"))?;
        let until = census.after.saturating_add(STRETCH);
        let sql = format!(
            "SELECT {name} AS name, COUNT(*) AS n FROM {table} WHERE id > {} AND id <= {until} GROUP BY 1",
            census.after
        );
        for row in self.db.query_all_raw(Statement::from_string(backend, sql)).await? {
            let total = census.running.entry(row.try_get("", "name")?).or_default();
            *total = total.saturating_add(count(row.try_get("", "n")?)?);
        }
        census.after = until;
        if until >= last {
            census.after = 0;
            census.counted = std::mem::take(&mut census.running);
        }
        Ok(())
    }

    /// Settlements that have not ended, by state.
    pub async fn count_open_settlements(&self) -> Result<Vec<(SettlementState, u64)>, StoreError> {
        let rows: Vec<(String, i64)> = settlement::Entity::find()
            .select_only()
            .column(settlement::Column::State)
            .column_as(settlement::Column::Id.count(), "n")
            .filter(settlement::Column::EndedAt.is_null())
            .group_by(settlement::Column::State)
            .into_tuple()
            .all(&self.db)
            .await?;
        rows.iter()
            .map(|(state, n)| Ok((codec::name("settlement.state", state)?, count(*n)?)))
            .collect()
    }

    /// When the settlement that waits longest in each open state was last changed, Unix ms; looked for among those accepted first.
    pub async fn oldest_by_state(&self) -> Result<Vec<(SettlementState, i64)>, StoreError> {
        let mut oldest = Vec::new();
        for state in SettlementState::ALL.iter().filter(|state| !state.is_terminal()) {
            let sql = "SELECT MIN(first.updated_at) AS oldest FROM (SELECT updated_at FROM settlement WHERE ended_at IS NULL AND state = $1 \
                       ORDER BY batch_after, id LIMIT $2) AS first";
            let values = [state.as_str().into(), codec::int("limit", OLDEST)?.into()];
            let statement = Statement::from_sql_and_values(self.db.get_database_backend(), sql, values);
            let row = self.db.query_one_raw(statement).await?;
            if let Some(at) = row.map_or(Ok(None), |row| row.try_get::<Option<i64>>("", "oldest"))? {
                oldest.push((*state, at));
            }
        }
        Ok(oldest)
    }

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

    /// Unresolved differences by class, chain and token; 0 for one that had any.
    pub async fn count_drift_of_assets(&self) -> Result<Vec<(String, u64, Option<Address>, u64)>, StoreError> {
        let open = drift::Column::Id.count().sub(drift::Column::ResolvedAt.count());
        let rows: Vec<(String, i64, Option<Vec<u8>>, i64)> = drift::Entity::find()
            .select_only()
            .columns([drift::Column::Class, drift::Column::Chain, drift::Column::Token])
            .column_as(open, "n")
            .group_by(drift::Column::Class)
            .group_by(drift::Column::Chain)
            .group_by(drift::Column::Token)
            .into_tuple()
            .all(&self.db)
            .await?;
        rows.into_iter()
            .map(|(class, chain, token, n)| {
                let token = token.map(|token| codec::address("drift.token", &token)).transpose()?;
                Ok((class, codec::uint("drift.chain", chain)?, token, count(n)?))
            })
            .collect()
    }

    /// Dispatches that are overdue and have not arrived, by bridge.
    pub async fn count_stalled(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let rows: Vec<(String, i64)> = dispatch::Entity::find()
            .select_only()
            .column(dispatch::Column::Bridge)
            .column_as(dispatch::Column::Id.count(), "n")
            // Literals, so that the partial index serves.
            .filter(Expr::cust(super::dispatch::STALLED))
            .group_by(dispatch::Column::Bridge)
            .into_tuple()
            .all(&self.db)
            .await?;
        rows.into_iter().map(|(bridge, n)| Ok((bridge, count(n)?))).collect()
    }

    /// Messages that are not at rest, by state.
    pub async fn count_open_messages(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let rows: Vec<(String, i64)> = message::Entity::find()
            .select_only()
            .column(message::Column::State)
            .column_as(message::Column::Id.count(), "n")
            .filter(message::Column::State.is_in(["sealed", "received"]))
            .group_by(message::Column::State)
            .into_tuple()
            .all(&self.db)
            .await?;
        rows.into_iter().map(|(state, n)| Ok((state, count(n)?))).collect()
    }

    /// Transactions that are not final, by `<chain> <state>`.
    pub async fn count_open_txs(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let sql = "SELECT CAST(chain AS TEXT) || ' ' || state AS name, COUNT(*) AS n FROM tx WHERE state <> 'finalized' GROUP BY 1";
        let statement = Statement::from_string(self.db.get_database_backend(), sql);
        let rows = self.db.query_all_raw(statement).await?;
        rows.iter()
            .map(|row| Ok((row.try_get("", "name")?, count(row.try_get("", "n")?)?)))
            .collect()
    }
}
