//! Bad luck of databases: PostgreSQL killed and restarted under load. A full disk is a test of the intake
//! on SQLite and of the store on PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy::primitives::U256;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use relayer::adapter::SettlementId;
use relayer_e2e::coordinator::Signed;
use relayer_e2e::harness::{PATIENCE, World, error_code, fresh_payee};
use relayer_e2e_postgres::Server;
use relayer_proto::v1::settlement_service_client::SettlementServiceClient;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tonic::Code;

const KILLS: u32 = 3;
const CLIENTS: usize = 8;
const SETTLEMENTS: u64 = 120;
const SEED: u64 = 20_261_123;

/// Submits each until it is acknowledged; counts the answers that leave the outcome open.
async fn submit_all(url: String, mine: Vec<Signed>, unknown: Arc<AtomicUsize>) {
    let mut client = SettlementServiceClient::connect(url).await.unwrap();
    for one in mine {
        let until = Instant::now() + PATIENCE;
        loop {
            match client.submit(one.request.clone()).await {
                Ok(reply) => {
                    assert_eq!(reply.into_inner().settlement_id, one.id.to_string());
                    break;
                }
                // The process lives on, so there is no other excuse than the database.
                Err(status) => {
                    assert_eq!(status.code(), Code::Unavailable, "{status}");
                    assert_eq!(error_code(&status), "RLY-INTAKE-051", "{status}");
                    assert!(status.message().contains("unknown, resubmit"), "{status}");
                    unknown.fetch_add(1, Ordering::SeqCst);
                }
            }
            assert!(Instant::now() < until, "never acknowledged");
            sleep(Duration::from_millis(50)).await;
        }
        sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_killed_under_load_loses_nothing_and_pays_nothing_twice() {
    let Some(mut server) = Server::start().unwrap() else {
        eprintln!("skipped: PostgreSQL is not installed");
        return;
    };
    let url = server.create_database("relayer").unwrap();
    let world = World::start(&|_, relayer| {
        relayer.batch_max = 8;
        relayer.linger_ms = 300;
        relayer.store_url = Some(url.clone());
    })
    .await
    .unwrap();
    let process = world.relayer.pid();
    let mut signed = Vec::new();
    for n in 0..SETTLEMENTS {
        let payee = fresh_payee(&format!("database {}", n % 7)).unwrap();
        signed.push(world.signed(payee, 1 + n % 5).await.unwrap());
    }
    let unknown = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let mine = signed.iter().skip(client).step_by(CLIENTS).cloned().collect();
            tokio::spawn(submit_all(world.relayer.grpc_url(), mine, unknown.clone()))
        })
        .collect();

    let mut rng = StdRng::seed_from_u64(SEED);
    for _ in 0..KILLS {
        sleep(Duration::from_millis(rng.random_range(300..1_200))).await;
        // The server's own start takes a moment; nobody else may be kept from running by it.
        tokio::task::block_in_place(|| {
            server.kill();
            std::thread::sleep(Duration::from_millis(500));
            server.run().unwrap();
        });
    }
    for client in clients {
        tokio::time::timeout(PATIENCE, client)
            .await
            .expect("acknowledged in time")
            .unwrap();
    }
    assert!(unknown.load(Ordering::SeqCst) > 0, "no kill met a submission");

    // Resubmitting what was accepted gives the original answer.
    for one in &signed {
        assert!(
            world.submit(one).await.unwrap().duplicate,
            "{} was accepted anew",
            one.id
        );
    }
    let ids: Vec<SettlementId> = signed.iter().map(|one| one.id).collect();
    world.wait_states(&ids, &["settled"], PATIENCE).await.unwrap();
    let deposited = U256::from(world.devnet.options.deposit) * world.coordinator.unit;
    world.assert_paid_exactly_once(&signed, deposited).await.unwrap();
    sleep(Duration::from_secs(8)).await;
    assert_eq!(
        world.drift().await.unwrap(),
        0,
        "books after {KILLS} kills of the database"
    );
    assert_eq!(world.relayer.pid(), process, "the relayer was restarted");
}
