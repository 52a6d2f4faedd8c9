//! Changes of a settlement's state, each with the money and the receipts that go with it, in one transaction.

use super::entity::{settlement, settlement_receipt};
use super::settlement::{Evidence, Settlement, missing};
use super::txn::expect_one;
use super::{NewEvent, StoreError, Txn};
use crate::ledger::{Cause, EventRef};
use crate::settlement::SettlementId;
use crate::settlement::states::{SettlementEvent, SettlementState};
use crate::settlement::transitions::Machine;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter};
use std::collections::BTreeMap;

impl Txn {
    /// Applies a step along the path (Seal, Dispatch, Deliver, and their way back) to every one of `ids` that can take it; the others
    /// (ended meanwhile, or already there) stay as they are. Returns those that moved.
    pub async fn settlements_apply(
        &mut self,
        ids: &[SettlementId],
        event: SettlementEvent,
        cause: &str,
    ) -> Result<Vec<SettlementId>, StoreError> {
        let mut by_state: BTreeMap<SettlementState, Vec<Settlement>> = BTreeMap::new();
        for row in self.lock_settlements(ids).await? {
            // A cancel that was asked for since the batch was planned stops it.
            let stopped = event == SettlementEvent::Seal && row.cancel_requested_at.is_some();
            if row.state.apply(event).is_ok() && !stopped {
                by_state.entry(row.state).or_default().push(row);
            }
        }
        let mut moved = Vec::new();
        for (from, rows) in by_state {
            let to = from.apply(event)?;
            for chunk in rows.chunks(1_000) {
                let mut update = settlement::Entity::update_many()
                    .col_expr(settlement::Column::State, Expr::val(to.as_str()))
                    .col_expr(settlement::Column::UpdatedAt, Expr::val(self.now_ms))
                    .col_expr(
                        settlement::Column::Version,
                        Expr::col(settlement::Column::Version).add(1),
                    );
                if event == SettlementEvent::Seal {
                    let times = Expr::col(settlement::Column::BatchedTimes).add(1);
                    update = update.col_expr(settlement::Column::BatchedTimes, times);
                }
                let written = update
                    .filter(settlement::Column::Id.is_in(chunk.iter().map(|row| row.row)))
                    .filter(settlement::Column::State.eq(from.as_str()))
                    .exec(&self.tx)
                    .await?;
                if written.rows_affected != chunk.len() as u64 {
                    return Err(StoreError::Conflict {
                        what: "settlements".into(),
                    });
                }
            }
            for row in rows {
                self.record_change(&row, event, to, cause, None);
                moved.push(row.id);
            }
        }
        Ok(moved)
    }

    /// Batches settlements again, not before `batch_after`: their message was abandoned. Safe because a nonce is paid once.
    pub async fn requeue_settlements(
        &mut self,
        ids: &[SettlementId],
        batch_after: i64,
        cause: &str,
    ) -> Result<Vec<SettlementId>, StoreError> {
        let moved = self.settlements_apply(ids, SettlementEvent::Requeue, cause).await?;
        for chunk in moved.chunks(1_000) {
            settlement::Entity::update_many()
                .col_expr(settlement::Column::BatchAfter, Expr::val(batch_after))
                .filter(settlement::Column::SettlementId.is_in(chunk.iter().map(|id| id.0.to_vec())))
                .exec(&self.tx)
                .await?;
        }
        Ok(moved)
    }

    /// Notes why the last execution left settlements unpaid. A hint on the row, never a state.
    pub async fn set_skip_reason(&mut self, ids: &[SettlementId], reason: Option<&str>) -> Result<(), StoreError> {
        for chunk in ids.chunks(1_000) {
            settlement::Entity::update_many()
                .col_expr(settlement::Column::SkipReason, Expr::val(reason.map(str::to_owned)))
                .col_expr(settlement::Column::UpdatedAt, Expr::val(self.now_ms))
                .filter(settlement::Column::SettlementId.is_in(chunk.iter().map(|id| id.0.to_vec())))
                .exec(&self.tx)
                .await?;
        }
        Ok(())
    }

