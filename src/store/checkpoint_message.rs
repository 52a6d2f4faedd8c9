//! Messages that carry a hub's checkpoint. They commit to no settlement, so nothing here touches settlements or the ledger.

use super::codec::int;
use super::entity::{message, tx};
use super::message::decode;
use super::{IntentKind, Message, MessagePatch, NewEvent, Store, StoreError, Txn};
use crate::settlement::policy::RoutePolicy;
use crate::settlement::states::{MessageEvent, MessageState, TxState};
use crate::settlement::{ChainId, MessageId};
use alloy::primitives::Address;
use relayer_adapter_api::{Kind, SealedMessage};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, Order, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};

/// Which checkpoints: of a hub's contract on `source`, to `target`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckpointLane {
    pub source: ChainId,
    pub hub: Address,
    pub target: ChainId,
}

impl CheckpointLane {
    /// Whoever seals or records for a lane holds this counter's row until the end of its transaction, so that two never do it at once.
    fn guard(&self) -> String {
        format!("checkpoints:{}:{:#x}:{}", self.source, self.hub, self.target)
    }

    /// Intent of the transaction that brings a checkpoint to the target's registry; `what` is the message or the signature it brings.
    pub fn record_intent(&self, eon: u64, what: &str) -> String {
        format!("{}{eon}:{what}", self.intents())
    }

    fn intents(&self) -> String {
        format!("{}:{:#x}:", self.source, self.hub)
    }
}

/// Messages that carry checkpoints of a hub's contract on a chain.
fn of_hub(source: ChainId, hub: Address) -> Result<Select<message::Entity>, StoreError> {
    Ok(message::Entity::find()
        .filter(message::Column::SourceChain.eq(int("message.source_chain", source.0)?))
        .filter(message::Column::Hub.eq(hub.to_vec()))
        // A literal, so that the partial index serves.
        .filter(Expr::cust("kind = 2")))
}

fn of_lane(lane: CheckpointLane, from_eon: u64) -> Result<Select<message::Entity>, StoreError> {
    Ok(of_hub(lane.source, lane.hub)?
        .filter(message::Column::TargetChain.eq(int("message.target_chain", lane.target.0)?))
        .filter(message::Column::Sequence.gte(int("message.sequence", from_eon)?)))
}

/// By eon in this order, and of one eon in the order of their sealing or against it.
fn by_eon(messages: Select<message::Entity>, order: Order) -> Select<message::Entity> {
    messages
        .order_by(message::Column::Sequence, order.clone())
        .order_by(message::Column::Id, order)
}

impl Store {
    /// Messages of a lane from an eon on, oldest eon first; those given up among them.
    pub async fn list_checkpoint_messages(
        &self,
        lane: CheckpointLane,
        from_eon: u64,
        limit: u64,
    ) -> Result<Vec<Message>, StoreError> {
        let rows = by_eon(of_lane(lane, from_eon)?, Order::Asc)
            .limit(limit)
            .all(&self.db)
            .await?;
        rows.iter().map(decode).collect()
    }

    /// Messages that carry one checkpoint, to all targets.
    pub async fn list_messages_of_checkpoint(
        &self,
        source: ChainId,
        hub: Address,
        eon: u64,
    ) -> Result<Vec<Message>, StoreError> {
        let rows = of_hub(source, hub)?
            .filter(message::Column::Sequence.eq(int("message.sequence", eon)?))
            .order_by_asc(message::Column::TargetChain)
            .order_by_asc(message::Column::Id)
            .all(&self.db)
            .await?;
        rows.iter().map(decode).collect()
    }

    /// The newest messages of a lane, newest eon first.
    pub async fn list_newest_checkpoint_messages(
        &self,
        lane: CheckpointLane,
        limit: u64,
    ) -> Result<Vec<Message>, StoreError> {
        let rows = by_eon(of_lane(lane, 0)?, Order::Desc)
            .limit(limit)
            .all(&self.db)
            .await?;
        rows.iter().map(decode).collect()
    }

