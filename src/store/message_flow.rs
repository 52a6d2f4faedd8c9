//! What the stages do with sealed messages: claim them, move them, read their members with all that an execution needs, and move
//! the members along. Sealing is the batcher's.

use super::dispatch::set;
use super::entity::{message, message_settlement, settlement, settlement_group};
use super::lease::Claim;
use super::settlement::{Settlement, decode};
use super::txn::expect_one;
use super::{NewEvent, Store, StoreError, Txn, codec};
use crate::settlement::packed::{Authorization, Member};
use crate::settlement::states::{MessageEvent, MessageState, SettlementEvent, SettlementState};
use crate::settlement::terms::SignedGroup;
use crate::settlement::transitions::Machine;
use alloy::primitives::B256;
use relayer_adapter_api::{ChainId, Header, MessageId, SealedMessage, SettlementId};
use sea_orm::sea_query::{Expr, ExprTrait, LockBehavior, LockType, Order, Query};
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder, Statement};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A sealed batch as the stages see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub id: MessageId,
    pub header: Header,
    /// Families of bridges the inbox asks for.
    pub tier: usize,
    pub state: MessageState,
    /// Target block in which the quorum was reached, as seen.
    pub received_block: Option<u64>,
    pub next_at: i64,
    pub created_at: i64,
    pub version: i64,
}

impl Message {
    pub fn source(&self) -> ChainId {
        self.header.source
    }

    pub fn target(&self) -> ChainId {
        self.header.target
    }
}

/// One leaf of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageMember {
    pub leaf: usize,
    /// It ended, or left this message.
    pub resolved: bool,
    pub settlement: Settlement,
    pub authorization: Authorization,
}

impl MessageMember {
    /// What the packed encoding takes.
    pub fn member(&self) -> Member {
        Member {
            terms: self.settlement.terms,
            authorization: self.authorization.clone(),
        }
    }
}

/// What the target chain said about a leaf so far, orphaned logs aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeafSeen {
    pub paid: bool,
    /// Reason of the newest skip, as the inbox numbers them.
    pub skipped: Option<u8>,
}

/// The move a write makes, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageChange {
    Event(MessageEvent),
    /// Columns only; recorded under this name unless empty.
    Note(&'static str),
}

/// Columns to write beside the state; `None` leaves a column as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessagePatch {
    pub next_at: Option<i64>,
    pub received_block: Option<Option<u64>>,
    pub abandon_reason: Option<String>,
    /// JSON for the event.
    pub detail: Option<String>,
}

