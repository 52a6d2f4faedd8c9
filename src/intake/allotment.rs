//! A settlement may show that its payer owns enough at a hub: an allotment with its proof. What can be said of it without the database is said
//! on the pool ([`prove`]); whether the checkpoint it leads to counts, in the transaction that stores the settlement ([`stand`]).

use super::policy::IntakePolicy;
use crate::error::{Coded, ErrorCode};
use crate::hub::model::{Account, AllotmentProof, Eon, ProofError};
use crate::settlement::ChainId;
use crate::settlement::terms::Terms;
use crate::store::{CheckpointStanding, HaltReason, HubFacts, Reliance};
use alloy::primitives::{Address, B256, U256};
use relayer_adapter_api::Class;
use std::time::Duration;

/// How far behind the hub's newest checkpoint one may be: what the contract keeps, less the newest itself.
const AGE_MAX_EONS: u64 = 3;

/// An allotment as the request shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllotmentClaim {
    /// As configured.
    pub hub: String,
    pub eon: Eon,
    /// As the hub names it.
    pub token: Address,
    pub account: Account,
    pub proof: AllotmentProof,
}

impl AllotmentClaim {
    /// Bytes it holds in memory, near enough to bound them.
    pub(super) fn bytes(&self) -> usize {
        let words = self.proof.allotment_chain.len() + self.proof.values.len() + self.proof.membership_chain.len();
        words.saturating_mul(32).saturating_add(self.hub.len())
    }
}

/// A well-formed allotment that is large enough, and the root it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    pub hub: String,
    pub eon: Eon,
    pub token: Address,
    pub token_trail: u64,
    pub root: B256,
    pub upper_bound: U256,
}

/// Why an allotment does not help its payer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllotmentError {
    #[error("no hub {0:?} is configured")]
    UnknownHub(String),
    #[error("the allotment is wallet {wallet}'s, not the payer's ({payer})")]
    Wallet { wallet: Address, payer: Address },
    #[error("the allotment is of token {found}, the settlement's is {expected} at the hub")]
    Token { found: Address, expected: Address },
    #[error("{allotted} is allotted, amount and fee are {needed}")]
    TooSmall { allotted: U256, needed: U256 },
    #[error("allotment: {0}")]
    Proof(#[from] ProofError),
    #[error("hub {0} has not been read up to now yet")]
    NotRead(String),
    #[error("hub {hub} is halted: {reason}")]
    Halted { hub: String, reason: HaltReason },
    #[error("hub {hub} does not know token {token} at position {trail}")]
    TokenTrail { hub: String, token: Address, trail: u64 },
    #[error("hub {hub} has no final checkpoint of eon {eon}; its newest is of eon {last}")]
    NotFinal { hub: String, eon: Eon, last: Eon },
    #[error("the checkpoint of eon {eon} is too old, hub {hub} is at {last}")]
    TooOld { hub: String, eon: Eon, last: Eon },
    #[error("the checkpoint of eon {eon} of hub {hub} is refused: {reason}")]
    Refused { hub: String, eon: Eon, reason: String },
}

/// A hub settlements may rely on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HubPolicy {
    pub contract: Address,
    /// What the hub calls a token of a target chain; the same address where nothing is said.
    pub tokens: std::collections::BTreeMap<(ChainId, Address), Address>,
    /// Wallets that vouch for a payer besides the payer's own address.
    pub wallets: std::collections::BTreeMap<Address, Address>,
}

/// Everything but the checkpoint. CPU only.
pub fn prove(
    policy: &IntakePolicy,
    target: ChainId,
    terms: &Terms,
    claim: &AllotmentClaim,
) -> Result<Proven, AllotmentError> {
    let hub = policy
        .hubs
        .get(&claim.hub)
        .ok_or_else(|| AllotmentError::UnknownHub(claim.hub.clone()))?;
    let (wallet, payer) = (claim.account.wallet, terms.payer);
    if wallet != payer && hub.wallets.get(&payer) != Some(&wallet) {
        return Err(AllotmentError::Wallet { wallet, payer });
    }
    let expected = hub.tokens.get(&(target, terms.token)).copied().unwrap_or(terms.token);
    if claim.token != expected {
        return Err(AllotmentError::Token {
            found: claim.token,
            expected,
        });
    }
    let (upper_bound, root) = claim.proof.lead(hub.contract, claim.token, &claim.account)?;
    // An interval that ends before it begins was refused above.
    let allotted = claim.proof.interval.right.saturating_sub(claim.proof.interval.left);
    let needed = terms.debit();
    if allotted < needed {
        return Err(AllotmentError::TooSmall { allotted, needed });
    }
    Ok(Proven {
        hub: claim.hub.clone(),
        eon: claim.eon,
        token: claim.token,
        token_trail: claim.proof.token_trail,
        root,
        upper_bound,
    })
}

