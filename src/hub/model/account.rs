//! Accounts of a token: what a wallet is allotted in an eon, and the state that goes with it.

use super::interval::{IntervalTree, IntervalTreeBuilder};
use super::preimage::{self, hash, word};
use super::tree::TreeError;
use alloy::primitives::{Address, B256, U256};

/// What a wallet received passively in the eon before. All zero when it received nothing: not the root of an empty tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passive {
    /// Root of the passive interval tree.
    pub checksum: B256,
    /// Sum received.
    pub amount: U256,
    /// Position of the last passive transfer it sent, 0 if none.
    pub marker: U256,
}

impl Passive {
    /// `K(root | amount u256 | marker u256)`; 96 bytes.
    fn hash(&self) -> B256 {
        hash::<96>(&[self.checksum.as_slice(), &word(self.amount), &word(self.marker)])
    }
}

/// What an account leaf commits to, besides its interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    pub wallet: Address,
    /// Checksum of the last active state both sides signed, zero if there is none.
    pub active_state_checksum: B256,
    pub passive: Passive,
}

/// An account and what it is allotted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allotment {
    pub account: Account,
    pub amount: U256,
}

/// The parts of an account's content that all accounts of one token share.
#[derive(Debug, Clone, Copy)]
pub struct TokenPrefix {
    contract: B256,
    token: B256,
    /// Most accounts received nothing passively; their hash is made once.
    no_passive: B256,
}

impl TokenPrefix {
    pub fn new(contract: Address, token: Address) -> Self {
        Self {
            contract: preimage::address(contract),
            token: preimage::address(token),
            no_passive: Passive::default().hash(),
        }
    }

    /// `K(K(contract) | K(token) | K(wallet) | K(passive) | active state checksum)`; 160 bytes.
    pub fn content(&self, account: &Account) -> B256 {
        let passive = if account.passive == Passive::default() {
            self.no_passive
        } else {
            account.passive.hash()
        };
        hash::<160>(&[
            self.contract.as_slice(),
            self.token.as_slice(),
            preimage::address(account.wallet).as_slice(),
            passive.as_slice(),
            account.active_state_checksum.as_slice(),
        ])
    }
}

/// Content of the leaves that fill an account tree up to a power of two: zero addresses, not the hub's.
pub fn padding_content() -> B256 {
    TokenPrefix::new(Address::ZERO, Address::ZERO).content(&Account::default())
}

/// Adds accounts to a tree's leaves.
pub(super) fn append(
    tree: &mut IntervalTreeBuilder,
    prefix: &TokenPrefix,
    allotments: &[Allotment],
) -> Result<(), TreeError> {
    tree.extend(
        allotments,
        |allotment| allotment.amount,
        |allotment| prefix.content(&allotment.account),
    )
}

/// Builds the account tree of one token from allotments in the order of their trails, in one piece or many.
///
/// The upper bound is the sum of the amounts, so a hub that holds more than its wallets own adds a leaf of its own for the rest.
#[derive(Debug, Clone)]
pub struct AccountTreeBuilder {
    prefix: TokenPrefix,
    tree: IntervalTreeBuilder,
}

impl AccountTreeBuilder {
    /// Room for `count` accounts spares copies later; any number may follow.
    pub fn new(contract: Address, token: Address, count: usize) -> Self {
        Self {
            prefix: TokenPrefix::new(contract, token),
            tree: IntervalTreeBuilder::new(padding_content(), count),
        }
    }

    /// Appends the accounts with the next trails. After an error the tree is as before.
    pub fn extend(&mut self, allotments: &[Allotment]) -> Result<(), TreeError> {
        append(&mut self.tree, &self.prefix, allotments)
    }

    pub fn finish(self) -> Result<IntervalTree, TreeError> {
        self.tree.finish()
    }
}
