#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::clock::SystemClock;
use crate::intake::IntakePolicy;
use crate::router::{BreakerRule, CapRule, HistoryRule, Patience, RoutePolicy, RouterParams, StaticPrices};
use crate::store::testing::{PAYER, TARGET, TestStore, deposit, new_settlement, open};
use std::time::Duration;

struct Bench {
    db: TestStore,
    service: Service,
}

async fn bench() -> Bench {
    let db = open().await;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let params = RouterParams {
        owner: "test".into(),
        lease_ms: 1_000,
        policy: RoutePolicy::Preferred,
        order: vec![],
        quote_timeout: Duration::from_secs(1),
        limits: BTreeMap::new(),
        cap_rule: CapRule::default(),
        prices: Arc::new(StaticPrices::default()),
        history: HistoryRule {
            dispatches: 1,
            breaker: BreakerRule {
                failures: 0,
                cooldown_ms: 1,
                cooldown_max_ms: 1,
            },
        },
        dispatches_max: 1,
        patience: Patience {
            with_lane_ms: 1,
            without_lane_ms: 1,
        },
        retry_min_ms: 1,
        retry_max_ms: 1,
        recheck_ms: 1,
        quote_ms: 0,
    };
    let policy = IntakePolicy::default();
    let (intake, _writer) =
        Intake::new(policy, db.store.clone(), BTreeMap::new(), clock.clone(), Arc::default()).unwrap();
    let service = Service {
        store: db.store.clone(),
        intake,
        router: Arc::new(Router::new(db.store.clone(), vec![], BTreeMap::new(), params)),
        clock,
        ends: BTreeMap::new(),
        count_max: 128,
        quote_age_ms_max: 60_000,
    };
    Bench { db, service }
}

/// Accepts `count` settlements and returns their ids in order.
async fn accept(bench: &Bench, count: u64) -> Vec<SettlementId> {
    deposit(&bench.db, PAYER, 1_000_000, 1).await;
    let news: Vec<_> = (1..=count).map(|n| new_settlement(PAYER, n, 10, 0, n)).collect();
    let mut txn = bench.db.begin(5_000).await.unwrap();
    txn.accept_settlements(&news).await.unwrap();
    txn.commit().await.unwrap();
    news.iter().map(|new| new.id).collect()
}

fn request(page_size: u32, page_token: String) -> v1::ListRequest {
    v1::ListRequest {
        page_size,
        page_token,
        ..Default::default()
    }
}

#[tokio::test]
async fn pages_cover_everything_once() {
    let bench = bench().await;
    let mut expected: Vec<String> = accept(&bench, 5).await.iter().map(ToString::to_string).collect();
    let (mut found, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = bench.service.list(request(2, token)).await.unwrap();
        found.extend(page.settlements.into_iter().map(|settlement| settlement.settlement_id));
        pages += 1;
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(pages, 3);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert!(bench.service.list(request(2, "7".into())).await.is_err());
}

#[tokio::test]
async fn filters_narrow_the_list_and_wrong_ones_are_refused() {
    let bench = bench().await;
    accept(&bench, 3).await;
    let count = async |change: fn(&mut v1::ListRequest)| {
        let mut request = request(10, String::new());
        change(&mut request);
        bench
            .service
            .list(request)
            .await
            .map(|page| page.settlements.len())
            .map_err(|error| error.code.code)
    };
    assert_eq!(count(|_| {}).await, Ok(3));
    assert_eq!(count(|request| request.job_id = "job-2".into()).await, Ok(1));
    assert_eq!(count(|request| request.state = "settled".into()).await, Ok(0));
    assert_eq!(count(|request| request.payer = PAYER.to_string()).await, Ok(3));
    assert_eq!(count(|request| request.target_chain = TARGET.0 + 1).await, Ok(0));
    assert_eq!(count(|request| request.coordinator = "another".into()).await, Ok(0));
    assert_eq!(count(|request| request.state = "done".into()).await, Err("RLY-API-001"));
    assert_eq!(count(|request| request.payee = "0x12".into()).await, Err("RLY-API-001"));
}

#[tokio::test]
async fn a_settlement_is_answered_with_its_history_and_a_cancel_is_remembered() {
    let bench = bench().await;
    let id = accept(&bench, 1).await[0];
    assert!(bench.service.find(SettlementId(B256::ZERO)).await.unwrap().is_none());
    let cancelled = bench.service.cancel("coordinator", id).await.unwrap();
    assert_eq!(cancelled.state, "accepted");
    assert!(cancelled.cancel_requested_at_ms > 0);
    let again = bench.service.cancel("coordinator", id).await.unwrap();
    assert_eq!(again.cancel_requested_at_ms, cancelled.cancel_requested_at_ms);
    let found = bench.service.find(id).await.unwrap().unwrap();
    let settlement = found.settlement.unwrap();
    assert_eq!(
        (settlement.settlement_id, settlement.state.as_str()),
        (id.to_string(), "accepted")
    );
    assert_eq!(settlement.receipts[0].job_id, "job-1");
    assert!(found.bundle.is_none());
    let events: Vec<_> = found.history.iter().map(|event| event.event.as_str()).collect();
    assert_eq!(events, ["accept", "cancel_requested"]);
}

#[tokio::test]
async fn quoting_a_pair_without_contracts_names_the_pair() {
    let bench = bench().await;
    let request = v1::QuoteRequest {
        source_chain: 1,
        target_chain: 2,
    };
    let error = bench.service.quote(request).await.unwrap_err();
    assert_eq!(error.kind, Kind::FailedPrecondition);
    assert!(error.message.contains("chain 1") && error.message.contains("chain 2"));
}
