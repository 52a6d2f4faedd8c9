//! Transactions, leases, cursor and logs on SQLite.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::testing::{self, TestStore};
use super::*;
use crate::settlement::states::TxState;
use alloy::primitives::{Address, B256, Bytes, U256};
use relayer_adapter_api::{BlockRef, ChainId};
use sea_orm::DatabaseConnection;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

const CHAIN: ChainId = ChainId(7);
const SIGNER: Address = Address::repeat_byte(1);

#[derive(Debug, Default)]
struct HandClock(AtomicI64);

#[async_trait::async_trait]
impl LeaseClock for HandClock {
    async fn now_ms(&self, _: &DatabaseConnection) -> Result<i64, StoreError> {
        Ok(self.0.load(Ordering::SeqCst))
    }
}

async fn store() -> (TestStore, Arc<HandClock>) {
    let clock = Arc::new(HandClock(AtomicI64::new(1_000)));
    let mut test = testing::open().await;
    test.store = test.store.clone().with_clock(clock.clone());
    (test, clock)
}

fn token(epoch: i64, counter: i64) -> LeaseToken {
    LeaseToken { epoch, counter }
}

fn new_tx(nonce: u64, intent: &str) -> NewTx {
    NewTx {
        chain: CHAIN,
        signer: SIGNER,
        nonce,
        intent: Intent::new(IntentKind::Dispatch, intent),
        to: Address::repeat_byte(2),
        value: U256::from(3),
        data: Bytes::from_static(b"data"),
        gas_limit: 21_000,
        token: token(0, 1),
    }
}

fn attempt(n: u8, max_fee: u128) -> NewAttempt {
    NewAttempt {
        hash: B256::repeat_byte(n),
        raw: Bytes::from(vec![n; 10]),
        max_fee,
        max_priority_fee: 1,
    }
}

async fn insert(store: &Store, nonce: u64, intent: &str, n: u8) -> TxId {
    let mut txn = store.begin(5).await.unwrap();
    let id = txn.insert_tx(new_tx(nonce, intent), attempt(n, 10)).await.unwrap();
    txn.commit().await.unwrap();
    id
}

async fn apply(store: &Store, id: TxId, change: TxChange) -> Result<TxState, StoreError> {
    let row = store.get_tx(id).await?;
    let mut txn = store.begin(6).await?;
    let state = txn.tx_apply(&row, change, "test").await?;
    txn.commit().await?;
    Ok(state)
}

fn include(succeeded: bool) -> TxChange {
    TxChange::Include {
        inclusion: Inclusion {
            hash: B256::repeat_byte(1),
            block_number: 9,
            block_hash: B256::repeat_byte(9),
        },
        succeeded,
        gas_used: 20_000,
        gas_price: 8,
    }
}

#[tokio::test]
async fn what_is_stored_of_a_transaction_is_read_back() {
    let (store, _) = store().await;
    let id = insert(&store, 4, "a", 1).await;
    let row = store.get_tx(id).await.unwrap();
    assert_eq!(
        (row.nonce, row.state, row.first_sent_at),
        (Some(4), TxState::Prepared, None)
    );
    assert_eq!(
        (row.value, row.gas_limit, row.token),
        (U256::from(3), 21_000, token(0, 1))
    );
    apply(&store, id, TxChange::Submit).await.unwrap();
    apply(&store, id, include(true)).await.unwrap();
    let row = store.get_tx(id).await.unwrap();
    assert_eq!(
        (row.first_sent_at, row.succeeded, row.gas_used, row.gas_price),
        (Some(6), Some(true), Some(20_000), Some(8))
    );
    assert_eq!(row.included.unwrap().block_number, 9);
    apply(&store, id, TxChange::Unwind).await.unwrap();
    let row = store.get_tx(id).await.unwrap();
    assert_eq!(
        (row.state, row.included, row.succeeded, row.gas_used),
        (TxState::Submitted, None, None, None)
    );
    assert_eq!(row.first_sent_at, Some(6), "it was sent, and stays so");
}

#[tokio::test]
async fn a_nonce_is_held_by_one_row() {
    let (store, _) = store().await;
    insert(&store, 4, "a", 1).await;
    let mut txn = store.begin(5).await.unwrap();
    assert!(txn.insert_tx(new_tx(4, "b"), attempt(2, 10)).await.is_err());
}

#[tokio::test]
async fn a_stale_version_changes_nothing() {
    let (store, _) = store().await;
    let id = insert(&store, 4, "a", 1).await;
    let stale = store.get_tx(id).await.unwrap();
    apply(&store, id, TxChange::Submit).await.unwrap();
    let mut txn = store.begin(6).await.unwrap();
    let refused = txn.tx_apply(&stale, TxChange::Cancel, "test").await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
}

