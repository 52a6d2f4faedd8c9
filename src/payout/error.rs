//! Errors of payout.

use crate::chain::ChainError;
use crate::error::{Coded, ErrorCode};
use crate::settlement::SettlementId;
use crate::settlement::packed::PackError;
use crate::store::StoreError;
use relayer_adapter_api::{AdapterError, BridgeId, ChainId, Class, ViewError};

#[derive(Debug, thiserror::Error)]
pub enum PayoutError {
    #[error("paying out: {0}")]
    Store(#[from] StoreError),
    #[error("paying out: {0}")]
    Chain(#[from] ChainError),
    #[error("simulating an execution on chain {chain}: {source}")]
    Simulate { chain: ChainId, source: ViewError },
    #[error("paying out: {0}")]
    Pack(#[from] PackError),
    #[error("rescuing a message over {bridge}: {source}")]
    Adapter { bridge: BridgeId, source: AdapterError },
    #[error("rescuing a message: bridge {0} is not configured")]
    UnknownBridge(BridgeId),
    #[error("paying out: chain {0} is not configured")]
    UnknownChain(ChainId),
    #[error("paying out: nothing of chain {0} has been read yet")]
    NotRead(ChainId),
    #[error("settlement {0} is in no message that has been dispatched")]
    NotDispatched(SettlementId),
}

const STORE: ErrorCode = ErrorCode {
    code: "RLY-PAYOUT-001",
    title: "Database failed under payout",
    meaning: "The database refused or lost a read or a write.",
    relayer: "Tries again; nothing was sent that is not stored.",
    you: "Check the database.",
};
const CHAIN: ErrorCode = ErrorCode {
    code: "RLY-PAYOUT-002",
    title: "Execution could not be prepared",
    meaning: "Planning or storing the target transaction failed; the message of the error says which RLY-CHAIN error it was.",
    relayer: "Tries again with growing waits; other messages go on. Anyone with a bundle can execute meanwhile.",
    you: "Look the inner error up; usually the signer is short of funds or fees are above the caps.",
};
const SIMULATE: ErrorCode = ErrorCode {
    code: "RLY-PAYOUT-003",
    title: "Execution could not be simulated",
    meaning: "The endpoints of the target chain did not answer, or no longer know the block.",
    relayer: "Tries again; nothing is sent without a simulation.",
    you: "Check the endpoints of the chain if it repeats.",
};
const PACK: ErrorCode = ErrorCode {
    code: "RLY-PAYOUT-004",
    title: "Settlements cannot be packed",
    meaning: "Stored terms do not give the ids the message committed to: the database was changed by something else.",
    relayer: "Executes nothing of the leaf in question; the rest of the message goes on.",
    you: "Restore the database or report the defect.",
};
const ADAPTER: ErrorCode = ErrorCode {
    code: "RLY-PAYOUT-005",
    title: "Bridge could not say how to help a message along",
    meaning: "The adapter could not read what anyone may do next for a stalled message.",
    relayer: "Asks again after the rescue interval.",
    you: "Check the bridge's section of the configuration with `relayer doctor`.",
};
const UNKNOWN: ErrorCode = ErrorCode {
    code: "RLY-PAYOUT-006",
    title: "Message of a chain or bridge that is not configured",
    meaning: "A stored message or dispatch names a chain or bridge the configuration no longer has.",
    relayer: "Leaves it where it is and looks again later.",
    you: "Put the chain or bridge back into the configuration.",
};
const NOT_READ: ErrorCode = ErrorCode {
    code: "RLY-PAYOUT-007",
    title: "Target chain not read yet",
    meaning: "The observer has not stored a block of the target chain, so there is no block to simulate at.",
    relayer: "Waits for the observer.",
    you: "Nothing at start-up; otherwise check the endpoints of the chain.",
};
const NOT_DISPATCHED: ErrorCode = ErrorCode {
    code: "RLY-PAYOUT-008",
    title: "No bundle yet",
    meaning: "The source outbox has not committed to a message with this settlement, so nobody could execute it.",
    relayer: "Goes on with the settlement as usual.",
    you: "Ask again once the settlement is dispatched.",
};

/// Every code of this module, for docs/errors.md.
pub const CODES: &[ErrorCode] = &[STORE, CHAIN, SIMULATE, PACK, ADAPTER, UNKNOWN, NOT_READ, NOT_DISPATCHED];

impl Coded for PayoutError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Store(_) => STORE,
            Self::Chain(_) => CHAIN,
            Self::Simulate { .. } => SIMULATE,
            Self::Pack(_) => PACK,
            Self::Adapter { .. } => ADAPTER,
            Self::UnknownBridge(_) | Self::UnknownChain(_) => UNKNOWN,
            Self::NotRead(_) => NOT_READ,
            Self::NotDispatched(_) => NOT_DISPATCHED,
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::Chain(error) => error.class(),
            Self::Simulate { source, .. } => source.class(),
            Self::Pack(_) => Class::Bug,
            Self::Adapter { source, .. } => source.class(),
            Self::UnknownBridge(_) | Self::UnknownChain(_) => Class::Reject,
            Self::NotRead(_) | Self::NotDispatched(_) => Class::NotYet,
        }
    }
}
