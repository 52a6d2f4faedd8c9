//! A write transaction. Events of what it changed are collected and appended, with consecutive `seq`, as the last statements before commit,
//! so that commit order and `seq` order agree.

use super::bulk::Insert;
use super::changes::{CHANNEL, Changes};
use super::statistics::Statistics;
use super::{Store, StoreError};
use alloy::primitives::B256;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait, Value,
};
use std::sync::Arc;

const EVENTS: Insert = Insert {
    table: "event",
    columns: &[
        "seq",
        "at_ms",
        "aggregate",
        "aggregate_id",
        "event",
        "from_state",
        "to_state",
        "cause",
        "detail",
        "settlement_id",
        "coordinator_id",
        "trace_id",
    ],
    constants: &[],
    tail: "",
};

/// What happened, before it has a place in the order.
#[derive(Debug, Clone, Default)]
pub struct NewEvent {
    /// settlement | message | dispatch | execution | tx | chain | ledger | hub
    pub aggregate: &'static str,
    /// Hex id or decimal row id.
    pub aggregate_id: String,
    pub event: String,
    pub from_state: Option<String>,
    pub to_state: Option<String>,
    /// What made it happen, e.g. `intake`, `log 0x…:3`, `operator`.
    pub cause: String,
    /// JSON.
    pub detail: Option<String>,
    pub settlement_id: Option<B256>,
    pub coordinator_id: Option<String>,
    pub trace_id: Option<String>,
}

/// One write transaction. Dropped without [`Txn::commit`], nothing happened.
#[derive(Debug)]
pub struct Txn {
    pub(super) tx: DatabaseTransaction,
    /// Scheduling clock of the caller, Unix ms; stamps rows and events.
    pub now_ms: i64,
    events: Vec<NewEvent>,
    changes: Arc<Changes>,
    statistics: Arc<Statistics>,
}

impl Store {
    /// Starts a write transaction (SQLite: immediate, so that it never fails half-way for want of the write lock).
    pub async fn begin(&self, now_ms: i64) -> Result<Txn, StoreError> {
        Ok(Txn {
            tx: self.begin_write().await?,
            now_ms,
            events: Vec::new(),
            changes: self.changes.clone(),
            statistics: self.statistics.clone(),
        })
    }

    /// Starts a transaction that only reads and is not committed: it keeps nobody from writing.
    pub(super) async fn begin_reading(&self, now_ms: i64) -> Result<Txn, StoreError> {
        Ok(Txn {
            tx: self.db.begin().await?,
            now_ms,
            events: Vec::new(),
            changes: self.changes.clone(),
            statistics: self.statistics.clone(),
        })
    }

    pub(super) async fn begin_write(&self) -> Result<DatabaseTransaction, DbErr> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        self.db.begin_with_options(options).await
    }
}

impl Txn {
    /// Queues an event for the commit.
    pub fn record(&mut self, event: NewEvent) {
        self.events.push(event);
    }

    /// Appends the events and commits. Returns the last `seq` written, if any.
    ///
    /// The counter's row stays locked from here to the end of the commit, so whoever gets the next `seq` commits later: a reader that has
    /// seen n has seen everything up to n.
    pub async fn commit(self) -> Result<Option<i64>, StoreError> {
        let Self {
            tx,
            now_ms,
            events,
            changes,
            statistics,
        } = self;
        let mut last = None;
        if !events.is_empty() {
            let first = take_seqs(&tx, events.len() as i64).await?;
            let mut rows: Vec<Vec<Value>> = Vec::with_capacity(events.len());
            for (new, seq) in events.into_iter().zip(first..) {
                last = Some(seq);
                rows.push(vec![
                    seq.into(),
                    now_ms.into(),
                    new.aggregate.into(),
                    new.aggregate_id.into(),
                    new.event.into(),
                    new.from_state.into(),
                    new.to_state.into(),
                    new.cause.into(),
                    new.detail.into(),
                    new.settlement_id.map(|id| id.to_vec()).into(),
                    new.coordinator_id.into(),
                    new.trace_id.into(),
                ]);
            }
            EVENTS.run(&tx, rows).await?;
        }
        tx.commit().await?;
        if let Some(last) = last {
            changes.publish(last);
            statistics.grown_to(last);
        }
        Ok(last)
    }

    /// Takes `n` consecutive values of a named counter and returns the first. The counter is made when it does not exist.
    pub async fn reserve_counter(&self, name: &str, n: i64) -> Result<i64, StoreError> {
        reserve(&self.tx, name, n).await
    }
}

/// Name of the counter that orders all events.
pub(super) const EVENT_SEQ: &str = "event_seq";

const RESERVE: &str = "INSERT INTO counter (name, value) VALUES ($1, $2) \
    ON CONFLICT (name) DO UPDATE SET value = counter.value + excluded.value RETURNING value";

async fn reserve(tx: &DatabaseTransaction, name: &str, n: i64) -> Result<i64, StoreError> {
    reserve_by(tx, RESERVE.into(), name, n).await
}

/// Takes places in the order of events. PostgreSQL tells the listeners of all processes in the same statement; they hear it when the
/// commit is done.
async fn take_seqs(tx: &DatabaseTransaction, n: i64) -> Result<i64, StoreError> {
    let sql = if tx.get_database_backend() == DbBackend::Postgres {
        format!("WITH taken AS ({RESERVE}) SELECT value, pg_notify('{CHANNEL}', CAST(value AS TEXT)) FROM taken")
    } else {
        RESERVE.into()
    };
    reserve_by(tx, sql, EVENT_SEQ, n).await
}

async fn reserve_by(tx: &DatabaseTransaction, sql: String, name: &str, n: i64) -> Result<i64, StoreError> {
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, [name.into(), n.into()]);
    let row = tx.query_one_raw(statement).await?;
    let row = row.ok_or_else(|| StoreError::Missing {
        what: format!("counter {name}"),
    })?;
    let last: i64 = row.try_get("", "value")?;
    Ok(last - n + 1)
}

/// Guard of a compare-and-set: fails with `Conflict` unless exactly one row was written.
pub(super) fn expect_one(rows_affected: u64, what: impl Into<String>) -> Result<(), StoreError> {
    if rows_affected == 1 {
        Ok(())
    } else {
        Err(StoreError::Conflict { what: what.into() })
    }
}
