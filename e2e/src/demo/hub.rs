//! A hub whose checkpoints the other chain learns. What the registry there holds is compared with the hub's own contract.

use super::say;
use crate::carriage::{Heads, carried_checkpoints};
use crate::devnet::hub::{PAYER, TOKEN};
use crate::harness::{PATIENCE, World};
use anyhow::{Context, Result, ensure};
use relayer::adapter::abi::{ICheckpointRegistry, ICommitChain};
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Checkpoints the demo waits for.
const EONS: usize = 3;

/// What the other chain knows of the hub.
#[derive(Debug, Clone, Serialize)]
pub struct HubFigures {
    /// Eons whose checkpoints are recorded there.
    pub eons: Vec<u64>,
    /// Of them final: a later one is recorded.
    pub finalized: u64,
    /// Bridges that brought them.
    pub bridges: BTreeSet<String>,
    pub record_gas: u64,
}

/// Waits until enough checkpoints are recorded over two bridges each, and holds them against the hub's contract.
pub async fn checkpoints(world: &World, after: Heads) -> Result<HubFigures> {
    let target = &world.devnet.target;
    let hub = world.devnet.hub.as_ref().context("a devnet without a hub")?;
    let registry = target.registry.context("a target without a registry")?;
    let registry = ICheckpointRegistry::new(registry, &target.anvil.provider);
    let id = registry.hubIdOf(hub.chain, hub.contract).call().await?;
    let until = Instant::now() + PATIENCE;
    let recorded = loop {
        let last = registry.stateOf(id).call().await?.lastEon;
        let mut found = Vec::new();
        for eon in last.saturating_sub(9).max(1)..=last {
            let one = registry.checkpointOf(id, eon).call().await?;
            if !one.root.is_zero() {
                found.push((eon, one));
            }
        }
        if found.len() >= EONS {
            break found;
        }
        ensure!(
            Instant::now() < until,
            "{} checkpoints were recorded; the log is {}",
            found.len(),
            world.relayer.log_path().display()
        );
        sleep(Duration::from_millis(500)).await;
    };
    let carried = carried_checkpoints(&world.devnet, after).await?;
    let contract = ICommitChain::new(hub.contract, &world.devnet.source.anvil.provider);
    let mut bridges = BTreeSet::new();
    for (eon, one) in &recorded {
        let there = contract.getCheckpointAtSlot((eon % 5) as u8).call().await?;
        // The hub keeps five; an older one is no longer there to be compared.
        if there.eon == alloy::primitives::U256::from(*eon) {
            ensure!(there.merkleRoot == one.root, "eon {eon} has another root at the hub");
        }
        let wanted = hub.message([&world.devnet.source, target], *eon, one.root).id().0;
        let way = carried.iter().find(|one| one.message == wanted);
        let way = way.with_context(|| format!("nobody carried the checkpoint of eon {eon}"))?;
        let by: BTreeSet<&str> = way.received.iter().map(|leg| leg.bridge.as_str()).collect();
        ensure!(by.len() >= 2, "eon {eon} was recorded on the word of {by:?}");
        bridges.extend(by.into_iter().map(str::to_owned));
    }
    let is_final = |standing: &ICheckpointRegistry::Standing| *standing == ICheckpointRegistry::Standing::Final;
    let finals: Vec<u64> = recorded
        .iter()
        .filter(|(_, one)| is_final(&one.standing))
        .map(|(eon, _)| *eon)
        .collect();
    let newest = *finals.last().context("no checkpoint is final")?;
    let allotment = hub.allotment(newest, TOKEN, PAYER).await?;
    let verified = registry.verifyAllotment(id, newest, allotment).call().await?;
    ensure!(
        verified.holds && is_final(&verified.standing),
        "the payer's allotment of eon {newest} does not hold on the other chain"
    );
    let balances = hub.balances(newest).await?;
    ensure!(
        verified.upperBound == balances.checkpoint.tokens()[TOKEN].accounts.upper_bound(),
        "the other chain has another upper bound of eon {newest} than the hub"
    );
    let eons: Vec<u64> = recorded.iter().map(|(eon, _)| *eon).collect();
    say(format!(
        "7. A hub on the source chain commits its ledger every {} blocks. The other chain knows the checkpoints of eons {eons:?}, {} of them final,\n   \
         each brought by two bridges ({}), each root as the hub's own contract has it; the payer's allotment of eon {newest} holds there",
        hub.blocks_per_eon,
        finals.len(),
        bridges.iter().cloned().collect::<Vec<_>>().join(", "),
    ));
    Ok(HubFigures {
        eons,
        finalized: finals.len() as u64,
        bridges,
        record_gas: record_gas(world).await?,
    })
}

/// Gas of the newest recording.
async fn record_gas(world: &World) -> Result<u64> {
    use alloy::providers::Provider;
    use alloy::sol_types::SolEvent;
    let target = &world.devnet.target;
    let filter = alloy::rpc::types::Filter::new()
        .address(target.registry.context("a target without a registry")?)
        .event_signature(ICheckpointRegistry::CheckpointRecorded::SIGNATURE_HASH)
        .from_block(target.start_block);
    let logs = target.anvil.provider.get_logs(&filter).await?;
    let log = logs.last().context("nothing was recorded")?;
    let hash = log.transaction_hash.context("a log without a transaction")?;
    let receipt = target.anvil.provider.get_transaction_receipt(hash).await?;
    Ok(receipt.context("a receipt vanished")?.gas_used)
}
