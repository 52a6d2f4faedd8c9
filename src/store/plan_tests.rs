//! Every query of the running relayer goes by an index, so that it costs the same with a million settlements that ended as with none. The
//! statements are those the store really sends, recorded; the database says how it would run them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::seed::{Seed, settlement_id};
use super::testing::{self, INBOX, OUTBOX, PAYEE, PAYER, SOURCE, TARGET, TOKEN, TestStore};
use super::*;
use crate::ledger::AccountKind;
use crate::settlement::states::{MessageState, SettlementState};
use alloy::primitives::{Address, B256, U256};
use sea_orm::{ConnectionTrait, DbBackend, Statement, TransactionTrait};
use std::sync::{Arc, Mutex};

/// Small by nature: one row per chain, counter or difference.
const SMALL: &[&str] = &[
    "chain_cursor",
    "counter",
    "drift",
    "signer_lease",
    "log_tally",
    "settlement_group",
];
/// Partial indexes that hold only what is open: reading all of one is reading what there is to do.
const OF_OPEN: &[&str] = &["settlement_open", "tx_unfinished", "dispatch_stalled"];
const SIGNER: Address = Address::repeat_byte(0x51);

struct Plans {
    db: TestStore,
    store: Store,
    heard: Arc<Mutex<Vec<Statement>>>,
    faults: Vec<String>,
}

async fn plans() -> Plans {
    let db = testing::open().await;
    let seed = Seed {
        per_message: 4,
        events: true,
        ..Seed::new(2_000, 60)
    };
    db.fill(&seed, |_| {}).await.unwrap();
    // SQLite plans without statistics unless somebody has it gather them, and the relayer does not.
    if db.store.db.get_database_backend() == DbBackend::Postgres {
        db.store.db.execute_unprepared("ANALYZE").await.unwrap();
    }
    let heard = Arc::new(Mutex::new(Vec::new()));
    let mut store = db.store.clone();
    let note = heard.clone();
    store
        .db
        .set_metric_callback(move |info| note.lock().unwrap().push(info.statement.clone()));
    Plans {
        db,
        store,
        heard,
        faults: Vec::new(),
    }
}

impl Plans {
    /// Judges what was sent since the last time.
    async fn judge(&mut self, what: &str) {
        let heard = std::mem::take(&mut *self.heard.lock().unwrap());
        let sql = |statement: &Statement| statement.sql.trim_start().to_uppercase();
        // A list that is empty becomes a condition that is never true, and nothing is read.
        let never = |sql: &str| sql.contains("WHERE ? = ?") || sql.contains("WHERE $1 = $2");
        let judged = heard.into_iter().filter(|statement| {
            let verbs = ["SELECT", "UPDATE", "DELETE", "WITH"];
            !never(&statement.sql) && verbs.iter().any(|verb| sql(statement).starts_with(verb))
        });
        let mut count = 0;
        for statement in judged {
            count += 1;
            for step in self.explain(&statement).await {
                if is_full_scan(&step) {
                    self.faults.push(format!("{what}: {step}\n    {}", statement.sql));
                }
            }
        }
        assert!(count > 0, "{what} sent nothing: the recorder does not hear the store");
    }

    async fn explain(&self, statement: &Statement) -> Vec<String> {
        let db = &self.db.store.db;
        let backend = db.get_database_backend();
        let tx = db.begin().await.unwrap();
        let (verb, column) = match backend {
            DbBackend::Postgres => {
                // Small tables are read whole for good reason; here the question is whether there is another way.
                tx.execute_unprepared("SET LOCAL enable_seqscan = off").await.unwrap();
                ("EXPLAIN", "QUERY PLAN")
            }
            _ => ("EXPLAIN QUERY PLAN", "detail"),
        };
        let mut explain = statement.clone();
        explain.sql = format!("{verb} {}", statement.sql);
        let rows = tx.query_all_raw(explain).await.unwrap();
        let steps = rows.iter().map(|row| row.try_get("", column).unwrap()).collect();
        tx.rollback().await.unwrap();
        steps
    }
}

