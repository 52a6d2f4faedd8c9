//! The router chooses the lane a sealed message takes, and the next one when the first holds it up.
//!
//! Reads messages in `Sealed`. Writes dispatches in `Planned` with the decision that led to them; drops dispatches that were never
//! sent and abandons a batch (its settlements go back to `Accepted`) when no lane is left that it has not used. A hub's checkpoint is
//! carried like a batch of value zero, and never abandoned here.
//!
//! A message needs as many bridge families on their way as its tier asks for ([`cover`]). Every configured lane between its chains is
//! asked for a quote and ranked ([`choose`]); lanes that hold something up come last. A quote above the cap is asked for again later:
//! nothing is ever dropped for its price. A stalled dispatch does not count as on its way, so the *same* message goes over the next
//! lane; the first one may still arrive, and the inbox pays a nonce once whichever does. When every dispatch is overdue and no lane
//! is left, [`abandon`] says when its settlements are batched again; the new message ranks the stalled lanes last.
//!
//! Before that, what the database says about each lane is read anew ([`standing`]): an operator's word, what its contracts say against
//! it ([`watch`]), how its last dispatches fared
//! ([`health`]), and the circuit breaker that follows from them ([`breaker`]); a lane that is shut is asked for nothing. Fees have the
//! lowest of three caps ([`cap`]), fees and amounts meet in one unit ([`crate::settlement::price`]), and the value that depends on a lane or a bridge at once
//! is checked in the transaction that inserts the dispatch.
//!
//! The decision is stored as JSON on the dispatch: every lane with its quote or refusal, the winner, and why. [`Router::quote`] gives
//! the same answers for a message that does not exist yet.

pub mod abandon;
mod ask;
pub mod breaker;
pub mod cap;
pub mod choose;
pub mod cover;
mod error;
pub mod health;
mod plan;
mod service;
mod show;
pub mod standing;
mod watch;

pub use crate::settlement::policy::RoutePolicy;
pub use crate::settlement::price::{Coin, Price, PriceSource, StaticPrices};
pub use abandon::Patience;
pub use ask::Hypothetical;
pub use breaker::BreakerRule;
pub use cap::CapRule;
pub use choose::{Answer, Offer};
pub use error::{CODES, RouterError};
pub use service::{Router, RouterParams};
pub use standing::{BridgeLimits, HistoryRule};
pub use watch::{LaneWatch, WatchParams};

#[cfg(test)]
mod tests;
