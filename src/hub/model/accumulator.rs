//! The parent-chain accumulator: a running hash of what happened on the chain, which a checkpoint names as its basis. A slot is reused every five
//! eons and never cleared, so a follower starts from what the chain holds, not from zero.

use super::eon::{EONS_KEPT, Eon};
use super::preimage::{hash, word};
use alloy::primitives::{Address, B256, U256};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    Deposit = 0,
    /// Requested, not confirmed.
    Withdrawal = 1,
    /// A slashed request.
    Cancellation = 2,
}

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParentOperation {
    pub eon: Eon,
    pub token: Address,
    pub participant: Address,
    pub operation: Operation,
    pub value: U256,
}

impl ParentOperation {
    /// `K(accumulator | eon u256 | token | participant | operation u8 | value u256)`; 137 bytes, addresses unhashed.
    pub fn step(&self, accumulator: B256) -> B256 {
        hash::<137>(&[
            accumulator.as_slice(),
            &word(U256::from(self.eon.0)),
            self.token.as_slice(),
            self.participant.as_slice(),
            &[self.operation as u8],
            &word(self.value),
        ])
    }
}

/// The five slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accumulator {
    slots: [B256; EONS_KEPT],
}

impl Accumulator {
    /// As read from the contract (`getParentChainAccumulatorAtSlot`); all zero at its deployment only.
    pub fn from_slots(slots: [B256; EONS_KEPT]) -> Self {
        Self { slots }
    }

    pub fn slots(&self) -> &[B256; EONS_KEPT] {
        &self.slots
    }

    /// The slot of an eon: what a checkpoint of the eon after it must name, once that eon is over.
    pub fn at(&self, eon: Eon) -> B256 {
        self.slots.get(eon.slot()).copied().unwrap_or_default()
    }

    /// Follows one operation.
    pub fn append(&mut self, operation: &ParentOperation) {
        if let Some(slot) = self.slots.get_mut(operation.eon.slot()) {
            *slot = operation.step(*slot);
        }
    }
}
