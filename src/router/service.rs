//! One step: claim sealed messages, see what each still needs, ask the lanes, plan a dispatch.

use super::abandon::{Patience, Verdict, abandon};
use super::cap::{Cap, CapRule, fee_cap};
use super::choose::{Answer, Choice, Offer, Score, choose};
use super::cover::{Carriage, Need, need};
use super::error::RouterError;
use super::standing::{BridgeLimits, HistoryRule, Standing, Standings, key};
use crate::chain::Chain;
use crate::error::Coded;
use crate::settlement::policy::RoutePolicy;
use crate::settlement::price::{Coin, PriceSource, Worth, worth};
use crate::settlement::states::{DispatchSource, DispatchSourceEvent, DispatchTarget, MessageState};
use crate::stage::{Outcome, Stage, retry_at};
use crate::store::{
    Claim, Dispatch, DispatchChange, DispatchPatch, InsertLimits, Insertion, LaneKey, Message, NewDispatch, NewEvent,
    Store, StoreError, Txn,
};
use alloy::primitives::{Address, B256};
use async_trait::async_trait;
use futures::future::join_all;
use relayer_adapter_api::{
    AdapterError, BridgeAdapter, BridgeId, ChainId, ChainView, Family, Header, Kind, Lane, Quote, SealedMessage,
    SettlementId,
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Messages quoted at the same time.
const CONCURRENT: usize = 8;
/// Messages claimed in one step: what can be planned before the lease runs out.
const MESSAGES_MAX: usize = 64;
/// Time between two looks at the lanes for the gauges when there is nothing to route.
const SHOW_MS: i64 = 10_000;

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

/// A lane as its quotes are kept: bridge, both chains, outbox and inbox.
type QuoteKey = (BridgeId, ChainId, ChainId, Address, Address);

/// A message that does not exist yet, to be priced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hypothetical {
    pub source: ChainId,
    pub target: ChainId,
    pub outbox: Address,
    pub inbox: Address,
    /// Settlements in it.
    pub count: u32,
}

/// See the module's page.
pub struct Router {
    store: Store,
    adapters: Vec<Arc<dyn BridgeAdapter>>,
    chains: BTreeMap<ChainId, Arc<dyn Chain>>,
    params: RouterParams,
    /// Newest quote of each lane and when it was given.
    quotes: Mutex<BTreeMap<QuoteKey, (Quote, i64)>>,
    /// When the gauges are set next, Unix ms.
    next_show: AtomicI64,
    /// Breakers as they were reported last, so that each change is reported once.
    reported: Mutex<BTreeMap<LaneKey, &'static str>>,
}

/// What the answers about one message rest on, beside the lanes themselves.
#[derive(Debug, Clone, Copy)]
struct Asked {
    worth: Option<Worth>,
    /// No cap relative to a message that does not exist.
    rule: CapRule,
    now_ms: i64,
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

    /// What every lane would ask for a message of this shape, in the order the policy would take them.
    pub async fn quote(&self, wanted: &Hypothetical, now_ms: i64) -> Result<Vec<Offer>, RouterError> {
        let message = SealedMessage {
            header: Header {
                kind: Kind::SettlementBatch,
                source: wanted.source,
                target: wanted.target,
                outbox: wanted.outbox,
                inbox: wanted.inbox,
                sequence: 0,
                root: B256::ZERO,
                count: wanted.count,
                fee_recipient: Address::ZERO,
            },
            ids: vec![SettlementId(B256::ZERO); wanted.count as usize],
            committed: false,
        };
        let standings = self.standings([(wanted.source, wanted.target)].into(), now_ms).await?;
        let lanes = self.lanes(wanted.source, wanted.target);
        let view = self.view(wanted.source).await?;
        let asked = Asked {
            worth: None,
            rule: CapRule::default(),
            // A question of its own, never answered from memory.
            now_ms: i64::MIN,
        };
        let mut offers = join_all(lanes.iter().map(|(adapter, lane)| async {
            let answer = self.ask(adapter.as_ref(), lane, view.as_ref(), &message, asked).await;
            self.offer(lane, &standings, answer)
        }))
        .await;
        if let Some(choice) = choose(self.params.policy, &self.params.order, &offers) {
            offers[..=choice.index].rotate_right(1);
        }
        Ok(offers)
    }

