//! Transfers of a hub as they are listed and proven.

use super::codec::{address, int, u256, u256_bytes, uint};
use super::hub_ledger::{all, one};
use super::hub_transfer::{HubTransfer, TransferFilter};
use super::{HubId, Store, StoreError, Txn};
use alloy::primitives::U256;
use sea_orm::{QueryResult, Value};

pub(super) const SELECT: &str = "SELECT x.id, x.tx_id, t.token, t.trail AS token_trail, x.eon, s.wallet AS sender, s.trail AS sender_trail, \
    r.wallet AS recipient, r.trail AS recipient_trail, x.amount, x.nonce, x.position, x.at_ms \
    FROM hub_transfer x JOIN hub_token t ON t.id = x.token_id JOIN hub_wallet s ON s.id = x.sender JOIN hub_wallet r ON r.id = x.recipient";

pub(super) fn decode(row: &QueryResult) -> Result<HubTransfer, StoreError> {
    let bytes = |column: &str| row.try_get::<Vec<u8>>("", column);
    let trail = |column: &'static str| uint(column, row.try_get("", column)?);
    Ok(HubTransfer {
        id: row.try_get("", "id")?,
        tx_id: row.try_get("", "tx_id")?,
        token: address("hub_token.token", &bytes("token")?)?,
        token_trail: trail("token_trail")?,
        eon: trail("eon")?,
        sender: address("hub_wallet.wallet", &bytes("sender")?)?,
        sender_trail: trail("sender_trail")?,
        recipient: address("hub_wallet.wallet", &bytes("recipient")?)?,
        recipient_trail: trail("recipient_trail")?,
        amount: u256("hub_transfer.amount", &bytes("amount")?)?,
        nonce: u256("hub_transfer.nonce", &bytes("nonce")?)?,
        position: u256("hub_transfer.position", &bytes("position")?)?,
        at_ms: row.try_get("", "at_ms")?,
    })
}

impl TransferFilter {
    /// All of a hub.
    pub fn of(hub: HubId) -> Self {
        Self {
            hub,
            id: None,
            tx_id: None,
            eon: None,
            nonce: None,
            token: None,
            wallet: None,
        }
    }

    /// Condition and values.
    fn sql(&self) -> Result<(String, Vec<Value>), StoreError> {
        let mut sql = "x.hub_id = $1".to_owned();
        let mut values: Vec<Value> = vec![self.hub.0.into()];
        let mut with = |condition: &str, value: Value| {
            values.push(value);
            sql.push_str(&format!(
                " AND {}",
                condition.replace('?', &format!("${}", values.len()))
            ));
        };
        if let Some(id) = self.id {
            with("x.id = ?", id.into());
        }
        if let Some(tx_id) = &self.tx_id {
            with("x.tx_id = ?", tx_id.as_str().into());
        }
        if let Some(eon) = self.eon {
            with("x.eon = ?", int("hub_transfer.eon", eon)?.into());
        }
        if let Some(nonce) = self.nonce {
            with("x.nonce = ?", u256_bytes(nonce).into());
        }
        if let Some(token) = self.token {
            with("t.token = ?", token.to_vec().into());
        }
        if let Some(wallet) = self.wallet {
            // Accounts first, so that the indices over sender and recipient lead to the transfers.
            let accounts = "SELECT w.id FROM hub_wallet w JOIN hub_token o ON o.id = w.token_id WHERE o.hub_id = x.hub_id AND w.wallet = ?";
            let either = format!("(x.sender IN ({accounts}) OR x.recipient IN ({accounts}))");
            with(&either, wallet.to_vec().into());
        }
        Ok((sql, values))
    }
}

impl Store {
    /// Newest first, from below row `before` on.
    pub async fn list_hub_transfers(
        &self,
        filter: &TransferFilter,
        before: Option<i64>,
        limit: u64,
    ) -> Result<Vec<HubTransfer>, StoreError> {
        let (mut condition, mut values) = filter.sql()?;
        if let Some(before) = before {
            values.push(before.into());
            condition.push_str(&format!(" AND x.id < ${}", values.len()));
        }
        let sql = format!("{SELECT} WHERE {condition} ORDER BY x.id DESC LIMIT {limit}");
        let rows = all(&self.db, &sql, values).await?;
        rows.iter().map(decode).collect()
    }

    pub async fn count_hub_transfers(&self, filter: &TransferFilter) -> Result<u64, StoreError> {
        let (condition, values) = filter.sql()?;
        let sql =
            format!("SELECT COUNT(*) AS n FROM hub_transfer x JOIN hub_token t ON t.id = x.token_id WHERE {condition}");
        let row = one(&self.db, &sql, values).await?;
        uint("count", row.map_or(Ok(0), |row| row.try_get("", "n"))?)
    }

    /// Transfers of a token in an eon in the order of recipients and positions, after one; each with its recipient's row.
    pub async fn page_received(
        &self,
        token: i64,
        eon: u64,
        after: Option<(i64, U256)>,
        limit: u64,
    ) -> Result<Vec<(i64, HubTransfer)>, StoreError> {
        let mut values: Vec<Value> = vec![token.into(), int("hub_transfer.eon", eon)?.into()];
        let mut condition = "x.token_id = $1 AND x.eon = $2".to_owned();
        if let Some((recipient, position)) = after {
            values.extend([recipient.into(), u256_bytes(position).into()]);
            condition.push_str(" AND (x.recipient > $3 OR (x.recipient = $3 AND x.position > $4))");
        }
        let select = SELECT.replacen("SELECT ", "SELECT x.recipient AS account, ", 1);
        let sql = format!("{select} WHERE {condition} ORDER BY x.recipient, x.position LIMIT {limit}");
        let rows = all(&self.db, &sql, values).await?;
        rows.iter()
            .map(|row| Ok((row.try_get("", "account")?, decode(row)?)))
            .collect()
    }

    /// Everything an account received in an eon, in the order of positions.
    pub async fn list_received(&self, wallet: i64, eon: u64) -> Result<Vec<HubTransfer>, StoreError> {
        let sql = format!("{SELECT} WHERE x.recipient = $1 AND x.eon = $2 ORDER BY x.position");
        let values = vec![wallet.into(), int("hub_transfer.eon", eon)?.into()];
        let rows = all(&self.db, &sql, values).await?;
        rows.iter().map(decode).collect()
    }
}

impl Txn {
    /// Row of the newest transfer of a hub; 0 without any.
    pub async fn newest_hub_transfer(&self, hub: HubId) -> Result<i64, StoreError> {
        let sql = "SELECT COALESCE(MAX(id), 0) AS newest FROM hub_transfer WHERE hub_id = $1";
        let row = one(&self.tx, sql, vec![hub.0.into()]).await?;
        Ok(row.map_or(Ok(0), |row| row.try_get("", "newest"))?)
    }
}
