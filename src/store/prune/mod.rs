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

mod archive;
mod carriage;

pub use archive::Archive;

use super::codec::{b256, uint};
use super::entity::{chain_log, event, settlement, settlement_receipt};
use super::event::EVENTS_PRUNED;
use super::{Store, StoreError, Txn};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect,
    Statement,
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

#[derive(Debug, FromQueryResult)]
struct Count {
    n: i64,
}

impl Store {
    /// Archives what ended before the rule's date and deletes what nothing needs any more. What goes is written to `archive` and synced
    /// before it is deleted.
    pub async fn prune(
        &self,
        rule: &PruneRule,
        mut archive: Option<&mut dyn Archive>,
        progress: &mut (dyn FnMut(&Pruned) + Send),
    ) -> Result<Pruned, StoreError> {
        let mut done = Pruned::default();
        let mut after = (i64::MIN, 0);
        loop {
            let batch = self.due_settlements(rule, after).await?;
            let Some(last) = batch.last() else { break };
            after = *last;
            let ids: Vec<i64> = batch.iter().map(|(_, id)| *id).collect();
            let mut txn = self.begin(rule.now_ms).await?;
            let gone = txn.archive_settlements(&ids, rule, &mut archive).await?;
            txn.commit().await?;
            done.add(&gone);
            progress(&done);
            tokio::time::sleep(PAUSE).await;
        }
        self.prune_messages(rule, &mut archive, &mut done, progress).await?;
        self.prune_txs(rule, &mut archive, &mut done, progress).await?;
        self.prune_notes(rule, &mut done).await?;
        progress(&done);
        Ok(done)
    }

    /// What [`Store::prune`] would do now, without doing it. Transactions are counted as far as messages name them.
    pub async fn count_prunable(&self, rule: &PruneRule) -> Result<Pruned, StoreError> {
        let due = due("settlement", rule);
        let of_due = format!("IN (SELECT settlement.settlement_id FROM settlement WHERE {due})");
        let messages = carriage::prunable_messages(rule, true);
        let of_messages = format!("IN (SELECT message.message_id FROM message WHERE {messages})");
        let n = async |sql: String| self.count_of(&format!("SELECT COUNT(*) AS n FROM {sql}")).await;
        let carried = |table: &str| {
            format!(
                "tx WHERE state IN ('finalized', 'replaced') AND id IN (SELECT x.tx_id FROM {table} x WHERE x.message_id {of_messages})"
            )
        };
        let sent = n(carried("dispatch")).await?;
        let paid = n(carried("execution")).await?;
        Ok(Pruned {
            settlements: n(format!("settlement WHERE {due}")).await?,
            messages: n(format!("message WHERE {messages}")).await?,
            transactions: sent.saturating_add(paid),
            receipts: n(format!("settlement_receipt WHERE NOT holds AND settlement_id {of_due}")).await?,
            events: n(format!("event WHERE settlement_id {of_due}")).await?,
            logs: n(format!(
                "chain_log WHERE kind IN ('settlement_paid', 'settlement_skipped') AND status <> 'seen' AND key {of_due}"
            ))
            .await?,
        })
    }

    async fn count_of(&self, sql: &str) -> Result<u64, StoreError> {
        let statement = Statement::from_string(self.db.get_database_backend(), sql);
        let count = Count::find_by_statement(statement).one(&self.db).await?;
        uint("count", count.map_or(0, |count| count.n))
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
        add(&mut self.transactions, more.transactions);
        add(&mut self.receipts, more.receipts);
        add(&mut self.events, more.events);
        add(&mut self.logs, more.logs);
    }
}

impl Txn {
    /// Archives those of the rows that may still go.
    async fn archive_settlements(
        &mut self,
        rows: &[i64],
        rule: &PruneRule,
        archive: &mut Option<&mut dyn Archive>,
    ) -> Result<Pruned, StoreError> {
        let found = settlement::Entity::find()
            .filter(settlement::Column::Id.is_in(rows.iter().copied()))
            .filter(Expr::cust(due("settlement", rule)))
            .order_by_asc(settlement::Column::Id)
            .lock_exclusive()
            .all(&self.tx)
            .await?;
        let ids: Vec<Vec<u8>> = found.iter().map(|row| row.settlement_id.clone()).collect();
        if ids.is_empty() {
            return Ok(Pruned::default());
        }
        let of_these = event::Column::SettlementId.is_in(ids.iter().cloned());
        if let Some(archive) = archive {
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
        let receipts = settlement_receipt::Entity::delete_many()
            .filter(settlement_receipt::Column::SettlementId.is_in(ids.iter().cloned()))
            .filter(Expr::cust("NOT holds"))
            .exec(&self.tx)
            .await?;
        let mut gone = Pruned {
            settlements: found.len() as u64,
            receipts: receipts.rows_affected,
            events: self.drop_events(of_these.into()).await?,
            ..Pruned::default()
        };
        let mut by_chain: BTreeMap<i64, Vec<Vec<u8>>> = BTreeMap::new();
        for row in found {
            by_chain.entry(row.target_chain).or_default().push(row.settlement_id);
        }
        for (chain, keys) in by_chain {
            let logs = self
                .drop_logs(chain, &["settlement_paid", "settlement_skipped"], keys)
                .await?;
            gone.logs = gone.logs.saturating_add(logs);
        }
        Ok(gone)
    }

    /// Deletes events and remembers how far a watcher must have read to miss nothing.
    async fn drop_events(&self, which: Condition) -> Result<u64, StoreError> {
        let newest: Option<Option<i64>> = event::Entity::find()
            .select_only()
            .column_as(event::Column::Seq.max(), "newest")
            .filter(which.clone())
            .into_tuple()
            .one(&self.tx)
            .await?;
        let Some(newest) = newest.flatten() else { return Ok(0) };
        let sql = "INSERT INTO counter (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = \
                   CASE WHEN excluded.value > counter.value THEN excluded.value ELSE counter.value END";
        let values = [EVENTS_PRUNED.into(), newest.into()];
        let statement = Statement::from_sql_and_values(self.tx.get_database_backend(), sql, values);
        self.tx.execute_raw(statement).await?;
        let gone = event::Entity::delete_many().filter(which).exec(&self.tx).await?;
        Ok(gone.rows_affected)
    }

    /// Deletes logs about these subjects that everybody has taken note of; the counts the sweep compares go on as if they were there.
    async fn drop_logs(&self, chain: i64, kinds: &[&str], keys: Vec<Vec<u8>>) -> Result<u64, StoreError> {
        let found = chain_log::Entity::find()
            .filter(chain_log::Column::Chain.eq(chain))
            .filter(chain_log::Column::Kind.is_in(kinds.iter().copied()))
            .filter(chain_log::Column::Key.is_in(keys))
            .filter(Expr::cust(
                "applied_seen AND ((status = 'final' AND applied_final) OR (status = 'orphaned' AND NOT applied_final))",
            ))
            .all(&self.tx)
            .await?;
        let counted: Vec<&chain_log::Model> = found.iter().filter(|log| log.status == "final").collect();
        self.tally_pruned(&counted).await?;
        for chunk in found.chunks(5_000) {
            chain_log::Entity::delete_many()
                .filter(chain_log::Column::Id.is_in(chunk.iter().map(|log| log.id)))
                .exec(&self.tx)
                .await?;
        }
        Ok(found.len() as u64)
    }
}

/// Hex of a settlement or message id as events and causes write it.
fn hex_id(column: &'static str, bytes: &[u8]) -> Result<String, StoreError> {
    Ok(b256(column, bytes)?.to_string())
}

#[cfg(test)]
mod tests;
