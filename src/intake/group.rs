//! Many settlements under one signature of their payer: docs/wire.md, mode 1.
//!
//! The signature covers the ids of all items, so every id must be known before anything can be said; an item that is refused afterwards stays
//! a member of the group and is merely absent from what is paid. What is wrong with the group or its signature refuses the whole.

use super::authorize::{self, Authority, Claim};
use super::error::IntakeError;
use super::policy::IntakePolicy;
use super::request::{Accepted, SubmitRequest};
use super::service::Intake;
use super::verify::{self, Checked, Signed, route_policy};
use crate::settlement::receipt::{self, Limits, Receipt};
use crate::settlement::terms::{Domain, TermsFields, group_root};
use crate::settlement::{ChainId, SettlementId};
use crate::store::{GroupMember, NewGroup, Settlement};
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use rayon::prelude::*;
use relayer_adapter_api::tree::LEAVES_MAX;
use std::collections::HashMap;

/// Settlements somebody wants accepted under one signature, in the order they were signed.
#[derive(Debug, Clone)]
pub struct SubmitGroup {
    pub coordinator_id: String,
    /// Over `SettlementGroup(root, count)` of all items.
    pub auth: Bytes,
    /// Their own `auth` is empty and not looked at; coordinator and trace are the group's.
    pub items: Vec<SubmitRequest>,
}

/// What became of them.
#[derive(Debug, Clone)]
pub struct GroupAnswer {
    /// Over the ids of all items, refused ones included.
    pub root: B256,
    /// One for each item, in order.
    pub results: Vec<Result<Accepted, IntakeError>>,
}

/// What all items of a group share.
#[derive(Debug, Clone, Copy)]
struct Frame {
    target: ChainId,
    inbox: Address,
    payer: Address,
    allow_contract_payers: bool,
}

/// A group whose ids are known and whose signature has been read.
struct Opened {
    ids: Vec<SettlementId>,
    root: B256,
    signed: Signed,
    checked: Vec<Result<Checked, IntakeError>>,
}

impl Intake {
    /// Accepts what can be accepted of a group. `Err` means the group or its signature is wrong and nothing was stored; an item's own `Err`
    /// that nothing was stored of it.
    pub async fn submit_group(&self, request: SubmitGroup) -> Result<GroupAnswer, IntakeError> {
        let frame = frame(self.policy(), &request)?;
        let bytes = request.items.iter().map(SubmitRequest::bytes).sum();
        let room = self.room(request.items.len(), bytes)?;
        let coordinator_id = request.coordinator_id.clone();
        let policy = self.policy().clone();
        let opened = self.on_pool(move || open(&policy, frame, &request)).await??;
        let words = self.words(frame, &coordinator_id, &opened).await?;
        let mut results: Vec<Option<Result<Accepted, IntakeError>>> = Vec::with_capacity(opened.ids.len());
        let (mut places, mut items) = (Vec::new(), Vec::new());
        for (index, checked) in opened.checked.into_iter().enumerate() {
            let answer = match checked.map(|checked| (words.of(checked.id), checked)) {
                Ok((Word::Counts(authority), checked)) => {
                    let place = GroupMember {
                        root: opened.root,
                        index,
                    };
                    // A word nobody asked about must not become the group's: what was paid stands alone.
                    let place = (!authority.unasked).then_some(place);
                    places.push(index);
                    items.push((checked.with(opened.signed.clone(), place), authority));
                    None
                }
                Ok((Word::Stands(accepted), _)) => Some(Ok(*accepted)),
                Ok((Word::Refused(error), _)) | Err(error) => Some(Err(error)),
            };
            results.push(answer);
        }
        if !items.is_empty() {
            let group = NewGroup {
                root: opened.root,
                coordinator_id,
                payer: frame.payer,
                target: frame.target,
                inbox: frame.inbox,
                ids: opened.ids,
                auth: opened.signed.auth,
            };
            for (index, answer) in places.into_iter().zip(self.commit_group(group, items, room).await?) {
                results[index] = Some(answer);
            }
        }
        Ok(GroupAnswer {
            root: opened.root,
            results: results
                .into_iter()
                // The writer answers every item; one it forgot would be unknown, which is what this says.
                .map(|result| result.unwrap_or(Err(IntakeError::Stopping)))
                .collect(),
        })
    }

