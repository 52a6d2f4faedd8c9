//! Retention: what is kept of settlements that ended long ago, and what goes.
//!
//! A settlement's row stays for ever, marked archived and without its authorization: its id and its (target, inbox, payer, nonce) are unique by
//! the same constraints as on the first day, so a resubmission gets the original answer and no nonce is accepted twice. Receipts that were
//! paid stay for the same reason, and postings stay because books are never shortened. What goes is the rest: history, messages and what
//! carried them, transactions, receipts that nothing holds, logs that are booked.
//!
//! Nothing goes before the target chain has proven that the terms cannot be paid any more: the deadline is before its finalized block.
//! Every batch is a transaction of its own and takes up where the last one ended, so a run can be stopped, repeated, and made while the
//! relayer works.
//!
//! A dry run is the same run: it finds what goes by the same conditions, batch by batch, and counts where the run deletes. What a batch does is
//! not there for the next one, so its conditions also let pass what the run would have archived or deleted by then.
//!
//! Layout: this page settlements and what a pass is; [`carriage`] what carried them; [`groups`] what was signed at once; [`heights`] how far;
//! [`archive`] lines.

mod archive;
mod carriage;
mod groups;
mod heights;

pub use archive::Archive;

use super::codec::{b256, uint};
use super::entity::{chain_log, event, settlement, settlement_receipt};
use super::event::EVENTS_PRUNED;
use super::{Store, StoreError, Txn};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select, Statement,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Settlements or messages of one transaction: a few milliseconds of the write lock.
const BATCH: u64 = 200;
/// Others write in between.
const PAUSE: Duration = Duration::from_millis(5);

/// What may go.
#[derive(Debug, Clone, Copy)]
pub struct PruneRule {
    /// Ended before this, Unix ms.
    pub before_ms: i64,
    pub now_ms: i64,
}

/// What went, or would go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    pub settlements: u64,
    pub messages: u64,
    /// Groups a payer signed at once.
    pub groups: u64,
    pub transactions: u64,
    pub receipts: u64,
    pub events: u64,
    pub logs: u64,
}

/// Whether a settlement may be archived, as SQL over the table or alias `of`.
fn due(of: &str, rule: &PruneRule) -> String {
    format!(
        "{of}.ended_at IS NOT NULL AND {of}.archived_at IS NULL AND {of}.ended_at < {before} \
         AND {of}.state IN ('settled', 'expired', 'burned', 'superseded', 'cancelled') \
         AND {of}.deadline < (SELECT c.final_timestamp FROM chain_cursor c WHERE c.chain = {of}.target_chain)",
        before = rule.before_ms,
    )
}

/// Whether a settlement stays unarchived, as SQL; a dry run asks as if all that is due had been archived.
fn unarchived(of: &str, pass: &Pass<'_>) -> String {
    if pass.dry {
        // What is due is unknown (NULL) of a chain nothing is known of.
        format!(
            "{of}.archived_at IS NULL AND NOT COALESCE(({}), FALSE)",
            due(of, &pass.rule)
        )
    } else {
        format!("{of}.archived_at IS NULL")
    }
}

/// One run over what may go.
struct Pass<'a> {
    rule: PruneRule,
    /// Counts what a run would do and changes nothing.
    dry: bool,
    archive: Option<&'a mut dyn Archive>,
    progress: &'a mut (dyn FnMut(&Pruned) + Send),
    done: Pruned,
    /// Newest event that goes.
    newest_event: i64,
}

impl Pass<'_> {
    /// Ends a batch.
    async fn end(&mut self, txn: Txn, gone: Pruned) -> Result<(), StoreError> {
        if !self.dry {
            txn.commit().await?;
        }
        self.done.add(&gone);
        (self.progress)(&self.done);
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}

impl Store {
    /// Archives what ended before the rule's date and deletes what nothing needs any more. What goes is written to `archive` and synced
    /// before it is deleted.
    pub async fn prune(
        &self,
        rule: &PruneRule,
        archive: Option<&mut dyn Archive>,
        progress: &mut (dyn FnMut(&Pruned) + Send),
    ) -> Result<Pruned, StoreError> {
        self.pass(rule, false, archive, progress).await
    }

    /// What [`Store::prune`] would do now, without doing it.
    pub async fn count_prunable(&self, rule: &PruneRule) -> Result<Pruned, StoreError> {
        self.pass(rule, true, None, &mut |_| {}).await
    }

