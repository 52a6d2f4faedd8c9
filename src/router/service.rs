//! One step: claim sealed messages, see what each still needs, ask the lanes, plan a dispatch.

use super::abandon::{Patience, Verdict, abandon};
use super::ask::QuoteKey;
use super::cap::CapRule;
use super::choose::{Answer, Offer};
use super::cover::{Carriage, Need, need};
use super::error::RouterError;
use super::plan::drop_unsent;
use super::standing::{BridgeLimits, HistoryRule, Standing, Standings, key};
use crate::chain::Chain;
use crate::error::Coded;
use crate::settlement::policy::RoutePolicy;
use crate::settlement::price::PriceSource;
use crate::settlement::states::{DispatchSource, DispatchTarget, MessageState};
use crate::stage::{Outcome, Stage, retry_at};
use crate::store::{Claim, Dispatch, LaneKey, Message, NewEvent, Store, StoreError};
use async_trait::async_trait;
use futures::future::join_all;
use relayer_adapter_api::{BridgeAdapter, BridgeId, ChainId, Family, Kind, Lane, Quote};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Messages quoted at the same time.
const CONCURRENT: usize = 8;
/// Messages claimed in one step: what can be planned before the lease runs out.
const MESSAGES_MAX: usize = 64;

/// Configuration of the router.
#[derive(Debug, Clone)]
pub struct RouterParams {
    /// Name of this worker in leases.
    pub owner: String,
    pub lease_ms: i64,
    pub policy: RoutePolicy,
    /// Bridges in preferred order; the others come after them.
    pub order: Vec<BridgeId>,
    /// A lane that does not quote in time is passed over.
    pub quote_timeout: Duration,
    /// What each bridge may cost and carry; nothing goes over one that is absent.
    pub limits: BTreeMap<BridgeId, BridgeLimits>,
    /// Caps of the bridge fee relative to what the settlements pay and move.
    pub cap_rule: CapRule,
    pub prices: Arc<dyn PriceSource>,
    pub history: HistoryRule,
    /// Dispatches one message may have.
    pub dispatches_max: usize,
    pub patience: Patience,
    /// Bounds of the wait before a message without a lane is looked at again.
    pub retry_min_ms: i64,
    pub retry_max_ms: i64,
    /// How often a message on its way is looked at in any case; stalls wake the router at once.
    pub recheck_ms: i64,
    /// How long the quote of a lane stands for further messages: they are all of one size, so it prices the lane, not the message.
    pub quote_ms: i64,
}

/// See the module's page.
pub struct Router {
    pub(super) store: Store,
    pub(super) adapters: Vec<Arc<dyn BridgeAdapter>>,
    pub(super) chains: BTreeMap<ChainId, Arc<dyn Chain>>,
    pub(super) params: RouterParams,
    /// Newest quote of each lane and when it was given.
    pub(super) quotes: Mutex<BTreeMap<QuoteKey, (Quote, i64)>>,
    /// When the gauges are set next, Unix ms.
    pub(super) next_show: AtomicI64,
    /// Breakers as they were reported last, so that each change is reported once.
    pub(super) reported: Mutex<BTreeMap<LaneKey, &'static str>>,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router")
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Stage for Router {
    fn name(&self) -> String {
        "router".into()
    }

    async fn step(&self, now_ms: i64, limit: usize) -> Result<Outcome, Box<dyn Coded>> {
        let params = &self.params;
        let limit = limit.min(MESSAGES_MAX);
        let states = [MessageState::Sealed];
        let claims = self
            .store
            .claim_messages(&states, &params.owner, now_ms, limit, params.lease_ms)
            .await
            .map_err(RouterError::Store)?;
        if claims.is_empty() {
            self.show_now_and_then(now_ms).await?;
            return Ok(Outcome::default());
        }
        let pairs = claims
            .iter()
            .map(|claim| (claim.row.header.source, claim.row.header.target));
        let standings = self.standings(pairs.collect(), now_ms).await?;
        for chunk in claims.chunks(CONCURRENT) {
            let routed = chunk.iter().map(|claim| self.route_or_defer(claim, &standings, now_ms));
            for result in join_all(routed).await {
                result?;
            }
        }
        Ok(Outcome::new(claims.len(), limit))
    }
}

impl Router {
    pub fn new(
        store: Store,
        adapters: Vec<Arc<dyn BridgeAdapter>>,
        chains: BTreeMap<ChainId, Arc<dyn Chain>>,
        params: RouterParams,
    ) -> Self {
        Self {
            store,
            adapters,
            chains,
            params,
            quotes: Mutex::default(),
            next_show: AtomicI64::new(0),
            reported: Mutex::default(),
        }
    }

