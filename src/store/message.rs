//! Messages: sealed batches with the settlements they commit to, and checkpoints of hubs, which commit to none.

use super::codec::{address, b256, int, name, uint};
use super::entity::{message, message_settlement};
use super::lease::Claim;
use super::txn::expect_one;
use super::{NewEvent, Store, StoreError, Txn};
use crate::settlement::policy::RoutePolicy;
use crate::settlement::states::{MessageEvent, MessageState, SettlementEvent};
use crate::settlement::transitions::Machine;
use crate::settlement::{ChainId, MessageId, SettlementId};
use alloy::primitives::Address;
use relayer_adapter_api::{Body, Header, Kind, SealedMessage, WireMessage};
use sea_orm::sea_query::{Expr, ExprTrait, LockBehavior, LockType, Order, Query};
use sea_orm::{ActiveValue::Set, ColumnTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use std::collections::HashMap;

/// A sealed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub row: i64,
    pub id: MessageId,
    pub header: Header,
    /// The hub's contract on the source chain, of a checkpoint.
    pub hub: Option<Address>,
    /// Families of bridges its members need, or the registry of its hub.
    pub tier: u8,
    /// How its lanes are ranked; None = as configured.
    pub policy: Option<RoutePolicy>,
    pub state: MessageState,
    /// Target block in which the quorum was reached, as seen.
    pub received_block: Option<u64>,
    pub abandon_reason: Option<String>,
    /// Router or payout looks again then, Unix ms.
    pub next_at: i64,
    pub created_at: i64,
    pub updated_at: i64,
    pub version: i64,
}

/// One leaf of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageLeaf {
    pub leaf: usize,
    pub settlement: SettlementId,
    /// The settlement ended or left this message.
    pub resolved: bool,
}

/// What changes beside the state; `None` leaves a column as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessagePatch {
    pub received_block: Option<Option<u64>>,
    pub abandon_reason: Option<String>,
    pub next_at: Option<i64>,
}

impl Store {
    pub async fn find_message(&self, id: MessageId) -> Result<Option<Message>, StoreError> {
        let row = message::Entity::find()
            .filter(message::Column::MessageId.eq(id.0.to_vec()))
            .one(&self.db)
            .await?;
        row.as_ref().map(decode).transpose()
    }

    pub async fn get_message(&self, id: MessageId) -> Result<Message, StoreError> {
        self.find_message(id).await?.ok_or_else(|| missing(id))
    }

    /// Leaves in order.
    pub async fn list_message_leaves(&self, id: MessageId) -> Result<Vec<MessageLeaf>, StoreError> {
        let rows = message_settlement::Entity::find()
            .filter(message_settlement::Column::MessageId.eq(id.0.to_vec()))
            .order_by_asc(message_settlement::Column::Leaf)
            .all(&self.db)
            .await?;
        rows.iter().map(decode_leaf).collect()
    }

    /// The message as adapters take it. `committed` is the caller's knowledge: whether the outbox has committed to it.
    pub async fn get_sealed_message(&self, id: MessageId, committed: bool) -> Result<SealedMessage, StoreError> {
        let message = self.get_message(id).await?;
        let body = match message.hub {
            Some(hub) => Body::Checkpoint { hub },
            None => {
                let leaves = self.list_message_leaves(id).await?;
                Body::Batch {
                    ids: leaves.into_iter().map(|leaf| leaf.settlement).collect(),
                }
            }
        };
        Ok(SealedMessage {
            header: message.header,
            body,
            committed,
        })
    }

    /// Messages in a state, oldest first, after row `after`.
    pub async fn list_messages(&self, state: MessageState, after: i64, limit: u64) -> Result<Vec<Message>, StoreError> {
        let rows = message::Entity::find()
            .filter(message::Column::State.eq(state.as_str()))
            .filter(message::Column::Id.gt(after))
            .order_by_asc(message::Column::Id)
            .limit(limit)
            .all(&self.db)
            .await?;
        rows.iter().map(decode).collect()
    }

    /// Row numbers of messages: their order of sealing.
    pub(super) async fn message_rows(&self, ids: &[MessageId]) -> Result<HashMap<MessageId, i64>, StoreError> {
        let rows: Vec<(i64, Vec<u8>)> = message::Entity::find()
            .select_only()
            .columns([message::Column::Id, message::Column::MessageId])
            .filter(message::Column::MessageId.is_in(ids.iter().map(|id| id.0.to_vec())))
            .into_tuple()
            .all(&self.db)
            .await?;
        rows.iter()
            .map(|(row, id)| Ok((MessageId(b256("message.message_id", id)?), *row)))
            .collect()
    }

