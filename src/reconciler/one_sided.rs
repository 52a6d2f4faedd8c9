//! Logs that only one side has: pruned here, or lost.

use super::auditor::Auditor;
use super::error::ReconcilerError;
use super::examine::PAGE;
use super::reading::Place;
use crate::settlement::{MessageId, SettlementId};
use crate::store::{ChainLog, NewChainLog};
use alloy::primitives::B256;
use std::collections::HashSet;

fn place(log: &NewChainLog) -> Place {
    (log.block_hash, log.log_index)
}

fn places(stored: &[ChainLog]) -> HashSet<Place> {
    stored.iter().map(|log| (log.block_hash, log.log_index)).collect()
}

/// Whether a log is stored that was not read.
pub(super) fn told_less(read: &[NewChainLog], stored: &[ChainLog]) -> bool {
    let read: HashSet<Place> = read.iter().map(place).collect();
    places(stored).iter().any(|place| !read.contains(place))
}

/// Keyed by settlement; what else is pruned is keyed by message.
fn is_of_settlement(kind: &str) -> bool {
    matches!(kind, "settlement_paid" | "settlement_skipped")
}

impl Auditor {
    /// Final logs of ours that are stored of a stretch.
    pub(super) async fn stored(&self, first: u64, last: u64) -> Result<Vec<ChainLog>, ReconcilerError> {
        let mut stored: Vec<ChainLog> = Vec::new();
        loop {
            let after = stored.last().map(|log| (log.block_number, log.log_index));
            let page = self
                .store
                .page_final_logs(self.id(), (first, last), after, PAGE)
                .await?;
            let full = page.len() as u64 >= PAGE;
            stored.extend(page);
            if !full {
                // Hubs have an observer and counters of their own.
                let ours = self.params.contracts.addresses();
                stored.retain(|log| ours.contains(&log.address));
                return Ok(stored);
            }
        }
    }

    /// What was read, less what retention deleted here: nothing is wrong with that. A log went with what it is about, and from no block above
    /// the last one that was pruned; any other that is missing was lost.
    pub(super) async fn without_pruned(
        &self,
        read: &[NewChainLog],
        stored: &[ChainLog],
    ) -> Result<Vec<NewChainLog>, ReconcilerError> {
        let heights = self.store.list_pruned_heights(self.id()).await?;
        if heights.is_empty() {
            return Ok(read.to_vec());
        }
        let here = places(stored);
        let is_low = |log: &NewChainLog| heights.get(&log.kind).is_some_and(|height| log.block_number <= *height);
        let missing: Vec<&NewChainLog> = read.iter().filter(|log| !here.contains(&place(log))).collect();
        let (of_settlements, of_messages): (Vec<&NewChainLog>, Vec<&NewChainLog>) = missing
            .iter()
            .copied()
            .filter(|log| is_low(log))
            .partition(|log| is_of_settlement(&log.kind));
        let settlements: Vec<SettlementId> = of_settlements.iter().map(|log| SettlementId(log.key)).collect();
        let books = self.store.list_books(&settlements).await?;
        let archived: HashSet<SettlementId> = books.iter().filter(|one| one.archived).map(|one| one.id).collect();
        let messages: Vec<MessageId> = of_messages.iter().map(|log| MessageId(log.key)).collect();
        let kept = self.store.known_messages(&messages).await?;
        let mut pruned: HashSet<Place> = of_settlements
            .iter()
            .filter(|log| archived.contains(&SettlementId(log.key)))
            .map(|log| place(log))
            .collect();
        // An execution of which a payment was lost was lost as a whole.
        let lost: HashSet<B256> = missing
            .iter()
            .filter(|log| log.kind == "settlement_paid" && !pruned.contains(&place(log)))
            .map(|log| log.tx_hash)
            .collect();
        pruned.extend(
            of_messages
                .iter()
                .filter(|log| !kept.contains(&MessageId(log.key)))
                .filter(|log| log.kind != "runs_paid" || !lost.contains(&log.tx_hash))
                .map(|log| place(log)),
        );
        Ok(read
            .iter()
            .filter(|log| !pruned.contains(&place(log)))
            .cloned()
            .collect())
    }

    /// All logs of the transaction of a missing one, since it is booked as a whole; and those of them that were pruned here.
    pub(super) async fn whole_transaction(
        &self,
        log: &NewChainLog,
        lost: &[NewChainLog],
    ) -> Result<(Vec<NewChainLog>, Vec<NewChainLog>), ReconcilerError> {
        let failed = |reason: String| ReconcilerError::Repair {
            subject: format!("transaction {}", log.tx_hash),
            reason,
        };
        let told = self.reader().transaction_of(log).await;
        let told = told.map_err(|error| failed(error.to_string()))?;
        if !told.contains(log) {
            return Err(failed("the endpoints do not tell of it any more".into()));
        }
        let here = places(&self.store.list_final_logs_of_tx(self.id(), log.tx_hash).await?);
        let is_pruned = |one: &&NewChainLog| !here.contains(&place(one)) && !lost.contains(one);
        let pruned = told.iter().filter(is_pruned).cloned().collect();
        Ok((told, pruned))
    }
}
