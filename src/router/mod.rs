//! The router chooses the lane a sealed message takes, and the next one when the first holds it up.
//!
//! Reads messages in `Sealed`. Writes dispatches in `Planned` with the decision that led to them; drops dispatches that were never
//! sent and abandons the message (its settlements go back to `Accepted`) when no lane is left that it has not used.
//!
//! A message needs as many bridge families on their way as its tier asks for ([`cover`]). Every configured lane between its chains is
//! asked for a quote and ranked ([`choose`]); lanes that hold something up come last. A quote above the cap is asked for again later:
//! nothing is ever dropped for its price. A stalled dispatch does not count as on its way, so the *same* message goes over the next
//! lane; the first one may still arrive, and the inbox pays a nonce once whichever does. When every dispatch is overdue and no lane
//! is left, [`abandon`] says when its settlements are batched again; the new message ranks the stalled lanes last.
//!
//! The decision is stored as JSON on the dispatch: every lane with its quote or refusal, the winner, and why. [`Router::quote`] gives
//! the same answers for a message that does not exist yet.

pub mod abandon;
pub mod choose;
pub mod cover;
mod error;
mod service;

pub use abandon::Patience;
pub use choose::{Answer, Offer, Policy};
pub use error::{CODES, RouterError};
pub use service::{Hypothetical, Router, RouterParams};

#[cfg(test)]
mod tests;
