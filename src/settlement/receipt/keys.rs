//! Ed25519 keys pinned by configuration. A key found in a receipt is never trusted for being there.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};

/// Bytes of a public key.
const KEY_BYTES: usize = 32;
/// Keys of one coordinator.
pub const KEYS_MAX: usize = 64;

/// Why a key cannot be pinned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("receipt key {0:?} is not 64 hex digits or 43 base64url characters")]
    Encoding(String),
    #[error("receipt key {0} is not a point of the curve, or a weak one")]
    NotAKey(String),
    #[error("more than {KEYS_MAX} receipt keys")]
    TooMany,
}

/// Why a signature by a pinned key could not be established.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("algorithm {0:?} is not Ed25519")]
    Algorithm(String),
    #[error("signature is not 64 bytes of base64url")]
    Encoding,
    #[error("key {0} is not pinned")]
    UnknownKey(String),
    #[error("signature does not verify")]
    Wrong,
}

/// Public key that vouched, as lower-case hex when displayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignerKey(pub [u8; KEY_BYTES]);

impl std::fmt::Display for SignerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// One signature as a receipt carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureEntry {
    pub alg: String,
    /// The public key in base64url, or a name.
    pub key_id: String,
    pub sig: String,
}

/// The keys whose word counts.
#[derive(Debug, Clone, Default)]
pub struct PinnedKeys(Vec<VerifyingKey>);

impl PinnedKeys {
    /// Reads keys as hex (with or without 0x) or base64url.
    pub fn parse<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Result<Self, KeyError> {
        let mut keys: Vec<VerifyingKey> = Vec::new();
        for text in texts {
            let text = text.as_ref().trim();
            let bytes = key_bytes(text).ok_or_else(|| KeyError::Encoding(text.to_owned()))?;
            let key = VerifyingKey::from_bytes(&bytes)
                .ok()
                .filter(|key| !key.is_weak())
                .ok_or_else(|| KeyError::NotAKey(text.to_owned()))?;
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        if keys.len() > KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        Ok(Self(keys))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = SignerKey> + '_ {
        self.0.iter().map(|key| SignerKey(key.to_bytes()))
    }

    /// The pinned key that made this signature over `canonical`.
    ///
    /// A `key_id` that is a key selects that key and must be pinned; one that is a name selects nothing, and every pinned
    /// key is tried. Either way only a pinned key can answer.
    pub fn verify(&self, canonical: &[u8], entry: &SignatureEntry) -> Result<SignerKey, SignatureError> {
        if entry.alg != "Ed25519" {
            return Err(SignatureError::Algorithm(entry.alg.clone()));
        }
        let signature = decode_base64url(&entry.sig)
            .and_then(|bytes| Signature::from_slice(&bytes).ok())
            .ok_or(SignatureError::Encoding)?;
        let named = key_bytes(&entry.key_id);
        let mut known = named.is_none() && !self.0.is_empty();
        for key in &self.0 {
            if let Some(named) = named {
                if named != key.to_bytes() {
                    continue;
                }
                known = true;
            }
            if key.verify_strict(canonical, &signature).is_ok() {
                return Ok(SignerKey(key.to_bytes()));
            }
        }
        if known {
            Err(SignatureError::Wrong)
        } else {
            Err(SignatureError::UnknownKey(entry.key_id.clone()))
        }
    }
}

/// A public key written as hex or base64url.
fn key_bytes(text: &str) -> Option<[u8; KEY_BYTES]> {
    let bare = text.strip_prefix("0x").unwrap_or(text);
    let bytes = match hex::decode(bare) {
        Ok(bytes) => bytes,
        Err(_) => decode_base64url(text)?,
    };
    bytes.try_into().ok()
}

/// Padding is dropped: writers disagree about it and it carries nothing.
fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}