    /// Stops batching. The terms stay payable until the payer has burned the nonce or the deadline has passed, finalized; only then
    /// the settlement ends as cancelled. Idempotent; one that ended already is left alone. Returns the settlement as it is now.
    pub async fn request_cancel(&mut self, id: SettlementId, cause: &str) -> Result<Settlement, StoreError> {
        let mut row = self.lock_settlement(id).await?.ok_or_else(|| missing(id))?;
        if row.cancel_requested_at.is_some() || row.state.is_terminal() {
            return Ok(row);
        }
        let patch = settlement::ActiveModel {
            cancel_requested_at: Set(Some(self.now_ms)),
            ..Default::default()
        };
        self.write_settlement(&mut row, patch).await?;
        row.cancel_requested_at = Some(self.now_ms);
        self.record(NewEvent {
            event: "cancel_requested".into(),
            from_state: Some(row.state.to_string()),
            to_state: Some(row.state.to_string()),
            ..about(&row, cause)
        });
        Ok(row)
    }

    /// Finality of the paying block broke: the payment's postings are reversed and the settlement is open again.
    /// False when that payment is not the one on the books.
    pub async fn settlement_unpay(&mut self, id: SettlementId, event: EventRef) -> Result<bool, StoreError> {
        let mut row = self.lock_settlement(id).await?.ok_or_else(|| missing(id))?;
        let mut standing = self.standing_postings(event).await?;
        standing.retain(|posting| posting.settlement == Some(id));
        // One that was paid before this database knew of it has no postings of its own: they are those of terms nobody knew.
        let recalled = standing.is_empty()
            && row.state == SettlementState::Settled
            && row.evidence.is_some_and(|evidence| evidence.block_hash == event.block)
            && !self.has_payment(id).await?;
        if standing.is_empty() && !recalled {
            return Ok(false);
        }
        let cause = format!("orphaned {}", Cause::Event(event));
        for posting in &standing {
            self.reverse(posting, &cause).await?;
        }
        if row.state == SettlementState::Settled {
            let patch = settlement::ActiveModel {
                credited: Set(None),
                ended_at: Set(None),
                evidence_chain_block: Set(None),
                evidence_block_hash: Set(None),
                evidence_tx: Set(None),
                ..Default::default()
            };
            self.settlement_apply(&mut row, SettlementEvent::Unpay, patch, &cause)
                .await?;
            self.resolve_leaves(&[id], false).await?;
        }
        Ok(true)
    }

    /// Evidence contradicts itself; an operator decides. Nothing is posted. False when the state has no such move.
    pub async fn settlement_dispute(&mut self, id: SettlementId, cause: &str) -> Result<bool, StoreError> {
        let mut row = self.lock_settlement(id).await?.ok_or_else(|| missing(id))?;
        if row.state.apply(SettlementEvent::Dispute).is_err() {
            return Ok(false);
        }
        let patch = settlement::ActiveModel::default();
        self.settlement_apply(&mut row, SettlementEvent::Dispute, patch, cause)
            .await?;
        Ok(true)
    }

    /// The one place where a single settlement's state is written: table, compare-and-set, event.
    pub(super) async fn settlement_apply(
        &mut self,
        row: &mut Settlement,
        event: SettlementEvent,
        mut patch: settlement::ActiveModel,
        cause: &str,
    ) -> Result<(), StoreError> {
        let to = row.state.apply(event)?;
        patch.state = Set(to.as_str().to_owned());
        if to.is_terminal() {
            patch.ended_at = Set(Some(self.now_ms));
        }
        self.write_settlement(row, patch).await?;
        self.record_change(row, event, to, cause, row.evidence);
        row.state = to;
        Ok(())
    }

    /// One statement for rows that stand alike: `set` and what every move writes. A row that is not where it was read fails all of them,
    /// instead of being overwritten.
    pub(super) async fn move_settlements(
        &self,
        rows: &[i64],
        (from, version): (SettlementState, i64),
        to: SettlementState,
        set: settlement::ActiveModel,
    ) -> Result<(), StoreError> {
        for chunk in rows.chunks(1_000) {
            let mut set = settlement::ActiveModel {
                state: Set(to.as_str().to_owned()),
                updated_at: Set(self.now_ms),
                version: Set(version.saturating_add(1)),
                ..set.clone()
            };
            if to.is_terminal() {
                set.ended_at = Set(Some(self.now_ms));
            }
            let written = settlement::Entity::update_many()
                .set(set)
                .filter(settlement::Column::Id.is_in(chunk.iter().copied()))
                .filter(settlement::Column::State.eq(from.as_str()))
                .filter(settlement::Column::Version.eq(version))
                .exec(&self.tx)
                .await?;
            if written.rows_affected != chunk.len() as u64 {
                return Err(StoreError::Conflict {
                    what: "settlements that move together".into(),
                });
            }
        }
        Ok(())
    }

