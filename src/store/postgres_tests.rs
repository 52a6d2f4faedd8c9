//! What only PostgreSQL has: durability settings, notifications, deadlocks, a server that dies. Without one these tests do nothing;
//! `cargo xtask test` says so and counts them as skipped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::testing::*;
use super::*;
use relayer_adapter_api::Class;
use relayer_e2e_postgres::Server;
use sea_orm::ConnectionTrait;
use std::time::{Duration, Instant};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// None where tests run on SQLite.
async fn open_postgres() -> Option<TestStore> {
    let test = open().await;
    test.database.is_postgres().then_some(test)
}

async fn commit_event(store: &Store) -> i64 {
    let mut txn = store.begin(1).await.unwrap();
    txn.record(NewEvent {
        aggregate: "ledger",
        aggregate_id: "1".into(),
        event: "test".into(),
        cause: "test".into(),
        ..NewEvent::default()
    });
    txn.commit().await.unwrap().unwrap()
}

#[tokio::test]
async fn a_server_as_it_is_installed_is_durable() {
    let Some(test) = open_postgres().await else { return };
    test.assert_durable().await.unwrap();
    let durability = test.durability().await.unwrap();
    assert_eq!(durability.settings.len(), 3);
    assert_eq!(durability.problem, None);
}

#[tokio::test]
async fn a_connection_that_acknowledges_before_the_flush_is_refused() {
    let Some(test) = open_postgres().await else { return };
    let joint = if test.database.url().contains('?') { '&' } else { '?' };
    let url = format!("{}{joint}options=-c%20synchronous_commit%3Doff", test.database.url());
    let weak = Store::open(&StoreConfig::new(url)).await.unwrap();
    let refused = weak.assert_durable().await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "database is not durable: synchronous_commit is off"
    );
}

