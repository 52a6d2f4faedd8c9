//! G1, G2, G7 with several processes on one PostgreSQL: shared work, killed and frozen workers, leases that change hands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy::primitives::U256;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use relayer::adapter::SettlementId;
use relayer_e2e::coordinator::Signed;
use relayer_e2e::harness::{PATIENCE, World, drift_of, fresh_payee, surely};
use relayer_e2e::relayer_process::RelayerProcess;
use relayer_e2e_postgres::{Server, execute};
use relayer_proto::v1::SubmitRequest;
use relayer_proto::v1::settlement_service_client::SettlementServiceClient;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const SETTLEMENTS: u64 = 100;
const SEED: u64 = 20_261_122;
/// Longer than the lease of the devnet's configuration, 5 s.
const BEYOND_THE_LEASE: Duration = Duration::from_millis(6_500);

/// A server and an empty database on it; None, said plainly, where PostgreSQL is not installed.
fn server() -> Option<(Server, String)> {
    let Some(server) = Server::start().unwrap() else {
        eprintln!("skipped: PostgreSQL is not installed");
        return None;
    };
    let url = server.create_database("relayer").unwrap();
    Some((server, url))
}

async fn world(url: &str, roles: &str) -> World {
    let (url, roles) = (url.to_owned(), roles.to_owned());
    World::start(&|_, relayer| {
        relayer.batch_max = 8;
        relayer.linger_ms = 300;
        relayer.store_url = Some(url.clone());
        relayer.roles = Some(roles.clone());
    })
    .await
    .unwrap()
}

async fn signed(world: &World, count: u64) -> Vec<Signed> {
    let mut signed = Vec::new();
    for n in 0..count {
        let payee = fresh_payee(&format!("worker {}", n % 11)).unwrap();
        signed.push(world.signed(payee, 1 + n % 13).await.unwrap());
    }
    signed
}

/// Submits each request until it is acknowledged.
async fn submit_all(url: String, requests: Vec<SubmitRequest>, pause: Duration) {
    for request in requests {
        surely(&url, async |mut client| client.submit(request.clone()).await)
            .await
            .unwrap();
        sleep(pause).await;
    }
}

fn ids(signed: &[Signed]) -> Vec<SettlementId> {
    signed.iter().map(|one| one.id).collect()
}

fn number(url: &str, sql: &str) -> i64 {
    let answer = execute(url, sql).unwrap();
    answer.parse().unwrap_or_else(|_| panic!("{sql}: {answer:?}"))
}

/// No nonce of ours was taken by anything but what is stored for it, and no work was sent twice.
fn assert_one_transaction_per_intent(url: &str) {
    assert_eq!(
        number(url, "SELECT count(*) FROM tx WHERE state = 'replaced'"),
        0,
        "foreign transactions"
    );
    let twice = "SELECT count(*) FROM (SELECT 1 FROM tx WHERE state = 'finalized' AND succeeded AND intent_kind IN ('dispatch', 'execution') \
                 GROUP BY intent_kind, intent_id HAVING count(*) > 1) AS twice";
    assert_eq!(number(url, twice), 0, "intents sent twice");
}

async fn assert_books(world: &World, engine: &RelayerProcess, signed: &[Signed]) {
    let deposited = U256::from(world.devnet.options.deposit) * world.coordinator.unit;
    world.assert_paid_exactly_once(signed, deposited).await.unwrap();
    // Two sweeps, and the gauges.
    sleep(Duration::from_secs(8)).await;
    assert_eq!(drift_of(engine).await.unwrap(), 0);
}

