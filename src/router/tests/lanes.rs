//! Caps, prices, value in flight, breakers and an operator's word, through the whole router.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::decision;
use crate::router::*;
use crate::settlement::MessageId;
use crate::settlement::states::DispatchSource;
use crate::store::testing::{SOURCE, TARGET, TOKEN};
use crate::store::{LaneKey, LaneMode};
use crate::testing::{Flow, TIMEOUT_MS, WATCH_MS};
use alloy::primitives::U256;
use relayer_adapter_api::BridgeId;
use std::sync::Arc;

fn id(bridge: &str) -> BridgeId {
    BridgeId::new(bridge).unwrap()
}

/// A base unit of either is worth one.
fn at_par(params: &mut RouterParams) {
    let one = Price::parse("1", 18).unwrap();
    params.prices = Arc::new(StaticPrices {
        unit: "usd".into(),
        prices: [(Coin::Native(SOURCE), one), (Coin::Token(TARGET, TOKEN), one)].into(),
    });
}

fn limit(params: &mut RouterParams, bridge: &str, change: impl FnOnce(&mut BridgeLimits)) {
    change(params.limits.get_mut(&id(bridge)).unwrap());
}

async fn switch(flow: &Flow, bridge: &str, mode: Option<LaneMode>) {
    let lane = LaneKey {
        source: SOURCE,
        target: TARGET,
        bridge: id(bridge),
    };
    let mut txn = flow.store().begin(flow.now_ms()).await.unwrap();
    txn.set_lane_mode(&lane, mode, "curse", "ann").await.unwrap();
    txn.commit().await.unwrap();
}

async fn bridges(flow: &Flow, message: MessageId) -> Vec<String> {
    let all = flow.store().list_dispatches(message).await.unwrap();
    let live = all.iter().filter(|d| d.source_state != DispatchSource::Dropped);
    live.map(|d| d.bridge.to_string()).collect()
}

/// What a waiting message was told last about a lane.
async fn last_answer(flow: &Flow, message: MessageId, lane: usize) -> serde_json::Value {
    let events = flow
        .store()
        .list_aggregate_events("message", &message.to_string())
        .await;
    let events = events.unwrap();
    let wait = events
        .iter()
        .rev()
        .find(|event| event.event == "wait")
        .expect("it waits");
    decision(wait.detail.as_ref().unwrap())["decision"]["lanes"][lane]["answer"].clone()
}

#[tokio::test]
async fn each_lane_has_the_fee_cap_of_its_own_bridge_and_chain() {
    let flow = Flow::with(&["a", "b"], 3, |params| {
        limit(params, "a", |a| a.fee_caps = [(SOURCE, U256::from(9))].into());
        limit(params, "b", |b| b.fee_cap = U256::from(10));
    })
    .await;
    let message = flow.seal(1).await;
    flow.step(&flow.router).await;
    let dispatch = flow.dispatch_over(message, "b").await;
    assert_eq!(dispatch.fee_cap, U256::from(10));
    let over = decision(&dispatch.decision)["lanes"][0]["answer"]["over_cap"].clone();
    assert_eq!(over["by"], "absolute");
}

#[tokio::test]
async fn a_bridge_without_limits_carries_nothing() {
    let flow = Flow::with(&["a"], 3, |params| params.limits.clear()).await;
    let message = flow.seal(1).await;
    flow.step(&flow.router).await;
    assert!(bridges(&flow, message).await.is_empty());
}

#[tokio::test]
async fn a_fee_above_its_share_of_the_amounts_waits_for_company() {
    // One settlement moves 100, so a twentieth of it is 5 and of two of them 10.
    let flow = Flow::with(&["a"], 3, |params| {
        at_par(params);
        params.cap_rule = CapRule {
            of_fees: 0,
            of_amounts: 500,
        };
    })
    .await;
    let small = flow.seal(1).await;
    flow.step(&flow.router).await;
    assert!(bridges(&flow, small).await.is_empty());
    assert_eq!(last_answer(&flow, small, 0).await["over_cap"]["by"], "amounts");
    let large = flow.seal(2).await;
    flow.step(&flow.router).await;
    let dispatch = flow.dispatch_over(large, "a").await;
    // The dispatcher holds a later quote to the same cap.
    assert_eq!(
        (dispatch.fee_quoted, dispatch.fee_cap),
        (U256::from(10), U256::from(10))
    );
    assert_eq!(decision(&dispatch.decision)["value_at_stake"], "200");
}

