//! Settlements as the rest of the program sees them, and how they are read. Accepting is in [`super::settlement_accept`], changes of
//! state in [`super::settlement_apply`].

use super::bulk::padded;
use super::codec::{address, b256, int, name, u256, uint};
use super::entity::{message_settlement, settlement, settlement_receipt};
use super::hub::HubId;
use super::{Store, StoreError, Txn};
use crate::names::names;
use crate::settlement::policy::RoutePolicy;
use crate::settlement::states::SettlementState;
use crate::settlement::terms::{Domain, Terms, TermsFields};
use crate::settlement::{ChainId, MessageId, SettlementId};
use alloy::primitives::{Address, B256, Bytes};
use sea_orm::sea_query::{Expr, Query, UnionType};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};

names! {
    /// Who can vouch for an authorization.
    AuthKind, "kind of authorization" {
        /// The payer's own key, or a signer it registered in the vault.
        Ecdsa = "ecdsa",
        /// The payer is a contract that said yes when it was asked.
        Erc1271 = "erc1271",
    }
}

/// The finalized block that proves how a settlement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    pub block_number: u64,
    pub block_hash: B256,
    /// None when the proof is the block itself (expiry).
    pub tx: Option<B256>,
}

/// Place of a settlement in the group its payer signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupMember {
    pub root: B256,
    pub index: usize,
}

/// The checkpoint that shows that a payer can pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reliance {
    pub hub: HubId,
    /// Row number.
    pub checkpoint: i64,
}

/// Nothing speaks against what a settlement relies on: its hub goes on, the checkpoint is final and not refused.
const STANDS: &str = "(settlement.hub_id IS NULL OR EXISTS (SELECT 1 FROM hub h JOIN hub_checkpoint c ON c.hub_id = h.id \
    WHERE h.id = settlement.hub_id AND c.id = settlement.hub_checkpoint_id AND h.halted IS NULL AND c.standing = 'final' \
    AND c.refused IS NULL))";

/// And what was known of its promises when it was accepted, its own token's among them, was compared with what backs them. A promise of another
/// token is judged with the others, and refuses the checkpoint as a whole.
const JUDGED: &str = "(settlement.hub_id IS NULL OR (EXISTS (SELECT 1 FROM hub_bound b \
    WHERE b.hub_checkpoint_id = settlement.hub_checkpoint_id AND b.solvent) AND NOT EXISTS (SELECT 1 FROM hub_bound b \
    WHERE b.hub_checkpoint_id = settlement.hub_checkpoint_id AND (NOT b.solvent \
    OR (b.solvent IS NULL AND b.created_at <= settlement.accepted_at)))))";

/// One settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// Row number: paging and age order only.
    pub row: i64,
    pub id: SettlementId,
    pub coordinator_id: String,
    pub trace_id: String,
    pub target: ChainId,
    pub inbox: Address,
    pub terms: Terms,
    /// Normalized; the group's when `group` is set.
    pub auth: Bytes,
    pub auth_kind: AuthKind,
    /// A contract payer can take its word back at will.
    pub revocable: bool,
    pub group: Option<GroupMember>,
    /// Families of bridges this amount needs.
    pub tier: u8,
    /// Zero when the fee is zero.
    pub fee_recipient: Address,
    /// How the lanes of its message are ranked; None = as configured when it is routed.
    pub policy: Option<RoutePolicy>,
    /// It is not batched while this does not hold.
    pub relies_on: Option<Reliance>,
    pub state: SettlementState,
    pub skip_reason: Option<String>,
    pub cancel_requested_at: Option<i64>,
    pub supersedes: Option<SettlementId>,
    /// Not batched before, Unix ms.
    pub batch_after: i64,
    pub batched_times: u32,
    pub accepted_at: i64,
    pub updated_at: i64,
    pub ended_at: Option<i64>,
    pub evidence: Option<Evidence>,
    /// Paid as a credit in the vault because the transfer failed.
    pub credited: bool,
    pub version: i64,
}

impl Settlement {
    pub fn source(&self) -> ChainId {
        self.terms.source_chain
    }

    pub fn domain(&self) -> Domain {
        Domain::new(self.target, self.inbox)
    }
}

