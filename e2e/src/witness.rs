//! When blocks appeared and when transactions reached the nodes, seen from outside the relayer and by one clock. Timestamps of blocks are whole
//! seconds and, on a devnet that once mined a block per transaction, ahead of that clock.

use crate::devnet::Chain;
use alloy::primitives::{B256, U256};
use alloy::providers::{DynProvider, Provider};
use anyhow::Result;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Between two looks: how exact the times are.
const TICK: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct Seen {
    /// By chain and number.
    blocks: BTreeMap<(u64, u64), Instant>,
    /// First time in a node's pool.
    pooled: BTreeMap<B256, Instant>,
}

/// Looks at both chains until it is dropped.
#[derive(Debug)]
pub struct Witness {
    seen: Arc<Mutex<Seen>>,
    _stop: DropGuard,
}

fn locked(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Witness {
    pub fn watch(chains: [&Chain; 2]) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stop = CancellationToken::new();
        for chain in chains {
            let (id, provider) = (chain.anvil.chain, chain.anvil.provider.clone());
            tokio::spawn(heads(id, provider.clone(), Arc::clone(&seen), stop.clone()));
            tokio::spawn(pool(provider, Arc::clone(&seen), stop.clone()));
        }
        Self {
            seen,
            _stop: stop.drop_guard(),
        }
    }

    /// When a block appeared; None before the watch began.
    pub fn block(&self, chain: u64, number: u64) -> Option<Instant> {
        locked(&self.seen).blocks.get(&(chain, number)).copied()
    }

    /// When a node had a transaction.
    pub fn pooled(&self, transaction: B256) -> Option<Instant> {
        locked(&self.seen).pooled.get(&transaction).copied()
    }
}

async fn heads(chain: u64, provider: DynProvider, seen: Arc<Mutex<Seen>>, stop: CancellationToken) {
    let mut last = None;
    while !stop.is_cancelled() {
        if let Ok(head) = provider.get_block_number().await
            && last != Some(head)
        {
            let now = Instant::now();
            // The first head was there before anybody looked.
            for number in last.map_or(head + 1, |last| last + 1)..=head {
                locked(&seen).blocks.entry((chain, number)).or_insert(now);
            }
            last = Some(head);
        }
        tokio::select! { () = stop.cancelled() => return, () = sleep(TICK) => {} }
    }
}

async fn pool(provider: DynProvider, seen: Arc<Mutex<Seen>>, stop: CancellationToken) {
    let mut filter = None;
    while !stop.is_cancelled() {
        filter = match filter {
            None => new_filter(&provider).await.ok(),
            // A node that forgot the filter is given another one.
            Some(id) => note_pooled(&provider, id, &seen).await.ok().map(|()| id),
        };
        tokio::select! { () = stop.cancelled() => return, () = sleep(TICK) => {} }
    }
}

async fn new_filter(provider: &DynProvider) -> Result<U256> {
    Ok(provider
        .raw_request("eth_newPendingTransactionFilter".into(), ())
        .await?)
}

async fn note_pooled(provider: &DynProvider, filter: U256, seen: &Mutex<Seen>) -> Result<()> {
    let hashes: Vec<B256> = provider.raw_request("eth_getFilterChanges".into(), (filter,)).await?;
    let now = Instant::now();
    let mut seen = locked(seen);
    for hash in hashes {
        seen.pooled.entry(hash).or_insert(now);
    }
    Ok(())
}
