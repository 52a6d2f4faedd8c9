//! The hub observer's step for one chain.

use super::backing::{Judged, judge_bounds};
use super::check::{Check, check_accumulator, check_eons, check_pending};
use super::contract::Contract;
use super::error::{CHALLENGED, DIFFERS, HubError, MISSED};
use super::follow::{Followed, follow};
use super::judge::{Standing, judge, needs_final};
use crate::chain::{Chain, hub_logs};
use crate::error::Coded;
use crate::hub::model::Eon;
use crate::metrics as names;
use crate::stage::{Outcome, Stage};
use crate::store::{Cursor, Drift, DriftClass, Halt, HaltReason, Hub, HubId, Restored, Store, StoreError};
use alloy::primitives::{Address, B256};
use async_trait::async_trait;
use metrics::gauge;
use relayer_adapter_api::ChainId;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Comparisons that fail in a row before the contract's own accumulator is taken for the start of what follows.
const FAILURES_MAX: u32 = 3;

/// Looks in a row that were in vain because the chain changed under them, before somebody is told.
const RACES_MAX: u32 = 5;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubObserverParams {
    pub chain: ChainId,
    /// Contracts of the hubs to judge.
    pub hubs: Vec<Address>,
    /// Time between comparisons with the contract, ms; a new eon is compared at once.
    pub check_ms: i64,
}

/// What the last look at a hub was about; lost with the process, which then looks again.
#[derive(Debug, Clone, Copy, Default)]
struct Looked {
    /// Blocks the halt was judged by.
    blocks: Option<(B256, B256)>,
    /// Final block and eon of the last comparison.
    compared: Option<(B256, Eon)>,
    next_check: i64,
    failures: u32,
    /// Looks in a row that the chain overtook.
    races: u32,
}

/// One per chain with hubs.
pub struct HubObserver {
    store: Store,
    chain: Arc<dyn Chain>,
    params: HubObserverParams,
    looked: Mutex<BTreeMap<HubId, Looked>>,
}

impl fmt::Debug for HubObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubObserver")
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}

impl HubObserver {
    pub fn new(store: Store, chain: Arc<dyn Chain>, params: HubObserverParams) -> Self {
        Self {
            store,
            chain,
            params,
            looked: Mutex::default(),
        }
    }

    fn looked(&self, hub: HubId) -> Looked {
        let looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        looked.get(&hub).copied().unwrap_or_default()
    }

