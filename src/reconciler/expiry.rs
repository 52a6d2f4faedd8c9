//! Proof of expiry: at a finalized block whose timestamp is past the deadline, the nonce is unused. No later block can pay it then.

use super::error::ReconcilerError;
use super::service::Reconciler;
use crate::settlement::states::SettlementEvent;
use crate::store::{Ending, Evidence, Settlement};
use alloy::primitives::{Address, U256};
use alloy::sol_types::SolCall;
use relayer_adapter_api::abi::ISettlementVault::nonceBitmapCall;
use relayer_adapter_api::{BlockRef, ChainView};
use std::collections::BTreeMap;

impl Reconciler {
    pub(super) async fn expire(&self, now_ms: i64, limit: usize) -> Result<usize, ReconcilerError> {
        let cursor = self.store.get_cursor(self.params.chain_id).await?;
        let (Some(cursor), Some(target)) = (cursor, self.params.target) else {
            return Ok(0);
        };
        let block = cursor.finalized;
        let past = self.past_deadline(block, limit).await?;
        if past.is_empty() {
            return Ok(0);
        }
        let view = self.chain.view(block);
        let mut words: BTreeMap<(Address, U256), U256> = BTreeMap::new();
        let mut unused = Vec::new();
        for row in past.iter().filter(|row| self.is_here(row)) {
            let key = (row.terms.payer, row.terms.nonce_word());
            let bitmap = match words.get(&key) {
                Some(bitmap) => *bitmap,
                None => {
                    let bitmap = self.bitmap(view.as_ref(), target.vault, key.0, key.1).await?;
                    words.insert(key, bitmap);
                    bitmap
                }
            };
            // A used nonce was paid or burned: its own log ends the settlement.
            if !bitmap.bit(usize::from(row.terms.nonce_byte())) {
                unused.push(row.id);
            }
        }
        let ending = Ending {
            event: SettlementEvent::Expire,
            evidence: Evidence {
                block_number: block.number,
                block_hash: block.hash,
                tx: None,
            },
            log: None,
        };
        if unused.is_empty() {
            return Ok(0);
        }
        let mut txn = self.store.begin(now_ms).await?;
        let expired = txn.settlements_end_unpaid(&unused, &ending).await?;
        txn.commit().await?;
        Ok(expired)
    }

    /// A page of candidates. The place is remembered, so that those whose nonce is used do not hide the others.
    async fn past_deadline(&self, block: BlockRef, limit: usize) -> Result<Vec<Settlement>, ReconcilerError> {
        let after = self.take_expiry_row();
        let chain = self.params.chain_id;
        let page = self
            .store
            .list_past_deadline(chain, block.timestamp, after, limit as u64)
            .await?;
        if page.len() >= limit {
            self.set_expiry_row(page.last().map_or(0, |row| row.row));
        }
        Ok(page)
    }

    async fn bitmap(
        &self,
        view: &dyn ChainView,
        vault: Address,
        payer: Address,
        word: U256,
    ) -> Result<U256, ReconcilerError> {
        let attempted = "reading a nonce bitmap";
        let call = nonceBitmapCall { payer, word };
        let answer = self.call(view, vault, &call, attempted).await?;
        nonceBitmapCall::abi_decode_returns(&answer).map_err(|error| self.undecodable(attempted, &error))
    }
}
