//! Errors of a hub's ledger.

use crate::error::{Coded, ErrorCode};
use crate::hub::model::{ClockError, Eon, TreeError};
use crate::store::{StoreError, TransferRefusal};
use alloy::primitives::{Address, B256, U256};
use relayer_adapter_api::Class;

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("a hub's ledger: {0}")]
    Store(#[from] StoreError),
    #[error("a hub's ledger: {0}")]
    Tree(#[from] TreeError),
    #[error("a hub's ledger: {0}")]
    Clock(#[from] ClockError),
    #[error("no hub {0} is followed")]
    NoHub(String),
    #[error("the ledger of hub {hub} is {}", kept(.by))]
    NotKept { hub: String, by: Option<String> },
    #[error("hub {hub} has no token {token}")]
    NoToken { hub: String, token: Address },
    #[error("registering token {token} with trail {trail}: {reason}")]
    BadToken { token: Address, trail: u64, reason: String },
    #[error("wallet {wallet} is not admitted to token {token}")]
    NotAdmitted { token: Address, wallet: Address },
    #[error("recording a transfer: {0}")]
    Transfer(#[from] TransferRefusal),
    #[error("recording transfers of eon {eon}: {reason}")]
    BadEon { eon: Eon, reason: String },
    #[error("building the checkpoint of eon {eon}: {reason}")]
    EonOpen { eon: Eon, reason: String },
    #[error("building the checkpoint of eon {eon}: {reason}")]
    Incomplete { eon: Eon, reason: String },
    #[error(
        "building the checkpoint of eon {eon}: wallets are allotted {allotted} of token {token}, the contract holds {backing} for them"
    )]
    OverAllotted {
        eon: Eon,
        token: Address,
        allotted: U256,
        backing: U256,
    },
    #[error("building the checkpoint of eon {eon} again: the chain has its root {root}")]
    OnChain { eon: Eon, root: B256 },
    #[error("the chain has root {root} for eon {eon}, which this ledger has not given: build eon {eon} to compare")]
    Foreign { eon: Eon, root: B256 },
    #[error(
        "building the checkpoint of eon {eon}: the ledger gives root {given}, the chain has {on_chain}; the eon before stays open for what is missing"
    )]
    Diverged { eon: Eon, given: B256, on_chain: B256 },
    #[error("the contents of {} are not known here", .eon.map_or("any checkpoint".to_owned(), |eon| format!("the checkpoint of eon {eon}")))]
    NoContents { eon: Option<Eon> },
    #[error("wallet {wallet} is allotted nothing of token {token} in eon {eon}")]
    NoAllotment { eon: Eon, token: Address, wallet: Address },
    #[error("importing eon {eon}: the chain has no checkpoint of it")]
    NoCheckpoint { eon: Eon },
    #[error("importing eon {eon}: the accounts give root {given}, the chain has {on_chain}")]
    OtherRoot { eon: Eon, given: B256, on_chain: B256 },
    #[error("importing eon {eon}: {reason}")]
    BadImport { eon: Eon, reason: String },
    #[error("the stored contents of eon {eon} do not give its root any more: {reason}")]
    Altered { eon: Eon, reason: String },
    #[error("a task of the ledger ended early: {0}")]
    Task(String),
}

fn kept(by: &Option<String>) -> String {
    match by {
        Some(by) => format!("kept by coordinator {by}"),
        None => "kept by nobody".to_owned(),
    }
}

macro_rules! codes {
    ($($name:ident = $code:literal, $title:literal, $meaning:literal, $relayer:literal, $you:literal;)*) => {
        $(pub const $name: ErrorCode = ErrorCode {
            code: $code, title: $title, meaning: $meaning, relayer: $relayer, you: $you,
        };)*
        /// Codes of this module, for docs/errors.md.
        pub const CODES: &[ErrorCode] = &[$($name),*];
    };
}

