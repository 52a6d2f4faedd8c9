//! Chains: RPC policy, pinned views, the observer, signers, nonces, fees, the transaction engine. No alloy nonce or gas fillers.
//!
//! Layout: this page holds the boundary the stages use; one file per concern beside it.

use alloy::primitives::{Address, B256, Bytes, U256};
use async_trait::async_trait;
use relayer_adapter_api::{BlockRef, Call, ChainId, ChainView, ViewError};
use std::sync::Arc;

/// One chain as the stages see it. The product's implementation applies quorum and time-outs over the configured endpoints;
/// the simulation's is a model.
#[async_trait]
pub trait Chain: Send + Sync {
    fn id(&self) -> ChainId;

    /// Newest block all answers agree on.
    async fn head(&self) -> Result<BlockRef, ViewError>;

    /// Newest block that is final by this chain's rule (tag or depth).
    async fn finalized(&self) -> Result<BlockRef, ViewError>;

    /// Everything as of one block.
    fn view(&self, block: BlockRef) -> Arc<dyn ChainView>;

    /// The block of this height on the canonical chain, if it exists.
    async fn block_at(&self, number: u64) -> Result<Option<(BlockRef, B256)>, ViewError>;

    /// Gas a call would use at the head; `Reverted` when it would revert.
    async fn estimate_gas(&self, from: Address, call: &Call) -> Result<u64, ViewError>;

    /// Base fee of the next block and the priority fee that gets in, wei.
    async fn fees(&self) -> Result<Fees, ViewError>;

    /// Hands signed bytes to every endpoint. `Ok` when at least one took them or already had them.
    async fn broadcast(&self, raw: &Bytes) -> Result<B256, ViewError>;

    /// Number of transactions of an account in blocks up to `block`.
    async fn transaction_count(&self, account: Address, block: BlockRef) -> Result<u64, ViewError>;

    async fn balance(&self, account: Address, block: BlockRef) -> Result<U256, ViewError>;

    /// Contract code at the head; empty for an account without.
    async fn code(&self, account: Address) -> Result<Bytes, ViewError>;
}

/// What inclusion costs now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fees {
    pub base_fee: u128,
    pub priority_fee: u128,
}
