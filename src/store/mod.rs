//! The only user of sea-orm. One file per aggregate; every write goes through a [`Txn`], which appends the events of what it changed.
//!
//! Layout: [`open`] opens and migrates, [`txn`] transactions, events and compare-and-set, [`lease`] claims, [`codec`] columns,
//! then one file per aggregate. `entity/` are the rows.

pub mod chain_cursor;
pub mod chain_log;
pub mod codec;
mod entity;
mod error;
pub mod lease;
mod open;
pub mod signer_lease;
pub mod tx;
mod tx_write;
mod txn;

#[cfg(test)]
mod chain_tests;

pub use chain_cursor::{Cursor, StoredBlock};
pub use chain_log::{ChainLog, LogStatus, NewChainLog};
pub use error::StoreError;
pub use lease::{Claim, LeaseClock, SystemLeaseClock};
pub use open::{Durability, Store, StoreConfig};
pub use signer_lease::{LeaseToken, SignerLease};
pub use tx::{AttemptRow, Inclusion, Intent, IntentKind, NewAttempt, NewTx, TxChange, TxId, TxRow};
pub use txn::{NewEvent, Txn};
