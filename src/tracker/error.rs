//! Errors of the tracker.

use crate::error::{Coded, ErrorCode};
use crate::store::StoreError;
use relayer_adapter_api::{AdapterError, BridgeId, ChainId, Class, ViewError};

#[derive(Debug, thiserror::Error)]
pub enum TrackerError {
    #[error("tracking: {0}")]
    Store(#[from] StoreError),
    #[error("tracking over {bridge}: {source}")]
    Adapter { bridge: BridgeId, source: AdapterError },
    #[error("tracking: the receipt of a send on chain {chain} could not be read: {source}")]
    View { chain: ChainId, source: ViewError },
    #[error("tracking: bridge {bridge} is not configured from chain {source_chain} to chain {target}")]
    UnknownLane {
        bridge: BridgeId,
        source_chain: ChainId,
        target: ChainId,
    },
    #[error("tracking: chain {0} is not configured")]
    UnknownChain(ChainId),
    #[error("tracking: nothing of chain {0} has been read yet")]
    NotRead(ChainId),
    #[error("tracking: the observer of chain {0} has not read the log of the send yet")]
    LogNotRead(ChainId),
}

const STORE: ErrorCode = ErrorCode {
    code: "RLY-TRACKER-001",
    title: "Database failed under the tracker",
    meaning: "The database refused or lost a read or a write.",
    relayer: "Tries again; nothing is decided meanwhile.",
    you: "Check the database.",
};
const ADAPTER: ErrorCode = ErrorCode {
    code: "RLY-TRACKER-002",
    title: "Bridge could not say where a message is",
    meaning: "The adapter could not decode the send or read the delivery state.",
    relayer: "Asks again with growing waits. The message's arrival is known from the inbox's own log in any case.",
    you: "If it repeats, check the bridge's section of the configuration with `relayer doctor`.",
};
const VIEW: ErrorCode = ErrorCode {
    code: "RLY-TRACKER-003",
    title: "Receipt of a send could not be read",
    meaning: "The endpoints of the source chain did not answer, or no longer know the block.",
    relayer: "Asks again at the next block.",
    you: "Check the endpoints of the chain if it repeats.",
};
const UNKNOWN_LANE: ErrorCode = ErrorCode {
    code: "RLY-TRACKER-004",
    title: "Dispatch over a bridge that is not configured",
    meaning: "A stored dispatch names a bridge or chain the configuration no longer has.",
    relayer: "Does not follow it over the bridge; its arrival at the inbox still counts.",
    you: "Put the bridge and its chains back into the configuration.",
};
const NOT_READ: ErrorCode = ErrorCode {
    code: "RLY-TRACKER-005",
    title: "Chain not read far enough yet",
    meaning: "The observer has not stored the block the tracker needs.",
    relayer: "Waits for the observer.",
    you: "Nothing at start-up; otherwise check the endpoints of the chain.",
};

/// Every code of this module, for docs/errors.md.
pub const CODES: &[ErrorCode] = &[STORE, ADAPTER, VIEW, UNKNOWN_LANE, NOT_READ];

impl Coded for TrackerError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Store(_) => STORE,
            Self::Adapter { .. } => ADAPTER,
            Self::View { .. } => VIEW,
            Self::UnknownLane { .. } | Self::UnknownChain(_) => UNKNOWN_LANE,
            Self::NotRead(_) | Self::LogNotRead(_) => NOT_READ,
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::Adapter { source, .. } => source.class(),
            Self::View { source, .. } => source.class(),
            Self::UnknownLane { .. } | Self::UnknownChain(_) => Class::Reject,
            Self::NotRead(_) | Self::LogNotRead(_) => Class::NotYet,
        }
    }
}
