//! Errors of the relay of checkpoints and of their recorder.

use crate::chain::ChainError;
use crate::error::{Coded, ErrorCode};
use crate::store::StoreError;
use alloy::primitives::Address;
use relayer_adapter_api::{ChainId, Class, ViewError};

#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("relaying checkpoints: {0}")]
    Store(#[from] StoreError),
    #[error("relaying checkpoints: {0}")]
    Chain(#[from] ChainError),
    #[error("asking a registry, {attempted}: {source}")]
    Read { attempted: &'static str, source: ViewError },
    #[error("asking a registry, {attempted}: unexpected answer: {reason}")]
    Decode { attempted: &'static str, reason: String },
    #[error("relaying checkpoints of {hub}: it is not registered in the registry of chain {target}")]
    NotRegistered { hub: String, target: ChainId },
    #[error(
        "relaying checkpoints of {hub}: the registry of chain {target} expects outbox {expected}, ours is {actual}"
    )]
    OtherOutbox {
        hub: String,
        target: ChainId,
        expected: Address,
        actual: Address,
    },
    #[error("checkpoint of eon {eon} of hub {hub}: the signature is not its operator's for any registry of ours")]
    SignatureRefused { hub: Address, eon: u64 },
    #[error("relaying checkpoints: chain {0} is not configured, or has no signer")]
    UnknownChain(ChainId),
    #[error("relaying checkpoints: nothing of chain {0} has been read yet")]
    NotRead(ChainId),
}

macro_rules! codes {
    ($($name:ident = $code:literal, $title:literal, $meaning:literal, $relayer:literal, $you:literal;)*) => {
        $(pub(crate) const $name: ErrorCode = ErrorCode {
            code: $code, title: $title, meaning: $meaning, relayer: $relayer, you: $you,
        };)*
        /// Codes of these modules, for docs/errors.md.
        pub const RELAY_CODES: &[ErrorCode] = &[$($name),*];
    };
}

codes! {
    STORE = "RLY-HUB-040", "Database failed under the checkpoint relay",
        "The database refused or lost a read or a write.",
        "Tries again; nothing was sent that is not stored.",
        "Check the database.";
    CHAIN = "RLY-HUB-041", "Checkpoint could not be brought to its registry",
        "The registry's chain did not answer, or the transaction could not be planned; the message says which RLY-CHAIN error it was.",
        "Tries again with the next block; other checkpoints and settlements go on.",
        "Look the inner error up; usually an endpoint is down or the signer of the target chain is short of funds.";
    NOT_REGISTERED = "RLY-HUB-042", "Hub not registered at a target",
        "The registry of a chain in `targets` does not know the hub, so no root of it would be recorded there.",
        "Carries no checkpoint of the hub to that chain until it is registered.",
        "Have the registry's owner call `registerHub`, or take the chain out of the hub's `targets`.";
    OTHER_OUTBOX = "RLY-HUB-043", "Registry expects another outbox",
        "The hub is registered with an outbox that is not the configured one: messages of ours would not count.",
        "Carries no checkpoint of the hub to that chain.",
        "Correct `contracts.outbox` of the hub's chain, or use the registry that belongs to this deployment.";
    CONFLICT = "RLY-HUB-044", "Two roots for one eon",
        "A registry has two roots for one eon of a hub, each brought by enough bridges or signed by the operator. One of them is a lie: of a bridge, of the operator, or of a chain that was reorganized after it was final.",
        "Reports drift of class root; the registry has frozen the hub and takes no further eon of it. Nothing that relies on the hub is accepted meanwhile on that chain.",
        "Compare both roots with the hub's contract; have the registry's owner announce and make the choice.";
    WRONG_ROOT = "RLY-HUB-045", "Registry has a root the hub's chain does not have",
        "The root recorded for an eon is not the one in the hub's contract, in a final block of both chains.",
        "Reports drift of class root and carries the true root, which freezes the hub in the registry.",
        "Treat the bridges that vouched for it as compromised: `relayer lane pause`, and have their ports removed from the inbox.";
    REFUSED = "RLY-HUB-046", "Registry refuses a checkpoint",
        "The registry would not record a checkpoint that has arrived: the quorum is short, its eon is out of turn, or the hub is frozen. The message's history says which.",
        "Asks again with every block; gives the message up when the registry can never take it.",
        "Nothing while eons before it are on their way; otherwise see the reason in the message's history.";
    SIGNATURE = "RLY-HUB-047", "Signed checkpoint refused",
        "The signature is not the operator's over this hub, eon and root for a registry of ours.",
        "Stores nothing.",
        "Sign the registry's `checkpointDigest` with the key the hub is registered with.";
    GIVEN_UP = "RLY-HUB-048", "Checkpoint given up",
        "A checkpoint cannot be carried any more: the hub's contract has overwritten it, a reorganization replaced it, or the registry wants no eon that old or has rejected its root.",
        "Ends the message; later checkpoints go on, within the gap the registry allows.",
        "Find out what held it up: `relayer lane list`, and the history of the message.";
    NO_CHECKPOINT = "RLY-HUB-049", "No such hub or checkpoint",
        "The database has no hub of this name, or the hub's chain has no checkpoint of this eon.",
        "Nothing.",
        "The names are those under `[hubs]`; a hub is known once its chain has been read, an eon once its checkpoint was submitted.";
}

impl Coded for RelayError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Store(_) => STORE,
            Self::Chain(_) | Self::Read { .. } | Self::Decode { .. } | Self::UnknownChain(_) | Self::NotRead(_) => {
                CHAIN
            }
            Self::NotRegistered { .. } => NOT_REGISTERED,
            Self::OtherOutbox { .. } => OTHER_OUTBOX,
            Self::SignatureRefused { .. } => SIGNATURE,
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::Chain(error) => error.class(),
            Self::Read { source, .. } => source.class(),
            Self::Decode { .. } => Class::Bug,
            Self::NotRegistered { .. }
            | Self::OtherOutbox { .. }
            | Self::SignatureRefused { .. }
            | Self::UnknownChain(_) => Class::Reject,
            Self::NotRead(_) => Class::NotYet,
        }
    }
}
