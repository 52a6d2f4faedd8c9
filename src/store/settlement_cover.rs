//! Which settlements of a batch leave each other what they need, and which of them their payers' balances cover. Pure.

use super::account::LockedAccounts;
use super::settlement_accept::{Accept, NewSettlement};
use super::settlement_recall::Recalled;
use crate::ledger::AccountKey;
use crate::settlement::{ChainId, SettlementId};
use alloy::primitives::{Address, B256, U256};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// What the settlements of a batch take from each other: only the first of those that want the same is inserted.
#[derive(Debug, Default)]
pub(super) struct Batch<'a> {
    ids: HashSet<SettlementId>,
    nonces: HashSet<(ChainId, Address, Address, U256)>,
    receipts: HashSet<(&'a str, B256)>,
    jobs: HashSet<(&'a str, &'a str)>,
}

impl<'a> Batch<'a> {
    /// Whether an earlier one of the batch leaves this one everything it needs; then it takes it.
    pub fn admits(&mut self, new: &'a NewSettlement) -> bool {
        let coordinator = new.coordinator_id.as_str();
        let nonce = (new.target, new.inbox, new.terms.payer, new.terms.nonce);
        let taken = self.ids.contains(&new.id)
            || self.nonces.contains(&nonce)
            || new.receipts.iter().any(|receipt| {
                self.receipts.contains(&(coordinator, receipt.hash))
                    || self.jobs.contains(&(coordinator, receipt.job_id.as_str()))
            });
        if taken {
            return false;
        }
        self.ids.insert(new.id);
        self.nonces.insert(nonce);
        for receipt in &new.receipts {
            self.receipts.insert((coordinator, receipt.hash));
            self.jobs.insert((coordinator, &receipt.job_id));
        }
        true
    }
}

/// Decides in order which of the inserted ones the payers' balances cover, and answers the others.
pub(super) fn cover(
    news: &[NewSettlement],
    holding: &[usize],
    accounts: &LockedAccounts,
    recalled: &Recalled,
) -> (BTreeSet<usize>, Vec<(usize, Accept)>) {
    let mut left: BTreeMap<AccountKey, U256> = BTreeMap::new();
    let mut accepted = BTreeSet::new();
    let mut short = Vec::new();
    for index in holding.iter().copied() {
        let new = &news[index];
        if recalled.is_paid(new.id) {
            accepted.insert(index);
            continue;
        }
        let key = new.available();
        let balance = left
            .entry(key)
            .or_insert_with(|| accounts.get(&key).map_or(U256::ZERO, |locked| locked.balance.amount()));
        let needed = new.terms.debit();
        // What its message may pay already is not stopped by a withdrawal that was announced after it left.
        let leaving = if recalled.is_carried(new.id) {
            U256::ZERO
        } else {
            new.leaving
        };
        let available = balance.saturating_sub(leaving);
        if available < needed {
            short.push((index, Accept::Insufficient { available, needed }));
        } else {
            *balance = balance.saturating_sub(needed);
            accepted.insert(index);
        }
    }
    (accepted, short)
}
