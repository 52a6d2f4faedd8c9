//! Promises against what backs them: a checkpoint that allots more of a token than the contract has for it is refused.

use super::contract::{Backed, Contract};
use super::error::HubError;
use crate::error::Coded;
use crate::hub::model::{Backing, Eon, SolvencyError};
use crate::store::{DriftClass, Hub, HubBound, HubCheckpoint, HubOperationKind, Store};
use alloy::primitives::U256;

use super::check::Check;

/// One promise and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    pub checkpoint: HubCheckpoint,
    pub bound: HubBound,
    /// None when the contract's own sum would fail.
    pub backing: Option<U256>,
    pub verdict: Result<(), SolvencyError>,
}

impl Judged {
    /// As a difference for the record.
    pub fn check(&self, hub: &Hub) -> Check {
        let most = format!("at most {}", self.backing.unwrap_or_default());
        Check {
            class: DriftClass::Amount,
            subject: format!(
                "hub {} checkpoint {} upper bound of {:#x}",
                hub.name, self.checkpoint.eon, self.bound.token
            ),
            actual: match &self.verdict {
                Ok(()) => most.clone(),
                Err(error) => format!("{}: {error}", error.code().code),
            },
            expected: most,
            from: self.checkpoint.block.number,
        }
    }
}

/// Judges what is known of the checkpoints whose totals the contract still keeps, and was not judged yet. `is_whole`: what was read of the hub is
/// what the contract says.
pub async fn judge_bounds(
    store: &Store,
    hub: &Hub,
    contract: &Contract<'_>,
    is_whole: bool,
) -> Result<Vec<Judged>, HubError> {
    let to = contract.block().number;
    let current = contract.eon()?;
    // The slots of e are overwritten in e + 5.
    let oldest = Eon(current.0.saturating_sub(4).max(1));
    let mut judged = Vec::new();
    for checkpoint in store.list_checkpoints(hub.id, oldest, 8).await? {
        if checkpoint.block.number > to {
            continue;
        }
        for bound in store.list_hub_bounds(checkpoint.id).await? {
            if bound.solvent.is_some() {
                continue;
            }
            let backing = match contract.backing(bound.token, checkpoint.eon).await? {
                Backed::By(backing) => Some(backing),
                Backed::Fails => None,
                Backed::Less(_, _) if !is_whole || !hub.is_followed_from_genesis() => continue,
                Backed::Less(backing, later) => {
                    let sums = store.sum_hub_operations(hub.id, later, to).await?;
                    let sum = sums.get(&(HubOperationKind::WithdrawalRequest.as_str(), bound.token));
                    let requested = sum.copied().flatten().unwrap_or_default();
                    Some(Backing {
                        pending_withdrawals: backing.pending_withdrawals.saturating_sub(requested),
                        ..backing
                    })
                }
            };
            let contradiction = SolvencyError::Contradiction { balance: U256::ZERO };
            let verdict = backing
                .ok_or(contradiction)
                .and_then(|backing| backing.check(bound.upper_bound));
            judged.push(Judged {
                checkpoint: checkpoint.clone(),
                bound,
                backing: backing.and_then(|backing| backing.amount().ok()),
                verdict,
            });
        }
    }
    Ok(judged)
}