codes! {
    STORE = "RLY-HUB-060", "Database failed under a hub's ledger",
        "The database refused or lost a read or a write.",
        "Nothing of the piece under way was stored. Transfers of the same ids, wallets and builds may be sent again.",
        "Try again; check the database if it repeats.";
    NO_HUB = "RLY-HUB-061", "No such hub",
        "No hub of this name, or of this chain and contract, is followed.",
        "Refuses.",
        "Name one of `relayer hub list`; an operator adds hubs in the configuration ([hubs.<name>]).";
    NOT_KEPT = "RLY-HUB-062", "Not the keeper of this ledger",
        "The hub's ledger is kept by another coordinator, or by nobody.",
        "Refuses; nothing was stored.",
        "Use the token of the coordinator that keeps it; an operator names it in the configuration (hubs.<name>.coordinator). Registering the contract as the first token begins the ledger.";
    TOKEN = "RLY-HUB-063", "Not a token of this hub",
        "The token is not registered, or its trail is not the next one, or token or trail are taken, or the first is not the contract.",
        "Refuses.",
        "Register tokens with the trails the contract gave them (`getTokenTrail`), in their order; the contract itself is the first.";
    NOT_ADMITTED = "RLY-HUB-064", "Wallet is not admitted",
        "The wallet has no account in this token.",
        "Refuses.",
        "Admit it first (AdmitWallets).";
    SHORT = "RLY-HUB-065", "Wallet has too little",
        "The sender has less than the transfer moves: what it was allotted, deposited (final) and received, less what it spent and asked to withdraw.",
        "Refuses the transfer; the others of the piece were recorded.",
        "Wait until its deposit is final, or send less.";
    TAKEN = "RLY-HUB-066", "Id or nonce belongs to another transfer",
        "A transfer of this id, or of this sender with this nonce in the same eon, was recorded with other contents.",
        "Refuses the transfer; what was recorded stays.",
        "Send the same transfer with the same id again, and another one with an id and a nonce of its own.";
    TRANSFER = "RLY-HUB-067", "Not a transfer",
        "It moves nothing, or from a wallet to itself, or its active state is not the one that follows from what the sender did, or not signed by it.",
        "Refuses the transfer.",
        "Correct it; docs/hub.md tells what a sender signs.";
    EON = "RLY-HUB-068", "Eon takes no transfers",
        "The eon is closed, because the next one's checkpoint was begun, or it lies ahead of the chain.",
        "Refuses; nothing was stored.",
        "Record transfers in the chain's current eon, before its checkpoint is built.";
    EON_OPEN = "RLY-HUB-069", "Eon is not over",
        "A checkpoint commits to the end of the eon before, whose last block is not final or not read yet.",
        "Builds nothing; the ledger stays open.",
        "Try again some blocks later.";
    INCOMPLETE = "RLY-HUB-070", "Ledger does not know everything",
        "The hub is not followed from its genesis, has tokens without trail, or holds funds that belong to no wallet and no account for them was named.",
        "Builds nothing.",
        "Set start_block of the hub to 0, register all tokens, name the operator's account with leftover_to.";
    OVER_ALLOTTED = "RLY-HUB-071", "Ledger promises more than the contract holds",
        "The sum of the balances exceeds deposits less withdrawals: a wallet withdrew on the chain what it had spent on the ledger.",
        "Builds nothing.",
        "Have the withdrawal slashed at the contract, or deposit the difference; hub_booking.short names the wallet.";
    ON_CHAIN = "RLY-HUB-072", "Checkpoint is on the chain",
        "It was asked to build a checkpoint anew whose root the contract has accepted.",
        "Keeps what was built.",
        "Nothing: the root stands.";
    NO_CONTENTS = "RLY-HUB-073", "Contents of the checkpoint are not known",
        "The checkpoint was neither built nor imported here, or the wallet has no account in it.",
        "Refuses.",
        "Import the eon (ImportAllotments), or ask the hub for the proof.";
    NO_CHECKPOINT = "RLY-HUB-074", "No such checkpoint on the chain",
        "The contract has no checkpoint of this eon, as far as its chain was read.",
        "Refuses.",
        "Try again when the hub's operator has submitted it.";
    OTHER_ROOT = "RLY-HUB-075", "Contents give another root",
        "What was imported is well formed but is not what the checkpoint on the chain commits to.",
        "Drops what was imported.",
        "Export the eon from the hub again: all tokens and accounts in the order of their trails, the operator's own account last.";
    IMPORT = "RLY-HUB-076", "Not the contents of a checkpoint",
        "A token comes twice, the first is not the contract, or the amounts do not fit.",
        "Drops what was imported.",
        "Send tokens in the order of their trails, each once, with all its accounts.";
    ALTERED = "RLY-HUB-077", "Stored contents were altered",
        "Rows of an eon's allotments are not the ones its root was made of.",
        "Gives no proof from them.",
        "Restore the database, or build or import the eon again.";
    BUG = "RLY-HUB-078", "Ledger failed inside",
        "A computation of the ledger ended early.",
        "Stores nothing of it.",
        "Report it with the log around it.";
    SIGNED = "RLY-HUB-079", "Operator's signature is not taken here",
        "The checkpoint came with a signature, and this relayer sends none to a registry.",
        "Refuses; without the signature the request is a hint to look at the hub's contract.",
        "Submit it without the signature where the hub's chain is followed.";
    FOREIGN = "RLY-HUB-080", "Ledger has not given the checkpoint on the chain",
        "The newest checkpoint on the hub's chain was not built from this ledger: the database is a copy from before it was built, or somebody built it elsewhere.",
        "Refuses transfers of that eon and later ones and builds no later checkpoint, because the balances may not be those the hub committed to. Earlier eons take transfers.",
        "Record the transfers the copy lost again, with their ids, in their own eons; then build the eon that is named. When it gives the root the chain has, the ledger goes on.";
    DIVERGED = "RLY-HUB-081", "Ledger gives another root than the chain has",
        "The chain has a checkpoint of this eon already, and what the ledger holds at the end of the eon before does not give its root.",
        "Drops what was built and closes nothing.",
        "Record what is missing (transfers, wallets in the order of their trails), name the same leftover_to as then, and build again. The checkpoint's contents, where the hub exported them, tell which balances differ.";
}

