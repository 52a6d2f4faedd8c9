//! Errors of adapters and views, with the class that decides what happens next, chosen where the knowledge is.

use std::time::Duration;

/// What the caller does with an error. Never derived from the text of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Worth trying again, not before `after`.
    Retry { after: Duration },
    /// Nothing is wrong; the chain has not got there yet.
    NotYet,
    /// Will never work as asked; someone must change the request or the configuration.
    Reject,
    /// Our own mistake.
    Bug,
}

/// A chain could not be read, or answered an error.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ViewError {
    /// The endpoints did not answer, or not in agreement. Says nothing about the chain.
    #[error("chain {chain} could not be read: {reason}")]
    Unavailable { chain: u64, reason: String },
    /// The pinned block is not known to the endpoint (any more): a reorg or a lagging node.
    #[error("block {block} of chain {chain} is unknown to the endpoint")]
    UnknownBlock { chain: u64, block: String },
    /// The call reverted; `data` is what the contract returned.
    #[error("call reverted with {} bytes of data: 0x{}", data.len(), alloy::hex::encode(data))]
    Reverted { data: Vec<u8> },
}

impl ViewError {
    pub fn class(&self) -> Class {
        match self {
            Self::Unavailable { .. } => Class::Retry {
                after: Duration::from_secs(2),
            },
            Self::UnknownBlock { .. } => Class::NotYet,
            Self::Reverted { .. } => Class::Reject,
        }
    }
}

/// Why an adapter could not answer.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    #[error("{attempted}: {source}")]
    View { attempted: &'static str, source: ViewError },
    /// The protocol refused, with its own error decoded.
    #[error("{attempted}: {reason}")]
    Protocol {
        attempted: &'static str,
        reason: String,
        class: Class,
    },
    /// What the chain answered cannot be decoded as the protocol says.
    #[error("{attempted}: unexpected data: {reason}")]
    Decode { attempted: &'static str, reason: String },
    #[error("no lane from chain {from} to chain {to}")]
    NoLane { from: u64, to: u64 },
}

impl AdapterError {
    pub fn class(&self) -> Class {
        match self {
            Self::View { source, .. } => source.class(),
            Self::Protocol { class, .. } => *class,
            Self::Decode { .. } => Class::Bug,
            Self::NoLane { .. } => Class::Reject,
        }
    }
}
