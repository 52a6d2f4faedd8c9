//! Settlements that end unpaid on positive proof, many at a time.

use super::entity::{settlement, settlement_receipt};
use super::settlement::{Evidence, Settlement};
use super::settlement_apply::evidence_patch;
use super::{StoreError, Txn};
use crate::ledger::{Cause, EventRef, Obligation};
use crate::settlement::SettlementId;
use crate::settlement::states::{SettlementEvent, SettlementState};
use crate::settlement::transitions::Machine;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use std::collections::BTreeMap;

/// What a settlement that ended unpaid rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    pub event: SettlementEvent,
    pub evidence: Evidence,
    /// The log that ended it; None when the block itself is the proof.
    pub log: Option<EventRef>,
}

impl Ending {
    fn event_for(&self, row: &Settlement) -> SettlementEvent {
        if row.cancel_requested_at.is_some() {
            SettlementEvent::Cancel
        } else {
            self.event
        }
    }

    /// The settlement is part of the cause of the release: one burn or one paid rival can end several settlements of different inboxes.
    fn proof(&self, settlement: SettlementId) -> Cause {
        Cause::Proof {
            settlement,
            block: self.evidence.block_hash,
        }
    }
}

impl Txn {
    /// [`Txn::settlements_end_unpaid`] for one. False when it had ended before.
    pub async fn settlement_end_unpaid(&mut self, id: SettlementId, ending: &Ending) -> Result<bool, StoreError> {
        Ok(self.settlements_end_unpaid(&[id], ending).await? > 0)
    }

    /// Positive proof that these will never be paid: the states, the released reservations, the freed receipts, the leaves.
    /// One ends as cancelled when a cancel was asked for. Those that had ended before stay as they are. Returns how many ended.
    pub async fn settlements_end_unpaid(&mut self, ids: &[SettlementId], ending: &Ending) -> Result<usize, StoreError> {
        let rows = self.lock_settlements(ids).await?;
        if let Some(unknown) = ids.iter().find(|id| !rows.iter().any(|row| row.id == **id)) {
            return Err(super::settlement::missing(*unknown));
        }
        let open: Vec<Settlement> = rows
            .into_iter()
            .filter(|row| !row.state.is_terminal() && row.state != SettlementState::Disputed)
            .collect();
        if open.is_empty() {
            return Ok(0);
        }
        self.move_ended(&open, ending).await?;
        // One that was paid before this database knew of it has no reservation, also when that payment was taken back.
        let reserved = self.reserved_of(ids).await?;
        let released: Vec<_> = open
            .iter()
            .filter(|row| reserved.contains(&row.id))
            .flat_map(|row| Obligation::new(row.id, row.target, &row.terms).ended_unpaid(&ending.proof(row.id)))
            .collect();
        self.post(&released).await?;
        let ended: Vec<SettlementId> = open.iter().map(|row| row.id).collect();
        for chunk in ended.chunks(1_000) {
            settlement_receipt::Entity::update_many()
                .col_expr(settlement_receipt::Column::Holds, Expr::val(false))
                .filter(settlement_receipt::Column::SettlementId.is_in(chunk.iter().map(|id| id.0.to_vec())))
                .exec(&self.tx)
                .await?;
        }
        self.resolve_leaves(&ended, true).await?;
        Ok(ended.len())
    }

    async fn move_ended(&mut self, open: &[Settlement], ending: &Ending) -> Result<(), StoreError> {
        let mut moves: BTreeMap<(SettlementState, i64, SettlementState), Vec<i64>> = BTreeMap::new();
        for row in open {
            let to = row.state.apply(ending.event_for(row))?;
            moves.entry((row.state, row.version, to)).or_default().push(row.row);
        }
        for ((from, version, to), rows) in moves {
            let set: settlement::ActiveModel = evidence_patch(&ending.evidence);
            self.move_settlements(&rows, (from, version), to, set).await?;
        }
        for row in open {
            let event = ending.event_for(row);
            let cause = ending.log.map_or_else(|| ending.proof(row.id), Cause::Event);
            self.record_change(row, event, row.state.apply(event)?, &cause.to_string(), row.evidence);
        }
        Ok(())
    }
}
