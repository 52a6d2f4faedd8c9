//! Verdicts of `relayer receipt verify`: one per receipt, for one JSON document or one receipt per line.

use super::json::{self, JsonError, Object, Text, Value};
use super::{Limits, PinnedKeys, Receipt, ReceiptError, find, text};
use alloy::primitives::B256;
use serde::Serialize;

/// What can be said about one receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub receipt_id: Option<String>,
    /// sha256 of the canonical bytes, hex without 0x, as the coordinator writes it.
    pub receipt_hash: Option<String>,
    /// A pinned key signed exactly these bytes, and nothing else speaks against the receipt.
    pub valid: bool,
    /// Pinned keys that signed, hex: the signer first, then attestors.
    pub signers: Vec<String>,
    pub error: Option<String>,
    /// False when the line was no JSON object, so that there was no receipt to judge.
    #[serde(skip)]
    pub judged: bool,
}

/// Judges the content of a file: one document, which may span lines, or one receipt per line.
pub fn verify_text(text: &[u8], keys: &PinnedKeys, limits: &Limits) -> Vec<Verdict> {
    if let Ok(document) = json::parse(text, limits) {
        return vec![judge(Ok(document), keys)];
    }
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let verdicts: Vec<Verdict> = verify_lines(lines, keys, limits).collect();
    // A single broken document that spans lines is one bad receipt, not one per line.
    if verdicts.iter().any(|verdict| verdict.judged) || verdicts.len() == 1 {
        verdicts
    } else {
        vec![verify_line(text, keys, limits)]
    }
}

/// Judges one receipt per line, lazily; blank lines are skipped.
pub fn verify_lines<'a, L: AsRef<[u8]>>(
    lines: impl IntoIterator<Item = L> + 'a,
    keys: &'a PinnedKeys,
    limits: &'a Limits,
) -> impl Iterator<Item = Verdict> + 'a {
    lines
        .into_iter()
        .filter(|line| !line.as_ref().trim_ascii().is_empty())
        .map(move |line| verify_line(line.as_ref(), keys, limits))
}

/// Judges one receipt.
pub fn verify_line(line: &[u8], keys: &PinnedKeys, limits: &Limits) -> Verdict {
    judge(json::parse(line, limits), keys)
}

fn judge(document: Result<Value, JsonError>, keys: &PinnedKeys) -> Verdict {
    let object = match document {
        Ok(Value::Object(object)) => without_envelope(object),
        Ok(_) => return refused(None, None, &ReceiptError::NotAnObject, false),
        Err(error) => return refused(None, None, &ReceiptError::Json(error), false),
    };
    let canonical = super::canonical::write_object(&super::canonical::payload(&object));
    let hash = Some(super::receipt_hash(canonical.as_bytes()));
    let receipt_id = find(&object, "receipt_id").and_then(text);
    match Receipt::from_object(&object).and_then(|receipt| receipt.verify(keys)) {
        Ok(verified) => Verdict {
            receipt_id,
            receipt_hash: hash.map(hex::encode),
            valid: true,
            signers: verified.signers.iter().map(ToString::to_string).collect(),
            error: None,
            judged: true,
        },
        Err(error) => refused(receipt_id, hash, &error, true),
    }
}

fn refused(receipt_id: Option<String>, hash: Option<B256>, error: &ReceiptError, judged: bool) -> Verdict {
    Verdict {
        receipt_id,
        receipt_hash: hash.map(hex::encode),
        valid: false,
        signers: Vec::new(),
        error: Some(error.to_string()),
        judged,
    }
}

/// The published sample keeps its signature beside the payload: `{payload, signature, …}` is read as the receipt it holds.
fn without_envelope(mut object: Object) -> Object {
    if find(&object, "receipt_id").is_some() || find(&object, "signature").is_none() {
        return object;
    }
    match object.remove(&Text::from("payload")) {
        Some(Value::Object(mut receipt)) => {
            for key in super::canonical::SIGNATURE_KEYS {
                if let Some(value) = object.remove(&Text::from(key)) {
                    receipt.insert(Text::from(key), value);
                }
            }
            receipt
        }
        Some(other) => {
            object.insert(Text::from("payload"), other);
            object
        }
        None => object,
    }
}
