//! PacketV1, big-endian: version u8 | nonce u64 | srcEid u32 | sender b32 | dstEid u32 | receiver b32 | guid b32 | message.

use crate::abi::Origin;
use alloy::primitives::{Address, B256, Bytes, Keccak256, keccak256};

/// Bytes before the guid: what verifiers attest beside the payload hash.
pub(crate) const HEADER_LEN: usize = 81;
const GUID_END: usize = HEADER_LEN + 32;
const VERSION: u8 = 1;

/// A packet whose guid is the one its header gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    pub path: Path,
    pub nonce: u64,
    pub guid: B256,
    pub message: Bytes,
}

/// One direction between two ports: nonces count per path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    pub src_eid: u32,
    pub sender: B256,
    pub dst_eid: u32,
    pub receiver: B256,
}

/// Why bytes are not a packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    #[error("a packet has at least {GUID_END} bytes, not {0}")]
    Short(usize),
    #[error("packet version {0} is unknown")]
    Version(u8),
    #[error("the guid {0} does not belong to the header")]
    Guid(B256),
    #[error("receiver {0} is not a left-padded address")]
    Receiver(B256),
}

impl Packet {
    pub fn decode(bytes: &[u8]) -> Result<Self, PacketError> {
        if bytes.len() < GUID_END {
            return Err(PacketError::Short(bytes.len()));
        }
        if bytes[0] != VERSION {
            return Err(PacketError::Version(bytes[0]));
        }
        let path = Path {
            src_eid: u32::from_be_bytes(array(bytes, 9)),
            sender: B256::from(array(bytes, 13)),
            dst_eid: u32::from_be_bytes(array(bytes, 45)),
            receiver: B256::from(array(bytes, 49)),
        };
        if path.receiver[..12].iter().any(|byte| *byte != 0) {
            return Err(PacketError::Receiver(path.receiver));
        }
        let packet = Self {
            path,
            nonce: u64::from_be_bytes(array(bytes, 1)),
            guid: B256::from(array(bytes, HEADER_LEN)),
            message: Bytes::copy_from_slice(&bytes[GUID_END..]),
        };
        if path.guid(packet.nonce) != packet.guid {
            return Err(PacketError::Guid(packet.guid));
        }
        Ok(packet)
    }

    pub fn header(&self) -> [u8; HEADER_LEN] {
        self.path.header(self.nonce)
    }

    pub fn header_hash(&self) -> B256 {
        keccak256(self.header())
    }

    /// `keccak256(guid | message)`: with the guid, the name of the packet. The guid alone survives a reorg with another message.
    pub fn payload_hash(&self) -> B256 {
        let mut hasher = Keccak256::new();
        hasher.update(self.guid);
        hasher.update(&self.message);
        hasher.finalize()
    }

    pub fn origin(&self) -> Origin {
        Origin {
            srcEid: self.path.src_eid,
            sender: self.path.sender,
            nonce: self.nonce,
        }
    }
}

impl Path {
    pub fn header(&self, nonce: u64) -> [u8; HEADER_LEN] {
        let mut out = [0u8; HEADER_LEN];
        out[0] = VERSION;
        out[1..9].copy_from_slice(&nonce.to_be_bytes());
        out[9..13].copy_from_slice(&self.src_eid.to_be_bytes());
        out[13..45].copy_from_slice(self.sender.as_slice());
        out[45..49].copy_from_slice(&self.dst_eid.to_be_bytes());
        out[49..81].copy_from_slice(self.receiver.as_slice());
        out
    }

    /// The guid is the hash of the header without its version byte.
    pub fn guid(&self, nonce: u64) -> B256 {
        keccak256(&self.header(nonce)[1..])
    }

    pub fn receiver_address(&self) -> Address {
        Address::from_word(self.receiver)
    }
}

/// Copies `N` bytes from `at`; callers have checked the length.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0u8; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}
