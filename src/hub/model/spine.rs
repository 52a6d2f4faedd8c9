//! The tree of one token without its lower half: accounts are hashed [`CHUNK`] at a time and only the roots of these pieces are kept, 64 bytes
//! for 1,024 accounts. Building needs no more memory than a piece takes, and a proof needs one piece of accounts again.

use super::account::{Allotment, TokenPrefix, append, padding_content};
use super::interval::{Interval, IntervalProof, IntervalTree, IntervalTreeBuilder, build, padding_node};
use super::tree::{TreeError, depth};
use alloy::primitives::{Address, B256, U256};
use rayon::prelude::*;

/// Height of a piece: ten levels, so that a proof costs some 2,000 hashes, a millisecond.
const CHUNK_HEIGHT: usize = 10;
/// Accounts of a piece.
pub const CHUNK: usize = 1 << CHUNK_HEIGHT;
/// Of a stored piece: root and where it ends.
const NODE_BYTES: usize = 64;

/// Accounts as they come, in the order of their trails.
#[derive(Debug, Clone)]
pub struct SpineBuilder {
    prefix: TokenPrefix,
    /// Not enough for a piece yet.
    pending: Vec<Allotment>,
    bounds: Vec<U256>,
    nodes: Vec<B256>,
    count: usize,
}

/// A piece of a token's tree.
fn piece(
    prefix: &TokenPrefix,
    start: U256,
    allotments: &[Allotment],
    height: usize,
) -> Result<IntervalTree, TreeError> {
    let mut tree = IntervalTreeBuilder::starting_at(start, padding_content(), allotments.len());
    append(&mut tree, prefix, allotments)?;
    Ok(tree.finish_at(height))
}

impl SpineBuilder {
    pub fn new(contract: Address, token: Address) -> Self {
        Self {
            prefix: TokenPrefix::new(contract, token),
            pending: Vec::new(),
            bounds: vec![U256::ZERO],
            nodes: Vec::new(),
            count: 0,
        }
    }

    /// Accounts so far.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Appends the accounts with the next trails; full pieces are hashed on all threads of the current rayon pool. After an error the tree is
    /// of no use.
    pub fn extend(&mut self, allotments: &[Allotment]) -> Result<(), TreeError> {
        self.count = self.count.saturating_add(allotments.len());
        self.pending.extend_from_slice(allotments);
        let full = self.pending.len().checked_div(CHUNK).unwrap_or_default();
        if full == 0 {
            return Ok(());
        }
        let rest = self.pending.split_off(full.saturating_mul(CHUNK));
        let ready = std::mem::replace(&mut self.pending, rest);
        self.hash(&ready)
    }

    /// Hashes pieces; the last may be smaller.
    fn hash(&mut self, ready: &[Allotment]) -> Result<(), TreeError> {
        let mut starts = Vec::new();
        for accounts in ready.chunks(CHUNK) {
            let start = self.bounds.last().copied().unwrap_or_default();
            let end = accounts
                .iter()
                .try_fold(start, |end, allotment| end.checked_add(allotment.amount));
            let leaf = self.nodes.len().saturating_add(starts.len()).saturating_mul(CHUNK);
            self.bounds.push(end.ok_or(TreeError::Overflow { leaf })?);
            starts.push(start);
        }
        let prefix = self.prefix;
        let roots: Result<Vec<B256>, TreeError> = ready
            .par_chunks(CHUNK)
            .zip(starts.par_iter())
            .map(|(accounts, start)| piece(&prefix, *start, accounts, CHUNK_HEIGHT).map(|tree| tree.root()))
            .collect();
        self.nodes.extend(roots?);
        Ok(())
    }

    /// No accounts at all are one leaf of padding.
    pub fn finish(mut self) -> Result<Spine, TreeError> {
        let pending = std::mem::take(&mut self.pending);
        if self.nodes.is_empty() {
            // One piece, whose tree is only as high as it must be.
            let tree = piece(&self.prefix, U256::ZERO, &pending, depth(pending.len())?)?;
            self.bounds.push(tree.upper_bound());
            self.nodes.push(tree.root());
        } else if !pending.is_empty() {
            self.hash(&pending)?;
        }
        Spine::of(self.count, self.bounds, self.nodes)
    }
}

