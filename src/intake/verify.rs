//! What can be said about a request without the database and without a chain. CPU only; runs on the pool.

use super::allotment::{Proven, prove};
use super::error::IntakeError;
use super::policy::{CoordinatorPolicy, IntakePolicy, TargetPolicy};
use super::request::{SubmitRequest, TRACE_BYTES_MAX};
use crate::settlement::SettlementId;
use crate::settlement::auth::{self, Classification};
use crate::settlement::policy::RoutePolicy;
use crate::settlement::receipt::{self, AmountRule, Limits, Receipt, ReceiptError, SignatureError, VerifiedReceipt};
use crate::settlement::terms::{Domain, Terms, TermsFields};
use crate::store::{CoveredReceipt, GroupMember};
use alloy::primitives::{Address, B256, Bytes, keccak256};
use relayer_adapter_api::ChainId;

/// A request whose receipts and terms are what they claim to be. Who authorized it is still open.
#[derive(Debug, Clone)]
pub struct Checked {
    pub id: SettlementId,
    pub coordinator_id: String,
    pub trace_id: String,
    pub target: ChainId,
    pub inbox: Address,
    pub terms: Terms,
    pub fee_recipient: Address,
    pub policy: Option<RoutePolicy>,
    pub receipts: Vec<CoveredReceipt>,
    pub amount_rule: AmountRule,
    pub allow_contract_payers: bool,
    /// Bridge families between source and target.
    pub families: u8,
    /// What the payer showed of its allotment at a hub.
    pub allotment: Option<Proven>,
}

/// An authorization: what was signed, the bytes, and whose they seem to be.
#[derive(Debug, Clone)]
pub struct Signed {
    pub digest: B256,
    /// Normalized.
    pub auth: Bytes,
    pub signer: Classification,
}

/// A request with its authorization. Whether that word counts, and whether the target chain would honour it, is still open.
#[derive(Debug, Clone)]
pub struct Verified {
    checked: Checked,
    pub signed: Signed,
    /// Set when the payer signed a group.
    pub group: Option<GroupMember>,
}

impl std::ops::Deref for Verified {
    type Target = Checked;

    fn deref(&self) -> &Checked {
        &self.checked
    }
}

impl Signed {
    /// Reads an authorization; one nobody could accept is refused here.
    pub fn over(digest: B256, auth: &[u8]) -> Result<Self, IntakeError> {
        let auth = auth::normalize(auth);
        match auth::classify(digest, &auth) {
            Classification::Refused(refusal) => Err(IntakeError::Auth(refusal)),
            signer => Ok(Self { digest, auth, signer }),
        }
    }
}

impl Checked {
    pub fn with(self, signed: Signed, group: Option<GroupMember>) -> Verified {
        Verified {
            checked: self,
            signed,
            group,
        }
    }
}

/// A request that its payer signed by itself.
pub fn verify(policy: &IntakePolicy, request: &SubmitRequest) -> Result<Verified, IntakeError> {
    let checked = check(policy, request)?;
    let signed = Signed::over(checked.id.0, &request.auth)?;
    Ok(checked.with(signed, None))
}

