//! Hubs on real chains: NOCUST's rules in our devnet contract, the operator that plays them, and the registry on another chain that learns its
//! checkpoints over the real bridges.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy::primitives::{B256, U256, keccak256};
use alloy::providers::Provider;
use alloy::rpc::types::Filter;
use alloy::signers::SignerSync;
use alloy::sol_types::SolEvent;
use anyhow::{Context, Result, ensure};
use relayer::adapter::abi::ICheckpointRegistry::Standing;
use relayer::adapter::abi::{ICheckpointRegistry, ICommitChain, ISettlementOutbox, IWormholePort};
use relayer::hub::model::Account;
use relayer_e2e::devnet::hub::{Hub, HubOptions, PAYER, TOKEN};
use relayer_e2e::devnet::layerzero::call;
use relayer_e2e::devnet::{BRIDGES, Devnet, Options, WORMHOLE_BRIDGE};
use relayer_e2e::dispatches::wait_deposit;
use relayer_e2e::harness::{World, fresh_payee};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Eons of 24 seconds, and other tests on the same machine.
const PATIENCE: Duration = Duration::from_secs(300);

fn hub_options(quorum: u8) -> HubOptions {
    HubOptions {
        quorum,
        ..HubOptions::default()
    }
}

fn contract(devnet: &Devnet) -> ICommitChain::ICommitChainInstance<alloy::providers::DynProvider> {
    let hub = devnet.hub.as_ref().unwrap();
    ICommitChain::new(hub.contract, devnet.source.anvil.provider.clone())
}

fn registry(devnet: &Devnet) -> ICheckpointRegistry::ICheckpointRegistryInstance<alloy::providers::DynProvider> {
    ICheckpointRegistry::new(devnet.target.registry.unwrap(), devnet.target.anvil.provider.clone())
}

async fn wait<F>(what: &str, is: impl Fn() -> F) -> Result<()>
where
    F: Future<Output = Result<bool>>,
{
    let until = Instant::now() + PATIENCE;
    while !is().await.unwrap_or(false) {
        ensure!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(300)).await;
    }
    Ok(())
}

/// Waits for the hub's checkpoint of an eon, or a later one.
async fn wait_eon(devnet: &Devnet, eon: u64) -> Result<()> {
    let hub = contract(devnet);
    let reached = || async { Ok(hub.lastSubmissionEon().call().await? >= U256::from(eon)) };
    wait(&format!("the checkpoint of eon {eon}"), reached).await
}

/// Root of an eon the hub still keeps.
async fn root_of(devnet: &Devnet, eon: u64) -> Result<B256> {
    let slot = u8::try_from(eon % 5)?;
    let found = contract(devnet).getCheckpointAtSlot(slot).call().await?;
    ensure!(found.eon == U256::from(eon), "eon {eon} is not in its slot any more");
    Ok(found.merkleRoot)
}

/// Whether the hub's own contract accepts every wallet's proof against its checkpoint, solvency included.
async fn assert_every_allotment_holds(devnet: &Devnet, hub: &Hub, eon: u64) -> Result<()> {
    for token in 0..hub.tokens.len() {
        for wallet in 0..hub.wallets.len() {
            let proof = hub.allotment(eon, token, wallet).await?;
            let holds = contract(devnet)
                .verifyProofOfExclusiveAccountBalanceAllotment(
                    proof.token,
                    proof.wallet,
                    [proof.activeStateChecksum, proof.passiveRoot],
                    proof.trail,
                    [U256::from(eon), proof.passiveAmount, proof.passiveMarker],
                    proof.allotmentChain,
                    proof.membershipChain,
                    proof.values,
                    [proof.left, proof.right],
                )
                .call()
                .await
                .with_context(|| format!("eon {eon}, token {token}, wallet {wallet}"))?;
            ensure!(holds);
        }
    }
    Ok(())
}

async fn count<E: SolEvent>(devnet: &Devnet) -> Result<usize> {
    let hub = devnet.hub.as_ref().context("no hub")?;
    let filter = Filter::new()
        .address(hub.contract)
        .from_block(hub.genesis)
        .event_signature(E::SIGNATURE_HASH);
    Ok(devnet.source.anvil.provider.get_logs(&filter).await?.len())
}

