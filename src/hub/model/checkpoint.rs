//! The checkpoint of one eon: a token tree over the account trees. The contract is told its root only.

use super::interval::IntervalTree;
use super::preimage;
use super::proof::AllotmentProof;
use super::tree::{HashTree, TreeError};
use alloy::primitives::{Address, B256, U256};

/// The account tree of one token.
#[derive(Debug, Clone)]
pub struct TokenCommitment {
    pub token: Address,
    pub accounts: IntervalTree,
}

/// All tokens of one eon, in the order of their trails.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    contract: Address,
    tokens: Vec<TokenCommitment>,
    tree: HashTree,
}

/// What speaks against these tokens having trails 0, 1, 2, …: the first must be the contract, and none may be there twice.
pub(super) fn check_tokens(contract: Address, tokens: impl IntoIterator<Item = Address>) -> Result<(), TreeError> {
    let mut seen = std::collections::BTreeSet::new();
    for (trail, token) in tokens.into_iter().enumerate() {
        if trail == 0 && token != contract {
            return Err(TreeError::FirstToken);
        }
        if !seen.insert(token) {
            return Err(TreeError::TokenTwice(token));
        }
    }
    if seen.is_empty() {
        Err(TreeError::FirstToken)
    } else {
        Ok(())
    }
}

/// The tree over tokens in the order of their trails, each with the root of its accounts and its upper bound.
pub fn token_tree(contract: Address, tokens: &[(Address, B256, U256)]) -> Result<HashTree, TreeError> {
    check_tokens(contract, tokens.iter().map(|(token, ..)| *token))?;
    let leaf = |(_, root, upper_bound): &(Address, B256, U256)| preimage::token_leaf(*root, *upper_bound);
    HashTree::new(tokens.iter().map(leaf).collect())
}

/// A trail as an index.
fn position(trail: u64, count: usize) -> Result<usize, TreeError> {
    usize::try_from(trail).map_err(|_| TreeError::NoSuchLeaf { leaf: trail, count })
}

impl Checkpoint {
    /// Tokens in the order of their trails; the first is the contract itself, which stands for the native coin.
    pub fn new(contract: Address, tokens: Vec<TokenCommitment>) -> Result<Self, TreeError> {
        let leaf = |token: &TokenCommitment| (token.token, token.accounts.root(), token.accounts.upper_bound());
        let tree = token_tree(contract, &tokens.iter().map(leaf).collect::<Vec<_>>())?;
        Ok(Self { contract, tokens, tree })
    }

    pub fn contract(&self) -> Address {
        self.contract
    }

    pub fn tokens(&self) -> &[TokenCommitment] {
        &self.tokens
    }

    /// What `submitCheckpoint` is given.
    pub fn root(&self) -> B256 {
        self.tree.root()
    }

    /// Siblings of a token's leaf, bottom up.
    pub fn membership_chain(&self, token_trail: u64) -> Result<Vec<B256>, TreeError> {
        self.tree.proof(position(token_trail, self.tokens.len())?)
    }

    /// The proof of the account with this trail under the token with that trail.
    pub fn proof(&self, token_trail: u64, trail: u64) -> Result<AllotmentProof, TreeError> {
        let membership_chain = self.membership_chain(token_trail)?;
        let accounts = &self.token(token_trail)?.accounts;
        let at = position(trail, accounts.len())?;
        let siblings = accounts.proof(at)?;
        Ok(AllotmentProof {
            interval: accounts.interval(at)?,
            trail,
            allotment_chain: siblings.chain,
            values: siblings.values,
            token_trail,
            membership_chain,
        })
    }

    fn token(&self, trail: u64) -> Result<&TokenCommitment, TreeError> {
        let count = self.tokens.len();
        let there = self.tokens.get(position(trail, count)?);
        there.ok_or(TreeError::NoSuchLeaf { leaf: trail, count })
    }
}
