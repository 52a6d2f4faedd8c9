//! Domain to proto. Hashes and addresses become 0x hex, amounts decimal strings, absent values empty.

use super::error::ApiError;
use super::parse;
use crate::hub::model::tree::DEPTH_MAX;
use crate::hub::model::{Account, AllotmentProof, Eon, Interval, Passive};
use crate::intake::{Accepted, AllotmentClaim, GroupAnswer, RequestedTerms, SubmitGroup, SubmitRequest};
use crate::payout::Bundle;
use crate::payout::bundle::{BundleGroup, BundleTerms};
use crate::router::{Answer, Offer};
use crate::settlement::terms::Terms;
use crate::store::{CoveredReceipt, Dispatch, Event, Execution, Hub, HubBound, HubCheckpoint, Message, Settlement};
use alloy::hex::encode_prefixed;
use alloy::primitives::B256;
use relayer_adapter_api::ChainId;
use relayer_proto::v1;

/// Unix ms or a count as the proto has it; absent and negative are 0.
pub fn stamp(value: impl Into<Option<i64>>) -> u64 {
    value.into().and_then(|ms| u64::try_from(ms).ok()).unwrap_or_default()
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A submission as intake takes it.
pub fn submission(coordinator: &str, request: v1::SubmitRequest) -> Result<SubmitRequest, ApiError> {
    let terms = request.terms.ok_or_else(|| ApiError::field("terms", "is missing"))?;
    if terms.source_chain == 0 || terms.target_chain == 0 {
        return Err(ApiError::field("terms", "source_chain and target_chain are required"));
    }
    let fee = if terms.fee.is_empty() { "0" } else { &terms.fee };
    Ok(SubmitRequest {
        coordinator_id: coordinator.to_owned(),
        trace_id: request.trace_id,
        codec: String::new(),
        policy: request.policy,
        receipts: request.receipts,
        terms: RequestedTerms {
            job_id: parse::optional_hash("job_id", &terms.job_id)?,
            receipt_hash: parse::optional_hash("receipt_hash", &terms.receipt_hash)?,
            proof_hash: parse::optional_hash("proof_hash", &terms.proof_hash)?,
            source: ChainId(terms.source_chain),
            target: ChainId(terms.target_chain),
            inbox: parse::optional_address("inbox", &terms.inbox)?,
            payer: parse::address("payer", &terms.payer)?,
            payee: parse::address("payee", &terms.payee)?,
            token: parse::address("token", &terms.token)?,
            amount: parse::decimal("amount", &terms.amount)?,
            fee: parse::decimal("fee", fee)?,
            nonce: parse::decimal("nonce", &terms.nonce)?,
            deadline: terms.deadline,
        },
        auth: parse::bytes("auth", &request.auth)?,
        proof: (!request.proof.is_empty()).then_some(request.proof),
        allotment: request.allotment.map(allotment).transpose()?,
    })
}

/// Bounded by what a proof can need, so that nobody has it hashed for nothing.
fn allotment(proof: v1::AllotmentProof) -> Result<AllotmentClaim, ApiError> {
    let words = |field, words: &[String]| -> Result<Vec<B256>, ApiError> {
        if words.len() > DEPTH_MAX {
            return Err(ApiError::field(field, "has more than 32 entries"));
        }
        words.iter().map(|word| parse::hash(field, word)).collect()
    };
    let number = |field, text: &str| parse::decimal(field, if text.is_empty() { "0" } else { text });
    if proof.values.len() > DEPTH_MAX {
        return Err(ApiError::field("values", "has more than 32 entries"));
    }
    let values = proof.values.iter().map(|value| parse::decimal("values", value));
    Ok(AllotmentClaim {
        hub: proof.hub,
        eon: Eon(proof.eon),
        token: parse::address("token", &proof.token)?,
        account: Account {
            wallet: parse::address("wallet", &proof.wallet)?,
            active_state_checksum: parse::optional_hash("active_state_checksum", &proof.active_state_checksum)?
                .unwrap_or_default(),
            passive: Passive {
                checksum: parse::optional_hash("passive_root", &proof.passive_root)?.unwrap_or_default(),
                amount: number("passive_amount", &proof.passive_amount)?,
                marker: number("passive_marker", &proof.passive_marker)?,
            },
        },
        proof: AllotmentProof {
            interval: Interval {
                left: parse::decimal("left", &proof.left)?,
                right: parse::decimal("right", &proof.right)?,
            },
            trail: proof.trail,
            allotment_chain: words("allotment_chain", &proof.allotment_chain)?,
            values: values.collect::<Result<_, _>>()?,
            token_trail: proof.token_trail,
            membership_chain: words("membership_chain", &proof.membership_chain)?,
        },
    })
}

/// A field that cannot be read refuses the whole group: what its payer signed could not be told.
pub fn group(coordinator: &str, request: v1::SubmitGroupRequest) -> Result<SubmitGroup, ApiError> {
    let (trace_id, policy) = (request.trace_id, request.policy);
    let mut items = Vec::with_capacity(request.items.len());
    for (index, item) in request.items.into_iter().enumerate() {
        let one = v1::SubmitRequest {
            coordinator: String::new(),
            terms: item.terms,
            auth: String::new(),
            receipts: item.receipts,
            proof: item.proof,
            trace_id: trace_id.clone(),
            policy: policy.clone(),
            allotment: item.allotment,
        };
        items.push(submission(coordinator, one).map_err(|error| error.with("item", index.to_string()))?);
    }
    Ok(SubmitGroup {
        coordinator_id: coordinator.to_owned(),
        auth: parse::bytes("auth", &request.auth)?,
        items,
    })
}

pub fn group_answer(answer: GroupAnswer) -> v1::SubmitGroupResponse {
    use v1::group_result::Result;
    let results = answer.results.into_iter().map(|result| v1::GroupResult {
        result: Some(match result {
            Ok(one) => Result::Accepted(accepted(&one)),
            Err(error) => Result::Refused(refusal(&error.into())),
        }),
    });
    v1::SubmitGroupResponse {
        group_root: answer.root.to_string(),
        results: results.collect(),
    }
}

/// A refusal where one call has many answers.
pub fn refusal(error: &ApiError) -> v1::Refusal {
    let after = error.retry_after.map_or(0, |after| after.as_millis());
    v1::Refusal {
        code: error.code.code.to_owned(),
        status: error.kind.grpc().into(),
        message: error.message.clone(),
        metadata: error
            .metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect(),
        retry_after_ms: u64::try_from(after).unwrap_or(u64::MAX),
    }
}

pub fn accepted(accepted: &Accepted) -> v1::SubmitResponse {
    v1::SubmitResponse {
        settlement_id: accepted.id.to_string(),
        state: accepted.state.to_string(),
        duplicate: accepted.existing,
        revocable: accepted.revocable,
        accepted_at_ms: stamp(accepted.accepted_at),
        trace_id: accepted.trace_id.clone(),
        supersedes: accepted.supersedes.map(|id| id.to_string()).unwrap_or_default(),
    }
}

pub fn terms(terms: &Terms, target: ChainId, inbox: alloy::primitives::Address) -> v1::Terms {
    v1::Terms {
        job_id: terms.job_id.to_string(),
        receipt_hash: terms.receipt_hash.to_string(),
        proof_hash: terms.proof_hash.to_string(),
        source_chain: terms.source_chain.0,
        target_chain: target.0,
        inbox: encode_prefixed(inbox),
        payer: encode_prefixed(terms.payer),
        payee: encode_prefixed(terms.payee),
        token: encode_prefixed(terms.token),
        amount: terms.amount.to_string(),
        fee: terms.fee.to_string(),
        nonce: terms.nonce.to_string(),
        deadline: terms.deadline,
    }
}

/// `bounds` are what is known of the checkpoint's promises.
pub fn reliance(hub: &Hub, checkpoint: &HubCheckpoint, bounds: &[HubBound]) -> v1::HubReliance {
    v1::HubReliance {
        hub: hub.name.clone(),
        eon: checkpoint.eon.0,
        standing: checkpoint.standing.to_string(),
        halted: hub.halted.map(|halt| halt.reason.to_string()).unwrap_or_default(),
        refused: checkpoint.refused.clone().unwrap_or_default(),
        unjudged: bounds.is_empty() || bounds.iter().any(|bound| bound.solvent.is_none()),
    }
}

pub fn settlement(row: &Settlement, receipts: &[CoveredReceipt]) -> v1::Settlement {
    v1::Settlement {
        settlement_id: row.id.to_string(),
        coordinator: row.coordinator_id.clone(),
        trace_id: row.trace_id.clone(),
        terms: Some(terms(&row.terms, row.target, row.inbox)),
        state: row.state.to_string(),
        skip_reason: row.skip_reason.clone().unwrap_or_default(),
        cancel_requested_at_ms: stamp(row.cancel_requested_at),
        revocable: row.revocable,
        tier: u32::from(row.tier),
        fee_recipient: encode_prefixed(row.fee_recipient),
        accepted_at_ms: stamp(row.accepted_at),
        updated_at_ms: stamp(row.updated_at),
        ended_at_ms: stamp(row.ended_at),
        evidence: row.evidence.as_ref().map(|evidence| v1::Evidence {
            block_number: evidence.block_number,
            block_hash: evidence.block_hash.to_string(),
            transaction_hash: evidence.tx.map(|tx| tx.to_string()).unwrap_or_default(),
        }),
        credited: row.credited,
        supersedes: row.supersedes.map(|id| id.to_string()).unwrap_or_default(),
        batched_times: row.batched_times,
        receipts: receipts.iter().map(receipt).collect(),
        batch_after_ms: stamp(row.batch_after),
        policy: row.policy.map(|policy| policy.to_string()).unwrap_or_default(),
    }
}

fn receipt(receipt: &CoveredReceipt) -> v1::Receipt {
    v1::Receipt {
        receipt_hash: receipt.hash.to_string(),
        receipt_id: receipt.receipt_id.clone(),
        job_id: receipt.job_id.clone(),
        provider: receipt.provider.clone(),
        price: receipt.price.clone().unwrap_or_default(),
    }
}

pub fn event(event: Event) -> v1::Event {
    v1::Event {
        seq: stamp(event.seq),
        at_ms: stamp(event.at_ms),
        aggregate: event.aggregate,
        aggregate_id: event.aggregate_id,
        event: event.event,
        from_state: event.from_state.unwrap_or_default(),
        to_state: event.to_state.unwrap_or_default(),
        cause: event.cause,
        detail: event.detail.unwrap_or_default(),
        settlement_id: event.settlement.map(|id| id.to_string()).unwrap_or_default(),
        coordinator: event.coordinator_id.unwrap_or_default(),
        trace_id: event.trace_id.unwrap_or_default(),
    }
}

pub fn message(row: &Message, leaf: usize) -> v1::Message {
    v1::Message {
        message_id: row.id.to_string(),
        header: encode_prefixed(row.header.encode()),
        sequence: row.header.sequence,
        root: row.header.root.to_string(),
        leaves: row.header.count,
        state: row.state.to_string(),
        leaf: number(leaf),
        abandon_reason: row.abandon_reason.clone().unwrap_or_default(),
        created_at_ms: stamp(row.created_at),
        policy: row.policy.map(|policy| policy.to_string()).unwrap_or_default(),
        dispatches: Vec::new(),
        executions: Vec::new(),
    }
}

pub fn dispatch(row: &Dispatch, transaction: Option<B256>) -> v1::Dispatch {
    v1::Dispatch {
        id: stamp(row.id.0),
        bridge: row.bridge.to_string(),
        source_state: row.source_state.to_string(),
        target_state: row.target_state.to_string(),
        fee_quoted: row.fee_quoted.to_string(),
        transaction_hash: transaction.map(|hash| hash.to_string()).unwrap_or_default(),
        bridge_ref: row.bridge_ref.map(|id| id.to_string()).unwrap_or_default(),
        note: row.note.clone().unwrap_or_default(),
        stalled_at_ms: stamp(row.stalled_at),
        decision: row.decision.clone(),
        attempts: row.attempts,
        planned_at_ms: stamp(row.planned_at),
        included_at_ms: stamp(row.included_at),
        finalized_at_ms: stamp(row.finalized_at),
        received_at_ms: stamp(row.received_at),
    }
}

pub fn execution(row: &Execution, transaction: Option<B256>) -> v1::Execution {
    v1::Execution {
        id: stamp(row.id.0),
        first_leaf: number(row.leaves.start),
        leaves: number(row.leaves.len()),
        state: row.state.to_string(),
        transaction_hash: transaction.map(|hash| hash.to_string()).unwrap_or_default(),
        gas_used: row.gas_used.unwrap_or_default(),
        paid: row.paid.unwrap_or_default(),
        note: row.note.clone().unwrap_or_default(),
    }
}

pub fn bundle(bundle: &Bundle) -> v1::ExecutionBundle {
    let of = &bundle.terms;
    v1::ExecutionBundle {
        version: u32::from(bundle.version),
        target_chain: bundle.chain_id,
        inbox: encode_prefixed(bundle.inbox),
        settlement_id: bundle.settlement_id.to_string(),
        message_id: bundle.message_id.to_string(),
        message: encode_prefixed(&bundle.message),
        terms: Some(v1::Terms {
            job_id: of.job_id.to_string(),
            receipt_hash: of.receipt_hash.to_string(),
            proof_hash: of.proof_hash.to_string(),
            source_chain: of.source_chain_id,
            target_chain: bundle.chain_id,
            inbox: encode_prefixed(bundle.inbox),
            payer: encode_prefixed(of.payer),
            payee: encode_prefixed(of.payee),
            token: encode_prefixed(of.token),
            amount: of.amount.to_string(),
            fee: of.fee.to_string(),
            nonce: of.nonce.to_string(),
            deadline: of.deadline,
        }),
        auth: encode_prefixed(&bundle.auth),
        group: bundle.group.map(|group| v1::BundleGroup {
            root: group.root.to_string(),
            count: group.count,
            index: group.index,
        }),
        leaf: bundle.leaf,
        proof: bundle.proof.iter().map(B256::to_string).collect(),
        packed: encode_prefixed(&bundle.packed),
    }
}

/// The other way round: what the command line writes into a file.
pub fn bundle_file(bundle: &v1::ExecutionBundle) -> Result<Bundle, ApiError> {
    let of = bundle.terms.clone().unwrap_or_default();
    let group = match &bundle.group {
        None => None,
        Some(group) => Some(BundleGroup {
            root: parse::hash("group.root", &group.root)?,
            count: group.count,
            index: group.index,
        }),
    };
    let proof = bundle.proof.iter().map(|sibling| parse::hash("proof", sibling));
    Ok(Bundle {
        version: u8::try_from(bundle.version).map_err(|_| ApiError::field("version", "is unknown"))?,
        chain_id: bundle.target_chain,
        inbox: parse::address("inbox", &bundle.inbox)?,
        settlement_id: parse::hash("settlement_id", &bundle.settlement_id)?.into(),
        message_id: parse::hash("message_id", &bundle.message_id)?.into(),
        message: parse::bytes("message", &bundle.message)?,
        terms: BundleTerms {
            job_id: parse::hash("job_id", &of.job_id)?,
            receipt_hash: parse::hash("receipt_hash", &of.receipt_hash)?,
            proof_hash: parse::hash("proof_hash", &of.proof_hash)?,
            source_chain_id: of.source_chain,
            payer: parse::address("payer", &of.payer)?,
            payee: parse::address("payee", &of.payee)?,
            token: parse::address("token", &of.token)?,
            amount: parse::decimal("amount", &of.amount)?,
            fee: parse::decimal("fee", &of.fee)?,
            nonce: parse::decimal("nonce", &of.nonce)?,
            deadline: of.deadline,
        },
        auth: parse::bytes("auth", &bundle.auth)?,
        group,
        leaf: bundle.leaf,
        proof: proof.collect::<Result<_, _>>()?,
        packed: parse::bytes("packed", &bundle.packed)?,
    })
}

pub fn offer(offer: &Offer, valid_for_ms: u64, count_max: u32) -> v1::LaneQuote {
    let mut quote = v1::LaneQuote {
        bridge: offer.bridge.to_string(),
        settlements_per_message_max: count_max,
        valid_for_ms,
        ..Default::default()
    };
    match &offer.answer {
        Answer::Quoted {
            fee,
            gas_limit,
            expected_s,
            ..
        } => {
            quote.native_fee = fee.to_string();
            quote.gas_limit = *gas_limit;
            quote.expected_ms = expected_s.saturating_mul(1_000);
        }
        Answer::OverCap { fee, cap, .. } => quote.error = format!("asks {fee} wei, above the cap of {cap}"),
        Answer::Refused { reason } | Answer::Shut { reason } => quote.error.clone_from(reason),
        Answer::OverValue { .. } => quote.error = "the value in flight is at its cap".to_owned(),
        Answer::Used | Answer::FamilyCovered => quote.error = "is not needed".to_owned(),
    }
    if offer.lane_stalled && quote.error.is_empty() {
        quote.error = "a dispatch is overdue on this lane".to_owned();
    }
    quote
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use alloy::primitives::{Address, U256};

    #[test]
    fn a_bundle_survives_the_way_through_the_proto() {
        let original = Bundle {
            version: 1,
            chain_id: 10,
            inbox: Address::repeat_byte(1),
            settlement_id: B256::repeat_byte(2).into(),
            message_id: B256::repeat_byte(3).into(),
            message: vec![4; 158].into(),
            terms: BundleTerms {
                job_id: B256::repeat_byte(5),
                receipt_hash: B256::repeat_byte(6),
                proof_hash: B256::ZERO,
                source_chain_id: 1,
                payer: Address::repeat_byte(7),
                payee: Address::repeat_byte(8),
                token: Address::repeat_byte(9),
                amount: U256::MAX,
                fee: U256::ZERO,
                nonce: U256::from(10),
                deadline: 11,
            },
            auth: vec![12; 65].into(),
            group: Some(BundleGroup {
                root: B256::repeat_byte(13),
                count: 14,
                index: 15,
            }),
            leaf: 16,
            proof: vec![B256::repeat_byte(17)],
            packed: vec![18; 40].into(),
        };
        assert_eq!(bundle_file(&bundle(&original)).unwrap(), original);
        let mut broken = bundle(&original);
        broken.inbox = "0x12".into();
        assert!(bundle_file(&broken).is_err());
    }

    #[test]
    fn an_unreadable_item_refuses_its_group_and_is_named() {
        let item = |payee: &str| v1::GroupItem {
            terms: Some(v1::Terms {
                source_chain: 1,
                target_chain: 2,
                payer: Address::repeat_byte(7).to_string(),
                payee: payee.into(),
                token: Address::repeat_byte(9).to_string(),
                amount: "1".into(),
                nonce: "1".into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let of = |items| v1::SubmitGroupRequest {
            items,
            auth: "0x01".into(),
            trace_id: "trace".into(),
            ..Default::default()
        };
        let good = Address::repeat_byte(8).to_string();
        let read = group("a", of(vec![item(&good), item(&good)])).unwrap();
        assert_eq!((read.items.len(), read.auth.as_ref()), (2, &[1u8][..]));
        assert!(
            read.items
                .iter()
                .all(|item| item.coordinator_id == "a" && item.trace_id == "trace")
        );
        let error = group("a", of(vec![item(&good), item("0x12")])).unwrap_err();
        assert_eq!(
            (error.metadata["field"].as_str(), error.metadata["item"].as_str()),
            ("payee", "1")
        );
    }

    #[test]
    fn a_submission_without_terms_or_chains_is_refused() {
        assert!(submission("a", v1::SubmitRequest::default()).is_err());
        let terms = Some(v1::Terms::default());
        let request = v1::SubmitRequest {
            terms,
            ..Default::default()
        };
        assert!(submission("a", request).unwrap_err().message.contains("source_chain"));
    }
}
