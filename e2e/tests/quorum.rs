//! G5: above a value two bridges of different families must agree, and one that lies moves nothing and is found out. The running relayer over
//! the real contracts of LayerZero, CCIP and Wormhole.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy::primitives::{B256, U256, keccak256};
use relayer::adapter::SettlementId;
use relayer::adapter::abi::{ISettlementInbox, IWormholePort};
use relayer::store::DriftClass;
use relayer_adapter_ccip::Version;
use relayer_e2e::coordinator::Signed;
use relayer_e2e::devnet::layerzero::call;
use relayer_e2e::devnet::{BRIDGES, WORMHOLE_BRIDGE};
use relayer_e2e::dispatches::{
    assert_fees_booked, dispatches, execute_one, families, header, is_done, is_sent, store, wait_deposit,
    wait_dispatches, would_skip,
};
use relayer_e2e::harness::{World, fresh_payee};
use relayer_e2e::metrics::{labelled, scrape};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Three protocols, their roles and the relayer share the machine with other tests.
const PATIENCE: Duration = Duration::from_secs(300);
/// Above the devnet token's first limit of 10,000 tokens, in quarters.
const HIGH: u64 = 4 * 20_000;
/// ISettlementInbox.Skip
const NONE: u8 = 0;
const QUORUM_SHORT: u8 = 5;
const ALARM: &str = "RLY-RECONCILER-005";

async fn world() -> World {
    let world = World::start(&|devnet, relayer| {
        devnet.ccip = Some(Version::V1_6);
        relayer.bridges = vec![BRIDGES[0].into(), WORMHOLE_BRIDGE.into()];
        // No failover within the test: who is asked first must answer.
        relayer.timeout = 600;
    })
    .await
    .unwrap();
    wait_deposit(&world).await.unwrap();
    // Nothing is free.
    let fee = U256::from(10).pow(U256::from(15));
    world.devnet.guardians.set_fee(0, fee).await.unwrap();
    world
}

/// Which families bring nothing for now.
fn hold(world: &World, layerzero: bool, others: bool) {
    world.devnet.switches.change(|setting| {
        setting.dvn = !layerzero;
        setting.guardians.signing = !others;
        setting.ccip.commits = !others;
    });
}

async fn submit(world: &World, name: &str, quarters: u64) -> Signed {
    let one = world.signed(fresh_payee(name).unwrap(), quarters).await.unwrap();
    world.submit(&one).await.unwrap();
    one
}

fn family(bridge: &str) -> &str {
    bridge.trim_end_matches("-b")
}

