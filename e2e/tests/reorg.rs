//! G8: reorgs of depth 1 to 8 on both chains, at each state a dispatch and an execution can be in while their block is not final.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy::primitives::U256;
use relayer::adapter::SettlementId;
use relayer_e2e::harness::{PATIENCE, World, fresh_payee};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// States in which a reorg can still take something away.
const SOURCE_STATES: [&str; 2] = ["submitted", "included"];
const TARGET_STATES: [&str; 2] = ["submitted", "included"];
const BLOCK: Duration = Duration::from_millis(300);

/// Waits until `look` finds one of the states at or beyond `wanted`; reports which.
async fn reached(world: &World, id: SettlementId, wanted: &str, source: bool) -> String {
    let order = ["planned", "prepared", "submitted", "included", "finalized"];
    let rank = |state: &str| order.iter().position(|name| *name == state);
    let until = Instant::now() + PATIENCE;
    loop {
        let found = world.get(id).await.unwrap();
        let mut states = found.messages.iter().flat_map(|message| {
            let dispatches = message.dispatches.iter().map(|dispatch| dispatch.source_state.clone());
            let executions = message.executions.iter().map(|execution| execution.state.clone());
            if source {
                dispatches.collect::<Vec<_>>()
            } else {
                executions.collect()
            }
        });
        if let Some(state) = states.rfind(|state| rank(state) >= rank(wanted)) {
            return state;
        }
        assert!(Instant::now() < until, "{id} never reached {wanted}: {found:#?}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn every_depth_at_every_state_on_both_chains_ends_paid_once() {
    let world = Arc::new(
        World::start(&|options, relayer| {
            options.finality_depth = 10;
            options.confirmations = 9;
            relayer.linger_ms = 100;
            relayer.timeout = 60;
        })
        .await
        .unwrap(),
    );
    // Blocks by hand, faster than anvil's one a second, so that finality does not take minutes.
    for chain in [&world.devnet.source, &world.devnet.target] {
        chain.anvil.stop_mining().await.unwrap();
    }
    let miner = tokio::spawn({
        let world = Arc::clone(&world);
        async move {
            loop {
                for chain in [&world.devnet.source, &world.devnet.target] {
                    chain.anvil.mine(1).await.unwrap();
                }
                sleep(BLOCK).await;
            }
        }
    });
    let deposited = U256::from(world.devnet.options.deposit) * world.coordinator.unit;
    let mut signed = Vec::new();
    let mut hit = Vec::new();
    for depth in 1..=8u64 {
        for (source_state, target_state) in SOURCE_STATES.into_iter().zip(TARGET_STATES) {
            let payee = fresh_payee(&format!("reorg {depth} {source_state}")).unwrap();
            let one = world.signed(payee, 1 + depth).await.unwrap();
            world.submit(&one).await.unwrap();
            let at = reached(&world, one.id, source_state, true).await;
            world.devnet.source.anvil.reorg(depth).await.unwrap();
            let then = reached(&world, one.id, target_state, false).await;
            world.devnet.target.anvil.reorg(depth).await.unwrap();
            hit.push(format!("depth {depth}: source at {at}, target at {then}"));
            signed.push(one);
        }
    }
    let ids: Vec<SettlementId> = signed.iter().map(|one| one.id).collect();
    let settled = world.wait_states(&ids, &["settled"], PATIENCE * 2);
    timeout(PATIENCE * 2, settled)
        .await
        .unwrap()
        .unwrap_or_else(|error| panic!("{error:#}\n{}", hit.join("\n")));
    world.assert_paid_exactly_once(&signed, deposited).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.drift().await.unwrap(), 0);
    miner.abort();
}