    /// Claims due messages of these states for `lease_ms`, oldest first. Complete with [`Txn::message_apply`] or [`Txn::release_message`].
    pub async fn claim_messages(
        &self,
        states: &[MessageState],
        owner: &str,
        now_ms: i64,
        limit: usize,
        lease_ms: i64,
    ) -> Result<Vec<Claim<Message>>, StoreError> {
        self.claim_kind(None, states, owner, now_ms, limit, lease_ms).await
    }

    /// The same for messages of one kind: what is done with them once they have arrived differs.
    pub async fn claim_messages_of(
        &self,
        kind: Kind,
        states: &[MessageState],
        owner: &str,
        now_ms: i64,
        limit: usize,
        lease_ms: i64,
    ) -> Result<Vec<Claim<Message>>, StoreError> {
        self.claim_kind(Some(kind), states, owner, now_ms, limit, lease_ms)
            .await
    }

    async fn claim_kind(
        &self,
        kind: Option<Kind>,
        states: &[MessageState],
        owner: &str,
        now_ms: i64,
        limit: usize,
        lease_ms: i64,
    ) -> Result<Vec<Claim<Message>>, StoreError> {
        use message::Column;
        let lease_now = self.lease_now_ms().await?;
        let mut due = Query::select();
        due.column(Column::Id)
            .from(message::Entity)
            .and_where(Column::State.is_in(states.iter().map(|state| state.as_str())))
            .and_where(Column::NextAt.lte(now_ms))
            .and_where(Column::LeaseUntil.lt(lease_now))
            .order_by(Column::Id, Order::Asc)
            .limit(limit as u64);
        if let Some(kind) = kind {
            due.and_where(Column::Kind.eq(kind as u8));
        }
        if self.db.get_database_backend() == DbBackend::Postgres {
            due.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        }
        let mut rows = message::Entity::update_many()
            .col_expr(Column::LeaseOwner, Expr::val(owner))
            .col_expr(Column::LeaseUntil, Expr::val(lease_now.saturating_add(lease_ms)))
            .col_expr(Column::LeaseToken, Expr::col(Column::LeaseToken).add(1))
            .filter(Column::Id.in_subquery(due))
            .exec_with_returning(&self.db)
            .await?;
        rows.sort_by_key(|row| row.id);
        rows.iter()
            .map(|row| {
                Ok(Claim {
                    row: decode(row)?,
                    token: row.lease_token,
                })
            })
            .collect()
    }
}

/// Counter of the last sequence taken.
pub(super) fn sequence_counter(outbox: alloy::primitives::Address, target: ChainId, kind: u8) -> String {
    format!("sequence:{outbox}:{target}:{kind}")
}

/// A message as it is sealed: of no hub, for one family, by the coordinator's policy. `sequence` is its header's, unless that is taken.
pub(super) fn sealed_row(
    id: MessageId,
    header: &Header,
    sequence: i64,
    now_ms: i64,
) -> Result<message::ActiveModel, StoreError> {
    Ok(message::ActiveModel {
        message_id: Set(id.0.to_vec()),
        kind: Set(i32::from(header.kind as u8)),
        hub: Set(Vec::new()),
        header: Set(header.encode().to_vec()),
        source_chain: Set(int("message.source_chain", header.source.0)?),
        target_chain: Set(int("message.target_chain", header.target.0)?),
        tier: Set(1),
        policy: Set(None),
        sequence: Set(sequence),
        root: Set(header.root.to_vec()),
        leaves: Set(i32::try_from(header.count).unwrap_or(i32::MAX)),
        state: Set(MessageState::Sealed.as_str().to_owned()),
        received_block: Set(None),
        abandon_reason: Set(None),
        next_at: Set(now_ms),
        created_at: Set(now_ms),
        updated_at: Set(now_ms),
        version: Set(0),
        lease_owner: Set(None),
        lease_until: Set(0),
        lease_token: Set(0),
        ..Default::default()
    })
}

