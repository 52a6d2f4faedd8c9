//! Errors of the chain module.

use super::gate::Ahead;
use crate::error::{Coded, ErrorCode};
use crate::settlement::transitions::IllegalTransition;
use crate::store::{Intent, StoreError, TxId};
use alloy::primitives::{Address, U256};
use relayer_adapter_api::{ChainId, Class, ViewError};
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    #[error("{attempted}: {source}")]
    View { attempted: &'static str, source: ViewError },
    #[error("gas costs {needed} wei each on chain {chain} now, more than the cap of {cap}")]
    FeeCap { chain: ChainId, needed: u128, cap: u128 },
    #[error("the transaction could cost {needed} wei of gas on chain {chain}, more than the cap of {cap}")]
    TxCap { chain: ChainId, needed: U256, cap: U256 },
    #[error("transactions of today could cost {needed} gwei on chain {chain}, more than the cap of {cap}")]
    DayCap { chain: ChainId, needed: u64, cap: u64 },
    #[error("signer {signer} on chain {chain} has {available} wei and needs {needed}")]
    FundsShort {
        chain: ChainId,
        signer: Address,
        available: U256,
        needed: U256,
    },
    #[error("signer {signer} has sent {count} transactions on chain {chain}, the database knows of {known}")]
    ChainAhead {
        chain: ChainId,
        signer: Address,
        count: u64,
        known: u64,
    },
    #[error("{kind} {id} is bound to transaction {tx}", kind = intent.kind.as_str(), id = intent.id)]
    IntentBound { intent: Intent, tx: TxId },
    #[error("no signer of chain {chain} is free: another worker holds the lease")]
    NoLease { chain: ChainId },
    #[error("no signer is configured for chain {chain}")]
    NoSigner { chain: ChainId },
    #[error("signing for {signer}: {reason}")]
    Signing { signer: Address, reason: String },
    #[error("chain {chain}: {reason}")]
    Config { chain: ChainId, reason: String },
    #[error("log {log} of a contract of ours does not decode as {event}: {reason}")]
    Decode {
        log: String,
        event: &'static str,
        reason: String,
    },
    #[error("chain {chain} left the blocks this database has walked: no common block down to {lowest}")]
    NoCommonBlock { chain: ChainId, lowest: u64 },
    #[error("nothing is sent on chain {chain} before `relayer recover` has run: {why}")]
    RecoveryNeeded { chain: ChainId, why: Ahead },
    #[error("nothing is sent on chain {chain} before it has been read up to where it was at the start")]
    GateUnknown { chain: ChainId },
    #[error("dry run: would send {0}")]
    DryRun(Box<Rehearsed>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A transaction as a dry run would have sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsed {
    pub chain: ChainId,
    pub signer: Address,
    pub to: Address,
    /// Wei.
    pub value: U256,
    pub gas: u64,
    /// Wei of gas, at most.
    pub cost: U256,
}

impl std::fmt::Display for Rehearsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            chain,
            signer,
            to,
            value,
            gas,
            cost,
        } = self;
        write!(
            f,
            "{value} wei to {to} on chain {chain} from {signer}, {gas} gas, at most {cost} wei of gas"
        )
    }
}

impl From<IllegalTransition> for ChainError {
    fn from(error: IllegalTransition) -> Self {
        Self::Store(error.into())
    }
}

macro_rules! codes {
    ($($name:ident = $code:literal, $title:literal, $meaning:literal, $relayer:literal, $you:literal;)+) => {
        $(pub(crate) const $name: ErrorCode = ErrorCode {
            code: $code, title: $title, meaning: $meaning, relayer: $relayer, you: $you,
        };)+

        /// Every code of this module, for docs/errors.md.
        pub const CODES: &[ErrorCode] = &[$($name),+];
    };
}

