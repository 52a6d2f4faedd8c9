//! Takes settlements in: verified, reserved and durable, or refused with nothing stored.
//!
//! States written: Accepted. Path of one request: [`verify`] on a CPU pool (receipts, terms, signature), [`authorize`] when the signer is
//! not the payer itself, then one bounded queue to one writer, which commits whatever queued up while it committed the last batch:
//! [`judge`] against what the target chain says, reserve, commit, answer. A full queue refuses.

pub mod authorize;
mod error;
pub mod judge;
pub mod policy;
pub mod request;
mod service;
pub mod verify;
mod writer;

pub use error::{CODES, IntakeError, Refusal};
pub use policy::{CoordinatorPolicy, IntakePolicy, TargetPolicy};
pub use request::{Accepted, RequestedTerms, SubmitRequest};
pub use service::Intake;
pub use writer::IntakeWriter;

#[cfg(test)]
mod tests;
