//! Which settlements go into one message, and whether it is time. Pure.

use crate::settlement::packed::leaf_order;
use crate::settlement::{ChainId, SettlementId};
use crate::store::Settlement;
use alloy::primitives::Address;
use relayer_adapter_api::tree::LEAVES_MAX;
use std::collections::BTreeMap;

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
}

/// Members of one message, in leaf order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub key: BatchKey,
    pub ids: Vec<SettlementId>,
}

/// Batches to seal now. `waiting` is in order of age; each batch takes the oldest.
pub fn plan(now_ms: i64, waiting: &[Settlement], rule: BatchRule) -> Vec<Batch> {
    let count_max = rule.count_max.clamp(1, LEAVES_MAX);
    let mut groups: BTreeMap<BatchKey, Vec<&Settlement>> = BTreeMap::new();
    for settlement in waiting {
        let key = BatchKey {
            source: settlement.source(),
            target: settlement.target,
            inbox: settlement.inbox,
            tier: settlement.tier,
            fee_recipient: settlement.fee_recipient,
        };
        groups.entry(key).or_default().push(settlement);
    }
    let mut batches = Vec::new();
    for (key, members) in groups {
        for chunk in members.chunks(count_max) {
            let oldest = chunk.iter().map(|settlement| settlement.batch_after).min();
            let waited = now_ms.saturating_sub(oldest.unwrap_or(now_ms));
            if chunk.len() == count_max || waited >= rule.linger_ms {
                batches.push(Batch {
                    key,
                    ids: in_leaf_order(chunk),
                });
            }
        }
    }
    batches
}

/// docs/wire.md section 3: makes contiguous sections and runs.
fn in_leaf_order(members: &[&Settlement]) -> Vec<SettlementId> {
    let mut sorted = members.to_vec();
    sorted.sort_by_cached_key(|settlement| leaf_order(&settlement.terms, settlement.group.map(|group| group.root)));
    sorted.into_iter().map(|settlement| settlement.id).collect()
}
