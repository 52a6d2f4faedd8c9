//! Hubs: off-chain ledgers that commit their state once per eon to a contract. [`model`] is what they compute, without any I/O.
//! [`observer`] judges them by their contracts, [`relay`] carries checkpoints to other chains, [`recorder`] brings them to the registries there,
//! [`registry`] reads those, [`verdict`] holds both against one another; [`ledger`] keeps a hub's ledger and builds its checkpoints.
//! docs/hub.md tells what a checkpoint is and how it travels.

pub mod ledger;
pub mod model;
pub mod observer;
pub mod recorder;
pub mod registry;
pub mod relay;
mod relay_error;
pub mod relay_plan;
pub mod verdict;

pub use recorder::Recorder;
pub use relay::{CheckpointRelay, HubLane};
pub use relay_error::{RELAY_CODES, RelayError};
