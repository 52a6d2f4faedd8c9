//! What a registry has against what the hub's chain has: two roots for one eon, or another root. Reported as drift of class root, closed when
//! it is gone, never adjusted.

use super::model::Eon;
use super::recorder::Recorder;
use super::relay::HubLane;
use super::relay_error::{CONFLICT, RelayError, WRONG_ROOT};
use crate::chain::eon_word;
use crate::error::ErrorCode;
use crate::metrics as names;
use crate::store::{ChainLog, CheckpointStanding, Cursor, Drift, DriftClass, Hub, LogStatus};
use alloy::primitives::B256;
use metrics::gauge;
use std::collections::{BTreeMap, BTreeSet};

/// Eons whose recorded roots are held against the hub's chain with every block: a conflict within them can still be brought about.
const EONS_COMPARED: u64 = 16;

/// One difference, and which page of docs/errors.md it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub code: ErrorCode,
    pub eon: u64,
    pub expected: String,
    pub actual: String,
}

/// Eons of which the owner has yet to choose. `logs` in chain order: conflicts and resolutions of one hub.
pub fn open_conflicts(logs: &[ChainLog]) -> BTreeMap<u64, (String, String)> {
    let mut open = BTreeMap::new();
    for log in logs {
        let Some(eon) = eon_of(log) else { continue };
        if log.kind == "conflict_resolved" {
            open.remove(&eon);
        } else {
            open.insert(eon, (text(log, "recorded"), text(log, "other")));
        }
    }
    open
}

/// `recorded` is the registry's word, in chain order; `expected` the root in a final block of the hub's chain. None also while the registry has
/// no root because its owner chose neither of two.
pub fn judge(eon: u64, recorded: &[ChainLog], expected: B256) -> Option<Verdict> {
    let newest = recorded.last()?;
    let actual = text(newest, "root");
    if newest.kind == "conflict_resolved" && actual == B256::ZERO.to_string() {
        return None;
    }
    let expected = expected.to_string();
    (actual != expected).then_some(Verdict {
        code: WRONG_ROOT,
        eon,
        expected,
        actual,
    })
}

fn text(log: &ChainLog, field: &str) -> String {
    log.detail[field].as_str().unwrap_or_default().to_owned()
}

fn eon_of(log: &ChainLog) -> Option<u64> {
    log.detail["eon"].as_str()?.parse().ok()
}

/// What is certain, as it happened.
fn in_order(logs: &mut Vec<ChainLog>) {
    logs.retain(|log| log.status == LogStatus::Final);
    logs.sort_by_key(|log| (log.block_number, log.log_index));
}

impl Recorder {
    /// Opens and closes drift of a lane.
    pub(super) async fn compare(&self, of: &HubLane, cursor: &Cursor, now_ms: i64) -> Result<(), RelayError> {
        let (chain, id) = (of.lane.target, of.hub_id());
        let mut logs = Vec::new();
        for kind in ["checkpoint_conflict", "conflict_resolved"] {
            logs.extend(self.store.find_logs(chain, kind, id, None, false).await?);
        }
        in_order(&mut logs);
        let mut verdicts: Vec<Verdict> = open_conflicts(&logs)
            .into_iter()
            .map(|(eon, (recorded, other))| Verdict {
                code: CONFLICT,
                eon,
                expected: format!("{recorded} alone"),
                actual: format!("{other} beside it"),
            })
            .collect();
        if let Some(hub) = self.store.find_hub(of.lane.source, of.lane.hub).await? {
            verdicts.extend(self.wrong_roots(of, &hub, id).await?);
        }
        self.report(of, &verdicts, cursor.finalized.number, now_ms).await
    }

    async fn wrong_roots(&self, of: &HubLane, hub: &Hub, id: B256) -> Result<Vec<Verdict>, RelayError> {
        let from = hub.last_eon.0.saturating_sub(EONS_COMPARED);
        let checkpoints = self
            .store
            .list_checkpoints(hub.id, Eon(from), EONS_COMPARED.saturating_add(1))
            .await?;
        let mut found = Vec::new();
        for checkpoint in checkpoints {
            if checkpoint.standing == CheckpointStanding::Seen {
                continue;
            }
            let eon = checkpoint.eon.0;
            let mut logs = Vec::new();
            for kind in ["checkpoint_recorded", "conflict_resolved"] {
                let of_eon = self
                    .store
                    .find_logs(of.lane.target, kind, id, Some(eon_word(eon)), false);
                logs.extend(of_eon.await?);
            }
            in_order(&mut logs);
            found.extend(judge(eon, &logs, checkpoint.root));
        }
        Ok(found)
    }

