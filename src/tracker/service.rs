//! One step: take note of what the observers saw, then look after dispatches that are due.

use super::error::TrackerError;
use super::stall::{StallRule, Transit};
use crate::chain::Chain;
use crate::error::Coded;
use crate::settlement::states::{DispatchTarget, DispatchTargetEvent};
use crate::stage::{Outcome, Stage, retry_at};
use crate::store::{
    ChainLog, Claim, Dispatch, DispatchChange, DispatchPatch, DispatchQueue, LaneKey, Store, StoreError,
};
use alloy::primitives::B256;
use async_trait::async_trait;
use futures::future::join_all;
use relayer_adapter_api::{AdapterError, BridgeAdapter, ChainId, ChainView, Delivery, Lane, MessageRef};
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

/// Dispatches claimed in one step: what can be looked after before the lease runs out.
const MESSAGES_MAX: usize = 64;
/// Dispatches looked after at the same time.
const CONCURRENT: usize = 8;
/// Arrivals a lane's history looks back on.
const HISTORY: u64 = 32;

/// Configuration of the tracker.
#[derive(Debug, Clone)]
pub struct TrackerParams {
    /// Name of this worker in leases.
    pub owner: String,
    pub lease_ms: i64,
    pub stall: StallRule,
    /// Bounds of the time between two looks at one dispatch.
    pub poll_min_ms: i64,
    pub poll_max_ms: i64,
    /// Whether bridges are asked about messages that are on their normal way: before source finality, and before they have had the time
    /// their lane takes. What the inbox says is noticed in any case, so there is nothing to gain but a note.
    pub ask_early: bool,
}

/// See the module's page.
pub struct Tracker {
    pub(super) store: Store,
    pub(super) adapters: Vec<Arc<dyn BridgeAdapter>>,
    pub(super) chains: BTreeMap<ChainId, Arc<dyn Chain>>,
    pub(super) params: TrackerParams,
}

impl std::fmt::Debug for Tracker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracker")
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Stage for Tracker {
    fn name(&self) -> String {
        "tracker".into()
    }

    async fn step(&self, now_ms: i64, limit: usize) -> Result<Outcome, Box<dyn Coded>> {
        let mut total = Outcome::default();
        for chain in self.chains.keys() {
            let applied = self.apply_seen(*chain, now_ms, limit).await?;
            total.processed = total.processed.saturating_add(applied);
            total.more |= applied >= limit;
        }
        let params = &self.params;
        let claimed = limit.min(MESSAGES_MAX);
        let claims = self
            .store
            .claim_dispatches(DispatchQueue::Follow, &params.owner, now_ms, claimed, params.lease_ms)
            .await
            .map_err(TrackerError::Store)?;
        for chunk in claims.chunks(CONCURRENT) {
            for result in join_all(chunk.iter().map(|claim| self.look_after(claim, now_ms))).await {
                result?;
            }
        }
        total.processed = total.processed.saturating_add(claims.len());
        total.more |= claims.len() >= claimed;
        Ok(total)
    }
}

/// What a look at a dispatch brought.
struct Look {
    change: DispatchChange,
    patch: DispatchPatch,
    /// The router must look at the message again.
    wake: bool,
}

impl Tracker {
    pub fn new(
        store: Store,
        adapters: Vec<Arc<dyn BridgeAdapter>>,
        chains: BTreeMap<ChainId, Arc<dyn Chain>>,
        params: TrackerParams,
    ) -> Self {
        Self {
            store,
            adapters,
            chains,
            params,
        }
    }

    async fn look_after(&self, claim: &Claim<Dispatch>, now_ms: i64) -> Result<(), TrackerError> {
        let dispatch = &claim.row;
        let looked = match self.look(dispatch, now_ms).await {
            Err(TrackerError::Store(error)) => Err(TrackerError::Store(error)),
            Err(error) => {
                tracing::debug!(dispatch = %dispatch.id, message = %dispatch.message, code = error.code().code, %error, "no news of a dispatch");
                let waiting = matches!(error, TrackerError::NotRead(_) | TrackerError::LogNotRead(_));
                let note = (!waiting).then(|| Some(error.to_string()));
                // Not knowing where it is does not stop the clock.
                self.judged(dispatch, DispatchChange::Note(""), note, false, now_ms)
                    .await
            }
            Ok(look) => Ok(look),
        };
        let stored = match looked {
            Ok(look) => self.store_look(claim, look, now_ms).await,
            Err(error) => Err(error),
        };
        match stored {
            Err(TrackerError::Store(StoreError::Conflict { what })) => {
                tracing::debug!(dispatch = %dispatch.id, what, "tracking lost a race");
                Ok(())
            }
            other => other,
        }
    }

