#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::settlement::ChainId;
use crate::settlement::states::{MessageState, SettlementEvent, SettlementState};
use crate::store::entity::settlement_group;
use crate::store::seed::{Seed, settlement_id};
use crate::store::testing::{self, INBOX, PAYER, TARGET, TestStore, ending, new_settlement, open, payment, seal};
use crate::store::{Accept, Cursor, GroupMember, LogStatus, NewChainLog, NewEvent, NewGroup, NewSettlement, TallyKey};
use alloy::primitives::{B256, Bytes, U256};
use relayer_adapter_api::BlockRef;
use serde_json::Value;

const NOW: i64 = 1_000_000;

fn rule(before_ms: i64) -> PruneRule {
    PruneRule { before_ms, now_ms: NOW }
}

/// The target chain is final up to this Unix second.
async fn finalize(db: &TestStore, timestamp: u64) {
    let old = db.get_cursor(TARGET).await.unwrap();
    let block = BlockRef {
        number: timestamp,
        hash: B256::from(U256::from(timestamp)),
        timestamp,
    };
    let new = Cursor {
        seen: block,
        finalized: block,
    };
    let mut txn = db.begin(1).await.unwrap();
    txn.move_cursor(TARGET, old.as_ref(), &new).await.unwrap();
    txn.commit().await.unwrap();
}

/// Also holds a dry run to its word: it says what the run then does, and saying it changes nothing.
async fn prune(db: &TestStore, before_ms: i64) -> Pruned {
    let would = db.count_prunable(&rule(before_ms)).await.unwrap();
    assert_eq!(db.count_prunable(&rule(before_ms)).await.unwrap(), would);
    let done = db.prune(&rule(before_ms), None, &mut |_| {}).await.unwrap();
    assert_eq!(would, done, "the dry run said otherwise");
    assert_eq!(db.count_prunable(&rule(before_ms)).await.unwrap(), Pruned::default());
    done
}

fn settled(count: u64) -> Seed {
    Seed {
        per_message: 8,
        accepted_at: 1_000,
        deadlines: (2_000, 4_000_000_000),
        ..Seed::new(count, 3)
    }
}

async fn end_unpaid(db: &TestStore, new: &NewSettlement, at_ms: i64) {
    let mut txn = db.begin(at_ms).await.unwrap();
    txn.settlement_end_unpaid(new.id, &ending(SettlementEvent::Expire))
        .await
        .unwrap();
    txn.commit().await.unwrap();
}

