#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::testing::*;
use super::*;
use crate::settlement::SettlementId;
use crate::settlement::states::{MessageState, SettlementEvent, SettlementState};
use alloy::primitives::{Address, B256, U256};

fn accepted(answer: &Accept) -> &Settlement {
    match answer {
        Accept::Accepted(settlement) => settlement,
        other => panic!("not accepted: {other:?}"),
    }
}

async fn state(store: &Store, id: SettlementId) -> SettlementState {
    store.get_settlement(id).await.unwrap().state
}

async fn assert_balanced(store: &Store) {
    assert_eq!(store.list_unbalanced_accounts().await.unwrap(), Vec::<i64>::new());
}

#[tokio::test]
async fn an_accepted_settlement_is_stored_and_reserved() {
    let store = open().await;
    deposit(&store, PAYER, 1_000, 100).await;
    let new = new_settlement(PAYER, 1, 100, 5, 1);
    let answers = accept(&store, std::slice::from_ref(&new)).await;
    let got = accepted(&answers[0]).clone();
    assert_eq!(got.id, new.id);
    assert_eq!(got.terms, new.terms);
    let row = store.get_settlement(new.id).await.unwrap();
    assert!(row.row > 0);
    assert_eq!(Settlement { row: 0, ..row }, got);
    assert_eq!(store.list_covered_receipts(new.id).await.unwrap(), new.receipts);
    assert_eq!(available(&store, PAYER).await, 895);
    assert_eq!(reserved(&store, PAYER).await, 105);
    assert_balanced(&store).await;
}

#[tokio::test]
async fn the_same_settlement_again_answers_as_the_first_time_and_reserves_once() {
    let store = open().await;
    deposit(&store, PAYER, 1_000, 100).await;
    let new = new_settlement(PAYER, 1, 100, 0, 1);
    let first = accept(&store, &[new.clone(), new.clone()]).await;
    assert_eq!(accepted(&first[0]).id, new.id);
    let original = store.get_settlement(new.id).await.unwrap();
    assert_eq!(first[1], Accept::Existing(original.clone()));
    assert_eq!(accept(&store, &[new]).await, vec![Accept::Existing(original)]);
    assert_eq!(reserved(&store, PAYER).await, 100);
}

#[tokio::test]
async fn conflicts_are_named_and_leave_nothing_behind_and_fail_nobody_else() {
    let store = open().await;
    deposit(&store, PAYER, 1_000, 100).await;
    let held = new_settlement(PAYER, 1, 100, 0, 1);
    accept(&store, std::slice::from_ref(&held)).await;
    let same_nonce = new_settlement(PAYER, 1, 101, 0, 2);
    let same_receipt = new_settlement(PAYER, 2, 100, 0, 1);
    let mut same_job = new_settlement(PAYER, 3, 100, 0, 3);
    same_job.receipts[0].job_id = "job-1".into();
    let too_much = new_settlement(PAYER, 4, 901, 0, 4);
    let fine = new_settlement(PAYER, 5, 900, 0, 5);
    let answers = accept(
        &store,
        &[same_nonce, same_receipt.clone(), same_job, too_much, fine.clone()],
    )
    .await;
    assert_eq!(answers[0], Accept::NonceTaken { by: held.id });
    let receipt = same_receipt.receipts[0].hash;
    assert_eq!(answers[1], Accept::ReceiptHeld { receipt, by: held.id });
    let job_id = "job-1".to_owned();
    assert_eq!(answers[2], Accept::JobHeld { job_id, by: held.id });
    let (available, needed) = (U256::from(900), U256::from(901));
    assert_eq!(answers[3], Accept::Insufficient { available, needed });
    assert_eq!(accepted(&answers[4]).id, fine.id);
    assert_eq!(
        store
            .list_settlements(&SettlementFilter::default(), None, 10)
            .await
            .unwrap()
            .len(),
        2
    );
    // What was refused holds neither nonce nor receipt.
    deposit(&store, PAYER, 1_000, 101).await;
    let again = new_settlement(PAYER, 4, 50, 0, 4);
    accepted(&accept(&store, &[again]).await[0]);
    assert_balanced(&store).await;
}

