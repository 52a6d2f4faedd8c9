//! What is kept about a sent message: its name in Wormhole and its bytes. The time of its block is not in a receipt and so not here.

use crate::source::VaaName;
use crate::vaa::{Body, VaaError};
use alloy::primitives::Bytes;

const VERSION: u8 = 1;

/// Why stored bytes are no evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    #[error("evidence version is unknown")]
    Version,
    #[error(transparent)]
    Body(#[from] VaaError),
}

/// A published message as its log told it: a VAA body whose time is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    pub expected: Body,
}

impl Evidence {
    pub fn name(&self) -> VaaName {
        VaaName {
            emitter_chain: self.expected.emitter_chain,
            emitter: self.expected.emitter,
            sequence: self.expected.sequence,
        }
    }

    /// version u8 | VAA body with time 0
    pub fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.expected.encode());
        out.into()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, EvidenceError> {
        match bytes.split_first() {
            Some((&VERSION, body)) => Ok(Self {
                expected: Body::decode(body)?,
            }),
            _ => Err(EvidenceError::Version),
        }
    }
}
