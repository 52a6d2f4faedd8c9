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
    #[serde(default)]
    policy: String,
    #[serde(default)]
    allotment: Option<Allotment>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Allotment {
    hub: String,
    eon: u64,
    token: String,
    wallet: String,
    trail: u64,
    token_trail: u64,
    left: String,
    right: String,
    #[serde(default)]
    active_state_checksum: String,
    #[serde(default)]
    passive_root: String,
    #[serde(default)]
    passive_amount: String,
    #[serde(default)]
    passive_marker: String,
    allotment_chain: Vec<String>,
    values: Vec<String>,
    membership_chain: Vec<String>,
}

impl From<Allotment> for v1::AllotmentProof {
    fn from(proof: Allotment) -> Self {
        Self {
            hub: proof.hub,
            eon: proof.eon,
            token: proof.token,
            wallet: proof.wallet,
            trail: proof.trail,
            token_trail: proof.token_trail,
            left: proof.left,
            right: proof.right,
            active_state_checksum: proof.active_state_checksum,
            passive_root: proof.passive_root,
            passive_amount: proof.passive_amount,
            passive_marker: proof.passive_marker,
            allotment_chain: proof.allotment_chain,
            values: proof.values,
            membership_chain: proof.membership_chain,
        }
    }
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

/// A group as the command line reads it; the terms and receipts of each item are those of a submission.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group<'a> {
    #[serde(default)]
    coordinator: String,
    #[serde(default)]
    auth: String,
    #[serde(borrow)]
    items: Vec<Item<'a>>,
    #[serde(default)]
    trace_id: String,
    #[serde(default)]
    policy: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item<'a> {
    terms: Terms,
    #[serde(borrow)]
    receipts: Vec<&'a RawValue>,
    #[serde(default)]
    proof: String,
    #[serde(default)]
    allotment: Option<Allotment>,
}

impl From<Terms> for v1::Terms {
    fn from(terms: Terms) -> Self {
        Self {
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
        }
    }
}

fn wrong(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(Kind::InvalidArgument, BODY, format!("body: {error}"))
}

fn receipts(raw: Vec<&RawValue>) -> Result<Vec<Vec<u8>>, ApiError> {
    let bytes = |raw: &RawValue| {
        let text = raw.get();
        if text.starts_with('"') {
            let text: String = serde_json::from_str(text).map_err(|error| wrong(&error))?;
            Ok(text.into_bytes())
        } else {
            Ok(text.as_bytes().to_vec())
        }
    };
    raw.into_iter().map(bytes).collect()
}

pub(crate) fn submission(bytes: &[u8]) -> Result<v1::SubmitRequest, ApiError> {
    let body: Submission<'_> = serde_json::from_slice(bytes).map_err(|error| wrong(&error))?;
    Ok(v1::SubmitRequest {
        coordinator: body.coordinator,
        receipts: receipts(body.receipts)?,
        terms: Some(body.terms.into()),
        auth: body.auth,
        proof: parse::bytes("proof", &body.proof)?.to_vec(),
        trace_id: body.trace_id,
        policy: body.policy,
        allotment: body.allotment.map(Into::into),
    })
}

pub(crate) fn group(bytes: &[u8]) -> Result<v1::SubmitGroupRequest, ApiError> {
    let body: Group<'_> = serde_json::from_slice(bytes).map_err(|error| wrong(&error))?;
    let item = |item: Item<'_>| {
        Ok(v1::GroupItem {
            receipts: receipts(item.receipts)?,
            terms: Some(item.terms.into()),
            proof: parse::bytes("proof", &item.proof)?.to_vec(),
            allotment: item.allotment.map(Into::into),
        })
    };
    let items = body.items.into_iter().enumerate();
    Ok(v1::SubmitGroupRequest {
        coordinator: body.coordinator,
        items: items
            .map(|(index, of)| item(of).map_err(|error: ApiError| error.with("item", index.to_string())))
            .collect::<Result<_, _>>()?,
        auth: body.auth,
        trace_id: body.trace_id,
        policy: body.policy,
    })
}
