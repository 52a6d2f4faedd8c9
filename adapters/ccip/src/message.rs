//! A sent message as it is stored with its dispatch: version, on-ramp and everything needed to follow and execute it.
//!
//! Bytes: layout u8 = 1 | version u8 (16 or 20) | on-ramp b20 | block of the send u64 | the message: 1.6 `abi.encode(message as emitted)`, 2.0 packed.

use crate::abi::v1_6::SentMessage;
use crate::v1_6;
use crate::v2_0::{PackedError, PackedMessage};
use crate::version::Version;
use alloy::primitives::{Address, B256, Bytes};
use alloy::sol_types::SolValue;

const LAYOUT: u8 = 1;
const TAG_1_6: u8 = 16;
const TAG_2_0: u8 = 20;
/// Layout, version, on-ramp, block.
const PREFIX: usize = 30;

/// Why bytes are not a sent message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("{0} bytes are too few for a stored message")]
    Short(usize),
    #[error("layout {0}, version {1} is unknown")]
    Layout(u8, u8),
    #[error("the emitted message does not decode: {0}")]
    Abi(String),
    #[error("the packed message {0}")]
    Packed(#[from] PackedError),
    #[error("the emitted message cannot be executed: {0}")]
    Shape(#[from] v1_6::ShapeError),
    #[error("the message says its id is {claimed}, its content gives {found}")]
    Id { claimed: B256, found: B256 },
    #[error("the packed message names on-ramp {named}, it was emitted by {emitter}")]
    OnRamp { named: Address, emitter: Address },
}

/// Content by version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    V1_6(Box<SentMessage>),
    V2_0(Box<PackedMessage>),
}

/// One sent message, checked: its id is what its content gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub(crate) on_ramp: Address,
    /// Source block of the send, as of when it was read.
    pub(crate) block: u64,
    pub(crate) content: Content,
}

impl Sent {
    pub(crate) fn new_1_6(on_ramp: Address, block: u64, message: SentMessage) -> Result<Self, MessageError> {
        let (claimed, found) = (message.header.messageId, v1_6::message_id(&message, on_ramp));
        if claimed != found {
            return Err(MessageError::Id { claimed, found });
        }
        v1_6::arriving(&message)?;
        Ok(Self {
            on_ramp,
            block,
            content: Content::V1_6(Box::new(message)),
        })
    }

    pub(crate) fn new_2_0(on_ramp: Address, block: u64, encoded: &[u8]) -> Result<Self, MessageError> {
        let packed = PackedMessage::decode(encoded)?;
        let named = packed.on_ramp()?;
        if named != on_ramp {
            return Err(MessageError::OnRamp {
                named,
                emitter: on_ramp,
            });
        }
        // Refused here, so that later uses cannot fail.
        packed.off_ramp()?;
        packed.sender()?;
        packed.receiver()?;
        Ok(Self {
            on_ramp,
            block,
            content: Content::V2_0(Box::new(packed)),
        })
    }

    pub fn decode(evidence: &[u8]) -> Result<Self, MessageError> {
        let (prefix, content) = evidence
            .split_first_chunk::<PREFIX>()
            .ok_or(MessageError::Short(evidence.len()))?;
        let on_ramp = Address::from_slice(&prefix[2..22]);
        let mut block = [0; 8];
        block.copy_from_slice(&prefix[22..]);
        let block = u64::from_be_bytes(block);
        match (prefix[0], prefix[1]) {
            (LAYOUT, TAG_1_6) => {
                let message =
                    SentMessage::abi_decode_validate(content).map_err(|error| MessageError::Abi(error.to_string()))?;
                Self::new_1_6(on_ramp, block, message)
            }
            (LAYOUT, TAG_2_0) => Self::new_2_0(on_ramp, block, content),
            (layout, version) => Err(MessageError::Layout(layout, version)),
        }
    }

    pub fn encode(&self) -> Bytes {
        let (tag, content) = match &self.content {
            Content::V1_6(message) => (TAG_1_6, message.abi_encode()),
            Content::V2_0(packed) => (TAG_2_0, packed.encoded().to_vec()),
        };
        let block = self.block.to_be_bytes();
        [[LAYOUT, tag].as_slice(), self.on_ramp.as_slice(), &block, &content]
            .concat()
            .into()
    }

    pub fn version(&self) -> Version {
        match self.content {
            Content::V1_6(_) => Version::V1_6,
            Content::V2_0(_) => Version::V2_0,
        }
    }

    pub fn id(&self) -> B256 {
        match &self.content {
            Content::V1_6(message) => message.header.messageId,
            Content::V2_0(packed) => packed.id(),
        }
    }

    /// Source and target selector.
    pub fn selectors(&self) -> (u64, u64) {
        match &self.content {
            Content::V1_6(message) => (message.header.sourceChainSelector, message.header.destChainSelector),
            Content::V2_0(packed) => (packed.message.sourceChainSelector, packed.message.destChainSelector),
        }
    }

    /// Sending and receiving account.
    pub(crate) fn accounts(&self) -> Result<(Address, Address), MessageError> {
        Ok(match &self.content {
            Content::V1_6(message) => (message.sender, v1_6::arriving(message)?.receiver),
            Content::V2_0(packed) => (packed.sender()?, packed.receiver()?),
        })
    }

    /// What it carries: for us, the message header.
    pub fn data(&self) -> &Bytes {
        match &self.content {
            Content::V1_6(message) => &message.data,
            Content::V2_0(packed) => &packed.message.data,
        }
    }
}
