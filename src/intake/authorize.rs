//! Whose word the authorization is. The payer's own signature needs nothing more; a registered signer needs the vault's logs; a contract
//! payer is asked on chain. Only the last two leave the fast path.

use super::error::IntakeError;
use super::verify::{Signed, Verified};
use crate::chain::Chain;
use crate::settlement::ChainId;
use crate::settlement::auth::Classification;
use crate::store::{AuthKind, FactsQuery, OnChain, SignerFact, Store};
use alloy::primitives::{Address, FixedBytes};
use alloy::sol;
use alloy::sol_types::SolCall;
use std::collections::BTreeSet;

sol! {
    /// ERC-1271.
    function isValidSignature(bytes32 hash, bytes signature) external view returns (bytes4);
}

/// What a contract answers when it agrees: its own selector.
const MAGIC: FixedBytes<4> = FixedBytes(isValidSignatureCall::SELECTOR);

/// How a settlement is authorized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority {
    pub kind: AuthKind,
    /// The signer, when it is not the payer; looked at again before the commit.
    pub signer: Option<Address>,
    pub revocable: bool,
    /// Nobody was asked, because it was paid: counts only for what was paid in a final block still when it is stored.
    pub unasked: bool,
}

impl Authority {
    pub const PAYER: Self = Self {
        kind: AuthKind::Ecdsa,
        signer: None,
        revocable: false,
        unasked: false,
    };
    pub const CONTRACT: Self = Self {
        kind: AuthKind::Erc1271,
        signer: None,
        revocable: true,
        unasked: false,
    };
    /// The inbox has judged it, and paid.
    pub const UNASKED: Self = Self {
        unasked: true,
        ..Self::PAYER
    };

    fn signer(signer: Address) -> Self {
        Self {
            signer: Some(signer),
            ..Self::PAYER
        }
    }
}

/// That a word is a payer's.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    pub target: ChainId,
    pub payer: Address,
    pub allow_contract_payers: bool,
    pub signed: &'a Signed,
}

impl<'a> Claim<'a> {
    fn of(verified: &'a Verified) -> Self {
        Self {
            target: verified.target,
            payer: verified.terms.payer,
            allow_contract_payers: verified.allow_contract_payers,
            signed: &verified.signed,
        }
    }

    /// The answer when neither the database nor a chain is needed.
    pub fn fast(&self) -> Option<Authority> {
        (self.signed.signer == Classification::RecoveredTo(self.payer)).then_some(Authority::PAYER)
    }
}

/// The answer when neither the database nor a chain is needed.
pub fn fast(verified: &Verified) -> Option<Authority> {
    Claim::of(verified).fast()
}

/// Everything else.
pub async fn slow(store: &Store, chain: Option<&dyn Chain>, verified: &Verified) -> Result<Authority, IntakeError> {
    if store.find_settlement(verified.id).await?.is_some() {
        // Accepted before: the writer gives the original answer and asks nobody again.
        return Ok(Authority::PAYER);
    }
    let known = store.known_on_chain(verified.target, &[verified.id]).await?;
    let known = known.get(&verified.id).copied();
    if known == Some(OnChain::Booked) {
        return Ok(Authority::UNASKED);
    }
    let claim = Claim::of(verified);
    match word(store, chain, &claim).await {
        Ok(authority) => Ok(authority),
        Err(error) => excused(&claim, known, error),
    }
}

/// What a word that does not count today is worth for a settlement the chains know: refused, its receipts would seem free to be paid a
/// second time. A signer on its way out still signs for what is on its way, as the inbox sees it.
pub fn excused(claim: &Claim<'_>, known: Option<OnChain>, error: IntakeError) -> Result<Authority, IntakeError> {
    match (known, error) {
        (Some(OnChain::Booked), _) => Ok(Authority::UNASKED),
        (Some(_), IntakeError::SignerLeaving { signer, .. }) => Ok(Authority::signer(signer)),
        // Neither its word nor its payment counts yet; once the block is final it is taken up.
        (Some(OnChain::Paid), _) => Err(IntakeError::TargetNotReady(claim.target)),
        (_, error) => Err(error),
    }
}

/// A registered signer's word, or a contract's.
pub async fn word(store: &Store, chain: Option<&dyn Chain>, claim: &Claim<'_>) -> Result<Authority, IntakeError> {
    let payer = claim.payer;
    if let Classification::RecoveredTo(signer) = claim.signed.signer {
        let query = FactsQuery {
            payers: BTreeSet::from([payer]),
            ..FactsQuery::default()
        };
        let facts = store.vault_facts(claim.target, &query).await?;
        match facts.signers.get(&(payer, signer)) {
            Some(SignerFact::Active) => return Ok(Authority::signer(signer)),
            Some(SignerFact::RemovalAnnounced) => return Err(IntakeError::SignerLeaving { payer, signer }),
            Some(SignerFact::Removed) | None => {}
        }
    }
    let chain = chain.ok_or(IntakeError::TargetNotReady(claim.target))?;
    let unreadable = |source| IntakeError::View {
        chain: claim.target,
        source,
    };
    let code = chain.code(payer).await.map_err(unreadable)?;
    if code.is_empty() {
        return Err(IntakeError::WrongSigner {
            payer,
            signer: claim.signed.signer,
        });
    }
    if !claim.allow_contract_payers {
        return Err(IntakeError::ContractPayer(payer));
    }
    let head = chain.head().await.map_err(unreadable)?;
    let call = isValidSignatureCall {
        hash: claim.signed.digest,
        signature: claim.signed.auth.clone(),
    };
    let view = chain.view(head);
    let answer = view
        .call(None, payer, call.abi_encode().into(), alloy::primitives::U256::ZERO)
        .await;
    match answer {
        // A word whose other 28 bytes are not zero is refused as the inbox refuses it.
        Ok(word) if word.len() == 32 && word[..4] == MAGIC[..] && word[4..].iter().all(|byte| *byte == 0) => {
            Ok(Authority::CONTRACT)
        }
        Ok(_) | Err(relayer_adapter_api::ViewError::Reverted { .. }) => Err(IntakeError::ContractRefused(payer)),
        Err(error) => Err(unreadable(error)),
    }
}
