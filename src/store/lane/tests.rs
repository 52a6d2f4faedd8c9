#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::store::testing::{self as fixtures, PAYER, SOURCE, TARGET, TestStore, cases};
use proptest::prelude::*;

fn lane(bridge: &str) -> LaneKey {
    LaneKey {
        source: SOURCE,
        target: TARGET,
        bridge: BridgeId::new(bridge).unwrap(),
    }
}

/// So many sealed messages of one settlement each.
async fn messages(test: &TestStore, n: u64) -> Vec<MessageId> {
    fixtures::deposit(&test.store, PAYER, 1_000_000, 1).await;
    let news: Vec<_> = (0..n)
        .map(|nonce| fixtures::new_settlement(PAYER, nonce, 100, 3, nonce + 1))
        .collect();
    fixtures::accept(&test.store, &news).await;
    let mut made = Vec::new();
    for new in &news {
        made.push(fixtures::seal(&test.store, &[new.id]).await.id());
    }
    made
}

fn planned(message: MessageId, bridge: &str) -> NewDispatch {
    NewDispatch {
        message,
        bridge: BridgeId::new(bridge).unwrap(),
        source: SOURCE,
        target: TARGET,
        decision: "{}".into(),
        fee_quoted: U256::from(1),
        fee_cap: U256::from(1),
        gas_limit: 1,
    }
}

fn limits(value: u64, lane_cap: Option<u64>, bridge_cap: Option<u64>) -> InsertLimits {
    InsertLimits {
        value: Some(U256::from(value)),
        lane_cap: lane_cap.map(U256::from),
        bridge_cap: bridge_cap.map(U256::from),
        probe_since: None,
    }
}

async fn insert(store: &Store, message: MessageId, bridge: &str, limits: InsertLimits) -> Insertion {
    for _ in 0..100 {
        let attempt = async {
            let mut txn = store.begin(10).await?;
            let done = txn
                .dispatch_insert_within(planned(message, bridge), limits, "test")
                .await?;
            txn.commit().await?;
            Ok::<_, StoreError>(done)
        };
        match attempt.await {
            Ok(done) => return done,
            Err(error) => assert!(error.is_race(), "{error}"),
        }
    }
    panic!("never got through");
}

#[tokio::test]
async fn a_dispatch_that_would_break_the_cap_is_not_inserted() {
    let test = fixtures::open().await;
    let all = messages(&test, 3).await;
    let within = limits(60, Some(100), None);
    assert!(matches!(
        insert(&test.store, all[0], "a", within).await,
        Insertion::Done(_)
    ));
    let expected = Insertion::OverValue {
        in_flight: U256::from(60),
        cap: U256::from(100),
        whole_bridge: false,
    };
    assert_eq!(insert(&test.store, all[1], "a", within).await, expected);
    assert!(test.store.list_dispatches(all[1]).await.unwrap().is_empty());
    assert!(matches!(
        insert(&test.store, all[1], "a", limits(40, Some(100), None)).await,
        Insertion::Done(_)
    ));
    // Another bridge has its own room.
    assert!(matches!(
        insert(&test.store, all[2], "b", within).await,
        Insertion::Done(_)
    ));
    let sum = test.store.value_in_flight(&lane("a")).await.unwrap();
    assert_eq!((sum.lane, sum.bridge), (U256::from(100), U256::from(100)));
}

#[tokio::test]
async fn the_cap_of_the_bridge_counts_beside_that_of_the_lane() {
    let test = fixtures::open().await;
    let all = messages(&test, 2).await;
    let both = limits(60, Some(1_000), Some(100));
    assert!(matches!(
        insert(&test.store, all[0], "a", both).await,
        Insertion::Done(_)
    ));
    assert!(matches!(
        insert(&test.store, all[1], "a", both).await,
        Insertion::OverValue { whole_bridge: true, .. }
    ));
}

#[tokio::test]
async fn value_nobody_knows_goes_nowhere_under_a_cap() {
    let test = fixtures::open().await;
    let all = messages(&test, 3).await;
    let unknown = InsertLimits {
        value: None,
        ..limits(0, Some(100), None)
    };
    assert_eq!(insert(&test.store, all[0], "a", unknown).await, Insertion::UnknownValue);
    // Planned while there was no cap.
    assert!(matches!(
        insert(&test.store, all[0], "a", InsertLimits::default()).await,
        Insertion::Done(_)
    ));
    assert_eq!(
        insert(&test.store, all[1], "a", limits(1, Some(100), None)).await,
        Insertion::UnknownValue
    );
    assert!(matches!(
        insert(&test.store, all[2], "b", limits(1, Some(100), None)).await,
        Insertion::Done(_)
    ));
}

#[tokio::test]
async fn only_one_probe_is_under_way() {
    let test = fixtures::open().await;
    let all = messages(&test, 2).await;
    let probe = InsertLimits {
        probe_since: Some(5),
        ..InsertLimits::default()
    };
    assert!(matches!(
        insert(&test.store, all[0], "a", probe).await,
        Insertion::Done(_)
    ));
    assert_eq!(insert(&test.store, all[1], "a", probe).await, Insertion::Probing);
    let later = InsertLimits {
        probe_since: Some(11),
        ..InsertLimits::default()
    };
    assert!(matches!(
        insert(&test.store, all[1], "a", later).await,
        Insertion::Done(_)
    ));
}

