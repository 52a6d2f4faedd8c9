//! The bytes of `execute`; docs/wire.md section 4. [`layout`] holds the structure and its codec, [`chunks`] cuts a message into
//! executions that fit a transaction; this file turns members into that structure.

pub mod chunks;
pub mod layout;

pub use chunks::{Chunk, ChunkLimits, GasModel, plan_chunks};
pub use layout::{GroupRange, Item, LayoutError, Mode, Packed, Run, Section};

use super::terms::{AUTH_BYTES_MAX, Domain, SignedGroup, Terms, words};
use alloy::primitives::{Address, B256, Bytes, U256};
use relayer_adapter_api::tree::{self, TreeError};
use relayer_adapter_api::{SealedMessage, SettlementId};
use std::sync::Arc;

/// Why members cannot be packed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    #[error("packing leaves {first}..{end}: the message has {count}")]
    Range { first: usize, end: usize, count: usize },
    #[error("packing leaf {leaf}: its terms give {derived}, the message commits to {committed}")]
    WrongId {
        leaf: usize,
        derived: SettlementId,
        committed: SettlementId,
    },
    #[error("packing leaf {leaf}: source chain {found} is not the message's")]
    SourceChain { leaf: usize, found: u64 },
    #[error("packing leaf {leaf}: it is not member {index} of its group")]
    NotInGroup { leaf: usize, index: usize },
    #[error("packing leaf {leaf}: authorization of {len} bytes is longer than {AUTH_BYTES_MAX}")]
    AuthTooLong { leaf: usize, len: usize },
    #[error("packing: {0}")]
    Tree(#[from] TreeError),
}

/// How the payer authorized one settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorization {
    /// Its own signature over the settlement id.
    Single(Bytes),
    /// Member `index` of a group signed at once.
    Group { group: Arc<SignedGroup>, index: usize },
}

/// One settlement with all that an execution of it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub terms: Terms,
    pub authorization: Authorization,
}

/// Leaf order of docs/wire.md section 3. The nonce word comes before the payee so that sections do not alternate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeafOrder {
    token: Address,
    payer: Address,
    nonce_word: U256,
    /// Root of the group, zero outside groups.
    group: B256,
    payee: Address,
    nonce: U256,
}

/// Sort key of a settlement among the leaves of its message; `group` is the root of the group it was signed in, if any.
pub fn leaf_order(terms: &Terms, group: Option<B256>) -> LeafOrder {
    LeafOrder {
        token: terms.token,
        payer: terms.payer,
        nonce_word: terms.nonce_word(),
        group: group.unwrap_or_default(),
        payee: terms.payee,
        nonce: terms.nonce,
    }
}

impl Member {
    pub fn leaf_order(&self) -> LeafOrder {
        let group = match &self.authorization {
            Authorization::Single(_) => None,
            Authorization::Group { group, .. } => Some(group.root()),
        };
        leaf_order(&self.terms, group)
    }

    fn auth(&self) -> &Bytes {
        match &self.authorization {
            Authorization::Single(auth) => auth,
            Authorization::Group { group, .. } => group.auth(),
        }
    }

    /// Whether this member continues the section that `previous` is in: same token, payer and nonce word, and in mode 1
    /// the next index of the same group.
    fn continues_section(&self, previous: &Self) -> bool {
        let same_words = self.terms.token == previous.terms.token
            && self.terms.payer == previous.terms.payer
            && self.terms.nonce_word() == previous.terms.nonce_word();
        same_words
            && match (&previous.authorization, &self.authorization) {
                (Authorization::Single(_), Authorization::Single(_)) => true,
                (
                    Authorization::Group {
                        group: before,
                        index: at,
                    },
                    Authorization::Group { group, index },
                ) => before.root() == group.root() && at.checked_add(1) == Some(*index),
                _ => false,
            }
    }

    fn continues_run(&self, previous: &Self) -> bool {
        self.continues_section(previous) && self.terms.payee == previous.terms.payee
    }
}

/// Packs leaves `[first, first + members.len())` of a message into the bytes of `execute`.
pub fn encode(message: &SealedMessage, first: usize, members: &[Member]) -> Result<Vec<u8>, PackError> {
    Ok(pack(message, first, members)?.encode())
}

/// The structure of an execution of leaves `[first, first + members.len())`, split into sections and runs.
pub fn pack(message: &SealedMessage, first: usize, members: &[Member]) -> Result<Packed, PackError> {
    check_members(message, first, members)?;
    let end = first.saturating_add(members.len());
    let sections = members
        .chunk_by(|previous, next| next.continues_section(previous))
        .map(section)
        .collect::<Result<_, _>>()?;
    Ok(Packed {
        header: message.header.clone(),
        first,
        proof: tree::range_proof(&words(message.ids()), first, end)?,
        sections,
    })
}

/// Refuses what the inbox would answer with a revert or a refused signature: better here than for gas.
fn check_members(message: &SealedMessage, first: usize, members: &[Member]) -> Result<(), PackError> {
    let end = first.saturating_add(members.len());
    let Some(ids) = message.ids().get(first..end).filter(|ids| !ids.is_empty()) else {
        return Err(PackError::Range {
            first,
            end,
            count: message.ids().len(),
        });
    };
    let domain = Domain::new(message.header.target, message.header.inbox);
    for ((leaf, committed), member) in (first..).zip(ids).zip(members) {
        let derived = domain.settlement_id(&member.terms);
        if derived != *committed {
            return Err(PackError::WrongId {
                leaf,
                derived,
                committed: *committed,
            });
        }
        if member.terms.source_chain != message.header.source {
            return Err(PackError::SourceChain {
                leaf,
                found: member.terms.source_chain.0,
            });
        }
        if let Authorization::Group { group, index } = &member.authorization
            && group.ids().get(*index) != Some(committed)
        {
            return Err(PackError::NotInGroup { leaf, index: *index });
        }
        let len = member.auth().len();
        if len > AUTH_BYTES_MAX {
            return Err(PackError::AuthTooLong { leaf, len });
        }
    }
    Ok(())
}

/// One section; `members` is not empty because `chunk_by` yields no empty chunk.
fn section(members: &[Member]) -> Result<Section, PackError> {
    let head = &members[0];
    let mode = match &head.authorization {
        Authorization::Single(_) => Mode::Each,
        Authorization::Group { group, index } => Mode::Group(GroupRange {
            count: group.ids().len(),
            first: *index,
            proof: group.range_proof(*index, index.saturating_add(members.len()))?,
            auth: group.auth().clone(),
        }),
    };
    let runs = members
        .chunk_by(|previous, next| next.continues_run(previous))
        .map(|run| Run {
            payee: run[0].terms.payee,
            items: run.iter().map(item).collect(),
        })
        .collect();
    Ok(Section {
        token: head.terms.token,
        payer: head.terms.payer,
        nonce_word: head.terms.nonce_word(),
        mode,
        runs,
    })
}

fn item(member: &Member) -> Item {
    let terms = &member.terms;
    Item {
        nonce_byte: terms.nonce_byte(),
        amount: terms.amount,
        fee: terms.fee,
        deadline: terms.deadline,
        job_id: terms.job_id,
        receipt_hash: terms.receipt_hash,
        proof_hash: terms.proof_hash,
        auth: match &member.authorization {
            Authorization::Single(auth) => Some(auth.clone()),
            Authorization::Group { .. } => None,
        },
    }
}

#[cfg(test)]
mod tests;
