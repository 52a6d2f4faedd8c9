#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::testing::*;
use super::super::*;
use super::*;
use crate::settlement::states::MessageState;
use sea_orm::ConnectionTrait;

/// Eight settlements of one message; the fourth has expired, the fifth was asked to be cancelled.
async fn world() -> (TestStore, Vec<(SettlementId, Payment)>, relayer_adapter_api::MessageId) {
    let store = open().await;
    deposit(&store, PAYER, 10_000, 100).await;
    let news: Vec<_> = (1..=8).map(|n| new_settlement(PAYER, n, 100 + n, n % 3, n)).collect();
    accept(&store, &news).await;
    let ids: Vec<SettlementId> = news.iter().map(|new| new.id).collect();
    let message = seal(&store, &ids).await;
    let mut txn = store.begin(30).await.unwrap();
    txn.settlement_end_unpaid(ids[3], &ending(SettlementEvent::Expire))
        .await
        .unwrap();
    txn.request_cancel(ids[4], "coordinator").await.unwrap();
    txn.settlements_apply(&ids[..2], SettlementEvent::Dispatch, "test")
        .await
        .unwrap();
    txn.commit().await.unwrap();
    let payments = ids
        .iter()
        .zip(0..)
        .map(|(id, n)| {
            let mut payment = payment(200, n);
            if n == 5 {
                payment.payout = Payout::Credited;
            }
            payment.fee_is_ours = n != 6;
            (*id, payment)
        })
        .collect();
    (store, payments, message.id())
}

/// Everything a payment touches, as text: settlements, accounts, receipts, leaves, postings, events.
async fn contents(store: &Store) -> Vec<String> {
    let tables = [
        "SELECT hex(settlement_id) || state || COALESCE(ended_at, 0) || version || COALESCE(credited, 9) \
         || hex(COALESCE(evidence_tx, x'')) || COALESCE(skip_reason, '') AS line FROM settlement ORDER BY id",
        "SELECT kind || hex(holder) || hex(debits) || hex(credits) AS line FROM account ORDER BY kind, holder",
        "SELECT hex(settlement_id) || holds AS line FROM settlement_receipt ORDER BY id",
        "SELECT leaf || ' ' || resolved AS line FROM message_settlement ORDER BY leaf",
        "SELECT cause_kind || cause_ref || hex(amount) AS line FROM posting ORDER BY cause_kind, cause_ref",
        "SELECT event || aggregate_id || COALESCE(to_state, '') || cause AS line FROM event ORDER BY event, aggregate_id",
    ];
    let mut lines = Vec::new();
    for sql in tables {
        let statement = sea_orm::Statement::from_string(store.db.get_database_backend(), sql);
        for row in store.db.query_all_raw(statement).await.unwrap() {
            lines.push(row.try_get::<String>("", "line").unwrap());
        }
    }
    lines
}

#[tokio::test]
async fn many_payments_at_once_book_what_one_after_the_other_books() {
    let (together, payments, message) = world().await;
    let (alone, same, _) = world().await;
    assert_eq!(payments, same);
    let mut txn = together.begin(40).await.unwrap();
    assert_eq!(txn.settlements_pay(&payments).await.unwrap(), [true; 8]);
    txn.commit().await.unwrap();
    let mut txn = alone.begin(40).await.unwrap();
    for (id, payment) in &payments {
        assert!(txn.settlement_pay(*id, payment).await.unwrap());
    }
    txn.commit().await.unwrap();
    if together.db.get_database_backend() == sea_orm::DbBackend::Sqlite {
        assert_eq!(contents(&together).await, contents(&alone).await);
    }
    let states: Vec<SettlementState> = {
        let mut states = Vec::new();
        for (id, _) in &payments {
            states.push(together.get_settlement(*id).await.unwrap().state);
        }
        states
    };
    let mut expected = [SettlementState::Settled; 8];
    // Paid after its end was proven: an operator's business.
    expected[3] = SettlementState::Disputed;
    assert_eq!(states, expected);
    assert_eq!(
        together.get_message(message).await.unwrap().state,
        MessageState::Executed
    );
    assert_eq!(reserved(&together, PAYER).await, 0);
    assert!(together.list_unbalanced_accounts().await.unwrap().is_empty());
}

