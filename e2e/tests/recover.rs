//! G10: a database that was restored from an older copy, or begun anew, sends nothing until `relayer recover` has run; then everything that was
//! submitted is submitted again, and ends as it would have, nobody paid twice and nothing carried twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy::primitives::{B256, U256};
use alloy::providers::Provider;
use alloy::rpc::types::Filter;
use alloy::sol_types::SolEvent;
use relayer::adapter::abi::ISettlementOutbox;
use relayer::adapter::{MessageId, SettlementId};
use relayer::chain::calldata::batch_in;
use relayer_e2e::coordinator::Signed;
use relayer_e2e::harness::{PATIENCE, World, fresh_payee};
use relayer_e2e::relayer_process::built;
use relayer_e2e_postgres::{Server, execute};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Where the database is, and how a copy of it is made and put back. The relayer must not run.
enum Kept {
    File(PathBuf),
    Postgres(Server),
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}{ending}", file.display()))
}

impl Kept {
    fn files(file: &Path) -> [PathBuf; 3] {
        ["", "-wal", "-shm"].map(|ending| beside(file, ending))
    }

    fn copy(&self) {
        match self {
            Self::File(file) => {
                for file in Self::files(file).iter().filter(|file| file.exists()) {
                    std::fs::copy(file, beside(file, ".copy")).unwrap();
                }
            }
            Self::Postgres(server) => {
                // Sessions of a killed client end a moment later, and a database that has any cannot be copied.
                let copy = || execute(&server.url("postgres"), "CREATE DATABASE copy TEMPLATE relayer");
                let tries = (0..50).any(|_| {
                    copy().is_ok() || {
                        std::thread::sleep(Duration::from_millis(100));
                        false
                    }
                });
                assert!(tries, "the database could not be copied");
            }
        }
    }

    fn restore(&self) {
        self.lose();
        match self {
            Self::File(file) => {
                for file in Self::files(file) {
                    let copy = beside(&file, ".copy");
                    if copy.exists() {
                        std::fs::copy(copy, file).unwrap();
                    }
                }
            }
            Self::Postgres(server) => {
                execute(&server.url("postgres"), "DROP DATABASE relayer").unwrap();
                execute(&server.url("postgres"), "CREATE DATABASE relayer TEMPLATE copy").unwrap();
            }
        }
    }

    /// The relayer finds an empty database.
    fn lose(&self) {
        match self {
            Self::File(file) => {
                for file in Self::files(file).iter().filter(|file| file.exists()) {
                    std::fs::remove_file(file).unwrap();
                }
            }
            Self::Postgres(server) => {
                execute(&server.url("postgres"), "DROP DATABASE relayer WITH (FORCE)").unwrap();
                execute(&server.url("postgres"), "CREATE DATABASE relayer").unwrap();
            }
        }
    }
}

async fn world(server: Option<&Server>) -> World {
    let url = server.map(|server| server.create_database("relayer").unwrap());
    World::start(&|_, relayer| {
        relayer.batch_max = 4;
        relayer.linger_ms = 300;
        relayer.store_url = url.clone();
    })
    .await
    .unwrap()
}

/// Submits until it is taken: right after a start the deposit may not have been read yet.
async fn submit(world: &World, one: &Signed) {
    let until = Instant::now() + PATIENCE;
    while let Err(error) = world.submit(one).await {
        assert!(Instant::now() < until, "never accepted: {error:#}");
        sleep(Duration::from_millis(300)).await;
    }
}

async fn submitted(world: &World, name: &str, count: u64) -> Vec<Signed> {
    let mut all = Vec::new();
    for n in 0..count {
        let payee = fresh_payee(&format!("{name} {}", n % 3)).unwrap();
        let one = world.signed(payee, 1 + n).await.unwrap();
        submit(world, &one).await;
        all.push(one);
    }
    all
}

fn ids(signed: &[Signed]) -> Vec<SettlementId> {
    signed.iter().map(|one| one.id).collect()
}

fn recover(world: &World, flags: &[&str]) -> Command {
    let mut command = Command::new(built("relayer").unwrap());
    command
        .arg("--config")
        .arg(world.devnet.options.dir.join("relayer.toml"));
    command.args(["--json", "recover", "--wait", "90"]).args(flags);
    command
}

fn report(world: &World, flags: &[&str]) -> serde_json::Value {
    let output = recover(world, flags).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stdout)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn spawned(world: &World) -> Child {
    let quiet = |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    quiet(&mut recover(world, &[])).unwrap()
}

/// How many messages the outbox has committed to carry each settlement.
async fn carriers(world: &World) -> BTreeMap<B256, usize> {
    let chain = &world.devnet.source;
    let filter = Filter::new()
        .address(chain.outbox)
        .event_signature(ISettlementOutbox::MessageDispatched::SIGNATURE_HASH)
        .from_block(chain.start_block);
    let mut counts = BTreeMap::new();
    for log in chain.anvil.provider.get_logs(&filter).await.unwrap() {
        let event = ISettlementOutbox::MessageDispatched::decode_log(&log.inner).unwrap();
        let hash = log.transaction_hash.unwrap();
        let tx = chain
            .anvil
            .provider
            .get_transaction_by_hash(hash)
            .await
            .unwrap()
            .unwrap();
        let input = alloy::consensus::Transaction::input(&tx).clone();
        let (_, leaves) = batch_in(&input, MessageId(event.messageId)).expect("a batch");
        for leaf in leaves {
            *counts.entry(leaf.0).or_default() += 1;
        }
    }
    counts
}

