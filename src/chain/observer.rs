//! Follows the logs of our contracts on one chain into the store. The only reader of logs for everything but rescue.
//!
//! Blocks up to the final one are read in ranges; above it block by block, by hash. Blocks, logs and cursor move in one transaction.
//! That no log was missed is proven elsewhere, by the contracts' counters.

use super::decode::{self, Contracts};
use super::error::Attempted;
use super::hub_logs::{HubContract, HubLogs};
use super::{Chain, ChainError};
use crate::error::Coded;
use crate::stage::{Outcome, Stage};
use crate::store::{Cursor, Hub, HubId, NewChainLog, NewEvent, Store, StoredBlock};
use alloy::primitives::B256;
use async_trait::async_trait;
use relayer_adapter_api::{BlockRef, ChainId, LogFilter, LogRecord, ViewError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bounds of an observer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObserverParams {
    /// Block our contracts were deployed in, or an earlier one.
    pub start_block: u64,
    /// Final blocks read in one step while catching up.
    pub range_max: u64,
    /// Blocks whose hashes are kept below the final one, for reorgs that break finality.
    pub keep_blocks: u64,
}

impl Default for ObserverParams {
    fn default() -> Self {
        Self {
            start_block: 0,
            range_max: 2_000,
            keep_blocks: 1_024,
        }
    }
}

/// See the module.
pub struct Observer {
    pub(super) chain: Arc<dyn Chain>,
    pub(super) store: Store,
    contracts: Contracts,
    pub(super) hubs: Vec<HubContract>,
    pub(super) params: ObserverParams,
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer")
            .field("chain", &self.chain.id())
            .finish_non_exhaustive()
    }
}

/// What one step read, to be stored at once.
#[derive(Default)]
struct Batch {
    blocks: Vec<StoredBlock>,
    logs: Vec<NewChainLog>,
    hub_logs: HubLogs,
    /// Hubs that were read along.
    hubs: Vec<HubId>,
}

/// Where the walk goes next.
enum Walk {
    Read(Batch),
    /// The chain no longer continues from what is stored.
    Reorg,
}

impl Observer {
    pub fn new(chain: Arc<dyn Chain>, store: Store, contracts: Contracts, params: ObserverParams) -> Self {
        Self {
            chain,
            store,
            contracts,
            hubs: Vec::new(),
            params,
        }
    }

    /// Follows these hubs' contracts as well.
    pub fn with_hubs(mut self, hubs: Vec<HubContract>) -> Self {
        self.hubs = hubs;
        self
    }

    fn id(&self) -> ChainId {
        self.chain.id()
    }

    /// None when there is nothing to look for.
    fn filter(&self, hubs: &[Hub], from_block: Option<u64>) -> Option<LogFilter> {
        let mut addresses = self.contracts.addresses();
        addresses.extend(hubs.iter().map(|hub| hub.contract));
        (!addresses.is_empty()).then_some(LogFilter {
            addresses,
            topics0: Vec::new(),
            from_block,
        })
    }

    async fn read_block(&self, number: u64) -> Result<Option<StoredBlock>, ChainError> {
        let found = self.chain.block_at(number).await.attempted("reading a block")?;
        Ok(found.map(|(block, parent_hash)| StoredBlock { block, parent_hash }))
    }

    pub(super) async fn must_read_block(&self, number: u64) -> Result<StoredBlock, ChainError> {
        let missing = ViewError::UnknownBlock {
            chain: self.id().0,
            block: number.to_string(),
        };
        self.read_block(number).await?.ok_or(ChainError::View {
            attempted: "reading a block",
            source: missing,
        })
    }

    fn take(&self, batch: &mut Batch, hubs: &[Hub], log: &LogRecord, timestamp: u64) -> Result<(), ChainError> {
        if let Some(hub) = hubs.iter().find(|hub| hub.contract == log.address) {
            batch.hub_logs.take(hub, log, timestamp);
            return Ok(());
        }
        let row = decode::row(&self.contracts, self.id(), log, timestamp)?;
        batch.logs.extend(row);
        Ok(())
    }

    /// Final blocks `from ..= to` in one range. Blocks with logs get their hashes stored, and both ends: should finality break, there
    /// is something to go back to.
    async fn read_range(&self, hubs: &[Hub], from: u64, to: u64) -> Result<Batch, ChainError> {
        let end = self.must_read_block(to).await?;
        let mut batch = Batch::default();
        let mut blocks = BTreeMap::from([(from, self.must_read_block(from).await?), (to, end)]);
        if let Some(filter) = self.filter(hubs, Some(from)) {
            let view = self.chain.view(end.block);
            for log in view.logs(&filter).await.attempted("reading logs")? {
                let block = match blocks.get(&log.block_number) {
                    Some(block) => *block,
                    None => {
                        let block = self.must_read_block(log.block_number).await?;
                        blocks.insert(log.block_number, block);
                        block
                    }
                };
                if block.block.hash != log.block_hash {
                    return Err(ChainError::View {
                        attempted: "reading logs",
                        source: ViewError::UnknownBlock {
                            chain: self.id().0,
                            block: format!("{} ({})", log.block_number, log.block_hash),
                        },
                    });
                }
                self.take(&mut batch, hubs, &log, block.block.timestamp)?;
            }
        }
        batch.blocks.extend(blocks.into_values());
        Ok(batch)
    }

