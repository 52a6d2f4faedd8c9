//! The trait a bridge implements.

use crate::call::Call;
use crate::error::AdapterError;
use crate::ids::{BridgeId, ChainId, Family};
use crate::message::SealedMessage;
use crate::obstacle;
use crate::view::{ChainView, TxReceipt};
use alloy::primitives::{Address, B256, Bytes, U256};
use async_trait::async_trait;
use std::time::Duration;

/// One direction between two chains over one bridge instance (one port pair).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    pub bridge: BridgeId,
    pub family: Family,
    pub source: ChainId,
    pub target: ChainId,
    pub source_port: Address,
    pub target_port: Address,
    /// Largest message the protocol carries, in bytes.
    pub message_bytes_max: u32,
    /// Time from source finality to arrival that is normal before the lane has a history.
    pub expected: Duration,
    /// Nobody else is paid to bring messages in: doing so is our normal work, due as soon as a message is attested, and no rescue.
    pub self_delivered: bool,
}

/// A price for one message over one lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// Wei of the source chain, with the buffer that absorbs price moves until the send.
    pub native_fee: U256,
    /// Gas the receive callback gets.
    pub gas_limit: u128,
    /// How long the quote is good for.
    pub valid_for: Duration,
    /// Expected time from source finality to arrival.
    pub expected: Duration,
}

/// What names a sent message in its protocol, and the bytes needed to follow and rescue it. Opaque outside the adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRef {
    pub source: ChainId,
    pub target: ChainId,
    /// LayerZero guid, CCIP messageId, keccak of a Wormhole VAA body.
    pub id: B256,
    pub evidence: Bytes,
}

/// How far a message got on the target, as of the view's block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// Not attested yet. `note` says what it waits for, e.g. "blocked behind nonce 7".
    Pending { note: String },
    /// The protocol vouches for it; anyone can bring it in.
    Attested { note: String },
    /// The port handed it to the inbox. Positive proof is the inbox's own state; this is the protocol's side.
    Received,
    /// The protocol says it will not arrive this way (skipped, burnt, another payload). Never a verdict about a settlement.
    Failed { why: String },
}

/// What one bridge protocol can say about itself. It encodes, decodes and reads through the views it is handed;
/// it never signs, broadcasts, retries, sleeps or stores.
#[async_trait]
pub trait BridgeAdapter: Send + Sync {
    fn id(&self) -> BridgeId;

    /// The lane between two chains, if this bridge serves it.
    fn lane(&self, from: ChainId, to: ChainId) -> Option<Lane>;

    /// Price of sending now. Called in the router, and by `Quote`.
    async fn quote(&self, source: &dyn ChainView, message: &SealedMessage) -> Result<Quote, AdapterError>;

    /// The call on our outbox that sends it. Called in the dispatcher.
    fn build_send(&self, message: &SealedMessage, quote: &Quote) -> Result<Call, AdapterError>;

    /// Finds our message in the receipt of the send. Called in the tracker.
    fn decode_send(&self, receipt: &TxReceipt) -> Result<MessageRef, AdapterError>;

    /// Where the message is. Called in the tracker.
    async fn delivery(
        &self,
        source: &dyn ChainView,
        target: &dyn ChainView,
        message: &MessageRef,
    ) -> Result<Delivery, AdapterError>;

    /// What anyone may do next to bring it in; empty when nothing helps. Called in payout, after the lane's patience.
    async fn advance(
        &self,
        source: &dyn ChainView,
        target: &dyn ChainView,
        message: &MessageRef,
    ) -> Result<Vec<Call>, AdapterError>;

    /// What keeps the lane from carrying anything now, in words, as contracts on either chain say: a curse, a pause, a blocked library, a port
    /// that is not active. None while nothing does. An error says nothing. Called by the router's watch, now and then.
    async fn obstacle(
        &self,
        source: &dyn ChainView,
        target: &dyn ChainView,
        lane: &Lane,
    ) -> Result<Option<String>, AdapterError> {
        obstacle::of_ports(source, target, lane).await
    }
}
