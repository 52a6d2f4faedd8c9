//! Errors of recovery.

use crate::chain::ChainError;
use crate::error::{Coded, ErrorCode};
use crate::settlement::ChainId;
use crate::store::StoreError;
use alloy::primitives::Address;
use relayer_adapter_api::Class;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error("recovering: {0}")]
    Store(#[from] StoreError),
    #[error("recovering: {0}")]
    Chain(#[from] ChainError),
    #[error(
        "chain {chain} is not final up to block {wanted} yet, {waited_s} s after it was there: it is final up to {reached}"
    )]
    NotFinal {
        chain: ChainId,
        wanted: u64,
        reached: u64,
        waited_s: u64,
    },
    #[error(
        "signer {signer} goes on sending on chain {chain}: {settled} transactions are final, {counted} are known or waiting"
    )]
    Busy {
        chain: ChainId,
        signer: Address,
        settled: u64,
        counted: u64,
    },
    #[error("chain {chain}: the contract counts {counted} {what} up to block {block}, the logs tell of {logs}")]
    Incomplete {
        chain: ChainId,
        what: &'static str,
        counted: u128,
        logs: u64,
        block: u64,
    },
    #[error("chain {chain}: the calldata of {count} messages cannot be read, the first is {first}")]
    Unreadable {
        chain: ChainId,
        count: usize,
        first: String,
    },
}

macro_rules! codes {
    ($($name:ident = $code:literal, $title:literal, $meaning:literal, $relayer:literal, $you:literal;)+) => {
        $(const $name: ErrorCode = ErrorCode {
            code: $code, title: $title, meaning: $meaning, relayer: $relayer, you: $you,
        };)+

        /// Codes of this module, for docs/errors.md; those of the gate are with the chains.
        pub const CODES: &[ErrorCode] = &[$($name),+];
    };
}

codes! {
    STORE = "RLY-RECOVER-003", "Database failed under recovery",
        "The database refused or lost a read or a write.",
        "Stops; what was written stands, and the gate stays closed.",
        "Check the database, then run `relayer recover` again.";
    NOT_FINAL = "RLY-RECOVER-004", "A chain is not final yet",
        "Recovery adopts only what is final, and the chain did not get there in the time allowed.",
        "Stops; what was written stands, and the gate stays closed.",
        "Run `relayer recover` again, with a longer --wait if the chain takes long to become final.";
    BUSY = "RLY-RECOVER-005", "A signing key is in use",
        "Transactions of a signer wait in the endpoints' pools, or somebody goes on sending: another relayer on another database, or another program.",
        "Stops before it adopts the signer's nonces; the gate stays closed.",
        "Stop whatever uses the key; wait until its transactions are final, or replace those that will never be; then run `relayer recover` again.";
    UNREADABLE = "RLY-RECOVER-006", "Calldata of a message cannot be read",
        "The outbox sent a batch, and no endpoint has the transaction, or its calldata does not give the batch.",
        "Stops; without its leaves, the settlements in it could be sent a second time. The gate stays closed.",
        "Add an endpoint that has old transactions (an archive node is not needed, but a pruned index does not do), then run `relayer recover` \
         again; or accept that they may travel twice, which nobody is paid for, with --accept-unreadable.";
    INCOMPLETE = "RLY-RECOVER-007", "An endpoint left logs out",
        "A contract counts more messages or payments than its logs told of: an endpoint answered a range of blocks without them.",
        "Stops before it adopts the signers' nonces; the gate stays closed.",
        "Name endpoints you trust under `reconcile_rpc`, run `relayer reconcile --repair`, which reads the blocks again and stores what is missing, \
         then `relayer recover` again.";
}

impl Coded for RecoverError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Store(_) => STORE,
            Self::Chain(error) => error.code(),
            Self::NotFinal { .. } => NOT_FINAL,
            Self::Busy { .. } => BUSY,
            Self::Unreadable { .. } => UNREADABLE,
            Self::Incomplete { .. } => INCOMPLETE,
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::Chain(error) => error.class(),
            Self::NotFinal { .. } | Self::Busy { .. } => Class::Retry {
                after: Duration::from_secs(60),
            },
            Self::Unreadable { .. } | Self::Incomplete { .. } => Class::Reject,
        }
    }
}
