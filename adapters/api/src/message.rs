//! The versioned bytes that cross a bridge; docs/wire.md section 2.

use crate::ids::{ChainId, MessageId, SettlementId};
use crate::tree::LEAVES_MAX;
use alloy::primitives::{Address, B256, keccak256};

/// The only version there is.
pub const VERSION: u8 = 1;
/// Length of a header; a batch has no body, so also of the whole message.
pub const HEADER_LEN: usize = 158;

/// What a message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    SettlementBatch = 1,
}

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("a message has {HEADER_LEN} bytes, not {0}")]
    Length(usize),
    #[error("message version {0} is unknown, expected {VERSION}")]
    Version(u8),
    #[error("message kind {0} is unknown")]
    Kind(u8),
    #[error("{0} chain is 0")]
    Chain(&'static str),
    #[error("leaf count {0} is outside 1..={LEAVES_MAX}")]
    Count(u32),
    #[error("{0} is not a left-padded address")]
    Address(&'static str),
}

/// The fields of a message, in wire order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    pub source: ChainId,
    pub target: ChainId,
    /// Our outbox on the source chain.
    pub outbox: Address,
    /// Our inbox on the target chain.
    pub inbox: Address,
    /// Names the message per (outbox, target, kind); never a replay key.
    pub sequence: u64,
    pub root: B256,
    pub count: u32,
    /// Receives the fees of all members, on the target chain.
    pub fee_recipient: Address,
}

impl Header {
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.push(VERSION);
        out.push(self.kind as u8);
        out.extend_from_slice(&self.source.0.to_be_bytes());
        out.extend_from_slice(&self.target.0.to_be_bytes());
        out.extend_from_slice(self.outbox.into_word().as_slice());
        out.extend_from_slice(self.inbox.into_word().as_slice());
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(self.root.as_slice());
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(self.fee_recipient.into_word().as_slice());
        let mut bytes = [0u8; HEADER_LEN];
        bytes.copy_from_slice(&out);
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        if bytes.len() != HEADER_LEN {
            return Err(HeaderError::Length(bytes.len()));
        }
        if bytes[0] != VERSION {
            return Err(HeaderError::Version(bytes[0]));
        }
        if bytes[1] != Kind::SettlementBatch as u8 {
            return Err(HeaderError::Kind(bytes[1]));
        }
        let count = u32::from_be_bytes(array(bytes, 122));
        if count == 0 || count as usize > LEAVES_MAX {
            return Err(HeaderError::Count(count));
        }
        let source = ChainId(u64::from_be_bytes(array(bytes, 2)));
        let target = ChainId(u64::from_be_bytes(array(bytes, 10)));
        for (name, chain) in [("source", source), ("target", target)] {
            if chain.0 == 0 {
                return Err(HeaderError::Chain(name));
            }
        }
        Ok(Self {
            kind: Kind::SettlementBatch,
            source,
            target,
            outbox: address(bytes, 18, "outbox")?,
            inbox: address(bytes, 50, "inbox")?,
            sequence: u64::from_be_bytes(array(bytes, 82)),
            root: B256::from(array(bytes, 90)),
            count,
            fee_recipient: address(bytes, 126, "fee recipient")?,
        })
    }

    pub fn id(&self) -> MessageId {
        MessageId(keccak256(self.encode()))
    }
}

/// Copies `N` bytes from `at`; callers have checked the length.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0u8; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn address(bytes: &[u8], at: usize, field: &'static str) -> Result<Address, HeaderError> {
    let word = B256::from(array(bytes, at));
    if word[..12].iter().any(|byte| *byte != 0) {
        return Err(HeaderError::Address(field));
    }
    Ok(Address::from_word(word))
}

/// A message ready to cross a bridge, with the ids its root commits to, in leaf order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedMessage {
    pub header: Header,
    pub ids: Vec<SettlementId>,
    /// True once the outbox has committed to it: further ports then need only the header.
    pub committed: bool,
}

impl SealedMessage {
    pub fn id(&self) -> MessageId {
        self.header.id()
    }
}
