//! How adapters read a chain: always at one block, pinned by hash by whoever hands the view out.

use crate::error::ViewError;
use crate::ids::ChainId;
use alloy::primitives::{Address, B256, Bytes, U256};
use async_trait::async_trait;

/// A block, named by hash so that a reorg cannot change what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRef {
    pub number: u64,
    pub hash: B256,
    /// Unix seconds.
    pub timestamp: u64,
}

/// A log with its place on the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    pub address: Address,
    pub topics: Vec<B256>,
    pub data: Bytes,
    pub block_number: u64,
    pub block_hash: B256,
    pub tx_hash: B256,
    /// Index in the block.
    pub log_index: u64,
}

/// Logs to look for in one block or a range up to the pinned block.
#[derive(Debug, Clone, Default)]
pub struct LogFilter {
    pub addresses: Vec<Address>,
    pub topics0: Vec<B256>,
    /// First block; `None` = the pinned block only.
    pub from_block: Option<u64>,
}

/// A transaction that is in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxReceipt {
    pub tx_hash: B256,
    pub block_number: u64,
    pub block_hash: B256,
    pub succeeded: bool,
    pub gas_used: u64,
    pub effective_gas_price: u128,
    pub logs: Vec<LogRecord>,
}

/// One chain at one block.
#[async_trait]
pub trait ChainView: Send + Sync {
    fn chain(&self) -> ChainId;

    /// The pinned block; every answer is as of it.
    fn block(&self) -> BlockRef;

    /// `eth_call` at the pinned block. `from` defaults to the zero address.
    async fn call(&self, from: Option<Address>, to: Address, data: Bytes, value: U256) -> Result<Bytes, ViewError>;

    async fn logs(&self, filter: &LogFilter) -> Result<Vec<LogRecord>, ViewError>;

    /// The receipt of a transaction, if it is in the pinned block or an ancestor of it.
    async fn receipt(&self, tx: B256) -> Result<Option<TxReceipt>, ViewError>;
}