    async fn write_settlement(
        &self,
        row: &mut Settlement,
        mut patch: settlement::ActiveModel,
    ) -> Result<(), StoreError> {
        patch.updated_at = Set(self.now_ms);
        patch.version = Set(row.version.saturating_add(1));
        let written = settlement::Entity::update_many()
            .set(patch)
            .filter(settlement::Column::Id.eq(row.row))
            .filter(settlement::Column::Version.eq(row.version))
            .exec(&self.tx)
            .await?;
        expect_one(written.rows_affected, format!("settlement {}", row.id))?;
        row.version = row.version.saturating_add(1);
        row.updated_at = self.now_ms;
        Ok(())
    }

    pub(super) async fn hold_receipts(&self, id: SettlementId, holds: bool) -> Result<(), StoreError> {
        // Taking receipts back can meet a successor that holds them by now; then they stay with it, and the dispute says so.
        if holds && !self.receipts_are_free(id).await? {
            return Ok(());
        }
        settlement_receipt::Entity::update_many()
            .col_expr(settlement_receipt::Column::Holds, Expr::val(holds))
            .filter(settlement_receipt::Column::SettlementId.eq(id.0.to_vec()))
            .exec(&self.tx)
            .await
            .map_err(|error| StoreError::or_race(error, "the receipts of a settlement"))?;
        Ok(())
    }

    /// Whether no other settlement holds a receipt or a job of this one.
    async fn receipts_are_free(&self, id: SettlementId) -> Result<bool, StoreError> {
        use settlement_receipt::Column;
        let own = settlement_receipt::Entity::find()
            .filter(Column::SettlementId.eq(id.0.to_vec()))
            .all(&self.tx)
            .await?;
        if own.iter().all(|row| row.holds) {
            return Ok(true);
        }
        let Some(first) = own.first() else { return Ok(true) };
        let either = sea_orm::Condition::any()
            .add(Column::JobId.is_in(own.iter().map(|row| row.job_id.clone())))
            .add(Column::ReceiptHash.is_in(own.iter().map(|row| row.receipt_hash.clone())));
        let other = settlement_receipt::Entity::find()
            .filter(Column::CoordinatorId.eq(first.coordinator_id.clone()))
            // A literal, so that the partial indexes serve.
            .filter(Expr::cust("holds"))
            .filter(Column::SettlementId.ne(id.0.to_vec()))
            .filter(either)
            .one(&self.tx)
            .await?;
        Ok(other.is_none())
    }

    pub(super) fn record_change(
        &mut self,
        row: &Settlement,
        event: SettlementEvent,
        to: SettlementState,
        cause: &str,
        evidence: Option<Evidence>,
    ) {
        self.record(NewEvent {
            event: event.to_string(),
            from_state: Some(row.state.to_string()),
            to_state: Some(to.to_string()),
            detail: evidence.map(|evidence| {
                format!(
                    r#"{{"block":{},"block_hash":"{}"}}"#,
                    evidence.block_number, evidence.block_hash
                )
            }),
            ..about(row, cause)
        });
    }
}

fn about(row: &Settlement, cause: &str) -> NewEvent {
    NewEvent {
        aggregate: "settlement",
        aggregate_id: row.id.to_string(),
        cause: cause.to_owned(),
        settlement_id: Some(row.id.0),
        coordinator_id: Some(row.coordinator_id.clone()),
        trace_id: Some(row.trace_id.clone()),
        ..NewEvent::default()
    }
}

pub(super) fn evidence_patch(evidence: &Evidence) -> settlement::ActiveModel {
    settlement::ActiveModel {
        evidence_chain_block: Set(i64::try_from(evidence.block_number).ok()),
        evidence_block_hash: Set(Some(evidence.block_hash.to_vec())),
        evidence_tx: Set(evidence.tx.map(|tx| tx.to_vec())),
        ..Default::default()
    }
}
