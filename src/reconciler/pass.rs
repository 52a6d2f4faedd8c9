//! The whole of the books once: every payment that is stored against its settlement, every settlement no payment was found for, every message
//! against its root, every account against its postings. One pass in pages, so that memory does not grow with the number of settlements.

use super::compare::{Finding, Patience};
use super::error::ReconcilerError;
use super::examine::{self, PAGE, TxRuns};
use crate::settlement::{ChainId, SettlementId};
use crate::store::{ChainLog, PaidLog, Store, StoreError};
use alloy::primitives::{Address, U256};
use std::collections::HashMap;

/// Row numbers looked through at once.
const ROWS: u64 = 50_000;

/// What was looked at.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Passed {
    pub settlements: u64,
    pub payments: u64,
    pub messages: u64,
    pub findings: Vec<Finding>,
}

/// A set of row numbers, a bit each.
#[derive(Debug, Default)]
struct Rows(Vec<u64>);

impl Rows {
    /// False when it was there already.
    fn insert(&mut self, row: i64) -> bool {
        let Ok(row) = usize::try_from(row) else { return true };
        let (word, bit) = (row / 64, 1u64 << (row % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let fresh = self.0[word] & bit == 0;
        self.0[word] |= bit;
        fresh
    }

    fn contains(&self, row: i64) -> bool {
        let Ok(row) = usize::try_from(row) else { return false };
        self.0.get(row / 64).is_some_and(|word| word & (1 << (row % 64)) != 0)
    }

    /// Adds another set; returns what both had.
    fn merge(&mut self, other: &Self) -> Vec<i64> {
        let mut both = Vec::new();
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, bits) in other.0.iter().enumerate() {
            let common = self.0[word] & bits;
            both.extend(
                (0..64)
                    .filter(|bit| common & (1 << bit) != 0)
                    .map(|bit| (word * 64 + bit) as i64),
            );
            self.0[word] |= bits;
        }
        both
    }
}

/// Told while it goes on: payments, then settlements.
pub type Progress<'a> = &'a mut (dyn FnMut(&str, u64) + Send);

/// Settlements and messages of one chain, payments up to block `through`.
pub async fn pass(
    store: &Store,
    chain: ChainId,
    through: u64,
    patience: Patience,
    progress: Progress<'_>,
) -> Result<Passed, ReconcilerError> {
    let store = &store.reader().await?;
    let mut passed = Passed::default();
    let heights = store.list_pruned_heights(chain).await?;
    let pruned = heights.get("settlement_paid").copied();
    // Two at a time: one waits for the database while the other looks at what it got.
    let middle = store.find_middle_block(chain, through).await?;
    let halves = [(0, middle), (middle.saturating_add(1), through)];
    let [first, second] = halves.map(|range| tokio::spawn(payments(store.clone(), chain, range, (patience, pruned))));
    let mut seen = Rows::default();
    let mut twice = Vec::new();
    for half in [first, second] {
        let half = half.await.map_err(|error| ReconcilerError::Repair {
            subject: "the comparison".into(),
            reason: error.to_string(),
        })??;
        passed.payments = passed.payments.saturating_add(half.payments);
        passed.settlements = passed.settlements.saturating_add(half.settlements);
        passed.findings.extend(half.findings);
        twice.extend(seen.merge(&half.seen));
        twice.extend(half.twice);
        progress("payments", passed.payments);
    }
    let again = store.list_books_of_rows(chain, &twice).await?;
    passed
        .findings
        .extend(examine::check_all(store, chain, &again, &patience).await?);
    unpaid(store, chain, &seen, patience, &mut passed, progress).await?;
    messages(store, chain, &mut passed, progress).await?;
    passed.findings = examine::confirmed(store, chain, passed.findings, &patience).await?;
    Ok(passed)
}

#[derive(Debug, Default)]
struct Half {
    payments: u64,
    settlements: u64,
    seen: Rows,
    twice: Vec<i64>,
    findings: Vec<Finding>,
}

/// Stored payments of a range of blocks against the books.
async fn payments(
    store: Store,
    chain: ChainId,
    range: (u64, u64),
    (patience, pruned): (Patience, Option<u64>),
) -> Result<Half, ReconcilerError> {
    let mut half = Half::default();
    let mut after = None;
    let mut carried: Vec<ChainLog> = Vec::new();
    if range.0 > range.1 {
        return Ok(half);
    }
    loop {
        let page = store.page_final_logs(chain, range, after, PAGE).await?;
        after = page.last().map(|log| (log.block_number, log.log_index));
        let full = page.len() as u64 >= PAGE;
        let mut logs = std::mem::take(&mut carried);
        logs.extend(page);
        if full && let Some(last) = logs.last().map(|log| log.block_number) {
            // The rest of the last block is on the next page.
            let cut = logs.partition_point(|log| log.block_number < last);
            if cut > 0 {
                carried = logs.split_off(cut);
            } else {
                carried = std::mem::take(&mut logs);
            }
        }
        look_at(&store, chain, &logs, (&patience, pruned), &mut half).await?;
        if !full {
            return Ok(half);
        }
    }
}

async fn look_at(
    store: &Store,
    chain: ChainId,
    logs: &[ChainLog],
    (patience, pruned): (&Patience, Option<u64>),
    half: &mut Half,
) -> Result<(), ReconcilerError> {
    let (txs, broken) = examine::tx_runs(chain, logs);
    // Up to where payments were pruned, what is left of a transaction says nothing; who still has all of it is the chain.
    let whole = |finding: &Finding| pruned.is_none_or(|height| finding.about.block > Some(height));
    half.findings.extend(broken.into_iter().filter(whole));
    for txs in pieces(&txs) {
        let known = examine::known_of(store, txs).await?;
        half.findings.extend(examine::check_runs(chain, txs, &known));
        let paid = paid_logs(chain, txs, logs);
        for books in known.settlements.values() {
            if !half.seen.insert(books.row) {
                half.twice.push(books.row);
            }
            let none = Vec::new();
            let own = paid.get(&books.id).unwrap_or(&none);
            half.findings
                .extend(super::compare::check_settlement(books, own, patience));
        }
        half.settlements = half.settlements.saturating_add(known.settlements.len() as u64);
        let items = txs.iter().flat_map(|tx| &tx.runs).map(|run| run.items.len() as u64);
        half.payments = half.payments.saturating_add(items.sum());
    }
    Ok(())
}

/// Some ten transactions at a time.
fn pieces(txs: &[TxRuns]) -> impl Iterator<Item = &[TxRuns]> {
    txs.chunks(64)
}

fn paid_logs(chain: ChainId, txs: &[TxRuns], logs: &[ChainLog]) -> HashMap<SettlementId, Vec<PaidLog>> {
    let of: HashMap<_, ()> = txs.iter().map(|tx| (tx.tx, ())).collect();
    let mut paid: HashMap<SettlementId, Vec<PaidLog>> = HashMap::new();
    let wanted = |log: &&ChainLog| log.kind == "settlement_paid" && of.contains_key(&log.tx_hash);
    for log in logs.iter().filter(wanted) {
        let one = PaidLog {
            log: log.id,
            chain,
            event: super::runs::event_of(log),
            block_number: log.block_number,
            block_timestamp: log.block_timestamp,
            tx: log.tx_hash,
            inbox: log.address,
            payer: Address::from_word(log.key2),
            nonce: log.amount & (U256::MAX >> 1usize),
            credited: log.amount.bit(255),
            booked: log.applied_final,
        };
        paid.entry(SettlementId(log.key)).or_default().push(one);
    }
    paid
}

/// Settlements no stored payment was found for.
async fn unpaid(
    store: &Store,
    chain: ChainId,
    seen: &Rows,
    patience: Patience,
    passed: &mut Passed,
    progress: Progress<'_>,
) -> Result<(), StoreError> {
    let mut after = 0;
    loop {
        let rows = store.page_settlement_rows(chain, after, ROWS).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = *last;
        let open: Vec<i64> = rows.into_iter().filter(|row| !seen.contains(*row)).collect();
        for chunk in open.chunks(1_000) {
            let books = store.list_books_of_rows(chain, chunk).await?;
            passed.settlements = passed.settlements.saturating_add(books.len() as u64);
            passed
                .findings
                .extend(examine::check_all(store, chain, &books, &patience).await?);
            progress("settlements", passed.settlements);
        }
    }
}

async fn messages(
    store: &Store,
    chain: ChainId,
    passed: &mut Passed,
    progress: Progress<'_>,
) -> Result<(), ReconcilerError> {
    let mut after = 0;
    while let Some((last, count)) = examine::check_messages(store, chain, after, &mut passed.findings).await? {
        passed.messages = passed.messages.saturating_add(count);
        after = last;
        progress("messages", passed.messages);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_know_what_is_in_both() {
        let (mut one, mut two) = (Rows::default(), Rows::default());
        assert!(one.insert(5) && one.insert(64) && !one.insert(5));
        assert!(two.insert(64) && two.insert(1_000));
        assert_eq!(one.merge(&two), vec![64]);
        for (row, there) in [(5, true), (64, true), (1_000, true), (6, false), (100_000, false)] {
            assert_eq!(one.contains(row), there, "{row}");
        }
    }
}