    async fn report(&self, of: &HubLane, verdicts: &[Verdict], number: u64, now_ms: i64) -> Result<(), RelayError> {
        let chain = of.lane.target;
        let labels = [("hub", of.name.clone()), ("target", chain.to_string())];
        gauge!(names::HUB_REGISTRY_DRIFT_COUNT, &labels).set(u32::try_from(verdicts.len()).unwrap_or(u32::MAX));
        if verdicts.is_empty() && self.store.count_open_drifts().await? == 0 {
            return Ok(());
        }
        let mut txn = self.store.begin(now_ms).await?;
        let prefix = format!("registry {} ", of.name);
        let subject = |verdict: &Verdict| {
            let what = if verdict.code == CONFLICT { "conflict" } else { "root" };
            format!("{prefix}{what} of eon {}", verdict.eon)
        };
        let standing: BTreeSet<String> = verdicts.iter().map(subject).collect();
        let open = txn.list_open_drift_subjects(chain).await?;
        let gone = |class: &DriftClass, subject: &String| {
            *class == DriftClass::Root && subject.starts_with(&prefix) && !standing.contains(subject)
        };
        for (class, subject) in open.iter().filter(|(class, subject)| gone(class, subject)) {
            txn.resolve_drift(*class, chain, subject, &format!("agrees at block {number}"))
                .await?;
        }
        for verdict in verdicts {
            let found = Drift {
                class: DriftClass::Root,
                chain,
                subject: subject(verdict),
                expected: verdict.expected.clone(),
                actual: verdict.actual.clone(),
            };
            if txn.report_drift(&found).await? {
                tracing::error!(code = verdict.code.code, hub = of.name, target = %chain, eon = verdict.eon, expected = verdict.expected, actual = verdict.actual, "{}", verdict.code.title);
            }
        }
        txn.commit().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::settlement::ChainId;
    use alloy::primitives::{Address, U256};
    use serde_json::json;

    fn log(block: u64, kind: &str, eon: u64, detail: serde_json::Value) -> ChainLog {
        let mut detail = detail;
        detail["eon"] = json!(eon.to_string());
        ChainLog {
            id: 1,
            chain: ChainId(2),
            block_number: block,
            block_hash: B256::ZERO,
            block_timestamp: 0,
            log_index: 0,
            tx_hash: B256::ZERO,
            address: Address::ZERO,
            kind: kind.into(),
            key: B256::ZERO,
            key2: eon_word(eon),
            amount: U256::ZERO,
            detail,
            status: LogStatus::Final,
            applied_seen: true,
            applied_final: true,
        }
    }

    fn root(n: u8) -> B256 {
        B256::repeat_byte(n)
    }

    #[test]
    fn a_conflict_is_open_until_the_owner_has_chosen() {
        let conflict = |block, eon| {
            log(
                block,
                "checkpoint_conflict",
                eon,
                json!({ "recorded": root(1), "other": root(2) }),
            )
        };
        let resolved = |block, eon| log(block, "conflict_resolved", eon, json!({ "root": root(2) }));
        let open = |logs: &[ChainLog]| open_conflicts(logs).into_keys().collect::<Vec<_>>();
        assert_eq!(open(&[conflict(1, 7), conflict(2, 8)]), [7, 8]);
        assert_eq!(open(&[conflict(1, 7), resolved(2, 7)]), [] as [u64; 0]);
        assert_eq!(open(&[conflict(1, 7), resolved(2, 7), conflict(3, 7)]), [7]);
    }

    #[test]
    fn a_recorded_root_is_held_against_the_hubs_chain() {
        let recorded = log(1, "checkpoint_recorded", 7, json!({ "root": root(1) }));
        let chosen = log(2, "conflict_resolved", 7, json!({ "root": root(2) }));
        assert_eq!(judge(7, &[], root(1)), None);
        assert_eq!(judge(7, std::slice::from_ref(&recorded), root(1)), None);
        let wrong = judge(7, std::slice::from_ref(&recorded), root(2)).unwrap();
        assert_eq!((wrong.code.code, wrong.actual), (WRONG_ROOT.code, root(1).to_string()));
        assert_eq!(judge(7, &[recorded, chosen], root(2)), None);
    }

    #[test]
    fn after_the_owner_chose_neither_nothing_is_recorded_until_another_root_is() {
        let recorded = |block, n| log(block, "checkpoint_recorded", 7, json!({ "root": root(n) }));
        let neither = || log(2, "conflict_resolved", 7, json!({ "root": B256::ZERO }));
        assert_eq!(judge(7, &[recorded(1, 1), neither()], root(1)), None);
        assert_eq!(judge(7, &[recorded(1, 1), neither()], root(2)), None);
        assert_eq!(judge(7, &[recorded(1, 1), neither(), recorded(3, 2)], root(2)), None);
        let wrong = judge(7, &[recorded(1, 1), neither(), recorded(3, 3)], root(2)).unwrap();
        assert_eq!(
            (wrong.expected, wrong.actual),
            (root(2).to_string(), root(3).to_string())
        );
    }
}