    async fn store_look(&self, claim: &Claim<Dispatch>, look: Look, now_ms: i64) -> Result<(), TrackerError> {
        let mut txn = self.store.begin(now_ms).await?;
        let after = txn
            .dispatch_apply(claim.row.id, Some(claim.token), look.change, look.patch, "tracker")
            .await?;
        if look.wake {
            tracing::warn!(dispatch = %after.id, message = %after.message, bridge = %after.bridge, note = after.note, "dispatch is overdue");
            txn.wake_message(after.message).await?;
        }
        txn.commit().await?;
        Ok(())
    }

    /// Decodes the send once its log has been read, then asks the adapter.
    async fn look(&self, dispatch: &Dispatch, now_ms: i64) -> Result<Look, TrackerError> {
        let (adapter, lane) = self.lane(dispatch)?;
        let log = self.own_log(dispatch, &lane).await?;
        let known = dispatch.message_ref().filter(|known| is_of(known, &log));
        let source = self.view(dispatch.source).await?;
        let (reference, learned) = match known {
            Some(known) => (known, None),
            None => {
                let decoded = self.decode(dispatch, adapter.as_ref(), source.as_ref(), &log).await?;
                (decoded.clone(), Some(decoded))
            }
        };
        if let Some(until) = self
            .normal_until(dispatch, &lane)
            .await?
            .filter(|until| now_ms < *until)
        {
            return Ok(on_its_way(learned, until));
        }
        let target = self.view(dispatch.target).await?;
        let delivery = adapter.delivery(source.as_ref(), target.as_ref(), &reference).await;
        let mut look = match delivery {
            Ok(delivery) => self.progress(dispatch, delivery, now_ms).await?,
            // What was decoded is worth keeping whatever the target said.
            Err(error) if learned.is_some() => {
                let note = Some(Some(error.to_string()));
                self.judged(dispatch, DispatchChange::Note(""), note, false, now_ms)
                    .await?
            }
            Err(source) => return Err(adapter_error(dispatch, source)),
        };
        if let Some(decoded) = learned {
            look.patch.bridge_ref = Some(Some(decoded.id));
            look.patch.evidence = Some(Some(decoded.evidence));
        }
        Ok(look)
    }

    /// Until when a message is on its normal way: bridges wait for finality and then take the time they usually take. None when it may be
    /// asked about at any time.
    async fn normal_until(&self, dispatch: &Dispatch, lane: &Lane) -> Result<Option<i64>, TrackerError> {
        let params = &self.params;
        if params.ask_early || dispatch.stalled_at.is_some() || dispatch.target_state == DispatchTarget::Attested {
            return Ok(None);
        }
        let Some(finalized_at) = dispatch.finalized_at else {
            // Finality wakes us; only a chain that does not get there makes the age of the send count.
            let since = dispatch.included_at.unwrap_or(dispatch.planned_at);
            return Ok(Some(since.saturating_add(params.stall.timeout_ms)));
        };
        // Nothing arrives there on its own, so nobody else's time counts.
        if lane.self_delivered {
            return Ok(None);
        }
        let history = self.store.list_lane_transits(&key_of(dispatch), HISTORY).await?;
        let expected = i64::try_from(lane.expected.as_millis()).unwrap_or(i64::MAX);
        let normal = if history.len() < params.stall.history_min {
            expected
        } else {
            history.iter().copied().max().unwrap_or(expected)
        };
        Ok(Some(finalized_at.saturating_add(normal.min(params.stall.timeout_ms))))
    }

    async fn decode(
        &self,
        dispatch: &Dispatch,
        adapter: &dyn BridgeAdapter,
        source: &dyn ChainView,
        log: &ChainLog,
    ) -> Result<MessageRef, TrackerError> {
        let receipt = source.receipt(log.tx_hash).await.map_err(|source| TrackerError::View {
            chain: dispatch.source,
            source,
        })?;
        let receipt = receipt.ok_or(TrackerError::LogNotRead(dispatch.source))?;
        adapter
            .decode_send(&receipt)
            .map_err(|source| adapter_error(dispatch, source))
    }

