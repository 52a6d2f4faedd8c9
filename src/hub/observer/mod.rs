//! Judges hubs by their contracts: whether one stands still, and whether what was read of it is what the contract counts.
//!
//! States read: what the chain's observer stored of a hub's logs. States written: the hub's halt, its confirmed accumulator, the basis of its
//! checkpoints, whether one promises more than there is; drifts. [`contract`] asks, [`judge`] decides on halts, [`follow`] follows the
//! accumulator, [`check`] compares, [`backing`] holds promises against what backs them, [`service`] is the step.

pub mod backing;
pub mod check;
pub mod contract;
mod error;
pub mod follow;
pub mod judge;
mod service;

pub use error::{CODES, HubError};
pub use service::{HubObserver, HubObserverParams};

#[cfg(test)]
mod tests;