    fn note(&self, hub: HubId, change: impl FnOnce(&mut Looked)) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        change(looked.entry(hub).or_default());
    }

    fn contract<'a>(&self, hub: &'a Hub, block: relayer_adapter_api::BlockRef) -> Contract<'a> {
        Contract::new(hub, self.chain.view(block))
    }

    async fn look(&self, now_ms: i64, hub: &Hub, cursor: &Cursor) -> Result<usize, HubError> {
        let mut changed = usize::from(self.judge_halt(now_ms, hub, cursor).await?);
        if self.is_due(now_ms, hub, cursor)? {
            changed += usize::from(self.compare(now_ms, hub, cursor).await?);
        }
        show(&self.store.get_hub(hub.id).await?);
        Ok(changed)
    }

    /// True when the hub was halted or goes on.
    async fn judge_halt(&self, now_ms: i64, hub: &Hub, cursor: &Cursor) -> Result<bool, HubError> {
        let blocks = (cursor.seen.hash, cursor.finalized.hash);
        if self.looked(hub.id).blocks == Some(blocks) || cursor.seen.number < hub.genesis {
            return Ok(false);
        }
        let was = hub.halted.as_ref();
        let is_over = |was: &Halt| was.reason == HaltReason::MissedCheckpoint && was.is_final;
        let halt = if was.is_some_and(is_over) {
            hub.halted
        } else {
            let seen = standing(&self.contract(hub, cursor.seen)).await?;
            let finalized = if needs_final(&seen, was) && cursor.finalized.number >= hub.genesis {
                Some(standing(&self.contract(hub, cursor.finalized)).await?)
            } else {
                None
            };
            judge(&seen, finalized.as_ref(), was, now_ms)
        };
        let mut changed = false;
        if halt != hub.halted {
            let mut txn = self.store.begin(now_ms).await?;
            let cause = format!("block {} {}", cursor.seen.number, cursor.seen.hash);
            changed = txn.set_hub_halt(hub.id, halt, &cause).await?;
            txn.commit().await?;
            if changed {
                alert(hub, halt);
            }
        }
        self.note(hub.id, |looked| looked.blocks = Some(blocks));
        Ok(changed)
    }

    fn is_due(&self, now_ms: i64, hub: &Hub, cursor: &Cursor) -> Result<bool, HubError> {
        // What is final must have been read, and there must be a contract.
        if hub.read_to < cursor.finalized.number || cursor.finalized.number < hub.genesis {
            return Ok(false);
        }
        let looked = self.looked(hub.id);
        let Some((block, eon)) = looked.compared else {
            return Ok(true);
        };
        if block == cursor.finalized.hash {
            return Ok(false);
        }
        let current = self.contract(hub, cursor.finalized).eon()?;
        Ok(now_ms >= looked.next_check || (current != eon && looked.failures == 0))
    }

    /// Compares in the final block of the cursor; reads again what does not agree. True when something was written.
    async fn compare(&self, now_ms: i64, hub: &Hub, cursor: &Cursor) -> Result<bool, HubError> {
        let contract = self.contract(hub, cursor.finalized);
        let eon = contract.eon()?;
        let looked = self.looked(hub.id);
        let is_new_eon = looked.compared.is_none_or(|(_, compared)| compared != eon) || looked.failures > 0;
        self.learn_trails(now_ms, hub, &contract).await?;
        let mut found = self.checks(hub, &contract, (is_new_eon, looked.failures > 0)).await?;
        let mut failures = 0;
        if !self.record(now_ms, hub, cursor, &found).await? {
            failures = looked.failures.saturating_add(1);
            self.repair(now_ms, hub, cursor, &found).await?;
            found = self.checks(hub, &contract, (true, true)).await?;
            if self.record(now_ms, hub, cursor, &found).await? {
                failures = 0;
            } else if failures >= FAILURES_MAX && found.others_agree {
                self.start_anew(now_ms, hub, cursor, &found).await?;
                failures = 0;
            }
        }
        self.note(hub.id, |looked| {
            looked.compared = Some((cursor.finalized.hash, eon));
            (looked.failures, looked.races) = (failures, 0);
            looked.next_check = now_ms.saturating_add(self.params.check_ms.saturating_mul(1 << failures.min(10)));
        });
        match found.unjudged {
            Some(error) => Err(error),
            None => Ok(true),
        }
    }

    /// Positions of the hub's tokens never change; each is asked for once.
    async fn learn_trails(&self, now_ms: i64, hub: &Hub, contract: &Contract<'_>) -> Result<(), HubError> {
        let known = self.store.list_hub_trails(hub.id).await?;
        let mut tokens = self.store.list_hub_tokens(hub.id).await?;
        tokens.insert(hub.contract);
        let mut learned = Vec::new();
        for token in tokens.into_iter().filter(|token| !known.contains_key(token)) {
            if let Some(trail) = contract.token_trail(token).await? {
                learned.push((token, trail));
            }
        }
        if learned.is_empty() {
            return Ok(());
        }
        let mut txn = self.store.begin(now_ms).await?;
        for (token, trail) in learned {
            txn.put_hub_trail(hub.id, token, trail).await?;
        }
        txn.commit().await?;
        Ok(())
    }

    async fn checks(
        &self,
        hub: &Hub,
        contract: &Contract<'_>,
        (eons_too, pending_too): (bool, bool),
    ) -> Result<Found, HubError> {
        let hub = &self.store.get_hub(hub.id).await?;
        let to = contract.block().number;
        let accumulator = contract.accumulator().await?;
        let mut found = Found {
            base: hub.base,
            slots: *accumulator.slots(),
            ..Found::default()
        };
        if let Some((base, slots)) = hub.base
            && base <= to
        {
            let followed = follow(&self.store, hub, (base, slots), to).await?;
            found.checks = check_accumulator(hub, base, &accumulator, &followed);
            found.followed = Some(followed);
        }
        let mut others = Vec::new();
        if eons_too {
            others = check_eons(&self.store, hub, contract).await?;
        }
        if pending_too {
            // What the accumulator lacks came after it agreed last.
            let base = found.base.filter(|_| !found.agrees());
            let from = base.map_or(hub.genesis, |(base, _)| base.saturating_add(1));
            others.extend(check_pending(&self.store, hub, contract, from).await?);
        }
        found.others_agree = others.iter().all(Check::agrees);
        found.checks.extend(others);
        match judge_bounds(&self.store, hub, contract, found.agrees()).await {
            Ok(judged) => found.judged = judged,
            Err(HubError::Store(error)) => return Err(error.into()),
            // What is known without it is recorded all the same.
            Err(error) => found.unjudged = Some(error),
        }
        Ok(found)
    }

    /// Opens and closes drifts, and moves the base along when the accumulator agrees. True when everything but promises agrees.
    async fn record(&self, now_ms: i64, hub: &Hub, cursor: &Cursor, found: &Found) -> Result<bool, HubError> {
        let mut txn = self.store.begin(now_ms).await?;
        // What was compared must still be what is final; the head may be anywhere.
        txn.expect_final(hub.chain, &cursor.finalized).await?;
        let open = txn.list_open_drift_subjects(hub.chain).await?;
        let promises = found.judged.iter().map(|judged| judged.check(hub));
        let current = overtaken(hub, "in step");
        let checks = found.checks.iter().cloned().chain(promises).chain([current]);
        let checks: Vec<Check> = checks.collect();
        for check in &checks {
            if check.agrees() {
                // Under whichever class: what was missing is there now, and is compared as such.
                for (class, subject) in open.iter().filter(|(_, subject)| *subject == check.subject) {
                    let resolution = format!("agrees at block {}", cursor.finalized.number);
                    txn.resolve_drift(*class, hub.chain, subject, &resolution).await?;
                }
                continue;
            }
            let drift = Drift {
                class: check.class,
                chain: hub.chain,
                subject: check.subject.clone(),
                expected: check.expected.clone(),
                actual: check.actual.clone(),
            };
            if txn.report_drift(&drift).await? {
                tracing::error!(code = DIFFERS.code, hub = hub.name, class = %drift.class, subject = drift.subject, expected = drift.expected, actual = drift.actual, "a hub's contract disagrees");
            }
        }
        for judged in &found.judged {
            txn.judge_hub_bound(
                &judged.bound,
                judged.backing,
                judged.verdict.is_ok(),
                cursor.finalized.number,
            )
            .await?;
            if let Err(error) = &judged.verdict {
                let code = error.code().code;
                if txn.refuse_checkpoint(judged.checkpoint.id, code).await? {
                    tracing::error!(code, hub = hub.name, eon = %judged.checkpoint.eon, token = %judged.bound.token, %error, "checkpoint refused");
                }
            }
        }
        let agrees = found.agrees();
        let old = found.base.map(|(block, _)| block);
        match &found.followed {
            Some(followed) if agrees => {
                for (checkpoint, basis) in &followed.bases {
                    txn.set_checkpoint_basis(*checkpoint, *basis).await?;
                }
                txn.set_hub_base(hub.id, old, cursor.finalized.number, &found.slots)
                    .await?;
            }
            // The start: from the chain, not from zero.
            None if found.base.is_none() => {
                txn.set_hub_base(hub.id, None, cursor.finalized.number, &found.slots)
                    .await?;
            }
            _ => {}
        }
        txn.commit().await?;
        Ok(agrees)
    }

    /// Reads the blocks in question again and makes our rows what the chain says.
    async fn repair(&self, now_ms: i64, hub: &Hub, cursor: &Cursor, found: &Found) -> Result<Restored, HubError> {
        let suspect = found.checks.iter().filter(|check| !check.agrees());
        let from = suspect.map(|check| check.from).min().unwrap_or(hub.genesis);
        let from = from.max(hub.genesis).max(hub.start_block);
        let to = cursor.finalized;
        if from > to.number {
            return Ok(Restored::default());
        }
        let reread = |source| HubError::Reread {
            hub: hub.name.clone(),
            source,
        };
        let logs = hub_logs::read_final(self.chain.as_ref(), hub, from, to)
            .await
            .map_err(reread)?;
        let mut txn = self.store.begin(now_ms).await?;
        txn.expect_final(hub.chain, &cursor.finalized).await?;
        let restored = txn.restore_hub_logs(hub.id, &logs.logs, (from, to.number)).await?;
        txn.finalize_hub_logs(hub.chain, to.number).await?;
        txn.commit().await?;
        if restored != Restored::default() {
            tracing::warn!(
                hub = hub.name,
                from,
                to = to.number,
                missing = restored.missing,
                phantom = restored.phantom,
                "a hub's logs were put right"
            );
        }
        Ok(restored)
    }

    /// The chain changed under a look at a hub, which is nothing unless it happens again and again.
    async fn note_race(&self, now_ms: i64, hub: &Hub, error: &StoreError) -> Result<(), HubError> {
        self.note(hub.id, |looked| looked.races = looked.races.saturating_add(1));
        let races = self.looked(hub.id).races;
        if races < RACES_MAX {
            return Ok(());
        }
        tracing::warn!(hub = hub.name, races, checked = hub.checked_block, %error, "the chain overtakes every comparison of a hub");
        let check = overtaken(hub, "overtaken");
        let mut txn = self.store.begin(now_ms).await?;
        let drift = Drift {
            class: check.class,
            chain: hub.chain,
            subject: check.subject,
            expected: check.expected,
            actual: check.actual,
        };
        txn.report_drift(&drift).await?;
        txn.commit().await?;
        Ok(())
    }

    /// Nothing explains the difference: it stays on record, and what follows is judged from the contract's own accumulator on.
    async fn start_anew(&self, now_ms: i64, hub: &Hub, cursor: &Cursor, found: &Found) -> Result<(), HubError> {
        let Some((base, _)) = found.base else {
            return Ok(());
        };
        let mut txn = self.store.begin(now_ms).await?;
        txn.expect_final(hub.chain, &cursor.finalized).await?;
        txn.set_hub_base(hub.id, Some(base), cursor.finalized.number, &found.slots)
            .await?;
        txn.commit().await?;
        tracing::error!(
            code = DIFFERS.code,
            hub = hub.name,
            from = base,
            to = cursor.finalized.number,
            "a hub's accumulator cannot be explained; it is followed from the contract's own again"
        );
        Ok(())
    }
}

