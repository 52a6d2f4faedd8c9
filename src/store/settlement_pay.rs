//! Finalized payments, many at a time: one statement per kind of change, however many settlements an execution paid.
//!
//! What every payment of an execution has in common goes in sets; whatever is out of the ordinary (a settlement named twice, one that has
//! no such move, receipts that were given back) takes the path for a single one, so that it stays the business of that one.

use super::entity::{posting, settlement, settlement_receipt};
use super::settlement::{Evidence, Settlement, missing};
use super::settlement_apply::evidence_patch;
use super::{StoreError, Txn};
use crate::ledger::{AccountKey, AccountKind, Cause, EventRef, Obligation, Payout, Posting, Reason};
use crate::settlement::SettlementId;
use crate::settlement::states::{SettlementEvent, SettlementState};
use crate::settlement::transitions::Machine;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QuerySelect};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A finalized payment as the chain told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payment {
    pub evidence: Evidence,
    pub payout: Payout,
    /// The message that brought it names the fee recipient this settlement has, so the fee is income.
    pub fee_is_ours: bool,
    /// `SettlementPaid`.
    pub event: EventRef,
}

/// Rows that one UPDATE moves: where they stand, and everything it writes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Move {
    from: SettlementState,
    to: SettlementState,
    version: i64,
    credited: bool,
    block_number: u64,
    block_hash: [u8; 32],
    tx: Option<[u8; 32]>,
}

impl Txn {
    /// Books finalized payments: the states, the postings, the leaves. For each, false when this very payment was booked before.
    /// A payment of a settlement that had ended unpaid contradicts the proof of its end: it is booked and the settlement is disputed.
    pub async fn settlements_pay(&mut self, payments: &[(SettlementId, Payment)]) -> Result<Vec<bool>, StoreError> {
        let ids: Vec<SettlementId> = payments.iter().map(|(id, _)| *id).collect();
        let rows: HashMap<SettlementId, Settlement> = self
            .lock_settlements(&ids)
            .await?
            .into_iter()
            .map(|row| (row.id, row))
            .collect();
        let reserved = self.reserved_of(&ids).await?;
        let mut seen = HashSet::new();
        let (mut together, mut alone) = (Vec::new(), Vec::new());
        for (place, (id, payment)) in payments.iter().enumerate() {
            let row = rows.get(id).ok_or_else(|| missing(*id))?;
            let movable = row.state.apply(event_for(row)).is_ok();
            if movable && seen.insert(*id) {
                together.push((place, row, payment));
            } else {
                alone.push((place, *id, payment));
            }
        }
        let mut booked = vec![false; payments.len()];
        let mut postings: Vec<Posting> = Vec::new();
        let mut owner: Vec<usize> = Vec::new();
        for (place, row, payment) in &together {
            let own = payment_postings(row, payment, reserved.contains(&row.id));
            owner.extend(std::iter::repeat_n(*place, own.len()));
            postings.extend(own);
        }
        for (place, posted) in owner.into_iter().zip(self.post(&postings).await?) {
            booked[place] |= posted.is_some();
        }
        together.retain(|(place, ..)| booked[*place]);
        self.move_paid(&together).await?;
        let paid: Vec<SettlementId> = together.iter().map(|(_, row, _)| row.id).collect();
        for id in self.without_receipts(&paid).await? {
            self.hold_receipts(id, true).await?;
        }
        self.resolve_leaves(&paid, true).await?;
        for (place, id, payment) in alone {
            booked[place] = self.settlement_pay(id, payment).await?;
        }
        Ok(booked)
    }

