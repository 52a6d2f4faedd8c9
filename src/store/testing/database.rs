//! A database for each test: a file, or with `RELAYER_TEST_POSTGRES` a database of its own on that server, copied from a migrated one.

use super::super::{Store, StoreConfig};
use relayer_e2e_postgres::with_database;
use relayer_migrations::SCHEMA_VERSION;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, Statement};
use tempfile::TempDir;

/// Advisory lock of whoever makes the database the others are copied from.
const TEMPLATE_LOCK: i64 = 0x7465_6d70;

/// A database that goes away with this value.
#[derive(Debug)]
pub struct TestDatabase {
    url: String,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    File(#[expect(dead_code, reason = "removed with the value")] TempDir),
    Server { admin: String, name: String },
}

/// The server tests run on: `RELAYER_TEST_POSTGRES`, or `DATABASE_URL` with `RELAYER_TEST_STORE=postgres`.
pub(super) fn server() -> Option<String> {
    let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    var("RELAYER_TEST_POSTGRES").or_else(|| match var("RELAYER_TEST_STORE").as_deref() {
        Some("postgres") => Some(var("DATABASE_URL").expect("RELAYER_TEST_STORE=postgres needs DATABASE_URL")),
        _ => None,
    })
}

impl TestDatabase {
    /// Of a store. Enough for a test, so that many of them fit on one server.
    pub const CONNECTIONS: u32 = 4;

    /// Migrated and empty.
    pub async fn migrated() -> Self {
        match server() {
            Some(admin) => Self::on_server(admin, true).await,
            None => {
                let database = Self::file();
                database.open().await.migrate().await.unwrap();
                database
            }
        }
    }

    /// Without any table.
    pub async fn empty() -> Self {
        match server() {
            Some(admin) => Self::on_server(admin, false).await,
            None => Self::file(),
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self.kept, Kept::Server { .. })
    }

    /// A store with a pool of its own, as another process has.
    pub async fn open(&self) -> Store {
        let config = StoreConfig {
            connections: Self::CONNECTIONS,
            ..StoreConfig::new(self.url())
        };
        Store::open(&config).await.unwrap()
    }

    fn file() -> Self {
        let dir = TempDir::new().unwrap();
        Self {
            url: format!("sqlite://{}", dir.path().join("relayer.db").display()),
            kept: Kept::File(dir),
        }
    }

    async fn on_server(admin: String, migrated: bool) -> Self {
        let name = format!("relayer_test_{:016x}", rand::random::<u64>());
        let db = connect(&admin).await;
        if migrated {
            let template = template();
            let copy = format!("CREATE DATABASE {name} TEMPLATE {template}");
            if !exists(&db, &template).await {
                make_template(&db, &admin, &template).await;
            }
            db.execute_unprepared(&copy).await.unwrap();
        } else {
            db.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
        }
        db.close().await.unwrap();
        Self {
            url: with_database(&admin, &name),
            kept: Kept::Server { admin, name },
        }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Kept::Server { admin, name } = &self.kept else {
            return;
        };
        let (admin, name) = (admin.clone(), name.clone());
        // A test's runtime cannot be waited in. A server that is gone took the database with it.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                if let Ok(db) = try_connect(&admin).await {
                    let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                    let _ = db.execute_unprepared(&sql).await;
                    let _ = db.close().await;
                }
            });
        });
        let _ = dropped.join();
    }
}

/// Named after the schema, so that a server that lives on serves every version.
fn template() -> String {
    format!("relayer_template_{SCHEMA_VERSION}")
}

async fn make_template(db: &DatabaseConnection, admin: &str, template: &str) {
    db.execute_unprepared(&format!("SELECT pg_advisory_lock({TEMPLATE_LOCK})"))
        .await
        .unwrap();
    if !exists(db, template).await {
        let draft = format!("relayer_draft_{:016x}", rand::random::<u64>());
        db.execute_unprepared(&format!("CREATE DATABASE {draft}"))
            .await
            .unwrap();
        let store = Store::open(&StoreConfig::new(with_database(admin, &draft)))
            .await
            .unwrap();
        store.migrate().await.unwrap();
        store.db.close().await.unwrap();
        // The name appears when it is complete. The server waits a while for the connection to be gone.
        db.execute_unprepared(&format!("ALTER DATABASE {draft} RENAME TO {template}"))
            .await
            .unwrap();
    }
    db.execute_unprepared(&format!("SELECT pg_advisory_unlock({TEMPLATE_LOCK})"))
        .await
        .unwrap();
}

async fn exists(db: &DatabaseConnection, name: &str) -> bool {
    let sql = "SELECT 1 FROM pg_database WHERE datname = $1";
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, [name.into()]);
    db.query_one_raw(statement).await.unwrap().is_some()
}

async fn connect(url: &str) -> DatabaseConnection {
    try_connect(url).await.expect("RELAYER_TEST_POSTGRES does not answer")
}

async fn try_connect(url: &str) -> Result<DatabaseConnection, sea_orm::DbErr> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    Database::connect(options).await
}
