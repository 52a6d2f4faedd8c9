//! The server starts, keeps what it acknowledged through kill -9, and goes away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use relayer_e2e_postgres::{Binaries, Server};
use std::process::Command;

fn query(url: &str, sql: &str) -> String {
    let psql = Binaries::find().unwrap().psql;
    let output = Command::new(psql)
        .args([
            "--no-psqlrc",
            "--tuples-only",
            "--no-align",
            "--dbname",
            url,
            "--command",
            sql,
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn what_was_committed_survives_a_kill_and_the_data_goes_with_the_server() {
    let Some(mut server) = Server::start().unwrap() else {
        eprintln!("skipped: PostgreSQL is not installed");
        return;
    };
    let url = server.create_database("kept").unwrap();
    query(&url, "CREATE TABLE word (text TEXT); INSERT INTO word VALUES ('kept')");
    server.kill();
    server.run().unwrap();
    assert_eq!(query(&url, "SELECT text FROM word"), "kept");
    assert_eq!(query(&url, "SHOW fsync"), "on");
    let log = server.log_path();
    assert!(log.exists());
    drop(server);
    assert!(!log.exists());
}