/// Whether a step of a plan reads a whole table, or a whole index over it.
fn is_full_scan(step: &str) -> bool {
    if let Some((_, on)) = step.split_once("Seq Scan on ") {
        let table = on.split_whitespace().next().unwrap_or_default();
        return !SMALL.contains(&table);
    }
    let Some(on) = step.trim().strip_prefix("SCAN ") else {
        return false;
    };
    let mut words = on.split_whitespace();
    let table = words.next().unwrap_or_default();
    let index = words.last().unwrap_or_default();
    !(SMALL.contains(&table)
        || ["first", "v", "(subquery"].contains(&table)
        || on.contains("CONSTANT ROW")
        || OF_OPEN.contains(&index))
}

macro_rules! judged {
    ($plans:ident: $($call:expr;)*) => {$(
        let _ = $call.await.unwrap();
        $plans.judge(stringify!($call)).await;
    )*};
}

async fn work(plans: &mut Plans) {
    let store = plans.store.clone();
    let now = 1 << 40;
    judged! { plans:
        store.claim_messages(&[MessageState::Sealed, MessageState::Received], "me", now, 10, 1);
        store.claim_dispatches(DispatchQueue::Send, "me", now, 10, 1);
        store.claim_dispatches(DispatchQueue::Mirror, "me", now, 10, 1);
        store.claim_dispatches(DispatchQueue::Adopted, "me", now, 10, 1);
        store.claim_dispatches(DispatchQueue::Follow, "me", now, 10, 1);
        store.claim_dispatches(DispatchQueue::Rescue { attested_before_ms: now, rescued_before_ms: now, ours: Vec::new(), tried_before_ms: now }, "me", now, 10, 1);
        store.claim_dispatches(DispatchQueue::Rescue { attested_before_ms: now, rescued_before_ms: now, ours: vec![lane(), back()], tried_before_ms: now }, "me", now, 10, 1);
        store.claim_moved_executions("me", 10, 1);
        store.list_batchable(TARGET, now, 1, 100);
        store.list_past_deadline(TARGET, 3_000_000, 0, 100);
        store.list_stalled_lanes();
        store.list_lane_transits(&lane(), 20);
        store.count_live_executions(TARGET);
        store.list_waiting_txs(SOURCE, SIGNER, 10);
        store.list_included_txs(SOURCE, SIGNER, 10);
        store.committed_wei(SOURCE, SIGNER);
        store.find_last_nonce(SOURCE, SIGNER);
        store.list_nonces_from(SOURCE, SIGNER, 400);
        store.find_live_tx(&Intent::new(IntentKind::Dispatch, "1:0"));
        store.get_cursor(TARGET);
        store.claim_messages_of(relayer_adapter_api::Kind::Checkpoint, &[MessageState::Received], "me", now, 10, 1);
        store.list_checkpoint_messages(checkpoints(), 3, 10);
        store.list_newest_checkpoint_messages(checkpoints(), 10);
        store.list_open_checkpoint_messages(checkpoints(), 10);
        store.list_messages_of_checkpoint(SOURCE, OUTBOX, 3);
        store.count_pending_records(checkpoints());
        store.list_due_signatures(checkpoints(), now, 10);
        store.list_signatures_of(SOURCE, OUTBOX, 3);
    }
}

fn lane() -> LaneKey {
    LaneKey {
        source: SOURCE,
        target: TARGET,
        bridge: "layerzero".parse().unwrap(),
    }
}

fn checkpoints() -> CheckpointLane {
    CheckpointLane {
        source: SOURCE,
        hub: OUTBOX,
        target: TARGET,
    }
}

fn back() -> LaneKey {
    LaneKey {
        source: TARGET,
        target: SOURCE,
        ..lane()
    }
}

