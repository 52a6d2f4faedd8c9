//! Which settlements go into one message, and whether it is time. Pure.

use crate::settlement::packed::leaf_order;
use crate::settlement::policy::RoutePolicy;
use crate::settlement::{ChainId, SettlementId};
use crate::store::Settlement;
use alloy::primitives::{Address, B256};
use relayer_adapter_api::tree::LEAVES_MAX;
use std::collections::{BTreeMap, BTreeSet};

/// When a batch is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRule {
    /// At once when so many wait; at most 1,024, what a tree holds.
    pub count_max: usize,
    /// Or when the oldest has waited this long.
    pub linger_ms: i64,
}

/// One message holds one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchKey {
    pub source: ChainId,
    pub target: ChainId,
    pub inbox: Address,
    pub tier: u8,
    pub fee_recipient: Address,
    /// Lanes are chosen for a whole message.
    pub policy: Option<RoutePolicy>,
}

/// Members of one message, in leaf order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub key: BatchKey,
    pub ids: Vec<SettlementId>,
}

/// Batches to seal now. `waiting` is in order of age; each batch takes the oldest. A group stays together, since each message it is spread
/// over costs its signature and its proof again; only one that is larger than a message is cut.
pub fn plan(now_ms: i64, waiting: &[Settlement], rule: BatchRule) -> Vec<Batch> {
    let count_max = rule.count_max.clamp(1, LEAVES_MAX);
    let mut by_key: BTreeMap<BatchKey, Vec<&Settlement>> = BTreeMap::new();
    for settlement in waiting {
        let key = BatchKey {
            source: settlement.source(),
            target: settlement.target,
            inbox: settlement.inbox,
            tier: settlement.tier,
            fee_recipient: settlement.fee_recipient,
            policy: settlement.policy,
        };
        by_key.entry(key).or_default().push(settlement);
    }
    let mut batches = Vec::new();
    for (key, members) in by_key {
        let mut open: Vec<&Settlement> = Vec::new();
        let mut seal = |members: &mut Vec<&Settlement>| {
            let ids = in_leaf_order(members);
            members.clear();
            batches.push(Batch { key, ids });
        };
        for unit in units(members) {
            for part in unit.chunks(count_max) {
                if open.len().saturating_add(part.len()) > count_max {
                    seal(&mut open);
                }
                open.extend(part);
                if open.len() == count_max {
                    seal(&mut open);
                }
            }
        }
        let oldest = open.iter().map(|settlement| settlement.batch_after).min();
        if oldest.is_some_and(|oldest| now_ms.saturating_sub(oldest) >= rule.linger_ms) {
            seal(&mut open);
        }
    }
    batches
}

/// What goes into one message together: a settlement, or all members of a group, at the place of the oldest.
fn units(members: Vec<&Settlement>) -> Vec<Vec<&Settlement>> {
    let mut units: Vec<Vec<&Settlement>> = Vec::with_capacity(members.len());
    let mut of_group: BTreeMap<B256, usize> = BTreeMap::new();
    for member in members {
        match member.group.map(|place| place.root) {
            Some(root) => match of_group.get(&root) {
                Some(unit) => units[*unit].push(member),
                None => {
                    of_group.insert(root, units.len());
                    units.push(vec![member]);
                }
            },
            None => units.push(vec![member]),
        }
    }
    // A group that must be cut is cut along the order it was signed in, which is that of the leaves.
    for unit in &mut units {
        unit.sort_by_key(|member| member.group.map(|place| place.index));
    }
    units
}

/// Rows within which the members of a group lie: commits hold hundreds of rows, sorted by id, and a few of them go on at once.
pub const GROUP_SPREAD: usize = 2_048;

/// Drops the groups near the end of a list that was cut at `limit`: the rest of them may wait behind the cut. Spreading a group over messages
/// is dear, not wrong, so a list of nothing else is taken as it is.
pub fn whole_groups(waiting: Vec<Settlement>, limit: usize) -> Vec<Settlement> {
    let root = |settlement: &Settlement| settlement.group.map(|place| place.root);
    let near_the_cut = waiting.len().saturating_sub(GROUP_SPREAD);
    let cut: BTreeSet<B256> = waiting[near_the_cut..].iter().filter_map(root).collect();
    if waiting.len() < limit || cut.is_empty() {
        return waiting;
    }
    let whole = |settlement: &&Settlement| root(settlement).is_none_or(|root| !cut.contains(&root));
    if waiting.iter().any(|settlement| whole(&settlement)) {
        waiting.iter().filter(whole).cloned().collect()
    } else {
        waiting
    }
}

/// docs/wire.md section 3: makes contiguous sections and runs.
fn in_leaf_order(members: &[&Settlement]) -> Vec<SettlementId> {
    let mut sorted = members.to_vec();
    sorted.sort_by_cached_key(|settlement| leaf_order(&settlement.terms, settlement.group.map(|group| group.root)));
    sorted.into_iter().map(|settlement| settlement.id).collect()
}
