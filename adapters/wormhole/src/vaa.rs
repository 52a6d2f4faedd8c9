//! The wire format of a VAA, version 1; big-endian throughout.
//!
//! ```text
//! version u8 = 1 | guardian set u32 | n u8 | n * (guardian u8 | r b32 | s b32 | recovery id u8) | body
//! body: timestamp u32 | nonce u32 | emitter chain u16 | emitter b32 | sequence u64 | consistency u8 | payload
//! ```

use alloy::primitives::{Address, B256, Signature as EcdsaSignature, U256, keccak256};

const VERSION: u8 = 1;

/// Why bytes are not a VAA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VaaError {
    #[error("the bytes end inside the {0}")]
    Short(&'static str),
    #[error("VAA version {0} is unknown, expected {VERSION}")]
    Version(u8),
    #[error("{0} signatures do not fit a VAA")]
    TooManySignatures(usize),
}

/// What guardians sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Of the block that published it.
    pub timestamp: u32,
    pub nonce: u32,
    pub emitter_chain: u16,
    pub emitter: B256,
    pub sequence: u64,
    pub consistency: u8,
    pub payload: Vec<u8>,
}

/// One guardian's signature; `guardian` is its index in the set the VAA names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    pub guardian: u8,
    pub r: B256,
    pub s: B256,
    /// 0 or 1.
    pub recovery_id: u8,
}

impl Signature {
    /// Who signed `digest`, if anybody. The index is not looked at: it is no part of what was signed.
    pub fn signer(&self, digest: &B256) -> Option<Address> {
        if self.recovery_id > 1 {
            return None;
        }
        let signature = EcdsaSignature::new(
            U256::from_be_bytes(self.r.0),
            U256::from_be_bytes(self.s.0),
            self.recovery_id == 1,
        );
        signature.recover_address_from_prehash(digest).ok()
    }
}

/// A body with signatures. The header is signed by nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vaa {
    pub guardian_set: u32,
    pub signatures: Vec<Signature>,
    pub body: Body,
}

/// Reads from the front; every read is checked.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], VaaError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(VaaError::Short(what))?;
        self.0 = rest;
        Ok(*taken)
    }
}

impl Body {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(51 + self.payload.len());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.nonce.to_be_bytes());
        out.extend_from_slice(&self.emitter_chain.to_be_bytes());
        out.extend_from_slice(self.emitter.as_slice());
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.push(self.consistency);
        out.extend_from_slice(&self.payload);
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, VaaError> {
        let mut reader = Reader(bytes);
        Ok(Self {
            timestamp: u32::from_be_bytes(reader.take("body")?),
            nonce: u32::from_be_bytes(reader.take("body")?),
            emitter_chain: u16::from_be_bytes(reader.take("body")?),
            emitter: B256::from(reader.take::<32>("body")?),
            sequence: u64::from_be_bytes(reader.take("body")?),
            consistency: u8::from_be_bytes(reader.take("body")?),
            payload: reader.0.to_vec(),
        })
    }

    /// What guardians sign, and `VM.hash` on chain: the hash of the hash. Other tools call the single hash "VAA hash".
    pub fn digest(&self) -> B256 {
        keccak256(keccak256(self.encode()))
    }

    /// Whether both say the same in the same place; only the time of their blocks may differ, as it does when a reorg repeats a transaction.
    pub fn same_message(&self, other: &Self) -> bool {
        let at = |body: &Self| Self {
            timestamp: 0,
            ..body.clone()
        };
        at(self) == at(other)
    }
}

impl Vaa {
    pub fn encode(&self) -> Result<Vec<u8>, VaaError> {
        let count = self.signatures.len();
        let count = u8::try_from(count).map_err(|_| VaaError::TooManySignatures(count))?;
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.guardian_set.to_be_bytes());
        out.push(count);
        for signature in &self.signatures {
            out.push(signature.guardian);
            out.extend_from_slice(signature.r.as_slice());
            out.extend_from_slice(signature.s.as_slice());
            out.push(signature.recovery_id);
        }
        out.extend_from_slice(&self.body.encode());
        Ok(out)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, VaaError> {
        let mut reader = Reader(bytes);
        let [version] = reader.take("header")?;
        if version != VERSION {
            return Err(VaaError::Version(version));
        }
        let guardian_set = u32::from_be_bytes(reader.take("header")?);
        let [count] = reader.take("header")?;
        let mut signatures = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let [guardian] = reader.take("signatures")?;
            let r = B256::from(reader.take::<32>("signatures")?);
            let s = B256::from(reader.take::<32>("signatures")?);
            let [recovery_id] = reader.take("signatures")?;
            signatures.push(Signature {
                guardian,
                r,
                s,
                recovery_id,
            });
        }
        Ok(Self {
            guardian_set,
            signatures,
            body: Body::decode(reader.0)?,
        })
    }
}