#[tokio::test]
async fn a_database_that_is_weakened_while_we_run_gets_no_new_connection() {
    let Some(test) = open_postgres().await else { return };
    test.assert_durable().await.unwrap();
    let sql =
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$";
    test.db.execute_unprepared(sql).await.unwrap();
    let restarted = test.database.open().await;
    assert!(matches!(
        restarted.assert_durable().await,
        Err(StoreError::NotDurable(_))
    ));
    // The connections of old go on; while they are busy a new one is needed.
    let mut busy = Vec::new();
    let refused = loop {
        match test.begin(1).await {
            Ok(txn) => busy.push(txn),
            Err(error) => break error,
        }
    };
    assert!(busy.len() < TestDatabase::CONNECTIONS as usize, "{refused}");
    assert!(matches!(refused.class(), Class::Retry { .. }), "{refused}");
    for txn in busy {
        txn.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_commit_wakes_other_processes_and_a_lost_listener_hears_again() {
    let Some(test) = open_postgres().await else { return };
    let other = test.database.open().await;
    let first = commit_event(&test).await;
    let mut heard = other.changes();
    timeout(PATIENCE, heard.wait_for(|newest| *newest == first))
        .await
        .unwrap()
        .unwrap();
    let second = commit_event(&test).await;
    timeout(PATIENCE, heard.wait_for(|newest| *newest == second))
        .await
        .unwrap()
        .unwrap();
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    test.db.execute_unprepared(kill).await.unwrap();
    // Nobody listens at this moment; it is read when somebody does again.
    let third = commit_event(&test).await;
    timeout(PATIENCE, heard.wait_for(|newest| *newest == third))
        .await
        .unwrap()
        .unwrap();
    let fourth = commit_event(&test).await;
    timeout(PATIENCE, heard.wait_for(|newest| *newest == fourth))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_deadlock_ends_one_of_the_two_which_may_try_again() {
    let Some(test) = open_postgres().await else { return };
    deposit(&test, PAYER, 1_000, 100).await;
    let news = [new_settlement(PAYER, 1, 10, 0, 1), new_settlement(PAYER, 2, 10, 0, 2)];
    accept(&test, &news).await;
    let one = test.begin(1).await.unwrap();
    let two = test.begin(1).await.unwrap();
    one.lock_settlement(news[0].id).await.unwrap();
    two.lock_settlement(news[1].id).await.unwrap();
    // Each is dropped, and rolled back, as soon as it has its answer.
    let crosswise = |txn: Txn, id| async move { txn.lock_settlement(id).await.map(|_| ()) };
    let outcomes = tokio::join!(crosswise(one, news[1].id), crosswise(two, news[0].id));
    let lost = match outcomes {
        (Err(lost), Ok(())) | (Ok(()), Err(lost)) => lost,
        outcomes => panic!("{outcomes:?}"),
    };
    assert!(lost.is_race(), "{lost}");
    assert!(matches!(lost.class(), Class::Retry { .. }));
}

#[tokio::test]
async fn a_server_that_was_killed_is_missed_for_seconds_and_found_again() {
    let Some(mut server) = Server::start().unwrap() else {
        return;
    };
    let url = server.create_database("relayer").unwrap();
    let store = Store::open(&StoreConfig::new(url)).await.unwrap();
    store.migrate().await.unwrap();
    store.assert_durable().await.unwrap();
    deposit(&store, PAYER, 1_000, 100).await;
    let before = new_settlement(PAYER, 1, 10, 0, 1);
    accept(&store, std::slice::from_ref(&before)).await;
    let mut heard = store.changes();

    server.kill();
    let started = Instant::now();
    let refused = store.begin(1).await.unwrap_err();
    assert!(matches!(refused.class(), Class::Retry { .. }), "{refused}");
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());

    server.run().unwrap();
    let until = Instant::now() + PATIENCE;
    while let Err(error) = store.newest_seq().await {
        assert!(matches!(error.class(), Class::Retry { .. }), "{error}");
        assert!(Instant::now() < until, "{error}");
    }
    assert_eq!(reserved(&store, PAYER).await, 10, "what was acknowledged is there");
    assert_eq!(accept(&store, std::slice::from_ref(&before)).await.len(), 1);
    accept(&store, &[new_settlement(PAYER, 2, 10, 0, 2)]).await;
    let newest = store.newest_seq().await.unwrap();
    timeout(PATIENCE, heard.wait_for(|seq| *seq >= newest))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(reserved(&store, PAYER).await, 20);
    assert_eq!(store.list_unbalanced_accounts().await.unwrap(), Vec::<i64>::new());
}

#[tokio::test]
async fn a_full_disk_under_the_server_refuses_stores_no_half_and_heals_by_itself() {
    let Some(server) = Server::start_on_small_disk(64 << 20).unwrap() else {
        eprintln!("skipped: PostgreSQL is not installed, or a file system of our own cannot be mounted here");
        return;
    };
    let url = server.create_database("relayer").unwrap();
    let store = Store::open(&StoreConfig::new(&url)).await.unwrap();
    store.migrate().await.unwrap();
    deposit(&store, PAYER, 1_000_000, 100).await;
    // A connection that is the first after a change of the schema writes a cache file; on a full disk it could not.
    relayer_e2e_postgres::execute(&url, "SELECT 1").unwrap();
    let said = server.fill_disk().unwrap();
    assert!(said.contains("No space left on device"), "{said}");

    let try_accept = async |new: &NewSettlement| {
        let mut txn = store.begin(10).await?;
        txn.accept_settlements(std::slice::from_ref(new)).await?;
        txn.commit().await
    };
    let (mut taken, mut refused) = (0, Vec::new());
    for n in 1..=2_000 {
        let new = new_settlement(PAYER, n, 10, 0, n);
        match try_accept(&new).await {
            Ok(_) => taken += 1,
            Err(error) => {
                let after = Duration::from_secs(5);
                assert_eq!(error.class(), Class::Retry { after }, "{error}");
                assert!(error.to_string().contains("No space left on device"), "{error}");
                refused.push(new);
            }
        }
        if refused.len() == 20 {
            break;
        }
    }
    assert_eq!(refused.len(), 20, "{taken} settlements fit into no room at all");
    assert_eq!(reserved(&store, PAYER).await, 10 * taken, "reading goes on");
    for new in &refused {
        assert!(
            store.find_settlement(new.id).await.unwrap().is_none(),
            "half of one is there"
        );
    }

    server.free_disk().unwrap();
    for new in &refused {
        try_accept(new).await.unwrap();
    }
    assert_eq!(reserved(&store, PAYER).await, 10 * (taken + 20));
    assert_eq!(store.list_unbalanced_accounts().await.unwrap(), Vec::<i64>::new());
    assert_eq!(
        store.newest_seq().await.unwrap() as u64,
        taken + 20,
        "no gap in the order of events"
    );
}
