//! A bridge that stalls is told, passed by, and harmless when it wakes: the same message over another family, arriving in either order, paid
//! once. And what an operator's pause and a fee that moves do to messages under way. The running relayer over the real contracts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy::primitives::U256;
use alloy::providers::Provider;
use relayer_adapter_ccip::Version;
use relayer_e2e::coordinator::Signed;
use relayer_e2e::devnet::{BRIDGES, WORMHOLE_BRIDGE, ccip};
use relayer_e2e::dispatches::{
    assert_fees_booked, booked_fees, bridge_fees, command, dispatches, is_done, is_sent, wait_deposit, wait_dispatches,
};
use relayer_e2e::harness::{World, fresh_payee};
use relayer_e2e::metrics::{labelled, scrape};
use relayer_proto::v1::Dispatch;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Three protocols, their roles and the relayer share the machine with other tests.
const PATIENCE: Duration = Duration::from_secs(300);
const LAYERZERO: &str = BRIDGES[0];
const STALLED: &str = "relayer_dispatch_stalled_count";

async fn world(first: &str, timeout: u64) -> World {
    let world = World::start(&|devnet, relayer| {
        devnet.ccip = Some(Version::V1_6);
        relayer.bridges = vec![LAYERZERO.into(), WORMHOLE_BRIDGE.into()];
        relayer.default_bridge = Some(first.to_owned());
        relayer.timeout = timeout;
    })
    .await
    .unwrap();
    wait_deposit(&world).await.unwrap();
    world
}

async fn submit(world: &World, name: &str) -> Signed {
    let one = world.signed(fresh_payee(name).unwrap(), 5).await.unwrap();
    world.submit(&one).await.unwrap();
    one
}

fn silence_layerzero(world: &World, silent: bool) {
    let port = world.devnet.source.ports[LAYERZERO];
    world.devnet.switches.change(|setting| {
        setting.silent_ports.clear();
        if silent {
            setting.silent_ports.insert(port);
        }
    });
}

fn hold_others(world: &World, held: bool) {
    world.devnet.switches.change(|setting| {
        setting.guardians.signing = !held;
        setting.ccip.commits = !held;
    });
}

fn hold_ccip(world: &World, held: bool) {
    world.devnet.switches.change(|setting| setting.ccip.commits = !held);
}

fn of<'a>(all: &'a [Dispatch], bridge: &str) -> Option<&'a Dispatch> {
    all.iter().find(|dispatch| dispatch.bridge == bridge)
}

async fn set_wormhole_fee(world: &World, milli: u64) {
    let fee = U256::from(milli) * U256::from(10).pow(U256::from(15));
    world.devnet.guardians.set_fee(0, fee).await.unwrap();
}

async fn wait_stalled(world: &World, bridge: &str, count: u64) {
    let until = Instant::now() + PATIENCE;
    loop {
        let text = scrape(&world.relayer.rest_url()).await.unwrap();
        let shown = labelled(&text, STALLED, &format!("bridge=\"{bridge}\""));
        if shown as u64 == count {
            return;
        }
        assert!(
            Instant::now() < until,
            "{shown} dispatches of {bridge} shown as stalled"
        );
        sleep(Duration::from_millis(300)).await;
    }
}