/// A receipt a settlement covers: named fields only, never its prompt or result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoveredReceipt {
    pub hash: B256,
    pub receipt_id: String,
    pub job_id: String,
    pub provider: String,
    /// Decimal lexeme of the canonical bytes.
    pub price: Option<String>,
}

/// What to list; an unset field does not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettlementFilter {
    pub coordinator_id: Option<String>,
    pub state: Option<SettlementState>,
    pub payer: Option<Address>,
    pub payee: Option<Address>,
    pub target: Option<ChainId>,
    /// Job id in clear, as in the receipt.
    pub job_id: Option<String>,
    /// Rows from this one on.
    pub row_min: Option<i64>,
}

impl Store {
    pub async fn find_settlement(&self, id: SettlementId) -> Result<Option<Settlement>, StoreError> {
        let row = settlement::Entity::find()
            .filter(settlement::Column::SettlementId.eq(id.0.to_vec()))
            .one(&self.db)
            .await?;
        row.as_ref().map(decode).transpose()
    }

    pub async fn get_settlement(&self, id: SettlementId) -> Result<Settlement, StoreError> {
        self.find_settlement(id).await?.ok_or_else(|| missing(id))
    }

    /// Settlements by id, in no order; unknown ids are absent.
    pub async fn list_settlements_by_id(&self, ids: &[SettlementId]) -> Result<Vec<Settlement>, StoreError> {
        let mut found = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(1_000) {
            let rows = settlement::Entity::find()
                .filter(settlement::Column::SettlementId.is_in(chunk.iter().map(|id| id.0.to_vec())))
                .all(&self.db)
                .await?;
            for row in &rows {
                found.push(decode(row)?);
            }
        }
        Ok(found)
    }