/// Everything but the authorization, whose bytes are not looked at.
pub fn check(policy: &IntakePolicy, request: &SubmitRequest) -> Result<Checked, IntakeError> {
    let coordinator = policy
        .coordinators
        .get(&request.coordinator_id)
        .ok_or_else(|| IntakeError::UnknownCoordinator(request.coordinator_id.clone()))?;
    check_sizes(policy, request)?;
    let route_policy = route_policy(request)?;
    let (target, families) = route(policy, request)?;
    check_payer(coordinator, request)?;
    check_payee(target, request)?;
    let (receipts, netted) = verify_receipts(policy, coordinator, &request.receipts)?;
    let wanted = &request.terms;
    agree("receiptHash", wanted.receipt_hash, netted.receipt_hash)?;
    agree("jobId", wanted.job_id, netted.job_id)?;
    let terms = Terms::new(TermsFields {
        job_id: netted.job_id,
        receipt_hash: netted.receipt_hash,
        proof_hash: proof_hash(request)?,
        source_chain: wanted.source,
        payer: wanted.payer,
        payee: wanted.payee,
        token: wanted.token,
        amount: wanted.amount,
        fee: wanted.fee,
        nonce: wanted.nonce,
        deadline: wanted.deadline,
    })
    .map_err(IntakeError::Terms)?;
    let id = Domain::new(wanted.target, target.inbox).settlement_id(&terms);
    let fee_recipient = if terms.fee.is_zero() {
        Address::ZERO
    } else {
        coordinator.fee_recipient.ok_or(IntakeError::FeeRefused)?
    };
    let allotment = request
        .allotment
        .as_ref()
        .map(|claim| prove(policy, wanted.target, &terms, claim))
        .transpose()?;
    let trace_id = if request.trace_id.is_empty() {
        // Stable, so that a repetition of the request finds itself in the logs.
        id.to_string()[2..18].to_owned()
    } else {
        request.trace_id.clone()
    };
    Ok(Checked {
        id,
        coordinator_id: request.coordinator_id.clone(),
        trace_id,
        target: wanted.target,
        inbox: target.inbox,
        terms,
        fee_recipient,
        policy: route_policy,
        receipts: netted.order.iter().map(|index| covered(&receipts[*index])).collect(),
        amount_rule: coordinator.amount_rule,
        allow_contract_payers: coordinator.allow_contract_payers,
        families,
        allotment,
    })
}

pub(super) fn check_sizes(policy: &IntakePolicy, request: &SubmitRequest) -> Result<(), IntakeError> {
    if !request.codec.is_empty() && request.codec != receipt::CODEC {
        return Err(IntakeError::Codec(request.codec.clone()));
    }
    if request.trace_id.len() > TRACE_BYTES_MAX || request.trace_id.contains('\0') {
        return Err(IntakeError::TraceId);
    }
    let count = request.receipts.len();
    if count == 0 || count > policy.receipts_max {
        return Err(IntakeError::ReceiptCount {
            count,
            max: policy.receipts_max,
        });
    }
    for (index, bytes) in request.receipts.iter().enumerate() {
        if bytes.len() > policy.receipt_bytes_max {
            return Err(IntakeError::ReceiptTooLarge {
                index,
                bytes: bytes.len(),
                max: policy.receipt_bytes_max,
            });
        }
    }
    match &request.proof {
        Some(proof) if proof.len() > policy.proof_bytes_max => Err(IntakeError::ProofTooLarge {
            bytes: proof.len(),
            max: policy.proof_bytes_max,
        }),
        _ => Ok(()),
    }
}

/// How the lanes are to be ranked, if the request says so.
pub(super) fn route_policy(request: &SubmitRequest) -> Result<Option<RoutePolicy>, IntakeError> {
    if request.policy.is_empty() {
        return Ok(None);
    }
    let policy = request.policy.parse();
    policy
        .map(Some)
        .map_err(|_| IntakeError::Policy(request.policy.clone()))
}

fn route<'a>(policy: &'a IntakePolicy, request: &SubmitRequest) -> Result<(&'a TargetPolicy, u8), IntakeError> {
    let wanted = &request.terms;
    let target = policy
        .targets
        .get(&wanted.target)
        .ok_or(IntakeError::WrongChain(wanted.target))?;
    if let Some(inbox) = wanted.inbox.filter(|inbox| *inbox != target.inbox) {
        return Err(IntakeError::WrongInbox {
            inbox,
            expected: target.inbox,
        });
    }
    let lane = (wanted.source, wanted.target);
    match policy.lanes.get(&lane) {
        Some(families) if *families > 0 => Ok((target, *families)),
        _ => Err(IntakeError::Lane {
            source_chain: wanted.source,
            target: wanted.target,
        }),
    }
}