async fn assert_books(world: &World, signed: &[Signed]) {
    let deposited = U256::from(world.devnet.options.deposit) * world.coordinator.unit;
    world.assert_paid_exactly_once(signed, deposited).await.unwrap();
    // A sweep passes.
    sleep(Duration::from_secs(4)).await;
    assert_eq!(world.drift().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_two_families_that_both_arrive_in_either_order_is_paid_once_and_both_are_booked() {
    let world = world(LAYERZERO, 10).await;
    set_wormhole_fee(&world, 1).await;
    let first = the_stalled_bridge_wakes_up_last(&world).await;
    assert_fees_booked(&world, 2).await.unwrap();
    let (second, sends) = the_stalled_bridge_wakes_up_first(&world).await;
    assert_fees_booked(&world, 2 + sends).await.unwrap();
    assert_books(&world, &[first, second]).await;
}

async fn the_stalled_bridge_wakes_up_last(world: &World) -> Signed {
    silence_layerzero(world, true);
    let one = submit(world, "first one late").await;
    world.wait_states(&[one.id], &["settled"], PATIENCE).await.unwrap();
    let two = dispatches(world, one.id).await.unwrap();
    assert_eq!(two.len(), 2, "{two:?}");
    assert_eq!(two[0].bridge, LAYERZERO);
    assert!([WORMHOLE_BRIDGE, ccip::BRIDGE].contains(&two[1].bridge.as_str()));
    assert!(two[0].stalled_at_ms > 0 && two[0].stalled_at_ms <= two[1].planned_at_ms);
    assert!(is_done(&two[1]), "{two:?}");
    assert_ne!(two[0].target_state, "received");

    // Told as a figure, as a line in the log and in the settlement's story.
    wait_stalled(world, LAYERZERO, 1).await;
    let log = std::fs::read_to_string(world.relayer.log_path()).unwrap();
    assert!(
        log.lines()
            .any(|line| line.contains("dispatch is overdue") && line.contains("WARN"))
    );
    let story = command(world, &["explain", &one.id.to_string()]).unwrap();
    assert!(story.contains("dispatch over layerzero: held up"), "{story}");
    assert!(
        story.contains(&format!("dispatch over {}: planned", two[1].bridge)),
        "{story}"
    );

    silence_layerzero(world, false);
    let both = |all: &[Dispatch]| all.iter().all(is_done);
    let two = wait_dispatches(world, one.id, "the late one arrived", PATIENCE, both)
        .await
        .unwrap();
    assert!(two[0].received_at_ms > two[1].received_at_ms);
    assert_eq!(world.state(one.id).await.unwrap(), "settled");
    assert_eq!(world.payments().await.unwrap().get(&one.id.0), Some(&1));
    wait_stalled(world, LAYERZERO, 0).await;
    one
}

async fn the_stalled_bridge_wakes_up_first(world: &World) -> (Signed, usize) {
    silence_layerzero(world, true);
    hold_others(world, true);
    let one = submit(world, "first one late, second later").await;
    let sent = |all: &[Dispatch]| all.len() >= 2 && all.iter().take(2).all(is_sent);
    wait_dispatches(world, one.id, "sent over two", PATIENCE, sent)
        .await
        .unwrap();
    assert!(!world.payments().await.unwrap().contains_key(&one.id.0));
    silence_layerzero(world, false);
    world.wait_states(&[one.id], &["settled"], PATIENCE).await.unwrap();
    let all = dispatches(world, one.id).await.unwrap();
    let first = of(&all, LAYERZERO).unwrap();
    assert!(first.stalled_at_ms > 0 && first.target_state == "received", "{all:?}");
    assert_ne!(all[1].target_state, "received", "the second was held");

    hold_others(world, false);
    let both = |all: &[Dispatch]| all.iter().all(|one| is_done(one) || one.source_state == "dropped");
    let all = wait_dispatches(world, one.id, "the second arrived too", PATIENCE, both)
        .await
        .unwrap();
    assert_eq!(world.payments().await.unwrap().get(&one.id.0), Some(&1));
    let sends = all.iter().filter(|dispatch| is_done(dispatch)).count();
    assert!(sends >= 2);
    (one, sends)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_fee_or_a_pause_overtakes_goes_another_way_and_what_was_sent_is_followed_to_its_end() {
    let world = world(WORMHOLE_BRIDGE, 600).await;
    let moved = a_fee_that_rises_before_the_send_is_asked_again(&world).await;
    let (sent, planned) = a_lane_paused_in_the_middle(&world).await;
    let resumed = a_lane_resumed_carries_again(&world).await;
    let mut all = moved;
    all.extend([sent, planned, resumed]);
    assert_fees_booked(&world, all.len()).await.unwrap();
    assert_books(&world, &all).await;
}

/// The lane's quote stands for a few seconds, and the fee rises within them: the send is refused, asked again and paid at the new price.
async fn a_fee_that_rises_before_the_send_is_asked_again(world: &World) -> Vec<Signed> {
    let milli = U256::from(10).pow(U256::from(15));
    let mut signed = Vec::new();
    let mut due = U256::ZERO;
    // On a busy machine the quote may be too old by then, and simply be another one.
    for attempt in 1..=4_u64 {
        let (old, new) = (10 * attempt - 9, 10 * attempt);
        set_wormhole_fee(world, old).await;
        sleep(Duration::from_secs(6)).await;
        // Its quote is what the next message will be planned with.
        let before = submit(world, &format!("at the old fee {attempt}")).await;
        wait_dispatches(world, before.id, "sent", PATIENCE, |all| all.iter().any(is_sent))
            .await
            .unwrap();
        set_wormhole_fee(world, new).await;
        let after = submit(world, &format!("at the new fee {attempt}")).await;
        world
            .wait_states(&[before.id, after.id], &["settled"], PATIENCE)
            .await
            .unwrap();
        let all = dispatches(world, after.id).await.unwrap();
        assert_eq!(all.len(), 1, "another bridge was paid too: {all:?}");
        assert_eq!(all[0].bridge, WORMHOLE_BRIDGE);
        due += milli * U256::from(old + new);
        signed.extend([before, after]);
        let planned = planned_fee(&all[0]);
        let paid: U256 = all[0].fee_quoted.parse().unwrap();
        assert!(paid >= milli * U256::from(new), "{paid} is not enough");
        if planned < milli * U256::from(new) {
            // The relayer trusts a quote for a minute, so only a refusal made it ask again.
            let waited = all[0].included_at_ms - all[0].planned_at_ms;
            assert!(waited < 60_000, "the quote was too old by then: {all:?}");
            let fees = bridge_fees(world).await.unwrap();
            assert_eq!(
                (fees.sends, fees.kept),
                (signed.len(), due),
                "each paid what was asked at its time"
            );
            assert_fees_booked(world, signed.len()).await.unwrap();
            assert_eq!(booked_fees(world).await.unwrap(), due, "booked to the wei");
            return signed;
        }
    }
    panic!("the fee never moved between quote and send");
}

/// What the lane that was chosen had asked for when it was.
fn planned_fee(dispatch: &Dispatch) -> U256 {
    let decision: serde_json::Value = serde_json::from_str(&dispatch.decision).unwrap();
    let lanes = decision["lanes"].as_array().unwrap();
    let chosen = lanes
        .iter()
        .find(|lane| lane["bridge"] == dispatch.bridge.as_str())
        .unwrap();
    chosen["answer"]["quoted"]["fee"].as_str().unwrap().parse().unwrap()
}

async fn a_lane_paused_in_the_middle(world: &World) -> (Signed, Signed) {
    // One is on its way and held by the guardians.
    hold_others(world, true);
    let sent = submit(world, "sent before the pause").await;
    wait_dispatches(world, sent.id, "sent", PATIENCE, |all| all.iter().any(is_sent))
        .await
        .unwrap();
    // The next is planned over the same lane and cannot be sent, for want of money.
    let (anvil, account) = (&world.devnet.source.anvil, world.devnet.accounts.relayer.address());
    let money = anvil.provider.get_balance(account).await.unwrap();
    anvil.set_balance(account, U256::ZERO).await.unwrap();
    let planned = submit(world, "planned before the pause").await;
    let waits = |all: &[Dispatch]| all.len() == 1 && all[0].source_state == "planned" && all[0].attempts > 0;
    let before = wait_dispatches(world, planned.id, "planned and not sent", PATIENCE, waits)
        .await
        .unwrap();
    assert_eq!(before[0].bridge, WORMHOLE_BRIDGE);
    let reason = ["--reason", "guardians sleep", "--by", "ann"];
    command(world, &[&["lane", "pause", WORMHOLE_BRIDGE], &reason[..]].concat()).unwrap();
    anvil.set_balance(account, money).await.unwrap();
    let moved = |all: &[Dispatch]| all.len() == 2 && all[0].source_state == "dropped";
    wait_dispatches(world, planned.id, "another lane", PATIENCE, moved)
        .await
        .unwrap();
    hold_ccip(world, false);
    world.wait_states(&[planned.id], &["settled"], PATIENCE).await.unwrap();
    let after = dispatches(world, planned.id).await.unwrap();
    assert_eq!(after.len(), 2, "{after:?}");
    assert_ne!(after[1].bridge, WORMHOLE_BRIDGE);
    let story = command(world, &["explain", &planned.id.to_string()]).unwrap();
    assert!(
        story.contains("dispatch over wormhole: given up before it was sent"),
        "{story}"
    );

    // What had been sent is still ours to bring in, over the paused lane.
    assert_eq!(world.state(sent.id).await.unwrap(), "dispatched");
    hold_others(world, false);
    world.wait_states(&[sent.id], &["settled"], PATIENCE).await.unwrap();
    let all = dispatches(world, sent.id).await.unwrap();
    assert_eq!(all.len(), 1, "a second carriage was paid: {all:?}");
    assert!(is_done(&all[0]) && all[0].bridge == WORMHOLE_BRIDGE, "{all:?}");
    (sent, planned)
}

async fn a_lane_resumed_carries_again(world: &World) -> Signed {
    set_wormhole_fee(world, 1).await;
    command(world, &["lane", "resume", WORMHOLE_BRIDGE]).unwrap();
    let one = submit(world, "after the pause").await;
    world.wait_states(&[one.id], &["settled"], PATIENCE).await.unwrap();
    assert_eq!(dispatches(world, one.id).await.unwrap()[0].bridge, WORMHOLE_BRIDGE);
    one
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_nobody_else_brings_in_are_rescued_and_the_story_says_so() {
    let world = world(LAYERZERO, 600).await;
    // LayerZero's executor is dead: the relayer commits and delivers.
    world.devnet.switches.change(|setting| setting.executor = false);
    let one = submit(&world, "without an executor").await;
    world.wait_states(&[one.id], &["settled"], PATIENCE).await.unwrap();
    assert_rescued(&world, &one, LAYERZERO).await;

    // CCIP's committee executes with too little gas, and never again: the message counts as failed until somebody brings it the gas it needs.
    command(&world, &["lane", "pause", LAYERZERO, "--reason", "executor dead"]).unwrap();
    command(&world, &["lane", "pause", WORMHOLE_BRIDGE, "--reason", "for the test"]).unwrap();
    world
        .devnet
        .switches
        .change(|setting| setting.ccip.execute_gas = Some(170_000));
    let two = submit(&world, "with too little gas").await;
    world.wait_states(&[two.id], &["settled"], PATIENCE).await.unwrap();
    assert_rescued(&world, &two, ccip::BRIDGE).await;
    assert_fees_booked(&world, 2).await.unwrap();
    assert_books(&world, &[one, two]).await;
}

async fn assert_rescued(world: &World, one: &Signed, bridge: &str) {
    let all = wait_dispatches(world, one.id, "arrived", PATIENCE, |all| all.iter().all(is_done))
        .await
        .unwrap();
    assert_eq!(all.len(), 1, "it went over {all:?}");
    assert_eq!(all[0].bridge, bridge);
    let found = world.get(one.id).await.unwrap();
    let rescue = |event: &&relayer_proto::v1::Event| {
        event.aggregate == "dispatch" && event.aggregate_id == all[0].id.to_string() && event.event == "rescue"
    };
    assert!(
        found.history.iter().any(|event| rescue(&event)),
        "no rescue is on record over {bridge}"
    );
    let story = command(world, &["explain", &one.id.to_string()]).unwrap();
    assert!(
        story.contains(&format!("dispatch over {bridge}: brought in by us")),
        "{story}"
    );
}