    /// Blocks after `seen` up to the head, at most `limit`, each by hash and linked to its parent.
    async fn read_near_head(
        &self,
        hubs: &[Hub],
        seen: Option<BlockRef>,
        (from, head): (u64, u64),
        limit: usize,
    ) -> Result<Walk, ChainError> {
        let mut batch = Batch::default();
        let mut parent: Option<B256> = seen.map(|block| block.hash);
        for number in from..=head {
            if batch.blocks.len() >= limit {
                break;
            }
            let Some(block) = self.read_block(number).await? else {
                break;
            };
            if parent.is_some_and(|hash| hash != block.parent_hash) {
                // With part of the walk in hand, the next step finds out which part is stale.
                return Ok(if batch.blocks.is_empty() {
                    Walk::Reorg
                } else {
                    Walk::Read(batch)
                });
            }
            if let Some(filter) = self.filter(hubs, None) {
                let view = self.chain.view(block.block);
                for log in view.logs(&filter).await.attempted("reading logs")? {
                    self.take(&mut batch, hubs, &log, block.block.timestamp)?;
                }
            }
            parent = Some(block.block.hash);
            batch.blocks.push(block);
        }
        Ok(Walk::Read(batch))
    }

    /// True when the block the cursor stands on is not on the chain any more.
    async fn left_behind(&self, cursor: &Cursor, head: &BlockRef) -> Result<bool, ChainError> {
        if head.number > cursor.seen.number {
            // The walk checks the parent of the next block; no extra call.
            return Ok(false);
        }
        if head.number == cursor.seen.number {
            return Ok(head.hash != cursor.seen.hash);
        }
        let block = self.read_block(cursor.seen.number).await?;
        Ok(block.is_none_or(|block| block.block.hash != cursor.seen.hash))
    }

    /// Goes back to the newest stored block that is still on the chain, and orphans what was above it.
    async fn rewind(&self, now_ms: i64, cursor: &Cursor) -> Result<Outcome, ChainError> {
        let chain = self.id();
        let mut below = cursor.seen.number;
        let common = loop {
            let Some(stored) = self.store.find_block_at_or_below(chain, below).await? else {
                return Err(ChainError::NoCommonBlock { chain, lowest: below });
            };
            let number = stored.block.number;
            let actual = self.read_block(number).await?;
            if actual.is_some_and(|actual| actual.block.hash == stored.block.hash) {
                break stored.block;
            }
            let Some(next) = number.checked_sub(1) else {
                return Err(ChainError::NoCommonBlock { chain, lowest: 0 });
            };
            below = next;
        };
        if common == cursor.seen {
            // A false alarm, of endpoints that are not of one mind yet.
            return Ok(Outcome::default());
        }
        let broken = common.number < cursor.finalized.number;
        let new = Cursor {
            seen: common,
            finalized: if broken { common } else { cursor.finalized },
        };
        let mut txn = self.store.begin(now_ms).await?;
        // First: another observer of this chain waits here, then finds the cursor moved and has written nothing.
        txn.move_cursor(chain, Some(cursor), &new).await?;
        let orphaned = txn.orphan_logs_above(chain, common.number).await?;
        txn.orphan_hub_logs_above(chain, common.number).await?;
        txn.drop_blocks_above(chain, common.number).await?;
        let detail = serde_json::json!({
            "from": cursor.seen.number, "to": common.number, "orphaned_logs": orphaned, "finality_broken": broken,
        });
        txn.record(NewEvent {
            aggregate: "chain",
            aggregate_id: chain.to_string(),
            event: if broken { "finality_broken" } else { "reorg" }.into(),
            cause: "observer".into(),
            detail: Some(detail.to_string()),
            ..Default::default()
        });
        txn.commit().await?;
        if broken {
            tracing::error!(
                chain = chain.0,
                common = common.number,
                orphaned,
                "a final block left the chain"
            );
        } else {
            tracing::info!(chain = chain.0, common = common.number, orphaned, "reorg");
        }
        Ok(Outcome {
            processed: usize::try_from(orphaned).unwrap_or(usize::MAX).max(1),
            more: true,
        })
    }

    /// The newest final block at or below what is seen. `None` when the chain disagrees with what is stored.
    async fn final_below(
        &self,
        seen: &[StoredBlock],
        last: BlockRef,
        finalized: BlockRef,
    ) -> Result<Option<BlockRef>, ChainError> {
        if finalized.number >= last.number {
            return Ok(Some(last));
        }
        let fresh = seen
            .iter()
            .find(|stored| stored.block.number == finalized.number)
            .copied();
        let stored = match fresh {
            Some(stored) => Some(stored),
            None => self.store.find_block(self.id(), finalized.number).await?,
        };
        match stored {
            Some(stored) if stored.block.hash == finalized.hash => Ok(Some(finalized)),
            Some(_) => Ok(None),
            // Below the first stored block, or in a range of which only some hashes are kept: final already.
            None => Ok(Some(finalized)),
        }
    }

