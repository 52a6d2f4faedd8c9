//! What a recovery found and did, for people and machines.

use crate::store::Adopted;
use alloy::primitives::Address;
use serde::Serialize;

/// One run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub dry_run: bool,
    pub chains: Vec<ChainReport>,
    /// Leaves of messages on their way whose settlements nobody has submitted again.
    pub awaited: u64,
}

/// What was done for one chain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    pub chain: u64,
    /// What was ahead of the database, in words; none = nothing.
    pub ahead: Option<String>,
    /// Final block everything was read up to.
    pub block: u64,
    pub messages: u64,
    pub dispatches: u64,
    pub leaves: u64,
    /// Settlements that waited to be batched and were found to be on their way.
    pub attached: u64,
    /// Messages given up because others carry their settlements.
    pub overtaken: u64,
    /// Stored transactions that can never be sent, because their nonces are taken.
    pub forgotten: u64,
    /// Dispatches over ports that no configured bridge has.
    pub unknown_ports: u64,
    /// Messages whose calldata could not be read; with --accept-unreadable only.
    pub unreadable: Vec<String>,
    pub signers: Vec<SignerReport>,
}

/// A signer's nonces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignerReport {
    pub signer: Address,
    /// Transactions the chain counts.
    pub count: u64,
    /// Of them, those the database knew.
    pub known: u64,
}

impl ChainReport {
    pub(super) fn add(&mut self, adopted: Adopted) {
        let add = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        add(&mut self.messages, adopted.messages);
        add(&mut self.dispatches, adopted.dispatches);
        add(&mut self.leaves, adopted.leaves);
        add(&mut self.attached, adopted.attached);
    }
}
