//! Logs as the reconciler reads them: in pages, by transaction, and which tokens there are.

use super::chain_log::{ChainLog, LogStatus, rows};
use super::codec::{address, b256, int, json, uint};
use super::entity::{account, chain_log};
use super::{Store, StoreError, packed};
use crate::ledger::AccountKind;
use crate::settlement::ChainId;
use alloy::primitives::{Address, B256};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use std::collections::BTreeSet;

/// Columns of [`FinalRow`].
const FINAL_COLUMNS: [chain_log::Column; 14] = {
    use chain_log::Column as C;
    [
        C::Id,
        C::BlockNumber,
        C::BlockHash,
        C::BlockTimestamp,
        C::LogIndex,
        C::TxHash,
        C::Address,
        C::Kind,
        C::Key,
        C::Key2,
        C::Amount,
        C::Detail,
        C::AppliedSeen,
        C::AppliedFinal,
    ]
};

type FinalRow = (
    i64,
    i64,
    B256,
    i64,
    i64,
    B256,
    Address,
    String,
    B256,
    B256,
    B256,
    String,
    bool,
    bool,
);

fn final_log(chain: ChainId, row: FinalRow) -> Result<ChainLog, StoreError> {
    let (id, number, block_hash, timestamp, index, tx_hash, address, kind, key, key2, amount, detail, seen, applied) =
        row;
    Ok(ChainLog {
        id,
        chain,
        block_number: uint("chain_log.block_number", number)?,
        block_hash,
        block_timestamp: uint("chain_log.block_timestamp", timestamp)?,
        log_index: uint("chain_log.log_index", index)?,
        tx_hash,
        address,
        kind,
        key,
        key2,
        amount: amount.into(),
        detail: json("chain_log.detail", &detail)?,
        status: LogStatus::Final,
        applied_seen: seen,
        applied_final: applied,
    })
}

impl Store {
    /// Final logs of blocks `first..=last`, in chain order, after a place (block, log index); at most `limit`.
    pub async fn page_final_logs(
        &self,
        chain: ChainId,
        (first, last): (u64, u64),
        after: Option<(u64, u64)>,
        limit: u64,
    ) -> Result<Vec<ChainLog>, StoreError> {
        use chain_log::Column as C;
        let mut query = chain_log::Entity::find()
            .filter(C::Chain.eq(int("chain_log.chain", chain.0)?))
            .filter(C::BlockNumber.lte(int("chain_log.block_number", last)?))
            .filter(C::Status.eq(LogStatus::Final.as_str()));
        query = match after {
            None => query.filter(C::BlockNumber.gte(int("chain_log.block_number", first)?)),
            Some((block, index)) => {
                let block = int("chain_log.block_number", block)?;
                let later = Condition::any()
                    .add(C::BlockNumber.gt(block))
                    .add(C::LogIndex.gt(int("chain_log.log_index", index)?));
                query.filter(C::BlockNumber.gte(block)).filter(later)
            }
        };
        let page = query
            .order_by_asc(C::BlockNumber)
            .order_by_asc(C::LogIndex)
            .limit(limit);
        let rows: Vec<FinalRow> = packed::read(&self.db, page, &FINAL_COLUMNS).await?;
        let logs: Result<Vec<ChainLog>, StoreError> = rows.into_iter().map(|row| final_log(chain, row)).collect();
        let mut logs = logs?;
        logs.sort_unstable_by_key(|log| (log.block_number, log.log_index));
        Ok(logs)
    }

    /// Final logs of one transaction, in order.
    pub async fn list_final_logs_of_tx(&self, chain: ChainId, tx: B256) -> Result<Vec<ChainLog>, StoreError> {
        let found = chain_log::Entity::find()
            .filter(chain_log::Column::Chain.eq(int("chain_log.chain", chain.0)?))
            .filter(chain_log::Column::TxHash.eq(tx.to_vec()))
            .filter(chain_log::Column::Status.eq(LogStatus::Final.as_str()))
            .order_by_asc(chain_log::Column::LogIndex)
            .all(&self.db)
            .await?;
        rows(found)
    }

    /// A log by [`ChainLog::reference`].
    pub async fn find_log_by_reference(&self, reference: &str) -> Result<Option<ChainLog>, StoreError> {
        let mut parts = reference.split(':');
        let (Some(chain), Some(block), Some(index)) = (parts.next(), parts.next(), parts.next()) else {
            return Ok(None);
        };
        let (Ok(chain), Ok(block), Ok(index)) = (chain.parse::<i64>(), block.parse::<B256>(), index.parse::<i64>())
        else {
            return Ok(None);
        };
        let found = chain_log::Entity::find()
            .filter(chain_log::Column::Chain.eq(chain))
            .filter(chain_log::Column::BlockHash.eq(block.to_vec()))
            .filter(chain_log::Column::LogIndex.eq(index))
            .all(&self.db)
            .await?;
        Ok(rows(found)?.pop())
    }

    /// Whether the ledger has booked every final log of a chain.
    pub async fn is_fully_applied(&self, chain: ChainId) -> Result<bool, StoreError> {
        let open = chain_log::Entity::find()
            .filter(chain_log::Column::Chain.eq(int("chain_log.chain", chain.0)?))
            // Literals, so that the partial index serves.
            .filter(Expr::cust("status = 'final' AND NOT applied_final"))
            .limit(1)
            .one(&self.db)
            .await?;
        Ok(open.is_none())
    }

    /// Tokens ever listed on a chain, or that anything was booked in.
    pub async fn list_tokens(&self, chain: ChainId) -> Result<BTreeSet<Address>, StoreError> {
        let id = int("chain", chain.0)?;
        let listed: Vec<Vec<u8>> = chain_log::Entity::find()
            .select_only()
            .column(chain_log::Column::Key)
            .distinct()
            .filter(chain_log::Column::Chain.eq(id))
            .filter(chain_log::Column::Kind.eq("token_listed"))
            .into_tuple()
            .all(&self.db)
            .await?;
        let booked: Vec<Vec<u8>> = account::Entity::find()
            .select_only()
            .column(account::Column::Token)
            .distinct()
            // Whatever is booked in a token came from outside once.
            .filter(account::Column::Kind.eq(AccountKind::External.as_str()))
            .filter(account::Column::Chain.eq(id))
            .into_tuple()
            .all(&self.db)
            .await?;
        let mut tokens = BTreeSet::new();
        for key in &listed {
            tokens.insert(Address::from_word(b256("chain_log.key", key)?));
        }
        for token in &booked {
            tokens.insert(address("account.token", token)?);
        }
        // The native coin is in no vault.
        tokens.remove(&Address::ZERO);
        Ok(tokens)
    }
}
