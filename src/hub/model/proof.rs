//! Proofs against a checkpoint root, judged as the contract does, and stricter where it is lax: see [`ProofError::Trail`].

use super::account::{Account, TokenPrefix};
use super::interval::{self, Interval};
use super::preimage;
use super::tree::{self, DEPTH_MAX};
use alloy::primitives::{Address, B256, U256};

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("checking a proof: {chain} hashes and {values} values, there must be as many of each")]
    Lengths { chain: usize, values: usize },
    #[error("checking a proof: {0} siblings are more than {DEPTH_MAX}")]
    TooDeep(usize),
    /// The contract ignores these bits, so that one account would answer to many trails; a wallet has one.
    #[error("checking a proof: trail {trail} is outside a tree of depth {depth}")]
    Trail { trail: u64, depth: usize },
    #[error("checking a proof: the allotment ends at {}, before it begins at {}", .0.right, .0.left)]
    Inverted(Interval),
    #[error("checking a proof: sibling {level} reaches to {value}, into {}..{}", .own.left, .own.right)]
    Overlap { level: usize, value: U256, own: Interval },
    #[error("checking a proof: it covers the line from {0}, not from 0")]
    NotFromZero(U256),
    #[error("checking a proof: it leads to root {found}, not {expected}")]
    Root { expected: B256, found: B256 },
    #[error("checking a proof: the passive set sums to {sum}, the account was credited {credited}")]
    PassiveSum { sum: U256, credited: U256 },
}

/// What shows that a wallet is allotted an interval of a token in a checkpoint, and that nobody else is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllotmentProof {
    pub interval: Interval,
    /// Index of the account; bit i set: sibling i stands on the left.
    pub trail: u64,
    pub allotment_chain: Vec<B256>,
    /// Of each sibling the bound that is further out.
    pub values: Vec<U256>,
    /// Index of the token: the contract knows it, a proof cannot choose it.
    pub token_trail: u64,
    pub membership_chain: Vec<B256>,
}

impl AllotmentProof {
    /// The token's upper bound, if the proof holds against this checkpoint root.
    pub fn verify(&self, contract: Address, token: Address, account: &Account, root: B256) -> Result<U256, ProofError> {
        let content = TokenPrefix::new(contract, token).content(account);
        self.verify_content(content, root)
    }

    /// The token's upper bound and the checkpoint root it leads to, whichever that is.
    pub fn lead(&self, contract: Address, token: Address, account: &Account) -> Result<(U256, B256), ProofError> {
        let content = TokenPrefix::new(contract, token).content(account);
        let leaf = preimage::interval_leaf(self.interval, content);
        let (account_root, upper_bound) =
            interval::climb(leaf, self.interval, self.trail, &self.allotment_chain, &self.values)?;
        let leaf = preimage::token_leaf(account_root, upper_bound);
        Ok((
            upper_bound,
            tree::climb(leaf, self.token_trail, &self.membership_chain)?,
        ))
    }

    /// The same for a content hash that is known already.
    pub fn verify_content(&self, content: B256, root: B256) -> Result<U256, ProofError> {
        let leaf = preimage::interval_leaf(self.interval, content);
        let (account_root, upper_bound) =
            interval::climb(leaf, self.interval, self.trail, &self.allotment_chain, &self.values)?;
        let leaf = preimage::token_leaf(account_root, upper_bound);
        verify_membership(leaf, self.token_trail, &self.membership_chain, root)?;
        Ok(upper_bound)
    }
}

/// Whether a leaf of a plain tree (token, transfer) is under this root at this trail.
pub fn verify_membership(leaf: B256, trail: u64, chain: &[B256], root: B256) -> Result<(), ProofError> {
    let found = tree::climb(leaf, trail, chain)?;
    if found == root {
        Ok(())
    } else {
        Err(ProofError::Root { expected: root, found })
    }
}

/// What shows that a passive transfer was delivered: it is in the recipient's passive set, and the set is credited in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassiveProof {
    /// `[position, position + amount)`.
    pub interval: Interval,
    pub trail: u64,
    pub chain: Vec<B256>,
    pub values: Vec<U256>,
}

impl PassiveProof {
    /// `checksum` is the transfer's; root and credited amount are those of the recipient's account leaf. The set may sum to less than was credited, as
    /// in the contract, never to more.
    pub fn verify(&self, checksum: B256, root: B256, credited: U256) -> Result<(), ProofError> {
        let leaf = preimage::interval_leaf(self.interval, checksum);
        let (found, sum) = interval::climb(leaf, self.interval, self.trail, &self.chain, &self.values)?;
        if found != root {
            return Err(ProofError::Root { expected: root, found });
        }
        if sum > credited {
            return Err(ProofError::PassiveSum { sum, credited });
        }
        Ok(())
    }
}
