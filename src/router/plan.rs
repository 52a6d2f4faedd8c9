//! Planning: a dispatch over the best lane that has room for it, with its decision.

use super::ask::Asked;
use super::choose::{Answer, Choice, Offer, choose};
use super::error::RouterError;
use super::service::{Router, lane_of};
use super::standing::Standings;
use crate::settlement::policy::RoutePolicy;
use crate::settlement::states::{DispatchSource, DispatchSourceEvent};
use crate::store::{
    Claim, Dispatch, DispatchChange, DispatchPatch, InsertLimits, Insertion, LaneKey, Message, NewDispatch, StoreError,
    Txn,
};
use serde_json::json;

impl Router {
    /// What those who submitted the members asked for, else what is configured.
    fn policy(&self, message: &Message) -> RoutePolicy {
        message.policy.unwrap_or(self.params.policy)
    }

    /// Inserts a dispatch over the best lane; one that turns out to be full, or on probation with a probe under way, is passed over.
    pub(super) async fn plan(
        &self,
        claim: &Claim<Message>,
        mut offers: Vec<Offer>,
        dispatches: &[Dispatch],
        standings: &Standings,
        asked: Asked,
    ) -> Result<(), RouterError> {
        let now_ms = asked.now_ms;
        let policy = self.policy(&claim.row);
        while let Some(choice) = choose(policy, &self.params.order, &offers) {
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
        let decision = json!({ "policy": policy.name(), "lanes": offers });
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
            "policy": self.policy(message).name(),
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
        // A stalled dispatch that was never sent would only cost a second fee; neither is one of a paused or blocked lane sent by itself any more.
        let is_left = |d: &Dispatch| d.stalled_at.is_some() || standings.held_since(&lane_of(d)).is_some();
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
}

pub(super) async fn drop_unsent(
    txn: &mut Txn,
    unsent: impl Iterator<Item = &Dispatch>,
    cause: &str,
) -> Result<(), StoreError> {
    for dispatch in unsent {
        let change = DispatchChange::Source(DispatchSourceEvent::Drop);
        txn.dispatch_apply(dispatch.id, None, change, DispatchPatch::default(), cause)
            .await?;
    }
    Ok(())
}
