//! Opening a database: connection settings, durability check, schema check.

use super::StoreError;
use super::changes::Changes;
use super::lease::{LeaseClock, SystemLeaseClock};
use super::statistics::Statistics;
use relayer_migrations::{Migrator, SCHEMA_VERSION};
use sea_orm::sqlx::{self, Executor, PgConnection, Row};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};
use sea_orm_migration::MigratorTrait;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Advisory lock of whoever brings a PostgreSQL schema up to date. Any number will do that nobody else in the database uses.
const MIGRATION_LOCK: i64 = 0x7265_6c61_7965_7201;

/// A client of the API waits for a connection: longer than a restart of the pool takes, shorter than its patience.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// SQLite has one connection and waits only for our own transactions.
const SQLITE_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// Whoever compares a whole SQLite file reads two pages at a time.
const SQLITE_READERS: u32 = 2;

/// Pages each connection to SQLite keeps: 64 MiB.
const SQLITE_CACHE: &str = "-65536";

/// How long SQLite waits for another process.
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that has been idle for this long is tried before it is used: the server may have been restarted.
const TRUSTED_FOR: Duration = Duration::from_millis(500);

/// For each connection to PostgreSQL. A worker that freezes inside a transaction holds its locks, the order of events among them, only
/// for so long; nobody waits for a lock for ever.
///
/// A plan kept from when a table was small reads all of it after it has grown, until somebody analyses the table: every execution is planned
/// for what is there now. None of the statements is one that compiling would pay for.
const SESSION: &[(&str, &str)] = &[
    ("idle_in_transaction_session_timeout", "15s"),
    ("lock_timeout", "10s"),
    ("plan_cache_mode", "force_custom_plan"),
    ("jit", "off"),
];

/// Settings of PostgreSQL without which an acknowledged commit can be lost.
const POSTGRES_DURABILITY: &[&str] = &["fsync", "synchronous_commit", "full_page_writes"];

/// How often a SQLite file is tried that another process has locked while it prepares it.
const OPENINGS: usize = 50;

/// Where the data is.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// `sqlite://path/to/file.db` or `postgres://…`; `sqlite::memory:` for tests.
    pub url: String,
    /// PostgreSQL: connections at most, beside one that listens. SQLite has one, its only writer.
    pub connections: u32,
}

impl StoreConfig {
    /// What one process takes of the server's `max_connections`, 100 unless somebody raised it.
    pub const CONNECTIONS: u32 = 16;

    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            connections: Self::CONNECTIONS,
        }
    }
}

/// What the database says about keeping what it acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durability {
    pub backend: &'static str,
    /// Setting names and values as the database reports them.
    pub settings: Vec<(String, String)>,
    /// None when acknowledged commits survive power loss.
    pub problem: Option<String>,
}

/// An open database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) db: DatabaseConnection,
    url: Arc<str>,
    pub(super) clock: Arc<dyn LeaseClock>,
    pub(super) changes: Arc<Changes>,
    pub(super) statistics: Arc<Statistics>,
    /// From [`Store::assert_durable`] on, each new connection is asked too.
    durable_only: Arc<AtomicBool>,
}

impl Store {
    /// Opens the database; does not migrate. SQLite: one connection (one writer), WAL, synchronous FULL.
    pub async fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        let durable_only = Arc::new(AtomicBool::new(false));
        let options = connect_options(config, durable_only.clone());
        let mut tried = 1;
        let mut db = loop {
            match Database::connect(options.clone()).await {
                // Another process switches the new file to WAL; SQLite does not wait for that by itself.
                Err(error) if tried < OPENINGS && StoreError::is_busy(&error) => {
                    tried += 1;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                opened => break opened?,
            }
        };
        db.set_metric_callback(|info| count_statement(&info.statement.sql));
        Ok(Self {
            statistics: Arc::new(Statistics::new(db.clone())),
            db,
            url: config.url.as_str().into(),
            clock: Arc::new(SystemLeaseClock),
            changes: Arc::new(Changes::new(&config.url)),
            durable_only,
        })
    }

