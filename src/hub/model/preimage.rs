//! The packed hashes of leaves and nodes. Everything is keccak256 over fields laid end to end: integers big-endian at their Solidity width,
//! addresses 20 bytes. No domain tags: what keeps preimages apart is their length and the height inside nodes.

use super::interval::Interval;
use alloy::primitives::{Address, B256, U256, keccak256};

/// Hash of fields laid end to end. `N` is the sum of their lengths, a constant of every caller.
pub(super) fn hash<const N: usize>(fields: &[&[u8]]) -> B256 {
    let mut bytes = [0_u8; N];
    let mut rest = bytes.as_mut_slice();
    for field in fields {
        let (here, after) = std::mem::take(&mut rest).split_at_mut(field.len());
        here.copy_from_slice(field);
        rest = after;
    }
    debug_assert!(rest.is_empty(), "a preimage of {N} bytes has {} unused", rest.len());
    keccak256(bytes)
}

/// A 256-bit integer as the contract packs it.
pub(super) fn word(value: U256) -> [u8; 32] {
    value.to_be_bytes()
}

/// `K(address)`, how addresses enter most preimages.
pub fn address(address: Address) -> B256 {
    keccak256(address)
}

/// Node of the plain tree: `K(child_height u32 | left | right)`; 68 bytes. Children of height 0 are leaves.
pub fn node(child_height: u32, left: B256, right: B256) -> B256 {
    hash::<68>(&[&child_height.to_be_bytes(), left.as_slice(), right.as_slice()])
}

/// Leaf of an interval tree: `K(left u256 | content | right u256)`; 96 bytes.
pub fn interval_leaf(interval: Interval, content: B256) -> B256 {
    hash::<96>(&[&word(interval.left), content.as_slice(), &word(interval.right)])
}

/// Node of an interval tree: `K(child_height u32 | left u256 | K(L | mid u256 | R) | right u256)`; 96 and 100 bytes. `mid` is the left bound of the
/// right child.
pub fn interval_node(child_height: u32, interval: Interval, mid: U256, left: B256, right: B256) -> B256 {
    let inner = hash::<96>(&[left.as_slice(), &word(mid), right.as_slice()]);
    hash::<100>(&[
        &child_height.to_be_bytes(),
        &word(interval.left),
        inner.as_slice(),
        &word(interval.right),
    ])
}

/// Leaf of the token tree: `K(0 u256 | account root | upper bound u256)`; 96 bytes.
pub fn token_leaf(account_root: B256, upper_bound: U256) -> B256 {
    let whole = Interval {
        left: U256::ZERO,
        right: upper_bound,
    };
    interval_leaf(whole, account_root)
}
