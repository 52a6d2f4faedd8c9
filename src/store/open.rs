//! Opening a database: connection settings, durability check, schema check.

use super::StoreError;
use super::changes::Changes;
use super::lease::{LeaseClock, SystemLeaseClock};
use relayer_migrations::{Migrator, SCHEMA_VERSION};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};
use sea_orm_migration::MigratorTrait;
use std::sync::Arc;
use std::time::Duration;

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
    pub(super) clock: Arc<dyn LeaseClock>,
    pub(super) changes: Arc<Changes>,
}

impl Store {
    /// Opens the database; does not migrate. SQLite: one connection (one writer), WAL, synchronous FULL.
    pub async fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        let mut options = ConnectOptions::new(config.url.clone());
        options
            .sqlx_logging(false)
            .test_before_acquire(false)
            .acquire_timeout(Duration::from_secs(30));
        if config.url.starts_with("sqlite") {
            options.max_connections(1).min_connections(1);
            options.map_sqlx_sqlite_opts(|sqlite| {
                sqlite
                    .create_if_missing(true)
                    .pragma("journal_mode", "WAL")
                    .pragma("synchronous", "FULL")
                    .pragma("foreign_keys", "ON")
                    .pragma("wal_autocheckpoint", "10000")
                    .pragma("cache_size", "-65536")
                    .busy_timeout(Duration::from_secs(10))
            });
        } else {
            options.max_connections(config.connections);
        }
        let db = Database::connect(options).await?;
        Ok(Self {
            db,
            clock: Arc::new(SystemLeaseClock),
            changes: Arc::new(Changes::new(&config.url)),
        })
    }

    /// The same database under another lease clock (tests and the simulation).
    pub fn with_clock(mut self, clock: Arc<dyn LeaseClock>) -> Self {
        self.clock = clock;
        self
    }

    /// Brings the schema up to date. Idempotent.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        Ok(Migrator::up(&self.db, None).await?)
    }

    /// Fails unless the schema is the one this program was built with.
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        let applied = Migrator::get_applied_migrations(&self.db).await.unwrap_or_default();
        let found = applied
            .last()
            .map_or("empty".to_owned(), |migration| migration.name().to_owned());
        if found == SCHEMA_VERSION {
            Ok(())
        } else {
            Err(StoreError::Schema {
                found,
                expected: SCHEMA_VERSION.into(),
            })
        }
    }

    /// Reads the settings that decide whether a commit survives power loss.
    pub async fn durability(&self) -> Result<Durability, StoreError> {
        let backend = self.db.get_database_backend();
        let names: &[&str] = match backend {
            DbBackend::Postgres => &["fsync", "synchronous_commit", "full_page_writes"],
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
        let problem = settings.iter().find_map(|(name, value)| {
            let fine = match name.as_str() {
                "journal_mode" => value == "wal" || value == "memory",
                "synchronous" => value == "2" || value == "3",
                "synchronous_commit" => value != "off" && value != "local",
                _ => value == "on",
            };
            (!fine).then(|| format!("{name} is {value}"))
        });
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

    /// Fails when acknowledged commits could be lost.
    pub async fn assert_durable(&self) -> Result<(), StoreError> {
        match self.durability().await?.problem {
            Some(problem) => Err(StoreError::NotDurable(problem)),
            None => Ok(()),
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

    /// Group commits that may be under way at once. SQLite has one writer; PostgreSQL works on the next while the last one is flushed.
    pub fn commits_in_flight(&self) -> usize {
        match self.db.get_database_backend() {
            DbBackend::Postgres => 2,
            _ => 1,
        }
    }

    /// Milliseconds by the clock leases are measured with.
    pub async fn lease_now_ms(&self) -> Result<i64, StoreError> {
        self.clock.now_ms(&self.db).await
    }
}
