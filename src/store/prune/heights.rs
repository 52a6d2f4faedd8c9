//! How far logs were pruned: whoever compares with the chain must tell a log that retention deleted from one that was lost.

use crate::settlement::ChainId;
use crate::store::codec::{int, uint};
use crate::store::entity::chain_log;
use crate::store::{NewChainLog, Store, StoreError, Txn};
use sea_orm::{ConnectionTrait, Statement};
use std::collections::BTreeMap;

/// Name of the counter that holds the highest block of which a log of a kind was deleted.
fn counter(chain: i64, kind: &str) -> String {
    format!("logs_pruned:{chain}:{kind}")
}

impl Store {
    /// By kind, the highest block of a chain of which a final log was deleted.
    pub async fn list_pruned_heights(&self, chain: ChainId) -> Result<BTreeMap<String, u64>, StoreError> {
        let prefix = counter(int("counter.name", chain.0)?, "");
        let sql = "SELECT name, value FROM counter WHERE name LIKE $1";
        let backend = self.db.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, [format!("{prefix}%").into()]);
        let mut heights = BTreeMap::new();
        for row in self.db.query_all_raw(statement).await? {
            let (name, value): (String, i64) = (row.try_get("", "name")?, row.try_get("", "value")?);
            if let Some(kind) = name.strip_prefix(&prefix) {
                heights.insert(kind.to_owned(), uint("counter.value", value)?);
            }
        }
        Ok(heights)
    }
}

impl Txn {
    /// Final logs that are about to be deleted.
    pub(super) async fn keep_heights(&self, logs: &[&chain_log::Model]) -> Result<(), StoreError> {
        let mut heights: BTreeMap<String, i64> = BTreeMap::new();
        for log in logs {
            let height = heights.entry(counter(log.chain, &log.kind)).or_default();
            *height = (*height).max(log.block_number);
        }
        let sql = "INSERT INTO counter (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = \
                   CASE WHEN excluded.value > counter.value THEN excluded.value ELSE counter.value END";
        for (name, height) in heights {
            let values = [name.into(), height.into()];
            let statement = Statement::from_sql_and_values(self.tx.get_database_backend(), sql, values);
            self.tx.execute_raw(statement).await?;
        }
        Ok(())
    }

    /// Pruned logs that are stored again are counted as stored ones.
    pub async fn untally_pruned(&mut self, logs: &[NewChainLog]) -> Result<(), StoreError> {
        let sql = "UPDATE log_tally SET pruned = pruned - 1, counted = pruned - 1, through = -1 \
                   WHERE chain = $1 AND address = $2 AND kind = $3 AND pruned > 0";
        for log in logs {
            let values = [
                int("log_tally.chain", log.chain.0)?.into(),
                log.address.to_vec().into(),
                log.kind.as_str().into(),
            ];
            let statement = Statement::from_sql_and_values(self.tx.get_database_backend(), sql, values);
            self.tx.execute_raw(statement).await?;
        }
        Ok(())
    }
}
