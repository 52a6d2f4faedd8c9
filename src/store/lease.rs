//! Leases: who works on a row, until when, under which token. The clock is the database's, so that workers with wrong clocks cannot steal.

use super::StoreError;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};

/// The clock leases are measured with, in Unix milliseconds. Injected so that tests can move it.
#[async_trait::async_trait]
pub trait LeaseClock: Send + Sync + std::fmt::Debug {
    async fn now_ms(&self, db: &DatabaseConnection) -> Result<i64, StoreError>;
}

/// The database's own clock.
#[derive(Debug, Default)]
pub struct SystemLeaseClock;

#[async_trait::async_trait]
impl LeaseClock for SystemLeaseClock {
    async fn now_ms(&self, db: &DatabaseConnection) -> Result<i64, StoreError> {
        let sql = match db.get_database_backend() {
            DbBackend::Postgres => "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) AS now_ms",
            _ => "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) AS now_ms",
        };
        let row = db
            .query_one_raw(Statement::from_string(db.get_database_backend(), sql))
            .await?;
        let row = row.ok_or_else(|| StoreError::Missing {
            what: "the database's clock".into(),
        })?;
        Ok(row.try_get("", "now_ms")?)
    }
}

/// Proof that a worker holds a row: every completing write names the token and fails with `Conflict` when it is not the current one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim<T> {
    pub row: T,
    pub token: i64,
}
