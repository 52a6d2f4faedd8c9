//! Settlements as the books have them, for comparing: terms, state and the movements that stand, read in pages. What a page says is not one
//! moment of the database: whoever finds a difference reads again.

use super::chain_log::{ChainLog, LogStatus, rows as log_rows};
use super::codec::{address, b256, int, name, u256, uint};
use super::entity::{account, chain_log, message, message_settlement, posting, settlement};
use super::{Store, StoreError, packed};
use crate::ledger::{AccountKind, Cause, EventRef, Reason};
use crate::settlement::states::{MessageState, SettlementState};
use crate::settlement::{ChainId, MessageId, SettlementId};
use alloy::primitives::{Address, B256, U256};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A posting that nothing has taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    pub posting: i64,
    pub reason: Reason,
    pub amount: U256,
    /// The account credited: its kind, and whose it is.
    pub to: (AccountKind, Address),
}

/// A settlement on the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettlementBooks {
    pub row: i64,
    pub id: SettlementId,
    pub target: ChainId,
    pub inbox: Address,
    pub payer: Address,
    pub payee: Address,
    pub token: Address,
    pub amount: U256,
    pub fee: U256,
    pub nonce: U256,
    /// Unix seconds.
    pub deadline: u64,
    pub state: SettlementState,
    /// Its history and logs were pruned.
    pub archived: bool,
    /// Oldest first.
    pub movements: Vec<Movement>,
}

/// `SettlementPaid` as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaidLog {
    pub log: i64,
    pub chain: ChainId,
    pub event: EventRef,
    pub block_number: u64,
    /// Unix seconds.
    pub block_timestamp: u64,
    pub tx: B256,
    pub inbox: Address,
    pub payer: Address,
    pub nonce: U256,
    pub credited: bool,
    /// The ledger has booked it.
    pub booked: bool,
}

/// A message and what it commits to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageBooks {
    pub row: i64,
    pub id: MessageId,
    pub header: Vec<u8>,
    pub source: ChainId,
    pub target: ChainId,
    pub state: MessageState,
    /// In leaf order.
    pub leaves: Vec<B256>,
}

/// Columns of [`Row`].
const COLUMNS: [settlement::Column; 13] = {
    use settlement::Column as C;
    [
        C::Id,
        C::SettlementId,
        C::TargetChain,
        C::Inbox,
        C::Payer,
        C::Payee,
        C::Token,
        C::Amount,
        C::Fee,
        C::Nonce,
        C::Deadline,
        C::State,
        C::ArchivedAt,
    ]
};

type Row = (
    i64,
    B256,
    i64,
    Address,
    Address,
    Address,
    Address,
    B256,
    B256,
    B256,
    i64,
    String,
    Option<i64>,
);

fn books(row: Row) -> Result<SettlementBooks, StoreError> {
    let (row, id, target, inbox, payer, payee, token, amount, fee, nonce, deadline, state, archived) = row;
    Ok(SettlementBooks {
        row,
        id: SettlementId(id),
        target: ChainId(uint("settlement.target_chain", target)?),
        inbox,
        payer,
        payee,
        token,
        amount: amount.into(),
        fee: fee.into(),
        nonce: nonce.into(),
        deadline: uint("settlement.deadline", deadline)?,
        state: name("settlement.state", &state)?,
        archived: archived.is_some(),
        movements: Vec::new(),
    })
}

impl Store {
    /// Settlements payable on a chain after a row, in row order, with their movements.
    pub async fn page_books(
        &self,
        target: ChainId,
        after: i64,
        limit: u64,
    ) -> Result<Vec<SettlementBooks>, StoreError> {
        let page = settlement::Entity::find()
            .filter(settlement::Column::Id.gt(after))
            .filter(settlement::Column::TargetChain.eq(int("settlement.target_chain", target.0)?))
            .order_by_asc(settlement::Column::Id)
            .limit(limit);
        self.with_movements(page).await
    }

    /// Those of these rows that are payable on a chain, with their movements.
    pub async fn list_books_of_rows(&self, target: ChainId, rows: &[i64]) -> Result<Vec<SettlementBooks>, StoreError> {
        let mut found = Vec::with_capacity(rows.len());
        for chunk in rows.chunks(1_000) {
            let these = settlement::Entity::find()
                .filter(settlement::Column::Id.is_in(chunk.to_vec()))
                .filter(settlement::Column::TargetChain.eq(int("settlement.target_chain", target.0)?));
            found.extend(self.with_movements(these).await?);
        }
        Ok(found)
    }