    fn lanes(&self, from: ChainId, to: ChainId) -> Vec<(Arc<dyn BridgeAdapter>, Lane)> {
        let lane = |adapter: &Arc<dyn BridgeAdapter>| Some((adapter.clone(), adapter.lane(from, to)?));
        self.adapters.iter().filter_map(lane).collect()
    }

    /// The source chain at the newest block the observer has read: quoting adds no call of its own for the head.
    async fn view(&self, chain: ChainId) -> Result<Arc<dyn ChainView>, RouterError> {
        let handle = self.chains.get(&chain).ok_or(RouterError::UnknownChain(chain))?;
        let cursor = self.store.get_cursor(chain).await?.ok_or(RouterError::NotRead(chain))?;
        Ok(handle.view(cursor.seen))
    }

    /// How the lanes between these chains stand now.
    async fn standings(&self, pairs: BTreeSet<(ChainId, ChainId)>, now_ms: i64) -> Result<Standings, RouterError> {
        let lanes = pairs.iter().flat_map(|(from, to)| self.lanes(*from, *to));
        let lanes = lanes.map(|(_, lane)| (key(&lane), self.limits(&lane.bridge)));
        let standings = Standings::read(&self.store, lanes, self.params.history, now_ms).await?;
        self.report(&standings);
        Ok(standings)
    }

    /// With nothing to route, the gauges are still set now and then.
    async fn show_now_and_then(&self, now_ms: i64) -> Result<(), RouterError> {
        if now_ms < self.next_show.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.next_show.store(now_ms.saturating_add(SHOW_MS), Ordering::Relaxed);
        let chains: Vec<ChainId> = self.chains.keys().copied().collect();
        let pairs = chains.iter().flat_map(|from| chains.iter().map(|to| (*from, *to)));
        self.standings(pairs.filter(|(from, to)| from != to).collect(), now_ms)
            .await?;
        Ok(())
    }

    fn report(&self, standings: &Standings) {
        standings.show();
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        for (lane, standing) in standings.iter() {
            let name = standing.breaker.name();
            let before = reported.insert(lane.clone(), name).unwrap_or("closed");
            if before == name {
                continue;
            }
            if name == "closed" {
                tracing::info!(%lane, "circuit breaker closed: the lane carries messages again");
            } else {
                tracing::warn!(%lane, breaker = name, health = ?standing.health, "circuit breaker: dispatches of the lane are overdue");
            }
        }
    }

    fn limits(&self, bridge: &BridgeId) -> BridgeLimits {
        self.params.limits.get(bridge).cloned().unwrap_or_default()
    }

    /// What the settlements of a message move, in the unit; read only where a cap needs it.
    async fn worth(&self, message: &Message) -> Result<Option<Worth>, RouterError> {
        let needed = self.params.cap_rule.is_relative() || self.params.limits.values().any(BridgeLimits::caps_value);
        if !needed {
            return Ok(None);
        }
        let sums = self.store.message_sums(message.id).await?;
        Ok(worth(self.params.prices.as_ref(), message.header.target, &sums))
    }

