//! The tracker knows where messages are between the two chains.
//!
//! Reads what the observers saw at the target inboxes (`message_received`, also when a reorg orphans it) and dispatches in `Included`
//! or `Finalized` that have not arrived. Writes the target column of dispatches (`Pending → Attested → Received`, backwards on a
//! reorg), messages between `Sealed` and `Received`, and their settlements to `Delivered` and back.
//!
//! Arrival is the inbox's word, never the bridge's: a message is received when as many distinct families as its tier asks for, among
//! the ports that are active, have brought it at the latest block ([`quorum`]). That is good news taken early, which is safe because
//! only the inbox decides what an execution pays; what ends a settlement is read at finality by the reconciler.
//!
//! In between, the adapter is asked where a message is, at blocks the observers have read, ever less often as it grows older. Its
//! answer is a note for people, the switch to `Attested`, and the ground for [`stall`]: a dispatch that is overdue against the configured
//! time-out and the lane's own history is flagged, which wakes the router. A stall is never a verdict about a settlement.

mod arrivals;
mod error;
pub mod quorum;
mod service;
pub mod stall;

pub use error::{CODES, TrackerError};
pub use service::{Tracker, TrackerParams};
pub use stall::StallRule;

#[cfg(test)]
mod tests;