    async fn pass(
        &self,
        rule: &PruneRule,
        dry: bool,
        archive: Option<&mut dyn Archive>,
        progress: &mut (dyn FnMut(&Pruned) + Send),
    ) -> Result<Pruned, StoreError> {
        let mut pass = Pass {
            rule: *rule,
            dry,
            archive: archive.map(|archive| archive as &mut dyn Archive),
            progress,
            done: Pruned::default(),
            newest_event: 0,
        };
        let mut after = (i64::MIN, 0);
        loop {
            let batch = self.due_settlements(rule, after).await?;
            let Some(last) = batch.last() else { break };
            after = *last;
            let ids: Vec<i64> = batch.iter().map(|(_, id)| *id).collect();
            let mut txn = self.begin_batch(&pass).await?;
            let gone = txn.archive_settlements(&ids, &mut pass).await?;
            pass.end(txn, gone).await?;
        }
        self.prune_messages(&mut pass).await?;
        self.prune_groups(&mut pass).await?;
        self.prune_txs(&mut pass).await?;
        self.prune_notes(&mut pass).await?;
        (pass.progress)(&pass.done);
        Ok(pass.done)
    }

    async fn begin_batch(&self, pass: &Pass<'_>) -> Result<Txn, StoreError> {
        if pass.dry {
            self.begin_reading(pass.rule.now_ms).await
        } else {
            self.begin(pass.rule.now_ms).await
        }
    }

    /// (ended at, row) of the next ones, oldest first.
    async fn due_settlements(&self, rule: &PruneRule, after: (i64, i64)) -> Result<Vec<(i64, i64)>, StoreError> {
        let (ended_at, row) = after;
        let sql = format!(
            "SELECT settlement.ended_at AS ended_at, settlement.id AS id FROM settlement WHERE {} \
             AND settlement.ended_at >= {ended_at} AND (settlement.ended_at > {ended_at} OR settlement.id > {row}) \
             ORDER BY settlement.ended_at, settlement.id LIMIT {BATCH}",
            due("settlement", rule),
        );
        let statement = Statement::from_string(self.db.get_database_backend(), sql);
        let rows = self.db.query_all_raw(statement).await?;
        rows.iter()
            .map(|row| Ok((row.try_get("", "ended_at")?, row.try_get("", "id")?)))
            .collect()
    }
}

impl Pruned {
    fn add(&mut self, more: &Self) {
        let add = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        add(&mut self.settlements, more.settlements);
        add(&mut self.messages, more.messages);
        add(&mut self.groups, more.groups);
        add(&mut self.transactions, more.transactions);
        add(&mut self.receipts, more.receipts);
        add(&mut self.events, more.events);
        add(&mut self.logs, more.logs);
    }
}

impl Txn {
    /// Archives those of the rows that may still go.
    async fn archive_settlements(&mut self, rows: &[i64], pass: &mut Pass<'_>) -> Result<Pruned, StoreError> {
        let which = settlement::Entity::find()
            .filter(settlement::Column::Id.is_in(rows.iter().copied()))
            .filter(Expr::cust(due("settlement", &pass.rule)))
            .order_by_asc(settlement::Column::Id);
        let found = held(which, pass).all(&self.tx).await?;
        let ids: Vec<Vec<u8>> = found.iter().map(|row| row.settlement_id.clone()).collect();
        if ids.is_empty() {
            return Ok(Pruned::default());
        }
        let of_these = event::Column::SettlementId.is_in(ids.iter().cloned());
        if let Some(archive) = &mut pass.archive {
            let events = event::Entity::find()
                .filter(of_these.clone())
                .order_by_asc(event::Column::Seq)
                .all(&self.tx)
                .await?;
            let receipts = settlement_receipt::Entity::find()
                .filter(settlement_receipt::Column::SettlementId.is_in(ids.iter().cloned()))
                .order_by_asc(settlement_receipt::Column::Id)
                .all(&self.tx)
                .await?;
            archive::settlements(&mut **archive, &found, &receipts, &events)?;
        }
        if !pass.dry {
            settlement::Entity::update_many()
                .col_expr(settlement::Column::ArchivedAt, Expr::val(self.now_ms))
                .col_expr(settlement::Column::Auth, Expr::val(Vec::<u8>::new()))
                .col_expr(
                    settlement::Column::Version,
                    Expr::col(settlement::Column::Version).add(1),
                )
                .filter(settlement::Column::Id.is_in(found.iter().map(|row| row.id)))
                .exec(&self.tx)
                .await?;
        }
        let receipts = Condition::all()
            .add(settlement_receipt::Column::SettlementId.is_in(ids.iter().cloned()))
            .add(Expr::cust("NOT holds"));
        let mut gone = Pruned {
            settlements: found.len() as u64,
            receipts: self.drop_rows::<settlement_receipt::Entity>(receipts, pass).await?,
            events: self.drop_events(of_these.into(), pass).await?,
            ..Pruned::default()
        };
        let mut by_chain: BTreeMap<i64, Vec<Vec<u8>>> = BTreeMap::new();
        for row in found {
            by_chain.entry(row.target_chain).or_default().push(row.settlement_id);
        }
        for (chain, keys) in by_chain {
            let logs = self
                .drop_logs(chain, &["settlement_paid", "settlement_skipped"], keys, pass)
                .await?;
            gone.logs = gone.logs.saturating_add(logs);
        }
        Ok(gone)
    }