#[tokio::test]
async fn within_one_batch_a_loser_to_a_refused_settlement_is_judged_anew() {
    let store = open().await;
    deposit(&store, PAYER, 100, 100).await;
    let refused = new_settlement(PAYER, 1, 1_000, 0, 1);
    let nonce_twin = new_settlement(PAYER, 1, 60, 0, 2);
    let receipt_twin = new_settlement(PAYER, 3, 40, 0, 1);
    let answers = accept(&store, &[refused, nonce_twin.clone(), receipt_twin.clone()]).await;
    assert!(matches!(answers[0], Accept::Insufficient { .. }));
    assert_eq!(accepted(&answers[1]).id, nonce_twin.id);
    assert_eq!(accepted(&answers[2]).id, receipt_twin.id);
    assert_eq!(available(&store, PAYER).await, 0);
}

#[tokio::test]
async fn what_is_leaving_the_vault_cannot_be_reserved() {
    let store = open().await;
    deposit(&store, PAYER, 100, 100).await;
    let mut new = new_settlement(PAYER, 1, 60, 0, 1);
    new.leaving = U256::from(50);
    let answers = accept(&store, &[new]).await;
    let (available, needed) = (U256::from(50), U256::from(60));
    assert_eq!(answers[0], Accept::Insufficient { available, needed });
}

#[tokio::test]
async fn a_large_batch_is_accepted_in_one_transaction_over_many_payers() {
    let store = open().await;
    let payers: Vec<Address> = (1..=7u8).map(Address::repeat_byte).collect();
    for (block, payer) in (100..).zip(&payers) {
        deposit(&store, *payer, 1_000, block).await;
    }
    let news: Vec<_> = (0..1_200u64)
        .map(|n| new_settlement(payers[(n % 7) as usize], n, 1, 0, n))
        .collect();
    let answers = accept(&store, &news).await;
    assert!(answers.iter().all(|answer| matches!(answer, Accept::Accepted(_))));
    assert_eq!(reserved(&store, payers[0]).await, 172);
    assert_balanced(&store).await;
}

#[tokio::test]
async fn in_one_batch_the_first_of_those_that_want_the_same_wins_and_the_others_are_told() {
    let store = open().await;
    let payers: Vec<Address> = (1..=3u8).map(Address::repeat_byte).collect();
    for (block, payer) in (100..).zip(&payers) {
        deposit(&store, *payer, 1_000, block).await;
    }
    let held = new_settlement(payers[0], 900, 1, 0, 900);
    accept(&store, std::slice::from_ref(&held)).await;
    let mut news: Vec<_> = (0..300u64)
        .map(|n| new_settlement(payers[(n % 3) as usize], n, 1, 0, n))
        .collect();
    // Against the batch: nonce of 0, receipt of 1 by another payer, the same as 2. Against the database: nonce, receipt, itself.
    news.push(new_settlement(payers[0], 0, 2, 0, 1_000));
    news.push(new_settlement(payers[2], 1_001, 1, 0, 1));
    news.push(news[2].clone());
    news.push(new_settlement(payers[0], 900, 2, 0, 1_002));
    news.push(new_settlement(payers[1], 1_003, 1, 0, 900));
    news.push(held.clone());
    let answers = accept(&store, &news).await;
    assert!(
        answers[..300]
            .iter()
            .all(|answer| matches!(answer, Accept::Accepted(_)))
    );
    assert_eq!(answers[300], Accept::NonceTaken { by: news[0].id });
    assert!(matches!(answers[301], Accept::ReceiptHeld { by, .. } if by == news[1].id));
    assert!(matches!(&answers[302], Accept::Existing(same) if same.id == news[2].id));
    assert_eq!(answers[303], Accept::NonceTaken { by: held.id });
    assert!(matches!(answers[304], Accept::ReceiptHeld { by, .. } if by == held.id));
    assert!(matches!(&answers[305], Accept::Existing(same) if same.id == held.id));
    assert_eq!(reserved(&store, payers[0]).await, 101);
    assert_eq!(reserved(&store, payers[1]).await, 100);
    assert_balanced(&store).await;
}

