//! Settlement relayer.

pub mod ledger;
pub mod settlement;
