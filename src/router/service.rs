//! One step: claim sealed messages, see what each still needs, ask the lanes, plan a dispatch.

use super::abandon::{Patience, Verdict, abandon};
use super::choose::{Answer, Offer, Policy, choose};
use super::cover::{Carriage, Need, need};
use super::error::RouterError;
use crate::chain::Chain;
use crate::error::Coded;
use crate::settlement::states::{DispatchSource, DispatchSourceEvent, DispatchTarget, MessageState};
use crate::stage::{Outcome, Stage, retry_at};
use crate::store::{
    Claim, Dispatch, DispatchChange, DispatchPatch, LaneKey, Message, NewDispatch, NewEvent, Store, StoreError, Txn,
};
use alloy::primitives::{Address, B256, U256};
use async_trait::async_trait;
use futures::future::join_all;
use relayer_adapter_api::{
    AdapterError, BridgeAdapter, BridgeId, ChainId, ChainView, Family, Header, Kind, Lane, Quote, SealedMessage,
    SettlementId,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
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
    pub policy: Policy,
    /// A lane that does not quote in time is passed over.
    pub quote_timeout: Duration,
    /// Wei a dispatch may cost, per source chain; chains that are absent have the default.
    pub fee_caps: BTreeMap<ChainId, U256>,
    pub fee_cap_default: U256,
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
            return Ok(Outcome::default());
        }
        let stalled = self.store.list_stalled_lanes().await.map_err(RouterError::Store)?;
        for chunk in claims.chunks(CONCURRENT) {
            let routed = chunk.iter().map(|claim| self.route_or_defer(claim, &stalled, now_ms));
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
        }
    }

    /// What every lane would ask for a message of this shape, in the order the policy would take them.
    pub async fn quote(&self, wanted: &Hypothetical) -> Result<Vec<Offer>, RouterError> {
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
        let stalled = self.store.list_stalled_lanes().await?;
        let lanes = self.lanes(wanted.source, wanted.target);
        let view = self.view(wanted.source).await?;
        let mut offers = join_all(lanes.iter().map(|(adapter, lane)| async {
            // A question of its own, never answered from memory.
            let answer = self.ask(adapter.as_ref(), view.as_ref(), &message, i64::MIN).await;
            offer(lane, &stalled, answer)
        }))
        .await;
        if let Some(choice) = choose(&self.params.policy, &offers) {
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

    fn fee_cap(&self, source: ChainId) -> U256 {
        let caps = &self.params.fee_caps;
        caps.get(&source).copied().unwrap_or(self.params.fee_cap_default)
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
        view: &dyn ChainView,
        message: &SealedMessage,
        now_ms: i64,
    ) -> Answer {
        let refused = |reason: String| Answer::Refused { reason };
        let asking = self.quote_of(adapter, view, message, now_ms);
        let asked = tokio::time::timeout(self.params.quote_timeout, asking).await;
        let quote = match asked {
            Ok(Ok(quote)) => quote,
            Ok(Err(error)) => return refused(error.to_string()),
            Err(_) => return refused(format!("no quote within {:?}", self.params.quote_timeout)),
        };
        let cap = self.fee_cap(message.header.source);
        if quote.native_fee > cap {
            return Answer::OverCap {
                fee: quote.native_fee,
                cap,
            };
        }
        match u64::try_from(quote.gas_limit) {
            Ok(gas_limit) => Answer::Quoted {
                fee: quote.native_fee,
                gas_limit,
                expected_s: quote.expected.as_secs(),
            },
            Err(_) => refused(format!("gas limit {} is absurd", quote.gas_limit)),
        }
    }

    async fn route_or_defer(
        &self,
        claim: &Claim<Message>,
        stalled: &[LaneKey],
        now_ms: i64,
    ) -> Result<(), RouterError> {
        match self.route(claim, stalled, now_ms).await {
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

    async fn route(&self, claim: &Claim<Message>, stalled: &[LaneKey], now_ms: i64) -> Result<(), RouterError> {
        let message = &claim.row;
        let lanes = self.lanes(message.header.source, message.header.target);
        let dispatches = self.store.list_dispatches(message.id).await?;
        let carriages: Vec<Carriage> = dispatches.iter().map(|dispatch| carriage(dispatch, &lanes)).collect();
        let on_offer: Vec<(BridgeId, Family)> = lanes.iter().map(|(_, l)| (l.bridge.clone(), l.family)).collect();
        let families = usize::from(message.tier);
        match need(families, &carriages, &on_offer, self.params.dispatches_max) {
            Need::Nothing => {
                self.release(claim, now_ms, now_ms.saturating_add(self.params.recheck_ms))
                    .await
            }
            Need::OneOf(open) => {
                let committed = dispatches.iter().any(Dispatch::is_included);
                let offers = self
                    .offers(message, &lanes, &open, &carriages, stalled, committed, now_ms)
                    .await?;
                self.plan(claim, offers, &dispatches, now_ms).await
            }
            Need::Exhausted { stalled_since } => {
                let at_hand = lanes.iter().any(|(_, lane)| !holds_up(lane, stalled));
                self.give_up_or_wait(claim, &dispatches, stalled_since, at_hand, now_ms)
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
        stalled: &[LaneKey],
        committed: bool,
        now_ms: i64,
    ) -> Result<Vec<Offer>, RouterError> {
        let sealed = self.store.get_sealed_message(message.id, committed).await?;
        let view = self.view(message.header.source).await?;
        let offers = lanes.iter().map(|(adapter, lane)| async {
            let answer = if open.contains(&lane.bridge) {
                self.ask(adapter.as_ref(), view.as_ref(), &sealed, now_ms).await
            } else if carriages.iter().any(|carriage| carriage.bridge == lane.bridge) {
                Answer::Used
            } else {
                Answer::FamilyCovered
            };
            offer(lane, stalled, answer)
        });
        Ok(join_all(offers).await)
    }

    async fn plan(
        &self,
        claim: &Claim<Message>,
        offers: Vec<Offer>,
        dispatches: &[Dispatch],
        now_ms: i64,
    ) -> Result<(), RouterError> {
        let message = &claim.row;
        let Some(choice) = choose(&self.params.policy, &offers) else {
            let decision = json!({ "lanes": offers });
            return self
                .wait(claim, now_ms, "no lane quoted within its cap", Some(decision))
                .await;
        };
        let winner = &offers[choice.index];
        let Answer::Quoted { fee, gas_limit, .. } = winner.answer else {
            // `choose` returns quoted offers only.
            return Ok(());
        };
        let decision = json!({
            "at_ms": now_ms,
            "policy": self.params.policy.name(),
            "chosen": winner.bridge,
            "why": choice.why,
            "lanes": offers,
        });
        let mut txn = self.store.begin(now_ms).await?;
        txn.dispatch_insert(
            NewDispatch {
                message: message.id,
                bridge: winner.bridge.clone(),
                source: message.header.source,
                target: message.header.target,
                decision: decision.to_string(),
                fee_quoted: fee,
                fee_cap: self.fee_cap(message.header.source),
                gas_limit,
            },
            "router",
        )
        .await?;
        // A stalled dispatch that was never sent would only cost a second fee.
        let unsent = |d: &&Dispatch| d.source_state == DispatchSource::Planned && d.stalled_at.is_some();
        drop_unsent(&mut txn, dispatches.iter().filter(unsent), "another lane was taken").await?;
        // A higher tier needs another family at once.
        let again = if message.tier > 1 { 0 } else { self.params.recheck_ms };
        txn.release_claim(claim, now_ms.saturating_add(again)).await?;
        txn.commit().await?;
        tracing::info!(message = %message.id, bridge = %winner.bridge, %fee, why = choice.why, "dispatch planned");
        Ok(())
    }

    async fn give_up_or_wait(
        &self,
        claim: &Claim<Message>,
        dispatches: &[Dispatch],
        stalled_since: Option<i64>,
        lane_at_hand: bool,
        now_ms: i64,
    ) -> Result<(), RouterError> {
        let Some(since) = stalled_since else {
            return self
                .wait(claim, now_ms, "no lane of a further bridge family", None)
                .await;
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

fn carriage(dispatch: &Dispatch, lanes: &[(Arc<dyn BridgeAdapter>, Lane)]) -> Carriage {
    let lane = lanes.iter().find(|(_, lane)| lane.bridge == dispatch.bridge);
    Carriage {
        bridge: dispatch.bridge.clone(),
        // Nobody follows a dispatch over a bridge that is no longer configured, so it does not count as on its way.
        family: lane.map_or(Family(0), |(_, lane)| lane.family),
        dropped: dispatch.source_state == DispatchSource::Dropped || lane.is_none(),
        stalled_at: dispatch.stalled_at,
        received: dispatch.target_state == DispatchTarget::Received,
    }
}

fn offer(lane: &Lane, stalled: &[LaneKey], answer: Answer) -> Offer {
    Offer {
        bridge: lane.bridge.clone(),
        family: lane.family,
        lane_stalled: holds_up(lane, stalled),
        answer,
    }
}

fn holds_up(lane: &Lane, stalled: &[LaneKey]) -> bool {
    let is_lane = |key: &LaneKey| key.bridge == lane.bridge && key.source == lane.source && key.target == lane.target;
    stalled.iter().any(is_lane)
}
