//! What an operator's repair writes. Books are only ever added to: what is missing is booked, what was booked twice is reversed by a new
//! posting, a log that vanished is put back, and every one of them leaves an event that says who and why.

use super::chain_log::{ChainLog, LogStatus, NewChainLog};
use super::codec::{int, u256};
use super::entity::{chain_log, message_settlement, posting};
use super::posting::PostingRow;
use super::settlement::{Settlement, missing};
use super::settlement_pay::Payment;
use super::{NewEvent, StoreError, Txn};
use crate::ledger::{Cause, Obligation, Reason};
use crate::settlement::states::{SettlementEvent, SettlementState};
use crate::settlement::{ChainId, MessageId, SettlementId};
use alloy::primitives::B256;
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter};

/// Who repairs, and what for.
#[derive(Debug, Clone, Copy)]
pub struct RepairNote<'a> {
    /// Class and subject of the drift.
    pub subject: &'a str,
    pub what: &'a str,
    /// e.g. `operator alice`
    pub by: &'a str,
    pub settlement: Option<SettlementId>,
}

/// How an operator ends a dispute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisputeOutcome {
    /// The chain paid it, in a final block.
    Paid(Payment),
    /// It was not paid and is given up: it ends as cancelled.
    Unpaid,
}

/// Why a dispute cannot end so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DisputeRefusal {
    #[error("no such settlement")]
    Unknown,
    #[error("the settlement is {0}, not disputed")]
    NotDisputed(SettlementState),
    #[error("a payment of it stands on the books (posting {posting}): only the chain can take it back")]
    Paid { posting: i64 },
}

impl Txn {
    /// The audit row of a repair.
    pub fn record_repair(&mut self, note: &RepairNote<'_>) {
        self.record(NewEvent {
            aggregate: "ledger",
            aggregate_id: format!("repair {}", note.subject),
            event: "repaired".into(),
            cause: note.by.to_owned(),
            detail: Some(serde_json::json!({ "what": note.what }).to_string()),
            settlement_id: note.settlement.map(|id| id.0),
            ..NewEvent::default()
        });
    }

    /// Final logs that are on the chain and not here. The stages and the ledger take note of them as of any other.
    pub async fn put_back_logs(&mut self, logs: &[NewChainLog]) -> Result<(), StoreError> {
        self.put_logs(logs).await?;
        for log in logs {
            let written = chain_log::Entity::update_many()
                .col_expr(chain_log::Column::Status, Expr::value(LogStatus::Final.as_str()))
                .filter(chain_log::Column::Chain.eq(int("chain_log.chain", log.chain.0)?))
                .filter(chain_log::Column::BlockHash.eq(log.block_hash.to_vec()))
                .filter(chain_log::Column::LogIndex.eq(int("chain_log.log_index", log.log_index)?))
                .filter(chain_log::Column::Status.eq(LogStatus::Seen.as_str()))
                .exec(&self.tx)
                .await?;
            // What counts logs must count this one too.
            if written.rows_affected > 0 {
                self.reset_tallies(log.chain, log.block_number.saturating_sub(1))
                    .await?;
            }
        }
        Ok(())
    }

    /// The ledger books the final logs of a transaction again; what it has booked already stays booked once.
    pub async fn book_again(&mut self, chain: ChainId, tx: B256) -> Result<u64, StoreError> {
        let written = chain_log::Entity::update_many()
            .col_expr(chain_log::Column::AppliedFinal, Expr::value(false))
            .filter(chain_log::Column::Chain.eq(int("chain_log.chain", chain.0)?))
            .filter(chain_log::Column::TxHash.eq(tx.to_vec()))
            .filter(chain_log::Column::Status.eq(LogStatus::Final.as_str()))
            .exec(&self.tx)
            .await?;
        Ok(written.rows_affected)
    }

    /// A log that was never on the chain: what it caused is taken back as after a reorg. False when its standing changed meanwhile.
    pub async fn orphan_log(&mut self, log: &ChainLog) -> Result<bool, StoreError> {
        let written = chain_log::Entity::update_many()
            .col_expr(chain_log::Column::Status, Expr::value(LogStatus::Orphaned.as_str()))
            .col_expr(chain_log::Column::AppliedSeen, Expr::value(false))
            .filter(chain_log::Column::Id.eq(log.id))
            .filter(chain_log::Column::Status.eq(LogStatus::Final.as_str()))
            .exec(&self.tx)
            .await?;
        let gone = written.rows_affected > 0;
        if gone {
            self.reset_tallies(log.chain, log.block_number.saturating_sub(1))
                .await?;
        }
        Ok(gone)
    }

