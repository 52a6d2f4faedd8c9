//! What recovery writes: messages, dispatches and nonces a chain knows and this database does not, and the marks that keep a process from
//! sending before that is done. Every write may be repeated.

use super::codec::{b256, int, uint};
use super::entity::{chain_log, counter, message, message_settlement, signer_lease, tx};
use super::message::sealed_row;
use super::{
    DispatchChange, DispatchPatch, LogStatus, MessagePatch, NewDispatch, NewEvent, Store, StoreError, TxChange, Txn,
};
use crate::settlement::states::{
    DispatchSource, DispatchSourceEvent, DispatchTarget, DispatchTargetEvent, MessageEvent, MessageState,
    SettlementEvent, TxState,
};
use crate::settlement::{ChainId, MessageId, SettlementId};
use alloy::primitives::{Address, U256};
use relayer_adapter_api::{BridgeId, Header};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, Statement,
};

/// No outbox of ours ever numbers higher. A number beyond it is somebody's who would leave none to the messages after it.
const SEQUENCE_MAX: u64 = 1 << 40;

/// Unknown to this database, as SQL over `chain_log l`: a batch that left the outbox and has no message. Checkpoints count no leaves.
const UNKNOWN_DISPATCH: &str = "l.kind = 'message_dispatched' AND l.status <> 'orphaned' AND l.detail NOT LIKE '%\"count\":\"0\"%' \
    AND NOT EXISTS (SELECT 1 FROM message m WHERE m.message_id = l.key)";

/// The dispatches of one message, as the logs tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptedDispatch {
    pub bridge: BridgeId,
    /// Unix ms, by the block.
    pub sent_at: i64,
    /// Unix ms, by the block; None while the inbox has not said so.
    pub received_at: Option<i64>,
}

/// A message as the chain knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptedMessage {
    pub id: MessageId,
    pub header: Header,
    pub ids: Vec<SettlementId>,
    /// Of its first dispatch.
    pub sent_at: i64,
    pub dispatches: Vec<AdoptedDispatch>,
}

/// What adopting a message changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Adopted {
    pub messages: u64,
    pub dispatches: u64,
    pub leaves: u64,
    /// Settlements of ours that waited to be batched and are on their way.
    pub attached: u64,
}

/// A message of this database that never left, although other messages carry its settlements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overtaken {
    pub message: MessageId,
    /// Of the message that carries some of them.
    pub by: MessageId,
}

fn flag(chain: ChainId) -> String {
    format!("recovery:{chain}")
}

/// Set once a chain was found to be in step with this database: from then on the database knows the chain, whatever others do there.
fn known(chain: ChainId) -> String {
    format!("chain_known:{chain}")
}

/// Counter of batches an operator accepted not to know.
fn accepted_unknown(chain: ChainId) -> String {
    format!("recovery_unknown:{chain}")
}

impl Store {
    /// Batches that left a chain and that an operator accepted not to know, because nobody has their calldata.
    pub async fn count_accepted_unknown(&self, chain: ChainId) -> Result<u64, StoreError> {
        let row = counter::Entity::find_by_id(accepted_unknown(chain))
            .one(&self.db)
            .await?;
        row.map_or(Ok(0), |row| uint("counter.value", row.value))
    }

    /// Whether somebody found that this database must be recovered before anything is sent on the chain.
    pub async fn is_recovery_pending(&self, chain: ChainId) -> Result<bool, StoreError> {
        let row = counter::Entity::find_by_id(flag(chain)).one(&self.db).await?;
        Ok(row.is_some_and(|row| row.value > 0))
    }

    /// Batches that left a chain's outbox, over however many bridges, and that no message of this database is.
    pub async fn count_unknown_dispatches(&self, chain: ChainId) -> Result<u64, StoreError> {
        let sql =
            format!("SELECT COUNT(DISTINCT l.key) AS n FROM chain_log l WHERE l.chain = $1 AND {UNKNOWN_DISPATCH}");
        let values = [int("chain_log.chain", chain.0)?.into()];
        let statement = Statement::from_sql_and_values(self.db.get_database_backend(), sql, values);
        let row = self.db.query_one_raw(statement).await?;
        uint("count", row.map_or(Ok(0), |row| row.try_get("", "n"))?)
    }

