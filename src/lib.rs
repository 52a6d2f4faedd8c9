//! Cross-chain settlement relayer: signed job receipts in, providers paid on another chain, books balanced. See ARCHITECTURE.md.

pub mod chain;
pub mod clock;
pub mod config;
pub mod dispatcher;
pub mod error;
pub mod ledger;
pub mod metrics;
pub mod payout;
pub mod router;
pub mod settlement;
pub mod stage;
pub mod store;
pub mod supervisor;
#[cfg(test)]
pub(crate) mod testing;
pub mod tracker;

pub use relayer_adapter_api as adapter;
