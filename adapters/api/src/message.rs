//! The versioned bytes that cross a bridge; docs/wire.md section 2.

use crate::ids::{ChainId, MessageId, SettlementId};
use crate::tree::LEAVES_MAX;
use alloy::primitives::{Address, B256, keccak256};

/// The only version there is.
pub const VERSION: u8 = 1;
/// Length of a header; a batch has no body, so also of a batch's message.
pub const HEADER_LEN: usize = 158;
/// Length of a checkpoint's message: its body is the hub's contract as a left-padded word.
pub const CHECKPOINT_LEN: usize = HEADER_LEN + 32;

/// What a message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    SettlementBatch = 1,
    /// Root of a hub's checkpoint, as the outbox read it from the hub's contract.
    Checkpoint = 2,
}

impl Kind {
    /// The kind of this number, as in the header and in the database.
    pub fn of(number: u8) -> Option<Self> {
        [Self::SettlementBatch, Self::Checkpoint]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }

    /// Length of a whole message.
    fn len(self) -> usize {
        match self {
            Self::SettlementBatch => HEADER_LEN,
            Self::Checkpoint => CHECKPOINT_LEN,
        }
    }
}

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("a message has {HEADER_LEN} or {CHECKPOINT_LEN} bytes by its kind, not {0}")]
    Length(usize),
    #[error("message version {0} is unknown, expected {VERSION}")]
    Version(u8),
    #[error("message kind {0} is unknown")]
    Kind(u8),
    #[error("{0} chain is 0")]
    Chain(&'static str),
    #[error("leaf count {0} is outside 1..={LEAVES_MAX}, or not 0 in a checkpoint")]
    Count(u32),
    #[error("a checkpoint names a fee recipient")]
    FeeRecipient,
    #[error("the {0} of a checkpoint is 0")]
    Zero(&'static str),
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
    /// Names the message per (outbox, target, kind, hub); never a replay key. The eon of a checkpoint.
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

    /// Reads a batch, and nothing else: what `execute` and its bundles carry.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        if bytes.len() != HEADER_LEN {
            return Err(HeaderError::Length(bytes.len()));
        }
        let header = Self::read(bytes)?;
        match header.kind {
            Kind::SettlementBatch => Ok(header),
            other => Err(HeaderError::Kind(other as u8)),
        }
    }

    /// The first 158 bytes; the caller has checked that they are there.
    fn read(bytes: &[u8]) -> Result<Self, HeaderError> {
        if bytes[0] != VERSION {
            return Err(HeaderError::Version(bytes[0]));
        }
        let kind = Kind::of(bytes[1]).ok_or(HeaderError::Kind(bytes[1]))?;
        let count = u32::from_be_bytes(array(bytes, 122));
        let counted = match kind {
            Kind::SettlementBatch => count != 0 && count as usize <= LEAVES_MAX,
            Kind::Checkpoint => count == 0,
        };
        if !counted {
            return Err(HeaderError::Count(count));
        }
        let source = ChainId(u64::from_be_bytes(array(bytes, 2)));
        let target = ChainId(u64::from_be_bytes(array(bytes, 10)));
        for (name, chain) in [("source", source), ("target", target)] {
            if chain.0 == 0 {
                return Err(HeaderError::Chain(name));
            }
        }
        let fee_recipient = address(bytes, 126, "fee recipient")?;
        if kind == Kind::Checkpoint && !fee_recipient.is_zero() {
            return Err(HeaderError::FeeRecipient);
        }
        Ok(Self {
            kind,
            source,
            target,
            outbox: address(bytes, 18, "outbox")?,
            inbox: address(bytes, 50, "inbox")?,
            sequence: u64::from_be_bytes(array(bytes, 82)),
            root: B256::from(array(bytes, 90)),
            count,
            fee_recipient,
        })
    }

    /// Id of a batch with this header; a checkpoint's needs its body, see [`WireMessage::id`].
    pub fn batch_id(&self) -> MessageId {
        MessageId(keccak256(self.encode()))
    }
}

/// A message as it crosses a bridge: header and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireMessage {
    pub header: Header,
    /// The hub's contract on the source chain; a checkpoint has one, a batch has none.
    pub hub: Option<Address>,
}

impl WireMessage {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.header.encode().to_vec();
        if let Some(hub) = self.hub {
            bytes.extend_from_slice(hub.into_word().as_slice());
        }
        bytes
    }

    /// Reads a message of any kind to its last byte.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        if bytes.len() < HEADER_LEN {
            return Err(HeaderError::Length(bytes.len()));
        }
        let header = Header::read(bytes)?;
        if bytes.len() != header.kind.len() {
            return Err(HeaderError::Length(bytes.len()));
        }
        if header.kind == Kind::SettlementBatch {
            return Ok(Self { header, hub: None });
        }
        let hub = address(bytes, HEADER_LEN, "hub")?;
        for (name, is_zero) in [
            ("eon", header.sequence == 0),
            ("root", header.root.is_zero()),
            ("hub", hub.is_zero()),
        ] {
            if is_zero {
                return Err(HeaderError::Zero(name));
            }
        }
        Ok(Self { header, hub: Some(hub) })
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

