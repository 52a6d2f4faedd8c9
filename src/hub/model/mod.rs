//! The hub model, without any I/O or clock: NOCUST's eons, trees, proofs and checksums bit for bit, and what makes a checkpoint solvent.
//! docs/hub.md tells what a checkpoint is and lists every preimage.
//!
//! Layout: [`eon`] which block is in which eon and what may happen when; [`preimage`] the packed hashes of leaves and nodes; [`tree`] the plain
//! tree (tokens, transfers) and [`interval`] the interval tree (accounts, passive transfers), each with its proofs; [`account`] allotments and
//! the tree of one token, [`spine`] the same in pieces; [`checkpoint`] the tokens of one eon; [`proof`] a wallet's allotment under a checkpoint root; [`transfer`] and
//! [`state`] what wallets sign; [`accumulator`] the parent chain's operations; [`solvency`] the upper bound against what the contract holds;
//! [`document`] and [`verify`] `relayer hub verify`.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::float_arithmetic,
        clippy::unwrap_used,
        clippy::panic
    )
)]

pub mod account;
pub mod accumulator;
pub mod checkpoint;
pub mod document;
pub mod eon;
mod error;
pub mod interval;
pub mod preimage;
pub mod proof;
pub mod solvency;
pub mod spine;
pub mod state;
pub mod transfer;
pub mod tree;
pub mod verify;

pub use account::{Account, AccountTreeBuilder, Allotment, Passive};
pub use accumulator::{Accumulator, Operation, ParentOperation};
pub use checkpoint::{Checkpoint, TokenCommitment};
pub use document::{Document, DocumentError};
pub use eon::{ClockError, Eon, EonClock, Standing};
pub use error::{CODES, DOES_NOT_HOLD};
pub use interval::{Interval, IntervalTree, IntervalTreeBuilder};
pub use proof::{AllotmentProof, ProofError};
pub use solvency::{Backing, EonTotals, SolvencyError};
pub use spine::{CHUNK, Spine, SpineBuilder};
pub use tree::{HashTree, TreeError};

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod spine_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vector_tests;
#[cfg(test)]
mod verify_tests;