    /// [`Txn::settlements_pay`] for one, row by row.
    pub async fn settlement_pay(&mut self, id: SettlementId, payment: &Payment) -> Result<bool, StoreError> {
        let mut row = self.lock_settlement(id).await?.ok_or_else(|| missing(id))?;
        let reserved = self.reserved_of(&[id]).await?.contains(&id);
        let posted = self.post(&payment_postings(&row, payment, reserved)).await?;
        if !posted.iter().any(Option::is_some) {
            return Ok(false);
        }
        let event = event_for(&row);
        let patch = settlement::ActiveModel {
            credited: Set(Some(payment.payout == Payout::Credited)),
            skip_reason: Set(None),
            ..evidence_patch(&payment.evidence)
        };
        let cause = Cause::Event(payment.event).to_string();
        self.settlement_apply(&mut row, event, patch, &cause).await?;
        self.hold_receipts(id, true).await?;
        self.resolve_leaves(&[id], true).await?;
        Ok(true)
    }

    /// The postings of a payment that are not on the books; true when one was missing.
    pub(super) async fn post_payment(&mut self, row: &Settlement, payment: &Payment) -> Result<bool, StoreError> {
        let reserved = self.reserved_of(&[row.id]).await?.contains(&row.id);
        let mut missing = false;
        // One by one: those that stand stay, and hide none of the others.
        for posting in payment_postings(row, payment, reserved) {
            missing |= self.post(&[posting]).await?.iter().any(Option::is_some);
        }
        Ok(missing)
    }

    /// The state after a payment, with its evidence, receipts and leaves.
    pub(super) async fn pay_state(
        &mut self,
        row: &mut Settlement,
        event: SettlementEvent,
        payment: &Payment,
        cause: &str,
    ) -> Result<(), StoreError> {
        let patch = settlement::ActiveModel {
            credited: Set(Some(payment.payout == Payout::Credited)),
            skip_reason: Set(None),
            ..evidence_patch(&payment.evidence)
        };
        self.settlement_apply(row, event, patch, cause).await?;
        self.hold_receipts(row.id, true).await?;
        self.resolve_leaves(&[row.id], true).await
    }

    /// A payment of this settlement that nothing has taken back.
    pub(super) async fn standing_payment(&self, id: SettlementId) -> Result<Option<i64>, StoreError> {
        let rows: Vec<(i64, String, Option<i64>)> = posting::Entity::find()
            .select_only()
            .columns([
                posting::Column::Id,
                posting::Column::CauseKind,
                posting::Column::Reverses,
            ])
            .filter(posting::Column::SettlementId.eq(id.0.to_vec()))
            .into_tuple()
            .all(&self.tx)
            .await?;
        let taken_back: HashSet<i64> = rows.iter().filter_map(|(.., reverses)| *reverses).collect();
        let pays = [Reason::Payment, Reason::Credit, Reason::External].map(Reason::as_str);
        let standing = rows
            .iter()
            .find(|(row, reason, _)| pays.contains(&reason.as_str()) && !taken_back.contains(row));
        Ok(standing.map(|(row, ..)| *row))
    }

    /// A disputed settlement is given up: its reservation, where it still stands, is released.
    pub(super) async fn dismiss(&mut self, row: &mut Settlement, cause: &str) -> Result<(), StoreError> {
        if self.reserved_of(&[row.id]).await?.contains(&row.id) {
            let obligation = Obligation::new(row.id, row.target, &row.terms);
            let word = Cause::Operator(format!("dispute:{}:{}", row.id, row.version));
            self.post(&obligation.ended_unpaid(&word)).await?;
        }
        self.settlement_apply(row, SettlementEvent::Dismiss, settlement::ActiveModel::default(), cause)
            .await?;
        self.hold_receipts(row.id, false).await?;
        self.resolve_leaves(&[row.id], true).await
    }

