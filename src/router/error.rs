//! Errors of the router.

use crate::error::{Coded, ErrorCode};
use crate::store::StoreError;
use relayer_adapter_api::{ChainId, Class};

#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    #[error("routing: {0}")]
    Store(#[from] StoreError),
    #[error("routing: chain {0} is not configured")]
    UnknownChain(ChainId),
    #[error("routing: nothing of chain {0} has been read yet")]
    NotRead(ChainId),
}

const STORE: ErrorCode = ErrorCode {
    code: "RLY-ROUTER-001",
    title: "Database failed under the router",
    meaning: "The database refused or lost a read or a write.",
    relayer: "Tries again; messages wait where they are.",
    you: "Check the database.",
};
const UNKNOWN_CHAIN: ErrorCode = ErrorCode {
    code: "RLY-ROUTER-002",
    title: "Message for a chain that is not configured",
    meaning: "A stored message names a chain the configuration no longer has.",
    relayer: "Leaves the message where it is and looks again later.",
    you: "Put the chain back into the configuration, or cancel the settlements.",
};
const NOT_READ: ErrorCode = ErrorCode {
    code: "RLY-ROUTER-003",
    title: "Source chain not read yet",
    meaning: "The observer has not stored a block of the source chain, so there is no block to quote at.",
    relayer: "Waits for the observer.",
    you: "Nothing at start-up; otherwise check the endpoints of the chain.",
};

/// Every code of this module, for docs/errors.md.
pub const CODES: &[ErrorCode] = &[STORE, UNKNOWN_CHAIN, NOT_READ];

impl Coded for RouterError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Store(_) => STORE,
            Self::UnknownChain(_) => UNKNOWN_CHAIN,
            Self::NotRead(_) => NOT_READ,
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::UnknownChain(_) => Class::Reject,
            Self::NotRead(_) => Class::NotYet,
        }
    }
}
