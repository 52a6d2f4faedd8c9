//! Payout turns received messages into payments, and helps messages in that are stuck on the way.
//!
//! Reads messages in `Received`, executions whose transaction moved, and dispatches that are stalled or attested for long. Writes
//! executions (`Planned → Prepared → Submitted → Included → Finalized`, `Reverted`, backwards on a reorg), skip reasons on settlements,
//! and rescue transactions. A message becomes `Executed` when the reconciler has resolved its last leaf; a payment is booked there too.
//!
//! Paying: every leaf stands by what is known of it ([`plan`]); what was never tried goes in contiguous stretches cut to what fits a
//! transaction, what was left before goes apart. Each range is simulated at the newest block read ([`judge`]): what pays is sent, what
//! reverts or mostly cannot be paid is halved until the culprit is alone, what pays nothing waits with its reason stored and is
//! simulated again after a growing wait. So a poisoned settlement, an underfunded payer or a hostile token costs the others nothing.
//! Row, nonce, intent and signed bytes of an execution are stored in one database transaction, guarded by the message's lease.
//! Whatever is sent twice all the same is paid once: the inbox sees to that.
//!
//! [`rescue`] asks the adapter what anyone may do for a stuck message and does it, within caps. [`bundle`] is what a payee needs to do
//! all this alone.

pub mod bundle;
mod error;
mod gas;
pub mod judge;
pub mod mirror;
mod pay;
pub mod plan;
mod rescue;
mod service;
pub mod skip;

pub use bundle::{Bundle, BundleError, bundle_for};
pub use error::{CODES, PayoutError};
pub use service::{Payout, PayoutParams, RescueParams};

#[cfg(test)]
mod tests;
