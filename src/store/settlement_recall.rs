//! Settlements a chain knows better than this database: their rows were lost, and their coordinator submits them again. They attach to the
//! message that carries them, and one that was paid ends at once; a second message or a second payment would be made for nothing.

use super::bulk::Tables;
use super::chain_log::{ChainLog, LogStatus, rows};
use super::codec::{b256, int};
use super::entity::{chain_log, message, message_settlement, settlement};
use super::settlement::{Evidence, Settlement};
use super::settlement_accept::{Accept, NewSettlement};
use super::settlement_apply::evidence_patch;
use super::{Store, StoreError, Txn};
use crate::settlement::states::{MessageState, SettlementEvent};
use crate::settlement::{ChainId, MessageId, SettlementId};
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};
use std::collections::{BTreeSet, HashMap};

/// Bit of `nonceAndCredited` that says the payment became a credit.
const CREDITED_BIT: usize = 255;

/// Values of one IN list.
const IN_LIST: usize = 1_024;

/// How far a settlement is on the chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnChain {
    /// A message that was not given up commits to it.
    Carried,
    /// Paid, in a block that is not final or not on the books yet.
    Paid,
    /// Paid in a final block that is on the books.
    Booked,
}

/// What is known of settlements that have no row yet.
#[derive(Debug, Default)]
pub(super) struct Recalled {
    /// Paid in a final block, and booked as a payment of terms nobody here knew.
    paid: HashMap<SettlementId, ChainLog>,
    /// Open leaves of messages that were not given up, the newest last.
    members: HashMap<SettlementId, Vec<MessageId>>,
}

impl Recalled {
    /// Whether nothing is left to reserve.
    pub fn is_paid(&self, id: SettlementId) -> bool {
        self.paid.contains_key(&id)
    }

    /// Whether a message on its way carries it: it is payable already, whatever is promised from now on.
    pub fn is_carried(&self, id: SettlementId) -> bool {
        self.members.contains_key(&id)
    }

    fn ids(&self) -> BTreeSet<SettlementId> {
        self.paid.keys().chain(self.members.keys()).copied().collect()
    }
}

/// Conditions over a table `ids (id)`: that a message commits to one of them, that one was paid on one of these chains.
pub(super) fn met(targets: &BTreeSet<i64>) -> [String; 2] {
    let targets: Vec<String> = targets.iter().map(i64::to_string).collect();
    [
        "EXISTS (SELECT 1 FROM ids v CROSS JOIN message_settlement m WHERE m.settlement_id = v.id)".to_owned(),
        format!(
            "EXISTS (SELECT 1 FROM ids v CROSS JOIN chain_log l WHERE l.chain IN ({}) AND l.kind = 'settlement_paid' AND l.key = v.id)",
            targets.join(", ")
        ),
    ]
}

impl Store {
    /// Those of `ids`, payable on `target`, that a message which was not given up carries or that were paid there: what they were promised
    /// is not to be judged by today's deadline or today's signers again.
    pub async fn known_on_chain(
        &self,
        target: ChainId,
        ids: &[SettlementId],
    ) -> Result<HashMap<SettlementId, OnChain>, StoreError> {
        known_on_chain(&self.db, target, ids).await
    }
}

async fn known_on_chain<C: ConnectionTrait>(
    db: &C,
    target: ChainId,
    ids: &[SettlementId],
) -> Result<HashMap<SettlementId, OnChain>, StoreError> {
    let chain = int("chain_log.chain", target.0)?;
    let mut known: HashMap<SettlementId, OnChain> = HashMap::new();
    for chunk in ids.chunks(IN_LIST) {
        let values = chunk.iter().map(|id| vec![id.0.to_vec().into()]).collect();
        let sql = format!(
            "SELECT m.settlement_id AS id, 0 AS standing FROM ids v CROSS JOIN message_settlement m \
             JOIN message g ON g.message_id = m.message_id AND g.state <> 'abandoned' AND g.target_chain = {chain} \
             WHERE m.settlement_id = v.id \
             UNION SELECT l.key AS id, CASE WHEN l.status = 'final' AND l.applied_final THEN 2 ELSE 1 END AS standing \
             FROM ids v CROSS JOIN chain_log l \
             WHERE l.chain = {chain} AND l.kind = 'settlement_paid' AND l.key = v.id AND l.status <> 'orphaned'"
        );
        let statement = Tables::new(db.get_database_backend())
            .with("ids", "id", values)
            .statement(&sql);
        for row in db.query_all_raw(statement).await? {
            let id: Vec<u8> = row.try_get("", "id")?;
            let found = match row.try_get::<i32>("", "standing")? {
                0 => OnChain::Carried,
                1 => OnChain::Paid,
                _ => OnChain::Booked,
            };
            let standing = known.entry(SettlementId(b256("settlement_id", &id)?)).or_insert(found);
            *standing = found.max(*standing);
        }
    }
    Ok(known)
}