/// No relayer: the operator alone, held against its own contract.
#[tokio::test(flavor = "multi_thread")]
async fn the_devnet_s_hub_lives_by_its_contract_s_rules_until_its_operator_misses_an_eon() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::new(folder.path());
    options.hub = Some(hub_options(1));
    let devnet = Devnet::start(options).await.unwrap();
    let hub = devnet.hub.clone().unwrap();
    wait_eon(&devnet, 4).await.unwrap();
    for eon in 1..=4 {
        let built = hub.balances(eon).await.unwrap();
        assert_eq!(
            root_of(&devnet, eon).await.unwrap(),
            built.checkpoint.root(),
            "eon {eon}"
        );
    }
    // Eon 3 saw the first payment off chain and a withdrawal, so eon 4 commits to states that wallets signed.
    let four = hub.balances(4).await.unwrap();
    let is_plain = |account: &Account| account.active_state_checksum.is_zero() && account.passive.amount.is_zero();
    assert!(four.allotments[TOKEN].iter().any(|one| !is_plain(&one.account)));
    assert_every_allotment_holds(&devnet, &hub, 4).await.unwrap();
    assert!(count::<ICommitChain::WithdrawalRequest>(&devnet).await.unwrap() > 0);

    devnet.switches.change(|setting| setting.hub.challenges = true);
    let answered = || async { Ok(count::<ICommitChain::StateUpdate>(&devnet).await? > 0) };
    wait("a challenge and its answer", answered).await.unwrap();
    devnet.switches.change(|setting| setting.hub.challenges = false);

    devnet.switches.change(|setting| setting.hub.submits = false);
    let halted = || async { Ok(contract(&devnet).hasMissedCheckpointSubmission().call().await?) };
    wait("the missed checkpoint", halted).await.unwrap();
}

async fn world() -> World {
    let world = World::start(&|devnet, relayer| {
        devnet.hub = Some(hub_options(2));
        relayer.bridges = vec![BRIDGES[0].into(), WORMHOLE_BRIDGE.into()];
        relayer.timeout = 600;
    })
    .await
    .unwrap();
    wait_deposit(&world).await.unwrap();
    world
}

/// Waits until the registry knows an eon or a later one, and says what of the relayer's log may explain why it does not.
async fn wait_recorded(world: &World, eon: u64) -> Result<()> {
    let registry = registry(&world.devnet);
    let id = hub_id(&world.devnet);
    let recorded = || async { Ok(registry.stateOf(id).call().await?.lastEon >= eon) };
    let waited = wait(&format!("eon {eon} in the registry"), recorded).await;
    let log = || {
        let text = std::fs::read_to_string(world.relayer.log_path()).unwrap_or_default();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("hub") || line.contains("WARN"))
            .collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    };
    waited.with_context(log)
}

fn hub_id(devnet: &Devnet) -> B256 {
    let hub = devnet.hub.as_ref().unwrap();
    let mut words = [0_u8; 64];
    words[24..32].copy_from_slice(&hub.chain.to_be_bytes());
    words[44..].copy_from_slice(hub.contract.as_slice());
    keccak256(words)
}

