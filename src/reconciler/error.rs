//! Errors of the reconciler.

use crate::error::{Coded, ErrorCode};
use crate::settlement::ChainId;
use crate::store::StoreError;
use relayer_adapter_api::{Class, ViewError};

#[derive(Debug, thiserror::Error)]
pub enum ReconcilerError {
    #[error("reconciling: {0}")]
    Store(#[from] StoreError),
    #[error("reconciling chain {chain}: {attempted}: {source}")]
    View {
        chain: ChainId,
        attempted: &'static str,
        source: ViewError,
    },
    #[error("reconciling chain {chain}: {attempted}: the answer does not decode: {reason}")]
    Decode {
        chain: ChainId,
        attempted: &'static str,
        reason: String,
    },
    #[error("reconciling: log {log} cannot be booked: {reason}")]
    Log { log: String, reason: String },
    #[error("repairing {subject}: {reason}")]
    Repair { subject: String, reason: String },
}

const STORE: ErrorCode = ErrorCode {
    code: "RLY-RECONCILER-001",
    title: "Database failed under the reconciler",
    meaning: "The database refused or lost a read or a write.",
    relayer: "Tries again; nothing is decided meanwhile.",
    you: "Check the database.",
};
const VIEW: ErrorCode = ErrorCode {
    code: "RLY-RECONCILER-002",
    title: "Finalized block could not be read",
    meaning: "The endpoints did not answer, or do not know the finalized block (any more).",
    relayer: "Ends nothing without proof, and asks again.",
    you: "Check the endpoints of the chain if it repeats.",
};
const DECODE: ErrorCode = ErrorCode {
    code: "RLY-RECONCILER-003",
    title: "Contract answers something else",
    meaning: "The inbox, outbox or vault does not answer as its interface says.",
    relayer: "Ends nothing without proof, and asks again.",
    you: "Check the configured addresses with `relayer doctor`.",
};
const LOG: ErrorCode = ErrorCode {
    code: "RLY-RECONCILER-004",
    title: "Log cannot be booked",
    meaning: "A final log of our contracts does not say what the contracts are known to say.",
    relayer: "Reports a drift, leaves its transaction unbooked, and books the others.",
    you: "Check the configured addresses, then report it.",
};

/// No failure of a step but what the comparison of votes with outboxes found.
pub(super) const FORGED: ErrorCode = ErrorCode {
    code: "RLY-RECONCILER-005",
    title: "Bridge brought a message that was never given to it",
    meaning: "A port of the inbox recorded a message that our outbox on the source chain never sent over that bridge, although the source chain \
              has been read beyond that time. Somebody can make that bridge say what he likes.",
    relayer: "Reports a drift of class `forged`, which stays open over restarts and shows in `relayer_ledger_drift_count`. Executes nothing of \
              such a message. What needs several families is not paid on it; below that only what a payer signed can be, and once.",
    you: "Treat the bridge as compromised: `relayer lane pause BRIDGE`, then remove its port from the inbox (takes effect at once; it closes \
          the drift). Check first that every chain whose outbox the inbox trusts is configured, with a `start_block` at its deployment.",
};

pub(super) const DRIFT: ErrorCode = ErrorCode {
    code: "RLY-RECONCILER-010",
    title: "Ledger and chains differ",
    meaning: "What the ledger has booked of a settlement, a message or a log is not what the outbox, the inbox or the vault say in final blocks.",
    relayer: "Keeps the difference on record until it is gone, adjusts nothing, and goes on.",
    you: "`relayer drift` lists it, `relayer explain` tells the settlement's story, `relayer reconcile --repair --dry-run` what would put it right.",
};
pub(super) const GAP: ErrorCode = ErrorCode {
    code: "RLY-RECONCILER-011",
    title: "Blocks could not be compared",
    meaning: "The endpoints did not tell the logs of a range of final blocks, or told fewer than the contracts counted.",
    relayer: "Keeps the range as a gap and reads it again, in smaller pieces, until it is filled; later blocks are compared meanwhile.",
    you: "If it lasts, check the endpoints of the chain; `reconcile_rpc` names others for the comparison.",
};
pub(super) const REPAIR: ErrorCode = ErrorCode {
    code: "RLY-RECONCILER-012",
    title: "A difference was not repaired",
    meaning: "What would put it right was tried and refused, or changes nothing.",
    relayer: "Changed nothing of it; the difference stays on record.",
    you: "The message says why; `relayer explain` tells the settlement's story. A dispute is ended with `relayer dispute`.",
};

/// Of the operator's service; here, because it is about what the reconciler found.
pub const DISPUTE: ErrorCode = ErrorCode {
    code: "RLY-RECONCILER-013",
    title: "Dispute cannot end so",
    meaning: "The settlement is not disputed, or what the operator says contradicts the books: `paid` needs a final payment on the chain, `unpaid` \
              that none stands on the books.",
    relayer: "Changed nothing.",
    you: "`relayer explain` tells the settlement's story; resolve it the other way, or `relayer reconcile --since` if the chain knows better.",
};

/// Every code of this module, for docs/errors.md.
pub const CODES: &[ErrorCode] = &[STORE, VIEW, DECODE, LOG, FORGED, DRIFT, GAP, REPAIR, DISPUTE];

impl Coded for ReconcilerError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Store(_) => STORE,
            Self::View { .. } => VIEW,
            Self::Decode { .. } => DECODE,
            Self::Log { .. } => LOG,
            Self::Repair { .. } => REPAIR,
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::View { source, .. } => source.class(),
            Self::Decode { .. } => Class::Reject,
            Self::Log { .. } => Class::Bug,
            Self::Repair { .. } => Class::Reject,
        }
    }
}