impl Txn {
    /// [`Store::known_on_chain`] as of this transaction.
    pub async fn known_on_chain(
        &self,
        target: ChainId,
        ids: &[SettlementId],
    ) -> Result<HashMap<SettlementId, OnChain>, StoreError> {
        known_on_chain(&self.tx, target, ids).await
    }

    /// What the chains said about settlements nobody has a row of. Call it with their accounts locked: whoever books a payment holds them too.
    pub(super) async fn recall(&self, news: impl Iterator<Item = &NewSettlement>) -> Result<Recalled, StoreError> {
        let news: HashMap<SettlementId, &NewSettlement> = news.map(|new| (new.id, new)).collect();
        let ids: Vec<Vec<u8>> = news.keys().map(|id| id.0.to_vec()).collect();
        let mut recalled = Recalled::default();
        for chunk in ids.chunks(IN_LIST) {
            let booked = chain_log::Entity::find()
                .filter(chain_log::Column::Kind.eq("settlement_paid"))
                .filter(chain_log::Column::Chain.is_in(targets(news.values())?))
                .filter(chain_log::Column::Key.is_in(chunk.iter().cloned()))
                .filter(chain_log::Column::Status.eq(LogStatus::Final.as_str()))
                .filter(chain_log::Column::AppliedFinal.eq(true))
                .all(&self.tx)
                .await?;
            for log in rows(booked)? {
                let id = SettlementId(log.key);
                let ours = news
                    .get(&id)
                    .filter(|new| new.target == log.chain && new.inbox == log.address);
                if ours.is_some() {
                    recalled.paid.insert(id, log);
                }
            }
            let carried = message_settlement::Entity::find()
                .filter(message_settlement::Column::SettlementId.is_in(chunk.iter().cloned()))
                .filter(message_settlement::Column::Resolved.eq(false))
                .all(&self.tx)
                .await?;
            for leaf in carried {
                let id = SettlementId(b256("message_settlement.settlement_id", &leaf.settlement_id)?);
                let carrier = MessageId(b256("message_settlement.message_id", &leaf.message_id)?);
                recalled.members.entry(id).or_default().push(carrier);
            }
        }
        Ok(recalled)
    }

    /// Takes up what was accepted now where the chains are: settled, or a member of its message. The answers tell where that is.
    pub(super) async fn take_up(
        &mut self,
        recalled: &Recalled,
        answers: &mut [(usize, Accept)],
    ) -> Result<(), StoreError> {
        let known = recalled.ids();
        if known.is_empty() {
            return Ok(());
        }
        let accepted = answers.iter().filter_map(|(_, answer)| match answer {
            Accept::Accepted(settlement) if known.contains(&settlement.id) => Some(settlement.id),
            _ => None,
        });
        let accepted: Vec<SettlementId> = accepted.collect();
        for id in &accepted {
            if let Some(log) = recalled.paid.get(id) {
                self.settle_recalled(*id, log).await?;
            }
            for message in recalled.members.get(id).into_iter().flatten() {
                self.attach(*id, *message).await?;
            }
        }
        let now: HashMap<SettlementId, Settlement> = self
            .find_settlements(&accepted)
            .await?
            .into_iter()
            .map(|row| (row.id, row))
            .collect();
        for (_, answer) in answers {
            if let Accept::Accepted(settlement) = answer
                && let Some(row) = now.get(&settlement.id)
            {
                *settlement = row.clone();
            }
        }
        Ok(())
    }