    /// Whether this database has been in step with a chain before, has sent anything there, or sealed anything from or to it.
    pub async fn has_history(&self, chain: ChainId) -> Result<bool, StoreError> {
        if self.was_in_step(chain).await? {
            return Ok(true);
        }
        let id = int("chain", chain.0)?;
        let sent = tx::Entity::find()
            .filter(tx::Column::Chain.eq(id))
            .limit(1)
            .one(&self.db)
            .await?;
        if sent.is_some() {
            return Ok(true);
        }
        let sealed = message::Entity::find()
            .filter(
                message::Column::SourceChain
                    .eq(id)
                    .or(message::Column::TargetChain.eq(id)),
            )
            .limit(1)
            .one(&self.db)
            .await?;
        Ok(sealed.is_some())
    }

    /// Whether a gate to the chain was open, or a recovery ended, in any process on this database.
    pub async fn was_in_step(&self, chain: ChainId) -> Result<bool, StoreError> {
        let row = counter::Entity::find_by_id(known(chain)).one(&self.db).await?;
        Ok(row.is_some_and(|row| row.value > 0))
    }

    /// First nonce of a signer that is this database's business.
    pub async fn find_nonce_base(&self, chain: ChainId, signer: Address) -> Result<u64, StoreError> {
        let name = super::signer_lease::nonce_base(chain, signer);
        let row = counter::Entity::find_by_id(name).one(&self.db).await?;
        row.map_or(Ok(0), |row| uint("counter.value", row.value))
    }

    /// Final dispatch logs of a chain, oldest first, after a row.
    pub async fn list_final_dispatches(
        &self,
        chain: ChainId,
        after: i64,
        limit: u64,
    ) -> Result<Vec<super::ChainLog>, StoreError> {
        let found = chain_log::Entity::find()
            .filter(chain_log::Column::Chain.eq(int("chain_log.chain", chain.0)?))
            .filter(chain_log::Column::Kind.eq("message_dispatched"))
            .filter(chain_log::Column::Status.eq(LogStatus::Final.as_str()))
            .filter(chain_log::Column::Id.gt(after))
            .order_by_asc(chain_log::Column::Id)
            .limit(limit)
            .all(&self.db)
            .await?;
        super::chain_log::rows(found)
    }

    /// Pairs of messages of which the first should not go on: it was never sent while the other, which has a settlement of it, was; or both
    /// were, and the other is younger, as only what replaces a message that was given up is.
    pub async fn list_overtaken(&self, source: ChainId) -> Result<Vec<Overtaken>, StoreError> {
        let on_chain = |of: &str| {
            format!(
                "EXISTS (SELECT 1 FROM chain_log l WHERE l.chain = $1 AND l.kind = 'message_dispatched' AND l.key = {of}.message_id \
                 AND l.status <> 'orphaned')"
            )
        };
        // Messages whose own dispatch may still go out are left alone: it has a transaction that lives.
        let live = "EXISTS (SELECT 1 FROM dispatch d JOIN tx t ON t.id = d.tx_id WHERE d.message_id = a.message_id \
                    AND t.state IN ('prepared', 'submitted'))";
        let sql = format!(
            "SELECT DISTINCT a.message_id AS overtaken, b.message_id AS by_id FROM message a \
             JOIN message_settlement x ON x.message_id = a.message_id AND NOT x.resolved \
             JOIN message_settlement y ON y.settlement_id = x.settlement_id AND y.message_id <> a.message_id \
             JOIN message b ON b.message_id = y.message_id AND b.state <> 'abandoned' \
             WHERE a.source_chain = $1 AND a.state IN ('sealed', 'received') AND {b_sent} AND NOT {live} \
             AND (NOT {a_sent} OR b.id > a.id) ORDER BY a.message_id",
            a_sent = on_chain("a"),
            b_sent = on_chain("b"),
        );
        let values = [int("message.source_chain", source.0)?.into()];
        let statement = Statement::from_sql_and_values(self.db.get_database_backend(), sql, values);
        let id = |row: &sea_orm::QueryResult, name: &str| -> Result<MessageId, StoreError> {
            let bytes: Vec<u8> = row.try_get("", name)?;
            Ok(MessageId(b256("message.message_id", &bytes)?))
        };
        let rows = self.db.query_all_raw(statement).await?;
        rows.iter()
            .map(|row| {
                Ok(Overtaken {
                    message: id(row, "overtaken")?,
                    by: id(row, "by_id")?,
                })
            })
            .collect()
    }

    /// Messages that go on and have an open leaf of a settlement.
    pub async fn count_carriers(&self, settlement: SettlementId) -> Result<u64, StoreError> {
        let open = message_settlement::Entity::find()
            .filter(message_settlement::Column::SettlementId.eq(settlement.0.to_vec()))
            .filter(message_settlement::Column::Resolved.eq(false))
            .filter(Expr::cust(
                "EXISTS (SELECT 1 FROM message m WHERE m.message_id = message_settlement.message_id AND m.state <> 'abandoned')",
            ));
        Ok(open.count(&self.db).await?)
    }

