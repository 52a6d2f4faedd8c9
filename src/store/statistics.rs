//! PostgreSQL plans by statistics, and its own worker gathers them only once a minute: in a young database that grows meanwhile, plans are
//! made for tables that were nearly empty, and a lookup reads all of one. So they are gathered here each time the history has grown fourfold.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Events after which the first look is worth it.
const FIRST: i64 = 500;
/// Growth until the next…
const GROWTH: i64 = 4;
/// …and events after which it is time in any case: recovery moves the counter far ahead, and then a multiple of it is never reached.
const STEP_MAX: i64 = 1_000_000;

fn next(seq: i64) -> i64 {
    let grown = seq.saturating_mul(GROWTH).max(FIRST);
    grown.min(seq.saturating_add(STEP_MAX))
}

/// Tables that grow with settlements.
const ANALYZE: &str = "ANALYZE settlement, settlement_receipt, settlement_group, event, posting, account, message, message_settlement, dispatch, \
    execution, tx, attempt, chain_log, chain_block";

#[derive(Debug)]
pub(super) struct Statistics {
    db: DatabaseConnection,
    /// The event at which they are gathered again; 0 until the first is seen.
    due: AtomicI64,
}

impl Statistics {
    pub fn new(db: DatabaseConnection) -> Self {
        Self {
            db,
            due: AtomicI64::new(0),
        }
    }

    /// The newest event is `seq` now. Gathers in the background when that is due; nobody waits for it, and it locks out no reader or writer.
    pub fn grown_to(self: &Arc<Self>, seq: i64) {
        if self.db.get_database_backend() != DbBackend::Postgres || !self.take(seq) {
            return;
        }
        let own = self.clone();
        tokio::spawn(async move {
            if let Err(error) = own.db.execute_unprepared(ANALYZE).await {
                // Autovacuum does it too, later.
                tracing::debug!(%error, "gathering statistics failed");
            }
        });
    }

    /// True for one caller each time. A process that starts on a grown database finds it as known as the last one left it.
    fn take(&self, seq: i64) -> bool {
        let seen = self
            .due
            .compare_exchange(0, next(seq), Ordering::Relaxed, Ordering::Relaxed);
        let due = seen.unwrap_or_else(|due| due);
        seen.is_err()
            && seq >= due
            && self
                .due
                .compare_exchange(due, next(seq), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::testing::{self, *};
    use super::*;
    use crate::store::NewEvent;
    use sea_orm::Statement;
    use std::time::Duration;

    #[tokio::test]
    async fn they_are_due_at_each_fourfold_growth_and_once() {
        let test = testing::open().await;
        let statistics = Statistics::new(test.db.clone());
        let taken: Vec<i64> = [1, 499, 500, 501, 1_999, 2_000, 100_000, 100_001, 400_000]
            .into_iter()
            .filter(|seq| statistics.take(*seq))
            .collect();
        assert_eq!(taken, [500, 2_000, 100_000, 400_000]);
        let restarted = Statistics::new(test.db.clone());
        let taken: Vec<i64> = [100_000, 399_999, 400_000]
            .into_iter()
            .filter(|seq| restarted.take(*seq))
            .collect();
        assert_eq!(taken, [400_000], "not at each start");
    }

    async fn known_events(store: &TestStore) -> f64 {
        let sql = "SELECT reltuples::float8 AS n FROM pg_class WHERE oid = 'event'::regclass";
        let row = store
            .db
            .query_one_raw(Statement::from_string(DbBackend::Postgres, sql))
            .await;
        row.unwrap().unwrap().try_get("", "n").unwrap()
    }

    #[tokio::test]
    async fn a_history_that_grows_is_known_to_the_planner() {
        let test = testing::open().await;
        if !test.database.is_postgres() {
            return;
        }
        assert!(known_events(&test).await <= 0.0, "never analysed");
        for events in [1, 600] {
            let mut txn = test.begin(1).await.unwrap();
            for n in 0..events {
                txn.record(NewEvent {
                    aggregate: "ledger",
                    aggregate_id: n.to_string(),
                    event: "test".into(),
                    cause: "test".into(),
                    ..NewEvent::default()
                });
            }
            txn.commit().await.unwrap();
        }
        for _ in 0..200 {
            if known_events(&test).await >= 600.0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nobody gathered them");
    }
}
