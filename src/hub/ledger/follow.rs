//! Stage `hub_ledger`: books what has become final at the hubs' contracts, tells watchers, and takes away contents nobody finished.

use super::error::FOREIGN;
use super::{Ledger, LedgerError};
use crate::clock::Clock;
use crate::error::Coded;
use crate::hub::model::Eon;
use crate::stage::{Outcome, Stage};
use crate::store::{Drift, DriftClass, Hub, Store};
use async_trait::async_trait;
use std::sync::Arc;

/// New checkpoints of a hub looked at in one step: it has one per eon.
const CHECKPOINTS: u64 = 10;

/// One loop for all hubs.
#[derive(Debug)]
pub struct Follower {
    ledger: Ledger,
}

impl Follower {
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self {
            ledger: Ledger::new(store, clock),
        }
    }
}

impl Ledger {
    /// Books and tells at most `limit` things of one hub. Returns how many.
    pub async fn follow(&self, hub: &Hub, now_ms: i64, limit: u64) -> Result<u64, LedgerError> {
        for root in self.store.list_abandoned_hub_roots(hub.id, now_ms).await? {
            self.store.delete_hub_root(root).await?;
        }
        if !self.store.is_hub_ledger_behind(hub.id).await? {
            return Ok(0);
        }
        let mut txn = self.store.begin(now_ms).await?;
        let mut head = txn.lock_hub_ledger(hub.id).await?;
        let known = Eon(head.told_eon.saturating_add(1));
        let told = txn.follow_hub(&mut head, limit).await?;
        if told > 0 {
            txn.save_hub_ledger(&head).await?;
            txn.commit().await?;
            self.tell_bounds(hub, known, now_ms).await?;
            self.compare(hub, now_ms).await?;
        }
        Ok(told)
    }

    /// Puts on record that the newest checkpoint of the chain was not built from the ledger kept here, and closes that record.
    pub(super) async fn compare(&self, hub: &Hub, now_ms: i64) -> Result<(), LedgerError> {
        let subject = format!("ledger of hub {}", hub.name);
        let mut txn = self.store.begin(now_ms).await?;
        let Some((eon, root)) = txn.find_foreign_checkpoint(hub.id).await? else {
            let agrees = "the newest checkpoint of the chain was built from it";
            if txn.resolve_drift(DriftClass::Root, hub.chain, &subject, agrees).await? {
                txn.commit().await?;
            }
            return Ok(());
        };
        let drift = Drift {
            class: DriftClass::Root,
            chain: hub.chain,
            subject,
            expected: format!("gave root {root} of eon {eon}"),
            actual: "not built from it".to_owned(),
        };
        if txn.report_drift(&drift).await? {
            tracing::error!(code = FOREIGN.code, hub = hub.name, eon = eon.0, %root, "{}", FOREIGN.title);
        }
        txn.commit().await?;
        Ok(())
    }

    /// The observer compares what a checkpoint promises with what the contract holds; of those built here it is known.
    pub(super) async fn tell_bounds(&self, hub: &Hub, from: Eon, now_ms: i64) -> Result<(), LedgerError> {
        for checkpoint in self.store.list_checkpoints(hub.id, from, CHECKPOINTS).await? {
            let built = self.store.find_hub_root(hub.id, Some(checkpoint.eon.0)).await?;
            let Some(built) = built.filter(|built| built.root == checkpoint.root) else {
                continue;
            };
            let commitments = self.store.list_hub_commitments(built.id).await?;
            let mut txn = self.store.begin(now_ms).await?;
            for commitment in commitments {
                txn.put_hub_bound(checkpoint.id, commitment.token, commitment.upper_bound)
                    .await?;
            }
            txn.commit().await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Stage for Follower {
    fn name(&self) -> String {
        "hub_ledger".to_owned()
    }

    async fn step(&self, now_ms: i64, limit: usize) -> Result<Outcome, Box<dyn Coded>> {
        let hubs = self.ledger.store.list_hubs().await.map_err(LedgerError::from)?;
        let mut outcome = Outcome::default();
        for hub in hubs {
            let told = self.ledger.follow(&hub, now_ms, limit as u64).await?;
            outcome.processed = outcome.processed.saturating_add(usize::try_from(told).unwrap_or(limit));
            outcome.more |= told >= limit as u64;
        }
        Ok(outcome)
    }
}
