//! Dispatches: one carriage of one message over one bridge. Both state columns are written here and nowhere else.

use super::entity::dispatch::{self, Column, Entity, Model};
use super::lease::Claim;
use super::txn::expect_one;
use super::{NewEvent, Store, StoreError, TxId, Txn, codec};
use crate::settlement::states::{DispatchSource, DispatchSourceEvent, DispatchTarget, DispatchTargetEvent};
use crate::settlement::transitions::Machine;
use alloy::primitives::{B256, Bytes, U256};
use relayer_adapter_api::{BridgeId, ChainId, MessageId, MessageRef};
use sea_orm::sea_query::{Condition, Expr, ExprTrait, LockBehavior, LockType, Order, Query, SelectStatement};
use sea_orm::{ActiveValue::Set, ColumnTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Value};
use std::fmt;

/// Row number of a dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DispatchId(pub i64);

impl fmt::Display for DispatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One carriage of one message over one bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    pub id: DispatchId,
    pub message: MessageId,
    pub bridge: BridgeId,
    pub source: ChainId,
    pub target: ChainId,
    pub source_state: DispatchSource,
    pub target_state: DispatchTarget,
    /// JSON of the router's decision: every lane with its quote or refusal.
    pub decision: String,
    /// Wei of the source chain.
    pub fee_quoted: U256,
    pub fee_cap: U256,
    /// Of the receive callback.
    pub gas_limit: u64,
    /// 0 = the quote must be renewed before it is used.
    pub quoted_at: i64,
    /// Row of the transaction that sends it.
    pub tx: Option<TxId>,
    pub bridge_ref: Option<B256>,
    pub evidence: Option<Bytes>,
    pub note: Option<String>,
    pub stalled_at: Option<i64>,
    pub rescued_at: Option<i64>,
    pub next_at: i64,
    /// Consecutive failures to send.
    pub attempts: u32,
    pub planned_at: i64,
    pub included_at: Option<i64>,
    pub finalized_at: Option<i64>,
    pub received_at: Option<i64>,
    pub version: i64,
}

impl Dispatch {
    /// What the adapter needs to follow it, once the send has been decoded.
    pub fn message_ref(&self) -> Option<MessageRef> {
        Some(MessageRef {
            source: self.source,
            target: self.target,
            id: self.bridge_ref?,
            evidence: self.evidence.clone()?,
        })
    }

    /// Whether it may be on its way: a transaction was signed for it.
    pub fn has_left(&self) -> bool {
        !matches!(self.source_state, DispatchSource::Planned | DispatchSource::Dropped)
    }

    /// Whether the outbox has it, as far as we know.
    pub fn is_included(&self) -> bool {
        matches!(self.source_state, DispatchSource::Included | DispatchSource::Finalized)
    }
}

/// A dispatch the router decided on.
#[derive(Debug, Clone)]
pub struct NewDispatch {
    pub message: MessageId,
    pub bridge: BridgeId,
    pub source: ChainId,
    pub target: ChainId,
    pub decision: String,
    pub fee_quoted: U256,
    pub fee_cap: U256,
    pub gas_limit: u64,
}

/// The move a write makes, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DispatchChange {
    Source(DispatchSourceEvent),
    Target(DispatchTargetEvent),
    /// Columns only; recorded under this name unless empty.
    Note(&'static str),
}

/// Columns to write beside the state; `None` leaves a column as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DispatchPatch {
    pub fee_quoted: Option<U256>,
    pub gas_limit: Option<u64>,
    pub quoted_at: Option<i64>,
    pub tx: Option<Option<TxId>>,
    pub bridge_ref: Option<Option<B256>>,
    pub evidence: Option<Option<Bytes>>,
    pub note: Option<Option<String>>,
    pub stalled_at: Option<Option<i64>>,
    pub rescued_at: Option<i64>,
    pub next_at: Option<i64>,
    pub attempts: Option<u32>,
    pub included_at: Option<Option<i64>>,
    pub finalized_at: Option<Option<i64>>,
    pub received_at: Option<Option<i64>>,
}

