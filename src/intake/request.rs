//! What comes in and what goes back.

use super::allotment::AllotmentClaim;
use crate::settlement::states::SettlementState;
use crate::settlement::{ChainId, SettlementId};
use crate::store::Settlement;
use alloy::primitives::{Address, B256, Bytes, U256};

/// Longest trace id, in bytes.
pub const TRACE_BYTES_MAX: usize = 64;

/// The terms as a client names them; what is `None` is derived from the receipts and the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedTerms {
    pub job_id: Option<B256>,
    pub receipt_hash: Option<B256>,
    pub proof_hash: Option<B256>,
    pub source: ChainId,
    pub target: ChainId,
    pub inbox: Option<Address>,
    pub payer: Address,
    pub payee: Address,
    pub token: Address,
    pub amount: U256,
    pub fee: U256,
    pub nonce: U256,
    pub deadline: u64,
}

/// One settlement somebody wants accepted. `Debug` shows no receipt: they carry prompts in clear.
#[derive(Clone)]
pub struct SubmitRequest {
    pub coordinator_id: String,
    /// Carried through logs and events; a new one is made when empty.
    pub trace_id: String,
    /// Name of the receipt codec; empty = the only one there is.
    pub codec: String,
    pub receipts: Vec<Vec<u8>>,
    pub terms: RequestedTerms,
    pub auth: Bytes,
    /// Name of a policy; empty = as configured. Not signed, so of two requests for one settlement the first stands.
    pub policy: String,
    /// Bound by the terms' proof hash; not kept.
    pub proof: Option<Vec<u8>>,
    /// That the payer owns enough at a hub; None = nothing is said about it. Not signed.
    pub allotment: Option<AllotmentClaim>,
}

impl SubmitRequest {
    /// Bytes it holds in memory, near enough to bound them.
    pub(super) fn bytes(&self) -> usize {
        let receipts: usize = self.receipts.iter().map(Vec::len).sum();
        receipts
            .saturating_add(self.proof.as_ref().map_or(0, Vec::len))
            .saturating_add(self.auth.len())
            .saturating_add(self.allotment.as_ref().map_or(0, AllotmentClaim::bytes))
            .saturating_add(size_of::<Self>())
    }
}

impl std::fmt::Debug for SubmitRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SubmitRequest")
            .field("coordinator_id", &self.coordinator_id)
            .field("trace_id", &self.trace_id)
            .field("receipts", &self.receipts.len())
            .field("terms", &self.terms)
            .finish_non_exhaustive()
    }
}

/// The answer: durable, whatever happens next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub id: SettlementId,
    pub state: SettlementState,
    /// Accepted before; everything here is of that time.
    pub existing: bool,
    pub revocable: bool,
    pub accepted_at: i64,
    pub trace_id: String,
    /// An ended settlement of the same receipts.
    pub supersedes: Option<SettlementId>,
}

impl Accepted {
    pub(super) fn of(settlement: &Settlement, existing: bool) -> Self {
        Self {
            id: settlement.id,
            state: settlement.state,
            existing,
            revocable: settlement.revocable,
            accepted_at: settlement.accepted_at,
            trace_id: settlement.trace_id.clone(),
            supersedes: settlement.supersedes,
        }
    }
}
