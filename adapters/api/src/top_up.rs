//! Money for a payer's vault from another chain, over a bridge that carries tokens. Not part of the pipeline: a person starts it.

use crate::adapter::{Delivery, MessageRef};
use crate::call::Call;
use crate::error::AdapterError;
use crate::ids::ChainId;
use crate::view::{ChainView, TxReceipt};
use alloy::primitives::{Address, U256};
use async_trait::async_trait;

/// What is to be sent, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopUp {
    pub source: ChainId,
    pub target: ChainId,
    /// On the source chain.
    pub token: Address,
    /// Base units of it.
    pub amount: U256,
    /// Whose deposit it becomes on the target chain.
    pub payer: Address,
}

/// What the bridge asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopUpOffer {
    /// Takes the tokens: the sender approves it.
    pub spender: Address,
    /// Wei of the source chain.
    pub native_fee: U256,
    /// What arrives on the target chain.
    pub target_token: Address,
    pub call: Call,
}

/// A bridge that can do that. Like an adapter it reads through views and signs nothing.
#[async_trait]
pub trait TopUpBridge: Send + Sync {
    async fn offer(&self, source: &dyn ChainView, top_up: &TopUp) -> Result<TopUpOffer, AdapterError>;

    /// Why the call would be refused if this account sent it now, e.g. a rate limit.
    async fn check(&self, source: &dyn ChainView, sender: Address, offer: &TopUpOffer) -> Result<(), AdapterError>;

    /// Finds the top-up in the receipt of its send.
    fn decode(&self, source: ChainId, receipt: &TxReceipt) -> Result<MessageRef, AdapterError>;

    /// Where it is. `Received`: it is the payer's deposit.
    async fn arrival(&self, target: &dyn ChainView, message: &MessageRef) -> Result<Delivery, AdapterError>;

    /// What anyone may do to bring it in; empty when nothing helps now.
    async fn finish(
        &self,
        source: &dyn ChainView,
        target: &dyn ChainView,
        message: &MessageRef,
    ) -> Result<Vec<Call>, AdapterError>;
}
