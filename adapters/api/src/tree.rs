//! The Merkle tree of docs/wire.md section 3: tagged leaves and nodes, positional, odd node promoted.

use alloy::primitives::{B256, Keccak256};

/// Largest number of leaves in one message or group.
pub const LEAVES_MAX: usize = 1024;

/// Why a tree or a proof could not be made or did not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    #[error("a tree has 1 to {LEAVES_MAX} leaves, not {0}")]
    Count(usize),
    #[error("leaf range {lo}..{hi} is empty or outside 0..{count}")]
    Range { lo: usize, hi: usize, count: usize },
}

/// `keccak256(0x00 | id)`
pub fn leaf(id: B256) -> B256 {
    let mut hasher = Keccak256::new();
    hasher.update([0x00]);
    hasher.update(id);
    hasher.finalize()
}

/// `keccak256(0x01 | left | right)`
pub fn node(left: B256, right: B256) -> B256 {
    let mut hasher = Keccak256::new();
    hasher.update([0x01]);
    hasher.update(left);
    hasher.update(right);
    hasher.finalize()
}

/// All levels over `ids`, leaves first, root last.
fn levels(ids: &[B256]) -> Result<Vec<Vec<B256>>, TreeError> {
    if ids.is_empty() || ids.len() > LEAVES_MAX {
        return Err(TreeError::Count(ids.len()));
    }
    let mut levels = vec![ids.iter().copied().map(leaf).collect::<Vec<_>>()];
    while let Some(level) = levels.last().filter(|level| level.len() > 1) {
        let next = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => node(*left, *right),
                [odd] => *odd,
                _ => B256::ZERO, // chunks(2) yields one or two elements
            })
            .collect();
        levels.push(next);
    }
    Ok(levels)
}

/// Root over `ids` in the order given.
pub fn root(ids: &[B256]) -> Result<B256, TreeError> {
    let levels = levels(ids)?;
    Ok(levels
        .last()
        .and_then(|level| level.first())
        .copied()
        .unwrap_or_default())
}

/// Siblings that prove leaves `[lo, hi)` of the tree over `ids`, bottom up, left before right.
pub fn range_proof(ids: &[B256], lo: usize, hi: usize) -> Result<Vec<B256>, TreeError> {
    if lo >= hi || hi > ids.len() {
        return Err(TreeError::Range {
            lo,
            hi,
            count: ids.len(),
        });
    }
    let (mut lo, mut hi) = (lo, hi);
    let mut proof = Vec::new();
    for level in levels(ids)?.iter().take_while(|level| level.len() > 1) {
        if lo % 2 == 1 {
            lo -= 1;
            proof.push(level[lo]);
        }
        if hi % 2 == 1 && hi < level.len() {
            proof.push(level[hi]);
            hi += 1;
        }
        lo /= 2;
        hi = hi.div_ceil(2);
    }
    Ok(proof)
}

/// Whether `proof` proves that `ids` are leaves `[lo, lo + ids.len())` of a tree of `count` leaves with this root. Every sibling must be used.
pub fn verify_range(root: B256, count: usize, lo: usize, ids: &[B256], proof: &[B256]) -> bool {
    let hi = lo.saturating_add(ids.len());
    if ids.is_empty() || hi > count || count > LEAVES_MAX {
        return false;
    }
    let (mut lo, mut hi, mut width) = (lo, hi, count);
    let mut level: Vec<B256> = ids.iter().copied().map(leaf).collect();
    let mut siblings = proof.iter().copied();
    while width > 1 {
        if lo % 2 == 1 {
            let Some(left) = siblings.next() else { return false };
            level.insert(0, left);
            lo -= 1;
        }
        if hi % 2 == 1 && hi < width {
            let Some(right) = siblings.next() else { return false };
            level.push(right);
            hi += 1;
        }
        level = level
            .chunks(2)
            .map(|pair| {
                if let [left, right] = pair {
                    node(*left, *right)
                } else {
                    pair[0]
                }
            })
            .collect();
        lo /= 2;
        hi = hi.div_ceil(2);
        width = width.div_ceil(2);
    }
    siblings.next().is_none() && level == [root]
}