    /// Leaves of messages whose settlements this database does not know: their coordinators have not submitted them again.
    pub async fn count_awaited_leaves(&self) -> Result<u64, StoreError> {
        let awaited = message_settlement::Entity::find()
            .filter(message_settlement::Column::Resolved.eq(false))
            .filter(Expr::cust(
                "NOT EXISTS (SELECT 1 FROM settlement s WHERE s.settlement_id = message_settlement.settlement_id)",
            ));
        Ok(awaited.count(&self.db).await?)
    }
}

impl Txn {
    /// Keeps every process from sending on a chain until [`Txn::end_recovery`]. False when it was so before.
    pub async fn begin_recovery(&mut self, chain: ChainId, why: &str) -> Result<bool, StoreError> {
        let before = self.reserve_counter(&flag(chain), 0).await?.saturating_sub(1);
        if before > 0 {
            return Ok(false);
        }
        self.reserve_counter(&flag(chain), 1).await?;
        self.note_recovery(chain, "recovery_needed", why, None);
        Ok(true)
    }

    /// The database is in step with a chain: what is sent or received there from now on is no sign of an earlier life. `used` are signers
    /// that were used elsewhere before, and their transaction counts.
    pub async fn keep_in_step(&self, chain: ChainId, used: &[(Address, u64)]) -> Result<(), StoreError> {
        let before = self.reserve_counter(&known(chain), 0).await?.saturating_sub(1);
        self.reserve_counter(&known(chain), 1_i64.saturating_sub(before))
            .await?;
        for (signer, count) in used {
            self.adopt_nonces(chain, *signer, *count).await?;
        }
        Ok(())
    }

    /// Everything the chain knew is known, but for `unknown` batches nobody has the calldata of.
    pub async fn end_recovery(
        &mut self,
        chain: ChainId,
        unknown: u64,
        report: &serde_json::Value,
    ) -> Result<(), StoreError> {
        let unknown = int("counter.value", unknown)?;
        for (name, value) in [(flag(chain), 0), (accepted_unknown(chain), unknown)] {
            let before = self.reserve_counter(&name, 0).await?.saturating_sub(1);
            self.reserve_counter(&name, value.saturating_sub(before)).await?;
        }
        self.keep_in_step(chain, &[]).await?;
        self.note_recovery(chain, "recovered", "recover", Some(report.to_string()));
        Ok(())
    }

    fn note_recovery(&mut self, chain: ChainId, event: &str, cause: &str, detail: Option<String>) {
        self.record(NewEvent {
            aggregate: "chain",
            aggregate_id: chain.to_string(),
            event: event.into(),
            cause: cause.to_owned(),
            detail,
            ..NewEvent::default()
        });
    }

    /// Stores what a chain says of a message and its dispatches, as far as it is unknown here, and moves the settlements that are known.
    pub async fn adopt_message(&mut self, adopted: &AdoptedMessage) -> Result<Adopted, StoreError> {
        let mut done = Adopted::default();
        let header = &adopted.header;
        if self.insert_adopted(adopted).await? {
            done.messages = 1;
            done.leaves = adopted.ids.len() as u64;
            self.raise_sequence(header).await?;
        }
        for dispatch in &adopted.dispatches {
            done.dispatches = done
                .dispatches
                .saturating_add(u64::from(self.adopt_dispatch(adopted, dispatch).await?));
        }
        if done.messages > 0 || done.dispatches > 0 {
            // Nobody looked at its arrivals while it was unknown.
            self.show_arrivals_again(header.target, adopted.id).await?;
        }
        let open = self.open_leaves(adopted.id).await?;
        let state = self.lock_message(adopted.id).await?.state;
        if open.is_empty() {
            if state == MessageState::Sealed || state == MessageState::Received {
                let patch = MessagePatch::default();
                self.message_apply(adopted.id, MessageEvent::Execute, &patch, None, "recover")
                    .await?;
            }
            return Ok(done);
        }
        for id in self.waiting_leaves(adopted.id).await? {
            self.attach(id, adopted.id).await?;
            done.attached = done.attached.saturating_add(1);
        }
        Ok(done)
    }

