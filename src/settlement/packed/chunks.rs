//! Cuts a message into executions that fit a transaction, by bytes and by gas, both estimated from above.

use super::layout::{AUTH_PREFIX_BYTES, GROUP_BYTES, ITEM_BYTES, PREFIX_BYTES, RUN_BYTES, SECTION_BYTES};
use super::{Authorization, Member};
use crate::settlement::auth::SIGNATURE_BYTES;
use std::ops::Range;

/// A range proof has at most two siblings on each of the ten levels of 1,024 leaves, and its length byte.
const PROOF_BYTES_MAX: usize = 1 + 32 * 20;

/// Gas of an execution from its shape. The figures are upper bounds for ordinary tokens, see `Default`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GasModel {
    /// Once per transaction: intrinsic gas, message checks, reentrancy lock, headroom for the last call's stipend.
    pub base: u64,
    /// Once per section: fresh nonce word, vault debit, payer and token state.
    pub section: u64,
    /// Once per run: transfer to a fresh payee and its event.
    pub run: u64,
    /// Once per item: hashing, checks, its event.
    pub item: u64,
    /// Once per authorization of 65 bytes.
    pub signature: u64,
    /// Once per authorization that goes to the payer's code: the ERC-1271 stipend.
    pub contract_signature: u64,
    /// Per byte of calldata, all taken as non-zero.
    pub byte: u64,
    /// Floor per byte of calldata, on top of the intrinsic gas (EIP-7623: 4 tokens of 10 gas).
    pub floor_byte: u64,
}

impl Default for GasModel {
    /// Measured on a prototype with OpenZeppelin's ERC-20 and rounded up by a fifth or more.
    fn default() -> Self {
        Self {
            base: 250_000,
            section: 50_000,
            run: 45_000,
            item: 4_000,
            signature: 8_000,
            contract_signature: 120_000,
            byte: 16,
            floor_byte: 40,
        }
    }
}

/// What one execution may be at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLimits {
    pub bytes_max: usize,
    pub gas_max: u64,
}

impl Default for ChunkLimits {
    /// Under geth's 128 KiB transaction limit, and under the 2^24 gas of EIP-7825.
    fn default() -> Self {
        Self {
            bytes_max: 120_000,
            gas_max: 16_000_000,
        }
    }
}

/// One execution: leaves of the message, with upper estimates of its size and gas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub leaves: Range<usize>,
    pub bytes: usize,
    pub gas: u64,
}

/// One member alone does not fit the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("leaf {leaf} alone needs {bytes} bytes and {gas} gas, more than one execution may have")]
pub struct ChunkError {
    pub leaf: usize,
    pub bytes: usize,
    pub gas: u64,
}

/// Size of a chunk while it grows.
#[derive(Debug, Clone, Copy, Default)]
struct Shape {
    bytes: usize,
    gas: u64,
}

impl Shape {
    fn add(self, bytes: usize, gas: u64) -> Self {
        Self {
            bytes: self.bytes.saturating_add(bytes),
            gas: self.gas.saturating_add(gas),
        }
    }

    /// Gas with calldata: the dearer of the metered price and the floor.
    fn total_gas(self, model: &GasModel) -> u64 {
        let bytes = u64::try_from(self.bytes).unwrap_or(u64::MAX);
        let metered = self.gas.saturating_add(bytes.saturating_mul(model.byte));
        let floor = model.base.saturating_add(bytes.saturating_mul(model.floor_byte));
        metered.max(floor)
    }
}

/// Cuts consecutive members, the first of which is leaf `first`, greedily into chunks within the limits.
pub fn plan_chunks(
    first: usize,
    members: &[Member],
    limits: &ChunkLimits,
    model: &GasModel,
) -> Result<Vec<Chunk>, ChunkError> {
    let fits = |shape: Shape| shape.bytes <= limits.bytes_max && shape.total_gas(model) <= limits.gas_max;
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut open: Option<(usize, Shape)> = None;
    let mut previous: Option<&Member> = None;
    let close = |start: usize, end: usize, shape: Shape| Chunk {
        leaves: start..end,
        bytes: shape.bytes,
        gas: shape.total_gas(model),
    };
    for (leaf, member) in (first..).zip(members) {
        if let Some((start, shape)) = open {
            let grown = grow(shape, previous, member, model);
            if fits(grown) {
                open = Some((start, grown));
                previous = Some(member);
                continue;
            }
            chunks.push(close(start, leaf, shape));
        }
        let alone = grow(
            Shape::default().add(PREFIX_BYTES.saturating_add(PROOF_BYTES_MAX), model.base),
            None,
            member,
            model,
        );
        if !fits(alone) {
            return Err(ChunkError {
                leaf,
                bytes: alone.bytes,
                gas: alone.total_gas(model),
            });
        }
        open = Some((leaf, alone));
        previous = Some(member);
    }
    if let Some((start, shape)) = open {
        chunks.push(close(start, first.saturating_add(members.len()), shape));
    }
    Ok(chunks)
}

/// The shape after one more member.
fn grow(shape: Shape, previous: Option<&Member>, member: &Member, model: &GasModel) -> Shape {
    let auth = member.auth();
    let auth_bytes = AUTH_PREFIX_BYTES.saturating_add(auth.len());
    let auth_gas = if auth.len() == SIGNATURE_BYTES {
        model.signature
    } else {
        model.contract_signature
    };
    let mut shape = shape.add(ITEM_BYTES, model.item);
    let is_single = matches!(member.authorization, Authorization::Single(_));
    if is_single {
        shape = shape.add(auth_bytes, auth_gas);
    }
    if !previous.is_some_and(|previous| member.continues_section(previous)) {
        shape = shape.add(SECTION_BYTES, model.section);
        if !is_single {
            let group = GROUP_BYTES.saturating_add(PROOF_BYTES_MAX).saturating_add(auth_bytes);
            shape = shape.add(group, auth_gas);
        }
    }
    if !previous.is_some_and(|previous| member.continues_run(previous)) {
        shape = shape.add(RUN_BYTES, model.run);
    }
    shape
}
