//! Votes of an inbox that have not been compared with the outboxes yet. How far the comparison got is a row of `log_tally`, so that a finality
//! that breaks starts it anew, as it does every count.

use super::chain_log::{ChainLog, LogStatus, rows};
use super::codec::{b256, int};
use super::entity::chain_log;
use super::log_tally::TallyKey;
use super::{Store, StoreError, Txn};
use crate::settlement::{ChainId, MessageId};
use alloy::primitives::Address;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};
use std::collections::BTreeSet;

/// A message that left a chain over a port there.
pub type Departure = (ChainId, MessageId, Address);

fn progress(chain: ChainId, inbox: Address) -> TallyKey {
    TallyKey {
        chain,
        address: inbox,
        kind: "message_received judged".into(),
    }
}

impl Store {
    /// Final votes that were never judged, in blocks up to a timestamp (Unix seconds) and in chain order: about `limit` of them, and of no
    /// block only a part.
    pub async fn list_unjudged_votes(
        &self,
        chain: ChainId,
        inbox: Address,
        until: u64,
        limit: u64,
    ) -> Result<Vec<ChainLog>, StoreError> {
        let through = self.find_tally_end(&progress(chain, inbox)).await?;
        let all = chain_log::Entity::find()
            .filter(chain_log::Column::Chain.eq(int("chain_log.chain", chain.0)?))
            .filter(chain_log::Column::BlockNumber.gt(through))
            .filter(chain_log::Column::BlockTimestamp.lte(int("chain_log.block_timestamp", until)?))
            .filter(chain_log::Column::Address.eq(inbox.to_vec()))
            .filter(chain_log::Column::Status.eq(LogStatus::Final.as_str()))
            // No plain comparison, so that votes are found by their blocks and not by the much longer list of all of them.
            .filter(Expr::cust("kind || '' = 'message_received'"))
            .order_by_asc(chain_log::Column::BlockNumber)
            .order_by_asc(chain_log::Column::LogIndex);
        let mut found = rows(all.clone().limit(limit).all(&self.db).await?)?;
        if (found.len() as u64) < limit {
            return Ok(found);
        }
        let (Some(first), Some(last)) = (found.first(), found.last()) else {
            return Ok(found);
        };
        let (first, last) = (first.block_number, last.block_number);
        if first < last {
            found.retain(|vote| vote.block_number < last);
            return Ok(found);
        }
        let whole: Select<chain_log::Entity> = all.filter(chain_log::Column::BlockNumber.eq(int("block", last)?));
        rows(whole.all(&self.db).await?)
    }

    /// Which of these messages left which of these chains, and over which ports, as far as the logs say.
    pub async fn list_departures(
        &self,
        messages: &BTreeSet<MessageId>,
        chains: &[ChainId],
    ) -> Result<BTreeSet<Departure>, StoreError> {
        let mut found = BTreeSet::new();
        for chain in chains {
            let id = int("chain_log.chain", chain.0)?;
            let keys: Vec<Vec<u8>> = messages.iter().map(|message| message.0.to_vec()).collect();
            for chunk in keys.chunks(500) {
                let logs: Vec<(Vec<u8>, Vec<u8>)> = chain_log::Entity::find()
                    .select_only()
                    .columns([chain_log::Column::Key, chain_log::Column::Key2])
                    .filter(chain_log::Column::Chain.eq(id))
                    .filter(chain_log::Column::Kind.eq("message_dispatched"))
                    .filter(chain_log::Column::Key.is_in(chunk.iter().cloned()))
                    .filter(chain_log::Column::Status.ne(LogStatus::Orphaned.as_str()))
                    .into_tuple()
                    .all(&self.db)
                    .await?;
                for (key, port) in logs {
                    let port = Address::from_word(b256("chain_log.key2", &port)?);
                    found.insert((*chain, MessageId(b256("chain_log.key", &key)?), port));
                }
            }
        }
        Ok(found)
    }
}

impl Txn {
    /// Votes up to and with block `through` have been judged.
    pub async fn advance_judged(&mut self, chain: ChainId, inbox: Address, through: u64) -> Result<(), StoreError> {
        self.advance_tally(&progress(chain, inbox), through, 0).await
    }
}