    /// False when the message is known.
    async fn insert_adopted(&mut self, adopted: &AdoptedMessage) -> Result<bool, StoreError> {
        let header = &adopted.header;
        let known = message::Entity::find()
            .filter(message::Column::MessageId.eq(adopted.id.0.to_vec()))
            .one(&self.tx)
            .await?;
        if known.is_some() {
            return Ok(false);
        }
        let row = message::ActiveModel {
            created_at: Set(adopted.sent_at),
            // What its members need is known when they are: see `attach`.
            ..sealed_row(adopted.id, header, self.free_sequence(adopted).await?, self.now_ms)?
        };
        message::Entity::insert(row).exec_without_returning(&self.tx).await?;
        self.insert_leaves(adopted.id, &adopted.ids).await?;
        self.resolve_ended_leaves(adopted).await?;
        self.record(NewEvent {
            aggregate: "message",
            aggregate_id: adopted.id.to_string(),
            event: "adopt".into(),
            to_state: Some(MessageState::Sealed.to_string()),
            cause: "recover".into(),
            detail: Some(serde_json::json!({ "leaves": header.count, "sequence": header.sequence }).to_string()),
            ..NewEvent::default()
        });
        Ok(true)
    }

    /// Leaves that ended before the message was known: here, or on the target.
    async fn resolve_ended_leaves(&self, adopted: &AdoptedMessage) -> Result<(), StoreError> {
        let target = int("message.target_chain", adopted.header.target.0)?;
        let ended = format!(
            "(EXISTS (SELECT 1 FROM settlement s WHERE s.settlement_id = message_settlement.settlement_id AND s.ended_at IS NOT NULL) \
             OR EXISTS (SELECT 1 FROM chain_log l WHERE l.chain = {target} AND l.kind = 'settlement_paid' \
             AND l.key = message_settlement.settlement_id AND l.status = 'final' AND l.applied_final))"
        );
        message_settlement::Entity::update_many()
            .col_expr(message_settlement::Column::Resolved, Expr::value(true))
            .filter(message_settlement::Column::MessageId.eq(adopted.id.0.to_vec()))
            .filter(Expr::cust(ended))
            .exec(&self.tx)
            .await?;
        Ok(())
    }

    /// The column names messages for people and is unique; the header's number is what the chains have. Where another message of this database
    /// took the number meanwhile, the column gets one that no sequence is.
    async fn free_sequence(&self, adopted: &AdoptedMessage) -> Result<i64, StoreError> {
        let header = &adopted.header;
        let mut tail = [0u8; 8];
        tail[1..].copy_from_slice(&adopted.id.0[..7]);
        let free = i64::from_be_bytes(tail).saturating_neg();
        if header.sequence > SEQUENCE_MAX {
            return Ok(free);
        }
        let sequence = int("message.sequence", header.sequence)?;
        let taken = message::Entity::find()
            .filter(message::Column::SourceChain.eq(int("message.source_chain", header.source.0)?))
            .filter(message::Column::TargetChain.eq(int("message.target_chain", header.target.0)?))
            .filter(message::Column::Kind.eq(i32::from(header.kind as u8)))
            .filter(message::Column::Sequence.eq(sequence))
            .limit(1)
            .one(&self.tx)
            .await?;
        Ok(if taken.is_some() { free } else { sequence })
    }

    /// The next message sealed has a number above this one's.
    async fn raise_sequence(&self, header: &Header) -> Result<(), StoreError> {
        if header.sequence > SEQUENCE_MAX {
            return Ok(());
        }
        let name = super::message::sequence_counter(header.outbox, header.target, header.kind as u8);
        let last = self.reserve_counter(&name, 0).await?.saturating_sub(1);
        let raise = int("message.sequence", header.sequence)?.saturating_sub(last);
        if raise > 0 {
            self.reserve_counter(&name, raise).await?;
        }
        Ok(())
    }

