//! Devnet, demo and end-to-end tests: real anvil chains, the real protocol contracts, the real relayer binary.

pub mod bench;
pub mod carriage;
pub mod coordinator;
pub mod database;
pub mod demo;
pub mod deploy;
pub mod devnet;
pub mod dispatches;
pub mod harness;
pub mod leash;
pub mod metrics;
pub mod relayer_process;
pub mod witness;