#[tokio::test]
async fn a_relative_cap_without_a_price_sends_nothing() {
    let flow = Flow::with(&["a"], 3, |params| {
        params.cap_rule = CapRule {
            of_fees: 0,
            of_amounts: 10_000,
        };
    })
    .await;
    let message = flow.seal(1).await;
    flow.step(&flow.router).await;
    assert!(bridges(&flow, message).await.is_empty());
}

#[tokio::test]
async fn the_policy_decides_and_stands_in_the_decision_with_the_scores() {
    let flow = Flow::with(&["a", "b"], 3, |params| {
        at_par(params);
        params.policy = RoutePolicy::Cheapest;
    })
    .await;
    flow.world().fees.insert("b".into(), 9);
    let message = flow.seal(1).await;
    flow.step(&flow.router).await;
    let decision = decision(&flow.dispatch_over(message, "b").await.decision);
    assert_eq!(
        (&decision["policy"], &decision["unit"]),
        (&"cheapest".into(), &"usd".into())
    );
    let score = &decision["lanes"][0]["score"];
    assert_eq!(
        (&score["breaker"], &score["success"]),
        (&"closed".into(), &5_000.into())
    );
    assert_eq!(score["fee_value"], "10");
}

#[tokio::test]
async fn value_beyond_the_cap_takes_the_next_lane_and_then_waits_until_something_arrives() {
    let flow = Flow::with(&["a", "b"], 3, |params| {
        at_par(params);
        limit(params, "a", |a| a.lane_value = Some(U256::from(250)));
        limit(params, "b", |b| b.bridge_value = Some(U256::from(200)));
    })
    .await;
    let mut sealed = Vec::new();
    for n in [2, 2, 1] {
        sealed.push(flow.seal(n).await);
        flow.step(&flow.router).await;
    }
    let (first, second, third) = (sealed[0], sealed[1], sealed[2]);
    assert_eq!(bridges(&flow, first).await, ["a"]);
    assert_eq!(bridges(&flow, second).await, ["b"]);
    assert!(bridges(&flow, third).await.is_empty());
    let told = last_answer(&flow, third, 1).await["over_value"].clone();
    assert_eq!(
        (&told["whole_bridge"], &told["in_flight"]),
        (&true.into(), &"200".into())
    );
    flow.dispatch(first, "a", 11).await;
    flow.log_received(first, "a", 9).await;
    flow.step(&flow.tracker).await;
    flow.wait(60_000);
    flow.step(&flow.router).await;
    assert_eq!(bridges(&flow, third).await, ["a"]);
}

#[tokio::test]
async fn a_drained_lane_gets_nothing_new_and_sends_what_was_planned() {
    let flow = Flow::new(&["a", "b"], 3).await;
    let first = flow.seal(1).await;
    flow.step(&flow.router).await;
    switch(&flow, "a", Some(LaneMode::Draining)).await;
    let second = flow.seal(1).await;
    flow.step(&flow.router).await;
    flow.step(&flow.dispatcher).await;
    assert_eq!(bridges(&flow, first).await, ["a"]);
    assert_eq!(
        flow.dispatch_over(first, "a").await.source_state,
        DispatchSource::Prepared
    );
    let dispatch = flow.dispatch_over(second, "b").await;
    let reason = decision(&dispatch.decision)["lanes"][0]["answer"]["shut"]["reason"].clone();
    assert_eq!(reason, "draining by ann: curse");
}

#[tokio::test]
async fn what_was_planned_over_a_paused_lane_goes_over_another() {
    let flow = Flow::new(&["a", "b"], 3).await;
    let message = flow.seal(1).await;
    flow.step(&flow.router).await;
    switch(&flow, "a", Some(LaneMode::Paused)).await;
    flow.step(&flow.dispatcher).await;
    assert_eq!(
        flow.dispatch_over(message, "a").await.source_state,
        DispatchSource::Planned
    );
    flow.step(&flow.router).await;
    assert_eq!(bridges(&flow, message).await, ["b"]);
}