impl Store {
    /// Leases messages in one of `states` that are due.
    pub async fn claim_messages(
        &self,
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
            .order_by(Column::NextAt, Order::Asc)
            .order_by(Column::Id, Order::Asc)
            .limit(limit as u64);
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
                    row: message_of(row)?,
                    token: row.lease_token,
                })
            })
            .collect()
    }

    pub async fn find_message(&self, id: MessageId) -> Result<Option<Message>, StoreError> {
        find(&self.db, id).await?.as_ref().map(message_of).transpose()
    }

    pub async fn get_message(&self, id: MessageId) -> Result<Message, StoreError> {
        self.find_message(id).await?.ok_or_else(|| missing(id))
    }

    /// Messages of which no leaf is open any more but whose state does not say so yet.
    pub async fn list_resolved_messages(&self, limit: u64) -> Result<Vec<MessageId>, StoreError> {
        let sql = "SELECT m.message_id FROM message m WHERE m.state IN ('sealed', 'received') AND NOT EXISTS \
                   (SELECT 1 FROM message_settlement ms WHERE ms.message_id = m.message_id AND NOT ms.resolved) \
                   ORDER BY m.id LIMIT $1";
        let limit = codec::int("limit", limit)?;
        let statement = Statement::from_sql_and_values(self.db.get_database_backend(), sql, [limit.into()]);
        let rows = self.db.query_all_raw(statement).await?;
        rows.into_iter()
            .map(|row| {
                let id: Vec<u8> = row.try_get("", "message_id")?;
                Ok(MessageId(codec::b256("message.message_id", &id)?))
            })
            .collect()
    }

    /// What the outbox takes: header and ids in leaf order.
    pub async fn get_sealed(&self, id: MessageId, committed: bool) -> Result<SealedMessage, StoreError> {
        let header = self.get_message(id).await?.header;
        let rows = leaves(&self.db, id).await?;
        let ids = rows
            .iter()
            .map(|row| codec::b256("message_settlement.settlement_id", &row.settlement_id).map(SettlementId))
            .collect::<Result<_, _>>()?;
        Ok(SealedMessage { header, ids, committed })
    }

    /// All leaves in order, with terms and authorizations.
    pub async fn list_members(&self, id: MessageId) -> Result<Vec<MessageMember>, StoreError> {
        let rows = leaves(&self.db, id).await?;
        let of_message = Query::select()
            .column(message_settlement::Column::SettlementId)
            .from(message_settlement::Entity)
            .and_where(message_settlement::Column::MessageId.eq(id.0.to_vec()))
            .to_owned();
        let settlements = settlement::Entity::find()
            .filter(settlement::Column::SettlementId.in_subquery(of_message))
            .all(&self.db)
            .await?;
        let mut by_id: BTreeMap<Vec<u8>, Settlement> = BTreeMap::new();
        for row in &settlements {
            by_id.insert(row.settlement_id.clone(), decode(row)?);
        }
        let groups = self.signed_groups(by_id.values()).await?;
        rows.into_iter()
            .map(|row| {
                let settlement = by_id.remove(&row.settlement_id).ok_or_else(|| StoreError::Missing {
                    what: format!("settlement of leaf {} of message {id}", row.leaf),
                })?;
                Ok(MessageMember {
                    leaf: leaf_number(row.leaf)?,
                    resolved: row.resolved,
                    authorization: authorization(&settlement, &groups)?,
                    settlement,
                })
            })
            .collect()
    }

    /// The groups these settlements were signed in, by root.
    async fn signed_groups<'a>(
        &self,
        settlements: impl Iterator<Item = &'a Settlement>,
    ) -> Result<BTreeMap<B256, Arc<SignedGroup>>, StoreError> {
        let mut groups = BTreeMap::new();
        for settlement in settlements {
            let Some(place) = settlement.group.filter(|place| !groups.contains_key(&place.root)) else {
                continue;
            };
            let row = settlement_group::Entity::find()
                .filter(settlement_group::Column::TargetChain.eq(codec::int("target_chain", settlement.target.0)?))
                .filter(settlement_group::Column::Inbox.eq(settlement.inbox.to_vec()))
                .filter(settlement_group::Column::GroupRoot.eq(place.root.to_vec()))
                .one(&self.db)
                .await?;
            let row = row.ok_or_else(|| StoreError::Missing {
                what: format!("group {}", place.root),
            })?;
            let ids = row
                .ids
                .chunks(32)
                .map(|id| codec::b256("settlement_group.ids", id).map(SettlementId))
                .collect::<Result<_, _>>()?;
            let group = SignedGroup::new(ids, row.auth.into()).map_err(|error| StoreError::Corrupt {
                column: "settlement_group.ids",
                reason: error.to_string(),
            })?;
            groups.insert(place.root, Arc::new(group));
        }
        Ok(groups)
    }

    /// What the target chain said about each leaf of a message so far.
    pub async fn list_leaves_seen(&self, message: &Message) -> Result<BTreeMap<usize, LeafSeen>, StoreError> {
        let sql = "SELECT ms.leaf AS leaf, l.kind AS kind, l.detail AS detail FROM message_settlement ms \
                   JOIN chain_log l ON l.chain = $1 AND l.key = ms.settlement_id \
                   AND l.kind IN ('settlement_paid', 'settlement_skipped') AND l.status <> 'orphaned' \
                   WHERE ms.message_id = $2 ORDER BY l.block_number, l.log_index";
        let chain = codec::int("chain_log.chain", message.target().0)?;
        let values = [chain.into(), message.id.0.to_vec().into()];
        let statement = Statement::from_sql_and_values(self.db.get_database_backend(), sql, values);
        let mut seen: BTreeMap<usize, LeafSeen> = BTreeMap::new();
        for row in self.db.query_all_raw(statement).await? {
            let leaf = leaf_number(row.try_get("", "leaf")?)?;
            let entry = seen.entry(leaf).or_default();
            if row.try_get::<String>("", "kind")? == "settlement_paid" {
                entry.paid = true;
            } else {
                entry.skipped = Some(skip_reason(&row.try_get::<String>("", "detail")?));
            }
        }
        Ok(seen)
    }

    /// Number of logs of a kind in one transaction, orphaned ones aside.
    pub async fn count_logs_of_tx(&self, chain: ChainId, kind: &str, tx: B256) -> Result<u64, StoreError> {
        let sql = "SELECT COUNT(*) AS n FROM chain_log WHERE chain = $1 AND kind = $2 AND tx_hash = $3 AND status <> 'orphaned'";
        let values = [
            codec::int("chain_log.chain", chain.0)?.into(),
            kind.into(),
            tx.to_vec().into(),
        ];
        let statement = Statement::from_sql_and_values(self.db.get_database_backend(), sql, values);
        let row = self.db.query_one_raw(statement).await?;
        let count: i64 = row.map_or(Ok(0), |row| row.try_get("", "n"))?;
        codec::uint("count", count)
    }
}