#[tokio::test]
async fn concurrent_submitters_on_one_payer_never_over_reserve() {
    let test = open().await;
    deposit(&test, PAYER, 100, 100).await;
    let tasks: Vec<_> = (0..8u64)
        .map(|task| {
            let store = test.store.clone();
            tokio::spawn(async move {
                let mut count = 0;
                for n in 0..5u64 {
                    let answers = accept(&store, &[new_settlement(PAYER, task * 100 + n, 7, 0, task * 100 + n)]).await;
                    count += u64::from(matches!(answers[0], Accept::Accepted(_)));
                }
                count
            })
        })
        .collect();
    let mut total = 0;
    for task in tasks {
        total += task.await.unwrap();
    }
    assert_eq!(total, 14);
    assert_eq!(reserved(&test, PAYER).await, 98);
    assert_eq!(available(&test, PAYER).await, 2);
}

#[tokio::test]
async fn a_finalized_payment_moves_the_reservation_to_payee_and_income_once() {
    let store = open().await;
    deposit(&store, PAYER, 1_000, 100).await;
    let new = new_settlement(PAYER, 1, 100, 5, 1);
    accept(&store, std::slice::from_ref(&new)).await;
    let sealed = seal(&store, &[new.id]).await;
    for _ in 0..2 {
        let mut txn = store.begin(30).await.unwrap();
        txn.settlement_pay(new.id, &payment(5, 1)).await.unwrap();
        txn.commit().await.unwrap();
    }
    let settled = store.get_settlement(new.id).await.unwrap();
    assert_eq!(settled.state, SettlementState::Settled);
    assert_eq!(settled.evidence.unwrap().block_number, 5);
    assert_eq!(settled.ended_at, Some(30));
    assert_eq!(reserved(&store, PAYER).await, 0);
    assert_eq!(paid(&store, PAYEE).await, 100);
    assert_eq!(income(&store).await, 5);
    let message = store.get_message(sealed.id()).await.unwrap();
    assert_eq!(message.state, MessageState::Executed);
    // A paid receipt is never free again.
    let again = accept(&store, &[new_settlement(PAYER, 2, 1, 0, 1)]).await;
    assert!(matches!(again[0], Accept::ReceiptHeld { .. }));
    assert_balanced(&store).await;
}

#[tokio::test]
async fn an_unpaid_end_releases_the_reservation_once_and_frees_the_receipts_for_a_successor() {
    let store = open().await;
    deposit(&store, PAYER, 100, 100).await;
    let new = new_settlement(PAYER, 1, 100, 0, 1);
    accept(&store, std::slice::from_ref(&new)).await;
    let mut txn = store.begin(30).await.unwrap();
    assert!(
        txn.settlement_end_unpaid(new.id, &ending(SettlementEvent::Expire))
            .await
            .unwrap()
    );
    assert!(
        !txn.settlement_end_unpaid(new.id, &ending(SettlementEvent::Burn))
            .await
            .unwrap()
    );
    txn.commit().await.unwrap();
    assert_eq!(state(&store, new.id).await, SettlementState::Expired);
    assert_eq!(available(&store, PAYER).await, 100);
    let successor = new_settlement(PAYER, 2, 100, 0, 1);
    let answers = accept(&store, &[successor]).await;
    assert_eq!(accepted(&answers[0]).supersedes, Some(new.id));
    // The nonce is spent for ever.
    let reuse = accept(&store, &[new_settlement(PAYER, 1, 50, 0, 9)]).await;
    assert_eq!(reuse[0], Accept::NonceTaken { by: new.id });
    assert_balanced(&store).await;
}

