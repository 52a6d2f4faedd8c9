//! Pages of settlements. A page looks at a bounded stretch of the table, whatever the filters: one that finds little says where to go on.

use super::settlement::{Settlement, SettlementFilter};
use super::{Store, StoreError};
use sea_orm::{ConnectionTrait, Statement};

/// Rows a page looks at when no index answers its filters alone.
const STRETCH: i64 = 20_000;

impl SettlementFilter {
    /// Whether an index leads to exactly the rows wanted, so that a page reads no others.
    fn is_indexed(&self) -> bool {
        let of_owner = usize::from(self.coordinator_id.is_some()) + usize::from(self.payer.is_some());
        let beside = self.state.is_some() || self.payee.is_some() || self.target.is_some();
        self.job_id.is_some() || (of_owner <= 1 && !beside)
    }
}

impl Store {
    /// Up to `limit` settlements, newest first, from below row `before` on; and where the next page begins, None after the last.
    /// A page may hold fewer than `limit`, even none, and still not be the last.
    pub async fn page_settlements(
        &self,
        filter: &SettlementFilter,
        before: Option<i64>,
        limit: u64,
    ) -> Result<(Vec<Settlement>, Option<i64>), StoreError> {
        let mut filter = filter.clone();
        let mut stretch_ends = None;
        if !filter.is_indexed() {
            let top = match before {
                Some(before) => before,
                None => self.newest_settlement_row().await?.saturating_add(1),
            };
            let row_min = top.saturating_sub(STRETCH);
            filter.row_min = Some(row_min);
            stretch_ends = Some(row_min).filter(|row| *row > 0);
        }
        // One more than asked tells whether there is another page.
        let mut rows = self.list_settlements(&filter, before, limit.saturating_add(1)).await?;
        let more = rows.len() as u64 > limit;
        rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let last = rows.last().filter(|_| more).map(|last| last.row);
        Ok((rows, last.or(stretch_ends)))
    }

    async fn newest_settlement_row(&self) -> Result<i64, StoreError> {
        let sql = "SELECT COALESCE(MAX(id), 0) AS n FROM settlement";
        let row = self
            .db
            .query_one_raw(Statement::from_string(self.db.get_database_backend(), sql))
            .await?;
        Ok(row.map_or(Ok(0), |row| row.try_get("", "n"))?)
    }
}