    /// Whether the group's word counts, asked once for all items. When it does not, the whole is refused, unless some of it was taken before, or
    /// a chain knows it.
    async fn words(&self, frame: Frame, coordinator_id: &str, opened: &Opened) -> Result<Words, IntakeError> {
        let claim = Claim {
            target: frame.target,
            payer: frame.payer,
            allow_contract_payers: frame.allow_contract_payers,
            signed: &opened.signed,
        };
        if let Some(authority) = claim.fast() {
            return Ok(Words::all(authority));
        }
        let error = match authorize::word(self.store(), self.chain(frame.target), &claim).await {
            Ok(authority) => return Ok(Words::all(authority)),
            Err(error) => error,
        };
        let rows = self.store().list_settlements_by_id(&opened.ids).await?;
        let taken = rows.iter().any(|row| {
            row.coordinator_id == coordinator_id && row.group.is_some_and(|place| place.root == opened.root)
        });
        let mine = rows.into_iter().filter(|row| row.coordinator_id == coordinator_id);
        let rows: HashMap<SettlementId, Settlement> = mine.map(|row| (row.id, row)).collect();
        let known = self.store().known_on_chain(frame.target, &opened.ids).await?;
        if !taken && known.is_empty() {
            return Err(error);
        }
        let excused = |(id, known)| (id, authorize::excused(&claim, Some(known), error.clone()));
        Ok(Words {
            known: known.into_iter().map(excused).collect(),
            rows,
            others: Err(error),
        })
    }
}

/// What the word under a group is worth to each of its items.
struct Words {
    /// Those a chain knows and this database does not.
    known: HashMap<SettlementId, Result<Authority, IntakeError>>,
    /// Taken before; what the word brought about stands.
    rows: HashMap<SettlementId, Settlement>,
    others: Result<Authority, IntakeError>,
}

enum Word {
    Counts(Authority),
    Stands(Box<Accepted>),
    Refused(IntakeError),
}

impl Words {
    fn all(authority: Authority) -> Self {
        Self {
            known: HashMap::new(),
            rows: HashMap::new(),
            others: Ok(authority),
        }
    }

    fn of(&self, id: SettlementId) -> Word {
        if let Some(row) = self.rows.get(&id) {
            return Word::Stands(Box::new(Accepted::of(row, true)));
        }
        match self.known.get(&id).unwrap_or(&self.others) {
            Ok(authority) => Word::Counts(*authority),
            Err(error) => Word::Refused(error.clone()),
        }
    }
}

/// Whether the items belong together as the section of an execution needs it, and are in the one order in which they can be paid together.
fn frame(policy: &IntakePolicy, request: &SubmitGroup) -> Result<Frame, IntakeError> {
    let count = request.items.len();
    let [first, ..] = request.items.as_slice() else {
        return Err(IntakeError::GroupSize { count });
    };
    if count > LEAVES_MAX {
        return Err(IntakeError::GroupSize { count });
    }
    let coordinator = policy
        .coordinators
        .get(&request.coordinator_id)
        .ok_or_else(|| IntakeError::UnknownCoordinator(request.coordinator_id.clone()))?;
    let target = policy
        .targets
        .get(&first.terms.target)
        .ok_or(IntakeError::WrongChain(first.terms.target))?;
    // One word for all items: wrong for one, it is wrong for the whole.
    route_policy(first)?;
    for (index, item) in request.items.iter().enumerate() {
        let (one, terms) = (&first.terms, &item.terms);
        if let Some(inbox) = terms.inbox.filter(|inbox| *inbox != target.inbox) {
            return Err(IntakeError::WrongInbox {
                inbox,
                expected: target.inbox,
            });
        }
        let same = [
            ("source chain", terms.source == one.source),
            ("target chain", terms.target == one.target),
            ("token", terms.token == one.token),
            ("payer", terms.payer == one.payer),
        ];
        if let Some((field, _)) = same.into_iter().find(|(_, same)| !same) {
            return Err(IntakeError::GroupMixed { index, field });
        }
    }
    verify::check_payer(coordinator, first)?;
    let order = |item: &SubmitRequest| -> (U256, Address, U256) {
        let terms = &item.terms;
        (terms.nonce.wrapping_shr(8), terms.payee, terms.nonce)
    };
    match request.items.iter().is_sorted_by(|one, next| order(one) < order(next)) {
        true => Ok(Frame {
            target: first.terms.target,
            inbox: target.inbox,
            payer: first.terms.payer,
            allow_contract_payers: coordinator.allow_contract_payers,
        }),
        false => Err(IntakeError::GroupOrder),
    }
}

