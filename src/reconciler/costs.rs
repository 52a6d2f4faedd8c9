//! What our transactions cost, booked when they are final.

use super::error::ReconcilerError;
use super::service::Reconciler;
use crate::ledger::postings;
use crate::store::{Inclusion, IntentKind, TxRow};
use alloy::primitives::{Address, B256, U256};
use relayer_adapter_api::BlockRef;
use std::collections::BTreeMap;

impl Reconciler {
    pub(super) async fn book_costs(&self, now_ms: i64, limit: usize) -> Result<usize, ReconcilerError> {
        let txs = self
            .store
            .list_finalized_unposted_txs(self.params.chain_id, limit as u64)
            .await?;
        // Several of one signer in one block: what each of them cost cannot be told from balances, so nobody is asked.
        let mut in_block: BTreeMap<(Address, u64), usize> = BTreeMap::new();
        for (tx, included) in txs.iter().filter_map(|tx| Some((tx, tx.included?))) {
            *in_block.entry((tx.signer, included.block_number)).or_default() += 1;
        }
        let mut booked = 0usize;
        for tx in &txs {
            let Some(included) = tx.included else {
                // Final without a block is impossible; the engine writes both at once.
                tracing::error!(tx = %tx.id, "a finalized transaction has no block");
                continue;
            };
            let gas = gas_cost(tx);
            let sends = tx.intent.kind == IntentKind::Dispatch && tx.succeeded == Some(true);
            let others = in_block
                .get(&(tx.signer, included.block_number))
                .is_some_and(|n| *n > 1);
            let bridge = match (sends, others) {
                (false, _) => U256::ZERO,
                (true, true) => tx.value,
                (true, false) => self.bridge_fee(tx, included, gas).await?,
            };
            let entries: Vec<_> = [
                postings::gas_fee(tx.chain, gas, included.hash),
                postings::bridge_fee(tx.chain, bridge, included.hash),
            ]
            .into_iter()
            .flatten()
            .collect();
            let mut txn = self.store.begin(now_ms).await?;
            txn.post(&entries).await?;
            txn.mark_tx_posted(tx.id).await?;
            txn.commit().await?;
            booked = booked.saturating_add(1);
        }
        Ok(booked)
    }

    /// What the bridge kept of the value sent along: the signer's balance before, less gas, less its balance after. Where that cannot
    /// be told (the node has forgotten the block, or the signer did other things in it), the whole value, which is its upper bound.
    async fn bridge_fee(&self, tx: &TxRow, included: Inclusion, gas: U256) -> Result<U256, ReconcilerError> {
        let stored = self.store.find_block(tx.chain, included.block_number).await?;
        let parent = stored.filter(|stored| stored.block.hash == included.block_hash);
        let Some(parent) = parent.map(|stored| stored.parent_hash) else {
            return Ok(tx.value);
        };
        let at = |number: u64, hash: B256| BlockRef {
            number,
            hash,
            timestamp: 0,
        };
        let before = at(included.block_number.saturating_sub(1), parent);
        let after = at(included.block_number, included.block_hash);
        let before_count = self.chain.transaction_count(tx.signer, before).await;
        let after_count = self.chain.transaction_count(tx.signer, after).await;
        let alone = matches!((before_count, after_count), (Ok(one), Ok(two)) if two == one.saturating_add(1));
        if !alone {
            return Ok(tx.value);
        }
        let balances = (
            self.chain.balance(tx.signer, before).await,
            self.chain.balance(tx.signer, after).await,
        );
        match balances {
            (Ok(before), Ok(after)) => Ok(spent(before, after, gas, tx.value)),
            _ => Ok(tx.value),
        }
    }
}

fn gas_cost(tx: &TxRow) -> U256 {
    let gas = U256::from(tx.gas_used.unwrap_or_default());
    gas.saturating_mul(U256::from(tx.gas_price.unwrap_or_default()))
}

/// Money that came in during the block would make the fee look small or negative; more than the value was never sent.
pub(super) fn spent(before: U256, after: U256, gas: U256, value: U256) -> U256 {
    let fee = before.checked_sub(gas).and_then(|left| left.checked_sub(after));
    fee.filter(|fee| *fee <= value).unwrap_or(value)
}