/// The roots of all pieces and what is above them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spine {
    count: usize,
    /// Height of every piece.
    height: usize,
    bounds: Vec<U256>,
    nodes: Vec<B256>,
    above: IntervalTree,
}

impl Spine {
    fn of(count: usize, bounds: Vec<U256>, nodes: Vec<B256>) -> Result<Self, TreeError> {
        let whole = depth(count)?;
        let height = whole.min(CHUNK_HEIGHT);
        let end = bounds.last().copied().unwrap_or_default();
        let pad = padding_node(padding_content(), end, height);
        let above = build(bounds.clone(), nodes.clone(), height, whole.saturating_sub(height), pad);
        Ok(Self {
            count,
            height,
            bounds,
            nodes,
            above,
        })
    }

    /// Accounts, without the padding.
    pub fn count(&self) -> usize {
        self.count
    }

    pub fn root(&self) -> B256 {
        self.above.root()
    }

    pub fn upper_bound(&self) -> U256 {
        self.above.upper_bound()
    }

    /// Trails of the accounts that [`Spine::proof`] needs for one of them.
    pub fn piece_of(&self, trail: u64) -> Result<std::ops::Range<u64>, TreeError> {
        let count = self.count as u64;
        if trail >= count {
            return Err(TreeError::NoSuchLeaf {
                leaf: trail,
                count: self.count,
            });
        }
        let first = trail & !(CHUNK as u64).saturating_sub(1);
        Ok(first..first.saturating_add(CHUNK as u64).min(count))
    }

    /// Interval and siblings of an account, from all accounts of its piece. Fails when these are not what the tree was built of.
    pub fn proof(
        &self,
        prefix: &TokenPrefix,
        accounts: &[Allotment],
        trail: u64,
    ) -> Result<(Interval, IntervalProof), TreeError> {
        let range = self.piece_of(trail)?;
        let altered = TreeError::Altered { first: range.start };
        let number = usize::try_from(range.start >> CHUNK_HEIGHT).map_err(|_| altered)?;
        let start = self.bounds.get(number).copied().ok_or(altered)?;
        let tree = piece(prefix, start, accounts, self.height)?;
        if accounts.len() as u64 != range.end.saturating_sub(range.start)
            || Some(&tree.root()) != self.nodes.get(number)
        {
            return Err(altered);
        }
        let leaf = usize::try_from(trail.saturating_sub(range.start)).map_err(|_| altered)?;
        let mut proof = tree.proof(leaf)?;
        let above = self.above.proof(number)?;
        proof.chain.extend(above.chain);
        proof.values.extend(above.values);
        Ok((tree.interval(leaf)?, proof))
    }

    /// Count, then end and root of every piece.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = (self.count as u64).to_be_bytes().to_vec();
        for (end, node) in self.bounds.iter().skip(1).zip(&self.nodes) {
            bytes.extend(end.to_be_bytes::<32>());
            bytes.extend(node);
        }
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TreeError> {
        let stored = TreeError::Stored(bytes.len());
        let (count, rest) = bytes.split_first_chunk::<8>().ok_or(stored)?;
        let count = usize::try_from(u64::from_be_bytes(*count)).map_err(|_| stored)?;
        if rest.len() != count.div_ceil(CHUNK).max(1).saturating_mul(NODE_BYTES) {
            return Err(stored);
        }
        let (mut bounds, mut nodes) = (vec![U256::ZERO], Vec::new());
        for entry in rest.chunks_exact(NODE_BYTES) {
            let (end, node) = entry.split_at(32);
            bounds.push(U256::from_be_slice(end));
            nodes.push(B256::from_slice(node));
        }
        Self::of(count, bounds, nodes)
    }
}
