//! Verdicts of `relayer hub verify`: everything a checkpoint states is computed again from what it commits to. Hashes are recomputed bottom up from
//! the fields, never from stated hashes; proofs are checked against the stated root.

use super::account::{AccountTreeBuilder, TokenPrefix};
use super::checkpoint;
use super::document::{AccountDocument, Decimal, Document, TokenDocument};
use super::interval::IntervalTree;
use super::preimage;
use super::proof::{ProofError, verify_membership};
use super::tree::HashTree;
use alloy::primitives::{Address, B256, U256};
use serde::Serialize;
use std::fmt::Display;

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Tokens have trails 0, 1, 2, …; the first is the contract; none is there twice.
    Tokens,
    /// The root over all tokens.
    CheckpointRoot,
    /// Accounts have trails 0, 1, 2, …; their intervals follow one another from 0 to the upper bound.
    Intervals,
    /// The root over a token's accounts.
    AccountRoot,
    /// The token's leaf: root and upper bound.
    TokenLeaf,
    /// The token's leaf is under the checkpoint root.
    MembershipProof,
    /// The account without its interval.
    ContentHash,
    /// The account with its interval.
    LeafHash,
    /// The account's interval is under the checkpoint root, and is exclusive.
    AllotmentProof,
}

impl Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Tokens => "tokens",
            Self::CheckpointRoot => "checkpoint root",
            Self::Intervals => "intervals",
            Self::AccountRoot => "account root",
            Self::TokenLeaf => "token leaf",
            Self::MembershipProof => "membership proof",
            Self::ContentHash => "content hash",
            Self::LeafHash => "leaf hash",
            Self::AllotmentProof => "allotment proof",
        })
    }
}

/// One check of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub check: Check,
    /// Position in the input, from 0.
    pub checkpoint: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wallet: Option<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trail: Option<u64>,
    pub holds: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// All verdicts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub holds: bool,
    pub checks: usize,
    pub failed: usize,
    /// Root of each checkpoint as stated.
    pub roots: Vec<B256>,
    pub verdicts: Vec<Verdict>,
}

/// Judges checkpoints. An empty list holds nothing.
pub fn verify(documents: &[Document]) -> Report {
    let mut verdicts = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        let mut judge = Judge {
            checkpoint: index,
            token: None,
            verdicts: &mut verdicts,
        };
        judge.document(document);
    }
    let failed = verdicts.iter().filter(|verdict| !verdict.holds).count();
    Report {
        holds: failed == 0 && !verdicts.is_empty(),
        checks: verdicts.len(),
        failed,
        roots: documents
            .iter()
            .map(|document| document.checkpoint_merkle_root)
            .collect(),
        verdicts,
    }
}

/// Collects verdicts about one checkpoint.
struct Judge<'a> {
    checkpoint: usize,
    token: Option<Address>,
    verdicts: &'a mut Vec<Verdict>,
}

/// That what was computed is what is stated.
fn same(stated: B256, computed: B256) -> Result<(), String> {
    if stated == computed {
        Ok(())
    } else {
        Err(format!("stated {stated}, the contents give {computed}"))
    }
}

