//! Several processes on one database: clients with pools of their own race. On both backends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::testing::*;
use super::*;
use crate::settlement::SettlementId;
use crate::settlement::states::{MessageState, SettlementState};
use alloy::primitives::{Address, B256, U256};
use proptest::prelude::*;
use relayer_adapter_api::{BlockRef, Class};
use sea_orm::{ConnectionTrait, Statement};
use std::collections::BTreeSet;

const OTHER_PAYER: Address = Address::repeat_byte(0xac);

async fn clients(test: &TestStore, n: usize) -> Vec<Store> {
    let mut clients = Vec::with_capacity(n);
    for _ in 0..n {
        clients.push(test.database.open().await);
    }
    clients
}

/// A batch as the intake stores it: the whole again when somebody else was faster.
async fn accept_racing(store: &Store, news: &[NewSettlement]) -> Vec<Accept> {
    for _ in 0..50 {
        let attempt = async {
            let mut txn = store.begin(10).await?;
            let answers = txn.accept_settlements(news).await?;
            txn.commit().await?;
            Ok::<_, StoreError>(answers)
        };
        match attempt.await {
            Ok(answers) => return answers,
            Err(error) => assert!(error.is_race(), "{error}"),
        }
    }
    panic!("never got through");
}

fn happened(n: usize) -> NewEvent {
    NewEvent {
        aggregate: "ledger",
        aggregate_id: n.to_string(),
        event: "test".into(),
        cause: "test".into(),
        ..NewEvent::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_processes_that_start_at_once_migrate_an_empty_database_once() {
    for _ in 0..3 {
        let database = TestDatabase::empty().await;
        let starting = (0..4).map(|_| async {
            let store = database.open().await;
            store.migrate().await?;
            store.check_schema().await
        });
        for started in futures::future::join_all(starting).await {
            started.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_follows_the_order_of_events_misses_none() {
    const COMMITS: usize = 25;
    let test = open().await;
    let mut writers = Vec::new();
    for store in clients(&test, 5).await {
        writers.push(tokio::spawn(async move {
            for n in 0..COMMITS {
                let mut txn = store.begin(1).await.unwrap();
                for _ in 0..=n % 3 {
                    txn.record(happened(n));
                }
                txn.commit().await.unwrap();
            }
        }));
    }
    let total = (0..COMMITS).map(|n| n % 3 + 1).sum::<usize>() * writers.len();
    let mut seen = 0;
    while seen < total as i64 {
        for event in test.list_events_after(seen, 7).await.unwrap() {
            assert_eq!(event.seq, seen + 1, "an event showed up before one that precedes it");
            seen = event.seq;
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(test.newest_seq().await.unwrap(), total as i64);
    assert_eq!(test.list_events_after(seen, 7).await.unwrap(), vec![]);
}

#[tokio::test]
async fn a_commit_is_heard_of_where_it_was_made() {
    let test = open().await;
    let mut heard = test.changes();
    let mut txn = test.begin(1).await.unwrap();
    txn.record(happened(1));
    let seq = txn.commit().await.unwrap().unwrap();
    assert_eq!(*heard.wait_for(|newest| *newest >= seq).await.unwrap(), seq);
    // A transaction without events wakes nobody.
    heard.mark_unchanged();
    assert_eq!(test.begin(1).await.unwrap().commit().await.unwrap(), None);
    assert!(!heard.has_changed().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_claimed_by_one_worker_at_a_time() {
    let test = open().await;
    deposit(&test, PAYER, 1_000, 100).await;
    let mut sealed = BTreeSet::new();
    for n in 1..=12 {
        let new = new_settlement(PAYER, n, 10, 0, n);
        accept(&test, std::slice::from_ref(&new)).await;
        sealed.insert(seal(&test, &[new.id]).await.id());
    }
    let working = clients(&test, 4).await.into_iter().map(|store| async move {
        let mut mine = Vec::new();
        for _ in 0..6 {
            let claims = store.claim_messages(&[MessageState::Sealed], "worker", 100, 2, 60_000);
            mine.extend(claims.await.unwrap().into_iter().map(|claim| claim.row.id));
        }
        mine
    });
    let claimed: Vec<_> = futures::future::join_all(working).await.into_iter().flatten().collect();
    let once: BTreeSet<_> = claimed.iter().copied().collect();
    assert_eq!(claimed.len(), once.len(), "a message was claimed twice");
    assert_eq!(once, sealed);
}

fn cursor(number: u64) -> Cursor {
    let block = BlockRef {
        number,
        hash: B256::from(U256::from(number)),
        timestamp: number,
    };
    Cursor {
        seen: block,
        finalized: block,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_observers_of_a_chain_one_advances_and_the_other_writes_nothing() {
    let test = open().await;
    for (old, new) in [(None, 1), (Some(1), 2), (Some(2), 3)] {
        let old = old.map(cursor);
        let racing = clients(&test, 2).await.into_iter().map(|store| async move {
            let mut txn = store.begin(1).await?;
            txn.move_cursor(TARGET, old.as_ref(), &cursor(new)).await?;
            txn.record(happened(1));
            txn.commit().await
        });
        let outcomes = futures::future::join_all(racing).await;
        let lost: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
        assert_eq!(lost.len(), 1, "{outcomes:?}");
        assert!(lost[0].is_race(), "{}", lost[0]);
        assert_eq!(test.get_cursor(TARGET).await.unwrap(), Some(cursor(new)));
        assert_eq!(test.newest_seq().await.unwrap(), new as i64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_two_processes_book_at_once_is_booked_once() {
    let test = open().await;
    deposit(&test, PAYER, 1_000, 100).await;
    let new = new_settlement(PAYER, 1, 100, 5, 1);
    accept(&test, std::slice::from_ref(&new)).await;
    seal(&test, &[new.id]).await;
    let racing = clients(&test, 3).await.into_iter().map(|store| async move {
        let mut txn = store.begin(1).await.unwrap();
        let booked = txn.settlement_pay(new.id, &payment(200, 3)).await.unwrap();
        txn.commit().await.unwrap();
        booked
    });
    let booked = futures::future::join_all(racing).await;
    assert_eq!(booked.iter().filter(|booked| **booked).count(), 1);
    assert_eq!(
        test.get_settlement(new.id).await.unwrap().state,
        SettlementState::Settled
    );
    assert_eq!((available(&test, PAYER).await, reserved(&test, PAYER).await), (895, 0));
    assert_eq!((paid(&test, PAYEE).await, income(&test).await), (100, 5));
    assert_eq!(test.list_unbalanced_accounts().await.unwrap(), Vec::<i64>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_batchers_seal_a_settlement_once_and_leave_no_hole_in_the_sequence() {
    let test = open().await;
    deposit(&test, PAYER, 1_000, 100).await;
    let news: Vec<_> = (1..=3).map(|n| new_settlement(PAYER, n, 10, 0, n)).collect();
    let ids: Vec<SettlementId> = news.iter().map(|new| new.id).collect();
    accept(&test, &news).await;
    let racing = clients(&test, 3).await.into_iter().map(|store| {
        let ids = ids.clone();
        async move {
            let words: Vec<B256> = ids.iter().map(|id| id.0).collect();
            let mut txn = store.begin(20).await?;
            let sequence = txn.next_sequence(OUTBOX, TARGET, 1).await?;
            let message = relayer_adapter_api::SealedMessage {
                header: relayer_adapter_api::Header {
                    kind: relayer_adapter_api::Kind::SettlementBatch,
                    source: SOURCE,
                    target: TARGET,
                    outbox: OUTBOX,
                    inbox: INBOX,
                    sequence,
                    root: relayer_adapter_api::tree::root(&words).unwrap(),
                    count: 3,
                    fee_recipient: FEE_RECIPIENT,
                },
                body: relayer_adapter_api::Body::Batch { ids },
                committed: false,
            };
            txn.seal_message(&message, 1, None, "batcher").await?;
            txn.commit().await?;
            Ok::<_, StoreError>(sequence)
        }
    });
    let outcomes = futures::future::join_all(racing).await;
    let sealed: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert_eq!(sealed, [&1], "{outcomes:?}");
    let lost: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(lost.iter().all(|error| error.is_race()), "{lost:?}");
    let again = new_settlement(PAYER, 9, 10, 0, 9);
    accept(&test, std::slice::from_ref(&again)).await;
    assert_eq!(seal(&test, &[again.id]).await.header.sequence, 2);
}

/// What the clients of one run submit: who, payer, nonce, receipt, amount.
type Submission = (usize, bool, u64, u64, u64);

/// Everything fits the money there was; whoever was refused was refused with reason.
async fn race(balance: u64, submissions: Vec<Submission>) {
    let test = open().await;
    for (block, payer) in [(100, PAYER), (101, OTHER_PAYER)] {
        deposit(&test, payer, balance, block).await;
    }
    let stores = clients(&test, 4).await;
    let racing = stores.iter().enumerate().map(|(client, store)| {
        let own = submissions.iter().filter(move |submission| submission.0 == client);
        let news: Vec<NewSettlement> = own
            .map(|(_, other, nonce, tag, amount)| {
                let payer = if *other { OTHER_PAYER } else { PAYER };
                new_settlement(payer, *nonce, *amount, 1, *tag)
            })
            .collect();
        async move {
            let mut answers = Vec::new();
            for batch in news.chunks(3) {
                let answered = accept_racing(store, batch).await;
                answers.extend(batch.iter().cloned().zip(answered));
            }
            answers
        }
    });
    let answers: Vec<(NewSettlement, Accept)> = futures::future::join_all(racing).await.into_iter().flatten().collect();
    assert_eq!(answers.len(), submissions.len());
    check_answers(&test, balance, &answers).await;
}

async fn check_answers(test: &TestStore, balance: u64, answers: &[(NewSettlement, Accept)]) {
    let accepted: Vec<&NewSettlement> = answers
        .iter()
        .filter(|(_, answer)| matches!(answer, Accept::Accepted(_)))
        .map(|(new, _)| new)
        .collect();
    let nonces: BTreeSet<_> = accepted.iter().map(|new| (new.terms.payer, new.terms.nonce)).collect();
    let receipts: BTreeSet<_> = accepted.iter().map(|new| new.receipts[0].hash).collect();
    assert_eq!((nonces.len(), receipts.len()), (accepted.len(), accepted.len()));
    for payer in [PAYER, OTHER_PAYER] {
        let own = accepted.iter().filter(|new| new.terms.payer == payer);
        let debits: u64 = own.map(|new| new.terms.debit().to::<u64>()).sum();
        assert!(debits <= balance, "{debits} reserved of {balance}");
        assert_eq!(reserved(test, payer).await, debits);
        assert_eq!(available(test, payer).await, balance - debits);
    }
    for (new, answer) in answers {
        let winner = |by: &SettlementId| {
            *accepted
                .iter()
                .find(|accepted| accepted.id == *by)
                .expect("refused for nothing")
        };
        match answer {
            Accept::Accepted(settlement) => assert_eq!(settlement.id, new.id),
            Accept::Existing(settlement) => assert_eq!(winner(&settlement.id).id, new.id),
            Accept::NonceTaken { by } => {
                let by = winner(by);
                assert_eq!((by.terms.payer, by.terms.nonce), (new.terms.payer, new.terms.nonce));
            }
            Accept::ReceiptHeld { receipt, by } => assert_eq!(winner(by).receipts[0].hash, *receipt),
            Accept::JobHeld { job_id, by } => assert_eq!(winner(by).receipts[0].job_id, *job_id),
            // Nothing is given back in between, so what does not fit at the end did not fit then, and what did not fit then never will.
            Accept::Insufficient { needed, .. } => {
                assert!(*needed > U256::from(available(test, new.terms.payer).await));
            }
        }
    }
    assert_eq!(test.list_unbalanced_accounts().await.unwrap(), Vec::<i64>::new());
    assert_eq!(
        test.count_settlements()
            .await
            .unwrap()
            .iter()
            .map(|(_, n)| n)
            .sum::<u64>(),
        accepted.len() as u64
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn writers_that_race_never_reserve_more_than_there_is_and_accept_each_nonce_and_receipt_once(
        balance in 1u64..600,
        submissions in prop::collection::vec((0usize..4, any::<bool>(), 0u64..6, 0u64..8, 1u64..200), 1..28),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(race(balance, submissions));
    }
}

#[tokio::test]
async fn a_full_disk_refuses_the_commit_whole_and_room_heals_it() {
    let test = open().await;
    if test.database.is_postgres() {
        return;
    }
    deposit(&test, PAYER, 100_000, 100).await;
    let backend = test.db.get_database_backend();
    let row = test
        .db
        .query_one_raw(Statement::from_string(backend, "PRAGMA page_count"))
        .await;
    let pages: i64 = row.unwrap().unwrap().try_get_by_index(0).unwrap();
    let limit = |pages: i64| format!("PRAGMA max_page_count = {pages}");
    test.db.execute_unprepared(&limit(pages + 4)).await.unwrap();
    let mut stored = 0;
    let refused = loop {
        let mut txn = test.begin(10).await.unwrap();
        match txn
            .accept_settlements(&[new_settlement(PAYER, stored, 10, 0, stored)])
            .await
        {
            Ok(_) => match txn.commit().await {
                Ok(_) => stored += 1,
                Err(error) => break error,
            },
            Err(error) => break error,
        }
        assert!(stored < 1_000, "the disk never was full");
    };
    assert!(matches!(refused.class(), Class::Retry { .. }), "{refused}");
    assert!(refused.to_string().contains("full"), "{refused}");
    assert_eq!(reserved(&test, PAYER).await, stored * 10);
    test.db.execute_unprepared(&limit(1_000_000)).await.unwrap();
    accept(&test, &[new_settlement(PAYER, stored, 10, 0, stored)]).await;
    assert_eq!(reserved(&test, PAYER).await, (stored + 1) * 10);
    assert_eq!(test.list_unbalanced_accounts().await.unwrap(), Vec::<i64>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_are_compared_with_their_postings_as_both_are_at_one_moment() {
    let test = open().await;
    let writer = test.database.open().await;
    let (done, mut stop) = tokio::sync::oneshot::channel::<()>();
    let writing = tokio::spawn(async move {
        let mut made = 0;
        while stop.try_recv().is_err() {
            made += 1;
            deposit(&writer, PAYER, 1, made).await;
        }
        made
    });
    for _ in 0..100 {
        assert_eq!(test.list_unbalanced_accounts().await.unwrap(), Vec::<i64>::new());
    }
    done.send(()).unwrap();
    assert!(writing.await.unwrap() > 20);
}