/// The code of a refused transfer.
pub fn code_of(refusal: &TransferRefusal) -> ErrorCode {
    match refusal {
        TransferRefusal::Token(_) => TOKEN,
        TransferRefusal::NotAdmitted(_) => NOT_ADMITTED,
        TransferRefusal::Short { .. } => SHORT,
        TransferRefusal::IdTaken(_) | TransferRefusal::NonceTaken(_) => TAKEN,
        TransferRefusal::Nothing | TransferRefusal::Signed(_) => TRANSFER,
    }
}

impl Coded for LedgerError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Store(_) => STORE,
            Self::Tree(error) => error.code(),
            Self::Clock(error) => error.code(),
            Self::NoHub(_) => NO_HUB,
            Self::NotKept { .. } => NOT_KEPT,
            Self::NoToken { .. } | Self::BadToken { .. } => TOKEN,
            Self::NotAdmitted { .. } => NOT_ADMITTED,
            Self::Transfer(refusal) => code_of(refusal),
            Self::BadEon { .. } => EON,
            Self::EonOpen { .. } => EON_OPEN,
            Self::Incomplete { .. } => INCOMPLETE,
            Self::OverAllotted { .. } => OVER_ALLOTTED,
            Self::OnChain { .. } => ON_CHAIN,
            Self::Foreign { .. } => FOREIGN,
            Self::Diverged { .. } => DIVERGED,
            Self::NoContents { .. } | Self::NoAllotment { .. } => NO_CONTENTS,
            Self::NoCheckpoint { .. } => NO_CHECKPOINT,
            Self::OtherRoot { .. } => OTHER_ROOT,
            Self::BadImport { .. } => IMPORT,
            Self::Altered { .. } => ALTERED,
            Self::Task(_) => BUG,
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::EonOpen { .. } | Self::NoCheckpoint { .. } => Class::NotYet,
            Self::Altered { .. } | Self::Task(_) => Class::Bug,
            _ => Class::Reject,
        }
    }
}

impl LedgerError {
    /// What was asked for is not there, as opposed to refused.
    pub fn is_absent(&self) -> bool {
        matches!(
            self,
            Self::NoHub(_)
                | Self::NoToken { .. }
                | Self::NotAdmitted { .. }
                | Self::NoContents { .. }
                | Self::NoAllotment { .. }
        )
    }
}