async fn sent(world: &World) -> u64 {
    let chain = &world.devnet.source;
    let account = world.devnet.accounts.relayer.address();
    // With what waits in the pool: it was sent before.
    let counted = chain.anvil.provider.get_transaction_count(account).pending();
    counted.await.unwrap()
}

/// From the loss on: refuses to send, recovers although it is killed, takes everything again, ends equal.
async fn recovers(world: &mut World, mut all: Vec<Signed>, why: &str) {
    let deposited = U256::from(world.devnet.options.deposit) * world.coordinator.unit;
    let before = sent(world).await;
    world.relayer.start().await.unwrap();
    let dry = report(world, &["--dry-run"]);
    assert_eq!(dry["dry_run"], true, "{dry}");
    // It accepts and answers, and sends nothing.
    let fresh = submitted(world, "while it waits", 3).await;
    sleep(Duration::from_secs(6)).await;
    for one in &fresh {
        assert_eq!(world.state(one.id).await.unwrap(), "accepted");
    }
    assert_eq!(sent(world).await, before, "something was sent before the recovery");
    let log = std::fs::read_to_string(world.relayer.log_path()).unwrap();
    assert!(log.contains("RLY-RECOVER-001") && log.contains(why), "{log}");

    world.relayer.kill().unwrap();
    for ms in [150, 700, 1_500] {
        let mut child = spawned(world);
        sleep(Duration::from_millis(ms)).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    world.relayer.start().await.unwrap();
    // Beside a relayer that runs.
    let done = report(world, &[]);
    assert_eq!(done["dry_run"], false, "{done}");
    assert_eq!(
        report(world, &[])["chains"][0]["messages"],
        0,
        "a second run finds nothing"
    );

    for one in &all {
        submit(world, one).await;
    }
    all.extend(fresh);
    world.wait_states(&ids(&all), &["settled"], PATIENCE).await.unwrap();
    world.assert_paid_exactly_once(&all, deposited).await.unwrap();
    for (leaf, messages) in carriers(world).await {
        assert_eq!(messages, 1, "{leaf} left in {messages} messages");
    }
    sleep(Duration::from_secs(6)).await;
    agree(world).await;
    let later = submitted(world, "after the recovery", 3).await;
    world.wait_states(&ids(&later), &["settled"], PATIENCE).await.unwrap();
}

/// Ledger, outbox and inbox agree, once what was found on the way has been looked at again.
async fn agree(world: &World) {
    let until = Instant::now() + PATIENCE;
    while world.drift().await.unwrap() > 0 {
        if Instant::now() > until {
            let mut reconcile = Command::new(built("relayer").unwrap());
            reconcile
                .arg("--config")
                .arg(world.devnet.options.dir.join("relayer.toml"));
            let output = reconcile.args(["--json", "reconcile"]).output().unwrap();
            panic!("the three sides differ: {}", String::from_utf8_lossy(&output.stdout));
        }
        sleep(Duration::from_millis(500)).await;
    }
}

async fn restored(world: &mut World, kept: &Kept) {
    let mut all = submitted(world, "long before", 5).await;
    world.wait_states(&ids(&all), &["settled"], PATIENCE).await.unwrap();
    // Taken by the copy in whatever state it is in.
    all.extend(submitted(world, "before the copy", 3).await);
    world.relayer.kill().unwrap();
    kept.copy();
    world.relayer.start().await.unwrap();
    let paid = submitted(world, "paid after the copy", 6).await;
    world.wait_states(&ids(&paid), &["settled"], PATIENCE).await.unwrap();
    all.extend(paid);
    let moving = submitted(world, "on their way", 6).await;
    world
        .wait_states(&ids(&moving), &["dispatched", "delivered", "settled"], PATIENCE)
        .await
        .unwrap();
    all.extend(moving);
    world.relayer.kill().unwrap();
    kept.restore();
    recovers(world, all, "has sent").await;
}

async fn emptied(world: &mut World, kept: &Kept) {
    let mut all = submitted(world, "paid", 6).await;
    world.wait_states(&ids(&all), &["settled"], PATIENCE).await.unwrap();
    let moving = submitted(world, "on their way", 6).await;
    world
        .wait_states(&ids(&moving), &["dispatched", "delivered", "settled"], PATIENCE)
        .await
        .unwrap();
    all.extend(moving);
    // Perhaps sealed, perhaps not: nobody but their coordinator knows of them.
    all.extend(submitted(world, "just accepted", 3).await);
    world.relayer.kill().unwrap();
    kept.lose();
    recovers(world, all, "has never sent anything").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_recovers_and_nobody_is_paid_twice() {
    let mut world = world(None).await;
    let kept = Kept::File(world.relayer_options.database.clone());
    restored(&mut world, &kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_recovers_and_nobody_is_paid_twice() {
    let mut world = world(None).await;
    let kept = Kept::File(world.relayer_options.database.clone());
    emptied(&mut world, &kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_on_postgres_recovers_and_nobody_is_paid_twice() {
    let Some(server) = Server::start().unwrap() else {
        eprintln!("skipped: PostgreSQL is not installed");
        return;
    };
    let mut world = world(Some(&server)).await;
    restored(&mut world, &Kept::Postgres(server)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_on_postgres_recovers_and_nobody_is_paid_twice() {
    let Some(server) = Server::start().unwrap() else {
        eprintln!("skipped: PostgreSQL is not installed");
        return;
    };
    let mut world = world(Some(&server)).await;
    emptied(&mut world, &Kept::Postgres(server)).await;
}