#[tokio::test]
async fn only_what_was_never_sent_gives_its_nonce_back() {
    let (store, _) = store().await;
    let sent = insert(&store, 0, "a", 1).await;
    let unsent = insert(&store, 1, "b", 2).await;
    insert(&store, 2, "c", 3).await;
    apply(&store, sent, TxChange::Submit).await.unwrap();
    assert!(matches!(
        apply(&store, sent, TxChange::Cancel).await,
        Err(StoreError::Illegal(_))
    ));
    apply(&store, unsent, TxChange::Cancel).await.unwrap();
    assert_eq!(store.get_tx(unsent).await.unwrap().nonce, None);
    let txn = store.begin(7).await.unwrap();
    assert_eq!(txn.lowest_free_nonce(CHAIN, SIGNER, 0).await.unwrap(), 1);
    assert_eq!(txn.lowest_free_nonce(CHAIN, SIGNER, 2).await.unwrap(), 3);
    assert_eq!(txn.find_last_nonce(CHAIN, SIGNER).await.unwrap(), Some(2));
}

#[tokio::test]
async fn an_intent_is_bound_until_its_transaction_came_to_nothing() {
    let (store, _) = store().await;
    let intent = Intent::new(IntentKind::Dispatch, "a");
    let bound = async |id: TxId| {
        store
            .find_live_tx(&intent)
            .await
            .unwrap()
            .is_some_and(|row| row.id == id)
    };
    let reverted = insert(&store, 0, "a", 1).await;
    assert!(bound(reverted).await);
    apply(&store, reverted, TxChange::Submit).await.unwrap();
    apply(&store, reverted, include(false)).await.unwrap();
    assert!(bound(reverted).await, "a reorg could turn the outcome");
    apply(&store, reverted, TxChange::Finalize).await.unwrap();
    assert!(!bound(reverted).await);
    let replaced = insert(&store, 1, "a", 2).await;
    apply(&store, replaced, TxChange::Submit).await.unwrap();
    assert!(bound(replaced).await);
    apply(&store, replaced, TxChange::Replace { by: B256::ZERO })
        .await
        .unwrap();
    assert!(!bound(replaced).await);
    let paid = insert(&store, 2, "a", 3).await;
    apply(&store, paid, TxChange::Submit).await.unwrap();
    apply(&store, paid, include(true)).await.unwrap();
    apply(&store, paid, TxChange::Finalize).await.unwrap();
    assert!(bound(paid).await, "done is done");
    assert_eq!(store.list_txs_of_intent(&intent).await.unwrap().len(), 3);
}

#[tokio::test]
async fn open_transactions_are_committed_at_their_dearest_attempt() {
    let (store, _) = store().await;
    let id = insert(&store, 0, "a", 1).await;
    let mut txn = store.begin(5).await.unwrap();
    txn.insert_attempt(id, attempt(2, 100)).await.unwrap();
    txn.insert_attempt(id, attempt(2, 100)).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(store.list_attempts(id).await.unwrap().len(), 2, "stored once per hash");
    assert_eq!(
        store.committed_wei(CHAIN, SIGNER).await.unwrap(),
        U256::from(3 + 21_000 * 100)
    );
    assert_eq!(store.committed_wei(ChainId(8), SIGNER).await.unwrap(), U256::ZERO);
}

#[tokio::test]
async fn a_lease_has_one_holder_and_changing_hands_changes_the_token() {
    let (store, clock) = store().await;
    let take = async |owner: &'static str| store.acquire_signer_lease(CHAIN, SIGNER, owner, 100).await.unwrap();
    let first = take("a").await.unwrap();
    assert!(take("b").await.is_none());
    clock.0.store(1_050, Ordering::SeqCst);
    assert_eq!(take("a").await.unwrap().token, first.token, "a renewal keeps the token");
    clock.0.store(1_151, Ordering::SeqCst);
    let second = take("b").await.unwrap();
    assert!(second.token > first.token);
    let txn = store.begin(1).await.unwrap();
    assert!(
        txn.check_signer_lease(CHAIN, SIGNER, first.token).await.is_err(),
        "a frozen worker stores nothing"
    );
    txn.check_signer_lease(CHAIN, SIGNER, second.token).await.unwrap();
    drop(txn);
    store.release_signer_lease(&second).await.unwrap();
    assert!(take("a").await.unwrap().token > second.token);
}

#[tokio::test]
async fn recovery_raises_the_epoch_and_the_base() {
    let (store, _) = store().await;
    let old = store
        .acquire_signer_lease(CHAIN, SIGNER, "a", 100)
        .await
        .unwrap()
        .unwrap();
    let txn = store.begin(1).await.unwrap();
    assert_eq!(txn.nonce_base(CHAIN, SIGNER).await.unwrap(), 0);
    txn.adopt_nonces(CHAIN, SIGNER, 12).await.unwrap();
    txn.adopt_nonces(CHAIN, SIGNER, 5).await.unwrap();
    assert_eq!(txn.nonce_base(CHAIN, SIGNER).await.unwrap(), 12, "it never falls");
    txn.raise_signer_epoch(CHAIN, SIGNER).await.unwrap();
    assert!(txn.check_signer_lease(CHAIN, SIGNER, old.token).await.is_err());
    txn.commit().await.unwrap();
    let new = store
        .acquire_signer_lease(CHAIN, SIGNER, "a", 100)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(new.token.epoch, old.token.epoch + 1);
}