#[tokio::test]
async fn a_cancelled_settlement_stays_payable_and_ends_as_cancelled_only_on_proof() {
    let store = open().await;
    deposit(&store, PAYER, 100, 100).await;
    let (paid, unpaid) = (new_settlement(PAYER, 1, 10, 0, 1), new_settlement(PAYER, 2, 10, 0, 2));
    accept(&store, &[paid.clone(), unpaid.clone()]).await;
    let mut txn = store.begin(40).await.unwrap();
    for id in [paid.id, unpaid.id, unpaid.id] {
        let row = txn.request_cancel(id, "operator").await.unwrap();
        assert_eq!(
            (row.state, row.cancel_requested_at),
            (SettlementState::Accepted, Some(40))
        );
    }
    txn.commit().await.unwrap();
    assert!(store.list_batchable(TARGET, 100, 0, 10).await.unwrap().is_empty());
    let mut txn = store.begin(50).await.unwrap();
    txn.settlement_pay(paid.id, &payment(5, 1)).await.unwrap();
    txn.settlement_end_unpaid(unpaid.id, &ending(SettlementEvent::Expire))
        .await
        .unwrap();
    txn.commit().await.unwrap();
    assert_eq!(state(&store, paid.id).await, SettlementState::Settled);
    assert_eq!(state(&store, unpaid.id).await, SettlementState::Cancelled);
    assert_eq!(available(&store, PAYER).await, 90);
}

#[tokio::test]
async fn broken_finality_reverses_by_new_entries_and_the_payment_can_come_again() {
    let store = open().await;
    deposit(&store, PAYER, 100, 100).await;
    let new = new_settlement(PAYER, 1, 10, 1, 1);
    accept(&store, std::slice::from_ref(&new)).await;
    let sealed = seal(&store, &[new.id]).await;
    for round in 0..3 {
        let mut txn = store.begin(50).await.unwrap();
        assert!(
            txn.settlement_pay(new.id, &payment(5, 1)).await.unwrap(),
            "round {round}"
        );
        txn.commit().await.unwrap();
        assert_eq!(state(&store, new.id).await, SettlementState::Settled);
        assert_eq!(paid(&store, PAYEE).await, 10);
        let mut txn = store.begin(60).await.unwrap();
        assert!(!txn.settlement_unpay(new.id, event(5, 2)).await.unwrap());
        assert!(txn.settlement_unpay(new.id, event(5, 1)).await.unwrap());
        assert!(!txn.settlement_unpay(new.id, event(5, 1)).await.unwrap());
        txn.commit().await.unwrap();
        assert_eq!(state(&store, new.id).await, SettlementState::Delivered);
        assert_eq!(paid(&store, PAYEE).await, 0);
        assert_eq!(reserved(&store, PAYER).await, 11);
        let message = store.get_message(sealed.id()).await.unwrap();
        assert_eq!(message.state, MessageState::Received);
    }
    assert_balanced(&store).await;
}

#[tokio::test]
async fn a_payment_after_an_unpaid_end_is_booked_from_available_and_disputed() {
    let store = open().await;
    deposit(&store, PAYER, 100, 100).await;
    let new = new_settlement(PAYER, 1, 10, 1, 1);
    accept(&store, std::slice::from_ref(&new)).await;
    let mut txn = store.begin(30).await.unwrap();
    txn.settlement_end_unpaid(new.id, &ending(SettlementEvent::Expire))
        .await
        .unwrap();
    txn.settlement_pay(new.id, &payment(5, 1)).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(state(&store, new.id).await, SettlementState::Disputed);
    assert_eq!(available(&store, PAYER).await, 89);
    assert_eq!(reserved(&store, PAYER).await, 0);
    assert_balanced(&store).await;
}