    fn offer(&self, lane: &Lane, standings: &Standings, answer: Answer) -> Offer {
        let standing = standings.of(lane);
        let native = self.params.prices.price(Coin::Native(lane.source));
        let fee = match &answer {
            Answer::Quoted { fee, .. } | Answer::OverCap { fee, .. } => Some(*fee),
            _ => None,
        };
        let score = standing.map(Standing::score).unwrap_or_default();
        Offer {
            bridge: lane.bridge.clone(),
            family: lane.family,
            lane_stalled: standing.is_some_and(|standing| standing.stalled),
            // An operator's word or the breaker's stands, whatever the bridge would ask.
            answer: match standing.and_then(Standing::shut) {
                Some(reason) if !matches!(answer, Answer::Used | Answer::FamilyCovered) => Answer::Shut { reason },
                _ => answer,
            },
            score: Score {
                fee_value: native.zip(fee).and_then(|(price, fee)| price.value_up(fee)),
                ..score
            },
        }
    }

    fn quotes(&self) -> std::sync::MutexGuard<'_, BTreeMap<QuoteKey, (Quote, i64)>> {
        self.quotes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lane's last quote while it stands, else a new one.
    async fn quote_of(
        &self,
        adapter: &dyn BridgeAdapter,
        view: &dyn ChainView,
        message: &SealedMessage,
        now_ms: i64,
    ) -> Result<Quote, AdapterError> {
        let header = &message.header;
        let key = (adapter.id(), header.source, header.target, header.outbox, header.inbox);
        let kept = self.quotes().get(&key).cloned();
        if let Some((quote, at)) = kept
            && (0..self.params.quote_ms).contains(&now_ms.saturating_sub(at))
        {
            return Ok(quote);
        }
        let quote = adapter.quote(view, message).await?;
        self.quotes().insert(key, (quote.clone(), now_ms));
        Ok(quote)
    }

