//! Where the relayer of a test keeps its data: a SQLite file, or a PostgreSQL database of its own.

use anyhow::Result;
use relayer_e2e_postgres::{Server, execute, with_database};

/// A PostgreSQL database that goes away with this value.
#[derive(Debug)]
pub struct Database {
    url: String,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    /// One of many on a server of somebody else, named by the URL of any of its databases.
    Shared { admin: String, name: String },
    /// The only one on a server that goes away with it.
    Own(#[expect(dead_code, reason = "ends with the value")] Server),
}

impl Database {
    /// What the environment asks for: with `RELAYER_TEST_POSTGRES=<url>` a database on that server, with `RELAYER_E2E_STORE=postgres` a
    /// server of its own; else None, which means SQLite. Fails when a server is asked for and none is installed: a test that quietly ran
    /// on the other store would prove nothing.
    pub fn from_env() -> Result<Option<Self>> {
        let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if let Some(admin) = var("RELAYER_TEST_POSTGRES") {
            let name = format!("relayer_e2e_{:016x}", rand::random::<u64>());
            execute(&admin, &format!("CREATE DATABASE \"{name}\""))?;
            return Ok(Some(Self {
                url: with_database(&admin, &name),
                kept: Kept::Shared { admin, name },
            }));
        }
        if var("RELAYER_E2E_STORE").as_deref() != Some("postgres") {
            return Ok(None);
        }
        let Some(server) = Server::start()? else {
            anyhow::bail!("RELAYER_E2E_STORE=postgres, but PostgreSQL is not installed");
        };
        Ok(Some(Self {
            url: server.create_database("relayer")?,
            kept: Kept::Own(server),
        }))
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Kept::Shared { admin, name } = &self.kept {
            // A server that is gone took the database with it.
            let _ = execute(admin, &format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"));
        }
    }
}