/// What one comparison found.
#[derive(Debug, Default)]
struct Found {
    /// Where the accumulator was followed from.
    base: Option<(u64, [B256; 5])>,
    /// The contract's.
    slots: [B256; 5],
    followed: Option<Followed>,
    checks: Vec<Check>,
    /// All but the accumulator, which changes without an event when a request is slashed.
    others_agree: bool,
    judged: Vec<Judged>,
    /// Why promises could not be judged.
    unjudged: Option<HubError>,
}

impl Found {
    fn agrees(&self) -> bool {
        self.checks.iter().all(Check::agrees)
    }
}

fn overtaken(hub: &Hub, actual: &str) -> Check {
    Check {
        class: DriftClass::Stale,
        subject: format!("hub {} comparisons", hub.name),
        expected: "in step".into(),
        actual: actual.into(),
        from: hub.genesis,
    }
}

async fn standing(contract: &Contract<'_>) -> Result<Standing, HubError> {
    Ok(Standing {
        eon: contract.eon()?,
        missed: contract.has_missed_checkpoint().await?,
        challenged: contract.is_challenged().await?,
    })
}

fn alert(hub: &Hub, halt: Option<Halt>) {
    match halt {
        Some(halt) => {
            let code = match halt.reason {
                HaltReason::MissedCheckpoint => MISSED.code,
                HaltReason::LiveChallenge => CHALLENGED.code,
            };
            tracing::error!(code, hub = hub.name, reason = %halt.reason, eon = %halt.eon, is_final = halt.is_final, "hub is halted");
        }
        None => tracing::warn!(hub = hub.name, "hub goes on"),
    }
}

