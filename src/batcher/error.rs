//! Errors of the batcher.

use crate::error::{Coded, ErrorCode};
use crate::settlement::ChainId;
use crate::store::StoreError;
use relayer_adapter_api::Class;
use relayer_adapter_api::tree::TreeError;

#[derive(Debug, thiserror::Error)]
pub enum BatcherError {
    #[error("batching: {0}")]
    Store(#[from] StoreError),
    #[error("batching: chain {0} has no outbox in the configuration")]
    NoOutbox(ChainId),
    #[error("batching: {0}")]
    Tree(#[from] TreeError),
}

const STORE: ErrorCode = ErrorCode {
    code: "RLY-BATCHER-001",
    title: "Database failed under the batcher",
    meaning: "The database refused or lost a read or a write, or a settlement changed while it was being batched.",
    relayer: "Seals nothing, and tries again.",
    you: "Check the database if it repeats.",
};
const NO_OUTBOX: ErrorCode = ErrorCode {
    code: "RLY-BATCHER-002",
    title: "Source chain without an outbox",
    meaning: "Accepted settlements name a source chain whose outbox is not configured (any more).",
    relayer: "Leaves them accepted; batches the others.",
    you: "Put the chain's outbox back into the configuration.",
};
const TREE: ErrorCode = ErrorCode {
    code: "RLY-BATCHER-003",
    title: "Batch of an impossible size",
    meaning: "A batch was planned with no members or more than a tree holds.",
    relayer: "Seals nothing.",
    you: "Report it: this is a mistake of the program.",
};

/// Every code of this module, for docs/errors.md.
pub const CODES: &[ErrorCode] = &[STORE, NO_OUTBOX, TREE];

impl Coded for BatcherError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Store(_) => STORE,
            Self::NoOutbox(_) => NO_OUTBOX,
            Self::Tree(_) => TREE,
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::NoOutbox(_) => Class::Reject,
            Self::Tree(_) => Class::Bug,
        }
    }
}