    /// Newest first; `before` is the row of the last one of the page before.
    pub async fn list_settlements(
        &self,
        filter: &SettlementFilter,
        before: Option<i64>,
        limit: u64,
    ) -> Result<Vec<Settlement>, StoreError> {
        use settlement::Column;
        let mut query = settlement::Entity::find();
        if let Some(coordinator) = &filter.coordinator_id {
            query = query.filter(Column::CoordinatorId.eq(coordinator));
        }
        if let Some(state) = filter.state {
            query = query.filter(Column::State.eq(state.as_str()));
        }
        if let Some(payer) = filter.payer {
            query = query.filter(Column::Payer.eq(payer.to_vec()));
        }
        if let Some(payee) = filter.payee {
            query = query.filter(Column::Payee.eq(payee.to_vec()));
        }
        if let Some(target) = filter.target {
            query = query.filter(Column::TargetChain.eq(int("target_chain", target.0)?));
        }
        if let Some(job_id) = &filter.job_id {
            // Each standing has an index of its own; the literal makes it serve.
            let of = |standing: &'static str| {
                let mut ids = Query::select();
                ids.column(settlement_receipt::Column::SettlementId)
                    .from(settlement_receipt::Entity)
                    .and_where(Expr::cust(standing))
                    .and_where(settlement_receipt::Column::JobId.eq(job_id));
                if let Some(coordinator) = &filter.coordinator_id {
                    ids.and_where(settlement_receipt::Column::CoordinatorId.eq(coordinator));
                }
                ids
            };
            let ids = of("holds").union(UnionType::All, of("NOT holds")).to_owned();
            query = query.filter(Column::SettlementId.in_subquery(ids));
        }
        if let Some(row_min) = filter.row_min {
            query = query.filter(Column::Id.gte(row_min));
        }
        if let Some(before) = before {
            query = query.filter(Column::Id.lt(before));
        }
        let rows = query.order_by_desc(Column::Id).limit(limit).all(&self.db).await?;
        rows.iter().map(decode).collect()
    }

    /// Accepted settlements of a target that may be batched now and expire no earlier than `deadline_min`, oldest first.
    pub async fn list_batchable(
        &self,
        target: ChainId,
        now_ms: i64,
        deadline_min: u64,
        limit: u64,
    ) -> Result<Vec<Settlement>, StoreError> {
        use settlement::Column;
        let rows = settlement::Entity::find()
            .filter(Column::State.eq(SettlementState::Accepted.as_str()))
            // The index is of those that have not ended.
            .filter(Column::EndedAt.is_null())
            .filter(Column::TargetChain.eq(int("target_chain", target.0)?))
            .filter(Column::CancelRequestedAt.is_null())
            .filter(Column::BatchAfter.lte(now_ms))
            .filter(Column::Deadline.gte(int("deadline", deadline_min)?))
            .filter(Expr::cust(STANDS))
            .filter(Expr::cust(JUDGED))
            // The order of the index, so that a long backlog is not sorted for every batch.
            .order_by_asc(Column::BatchAfter)
            .order_by_asc(Column::Id)
            .limit(limit)
            .all(&self.db)
            .await?;
        rows.iter().map(decode).collect()
    }

    /// Whether an open member of a message relies on what does not stand any more: a hub that halted, a checkpoint that was refused or that a
    /// reorg took.
    pub async fn has_forsaken_member(&self, message: MessageId) -> Result<bool, StoreError> {
        let mut open = Query::select();
        open.column(message_settlement::Column::SettlementId)
            .from(message_settlement::Entity)
            .and_where(message_settlement::Column::MessageId.eq(message.0.to_vec()))
            .and_where(message_settlement::Column::Resolved.eq(false));
        let found = settlement::Entity::find()
            .filter(settlement::Column::SettlementId.in_subquery(open))
            .filter(Expr::cust(format!("NOT {STANDS}")))
            .limit(1)
            .one(&self.db)
            .await?;
        Ok(found.is_some())
    }

    /// Open settlements of a target whose deadline is before `timestamp`, after row `after`, in row order.
    pub async fn list_past_deadline(
        &self,
        target: ChainId,
        timestamp: u64,
        after: i64,
        limit: u64,
    ) -> Result<Vec<Settlement>, StoreError> {
        use settlement::Column;
        let open = SettlementState::ALL
            .iter()
            .filter(|state| !state.is_terminal() && **state != SettlementState::Disputed);
        let rows = settlement::Entity::find()
            .filter(Column::TargetChain.eq(int("target_chain", target.0)?))
            .filter(Column::State.is_in(open.map(|state| state.as_str())))
            .filter(Column::EndedAt.is_null())
            .filter(Column::Deadline.lt(int("deadline", timestamp)?))
            .filter(Column::Id.gt(after))
            .order_by_asc(Column::Id)
            .limit(limit)
            .all(&self.db)
            .await?;
        rows.iter().map(decode).collect()
    }

    /// Number of settlements in each state that has any.
    pub async fn count_settlements(&self) -> Result<Vec<(SettlementState, u64)>, StoreError> {
        let rows: Vec<(String, i64)> = settlement::Entity::find()
            .select_only()
            .column(settlement::Column::State)
            .column_as(settlement::Column::Id.count(), "n")
            .group_by(settlement::Column::State)
            .into_tuple()
            .all(&self.db)
            .await?;
        rows.iter()
            .map(|(state, n)| Ok((name("settlement.state", state)?, uint("count", *n)?)))
            .collect()
    }

    /// The settlement that used this nonce here, if any.
    pub async fn find_settlement_by_nonce(
        &self,
        target: ChainId,
        inbox: Address,
        payer: Address,
        nonce: alloy::primitives::U256,
    ) -> Result<Option<Settlement>, StoreError> {
        let found = by_nonce(target, inbox, payer, nonce)?.one(&self.db).await?;
        found.as_ref().map(decode).transpose()
    }

    /// Receipts a settlement covers, in the order of its tree.
    pub async fn list_covered_receipts(&self, id: SettlementId) -> Result<Vec<CoveredReceipt>, StoreError> {
        let rows = settlement_receipt::Entity::find()
            .filter(settlement_receipt::Column::SettlementId.eq(id.0.to_vec()))
            .order_by_asc(settlement_receipt::Column::Position)
            .all(&self.db)
            .await?;
        rows.into_iter()
            .map(|row| {
                Ok(CoveredReceipt {
                    hash: b256("settlement_receipt.receipt_hash", &row.receipt_hash)?,
                    receipt_id: row.receipt_id,
                    job_id: row.job_id,
                    provider: row.provider,
                    price: row.price,
                })
            })
            .collect()
    }

    /// Messages that commit to a settlement with its leaf in each, oldest first.
    pub async fn list_messages_of(&self, id: SettlementId) -> Result<Vec<(MessageId, usize)>, StoreError> {
        let rows = message_settlement::Entity::find()
            .filter(message_settlement::Column::SettlementId.eq(id.0.to_vec()))
            .all(&self.db)
            .await?;
        let ids: Vec<MessageId> = rows
            .iter()
            .map(|row| b256("message_settlement.message_id", &row.message_id).map(MessageId))
            .collect::<Result<_, _>>()?;
        let order = self.message_rows(&ids).await?;
        let mut found: Vec<(i64, MessageId, usize)> = Vec::new();
        for (id, row) in ids.into_iter().zip(&rows) {
            let leaf = usize::try_from(row.leaf).unwrap_or_default();
            found.push((order.get(&id).copied().unwrap_or_default(), id, leaf));
        }
        found.sort_by_key(|(row, ..)| *row);
        Ok(found.into_iter().map(|(_, id, leaf)| (id, leaf)).collect())
    }
}

