//! Helping a stuck message in: what anyone may do on the target, done by us, within caps. Over lanes that nobody else serves this is no
//! rescue but the normal delivery, and happens as soon as a message is attested.

use super::error::PayoutError;
use super::service::Payout;
use crate::error::Coded;
use crate::store::{
    Claim, Dispatch, DispatchChange, DispatchPatch, DispatchQueue, Intent, IntentKind, LaneKey, StoreError,
};
use futures::future::join_all;
use relayer_adapter_api::MessageRef;

/// Dispatches helped at the same time: each asks bridge and node several things.
const CONCURRENT: usize = 8;
/// A delivery of ours that failed or vanished is tried again after this time; sooner, the first one may still be on its way into a block.
const DELIVER_AGAIN_AFTER_MS: i64 = 30_000;

impl Payout {
    /// Returns how many dispatches were helped.
    pub(super) async fn rescue_dispatches(&self, now_ms: i64, limit: usize) -> Result<usize, PayoutError> {
        let rescue = self.params.rescue;
        let ours = self.self_delivered();
        if !rescue.enabled && ours.is_empty() {
            return Ok(0);
        }
        let queue = DispatchQueue::Rescue {
            attested_before_ms: now_ms.saturating_sub(rescue.patience_ms),
            rescued_before_ms: now_ms.saturating_sub(rescue.interval_ms),
            ours: ours.clone(),
            tried_before_ms: now_ms.saturating_sub(rescue.interval_ms.min(DELIVER_AGAIN_AFTER_MS)),
        };
        let params = &self.params;
        let claims = self
            .store
            .claim_dispatches(queue, &params.owner, now_ms, limit, params.lease_ms)
            .await?;
        let mut helped = 0_usize;
        for chunk in claims.chunks(CONCURRENT) {
            let rescued = chunk.iter().map(|claim| self.rescue_or_note(claim, &ours, now_ms));
            for result in join_all(rescued).await {
                helped = helped.saturating_add(usize::from(result?));
            }
        }
        Ok(helped)
    }

    /// Whether anything was sent for one dispatch; only a broken database stops the others.
    async fn rescue_or_note(
        &self,
        claim: &Claim<Dispatch>,
        ours: &[LaneKey],
        now_ms: i64,
    ) -> Result<bool, PayoutError> {
        let Some(reference) = claim.row.message_ref() else {
            return Ok(false);
        };
        // Switched off is the help for others' lanes, never our own work.
        if !self.params.rescue.enabled && !ours.contains(&lane_of(&claim.row)) {
            self.note_rescue(claim, now_ms).await?;
            return Ok(false);
        }
        match self.rescue(claim, &reference, now_ms).await {
            Ok(calls) => Ok(calls > 0),
            Err(PayoutError::Store(StoreError::Conflict { what })) => {
                tracing::debug!(dispatch = %claim.row.id, what, "a rescue lost a race");
                Ok(false)
            }
            Err(PayoutError::Store(error)) => Err(error.into()),
            Err(error) => {
                tracing::warn!(dispatch = %claim.row.id, message = %claim.row.message, code = error.code().code, %error, "no rescue now");
                self.note_rescue(claim, now_ms).await?;
                Ok(false)
            }
        }
    }

    /// Lanes over which nobody but us brings messages in.
    fn self_delivered(&self) -> Vec<LaneKey> {
        let mut lanes = Vec::new();
        for adapter in &self.adapters {
            let pairs = self
                .chains
                .keys()
                .flat_map(|from| self.chains.keys().map(move |to| (*from, *to)));
            let ours = pairs.filter_map(|(from, to)| adapter.lane(from, to).filter(|lane| lane.self_delivered));
            lanes.extend(ours.map(|lane| LaneKey {
                source: lane.source,
                target: lane.target,
                bridge: lane.bridge,
            }));
        }
        lanes
    }

    /// Sends as many of the adapter's calls, in order, as the target would take now. Returns how many.
    async fn rescue(&self, claim: &Claim<Dispatch>, reference: &MessageRef, now_ms: i64) -> Result<usize, PayoutError> {
        let dispatch = &claim.row;
        let adapter = self.adapters.iter().find(|adapter| adapter.id() == dispatch.bridge);
        let adapter = adapter.ok_or_else(|| PayoutError::UnknownBridge(dispatch.bridge.clone()))?;
        let source = self
            .chain(dispatch.source)?
            .view(self.cursor(dispatch.source).await?.seen);
        let target = self
            .chain(dispatch.target)?
            .view(self.cursor(dispatch.target).await?.seen);
        let calls = adapter
            .advance(source.as_ref(), target.as_ref(), reference)
            .await
            .map_err(|source| PayoutError::Adapter {
                bridge: dispatch.bridge.clone(),
                source,
            })?;
        let mut planned = Vec::new();
        for call in &calls {
            if call.value > self.params.rescue.value_cap {
                tracing::warn!(dispatch = %dispatch.id, value = %call.value, "a rescue call wants more than its cap");
                break;
            }
            let sender = self.sender(call.chain)?;
            match sender.plan(call).await {
                Ok(plan) => planned.push((sender, plan)),
                // A later call may need the earlier ones in a block first; it comes in the next round.
                Err(error) if !planned.is_empty() => {
                    tracing::debug!(dispatch = %dispatch.id, %error, "a later rescue call waits for the earlier ones");
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if planned.is_empty() {
            self.note_rescue(claim, now_ms).await?;
            return Ok(0);
        }
        let mut txn = self.store.begin(now_ms).await?;
        let counter = format!("rescue:{}", dispatch.id);
        let mut sent = 0_usize;
        for (sender, plan) in &planned {
            let n = txn.reserve_counter(&counter, 1).await?;
            if n > self.params.rescue.attempts_max {
                tracing::warn!(dispatch = %dispatch.id, attempts = n, "rescue attempts are used up");
                break;
            }
            let intent = Intent::new(IntentKind::Rescue, format!("dispatch:{}:{n}", dispatch.id));
            sender.prepare(&mut txn, plan, intent).await?;
            sent = sent.saturating_add(1);
        }
        let patch = DispatchPatch {
            rescued_at: Some(now_ms),
            ..DispatchPatch::default()
        };
        let name = if sent > 0 { "rescue" } else { "" };
        txn.dispatch_apply(
            dispatch.id,
            Some(claim.token),
            DispatchChange::Note(name),
            patch,
            "payout",
        )
        .await?;
        txn.commit().await?;
        Ok(sent)
    }

    /// Nothing helps now; not asked again before the interval is over.
    async fn note_rescue(&self, claim: &Claim<Dispatch>, now_ms: i64) -> Result<(), PayoutError> {
        let mut txn = self.store.begin(now_ms).await?;
        let patch = DispatchPatch {
            rescued_at: Some(now_ms),
            ..DispatchPatch::default()
        };
        txn.dispatch_apply(
            claim.row.id,
            Some(claim.token),
            DispatchChange::Note(""),
            patch,
            "payout",
        )
        .await?;
        txn.commit().await?;
        Ok(())
    }
}

fn lane_of(dispatch: &Dispatch) -> LaneKey {
    LaneKey {
        source: dispatch.source,
        target: dispatch.target,
        bridge: dispatch.bridge.clone(),
    }
}