    /// Row numbers of settlements payable on a chain, in order, after one.
    pub async fn page_settlement_rows(&self, target: ChainId, after: i64, limit: u64) -> Result<Vec<i64>, StoreError> {
        Ok(settlement::Entity::find()
            .select_only()
            .column(settlement::Column::Id)
            .filter(settlement::Column::Id.gt(after))
            .filter(settlement::Column::TargetChain.eq(int("settlement.target_chain", target.0)?))
            .order_by_asc(settlement::Column::Id)
            .limit(limit)
            .into_tuple()
            .all(&self.db)
            .await?)
    }

    /// Those of these that are known.
    pub async fn list_books(&self, ids: &[SettlementId]) -> Result<Vec<SettlementBooks>, StoreError> {
        let mut found = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(1_000) {
            let these = settlement::Entity::find()
                .filter(settlement::Column::SettlementId.is_in(chunk.iter().map(|id| id.0.to_vec())));
            found.extend(self.with_movements(these).await?);
        }
        Ok(found)
    }

    /// The last row of a settlement; 0 without any.
    pub async fn last_settlement_row(&self) -> Result<i64, StoreError> {
        let newest: Option<Option<i64>> = settlement::Entity::find()
            .select_only()
            .column_as(settlement::Column::Id.max(), "newest")
            .into_tuple()
            .one(&self.db)
            .await?;
        Ok(newest.flatten().unwrap_or(0))
    }

    /// The settlements of a query in row order, at most some thousand.
    async fn with_movements(&self, query: Select<settlement::Entity>) -> Result<Vec<SettlementBooks>, StoreError> {
        let rows = packed::read(&self.db, query, &COLUMNS).await?;
        let mut all = rows.into_iter().map(books).collect::<Result<Vec<_>, _>>()?;
        all.sort_unstable_by_key(|one| one.row);
        let places: HashMap<SettlementId, usize> = all.iter().enumerate().map(|(place, one)| (one.id, place)).collect();
        let ids: Vec<SettlementId> = all.iter().map(|one| one.id).collect();
        for chunk in ids.chunks(1_000) {
            for (id, movement) in self.movements_of(chunk).await? {
                if let Some(place) = places.get(&id) {
                    all[*place].movements.push(movement);
                }
            }
        }
        Ok(all)
    }

    async fn movements_of(&self, ids: &[SettlementId]) -> Result<Vec<(SettlementId, Movement)>, StoreError> {
        use posting::Column as C;
        type Found = (i64, B256, String, B256, i64, Option<i64>);
        let these = posting::Entity::find().filter(C::SettlementId.is_in(ids.iter().map(|id| id.0.to_vec())));
        let columns = [
            C::Id,
            C::SettlementId,
            C::CauseKind,
            C::Amount,
            C::CreditAccount,
            C::Reverses,
        ];
        let mut found: Vec<Found> = packed::read(&self.db, these, &columns).await?;
        found.sort_unstable_by_key(|(id, ..)| *id);
        let taken_back: HashSet<i64> = found.iter().filter_map(|(.., reverses)| *reverses).collect();
        let accounts: BTreeSet<i64> = found.iter().map(|(_, _, _, _, credit, _)| *credit).collect();
        let accounts = self.holders(accounts).await?;
        let mut movements = Vec::with_capacity(found.len());
        for (id, of, reason, amount, credit, reverses) in found {
            if reverses.is_some() || taken_back.contains(&id) {
                continue;
            }
            let to = accounts.get(&credit).copied().ok_or_else(|| StoreError::Missing {
                what: format!("account {credit}"),
            })?;
            let movement = Movement {
                posting: id,
                reason: name("posting.cause_kind", &reason)?,
                amount: amount.into(),
                to,
            };
            movements.push((SettlementId(of), movement));
        }
        Ok(movements)
    }

