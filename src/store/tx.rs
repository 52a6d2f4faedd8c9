//! Transactions (one account nonce and what it is for) and their attempts (signed hashes, all watched).
//!
//! `Prepared` means the bytes never left; `Submitted` is written, with `first_sent_at`, before the first send.

use super::entity::{attempt, tx};
use super::{LeaseToken, Store, StoreError, codec};
use crate::names::names;
use crate::settlement::states::{TxEvent, TxState};
use alloy::primitives::{Address, B256, Bytes, U256};
use relayer_adapter_api::ChainId;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, Iterable, QueryFilter, QueryOrder, QuerySelect, Select,
    Statement,
};
use std::collections::BTreeMap;
use std::fmt;

/// Row id of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxId(pub i64);

impl fmt::Display for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

names! {
    /// Whose work a transaction does.
    IntentKind, "kind of intent" {
        Dispatch = "dispatch",
        Execution = "execution",
        Rescue = "rescue",
        /// Records a checkpoint at a registry.
        Record = "record",
        /// Fills a nonce nobody needs any more, so that those behind it can go.
        Noop = "noop",
    }
}

/// What a transaction is for. At most one live transaction per intent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Intent {
    pub kind: IntentKind,
    pub id: String,
}

impl Intent {
    pub fn new(kind: IntentKind, id: impl Into<String>) -> Self {
        Self { kind, id: id.into() }
    }
}

/// Where and how a transaction was included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inclusion {
    /// The attempt that is in the block.
    pub hash: B256,
    pub block_number: u64,
    pub block_hash: B256,
}

/// A stored transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxRow {
    pub id: TxId,
    pub chain: ChainId,
    pub signer: Address,
    /// None once cancelled: the nonce went back.
    pub nonce: Option<u64>,
    pub intent: Intent,
    pub to: Address,
    pub value: U256,
    pub data: Bytes,
    pub gas_limit: u64,
    pub state: TxState,
    /// Outcome; set together with `included`.
    pub succeeded: Option<bool>,
    pub first_sent_at: Option<i64>,
    pub included: Option<Inclusion>,
    pub gas_used: Option<u64>,
    /// Effective, wei.
    pub gas_price: Option<u128>,
    pub token: LeaseToken,
    pub next_at: i64,
    pub created_at: i64,
    pub updated_at: i64,
    pub version: i64,
}

/// A signed hash of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    pub id: i64,
    pub tx: TxId,
    pub hash: B256,
    pub raw: Bytes,
    pub max_fee: u128,
    pub max_priority_fee: u128,
    pub created_at: i64,
    pub sent_at: Option<i64>,
    pub error: Option<String>,
}

/// What [`Txn::insert_tx`] stores, signed already.
#[derive(Debug, Clone)]
pub struct NewTx {
    pub chain: ChainId,
    pub signer: Address,
    pub nonce: u64,
    pub intent: Intent,
    pub to: Address,
    pub value: U256,
    pub data: Bytes,
    pub gas_limit: u64,
    pub token: LeaseToken,
}

/// One signing of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAttempt {
    pub hash: B256,
    pub raw: Bytes,
    pub max_fee: u128,
    pub max_priority_fee: u128,
}

/// A move of a transaction, with the data that becomes true by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TxChange {
    /// About to be sent for the first time.
    Submit,
    Include {
        inclusion: Inclusion,
        succeeded: bool,
        gas_used: u64,
        gas_price: u128,
    },
    Finalize,
    /// A reorg took it out of its block.
    Unwind,
    /// Another hash of this nonce is final.
    Replace {
        by: B256,
    },
    /// Never sent; the nonce goes back.
    Cancel,
}

impl TxChange {
    pub(super) fn event(&self) -> TxEvent {
        match self {
            Self::Submit => TxEvent::Submit,
            Self::Include { .. } => TxEvent::Include,
            Self::Finalize => TxEvent::Finalize,
            Self::Unwind => TxEvent::Unwind,
            Self::Replace { .. } => TxEvent::Replace,
            Self::Cancel => TxEvent::Cancel,
        }
    }
}

/// `next_at` of a finalized transaction whose costs are in the ledger.
pub(super) const POSTED: i64 = i64::MAX;

