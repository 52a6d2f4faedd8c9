//! The interval tree of accounts and of passive transfers: leaf i owns `[left, right)` of one line, each begins where the one before ended, and
//! every node commits to the bounds of what is below it. A proof shows that an allotment is exclusive: nobody else's overlaps it.
//!
//! A million leaves are three flat arrays (bounds, leaf hashes, nodes), about 100 MB. Leaves may come in pieces, in order; each piece is hashed on
//! all threads of the current rayon pool.

use super::preimage;
use super::proof::ProofError;
use super::tree::{TreeError, check_trail, depth, fill, height};
use alloy::primitives::{B256, U256};

/// `[left, right)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Interval {
    pub left: U256,
    pub right: U256,
}

impl Interval {
    /// What is allotted, unless the bounds are the wrong way round.
    pub fn amount(&self) -> Option<U256> {
        self.right.checked_sub(self.left)
    }
}

/// Leaves as they come.
#[derive(Debug, Clone)]
pub struct IntervalTreeBuilder {
    bounds: Vec<U256>,
    leaves: Vec<B256>,
    padding: B256,
}

impl IntervalTreeBuilder {
    /// `padding` is the content of the leaves that fill up to a power of two. Room for `count` leaves spares copies later.
    pub fn new(padding: B256, count: usize) -> Self {
        Self::starting_at(U256::ZERO, padding, count)
    }

    /// A piece of a larger tree: the first leaf begins at `start`.
    pub(super) fn starting_at(start: U256, padding: B256, count: usize) -> Self {
        let mut bounds = Vec::with_capacity(count.saturating_add(1));
        bounds.push(start);
        Self {
            bounds,
            leaves: Vec::with_capacity(count),
            padding,
        }
    }

    /// Where the next leaf will begin: the sum of all amounts so far.
    pub fn end(&self) -> U256 {
        self.bounds.last().copied().unwrap_or_default()
    }

    /// Appends leaves in order. After an error the tree is as before.
    pub fn extend<T: Sync>(
        &mut self,
        items: &[T],
        amount: impl Fn(&T) -> U256,
        content: impl Fn(&T) -> B256 + Sync + Send,
    ) -> Result<(), TreeError> {
        let first = self.leaves.len();
        let mut end = self.end();
        for (index, item) in items.iter().enumerate() {
            let Some(next) = end.checked_add(amount(item)) else {
                self.bounds.truncate(first.saturating_add(1));
                return Err(TreeError::Overflow {
                    leaf: first.saturating_add(index),
                });
            };
            self.bounds.push(next);
            end = next;
        }
        let bounds = &self.bounds;
        fill(&mut self.leaves, items.len(), |index| {
            let interval = interval(bounds, first.saturating_add(index), 0);
            let content = items.get(index).map(&content).unwrap_or_default();
            preimage::interval_leaf(interval, content)
        });
        Ok(())
    }

    /// Builds what is above the leaves; no leaves at all are one leaf of padding.
    pub fn finish(self) -> Result<IntervalTree, TreeError> {
        let depth = depth(self.leaves.len())?;
        Ok(self.finish_at(depth))
    }

    /// The same up to this height, which is enough for the leaves.
    pub(super) fn finish_at(self, depth: usize) -> IntervalTree {
        let pad = padding_node(self.padding, self.end(), 0);
        build(self.bounds, self.leaves, 0, depth, pad)
    }
}

/// Hash of a subtree of padding of this height.
pub(super) fn padding_node(content: B256, end: U256, to: usize) -> B256 {
    let nothing = Interval { left: end, right: end };
    let leaf = preimage::interval_leaf(nothing, content);
    (0..to).fold(leaf, |pad, level| {
        preimage::interval_node(height(level), nothing, end, pad, pad)
    })
}

/// Builds `depth` levels above nodes that stand at height `base`; `pad` is the hash of padding of that height.
pub(super) fn build(bounds: Vec<U256>, nodes: Vec<B256>, base: usize, depth: usize, mut pad: B256) -> IntervalTree {
    let end = bounds.last().copied().unwrap_or_default();
    let nothing = Interval { left: end, right: end };
    let mut padding = vec![pad];
    let mut levels = vec![nodes];
    for level in 0..depth {
        let child_height = height(base.saturating_add(level));
        let mut next = Vec::new();
        if let Some(below) = levels.last() {
            fill(&mut next, below.len().div_ceil(2), |index| {
                let at = index.saturating_mul(2);
                let right = at.saturating_add(1);
                let child = |at: usize| below.get(at).copied().unwrap_or(pad);
                let whole = interval(&bounds, index, level.saturating_add(1));
                let mid = interval(&bounds, right, level).left;
                preimage::interval_node(child_height, whole, mid, child(at), child(right))
            });
        }
        levels.push(next);
        pad = preimage::interval_node(child_height, nothing, end, pad, pad);
        padding.push(pad);
    }
    IntervalTree {
        bounds,
        levels,
        padding,
    }
}

