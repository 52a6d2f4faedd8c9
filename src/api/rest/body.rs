//! The JSON body of a submission. Receipts are taken as the very bytes they were sent as: their signature covers the lexemes.

use crate::api::error::{ApiError, BODY, Kind};
use crate::api::parse;
use relayer_proto::v1;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Submission<'a> {
    #[serde(default)]
    coordinator: String,
    terms: Terms,
    auth: String,
    /// JSON objects, or strings that hold them.
    #[serde(borrow)]
    receipts: Vec<&'a RawValue>,
    /// 0x hex.
    #[serde(default)]
    proof: String,
    #[serde(default)]
    trace_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Terms {
    #[serde(default)]
    job_id: String,
    #[serde(default)]
    receipt_hash: String,
    #[serde(default)]
    proof_hash: String,
    source_chain: u64,
    target_chain: u64,
    #[serde(default)]
    inbox: String,
    payer: String,
    payee: String,
    token: String,
    amount: String,
    #[serde(default)]
    fee: String,
    nonce: String,
    deadline: u64,
}

pub(crate) fn submission(bytes: &[u8]) -> Result<v1::SubmitRequest, ApiError> {
    let wrong = |error: &dyn std::fmt::Display| ApiError::new(Kind::InvalidArgument, BODY, format!("body: {error}"));
    let body: Submission<'_> = serde_json::from_slice(bytes).map_err(|error| wrong(&error))?;
    let mut receipts = Vec::with_capacity(body.receipts.len());
    for raw in body.receipts {
        let text = raw.get();
        let receipt = if text.starts_with('"') {
            serde_json::from_str::<String>(text)
                .map_err(|error| wrong(&error))?
                .into_bytes()
        } else {
            text.as_bytes().to_vec()
        };
        receipts.push(receipt);
    }
    let terms = body.terms;
    Ok(v1::SubmitRequest {
        coordinator: body.coordinator,
        terms: Some(v1::Terms {
            job_id: terms.job_id,
            receipt_hash: terms.receipt_hash,
            proof_hash: terms.proof_hash,
            source_chain: terms.source_chain,
            target_chain: terms.target_chain,
            inbox: terms.inbox,
            payer: terms.payer,
            payee: terms.payee,
            token: terms.token,
            amount: terms.amount,
            fee: if terms.fee.is_empty() { "0".into() } else { terms.fee },
            nonce: terms.nonce,
            deadline: terms.deadline,
        }),
        auth: body.auth,
        receipts,
        proof: parse::bytes("proof", &body.proof)?.to_vec(),
        trace_id: body.trace_id,
    })
}
