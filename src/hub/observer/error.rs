//! Why a look at a hub failed, and what a look can find.

use crate::error::{Coded, ErrorCode};
use crate::hub::model::ClockError;
use crate::store::StoreError;
use relayer_adapter_api::{Class, ViewError};

#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error("judging hubs: {0}")]
    Store(#[from] StoreError),
    #[error("judging hub {hub}: {attempted}: {source}")]
    View {
        hub: String,
        attempted: &'static str,
        source: ViewError,
    },
    #[error("judging hub {hub}: {attempted}: the answer does not decode: {reason}")]
    Decode {
        hub: String,
        attempted: &'static str,
        reason: String,
    },
    #[error("judging hub {hub}: {source}")]
    Clock { hub: String, source: ClockError },
    #[error("judging hub {hub}: reading its logs again: {source}")]
    Reread {
        hub: String,
        source: crate::chain::ChainError,
    },
}

/// Not a failure of a step but what it found.
pub const MISSED: ErrorCode = ErrorCode {
    code: "RLY-HUB-020",
    title: "Hub missed a checkpoint",
    meaning: "An eon of the hub went by without a checkpoint. Its contract is halted for ever: wallets can only recover their funds on the hub's chain.",
    relayer: "Halts the hub: its checkpoints are not carried, settlements that rely on it are refused and those that wait are not batched. As long as \
              the block that shows it is not final, a reorg may still undo it.",
    you: "Have the coordinators cancel what relies on this hub, and remove it from the configuration.",
};
pub const CHALLENGED: ErrorCode = ErrorCode {
    code: "RLY-HUB-021",
    title: "Hub is challenged",
    meaning: "Somebody challenges the hub's operator over the current or the previous eon, and it has not answered yet.",
    relayer: "Halts the hub while that lasts: its checkpoints are not carried, settlements that rely on it are refused and those that wait are not \
              batched. Goes on by itself when the answer is final.",
    you: "Wait for the operator's answer; an operator that does not answer cannot submit the next checkpoint.",
};
pub const DIFFERS: ErrorCode = ErrorCode {
    code: "RLY-HUB-022",
    title: "Hub's logs and its contract disagree",
    meaning: "The accumulator, an eon's sums or a checkpoint as followed from the logs are not what the contract says in a final block: an endpoint \
              left logs out or made some up, or the database lost rows.",
    relayer: "Reports a drift (class `root`, `amount`, `missing` or `unknown`), reads the logs of the blocks in question again, puts lost rows back and \
              orphans those the chain does not have. When the accumulator alone differs and nothing explains it, it goes on from the contract's own, \
              and the drift stays open.",
    you: "Look at the drift. Check the chain's endpoints; a hub whose contract cancels withdrawals changes its accumulator without an event.",
};
const STORE: ErrorCode = ErrorCode {
    code: "RLY-HUB-023",
    title: "Database failed under the hub observer",
    meaning: "The database refused or lost a read or a write.",
    relayer: "Tries again; a hub's standing stays what it was.",
    you: "Check the database.",
};
const VIEW: ErrorCode = ErrorCode {
    code: "RLY-HUB-024",
    title: "Hub's contract could not be read",
    meaning: "The endpoints did not answer, or do not know the block (any more).",
    relayer: "Asks again; a hub's standing stays what it was.",
    you: "Check the endpoints of the hub's chain if it repeats.",
};
const DECODE: ErrorCode = ErrorCode {
    code: "RLY-HUB-025",
    title: "Hub's contract answers something else",
    meaning: "The contract at the hub's address does not answer as a commit chain does.",
    relayer: "Judges nothing and asks again.",
    you: "Check `hubs.<name>.contract` and its chain.",
};

/// Every code of this module, for docs/errors.md.
pub const CODES: &[ErrorCode] = &[MISSED, CHALLENGED, DIFFERS, STORE, VIEW, DECODE];

impl Coded for HubError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Store(_) => STORE,
            Self::View { .. } => VIEW,
            Self::Decode { .. } => DECODE,
            Self::Clock { source, .. } => source.code(),
            Self::Reread { source, .. } => source.code(),
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::View { source, .. } => source.class(),
            Self::Decode { .. } | Self::Clock { .. } => Class::Reject,
            Self::Reread { source, .. } => source.class(),
        }
    }
}