/// Ports that carried checkpoints, by eon.
async fn carried(devnet: &Devnet) -> Result<BTreeMap<u64, BTreeSet<String>>> {
    let source = &devnet.source;
    let filter = Filter::new()
        .address(source.outbox)
        .from_block(source.start_block)
        .event_signature(ISettlementOutbox::MessageDispatched::SIGNATURE_HASH);
    let mut found: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for log in source.anvil.provider.get_logs(&filter).await? {
        let event = log.log_decode::<ISettlementOutbox::MessageDispatched>()?.inner.data;
        if event.count == 0 {
            let name = source.ports.iter().find(|(_, port)| **port == event.port);
            let name = name.map(|(name, _)| name.clone()).unwrap_or_default();
            ensure!(
                found.entry(event.sequence).or_default().insert(name.clone()),
                "eon {} went over {name} twice",
                event.sequence
            );
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_reach_another_chain_over_two_families_while_settlements_flow() {
    let world = world().await;
    let devnet = &world.devnet;
    let hub = devnet.hub.clone().unwrap();
    let registry = registry(devnet);
    let id = hub_id(devnet);

    let mut signed = Vec::new();
    for eon in 3..=5 {
        let one = world
            .signed(fresh_payee(&format!("eon {eon}")).unwrap(), 4)
            .await
            .unwrap();
        world.submit(&one).await.unwrap();
        signed.push(one);
        wait_recorded(&world, eon).await.unwrap();
    }
    let last = registry.stateOf(id).call().await.unwrap().lastEon;
    let mut finals = 0;
    for eon in 2..=last {
        let found = registry.checkpointOf(id, eon).call().await.unwrap();
        if found.root.is_zero() {
            continue;
        }
        let checkpoint = hub.balances(eon).await.unwrap().checkpoint;
        assert_eq!(found.root, checkpoint.root(), "eon {eon}");
        finals += usize::from(found.standing == Standing::Final);
        let allotment = hub.allotment(eon, TOKEN, PAYER).await.unwrap();
        assert!(allotment.right > allotment.left);
        let answer = registry
            .verifyAllotment(id, eon, allotment.clone())
            .call()
            .await
            .unwrap();
        assert!(answer.holds, "eon {eon}");
        assert_eq!(answer.upperBound, checkpoint.tokens()[TOKEN].accounts.upper_bound());
        let mut more = allotment.clone();
        more.right += U256::ONE;
        let answer = registry.verifyAllotment(id, eon, more).call().await.unwrap();
        assert_eq!((answer.holds, answer.upperBound), (false, U256::ZERO));
        let mut above = allotment;
        above.trail |= 1 << 40;
        assert!(!registry.verifyAllotment(id, eon, above).call().await.unwrap().holds);
    }
    assert!(finals >= 2, "only {finals} of the eons up to {last} are final");
    let carried = carried(devnet).await.unwrap();
    let both = carried.values().filter(|ports| ports.len() == 2).count();
    assert!(both >= 3, "{carried:?}");

    let ids: Vec<_> = signed.iter().map(|one| one.id).collect();
    world.wait_states(&ids, &["settled"], PATIENCE).await.unwrap();
    assert_eq!(world.payments().await.unwrap().len(), signed.len());
    assert_eq!(world.drift().await.unwrap(), 0);
}

/// Has Wormhole's guardians sign a root that the hub never had, and brings it through the real port.
async fn bring_forged(devnet: &Devnet, hub: &Hub, eon: u64, root: B256) {
    let (source, target) = (&devnet.source, &devnet.target);
    let payload = hub.message([source, target], eon, root).encode();
    // Wormhole's sequence, far from those of honest messages: each is taken once.
    let vaa = devnet
        .guardians
        .forge(0, source.ports[WORMHOLE_BRIDGE], 1_000_000, payload)
        .unwrap();
    let thief = devnet.wallet(target, &devnet.accounts.payee).unwrap();
    let bring = IWormholePort::executeVAAv1Call { vaa };
    call(&thief, target.ports[WORMHOLE_BRIDGE], bring).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_root_freezes_the_hub_on_the_other_chain_until_its_owner_chose() {
    let world = world().await;
    let devnet = &world.devnet;
    let hub = devnet.hub.clone().unwrap();
    let registry = registry(devnet);
    let id = hub_id(devnet);
    wait_recorded(&world, 3).await.unwrap();

    // The operator signs another root for an eon that is recorded, and one bridge lies with it: two families, as many as vouched for the truth.
    let eon = registry.stateOf(id).call().await.unwrap().lastEon;
    let forged = keccak256("forged");
    bring_forged(devnet, &hub, eon, forged).await;
    let digest = registry
        .checkpointDigest(hub.chain, hub.contract, eon, forged)
        .call()
        .await
        .unwrap();
    let signature = hub.operator.sign_hash_sync(&digest).unwrap().as_bytes().to_vec().into();
    let admin = devnet.wallet(&devnet.target, &devnet.accounts.admin).unwrap();
    let word = ICheckpointRegistry::recordSignedCall {
        chain: hub.chain,
        hub: hub.contract,
        eon,
        root: forged,
        signature,
    };
    call(&admin, *registry.address(), word).await.unwrap();
    let found = registry.checkpointOf(id, eon).call().await.unwrap();
    assert_eq!((found.standing, found.other), (Standing::Conflicting, forged));
    let state = registry.stateOf(id).call().await.unwrap();
    assert!(state.frozen);
    let true_root = found.root;

    // Nothing more is recorded meanwhile.
    let last = state.lastEon;
    wait_eon(devnet, last + 1).await.unwrap();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(registry.stateOf(id).call().await.unwrap().lastEon, last);

    let announcement = ICheckpointRegistry::announceResolutionCall {
        hubId: id,
        eon,
        root: true_root,
    };
    call(&admin, *registry.address(), announcement).await.unwrap();
    devnet.target.anvil.increase_time(3_601).await.unwrap();
    let resolution = ICheckpointRegistry::resolveCall {
        hubId: id,
        eon,
        root: true_root,
    };
    call(&admin, *registry.address(), resolution).await.unwrap();
    wait_recorded(&world, last + 1).await.unwrap();
    assert_eq!(registry.checkpointOf(id, eon).call().await.unwrap().root, true_root);
}