async fn paid(world: &World, one: &Signed) -> usize {
    world.payments().await.unwrap().get(&one.id.0).copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn above_a_limit_two_families_must_agree_and_a_bridge_that_lies_moves_nothing_and_is_found_out() {
    let mut world = world().await;
    let mut signed = vec![two_votes_pay_and_one_does_not(&world).await];
    let sends = signed_by_guardians_alone(&mut world, &mut signed).await;
    honest_traffic_goes_on(&world, &mut signed, sends).await;
    the_alarm_ends_with_the_port(&world).await;
}

async fn two_votes_pay_and_one_does_not(world: &World) -> Signed {
    hold(world, false, true);
    let one = submit(world, "of value", HIGH).await;
    let is_held = |all: &[relayer_proto::v1::Dispatch]| {
        all.len() == 2 && all.iter().all(is_sent) && all.iter().any(|one| one.target_state == "received")
    };
    let two = wait_dispatches(world, one.id, "two sent, one arrived", PATIENCE, is_held)
        .await
        .unwrap();
    let names: BTreeSet<&str> = two.iter().map(|dispatch| family(&dispatch.bridge)).collect();
    assert_eq!(names.len(), 2, "both over one family: {names:?}");
    let arrived = two.iter().map(|dispatch| dispatch.received_at_ms).max().unwrap();
    assert!(
        two.iter().all(|dispatch| dispatch.planned_at_ms < arrived),
        "one after the other, not at once"
    );

    // The first vote is there. Nobody pays on it: not the relayer, and not the contract whoever asks it.
    let message = world.get(one.id).await.unwrap().messages.remove(0);
    let bytes = message.header.parse().unwrap();
    let target = &world.devnet.target;
    let forced = execute_one(&bytes, &[one.id], &one).unwrap();
    assert_eq!(would_skip(target, forced.clone()).await.unwrap(), QUORUM_SHORT);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(families(target, keccak256(&bytes)).await.unwrap(), 1);
    assert_eq!(world.state(one.id).await.unwrap(), "dispatched");
    assert!(world.payments().await.unwrap().is_empty(), "paid on one vote");

    hold(world, false, false);
    world.wait_states(&[one.id], &["settled"], PATIENCE).await.unwrap();
    let all_done = |all: &[relayer_proto::v1::Dispatch]| all.iter().all(is_done);
    let two = wait_dispatches(world, one.id, "both arrived", PATIENCE, all_done)
        .await
        .unwrap();
    assert_eq!(two.len(), 2, "a third family was paid for nothing");
    assert_eq!(families(target, keccak256(&bytes)).await.unwrap(), 2);
    assert_fees_booked(world, 2).await.unwrap();
    sleep(Duration::from_secs(4)).await;
    assert_eq!(world.drift().await.unwrap(), 0);
    one
}

/// Wormhole's guardians are turned: they sign a message that was never sent, over two settlements whose terms the payer really signed.
/// Returns how many dispatches there are now.
async fn signed_by_guardians_alone(world: &mut World, signed: &mut Vec<Signed>) -> usize {
    hold(world, true, true);
    let low = submit(world, "below the limit", 4).await;
    let high = submit(world, "above the limit", HIGH).await;
    let ids = [low.id, high.id];
    for (one, wanted) in [(&low, 1), (&high, 2)] {
        let sent = |all: &[relayer_proto::v1::Dispatch]| all.len() == wanted && all.iter().all(is_sent);
        wait_dispatches(world, one.id, "sent honestly and held", PATIENCE, sent)
            .await
            .unwrap();
    }
    let forged = forge(world, 1_000_000, &ids).await;

    // Whoever turned the guardians executes by hand. What needs two families stays unpaid.
    let target = &world.devnet.target;
    assert_eq!(families(target, forged).await.unwrap(), 1);
    let bytes = header(world, 1_000_000, &ids).unwrap();
    let thief = world.devnet.wallet(target, &world.devnet.accounts.payee).unwrap();
    let of_high = execute_one(&bytes, &ids, &high).unwrap();
    assert_eq!(would_skip(target, of_high.clone()).await.unwrap(), QUORUM_SHORT);
    call(&thief, target.inbox, of_high).await.unwrap();
    assert_eq!(paid(world, &high).await, 0);
    // Below the limit one family is enough, and it can move only what the payer signed, to whom he signed it.
    let of_low = execute_one(&bytes, &ids, &low).unwrap();
    assert_eq!(would_skip(target, of_low.clone()).await.unwrap(), NONE);
    call(&thief, target.inbox, of_low).await.unwrap();
    assert_eq!(paid(world, &low).await, 1);

    let found = wait_alarm(world, 1).await;
    assert!(found[0].contains(&forged.to_string()), "{found:?}");
    let log = std::fs::read_to_string(world.relayer.log_path()).unwrap();
    let told = |line: &&str| line.contains(ALARM) && line.contains(&forged.to_string()) && line.contains("ERROR");
    assert_eq!(log.lines().filter(told).count(), 1, "said once, as an error");

    // The alarm is no matter of one process's memory.
    world.relayer.kill().unwrap();
    world.relayer.start().await.unwrap();
    wait_alarm(world, 1).await;
    assert_eq!(paid(world, &high).await, 0, "paid on a lie");

    // The second honest family agrees about the honest message, never about the forged one.
    hold(world, false, false);
    world.wait_states(&ids, &["settled"], PATIENCE).await.unwrap();
    assert_eq!(families(&world.devnet.target, forged).await.unwrap(), 1);
    signed.extend([low, high]);
    2 + 1 + 2
}

/// Has the guardians sign a message nobody sent, and brings it through Wormhole's real port.
async fn forge(world: &World, sequence: u64, ids: &[SettlementId]) -> B256 {
    let bytes = header(world, sequence, ids).unwrap();
    submit_forged(world, sequence, bytes.to_vec()).await;
    keccak256(&bytes)
}

/// `sequence` is Wormhole's here: far from those of honest messages, since each is taken once.
async fn submit_forged(world: &World, sequence: u64, payload: Vec<u8>) {
    let (source, target) = (&world.devnet.source, &world.devnet.target);
    let guardians = &world.devnet.guardians;
    let vaa = guardians
        .forge(0, source.ports[WORMHOLE_BRIDGE], sequence, payload)
        .unwrap();
    let thief = world.devnet.wallet(target, &world.devnet.accounts.payee).unwrap();
    let bring = IWormholePort::executeVAAv1Call { vaa };
    call(&thief, target.ports[WORMHOLE_BRIDGE], bring).await.unwrap();
}

/// Waits for this many open alarms and returns their subjects; nothing else may be wrong.
async fn wait_alarm(world: &World, count: usize) -> Vec<String> {
    let until = Instant::now() + Duration::from_secs(60);
    let books = store(world).await.unwrap();
    loop {
        let text = scrape(&world.relayer.rest_url()).await.unwrap_or_default();
        let shown = labelled(&text, "relayer_ledger_drift_count", "class=\"forged\"");
        let open = books.list_open_drifts().await.unwrap();
        if shown as usize == count && open.len() == count {
            assert!(open.iter().all(|row| row.drift.class == DriftClass::Forged), "{open:?}");
            assert_eq!(world.drift().await.unwrap(), count as u64);
            return open.into_iter().map(|row| row.drift.subject).collect();
        }
        assert!(Instant::now() < until, "{shown} alarms shown, open: {open:?}");
        sleep(Duration::from_millis(300)).await;
    }
}

async fn honest_traffic_goes_on(world: &World, signed: &mut Vec<Signed>, sends: usize) {
    let low = submit(world, "after the lie", 7).await;
    let high = submit(world, "of value after the lie", HIGH).await;
    world
        .wait_states(&[low.id, high.id], &["settled"], PATIENCE)
        .await
        .unwrap();
    let over = dispatches(world, low.id).await.unwrap();
    assert_eq!(over.len(), 1);
    assert_ne!(over[0].bridge, WORMHOLE_BRIDGE);

    // A second kind of lie: a message that does exist, over a bridge it was never given to.
    let honest = world.get(low.id).await.unwrap().messages.remove(0);
    let bytes: alloy::primitives::Bytes = honest.header.parse().unwrap();
    submit_forged(world, 1_000_001, bytes.to_vec()).await;
    let found = wait_alarm(world, 2).await;
    assert!(
        found.iter().any(|subject| subject.contains(&honest.message_id)),
        "{found:?}"
    );

    signed.extend([low, high]);
    let deposited = U256::from(world.devnet.options.deposit) * world.coordinator.unit;
    world.assert_paid_exactly_once(signed, deposited).await.unwrap();
    assert_fees_booked(world, sends + 3).await.unwrap();
}

async fn the_alarm_ends_with_the_port(world: &World) {
    let target = &world.devnet.target;
    let admin = world.devnet.wallet(target, &world.devnet.accounts.admin).unwrap();
    let port = target.ports[WORMHOLE_BRIDGE];
    call(&admin, target.inbox, ISettlementInbox::removePortCall { port })
        .await
        .unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while world.drift().await.unwrap() != 0 {
        assert!(Instant::now() < until, "the alarm outlives the port");
        sleep(Duration::from_millis(300)).await;
    }
}