#[tokio::test]
async fn everything_a_paid_settlement_left_goes_but_its_row_and_its_books() {
    let db = open().await;
    db.fill(&settled(20), |_| {}).await.unwrap();
    finalize(&db, 2_001).await;
    let would = db.count_prunable(&rule(NOW)).await.unwrap();
    let mut heard = 0;
    let done = db.prune(&rule(NOW), None, &mut |_| heard += 1).await.unwrap();
    assert!(heard > 0);
    // Two transactions a message; the newest nonce of each chain's signer stays.
    let expected = Pruned {
        settlements: 20,
        messages: 3,
        groups: 0,
        transactions: 4,
        receipts: 0,
        events: 100,
        logs: 27,
    };
    assert_eq!(done, expected);
    assert_eq!(would, expected);
    let id = settlement_id(5).unwrap();
    let kept = db.get_settlement(id).await.unwrap();
    assert_eq!((kept.state, kept.auth.len()), (SettlementState::Settled, 0));
    assert_eq!(db.list_settlement_events(id).await.unwrap(), []);
    assert_eq!(db.list_messages_of(id).await.unwrap(), []);
    assert_eq!(db.list_covered_receipts(id).await.unwrap().len(), 1);
    assert_eq!(db.list_postings(id).await.unwrap().len(), 3);
    assert_eq!(db.list_messages(MessageState::Executed, 0, 10).await.unwrap(), []);
    assert_eq!(db.list_unbalanced_accounts().await.unwrap(), Vec::<i64>::new());
    // The open ones are untouched, and a watcher is told where what is kept begins.
    assert_eq!(
        db.list_settlement_events(settlement_id(21).unwrap())
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(db.oldest_cursor().await.unwrap(), 100);
    assert_eq!(db.newest_seq().await.unwrap(), 103);
    assert_eq!(prune(&db, NOW).await, Pruned::default());
}

#[tokio::test]
async fn nothing_goes_before_its_deadline_has_passed_in_a_final_block() {
    let db = open().await;
    db.fill(&settled(4), |_| {}).await.unwrap();
    assert_eq!(
        prune(&db, NOW).await,
        Pruned::default(),
        "nothing is known of the chain"
    );
    finalize(&db, 2_000).await;
    assert_eq!(
        prune(&db, NOW).await,
        Pruned::default(),
        "the deadline is the last second"
    );
    finalize(&db, 2_001).await;
    // The seed ends settlement n at 1000 + n - 1.
    assert_eq!(prune(&db, 1_002).await.settlements, 2);
    assert_eq!(
        db.list_messages(MessageState::Executed, 0, 10).await.unwrap().len(),
        1,
        "two members are kept"
    );
    assert_eq!(prune(&db, NOW).await.messages, 1);
}

#[tokio::test]
async fn a_pruned_settlement_submitted_again_gets_its_original_answer_and_its_nonce_and_receipt_stay_taken() {
    let db = open().await;
    testing::deposit(&db, PAYER, 10_000, 1).await;
    let paid = new_settlement(PAYER, 1, 100, 0, 1);
    let expired = new_settlement(PAYER, 2, 100, 0, 2);
    testing::accept(&db, &[paid.clone(), expired.clone()]).await;
    seal(&db, &[paid.id]).await;
    let mut txn = db.begin(50).await.unwrap();
    txn.settlement_pay(paid.id, &payment(3, 0)).await.unwrap();
    txn.commit().await.unwrap();
    end_unpaid(&db, &expired, 60).await;
    finalize(&db, testing::DEADLINE + 1).await;
    let before = (
        testing::available(&db, PAYER).await,
        testing::paid(&db, testing::PAYEE).await,
    );
    let pruned = prune(&db, 100).await;
    assert_eq!(
        (pruned.settlements, pruned.receipts),
        (2, 1),
        "the receipt nothing holds goes"
    );
    let answers = testing::accept(&db, &[paid.clone(), expired.clone()]).await;
    let states: Vec<_> = answers
        .iter()
        .map(|answer| match answer {
            Accept::Existing(existing) => (existing.id, existing.state, existing.accepted_at),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        states,
        [
            (paid.id, SettlementState::Settled, 10),
            (expired.id, SettlementState::Expired, 10)
        ]
    );
    // Other terms on a used nonce, and other terms for a paid receipt.
    let nonce = testing::accept(&db, &[new_settlement(PAYER, 2, 7, 0, 9)]).await;
    assert_eq!(nonce, [Accept::NonceTaken { by: expired.id }]);
    let receipt = testing::accept(&db, &[new_settlement(PAYER, 8, 100, 0, 1)]).await;
    assert!(
        matches!(&receipt[..], [Accept::ReceiptHeld { by, .. }] if *by == paid.id),
        "{receipt:?}"
    );
    // The receipt of the one that ended unpaid is free, as it was before.
    let again = testing::accept(&db, &[new_settlement(PAYER, 9, 100, 0, 2)]).await;
    assert!(matches!(&again[..], [Accept::Accepted(_)]), "{again:?}");
    assert_eq!(testing::available(&db, PAYER).await, before.0 - 100);
    assert_eq!(testing::paid(&db, testing::PAYEE).await, before.1);
    assert_eq!(db.list_unbalanced_accounts().await.unwrap(), Vec::<i64>::new());
    let held = db
        .find_settlement_by_nonce(TARGET, INBOX, PAYER, U256::from(1))
        .await
        .unwrap();
    assert_eq!(held.unwrap().id, paid.id);
}

#[tokio::test]
async fn disputed_and_open_settlements_and_the_messages_that_hold_them_stay() {
    let db = open().await;
    testing::deposit(&db, PAYER, 10_000, 1).await;
    let news: Vec<_> = (1..=3).map(|n| new_settlement(PAYER, n, 100, 0, n)).collect();
    testing::accept(&db, &news).await;
    let ids: Vec<_> = news.iter().map(|new| new.id).collect();
    seal(&db, &ids).await;
    let mut txn = db.begin(50).await.unwrap();
    txn.settlement_pay(ids[0], &payment(3, 0)).await.unwrap();
    txn.settlement_end_unpaid(ids[1], &ending(SettlementEvent::Expire))
        .await
        .unwrap();
    txn.settlement_dispute(ids[1], "test").await.unwrap();
    txn.commit().await.unwrap();
    finalize(&db, testing::DEADLINE + 1).await;
    let pruned = prune(&db, 100).await;
    assert_eq!((pruned.settlements, pruned.messages), (1, 0));
    for id in &ids[1..] {
        assert!(db.list_settlement_events(*id).await.unwrap().len() >= 2);
    }
    assert_eq!(db.list_messages_of(ids[2]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_sweep_counts_on_over_pruned_logs_and_starts_anew_when_blocks_go() {
    let db = open().await;
    db.fill(&settled(20), |_| {}).await.unwrap();
    finalize(&db, 2_001).await;
    let key = TallyKey {
        chain: TARGET,
        address: INBOX,
        kind: "settlement_paid".into(),
    };
    let count = async |up_to| db.count_final_logs(&key, up_to).await.unwrap();
    assert_eq!(count(2_000).await, 20);
    prune(&db, 1_010).await;
    assert_eq!(count(2_000).await, 20, "ten are pruned");
    let mut txn = db.begin(1).await.unwrap();
    txn.advance_tally(&key, 100, 20).await.unwrap();
    txn.commit().await.unwrap();
    prune(&db, NOW).await;
    put_paid(&db, 150).await;
    assert_eq!(count(2_000).await, 21);
    assert_eq!(count(149).await, 20);
    let mut txn = db.begin(1).await.unwrap();
    txn.advance_tally(&key, 200, 21).await.unwrap();
    txn.orphan_logs_above(ChainId(TARGET.0), 120).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(count(2_000).await, 20, "the one above went with its block");
}

async fn put_paid(db: &TestStore, block: u64) {
    let log = NewChainLog {
        chain: TARGET,
        block_number: block,
        block_hash: B256::repeat_byte(7),
        block_timestamp: block,
        log_index: 1,
        tx_hash: B256::repeat_byte(8),
        address: INBOX,
        kind: "settlement_paid".into(),
        key: B256::repeat_byte(9),
        key2: PAYER.into_word(),
        amount: U256::from(9_999),
        detail: Value::Null,
    };
    let mut txn = db.begin(1).await.unwrap();
    txn.put_logs(&[log]).await.unwrap();
    txn.finalize_logs(TARGET, None, block).await.unwrap();
    txn.commit().await.unwrap();
    let found = db
        .find_logs(TARGET, "settlement_paid", B256::repeat_byte(9), None, false)
        .await
        .unwrap();
    assert_eq!(found[0].status, LogStatus::Final);
}

#[derive(Default)]
struct Memory {
    lines: Vec<Value>,
    synced: usize,
    full: bool,
}

impl Archive for Memory {
    fn line(&mut self, line: &Value) -> std::io::Result<()> {
        if self.full {
            return Err(std::io::Error::other("no space left"));
        }
        self.lines.push(line.clone());
        Ok(())
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.synced = self.lines.len();
        Ok(())
    }
}

#[tokio::test]
async fn what_goes_is_in_the_archive_first_and_nothing_goes_when_it_cannot_be_written() {
    let db = open().await;
    db.fill(&settled(10), |_| {}).await.unwrap();
    finalize(&db, 2_001).await;
    let mut full = Memory {
        full: true,
        ..Memory::default()
    };
    assert!(db.prune(&rule(NOW), Some(&mut full), &mut |_| {}).await.is_err());
    assert_eq!(db.oldest_cursor().await.unwrap(), 0);
    assert_eq!(
        db.list_settlement_events(settlement_id(1).unwrap())
            .await
            .unwrap()
            .len(),
        5
    );
    let mut archive = Memory::default();
    let pruned = db.prune(&rule(NOW), Some(&mut archive), &mut |_| {}).await.unwrap();
    assert_eq!(archive.synced, archive.lines.len());
    let of = |kind: &str| {
        archive
            .lines
            .iter()
            .filter(|line| line.get(kind).is_some())
            .collect::<Vec<_>>()
    };
    let lines = (
        of("settlement").len() as u64,
        of("message").len() as u64,
        of("transaction").len() as u64,
    );
    assert_eq!(lines, (pruned.settlements, pruned.messages, pruned.transactions));
    let first = of("settlement")[0];
    assert_eq!(
        first["settlement"]["settlement_id"],
        settlement_id(1).unwrap().to_string()
    );
    assert_eq!(first["settlement"]["terms"]["amount"], "100");
    assert_eq!(
        first["settlement"]["auth"].as_str().unwrap().len(),
        2 + 130,
        "as it was before"
    );
    assert_eq!(first["events"].as_array().unwrap().len(), 5);
    assert_eq!(first["receipts"][0]["job_id"], "job-1");
    assert_eq!(
        of("message")[0]["message"]["settlement_ids"].as_array().unwrap().len(),
        8
    );
}

#[tokio::test]
async fn a_run_that_was_cut_off_goes_on_where_it_stopped() {
    let db = open().await;
    db.fill(&settled(20), |_| {}).await.unwrap();
    finalize(&db, 2_001).await;
    // Settlements alone, as if the process had died before the messages.
    let due = db.due_settlements(&rule(NOW), (i64::MIN, 0)).await.unwrap();
    let ids: Vec<i64> = due.iter().map(|(_, id)| *id).take(13).collect();
    let mut txn = db.begin(NOW).await.unwrap();
    let mut pass = Pass {
        rule: rule(NOW),
        dry: false,
        archive: None,
        progress: &mut |_| {},
        done: Pruned::default(),
        newest_event: 0,
    };
    let gone = txn.archive_settlements(&ids, &mut pass).await.unwrap();
    pass.end(txn, gone).await.unwrap();
    let rest = prune(&db, NOW).await;
    assert_eq!((rest.settlements, rest.messages, rest.events), (7, 3, 35));
    assert_eq!(db.count_prunable(&rule(NOW)).await.unwrap(), Pruned::default());
}

#[tokio::test]
async fn a_dry_run_says_what_the_run_does_where_only_part_of_everything_may_go() {
    let db = open().await;
    testing::deposit(&db, PAYER, 10_000, 1).await;
    // 450 are more than two batches; the cut goes through a message, the finalized time of the chain through another.
    let seed = Seed {
        deadlines: (1_900, 2_100),
        ..settled(450)
    };
    db.fill(&seed, |_| {}).await.unwrap();
    let odd: Vec<_> = (900..904).map(|n| new_settlement(PAYER, n, 100, 0, n)).collect();
    testing::accept(&db, &odd).await;
    let ids: Vec<_> = odd.iter().map(|new| new.id).collect();
    seal(&db, &ids[..2]).await;
    end_unpaid(&db, &odd[2], 60).await;
    end_unpaid(&db, &odd[3], 70).await;
    let mut txn = db.begin(5).await.unwrap();
    for aggregate in ["chain", "ledger"] {
        txn.record(NewEvent {
            aggregate,
            aggregate_id: "1".into(),
            event: "note".into(),
            cause: "test".into(),
            ..NewEvent::default()
        });
    }
    txn.commit().await.unwrap();
    assert_eq!(prune(&db, NOW).await, Pruned::default(), "nothing is final");
    finalize(&db, 2_000).await;
    let mut all = Vec::new();
    for before in [1_037, 1_200, 1_449, NOW] {
        all.push(prune(&db, before).await);
    }
    // The last leaves one message, whose transactions are the newest of their signers and stay.
    assert!(all.iter().all(|pruned| pruned.events > 0 && pruned.logs > 0), "{all:?}");
    assert!(all[..3].iter().all(|pruned| pruned.transactions > 0), "{all:?}");
    finalize(&db, testing::DEADLINE + 1).await;
    let rest = prune(&db, NOW).await;
    assert!(rest.receipts > 0, "what ended unpaid holds no receipt: {rest:?}");
}

/// Members of one group; the last id is of an item that was refused.
async fn group(db: &TestStore, numbers: &[u64], at_ms: i64) -> (B256, Vec<NewSettlement>) {
    let mut members: Vec<_> = numbers.iter().map(|n| new_settlement(PAYER, *n, 100, 0, *n)).collect();
    let refused = new_settlement(PAYER, 10_000 + numbers[0], 100, 0, 10_000 + numbers[0]);
    let ids: Vec<_> = members.iter().chain([&refused]).map(|new| new.id).collect();
    let root = crate::settlement::terms::group_root(&ids).unwrap();
    for (index, member) in members.iter_mut().enumerate() {
        member.group = Some(GroupMember { root, index });
    }
    put_group(db, root, ids, at_ms).await;
    testing::accept(db, &members).await;
    (root, members)
}

async fn put_group(db: &TestStore, root: B256, ids: Vec<crate::settlement::SettlementId>, at_ms: i64) {
    let group = NewGroup {
        root,
        coordinator_id: "coordinator".into(),
        payer: PAYER,
        target: TARGET,
        inbox: INBOX,
        ids,
        auth: Bytes::from(vec![1; 65]),
    };
    let mut txn = db.begin(at_ms).await.unwrap();
    txn.put_group(&group).await.unwrap();
    txn.commit().await.unwrap();
}

async fn pay(db: &TestStore, new: &NewSettlement, log_index: u64) {
    let mut txn = db.begin(50).await.unwrap();
    txn.settlement_pay(new.id, &payment(3, log_index)).await.unwrap();
    txn.commit().await.unwrap();
}

async fn roots(db: &TestStore) -> Vec<B256> {
    let rows = settlement_group::Entity::find().all(&db.store.db).await.unwrap();
    rows.iter().map(|row| B256::from_slice(&row.group_root)).collect()
}

#[tokio::test]
async fn a_group_goes_with_the_last_of_its_settlements_and_is_answered_as_before_afterwards() {
    let db = open().await;
    testing::deposit(&db, PAYER, 10_000, 1).await;
    let (root, members) = group(&db, &[1, 2], 10).await;
    let (nothing_stored, _) = group(&db, &[5], 10).await;
    end_unpaid(&db, &new_settlement(PAYER, 5, 100, 0, 5), 20).await;
    pay(&db, &members[0], 0).await;
    finalize(&db, testing::DEADLINE + 1).await;
    let first = prune(&db, 100).await;
    assert_eq!((first.settlements, first.groups), (2, 1), "one of two is open");
    assert_eq!(roots(&db).await, [root]);
    assert!(nothing_stored != root);
    pay(&db, &members[1], 1).await;
    let mut archive = Memory::default();
    let done = db.prune(&rule(100), Some(&mut archive), &mut |_| {}).await.unwrap();
    assert_eq!((done.settlements, done.groups), (1, 1));
    assert_eq!(roots(&db).await, Vec::<B256>::new());
    let line = archive.lines.iter().find_map(|line| line.get("group")).unwrap();
    assert_eq!(line["group_root"], root.to_string());
    assert_eq!(line["settlement_ids"].as_array().unwrap().len(), 3);
    // The same group again: each member as it was, and what the row was made anew for goes in its time.
    let answers = testing::accept(&db, &members).await;
    for (answer, member) in answers.iter().zip(&members) {
        assert!(
            matches!(answer, Accept::Existing(row) if row.id == member.id && row.group.is_some_and(|place| place.root == root)),
            "{answer:?}"
        );
    }
    put_group(&db, root, members.iter().map(|new| new.id).collect(), 200).await;
    assert_eq!(prune(&db, 200).await.groups, 0, "not older than the date");
    assert_eq!(prune(&db, 201).await.groups, 1);
}

#[tokio::test]
async fn a_group_stays_while_a_message_that_stays_names_one_of_its_settlements() {
    let db = open().await;
    testing::deposit(&db, PAYER, 10_000, 1).await;
    let (root, members) = group(&db, &[1, 2], 10).await;
    let open = new_settlement(PAYER, 3, 100, 0, 3);
    testing::accept(&db, std::slice::from_ref(&open)).await;
    let message = seal(&db, &[members[0].id, members[1].id, open.id]).await;
    pay(&db, &members[0], 0).await;
    pay(&db, &members[1], 1).await;
    finalize(&db, testing::DEADLINE + 1).await;
    let pruned = prune(&db, 100).await;
    assert_eq!((pruned.settlements, pruned.messages, pruned.groups), (2, 0, 0));
    assert_eq!(roots(&db).await, [root]);
    // Whoever pays the open one reads all members of its message.
    assert_eq!(db.list_members(message.id()).await.unwrap().len(), 3);
}
