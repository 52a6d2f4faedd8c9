#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::plan::{plan, whole_groups};
use super::*;
use crate::settlement::policy::RoutePolicy;
use crate::settlement::states::{MessageState, SettlementState};
use crate::settlement::{ChainId, SettlementId};
use crate::stage::Stage;
use crate::store::testing::{self, OUTBOX, PAYER, SOURCE, TARGET, accept, deposit, new_settlement};
use crate::store::{Cursor, GroupMember, Settlement, Store};
use alloy::primitives::{Address, B256};
use relayer_adapter_api::{BlockRef, tree};
use std::collections::{BTreeMap, BTreeSet};

const RULE: BatchRule = BatchRule {
    count_max: 3,
    linger_ms: 100,
};

/// Settlements that became due at these times, as the store would list them.
async fn waiting(due: &[i64]) -> Vec<Settlement> {
    let store = testing::open().await;
    deposit(&store, PAYER, 1_000_000, 1).await;
    let news: Vec<_> = (0..due.len() as u64)
        .map(|n| new_settlement(PAYER, n, 10, 0, n))
        .collect();
    accept(&store, &news).await;
    let mut rows = store.list_batchable(TARGET, i64::MAX, 0, 100).await.unwrap();
    for (row, due) in rows.iter_mut().zip(due) {
        row.batch_after = *due;
    }
    rows
}

fn sizes(now_ms: i64, waiting: &[Settlement]) -> Vec<usize> {
    plan(now_ms, waiting, RULE)
        .iter()
        .map(|batch| batch.ids.len())
        .collect()
}

#[tokio::test]
async fn a_batch_is_sealed_when_it_is_full_or_its_oldest_has_lingered() {
    let cases: &[(&[i64], i64, &[usize])] = &[
        (&[], 1_000, &[]),
        (&[950], 1_000, &[]),
        (&[900], 1_000, &[1]),
        (&[900, 999], 1_000, &[2]),
        (&[999, 999, 999], 1_000, &[3]),
        (&[999, 999, 999, 999], 1_000, &[3]),
        (&[800, 800, 800, 800], 1_000, &[3, 1]),
        (&[999; 7], 1_000, &[3, 3]),
        // A clock that went backwards seals nothing early.
        (&[2_000], 1_000, &[]),
    ];
    for (due, now, expected) in cases {
        assert_eq!(sizes(*now, &waiting(due).await), *expected, "{due:?} at {now}");
    }
}

#[tokio::test]
async fn one_message_holds_one_source_target_inbox_tier_fee_recipient_and_policy() {
    let mut rows = waiting(&[0; 6]).await;
    rows[1].target = ChainId(9);
    rows[2].inbox = Address::repeat_byte(9);
    rows[3].tier = 2;
    rows[4].fee_recipient = Address::repeat_byte(9);
    rows[5].policy = Some(RoutePolicy::Cheapest);
    let batches = plan(1_000, &rows, RULE);
    assert_eq!(batches.len(), 6);
    assert!(batches.iter().all(|batch| batch.ids.len() == 1));
}

#[tokio::test]
async fn leaves_are_ordered_for_packing_whatever_their_age() {
    let mut rows = waiting(&[0; 3]).await;
    rows.sort_by_key(|row| std::cmp::Reverse(row.terms.nonce));
    let batch = plan(1_000, &rows, RULE).remove(0);
    rows.sort_by_key(|row| row.terms.nonce);
    let expected: Vec<SettlementId> = rows.iter().map(|row| row.id).collect();
    assert_eq!(batch.ids, expected);
}

async fn set_head(store: &Store, timestamp: u64) {
    let block = BlockRef {
        number: 1,
        hash: B256::repeat_byte(1),
        timestamp,
    };
    let cursor = Cursor {
        seen: block,
        finalized: block,
    };
    let old = store.get_cursor(TARGET).await.unwrap();
    let mut txn = store.begin(1).await.unwrap();
    txn.move_cursor(TARGET, old.as_ref(), &cursor).await.unwrap();
    txn.commit().await.unwrap();
}

fn batcher(store: &Store) -> Batcher {
    Batcher::new(
        store.clone(),
        BatcherParams {
            rule: RULE,
            deadline_margin: 600,
            targets: vec![TARGET],
            outboxes: BTreeMap::from([(SOURCE, OUTBOX)]),
        },
    )
}