impl Txn {
    /// Takes the next sequence of (outbox, target, kind). Part of the sealing transaction, so an aborted seal leaves no hole.
    pub async fn next_sequence(
        &self,
        outbox: alloy::primitives::Address,
        target: ChainId,
        kind: u8,
    ) -> Result<u64, StoreError> {
        let value = self.reserve_counter(&sequence_counter(outbox, target, kind), 1).await?;
        uint("counter.value", value)
    }

    /// Stores a sealed message and moves its members to Batched; all of them, or nothing: fails with `Conflict` when one has moved on
    /// or relies on what does not hold any more.
    pub async fn seal_message(
        &mut self,
        message: &SealedMessage,
        tier: u8,
        policy: Option<RoutePolicy>,
        cause: &str,
    ) -> Result<(), StoreError> {
        let header = &message.header;
        let id = message.id();
        let Body::Batch { ids } = &message.body else {
            return Err(StoreError::Conflict {
                what: format!("message {id}, which is no batch"),
            });
        };
        // Since they were listed, a hub may have halted.
        self.expect_upheld(ids).await?;
        self.insert_message(message, tier, policy).await?;
        self.insert_leaves(id, ids).await?;
        let sealed = self
            .settlements_apply(ids, SettlementEvent::Seal, &format!("message {id}"))
            .await?;
        if sealed.len() != ids.len() {
            return Err(StoreError::Conflict {
                what: "settlements of a batch".into(),
            });
        }
        self.record(NewEvent {
            aggregate: "message",
            aggregate_id: id.to_string(),
            event: "seal".into(),
            from_state: None,
            to_state: Some(MessageState::Sealed.to_string()),
            cause: cause.to_owned(),
            detail: Some(format!(
                r#"{{"leaves":{},"sequence":{}}}"#,
                header.count, header.sequence
            )),
            ..NewEvent::default()
        });
        Ok(())
    }

    /// The row of a message that has just been sealed.
    pub(super) async fn insert_message(
        &self,
        message: &SealedMessage,
        tier: u8,
        policy: Option<RoutePolicy>,
    ) -> Result<(), StoreError> {
        let sequence = int("message.sequence", message.header.sequence)?;
        let row = message::ActiveModel {
            hub: Set(message.hub().map(|hub| hub.to_vec()).unwrap_or_default()),
            tier: Set(i32::from(tier)),
            policy: Set(policy.map(|policy| policy.name().to_owned())),
            ..sealed_row(message.id(), &message.header, sequence, self.now_ms)?
        };
        message::Entity::insert(row)
            .exec_without_returning(&self.tx)
            .await
            .map_err(|error| StoreError::or_race(error, "a message"))?;
        Ok(())
    }

    /// The settlements a message commits to, in the order of its tree; none of them resolved.
    pub(super) async fn insert_leaves(&self, id: MessageId, ids: &[SettlementId]) -> Result<(), StoreError> {
        let leaves = (0..)
            .zip(ids)
            .map(|(leaf, settlement)| message_settlement::ActiveModel {
                message_id: Set(id.0.to_vec()),
                leaf: Set(leaf),
                settlement_id: Set(settlement.0.to_vec()),
                resolved: Set(false),
            });
        message_settlement::Entity::insert_many(leaves)
            .exec_without_returning(&self.tx)
            .await?;
        Ok(())
    }

    /// Applies an event. With a claim's token the lease is checked and given back.
    pub async fn message_apply(
        &mut self,
        id: MessageId,
        event: MessageEvent,
        patch: &MessagePatch,
        token: Option<i64>,
        cause: &str,
    ) -> Result<MessageState, StoreError> {
        let row = self.lock_message(id).await?;
        let to = row.state.apply(event)?;
        let mut set = patch_of(patch)?;
        set.state = Set(to.as_str().to_owned());
        self.write_message(&row, set, token).await?;
        self.record(NewEvent {
            aggregate: "message",
            aggregate_id: id.to_string(),
            event: event.to_string(),
            from_state: Some(row.state.to_string()),
            to_state: Some(to.to_string()),
            cause: cause.to_owned(),
            detail: patch
                .abandon_reason
                .as_ref()
                .map(|reason| serde_json::json!({ "reason": reason }).to_string()),
            ..NewEvent::default()
        });
        Ok(to)
    }

