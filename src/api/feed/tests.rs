#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::api::error::{STALLED, STOPPING, UNREADABLE};
use crate::clock::SystemClock;
use crate::settlement::SettlementId;
use crate::store::testing::{self, TestStore, open};
use crate::store::{Event, NewEvent, StoreConfig};
use alloy::primitives::B256;
use futures::StreamExt;
use rand::{Rng, SeedableRng};
use relayer_proto::v1;

const LIMITS: FeedLimits = FeedLimits {
    ring_events: 50,
    streams_max: 8,
    stall: Duration::from_secs(1),
    outage: Duration::from_secs(3),
};

struct Bench {
    db: TestStore,
    feed: Feed,
    stop: CancellationToken,
}

async fn bench() -> Bench {
    let db = open().await;
    let stop = CancellationToken::new();
    let feed = Feed::start(db.store.clone(), Arc::new(SystemClock), LIMITS, stop.clone());
    Bench { db, feed, stop }
}

/// Commits one transaction of `count` changes; the coordinator and the state alternate.
async fn change(store: &Store, count: u8) {
    let mut txn = store.begin(7).await.unwrap();
    for index in 0..count {
        let even = index % 2 == 0;
        txn.record(NewEvent {
            aggregate: if index % 5 == 4 { "message" } else { "settlement" },
            aggregate_id: index.to_string(),
            event: "seal".into(),
            to_state: Some(if even { "batched" } else { "settled" }.into()),
            cause: "test".into(),
            settlement_id: Some(B256::repeat_byte(index)),
            coordinator_id: Some(if even { "a" } else { "b" }.into()),
            ..NewEvent::default()
        });
    }
    txn.commit().await.unwrap();
}

fn plan(bench: &Bench, after: Option<i64>, change: impl FnOnce(&mut v1::WatchRequest)) -> Plan {
    let mut request = v1::WatchRequest {
        heartbeat_ms: 100,
        aggregates: ["settlement", "message"].map(str::to_owned).to_vec(),
        ..Default::default()
    };
    change(&mut request);
    let mut plan = crate::api::watching::plan(&request, &request.coordinator, bench.feed.symbols()).unwrap();
    plan.after = after;
    plan
}

/// Numbers of the changes that come until `enough` says so, and the last cursor.
async fn take(watching: &mut Watching, mut enough: impl FnMut(&[u64], u64) -> bool) -> (Vec<u64>, u64) {
    let mut seqs = Vec::new();
    let mut cursor = 0;
    let all = async {
        while let Some(frame) = watching.next().await {
            let frame = frame.unwrap();
            seqs.extend(frame.events().iter().map(|event| event.seq));
            cursor = frame.rest().after_seq;
            if enough(&seqs, cursor) {
                return;
            }
        }
        panic!("the stream ended");
    };
    tokio::time::timeout(Duration::from_secs(20), all)
        .await
        .expect("in time");
    (seqs, cursor)
}

