//! The PostgreSQL server tests run on: the one `DATABASE_URL` names, else a private one from installed binaries.

use anyhow::{Context, Result};
use relayer_e2e_postgres::Server;

/// Tells tests which server to make their databases on.
pub const VARIABLE: &str = "RELAYER_TEST_POSTGRES";

/// A server that is there as long as this value.
#[derive(Debug)]
pub struct TestDatabase {
    url: String,
    _server: Option<Server>,
}

impl TestDatabase {
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// None, said plainly, where there is no PostgreSQL.
pub fn find() -> Result<Option<TestDatabase>> {
    if let Ok(url) = std::env::var("DATABASE_URL")
        && url.starts_with("postgres")
    {
        eprintln!("     PostgreSQL of DATABASE_URL; its user must be allowed to create databases");
        return Ok(Some(TestDatabase { url, _server: None }));
    }
    let server = Server::start().context("a private PostgreSQL server did not start")?;
    if server.is_none() {
        eprintln!("     PostgreSQL is not installed and DATABASE_URL is not set: what needs it is skipped");
    }
    Ok(server.map(|server| TestDatabase {
        url: server.url("postgres"),
        _server: Some(server),
    }))
}

/// The summary's words for what did not run.
pub fn left_out(skipped: &[&str]) -> String {
    match skipped.len() {
        0 => String::new(),
        1 => format!(", 1 part skipped for want of PostgreSQL ({})", skipped[0]),
        n => format!(", {n} parts skipped for want of PostgreSQL ({})", skipped.join(", ")),
    }
}

#[test]
fn what_did_not_run_is_counted_and_named() {
    assert_eq!(left_out(&[]), "");
    assert_eq!(left_out(&["a"]), ", 1 part skipped for want of PostgreSQL (a)");
    assert_eq!(left_out(&["a", "b"]), ", 2 parts skipped for want of PostgreSQL (a, b)");
}
