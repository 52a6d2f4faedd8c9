//! Hubs: off-chain ledgers that commit their state once per eon to a contract. [`model`] is what they compute, without any I/O.
//! [`observer`] judges them by their contracts, [`ledger`] keeps a hub's ledger and builds its checkpoints, [`relay`] carries checkpoints to other
//! chains, [`recorder`] brings them to the registries there, [`registry`] reads those, [`verdict`] holds both against one another. docs/hub.md
//! tells what a checkpoint is and how it travels.

pub mod carriage;
pub mod ledger;
pub mod model;
pub mod observer;
pub mod recorder;
pub mod registry;
pub mod relay;
mod relay_error;
pub mod relay_plan;
#[cfg(test)]
mod relay_tests;
pub mod signed;
pub mod verdict;

pub use recorder::Recorder;
pub use relay::{CheckpointRelay, HubLane};
pub(crate) use relay_error::NO_CHECKPOINT;
pub use relay_error::{RELAY_CODES, RelayError};
pub use signed::SignedCheckpoints;