fn show(hub: &Hub) {
    let halted = if hub.halted.is_some() { 1.0 } else { 0.0 };
    gauge!(names::HUB_HALTED_COUNT, "hub" => hub.name.clone()).set(halted);
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    gauge!(names::HUB_LAST_EON, "hub" => hub.name.clone()).set(hub.last_eon.0 as f64);
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    gauge!(names::HUB_READ_NUMBER, "hub" => hub.name.clone()).set(hub.read_to as f64);
}

#[async_trait]
impl Stage for HubObserver {
    fn name(&self) -> String {
        format!("hubs:{}", self.params.chain)
    }

    async fn step(&self, now_ms: i64, _limit: usize) -> Result<Outcome, Box<dyn Coded>> {
        let Some(cursor) = self.store.get_cursor(self.params.chain).await.map_err(HubError::from)? else {
            return Ok(Outcome::default());
        };
        let mut outcome = Outcome::default();
        let mut failed = None;
        for hub in self.store.list_hubs().await.map_err(HubError::from)? {
            if hub.chain != self.params.chain || !self.params.hubs.contains(&hub.contract) {
                continue;
            }
            // One hub that fails holds no other up.
            match self.look(now_ms, &hub, &cursor).await {
                Ok(changed) => outcome.processed = outcome.processed.saturating_add(changed),
                // The chain moved on while it looked; the next step looks anew.
                Err(HubError::Store(error)) if error.is_race() => {
                    if let Err(error) = self.note_race(now_ms, &hub, &error).await {
                        failed = Some(error);
                    }
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(outcome),
        }
    }
}