async fn chain(plans: &mut Plans) {
    let store = plans.store.clone();
    let tally = TallyKey {
        chain: TARGET,
        address: INBOX,
        kind: "settlement_paid".into(),
    };
    let facts = FactsQuery {
        tokens: [TOKEN].into(),
        payers: [PAYER].into(),
        nonces: [(PAYER, U256::from(7))].into(),
    };
    let vault = [AccountKind::Available, AccountKind::Reserved];
    let asset = testing::ASSET;
    judged! { plans:
        store.list_unapplied_seen(TARGET, 100);
        store.list_unapplied_final(TARGET, 100);
        store.list_orphaned_applied(TARGET, 100);
        store.is_fully_applied(TARGET);
        store.find_logs(TARGET, "settlement_paid", B256::ZERO, None, false);
        store.list_final_logs_of_tx(TARGET, B256::ZERO);
        store.count_logs_of_tx(TARGET, "settlement_paid", B256::ZERO);
        store.list_port_logs(TARGET);
        store.list_tokens(TARGET);
        store.count_final_logs(&tally, 10);
        store.list_unjudged_votes(TARGET, INBOX, 10, 100);
        store.list_departures(&[crate::settlement::MessageId(B256::ZERO)].into(), &[SOURCE]);
        store.vault_facts(TARGET, &facts);
        store.list_accounts_of(&vault, Some(asset));
        store.find_block_at_or_below(TARGET, 10);
    }
}

async fn figures(plans: &mut Plans) {
    let store = plans.store.clone();
    let mut census = Census::new(Counted::Settlements);
    judged! { plans:
        store.count_open_settlements();
        store.oldest_by_state();
        store.count_stalled();
        store.count_open_messages();
        store.count_open_txs();
        store.census(&mut census);
        store.count_drift();
        store.newest_seq();
        store.oldest_cursor();
    }
    assert_eq!(census.get("settled"), 2_000, "within one stretch");
}

async fn reads(plans: &mut Plans) {
    let store = plans.store.clone();
    let id = settlement_id(3).unwrap();
    let message = store.list_messages_of(id).await.unwrap()[0].0;
    plans.judge("list_messages_of").await;
    let also = [("message", message.to_string()), ("dispatch", "1".to_owned())];
    let by = |change: fn(&mut SettlementFilter)| {
        let mut filter = SettlementFilter::default();
        change(&mut filter);
        filter
    };
    let (coordinator, payer) = (
        by(|f| f.coordinator_id = Some("coordinator".into())),
        by(|f| f.payer = Some(PAYER)),
    );
    let (payee, state) = (
        by(|f| f.payee = Some(PAYEE)),
        by(|f| f.state = Some(SettlementState::Disputed)),
    );
    let job = by(|f| {
        f.coordinator_id = Some("coordinator".into());
        f.job_id = Some("job-3".into());
    });
    let both = by(|f| {
        f.coordinator_id = Some("coordinator".into());
        f.state = Some(SettlementState::Settled);
        f.target = Some(TARGET);
    });
    judged! { plans:
        store.find_settlement(id);
        store.find_settlement_by_nonce(TARGET, INBOX, PAYER, U256::from(3));
        store.list_covered_receipts(id);
        store.list_postings(id);
        store.list_settlement_events(id);
        store.list_history(id, &also, 100);
        store.list_aggregate_events("message", &message.to_string());
        store.list_events_after(1_000, 100);
        store.find_message(message);
        store.list_message_leaves(message);
        store.list_dispatches(message);
        store.list_executions(message);
        store.page_settlements(&coordinator, Some(1_000), 10);
        store.page_settlements(&payer, None, 10);
        store.page_settlements(&payee, Some(1_500), 10);
        store.page_settlements(&state, None, 10);
        store.page_settlements(&job, None, 10);
        store.page_settlements(&both, None, 10);
    }
}

