//! The only user of sea-orm. One file per aggregate; every write goes through a [`Txn`], which appends the events of what it changed.
//!
//! Layout: [`open`] opens and migrates, [`txn`] transactions, events and compare-and-set, [`lease`] claims, [`codec`] columns,
//! then one file per aggregate. `entity/` are the rows.

pub mod account;
pub mod codec;
mod entity;
mod error;
pub mod lease;
pub mod message;
mod open;
pub mod posting;
pub mod settlement;
pub mod settlement_accept;
pub mod settlement_apply;
#[cfg(test)]
pub(crate) mod testing;
mod txn;

pub use account::{Account, AccountKey, AccountKind, Balance};
pub use error::StoreError;
pub use lease::{Claim, LeaseClock, SystemLeaseClock};
pub use message::{Message, MessageLeaf, MessagePatch};
pub use open::{Durability, Store, StoreConfig};
pub use posting::{Cause, NewPosting, Posting};
pub use settlement::{AuthKind, CoveredReceipt, Evidence, GroupMember, Settlement, SettlementFilter};
pub use settlement_accept::{Accept, NewSettlement};
pub use settlement_apply::{Ending, Payment};
pub use txn::{NewEvent, Txn};

#[cfg(test)]
mod tests;