    /// Gives a claimed message back, to be looked at again at `next_at`.
    pub async fn release_message(&mut self, id: MessageId, token: i64, next_at: i64) -> Result<(), StoreError> {
        let row = self.lock_message(id).await?;
        let patch = MessagePatch {
            next_at: Some(next_at),
            ..MessagePatch::default()
        };
        self.write_message(&row, patch_of(&patch)?, Some(token)).await
    }

    /// Wakes whoever works on a message, now; also when somebody holds it at this moment, see [`Txn::release_claim`].
    /// Does nothing to a message that is not there.
    pub async fn wake_message(&mut self, id: MessageId) -> Result<(), StoreError> {
        message::Entity::update_many()
            .col_expr(message::Column::NextAt, Expr::val(self.now_ms))
            .col_expr(message::Column::Version, Expr::col(message::Column::Version).add(1))
            .filter(message::Column::MessageId.eq(id.0.to_vec()))
            .exec(&self.tx)
            .await?;
        Ok(())
    }

    /// Gives a message up: it is abandoned, and those of its settlements that have not ended are batched again from `batch_after` on.
    pub async fn abandon_message(
        &mut self,
        id: MessageId,
        reason: &str,
        batch_after: i64,
        token: Option<i64>,
        cause: &str,
    ) -> Result<Vec<SettlementId>, StoreError> {
        let patch = MessagePatch {
            abandon_reason: Some(reason.to_owned()),
            ..MessagePatch::default()
        };
        self.message_apply(id, MessageEvent::Abandon, &patch, token, cause)
            .await?;
        let open: Vec<SettlementId> = self
            .open_leaves(id)
            .await?
            .into_iter()
            .map(|leaf| leaf.settlement)
            .collect();
        let cause = format!("message {id} abandoned");
        let requeued = self.requeue_settlements(&open, batch_after, &cause).await?;
        message_settlement::Entity::update_many()
            .col_expr(message_settlement::Column::Resolved, Expr::val(true))
            .filter(message_settlement::Column::MessageId.eq(id.0.to_vec()))
            .exec(&self.tx)
            .await?;
        Ok(requeued)
    }

    /// Leaves whose settlements have neither ended nor left the message.
    pub async fn open_leaves(&self, id: MessageId) -> Result<Vec<MessageLeaf>, StoreError> {
        let rows = message_settlement::Entity::find()
            .filter(message_settlement::Column::MessageId.eq(id.0.to_vec()))
            .filter(message_settlement::Column::Resolved.eq(false))
            .order_by_asc(message_settlement::Column::Leaf)
            .all(&self.tx)
            .await?;
        rows.iter().map(decode_leaf).collect()
    }

    /// Marks the leaves of settlements that ended, or reopens them when a payment was taken back. A message whose leaves are all
    /// resolved is executed; one that has an open leaf again is reopened.
    pub async fn resolve_leaves(&mut self, ids: &[SettlementId], resolved: bool) -> Result<(), StoreError> {
        for chunk in ids.chunks(1_000) {
            let of = message_settlement::Column::SettlementId.is_in(chunk.iter().map(|id| id.0.to_vec()));
            let rows = message_settlement::Entity::find()
                .filter(of.clone())
                .filter(message_settlement::Column::Resolved.ne(resolved))
                .all(&self.tx)
                .await?;
            if rows.is_empty() {
                continue;
            }
            let mut messages: Vec<MessageId> = Vec::new();
            for row in &rows {
                let id = MessageId(b256("message_settlement.message_id", &row.message_id)?);
                if !messages.contains(&id) {
                    messages.push(id);
                }
            }
            let live = self.live_messages(&messages).await?;
            message_settlement::Entity::update_many()
                .col_expr(message_settlement::Column::Resolved, Expr::val(resolved))
                .filter(of)
                .filter(message_settlement::Column::MessageId.is_in(live.iter().map(|row| row.id.0.to_vec())))
                .exec(&self.tx)
                .await?;
            for row in live {
                self.follow_leaves(&row, resolved).await?;
            }
        }
        Ok(())
    }

    /// Abandoned messages stay as they are: their settlements left them.
    async fn live_messages(&self, ids: &[MessageId]) -> Result<Vec<Message>, StoreError> {
        let rows = message::Entity::find()
            .filter(message::Column::MessageId.is_in(ids.iter().map(|id| id.0.to_vec())))
            .filter(message::Column::State.ne(MessageState::Abandoned.as_str()))
            .order_by_asc(message::Column::Id)
            .lock_exclusive()
            .all(&self.tx)
            .await?;
        rows.iter().map(decode).collect()
    }