fn fee(column: &'static str, bytes: &[u8]) -> Result<u128, StoreError> {
    u128::try_from(codec::u256(column, bytes)?).map_err(|_| StoreError::Corrupt {
        column,
        reason: "larger than u128".into(),
    })
}

fn tx_row(m: tx::Model) -> Result<TxRow, StoreError> {
    let included = match (&m.included_hash, m.included_block, &m.included_block_hash) {
        (Some(hash), Some(block), Some(block_hash)) => Some(Inclusion {
            hash: codec::b256("tx.included_hash", hash)?,
            block_number: codec::uint("tx.included_block", block)?,
            block_hash: codec::b256("tx.included_block_hash", block_hash)?,
        }),
        _ => None,
    };
    Ok(TxRow {
        id: TxId(m.id),
        chain: ChainId(codec::uint("tx.chain", m.chain)?),
        signer: codec::address("tx.signer", &m.signer)?,
        nonce: u64::try_from(m.nonce).ok(),
        intent: Intent {
            kind: codec::name("tx.intent_kind", &m.intent_kind)?,
            id: m.intent_id,
        },
        to: codec::address("tx.to_address", &m.to_address)?,
        value: codec::u256("tx.value", &m.value)?,
        data: m.data.into(),
        gas_limit: codec::uint("tx.gas_limit", m.gas_limit)?,
        state: codec::name("tx.state", &m.state)?,
        succeeded: m.succeeded,
        first_sent_at: m.first_sent_at,
        included,
        gas_used: m.gas_used.map(|gas| codec::uint("tx.gas_used", gas)).transpose()?,
        gas_price: m.gas_price.map(|price| fee("tx.gas_price", &price)).transpose()?,
        token: LeaseToken {
            epoch: m.signer_epoch,
            counter: m.signer_counter,
        },
        next_at: m.next_at,
        created_at: m.created_at,
        updated_at: m.updated_at,
        version: m.version,
    })
}

fn attempt_row(m: attempt::Model) -> Result<AttemptRow, StoreError> {
    Ok(AttemptRow {
        id: m.id,
        tx: TxId(m.tx_id),
        hash: codec::b256("attempt.hash", &m.hash)?,
        raw: m.raw.into(),
        max_fee: fee("attempt.max_fee", &m.max_fee)?,
        max_priority_fee: fee("attempt.max_priority_fee", &m.max_priority_fee)?,
        created_at: m.created_at,
        sent_at: m.sent_at,
        error: m.error,
    })
}

fn names(states: &[TxState]) -> Vec<&'static str> {
    states.iter().map(|state| state.as_str()).collect()
}

/// Everything except what is proven to have come to nothing: never sent, another hash final, or finally reverted.
fn live() -> Condition {
    Condition::all()
        .add(tx::Column::State.is_not_in(names(&[TxState::Replaced, TxState::Cancelled])))
        .add(
            Condition::any()
                .add(tx::Column::State.ne(TxState::Finalized.as_str()))
                .add(tx::Column::Succeeded.eq(true)),
        )
}

pub(super) async fn read_live<C: ConnectionTrait>(db: &C, intent: &Intent) -> Result<Option<TxRow>, StoreError> {
    let found = tx::Entity::find()
        .filter(tx::Column::IntentKind.eq(intent.kind.as_str()))
        .filter(tx::Column::IntentId.eq(intent.id.as_str()))
        .filter(live())
        .order_by_desc(tx::Column::Id)
        .one(db)
        .await?;
    found.map(tx_row).transpose()
}

pub(super) async fn read_tx<C: ConnectionTrait>(db: &C, id: TxId) -> Result<Option<TxRow>, StoreError> {
    let found = tx::Entity::find_by_id(id.0).one(db).await?;
    found.map(tx_row).transpose()
}

fn rows(models: Vec<tx::Model>) -> Result<Vec<TxRow>, StoreError> {
    models.into_iter().map(tx_row).collect()
}

/// Transactions of a signer in these states.
fn open_of(chain: ChainId, signer: Address, states: &[TxState]) -> Result<Select<tx::Entity>, StoreError> {
    Ok(tx::Entity::find()
        .filter(tx::Column::Chain.eq(codec::int("tx.chain", chain.0)?))
        .filter(tx::Column::Signer.eq(signer.to_vec()))
        .filter(tx::Column::State.is_in(names(states))))
}