    async fn holders(&self, rows: BTreeSet<i64>) -> Result<HashMap<i64, (AccountKind, Address)>, StoreError> {
        let rows: Vec<i64> = rows.into_iter().collect();
        let mut holders = HashMap::with_capacity(rows.len());
        for chunk in rows.chunks(1_000) {
            let found: Vec<(i64, String, Vec<u8>)> = account::Entity::find()
                .select_only()
                .columns([account::Column::Id, account::Column::Kind, account::Column::Holder])
                .filter(account::Column::Id.is_in(chunk.to_vec()))
                .into_tuple()
                .all(&self.db)
                .await?;
            for (id, kind, holder) in found {
                holders.insert(id, (name("account.kind", &kind)?, address("account.holder", &holder)?));
            }
        }
        Ok(holders)
    }

    /// Payments the stored final logs of a chain tell of, by settlement.
    pub async fn list_paid_logs(
        &self,
        chain: ChainId,
        ids: &[SettlementId],
    ) -> Result<HashMap<SettlementId, Vec<PaidLog>>, StoreError> {
        use chain_log::Column as C;
        let mut paid: HashMap<SettlementId, Vec<PaidLog>> = HashMap::new();
        for chunk in ids.chunks(1_000) {
            type Found = (
                i64,
                Vec<u8>,
                i64,
                i64,
                i64,
                Vec<u8>,
                Vec<u8>,
                Vec<u8>,
                Vec<u8>,
                Vec<u8>,
                bool,
            );
            let found: Vec<Found> = chain_log::Entity::find()
                .select_only()
                .columns([
                    C::Id,
                    C::BlockHash,
                    C::LogIndex,
                    C::BlockNumber,
                    C::BlockTimestamp,
                    C::TxHash,
                    C::Address,
                    C::Key,
                    C::Key2,
                    C::Amount,
                    C::AppliedFinal,
                ])
                .filter(C::Chain.eq(int("chain_log.chain", chain.0)?))
                .filter(C::Kind.eq("settlement_paid"))
                .filter(C::Key.is_in(chunk.iter().map(|id| id.0.to_vec())))
                .filter(C::Status.eq(LogStatus::Final.as_str()))
                .order_by_asc(C::Id)
                .into_tuple()
                .all(&self.db)
                .await?;
            for (log, block, index, number, timestamp, tx, inbox, key, payer, amount, booked) in found {
                let packed = u256("chain_log.amount", &amount)?;
                let one = PaidLog {
                    log,
                    chain,
                    event: EventRef {
                        chain,
                        block: b256("chain_log.block_hash", &block)?,
                        log_index: uint("chain_log.log_index", index)?,
                    },
                    block_number: uint("chain_log.block_number", number)?,
                    block_timestamp: uint("chain_log.block_timestamp", timestamp)?,
                    tx: b256("chain_log.tx_hash", &tx)?,
                    inbox: address("chain_log.address", &inbox)?,
                    payer: Address::from_word(b256("chain_log.key2", &payer)?),
                    nonce: packed & (U256::MAX >> 1usize),
                    credited: packed.bit(255),
                    booked,
                };
                let id = SettlementId(b256("chain_log.key", &key)?);
                paid.entry(id).or_default().push(one);
            }
        }
        Ok(paid)
    }

    /// A block with about as many stored logs of the chain before it as after it, up to one.
    pub async fn find_middle_block(&self, chain: ChainId, last: u64) -> Result<u64, StoreError> {
        use chain_log::Column as C;
        let of_chain = C::Chain.eq(int("chain_log.chain", chain.0)?);
        let ends: Option<(Option<i64>, Option<i64>)> = chain_log::Entity::find()
            .select_only()
            .column_as(C::Id.min(), "oldest")
            .column_as(C::Id.max(), "newest")
            .filter(of_chain.clone())
            .into_tuple()
            .one(&self.db)
            .await?;
        let Some((Some(oldest), Some(newest))) = ends else {
            return Ok(last / 2);
        };
        // Rows are stored in about the order of their blocks.
        let middle: Option<i64> = chain_log::Entity::find()
            .select_only()
            .column(C::BlockNumber)
            .filter(of_chain)
            .filter(C::Id.gte(oldest.saturating_add(newest) / 2))
            .order_by_asc(C::Id)
            .limit(1)
            .into_tuple()
            .one(&self.db)
            .await?;
        Ok(uint("chain_log.block_number", middle.unwrap_or(0))?.min(last))
    }

