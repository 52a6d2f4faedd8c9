//! Chainlink CCIP: messages cross as CCIP messages of our port, always out of order, so that one that is stuck delays only itself.
//!
//! Layout: [`config`] what an operator names, [`abi`] and [`revert`] the hand-written ABI and every error of the protocol, [`version`] which
//! protocol a lane speaks today, [`message`] a sent message of either version as it is stored, [`v1_6`] hashes and the commit tree, [`v2_0`] the
//! packed message, [`committee`] commit, state and manual execution of 1.6, [`verifiers`] the same for 2.0,
//! [`endpoint`] the REST its results come from, [`adapter`] the trait over them,
//! [`inspect`] what `doctor` asks, [`top_up`] tokens for a vault.
//!
//! What shapes this crate: CCIP moves lanes from version to version behind an unchanging Router, so the version is found anew for every send and
//! stored with it; a transaction that executes a message succeeds whether or not the message did, so estimates lie and verdicts come from state;
//! only SUCCESS is final, and "received" comes from our own inbox. CCIP 1.5 is recognised and refused.

pub mod abi;
mod adapter;
mod committee;
mod config;
mod endpoint;
mod inspect;
mod message;
mod read;
mod revert;
mod top_up;
pub mod v1_6;
mod v2_0;
mod verifiers;
mod version;

#[cfg(test)]
mod tests;

pub use adapter::CcipAdapter;
pub use config::{CcipChain, CcipConfig, ConfigError};
pub use endpoint::ResultsEndpoint;
pub use message::{MessageError, Sent};
pub use revert::explain as explain_revert;
pub use v2_0::PackedMessage;
pub use verifiers::{NoVerifierResults, Verified, VerifierResults};
pub use version::Version;
