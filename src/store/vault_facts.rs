//! What the target chain's logs say about payers and tokens now: listings, announced exits, signers, used nonces. Bad news counts as soon
//! as it is seen.

use super::bulk::{padded, values_table};
use super::chain_log::{ChainLog, rows};
use super::codec::{int, u256_bytes};
use super::entity::chain_log;
use super::{LogStatus, Store, StoreError, Txn};
use crate::settlement::{ChainId, SettlementId};
use alloy::primitives::{Address, B256, U256};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, Statement, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Bit of `nonceAndCredited` that says the payment became a credit.
const CREDITED_BIT: usize = 255;

/// Nonces looked up at once; each is a pair of values, or two.
const NONCES: usize = 512;
/// Of a payer and a nonce. Kinds stand literally, so that the partial index serves.
const BURNT: &str = "l.kind IN ('burn_announced', 'nonce_burned') AND l.key = v.one AND l.key2 = v.two";
const PAID: &str = "l.kind = 'settlement_paid' AND l.key2 = v.one AND l.amount = v.two";

/// What a batch needs to know about one chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FactsQuery {
    pub tokens: BTreeSet<Address>,
    pub payers: BTreeSet<Address>,
    pub nonces: BTreeSet<(Address, U256)>,
}

/// A listed token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenFacts {
    pub decimals: u8,
    pub limit1: U256,
    pub limit2: U256,
    pub quorum1: u8,
    pub quorum2: u8,
    pub quorum3: u8,
}

impl TokenFacts {
    /// Families a payment of this amount needs; 0 = refused.
    pub fn quorum_for(&self, amount: U256) -> u8 {
        if amount <= self.limit1 {
            self.quorum1
        } else if amount <= self.limit2 {
            self.quorum2
        } else {
            self.quorum3
        }
    }
}

/// What happened to a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonceFact {
    BurnAnnounced,
    Burned,
    Paid(SettlementId),
}

/// Standing of a signer with a payer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignerFact {
    Active,
    RemovalAnnounced,
    Removed,
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VaultFacts {
    pub tokens: BTreeMap<Address, TokenFacts>,
    /// (payer, token) → what it announced to withdraw, or withdrew in a block that the ledger has not booked yet.
    pub leaving: BTreeMap<(Address, Address), U256>,
    pub nonces: BTreeMap<(Address, U256), NonceFact>,
    /// (payer, signer)
    pub signers: BTreeMap<(Address, Address), SignerFact>,
}

impl Store {
    pub async fn vault_facts(&self, chain: ChainId, query: &FactsQuery) -> Result<VaultFacts, StoreError> {
        load(&self.db, chain, query).await
    }
}

impl Txn {
    /// As of this transaction, so that no withdrawal is counted twice or missed while the ledger books it.
    pub async fn vault_facts(&self, chain: ChainId, query: &FactsQuery) -> Result<VaultFacts, StoreError> {
        load(&self.tx, chain, query).await
    }
}

async fn load<C: ConnectionTrait>(db: &C, chain: ChainId, query: &FactsQuery) -> Result<VaultFacts, StoreError> {
    use chain_log::Column;
    let word = |address: &Address| address.into_word().to_vec();
    let mut logs = Vec::new();
    let tokens: Vec<_> = query.tokens.iter().collect();
    let payers: Vec<_> = query.payers.iter().collect();
    let nonces: Vec<_> = query.nonces.iter().collect();
    for chunk in tokens.chunks(1_000) {
        let of = Column::Key.is_in(chunk.iter().map(|token| word(token)));
        logs.extend(select(db, chain, &["token_listed", "token_delisted"], of.into()).await?);
    }
    for chunk in payers.chunks(1_000) {
        let of = Column::Key.is_in(chunk.iter().map(|payer| word(payer)));
        let kinds = [
            "withdrawal_announced",
            "withdrawal_cancelled",
            "withdrawn",
            "signer_added",
            "signer_removal_announced",
            "signer_removed",
        ];
        logs.extend(select(db, chain, &kinds, of.into()).await?);
    }
    for chunk in nonces.chunks(NONCES) {
        let burnt = chunk.iter().map(|(payer, nonce)| (word(payer), u256_bytes(*nonce)));
        logs.extend(join(db, chain, BURNT, burnt.collect()).await?);
        let paid = chunk
            .iter()
            .flat_map(|(payer, nonce)| [*nonce, credited_form(*nonce)].map(|amount| (word(payer), u256_bytes(amount))));
        logs.extend(join(db, chain, PAID, paid.collect()).await?);
    }
    fold(&logs)
}