#[tokio::test]
async fn a_switch_is_kept_replaced_and_lifted_with_an_event_each() {
    let test = fixtures::open().await;
    for mode in [Some(LaneMode::Draining), Some(LaneMode::Paused)] {
        let mut txn = test.store.begin(7).await.unwrap();
        txn.set_lane_mode(&lane("a"), mode, "curse", "operator ann")
            .await
            .unwrap();
        txn.commit().await.unwrap();
    }
    let found = test.store.find_lane_switch(&lane("a")).await.unwrap().unwrap();
    assert_eq!(
        (found.mode, found.reason.as_str(), found.by.as_str(), found.at),
        (LaneMode::Paused, "curse", "operator ann", 7)
    );
    assert_eq!(test.store.find_lane_switch(&lane("b")).await.unwrap(), None);
    let mut txn = test.store.begin(8).await.unwrap();
    txn.set_lane_mode(&lane("a"), None, "over", "operator ann")
        .await
        .unwrap();
    txn.commit().await.unwrap();
    assert_eq!(test.store.list_lane_switches().await.unwrap(), []);
    let events = test
        .store
        .list_aggregate_events("lane", &lane("a").to_string())
        .await
        .unwrap();
    let names: Vec<&str> = events.iter().map(|event| event.event.as_str()).collect();
    assert_eq!(names, ["drain", "pause", "resume"]);
}

#[tokio::test]
async fn a_message_is_worth_what_its_open_settlements_move() {
    let test = fixtures::open().await;
    let all = messages(&test, 1).await;
    let sums = test.store.message_sums(all[0]).await.unwrap();
    assert_eq!(sums, [(fixtures::TOKEN, U256::from(100), U256::from(3))]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(20)))]
    /// However many clients insert at once, what is in flight never exceeds the caps, and no dispatch is refused for which there was room
    /// at the end.
    #[test]
    fn concurrent_clients_never_exceed_a_cap(values in prop::collection::vec(1_u64..60, 2..9), lane_cap in 20_u64..150, bridge_cap in 20_u64..150) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let test = fixtures::open().await;
            let all = messages(&test, values.len() as u64).await;
            let mut clients = Vec::new();
            for (message, value) in all.into_iter().zip(values.clone()) {
                let store = test.database.open().await;
                clients.push(tokio::spawn(async move {
                    let done = insert(&store, message, "a", limits(value, Some(lane_cap), Some(bridge_cap))).await;
                    (value, done)
                }));
            }
            let mut inserted = 0;
            let mut refused = Vec::new();
            for client in clients {
                match client.await.unwrap() {
                    (value, Insertion::Done(_)) => inserted += value,
                    (value, Insertion::OverValue { .. }) => refused.push(value),
                    (_, other) => panic!("{other:?}"),
                }
            }
            let cap = lane_cap.min(bridge_cap);
            let sum = test.store.value_in_flight(&lane("a")).await.unwrap();
            assert_eq!(sum.bridge, U256::from(inserted));
            assert!(inserted <= cap, "{inserted} above {cap}");
            // Nothing leaves in this test, so what was refused did not fit then and does not now.
            assert!(refused.iter().all(|value| inserted + value > cap), "{refused:?} refused with {inserted} of {cap}");
        });
    }
}

#[tokio::test]
async fn an_obstacle_keeps_its_first_time_until_it_is_gone() {
    let test = fixtures::open().await;
    let message = messages(&test, 1).await[0];
    assert!(matches!(
        insert(&test.store, message, "a", InsertLimits::default()).await,
        Insertion::Done(_)
    ));
    for (at, reason) in [(7, Some("cursed")), (9, Some("cursed by two"))] {
        let mut txn = test.store.begin(at).await.unwrap();
        txn.set_lane_obstacle(&lane("a"), reason).await.unwrap();
        txn.commit().await.unwrap();
    }
    let found = test.store.find_lane_obstacle(&lane("a")).await.unwrap().unwrap();
    assert_eq!((found.reason.as_str(), found.since), ("cursed by two", 7));
    assert_eq!(test.store.find_lane_obstacle(&lane("b")).await.unwrap(), None);
    // What was planned over it is looked at again at once.
    assert_eq!(test.store.list_dispatches(message).await.unwrap()[0].next_at, 9);
    let mut txn = test.store.begin(11).await.unwrap();
    txn.set_lane_obstacle(&lane("a"), None).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(test.store.list_lane_obstacles().await.unwrap(), []);
    let events = test.store.list_aggregate_events("lane", &lane("a").to_string()).await;
    let names: Vec<String> = events.unwrap().into_iter().map(|event| event.event).collect();
    assert_eq!(names, ["block", "block", "unblock"]);
}
