//! What the payer signs, and the id it gives a settlement; docs/wire.md section 1.

use alloy::primitives::{Address, B256, Bytes, Keccak256, U256, keccak256};
use relayer_adapter_api::abi::ISettlementInbox;
use relayer_adapter_api::tree::{self, TreeError};
use relayer_adapter_api::{ChainId, SettlementId};
use std::sync::LazyLock;

/// Amounts and fees travel as u96.
const VALUE_BITS: usize = 96;
/// The inbox keeps the top bit of a nonce word for itself (`nonceAndCredited`).
const NONCE_BITS: usize = 255;
/// Deadlines travel as u40.
pub const DEADLINE_MAX: u64 = (1 << 40) - 1;
/// Longest authorization, in bytes.
pub const AUTH_BYTES_MAX: usize = 1024;

static DOMAIN_TYPEHASH: LazyLock<B256> =
    LazyLock::new(|| keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"));
static TERMS_TYPEHASH: LazyLock<B256> = LazyLock::new(|| {
    keccak256(
        "Settlement(bytes32 jobId,bytes32 receiptHash,bytes32 proofHash,uint256 sourceChainId,address payer,\
         address payee,address token,uint256 amount,uint256 fee,uint256 nonce,uint256 deadline)",
    )
});
static GROUP_TYPEHASH: LazyLock<B256> = LazyLock::new(|| keccak256("SettlementGroup(bytes32 root,uint256 count)"));

/// Terms outside the bounds of docs/wire.md section 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    #[error("{0} must not be zero")]
    Zero(&'static str),
    #[error("{0} does not fit 96 bits")]
    TooLarge(&'static str),
    #[error("nonce must be below 2^255")]
    Nonce,
    #[error("deadline {0} must be below 2^40")]
    Deadline(u64),
    #[error("source chain id does not fit 64 bits")]
    SourceChain,
    #[error("deadline does not fit 64 bits")]
    DeadlineWidth,
}

/// The fields of terms, not yet checked against their bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TermsFields {
    pub job_id: B256,
    pub receipt_hash: B256,
    /// keccak256 of the proof bytes, or zero.
    pub proof_hash: B256,
    pub source_chain: ChainId,
    pub payer: Address,
    pub payee: Address,
    pub token: Address,
    /// What the payee gets, in the token's base unit.
    pub amount: U256,
    /// On top of `amount`, to the message's fee recipient.
    pub fee: U256,
    pub nonce: U256,
    /// Last second at which the terms may be executed, inclusive.
    pub deadline: u64,
}

/// Terms within the bounds of the wire: whatever holds one can be packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Terms(TermsFields);

impl std::ops::Deref for Terms {
    type Target = TermsFields;

    fn deref(&self) -> &TermsFields {
        &self.0
    }
}

impl Terms {
    pub fn new(fields: TermsFields) -> Result<Self, TermsError> {
        let not_zero = [
            ("receiptHash", fields.receipt_hash.is_zero()),
            ("sourceChainId", fields.source_chain.0 == 0),
            ("payer", fields.payer.is_zero()),
            ("payee", fields.payee.is_zero()),
            ("token", fields.token.is_zero()),
            ("amount", fields.amount.is_zero()),
        ];
        if let Some((name, _)) = not_zero.into_iter().find(|(_, zero)| *zero) {
            return Err(TermsError::Zero(name));
        }
        for (name, value) in [("amount", fields.amount), ("fee", fields.fee)] {
            if value.bit_len() > VALUE_BITS {
                return Err(TermsError::TooLarge(name));
            }
        }
        if fields.nonce.bit_len() > NONCE_BITS {
            return Err(TermsError::Nonce);
        }
        if fields.deadline > DEADLINE_MAX {
            return Err(TermsError::Deadline(fields.deadline));
        }
        Ok(Self(fields))
    }

    /// `amount + fee`: what the vault debits. Both fit 96 bits, so the sum fits.
    pub fn debit(&self) -> U256 {
        self.0.amount.saturating_add(self.0.fee)
    }

    /// The bitmap word of the nonce; settlements that share it share one storage slot of the inbox.
    pub fn nonce_word(&self) -> U256 {
        self.0.nonce.wrapping_shr(8)
    }

    /// The bit within the word.
    pub fn nonce_byte(&self) -> u8 {
        self.0.nonce.byte(0)
    }

    /// The struct of `executeOne`.
    pub fn to_abi(&self) -> ISettlementInbox::Settlement {
        let fields = &self.0;
        ISettlementInbox::Settlement {
            jobId: fields.job_id,
            receiptHash: fields.receipt_hash,
            proofHash: fields.proof_hash,
            sourceChainId: U256::from(fields.source_chain.0),
            payer: fields.payer,
            payee: fields.payee,
            token: fields.token,
            amount: fields.amount,
            fee: fields.fee,
            nonce: fields.nonce,
            deadline: U256::from(fields.deadline),
        }
    }
}

impl TryFrom<&ISettlementInbox::Settlement> for Terms {
    type Error = TermsError;

    fn try_from(abi: &ISettlementInbox::Settlement) -> Result<Self, TermsError> {
        Self::new(TermsFields {
            job_id: abi.jobId,
            receipt_hash: abi.receiptHash,
            proof_hash: abi.proofHash,
            source_chain: ChainId(abi.sourceChainId.try_into().map_err(|_| TermsError::SourceChain)?),
            payer: abi.payer,
            payee: abi.payee,
            token: abi.token,
            amount: abi.amount,
            fee: abi.fee,
            nonce: abi.nonce,
            deadline: abi.deadline.try_into().map_err(|_| TermsError::DeadlineWidth)?,
        })
    }
}

/// The EIP-712 domain of one inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domain {
    pub chain: ChainId,
    pub inbox: Address,
    separator: B256,
}