/// Whether the hub stands behind it: membership against a final checkpoint of a hub that goes on.
pub fn stand(proven: &Proven, facts: Option<&HubFacts>) -> Result<Reliance, AllotmentError> {
    let (hub, eon) = (proven.hub.clone(), proven.eon);
    let Some(facts) = facts else {
        return Err(AllotmentError::NotRead(hub));
    };
    if let Some(reason) = facts.halted {
        return Err(AllotmentError::Halted { hub, reason });
    }
    if !facts.is_level {
        return Err(AllotmentError::NotRead(hub));
    }
    let last = facts.last_eon;
    let Some(checkpoint) = facts
        .checkpoint
        .as_ref()
        .filter(|checkpoint| checkpoint.standing == CheckpointStanding::Final)
    else {
        return Err(AllotmentError::NotFinal { hub, eon, last });
    };
    if last.0.saturating_sub(eon.0) > AGE_MAX_EONS {
        return Err(AllotmentError::TooOld { hub, eon, last });
    }
    if let Some(reason) = &checkpoint.refused {
        let reason = reason.clone();
        return Err(AllotmentError::Refused { hub, eon, reason });
    }
    if checkpoint.root != proven.root {
        return Err(AllotmentError::Proof(ProofError::Root {
            expected: checkpoint.root,
            found: proven.root,
        }));
    }
    // A proof could choose the position of another token's tree.
    if facts.token_trail != Some(proven.token_trail) {
        return Err(AllotmentError::TokenTrail {
            hub,
            token: proven.token,
            trail: proven.token_trail,
        });
    }
    Ok(Reliance {
        hub: facts.id,
        checkpoint: checkpoint.id,
    })
}

macro_rules! codes {
    ($($name:ident = $code:literal, $title:literal, $meaning:literal, $you:literal;)+) => {
        $(const $name: ErrorCode = ErrorCode {
            code: $code, title: $title, meaning: $meaning, relayer: "Refuses the settlement; nothing is stored.", you: $you,
        };)+

        /// Every code of this file, for docs/errors.md.
        pub const CODES: &[ErrorCode] = &[$($name),+];
    };
}

codes! {
    UNKNOWN_HUB = "RLY-HUB-026", "Unknown hub",
        "No hub of that name is configured.",
        "Use a name of `[hubs.<name>]`, or submit without an allotment.";
    WALLET = "RLY-HUB-027", "Allotment of another wallet",
        "The wallet of the allotment is neither the payer nor configured for it.",
        "Show the payer's own allotment, or configure the wallet under `hubs.<name>.wallets`.";
    TOKEN = "RLY-HUB-028", "Allotment of another token",
        "The allotment is of a token that does not stand for the settlement's, or the position the proof names is not the token's at the hub.",
        "Show the allotment of the right token; where addresses differ between chains, configure `hubs.<name>.tokens`.";
    TOO_SMALL = "RLY-HUB-029", "Allotment too small",
        "The wallet is allotted less than amount and fee.",
        "Settle less, or deposit at the hub and wait for the next checkpoint.";
    NOT_READ = "RLY-HUB-030", "Hub not read yet",
        "The hub's contract has not been followed up to now, so no checkpoint of it is known.",
        "Send the same request again shortly; check the hub's chain if this lasts.";
    HALTED = "RLY-HUB-031", "Hub is halted",
        "The hub missed a checkpoint, or a challenge against it is open. Nothing that relies on it is accepted.",
        "Wait until the challenge is answered; after a missed checkpoint, submit without the hub.";
    NOT_FINAL = "RLY-HUB-032", "No final checkpoint of that eon",
        "The eon has no checkpoint, or its checkpoint is not final yet: it is when the next one is accepted in a final block.",
        "Show the allotment of the newest final checkpoint, or wait for the next one.";
    TOO_OLD = "RLY-HUB-033", "Checkpoint too old",
        "The hub is more than three eons further; the wallet may have spent everything since.",
        "Show the allotment of the newest final checkpoint.";
    REFUSED = "RLY-HUB-034", "Checkpoint is refused",
        "The contract took the checkpoint, but it promises more of a token than the contract holds, or contradicts it.",
        "Do not rely on this hub; the drift report names the token.";
}

impl Coded for AllotmentError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownHub(_) => UNKNOWN_HUB,
            Self::Wallet { .. } => WALLET,
            Self::Token { .. } | Self::TokenTrail { .. } => TOKEN,
            Self::TooSmall { .. } => TOO_SMALL,
            Self::Proof(error) => error.code(),
            Self::NotRead(_) => NOT_READ,
            Self::Halted { .. } => HALTED,
            Self::NotFinal { .. } => NOT_FINAL,
            Self::TooOld { .. } => TOO_OLD,
            Self::Refused { .. } => REFUSED,
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::NotRead(_) => Class::NotYet,
            Self::NotFinal { eon, last, .. } if eon >= last => Class::NotYet,
            Self::Halted {
                reason: HaltReason::LiveChallenge,
                ..
            } => Class::Retry {
                after: Duration::from_secs(60),
            },
            _ => Class::Reject,
        }
    }
}