async fn select<C: ConnectionTrait>(
    db: &C,
    chain: ChainId,
    kinds: &[&str],
    of: Condition,
) -> Result<Vec<ChainLog>, StoreError> {
    use chain_log::Column;
    let found = chain_log::Entity::find()
        .filter(Column::Chain.eq(int("chain_log.chain", chain.0)?))
        .filter(Expr::col(Column::Kind).is_in(kinds.iter().copied()))
        .filter(of)
        .filter(Column::Status.ne(LogStatus::Orphaned.as_str()))
        .order_by_asc(Column::BlockNumber)
        .order_by_asc(Column::LogIndex)
        .all(db)
        .await?;
    rows(found)
}

/// Logs whose two subjects are one of `pairs`, oldest first. A join, because two lists would ask for every combination.
async fn join<C: ConnectionTrait>(
    db: &C,
    chain: ChainId,
    of: &str,
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
) -> Result<Vec<ChainLog>, StoreError> {
    let pairs = padded(pairs);
    let chain = int("chain_log.chain", chain.0)?;
    // SQLite keeps the order of a CROSS JOIN: the few pairs first, each looked up in the index.
    let sql = values_table(db.get_database_backend(), "one, two", pairs.len(), 2)
        + &format!(
            "SELECT l.* FROM v CROSS JOIN chain_log l WHERE l.chain = {chain} AND {of} AND l.status <> 'orphaned'"
        );
    let values = pairs.into_iter().flat_map(|(one, two)| [one.into(), two.into()]);
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values.collect::<Vec<Value>>());
    let mut found = chain_log::Entity::find().from_raw_sql(statement).all(db).await?;
    found.sort_unstable_by_key(|row| (row.block_number, row.log_index));
    rows(found)
}

fn credited_form(nonce: U256) -> U256 {
    nonce | (U256::from(1) << CREDITED_BIT)
}

/// What logs, oldest first per subject, add up to.
pub fn fold(logs: &[ChainLog]) -> Result<VaultFacts, StoreError> {
    let mut facts = VaultFacts::default();
    let mut announced: BTreeMap<(Address, Address), U256> = BTreeMap::new();
    for log in logs {
        let (one, two) = (Address::from_word(log.key), Address::from_word(log.key2));
        match log.kind.as_str() {
            "token_listed" => {
                facts.tokens.insert(one, token_facts(log)?);
            }
            "token_delisted" => {
                facts.tokens.remove(&one);
            }
            "withdrawal_announced" => {
                announced.insert((one, two), log.amount);
            }
            "withdrawal_cancelled" => {
                announced.remove(&(one, two));
            }
            "withdrawn" => {
                announced.remove(&(one, two));
                if !log.applied_final {
                    let leaving = facts.leaving.entry((one, two)).or_default();
                    *leaving = leaving.saturating_add(log.amount);
                }
            }
            "signer_added" => {
                facts.signers.insert((one, two), SignerFact::Active);
            }
            "signer_removal_announced" => {
                facts.signers.insert((one, two), SignerFact::RemovalAnnounced);
            }
            "signer_removed" => {
                facts.signers.insert((one, two), SignerFact::Removed);
            }
            "burn_announced" => note_nonce(&mut facts, one, log.key2, NonceFact::BurnAnnounced),
            "nonce_burned" => note_nonce(&mut facts, one, log.key2, NonceFact::Burned),
            "settlement_paid" => {
                let nonce: U256 = log.amount & (U256::MAX >> 1usize);
                let paid = NonceFact::Paid(SettlementId(log.key));
                note_nonce(&mut facts, two, nonce.into(), paid);
            }
            _ => {}
        }
    }
    for (subject, amount) in announced {
        let leaving = facts.leaving.entry(subject).or_default();
        *leaving = leaving.saturating_add(amount);
    }
    Ok(facts)
}

/// A used nonce stays used, whatever was announced about it.
fn note_nonce(facts: &mut VaultFacts, payer: Address, nonce: B256, fact: NonceFact) {
    let known = facts.nonces.entry((payer, nonce.into())).or_insert(fact);
    if *known == NonceFact::BurnAnnounced {
        *known = fact;
    }
}

fn token_facts(log: &ChainLog) -> Result<TokenFacts, StoreError> {
    let number = |field: &str| -> Result<U256, StoreError> {
        let value = &log.detail[field];
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.parse().map_err(|_| StoreError::Corrupt {
            column: "chain_log.detail",
            reason: format!("{field} of a token_listed log is {text:?}"),
        })
    };
    let small = |field: &str| -> Result<u8, StoreError> {
        u8::try_from(number(field)?).map_err(|error| StoreError::Corrupt {
            column: "chain_log.detail",
            reason: format!("{field} of a token_listed log: {error}"),
        })
    };
    Ok(TokenFacts {
        decimals: small("decimals")?,
        limit1: number("limit1")?,
        limit2: number("limit2")?,
        quorum1: small("quorum1")?,
        quorum2: small("quorum2")?,
        quorum3: small("quorum3")?,
    })
}