/// What node `index` of a level covers; padding covers nothing, at the end.
fn interval(bounds: &[U256], index: usize, level: usize) -> Interval {
    let bound = |index: usize| {
        // Depths are bounded, so only indices of padding could overflow, and those are beyond the last bound anyway.
        let leaf = 1_usize
            .checked_shl(height(level))
            .and_then(|span| index.checked_mul(span));
        let there = leaf.and_then(|leaf| bounds.get(leaf)).or(bounds.last());
        there.copied().unwrap_or_default()
    };
    Interval {
        left: bound(index),
        right: bound(index.saturating_add(1)),
    }
}

/// An interval tree with all its levels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntervalTree {
    /// Leaf i owns `bounds[i]..bounds[i + 1]`; the last is the upper bound.
    bounds: Vec<U256>,
    /// Leaves first. A level holds the nodes over at least one leaf; right of them is padding.
    levels: Vec<Vec<B256>>,
    /// Hash of a subtree of padding, by height.
    padding: Vec<B256>,
}

/// Siblings of a leaf, bottom up, and of each the bound that is further out: its left one where it stands on the left, else its right one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IntervalProof {
    pub chain: Vec<B256>,
    pub values: Vec<U256>,
}

impl IntervalTree {
    pub fn root(&self) -> B256 {
        self.node(self.depth(), 0)
    }

    /// Sum of all amounts.
    pub fn upper_bound(&self) -> U256 {
        self.bounds.last().copied().unwrap_or_default()
    }

    /// Leaves without the padding.
    pub fn len(&self) -> usize {
        self.levels.first().map_or(0, Vec::len)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Length of every proof.
    pub fn depth(&self) -> usize {
        self.levels.len().saturating_sub(1)
    }

    /// What leaf `leaf` owns.
    pub fn interval(&self, leaf: usize) -> Result<Interval, TreeError> {
        self.check(leaf)?;
        Ok(interval(&self.bounds, leaf, 0))
    }

    /// The proof of a leaf.
    pub fn proof(&self, leaf: usize) -> Result<IntervalProof, TreeError> {
        let mut proof = IntervalProof {
            chain: Vec::with_capacity(self.depth()),
            values: Vec::with_capacity(self.depth()),
        };
        self.proof_into(leaf, &mut proof)?;
        Ok(proof)
    }

    /// The proof of a leaf into a buffer, for whoever makes them all. Copies, hashes nothing.
    pub fn proof_into(&self, leaf: usize, proof: &mut IntervalProof) -> Result<(), TreeError> {
        self.check(leaf)?;
        proof.chain.clear();
        proof.values.clear();
        let mut at = leaf;
        for level in 0..self.depth() {
            let sibling = at ^ 1;
            let covers = interval(&self.bounds, sibling, level);
            proof.chain.push(self.node(level, sibling));
            proof.values.push(if at % 2 == 1 { covers.left } else { covers.right });
            at /= 2;
        }
        Ok(())
    }

    fn check(&self, leaf: usize) -> Result<(), TreeError> {
        if leaf < self.len() {
            return Ok(());
        }
        Err(TreeError::NoSuchLeaf {
            leaf: leaf as u64,
            count: self.len(),
        })
    }

    fn node(&self, level: usize, index: usize) -> B256 {
        let there = self.levels.get(level).and_then(|hashes| hashes.get(index));
        let padding = || self.padding.get(level).copied().unwrap_or_default();
        there.copied().unwrap_or_else(padding)
    }
}

/// Root and upper bound that a leaf and its siblings lead to, with the contract's checks: bounds in order at every height, the line beginning at 0.
pub fn climb(
    leaf: B256,
    interval: Interval,
    trail: u64,
    chain: &[B256],
    values: &[U256],
) -> Result<(B256, U256), ProofError> {
    if chain.len() != values.len() {
        return Err(ProofError::Lengths {
            chain: chain.len(),
            values: values.len(),
        });
    }
    check_trail(trail, chain.len())?;
    if interval.right < interval.left {
        return Err(ProofError::Inverted(interval));
    }
    let (mut hash, mut own, mut trail) = (leaf, interval, trail);
    for (level, (sibling, value)) in chain.iter().zip(values).enumerate() {
        let height = height(level);
        if trail % 2 == 1 {
            let whole = Interval { left: *value, ..own };
            hash = preimage::interval_node(height, whole, own.left, *sibling, hash);
            if *value > own.left {
                return Err(ProofError::Overlap {
                    level,
                    value: *value,
                    own,
                });
            }
            own = whole;
        } else {
            let whole = Interval { right: *value, ..own };
            hash = preimage::interval_node(height, whole, own.right, hash, *sibling);
            if *value < own.right {
                return Err(ProofError::Overlap {
                    level,
                    value: *value,
                    own,
                });
            }
            own = whole;
        }
        trail /= 2;
    }
    if !own.left.is_zero() {
        return Err(ProofError::NotFromZero(own.left));
    }
    Ok((hash, own.right))
}