    /// How the lanes between these chains stand now.
    pub(super) async fn standings(
        &self,
        pairs: BTreeSet<(ChainId, ChainId)>,
        now_ms: i64,
    ) -> Result<Standings, RouterError> {
        let lanes = pairs.iter().flat_map(|(from, to)| self.lanes(*from, *to));
        let lanes = lanes.map(|(_, lane)| (key(&lane), self.limits(&lane.bridge)));
        let standings = Standings::read(&self.store, lanes, self.params.history, now_ms).await?;
        self.report(&standings);
        Ok(standings)
    }

    pub(super) fn limits(&self, bridge: &BridgeId) -> BridgeLimits {
        self.params.limits.get(bridge).cloned().unwrap_or_default()
    }

    async fn route_or_defer(
        &self,
        claim: &Claim<Message>,
        standings: &Standings,
        now_ms: i64,
    ) -> Result<(), RouterError> {
        match self.route(claim, standings, now_ms).await {
            Ok(()) => Ok(()),
            // Somebody else moved the message on; the lease runs out by itself if it is still ours.
            Err(RouterError::Store(StoreError::Conflict { what })) => {
                tracing::debug!(message = %claim.row.id, what, "routing lost a race");
                Ok(())
            }
            Err(RouterError::Store(error)) => Err(error.into()),
            Err(error) => {
                tracing::warn!(message = %claim.row.id, code = error.code().code, %error, "message cannot be routed yet");
                self.wait(claim, now_ms, &error.to_string(), None).await
            }
        }
    }

    async fn route(&self, claim: &Claim<Message>, standings: &Standings, now_ms: i64) -> Result<(), RouterError> {
        let message = &claim.row;
        let lanes = self.lanes(message.header.source, message.header.target);
        let dispatches = self.store.list_dispatches(message.id).await?;
        if message.header.kind == Kind::SettlementBatch {
            if self.store.is_foreign(message.id).await? {
                // Nobody here could pay it out. Whoever submits one of its settlements again wakes it.
                let again = now_ms.saturating_add(self.params.recheck_ms.max(self.params.retry_max_ms));
                return self.release(claim, now_ms, again).await;
            }
            if !dispatches.iter().any(Dispatch::has_left) && self.store.has_forsaken_member(message.id).await? {
                let reason = "a member relies on a hub that does not stand any more";
                return self.abandon(claim, &dispatches, reason, now_ms).await;
            }
        }
        let carriages: Vec<Carriage> = dispatches
            .iter()
            .map(|dispatch| carriage(dispatch, &lanes, standings))
            .collect();
        let is_open = |lane: &Lane| standings.of(lane).is_none_or(|standing| standing.shut().is_none());
        let open_lanes = lanes.iter().map(|(_, lane)| lane).filter(|lane| is_open(lane));
        let on_offer: Vec<(BridgeId, Family)> = open_lanes.map(|lane| (lane.bridge.clone(), lane.family)).collect();
        let families = usize::from(message.tier);
        match need(families, &carriages, &on_offer, self.params.dispatches_max) {
            Need::Nothing => {
                self.release(claim, now_ms, now_ms.saturating_add(self.params.recheck_ms))
                    .await
            }
            Need::OneOf(open) => {
                let committed = dispatches.iter().any(Dispatch::is_included);
                let asked = self.asked(message, now_ms).await?;
                let offers = self
                    .offers(message, &lanes, &open, &carriages, standings, committed, asked)
                    .await?;
                self.plan(claim, offers, &dispatches, standings, asked).await
            }
            Need::Exhausted { stalled_since } => {
                let free = |lane: &Lane| is_open(lane) && standings.of(lane).is_none_or(|standing| !standing.stalled);
                let at_hand = lanes.iter().any(|(_, lane)| free(lane));
                let shut = lanes.iter().filter_map(|(_, lane)| {
                    let reason = shut_and_unused(lane, &carriages, standings)?;
                    Some(self.offer(lane, standings, Answer::Shut { reason }))
                });
                let shut: Vec<Offer> = shut.collect();
                self.give_up_or_wait(claim, &dispatches, stalled_since, at_hand, shut, now_ms)
                    .await
            }
        }
    }