pub(super) fn check_payer(coordinator: &CoordinatorPolicy, request: &SubmitRequest) -> Result<(), IntakeError> {
    let payer = request.terms.payer;
    if coordinator.payers.is_empty() || coordinator.payers.contains(&payer) {
        Ok(())
    } else {
        Err(IntakeError::PayerNotAllowed(payer))
    }
}

/// Money paid to one of these is lost; the vault itself would count it as nobody's.
fn check_payee(target: &TargetPolicy, request: &SubmitRequest) -> Result<(), IntakeError> {
    let payee = request.terms.payee;
    if [Address::ZERO, target.inbox, target.vault, request.terms.token].contains(&payee) {
        Err(IntakeError::PayeeRefused(payee))
    } else {
        Ok(())
    }
}

fn verify_receipts(
    policy: &IntakePolicy,
    coordinator: &CoordinatorPolicy,
    raw: &[Vec<u8>],
) -> Result<(Vec<VerifiedReceipt>, receipt::Netted), IntakeError> {
    let limits = Limits {
        bytes_max: policy.receipt_bytes_max,
        ..Limits::default()
    };
    let mut receipts = Vec::with_capacity(raw.len());
    for (index, bytes) in raw.iter().enumerate() {
        let verified = Receipt::parse(bytes, &limits)
            .and_then(|receipt| receipt.verify(&coordinator.keys))
            .map_err(|error| receipt_error(index, error))?;
        receipts.push(verified);
    }
    // One settlement pays one payee; receipts of several providers would hide whose work it pays.
    if let [first, rest @ ..] = receipts.as_slice()
        && let Some(other) = rest.iter().find(|receipt| receipt.provider != first.provider)
    {
        return Err(IntakeError::Providers {
            one: first.provider.clone(),
            other: other.provider.clone(),
        });
    }
    let netted = receipt::net(receipts.iter().map(|receipt| &**receipt)).map_err(IntakeError::Netting)?;
    Ok((receipts, netted))
}

pub(super) fn receipt_error(index: usize, error: ReceiptError) -> IntakeError {
    match error {
        ReceiptError::Unsigned | ReceiptError::Signature(SignatureError::UnknownKey(_)) => {
            IntakeError::ReceiptKey { index, error }
        }
        ReceiptError::Signature(_) | ReceiptError::Attestation { .. } => IntakeError::ReceiptSignature { index, error },
        ReceiptError::Status(_) => IntakeError::ReceiptStatus { index, error },
        _ => IntakeError::ReceiptMalformed { index, error },
    }
}

fn agree(field: &'static str, wanted: Option<B256>, derived: B256) -> Result<(), IntakeError> {
    match wanted {
        Some(wanted) if wanted != derived => Err(IntakeError::Mismatch { field, wanted, derived }),
        _ => Ok(()),
    }
}

/// The proof itself may stay away; then its hash is the payer's word alone.
fn proof_hash(request: &SubmitRequest) -> Result<B256, IntakeError> {
    match (&request.proof, request.terms.proof_hash) {
        (Some(proof), wanted) if !proof.is_empty() => {
            let derived = keccak256(proof);
            agree("proofHash", wanted, derived)?;
            Ok(derived)
        }
        (_, wanted) => Ok(wanted.unwrap_or_default()),
    }
}

fn covered(receipt: &VerifiedReceipt) -> CoveredReceipt {
    CoveredReceipt {
        hash: receipt.hash(),
        receipt_id: receipt.receipt_id.clone(),
        job_id: receipt.job_id.clone(),
        provider: receipt.provider.clone(),
        price: receipt.price.clone(),
    }
}

/// Many requests at once, each judged alone, verdicts in the order given.
pub fn verify_chunk(policy: &IntakePolicy, requests: &[SubmitRequest]) -> Vec<Result<Verified, IntakeError>> {
    requests.iter().map(|request| verify(policy, request)).collect()
}
