//! Pruning of what carried settlements: messages, dispatches, executions, transactions.

use super::archive::{self, Archive};
use super::{BATCH, PAUSE, PruneRule, Pruned, hex_id};
use crate::store::entity::{attempt, dispatch, event, execution, message, message_settlement, tx};
use crate::store::{Store, StoreError, Txn};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Statement};
use std::collections::BTreeSet;

/// Events looked through at once for notes that belong to nothing.
const NOTES_WINDOW: i64 = 20_000;

/// Whether a message may go, as SQL over its table: it has come to rest, all of its settlements are archived (or, when only counting, may be),
/// and so has everything that carried it.
pub(super) fn prunable_messages(rule: &PruneRule, counting: bool) -> String {
    let before = rule.before_ms;
    let kept = if counting {
        format!("s.archived_at IS NULL AND NOT ({})", super::due("s", rule))
    } else {
        "s.archived_at IS NULL".to_owned()
    };
    format!(
        "message.state IN ('executed', 'abandoned') AND message.updated_at < {before} \
         AND NOT EXISTS (SELECT 1 FROM message_settlement ms JOIN settlement s ON s.settlement_id = ms.settlement_id \
           WHERE ms.message_id = message.message_id AND {kept}) \
         AND NOT EXISTS (SELECT 1 FROM dispatch d WHERE d.message_id = message.message_id AND (d.source_state NOT IN ('finalized', \
           'dropped') OR COALESCE(d.finalized_at, 0) >= {before} OR COALESCE(d.received_at, 0) >= {before})) \
         AND NOT EXISTS (SELECT 1 FROM execution e LEFT JOIN tx t ON t.id = e.tx_id WHERE e.message_id = message.message_id \
           AND (e.state NOT IN ('finalized', 'reverted') OR t.updated_at >= {before}))"
    )
}