impl Txn {
    /// Rows by id, in no order; unknown ids are absent.
    pub async fn find_settlements(&self, ids: &[SettlementId]) -> Result<Vec<Settlement>, StoreError> {
        let mut found = Vec::new();
        for chunk in ids.chunks(1_024) {
            let ids = padded(chunk.iter().map(|id| id.0.to_vec()).collect());
            let rows = settlement::Entity::find()
                .filter(settlement::Column::SettlementId.is_in(ids))
                .all(&self.tx)
                .await?;
            for row in &rows {
                found.push(decode(row)?);
            }
        }
        Ok(found)
    }

    /// Rows by id, locked until the end of the transaction, in row order.
    pub async fn lock_settlements(&self, ids: &[SettlementId]) -> Result<Vec<Settlement>, StoreError> {
        let mut found = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(1_000) {
            let rows = settlement::Entity::find()
                .filter(settlement::Column::SettlementId.is_in(chunk.iter().map(|id| id.0.to_vec())))
                .order_by_asc(settlement::Column::Id)
                .lock_exclusive()
                .all(&self.tx)
                .await?;
            for row in &rows {
                found.push(decode(row)?);
            }
        }
        Ok(found)
    }

    /// One row, locked until the end of the transaction.
    pub async fn lock_settlement(&self, id: SettlementId) -> Result<Option<Settlement>, StoreError> {
        Ok(self.lock_settlements(&[id]).await?.pop())
    }

    /// Fails with `Conflict` unless all that these rely on may still be relied on, see [`Store::list_batchable`].
    pub(super) async fn expect_upheld(&self, ids: &[SettlementId]) -> Result<(), StoreError> {
        for chunk in ids.chunks(1_000) {
            let fallen = settlement::Entity::find()
                .filter(settlement::Column::SettlementId.is_in(chunk.iter().map(|id| id.0.to_vec())))
                .filter(Expr::cust(format!("NOT ({STANDS} AND {JUDGED})")))
                .limit(1)
                .one(&self.tx)
                .await?;
            if fallen.is_some() {
                return Err(StoreError::Conflict {
                    what: "what settlements of a batch rely on".into(),
                });
            }
        }
        Ok(())
    }

    /// The settlement on this (payer, nonce), locked.
    pub async fn lock_settlement_by_nonce(
        &self,
        target: ChainId,
        inbox: Address,
        payer: Address,
        nonce: alloy::primitives::U256,
    ) -> Result<Option<Settlement>, StoreError> {
        let query = by_nonce(target, inbox, payer, nonce)?.lock_exclusive();
        query.one(&self.tx).await?.as_ref().map(decode).transpose()
    }

    /// The settlement on this (payer, nonce) as it is now. Not locked: whoever accepts holds accounts, and whoever pays locks the
    /// settlement first.
    pub(super) async fn settlement_by_nonce(
        &self,
        target: ChainId,
        inbox: Address,
        payer: Address,
        nonce: alloy::primitives::U256,
    ) -> Result<Option<Settlement>, StoreError> {
        let found = by_nonce(target, inbox, payer, nonce)?.one(&self.tx).await?;
        found.as_ref().map(decode).transpose()
    }
}