/// Every column but the calldata, which is read as empty.
fn without_data(query: Select<tx::Entity>) -> Select<tx::Entity> {
    let others = tx::Column::iter().filter(|column| !matches!(column, tx::Column::Data));
    query
        .select_only()
        .columns(others)
        .column_as(Expr::val(Vec::<u8>::new()), tx::Column::Data)
}

pub(super) fn missing(id: TxId) -> StoreError {
    StoreError::Missing {
        what: format!("transaction {id}"),
    }
}

impl Store {
    pub async fn get_tx(&self, id: TxId) -> Result<TxRow, StoreError> {
        read_tx(&self.db, id).await?.ok_or_else(|| missing(id))
    }

    pub async fn find_tx(&self, id: TxId) -> Result<Option<TxRow>, StoreError> {
        read_tx(&self.db, id).await
    }

    /// The transaction an intent is bound to, if any: all but cancelled, replaced and finally reverted ones bind.
    pub async fn find_live_tx(&self, intent: &Intent) -> Result<Option<TxRow>, StoreError> {
        read_live(&self.db, intent).await
    }

    /// All transactions ever made for an intent, oldest first.
    pub async fn list_txs_of_intent(&self, intent: &Intent) -> Result<Vec<TxRow>, StoreError> {
        let rows = tx::Entity::find()
            .filter(tx::Column::IntentKind.eq(intent.kind.as_str()))
            .filter(tx::Column::IntentId.eq(intent.id.as_str()))
            .order_by_asc(tx::Column::Id)
            .all(&self.db)
            .await?;
        rows.into_iter().map(tx_row).collect()
    }

    /// Transactions of a signer the chain has not taken yet (prepared, submitted), by nonce; without their calldata, which is large and
    /// rarely needed: [`Store::get_tx`] has it.
    pub async fn list_waiting_txs(
        &self,
        chain: ChainId,
        signer: Address,
        limit: u64,
    ) -> Result<Vec<TxRow>, StoreError> {
        let waiting = without_data(open_of(chain, signer, &[TxState::Prepared, TxState::Submitted])?);
        rows(
            waiting
                .order_by_asc(tx::Column::Nonce)
                .limit(limit)
                .all(&self.db)
                .await?,
        )
    }

    /// Transactions of a signer that are in a block that is not final yet, by nonce; without their calldata, which nobody needs any more.
    pub async fn list_included_txs(
        &self,
        chain: ChainId,
        signer: Address,
        limit: u64,
    ) -> Result<Vec<TxRow>, StoreError> {
        let included = without_data(open_of(chain, signer, &[TxState::Included])?);
        rows(
            included
                .order_by_asc(tx::Column::Nonce)
                .limit(limit)
                .all(&self.db)
                .await?,
        )
    }

    /// Attempts of a transaction, oldest first.
    pub async fn list_attempts(&self, id: TxId) -> Result<Vec<AttemptRow>, StoreError> {
        let rows = attempt::Entity::find()
            .filter(attempt::Column::TxId.eq(id.0))
            .order_by_asc(attempt::Column::Id)
            .all(&self.db)
            .await?;
        rows.into_iter().map(attempt_row).collect()
    }

    /// Worst case of what the open, not yet included transactions of a signer may still cost: value + gas limit × dearest attempt.
    pub async fn committed_wei(&self, chain: ChainId, signer: Address) -> Result<U256, StoreError> {
        // Amounts only: calldata and signed bytes are large and say nothing about costs.
        let open: Vec<(i64, Vec<u8>, i64)> = open_of(chain, signer, &[TxState::Prepared, TxState::Submitted])?
            .select_only()
            .columns([tx::Column::Id, tx::Column::Value, tx::Column::GasLimit])
            .into_tuple()
            .all(&self.db)
            .await?;
        let fees: Vec<(i64, Vec<u8>)> = attempt::Entity::find()
            .select_only()
            .columns([attempt::Column::TxId, attempt::Column::MaxFee])
            .filter(attempt::Column::TxId.is_in(open.iter().map(|(id, ..)| *id)))
            .into_tuple()
            .all(&self.db)
            .await?;
        let mut dearest: BTreeMap<i64, u128> = BTreeMap::new();
        for (id, max_fee) in &fees {
            let max_fee = fee("attempt.max_fee", max_fee)?;
            let entry = dearest.entry(*id).or_default();
            *entry = max_fee.max(*entry);
        }
        let mut sum = U256::ZERO;
        for (id, value, gas_limit) in &open {
            let price = U256::from(dearest.get(id).copied().unwrap_or_default());
            let gas = U256::from(codec::uint("tx.gas_limit", *gas_limit)?);
            sum = sum
                .saturating_add(codec::u256("tx.value", value)?)
                .saturating_add(gas.saturating_mul(price));
        }
        Ok(sum)
    }

