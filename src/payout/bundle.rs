//! The bundle: all a payee needs to execute its own settlement with the relayer switched off.

use super::error::PayoutError;
use crate::settlement::packed;
use crate::settlement::states::MessageState;
use crate::settlement::terms::{Domain, Terms, TermsError, TermsFields};
use crate::settlement::{ChainId, MessageId, SettlementId};
use crate::store::{Dispatch, MessageMember, Store};
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::sol_types::SolCall;
use relayer_adapter_api::abi::ISettlementInbox::executeCall;
use relayer_adapter_api::{Call, GasRule, Header, HeaderError, SealedMessage, tree};
use serde::{Deserialize, Serialize};

/// The only version there is.
const VERSION: u8 = 1;

/// A file a payee can execute from: `inbox.execute(packed)`, or `inbox.executeOne` with the other fields when there is no group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    pub version: u8,
    /// Target chain.
    pub chain_id: u64,
    pub inbox: Address,
    pub settlement_id: SettlementId,
    pub message_id: MessageId,
    /// The 158 bytes that crossed the bridge.
    pub message: Bytes,
    pub terms: BundleTerms,
    /// The payer's word: over this settlement, or over its group.
    pub auth: Bytes,
    /// Present when the payer signed a group at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<BundleGroup>,
    /// Position in the message and its proof, bottom up.
    pub leaf: u32,
    pub proof: Vec<B256>,
    /// Argument of `execute` for this settlement alone.
    pub packed: Bytes,
}

/// The signed terms, field by field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleTerms {
    pub job_id: B256,
    pub receipt_hash: B256,
    pub proof_hash: B256,
    pub source_chain_id: u64,
    pub payer: Address,
    pub payee: Address,
    pub token: Address,
    pub amount: U256,
    pub fee: U256,
    pub nonce: U256,
    pub deadline: u64,
}

/// Place in the group the payer signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleGroup {
    pub root: B256,
    pub count: u32,
    pub index: u32,
}

/// Why a bundle would not execute, found without asking a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    #[error("bundle version {0} is unknown, expected {VERSION}")]
    Version(u8),
    #[error("the bundle's message is broken: {0}")]
    Message(#[from] HeaderError),
    #[error("the bundle's terms are out of bounds: {0}")]
    Terms(#[from] TermsError),
    #[error("the bundle's {0} does not fit the rest of it")]
    Mismatch(&'static str),
}

impl From<&Terms> for BundleTerms {
    fn from(terms: &Terms) -> Self {
        Self {
            job_id: terms.job_id,
            receipt_hash: terms.receipt_hash,
            proof_hash: terms.proof_hash,
            source_chain_id: terms.source_chain.0,
            payer: terms.payer,
            payee: terms.payee,
            token: terms.token,
            amount: terms.amount,
            fee: terms.fee,
            nonce: terms.nonce,
            deadline: terms.deadline,
        }
    }
}

impl BundleTerms {
    pub fn terms(&self) -> Result<Terms, TermsError> {
        Terms::new(TermsFields {
            job_id: self.job_id,
            receipt_hash: self.receipt_hash,
            proof_hash: self.proof_hash,
            source_chain: ChainId(self.source_chain_id),
            payer: self.payer,
            payee: self.payee,
            token: self.token,
            amount: self.amount,
            fee: self.fee,
            nonce: self.nonce,
            deadline: self.deadline,
        })
    }
}

impl Bundle {
    /// Checks everything that needs no chain: ids, message, proof, and that `packed` carries these very terms.
    pub fn verify(&self) -> Result<(), BundleError> {
        if self.version != VERSION {
            return Err(BundleError::Version(self.version));
        }
        let expect = |holds: bool, what| {
            if holds {
                Ok(())
            } else {
                Err(BundleError::Mismatch(what))
            }
        };
        let header = Header::decode(&self.message)?;
        let terms = self.terms.terms()?;
        let target = ChainId(self.chain_id);
        expect(header.batch_id() == self.message_id, "message id")?;
        expect(header.target == target && header.inbox == self.inbox, "inbox")?;
        let id = Domain::new(target, self.inbox).settlement_id(&terms);
        expect(id == self.settlement_id, "settlement id")?;
        let count = header.count as usize;
        let proven = tree::verify_range(header.root, count, self.leaf as usize, &[id.0], &self.proof);
        expect(proven, "proof")?;
        let packed = packed::Packed::decode(&self.packed).map_err(|_| BundleError::Mismatch("packed execution"))?;
        let carries = packed.header == header
            && packed.first == self.leaf as usize
            && packed.terms().is_ok_and(|all| all == [terms]);
        expect(carries, "packed execution")
    }

    /// The call anyone may send.
    pub fn call(&self) -> Call {
        Call {
            chain: ChainId(self.chain_id),
            to: self.inbox,
            data: executeCall {
                packed: self.packed.clone(),
            }
            .abi_encode()
            .into(),
            value: U256::ZERO,
            gas: GasRule::Estimate {
                percent: 125,
                extra: 50_000,
            },
        }
    }

    /// Puts a bundle together from a message and one of its members.
    pub fn new(message: &SealedMessage, member: &MessageMember) -> Result<Self, packed::PackError> {
        let leaf = member.leaf;
        let (auth, group) = match &member.authorization {
            packed::Authorization::Single(auth) => (auth.clone(), None),
            packed::Authorization::Group { group, index } => {
                let place = BundleGroup {
                    root: group.root(),
                    count: u32::try_from(group.ids().len()).unwrap_or(u32::MAX),
                    index: u32::try_from(*index).unwrap_or(u32::MAX),
                };
                (group.auth().clone(), Some(place))
            }
        };
        let words: Vec<B256> = message.ids().iter().map(|id| id.0).collect();
        Ok(Self {
            version: VERSION,
            chain_id: message.header.target.0,
            inbox: message.header.inbox,
            settlement_id: member.settlement.id,
            message_id: message.id(),
            message: message.header.encode().to_vec().into(),
            terms: (&member.settlement.terms).into(),
            auth,
            group,
            leaf: u32::try_from(leaf).unwrap_or(u32::MAX),
            proof: tree::range_proof(&words, leaf, leaf.saturating_add(1))?,
            packed: packed::encode(message, leaf, &[member.member()])?.into(),
        })
    }
}

/// The bundle of a settlement in the newest message the outbox has committed to. `NotDispatched` before there is one.
pub async fn bundle_for(store: &Store, id: SettlementId) -> Result<Bundle, PayoutError> {
    for (message, leaf) in store.list_messages_of(id).await?.into_iter().rev() {
        let arrived = matches!(
            store.get_message(message).await?.state,
            MessageState::Received | MessageState::Executed
        );
        let sent = store.list_dispatches(message).await?.iter().any(Dispatch::is_included);
        if !arrived && !sent {
            continue;
        }
        let sealed = store.get_sealed_message(message, true).await?;
        let member = store.get_member(message, leaf).await?;
        return Ok(Bundle::new(&sealed, &member)?);
    }
    Err(PayoutError::NotDispatched(id))
}
