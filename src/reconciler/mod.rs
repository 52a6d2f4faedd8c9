//! Books what is final, ends settlements on proof, and compares the books with the chain.
//!
//! States written: settlements Settled, Expired, Burned, Superseded, Cancelled, back to Delivered when finality broke, Disputed; leaves
//! and messages follow. Nothing ends but on a finalized block, and no difference is ever adjusted.
//!
//! Layout: [`runs`] what a transaction paid to whom (pure), [`apply`] final logs to postings and ends, [`reverse`] logs that finality lost,
//! [`expiry`] proof that a deadline passed unused, [`costs`] gas and bridge fees, [`sweep`] the comparison, [`forged`] votes
//! that no outbox explains, [`service`] the step. Beside it the three-way comparison settlement by settlement (docs/reconciliation.md):
//! [`compare`] what differs and what would put it right (pure), [`intervals`] which blocks are read next (pure), [`reading`] a stretch of them
//! with its proof, [`one_sided`] logs only one side has, [`examine`] brings both together, [`auditor`] the loop, [`pass`] all of the books at once, [`report`] and [`repair`] for
//! `relayer reconcile`.

mod apply;
mod auditor;
pub mod compare;
mod costs;
mod error;
mod examine;
mod expiry;
mod forged;
mod intervals;
mod one_sided;
mod pass;
mod reading;
mod repair;
mod report;
mod reverse;
pub mod runs;
mod service;
pub mod sweep;

pub use auditor::{Auditor, AuditorParams};
pub use error::{CODES, DISPUTE, ReconcilerError};
pub use examine::payment_on_chain;
pub use forged::Origin;
pub use pass::{Passed, pass};
pub use repair::{ChainBooks, RepairLine, Repaired};
pub use report::{Action, ChainReport, Difference, Report, Since, reconcile};
pub use service::{Reconciler, ReconcilerParams, TargetContracts};

#[cfg(test)]
mod auditor_tests;
#[cfg(test)]
mod compare_tests;
#[cfg(test)]
mod forged_tests;
#[cfg(test)]
mod model;
#[cfg(test)]
mod one_sided_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
