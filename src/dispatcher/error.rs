//! Errors of the dispatcher.

use crate::chain::ChainError;
use crate::error::{Coded, ErrorCode};
use crate::store::StoreError;
use alloy::primitives::U256;
use relayer_adapter_api::{AdapterError, BridgeId, ChainId, Class};

#[derive(Debug, thiserror::Error)]
pub enum DispatcherError {
    #[error("dispatching: {0}")]
    Store(#[from] StoreError),
    #[error("dispatching: {0}")]
    Chain(#[from] ChainError),
    #[error("dispatching over {bridge}: {source}")]
    Adapter { bridge: BridgeId, source: AdapterError },
    #[error("dispatching: bridge {bridge} is not configured from chain {source_chain} to chain {target}")]
    UnknownLane {
        bridge: BridgeId,
        source_chain: ChainId,
        target: ChainId,
    },
    #[error("dispatching: chain {0} is not configured")]
    UnknownChain(ChainId),
    #[error("dispatching: nothing of chain {0} has been read yet")]
    NotRead(ChainId),
    #[error("dispatching over {bridge} costs {fee} wei now, above the cap of {cap}")]
    OverCap { bridge: BridgeId, fee: U256, cap: U256 },
    #[error("dispatching over {bridge}: the lane carries nothing now: {reason}")]
    Blocked { bridge: BridgeId, reason: String },
    #[error("dispatching over {bridge}: the lane is paused by {by}: {reason}")]
    Paused {
        bridge: BridgeId,
        by: String,
        reason: String,
    },
}

const STORE: ErrorCode = ErrorCode {
    code: "RLY-DISPATCHER-001",
    title: "Database failed under the dispatcher",
    meaning: "The database refused or lost a read or a write.",
    relayer: "Tries again; nothing was sent that is not stored.",
    you: "Check the database.",
};
const CHAIN: ErrorCode = ErrorCode {
    code: "RLY-DISPATCHER-002",
    title: "Dispatch could not be prepared",
    meaning: "Planning or storing the source transaction failed; the message of the error says which RLY-CHAIN error it was.",
    relayer: "Quotes again and retries with growing waits; after several failures the router may take another lane.",
    you: "Look the inner error up; usually the signer is short of funds or fees are above the caps.",
};
const ADAPTER: ErrorCode = ErrorCode {
    code: "RLY-DISPATCHER-003",
    title: "Bridge refused to quote or build a send",
    meaning: "The adapter could not price the message or build the call on our outbox.",
    relayer: "Retries with growing waits; after several failures the router may take another lane.",
    you: "If it repeats, check the bridge's section of the configuration with `relayer doctor`.",
};
const UNKNOWN_LANE: ErrorCode = ErrorCode {
    code: "RLY-DISPATCHER-004",
    title: "Dispatch over a bridge that is not configured",
    meaning: "A stored dispatch names a bridge or chain the configuration no longer has.",
    relayer: "Leaves it where it is and looks again later.",
    you: "Put the bridge and its chains back into the configuration.",
};
const NOT_READ: ErrorCode = ErrorCode {
    code: "RLY-DISPATCHER-005",
    title: "Source chain not read yet",
    meaning: "The observer has not stored a block of the source chain, so there is no block to quote at.",
    relayer: "Waits for the observer.",
    you: "Nothing at start-up; otherwise check the endpoints of the chain.",
};
const OVER_CAP: ErrorCode = ErrorCode {
    code: "RLY-DISPATCHER-006",
    title: "Bridge fee above its cap",
    meaning: "The fee rose above the cap between the decision and the send.",
    relayer: "Waits for a lower fee; nothing is dropped.",
    you: "Raise the fee cap of the chain, or wait.",
};

const PAUSED: ErrorCode = ErrorCode {
    code: "RLY-DISPATCHER-007",
    title: "Lane paused",
    meaning: "An operator has paused the lane a dispatch was planned for.",
    relayer: "Sends nothing over it; the router takes another lane where there is one. What was sent before is followed to its end.",
    you: "`relayer lane list` shows who paused it and why; `relayer lane resume` opens it again.",
};

const BLOCKED: ErrorCode = ErrorCode {
    code: "RLY-DISPATCHER-008",
    title: "Lane blocked",
    meaning: "Contracts of the lane a dispatch was planned for say that it carries nothing now: a curse, a pause, a blocked library, a port that is not active.",
    relayer: "Sends nothing over it; the router takes another lane where there is one. It is used again as soon as the contracts allow it.",
    you: "`relayer lane list` shows the reason. Only who set it can lift it.",
};

/// Every code of this module, for docs/errors.md.
pub const CODES: &[ErrorCode] = &[STORE, CHAIN, ADAPTER, UNKNOWN_LANE, NOT_READ, OVER_CAP, PAUSED, BLOCKED];

impl Coded for DispatcherError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Store(_) => STORE,
            Self::Chain(_) => CHAIN,
            Self::Adapter { .. } => ADAPTER,
            Self::UnknownLane { .. } | Self::UnknownChain(_) => UNKNOWN_LANE,
            Self::NotRead(_) => NOT_READ,
            Self::OverCap { .. } => OVER_CAP,
            Self::Paused { .. } => PAUSED,
            Self::Blocked { .. } => BLOCKED,
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::Chain(error) => error.class(),
            Self::Adapter { source, .. } => source.class(),
            Self::UnknownLane { .. } | Self::UnknownChain(_) => Class::Reject,
            Self::NotRead(_) | Self::OverCap { .. } | Self::Paused { .. } | Self::Blocked { .. } => Class::NotYet,
        }
    }
}
