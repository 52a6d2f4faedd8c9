//! Differences found between ledger, source and target. Reported, closed when they are gone, never adjusted.

use super::codec::{address, b256, int, name, uint};
use super::entity::drift;
use super::{NewEvent, Store, StoreError, Txn};
use crate::names::names;
use crate::settlement::{ChainId, SettlementId};
use alloy::primitives::Address;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};

names! {
    /// What kind of difference.
    DriftClass, "drift class" {
        /// One side has something the other lacks.
        Missing = "missing",
        Duplicate = "duplicate",
        Amount = "amount",
        Payee = "payee",
        Root = "root",
        /// Finality broke, or a side is too old to be compared.
        Stale = "stale",
        /// On a chain, and not ours.
        Unknown = "unknown",
        /// A bridge brought what no outbox gave it.
        Forged = "forged",
    }
}

/// A difference, named by class, chain and subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    pub class: DriftClass,
    pub chain: ChainId,
    /// What differs, e.g. `counter paid` or `total debited 0x…`.
    pub subject: String,
    pub expected: String,
    pub actual: String,
}

/// Which ones to list; an unset field does not filter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DriftFilter {
    pub class: Option<DriftClass>,
    pub chain: Option<ChainId>,
    pub settlement: Option<SettlementId>,
    /// Also those that are resolved.
    pub resolved: bool,
}

/// Name of the counter that orders changes of drifts.
const DRIFT_SEQ: &str = "drift_seq";

/// Whose money a difference is about, where that is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DriftAbout {
    /// On the drift's chain.
    pub token: Option<Address>,
    pub settlement: Option<SettlementId>,
    /// Of the log it is about.
    pub block: Option<u64>,
}

/// One on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriftRow {
    pub id: i64,
    pub drift: Drift,
    pub about: DriftAbout,
    /// Place in the order of all changes of drifts.
    pub seq: i64,
    pub found_at: i64,
    pub resolved_at: Option<i64>,
    pub resolution: Option<String>,
}

impl Store {
    /// Open ones, oldest first.
    pub async fn list_open_drifts(&self) -> Result<Vec<DriftRow>, StoreError> {
        let rows = drift::Entity::find()
            .filter(drift::Column::ResolvedAt.is_null())
            .order_by_asc(drift::Column::Id)
            .all(&self.db)
            .await?;
        rows.into_iter().map(decode).collect()
    }

    /// Newest first, before row `before`.
    pub async fn list_drifts(
        &self,
        filter: &DriftFilter,
        before: Option<i64>,
        limit: u64,
    ) -> Result<Vec<DriftRow>, StoreError> {
        let mut query = drift::Entity::find();
        if let Some(class) = filter.class {
            query = query.filter(drift::Column::Class.eq(class.as_str()));
        }
        if let Some(chain) = filter.chain {
            query = query.filter(drift::Column::Chain.eq(int("drift.chain", chain.0)?));
        }
        if let Some(settlement) = filter.settlement {
            query = query.filter(drift::Column::SettlementId.eq(settlement.0.to_vec()));
        }
        if !filter.resolved {
            query = query.filter(drift::Column::ResolvedAt.is_null());
        }
        if let Some(before) = before {
            query = query.filter(drift::Column::Id.lt(before));
        }
        let rows = query
            .order_by_desc(drift::Column::Id)
            .limit(limit)
            .all(&self.db)
            .await?;
        rows.into_iter().map(decode).collect()
    }

    /// What was found or resolved after a place in the order of changes; each drift as it is now.
    pub async fn list_drift_changes(&self, after: i64, limit: u64) -> Result<Vec<DriftRow>, StoreError> {
        let rows = drift::Entity::find()
            .filter(drift::Column::ChangedSeq.gt(after))
            .order_by_asc(drift::Column::ChangedSeq)
            .limit(limit)
            .all(&self.db)
            .await?;
        rows.into_iter().map(decode).collect()
    }

    /// The first block an open difference of a chain is about.
    pub async fn find_oldest_drift_block(&self, chain: ChainId) -> Result<Option<u64>, StoreError> {
        let open = self.list_open_drifts().await?;
        let of_chain = open.iter().filter(|row| row.drift.chain == chain);
        Ok(of_chain.filter_map(|row| row.about.block).min())
    }

    pub async fn count_open_drifts(&self) -> Result<u64, StoreError> {
        Ok(drift::Entity::find()
            .filter(drift::Column::ResolvedAt.is_null())
            .count(&self.db)
            .await?)
    }
}

impl Txn {
    /// Puts a difference on record, or brings the record up to date. True when it was not open before.
    pub async fn report_drift(&mut self, found: &Drift) -> Result<bool, StoreError> {
        self.report_drift_about(found, DriftAbout::default()).await
    }

