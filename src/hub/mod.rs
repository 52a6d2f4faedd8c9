//! Hubs: off-chain ledgers that commit their state once per eon to a contract. [`model`] is what they compute, without any I/O;
//! [`observer`] judges them by their contracts; [`ledger`] keeps a hub's ledger and builds its checkpoints.
//! docs/hub.md tells what a checkpoint is.

pub mod ledger;
pub mod model;
pub mod observer;
