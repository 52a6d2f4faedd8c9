//! Recovery: makes a database that was restored from a copy, or begun anew, know again what the chains know (G10).
//!
//! Nothing here sends anything. Reads the chains up to a final block, then the outboxes' calldata: messages and their leaves, dispatches and
//! how far they are, nonces. Writes them where they are missing, gives up messages that were overtaken, raises sequences, the signers' epoch
//! and the order of events, and opens the gate (`chain::gate`). What only coordinators know, receipts and signed terms, they submit again: the
//! store attaches it (`store::settlement_recall`).
//!
//! Every write may be repeated: a run that was cut off is run again.
//!
//! Layout: this page; [`service`] the run; [`read`] what the logs and the calldata say of messages; [`report`] what came of it.

mod error;
mod read;
mod report;
mod service;

pub use error::{CODES, RecoverError};
pub use report::{ChainReport, Report, SignerReport};
pub use service::{Progress, Recover, RecoverChain, Standing};

#[cfg(test)]
mod tests;
