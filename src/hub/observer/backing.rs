//! Promises against what backs them: a checkpoint that allots more of a token than the contract has for it is refused.

use super::contract::Contract;
use super::error::HubError;
use crate::error::Coded;
use crate::hub::model::{Eon, SolvencyError};
use crate::store::{DriftClass, Hub, HubBound, HubCheckpoint, Store};
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

/// Judges what is known of the checkpoints whose totals the contract still keeps, and was not judged yet.
pub async fn judge_bounds(store: &Store, hub: &Hub, contract: &Contract<'_>) -> Result<Vec<Judged>, HubError> {
    let current = contract.eon()?;
    // The slots of e are overwritten in e + 5.
    let oldest = Eon(current.0.saturating_sub(4).max(1));
    let mut judged = Vec::new();
    for checkpoint in store.list_checkpoints(hub.id, oldest, 8).await? {
        if checkpoint.block.number > contract.block().number {
            continue;
        }
        for bound in store.list_hub_bounds(checkpoint.id).await? {
            if bound.solvent.is_some() {
                continue;
            }
            let contradiction = SolvencyError::Contradiction { balance: U256::ZERO };
            let backing = contract.backing(bound.token, checkpoint.eon).await?;
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