impl Txn {
    /// See [`Store::find_message`].
    pub async fn find_message(&self, id: MessageId) -> Result<Option<Message>, StoreError> {
        find(&self.tx, id).await?.as_ref().map(message_of).transpose()
    }

    /// Applies one move and writes `patch`. With a `token` the claim must still hold; its lease is given back.
    pub async fn message_apply(
        &mut self,
        id: MessageId,
        token: Option<i64>,
        change: MessageChange,
        patch: MessagePatch,
        cause: &str,
    ) -> Result<Message, StoreError> {
        use message::Column;
        let row = find(&self.tx, id).await?.ok_or_else(|| missing(id))?;
        let from: MessageState = codec::name("message.state", &row.state)?;
        let (to, event) = match change {
            MessageChange::Event(event) => (from.apply(event)?, event.as_str()),
            MessageChange::Note(name) => (from, name),
        };
        let mut changed = message::ActiveModel {
            state: Set(to.as_str().to_owned()),
            updated_at: Set(self.now_ms),
            version: Set(row.version.saturating_add(1)),
            lease_owner: Set(None),
            lease_until: Set(0),
            ..Default::default()
        };
        set(&mut changed.next_at, patch.next_at);
        set(&mut changed.abandon_reason, patch.abandon_reason.map(Some));
        if let Some(block) = patch.received_block {
            let block = block.map(|block| codec::int("message.received_block", block)).transpose()?;
            changed.received_block = Set(block);
        }
        let mut update = message::Entity::update_many()
            .set(changed)
            .filter(Column::Id.eq(row.id))
            .filter(Column::Version.eq(row.version));
        if let Some(token) = token {
            update = update.filter(Column::LeaseToken.eq(token));
        }
        let rows = update.exec_with_returning(&self.tx).await?;
        expect_one(rows.len() as u64, format!("message {id}"))?;
        if !event.is_empty() {
            let is_move = matches!(change, MessageChange::Event(_));
            self.record(NewEvent {
                aggregate: "message",
                aggregate_id: id.to_string(),
                event: event.to_owned(),
                from_state: is_move.then(|| from.to_string()),
                to_state: is_move.then(|| to.to_string()),
                cause: cause.to_owned(),
                detail: patch.detail,
                ..Default::default()
            });
        }
        message_of(&rows[0])
    }

