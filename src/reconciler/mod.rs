//! Books what is final, ends settlements on proof, and compares the books with the chain.
//!
//! States written: settlements Settled, Expired, Burned, Superseded, Cancelled, back to Delivered when finality broke, Disputed; leaves
//! and messages follow. Nothing ends but on a finalized block, and no difference is ever adjusted.
//!
//! Layout: [`runs`] what a transaction paid to whom (pure), [`apply`] final logs to postings and ends, [`reverse`] logs that finality lost,
//! [`expiry`] proof that a deadline passed unused, [`costs`] gas and bridge fees, [`sweep`] the comparison, [`forged`] votes
//! that no outbox explains, [`service`] the step.

mod apply;
mod costs;
mod error;
mod expiry;
mod forged;
mod reverse;
pub mod runs;
mod service;
pub mod sweep;

pub use error::{CODES, ReconcilerError};
pub use forged::Origin;
pub use service::{Reconciler, ReconcilerParams, TargetContracts};

#[cfg(test)]
mod forged_tests;
#[cfg(test)]
mod model;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
