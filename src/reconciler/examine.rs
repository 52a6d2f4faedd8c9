//! What is known of payments, messages and settlements, brought together for [`super::compare`]; and findings looked at a second time, since the
//! relayer goes on working while it is compared.

use super::compare::{self, Finding, Known, Patience, Remedy, check_message, check_run, check_settlement};
use super::error::ReconcilerError;
use super::runs::{Run, event_of, runs};
use crate::settlement::{ChainId, MessageId, SettlementId};
use crate::store::{ChainLog, Drift, DriftAbout, DriftClass, Payment, SettlementBooks, Store, StoreError};
use alloy::primitives::{Address, B256};
use relayer_adapter_api::Header;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Rows of one look.
pub(super) const PAGE: u64 = 2_000;

/// Payments of one transaction of a chain.
pub(super) struct TxRuns {
    pub tx: B256,
    pub inbox: Address,
    pub runs: Vec<Run>,
}

/// The runs of logs in chain order, transaction by transaction. A transaction whose logs make no sense is a finding of its own.
pub(super) fn tx_runs(chain: ChainId, logs: &[ChainLog]) -> (Vec<TxRuns>, Vec<Finding>) {
    let mut by_tx: BTreeMap<(u64, B256), Vec<ChainLog>> = BTreeMap::new();
    let of_runs = |log: &&ChainLog| matches!(log.kind.as_str(), "settlement_paid" | "runs_paid");
    for log in logs.iter().filter(of_runs) {
        let key = (log.block_number, log.tx_hash);
        by_tx.entry(key).or_default().push(log.clone());
    }
    let (mut made, mut broken) = (Vec::new(), Vec::new());
    for ((block, tx), logs) in by_tx {
        let inbox = logs.first().map(|log| log.address).unwrap_or_default();
        match runs(&logs) {
            Ok(runs) => made.push(TxRuns { tx, inbox, runs }),
            Err(error) => broken.push(Finding {
                drift: Drift {
                    class: DriftClass::Missing,
                    chain,
                    subject: format!("transaction {tx}"),
                    expected: "payments and their sums".into(),
                    actual: error.to_string(),
                },
                about: DriftAbout {
                    block: Some(block),
                    ..DriftAbout::default()
                },
                remedy: Remedy::Operator,
            }),
        }
    }
    (made, broken)
}

/// What the books know of these payments.
pub(super) async fn known_of(store: &Store, of: &[TxRuns]) -> Result<Known, StoreError> {
    let items = || of.iter().flat_map(|tx| &tx.runs).flat_map(|run| &run.items);
    let ids: Vec<SettlementId> = items().map(|item| item.id).collect();
    let settlements: HashMap<SettlementId, SettlementBooks> = store
        .list_books(&ids)
        .await?
        .into_iter()
        .map(|one| (one.id, one))
        .collect();
    let strangers: Vec<_> = items().filter(|item| !settlements.contains_key(&item.id)).collect();
    let events: Vec<_> = strangers.iter().map(|item| item.event).collect();
    Ok(Known {
        posted: store.list_posted_events(&events).await?,
        settlements,
    })
}

/// Findings about the payments of some transactions, by what was known before them.
pub(super) fn check_runs(chain: ChainId, of: &[TxRuns], known: &Known) -> Vec<Finding> {
    of.iter()
        .flat_map(|tx| {
            tx.runs
                .iter()
                .flat_map(move |run| check_run(run, chain, tx.inbox, tx.tx, known))
        })
        .collect()
}

/// Settlements of the books against the stored final logs of their chain.
pub(super) async fn check_all(
    store: &Store,
    chain: ChainId,
    books: &[SettlementBooks],
    patience: &Patience,
) -> Result<Vec<Finding>, StoreError> {
    let ids: Vec<SettlementId> = books.iter().map(|one| one.id).collect();
    let paid = store.list_paid_logs(chain, &ids).await?;
    let none = Vec::new();
    Ok(books
        .iter()
        .flat_map(|one| check_settlement(one, paid.get(&one.id).unwrap_or(&none), patience))
        .collect())
}

/// Findings about settlements that a second look bears out: whatever moved between the two is left for the next time.
pub(super) async fn confirmed(
    store: &Store,
    chain: ChainId,
    first: Vec<Finding>,
    patience: &Patience,
) -> Result<Vec<Finding>, StoreError> {
    let about: HashSet<SettlementId> = first.iter().filter_map(|finding| finding.about.settlement).collect();
    if about.is_empty() {
        return Ok(first);
    }
    let ids: Vec<SettlementId> = about.into_iter().collect();
    let again = check_all(store, chain, &store.list_books(&ids).await?, patience).await?;
    let known: HashSet<SettlementId> = store.list_books(&ids).await?.iter().map(|one| one.id).collect();
    let stands = |finding: &Finding| {
        let Some(id) = finding.about.settlement else {
            return true;
        };
        // What a run says about strangers and sums does not come from the books alone.
        let of_books = matches!(
            finding.remedy,
            Remedy::BookPayment { .. } | Remedy::BookReservation(_) | Remedy::TakeBack(_) | Remedy::Expire(_)
        );
        !known.contains(&id) || !of_books || again.contains(finding)
    };
    Ok(first.into_iter().filter(stands).collect())
}

