//! The dispatcher sends planned dispatches through our outbox and keeps them where their transaction is.
//!
//! Reads dispatches in `Planned` and those whose transaction moved. Writes the source column (`Prepared → Submitted → Included →
//! Finalized`, `Planned` again after a revert, backwards on a reorg) and moves the message's settlements between `Batched` and
//! `Dispatched`.
//!
//! Sending: the quote is renewed when it is old, the adapter builds the call, the sender plans it against the chain; then one database
//! transaction stores nonce, intent and signed bytes *and* the new state. A crash before it leaves a planned dispatch, a crash after it
//! a stored transaction that the engine sends: never both, never neither. The outbox refuses a second dispatch of one message over
//! one port as well; a dispatch it has already (a restored database, a reorg that brought an older send back) is found by its log and
//! *adopted*: followed by that log instead of by a transaction of ours.
//!
//! Everything else mirrors what the transaction engine found out ([`mirror`]). A revert plans again with a fresh quote after a growing
//! wait; several failures in a row mark the dispatch stalled, which lets the router take another lane.

mod error;
pub mod mirror;
mod service;

pub use error::{CODES, DispatcherError};
pub use service::{Dispatcher, DispatcherParams};

#[cfg(test)]
mod tests;
