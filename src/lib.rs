//! Cross-chain settlement relayer: signed job receipts in, providers paid on another chain, books balanced. See ARCHITECTURE.md.

pub mod api;
pub mod batcher;
pub mod chain;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dispatcher;
pub mod error;
pub mod hub;
pub mod intake;
pub mod ledger;
pub mod liveness;
pub mod metrics;
pub mod names;
pub mod payout;
pub mod reconciler;
pub mod recover;
pub mod router;
pub mod sampler;
pub mod settlement;
pub mod stage;
pub mod store;
pub mod supervisor;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod toy_bridge_tests;
pub mod tracker;
pub mod wiring;

pub use relayer_adapter_api as adapter;