impl Store {
    pub(super) async fn prune_messages(
        &self,
        rule: &PruneRule,
        archive: &mut Option<&mut dyn Archive>,
        done: &mut Pruned,
        progress: &mut (dyn FnMut(&Pruned) + Send),
    ) -> Result<(), StoreError> {
        let mut after = 0;
        loop {
            let rows: Vec<i64> = message::Entity::find()
                .select_only()
                .column(message::Column::Id)
                .filter(message::Column::Id.gt(after))
                .filter(Expr::cust(prunable_messages(rule, false)))
                .order_by_asc(message::Column::Id)
                .limit(BATCH)
                .into_tuple()
                .all(&self.db)
                .await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = *last;
            let mut txn = self.begin(rule.now_ms).await?;
            let gone = txn.drop_messages(&rows, rule, archive).await?;
            txn.commit().await?;
            done.add(&gone);
            progress(done);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Transactions at rest whose dispatch or execution is gone. The newest nonce of every signer stays: it says how far the signer got.
    pub(super) async fn prune_txs(
        &self,
        rule: &PruneRule,
        archive: &mut Option<&mut dyn Archive>,
        done: &mut Pruned,
        progress: &mut (dyn FnMut(&Pruned) + Send),
    ) -> Result<(), StoreError> {
        let before = rule.before_ms;
        let at_rest = format!(
            "tx.updated_at < {before} AND ((tx.state = 'finalized' AND tx.next_at = {posted}) OR tx.state IN ('replaced', 'cancelled')) \
             AND tx.nonce < (SELECT MAX(u.nonce) FROM tx u WHERE u.chain = tx.chain AND u.signer = tx.signer)",
            posted = crate::store::tx::POSTED,
        );
        let mut after = 0;
        loop {
            let rows: Vec<(i64, String, String)> = tx::Entity::find()
                .select_only()
                .columns([tx::Column::Id, tx::Column::IntentKind, tx::Column::IntentId])
                .filter(tx::Column::Id.gt(after))
                .filter(Expr::cust(at_rest.clone()))
                .order_by_asc(tx::Column::Id)
                .limit(BATCH)
                .into_tuple()
                .all(&self.db)
                .await?;
            let Some((last, ..)) = rows.last() else { return Ok(()) };
            after = *last;
            let ownerless = self.ownerless(&rows).await?;
            if ownerless.is_empty() {
                continue;
            }
            let mut txn = self.begin(rule.now_ms).await?;
            let gone = txn.drop_txs(&ownerless, archive).await?;
            txn.commit().await?;
            done.add(&gone);
            progress(done);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Those whose intent names nothing that is kept.
    async fn ownerless(&self, rows: &[(i64, String, String)]) -> Result<Vec<i64>, StoreError> {
        let owners = |execution: bool| {
            rows.iter()
                .filter_map(move |(_, kind, id)| owner(kind, id).filter(|(is_execution, _)| *is_execution == execution))
                .map(|(_, id)| id)
        };
        let dispatches: Vec<i64> = dispatch::Entity::find()
            .select_only()
            .column(dispatch::Column::Id)
            .filter(dispatch::Column::Id.is_in(owners(false)))
            .into_tuple()
            .all(&self.db)
            .await?;
        let executions: Vec<i64> = execution::Entity::find()
            .select_only()
            .column(execution::Column::Id)
            .filter(execution::Column::Id.is_in(owners(true)))
            .into_tuple()
            .all(&self.db)
            .await?;
        let kept: BTreeSet<(bool, i64)> = dispatches
            .into_iter()
            .map(|id| (false, id))
            .chain(executions.into_iter().map(|id| (true, id)))
            .collect();
        let gone = rows.iter().filter(|(_, kind, id)| match owner(kind, id) {
            Some(owner) => !kept.contains(&owner),
            // A nonce filled for nobody; anything else is not understood and stays.
            None => kind == "noop",
        });
        Ok(gone.map(|(row, ..)| *row).collect())
    }

    /// Notes about chains and books from before what is kept begins.
    pub(super) async fn prune_notes(&self, rule: &PruneRule, done: &mut Pruned) -> Result<(), StoreError> {
        let end = self.oldest_cursor().await?;
        let mut from = 0;
        while from < end {
            let to = end.min(from.saturating_add(NOTES_WINDOW));
            let sql = format!(
                "DELETE FROM event WHERE seq > {from} AND seq <= {to} AND at_ms < {} AND settlement_id IS NULL \
                 AND aggregate IN ('chain', 'ledger')",
                rule.before_ms
            );
            let gone = self
                .db
                .execute_raw(Statement::from_string(self.db.get_database_backend(), sql))
                .await?;
            done.events = done.events.saturating_add(gone.rows_affected());
            from = to;
        }
        Ok(())
    }
}

/// (is it an execution, its row) of a transaction's intent.
fn owner(kind: &str, id: &str) -> Option<(bool, i64)> {
    let number = match kind {
        // `<dispatch>:<attempt>`
        "dispatch" => id.split(':').next()?,
        // `dispatch:<dispatch>:<attempt>`
        "rescue" => id.strip_prefix("dispatch:")?.split(':').next()?,
        "execution" => id,
        _ => return None,
    };
    Some((kind == "execution", number.parse().ok()?))
}

/// Events of aggregates other than settlements.
fn events_of(aggregate: &str, ids: Vec<String>) -> Condition {
    Condition::all()
        .add(event::Column::Aggregate.eq(aggregate))
        // A literal, so that a partial index can serve.
        .add(Expr::cust("aggregate <> 'settlement'"))
        .add(event::Column::AggregateId.is_in(ids))
}

impl Txn {
    async fn drop_messages(
        &mut self,
        rows: &[i64],
        rule: &PruneRule,
        archive: &mut Option<&mut dyn Archive>,
    ) -> Result<Pruned, StoreError> {
        // Looked at again under lock: a broken finality may have opened one since.
        let messages = message::Entity::find()
            .filter(message::Column::Id.is_in(rows.iter().copied()))
            .filter(Expr::cust(prunable_messages(rule, false)))
            .order_by_asc(message::Column::Id)
            .lock_exclusive()
            .all(&self.tx)
            .await?;
        if messages.is_empty() {
            return Ok(Pruned::default());
        }
        let ids = || messages.iter().map(|row| row.message_id.clone());
        let dispatches = dispatch::Entity::find()
            .filter(dispatch::Column::MessageId.is_in(ids()))
            .all(&self.tx)
            .await?;
        let executions = execution::Entity::find()
            .filter(execution::Column::MessageId.is_in(ids()))
            .all(&self.tx)
            .await?;
        if let Some(archive) = archive {
            let leaves = message_settlement::Entity::find()
                .filter(message_settlement::Column::MessageId.is_in(ids()))
                .order_by_asc(message_settlement::Column::Leaf)
                .all(&self.tx)
                .await?;
            archive::messages(&mut **archive, &messages, &leaves, &dispatches, &executions)?;
        }
        let names = messages
            .iter()
            .map(|row| hex_id("message.message_id", &row.message_id))
            .collect::<Result<_, _>>()?;
        let numbers = |ids: Vec<i64>| ids.iter().map(i64::to_string).collect::<Vec<_>>();
        let dispatch_rows = dispatches.iter().map(|row| row.id).collect::<Vec<_>>();
        let execution_rows = executions.iter().map(|row| row.id).collect::<Vec<_>>();
        let mut gone = Pruned {
            messages: messages.len() as u64,
            ..Pruned::default()
        };
        for which in [
            events_of("message", names),
            events_of("dispatch", numbers(dispatch_rows.clone())),
            events_of("execution", numbers(execution_rows.clone())),
        ] {
            gone.events = gone.events.saturating_add(self.drop_events(which).await?);
        }
        let kinds = [
            "message_dispatched",
            "message_received",
            "message_repeated",
            "runs_paid",
        ];
        let mut by_chain: BTreeSet<i64> = BTreeSet::new();
        for row in &messages {
            by_chain.extend([row.source_chain, row.target_chain]);
        }
        for chain in by_chain {
            let logs = self.drop_logs(chain, &kinds, ids().collect()).await?;
            gone.logs = gone.logs.saturating_add(logs);
        }
        execution::Entity::delete_many()
            .filter(execution::Column::Id.is_in(execution_rows))
            .exec(&self.tx)
            .await?;
        dispatch::Entity::delete_many()
            .filter(dispatch::Column::Id.is_in(dispatch_rows))
            .exec(&self.tx)
            .await?;
        message_settlement::Entity::delete_many()
            .filter(message_settlement::Column::MessageId.is_in(ids()))
            .exec(&self.tx)
            .await?;
        message::Entity::delete_many()
            .filter(message::Column::Id.is_in(messages.iter().map(|row| row.id)))
            .exec(&self.tx)
            .await?;
        Ok(gone)
    }

    async fn drop_txs(&mut self, rows: &[i64], archive: &mut Option<&mut dyn Archive>) -> Result<Pruned, StoreError> {
        if let Some(archive) = archive {
            let txs = tx::Entity::find()
                .filter(tx::Column::Id.is_in(rows.iter().copied()))
                .order_by_asc(tx::Column::Id)
                .all(&self.tx)
                .await?;
            archive::txs(&mut **archive, &txs)?;
        }
        let events = self
            .drop_events(events_of("tx", rows.iter().map(i64::to_string).collect()))
            .await?;
        attempt::Entity::delete_many()
            .filter(attempt::Column::TxId.is_in(rows.iter().copied()))
            .exec(&self.tx)
            .await?;
        let gone = tx::Entity::delete_many()
            .filter(tx::Column::Id.is_in(rows.iter().copied()))
            .exec(&self.tx)
            .await?;
        Ok(Pruned {
            transactions: gone.rows_affected,
            events,
            ..Pruned::default()
        })
    }
}
