//! Logs as the reconciler reads them: by transaction, and which tokens there are.

use super::chain_log::{ChainLog, LogStatus, rows};
use super::codec::{address, b256, int};
use super::entity::{account, chain_log};
use super::{Store, StoreError};
use crate::ledger::AccountKind;
use crate::settlement::ChainId;
use alloy::primitives::{Address, B256};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use std::collections::BTreeSet;

impl Store {
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
