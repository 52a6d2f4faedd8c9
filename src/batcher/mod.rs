//! Seals accepted settlements into messages.
//!
//! States read: settlements Accepted, due, not asked to cancel. States written: message Sealed, settlements Batched, in one transaction.
//! [`plan`] decides what goes together and when; [`service`] lists, seals and stores.

mod error;
pub mod plan;
mod service;

pub use error::{BatcherError, CODES};
pub use plan::BatchRule;
pub use service::{Batcher, BatcherParams};

#[cfg(test)]
mod tests;