    /// Fails unless the claim of a message still holds; the lease is kept. Guards what is written on a message's behalf.
    pub async fn expect_message_lease(&self, id: MessageId, token: i64) -> Result<(), StoreError> {
        let row = find(&self.tx, id).await?.ok_or_else(|| missing(id))?;
        expect_one(u64::from(row.lease_token == token), format!("lease of message {id}"))
    }

    /// Applies `event` to every member in a state that has it, and returns how many moved. Members held by another message are left
    /// where that one has them.
    pub async fn members_apply(&mut self, id: MessageId, event: SettlementEvent, cause: &str) -> Result<usize, StoreError> {
        let mut moved = 0_usize;
        for from in SettlementState::sources(event) {
            let to = from.apply(event)?;
            moved = moved.saturating_add(self.move_members(id, event, from, to, cause).await?);
        }
        Ok(moved)
    }

    async fn move_members(
        &mut self,
        id: MessageId,
        event: SettlementEvent,
        from: SettlementState,
        to: SettlementState,
        cause: &str,
    ) -> Result<usize, StoreError> {
        // What keeps a member where it is: another message that still carries it that far.
        let unless = match event {
            SettlementEvent::Requeue => {
                "AND NOT EXISTS (SELECT 1 FROM message_settlement o JOIN message m ON m.message_id = o.message_id \
                 WHERE o.settlement_id = settlement.settlement_id AND o.message_id <> $6 AND m.state IN ('sealed', 'received'))"
            }
            SettlementEvent::Undeliver => {
                "AND NOT EXISTS (SELECT 1 FROM message_settlement o JOIN message m ON m.message_id = o.message_id \
                 WHERE o.settlement_id = settlement.settlement_id AND o.message_id <> $6 AND m.state = 'received')"
            }
            SettlementEvent::Undispatch => {
                "AND NOT EXISTS (SELECT 1 FROM message_settlement o JOIN dispatch d ON d.message_id = o.message_id \
                 WHERE o.settlement_id = settlement.settlement_id AND d.source_state IN ('included', 'finalized'))"
            }
            _ => "",
        };
        let due = if event == SettlementEvent::Requeue { "$2" } else { "batch_after" };
        let sql = format!(
            "UPDATE settlement SET state = $1, updated_at = $2, version = version + 1, batch_after = {due} \
             WHERE state = $3 AND target_chain = (SELECT target_chain FROM message WHERE message_id = $4) \
             AND settlement_id IN (SELECT ms.settlement_id FROM message_settlement ms WHERE ms.message_id = $5) {unless} \
             RETURNING settlement_id, coordinator_id, trace_id"
        );
        let message = || id.0.to_vec();
        let mut values: Vec<sea_orm::Value> = vec![
            to.as_str().into(),
            self.now_ms.into(),
            from.as_str().into(),
            message().into(),
            message().into(),
        ];
        if unless.contains("$6") {
            values.push(message().into());
        }
        let statement = Statement::from_sql_and_values(self.tx.get_database_backend(), sql, values);
        let rows = self.tx.query_all_raw(statement).await?;
        for row in &rows {
            let settlement: Vec<u8> = row.try_get("", "settlement_id")?;
            let settlement = codec::b256("settlement.settlement_id", &settlement)?;
            self.record(NewEvent {
                aggregate: "settlement",
                aggregate_id: settlement.to_string(),
                event: event.to_string(),
                from_state: Some(from.to_string()),
                to_state: Some(to.to_string()),
                cause: cause.to_owned(),
                detail: Some(serde_json::json!({ "message": id }).to_string()),
                settlement_id: Some(settlement),
                coordinator_id: row.try_get("", "coordinator_id")?,
                trace_id: row.try_get("", "trace_id")?,
            });
        }
        Ok(rows.len())
    }