/// Which dispatches a stage wants to work on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DispatchQueue {
    /// Planned and due: to be sent.
    Send,
    /// Their transaction is in another state than they are.
    Mirror,
    /// On the source chain by a transaction that is not ours to follow; its log is followed instead.
    Adopted,
    /// On the source chain and not known at the target, due for a look.
    Follow,
    /// Stalled, or attested long before `attested_before_ms`, and not rescued since `rescued_before_ms`; over the lanes of `ours`, which
    /// nobody else serves: attested at all, and not tried since `tried_before_ms`.
    Rescue {
        attested_before_ms: i64,
        rescued_before_ms: i64,
        ours: Vec<LaneKey>,
        tried_before_ms: i64,
    },
}

/// One direction over one bridge instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneKey {
    pub source: ChainId,
    pub target: ChainId,
    pub bridge: BridgeId,
}

/// One branch per state, so that each goes by an index and none reads what has long arrived.
const MIRROR: &str = "SELECT d.id FROM dispatch d JOIN tx t ON t.id = d.tx_id WHERE d.source_state = 'prepared' AND t.state <> 'prepared' \
    UNION ALL SELECT d.id FROM dispatch d JOIN tx t ON t.id = d.tx_id \
    WHERE d.source_state = 'submitted' AND t.state IN ('included', 'finalized', 'replaced', 'cancelled') \
    UNION ALL SELECT d.id FROM dispatch d JOIN tx t ON t.id = d.tx_id WHERE d.source_state = 'included' AND t.state <> 'included' \
    UNION ALL SELECT d.id FROM dispatch d JOIN tx t ON t.id = d.tx_id \
    WHERE d.target_state IN ('pending', 'attested') AND d.source_state = 'finalized' AND t.state <> 'finalized'";

/// Overdue and not arrived, in the words of the partial index; the comparison leads to it.
pub(super) const STALLED: &str = "stalled_at > 0 AND stalled_at IS NOT NULL AND target_state <> 'received'";

impl DispatchQueue {
    fn condition(self, now_ms: i64) -> Condition {
        let all = Condition::all();
        // No plain comparison: the index over source states would lead to everything that ever arrived.
        let on_source = Expr::cust("source_state || '' IN ('included', 'finalized')");
        let not_arrived = Column::TargetState.is_in(["pending", "attested"]);
        match self {
            Self::Send => all
                .add(Column::SourceState.eq("planned"))
                .add(Column::NextAt.lte(now_ms)),
            Self::Mirror => all.add(Expr::cust(format!("id IN ({MIRROR})"))),
            Self::Adopted => all.add(Column::SourceState.eq("included")).add(Column::TxId.is_null()),
            Self::Follow => all.add(on_source).add(not_arrived).add(Column::NextAt.lte(now_ms)),
            Self::Rescue {
                attested_before_ms,
                rescued_before_ms,
                ours,
                tried_before_ms,
            } => {
                let attested = Condition::all()
                    .add(Column::TargetState.eq("attested"))
                    .add(Column::FinalizedAt.lte(attested_before_ms));
                let not_since = |at: i64| {
                    Condition::any()
                        .add(Column::RescuedAt.is_null())
                        .add(Column::RescuedAt.lte(at))
                };
                let stuck = Condition::all()
                    .add(Condition::any().add(Column::StalledAt.is_not_null()).add(attested))
                    .add(not_since(rescued_before_ms));
                let due = if ours.is_empty() {
                    stuck
                } else {
                    let lane = |lane: &LaneKey| {
                        // A chain that does not fit the column has no rows.
                        let chain = |id: ChainId| i64::try_from(id.0).unwrap_or(-1);
                        Condition::all()
                            .add(Column::Bridge.eq(lane.bridge.as_str()))
                            .add(Column::SourceChain.eq(chain(lane.source)))
                            .add(Column::TargetChain.eq(chain(lane.target)))
                    };
                    let delivered_by_us = Condition::all()
                        .add(ours.iter().map(lane).fold(Condition::any(), Condition::add))
                        .add(Column::TargetState.eq("attested"))
                        .add(Column::FinalizedAt.is_not_null())
                        .add(not_since(tried_before_ms));
                    Condition::any().add(stuck).add(delivered_by_us)
                };
                all.add(on_source)
                    .add(not_arrived)
                    .add(Column::Evidence.is_not_null())
                    .add(due)
            }
        }
    }
}