impl Domain {
    pub fn new(chain: ChainId, inbox: Address) -> Self {
        let separator = hash_words(&[
            *DOMAIN_TYPEHASH,
            keccak256("Settlement"),
            keccak256("1"),
            B256::from(U256::from(chain.0)),
            inbox.into_word(),
        ]);
        Self {
            chain,
            inbox,
            separator,
        }
    }

    pub fn separator(&self) -> B256 {
        self.separator
    }

    /// The EIP-712 digest of the terms, which is the settlement's id in every layer.
    pub fn settlement_id(&self, terms: &Terms) -> SettlementId {
        SettlementId(self.terms_digest(terms))
    }

    /// The same of terms that may be out of bounds: a payer can sign them, and they then have a place in its group.
    pub fn terms_digest(&self, terms: &TermsFields) -> B256 {
        let struct_hash = hash_words(&[
            *TERMS_TYPEHASH,
            terms.job_id,
            terms.receipt_hash,
            terms.proof_hash,
            B256::from(U256::from(terms.source_chain.0)),
            terms.payer.into_word(),
            terms.payee.into_word(),
            terms.token.into_word(),
            B256::from(terms.amount),
            B256::from(terms.fee),
            B256::from(terms.nonce),
            B256::from(U256::from(terms.deadline)),
        ]);
        self.digest(struct_hash)
    }

    /// What a payer signs to authorize a whole group at once.
    pub fn group_digest(&self, root: B256, count: u32) -> B256 {
        self.digest(hash_words(&[*GROUP_TYPEHASH, root, B256::from(U256::from(count))]))
    }

    fn digest(&self, struct_hash: B256) -> B256 {
        let mut hasher = Keccak256::new();
        hasher.update([0x19, 0x01]);
        hasher.update(self.separator);
        hasher.update(struct_hash);
        hasher.finalize()
    }
}

fn hash_words(words: &[B256]) -> B256 {
    let mut hasher = Keccak256::new();
    for word in words {
        hasher.update(word);
    }
    hasher.finalize()
}

/// Root of the tree a payer signs for a group: over the ids in the order it signed them.
pub fn group_root(ids: &[SettlementId]) -> Result<B256, TreeError> {
    tree::root(&words(ids))
}

/// A group as its payer signed it: all ids in signing order, and one authorization over `SettlementGroup(root, count)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedGroup {
    ids: Vec<SettlementId>,
    root: B256,
    auth: Bytes,
}

impl SignedGroup {
    pub fn new(ids: Vec<SettlementId>, auth: Bytes) -> Result<Self, TreeError> {
        let root = group_root(&ids)?;
        Ok(Self { ids, root, auth })
    }

    pub fn ids(&self) -> &[SettlementId] {
        &self.ids
    }

    pub fn root(&self) -> B256 {
        self.root
    }

    pub fn auth(&self) -> &Bytes {
        &self.auth
    }

    /// Proof that members `[lo, hi)` belong to the group.
    pub fn range_proof(&self, lo: usize, hi: usize) -> Result<Vec<B256>, TreeError> {
        tree::range_proof(&words(&self.ids), lo, hi)
    }
}

/// The bare hashes of ids, as the tree takes them.
pub fn words(ids: &[SettlementId]) -> Vec<B256> {
    ids.iter().map(|id| id.0).collect()
}

#[cfg(test)]
mod tests;
