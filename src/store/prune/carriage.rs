//! Pruning of what carried settlements: messages, dispatches, executions, transactions.

use super::{BATCH, Pass, Pruned, archive, held, hex_id, unarchived};
use crate::store::entity::{attempt, dispatch, event, execution, message, message_settlement, tx};
use crate::store::{Store, StoreError, Txn};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use std::collections::BTreeSet;

/// Events looked through at once for notes that belong to nothing.
const NOTES_WINDOW: i64 = 20_000;

/// Whether a message may go, as SQL over its table: it has come to rest, all of its settlements are archived, and so has everything that
/// carried it.
pub(super) fn prunable_messages(pass: &Pass<'_>) -> String {
    let before = pass.rule.before_ms;
    format!(
        "message.state IN ('executed', 'abandoned') AND message.updated_at < {before} \
         AND NOT EXISTS (SELECT 1 FROM message_settlement ms JOIN settlement s ON s.settlement_id = ms.settlement_id \
           WHERE ms.message_id = message.message_id AND {kept}) \
         AND NOT EXISTS (SELECT 1 FROM dispatch d WHERE d.message_id = message.message_id AND (d.source_state NOT IN ('finalized', \
           'dropped') OR COALESCE(d.finalized_at, 0) >= {before} OR COALESCE(d.received_at, 0) >= {before})) \
         AND NOT EXISTS (SELECT 1 FROM execution e LEFT JOIN tx t ON t.id = e.tx_id WHERE e.message_id = message.message_id \
           AND (e.state NOT IN ('finalized', 'reverted') OR t.updated_at >= {before}))",
        kept = unarchived("s", pass),
    )
}

/// Whether the message of a row of `table` stays: a run has deleted the others by then.
fn message_stays(table: &str, pass: &Pass<'_>) -> Expr {
    if !pass.dry {
        return Expr::cust("1 = 1");
    }
    Expr::cust(format!(
        "NOT EXISTS (SELECT 1 FROM message WHERE message.message_id = {table}.message_id AND {})",
        prunable_messages(pass)
    ))
}

impl Store {
    pub(super) async fn prune_messages(&self, pass: &mut Pass<'_>) -> Result<(), StoreError> {
        let mut after = 0;
        loop {
            let rows: Vec<i64> = message::Entity::find()
                .select_only()
                .column(message::Column::Id)
                .filter(message::Column::Id.gt(after))
                .filter(Expr::cust(prunable_messages(pass)))
                .order_by_asc(message::Column::Id)
                .limit(BATCH)
                .into_tuple()
                .all(&self.db)
                .await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = *last;
            let mut txn = self.begin_batch(pass).await?;
            let gone = txn.drop_messages(&rows, pass).await?;
            pass.end(txn, gone).await?;
        }
    }

