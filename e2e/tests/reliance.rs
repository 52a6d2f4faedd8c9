//! Settlements that rely on a hub: what an allotment must show, and what becomes of them when the hub halts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use relayer::adapter::abi::ICommitChain;
use relayer_e2e::coordinator::Signed;
use relayer_e2e::devnet::hub::{HubOptions, NAME, PAYER, TOKEN};
use relayer_e2e::dispatches::wait_deposit;
use relayer_e2e::harness::{World, error_code, fresh_payee};
use relayer_proto::v1;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Eons of 24 seconds, and other tests on the same machine.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a settlement waits for company: longer than the hub takes to halt after its operator falls silent.
const LINGER: Duration = Duration::from_secs(90);
/// The payer has a deposit there since eon 1.
const EON: u64 = 3;

/// The payer's allotment, as a coordinator sends it.
async fn allotment(world: &World, eon: u64) -> v1::AllotmentProof {
    let hub = world.devnet.hub.as_ref().unwrap();
    let proof = hub.allotment(eon, TOKEN, PAYER).await.unwrap();
    let texts = |words: &[alloy::primitives::B256]| words.iter().map(ToString::to_string).collect();
    v1::AllotmentProof {
        hub: NAME.into(),
        eon,
        token: proof.token.to_string(),
        wallet: proof.wallet.to_string(),
        trail: proof.trail,
        token_trail: proof.tokenTrail,
        left: proof.left.to_string(),
        right: proof.right.to_string(),
        active_state_checksum: proof.activeStateChecksum.to_string(),
        passive_root: proof.passiveRoot.to_string(),
        passive_amount: proof.passiveAmount.to_string(),
        passive_marker: proof.passiveMarker.to_string(),
        allotment_chain: texts(&proof.allotmentChain),
        values: proof.values.iter().map(ToString::to_string).collect(),
        membership_chain: texts(&proof.membershipChain),
    }
}

async fn refusal(world: &World, signed: &Signed, allotment: v1::AllotmentProof) -> String {
    let mut request = signed.request.clone();
    request.allotment = Some(allotment);
    let answer = world.client().await.unwrap().submit(request).await;
    error_code(&answer.expect_err("an allotment that does not hold was accepted"))
}

/// Submits until it is accepted: that the hub can pay what it promises is judged a little later than that the checkpoint is final.
async fn submit_relying(world: &World, signed: &Signed, proof: &v1::AllotmentProof) {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut request = signed.request.clone();
        request.allotment = Some(proof.clone());
        match world.client().await.unwrap().submit(request).await {
            Ok(_) => return,
            Err(status) => {
                assert!(Instant::now() < until, "never accepted: {status}");
                sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

/// Of the newest checkpoint at the hub.
async fn newest_eon(world: &World) -> u64 {
    let hub = world.devnet.hub.as_ref().unwrap();
    let contract = ICommitChain::new(hub.contract, &world.devnet.source.anvil.provider);
    contract.lastSubmissionEon().call().await.unwrap().to()
}

async fn wait_eon(world: &World, eon: u64) {
    let until = Instant::now() + PATIENCE;
    while newest_eon(world).await < eon {
        assert!(Instant::now() < until, "no checkpoint of eon {eon}");
        sleep(Duration::from_millis(300)).await;
    }
}

async fn signed(world: &World, name: &str) -> Signed {
    world.signed(fresh_payee(name).unwrap(), 4).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_relies_on_a_hub_waits_when_it_halts_and_everything_else_is_paid() {
    let world = World::start(&|devnet, relayer| {
        devnet.hub = Some(HubOptions {
            quorum: 2,
            ..HubOptions::default()
        });
        relayer.linger_ms = LINGER.as_millis() as u64;
    })
    .await
    .unwrap();
    wait_deposit(&world).await.unwrap();
    wait_eon(&world, EON + 1).await;
    let relying = signed(&world, "relying").await;
    let proof = allotment(&world, EON).await;

    let bad = async |change: &dyn Fn(&mut v1::AllotmentProof)| {
        let mut altered = proof.clone();
        change(&mut altered);
        refusal(&world, &relying, altered).await
    };
    assert_eq!(bad(&|proof| proof.hub = "nobody".into()).await, "RLY-HUB-026");
    assert_eq!(bad(&|proof| proof.right += "0").await, "RLY-HUB-005");
    assert_eq!(bad(&|proof| proof.trail |= 1 << 40).await, "RLY-HUB-007");
    // Read to where it is final, it is known to be another root.
    let flip = |proof: &mut v1::AllotmentProof| proof.active_state_checksum = format!("0x{}", "11".repeat(32));
    let until = Instant::now() + PATIENCE;
    while bad(&flip).await != "RLY-HUB-006" {
        assert!(Instant::now() < until, "eon {EON} never became final");
        sleep(Duration::from_millis(500)).await;
    }
    let newest = newest_eon(&world).await;
    let early = allotment(&world, newest).await;
    assert_eq!(
        refusal(&world, &relying, early).await,
        "RLY-HUB-032",
        "it may still be challenged"
    );

    // The checkpoint has been judged when the allotment is accepted; then its operator falls silent.
    submit_relying(&world, &relying, &proof).await;
    let free = signed(&world, "free").await;
    world.submit(&free).await.unwrap();
    world.devnet.switches.change(|setting| setting.hub.submits = false);
    let late = signed(&world, "late").await;
    let until = Instant::now() + LINGER;
    let mut refused = String::new();
    while refused != "RLY-HUB-031" {
        assert!(
            Instant::now() < until,
            "the hub never halted for the relayer: {refused}"
        );
        sleep(Duration::from_secs(1)).await;
        let mut altered = proof.clone();
        // Refused in any case, so that nothing is accepted while it has not halted.
        flip(&mut altered);
        refused = refusal(&world, &late, altered).await;
    }
    world.wait_states(&[free.id], &["settled"], PATIENCE).await.unwrap();
    assert_eq!(world.state(relying.id).await.unwrap(), "accepted");
    let found = world.get(relying.id).await.unwrap();
    let relies = found.relies_on.expect("it relies on the hub");
    assert_eq!((relies.eon, relies.halted.as_str()), (EON, "missed_checkpoint"));
    assert_eq!(world.payments().await.unwrap().len(), 1);
    assert_eq!(world.drift().await.unwrap(), 0);
}
