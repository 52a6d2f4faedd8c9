//! Lanes: what an operator has switched, how their last dispatches fared, and how much value depends on them at once.

mod obstacle;

use super::dispatch::{DispatchId, LaneKey, NewDispatch};
use super::entity::dispatch;
use super::{NewEvent, Store, StoreError, Txn, codec};
use alloy::primitives::{Address, U256};
use relayer_adapter_api::{BridgeId, ChainId, MessageId};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryResult, Statement, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

pub use obstacle::LaneObstacle;

/// What an operator has decided about a lane; without a decision it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneMode {
    /// Nothing new is sent over it, not even what was planned for it; what was sent is followed to its end.
    Paused,
    /// Nothing new is planned over it; what was planned is sent.
    Draining,
}

impl LaneMode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for LaneMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for LaneMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = [Self::Paused, Self::Draining]
            .into_iter()
            .find(|mode| mode.name() == text);
        found.ok_or_else(|| format!("{text:?} is not paused or draining"))
    }
}

/// An operator's decision with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneSwitch {
    pub lane: LaneKey,
    pub mode: LaneMode,
    pub reason: String,
    /// Who decided.
    pub by: String,
    /// Unix ms.
    pub at: i64,
}

/// How one dispatch of a lane fared; times are Unix ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    pub planned_at: i64,
    /// Overdue, or not sendable, since.
    pub stalled_at: Option<i64>,
    pub received_at: Option<i64>,
    /// From source finality to arrival, milliseconds.
    pub transit_ms: Option<i64>,
    /// Given up before it was sent.
    pub dropped: bool,
}

impl Passage {
    /// Nobody knows yet what becomes of it.
    pub fn is_under_way(&self) -> bool {
        !self.dropped && self.stalled_at.is_none() && self.received_at.is_none()
    }
}

/// What a dispatch must not break when it is inserted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InsertLimits {
    /// Value of the message, in the unit of prices; None = unknown.
    pub value: Option<U256>,
    /// Most that may depend on the lane at once, this message included.
    pub lane_cap: Option<U256>,
    /// The same for all lanes of the bridge.
    pub bridge_cap: Option<U256>,
    /// The lane is on probation: at most one dispatch that was planned from then on may be under way.
    pub probe_since: Option<i64>,
}

/// What became of an insertion with limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insertion {
    Done(DispatchId),
    /// Nothing was inserted: with the message the value would be above `cap`.
    OverValue {
        in_flight: U256,
        cap: U256,
        whole_bridge: bool,
    },
    /// Nothing was inserted: another process sent a probe.
    Probing,
    /// Nothing was inserted: a cap is set, and the value of this message, or of one under way, is unknown.
    UnknownValue,
}

/// Value that depends on dispatches under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InFlight {
    pub lane: U256,
    pub bridge: U256,
    /// Dispatches whose value nobody knew when they were planned.
    pub unknown: u64,
}

/// Whoever inserts under limits holds the row of this counter until the end of its transaction, so that two never add up the same sum.
fn guard(bridge: &BridgeId) -> String {
    format!("value_in_flight:{bridge}")
}

/// A dispatch counts while its message waits for it: until it has arrived, or the message is received, done or given up.
const IN_FLIGHT: &str = "SELECT d.source_chain AS source_chain, d.target_chain AS target_chain, d.value_at_stake AS value \
    FROM dispatch d JOIN message m ON m.message_id = d.message_id \
    WHERE m.state = 'sealed' AND d.bridge = $1 AND d.source_state <> 'dropped' AND d.target_state <> 'received'";

const PASSAGES: &str = "SELECT planned_at, stalled_at, received_at, finalized_at, included_at, source_state FROM dispatch \
    WHERE bridge = $1 AND source_chain = $2 AND target_chain = $3 ORDER BY id DESC LIMIT $4";

async fn in_flight<C: ConnectionTrait>(db: &C, lane: &LaneKey) -> Result<InFlight, StoreError> {
    let values = [lane.bridge.to_string().into()];
    let statement = Statement::from_sql_and_values(db.get_database_backend(), IN_FLIGHT, values);
    let mut sum = InFlight::default();
    let (source, target) = chains(lane)?;
    for row in db.query_all_raw(statement).await? {
        let Some(value) = row.try_get::<Option<Vec<u8>>>("", "value")? else {
            sum.unknown = sum.unknown.saturating_add(1);
            continue;
        };
        // A sum that does not fit is above every cap as well.
        let value = codec::u256("dispatch.value_at_stake", &value)?;
        sum.bridge = sum.bridge.saturating_add(value);
        let own =
            row.try_get::<i64>("", "source_chain")? == source && row.try_get::<i64>("", "target_chain")? == target;
        if own {
            sum.lane = sum.lane.saturating_add(value);
        }
    }
    Ok(sum)
}

