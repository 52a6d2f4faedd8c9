//! Deploys and wires our contracts on any chain, from a file, idempotently.
//!
//! Layout: [`plan`] the file an operator writes, [`deployment`] what exists so far, [`artifacts`] the compiled contracts,
//! [`deployer`] puts contracts on a chain, [`wiring`] connects them. Nothing here is secret but the key named by the file.

pub mod artifacts;
pub mod deployer;
pub mod deployment;
pub mod plan;
pub mod wiring;
