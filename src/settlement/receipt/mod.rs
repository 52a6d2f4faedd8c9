//! Receipts, codec `aitbc-receipt/1`: from raw bytes to verified named fields, and the rules on their price.
//!
//! Layout: [`json`] a reader that loses nothing, [`canonical`] the signed bytes, [`keys`] pinned keys and signatures, [`amount`] the
//! price against the terms, [`netting`] many receipts in one settlement, [`verify_cli`] verdicts for `relayer receipt verify`.

pub mod amount;
pub mod canonical;
pub mod json;
pub mod keys;
pub mod netting;
pub mod verify_cli;

pub use amount::{AmountError, AmountRule, check_amount, decimal_to_units};
pub use json::{JsonError, Limits};
pub use keys::{KeyError, PinnedKeys, SignatureEntry, SignatureError, SignerKey};
pub use netting::{Netted, NettingError, net};

use alloy::primitives::B256;
use json::{Object, Text, Value};
use sha2::{Digest, Sha256};

/// Name of the codec, as configuration and the API spell it.
pub const CODEC: &str = "aitbc-receipt/1";
/// Longest receipt id, job id or provider, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// Attestations of one receipt.
const ATTESTATIONS_MAX: usize = 16;

/// Why a receipt is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    #[error("reading the receipt: {0}")]
    Json(#[from] JsonError),
    #[error("the receipt is not a JSON object")]
    NotAnObject,
    #[error("field {0} is missing")]
    Missing(&'static str),
    #[error("field {0} has the wrong type, is empty or too long")]
    Field(&'static str),
    #[error("the receipt carries no signature")]
    Unsigned,
    #[error("signature: {0}")]
    Signature(SignatureError),
    #[error("attestation {index}: {error}")]
    Attestation { index: usize, error: SignatureError },
    #[error("status is {0:?}, not COMPLETED")]
    Status(String),
}

/// A receipt as read: nothing in it is verified yet.
#[derive(Clone)]
pub struct Receipt {
    canonical: String,
    hash: B256,
    pub receipt_id: String,
    pub job_id: String,
    pub provider: String,
    pub status: Option<String>,
    /// Number lexeme of the canonical bytes, so exactly what was signed.
    pub price: Option<String>,
    pub signature: Option<SignatureEntry>,
    pub attestations: Vec<SignatureEntry>,
}

/// Prompts and results stay out of logs: the canonical bytes are not shown.
impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receipt")
            .field("receipt_id", &self.receipt_id)
            .field("job_id", &self.job_id)
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

/// A receipt whose signature a pinned key made; the only thing the path accepts.
#[derive(Debug, Clone)]
pub struct VerifiedReceipt {
    receipt: Receipt,
    /// The signer first, then attestors.
    pub signers: Vec<SignerKey>,
}

impl std::ops::Deref for VerifiedReceipt {
    type Target = Receipt;

    fn deref(&self) -> &Receipt {
        &self.receipt
    }
}

impl Receipt {
    /// Reads a receipt as any route of the coordinator returns it.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, ReceiptError> {
        match json::parse(bytes, limits)? {
            Value::Object(object) => Self::from_object(&object),
            _ => Err(ReceiptError::NotAnObject),
        }
    }

    fn from_object(object: &Object) -> Result<Self, ReceiptError> {
        let payload = canonical::payload(object);
        let canonical = canonical::write_object(&payload);
        let hash = receipt_hash(canonical.as_bytes());
        Ok(Self {
            receipt_id: name(&payload, "receipt_id")?,
            job_id: name(&payload, "job_id")?,
            provider: name(&payload, "provider")?,
            status: match find(&payload, "status") {
                None => None,
                Some(_) => Some(name(&payload, "status")?),
            },
            price: price(&payload)?,
            signature: match find(object, "signature") {
                None | Some(Value::Null) => None,
                Some(entry) => Some(signature_entry(entry).ok_or(ReceiptError::Field("signature"))?),
            },
            attestations: attestations(object)?,
            canonical,
            hash,
        })
    }

    /// sha256 of the canonical bytes.
    pub fn hash(&self) -> B256 {
        self.hash
    }

    /// The bytes the keys sign. They hold user data: hash them, do not store or log them.
    pub fn canonical(&self) -> &[u8] {
        self.canonical.as_bytes()
    }

    /// Checks the signature against pinned keys, every attestation by a pinned key, and the status.
    ///
    /// An attestation by a key that is not pinned counts for nothing; one by a pinned key that does not verify means the
    /// receipt was tampered with.
    pub fn verify(self, keys: &PinnedKeys) -> Result<VerifiedReceipt, ReceiptError> {
        let signature = self.signature.as_ref().ok_or(ReceiptError::Unsigned)?;
        let signer = keys
            .verify(self.canonical(), signature)
            .map_err(ReceiptError::Signature)?;
        let mut signers = vec![signer];
        for (index, entry) in self.attestations.iter().enumerate() {
            match keys.verify(self.canonical(), entry) {
                Ok(attestor) if !signers.contains(&attestor) => signers.push(attestor),
                Ok(_) | Err(SignatureError::UnknownKey(_)) => {}
                Err(error) => return Err(ReceiptError::Attestation { index, error }),
            }
        }
        match &self.status {
            Some(status) if status != "COMPLETED" => Err(ReceiptError::Status(status.clone())),
            _ => Ok(VerifiedReceipt { receipt: self, signers }),
        }
    }
}

/// sha256 of canonical bytes.
pub fn receipt_hash(canonical: &[u8]) -> B256 {
    B256::from_slice(&Sha256::digest(canonical))
}

fn find<'a>(object: &'a Object, key: &str) -> Option<&'a Value> {
    object.get(&Text::from(key))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.to_utf8(),
        _ => None,
    }
}

/// A named field: text that can be stored in any database.
fn name(payload: &Object, key: &'static str) -> Result<String, ReceiptError> {
    let value = find(payload, key).ok_or(ReceiptError::Missing(key))?;
    text(value)
        .filter(|text| !text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.contains('\0'))
        .ok_or(ReceiptError::Field(key))
}

fn price(payload: &Object) -> Result<Option<String>, ReceiptError> {
    match find(payload, "price") {
        None => Ok(None),
        Some(Value::Integer(lexeme)) => Ok(Some(lexeme.clone())),
        Some(Value::Float(number)) => Ok(Some(canonical::float_repr(*number))),
        Some(_) => Err(ReceiptError::Field("price")),
    }
}

fn signature_entry(value: &Value) -> Option<SignatureEntry> {
    let Value::Object(entry) = value else { return None };
    Some(SignatureEntry {
        alg: text(find(entry, "alg")?)?,
        key_id: text(find(entry, "key_id")?)?,
        sig: text(find(entry, "sig")?)?,
    })
}

fn attestations(object: &Object) -> Result<Vec<SignatureEntry>, ReceiptError> {
    let malformed = || ReceiptError::Field("attestations");
    match find(object, "attestations") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(entries)) if entries.len() <= ATTESTATIONS_MAX => entries
            .iter()
            .map(|entry| signature_entry(entry).ok_or_else(malformed))
            .collect(),
        Some(_) => Err(malformed()),
    }
}

#[cfg(test)]
mod cpython_tests;
#[cfg(test)]
mod tests;