    /// Transactions at rest whose dispatch or execution is gone. The newest nonce of every signer stays: it says how far the signer got.
    pub(super) async fn prune_txs(&self, pass: &mut Pass<'_>) -> Result<(), StoreError> {
        let before = pass.rule.before_ms;
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
            let ownerless = self.ownerless(&rows, pass).await?;
            if ownerless.is_empty() {
                continue;
            }
            let mut txn = self.begin_batch(pass).await?;
            let gone = txn.drop_txs(&ownerless, pass).await?;
            pass.end(txn, gone).await?;
        }
    }

    /// Those whose intent names nothing that is kept.
    async fn ownerless(&self, rows: &[(i64, String, String)], pass: &Pass<'_>) -> Result<Vec<i64>, StoreError> {
        let owners = |execution: bool| {
            rows.iter()
                .filter_map(move |(_, kind, id)| owner(kind, id).filter(|(is_execution, _)| *is_execution == execution))
                .map(|(_, id)| id)
        };
        let dispatches: Vec<i64> = dispatch::Entity::find()
            .select_only()
            .column(dispatch::Column::Id)
            .filter(dispatch::Column::Id.is_in(owners(false)))
            .filter(message_stays("dispatch", pass))
            .into_tuple()
            .all(&self.db)
            .await?;
        let executions: Vec<i64> = execution::Entity::find()
            .select_only()
            .column(execution::Column::Id)
            .filter(execution::Column::Id.is_in(owners(true)))
            .filter(message_stays("execution", pass))
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
            // Neither does anything wait for a recording that is final: the registry has the root.
            None => kind == "noop" || kind == "record",
        });
        Ok(gone.map(|(row, ..)| *row).collect())
    }

    /// Notes about chains and books from before what is kept begins.
    pub(super) async fn prune_notes(&self, pass: &mut Pass<'_>) -> Result<(), StoreError> {
        let end = self.oldest_cursor().await?.max(pass.newest_event);
        let mut from = 0;
        while from < end {
            let to = end.min(from.saturating_add(NOTES_WINDOW));
            let which = format!(
                "seq > {from} AND seq <= {to} AND at_ms < {} AND settlement_id IS NULL AND aggregate IN ('chain', 'ledger')",
                pass.rule.before_ms
            );
            let txn = self.begin_batch(pass).await?;
            let gone = Pruned {
                events: txn
                    .drop_rows::<event::Entity>(Condition::all().add(Expr::cust(which)), pass)
                    .await?,
                ..Pruned::default()
            };
            pass.end(txn, gone).await?;
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
    async fn drop_messages(&mut self, rows: &[i64], pass: &mut Pass<'_>) -> Result<Pruned, StoreError> {
        // Looked at again under lock: a broken finality may have opened one since.
        let which = message::Entity::find()
            .filter(message::Column::Id.is_in(rows.iter().copied()))
            .filter(Expr::cust(prunable_messages(pass)))
            .order_by_asc(message::Column::Id);
        let messages = held(which, pass).all(&self.tx).await?;
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
        if let Some(archive) = &mut pass.archive {
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
            gone.events = gone.events.saturating_add(self.drop_events(which, pass).await?);
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
            let logs = self.drop_logs(chain, &kinds, ids().collect(), pass).await?;
            gone.logs = gone.logs.saturating_add(logs);
        }
        if !pass.dry {
            self.delete_messages(&messages, dispatch_rows, execution_rows).await?;
        }
        Ok(gone)
    }

    /// Messages with all that refers to them, which goes first.
    async fn delete_messages(
        &mut self,
        messages: &[message::Model],
        dispatches: Vec<i64>,
        executions: Vec<i64>,
    ) -> Result<(), StoreError> {
        execution::Entity::delete_many()
            .filter(execution::Column::Id.is_in(executions))
            .exec(&self.tx)
            .await?;
        dispatch::Entity::delete_many()
            .filter(dispatch::Column::Id.is_in(dispatches))
            .exec(&self.tx)
            .await?;
        let ids = messages.iter().map(|row| row.message_id.clone());
        message_settlement::Entity::delete_many()
            .filter(message_settlement::Column::MessageId.is_in(ids))
            .exec(&self.tx)
            .await?;
        message::Entity::delete_many()
            .filter(message::Column::Id.is_in(messages.iter().map(|row| row.id)))
            .exec(&self.tx)
            .await?;
        Ok(())
    }

    async fn drop_txs(&mut self, rows: &[i64], pass: &mut Pass<'_>) -> Result<Pruned, StoreError> {
        if let Some(archive) = &mut pass.archive {
            let txs = tx::Entity::find()
                .filter(tx::Column::Id.is_in(rows.iter().copied()))
                .order_by_asc(tx::Column::Id)
                .all(&self.tx)
                .await?;
            archive::txs(&mut **archive, &txs)?;
        }
        let events = events_of("tx", rows.iter().map(i64::to_string).collect());
        let events = self.drop_events(events, pass).await?;
        let attempts = attempt::Column::TxId.is_in(rows.iter().copied());
        self.drop_rows::<attempt::Entity>(attempts.into(), pass).await?;
        let gone = tx::Column::Id.is_in(rows.iter().copied());
        Ok(Pruned {
            transactions: self.drop_rows::<tx::Entity>(gone.into(), pass).await?,
            events,
            ..Pruned::default()
        })
    }
}
