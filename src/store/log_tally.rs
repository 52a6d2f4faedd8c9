//! How many logs of a kind a contract has: the sweep compares it with the contract's own counter. Counting starts after the last sweep that
//! was made, so that it stays as cheap with millions of logs as with a few, and goes on over logs that were pruned.

use super::codec::{int, uint};
use super::entity::chain_log;
use super::{Store, StoreError, Txn};
use crate::settlement::ChainId;
use alloy::primitives::Address;
use sea_orm::{ConnectionTrait, Statement, Value};
use std::collections::BTreeMap;

/// Of which contract, and which event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TallyKey {
    pub chain: ChainId,
    pub address: Address,
    pub kind: String,
}

impl TallyKey {
    fn values(&self) -> Result<[Value; 3], StoreError> {
        Ok([
            int("log_tally.chain", self.chain.0)?.into(),
            self.address.to_vec().into(),
            self.kind.as_str().into(),
        ])
    }
}

/// One statement, and so one view of the table: what was counted before, and the logs since. The kind is no plain comparison, so that the
/// logs are found by their blocks and not by the much longer list of all of a kind.
const COUNT: &str = "SELECT CAST(COALESCE((SELECT t.counted FROM log_tally t WHERE t.chain = $1 AND t.address = $2 AND t.kind = $3), 0) \
    + (SELECT COUNT(*) FROM chain_log l WHERE l.chain = $1 AND l.address = $2 AND l.kind || '' = $3 AND l.status = 'final' \
    AND l.block_number <= $4 AND l.block_number > COALESCE((SELECT t.through FROM log_tally t WHERE t.chain = $1 AND t.address = $2 \
    AND t.kind = $3), -1)) AS BIGINT) AS n";

impl Store {
    /// Logs in final blocks up to a height, pruned ones included.
    pub async fn count_final_logs(&self, key: &TallyKey, up_to: u64) -> Result<u64, StoreError> {
        let mut values = key.values()?.to_vec();
        values.push(int("chain_log.block_number", up_to)?.into());
        let statement = Statement::from_sql_and_values(self.db.get_database_backend(), COUNT, values);
        let row = self.db.query_one_raw(statement).await?;
        let count: i64 = row.map_or(Ok(0), |row| row.try_get("", "n"))?;
        uint("count", count)
    }

    /// The last block a tally covers; -1 when it covers none.
    pub(super) async fn find_tally_end(&self, key: &TallyKey) -> Result<i64, StoreError> {
        let sql = "SELECT through FROM log_tally WHERE chain = $1 AND address = $2 AND kind = $3";
        let statement = Statement::from_sql_and_values(self.db.get_database_backend(), sql, key.values()?);
        let row = self.db.query_one_raw(statement).await?;
        Ok(row.map_or(Ok(-1), |row| row.try_get("", "through"))?)
    }
}

impl Txn {
    /// The next count starts after block `through`, from `counted`. One that is further already stays.
    pub async fn advance_tally(&mut self, key: &TallyKey, through: u64, counted: u64) -> Result<(), StoreError> {
        let sql = "INSERT INTO log_tally (chain, address, kind, through, counted, pruned) VALUES ($1, $2, $3, $4, $5, 0) \
                   ON CONFLICT (chain, address, kind) DO UPDATE SET through = excluded.through, counted = excluded.counted \
                   WHERE log_tally.through < excluded.through";
        let mut values = key.values()?.to_vec();
        values.push(int("log_tally.through", through)?.into());
        values.push(int("log_tally.counted", counted)?.into());
        let statement = Statement::from_sql_and_values(self.tx.get_database_backend(), sql, values);
        self.tx.execute_raw(statement).await?;
        Ok(())
    }

    /// Blocks above a height are gone, and with them what was counted there: the next count starts anew, from what was pruned.
    pub(super) async fn reset_tallies(&self, chain: ChainId, number: u64) -> Result<(), StoreError> {
        let sql = "UPDATE log_tally SET through = -1, counted = pruned WHERE chain = $1 AND through > $2";
        let values = [
            int("log_tally.chain", chain.0)?.into(),
            int("log_tally.through", number)?.into(),
        ];
        let statement = Statement::from_sql_and_values(self.tx.get_database_backend(), sql, values);
        self.tx.execute_raw(statement).await?;
        Ok(())
    }

    /// Final logs that are about to be deleted go on counting.
    pub(super) async fn tally_pruned(&self, logs: &[&chain_log::Model]) -> Result<(), StoreError> {
        let mut by_key: BTreeMap<(i64, &[u8], &str), Vec<i64>> = BTreeMap::new();
        for log in logs {
            let key = (log.chain, log.address.as_slice(), log.kind.as_str());
            by_key.entry(key).or_default().push(log.block_number);
        }
        let backend = self.tx.get_database_backend();
        for ((chain, address, kind), blocks) in by_key {
            let key: [Value; 3] = [chain.into(), address.to_vec().into(), kind.into()];
            let make = "INSERT INTO log_tally (chain, address, kind, through, counted, pruned) VALUES ($1, $2, $3, -1, 0, 0) \
                        ON CONFLICT (chain, address, kind) DO NOTHING";
            self.tx
                .execute_raw(Statement::from_sql_and_values(backend, make, key.clone()))
                .await?;
            // Those the tally has counted stay counted; the others are counted now, for they will not be found later.
            let find = "UPDATE log_tally SET pruned = pruned + 0 WHERE chain = $1 AND address = $2 AND kind = $3 RETURNING through";
            let row = self
                .tx
                .query_one_raw(Statement::from_sql_and_values(backend, find, key.clone()))
                .await?;
            let through: i64 = row.map_or(Ok(-1), |row| row.try_get("", "through"))?;
            let above = blocks.iter().filter(|block| **block > through).count();
            let add = "UPDATE log_tally SET pruned = pruned + $4, counted = counted + $5 \
                       WHERE chain = $1 AND address = $2 AND kind = $3";
            let mut values = key.to_vec();
            values.push(i64::try_from(blocks.len()).unwrap_or_default().into());
            values.push(i64::try_from(above).unwrap_or_default().into());
            self.tx
                .execute_raw(Statement::from_sql_and_values(backend, add, values))
                .await?;
        }
        Ok(())
    }
}