#[tokio::test]
async fn payments_that_are_booked_already_change_nothing_and_hold_no_other_up() {
    let (store, payments, _) = world().await;
    let mut txn = store.begin(40).await.unwrap();
    assert_eq!(txn.settlements_pay(&payments[..3]).await.unwrap(), [true; 3]);
    txn.commit().await.unwrap();
    let before = store.get_settlement(payments[0].0).await.unwrap();
    let mut txn = store.begin(50).await.unwrap();
    let booked = txn.settlements_pay(&payments[..6]).await.unwrap();
    assert_eq!(booked, [false, false, false, true, true, true]);
    txn.commit().await.unwrap();
    assert_eq!(store.get_settlement(payments[0].0).await.unwrap(), before);
    let mut txn = store.begin(60).await.unwrap();
    assert_eq!(txn.settlements_pay(&payments[..6]).await.unwrap(), [false; 6]);
    txn.commit().await.unwrap();
    assert!(store.list_unbalanced_accounts().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_same_payment_twice_in_one_set_is_booked_once() {
    let (store, payments, _) = world().await;
    let twice = [payments[0], payments[1], payments[0]];
    let mut txn = store.begin(40).await.unwrap();
    assert_eq!(txn.settlements_pay(&twice).await.unwrap(), [true, true, false]);
    txn.commit().await.unwrap();
    assert_eq!(paid(&store, PAYEE).await, 101 + 102);
}

#[tokio::test]
async fn a_row_that_changed_since_it_was_read_fails_the_set_and_nothing_of_it_stands() {
    let (store, payments, _) = world().await;
    let ids: Vec<SettlementId> = payments.iter().map(|(id, _)| *id).collect();
    let mut txn = store.begin(40).await.unwrap();
    let rows = txn.lock_settlements(&ids[5..8]).await.unwrap();
    txn.request_cancel(ids[6], "coordinator").await.unwrap();
    let stale: Vec<_> = rows
        .iter()
        .zip(&payments[5..8])
        .enumerate()
        .map(|(place, (row, (_, payment)))| (place, row, payment))
        .collect();
    let error = txn.move_paid(&stale).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}");
    drop(txn);
    for id in &ids[5..8] {
        let row = store.get_settlement(*id).await.unwrap();
        assert_eq!((row.state, row.cancel_requested_at), (SettlementState::Batched, None));
    }
    // Read again, all of them are paid.
    let mut txn = store.begin(50).await.unwrap();
    assert_eq!(txn.settlements_pay(&payments[5..8]).await.unwrap(), [true; 3]);
}

#[tokio::test]
async fn an_account_that_changed_since_it_was_read_is_not_overwritten() {
    let (store, ..) = world().await;
    let key = AccountKey::available(ASSET, PAYER);
    let other = AccountKey::reserved(ASSET, PAYER);
    let before = store.get_balance(key).await.unwrap();
    let txn = store.begin(40).await.unwrap();
    let mut locked = txn.lock_accounts(&BTreeSet::from([key, other])).await.unwrap();
    let mut totals: std::collections::BTreeMap<_, _> =
        locked.iter().map(|(key, account)| (*key, account.balance)).collect();
    for balance in totals.values_mut() {
        balance.credits = alloy::primitives::U256::from(1);
    }
    locked.values_mut().next().unwrap().version -= 1;
    let error = txn.write_accounts(&mut locked, totals).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}");
    drop(txn);
    assert_eq!(store.get_balance(key).await.unwrap(), before);
}

#[tokio::test]
async fn a_settlement_nobody_knows_fails_the_set() {
    let (store, mut payments, _) = world().await;
    payments[2].0 = SettlementId(alloy::primitives::B256::repeat_byte(0x77));
    let mut txn = store.begin(40).await.unwrap();
    let error = txn.settlements_pay(&payments).await.unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error:?}");
}

#[tokio::test]
async fn many_that_expire_at_once_are_released_and_those_that_ended_before_stay() {
    let (store, payments, message) = world().await;
    let ids: Vec<SettlementId> = payments.iter().map(|(id, _)| *id).collect();
    let mut txn = store.begin(40).await.unwrap();
    txn.settlement_pay(ids[0], &payments[0].1).await.unwrap();
    // The first is paid, the fourth had expired.
    let expire = ending(SettlementEvent::Expire);
    assert_eq!(txn.settlements_end_unpaid(&ids, &expire).await.unwrap(), 6);
    assert_eq!(txn.settlements_end_unpaid(&ids, &expire).await.unwrap(), 0);
    txn.commit().await.unwrap();
    let mut expected = [SettlementState::Expired; 8];
    expected[0] = SettlementState::Settled;
    // Its coordinator had asked for that.
    expected[4] = SettlementState::Cancelled;
    for (id, state) in ids.iter().zip(expected) {
        assert_eq!(store.get_settlement(*id).await.unwrap().state, state);
    }
    assert_eq!(reserved(&store, PAYER).await, 0);
    assert_eq!(store.get_message(message).await.unwrap().state, MessageState::Executed);
    let txn = store.begin(50).await.unwrap();
    assert_eq!(txn.without_receipts(&ids).await.unwrap().len(), 7);
    drop(txn);
    assert!(store.list_unbalanced_accounts().await.unwrap().is_empty());
}
