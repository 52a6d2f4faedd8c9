//! The plain tree of tokens and of active transfers: leaves are given hashes, padded with 32 zero bytes to a power of two. Levels are flat
//! arrays; subtrees of padding only are not stored, their hash depends on the height alone.

use super::preimage;
use super::proof::ProofError;
use alloy::primitives::B256;
use rayon::prelude::*;

/// Deepest tree that is built or proven: a trail is 64 bits, the hub stores 32 proof hashes, and memory ends long before.
pub const DEPTH_MAX: usize = 32;
/// Fewer hashes than this are not worth handing to other threads: a hash takes a third of a microsecond, waking a thread some ten.
const PARALLEL_MIN: usize = 512;

/// Why a tree, or a proof from it, cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    #[error("building a tree: {0} leaves are more than a tree of depth {DEPTH_MAX} holds")]
    TooMany(usize),
    #[error("building an interval tree: the amounts up to leaf {leaf} do not fit 256 bits")]
    Overflow { leaf: usize },
    #[error("building a checkpoint: the first token must be the contract itself, which stands for the native coin")]
    FirstToken,
    #[error("building a checkpoint: token {0} is there twice")]
    TokenTwice(alloy::primitives::Address),
    #[error("making a proof: leaf {leaf} is not one of {count}")]
    NoSuchLeaf { leaf: u64, count: usize },
    #[error("making a proof: the accounts from {first} on are not those the tree was built of")]
    Altered { first: u64 },
    #[error("reading a stored tree: {0} bytes are none")]
    Stored(usize),
}

/// Levels above the leaves that `count` leaves need.
pub(super) fn depth(count: usize) -> Result<usize, TreeError> {
    let padded = count.max(1).checked_next_power_of_two();
    let depth = padded.map(|padded| padded.trailing_zeros() as usize);
    depth
        .filter(|depth| *depth <= DEPTH_MAX)
        .ok_or(TreeError::TooMany(count))
}

/// Appends `count` hashes to `level`, on all threads of the current rayon pool when there are many.
pub(super) fn fill(level: &mut Vec<B256>, count: usize, hash: impl Fn(usize) -> B256 + Sync + Send) {
    level.reserve(count);
    if count < PARALLEL_MIN {
        level.extend((0..count).map(hash));
    } else {
        level.par_extend((0..count).into_par_iter().with_min_len(PARALLEL_MIN).map(hash));
    }
}

/// Height as it enters a node's hash. Depths are bounded by [`DEPTH_MAX`].
pub(super) fn height(level: usize) -> u32 {
    u32::try_from(level).unwrap_or(u32::MAX)
}

/// A plain tree with all its levels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashTree {
    /// Leaves first. A level holds the nodes over at least one leaf; right of them is padding.
    levels: Vec<Vec<B256>>,
    /// Hash of a subtree of padding, by height.
    padding: Vec<B256>,
}

/// Hashes of subtrees of zero leaves, by height, `depth + 1` of them.
pub fn zero_subtrees(depth: usize) -> Vec<B256> {
    let mut hashes = vec![B256::ZERO];
    let mut last = B256::ZERO;
    for level in 0..depth {
        last = preimage::node(height(level), last, last);
        hashes.push(last);
    }
    hashes
}

impl HashTree {
    /// Over these leaves; none at all is one leaf of padding.
    pub fn new(leaves: Vec<B256>) -> Result<Self, TreeError> {
        let depth = depth(leaves.len())?;
        let padding = zero_subtrees(depth);
        let mut levels = vec![leaves];
        for (level, pad) in padding.iter().enumerate().take(depth) {
            let mut next = Vec::new();
            if let Some(below) = levels.last() {
                fill(&mut next, below.len().div_ceil(2), |index| {
                    let at = index.saturating_mul(2);
                    let child = |at: usize| below.get(at).copied().unwrap_or(*pad);
                    preimage::node(height(level), child(at), child(at.saturating_add(1)))
                });
            }
            levels.push(next);
        }
        Ok(Self { levels, padding })
    }

    pub fn root(&self) -> B256 {
        let depth = self.levels.len().saturating_sub(1);
        self.node(depth, 0)
    }

    /// Leaves without the padding.
    pub fn len(&self) -> usize {
        self.levels.first().map_or(0, Vec::len)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn node(&self, level: usize, index: usize) -> B256 {
        let there = self.levels.get(level).and_then(|hashes| hashes.get(index));
        let padding = || self.padding.get(level).copied().unwrap_or_default();
        there.copied().unwrap_or_else(padding)
    }

    /// Siblings of a leaf, bottom up; bit i of the trail, which is the leaf's index, says whether sibling i stands on the left.
    pub fn proof(&self, leaf: usize) -> Result<Vec<B256>, TreeError> {
        if leaf >= self.len() {
            return Err(TreeError::NoSuchLeaf {
                leaf: leaf as u64,
                count: self.len(),
            });
        }
        let depth = self.levels.len().saturating_sub(1);
        let mut at = leaf;
        let mut chain = Vec::with_capacity(depth);
        for level in 0..depth {
            chain.push(self.node(level, at ^ 1));
            at /= 2;
        }
        Ok(chain)
    }
}

/// A trail as far as it goes: the contract ignores bits above the proof's length, which would give one leaf many names, so they are refused here.
pub(super) fn check_trail(trail: u64, depth: usize) -> Result<(), ProofError> {
    if depth > DEPTH_MAX {
        return Err(ProofError::TooDeep(depth));
    }
    let above = trail.checked_shr(height(depth)).unwrap_or(0);
    if above != 0 {
        return Err(ProofError::Trail { trail, depth });
    }
    Ok(())
}

/// Root that a leaf and its siblings lead to.
pub fn climb(leaf: B256, trail: u64, chain: &[B256]) -> Result<B256, ProofError> {
    check_trail(trail, chain.len())?;
    let (mut hash, mut trail) = (leaf, trail);
    for (level, sibling) in chain.iter().enumerate() {
        let (left, right) = if trail % 2 == 1 {
            (*sibling, hash)
        } else {
            (hash, *sibling)
        };
        hash = preimage::node(height(level), left, right);
        trail /= 2;
    }
    Ok(hash)
}