fn block(number: u64, fork: u8) -> BlockRef {
    BlockRef {
        number,
        hash: B256::repeat_byte(fork),
        timestamp: number * 10,
    }
}

#[tokio::test]
async fn a_cursor_moved_by_somebody_else_is_not_moved_again() {
    let (store, _) = store().await;
    let at = |number| Cursor {
        seen: block(number, u8::try_from(number).unwrap()),
        finalized: block(1, 1),
    };
    let mut txn = store.begin(1).await.unwrap();
    txn.move_cursor(CHAIN, None, &at(2)).await.unwrap();
    assert!(txn.move_cursor(CHAIN, None, &at(2)).await.is_err());
    txn.move_cursor(CHAIN, Some(&at(2)), &at(3)).await.unwrap();
    assert!(txn.move_cursor(CHAIN, Some(&at(2)), &at(4)).await.is_err());
    txn.commit().await.unwrap();
    assert_eq!(store.get_cursor(CHAIN).await.unwrap(), Some(at(3)));
    assert_eq!(store.get_cursor(ChainId(8)).await.unwrap(), None);
}

#[tokio::test]
async fn a_height_holds_one_hash_and_pruning_keeps_the_rest() {
    let (store, _) = store().await;
    let stored = |number, fork| StoredBlock {
        block: block(number, fork),
        parent_hash: B256::ZERO,
    };
    let mut txn = store.begin(1).await.unwrap();
    txn.put_blocks(CHAIN, &[stored(1, 1), stored(2, 2), stored(4, 4)])
        .await
        .unwrap();
    txn.put_blocks(CHAIN, &[stored(2, 9)]).await.unwrap();
    txn.prune_blocks_below(CHAIN, 2).await.unwrap();
    txn.drop_blocks_above(CHAIN, 3).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(store.find_block(CHAIN, 1).await.unwrap(), None);
    assert_eq!(store.find_block(CHAIN, 2).await.unwrap(), Some(stored(2, 9)));
    assert_eq!(
        store.find_block_at_or_below(CHAIN, 10).await.unwrap(),
        Some(stored(2, 9))
    );
}

fn log(number: u64, index: u64) -> NewChainLog {
    NewChainLog {
        chain: CHAIN,
        block_number: number,
        block_hash: B256::repeat_byte(u8::try_from(number).unwrap()),
        block_timestamp: number * 10,
        log_index: index,
        tx_hash: B256::repeat_byte(9),
        address: SIGNER,
        kind: "deposited".into(),
        key: B256::repeat_byte(1),
        key2: B256::repeat_byte(2),
        amount: U256::from(index),
        detail: serde_json::json!({"amount": index.to_string()}),
    }
}

#[tokio::test]
async fn logs_are_stored_once_and_move_from_seen_to_final_to_applied() {
    let (store, _) = store().await;
    let mut txn = store.begin(1).await.unwrap();
    txn.put_logs(&[log(1, 0), log(2, 1), log(3, 0)]).await.unwrap();
    txn.put_logs(&[log(2, 1)]).await.unwrap();
    assert_eq!(txn.finalize_logs(CHAIN, None, 2).await.unwrap(), 2);
    txn.commit().await.unwrap();
    let found = store
        .find_logs(CHAIN, "deposited", B256::repeat_byte(1), None, false)
        .await
        .unwrap();
    assert_eq!(
        found.iter().map(|log| log.block_number).collect::<Vec<_>>(),
        vec![1, 2, 3]
    );
    assert_eq!(found[1].detail["amount"], "1");
    let mut last = store.list_unapplied_final(CHAIN, 10).await.unwrap();
    last.sort_by_key(|log| log.block_number);
    assert_eq!(last.len(), 2);
    let tally = TallyKey {
        chain: CHAIN,
        address: SIGNER,
        kind: "deposited".into(),
    };
    assert_eq!(store.count_final_logs(&tally, 1).await.unwrap(), 1);
    let mut txn = store.begin(1).await.unwrap();
    txn.orphan_logs_above(CHAIN, 1).await.unwrap();
    txn.commit().await.unwrap();
    let mut txn = store.begin(1).await.unwrap();
    let ids: Vec<i64> = last.iter().map(|log| log.id).collect();
    assert!(
        txn.mark_applied_final(&ids).await.is_err(),
        "one of them was orphaned in between"
    );
    drop(txn);
    let mut txn = store.begin(1).await.unwrap();
    txn.mark_applied_final(&ids[..1]).await.unwrap();
    txn.commit().await.unwrap();
    let mut txn = store.begin(1).await.unwrap();
    let again = txn.mark_applied_final(&ids[..1]).await.unwrap_err();
    assert!(again.is_race(), "another worker booked it: {again}");
    drop(txn);
    assert!(store.list_unapplied_final(CHAIN, 10).await.unwrap().is_empty());
    assert!(
        store
            .find_logs(CHAIN, "deposited", B256::repeat_byte(1), Some(B256::ZERO), true)
            .await
            .unwrap()
            .is_empty()
    );
}