async fn passages<C: ConnectionTrait>(db: &C, lane: &LaneKey, limit: u64) -> Result<Vec<Passage>, StoreError> {
    let (source, target) = chains(lane)?;
    let limit: Value = codec::int("limit", limit)?.into();
    let values = [lane.bridge.to_string().into(), source.into(), target.into(), limit];
    let statement = Statement::from_sql_and_values(db.get_database_backend(), PASSAGES, values);
    db.query_all_raw(statement).await?.iter().map(passage).collect()
}

fn passage(row: &QueryResult) -> Result<Passage, StoreError> {
    let time = |column: &str| row.try_get::<Option<i64>>("", column);
    let received_at = time("received_at")?;
    let from = time("finalized_at")?.or(time("included_at")?);
    let transit = |received: i64| from.map(|from| received.saturating_sub(from).max(0));
    Ok(Passage {
        planned_at: row.try_get("", "planned_at")?,
        stalled_at: time("stalled_at")?,
        received_at,
        transit_ms: received_at.and_then(transit),
        dropped: row.try_get::<String>("", "source_state")? == "dropped",
    })
}

fn chains(lane: &LaneKey) -> Result<(i64, i64), StoreError> {
    let source = codec::int("dispatch.source_chain", lane.source.0)?;
    Ok((source, codec::int("dispatch.target_chain", lane.target.0)?))
}

fn switch(row: &QueryResult) -> Result<LaneSwitch, StoreError> {
    Ok(LaneSwitch {
        lane: LaneKey {
            source: ChainId(codec::uint(
                "lane_switch.source_chain",
                row.try_get("", "source_chain")?,
            )?),
            target: ChainId(codec::uint(
                "lane_switch.target_chain",
                row.try_get("", "target_chain")?,
            )?),
            bridge: codec::name("lane_switch.bridge", &row.try_get::<String>("", "bridge")?)?,
        },
        mode: codec::name("lane_switch.mode", &row.try_get::<String>("", "mode")?)?,
        reason: row.try_get("", "reason")?,
        by: row.try_get("", "set_by")?,
        at: row.try_get("", "set_at")?,
    })
}

impl Store {
    /// How the last `limit` dispatches of a lane fared, newest first.
    pub async fn list_passages(&self, lane: &LaneKey, limit: u64) -> Result<Vec<Passage>, StoreError> {
        passages(&self.db, lane, limit).await
    }

    /// Value that depends on a lane and its bridge now.
    pub async fn value_in_flight(&self, lane: &LaneKey) -> Result<InFlight, StoreError> {
        in_flight(&self.db, lane).await
    }

    /// Every decision of an operator about a lane that stands.
    pub async fn list_lane_switches(&self) -> Result<Vec<LaneSwitch>, StoreError> {
        let sql = "SELECT bridge, source_chain, target_chain, mode, reason, set_by, set_at FROM lane_switch \
                   ORDER BY bridge, source_chain, target_chain";
        let statement = Statement::from_string(self.db.get_database_backend(), sql);
        self.db.query_all_raw(statement).await?.iter().map(switch).collect()
    }

    /// The decision about one lane, if any.
    pub async fn find_lane_switch(&self, lane: &LaneKey) -> Result<Option<LaneSwitch>, StoreError> {
        let all = self.list_lane_switches().await?;
        Ok(all.into_iter().find(|switch| switch.lane == *lane))
    }

    /// What the open settlements of a message move: token, sum of amounts, sum of fees.
    pub async fn message_sums(&self, id: MessageId) -> Result<Vec<(Address, U256, U256)>, StoreError> {
        let sql = "SELECT s.token AS token, s.amount AS amount, s.fee AS fee FROM message_settlement ms \
                   JOIN settlement s ON s.settlement_id = ms.settlement_id WHERE ms.message_id = $1 AND ms.resolved = $2";
        let values = [id.0.to_vec().into(), false.into()];
        let statement = Statement::from_sql_and_values(self.db.get_database_backend(), sql, values);
        let mut sums: BTreeMap<Address, (U256, U256)> = BTreeMap::new();
        for row in self.db.query_all_raw(statement).await? {
            let token = codec::address("settlement.token", &row.try_get::<Vec<u8>>("", "token")?)?;
            let amount = codec::u256("settlement.amount", &row.try_get::<Vec<u8>>("", "amount")?)?;
            let fee = codec::u256("settlement.fee", &row.try_get::<Vec<u8>>("", "fee")?)?;
            let sum = sums.entry(token).or_default();
            // Amounts are below 2^96 and a message has at most 1,024 of them.
            *sum = (sum.0.saturating_add(amount), sum.1.saturating_add(fee));
        }
        Ok(sums
            .into_iter()
            .map(|(token, (amount, fee))| (token, amount, fee))
            .collect())
    }
}