    async fn ask(
        &self,
        adapter: &dyn BridgeAdapter,
        lane: &Lane,
        view: &dyn ChainView,
        message: &SealedMessage,
        asked: Asked,
    ) -> Answer {
        let refused = |reason: String| Answer::Refused { reason };
        let asking = self.quote_of(adapter, view, message, asked.now_ms);
        let quote = match tokio::time::timeout(self.params.quote_timeout, asking).await {
            Ok(Ok(quote)) => quote,
            Ok(Err(error)) => return refused(error.to_string()),
            Err(_) => return refused(format!("no quote within {:?}", self.params.quote_timeout)),
        };
        let native = self.params.prices.price(Coin::Native(lane.source));
        let absolute = self.limits(&lane.bridge).fee_cap(lane.source);
        let Some(Cap { wei: cap, by }) = fee_cap(absolute, asked.rule, asked.worth, native) else {
            return refused("its fee cap is relative, and a price is missing".to_owned());
        };
        let fee = quote.native_fee;
        if fee > cap {
            return Answer::OverCap { fee, cap, by };
        }
        match u64::try_from(quote.gas_limit) {
            Ok(gas_limit) => Answer::Quoted {
                fee,
                cap,
                gas_limit,
                expected_s: quote.expected.as_secs(),
            },
            Err(_) => refused(format!("gas limit {} is absurd", quote.gas_limit)),
        }
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
                let asked = Asked {
                    worth: self.worth(message).await?,
                    rule: self.params.cap_rule,
                    now_ms,
                };
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

    /// Every lane with its answer; only lanes in `open` are asked.
    #[expect(clippy::too_many_arguments, reason = "everything a decision rests on, named once")]
    async fn offers(
        &self,
        message: &Message,
        lanes: &[(Arc<dyn BridgeAdapter>, Lane)],
        open: &[BridgeId],
        carriages: &[Carriage],
        standings: &Standings,
        committed: bool,
        asked: Asked,
    ) -> Result<Vec<Offer>, RouterError> {
        let sealed = self.store.get_sealed_message(message.id, committed).await?;
        let view = self.view(message.header.source).await?;
        let offers = lanes.iter().map(|(adapter, lane)| async {
            let answer = if open.contains(&lane.bridge) {
                self.ask(adapter.as_ref(), lane, view.as_ref(), &sealed, asked).await
            } else if let Some(reason) = shut_and_unused(lane, carriages, standings) {
                Answer::Shut { reason }
            } else if carriages.iter().any(|carriage| carriage.bridge == lane.bridge) {
                Answer::Used
            } else {
                Answer::FamilyCovered
            };
            self.offer(lane, standings, answer)
        });
        Ok(join_all(offers).await)
    }

    /// Inserts a dispatch over the best lane; one that turns out to be full, or on probation with a probe under way, is passed over.
    async fn plan(
        &self,
        claim: &Claim<Message>,
        mut offers: Vec<Offer>,
        dispatches: &[Dispatch],
        standings: &Standings,
        asked: Asked,
    ) -> Result<(), RouterError> {
        let now_ms = asked.now_ms;
        while let Some(choice) = choose(self.params.policy, &self.params.order, &offers) {
            let mut txn = self.store.begin(now_ms).await?;
            match self
                .insert(&mut txn, &claim.row, &choice, &offers, standings, asked)
                .await?
            {
                Ok(()) => {
                    return self
                        .planned(txn, claim, (&offers[choice.index], &choice.why), dispatches, standings)
                        .await;
                }
                // Ends the transaction without a trace; each turn leaves one quoted lane less.
                Err(answer) => offers[choice.index].answer = answer,
            }
        }
        let decision = json!({ "policy": self.params.policy.name(), "lanes": offers });
        self.wait(claim, now_ms, "no lane quoted within its caps", Some(decision))
            .await
    }

    /// The inner error is the answer that takes the lane out of the choice.
    async fn insert(
        &self,
        txn: &mut Txn,
        message: &Message,
        choice: &Choice,
        offers: &[Offer],
        standings: &Standings,
        asked: Asked,
    ) -> Result<Result<(), Answer>, RouterError> {
        let winner = &offers[choice.index];
        let Answer::Quoted {
            fee, cap, gas_limit, ..
        } = winner.answer
        else {
            // `choose` returns quoted offers only.
            return Ok(Err(Answer::Used));
        };
        let stake = asked.worth.map(|worth| worth.at_stake);
        let decision = json!({
            "at_ms": asked.now_ms,
            "policy": self.params.policy.name(),
            "chosen": winner.bridge,
            "why": choice.why,
            "unit": self.params.prices.unit(),
            "value_at_stake": stake.map(|value| value.to_string()),
            "lanes": offers,
        });
        let header = &message.header;
        let lane = LaneKey {
            source: header.source,
            target: header.target,
            bridge: winner.bridge.clone(),
        };
        let bridge = self.limits(&winner.bridge);
        let limits = InsertLimits {
            value: stake,
            lane_cap: bridge.lane_value,
            bridge_cap: bridge.bridge_value,
            probe_since: standings.probe_since(&lane),
        };
        let new = NewDispatch {
            message: message.id,
            bridge: lane.bridge,
            source: header.source,
            target: header.target,
            decision: decision.to_string(),
            fee_quoted: fee,
            fee_cap: cap,
            gas_limit,
        };
        Ok(match txn.dispatch_insert_within(new, limits, "router").await? {
            Insertion::Done(_) => Ok(()),
            Insertion::OverValue {
                in_flight,
                cap,
                whole_bridge,
            } => Err(Answer::OverValue {
                in_flight,
                value: stake.unwrap_or_default(),
                cap,
                whole_bridge,
            }),
            Insertion::Probing => Err(Answer::Shut {
                reason: "its circuit breaker waits for a probe under way".to_owned(),
            }),
            Insertion::UnknownValue => Err(Answer::Refused {
                reason: "its value in flight is capped, and a price is or was missing".to_owned(),
            }),
        })
    }

    /// Everything else that goes with a new dispatch, and the commit.
    async fn planned(
        &self,
        mut txn: Txn,
        claim: &Claim<Message>,
        (winner, why): (&Offer, &str),
        dispatches: &[Dispatch],
        standings: &Standings,
    ) -> Result<(), RouterError> {
        let message = &claim.row;
        // A stalled dispatch that was never sent would only cost a second fee; neither is one of a paused lane sent by itself any more.
        let is_left = |d: &Dispatch| d.stalled_at.is_some() || standings.paused_at(&lane_of(d)).is_some();
        let unsent = |d: &&Dispatch| d.source_state == DispatchSource::Planned && is_left(d);
        drop_unsent(&mut txn, dispatches.iter().filter(unsent), "another lane was taken").await?;
        // A higher tier needs another family at once.
        let again = if message.tier > 1 { 0 } else { self.params.recheck_ms };
        let now_ms = txn.now_ms;
        txn.release_claim(claim, now_ms.saturating_add(again)).await?;
        txn.commit().await?;
        tracing::info!(message = %message.id, bridge = %winner.bridge, why, "dispatch planned");
        Ok(())
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
        match abandon(now_ms, since, lane_at_hand, self.params.patience) {
            Verdict::KeepUntil(at) => self.release(claim, now_ms, at).await,
            Verdict::Abandon => self.abandon(claim, dispatches, now_ms).await,
        }
    }

    /// What was never sent is dropped, the message ends, its open settlements are batched again now.
    async fn abandon(&self, claim: &Claim<Message>, dispatches: &[Dispatch], now_ms: i64) -> Result<(), RouterError> {
        let id = claim.row.id;
        let mut txn = self.store.begin(now_ms).await?;
        let unsent = dispatches.iter().filter(|d| d.source_state == DispatchSource::Planned);
        drop_unsent(&mut txn, unsent, "message abandoned").await?;
        let reason = format!("overdue over {} lane(s)", dispatches.len());
        let requeued = txn
            .abandon_message(id, &reason, now_ms, Some(claim.token), "router")
            .await?;
        txn.commit().await?;
        tracing::warn!(message = %id, requeued = requeued.len(), reason, "message abandoned, its settlements are batched again");
        Ok(())
    }

    /// Looks again later and says why.
    async fn wait(
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

async fn drop_unsent(txn: &mut Txn, unsent: impl Iterator<Item = &Dispatch>, cause: &str) -> Result<(), StoreError> {
    for dispatch in unsent {
        let change = DispatchChange::Source(DispatchSourceEvent::Drop);
        txn.dispatch_apply(dispatch.id, None, change, DispatchPatch::default(), cause)
            .await?;
    }
    Ok(())
}

fn carriage(dispatch: &Dispatch, lanes: &[(Arc<dyn BridgeAdapter>, Lane)], standings: &Standings) -> Carriage {
    let lane = lanes.iter().find(|(_, lane)| lane.bridge == dispatch.bridge);
    // What was planned over a paused lane is not sent, so it does not count as on its way.
    let unsent = dispatch.source_state == DispatchSource::Planned;
    let paused_at = standings.paused_at(&lane_of(dispatch)).filter(|_| unsent);
    Carriage {
        bridge: dispatch.bridge.clone(),
        // Nobody follows a dispatch over a bridge that is no longer configured, so it does not count as on its way.
        family: lane.map_or(Family(0), |(_, lane)| lane.family),
        dropped: dispatch.source_state == DispatchSource::Dropped || lane.is_none(),
        stalled_at: dispatch.stalled_at.or(paused_at),
        received: dispatch.target_state == DispatchTarget::Received,
    }
}

fn lane_of(dispatch: &Dispatch) -> LaneKey {
    LaneKey {
        source: dispatch.source,
        target: dispatch.target,
        bridge: dispatch.bridge.clone(),
    }
}

/// Why a lane this message has not used may not be used.
fn shut_and_unused(lane: &Lane, carriages: &[Carriage], standings: &Standings) -> Option<String> {
    let used = carriages.iter().any(|carriage| carriage.bridge == lane.bridge);
    standings.of(lane).and_then(Standing::shut).filter(|_| !used)
}
