//! Chains: RPC policy, pinned views, the observer, signers, nonces, fees, the transaction engine. No alloy nonce or gas fillers.
//!
//! Layout: this page holds the boundary the stages use; one file per concern beside it. Reading: [`rpc`] applies the policy of
//! [`pool`] (quorum), [`endpoint`] (time-outs, [`breaker`], budget) and [`node_text`] (what nodes answer) to every call,
//! [`view`] pins, [`observer`] follows logs ([`decode`], `decode_registry`, and of hubs `observer_hubs`, [`hub_logs`]), [`calldata`] reads what the
//! outbox was told, [`exit_delay`] asks vaults what never changes. Writing: [`sender`] plans and stores, [`engine`] sends and watches;
//! [`signer`], [`nonce`], [`fee`] and [`retry`] decide.

pub mod breaker;
pub mod calldata;
pub mod counters;
pub mod decode;
mod decode_registry;
pub mod endpoint;
pub mod engine;
mod error;
pub mod exit_delay;
pub mod fee;
pub mod gate;
pub mod hub_logs;
pub mod model;
pub mod node_text;
pub mod nonce;
pub mod observer;
mod observer_hubs;
pub mod pool;
pub mod retry;
pub mod rpc;
pub mod sender;
pub mod signer;
#[cfg(test)]
mod tests;
pub mod view;

pub use decode::Contracts;
pub(crate) use decode_registry::eon_word;
pub use engine::TxEngine;
pub use error::{CODES, ChainError, Rehearsed};
pub use exit_delay::{ExitDelay, ExitDelayReader};
pub use fee::FeePolicy;
pub use gate::{Ahead, Gate};
pub use hub_logs::HubContract;
pub use observer::{Observer, ObserverParams};
pub use rpc::{Finality, FinalityTag, RpcChain, RpcConfig};
pub use sender::{PlannedTx, Sender, SenderParams};
pub use signer::SignerPool;

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

/// Bodies of transactions, for what logs do not say. Apart from [`Chain`], because nothing but rebuilding and repair asks for them.
#[async_trait]
pub trait TransactionSource: Send + Sync {
    /// Each distinct input that endpoints say this transaction has; empty when none knows it. No quorum: the caller must be able to tell
    /// a true one by itself.
    async fn transaction_inputs(&self, tx: B256) -> Result<Vec<Bytes>, ViewError>;
}

/// What became of signed bytes at the endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submission {
    /// At least one endpoint has it in its pool.
    Accepted,
    /// The account's count is past this nonce: this hash or another one is in a block.
    NonceTooLow,
    /// The pool holds another hash of this nonce, or its floor is higher: pay more.
    Underpriced,
    /// The account cannot cover value plus gas.
    FundsShort,
    /// Refused for another reason, in the node's words.
    Refused(String),
}

/// What the transaction engine needs of a chain beyond [`Chain`].
#[async_trait]
pub trait TxChain: Chain {
    /// Hands signed bytes to every endpoint and says what they made of it. An error means that nobody answered.
    async fn submit(&self, raw: &Bytes) -> Result<Submission, ViewError>;

    /// The hash and block of the transaction that used this nonce, in blocks up to `block`. None while it is unused there.
    /// Positive proof: found in the block's body, never concluded from a missing receipt.
    async fn find_by_nonce(
        &self,
        account: Address,
        nonce: u64,
        block: BlockRef,
    ) -> Result<Option<(B256, BlockRef)>, ViewError>;

    /// Number of transactions of an account with those that wait in the pools, as the endpoint that knows most of them says. A hint: pools
    /// forget, and not every endpoint shows its own.
    async fn pooled_count(&self, account: Address) -> Result<u64, ViewError>;
}
