//! G1, G2: kill -9 at seeded random moments under load loses nothing accepted and pays nothing twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy::primitives::U256;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use relayer::adapter::SettlementId;
use relayer_e2e::harness::{PATIENCE, World, fresh_payee, surely};
use std::time::Duration;
use tokio::time::sleep;

const KILLS: u32 = 20;
const SETTLEMENTS: u64 = 100;
const SEED: u64 = 20_261_121;

#[tokio::test]
async fn twenty_kills_under_load_pay_everything_exactly_once() {
    let mut world = World::start(&|_, relayer| {
        relayer.batch_max = 8;
        relayer.linger_ms = 300;
    })
    .await
    .unwrap();
    let deposited = U256::from(world.devnet.options.deposit) * world.coordinator.unit;
    let mut signed = Vec::new();
    for n in 0..SETTLEMENTS {
        signed.push(
            world
                .signed(fresh_payee(&format!("{}", n % 11)).unwrap(), 1 + n % 13)
                .await
                .unwrap(),
        );
    }

    // A client that never stops asking until it has an answer, on the address every restart listens on.
    let url = world.relayer.grpc_url();
    let requests: Vec<_> = signed.iter().map(|one| one.request.clone()).collect();
    let client = tokio::spawn(async move {
        for request in requests {
            surely(&url, async |mut client| client.submit(request.clone()).await)
                .await
                .unwrap();
            sleep(Duration::from_millis(150)).await;
        }
    });

    let mut rng = StdRng::seed_from_u64(SEED);
    for kill in 0..KILLS {
        let pause = rng.random_range(50..1_800);
        sleep(Duration::from_millis(pause)).await;
        world.relayer.kill().unwrap();
        world
            .relayer
            .start()
            .await
            .unwrap_or_else(|error| panic!("start after kill {kill} (seed {SEED}): {error:#}"));
    }
    tokio::time::timeout(PATIENCE, client)
        .await
        .expect("every submit is acknowledged")
        .unwrap();

    let ids: Vec<SettlementId> = signed.iter().map(|one| one.id).collect();
    world.wait_states(&ids, &["settled"], PATIENCE).await.unwrap();
    world.assert_paid_exactly_once(&signed, deposited).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.drift().await.unwrap(), 0, "books after {KILLS} kills");
}