    /// The same database for reading all of it. A SQLite file is read over connections of their own, as many as one comparison uses at once: who
    /// writes does not wait for them. They are closed with the store this returns, which refuses to write.
    pub async fn reader(&self) -> Result<Self, StoreError> {
        let in_memory = self.url.contains(":memory:") || self.url.contains("mode=memory");
        if self.is_shared() || in_memory {
            return Ok(self.clone());
        }
        let mut options = any_options(&self.url);
        options
            .max_connections(SQLITE_READERS)
            .acquire_timeout(SQLITE_ACQUIRE_TIMEOUT)
            .map_sqlx_sqlite_opts(|sqlite| {
                sqlite
                    .create_if_missing(false)
                    .pragma("query_only", "ON")
                    .pragma("cache_size", SQLITE_CACHE)
                    .busy_timeout(SQLITE_BUSY_TIMEOUT)
            });
        let mut db = Database::connect(options).await?;
        db.set_metric_callback(|info| count_statement(&info.statement.sql));
        Ok(Self { db, ..self.clone() })
    }

    /// The same database under another lease clock (tests and the simulation).
    pub fn with_clock(mut self, clock: Arc<dyn LeaseClock>) -> Self {
        self.clock = clock;
        self
    }

    /// Brings the schema up to date, all of it or nothing. Idempotent, and safe when several processes start at once: they take turns.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let known = |name: &String| Migrator::migrations().iter().any(|migration| migration.name() == name);
        if let Some(found) = self.schema_version().await?.filter(|name| !known(name)) {
            return Err(StoreError::SchemaOfAnother {
                found,
                expected: SCHEMA_VERSION.into(),
            });
        }
        let txn = self.begin_write().await?;
        if self.db.get_database_backend() == DbBackend::Postgres {
            txn.execute_unprepared("SET LOCAL lock_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0")
                .await?;
            txn.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
                .await?;
        }
        Migrator::up(&txn, None).await?;
        Ok(txn.commit().await?)
    }

    /// Fails unless the schema is the one this program was built with.
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        let found = self.schema_version().await?.unwrap_or_else(|| "empty".to_owned());
        if found == SCHEMA_VERSION {
            Ok(())
        } else {
            Err(StoreError::Schema {
                found,
                expected: SCHEMA_VERSION.into(),
            })
        }
    }

    /// The newest migration that was applied. Only reads, so that it may race with one that migrates.
    async fn schema_version(&self) -> Result<Option<String>, StoreError> {
        let backend = self.db.get_database_backend();
        let table = match backend {
            DbBackend::Postgres => "SELECT 1 WHERE to_regclass('seaql_migrations') IS NOT NULL",
            _ => "SELECT 1 FROM sqlite_master WHERE name = 'seaql_migrations'",
        };
        if self
            .db
            .query_one_raw(Statement::from_string(backend, table))
            .await?
            .is_none()
        {
            return Ok(None);
        }
        let newest = "SELECT version FROM seaql_migrations ORDER BY version DESC LIMIT 1";
        let row = self.db.query_one_raw(Statement::from_string(backend, newest)).await?;
        Ok(row.map(|row| row.try_get("", "version")).transpose()?)
    }

    /// Reads the settings that decide whether a commit survives power loss.
    pub async fn durability(&self) -> Result<Durability, StoreError> {
        let backend = self.db.get_database_backend();
        let names: &[&str] = match backend {
            DbBackend::Postgres => POSTGRES_DURABILITY,
            _ => &["journal_mode", "synchronous"],
        };
        let mut settings = Vec::new();
        for name in names {
            let sql = if backend == DbBackend::Postgres {
                format!("SHOW {name}")
            } else {
                format!("PRAGMA {name}")
            };
            let row = self.db.query_one_raw(Statement::from_string(backend, sql)).await?;
            let value = match &row {
                Some(row) if *name == "synchronous" => row.try_get_by_index::<i64>(0)?.to_string(),
                Some(row) => row.try_get_by_index::<String>(0)?,
                None => String::new(),
            };
            settings.push(((*name).to_owned(), value));
        }
        let problem = settings.iter().find_map(|(name, value)| weakness(name, value));
        let backend = if backend == DbBackend::Postgres {
            "postgres"
        } else {
            "sqlite"
        };
        Ok(Durability {
            backend,
            settings,
            problem,
        })
    }

    /// Fails when acknowledged commits could be lost. From now on a connection on which they could is refused as well.
    pub async fn assert_durable(&self) -> Result<(), StoreError> {
        match self.durability().await?.problem {
            Some(problem) => Err(StoreError::NotDurable(problem)),
            None => {
                self.durable_only.store(true, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// SQLite: moves the write-ahead log into the database file, so that a copy of that one file is a backup. Elsewhere nothing.
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        if self.db.get_database_backend() == DbBackend::Sqlite {
            self.db.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await?;
        }
        Ok(())
    }

    /// Whether other processes may be at work on the same database.
    pub fn is_shared(&self) -> bool {
        self.db.get_database_backend() == DbBackend::Postgres
    }

    /// Milliseconds by the clock leases are measured with.
    pub async fn lease_now_ms(&self) -> Result<i64, StoreError> {
        self.clock.now_ms(&self.db).await
    }
}

/// What a settlement costs the database shows here first: a stage that goes row by row sends as many statements as there are rows.
fn count_statement(sql: &str) {
    let word = match sql.trim_start().get(..6).map(str::to_ascii_lowercase).as_deref() {
        Some("select") => "select",
        Some("insert") => "insert",
        Some("update") => "update",
        Some("delete") => "delete",
        _ => "other",
    };
    metrics::counter!(crate::metrics::STORE_STATEMENTS_TOTAL, "statement" => word).increment(1);
}

fn any_options(url: &str) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .sqlx_logging(false)
        .test_before_acquire(false)
        // Without lifetimes sqlx 0.9 does not run its reaper, which loops for ever when a connection is given back and taken again while it
        // counts the idle ones: the count falls below zero, which is 2^64 - 1.
        .idle_timeout(None)
        .max_lifetime(None);
    options
}

fn connect_options(config: &StoreConfig, durable_only: Arc<AtomicBool>) -> ConnectOptions {
    let mut options = any_options(&config.url);
    if config.url.starts_with("sqlite") {
        options
            .max_connections(1)
            .min_connections(1)
            .acquire_timeout(SQLITE_ACQUIRE_TIMEOUT);
        options.map_sqlx_sqlite_opts(|sqlite| {
            sqlite
                .create_if_missing(true)
                .pragma("journal_mode", "WAL")
                .pragma("synchronous", "FULL")
                .pragma("foreign_keys", "ON")
                .pragma("wal_autocheckpoint", "10000")
                .pragma("cache_size", SQLITE_CACHE)
                .busy_timeout(SQLITE_BUSY_TIMEOUT)
        });
        return options;
    }
    options
        .max_connections(config.connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire_if_idle_for(TRUSTED_FOR)
        .map_sqlx_postgres_opts(|postgres| postgres.options(SESSION.iter().copied()))
        .map_sqlx_postgres_pool_opts(move |pool| {
            let durable_only = durable_only.clone();
            pool.after_connect(move |connection, _| {
                let asked = durable_only.load(Ordering::Relaxed);
                Box::pin(async move { if asked { refuse_weak(connection).await } else { Ok(()) } })
            })
        });
    options
}

/// Fails when a commit on this connection could be lost: the settings of a role or a database may change while we run.
async fn refuse_weak(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    for name in POSTGRES_DURABILITY {
        let row = connection
            .fetch_one(sqlx::AssertSqlSafe(format!("SHOW {name}")))
            .await?;
        if let Some(problem) = weakness(name, row.try_get::<&str, _>(0)?) {
            return Err(sqlx::Error::Configuration(
                format!("the database is not durable: {problem}").into(),
            ));
        }
    }
    Ok(())
}

/// What is wrong with a setting, if it lets acknowledged commits be lost.
fn weakness(name: &str, value: &str) -> Option<String> {
    let fine = match name {
        "journal_mode" => value == "wal" || value == "memory",
        "synchronous" => value == "2" || value == "3",
        "synchronous_commit" => value != "off" && value != "local",
        _ => value == "on",
    };
    (!fine).then(|| format!("{name} is {value}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::testing;
    use super::*;
    use alloy::primitives::keccak256;

    #[test]
    fn the_schema_s_name_changes_with_its_statements() {
        let digest = keccak256(relayer_migrations::STATEMENTS.concat().concat());
        assert_eq!(SCHEMA_VERSION, format!("m0001_first_{}", hex::encode(&digest[..4])));
    }

    #[tokio::test]
    async fn a_schema_of_another_build_is_refused_by_name_and_left_alone() {
        let test = testing::open().await;
        let rename = "UPDATE seaql_migrations SET version = 'm0001_other'";
        test.db.execute_unprepared(rename).await.unwrap();
        let refused = test.migrate().await.unwrap_err();
        assert!(
            matches!(&refused, StoreError::SchemaOfAnother { found, .. } if found == "m0001_other"),
            "{refused}"
        );
        assert!(test.check_schema().await.is_err());
        let tables = "SELECT COUNT(*) FROM settlement";
        test.db.execute_unprepared(tables).await.unwrap();
    }
}
