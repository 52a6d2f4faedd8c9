//! Settlements over CCIP 2.0 alone, where nobody but the relayer executes messages, from results it reads over the public REST.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy::primitives::U256;
use relayer::adapter::SettlementId;
use relayer_adapter_ccip::Version;
use relayer_e2e::devnet::ccip::BRIDGE;
use relayer_e2e::harness::{PATIENCE, World, fresh_payee};

#[tokio::test(flavor = "multi_thread")]
async fn over_ccip_2_0_the_relayer_executes_by_itself_what_the_verifiers_attested() {
    let world = World::start(&|devnet, relayer| {
        devnet.ccip = Some(Version::V2_0);
        relayer.bridges.clear();
        relayer.default_bridge = Some(BRIDGE.to_owned());
    })
    .await
    .unwrap();
    let mut signed = Vec::new();
    for n in 0..10u64 {
        let one = world
            .signed(fresh_payee(&format!("{}", n % 3)).unwrap(), 1 + n)
            .await
            .unwrap();
        world.submit(&one).await.unwrap();
        signed.push(one);
    }
    let ids: Vec<SettlementId> = signed.iter().map(|one| one.id).collect();
    world.wait_states(&ids, &["settled"], PATIENCE).await.unwrap();
    let deposited = U256::from(world.devnet.options.deposit) * world.coordinator.unit;
    world.assert_paid_exactly_once(&signed, deposited).await.unwrap();
}
