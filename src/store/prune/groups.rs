//! Pruning of groups: what a payer signed at once, kept while one of its settlements may still need the hashes of all.

use super::{Pass, Pruned, archive, carriage, held, unarchived};
use crate::store::entity::{settlement, settlement_group};
use crate::store::{Store, StoreError, Txn};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, ModelTrait, QueryFilter, QuerySelect, Statement};

/// Groups of one transaction; one may have a thousand members.
const BATCH: u64 = 20;

/// Target chain, inbox, root.
type Key = (i64, Vec<u8>, Vec<u8>);

impl Store {
    /// Groups none of whose settlements is left unarchived, nor named by a message that is kept. One of which nothing was stored, or all of it
    /// under other words, has none from the start.
    pub(super) async fn prune_groups(&self, pass: &mut Pass<'_>) -> Result<(), StoreError> {
        let mut after: Key = (-1, Vec::new(), Vec::new());
        loop {
            let keys = self.old_groups(pass.rule.before_ms, after).await?;
            let Some(last) = keys.last() else { return Ok(()) };
            after = last.clone();
            let mut txn = self.begin_batch(pass).await?;
            let gone = txn.drop_groups(&keys, pass).await?;
            pass.end(txn, gone).await?;
        }
    }

    async fn old_groups(&self, before_ms: i64, (chain, inbox, root): Key) -> Result<Vec<Key>, StoreError> {
        let sql = format!(
            "SELECT target_chain, inbox, group_root FROM settlement_group WHERE created_at < $1 \
             AND (target_chain, inbox, group_root) > ($2, $3, $4) ORDER BY target_chain, inbox, group_root LIMIT {BATCH}"
        );
        let values = [before_ms.into(), chain.into(), inbox.into(), root.into()];
        let statement = Statement::from_sql_and_values(self.db.get_database_backend(), sql, values);
        let rows = self.db.query_all_raw(statement).await?;
        rows.iter()
            .map(|row| {
                Ok((
                    row.try_get("", "target_chain")?,
                    row.try_get("", "inbox")?,
                    row.try_get("", "group_root")?,
                ))
            })
            .collect()
    }
}

impl Txn {
    async fn drop_groups(&mut self, keys: &[Key], pass: &mut Pass<'_>) -> Result<Pruned, StoreError> {
        let mut gone = Pruned::default();
        for (chain, inbox, root) in keys {
            let which = settlement_group::Entity::find()
                .filter(settlement_group::Column::TargetChain.eq(*chain))
                .filter(settlement_group::Column::Inbox.eq(inbox.clone()))
                .filter(settlement_group::Column::GroupRoot.eq(root.clone()));
            // Locked before its members are looked at: who accepts another one of them writes this row in the same transaction, so that one is
            // either seen now, or makes the row anew afterwards.
            let Some(group) = held(which, pass).one(&self.tx).await? else {
                continue;
            };
            if self.is_needed(&group, pass).await? {
                continue;
            }
            if let Some(archive) = &mut pass.archive {
                archive::group(&mut **archive, &group)?;
            }
            gone.groups = gone.groups.saturating_add(1);
            if !pass.dry {
                group.delete(&self.tx).await?;
            }
        }
        Ok(gone)
    }

    /// Whether a settlement of the group is unarchived, or in a message: whoever reads a message reads what its members were signed with.
    async fn is_needed(&self, group: &settlement_group::Model, pass: &Pass<'_>) -> Result<bool, StoreError> {
        let in_message = if pass.dry {
            format!(
                "EXISTS (SELECT 1 FROM message_settlement m JOIN message ON message.message_id = m.message_id \
                 WHERE m.settlement_id = settlement.settlement_id AND NOT ({}))",
                carriage::prunable_messages(pass)
            )
        } else {
            "EXISTS (SELECT 1 FROM message_settlement m WHERE m.settlement_id = settlement.settlement_id)".to_owned()
        };
        if !group.ids.len().is_multiple_of(32) {
            return Err(StoreError::Corrupt {
                column: "settlement_group.ids",
                reason: format!("{} bytes", group.ids.len()),
            });
        }
        let one: Option<i64> = settlement::Entity::find()
            .select_only()
            .column(settlement::Column::Id)
            .filter(settlement::Column::SettlementId.is_in(group.ids.chunks(32).map(<[u8]>::to_vec)))
            .filter(settlement::Column::GroupRoot.eq(group.group_root.clone()))
            .filter(Expr::cust(format!(
                "(({}) OR {in_message})",
                unarchived("settlement", pass)
            )))
            .limit(1)
            .into_tuple()
            .one(&self.tx)
            .await?;
        Ok(one.is_some())
    }
}
