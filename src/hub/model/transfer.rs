//! Transfers and swaps: checksums, and the sets they are proven from.

use super::interval::{IntervalTree, IntervalTreeBuilder};
use super::preimage::{self, hash, word};
use super::tree::TreeError;
use alloy::primitives::{Address, B256, U256};

/// A transfer as one side's set holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// The other side: the recipient in the sender's set, the sender in the recipient's.
    pub counterparty: Address,
    pub amount: U256,
    /// The recipient's trail, in both sets.
    pub recipient_trail: u64,
    pub nonce: U256,
}

impl Transfer {
    /// Active: `K(K(counterparty) | amount u256 | recipient trail u64 | nonce u256)`; 104 bytes.
    pub fn checksum(&self) -> B256 {
        self.checksum_with(self.nonce)
    }

    /// Passive: the active form with [`passive_nonce`](Self::passive_nonce).
    pub fn passive_checksum(&self, position: Option<U256>) -> B256 {
        self.checksum_with(self.passive_nonce(position))
    }

    /// `K(position u256 | nonce u256)` as a number; a position that is not known yet is 2^256 - 1.
    pub fn passive_nonce(&self, position: Option<U256>) -> U256 {
        let position = position.unwrap_or(U256::MAX);
        hash::<64>(&[&word(position), &word(self.nonce)]).into()
    }

    fn checksum_with(&self, nonce: U256) -> B256 {
        hash::<104>(&[
            preimage::address(self.counterparty).as_slice(),
            &word(self.amount),
            &self.recipient_trail.to_be_bytes(),
            &word(nonce),
        ])
    }
}

/// An order to swap one token for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwapOrder {
    pub sell_token: Address,
    pub buy_token: Address,
    pub recipient_trail: u64,
    pub sell: U256,
    pub buy: U256,
    /// Balance of the sold token when the eon began; 2^256 - 1 in the recipient's set once the swap is complete or cancelled.
    pub start_balance: U256,
    pub nonce: U256,
}

impl SwapOrder {
    /// `K(K(sell token) | K(buy token) | recipient trail u64 | sell u256 | buy u256 | start balance u256 | nonce u256)`; 200 bytes.
    pub fn checksum(&self) -> B256 {
        hash::<200>(&[
            preimage::address(self.sell_token).as_slice(),
            preimage::address(self.buy_token).as_slice(),
            &self.recipient_trail.to_be_bytes(),
            &word(self.sell),
            &word(self.buy),
            &word(self.start_balance),
            &word(self.nonce),
        ])
    }
}

/// The tree of the passive transfers one wallet received in an eon, from (checksum, amount) in the order of their positions. A wallet that received
/// none has no tree: its checksum is zero.
pub fn passive_tree(transfers: &[(B256, U256)]) -> Result<IntervalTree, TreeError> {
    let mut tree = IntervalTreeBuilder::new(B256::ZERO, transfers.len());
    tree.extend(transfers, |(_, amount)| *amount, |(checksum, _)| *checksum)?;
    tree.finish()
}