#[tokio::test]
async fn what_was_paid_before_anybody_knew_it_and_then_never_was_releases_nothing() {
    let store = open().await;
    deposit(&store, PAYER, 1_000, 100).await;
    let new = new_settlement(PAYER, 1, 10, 1, 1);
    let paid = NewChainLog {
        chain: TARGET,
        block_number: 5,
        block_hash: event(5, 1).block,
        block_timestamp: 1,
        log_index: 1,
        tx_hash: B256::repeat_byte(5),
        address: INBOX,
        kind: "settlement_paid".into(),
        key: new.id.0,
        key2: PAYER.into_word(),
        amount: U256::from(1),
        detail: serde_json::json!({}),
    };
    let mut txn = store.begin(1).await.unwrap();
    txn.put_logs(&[paid]).await.unwrap();
    txn.commit().await.unwrap();
    store
        .execute("UPDATE chain_log SET status = 'final', applied_final = TRUE")
        .await;
    accept(&store, std::slice::from_ref(&new)).await;
    assert_eq!(state(&store, new.id).await, SettlementState::Settled);
    let mut txn = store.begin(2).await.unwrap();
    assert!(txn.settlement_unpay(new.id, event(5, 1)).await.unwrap());
    let ended = txn
        .settlement_end_unpaid(new.id, &ending(SettlementEvent::Expire))
        .await;
    assert!(ended.unwrap());
    txn.commit().await.unwrap();
    assert_eq!(state(&store, new.id).await, SettlementState::Expired);
    assert_eq!(available(&store, PAYER).await, 1_000);
    assert_eq!(reserved(&store, PAYER).await, 0);
    assert_balanced(&store).await;
}

#[tokio::test]
async fn an_abandoned_message_gives_its_open_settlements_back_to_the_batcher() {
    let store = open().await;
    deposit(&store, PAYER, 100, 100).await;
    let (one, two) = (new_settlement(PAYER, 1, 10, 0, 1), new_settlement(PAYER, 2, 10, 0, 2));
    accept(&store, &[one.clone(), two.clone()]).await;
    let first = seal(&store, &[one.id, two.id]).await;
    let mut txn = store.begin(30).await.unwrap();
    txn.settlement_pay(one.id, &payment(5, 1)).await.unwrap();
    let requeued = txn
        .abandon_message(first.id(), "stalled on every lane", 35, None, "router")
        .await
        .unwrap();
    txn.commit().await.unwrap();
    assert_eq!(requeued, vec![two.id]);
    let message = store.get_message(first.id()).await.unwrap();
    assert_eq!(message.state, MessageState::Abandoned);
    assert_eq!(message.abandon_reason.as_deref(), Some("stalled on every lane"));
    assert!(store.list_batchable(TARGET, 34, 0, 10).await.unwrap().is_empty());
    assert_eq!(store.list_batchable(TARGET, 35, 0, 10).await.unwrap()[0].id, two.id);
    let second = seal(&store, &[two.id]).await;
    assert_eq!(second.header.sequence, first.header.sequence + 1);
    assert_eq!(store.get_settlement(two.id).await.unwrap().batched_times, 2);
    assert_eq!(
        store.list_messages_of(two.id).await.unwrap(),
        vec![(first.id(), 1), (second.id(), 0)]
    );
}

