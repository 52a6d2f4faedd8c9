#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::settlement::states::{MessageState, SettlementState};
use crate::store::SettlementFilter;
use crate::store::testing::open;

#[tokio::test]
async fn seeded_rows_read_back_as_settlements_with_balanced_books_and_a_gap_free_history() {
    let db = open().await;
    let mut heard = Vec::new();
    let seed = Seed {
        per_message: 8,
        ..Seed::new(20, 5)
    };
    db.fill(&seed, |done| heard.push(done)).await.unwrap();
    assert_eq!(heard, [20, 25]);
    assert_eq!(db.list_unbalanced_accounts().await.unwrap(), Vec::<i64>::new());
    let all = db
        .list_settlements(&SettlementFilter::default(), None, 100)
        .await
        .unwrap();
    let in_state = |state| all.iter().filter(|row| row.state == state).count();
    assert_eq!(
        (in_state(SettlementState::Settled), in_state(SettlementState::Accepted)),
        (20, 5)
    );
    let id = settlement_id(3).unwrap();
    let history = db.list_settlement_events(id).await.unwrap();
    assert_eq!(
        history.iter().map(|event| event.event.as_str()).collect::<Vec<_>>(),
        ["accept", "seal", "dispatch", "deliver", "pay"]
    );
    let events = db.list_events_after(0, 1_000).await.unwrap();
    let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=105).collect::<Vec<i64>>());
    assert_eq!(db.list_postings(id).await.unwrap().len(), 3);
    let messages = db.list_messages(MessageState::Executed, 0, 10).await.unwrap();
    assert_eq!(messages.len(), 3);
    let dispatch = db.list_dispatches(messages[1].id).await.unwrap().remove(0);
    let tx = db.get_tx(dispatch.tx.unwrap()).await.unwrap();
    assert_eq!(tx.intent.id, format!("{}:0", dispatch.id));
    assert_eq!(db.list_executions(messages[2].id).await.unwrap().len(), 1);
    assert_eq!(db.list_message_leaves(messages[2].id).await.unwrap().len(), 4);
    assert_eq!(db.list_messages_of(id).await.unwrap(), [(messages[0].id, 2)]);
}

#[tokio::test]
async fn a_second_fill_adds_to_the_first() {
    let db = open().await;
    let mut seed = Seed {
        per_message: 4,
        ..Seed::new(6, 2)
    };
    db.fill(&seed, |_| {}).await.unwrap();
    seed.first = 9;
    db.fill(&seed, |_| {}).await.unwrap();
    assert_eq!(db.list_unbalanced_accounts().await.unwrap(), Vec::<i64>::new());
    let counts: u64 = db
        .count_settlements()
        .await
        .unwrap()
        .into_iter()
        .map(|(_, count)| count)
        .sum();
    assert_eq!(counts, 16);
    assert_eq!(db.list_events_after(0, 1_000).await.unwrap().len(), 64);
}
