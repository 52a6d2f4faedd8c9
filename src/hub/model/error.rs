//! Codes of the hub model, and which error has which.

use super::document::DocumentError;
use super::eon::ClockError;
use super::proof::ProofError;
use super::solvency::SolvencyError;
use super::state::SignatureError;
use super::tree::TreeError;
use crate::error::{Coded, ErrorCode};
use relayer_adapter_api::Class;

const NOT_A_CHECKPOINT: ErrorCode = ErrorCode {
    code: "RLY-HUB-001",
    title: "Not a checkpoint",
    meaning: "The input is not JSON, or a field of the checkpoint is missing, unknown, twice there or malformed; the message names the place.",
    relayer: "Judges nothing.",
    you: "Compare the input with docs/hub.md: amounts are decimal strings, trails are numbers, hashes and addresses are hex.",
};
const TOO_LARGE: ErrorCode = ErrorCode {
    code: "RLY-HUB-002",
    title: "Checkpoint too large to verify",
    meaning: "The input is longer than the command reads into memory.",
    relayer: "Judges nothing.",
    you: "Export fewer accounts, and verify their proofs against the root.",
};
/// Checks of a checkpoint that failed; `relayer hub verify` lists them.
pub const DOES_NOT_HOLD: ErrorCode = ErrorCode {
    code: "RLY-HUB-003",
    title: "Checkpoint does not hold",
    meaning: "A root, a hash or a proof in the checkpoint is not what its contents give.",
    relayer: "Prints a verdict for every check and fails.",
    you: "Do not rely on the checkpoint. Compare the root with the chain's `CheckpointSubmission`, and ask the hub for the eon again.",
};
const TREE: ErrorCode = ErrorCode {
    code: "RLY-HUB-004",
    title: "Tree cannot be built",
    meaning: "Amounts of a token overflow 256 bits, there are too many leaves, tokens are not in the order of their trails, or a leaf was asked for that is not there.",
    relayer: "Builds no tree.",
    you: "Correct the allotments; the first token is the hub's contract, which stands for the native coin.",
};
const MALFORMED: ErrorCode = ErrorCode {
    code: "RLY-HUB-005",
    title: "Proof is malformed",
    meaning: "A proof's parts contradict each other: unequal lengths, an interval that ends before it begins, siblings that overlap, a line that does not begin at 0, or a passive set larger than what was credited.",
    relayer: "Refuses the proof.",
    you: "Fetch the proof from the hub again. A hub that serves such a proof is at fault: challenge it.",
};
const OTHER_ROOT: ErrorCode = ErrorCode {
    code: "RLY-HUB-006",
    title: "Proof leads to another root",
    meaning: "The proof is well formed, but what it leads to is not the checkpoint's root: another eon, another wallet, or an altered byte.",
    relayer: "Refuses the proof.",
    you: "Compare eon, contract, token and wallet with what the proof was made for.",
};
const TRAIL: ErrorCode = ErrorCode {
    code: "RLY-HUB-007",
    title: "Trail outside the tree",
    meaning: "The trail has bits above the proof's length. The contract ignores them, which would let one account appear under many trails.",
    relayer: "Refuses the proof.",
    you: "Use the trail the hub gave the wallet when it was admitted.",
};
const OVER_COMMITTED: ErrorCode = ErrorCode {
    code: "RLY-HUB-008",
    title: "Checkpoint allots more than the hub holds",
    meaning: "The upper bound of a token exceeds balance + confirmed withdrawals - deposits - pending withdrawals.",
    relayer: "Does not rely on the checkpoint.",
    you: "Withdraw from the hub or challenge it: it cannot pay everybody.",
};
const CONTRADICTION: ErrorCode = ErrorCode {
    code: "RLY-HUB-009",
    title: "Hub's totals contradict its balance",
    meaning: "Deposits and pending withdrawals exceed balance and confirmed withdrawals, so no proof can pass the contract's own check.",
    relayer: "Does not rely on the checkpoint.",
    you: "Compare totals and balance in the same block; a difference that stays means the contract lost funds.",
};
const CLOCK: ErrorCode = ErrorCode {
    code: "RLY-HUB-010",
    title: "Block outside the hub's time",
    meaning: "A block before the hub's genesis, an eon whose blocks have no numbers, a checkpoint from the future, or eons without blocks.",
    relayer: "Uses neither the block nor the eon.",
    you: "Check that chain and contract are the hub's: genesis and eon length are read from it.",
};
const SIGNATURE: ErrorCode = ErrorCode {
    code: "RLY-HUB-011",
    title: "Hub signature is not the expected one",
    meaning: "A signature on an active state, balance marker or withdrawal authorization is malformed or by another key.",
    relayer: "Refuses what was signed.",
    you: "Check contract, token, wallet, trail and eon: each is part of what is signed.",
};

/// Every code of this module, for docs/errors.md.
pub const CODES: &[ErrorCode] = &[
    NOT_A_CHECKPOINT,
    TOO_LARGE,
    DOES_NOT_HOLD,
    TREE,
    MALFORMED,
    OTHER_ROOT,
    TRAIL,
    OVER_COMMITTED,
    CONTRADICTION,
    CLOCK,
    SIGNATURE,
];

impl Coded for DocumentError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Json(_) | Self::Empty => NOT_A_CHECKPOINT,
            Self::TooLarge => TOO_LARGE,
        }
    }

    fn class(&self) -> Class {
        Class::Reject
    }
}

impl Coded for TreeError {
    fn code(&self) -> ErrorCode {
        TREE
    }

    fn class(&self) -> Class {
        Class::Reject
    }
}

impl Coded for ProofError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Root { .. } => OTHER_ROOT,
            Self::Trail { .. } => TRAIL,
            Self::Lengths { .. }
            | Self::TooDeep(_)
            | Self::Inverted(_)
            | Self::Overlap { .. }
            | Self::NotFromZero(_)
            | Self::PassiveSum { .. } => MALFORMED,
        }
    }

    fn class(&self) -> Class {
        Class::Reject
    }
}

impl Coded for SolvencyError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::OverCommitted { .. } => OVER_COMMITTED,
            Self::Contradiction { .. } => CONTRADICTION,
        }
    }

    fn class(&self) -> Class {
        Class::Reject
    }
}

impl Coded for ClockError {
    fn code(&self) -> ErrorCode {
        CLOCK
    }

    fn class(&self) -> Class {
        Class::Reject
    }
}

impl Coded for SignatureError {
    fn code(&self) -> ErrorCode {
        SIGNATURE
    }

    fn class(&self) -> Class {
        Class::Reject
    }
}