    async fn advance(
        &self,
        now_ms: i64,
        cursor: Option<&Cursor>,
        batch: Batch,
        head: BlockRef,
        finalized: BlockRef,
    ) -> Result<Outcome, ChainError> {
        let chain = self.id();
        let last = batch
            .blocks
            .last()
            .map(|stored| stored.block)
            .or(cursor.map(|cursor| cursor.seen));
        let Some(last) = last else {
            return Ok(Outcome::default());
        };
        if batch.blocks.is_empty() && head.hash != last.hash {
            // Nothing read, and nothing that shows the cursor's block to be on the chain still.
            return Ok(Outcome::default());
        }
        let Some(mut new_final) = self.final_below(&batch.blocks, last, finalized).await? else {
            return match cursor {
                Some(cursor) => self.rewind(now_ms, cursor).await,
                None => Ok(Outcome::default()),
            };
        };
        if let Some(cursor) = cursor
            && new_final.number < cursor.finalized.number
        {
            // Finality never goes back by being asked another endpoint; a reorg below it is the business of `rewind`.
            new_final = cursor.finalized;
        }
        let new = Cursor {
            seen: last,
            finalized: new_final,
        };
        if cursor == Some(&new) {
            return Ok(Outcome::default());
        }
        let mut txn = self.store.begin(now_ms).await?;
        txn.move_cursor(chain, cursor, &new).await?;
        txn.put_logs(&batch.logs).await?;
        txn.put_blocks(chain, &batch.blocks).await?;
        let before = cursor.map(|cursor| cursor.finalized.number);
        txn.finalize_logs(chain, before, new.finalized.number).await?;
        if let Some(cursor) = cursor
            && !batch.hubs.is_empty()
        {
            batch.hub_logs.put(&mut txn, chain).await?;
            txn.advance_hubs(&batch.hubs, cursor.seen.number, new.seen.number)
                .await?;
            txn.finalize_hub_logs(chain, new.finalized.number).await?;
        }
        // Now and then; in every step it would be a write for nothing.
        if cursor.is_some_and(|cursor| cursor.finalized.number / 64 != new.finalized.number / 64) {
            let lowest = new.finalized.number.saturating_sub(self.params.keep_blocks);
            txn.prune_blocks_below(chain, lowest).await?;
        }
        txn.commit().await?;
        Ok(Outcome {
            processed: batch.blocks.len().max(1),
            more: last.number < head.number,
        })
    }

    /// One step; the same as [`Stage::step`] with the error as it is.
    pub async fn read_on(&self, now_ms: i64, limit: usize) -> Result<Outcome, ChainError> {
        let head = self.chain.head().await.attempted("reading the head")?;
        let finalized = self.chain.finalized().await.attempted("reading the final block")?;
        let cursor = self.store.get_cursor(self.id()).await?;
        if let Some(cursor) = &cursor
            && self.left_behind(cursor, &head).await?
        {
            return self.rewind(now_ms, cursor).await;
        }
        let (hubs, more_of_hubs) = match &cursor {
            Some(cursor) if !self.hubs.is_empty() => self.level_hubs(now_ms, cursor).await?,
            // Before the first step there is nothing they could be level with.
            _ => (Vec::new(), false),
        };
        let next = cursor
            .as_ref()
            .map_or(self.params.start_block, |cursor| cursor.seen.number + 1);
        // A range must start on the chain that is stored: only when the cursor itself is final, or at the very start.
        let cursor_is_final = cursor.as_ref().is_none_or(|cursor| cursor.seen == cursor.finalized);
        let walk = if next <= finalized.number && cursor_is_final && finalized.number - next >= 1 {
            let to = finalized
                .number
                .min(next.saturating_add(self.params.range_max.max(1) - 1));
            Walk::Read(self.read_range(&hubs, next, to).await?)
        } else if next <= head.number {
            let seen = cursor.as_ref().map(|cursor| cursor.seen);
            self.read_near_head(&hubs, seen, (next, head.number), limit.max(1))
                .await?
        } else {
            Walk::Read(Batch::default())
        };
        match (walk, &cursor) {
            (Walk::Reorg, Some(cursor)) => self.rewind(now_ms, cursor).await,
            (Walk::Reorg, None) => Ok(Outcome::default()),
            (Walk::Read(mut batch), cursor) => {
                batch.hubs = hubs.iter().map(|hub| hub.id).collect();
                let mut outcome = self.advance(now_ms, cursor.as_ref(), batch, head, finalized).await?;
                outcome.more |= more_of_hubs;
                Ok(outcome)
            }
        }
    }
}

#[async_trait]
impl Stage for Observer {
    fn name(&self) -> String {
        format!("observer:{}", self.id())
    }

    async fn step(&self, now_ms: i64, limit: usize) -> Result<Outcome, Box<dyn Coded>> {
        Ok(self.read_on(now_ms, limit).await?)
    }
}
