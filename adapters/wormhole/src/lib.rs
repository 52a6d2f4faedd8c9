//! Wormhole: messages cross as VAAs of our port, which guardians sign and anybody may submit. We submit them ourselves.
//!
//! Layout: [`config`] what an operator names, [`abi`] and [`revert`] the hand-written ABI and what reverts mean, [`vaa`] the wire format,
//! [`endorsement`] whose signatures count, [`source`] the guardians' public REST, [`evidence`] what is kept about a sent message,
//! [`adapter`] the trait over them, [`gather`] from a reference to a VAA that can be submitted.
//!
//! What shapes this crate: VAA bytes are no identity (signer subsets, relabelled sets and malleated signatures all name one body), so a VAA is
//! taken apart into a body and the addresses that signed it, and put together again for the guardian set the target chain has now. That one
//! step tolerates lying endpoints, trims to the quorum and repairs a set that expired. "Received" comes from our own inbox.

mod abi;
mod adapter;
mod config;
mod endorsement;
mod evidence;
mod gather;
mod inspect;
mod revert;
mod source;
mod vaa;

#[cfg(test)]
mod tests;

pub use adapter::WormholeAdapter;
pub use config::{ConfigError, WormholeChain, WormholeConfig};
pub use endorsement::{Endorsed, GuardianSet, quorum};
pub use revert::explain as explain_revert;
pub use source::{Answer, RestGuardian, VaaName, VaaSource};
pub use vaa::{Body, Signature, Vaa, VaaError};