#[tokio::test]
async fn a_step_seals_messages_whose_root_commits_to_their_members() {
    let store = testing::open().await;
    deposit(&store, PAYER, 1_000, 1).await;
    let news: Vec<_> = (0..4).map(|n| new_settlement(PAYER, n, 10, 1, n)).collect();
    accept(&store, &news).await;
    let batcher = batcher(&store);
    // Before the target was read, nothing is known about deadlines.
    assert_eq!(batcher.step(1_000, 10).await.unwrap().processed, 0);
    set_head(&store, 1_000).await;
    assert_eq!(batcher.step(50, 10).await.unwrap().processed, 3);
    assert_eq!(batcher.step(50, 10).await.unwrap().processed, 0);
    assert_eq!(batcher.step(1_000, 10).await.unwrap().processed, 1);
    let messages = store.list_messages(MessageState::Sealed, 0, 10).await.unwrap();
    let sequences: Vec<u64> = messages.iter().map(|message| message.header.sequence).collect();
    assert_eq!(sequences, [1, 2]);
    for message in messages {
        let sealed = store.get_sealed_message(message.id, false).await.unwrap();
        let words: Vec<B256> = sealed.ids().iter().map(|id| id.0).collect();
        assert_eq!(tree::root(&words).unwrap(), message.header.root);
        assert_eq!(message.header.fee_recipient, testing::FEE_RECIPIENT);
        for id in sealed.ids().iter().copied() {
            let row = store.get_settlement(id).await.unwrap();
            assert_eq!((row.state, row.batched_times), (SettlementState::Batched, 1));
        }
    }
}

#[tokio::test]
async fn what_is_about_to_expire_or_to_be_cancelled_is_left_out() {
    let store = testing::open().await;
    deposit(&store, PAYER, 1_000, 1).await;
    let news: Vec<_> = (0..2).map(|n| new_settlement(PAYER, n, 10, 0, n)).collect();
    accept(&store, &news).await;
    let mut txn = store.begin(1).await.unwrap();
    txn.request_cancel(news[0].id, "operator").await.unwrap();
    txn.commit().await.unwrap();
    set_head(&store, testing::DEADLINE - 599).await;
    assert_eq!(batcher(&store).step(1_000, 10).await.unwrap().processed, 0);
    set_head(&store, testing::DEADLINE - 600).await;
    assert_eq!(batcher(&store).step(1_000, 10).await.unwrap().processed, 1);
    let row = store.get_settlement(news[0].id).await.unwrap();
    assert_eq!(row.state, SettlementState::Accepted);
}

/// Puts these rows into one group, in row order.
fn group(rows: &mut [Settlement], places: &[usize], root: u8) {
    for (index, row) in places.iter().enumerate() {
        rows[*row].group = Some(GroupMember {
            root: B256::repeat_byte(root),
            index,
        });
    }
}

#[tokio::test]
async fn a_group_is_never_spread_over_messages_unless_it_is_larger_than_one() {
    // 3 to a message: one alone, two of a group, one alone. The group does not fit beside the first two.
    let mut rows = waiting(&[0; 5]).await;
    group(&mut rows, &[2, 3], 7);
    let ids =
        |batches: &[plan::Batch]| -> Vec<Vec<SettlementId>> { batches.iter().map(|batch| batch.ids.clone()).collect() };
    let of = |places: &[usize], rows: &[Settlement]| -> BTreeSet<SettlementId> {
        places.iter().map(|at| rows[*at].id).collect()
    };
    let sets = |batches: &[plan::Batch]| -> Vec<BTreeSet<SettlementId>> {
        ids(batches).into_iter().map(|ids| ids.into_iter().collect()).collect()
    };
    let batches = plan(1_000, &rows, RULE);
    assert_eq!(sets(&batches), [of(&[0, 1], &rows), of(&[2, 3, 4], &rows)]);
    // Members that others lie between come together at the place of the oldest.
    let mut rows = waiting(&[0; 5]).await;
    group(&mut rows, &[0, 4], 7);
    assert_eq!(
        sets(&plan(1_000, &rows, RULE)),
        [of(&[0, 4, 1], &rows), of(&[2, 3], &rows)]
    );
    // Five members, three to a message: cut once, in the order they were signed.
    let mut rows = waiting(&[0; 5]).await;
    group(&mut rows, &[4, 3, 2, 1, 0], 7);
    assert_eq!(
        sets(&plan(1_000, &rows, RULE)),
        [of(&[4, 3, 2], &rows), of(&[1, 0], &rows)]
    );
    // A young group waits for its linger time like everything else.
    let mut rows = waiting(&[950, 950]).await;
    group(&mut rows, &[0, 1], 7);
    assert_eq!(sizes(1_000, &rows), [0usize; 0]);
}

#[tokio::test]
async fn a_list_that_was_cut_inside_a_group_leaves_that_group_for_later() {
    let mut rows = waiting(&[0; 4]).await;
    group(&mut rows, &[1, 3], 7);
    let ids = |rows: &[Settlement]| -> Vec<SettlementId> { rows.iter().map(|row| row.id).collect() };
    assert_eq!(ids(&whole_groups(rows.clone(), 5)), ids(&rows), "not cut");
    assert_eq!(ids(&whole_groups(rows.clone(), 4)), [rows[0].id, rows[2].id]);
    // A list of nothing but cut groups is better than none.
    let grouped = [rows[1].clone(), rows[3].clone()];
    assert_eq!(ids(&whole_groups(grouped.to_vec(), 2)), ids(&grouped));
    // A group at the other end of a long list is whole.
    let mut long = grouped.to_vec();
    long.resize(plan::GROUP_SPREAD + 2, rows[0].clone());
    assert_eq!(whole_groups(long.clone(), long.len()).len(), long.len());
}
