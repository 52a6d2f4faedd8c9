//! Settlements over Wormhole alone: the relayer itself brings every message in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy::primitives::U256;
use relayer::adapter::SettlementId;
use relayer_e2e::devnet::WORMHOLE_BRIDGE;
use relayer_e2e::devnet::guardians::Endpoint;
use relayer_e2e::harness::{PATIENCE, World, fresh_payee};
use std::time::Instant;

#[tokio::test]
async fn a_hundred_settlements_are_paid_once_over_wormhole_alone() {
    let world = World::start(&|_, relayer| {
        relayer.bridges = vec![WORMHOLE_BRIDGE.into()];
        relayer.batch_max = 32;
    })
    .await
    .unwrap();
    let deposited = U256::from(world.devnet.options.deposit) * world.coordinator.unit;
    // Two of three endpoints are of no use all the time.
    world.devnet.switches.change(|setting| {
        setting.guardians.endpoints = vec![Endpoint::WrongPayload, Endpoint::Down, Endpoint::Honest];
    });
    let started = Instant::now();
    let mut signed = Vec::new();
    for n in 0..100u64 {
        let payee = fresh_payee(&format!("wormhole {}", n % 9)).unwrap();
        let one = world.signed(payee, 1 + n % 9).await.unwrap();
        world.submit(&one).await.unwrap();
        signed.push(one);
    }
    let ids: Vec<SettlementId> = signed.iter().map(|one| one.id).collect();
    world.wait_states(&ids, &["settled"], PATIENCE).await.unwrap();
    eprintln!("100 settlements over Wormhole alone: {:?}", started.elapsed());
    world.assert_paid_exactly_once(&signed, deposited).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    assert_eq!(world.drift().await.unwrap(), 0);
}