    async fn give_up_or_wait(
        &self,
        claim: &Claim<Message>,
        dispatches: &[Dispatch],
        stalled_since: Option<i64>,
        lane_at_hand: bool,
        shut: Vec<Offer>,
        now_ms: i64,
    ) -> Result<(), RouterError> {
        let Some(since) = stalled_since else {
            let why = if shut.is_empty() {
                "no lane of a further bridge family"
            } else {
                "no open lane of a further bridge family"
            };
            let decision = (!shut.is_empty()).then(|| json!({ "lanes": shut }));
            return self.wait(claim, now_ms, why, decision).await;
        };
        if claim.row.header.kind == Kind::Checkpoint {
            // There is nothing to batch again: what is under way may still arrive, and whoever sealed it gives it up when it is too old.
            let again = now_ms.saturating_add(self.params.recheck_ms);
            return self.release(claim, now_ms, again).await;
        }
        match abandon(now_ms, since, lane_at_hand, self.params.patience) {
            Verdict::KeepUntil(at) => self.release(claim, now_ms, at).await,
            Verdict::Abandon => {
                let reason = format!("overdue over {} lane(s)", dispatches.len());
                self.abandon(claim, dispatches, &reason, now_ms).await
            }
        }
    }

    /// What was never sent is dropped, the message ends, its open settlements are batched again now.
    async fn abandon(
        &self,
        claim: &Claim<Message>,
        dispatches: &[Dispatch],
        reason: &str,
        now_ms: i64,
    ) -> Result<(), RouterError> {
        let id = claim.row.id;
        let mut txn = self.store.begin(now_ms).await?;
        let unsent = dispatches.iter().filter(|d| d.source_state == DispatchSource::Planned);
        drop_unsent(&mut txn, unsent, "message abandoned").await?;
        let requeued = txn
            .abandon_message(id, reason, now_ms, Some(claim.token), "router")
            .await?;
        txn.commit().await?;
        tracing::warn!(message = %id, requeued = requeued.len(), reason, "message abandoned, its settlements are batched again");
        Ok(())
    }

    /// Looks again later and says why.
    pub(super) async fn wait(
        &self,
        claim: &Claim<Message>,
        now_ms: i64,
        why: &str,
        decision: Option<serde_json::Value>,
    ) -> Result<(), RouterError> {
        let params = &self.params;
        let again = retry_at(now_ms, claim.row.created_at, params.retry_min_ms, params.retry_max_ms);
        let mut txn = self.store.begin(now_ms).await?;
        txn.release_claim(claim, again).await?;
        txn.record(NewEvent {
            aggregate: "message",
            aggregate_id: claim.row.id.to_string(),
            event: "wait".into(),
            cause: "router".into(),
            detail: Some(json!({ "why": why, "until_ms": again, "decision": decision }).to_string()),
            ..NewEvent::default()
        });
        txn.commit().await?;
        Ok(())
    }

    async fn release(&self, claim: &Claim<Message>, now_ms: i64, next_at: i64) -> Result<(), RouterError> {
        let mut txn = self.store.begin(now_ms).await?;
        txn.release_claim(claim, next_at).await?;
        txn.commit().await?;
        Ok(())
    }
}

fn carriage(dispatch: &Dispatch, lanes: &[(Arc<dyn BridgeAdapter>, Lane)], standings: &Standings) -> Carriage {
    let lane = lanes.iter().find(|(_, lane)| lane.bridge == dispatch.bridge);
    // What was planned over a lane that is paused or blocked is not sent, so it does not count as on its way.
    let unsent = dispatch.source_state == DispatchSource::Planned;
    let held_since = standings.held_since(&lane_of(dispatch)).filter(|_| unsent);
    Carriage {
        bridge: dispatch.bridge.clone(),
        // Nobody follows a dispatch over a bridge that is no longer configured, so it does not count as on its way.
        family: lane.map_or(Family(0), |(_, lane)| lane.family),
        dropped: dispatch.source_state == DispatchSource::Dropped || lane.is_none(),
        stalled_at: dispatch.stalled_at.or(held_since),
        received: dispatch.target_state == DispatchTarget::Received,
    }
}

pub(super) fn lane_of(dispatch: &Dispatch) -> LaneKey {
    LaneKey {
        source: dispatch.source,
        target: dispatch.target,
        bridge: dispatch.bridge.clone(),
    }
}

/// Why a lane this message has not used may not be used.
pub(super) fn shut_and_unused(lane: &Lane, carriages: &[Carriage], standings: &Standings) -> Option<String> {
    let used = carriages.iter().any(|carriage| carriage.bridge == lane.bridge);
    standings.of(lane).and_then(Standing::shut).filter(|_| !used)
}