    /// Messages of a lane that have not come to rest, oldest eon first: sealed, or received and not recorded.
    pub async fn list_open_checkpoint_messages(
        &self,
        lane: CheckpointLane,
        limit: u64,
    ) -> Result<Vec<Message>, StoreError> {
        let open = [MessageState::Sealed.as_str(), MessageState::Received.as_str()];
        let waiting = of_lane(lane, 0)?.filter(message::Column::State.is_in(open));
        let rows = by_eon(waiting, Order::Asc).limit(limit).all(&self.db).await?;
        rows.iter().map(decode).collect()
    }

    /// Recordings of a lane that are signed and in no block yet.
    pub async fn count_pending_records(&self, lane: CheckpointLane) -> Result<u64, StoreError> {
        pending_records(&self.db, lane).await
    }
}

impl Txn {
    /// Takes the turn of a lane until the end of the transaction.
    pub async fn hold_checkpoints(&self, lane: CheckpointLane) -> Result<(), StoreError> {
        self.reserve_counter(&lane.guard(), 1).await?;
        Ok(())
    }

    /// Stores a sealed checkpoint. False when the lane has a message for the eon already, or had this very one and gave it up: nothing is
    /// stored then.
    pub async fn seal_checkpoint(
        &mut self,
        message: &SealedMessage,
        tier: u8,
        policy: Option<RoutePolicy>,
        cause: &str,
    ) -> Result<bool, StoreError> {
        let header = &message.header;
        let id = message.id();
        let Some(hub) = message.hub().filter(|_| header.kind == Kind::Checkpoint) else {
            return Err(StoreError::Conflict {
                what: format!("message {id}, which is no checkpoint"),
            });
        };
        let lane = CheckpointLane {
            source: header.source,
            hub,
            target: header.target,
        };
        self.hold_checkpoints(lane).await?;
        let of_eon = of_lane(lane, header.sequence)?
            .filter(message::Column::Sequence.eq(int("message.sequence", header.sequence)?))
            .all(&self.tx)
            .await?;
        let taken =
            |row: &message::Model| row.message_id == id.0.as_slice() || row.state != MessageState::Abandoned.as_str();
        if of_eon.iter().any(taken) {
            return Ok(false);
        }
        self.insert_message(message, tier, policy).await?;
        let detail = serde_json::json!({
            "hub": hub, "eon": header.sequence, "root": header.root, "target": header.target.0, "families": tier,
        });
        self.record(NewEvent {
            aggregate: "message",
            aggregate_id: id.to_string(),
            event: "seal".into(),
            to_state: Some(MessageState::Sealed.to_string()),
            cause: cause.to_owned(),
            detail: Some(detail.to_string()),
            ..NewEvent::default()
        });
        Ok(true)
    }

    /// The registry has the root in a final block: the message has done what it was for.
    pub async fn checkpoint_recorded(&mut self, id: MessageId, cause: &str) -> Result<(), StoreError> {
        self.message_apply(id, MessageEvent::Execute, &MessagePatch::default(), None, cause)
            .await?;
        Ok(())
    }

    /// See [`Store::count_pending_records`].
    pub async fn count_pending_records(&self, lane: CheckpointLane) -> Result<u64, StoreError> {
        pending_records(&self.tx, lane).await
    }
}

async fn pending_records<C: ConnectionTrait>(db: &C, lane: CheckpointLane) -> Result<u64, StoreError> {
    let states = [TxState::Prepared.as_str(), TxState::Submitted.as_str()];
    Ok(tx::Entity::find()
        .filter(tx::Column::Chain.eq(int("tx.chain", lane.target.0)?))
        // A literal, so that the partial index serves.
        .filter(Expr::cust("state <> 'finalized'"))
        .filter(tx::Column::State.is_in(states))
        .filter(tx::Column::IntentKind.eq(IntentKind::Record.as_str()))
        .filter(tx::Column::IntentId.like(format!("{}%", lane.intents())))
        .count(db)
        .await?)
}