    async fn follow_leaves(&mut self, row: &Message, resolved: bool) -> Result<(), StoreError> {
        let event = if resolved {
            MessageEvent::Execute
        } else {
            MessageEvent::Reopen
        };
        if row.state.apply(event).is_err() || (resolved && self.has_open_leaf(row.id).await?) {
            return Ok(());
        }
        self.message_apply(row.id, event, &MessagePatch::default(), None, "leaves")
            .await?;
        Ok(())
    }

    async fn has_open_leaf(&self, id: MessageId) -> Result<bool, StoreError> {
        let open = message_settlement::Entity::find()
            .filter(message_settlement::Column::MessageId.eq(id.0.to_vec()))
            .filter(message_settlement::Column::Resolved.eq(false))
            .limit(1)
            .one(&self.tx)
            .await?;
        Ok(open.is_some())
    }

    /// One message, locked until the end of the transaction.
    pub async fn lock_message(&self, id: MessageId) -> Result<Message, StoreError> {
        let row = message::Entity::find()
            .filter(message::Column::MessageId.eq(id.0.to_vec()))
            .lock_exclusive()
            .one(&self.tx)
            .await?
            .ok_or_else(|| missing(id))?;
        decode(&row)
    }

    async fn write_message(
        &self,
        row: &Message,
        mut set: message::ActiveModel,
        token: Option<i64>,
    ) -> Result<(), StoreError> {
        set.updated_at = Set(self.now_ms);
        set.version = Set(row.version.saturating_add(1));
        let mut update = message::Entity::update_many();
        if token.is_some() {
            set.lease_owner = Set(None);
            set.lease_until = Set(0);
        }
        update = update
            .set(set)
            .filter(message::Column::Id.eq(row.row))
            .filter(message::Column::Version.eq(row.version));
        if let Some(token) = token {
            update = update.filter(message::Column::LeaseToken.eq(token));
        }
        let written = update.exec(&self.tx).await?;
        expect_one(written.rows_affected, format!("message {}", row.id))
    }
}

fn patch_of(patch: &MessagePatch) -> Result<message::ActiveModel, StoreError> {
    let mut set = message::ActiveModel::default();
    if let Some(block) = patch.received_block {
        set.received_block = Set(block.map(|block| int("message.received_block", block)).transpose()?);
    }
    if let Some(reason) = &patch.abandon_reason {
        set.abandon_reason = Set(Some(reason.clone()));
    }
    if let Some(next_at) = patch.next_at {
        set.next_at = Set(next_at);
    }
    Ok(set)
}

fn missing(id: MessageId) -> StoreError {
    StoreError::Missing {
        what: format!("message {id}"),
    }
}

pub(super) fn decode(row: &message::Model) -> Result<Message, StoreError> {
    let mut bytes = row.header.clone();
    if !row.hub.is_empty() {
        bytes.extend_from_slice(address("message.hub", &row.hub)?.into_word().as_slice());
    }
    let wire = WireMessage::decode(&bytes).map_err(|error| StoreError::Corrupt {
        column: "message.header",
        reason: error.to_string(),
    })?;
    Ok(Message {
        row: row.id,
        id: MessageId(b256("message.message_id", &row.message_id)?),
        header: wire.header,
        hub: wire.hub,
        tier: u8::try_from(row.tier).map_err(|error| StoreError::Corrupt {
            column: "message.tier",
            reason: error.to_string(),
        })?,
        policy: row
            .policy
            .as_deref()
            .map(|policy| name("message.policy", policy))
            .transpose()?,
        state: name("message.state", &row.state)?,
        received_block: row
            .received_block
            .map(|block| uint("message.received_block", block))
            .transpose()?,
        abandon_reason: row.abandon_reason.clone(),
        next_at: row.next_at,
        created_at: row.created_at,
        updated_at: row.updated_at,
        version: row.version,
    })
}

fn decode_leaf(row: &message_settlement::Model) -> Result<MessageLeaf, StoreError> {
    Ok(MessageLeaf {
        leaf: usize::try_from(row.leaf).map_err(|error| StoreError::Corrupt {
            column: "message_settlement.leaf",
            reason: error.to_string(),
        })?,
        settlement: SettlementId(b256("message_settlement.settlement_id", &row.settlement_id)?),
        resolved: row.resolved,
    })
}