    /// Its payment is on the books already, as one of terms nobody knew: the accounts are right, and only the settlement was missing.
    async fn settle_recalled(&mut self, id: SettlementId, log: &ChainLog) -> Result<(), StoreError> {
        let Some(mut row) = self.lock_settlement(id).await? else {
            return Ok(());
        };
        let evidence = Evidence {
            block_number: log.block_number,
            block_hash: log.block_hash,
            tx: Some(log.tx_hash),
        };
        let patch = settlement::ActiveModel {
            credited: Set(Some(log.amount.bit(CREDITED_BIT))),
            ..evidence_patch(&evidence)
        };
        row.evidence = Some(evidence);
        let cause = format!("recovered log {}", log.reference());
        self.settlement_apply(&mut row, SettlementEvent::Pay, patch, &cause)
            .await?;
        self.resolve_leaves(&[id], true).await
    }

    /// Makes a settlement that waits to be batched a member of a message that commits to it and was not given up, as far on its way as the
    /// message is. Whoever carries the message looks at it again.
    pub(super) async fn attach(&mut self, id: SettlementId, message: MessageId) -> Result<(), StoreError> {
        let carrier = self.lock_message(message).await?;
        if !matches!(carrier.state, MessageState::Sealed | MessageState::Received) {
            return Ok(());
        }
        let cause = format!("recovered message {message}");
        let sealed = self.settlements_apply(&[id], SettlementEvent::Seal, &cause).await?;
        if sealed.is_empty() {
            return Ok(());
        }
        if self
            .dispatches_of(message)
            .await?
            .iter()
            .any(super::Dispatch::is_included)
        {
            self.settlements_apply(&[id], SettlementEvent::Dispatch, &cause).await?;
        }
        if carrier.state == MessageState::Received {
            self.settlements_apply(&[id], SettlementEvent::Deliver, &cause).await?;
        }
        let tier = self.find_settlements(&[id]).await?.first().map_or(1, |row| row.tier);
        if tier > carrier.tier {
            // Nobody knew what its members need: the votes are counted again.
            message::Entity::update_many()
                .col_expr(message::Column::Tier, Expr::value(i32::from(tier)))
                .filter(message::Column::MessageId.eq(message.0.to_vec()))
                .exec(&self.tx)
                .await?;
            self.show_arrivals_again(carrier.header.target, message).await?;
        }
        self.wake_message(message).await
    }

    /// Has the arrivals of a message counted again.
    pub(super) async fn show_arrivals_again(&self, target: ChainId, message: MessageId) -> Result<(), StoreError> {
        chain_log::Entity::update_many()
            .col_expr(chain_log::Column::AppliedSeen, Expr::value(false))
            .filter(chain_log::Column::Chain.eq(int("chain_log.chain", target.0)?))
            .filter(chain_log::Column::Kind.eq("message_received"))
            .filter(chain_log::Column::Key.eq(message.0.to_vec()))
            .exec(&self.tx)
            .await?;
        Ok(())
    }

    /// Settlements that wait to be batched although a message that went out commits to them.
    pub(super) async fn waiting_leaves(&self, message: MessageId) -> Result<Vec<SettlementId>, StoreError> {
        let open = message_settlement::Entity::find()
            .filter(message_settlement::Column::MessageId.eq(message.0.to_vec()))
            .filter(message_settlement::Column::Resolved.eq(false))
            .filter(Expr::cust(
                "EXISTS (SELECT 1 FROM settlement s WHERE s.settlement_id = message_settlement.settlement_id AND s.state = 'accepted')",
            ))
            .order_by_asc(message_settlement::Column::Leaf)
            .all(&self.tx)
            .await?;
        open.iter()
            .map(|leaf| {
                Ok(SettlementId(b256(
                    "message_settlement.settlement_id",
                    &leaf.settlement_id,
                )?))
            })
            .collect()
    }
}

fn targets<'a>(news: impl Iterator<Item = &'a &'a NewSettlement>) -> Result<BTreeSet<i64>, StoreError> {
    news.map(|new| int("settlement.target_chain", new.target.0)).collect()
}