    /// Stores why members could not be paid; data, not a state. Unchanged reasons write nothing.
    pub async fn set_skip_reasons(&mut self, reasons: &[(SettlementId, String)], cause: &str) -> Result<(), StoreError> {
        for (id, reason) in reasons {
            let rows = settlement::Entity::update_many()
                .col_expr(settlement::Column::SkipReason, Expr::val(reason.as_str()))
                .col_expr(settlement::Column::UpdatedAt, Expr::val(self.now_ms))
                .col_expr(settlement::Column::Version, Expr::col(settlement::Column::Version).add(1))
                .filter(settlement::Column::SettlementId.eq(id.0.to_vec()))
                .filter(
                    sea_orm::Condition::any()
                        .add(settlement::Column::SkipReason.is_null())
                        .add(settlement::Column::SkipReason.ne(reason.as_str())),
                )
                .exec_with_returning(&self.tx)
                .await?;
            for row in rows {
                self.record(NewEvent {
                    aggregate: "settlement",
                    aggregate_id: id.to_string(),
                    event: "skip".into(),
                    cause: cause.to_owned(),
                    detail: Some(serde_json::json!({ "reason": reason }).to_string()),
                    settlement_id: Some(id.0),
                    coordinator_id: Some(row.coordinator_id),
                    trace_id: Some(row.trace_id),
                    ..Default::default()
                });
            }
        }
        Ok(())
    }
}

async fn find<C: ConnectionTrait>(db: &C, id: MessageId) -> Result<Option<message::Model>, StoreError> {
    Ok(message::Entity::find()
        .filter(message::Column::MessageId.eq(id.0.to_vec()))
        .one(db)
        .await?)
}

async fn leaves<C: ConnectionTrait>(db: &C, id: MessageId) -> Result<Vec<message_settlement::Model>, StoreError> {
    Ok(message_settlement::Entity::find()
        .filter(message_settlement::Column::MessageId.eq(id.0.to_vec()))
        .order_by_asc(message_settlement::Column::Leaf)
        .all(db)
        .await?)
}

fn authorization(
    settlement: &Settlement,
    groups: &BTreeMap<B256, Arc<SignedGroup>>,
) -> Result<Authorization, StoreError> {
    let Some(place) = settlement.group else {
        return Ok(Authorization::Single(settlement.auth.clone()));
    };
    let group = groups.get(&place.root).ok_or_else(|| StoreError::Missing {
        what: format!("group {}", place.root),
    })?;
    Ok(Authorization::Group {
        group: group.clone(),
        index: place.index,
    })
}

/// `reason` of the log's detail; 0 when it has none, which no skip has.
fn skip_reason(detail: &str) -> u8 {
    let value: serde_json::Value = serde_json::from_str(detail).unwrap_or_default();
    let reason = &value["reason"];
    let text = reason.as_str().map_or_else(|| reason.to_string(), str::to_owned);
    text.parse().unwrap_or(0)
}

fn leaf_number(leaf: i32) -> Result<usize, StoreError> {
    usize::try_from(leaf).map_err(|_| StoreError::Corrupt {
        column: "message_settlement.leaf",
        reason: format!("{leaf} is negative"),
    })
}

fn missing(id: MessageId) -> StoreError {
    StoreError::Missing {
        what: format!("message {id}"),
    }
}

fn message_of(row: &message::Model) -> Result<Message, StoreError> {
    let corrupt = |reason: String| StoreError::Corrupt {
        column: "message.header",
        reason,
    };
    let header = Header::decode(&row.header).map_err(|error| corrupt(error.to_string()))?;
    Ok(Message {
        id: MessageId(codec::b256("message.message_id", &row.message_id)?),
        header,
        tier: usize::try_from(row.tier).unwrap_or(1),
        state: codec::name("message.state", &row.state)?,
        received_block: row
            .received_block
            .map(|block| codec::uint("message.received_block", block))
            .transpose()?,
        next_at: row.next_at,
        created_at: row.created_at,
        version: row.version,
    })
}