impl Store {
    /// Leases up to `limit` rows of a queue.
    pub async fn claim_dispatches(
        &self,
        queue: DispatchQueue,
        owner: &str,
        now_ms: i64,
        limit: usize,
        lease_ms: i64,
    ) -> Result<Vec<Claim<Dispatch>>, StoreError> {
        let lease_now = self.lease_now_ms().await?;
        let mut due = select_ids(limit);
        due.cond_where(queue.condition(now_ms))
            .and_where(Column::LeaseUntil.lt(lease_now));
        if self.db.get_database_backend() == DbBackend::Postgres {
            due.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        }
        let mut rows = Entity::update_many()
            .col_expr(Column::LeaseOwner, Expr::val(owner))
            .col_expr(Column::LeaseUntil, Expr::val(lease_now.saturating_add(lease_ms)))
            .col_expr(Column::LeaseToken, Expr::col(Column::LeaseToken).add(1))
            .filter(Column::Id.in_subquery(due))
            .exec_with_returning(&self.db)
            .await?;
        rows.sort_by_key(|row| row.id);
        rows.into_iter()
            .map(|row| {
                let token = row.lease_token;
                Ok(Claim {
                    row: dispatch_of(row)?,
                    token,
                })
            })
            .collect()
    }

    pub async fn get_dispatch(&self, id: DispatchId) -> Result<Dispatch, StoreError> {
        let row = Entity::find_by_id(id.0).one(&self.db).await?;
        dispatch_of(row.ok_or_else(|| missing(id))?)
    }

    /// All dispatches of a message, oldest first.
    pub async fn list_dispatches(&self, message: MessageId) -> Result<Vec<Dispatch>, StoreError> {
        let rows = Entity::find()
            .filter(Column::MessageId.eq(message.0.to_vec()))
            .order_by_asc(Column::Id)
            .all(&self.db)
            .await?;
        rows.into_iter().map(dispatch_of).collect()
    }

    /// Lanes that hold something up: a dispatch stalled on them and nothing has arrived over them since.
    pub async fn list_stalled_lanes(&self) -> Result<Vec<LaneKey>, StoreError> {
        let stalled = Entity::find()
            // Literals, so that the partial index serves.
            .filter(Expr::cust(STALLED))
            .filter(Column::SourceState.ne(DispatchSource::Dropped.as_str()))
            .all(&self.db)
            .await?;
        let mut lanes = Vec::new();
        for row in stalled {
            let later = Entity::find()
                .filter(Column::SourceChain.eq(row.source_chain))
                .filter(Column::TargetChain.eq(row.target_chain))
                .filter(Column::Bridge.eq(row.bridge.clone()))
                .filter(Column::ReceivedAt.gt(row.stalled_at))
                .limit(1)
                .one(&self.db)
                .await?;
            if later.is_none() {
                let row = dispatch_of(row)?;
                lanes.push(LaneKey {
                    source: row.source,
                    target: row.target,
                    bridge: row.bridge,
                });
            }
        }
        lanes.sort();
        lanes.dedup();
        Ok(lanes)
    }

    /// How long the last `limit` arrivals of a lane took from source finality, in milliseconds, newest first.
    pub async fn list_lane_transits(&self, lane: &LaneKey, limit: u64) -> Result<Vec<i64>, StoreError> {
        let rows = Entity::find()
            .filter(Column::SourceChain.eq(codec::int("dispatch.source_chain", lane.source.0)?))
            .filter(Column::TargetChain.eq(codec::int("dispatch.target_chain", lane.target.0)?))
            .filter(Column::Bridge.eq(lane.bridge.as_str()))
            .filter(Column::TargetState.eq(DispatchTarget::Received.as_str()))
            .filter(Column::ReceivedAt.is_not_null())
            .filter(Column::IncludedAt.is_not_null())
            .order_by_desc(Column::ReceivedAt)
            .limit(limit)
            .all(&self.db)
            .await?;
        let transit = |row: Model| {
            let from = row.finalized_at.or(row.included_at)?;
            Some(std::cmp::Ord::max(row.received_at?.saturating_sub(from), 0))
        };
        Ok(rows.into_iter().filter_map(transit).collect())
    }
}