impl Judge<'_> {
    fn say(&mut self, check: Check, account: Option<&AccountDocument>, result: Result<(), impl Display>) {
        self.verdicts.push(Verdict {
            check,
            checkpoint: self.checkpoint,
            token: self.token,
            wallet: account.map(|account| account.wallet),
            trail: account.map(|account| account.trail),
            holds: result.is_ok(),
            reason: result.err().map(|reason| reason.to_string()),
        });
    }

    fn document(&mut self, document: &Document) {
        self.say(Check::Tokens, None, tokens(document));
        let mut leaves = Vec::with_capacity(document.tokens.len());
        for token in &document.tokens {
            self.token = Some(token.token);
            leaves.push(self.token(document, token));
        }
        self.token = None;
        let root = match leaves.into_iter().collect::<Option<Vec<B256>>>() {
            Some(leaves) => HashTree::new(leaves)
                .map_err(|error| error.to_string())
                .and_then(|tree| same(document.checkpoint_merkle_root, tree.root())),
            None => Err("not computed: the intervals of a token do not hold".to_owned()),
        };
        self.say(Check::CheckpointRoot, None, root);
    }

    /// The token's leaf as its accounts give it, if they give one.
    fn token(&mut self, document: &Document, token: &TokenDocument) -> Option<B256> {
        let tree = account_tree(document.contract, token);
        self.say(Check::Intervals, None, tree.as_ref().map(|_| ()));
        let computed = tree.ok().map(|tree| {
            let root = tree.root();
            (root, preimage::token_leaf(root, token.upper_bound.0))
        });
        let not_computed = || Err("not computed: the intervals do not hold".to_owned());
        let (root, leaf, proof) = match computed {
            None => (not_computed(), not_computed(), not_computed()),
            Some((root, leaf)) => (
                same(token.account_tree_root, root),
                same(token.token_leaf, leaf),
                verify_membership(
                    leaf,
                    token.token_trail,
                    &token.membership_chain,
                    document.checkpoint_merkle_root,
                )
                .map_err(|error| error.to_string()),
            ),
        };
        self.say(Check::AccountRoot, None, root);
        self.say(Check::TokenLeaf, None, leaf);
        self.say(Check::MembershipProof, None, proof);
        let prefix = TokenPrefix::new(document.contract, token.token);
        for account in &token.accounts {
            self.account(document, token, &prefix, account);
        }
        computed.map(|(_, leaf)| leaf)
    }

    fn account(&mut self, document: &Document, token: &TokenDocument, prefix: &TokenPrefix, account: &AccountDocument) {
        let content = prefix.content(&account.account());
        let leaf = preimage::interval_leaf(account.interval(), content);
        self.say(Check::ContentHash, Some(account), same(account.content_hash, content));
        self.say(Check::LeafHash, Some(account), same(account.leaf_hash, leaf));
        let proof = account
            .proof(token)
            .verify_content(content, document.checkpoint_merkle_root);
        let proof = proof.map_err(|error: ProofError| error.to_string());
        let proof = proof.and_then(|upper_bound| same_bound(token.upper_bound, upper_bound));
        self.say(Check::AllotmentProof, Some(account), proof);
    }
}

fn same_bound(stated: Decimal, proven: U256) -> Result<(), String> {
    if stated.0 == proven {
        Ok(())
    } else {
        Err(format!("stated upper bound {}, the proof gives {proven}", stated.0))
    }
}

fn tokens(document: &Document) -> Result<(), String> {
    in_order("token", document.tokens.iter().map(|token| token.token_trail))?;
    let tokens = document.tokens.iter().map(|token| token.token);
    checkpoint::check_tokens(document.contract, tokens).map_err(|error| error.to_string())
}

/// Trails are positions.
fn in_order(what: &str, trails: impl Iterator<Item = u64>) -> Result<(), String> {
    match trails.enumerate().find(|(index, trail)| *trail != *index as u64) {
        None => Ok(()),
        Some((index, trail)) => Err(format!("{what} {index} has trail {trail}")),
    }
}

/// The account tree, if the accounts are in order and their intervals follow one another from 0 to the upper bound.
fn account_tree(contract: Address, token: &TokenDocument) -> Result<IntervalTree, String> {
    in_order("account", token.accounts.iter().map(|account| account.trail))?;
    let mut end = U256::ZERO;
    let mut allotments = Vec::with_capacity(token.accounts.len());
    for account in &token.accounts {
        let (trail, interval) = (account.trail, account.interval());
        if interval.left != end {
            return Err(format!("account {trail} begins at {}, not at {end}", interval.left));
        }
        let ends_early = || format!("account {trail} ends at {}, before it begins", interval.right);
        allotments.push(account.allotment().ok_or_else(ends_early)?);
        end = interval.right;
    }
    if end != token.upper_bound.0 {
        return Err(format!("they end at {end}, the upper bound is {}", token.upper_bound.0));
    }
    let mut tree = AccountTreeBuilder::new(contract, token.token, allotments.len());
    tree.extend(&allotments).map_err(|error| error.to_string())?;
    tree.finish().map_err(|error| error.to_string())
}