    /// [`Txn::report_drift`], and whose money it is about.
    pub async fn report_drift_about(&mut self, found: &Drift, about: DriftAbout) -> Result<bool, StoreError> {
        let row = self.find_drift(found.class, found.chain, &found.subject).await?;
        let fresh = row.as_ref().is_none_or(|row| row.resolved_at.is_some());
        let same = row
            .as_ref()
            .is_some_and(|row| row.expected == found.expected && row.actual == found.actual);
        if !fresh && same {
            return Ok(false);
        }
        let seq = self.reserve_counter(DRIFT_SEQ, 1).await?;
        match row {
            Some(row) => {
                let mut set = drift::ActiveModel {
                    expected: Set(found.expected.clone()),
                    actual: Set(found.actual.clone()),
                    resolved_at: Set(None),
                    resolution: Set(None),
                    changed_seq: Set(seq),
                    ..Default::default()
                };
                if fresh {
                    set.found_at = Set(self.now_ms);
                }
                drift::Entity::update_many()
                    .set(set)
                    .filter(drift::Column::Id.eq(row.id))
                    .exec(&self.tx)
                    .await?;
            }
            None => {
                drift::Entity::insert(drift::ActiveModel {
                    class: Set(found.class.as_str().to_owned()),
                    chain: Set(int("drift.chain", found.chain.0)?),
                    subject: Set(found.subject.clone()),
                    token: Set(about.token.map(|token| token.to_vec())),
                    settlement_id: Set(about.settlement.map(|id| id.0.to_vec())),
                    block_number: Set(about.block.map(|block| int("drift.block_number", block)).transpose()?),
                    changed_seq: Set(seq),
                    expected: Set(found.expected.clone()),
                    actual: Set(found.actual.clone()),
                    found_at: Set(self.now_ms),
                    resolved_at: Set(None),
                    resolution: Set(None),
                    ..Default::default()
                })
                .exec_without_returning(&self.tx)
                .await
                .map_err(|error| StoreError::or_race(error, "a drift"))?;
            }
        }
        if fresh {
            self.record_drift(found.class, found.chain, &found.subject, "drift_found");
        }
        Ok(fresh)
    }

    /// Closes one that is gone. True when it was open.
    pub async fn resolve_drift(
        &mut self,
        class: DriftClass,
        chain: ChainId,
        subject: &str,
        resolution: &str,
    ) -> Result<bool, StoreError> {
        if self
            .find_drift(class, chain, subject)
            .await?
            .is_none_or(|row| row.resolved_at.is_some())
        {
            return Ok(false);
        }
        let seq = self.reserve_counter(DRIFT_SEQ, 1).await?;
        let written = drift::Entity::update_many()
            .set(drift::ActiveModel {
                resolved_at: Set(Some(self.now_ms)),
                resolution: Set(Some(resolution.to_owned())),
                changed_seq: Set(seq),
                ..Default::default()
            })
            .filter(drift::Column::Class.eq(class.as_str()))
            .filter(drift::Column::Chain.eq(int("drift.chain", chain.0)?))
            .filter(drift::Column::Subject.eq(subject))
            .filter(drift::Column::ResolvedAt.is_null())
            .exec(&self.tx)
            .await?;
        let resolved = written.rows_affected > 0;
        if resolved {
            self.record_drift(class, chain, subject, "drift_resolved");
        }
        Ok(resolved)
    }

    /// Class and subject of open ones of a chain.
    pub async fn list_open_drift_subjects(&self, chain: ChainId) -> Result<Vec<(DriftClass, String)>, StoreError> {
        let rows = drift::Entity::find()
            .filter(drift::Column::Chain.eq(int("drift.chain", chain.0)?))
            .filter(drift::Column::ResolvedAt.is_null())
            .all(&self.tx)
            .await?;
        rows.into_iter()
            .map(|row| Ok((name("drift.class", &row.class)?, row.subject)))
            .collect()
    }

    async fn find_drift(
        &self,
        class: DriftClass,
        chain: ChainId,
        subject: &str,
    ) -> Result<Option<drift::Model>, StoreError> {
        Ok(drift::Entity::find()
            .filter(drift::Column::Class.eq(class.as_str()))
            .filter(drift::Column::Chain.eq(int("drift.chain", chain.0)?))
            .filter(drift::Column::Subject.eq(subject))
            .limit(1)
            .lock_exclusive()
            .one(&self.tx)
            .await?)
    }

    fn record_drift(&mut self, class: DriftClass, chain: ChainId, subject: &str, event: &str) {
        self.record(NewEvent {
            aggregate: "ledger",
            aggregate_id: format!("drift {class} {chain} {subject}"),
            event: event.to_owned(),
            cause: "reconciler".into(),
            ..NewEvent::default()
        });
    }
}

fn decode(row: drift::Model) -> Result<DriftRow, StoreError> {
    let token = row.token.as_deref();
    let settlement = row.settlement_id.as_deref();
    Ok(DriftRow {
        id: row.id,
        about: DriftAbout {
            token: token.map(|token| address("drift.token", token)).transpose()?,
            settlement: settlement
                .map(|id| b256("drift.settlement_id", id).map(SettlementId))
                .transpose()?,
            block: row
                .block_number
                .map(|block| uint("drift.block_number", block))
                .transpose()?,
        },
        seq: row.changed_seq,
        drift: Drift {
            class: name("drift.class", &row.class)?,
            chain: ChainId(uint("drift.chain", row.chain)?),
            subject: row.subject,
            expected: row.expected,
            actual: row.actual,
        },
        found_at: row.found_at,
        resolved_at: row.resolved_at,
        resolution: row.resolution,
    })
}