    /// Finalized transactions of a chain whose costs are not in the ledger yet, without their calldata; end each with
    /// [`Txn::mark_tx_posted`].
    pub async fn list_finalized_unposted_txs(&self, chain: ChainId, limit: u64) -> Result<Vec<TxRow>, StoreError> {
        let unposted = without_data(tx::Entity::find())
            .filter(tx::Column::Chain.eq(codec::int("tx.chain", chain.0)?))
            // Literals, so that the partial index serves; the number is `POSTED`.
            .filter(Expr::cust("state = 'finalized' AND next_at < 9223372036854775807"))
            .order_by_asc(tx::Column::Id)
            .limit(limit);
        rows(unposted.all(&self.db).await?)
    }

    /// Highest nonce stored for a signer.
    pub async fn find_last_nonce(&self, chain: ChainId, signer: Address) -> Result<Option<u64>, StoreError> {
        last_nonce(&self.db, chain, signer).await
    }

    /// Nonces from `count` on that rows hold, ascending.
    pub async fn list_nonces_from(&self, chain: ChainId, signer: Address, count: u64) -> Result<Vec<u64>, StoreError> {
        nonces_from(&self.db, chain, signer, count).await
    }

    /// Finalized transactions that are not final any more: above the final block, or in a block that is not the stored one of its height.
    pub async fn list_displaced_finalized_txs(
        &self,
        chain: ChainId,
        final_number: u64,
    ) -> Result<Vec<TxRow>, StoreError> {
        let sql = "SELECT tx.* FROM tx LEFT JOIN chain_block b ON b.chain = tx.chain AND b.number = tx.included_block \
                   WHERE tx.chain = $1 AND tx.state = $2 AND (tx.included_block > $3 OR b.hash <> tx.included_block_hash) \
                   ORDER BY tx.id";
        let values = [
            codec::int("tx.chain", chain.0)?.into(),
            TxState::Finalized.as_str().into(),
            codec::int("tx.included_block", final_number)?.into(),
        ];
        let statement = Statement::from_sql_and_values(self.db.get_database_backend(), sql, values);
        let rows = tx::Entity::find().from_raw_sql(statement).all(&self.db).await?;
        rows.into_iter().map(tx_row).collect()
    }
}

pub(super) async fn nonces_from<C: ConnectionTrait>(
    db: &C,
    chain: ChainId,
    signer: Address,
    count: u64,
) -> Result<Vec<u64>, StoreError> {
    let taken: Vec<i64> = tx::Entity::find()
        .select_only()
        .column(tx::Column::Nonce)
        .filter(tx::Column::Chain.eq(codec::int("tx.chain", chain.0)?))
        .filter(tx::Column::Signer.eq(signer.to_vec()))
        .filter(tx::Column::Nonce.gte(codec::int("tx.nonce", count)?))
        .order_by_asc(tx::Column::Nonce)
        .into_tuple()
        .all(db)
        .await?;
    taken.into_iter().map(|nonce| codec::uint("tx.nonce", nonce)).collect()
}

pub(super) async fn last_nonce<C: ConnectionTrait>(
    db: &C,
    chain: ChainId,
    signer: Address,
) -> Result<Option<u64>, StoreError> {
    let row = tx::Entity::find()
        .filter(tx::Column::Chain.eq(codec::int("tx.chain", chain.0)?))
        .filter(tx::Column::Signer.eq(signer.to_vec()))
        .filter(tx::Column::Nonce.gte(0))
        .order_by_desc(tx::Column::Nonce)
        .one(db)
        .await?;
    Ok(row.and_then(|row| u64::try_from(row.nonce).ok()))
}
