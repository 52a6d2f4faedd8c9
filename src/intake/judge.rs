//! Whether the target chain, as it is known now, would honour the terms. Pure.

use super::allotment::stand;
use super::authorize::Authority;
use super::error::IntakeError;
use super::policy::IntakePolicy;
use super::verify::Verified;
use crate::settlement::receipt::{AmountError, check_amount};
use crate::store::{HubFacts, NewSettlement, NonceFact, OnChain, Reliance, SignerFact, VaultFacts};
use alloy::primitives::U256;

/// The settlement to accept, or why not. `head` is the timestamp of the newest target block whose logs are
/// known; `hub` how the hub stands whose allotment the payer showed.
pub fn judge(
    policy: &IntakePolicy,
    verified: &Verified,
    authority: &Authority,
    facts: &VaultFacts,
    hub: Option<&HubFacts>,
    head: u64,
) -> Result<NewSettlement, IntakeError> {
    let terms = &verified.terms;
    if authority.unasked {
        // Only as one that was paid, see [`judge_recalled`].
        return Err(IntakeError::TargetNotReady(verified.target));
    }
    let token = facts
        .tokens
        .get(&terms.token)
        .ok_or(IntakeError::TokenNotListed(terms.token))?;
    let prices = verified.receipts.iter().map(|receipt| receipt.price.as_deref());
    check_amount(verified.amount_rule, terms.amount, prices, token.decimals).map_err(amount_error)?;
    let tier = token.quorum_for(terms.amount);
    if tier == 0 {
        return Err(IntakeError::AmountRefused {
            token: terms.token,
            amount: terms.amount,
        });
    }
    if tier > verified.families {
        return Err(IntakeError::Families {
            needed: tier,
            available: verified.families,
        });
    }
    check_deadline(policy, verified, head)?;
    let payer = terms.payer;
    match facts.nonces.get(&(payer, terms.nonce)) {
        Some(NonceFact::BurnAnnounced) => return Err(IntakeError::NonceLeaving(terms.nonce)),
        Some(NonceFact::Burned | NonceFact::Paid(_)) => return Err(IntakeError::NonceUsed(terms.nonce)),
        None => {}
    }
    if let Some(signer) = authority.signer
        && facts.signers.get(&(payer, signer)) != Some(&SignerFact::Active)
    {
        return Err(IntakeError::SignerLeaving { payer, signer });
    }
    let relies_on = verified
        .allotment
        .as_ref()
        .map(|proven| stand(proven, hub))
        .transpose()?;
    let leaving = facts.leaving.get(&(payer, terms.token)).copied().unwrap_or_default();
    Ok(accepted(verified, authority, tier, leaving, relies_on))
}

fn accepted(
    verified: &Verified,
    authority: &Authority,
    tier: u8,
    leaving: U256,
    relies_on: Option<Reliance>,
) -> NewSettlement {
    NewSettlement {
        id: verified.id,
        coordinator_id: verified.coordinator_id.clone(),
        trace_id: verified.trace_id.clone(),
        target: verified.target,
        inbox: verified.inbox,
        terms: verified.terms,
        auth: verified.signed.auth.clone(),
        auth_kind: authority.kind,
        revocable: authority.revocable,
        group: verified.group,
        tier,
        fee_recipient: verified.fee_recipient,
        policy: verified.policy,
        receipts: verified.receipts.clone(),
        leaving,
        relies_on,
    }
}

/// A settlement that a message on its way carries, or that was paid, before this database knew of it. Its payer's word is out and its message
/// sent, so that it is not judged by what would be right for a new one; refused, its receipts would seem free to be paid a second time. None
/// when the nonce was used for something else: then it can never be paid. None, too, when its word is no word of the payer's for what is still
/// to be paid: stored, it would spoil the payout.
pub fn judge_recalled(
    verified: &Verified,
    authority: &Authority,
    facts: &VaultFacts,
    known: OnChain,
) -> Option<NewSettlement> {
    let terms = &verified.terms;
    if known != OnChain::Booked {
        let fact = authority.signer.map(|signer| facts.signers.get(&(terms.payer, signer)));
        let signs = matches!(
            fact,
            None | Some(Some(SignerFact::Active | SignerFact::RemovalAnnounced))
        );
        if authority.unasked || !signs {
            return None;
        }
    }
    match facts.nonces.get(&(terms.payer, terms.nonce)) {
        Some(NonceFact::Burned) => return None,
        Some(NonceFact::Paid(id)) if *id != verified.id => return None,
        Some(NonceFact::Paid(_) | NonceFact::BurnAnnounced) | None => {}
    }
    let token = facts.tokens.get(&terms.token);
    let tier = token.map_or(1, |token| token.quorum_for(terms.amount)).max(1);
    // Its message is on its way, whatever its hub does now.
    Some(accepted(verified, authority, tier, U256::ZERO, None))
}

/// Late enough to cross a bridge; early enough that nothing announced after acceptance takes effect before it.
fn check_deadline(policy: &IntakePolicy, verified: &Verified, head: u64) -> Result<(), IntakeError> {
    let deadline = verified.terms.deadline;
    let earliest = head.saturating_add(policy.deadline_margin);
    if deadline < earliest {
        return Err(IntakeError::DeadlineTooNear { deadline, earliest });
    }
    let exit_delay = policy
        .targets
        .get(&verified.target)
        .ok_or(IntakeError::WrongChain(verified.target))?
        .exit_delay
        .get()
        .ok_or(IntakeError::TargetNotReady(verified.target))?;
    let latest = head.saturating_add(exit_delay).saturating_sub(policy.exit_margin);
    if deadline > latest {
        return Err(IntakeError::DeadlineTooFar { deadline, latest });
    }
    Ok(())
}

fn amount_error(error: AmountError) -> IntakeError {
    match error {
        AmountError::NoPrice(_) => IntakeError::NoPrice(error),
        AmountError::Inexact { .. } => IntakeError::AmountInexact(error),
        _ => IntakeError::AmountRule(error),
    }
}