#[tokio::test]
async fn a_paused_only_lane_holds_its_message_until_it_is_resumed() {
    let flow = Flow::new(&["a"], 3).await;
    let planned = flow.seal(1).await;
    flow.step(&flow.router).await;
    switch(&flow, "a", Some(LaneMode::Paused)).await;
    let new = flow.seal(1).await;
    for _ in 0..3 {
        flow.step(&flow.dispatcher).await;
        flow.step(&flow.router).await;
        flow.wait(1_000);
    }
    let held = flow.dispatch_over(planned, "a").await;
    assert_eq!((held.source_state, held.stalled_at), (DispatchSource::Planned, None));
    assert!(held.note.unwrap().contains("paused by ann"));
    assert!(bridges(&flow, new).await.is_empty());
    assert_eq!(
        last_answer(&flow, new, 0).await["shut"]["reason"],
        "paused by ann: curse"
    );
    switch(&flow, "a", None).await;
    flow.wait(60_000);
    flow.step(&flow.router).await;
    flow.step(&flow.dispatcher).await;
    for message in [planned, new] {
        assert_eq!(
            flow.dispatch_over(message, "a").await.source_state,
            DispatchSource::Prepared
        );
    }
}

#[tokio::test]
async fn a_lane_that_fails_is_shut_then_probed_once_and_opened_by_an_arrival() {
    const REST_MS: i64 = 10 * TIMEOUT_MS;
    let flow = Flow::with(&["a"], 3, |params| {
        params.history.breaker = BreakerRule {
            failures: 2,
            cooldown_ms: REST_MS,
            cooldown_max_ms: REST_MS,
        };
        params.patience.without_lane_ms = i64::MAX / 4;
    })
    .await;
    let first = flow.seal(1).await;
    let second = flow.seal(1).await;
    flow.dispatch(first, "a", 11).await;
    flow.dispatch(second, "a", 12).await;
    flow.wait(2 * TIMEOUT_MS);
    flow.step(&flow.tracker).await;
    assert!(flow.dispatch_over(second, "a").await.stalled_at.is_some());
    let (third, fourth) = (flow.seal(1).await, flow.seal(1).await);
    flow.step(&flow.router).await;
    assert!(bridges(&flow, third).await.is_empty(), "shut");
    flow.wait(REST_MS);
    flow.step(&flow.router).await;
    let probes = [bridges(&flow, third).await.len(), bridges(&flow, fourth).await.len()];
    assert_eq!(probes.iter().sum::<usize>(), 1, "one probe of the two, in one step");
    flow.log_received(first, "a", 9).await;
    flow.step(&flow.tracker).await;
    flow.wait(60_000);
    flow.step(&flow.router).await;
    assert_eq!(
        (bridges(&flow, third).await.len(), bridges(&flow, fourth).await.len()),
        (1, 1)
    );
}

#[tokio::test]
async fn a_message_is_routed_by_the_policy_of_its_settlements() {
    let flow = Flow::new(&["a", "b"], 3).await;
    flow.world().fees.insert("b".into(), 5);
    let plain = flow.seal(1).await;
    let cheap = flow.seal_with(1, Some(RoutePolicy::Cheapest)).await;
    flow.step(&flow.router).await;
    assert_eq!(bridges(&flow, plain).await, ["a"]);
    let dispatch = flow.dispatch_over(cheap, "b").await;
    assert_eq!(decision(&dispatch.decision)["policy"], "cheapest");
}

#[tokio::test]
async fn a_cursed_lane_is_left_at_once_and_used_again_when_the_curse_is_lifted() {
    let flow = Flow::new(&["a", "b"], 3).await;
    let planned = flow.seal(1).await;
    flow.step(&flow.router).await;
    assert_eq!(bridges(&flow, planned).await, ["a"]);
    let cursed = "the RMN has cursed the lane";
    flow.world().obstacles.insert("a".into(), cursed.into());
    flow.step(&flow.lane_watch).await;
    // Nothing that was only planned is sent over it, and nothing new is planned.
    flow.step(&flow.dispatcher).await;
    let next = flow.seal(1).await;
    flow.step(&flow.router).await;
    assert_eq!(bridges(&flow, planned).await, ["b"]);
    let dispatch = flow.dispatch_over(next, "b").await;
    assert_eq!(
        decision(&dispatch.decision)["lanes"][0]["answer"]["shut"]["reason"],
        cursed
    );
    flow.world().obstacles.clear();
    flow.step(&flow.lane_watch).await;
    let meanwhile = flow.seal(1).await;
    flow.step(&flow.router).await;
    assert_eq!(bridges(&flow, meanwhile).await, ["b"], "not looked at before its time");
    flow.wait(WATCH_MS);
    flow.step(&flow.lane_watch).await;
    let after = flow.seal(1).await;
    flow.step(&flow.router).await;
    assert_eq!(bridges(&flow, after).await, ["a"]);
}