    /// Deletes rows, or counts those that would be.
    async fn drop_rows<E: EntityTrait>(&self, which: Condition, pass: &Pass<'_>) -> Result<u64, StoreError> {
        if pass.dry {
            let count: Option<i64> = E::find()
                .select_only()
                .column_as(Expr::cust("COUNT(*)"), "n")
                .filter(which)
                .into_tuple()
                .one(&self.tx)
                .await?;
            return uint("count", count.unwrap_or(0));
        }
        Ok(E::delete_many().filter(which).exec(&self.tx).await?.rows_affected)
    }

    /// Deletes events and remembers how far a watcher must have read to miss nothing.
    async fn drop_events(&self, which: Condition, pass: &mut Pass<'_>) -> Result<u64, StoreError> {
        let newest: Option<Option<i64>> = event::Entity::find()
            .select_only()
            .column_as(event::Column::Seq.max(), "newest")
            .filter(which.clone())
            .into_tuple()
            .one(&self.tx)
            .await?;
        let Some(newest) = newest.flatten() else { return Ok(0) };
        pass.newest_event = std::cmp::max(pass.newest_event, newest);
        if !pass.dry {
            let sql = "INSERT INTO counter (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = \
                       CASE WHEN excluded.value > counter.value THEN excluded.value ELSE counter.value END";
            let values = [EVENTS_PRUNED.into(), newest.into()];
            let statement = Statement::from_sql_and_values(self.tx.get_database_backend(), sql, values);
            self.tx.execute_raw(statement).await?;
        }
        self.drop_rows::<event::Entity>(which, pass).await
    }

    /// Deletes logs about these subjects that everybody has taken note of; the counts the sweep compares go on as if they were there.
    async fn drop_logs(
        &self,
        chain: i64,
        kinds: &[&str],
        keys: Vec<Vec<u8>>,
        pass: &Pass<'_>,
    ) -> Result<u64, StoreError> {
        let found = chain_log::Entity::find()
            .filter(chain_log::Column::Chain.eq(chain))
            .filter(chain_log::Column::Kind.is_in(kinds.iter().copied()))
            .filter(chain_log::Column::Key.is_in(keys))
            .filter(Expr::cust(
                "applied_seen AND ((status = 'final' AND applied_final) OR (status = 'orphaned' AND NOT applied_final))",
            ))
            .all(&self.tx)
            .await?;
        if pass.dry {
            return Ok(found.len() as u64);
        }
        let counted: Vec<&chain_log::Model> = found.iter().filter(|log| log.status == "final").collect();
        self.tally_pruned(&counted).await?;
        self.keep_heights(&counted).await?;
        for chunk in found.chunks(5_000) {
            chain_log::Entity::delete_many()
                .filter(chain_log::Column::Id.is_in(chunk.iter().map(|log| log.id)))
                .exec(&self.tx)
                .await?;
        }
        Ok(found.len() as u64)
    }
}

/// Locks what is found, unless the pass only looks.
fn held<E: EntityTrait>(which: Select<E>, pass: &Pass<'_>) -> Select<E> {
    if pass.dry { which } else { which.lock_exclusive() }
}

/// Hex of a settlement or message id as events and causes write it.
fn hex_id(column: &'static str, bytes: &[u8]) -> Result<String, StoreError> {
    Ok(b256(column, bytes)?.to_string())
}

#[cfg(test)]
mod tests;