/// Checks each item and derives the ids; CPU only.
fn open(policy: &IntakePolicy, frame: Frame, request: &SubmitGroup) -> Result<Opened, IntakeError> {
    let domain = Domain::new(frame.target, frame.inbox);
    let (ids, checked): (Vec<_>, Vec<_>) = request
        .items
        .par_iter()
        .map(|item| {
            let checked = verify::check(policy, item);
            let id = match &checked {
                Ok(checked) => Ok(checked.id),
                Err(_) => refused_id(policy, &domain, item),
            };
            (id, checked)
        })
        .unzip();
    let mut known = Vec::with_capacity(ids.len());
    for (index, id) in ids.into_iter().enumerate() {
        known.push(id.map_err(|error| IntakeError::GroupItem {
            index,
            error: Box::new(error),
        })?);
    }
    // 1 to 1,024 ids were counted above.
    let root = group_root(&known).map_err(|_| IntakeError::GroupSize { count: known.len() })?;
    let count = u32::try_from(known.len()).unwrap_or(u32::MAX);
    let signed = Signed::over(domain.group_digest(root, count), &request.auth)?;
    Ok(Opened {
        ids: known,
        root,
        signed,
        checked,
    })
}

/// The id of an item that is refused: what its payer signed, whatever is wrong with it.
fn refused_id(policy: &IntakePolicy, domain: &Domain, item: &SubmitRequest) -> Result<SettlementId, IntakeError> {
    let wanted = &item.terms;
    let (job_id, receipt_hash) = match (wanted.job_id, wanted.receipt_hash) {
        (Some(job_id), Some(receipt_hash)) => (job_id, receipt_hash),
        (job_id, receipt_hash) => {
            let netted = unsigned_receipts(policy, item)?;
            (
                job_id.unwrap_or(netted.job_id),
                receipt_hash.unwrap_or(netted.receipt_hash),
            )
        }
    };
    let of_proof = || item.proof.as_ref().filter(|proof| !proof.is_empty()).map(keccak256);
    let fields = TermsFields {
        job_id,
        receipt_hash,
        proof_hash: wanted.proof_hash.or_else(of_proof).unwrap_or_default(),
        source_chain: wanted.source,
        payer: wanted.payer,
        payee: wanted.payee,
        token: wanted.token,
        amount: wanted.amount,
        fee: wanted.fee,
        nonce: wanted.nonce,
        deadline: wanted.deadline,
    };
    Ok(SettlementId(domain.terms_digest(&fields)))
}

/// The hashes of receipts whose signatures nobody has looked at.
fn unsigned_receipts(policy: &IntakePolicy, item: &SubmitRequest) -> Result<receipt::Netted, IntakeError> {
    verify::check_sizes(policy, item)?;
    let limits = Limits {
        bytes_max: policy.receipt_bytes_max,
        ..Limits::default()
    };
    let mut receipts = Vec::with_capacity(item.receipts.len());
    for (index, bytes) in item.receipts.iter().enumerate() {
        let parsed = Receipt::parse(bytes, &limits);
        receipts.push(parsed.map_err(|error| verify::receipt_error(index, error))?);
    }
    receipt::net(&receipts).map_err(IntakeError::Netting)
}