    /// The oldest final log up to a block that the ledger has not booked.
    pub async fn find_unbooked_log(&self, chain: ChainId, last: u64) -> Result<Option<ChainLog>, StoreError> {
        let found = chain_log::Entity::find()
            .filter(chain_log::Column::Chain.eq(int("chain_log.chain", chain.0)?))
            // Literals, so that the partial index serves.
            .filter(Expr::cust("status = 'final' AND NOT applied_final"))
            .filter(chain_log::Column::BlockNumber.lte(int("chain_log.block_number", last)?))
            .order_by_asc(chain_log::Column::Id)
            .limit(1)
            .all(&self.db)
            .await?;
        Ok(log_rows(found)?.pop())
    }

    /// Those of these events on whose word postings were made, standing or not, and what for.
    pub async fn list_posted_events(&self, events: &[EventRef]) -> Result<HashMap<EventRef, Reason>, StoreError> {
        let by_cause: BTreeMap<String, EventRef> = events
            .iter()
            .map(|event| (Cause::Event(*event).to_string(), *event))
            .collect();
        let causes: Vec<&String> = by_cause.keys().collect();
        let reasons = [
            Reason::Payment,
            Reason::Credit,
            Reason::External,
            Reason::Deposit,
            Reason::Withdrawal,
            Reason::Claim,
        ];
        let mut posted = HashMap::new();
        for chunk in causes.chunks(500) {
            for reason in reasons {
                let found: Vec<String> = posting::Entity::find()
                    .select_only()
                    .column(posting::Column::CauseRef)
                    .filter(posting::Column::CauseKind.eq(reason.as_str()))
                    .filter(posting::Column::CauseRef.is_in(chunk.iter().map(|cause| cause.as_str())))
                    .into_tuple()
                    .all(&self.db)
                    .await?;
                let events = found.iter().filter_map(|cause| by_cause.get(cause));
                posted.extend(events.map(|event| (*event, reason)));
            }
        }
        Ok(posted)
    }

    /// Those of these messages that are on the books.
    pub async fn known_messages(&self, ids: &[MessageId]) -> Result<HashSet<MessageId>, StoreError> {
        Ok(self.message_rows(ids).await?.into_keys().collect())
    }

    /// Messages from a chain after a row, in row order, with their leaves.
    pub async fn page_message_books(
        &self,
        source: ChainId,
        after: i64,
        limit: u64,
    ) -> Result<Vec<MessageBooks>, StoreError> {
        type Found = (i64, Vec<u8>, Vec<u8>, i64, i64, String);
        let found: Vec<Found> = message::Entity::find()
            .select_only()
            .columns([
                message::Column::Id,
                message::Column::MessageId,
                message::Column::Header,
                message::Column::SourceChain,
                message::Column::TargetChain,
                message::Column::State,
            ])
            .filter(message::Column::Id.gt(after))
            .filter(message::Column::SourceChain.eq(int("message.source_chain", source.0)?))
            .order_by_asc(message::Column::Id)
            .limit(limit)
            .into_tuple()
            .all(&self.db)
            .await?;
        let mut leaves = self
            .leaves_of(found.iter().map(|(_, id, ..)| id.clone()).collect())
            .await?;
        found
            .into_iter()
            .map(|(row, id, header, source, target, state)| {
                Ok(MessageBooks {
                    row,
                    leaves: leaves.remove(&id).unwrap_or_default(),
                    id: MessageId(b256("message.message_id", &id)?),
                    header,
                    source: ChainId(uint("message.source_chain", source)?),
                    target: ChainId(uint("message.target_chain", target)?),
                    state: name("message.state", &state)?,
                })
            })
            .collect()
    }

    async fn leaves_of(&self, messages: Vec<Vec<u8>>) -> Result<HashMap<Vec<u8>, Vec<B256>>, StoreError> {
        let mut leaves: HashMap<Vec<u8>, Vec<B256>> = HashMap::new();
        let rows: Vec<(Vec<u8>, Vec<u8>)> = message_settlement::Entity::find()
            .select_only()
            .columns([
                message_settlement::Column::MessageId,
                message_settlement::Column::SettlementId,
            ])
            .filter(message_settlement::Column::MessageId.is_in(messages))
            .order_by_asc(message_settlement::Column::MessageId)
            .order_by_asc(message_settlement::Column::Leaf)
            .into_tuple()
            .all(&self.db)
            .await?;
        for (message, settlement) in rows {
            let leaf = b256("message_settlement.settlement_id", &settlement)?;
            leaves.entry(message).or_default().push(leaf);
        }
        Ok(leaves)
    }
}
