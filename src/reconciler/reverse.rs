//! Logs that were final and are no more: what they caused is taken back by new entries, and somebody is told.

use super::error::ReconcilerError;
use super::runs::event_of;
use super::service::Reconciler;
use crate::settlement::SettlementId;
use crate::settlement::states::SettlementState;
use crate::store::{ChainLog, Drift, DriftClass, Txn};
use alloy::primitives::{Address, U256};

impl Reconciler {
    pub(super) async fn reverse_orphaned(&self, now_ms: i64, limit: usize) -> Result<usize, ReconcilerError> {
        let chain = self.params.chain_id;
        let orphaned = self.store.list_orphaned_applied(chain, limit as u64).await?;
        for log in &orphaned {
            let mut txn = self.store.begin(now_ms).await?;
            txn.expect_orphaned_applied(log).await?;
            self.reverse_log(&mut txn, log).await?;
            txn.unmark_applied_final(&[log.id]).await?;
            let found = Drift {
                class: DriftClass::Stale,
                chain,
                subject: format!("finality of block {}", log.block_number),
                expected: log.block_hash.to_string(),
                actual: "not on the chain any more".into(),
            };
            if txn.report_drift(&found).await? {
                tracing::error!(%chain, block = log.block_number, hash = %log.block_hash, "finality broke: a final block left the chain");
            }
            txn.commit().await?;
        }
        Ok(orphaned.len())
    }

    async fn reverse_log(&self, txn: &mut Txn, log: &ChainLog) -> Result<(), ReconcilerError> {
        let event = event_of(log);
        match log.kind.as_str() {
            "settlement_paid" => {
                let id = SettlementId(log.key);
                if txn.lock_settlement(id).await?.is_some() {
                    txn.settlement_unpay(id, event).await?;
                } else {
                    let nonce = log.amount & (U256::MAX >> 1usize);
                    self.doubt(
                        txn,
                        log,
                        Address::from_word(log.key2),
                        nonce,
                        SettlementState::Superseded,
                    )
                    .await?;
                }
            }
            "nonce_burned" => {
                let nonce = U256::from_be_bytes(log.key2.0);
                self.doubt(txn, log, Address::from_word(log.key), nonce, SettlementState::Burned)
                    .await?;
            }
            _ => {}
        }
        for posting in txn.standing_postings(event).await? {
            txn.reverse(&posting, &format!("orphaned log {}", log.reference()))
                .await?;
        }
        Ok(())
    }

    /// A settlement had ended unpaid on this log. Its reservation is gone and its receipts may be held by a successor, so it is not simply
    /// opened again: an operator decides.
    async fn doubt(
        &self,
        txn: &mut Txn,
        log: &ChainLog,
        payer: Address,
        nonce: U256,
        ended_as: SettlementState,
    ) -> Result<(), ReconcilerError> {
        let row = self.lock_by_nonce(txn, payer, nonce).await?;
        let cancelled = |state| state == SettlementState::Cancelled;
        if let Some(row) = row.filter(|row| row.state == ended_as || cancelled(row.state)) {
            txn.settlement_dispute(row.id, &format!("orphaned log {}", log.reference()))
                .await?;
        }
        Ok(())
    }
}
