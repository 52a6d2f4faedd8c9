//! A chain at one block. Every answer is agreed by the quorum and pinned by hash.

use super::pool::Pool;
use alloy::primitives::{Address, B256, Bytes, U256};
use async_trait::async_trait;
use relayer_adapter_api::{BlockRef, ChainId, ChainView, LogFilter, LogRecord, TxReceipt, ViewError};

/// See [`ChainView`].
#[derive(Debug)]
pub struct PinnedView {
    pool: Pool,
    block: BlockRef,
    /// Blocks asked for in one `eth_getLogs`.
    log_range_max: u64,
}

impl PinnedView {
    pub fn new(pool: Pool, block: BlockRef, log_range_max: u64) -> Self {
        Self {
            pool,
            block,
            log_range_max: log_range_max.max(1),
        }
    }

    async fn logs_ending_at(&self, end: BlockRef, filter: LogFilter) -> Result<Vec<LogRecord>, ViewError> {
        self.pool
            .agree("reading logs", Some(&end), |endpoint| {
                let filter = filter.clone();
                Box::pin(async move { endpoint.logs(&end, &filter).await })
            })
            .await
    }
}

#[async_trait]
impl ChainView for PinnedView {
    fn chain(&self) -> ChainId {
        self.pool.chain
    }

    fn block(&self) -> BlockRef {
        self.block
    }

    async fn call(&self, from: Option<Address>, to: Address, data: Bytes, value: U256) -> Result<Bytes, ViewError> {
        let block = self.block;
        self.pool
            .agree("calling a contract", Some(&block), |endpoint| {
                let data = data.clone();
                Box::pin(async move { endpoint.call(&block, from, to, &data, value).await })
            })
            .await
    }

    async fn logs(&self, filter: &LogFilter) -> Result<Vec<LogRecord>, ViewError> {
        let Some(mut from) = filter.from_block else {
            return self.logs_ending_at(self.block, filter.clone()).await;
        };
        let mut logs = Vec::new();
        while from <= self.block.number {
            let last = from.saturating_add(self.log_range_max - 1).min(self.block.number);
            let end = if last == self.block.number {
                self.block
            } else {
                let header = self
                    .pool
                    .agree("reading a block", None, |endpoint| {
                        Box::pin(async move { endpoint.header(last).await })
                    })
                    .await?;
                let header = header.ok_or_else(|| ViewError::UnknownBlock {
                    chain: self.pool.chain.0,
                    block: last.to_string(),
                })?;
                header.block
            };
            let part = LogFilter {
                from_block: Some(from),
                ..filter.clone()
            };
            logs.extend(self.logs_ending_at(end, part).await?);
            from = last + 1;
        }
        Ok(logs)
    }

    async fn receipt(&self, tx: B256) -> Result<Option<TxReceipt>, ViewError> {
        let block = self.block;
        self.pool
            .agree("reading a receipt", Some(&block), |endpoint| {
                Box::pin(async move { endpoint.receipt(&block, tx).await })
            })
            .await
    }
}