    /// What the bridge says, as a move, a note and perhaps a stall.
    async fn progress(&self, dispatch: &Dispatch, delivery: Delivery, now_ms: i64) -> Result<Look, TrackerError> {
        use DispatchTargetEvent as E;
        let target = dispatch.target_state;
        let nothing = DispatchChange::Note("");
        let (change, note, failed) = match delivery {
            Delivery::Pending { note } if target == DispatchTarget::Attested => {
                (DispatchChange::Target(E::Unwind), note, false)
            }
            Delivery::Pending { note } => (nothing, note, false),
            Delivery::Attested { note } if target == DispatchTarget::Pending => {
                (DispatchChange::Target(E::Attest), note, false)
            }
            Delivery::Attested { note } => (nothing, note, false),
            Delivery::Received => (nothing, "brought in; waits for the inbox's log".to_owned(), false),
            Delivery::Failed { why } => (nothing, format!("will not arrive this way: {why}"), true),
        };
        self.judged(dispatch, change, Some(Some(note)), failed, now_ms).await
    }

    /// Adds whether it is overdue and when to look again.
    async fn judged(
        &self,
        dispatch: &Dispatch,
        change: DispatchChange,
        note: Option<Option<String>>,
        failed: bool,
        now_ms: i64,
    ) -> Result<Look, TrackerError> {
        let params = &self.params;
        let since = dispatch.included_at.unwrap_or(dispatch.planned_at);
        let transit = Transit {
            included_at: since,
            finalized_at: dispatch.finalized_at,
        };
        let lane = key_of(dispatch);
        let overdue = dispatch.stalled_at.is_none()
            && (failed || {
                let history = self.store.list_lane_transits(&lane, HISTORY).await?;
                params.stall.overdue(now_ms, transit, &history)
            });
        let change = match change {
            DispatchChange::Note("") if overdue => DispatchChange::Note("stall"),
            other => other,
        };
        Ok(Look {
            change,
            patch: DispatchPatch {
                note,
                stalled_at: overdue.then_some(Some(now_ms)),
                // Final is when the bridge begins: the wait before that says nothing about how soon there is news.
                next_at: Some(retry_at(
                    now_ms,
                    dispatch.finalized_at.unwrap_or(since),
                    params.poll_min_ms,
                    params.poll_max_ms,
                )),
                ..DispatchPatch::default()
            },
            wake: overdue,
        })
    }

    fn lane(&self, dispatch: &Dispatch) -> Result<(&Arc<dyn BridgeAdapter>, Lane), TrackerError> {
        let of_bridge = self.adapters.iter().find(|adapter| adapter.id() == dispatch.bridge);
        let lane = of_bridge.and_then(|adapter| Some((adapter, adapter.lane(dispatch.source, dispatch.target)?)));
        lane.ok_or_else(|| TrackerError::UnknownLane {
            bridge: dispatch.bridge.clone(),
            source_chain: dispatch.source,
            target: dispatch.target,
        })
    }

    /// The newest log of this very dispatch on the canonical chain.
    async fn own_log(&self, dispatch: &Dispatch, lane: &Lane) -> Result<ChainLog, TrackerError> {
        let port = lane.source_port.into_word();
        let message = dispatch.message.0;
        let logs = self
            .store
            .find_logs(dispatch.source, "message_dispatched", message, Some(port), false)
            .await?;
        logs.into_iter()
            .next_back()
            .ok_or(TrackerError::LogNotRead(dispatch.source))
    }

    /// A chain at the newest block its observer has read.
    async fn view(&self, chain: ChainId) -> Result<Arc<dyn ChainView>, TrackerError> {
        let handle = self.chains.get(&chain).ok_or(TrackerError::UnknownChain(chain))?;
        let cursor = self
            .store
            .get_cursor(chain)
            .await?
            .ok_or(TrackerError::NotRead(chain))?;
        Ok(handle.view(cursor.seen))
    }
}

fn key_of(dispatch: &Dispatch) -> LaneKey {
    LaneKey {
        source: dispatch.source,
        target: dispatch.target,
        bridge: dispatch.bridge.clone(),
    }
}

/// Nothing to ask yet; what was decoded is kept.
fn on_its_way(learned: Option<MessageRef>, until: i64) -> Look {
    let mut patch = DispatchPatch {
        next_at: Some(until),
        ..DispatchPatch::default()
    };
    if let Some(decoded) = learned {
        patch.bridge_ref = Some(Some(decoded.id));
        patch.evidence = Some(Some(decoded.evidence));
    }
    Look {
        change: DispatchChange::Note(""),
        patch,
        wake: false,
    }
}

/// A reorg can put the send into another block under another name; then it is decoded again.
fn is_of(known: &MessageRef, log: &ChainLog) -> bool {
    let named = log.detail["bridgeRef"]
        .as_str()
        .and_then(|text| B256::from_str(text).ok());
    named.is_none_or(|name| name == known.id)
}

fn adapter_error(dispatch: &Dispatch, source: AdapterError) -> TrackerError {
    TrackerError::Adapter {
        bridge: dispatch.bridge.clone(),
        source,
    }
}