/// What a message carries beside its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The ids the root commits to, in leaf order.
    Batch { ids: Vec<SettlementId> },
    /// The hub's contract on the source chain; the header's sequence is the eon, its root the checkpoint's.
    Checkpoint { hub: Address },
}

/// A message ready to cross a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedMessage {
    pub header: Header,
    pub body: Body,
    /// True once the outbox has committed to it: further ports then need only the header.
    pub committed: bool,
}

impl SealedMessage {
    /// Members of a batch; a checkpoint has none.
    pub fn ids(&self) -> &[SettlementId] {
        match &self.body {
            Body::Batch { ids } => ids,
            Body::Checkpoint { .. } => &[],
        }
    }

    /// The hub whose checkpoint this is.
    pub fn hub(&self) -> Option<Address> {
        match self.body {
            Body::Batch { .. } => None,
            Body::Checkpoint { hub } => Some(hub),
        }
    }

    fn wire(&self) -> WireMessage {
        WireMessage {
            header: self.header.clone(),
            hub: self.hub(),
        }
    }

    /// The bytes that cross.
    pub fn bytes(&self) -> Vec<u8> {
        self.wire().encode()
    }

    pub fn id(&self) -> MessageId {
        self.wire().id()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn checkpoint() -> WireMessage {
        WireMessage {
            header: Header {
                kind: Kind::Checkpoint,
                source: ChainId(31_337),
                target: ChainId(31_338),
                outbox: Address::repeat_byte(1),
                inbox: Address::repeat_byte(2),
                sequence: 7,
                root: B256::repeat_byte(3),
                count: 0,
                fee_recipient: Address::ZERO,
            },
            hub: Some(Address::repeat_byte(4)),
        }
    }

    fn refused(change: impl FnOnce(&mut Vec<u8>), expected: HeaderError) {
        let mut bytes = checkpoint().encode();
        change(&mut bytes);
        assert_eq!(WireMessage::decode(&bytes), Err(expected));
    }

    #[test]
    fn a_checkpoint_is_its_header_and_the_hub_as_a_word() {
        let wire = checkpoint();
        let bytes = wire.encode();
        assert_eq!((bytes.len(), bytes[1]), (CHECKPOINT_LEN, 2));
        assert_eq!(bytes[..HEADER_LEN], wire.header.encode());
        assert_eq!(bytes[HEADER_LEN..], *Address::repeat_byte(4).into_word());
        assert_eq!(WireMessage::decode(&bytes).as_ref(), Ok(&wire));
        assert_eq!(wire.id().0, keccak256(&bytes));
    }

    #[test]
    fn every_byte_of_a_checkpoint_changes_its_id_or_is_refused() {
        let wire = checkpoint();
        let bytes = wire.encode();
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            if let Ok(other) = WireMessage::decode(&altered) {
                assert_ne!(other.id(), wire.id(), "byte {at}");
            }
        }
    }

    #[test]
    fn what_is_no_checkpoint_is_refused() {
        refused(|bytes| bytes.truncate(HEADER_LEN), HeaderError::Length(HEADER_LEN));
        refused(|bytes| bytes.push(0), HeaderError::Length(CHECKPOINT_LEN + 1));
        refused(|bytes| bytes.truncate(5), HeaderError::Length(5));
        refused(|bytes| bytes[0] = 2, HeaderError::Version(2));
        refused(|bytes| bytes[1] = 3, HeaderError::Kind(3));
        refused(|bytes| bytes[125] = 1, HeaderError::Count(1));
        refused(|bytes| bytes[157] = 1, HeaderError::FeeRecipient);
        refused(|bytes| bytes[HEADER_LEN] = 1, HeaderError::Address("hub"));
        refused(|bytes| bytes[89] = 0, HeaderError::Zero("eon"));
        refused(|bytes| bytes[90..122].fill(0), HeaderError::Zero("root"));
        refused(|bytes| bytes[170..].fill(0), HeaderError::Zero("hub"));
    }

    #[test]
    fn a_checkpoint_is_no_batch_and_a_batch_with_a_body_is_nothing() {
        let bytes = checkpoint().encode();
        assert_eq!(Header::decode(&bytes[..HEADER_LEN]), Err(HeaderError::Kind(2)));
        let mut batch = bytes.clone();
        batch[1] = 1;
        batch[125] = 1;
        assert_eq!(WireMessage::decode(&batch), Err(HeaderError::Length(CHECKPOINT_LEN)));
    }
}