    /// Those of `ids` whose amount and fee are set aside still.
    pub(super) async fn reserved_of(&self, ids: &[SettlementId]) -> Result<HashSet<SettlementId>, StoreError> {
        let (mut accepted, mut released) = (HashSet::new(), HashSet::new());
        for chunk in ids.chunks(1_000) {
            let rows: Vec<(Option<Vec<u8>>, String)> = posting::Entity::find()
                .select_only()
                .columns([posting::Column::SettlementId, posting::Column::CauseKind])
                .filter(posting::Column::SettlementId.is_in(chunk.iter().map(|id| id.0.to_vec())))
                .filter(posting::Column::CauseKind.is_in([Reason::Accept.as_str(), Reason::Release.as_str()]))
                .into_tuple()
                .all(&self.tx)
                .await?;
            for (id, reason) in rows {
                let Some(id) = id else { continue };
                let id = SettlementId(super::codec::b256("posting.settlement_id", &id)?);
                if reason == Reason::Accept.as_str() {
                    accepted.insert(id);
                } else {
                    released.insert(id);
                }
            }
        }
        accepted.retain(|id| !released.contains(id));
        Ok(accepted)
    }

    /// One UPDATE for all that stand alike. The version is compared, so a row that changed since it was read fails the transaction
    /// instead of being overwritten.
    async fn move_paid(&mut self, paid: &[(usize, &Settlement, &Payment)]) -> Result<(), StoreError> {
        let mut moves: BTreeMap<Move, Vec<i64>> = BTreeMap::new();
        for (_, row, payment) in paid {
            let evidence = &payment.evidence;
            let key = Move {
                from: row.state,
                to: row.state.apply(event_for(row))?,
                version: row.version,
                credited: payment.payout == Payout::Credited,
                block_number: evidence.block_number,
                block_hash: evidence.block_hash.0,
                tx: evidence.tx.map(|tx| tx.0),
            };
            moves.entry(key).or_default().push(row.row);
        }
        for (key, rows) in moves {
            let evidence = Evidence {
                block_number: key.block_number,
                block_hash: key.block_hash.into(),
                tx: key.tx.map(Into::into),
            };
            let set = settlement::ActiveModel {
                credited: Set(Some(key.credited)),
                skip_reason: Set(None),
                ..evidence_patch(&evidence)
            };
            self.move_settlements(&rows, (key.from, key.version), key.to, set)
                .await?;
        }
        for (_, row, payment) in paid {
            let event = event_for(row);
            let cause = Cause::Event(payment.event).to_string();
            self.record_change(row, event, row.state.apply(event)?, &cause, row.evidence);
        }
        Ok(())
    }

    /// Those of `ids` that gave a receipt back and must see whether it is still free.
    async fn without_receipts(&self, ids: &[SettlementId]) -> Result<BTreeSet<SettlementId>, StoreError> {
        let mut found = BTreeSet::new();
        for chunk in ids.chunks(1_000) {
            let rows: Vec<Vec<u8>> = settlement_receipt::Entity::find()
                .select_only()
                .column(settlement_receipt::Column::SettlementId)
                .filter(settlement_receipt::Column::SettlementId.is_in(chunk.iter().map(|id| id.0.to_vec())))
                .filter(settlement_receipt::Column::Holds.eq(false))
                .into_tuple()
                .all(&self.tx)
                .await?;
            for id in &rows {
                found.insert(SettlementId(super::codec::b256(
                    "settlement_receipt.settlement_id",
                    id,
                )?));
            }
        }
        Ok(found)
    }
}

fn event_for(row: &Settlement) -> SettlementEvent {
    if row.state.ended_unpaid() {
        SettlementEvent::Dispute
    } else {
        SettlementEvent::Pay
    }
}

/// Postings of a payment. Money leaves the reservation, or the available balance when the reservation is gone.
fn payment_postings(row: &Settlement, payment: &Payment, reserved: bool) -> Vec<Posting> {
    let obligation = Obligation::new(row.id, row.target, &row.terms);
    let mut postings = if reserved {
        obligation.executed(payment.payout, payment.event)
    } else {
        obligation.paid_by_stranger(payment.payout, payment.fee_is_ours, payment.event)
    };
    if !payment.fee_is_ours {
        for posting in &mut postings {
            if posting.credit.kind() == AccountKind::FeesIncome {
                posting.credit = AccountKey::external(obligation.asset);
            }
        }
    }
    postings
}

#[cfg(test)]
mod tests;