#[tokio::test]
async fn a_seal_with_a_member_that_moved_on_seals_nothing() {
    let store = open().await;
    deposit(&store, PAYER, 100, 100).await;
    let new = new_settlement(PAYER, 1, 10, 0, 1);
    accept(&store, std::slice::from_ref(&new)).await;
    let sealed = seal(&store, &[new.id]).await;
    let mut twin = sealed.clone();
    twin.header.sequence += 1;
    let mut txn = store.begin(30).await.unwrap();
    let error = txn.seal_message(&twin, 1, None, "batcher").await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    drop(txn);
    assert!(store.find_message(twin.id()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_message_is_claimed_by_one_owner_and_only_its_token_completes() {
    let store = open().await;
    deposit(&store, PAYER, 100, 100).await;
    let new = new_settlement(PAYER, 1, 10, 0, 1);
    accept(&store, std::slice::from_ref(&new)).await;
    let sealed = seal(&store, &[new.id]).await;
    let claims = store
        .claim_messages(&[MessageState::Sealed], "a", 100, 10, 60_000)
        .await
        .unwrap();
    assert_eq!(claims.len(), 1);
    let other = store
        .claim_messages(&[MessageState::Sealed], "b", 100, 10, 60_000)
        .await
        .unwrap();
    assert!(other.is_empty());
    let mut txn = store.begin(100).await.unwrap();
    let stale = txn.release_message(sealed.id(), claims[0].token - 1, 200).await;
    assert!(matches!(stale, Err(StoreError::Conflict { .. })));
    txn.release_message(sealed.id(), claims[0].token, 200).await.unwrap();
    txn.commit().await.unwrap();
    let early = store
        .claim_messages(&[MessageState::Sealed], "b", 199, 10, 60_000)
        .await
        .unwrap();
    assert!(early.is_empty());
    let due = store
        .claim_messages(&[MessageState::Sealed], "b", 200, 10, 60_000)
        .await
        .unwrap();
    assert_eq!(due.len(), 1);
}

#[tokio::test]
async fn lists_filter_and_page_newest_first() {
    let store = open().await;
    deposit(&store, PAYER, 1_000, 100).await;
    let news: Vec<_> = (0..5).map(|n| new_settlement(PAYER, n, 10, 0, n)).collect();
    // One by one: within a batch the order of rows is that of the ids.
    for new in &news {
        accept(&store, std::slice::from_ref(new)).await;
    }
    let all = SettlementFilter {
        coordinator_id: Some("coordinator".into()),
        state: Some(SettlementState::Accepted),
        payer: Some(PAYER),
        payee: Some(PAYEE),
        target: Some(TARGET),
        ..SettlementFilter::default()
    };
    let page = store.list_settlements(&all, None, 3).await.unwrap();
    let ids: Vec<_> = page.iter().map(|settlement| settlement.id).collect();
    assert_eq!(ids, vec![news[4].id, news[3].id, news[2].id]);
    let rest = store.list_settlements(&all, Some(page[2].row), 3).await.unwrap();
    assert_eq!(
        rest.iter().map(|s| s.id).collect::<Vec<_>>(),
        vec![news[1].id, news[0].id]
    );
    let by_job = SettlementFilter {
        job_id: Some("job-3".into()),
        ..SettlementFilter::default()
    };
    let found = store.list_settlements(&by_job, None, 3).await.unwrap();
    assert_eq!(found.iter().map(|s| s.id).collect::<Vec<_>>(), vec![news[3].id]);
    let nobody = SettlementFilter {
        coordinator_id: Some("other".into()),
        ..by_job
    };
    assert!(store.list_settlements(&nobody, None, 3).await.unwrap().is_empty());
    assert_eq!(
        store.count_settlements().await.unwrap(),
        vec![(SettlementState::Accepted, 5)]
    );
}

#[tokio::test]
async fn a_policy_is_kept_with_the_settlement_and_its_message_and_the_first_one_stands() {
    use crate::settlement::policy::RoutePolicy;
    let store = open().await;
    deposit(&store, PAYER, 100, 100).await;
    let mut new = new_settlement(PAYER, 1, 10, 0, 1);
    new.policy = Some(RoutePolicy::Safest);
    accept(&store, std::slice::from_ref(&new)).await;
    assert_eq!(
        store.get_settlement(new.id).await.unwrap().policy,
        Some(RoutePolicy::Safest)
    );
    new.policy = Some(RoutePolicy::Cheapest);
    let again = accept(&store, std::slice::from_ref(&new)).await.remove(0);
    assert!(
        matches!(&again, Accept::Existing(row) if row.policy == Some(RoutePolicy::Safest)),
        "{again:?}"
    );
    let message = testing::seal_with(&store, &[new.id], Some(RoutePolicy::Safest)).await;
    assert_eq!(
        store.get_message(message.id()).await.unwrap().policy,
        Some(RoutePolicy::Safest)
    );
}