impl Txn {
    /// Inserts a planned dispatch unless it breaks a limit. The check and the insertion are one: whoever else inserts over the same bridge
    /// under limits waits for the end of this transaction.
    pub async fn dispatch_insert_within(
        &mut self,
        new: NewDispatch,
        limits: InsertLimits,
        cause: &str,
    ) -> Result<Insertion, StoreError> {
        let lane = LaneKey {
            source: new.source,
            target: new.target,
            bridge: new.bridge.clone(),
        };
        let capped = limits.lane_cap.is_some() || limits.bridge_cap.is_some();
        if capped || limits.probe_since.is_some() {
            self.reserve_counter(&guard(&lane.bridge), 1).await?;
        }
        if let Some(since) = limits.probe_since {
            // Probes are the newest dispatches of the lane; only as many as were planned since matter, and one is enough.
            let newest = passages(&self.tx, &lane, 64).await?;
            if newest
                .iter()
                .any(|passage| passage.is_under_way() && passage.planned_at >= since)
            {
                return Ok(Insertion::Probing);
            }
        }
        if capped {
            let sum = in_flight(&self.tx, &lane).await?;
            let Some(value) = limits.value.filter(|_| sum.unknown == 0) else {
                return Ok(Insertion::UnknownValue);
            };
            for (cap, in_flight, whole_bridge) in [
                (limits.lane_cap, sum.lane, false),
                (limits.bridge_cap, sum.bridge, true),
            ] {
                if let Some(cap) = cap
                    && in_flight.checked_add(value).is_none_or(|all| all > cap)
                {
                    return Ok(Insertion::OverValue {
                        in_flight,
                        cap,
                        whole_bridge,
                    });
                }
            }
        }
        let id = self.dispatch_insert(new, cause).await?;
        if let Some(value) = limits.value {
            dispatch::Entity::update_many()
                .col_expr(dispatch::Column::ValueAtStake, Expr::value(codec::u256_bytes(value)))
                .filter(dispatch::Column::Id.eq(id.0))
                .exec(&self.tx)
                .await?;
        }
        Ok(Insertion::Done(id))
    }

    /// Sets or lifts (None) an operator's decision, and wakes the messages that have a dispatch planned over the lane.
    pub async fn set_lane_mode(
        &mut self,
        lane: &LaneKey,
        mode: Option<LaneMode>,
        reason: &str,
        by: &str,
    ) -> Result<(), StoreError> {
        let backend = self.tx.get_database_backend();
        let (source, target) = chains(lane)?;
        let key: [Value; 3] = [lane.bridge.to_string().into(), source.into(), target.into()];
        let statement = match mode {
            None => {
                let sql = "DELETE FROM lane_switch WHERE bridge = $1 AND source_chain = $2 AND target_chain = $3";
                Statement::from_sql_and_values(backend, sql, key.clone())
            }
            Some(mode) => {
                let sql = "INSERT INTO lane_switch (bridge, source_chain, target_chain, mode, reason, set_by, set_at) \
                           VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (bridge, source_chain, target_chain) DO UPDATE SET \
                           mode = excluded.mode, reason = excluded.reason, set_by = excluded.set_by, set_at = excluded.set_at";
                let rest: [Value; 4] = [mode.name().into(), reason.into(), by.into(), self.now_ms.into()];
                Statement::from_sql_and_values(backend, sql, key.iter().cloned().chain(rest))
            }
        };
        self.tx.execute_raw(statement).await?;
        planned_over(self, lane).await?;
        self.record(NewEvent {
            aggregate: "lane",
            aggregate_id: lane.to_string(),
            event: match mode {
                Some(LaneMode::Paused) => "pause",
                Some(LaneMode::Draining) => "drain",
                None => "resume",
            }
            .into(),
            to_state: Some(mode.map_or("open", LaneMode::name).to_owned()),
            cause: by.to_owned(),
            detail: Some(serde_json::json!({ "reason": reason }).to_string()),
            ..NewEvent::default()
        });
        Ok(())
    }
}

/// What is planned over a lane is tried again at once, or another lane is looked for.
async fn planned_over(txn: &mut Txn, lane: &LaneKey) -> Result<(), StoreError> {
    let backend = txn.tx.get_database_backend();
    let (source, target) = chains(lane)?;
    let key: [Value; 3] = [lane.bridge.to_string().into(), source.into(), target.into()];
    let due = "UPDATE dispatch SET next_at = $4 WHERE bridge = $1 AND source_chain = $2 AND target_chain = $3 \
               AND source_state = 'planned'";
    let now: Value = txn.now_ms.into();
    let values = key.iter().cloned().chain([now]);
    txn.tx
        .execute_raw(Statement::from_sql_and_values(backend, due, values))
        .await?;
    let planned = "SELECT message_id FROM dispatch WHERE bridge = $1 AND source_chain = $2 AND target_chain = $3 \
                   AND source_state = 'planned' ORDER BY message_id";
    let rows = txn
        .tx
        .query_all_raw(Statement::from_sql_and_values(backend, planned, key))
        .await?;
    for row in rows {
        let id = codec::b256("dispatch.message_id", &row.try_get::<Vec<u8>>("", "message_id")?)?;
        txn.wake_message(MessageId(id)).await?;
    }
    Ok(())
}

impl fmt::Display for LaneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.bridge, self.source, self.target)
    }
}

#[cfg(test)]
mod tests;
