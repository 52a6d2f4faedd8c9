//! One step: follow transactions that moved, follow adopted logs, then send what is planned.

use super::error::DispatcherError;
use super::mirror::follow;
use crate::chain::retry::RetryPolicy;
use crate::chain::sender::Sender;
use crate::chain::{Chain, ChainError};
use crate::error::Coded;
use crate::settlement::MessageId;
use crate::settlement::states::{
    DispatchSourceEvent, DispatchTarget, DispatchTargetEvent, MessageState, SettlementEvent,
};
use crate::stage::{Outcome, Stage};
use crate::store::{
    ChainLog, Claim, Dispatch, DispatchChange, DispatchPatch, DispatchQueue, Intent, IntentKind, LaneKey, LaneMode,
    LogStatus, Store, StoreError, Txn,
};
use alloy::primitives::U256;
use alloy::sol_types::SolError;
use async_trait::async_trait;
use relayer_adapter_api::abi::ISettlementOutbox::{AlreadyDispatched, HubHalted, NoCheckpoint};
use relayer_adapter_api::{BridgeAdapter, ChainId, Class, Lane, Quote, SealedMessage, ViewError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Dispatches of one kind claimed in one step: what can be sent before the lease runs out.
const DISPATCHES_MAX: usize = 64;

/// Configuration of the dispatcher.
#[derive(Debug, Clone)]
pub struct DispatcherParams {
    /// Name of this worker in leases.
    pub owner: String,
    pub lease_ms: i64,
    /// A quote older than this is renewed before the send.
    pub quote_age_max_ms: i64,
    pub quote_timeout: Duration,
    /// Waits after failures in a row.
    pub retry: RetryPolicy,
    /// Failures in a row after which the router may take another lane.
    pub failures_max: u32,
}

/// See the module's page.
pub struct Dispatcher {
    store: Store,
    adapters: Vec<Arc<dyn BridgeAdapter>>,
    chains: BTreeMap<ChainId, Arc<dyn Chain>>,
    senders: BTreeMap<ChainId, Arc<Sender>>,
    params: DispatcherParams,
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher")
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Stage for Dispatcher {
    fn name(&self) -> String {
        "dispatcher".into()
    }

    async fn step(&self, now_ms: i64, limit: usize) -> Result<Outcome, Box<dyn Coded>> {
        let mut moved = 0_usize;
        let mut more = false;
        let limit = limit.min(DISPATCHES_MAX);
        for queue in [DispatchQueue::Mirror, DispatchQueue::Adopted, DispatchQueue::Send] {
            let claims = self.claim(queue.clone(), now_ms, limit).await?;
            // Adopted dispatches are claimed every time, changed or not.
            more |= queue != DispatchQueue::Adopted && claims.len() >= limit;
            for claim in &claims {
                let done = match queue {
                    DispatchQueue::Mirror => self.mirror(claim, now_ms).await,
                    DispatchQueue::Adopted => self.follow_log(claim, now_ms).await,
                    _ => self.send(claim, now_ms).await,
                };
                moved = moved.saturating_add(usize::from(self.settle(claim, done, now_ms).await?));
            }
        }
        Ok(Outcome { processed: moved, more })
    }
}

impl Dispatcher {
    pub fn new(
        store: Store,
        adapters: Vec<Arc<dyn BridgeAdapter>>,
        chains: BTreeMap<ChainId, Arc<dyn Chain>>,
        senders: BTreeMap<ChainId, Arc<Sender>>,
        params: DispatcherParams,
    ) -> Self {
        Self {
            store,
            adapters,
            chains,
            senders,
            params,
        }
    }

    async fn claim(
        &self,
        queue: DispatchQueue,
        now_ms: i64,
        limit: usize,
    ) -> Result<Vec<Claim<Dispatch>>, DispatcherError> {
        let params = &self.params;
        let claims = self
            .store
            .claim_dispatches(queue, &params.owner, now_ms, limit, params.lease_ms);
        Ok(claims.await?)
    }

    /// What became of one row: moved or not; its error goes on the row. Only a broken database stops the step.
    async fn settle(
        &self,
        claim: &Claim<Dispatch>,
        done: Result<bool, DispatcherError>,
        now_ms: i64,
    ) -> Result<bool, DispatcherError> {
        let id = claim.row.id;
        match done {
            Ok(moved) => Ok(moved),
            Err(DispatcherError::Store(StoreError::Conflict { what })) => {
                tracing::debug!(dispatch = %id, what, "dispatching lost a race");
                Ok(false)
            }
            Err(DispatcherError::Store(error)) => Err(error.into()),
            Err(error) => {
                tracing::warn!(dispatch = %id, message = %claim.row.message, code = error.code().code, %error, "dispatch waits");
                let mut txn = self.store.begin(now_ms).await?;
                self.fail(&mut txn, claim, &error, now_ms).await?;
                txn.commit().await?;
                Ok(false)
            }
        }
    }

    /// Notes a failure and when to try again.
    async fn fail(
        &self,
        txn: &mut Txn,
        claim: &Claim<Dispatch>,
        error: &DispatcherError,
        now_ms: i64,
    ) -> Result<(), DispatcherError> {
        let lane_failed = is_lanes_fault(error);
        let attempts = claim.row.attempts.saturating_add(1);
        let patch = DispatchPatch {
            attempts: Some(attempts),
            note: Some(Some(error.to_string())),
            next_at: Some(self.next_try(attempts, now_ms)),
            // Whatever failed, the next try quotes again.
            quoted_at: Some(0),
            stalled_at: self.stalled(&claim.row, lane_failed, attempts, now_ms),
            ..DispatchPatch::default()
        };
        let stalls = patch.stalled_at.is_some();
        let name = if stalls { "stall" } else { "wait" };
        txn.dispatch_apply(
            claim.row.id,
            Some(claim.token),
            DispatchChange::Note(name),
            patch,
            "dispatcher",
        )
        .await?;
        if stalls {
            txn.wake_message(claim.row.message).await?;
        }
        Ok(())
    }

    fn next_try(&self, attempts: u32, now_ms: i64) -> i64 {
        let delay = i64::try_from(self.params.retry.delay(attempts).as_millis()).unwrap_or(i64::MAX);
        now_ms.saturating_add(delay)
    }

    fn stalled(&self, dispatch: &Dispatch, lane_failed: bool, attempts: u32, now_ms: i64) -> Option<Option<i64>> {
        let stalls = lane_failed && attempts >= self.params.failures_max && dispatch.stalled_at.is_none();
        stalls.then_some(Some(now_ms))
    }

    fn adapter(&self, dispatch: &Dispatch) -> Result<(&Arc<dyn BridgeAdapter>, Lane), DispatcherError> {
        let of_bridge = self.adapters.iter().find(|adapter| adapter.id() == dispatch.bridge);
        let lane = of_bridge.and_then(|adapter| Some((adapter, adapter.lane(dispatch.source, dispatch.target)?)));
        lane.ok_or_else(|| DispatcherError::UnknownLane {
            bridge: dispatch.bridge.clone(),
            source_chain: dispatch.source,
            target: dispatch.target,
        })
    }

    /// The log of this very dispatch, if the observer has read one.
    async fn own_log(&self, dispatch: &Dispatch, lane: &Lane) -> Result<Option<ChainLog>, DispatcherError> {
        let port = lane.source_port.into_word();
        let message = dispatch.message.0;
        let logs = self
            .store
            .find_logs(dispatch.source, "message_dispatched", message, Some(port), false)
            .await?;
        Ok(logs.into_iter().next_back())
    }

    async fn send(&self, claim: &Claim<Dispatch>, now_ms: i64) -> Result<bool, DispatcherError> {
        let dispatch = &claim.row;
        let message = self.store.get_message(dispatch.message).await?;
        if message.state != MessageState::Sealed {
            return self
                .drop_planned(claim, &format!("message is {}", message.state), now_ms)
                .await;
        }
        let (adapter, lane) = self.adapter(dispatch)?;
        if let Some(log) = self.own_log(dispatch, &lane).await? {
            return self.adopt(claim, &log, now_ms).await;
        }
        self.expect_open(dispatch).await?;
        let dispatches = self.store.list_dispatches(dispatch.message).await?;
        if !dispatches.iter().any(Dispatch::has_left) && self.store.has_forsaken_member(dispatch.message).await? {
            // The router gives the message up; its other members are batched anew.
            return self
                .drop_planned(claim, "a member relies on a hub that does not stand any more", now_ms)
                .await;
        }
        let committed = dispatches.iter().any(Dispatch::is_included);
        let sealed = self.store.get_sealed_message(dispatch.message, committed).await?;
        let quote = self.fresh_quote(dispatch, adapter, &lane, &sealed, now_ms).await?;
        let call = adapter
            .build_send(&sealed, &quote)
            .map_err(|source| adapter_error(dispatch, source))?;
        let sender = self
            .senders
            .get(&dispatch.source)
            .ok_or(DispatcherError::UnknownChain(dispatch.source))?;
        let planned = sender.plan(&call).await?;
        let mut txn = self.store.begin(now_ms).await?;
        // The attempt is part of the intent: a transaction that reverted stays bound to its own until it is final.
        let intent = Intent::new(IntentKind::Dispatch, format!("{}:{}", dispatch.id, dispatch.attempts));
        let tx = sender.prepare(&mut txn, &planned, intent).await?;
        let patch = DispatchPatch {
            tx: Some(Some(tx)),
            fee_quoted: Some(quote.native_fee),
            gas_limit: u64::try_from(quote.gas_limit).ok(),
            note: Some(None),
            ..DispatchPatch::default()
        };
        let change = DispatchChange::Source(DispatchSourceEvent::Prepare);
        txn.dispatch_apply(dispatch.id, Some(claim.token), change, patch, &format!("tx {tx}"))
            .await?;
        txn.commit().await?;
        Ok(true)
    }

    /// An operator's pause holds what has not been sent, and so does what the chains say against the lane.
    async fn expect_open(&self, dispatch: &Dispatch) -> Result<(), DispatcherError> {
        let lane = LaneKey {
            source: dispatch.source,
            target: dispatch.target,
            bridge: dispatch.bridge.clone(),
        };
        match self.store.find_lane_switch(&lane).await? {
            Some(switch) if switch.mode == LaneMode::Paused => Err(DispatcherError::Paused {
                bridge: lane.bridge,
                by: switch.by,
                reason: switch.reason,
            }),
            _ => match self.store.find_lane_obstacle(&lane).await? {
                Some(obstacle) => Err(DispatcherError::Blocked {
                    bridge: lane.bridge,
                    reason: obstacle.reason,
                }),
                None => Ok(()),
            },
        }
    }

    /// The stored quote while it is young, else a new one within the cap.
    async fn fresh_quote(
        &self,
        dispatch: &Dispatch,
        adapter: &Arc<dyn BridgeAdapter>,
        lane: &Lane,
        sealed: &SealedMessage,
        now_ms: i64,
    ) -> Result<Quote, DispatcherError> {
        let age = now_ms.saturating_sub(dispatch.quoted_at);
        if dispatch.quoted_at > 0 && age <= self.params.quote_age_max_ms {
            return Ok(Quote {
                native_fee: dispatch.fee_quoted,
                gas_limit: u128::from(dispatch.gas_limit),
                valid_for: Duration::ZERO,
                expected: lane.expected,
            });
        }
        let chain = self
            .chains
            .get(&dispatch.source)
            .ok_or(DispatcherError::UnknownChain(dispatch.source))?;
        let cursor = self.store.get_cursor(dispatch.source).await?;
        let view = chain.view(cursor.ok_or(DispatcherError::NotRead(dispatch.source))?.seen);
        let asked = tokio::time::timeout(self.params.quote_timeout, adapter.quote(view.as_ref(), sealed)).await;
        let quote = asked
            .map_err(|_| ViewError::Unavailable {
                chain: dispatch.source.0,
                reason: format!("no quote within {:?}", self.params.quote_timeout),
            })
            .map_err(|source| ChainError::View {
                attempted: "quoting again",
                source,
            })?
            .map_err(|source| adapter_error(dispatch, source))?;
        within_cap(dispatch, quote.native_fee)?;
        Ok(quote)
    }

    /// The message goes on without it.
    async fn drop_planned(&self, claim: &Claim<Dispatch>, cause: &str, now_ms: i64) -> Result<bool, DispatcherError> {
        let mut txn = self.store.begin(now_ms).await?;
        let change = DispatchChange::Source(DispatchSourceEvent::Drop);
        txn.dispatch_apply(claim.row.id, Some(claim.token), change, DispatchPatch::default(), cause)
            .await?;
        txn.wake_message(claim.row.message).await?;
        txn.commit().await?;
        Ok(true)
    }

    /// The outbox has it already: its log stands for the transaction.
    async fn adopt(&self, claim: &Claim<Dispatch>, log: &ChainLog, now_ms: i64) -> Result<bool, DispatcherError> {
        let cause = format!("adopted log {}", log.reference());
        tracing::info!(dispatch = %claim.row.id, message = %claim.row.message, cause, "dispatch was sent before");
        let mut txn = self.store.begin(now_ms).await?;
        let prepare = DispatchChange::Source(DispatchSourceEvent::Prepare);
        let untied = DispatchPatch {
            tx: Some(None),
            ..DispatchPatch::default()
        };
        txn.dispatch_apply(claim.row.id, Some(claim.token), prepare, untied, &cause)
            .await?;
        self.apply(&mut txn, claim, DispatchSourceEvent::Include, &cause, now_ms)
            .await?;
        txn.commit().await?;
        Ok(true)
    }

    /// An adopted dispatch is where its log is.
    async fn follow_log(&self, claim: &Claim<Dispatch>, now_ms: i64) -> Result<bool, DispatcherError> {
        let (_, lane) = self.adapter(&claim.row)?;
        let log = self.own_log(&claim.row, &lane).await?;
        let (events, cause) = match &log {
            Some(log) if log.status == LogStatus::Final => {
                (vec![DispatchSourceEvent::Finalize], format!("log {}", log.reference()))
            }
            Some(_) => (vec![], String::new()),
            None => {
                let gone = vec![DispatchSourceEvent::Unwind, DispatchSourceEvent::Revert];
                (gone, "its log was orphaned".to_owned())
            }
        };
        self.apply_all(claim, &events, &cause, now_ms).await
    }

    async fn mirror(&self, claim: &Claim<Dispatch>, now_ms: i64) -> Result<bool, DispatcherError> {
        let Some(tx) = claim.row.tx else { return Ok(false) };
        let tx = self.store.get_tx(tx).await?;
        let events = follow(claim.row.source_state, tx.state, tx.succeeded);
        self.apply_all(claim, &events, &format!("tx {} {}", tx.id, tx.state), now_ms)
            .await
    }

    async fn apply_all(
        &self,
        claim: &Claim<Dispatch>,
        events: &[DispatchSourceEvent],
        cause: &str,
        now_ms: i64,
    ) -> Result<bool, DispatcherError> {
        let mut txn = self.store.begin(now_ms).await?;
        for event in events {
            self.apply(&mut txn, claim, *event, cause, now_ms).await?;
        }
        if events.is_empty() {
            let nothing = DispatchChange::Note("");
            txn.dispatch_apply(
                claim.row.id,
                Some(claim.token),
                nothing,
                DispatchPatch::default(),
                cause,
            )
            .await?;
        }
        txn.commit().await?;
        Ok(!events.is_empty())
    }

    /// One move of the source column with what it means for the rest.
    async fn apply(
        &self,
        txn: &mut Txn,
        claim: &Claim<Dispatch>,
        event: DispatchSourceEvent,
        cause: &str,
        now_ms: i64,
    ) -> Result<(), DispatcherError> {
        use DispatchSourceEvent as E;
        let mut patch = DispatchPatch::default();
        match event {
            E::Include => {
                patch.included_at = Some(Some(now_ms));
                patch.next_at = Some(now_ms);
                patch.attempts = Some(0);
                patch.note = Some(None);
            }
            E::Finalize => {
                patch.finalized_at = Some(Some(now_ms));
                patch.next_at = Some(now_ms);
            }
            E::Unwind => off_chain(&mut patch),
            E::Revert => {
                off_chain(&mut patch);
                let attempts = claim.row.attempts.saturating_add(1);
                patch.tx = Some(None);
                patch.attempts = Some(attempts);
                patch.quoted_at = Some(0);
                patch.next_at = Some(self.next_try(attempts, now_ms));
                patch.note = Some(Some(format!("not sent: {cause}")));
                patch.stalled_at = self.stalled(&claim.row, true, attempts, now_ms);
            }
            E::Prepare | E::Submit | E::Drop => {}
        }
        let stalls = matches!(patch.stalled_at, Some(Some(_)));
        let after = txn
            .dispatch_apply(
                claim.row.id,
                Some(claim.token),
                DispatchChange::Source(event),
                patch,
                cause,
            )
            .await?;
        match event {
            E::Include => move_open(txn, after.message, SettlementEvent::Dispatch, cause).await?,
            E::Unwind | E::Revert => {
                if after.target_state == DispatchTarget::Attested {
                    let unwind = DispatchChange::Target(DispatchTargetEvent::Unwind);
                    txn.dispatch_apply(after.id, None, unwind, DispatchPatch::default(), cause)
                        .await?;
                }
                let others = txn.dispatches_of(after.message).await?;
                if !others.iter().any(Dispatch::is_included) {
                    move_open(txn, after.message, SettlementEvent::Undispatch, cause).await?;
                }
            }
            _ => {}
        }
        if stalls {
            txn.wake_message(after.message).await?;
        }
        Ok(())
    }
}

/// What a reorg takes back.
fn off_chain(patch: &mut DispatchPatch) {
    patch.included_at = Some(None);
    patch.finalized_at = Some(None);
    patch.bridge_ref = Some(None);
    patch.evidence = Some(None);
    patch.stalled_at = Some(None);
}

/// Moves the members that have not ended; an abandoned message has none left.
async fn move_open(txn: &mut Txn, message: MessageId, event: SettlementEvent, cause: &str) -> Result<(), StoreError> {
    let open: Vec<_> = txn
        .open_leaves(message)
        .await?
        .into_iter()
        .map(|leaf| leaf.settlement)
        .collect();
    txn.settlements_apply(&open, event, cause).await?;
    Ok(())
}

fn within_cap(dispatch: &Dispatch, fee: U256) -> Result<(), DispatcherError> {
    if fee > dispatch.fee_cap {
        return Err(DispatcherError::OverCap {
            bridge: dispatch.bridge.clone(),
            fee,
            cap: dispatch.fee_cap,
        });
    }
    Ok(())
}

fn adapter_error(dispatch: &Dispatch, source: relayer_adapter_api::AdapterError) -> DispatcherError {
    DispatcherError::Adapter {
        bridge: dispatch.bridge.clone(),
        source,
    }
}

/// Whether another lane could do better. An unreachable chain, fees and funds are the same for every lane, and a message the outbox has
/// already only waits for its log, which is then adopted; what a hub refuses, it refuses over every lane.
fn is_lanes_fault(error: &DispatcherError) -> bool {
    match error {
        DispatcherError::Adapter { source, .. } => matches!(source.class(), Class::Reject | Class::Bug),
        DispatcherError::Chain(ChainError::View {
            source: ViewError::Reverted { data },
            ..
        }) => {
            let of_any_lane = [AlreadyDispatched::SELECTOR, HubHalted::SELECTOR, NoCheckpoint::SELECTOR];
            !of_any_lane.iter().any(|selector| data.starts_with(selector))
        }
        DispatcherError::UnknownLane { .. } => true,
        _ => false,
    }
}