fn by_nonce(
    target: ChainId,
    inbox: Address,
    payer: Address,
    nonce: alloy::primitives::U256,
) -> Result<Select<settlement::Entity>, StoreError> {
    use settlement::Column;
    Ok(settlement::Entity::find()
        .filter(Column::TargetChain.eq(int("target_chain", target.0)?))
        .filter(Column::Inbox.eq(inbox.to_vec()))
        .filter(Column::Payer.eq(payer.to_vec()))
        .filter(Column::Nonce.eq(super::codec::u256_bytes(nonce))))
}

pub(super) fn missing(id: SettlementId) -> StoreError {
    StoreError::Missing {
        what: format!("settlement {id}"),
    }
}

/// What the three columns of evidence say.
pub(super) fn evidence(
    number: Option<i64>,
    hash: Option<&[u8]>,
    tx: Option<&[u8]>,
) -> Result<Option<Evidence>, StoreError> {
    let (Some(number), Some(hash)) = (number, hash) else {
        return Ok(None);
    };
    Ok(Some(Evidence {
        block_number: uint("settlement.evidence_chain_block", number)?,
        block_hash: b256("settlement.evidence_block_hash", hash)?,
        tx: tx.map(|tx| b256("settlement.evidence_tx", tx)).transpose()?,
    }))
}

pub(super) fn decode(row: &settlement::Model) -> Result<Settlement, StoreError> {
    let corrupt = |column, reason: String| StoreError::Corrupt { column, reason };
    let terms = Terms::new(TermsFields {
        job_id: b256("settlement.job_hash", &row.job_hash)?,
        receipt_hash: b256("settlement.receipt_hash", &row.receipt_hash)?,
        proof_hash: b256("settlement.proof_hash", &row.proof_hash)?,
        source_chain: ChainId(uint("settlement.source_chain", row.source_chain)?),
        payer: address("settlement.payer", &row.payer)?,
        payee: address("settlement.payee", &row.payee)?,
        token: address("settlement.token", &row.token)?,
        amount: u256("settlement.amount", &row.amount)?,
        fee: u256("settlement.fee", &row.fee)?,
        nonce: u256("settlement.nonce", &row.nonce)?,
        deadline: uint("settlement.deadline", row.deadline)?,
    })
    .map_err(|error| corrupt("settlement terms", error.to_string()))?;
    let supersedes = row.supersedes.as_deref();
    let evidence = evidence(
        row.evidence_chain_block,
        row.evidence_block_hash.as_deref(),
        row.evidence_tx.as_deref(),
    )?;
    let group = match (&row.group_root, row.group_index) {
        (Some(root), Some(index)) => Some(GroupMember {
            root: b256("settlement.group_root", root)?,
            index: usize::try_from(index).map_err(|error| corrupt("settlement.group_index", error.to_string()))?,
        }),
        _ => None,
    };
    Ok(Settlement {
        row: row.id,
        id: SettlementId(b256("settlement.settlement_id", &row.settlement_id)?),
        coordinator_id: row.coordinator_id.clone(),
        trace_id: row.trace_id.clone(),
        target: ChainId(uint("settlement.target_chain", row.target_chain)?),
        inbox: address("settlement.inbox", &row.inbox)?,
        terms,
        auth: row.auth.clone().into(),
        auth_kind: name("settlement.auth_kind", &row.auth_kind)?,
        revocable: row.revocable,
        group,
        tier: u8::try_from(row.tier).map_err(|error| corrupt("settlement.tier", error.to_string()))?,
        fee_recipient: address("settlement.fee_recipient", &row.fee_recipient)?,
        policy: row
            .policy
            .as_deref()
            .map(|policy| name("settlement.policy", policy))
            .transpose()?,
        relies_on: row.hub_id.zip(row.hub_checkpoint_id).map(|(hub, checkpoint)| Reliance {
            hub: HubId(hub),
            checkpoint,
        }),
        state: name("settlement.state", &row.state)?,
        skip_reason: row.skip_reason.clone(),
        cancel_requested_at: row.cancel_requested_at,
        supersedes: supersedes
            .map(|id| b256("settlement.supersedes", id).map(SettlementId))
            .transpose()?,
        batch_after: row.batch_after,
        batched_times: u32::try_from(row.batched_times).unwrap_or_default(),
        accepted_at: row.accepted_at,
        updated_at: row.updated_at,
        ended_at: row.ended_at,
        evidence,
        credited: row.credited.unwrap_or_default(),
        version: row.version,
    })
}