impl Txn {
    /// Inserts a planned dispatch. A second one of the same message over the same bridge is a `Conflict`.
    pub async fn dispatch_insert(&mut self, new: NewDispatch, cause: &str) -> Result<DispatchId, StoreError> {
        let row = dispatch::ActiveModel {
            message_id: Set(new.message.0.to_vec()),
            bridge: Set(new.bridge.to_string()),
            source_chain: Set(codec::int("dispatch.source_chain", new.source.0)?),
            target_chain: Set(codec::int("dispatch.target_chain", new.target.0)?),
            source_state: Set(DispatchSource::INITIAL.as_str().to_owned()),
            target_state: Set(DispatchTarget::INITIAL.as_str().to_owned()),
            decision: Set(new.decision),
            fee_quoted: Set(codec::u256_bytes(new.fee_quoted)),
            fee_cap: Set(codec::u256_bytes(new.fee_cap)),
            gas_limit: Set(codec::int("dispatch.gas_limit", new.gas_limit)?),
            quoted_at: Set(self.now_ms),
            next_at: Set(self.now_ms),
            attempts: Set(0),
            planned_at: Set(self.now_ms),
            version: Set(0),
            lease_until: Set(0),
            lease_token: Set(0),
            ..Default::default()
        };
        let inserted = Entity::insert(row)
            .on_conflict_do_nothing_on([Column::MessageId, Column::Bridge])
            .exec_with_returning_many(&self.tx)
            .await?;
        let sea_orm::TryInsertResult::Inserted(rows) = inserted else {
            return Err(StoreError::Conflict {
                what: format!("dispatch of {} over {}", new.message, new.bridge),
            });
        };
        let Some(id) = rows.first().map(|row| row.id) else {
            return Err(StoreError::Conflict {
                what: format!("dispatch of {} over {}", new.message, new.bridge),
            });
        };
        self.record(NewEvent {
            aggregate: "dispatch",
            aggregate_id: id.to_string(),
            event: "plan".into(),
            to_state: Some(DispatchSource::INITIAL.to_string()),
            cause: cause.to_owned(),
            detail: Some(detail(new.message, new.bridge.as_str(), None)),
            ..Default::default()
        });
        Ok(DispatchId(id))
    }

    /// Applies one move and writes `patch`. With a `token` the claim must still hold; its lease is given back.
    pub async fn dispatch_apply(
        &mut self,
        id: DispatchId,
        token: Option<i64>,
        change: DispatchChange,
        patch: DispatchPatch,
        cause: &str,
    ) -> Result<Dispatch, StoreError> {
        let row = Entity::find_by_id(id.0)
            .one(&self.tx)
            .await?
            .ok_or_else(|| missing(id))?;
        let source: DispatchSource = codec::name("dispatch.source_state", &row.source_state)?;
        let target: DispatchTarget = codec::name("dispatch.target_state", &row.target_state)?;
        let (source_to, target_to, from, to, event) = match change {
            DispatchChange::Source(event) => {
                let to = source.apply(event)?;
                (to, target, source.as_str(), to.as_str(), event.as_str())
            }
            DispatchChange::Target(event) => {
                let to = target.apply(event)?;
                (source, to, target.as_str(), to.as_str(), event.as_str())
            }
            DispatchChange::Note(name) => (source, target, "", "", name),
        };
        let mut changed = patch_row(&row, patch, source_to, target_to)?;
        if token.is_some() {
            changed.lease_owner = Set(None);
            changed.lease_until = Set(0);
        }
        let mut update = Entity::update_many()
            .set(changed)
            .filter(Column::Id.eq(id.0))
            .filter(Column::Version.eq(row.version));
        if let Some(token) = token {
            update = update.filter(Column::LeaseToken.eq(token));
        }
        let mut rows = update.exec_with_returning(&self.tx).await?;
        expect_one(rows.len() as u64, format!("dispatch {id}"))?;
        let after = dispatch_of(rows.remove(0))?;
        if !event.is_empty() {
            let state = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            self.record(NewEvent {
                aggregate: "dispatch",
                aggregate_id: id.to_string(),
                event: event.to_owned(),
                from_state: state(from),
                to_state: state(to),
                cause: cause.to_owned(),
                detail: Some(detail(after.message, after.bridge.as_str(), after.note.as_deref())),
                ..Default::default()
            });
        }
        Ok(after)
    }

    /// All dispatches of a message, oldest first, as of this transaction.
    pub async fn dispatches_of(&self, message: MessageId) -> Result<Vec<Dispatch>, StoreError> {
        let rows = Entity::find()
            .filter(Column::MessageId.eq(message.0.to_vec()))
            .order_by_asc(Column::Id)
            .all(&self.tx)
            .await?;
        rows.into_iter().map(dispatch_of).collect()
    }
}