    /// A dispatch that is on the chain: made here, or found planned and not needed any more. False when it is known as sent.
    async fn adopt_dispatch(&mut self, message: &AdoptedMessage, sent: &AdoptedDispatch) -> Result<bool, StoreError> {
        let all = self.dispatches_of(message.id).await?;
        let known = all.into_iter().find(|dispatch| dispatch.bridge == sent.bridge);
        let id = match &known {
            Some(known) if known.source_state == DispatchSource::Planned => known.id,
            Some(_) => return Ok(false),
            None => {
                let new = NewDispatch {
                    message: message.id,
                    bridge: sent.bridge.clone(),
                    source: message.header.source,
                    target: message.header.target,
                    decision: serde_json::json!({ "recovered": true }).to_string(),
                    fee_quoted: U256::ZERO,
                    fee_cap: U256::ZERO,
                    gas_limit: 0,
                };
                self.dispatch_insert(new, "recover").await?
            }
        };
        let untied = DispatchPatch {
            tx: Some(None),
            ..DispatchPatch::default()
        };
        let included = DispatchPatch {
            included_at: Some(Some(sent.sent_at)),
            next_at: Some(self.now_ms),
            ..DispatchPatch::default()
        };
        let finalized = DispatchPatch {
            // When it became final is not known any more; its lane's history must not look faster than it was.
            finalized_at: Some(Some(sent.sent_at)),
            ..DispatchPatch::default()
        };
        use DispatchSourceEvent as E;
        for (event, patch) in [(E::Prepare, untied), (E::Include, included), (E::Finalize, finalized)] {
            self.dispatch_apply(id, None, DispatchChange::Source(event), patch, "recover")
                .await?;
        }
        let arrived = known.is_some_and(|known| known.target_state == DispatchTarget::Received);
        if let Some(received_at) = sent.received_at.filter(|_| !arrived) {
            let patch = DispatchPatch {
                received_at: Some(Some(received_at)),
                ..DispatchPatch::default()
            };
            let change = DispatchChange::Target(DispatchTargetEvent::Receive);
            self.dispatch_apply(id, None, change, patch, "recover").await?;
        }
        let open = self.open_leaves(message.id).await?;
        let open: Vec<SettlementId> = open.into_iter().map(|leaf| leaf.settlement).collect();
        let cause = format!("recovered message {}", message.id);
        self.settlements_apply(&open, SettlementEvent::Dispatch, &cause).await?;
        Ok(true)
    }

    /// Gives up a message that another overtook: its settlements go with the other. Whether it was given up now, and how many go.
    pub async fn abandon_overtaken(&mut self, overtaken: &Overtaken) -> Result<(bool, u64), StoreError> {
        let row = self.lock_message(overtaken.message).await?;
        let open = matches!(row.state, MessageState::Sealed | MessageState::Received);
        if open {
            let reason = format!("its settlements went with message {}", overtaken.by);
            self.abandon_message(overtaken.message, &reason, self.now_ms, None, "recover")
                .await?;
        }
        // Also when it was given up a moment ago: several others can carry its settlements.
        let mut attached = 0u64;
        for id in self.waiting_leaves(overtaken.by).await? {
            self.attach(id, overtaken.by).await?;
            attached = attached.saturating_add(1);
        }
        Ok((open, attached))
    }

    /// From now on a signer's nonces below `count` are history, and whoever holds a token of before can store nothing.
    pub async fn adopt_signer(&mut self, chain: ChainId, signer: Address, count: u64) -> Result<(), StoreError> {
        let base = self.nonce_base(chain, signer).await?;
        if count > base {
            self.adopt_nonces(chain, signer, count).await?;
        }
        let row = signer_lease::ActiveModel {
            chain: Set(int("signer_lease.chain", chain.0)?),
            signer: Set(signer.to_vec()),
            owner: Set(None),
            until_ms: Set(0),
            epoch: Set(0),
            counter: Set(0),
        };
        signer_lease::Entity::insert(row)
            .on_conflict_do_nothing_on([signer_lease::Column::Chain, signer_lease::Column::Signer])
            .exec_without_returning(&self.tx)
            .await?;
        self.raise_signer_epoch(chain, signer).await
    }

    /// A transaction whose nonce another one has, finally: it can never be sent any more. Its dispatch or execution is planned anew.
    pub async fn forget_tx(&mut self, row: &super::TxRow, by: alloy::primitives::B256) -> Result<(), StoreError> {
        let change = match row.state {
            TxState::Prepared => TxChange::Cancel,
            _ => TxChange::Replace { by },
        };
        self.tx_apply(row, change, "recover").await?;
        Ok(())
    }

    /// Continues the order of events far beyond where the lost history can have been, so that nobody who watched it takes new events for old
    /// ones: a cursor of before is told that what followed it is gone.
    pub async fn skip_events_to(&mut self, seq: i64) -> Result<(), StoreError> {
        let last = self.reserve_counter(super::txn::EVENT_SEQ, 0).await?.saturating_sub(1);
        if seq <= last {
            return Ok(());
        }
        self.reserve_counter(super::txn::EVENT_SEQ, seq.saturating_sub(last))
            .await?;
        let pruned = self
            .reserve_counter(super::event::EVENTS_PRUNED, 0)
            .await?
            .saturating_sub(1);
        self.reserve_counter(super::event::EVENTS_PRUNED, seq.saturating_sub(pruned))
            .await?;
        Ok(())
    }
}