    /// A payment the ledger lacks in part: the postings that are missing, and the state where it has not followed. True when anything changed.
    pub async fn repair_payment(&mut self, id: SettlementId, payment: &Payment, why: &str) -> Result<bool, StoreError> {
        let mut row = self.lock_settlement(id).await?.ok_or_else(|| missing(id))?;
        let posted = self.post_payment(&row, payment).await?;
        let moved = match row.state {
            SettlementState::Settled => false,
            state if state.ended_unpaid() => {
                self.pay_state(&mut row, SettlementEvent::Dispute, payment, why).await?;
                true
            }
            _ => {
                self.pay_state(&mut row, SettlementEvent::Pay, payment, why).await?;
                true
            }
        };
        Ok(posted || moved)
    }

    /// The reservation of a settlement that was accepted, or its release when it ended unpaid: the posting that is missing. True when it was.
    pub async fn repair_reservation(&mut self, id: SettlementId) -> Result<bool, StoreError> {
        let row = self.lock_settlement(id).await?.ok_or_else(|| missing(id))?;
        let obligation = Obligation::new(row.id, row.target, &row.terms);
        let mut postings = obligation.accept();
        if row.state.ended_unpaid() {
            let block = row.evidence.map(|evidence| evidence.block_hash).unwrap_or_default();
            postings.extend(obligation.ended_unpaid(&Cause::Proof { settlement: id, block }));
        }
        let mut changed = false;
        for posting in postings {
            changed |= self.post(&[posting]).await?.iter().any(Option::is_some);
        }
        Ok(changed)
    }

    /// Reverses a posting by a new one. False when that was done before.
    pub async fn take_back(&mut self, row: i64, why: &str) -> Result<bool, StoreError> {
        let found = posting::Entity::find_by_id(row).one(&self.tx).await?;
        let found = found.ok_or_else(|| StoreError::Missing {
            what: format!("posting {row}"),
        })?;
        let row = PostingRow {
            id: found.id,
            debit_account: found.debit_account,
            credit_account: found.credit_account,
            amount: u256("posting.amount", &found.amount)?,
            reason: super::codec::name("posting.cause_kind", &found.cause_kind)?,
            cause: found.cause_ref,
            settlement: found
                .settlement_id
                .as_deref()
                .map(|id| super::codec::b256("posting.settlement_id", id).map(SettlementId))
                .transpose()?,
            reverses: found.reverses,
            at_ms: found.at_ms,
        };
        if row.reason == Reason::Reversal {
            return Ok(false);
        }
        self.reverse(&row, why).await
    }

    /// The leaves of a message as the outbox was given them. Those that are right already stay, with what is known of them.
    pub async fn put_back_leaves(&mut self, message: MessageId, ids: &[SettlementId]) -> Result<u64, StoreError> {
        use message_settlement::Column as C;
        let known = message_settlement::Entity::find()
            .filter(C::MessageId.eq(message.0.to_vec()))
            .all(&self.tx)
            .await?;
        let rows = self.lock_settlements(ids).await?;
        let mut written = 0u64;
        for (leaf, id) in (0i32..).zip(ids) {
            let same = known
                .iter()
                .find(|row| row.leaf == leaf)
                .map(|row| row.settlement_id == id.0.to_vec());
            if same == Some(true) {
                continue;
            }
            message_settlement::Entity::delete_many()
                .filter(C::MessageId.eq(message.0.to_vec()))
                .filter(C::Leaf.eq(leaf))
                .exec(&self.tx)
                .await?;
            // A leaf nobody here waits for is resolved: whoever resubmits it attaches anew.
            let open = rows.iter().any(|row| row.id == *id && !row.state.is_terminal());
            message_settlement::Entity::insert(message_settlement::ActiveModel {
                message_id: Set(message.0.to_vec()),
                leaf: Set(leaf),
                settlement_id: Set(id.0.to_vec()),
                resolved: Set(!open),
            })
            .exec_without_returning(&self.tx)
            .await?;
            written = written.saturating_add(1);
        }
        Ok(written)
    }

    /// Ends a dispute by an operator's word, as far as the books allow it.
    pub async fn resolve_dispute(
        &mut self,
        id: SettlementId,
        outcome: &DisputeOutcome,
        by: &str,
        note: &str,
    ) -> Result<Result<Settlement, DisputeRefusal>, StoreError> {
        let Some(mut row) = self.lock_settlement(id).await? else {
            return Ok(Err(DisputeRefusal::Unknown));
        };
        if row.state != SettlementState::Disputed {
            return Ok(Err(DisputeRefusal::NotDisputed(row.state)));
        }
        let cause = format!("{by}: {note}");
        match outcome {
            DisputeOutcome::Paid(payment) => {
                self.post_payment(&row, payment).await?;
                self.pay_state(&mut row, SettlementEvent::Pay, payment, &cause).await?;
            }
            DisputeOutcome::Unpaid => {
                if let Some(posting) = self.standing_payment(id).await? {
                    return Ok(Err(DisputeRefusal::Paid { posting }));
                }
                self.dismiss(&mut row, &cause).await?;
            }
        }
        self.record_repair(&RepairNote {
            subject: &format!("dispute {id}"),
            what: note,
            by,
            settlement: Some(id),
        });
        Ok(Ok(row))
    }
}