async fn writes(plans: &mut Plans) {
    let store = plans.store.clone();
    testing::deposit(&plans.db, PAYER, 1_000_000, 9_999_999).await;
    let news: Vec<_> = (1..=3)
        .map(|n| testing::new_settlement(PAYER, 10_000 + n, 10, 1, 10_000 + n))
        .collect();
    let ids: Vec<_> = news.iter().map(|new| new.id).collect();
    let mut txn = store.begin(1).await.unwrap();
    txn.accept_settlements(&news).await.unwrap();
    txn.commit().await.unwrap();
    plans.judge("accept").await;
    let sealed = testing::seal(&store, &ids).await;
    plans.judge("seal").await;
    let mut txn = store.begin(1).await.unwrap();
    txn.settlement_pay(ids[0], &testing::payment(3, 1)).await.unwrap();
    txn.settlement_end_unpaid(
        ids[1],
        &testing::ending(crate::settlement::states::SettlementEvent::Expire),
    )
    .await
    .unwrap();
    txn.open_leaves(sealed.id()).await.unwrap();
    txn.lock_settlement_by_nonce(TARGET, INBOX, PAYER, U256::from(10_002))
        .await
        .unwrap();
    txn.orphan_logs_above(TARGET, 1_000_000).await.unwrap();
    txn.commit().await.unwrap();
    plans.judge("pay and end").await;
    let _ = OUTBOX;
}

#[tokio::test]
async fn no_query_of_the_running_relayer_reads_a_whole_table() {
    let mut plans = plans().await;
    work(&mut plans).await;
    chain(&mut plans).await;
    figures(&mut plans).await;
    reads(&mut plans).await;
    writes(&mut plans).await;
    assert!(
        plans.faults.is_empty(),
        "{} full scans:\n{}",
        plans.faults.len(),
        plans.faults.join("\n")
    );
}

#[test]
fn a_full_scan_is_recognised() {
    let check = |step: &str, expected: bool| assert_eq!(is_full_scan(step), expected, "{step}");
    check("SCAN settlement", true);
    check("SCAN settlement USING COVERING INDEX settlement_coordinator", true);
    check("SCAN d", true);
    check("SEARCH settlement USING INDEX settlement_open (state=?)", false);
    check("SCAN tx USING COVERING INDEX tx_unfinished", false);
    check("SCAN counter", false);
    check("  ->  Seq Scan on chain_log l  (cost=1.00)", true);
    check("Seq Scan on chain_cursor  (cost=1.00)", false);
    check("Index Scan using settlement_pkey on settlement", false);
}

#[tokio::test]
async fn pages_with_filters_no_index_answers_cover_everything_once() {
    let db = testing::open().await;
    let seed = Seed {
        events: false,
        ..Seed::new(45_000, 3)
    };
    db.fill(&seed, |_| {}).await.unwrap();
    let open = SettlementFilter {
        state: Some(SettlementState::Accepted),
        ..SettlementFilter::default()
    };
    let settled = SettlementFilter {
        state: Some(SettlementState::Settled),
        payee: Some(PAYEE),
        ..SettlementFilter::default()
    };
    for (filter, expected) in [(open, 3), (settled, 45_000)] {
        let (mut before, mut found, mut pages) = (None, Vec::new(), 0);
        loop {
            let (rows, next) = db.page_settlements(&filter, before, 10_000).await.unwrap();
            found.extend(rows.into_iter().map(|row| row.row));
            pages += 1;
            before = next;
            if before.is_none() {
                break;
            }
        }
        assert!(found.is_sorted_by(|a, b| a > b), "newest first, none twice");
        assert_eq!(found.len(), expected);
        assert!(pages >= 3, "a page looks at a stretch: {pages}");
    }
}

/// Of a checkpoint of a million wallets the place orders all of them; looked for there, a wallet costs as much as all before it.
#[tokio::test]
async fn an_allotment_is_found_by_its_wallet() {
    let plans = plans().await;
    plans.store.find_hub_allotment(1, PAYER).await.unwrap();
    let heard = std::mem::take(&mut *plans.heard.lock().unwrap());
    let steps = plans.explain(&heard[0]).await;
    assert!(
        steps.iter().any(|step| step.contains("hub_allotment_wallet")),
        "{steps:?}"
    );
}
