//! What was read of a hub against what its contract says in one final block.

use super::contract::{Contract, KeptCheckpoint, Total, total_at};
use super::error::HubError;
use super::follow::Followed;
use crate::hub::model::{Accumulator, Eon};
use crate::store::{DriftClass, Hub, HubCheckpoint, HubOperationKind, HubSums, Store};
use alloy::primitives::{Address, U256};
use std::collections::BTreeMap;

/// One thing looked at from two sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub class: DriftClass,
    pub subject: String,
    /// What the contract says.
    pub expected: String,
    /// What we have.
    pub actual: String,
    /// First block that matters to it.
    pub from: u64,
}

impl Check {
    pub fn agrees(&self) -> bool {
        self.expected == self.actual
    }
}

/// The accumulator's slots at the end of an interval of blocks.
pub fn check_accumulator(hub: &Hub, base: u64, contract: &Accumulator, ours: &Followed) -> Vec<Check> {
    let pairs = contract.slots().iter().zip(ours.accumulator.slots());
    let checks = pairs.enumerate().map(|(slot, (expected, actual))| Check {
        class: DriftClass::Root,
        subject: format!("hub {} accumulator slot {slot} after block {base}", hub.name),
        expected: expected.to_string(),
        actual: actual.to_string(),
        from: base.saturating_add(1),
    });
    checks.collect()
}

/// Checkpoints the contract keeps against ours of the same eons.
pub fn check_checkpoints(hub: &Hub, first_eon: Eon, kept: &[KeptCheckpoint], ours: &[HubCheckpoint]) -> Vec<Check> {
    let clock = hub.clock().ok();
    let from = |eon: Eon| {
        clock
            .and_then(|clock| clock.first_block(eon).ok())
            .unwrap_or(hub.genesis)
    };
    let known: BTreeMap<Eon, &HubCheckpoint> = ours.iter().map(|checkpoint| (checkpoint.eon, checkpoint)).collect();
    let mut checks = Vec::new();
    for checkpoint in kept.iter().filter(|checkpoint| checkpoint.eon >= first_eon) {
        let found = known.get(&checkpoint.eon);
        checks.push(Check {
            class: if found.is_some() {
                DriftClass::Root
            } else {
                DriftClass::Missing
            },
            subject: format!("hub {} checkpoint {}", hub.name, checkpoint.eon),
            expected: checkpoint.root.to_string(),
            actual: found.map_or_else(|| "none".to_owned(), |found| found.root.to_string()),
            from: from(checkpoint.eon),
        });
    }
    let oldest = kept.iter().map(|checkpoint| checkpoint.eon).min();
    for checkpoint in ours {
        let is_kept = kept.iter().any(|kept| kept.eon == checkpoint.eon);
        // One that is older than all it keeps was overwritten long ago.
        if !is_kept && oldest.is_none_or(|oldest| checkpoint.eon > oldest) {
            checks.push(Check {
                class: DriftClass::Unknown,
                subject: format!("hub {} checkpoint {}", hub.name, checkpoint.eon),
                expected: "none".into(),
                actual: checkpoint.root.to_string(),
                from: from(checkpoint.eon),
            });
        }
    }
    checks
}

/// Sums of one kind of one token, for each of the eons: what the contract's slot says, which another eon may hold, against ours.
pub fn check_sums(
    hub: &Hub,
    (kind, token): (HubOperationKind, Address),
    slots: &[(Eon, U256); 5],
    ours: &BTreeMap<Eon, HubSums>,
) -> Vec<Check> {
    let clock = hub.clock().ok();
    let checks = ours.iter().map(|(eon, sums)| {
        let held = slots.iter().find(|(held, _)| held == eon);
        let expected = held.map_or(U256::ZERO, |(_, amount)| *amount);
        let actual = sums.get(&(kind.as_str(), token)).copied();
        Check {
            class: DriftClass::Amount,
            subject: format!("hub {} eon {eon} {kind}s of {token:#x}", hub.name),
            expected: expected.to_string(),
            actual: match actual {
                None => "0".into(),
                Some(Some(sum)) => sum.to_string(),
                Some(None) => "more than 256 bits".into(),
            },
            from: clock
                .and_then(|clock| clock.first_block(*eon).ok())
                .unwrap_or(hub.genesis),
        }
    });
    checks.collect()
}

/// Everything that is compared once per eon: checkpoints, and sums of the eons the contract keeps.
pub async fn check_eons(store: &Store, hub: &Hub, contract: &Contract<'_>) -> Result<Vec<Check>, HubError> {
    let to = contract.block().number;
    let current = contract.eon()?;
    let first = first_whole_eon(hub, current)?;
    let kept = contract.checkpoints().await?;
    let ours = store.list_checkpoints(hub.id, first, 8).await?;
    let ours: Vec<HubCheckpoint> = ours
        .into_iter()
        .filter(|checkpoint| checkpoint.block.number <= to)
        .collect();
    let mut checks = check_checkpoints(hub, first, &kept, &ours);
    let mut sums = BTreeMap::new();
    let mut eon = first;
    while eon <= current {
        sums.insert(eon, store.sum_hub_operations(hub.id, eon, to).await?);
        let Some(next) = eon.checked_add(1) else { break };
        eon = next;
    }
    for token in store.list_hub_tokens(hub.id).await? {
        let deposits = contract.deposits(token).await?;
        checks.extend(check_sums(hub, (HubOperationKind::Deposit, token), &deposits, &sums));
        let confirmed = contract.confirmed_withdrawals(token).await?;
        let kind = HubOperationKind::WithdrawalConfirmation;
        checks.extend(check_sums(hub, (kind, token), &confirmed, &sums));
    }
    Ok(checks)
}

/// What waits to be withdrawn of each token in all. A request that is slashed leaves no event, so there may be less of it than we know of; more is
/// a request we missed. `from`: first block in which it may have been.
pub async fn check_pending(
    store: &Store,
    hub: &Hub,
    contract: &Contract<'_>,
    from: u64,
) -> Result<Vec<Check>, HubError> {
    if !hub.is_followed_from_genesis() {
        return Ok(Vec::new());
    }
    let current = contract.eon()?;
    let known = store.sum_hub_withdrawals(hub.id, contract.block().number).await?;
    let mut tokens = store.list_hub_tokens(hub.id).await?;
    tokens.insert(hub.contract);
    let mut checks = Vec::with_capacity(tokens.len());
    for token in tokens {
        let Total::Known(there) = total_at(&contract.pending_withdrawals(token).await?, current) else {
            continue;
        };
        let (requested, confirmed) = known.get(&token).copied().unwrap_or_default();
        checks.push(Check {
            class: DriftClass::Amount,
            subject: format!("hub {} pending withdrawals of {token:#x}", hub.name),
            expected: there.to_string(),
            actual: there.min(requested.saturating_sub(confirmed)).to_string(),
            from,
        });
    }
    Ok(checks)
}

/// The first of the eons the contract keeps whose logs were read from its first block on.
fn first_whole_eon(hub: &Hub, current: Eon) -> Result<Eon, HubError> {
    let clock = hub.clock()?;
    let kept = Eon(current.0.saturating_sub(4).max(1));
    if hub.is_followed_from_genesis() {
        return Ok(kept);
    }
    let whole = clock.eon(hub.start_block).map_err(|source| HubError::Clock {
        hub: hub.name.clone(),
        source,
    })?;
    // It may have begun before the first block that was read.
    Ok(kept.max(Eon(whole.0.saturating_add(1))))
}