async fn end_of(watching: &mut Watching) -> ApiError {
    let last = async {
        loop {
            match watching.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return error,
                None => panic!("ended without a word"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), last)
        .await
        .expect("in time")
}

#[tokio::test]
async fn every_change_comes_once_and_in_order_whatever_breaks_in_between() {
    let mut bench = bench().await;
    let store = bench.db.store.clone();
    let writing = store.clone();
    let writer = tokio::spawn(async move {
        for count in (1..=60u8).cycle().take(90) {
            change(&writing, count).await;
        }
    });
    let total: u64 = (1..=60u64).cycle().take(90).sum();
    let mut rng = rand::rngs::StdRng::seed_from_u64(4);
    let (mut seen, mut cursor) = (Vec::new(), 0);
    let mut breaks = 0;
    while cursor < total {
        let mut watching = bench
            .feed
            .watch(plan(&bench, Some(cursor as i64), |_| {}))
            .await
            .unwrap();
        let patience = rng.random_range(1..300);
        let (seqs, after) = take(&mut watching, |seqs, after| seqs.len() > patience || after == total).await;
        seen.extend(seqs);
        cursor = after;
        breaks += 1;
        if rng.random_bool(0.2) {
            // Another process on the same database: it knows nothing of what was sent before.
            bench.stop.cancel();
            bench.stop = CancellationToken::new();
            bench.feed = Feed::start(store.clone(), Arc::new(SystemClock), LIMITS, bench.stop.clone());
        }
        if rng.random_bool(0.3) {
            // Falls behind the ring.
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    }
    writer.await.unwrap();
    assert!(breaks > 3, "only {breaks} connections: the test broke nothing");
    assert_eq!(seen, (1..=total).collect::<Vec<_>>());
}

#[tokio::test]
async fn filters_let_through_what_they_name_and_heartbeats_tell_the_cursor() {
    let bench = bench().await;
    change(&bench.db, 10).await;
    let seqs = async |change: fn(&mut v1::WatchRequest)| {
        let mut watching = bench.feed.watch(plan(&bench, Some(0), change)).await.unwrap();
        take(&mut watching, |_, after| after == 10).await.0
    };
    assert_eq!(seqs(|_| {}).await.len(), 10);
    assert_eq!(seqs(|request| request.coordinator = "b".into()).await, [2, 4, 6, 8, 10]);
    assert_eq!(
        seqs(|request| request.states = vec!["batched".into()]).await,
        [1, 3, 5, 7, 9]
    );
    assert_eq!(
        seqs(|request| request.aggregates = vec!["message".into()]).await,
        [5, 10]
    );
    assert_eq!(
        seqs(|request| request.aggregates.clear()).await,
        [1, 2, 3, 4, 6, 7, 8, 9]
    );
    let one = |request: &mut v1::WatchRequest| request.settlement_ids = vec![B256::repeat_byte(3).to_string()];
    assert_eq!(seqs(one).await, [4]);
    // Nothing it wants: the heartbeat alone brings the cursor to the end.
    assert_eq!(
        seqs(|request| request.coordinator = "nobody".into()).await,
        Vec::<u64>::new()
    );
}

#[tokio::test]
async fn from_now_skips_the_past_and_tells_where_it_stands_at_once() {
    let bench = bench().await;
    change(&bench.db, 9).await;
    let mut watching = bench.feed.watch(plan(&bench, None, |_| {})).await.unwrap();
    let first = watching.next().await.unwrap().unwrap();
    assert_eq!((first.selection.count, first.rest().after_seq), (0, 9));
    change(&bench.db, 2).await;
    assert_eq!(take(&mut watching, |seqs, _| seqs.len() == 2).await, (vec![10, 11], 11));
}

#[tokio::test]
async fn a_cursor_that_cannot_be_continued_from_is_refused() {
    let bench = bench().await;
    change(&bench.db, 9).await;
    let error = bench.feed.watch(plan(&bench, Some(10), |_| {})).await.unwrap_err();
    assert_eq!((error.kind, error.code), (Kind::FailedPrecondition, CURSOR_FUTURE));
    let txn = bench.db.begin(1).await.unwrap();
    txn.reserve_counter("event_pruned", 5).await.unwrap();
    txn.commit().await.unwrap();
    let error = bench.feed.watch(plan(&bench, Some(4), |_| {})).await.unwrap_err();
    assert_eq!((error.kind, error.code), (Kind::OutOfRange, CURSOR_OLD));
    assert_eq!(error.metadata["oldest_cursor"], "5");
    // 0 is the beginning of what is kept.
    let mut watching = bench.feed.watch(plan(&bench, Some(0), |_| {})).await.unwrap();
    assert_eq!(take(&mut watching, |_, after| after == 9).await.0, [6, 7, 8, 9]);
}

#[tokio::test]
async fn who_does_not_read_is_cut_off_alone_and_told_where_to_continue() {
    let bench = bench().await;
    let mut slow = bench.feed.watch(plan(&bench, Some(0), |_| {})).await.unwrap();
    let mut quick = bench.feed.watch(plan(&bench, Some(0), |_| {})).await.unwrap();
    let store = bench.db.store.clone();
    tokio::spawn(async move {
        for _ in 0..10 {
            change(&store, 30).await;
        }
    });
    assert_eq!(take(&mut quick, |_, after| after == 300).await.0.len(), 300);
    drop(quick);
    let gone = async {
        while bench.feed.streams() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMITS.stall * 10, gone)
        .await
        .expect("the stalled stream holds nothing any more");
    let error = end_of(&mut slow).await;
    assert_eq!((error.kind, error.code), (Kind::ResourceExhausted, STALLED));
    let after: i64 = error.metadata["after_seq"].parse().unwrap();
    let mut again = bench.feed.watch(plan(&bench, Some(after), |_| {})).await.unwrap();
    let (seqs, _) = take(&mut again, |_, cursor| cursor == 300).await;
    assert_eq!(seqs, (after as u64 + 1..=300).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_stop_ends_streams_with_their_cursor_and_streams_are_bounded() {
    let bench = bench().await;
    change(&bench.db, 3).await;
    let mut open = Vec::new();
    for _ in 0..LIMITS.streams_max {
        open.push(bench.feed.watch(plan(&bench, Some(0), |_| {})).await.unwrap());
    }
    let refused = bench.feed.watch(plan(&bench, Some(0), |_| {})).await.unwrap_err();
    assert_eq!((refused.kind, refused.code), (Kind::ResourceExhausted, BUSY));
    take(&mut open[0], |_, after| after == 3).await;
    bench.stop.cancel();
    let error = end_of(&mut open[0]).await;
    assert_eq!((error.kind, error.code), (Kind::Unavailable, STOPPING));
    assert_eq!(error.metadata["after_seq"], "3");
}

#[tokio::test]
async fn a_client_that_left_frees_its_place() {
    let bench = bench().await;
    drop(bench.feed.watch(plan(&bench, None, |_| {})).await.unwrap());
    let gone = async {
        while bench.feed.streams() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone)
        .await
        .expect("the place is free");
    // The reader rested and follows again.
    change(&bench.db, 4).await;
    let mut watching = bench.feed.watch(plan(&bench, Some(1), |_| {})).await.unwrap();
    assert_eq!(take(&mut watching, |_, after| after == 4).await.0, [2, 3, 4]);
}

/// The end of a watch whose database is away comes no sooner than it must and no later than it says, heartbeats or not.
async fn told_of_outage(watching: &mut Watching, after: u64) {
    let since = Instant::now();
    let error = end_of(watching).await;
    assert!(since.elapsed() < LIMITS.outage * 3, "{:?}", since.elapsed());
    assert_eq!((error.kind, error.code), (Kind::Unavailable, UNREADABLE));
    assert_eq!(error.metadata["after_seq"], after.to_string());
}

#[tokio::test]
async fn a_database_that_is_away_ends_watches_with_the_cursor_they_continue_from() {
    let bench = bench().await;
    change(&bench.db, 5).await;
    let mut one = bench.feed.watch(plan(&bench, Some(0), |_| {})).await.unwrap();
    let mut other = bench.feed.watch(plan(&bench, Some(0), |_| {})).await.unwrap();
    assert_eq!(take(&mut one, |_, after| after == 5).await.0.len(), 5);
    take(&mut other, |_, after| after == 5).await;
    let since = Instant::now();
    testing::close(&bench.db).await;
    // Short enough for nobody to hear of it.
    let quiet = |_: &[u64], after| after == 5 && since.elapsed() > LIMITS.outage / 2;
    tokio::join!(take(&mut one, quiet), take(&mut other, quiet));
    tokio::join!(told_of_outage(&mut one, 5), told_of_outage(&mut other, 5));
    let refused = bench.feed.watch(plan(&bench, Some(5), |_| {})).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Unavailable);
    // The database is back, for this process or another.
    let store = bench.db.database.open().await;
    change(&store, 4).await;
    let feed = Feed::start(store, Arc::new(SystemClock), LIMITS, bench.stop.clone());
    let mut again = feed.watch(plan(&bench, Some(5), |_| {})).await.unwrap();
    assert_eq!(take(&mut again, |_, after| after == 9).await.0, [6, 7, 8, 9]);
}

#[tokio::test]
async fn the_feed_outlives_a_killed_server() {
    let Some(mut server) = relayer_e2e_postgres::Server::start().unwrap() else {
        eprintln!("skipped: PostgreSQL is not installed");
        return;
    };
    let url = server.create_database("relayer").unwrap();
    let store = Store::open(&StoreConfig::new(url)).await.unwrap();
    store.migrate().await.unwrap();
    let mut bench = bench().await;
    bench.feed = Feed::start(store.clone(), Arc::new(SystemClock), LIMITS, bench.stop.clone());
    change(&store, 5).await;
    let mut watching = bench.feed.watch(plan(&bench, Some(0), |_| {})).await.unwrap();
    take(&mut watching, |_, after| after == 5).await;
    server.kill();
    told_of_outage(&mut watching, 5).await;
    server.run().unwrap();
    change(&store, 4).await;
    let mut watching = bench.feed.watch(plan(&bench, Some(5), |_| {})).await.unwrap();
    assert_eq!(take(&mut watching, |_, after| after == 9).await.0, [6, 7, 8, 9]);
    // What was told once is not told to those who came afterwards.
    let since = Instant::now();
    take(&mut watching, |_, _| since.elapsed() > LIMITS.outage).await;
}

#[test]
fn a_read_that_hangs_is_noticed_when_one_that_fails_would_be() {
    let outage = Duration::from_secs(10);
    let mut silence = Silence::default();
    assert_eq!(silence.left(outage), outage);
    let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
    assert!(!silence.lasts(ago(7), outage));
    assert!(silence.left(outage) <= Duration::from_secs(3));
    assert!(!silence.lasts(ago(1), outage), "since the first that failed");
    silence.end();
    assert!(silence.lasts(ago(11), outage), "one read took it all");
    assert!(!silence.lasts(ago(1), outage), "told once in each such time");
}

fn event(seq: i64, coordinator: &str) -> Event {
    Event {
        seq,
        at_ms: 1,
        aggregate: "settlement".into(),
        aggregate_id: seq.to_string(),
        event: "accept".into(),
        from_state: None,
        to_state: Some("accepted".into()),
        cause: String::new(),
        detail: None,
        settlement: Some(SettlementId(B256::ZERO)),
        coordinator_id: Some(coordinator.into()),
        trace_id: None,
    }
}

#[test]
fn a_page_stops_at_the_first_hole_and_shares_runs_of_bytes() {
    let symbols = Symbols::default();
    assert!(Page::new(vec![], &symbols).is_none());
    let holed = [3, 4, 6].map(|seq| event(seq, "a")).to_vec();
    let page = Page::new(holed, &symbols).unwrap();
    assert_eq!((page.first(), page.last(), page.count()), (3, 4, 2));
    assert!(page.follows(2) && page.follows(3) && !page.follows(4) && !page.follows(1));
    let mixed = [("a", 1), ("a", 2), ("b", 3), ("b", 4), ("a", 5)];
    let page = Page::new(mixed.map(|(who, seq)| event(seq, who)).to_vec(), &symbols).unwrap();
    let of = |after, coordinator: Option<&str>| {
        let filter = Filter {
            coordinator: coordinator.map(|name| symbols.of(name)),
            ..Filter::default()
        };
        let selection = page.select(after, &filter);
        let frame = Frame {
            selection: selection.clone(),
            after_seq: 0,
            newest_seq: 0,
            at_ms: 0,
        };
        let seqs: Vec<u64> = frame.events().iter().map(|event| event.seq).collect();
        assert_eq!(seqs.len(), selection.count);
        (seqs, selection.pieces.len())
    };
    assert_eq!(of(0, None), (vec![1, 2, 3, 4, 5], 1));
    assert_eq!(of(3, None), (vec![4, 5], 1));
    assert_eq!(of(0, Some("a")), (vec![1, 2, 5], 2));
    assert_eq!(of(1, Some("b")), (vec![3, 4], 1));
    assert_eq!(of(4, Some("b")), (vec![], 0));
}