#[tokio::test]
async fn two_engines_that_are_killed_and_frozen_pay_everything_exactly_once() {
    let Some((_server, url)) = server() else { return };
    let mut world = world(&url, "api,engine,observer").await;
    let mut second = world.worker("second", "engine,observer").unwrap();
    second.start().await.unwrap();
    let signed = signed(&world, SETTLEMENTS).await;
    let requests = signed.iter().map(|one| one.request.clone()).collect();
    let pause = Duration::from_millis(250);
    let client = tokio::spawn(submit_all(world.relayer.grpc_url(), requests, pause));

    let mut rng = StdRng::seed_from_u64(SEED);
    for round in 0..3 {
        // Frozen in the middle of whatever it does, beyond its leases; the other goes on, and what wakes up finds its tokens outdated.
        let frozen = if round % 2 == 0 { &world.relayer } else { &second };
        sleep(Duration::from_millis(rng.random_range(300..2_000))).await;
        frozen.freeze().unwrap();
        sleep(BEYOND_THE_LEASE).await;
        frozen.thaw().unwrap();
        // Killed without a word.
        sleep(Duration::from_millis(rng.random_range(50..1_500))).await;
        let killed = if round % 2 == 0 {
            &mut second
        } else {
            &mut world.relayer
        };
        killed.kill().unwrap();
        sleep(Duration::from_millis(rng.random_range(50..1_500))).await;
        killed
            .start()
            .await
            .unwrap_or_else(|error| panic!("start in round {round} (seed {SEED}): {error:#}"));
    }
    tokio::time::timeout(PATIENCE, client)
        .await
        .expect("every submit is acknowledged")
        .unwrap();
    world.wait_states(&ids(&signed), &["settled"], PATIENCE).await.unwrap();
    // Each signer's lease changed hands at least once: both engines have sent.
    let hands = number(&url, "SELECT min(counter) FROM signer_lease");
    assert!(hands >= 2, "a lease never changed hands: {hands}");
    assert_one_transaction_per_intent(&url);
    assert_books(&world, &second, &signed).await;
}

/// Whether a process answers gRPC, and what it says about its readiness.
async fn faces(process: &RelayerProcess) -> (bool, bool) {
    let grpc = SettlementServiceClient::connect(process.grpc_url()).await.is_ok();
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let ready = alloy::transports::http::reqwest::get(format!("{}/readyz", process.rest_url())).await;
        let ready = ready.is_ok_and(|reply| reply.status().is_success());
        if ready || Instant::now() > until {
            return (grpc, ready);
        }
        sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn three_processes_with_one_role_each_share_the_work_and_hand_leases_over() {
    let Some((_server, url)) = server() else { return };
    let world = world(&url, "api").await;
    let mut engine = world.worker("engine", "engine").unwrap();
    let mut observer = world.worker("observer", "observer").unwrap();
    engine.start().await.unwrap();
    observer.start().await.unwrap();
    assert!(faces(&world.relayer).await.0, "the api answers gRPC");
    assert_eq!(faces(&engine).await, (false, true));
    assert_eq!(faces(&observer).await, (false, true));

    let first = signed(&world, 10).await;
    let requests = first.iter().map(|one| one.request.clone()).collect();
    submit_all(world.relayer.grpc_url(), requests, Duration::ZERO).await;
    world.wait_states(&ids(&first), &["settled"], PATIENCE).await.unwrap();

    // A clean stop gives the leases back: they are free now, by the database's clock, not when they would have run out.
    engine.stop().await.unwrap();
    let held = "SELECT count(*) FROM signer_lease \
                WHERE until_ms >= CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
    assert_eq!(number(&url, held), 0, "leases held by a process that is gone");
    assert!(number(&url, "SELECT count(*) FROM signer_lease") > 0);

    let mut replacement = world.worker("replacement", "engine").unwrap();
    replacement.start().await.unwrap();
    let second = signed(&world, 10).await;
    let requests = second.iter().map(|one| one.request.clone()).collect();
    submit_all(world.relayer.grpc_url(), requests, Duration::ZERO).await;
    world.wait_states(&ids(&second), &["settled"], PATIENCE).await.unwrap();
    assert_one_transaction_per_intent(&url);
    let all: Vec<Signed> = first.into_iter().chain(second).collect();
    assert_books(&world, &replacement, &all).await;
}