/// Money that came into, left or was claimed from the vault by logs that count as booked, or should by now, and is on nobody's account.
pub(super) async fn unbooked_moves(
    store: &Store,
    stored: &[ChainLog],
    patience: &Patience,
) -> Result<Vec<Finding>, StoreError> {
    let moves = |log: &&ChainLog| {
        matches!(log.kind.as_str(), "deposited" | "withdrawn" | "claimed")
            && !log.amount.is_zero()
            && (log.applied_final || patience.over(log.block_timestamp))
    };
    let logs: Vec<&ChainLog> = stored.iter().filter(moves).collect();
    let events: Vec<_> = logs.iter().map(|log| event_of(log)).collect();
    let posted = store.list_posted_events(&events).await?;
    let unbooked = logs
        .into_iter()
        .zip(events)
        .filter(|(_, event)| !posted.contains_key(event));
    Ok(unbooked
        .map(|(log, _)| Finding {
            drift: Drift {
                class: DriftClass::Missing,
                chain: log.chain,
                subject: format!("log {}", log.reference()),
                expected: format!("{} {} booked", log.kind, log.amount),
                actual: "no posting".into(),
            },
            about: DriftAbout {
                token: Some(Address::from_word(log.key2)),
                settlement: None,
                block: Some(log.block_number),
            },
            remedy: Remedy::BookAgain {
                chain: log.chain,
                tx: log.tx_hash,
            },
        })
        .collect())
}

/// The final payment of a settlement that is stored, as it would be booked; whose the fee is, is in the message that brought it.
pub async fn payment_on_chain(store: &Store, chain: ChainId, id: SettlementId) -> Result<Option<Payment>, StoreError> {
    let paid = store.list_paid_logs(chain, &[id]).await?;
    let Some(log) = paid.get(&id).and_then(|logs| logs.first()) else {
        return Ok(None);
    };
    let logs = store.list_final_logs_of_tx(chain, log.tx).await?;
    let (txs, _) = tx_runs(chain, &logs);
    let run = txs
        .iter()
        .flat_map(|tx| &tx.runs)
        .find(|run| run.items.iter().any(|item| item.id == id));
    let message = match run {
        Some(run) => store.find_message(run.message).await?,
        None => None,
    };
    let row = store.get_settlement(id).await?;
    Ok(Some(Payment {
        fee_is_ours: message.is_some_and(|message| message.header.fee_recipient == row.fee_recipient),
        ..compare::payment_of(log)
    }))
}

/// Batches from a chain against their roots. Returns the last row looked at and how many there were, None at the end.
pub(super) async fn check_messages(
    store: &Store,
    source: ChainId,
    after: i64,
    found: &mut Vec<Finding>,
) -> Result<Option<(i64, u64)>, ReconcilerError> {
    let page = store.page_message_books(source, after, PAGE / 8).await?;
    for one in &page {
        // Of a message that is no batch the leaves say nothing.
        if let Ok(header) = Header::decode(&one.header)
            && header.count > 0
        {
            found.extend(check_message(one, header.root, header.count));
        }
    }
    Ok(page.last().map(|last| (last.row, page.len() as u64)))
}

/// Messages the outbox sent that the books have never heard of.
pub(super) async fn unknown_messages(
    store: &Store,
    chain: ChainId,
    logs: &[ChainLog],
) -> Result<Vec<Finding>, StoreError> {
    let sent: Vec<&ChainLog> = logs.iter().filter(|log| log.kind == "message_dispatched").collect();
    let ids: Vec<MessageId> = sent.iter().map(|log| MessageId(log.key)).collect();
    let known = store.known_messages(&ids).await?;
    let mut told = HashSet::new();
    let mut found = Vec::new();
    for log in sent {
        let id = MessageId(log.key);
        if known.contains(&id) || !told.insert(id) {
            continue;
        }
        found.push(Finding {
            drift: Drift {
                class: DriftClass::Unknown,
                chain,
                subject: compare::message_subject(id),
                expected: "on the books".into(),
                actual: format!("sent by transaction {} in block {}", log.tx_hash, log.block_number),
            },
            about: DriftAbout {
                block: Some(log.block_number),
                ..DriftAbout::default()
            },
            remedy: Remedy::Recover,
        });
    }
    Ok(found)
}