fn select_ids(limit: usize) -> SelectStatement {
    let mut select = Query::select();
    select
        .column(Column::Id)
        .from(Entity)
        .order_by(Column::NextAt, Order::Asc)
        .order_by(Column::Id, Order::Asc)
        .limit(limit as u64);
    select
}

/// The columns to write: state, patch, next version.
fn patch_row(
    row: &Model,
    patch: DispatchPatch,
    source: DispatchSource,
    target: DispatchTarget,
) -> Result<dispatch::ActiveModel, StoreError> {
    let mut changed = dispatch::ActiveModel {
        source_state: Set(source.as_str().to_owned()),
        target_state: Set(target.as_str().to_owned()),
        version: Set(row.version.saturating_add(1)),
        ..Default::default()
    };
    if let Some(fee) = patch.fee_quoted {
        changed.fee_quoted = Set(codec::u256_bytes(fee));
    }
    if let Some(gas) = patch.gas_limit {
        changed.gas_limit = Set(codec::int("dispatch.gas_limit", gas)?);
    }
    if let Some(bridge_ref) = patch.bridge_ref {
        changed.bridge_ref = Set(bridge_ref.map(|hash| hash.to_vec()));
    }
    if let Some(evidence) = patch.evidence {
        changed.evidence = Set(evidence.map(|bytes| bytes.to_vec()));
    }
    if let Some(attempts) = patch.attempts {
        changed.attempts = Set(i32::try_from(attempts).unwrap_or(i32::MAX));
    }
    set(&mut changed.quoted_at, patch.quoted_at);
    set(&mut changed.tx_id, patch.tx.map(|tx| tx.map(|id| id.0)));
    set(&mut changed.note, patch.note);
    set(&mut changed.stalled_at, patch.stalled_at);
    set(&mut changed.rescued_at, patch.rescued_at.map(Some));
    set(&mut changed.next_at, patch.next_at);
    set(&mut changed.included_at, patch.included_at);
    set(&mut changed.finalized_at, patch.finalized_at);
    set(&mut changed.received_at, patch.received_at);
    Ok(changed)
}

pub(super) fn set<T: Into<Value>>(column: &mut sea_orm::ActiveValue<T>, value: Option<T>) {
    if let Some(value) = value {
        *column = Set(value);
    }
}

fn detail(message: MessageId, bridge: &str, note: Option<&str>) -> String {
    serde_json::json!({ "message": message, "bridge": bridge, "note": note }).to_string()
}

fn missing(id: DispatchId) -> StoreError {
    StoreError::Missing {
        what: format!("dispatch {id}"),
    }
}

fn dispatch_of(row: Model) -> Result<Dispatch, StoreError> {
    let bridge_ref = row.bridge_ref.as_deref();
    Ok(Dispatch {
        id: DispatchId(row.id),
        message: MessageId(codec::b256("dispatch.message_id", &row.message_id)?),
        bridge: codec::name("dispatch.bridge", &row.bridge)?,
        source: ChainId(codec::uint("dispatch.source_chain", row.source_chain)?),
        target: ChainId(codec::uint("dispatch.target_chain", row.target_chain)?),
        source_state: codec::name("dispatch.source_state", &row.source_state)?,
        target_state: codec::name("dispatch.target_state", &row.target_state)?,
        decision: row.decision,
        fee_quoted: codec::u256("dispatch.fee_quoted", &row.fee_quoted)?,
        fee_cap: codec::u256("dispatch.fee_cap", &row.fee_cap)?,
        gas_limit: codec::uint("dispatch.gas_limit", row.gas_limit)?,
        quoted_at: row.quoted_at,
        tx: row.tx_id.map(TxId),
        bridge_ref: bridge_ref
            .map(|bytes| codec::b256("dispatch.bridge_ref", bytes))
            .transpose()?,
        evidence: row.evidence.map(Bytes::from),
        note: row.note,
        stalled_at: row.stalled_at,
        rescued_at: row.rescued_at,
        next_at: row.next_at,
        attempts: u32::try_from(row.attempts).unwrap_or(0),
        planned_at: row.planned_at,
        included_at: row.included_at,
        finalized_at: row.finalized_at,
        received_at: row.received_at,
        version: row.version,
    })
}