codes! {
    UNREADABLE = "RLY-CHAIN-001", "Chain cannot be read",
        "Too few endpoints answered, or they do not agree.",
        "Asks again later; nothing is decided meanwhile.",
        "Check the endpoints of the chain (`relayer doctor`); add endpoints or lower the quorum.";
    REVERTS = "RLY-CHAIN-002", "Call would revert",
        "The chain says the transaction would fail.",
        "Does not send it; the stage that wanted it plans anew.",
        "Nothing, unless it repeats: then look at the revert data with `relayer explain`.";
    FEE_CAP = "RLY-CHAIN-003", "Gas price above the cap",
        "Inclusion would cost more per gas than `max_fee_per_gas` allows.",
        "Waits for cheaper gas; nothing is dropped.",
        "Raise the cap, or wait.";
    TX_CAP = "RLY-CHAIN-004", "Transaction above its cost cap",
        "Gas limit times price exceeds the cap for one transaction.",
        "Waits for cheaper gas; nothing is dropped.",
        "Raise the cap, or make batches smaller.";
    DAY_CAP = "RLY-CHAIN-005", "Daily gas cap reached",
        "The worst case of today's transactions exceeds the daily cap.",
        "Sends nothing new on this chain until midnight UTC.",
        "Raise the cap if the spending is right.";
    FUNDS_SHORT = "RLY-CHAIN-006", "Signer short of funds",
        "The signing account cannot cover value and gas of what is open.",
        "Pauses sending on this chain and alerts; nothing is dropped.",
        "Send native coin to the signer.";
    CHAIN_AHEAD = "RLY-CHAIN-007", "Chain ahead of the database",
        "The signer has sent transactions this database does not know: it was restored from an older copy, or the key is used elsewhere.",
        "Prepares no transaction of this signer.",
        "Stop whatever else uses the key, then recover the database.";
    INTENT_BOUND = "RLY-CHAIN-008", "Intent is bound",
        "A transaction for the same work exists and may still be included.",
        "Does not make a second one.",
        "Nothing.";
    NO_LEASE = "RLY-CHAIN-009", "Signer in use",
        "Another worker holds the lease of every signer of the chain.",
        "Tries again.",
        "Nothing; after a crash the lease runs out by itself.";
    NO_SIGNER = "RLY-CHAIN-010", "No signer",
        "No key is configured for the chain.",
        "Sends nothing there.",
        "Configure a signer for the chain.";
    SIGNING = "RLY-CHAIN-011", "Signing failed",
        "The key could not sign.",
        "Stores and sends nothing.",
        "Report it.";
    CONFIG = "RLY-CHAIN-012", "Chain misconfigured",
        "The chain's settings contradict each other or an endpoint.",
        "Does not use the chain.",
        "Correct the section of the chain in the configuration.";
    DECODE = "RLY-CHAIN-013", "Log does not decode",
        "A contract at one of our addresses emitted what ours never does.",
        "Stops reading the chain: a skipped log could be a payment.",
        "Check the contract addresses in the configuration.";
    NO_COMMON_BLOCK = "RLY-CHAIN-014", "Reorg deeper than memory",
        "The chain no longer contains any block this database has walked.",
        "Stops reading the chain.",
        "Check that the endpoints serve the right chain; then recover the database.";
    STORE = "RLY-CHAIN-015", "Database failed under a chain operation",
        "The database refused or lost a write.",
        "Tries again; nothing was sent that is not stored.",
        "Check the database.";
    DRY_RUN = "RLY-CHAIN-016", "Dry run",
        "The process runs with --dry-run: the transaction was simulated and priced; the message says what it would have been.",
        "Signs and sends nothing; looks again later.",
        "Start without --dry-run to send.";
    RECOVERY_NEEDED = "RLY-RECOVER-001", "The database must be recovered first",
        "A chain knows of transactions or messages this database does not: it was restored from an older copy, or begun anew while the contracts \
         have a history, or a signing key is used elsewhere.",
        "Sends nothing on that chain, and seals nothing that would leave it: what it would send may have been sent before. It goes on reading, \
         accepting, answering and ending settlements, and on the other chains it works as always.",
        "Stop whatever else uses the signing keys, run `relayer recover`, then have the coordinators submit again what they submitted since the \
         copy was made (docs/recovery.md). A relayer that runs meanwhile goes on by itself.";
    GATE_UNKNOWN = "RLY-RECOVER-002", "The chain has not been read up to the start",
        "It is not known yet whether the chain is ahead of this database: its logs must be read up to the height it had at the start.",
        "Sends nothing on that chain until then; that is a matter of seconds, unless the chain cannot be read.",
        "Nothing; when it lasts, look at the chain's endpoints and at the role `observer`.";
}

impl Coded for ChainError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::View {
                source: ViewError::Reverted { .. },
                ..
            } => REVERTS,
            Self::View { .. } => UNREADABLE,
            Self::FeeCap { .. } => FEE_CAP,
            Self::TxCap { .. } => TX_CAP,
            Self::DayCap { .. } => DAY_CAP,
            Self::FundsShort { .. } => FUNDS_SHORT,
            Self::ChainAhead { .. } => CHAIN_AHEAD,
            Self::IntentBound { .. } => INTENT_BOUND,
            Self::NoLease { .. } => NO_LEASE,
            Self::NoSigner { .. } => NO_SIGNER,
            Self::Signing { .. } => SIGNING,
            Self::Config { .. } => CONFIG,
            Self::Decode { .. } => DECODE,
            Self::NoCommonBlock { .. } => NO_COMMON_BLOCK,
            Self::DryRun(_) => DRY_RUN,
            Self::RecoveryNeeded { .. } => RECOVERY_NEEDED,
            Self::GateUnknown { .. } => GATE_UNKNOWN,
            Self::Store(_) => STORE,
        }
    }

    fn class(&self) -> Class {
        let retry = |seconds| Class::Retry {
            after: Duration::from_secs(seconds),
        };
        match self {
            Self::View { source, .. } => source.class(),
            Self::FeeCap { .. } | Self::TxCap { .. } | Self::FundsShort { .. } => retry(15),
            Self::DayCap { .. } | Self::ChainAhead { .. } | Self::NoCommonBlock { .. } => retry(60),
            Self::IntentBound { .. } | Self::DryRun(_) | Self::RecoveryNeeded { .. } => Class::NotYet,
            Self::NoLease { .. } | Self::GateUnknown { .. } => retry(1),
            Self::NoSigner { .. } | Self::Config { .. } | Self::Decode { .. } => Class::Reject,
            Self::Signing { .. } => Class::Bug,
            Self::Store(error) => error.class(),
        }
    }
}

/// Names what was attempted when a view failed.
pub(crate) trait Attempted<T> {
    fn attempted(self, attempted: &'static str) -> Result<T, ChainError>;
}

impl<T> Attempted<T> for Result<T, ViewError> {
    fn attempted(self, attempted: &'static str) -> Result<T, ChainError> {
        self.map_err(|source| ChainError::View { attempted, source })
    }
}
