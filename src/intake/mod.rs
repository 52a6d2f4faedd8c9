//! Takes settlements in: verified, reserved and durable, or refused with nothing stored.
//!
//! States written: Accepted. Path of a request: [`service`] finds room for it (a full intake refuses, or lets a stream wait); [`pool`]
//! verifies whatever came in meanwhile in chunks on every core ([`verify`]: receipts, terms, signature) and asks ([`authorize`]) when the
//! signer is not the payer itself; [`writer`] commits whatever was verified while it committed the last batch: [`judge`] against what the
//! target chain says, reserve, commit, answer. No timers: an idle intake answers at once, a busy one works in larger pieces.
//!
//! A group of settlements under one signature takes the same way in pieces: [`verify::check`] says of each item everything but its
//! authorization, [`verify::Signed::over`] reads the group's signature once, [`verify::Checked::with`] joins the two, [`authorize`] judges
//! the word once, `Intake::room`, `Intake::on_pool` and `Intake::commit_group` find room, run on the cores, and have the writer store the
//! group and its items in one commit, each item with its own answer.

pub mod allotment;
pub mod authorize;
mod error;
pub mod group;
pub mod judge;
pub mod policy;
mod pool;
pub mod request;
mod service;
pub mod verify;
mod writer;

pub use allotment::{AllotmentClaim, AllotmentError, HubPolicy};
pub use error::{CODES, IntakeError, Refusal};
pub use group::{GroupAnswer, SubmitGroup};
pub use policy::{CoordinatorPolicy, IntakePolicy, TargetPolicy};
pub use request::{Accepted, RequestedTerms, SubmitRequest};
pub use service::Intake;
pub use writer::IntakeWriter;

#[cfg(test)]
mod tests;
