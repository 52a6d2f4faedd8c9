//! What the target chain's logs say about payers and tokens now: listings, announced exits, signers, used nonces. Bad news counts as soon
//! as it is seen.

use super::bulk::Tables;
use super::chain_log::{ChainLog, rows};
use super::codec::{int, u256_bytes};
use super::entity::chain_log;
use super::{Store, StoreError, Txn};
use crate::settlement::{ChainId, SettlementId};
use alloy::primitives::{Address, B256, U256};
use sea_orm::{ConnectionTrait, EntityTrait, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Bit of `nonceAndCredited` that says the payment became a credit.
const CREDITED_BIT: usize = 255;

/// Nonces looked up at once; each is three pairs of values.
const NONCES: usize = 512;
/// Tokens, and payers, looked up at once.
const SUBJECTS: usize = 1_000;
/// Of a token, of a payer, of a payer and a nonce. Kinds stand literally, so that the partial index serves.
const LISTED: &str = "l.kind IN ('token_listed', 'token_delisted') AND l.key = v.one";
const OF_PAYER: &str = "l.kind IN ('withdrawal_announced', 'withdrawal_cancelled', 'withdrawn', 'signer_added', \
    'signer_removal_announced', 'signer_removed') AND l.key = v.one";
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

/// One statement for a chunk of nonces with all tokens and payers: each subject is looked up in an index, and asking is most of the price.
async fn load<C: ConnectionTrait>(db: &C, chain: ChainId, query: &FactsQuery) -> Result<VaultFacts, StoreError> {
    let word = |address: &Address| -> Value { address.into_word().to_vec().into() };
    let tokens: Vec<_> = query.tokens.iter().map(|token| vec![word(token)]).collect();
    let payers: Vec<_> = query.payers.iter().map(|payer| vec![word(payer)]).collect();
    let nonces: Vec<_> = query.nonces.iter().collect();
    // SQLite keeps the order of a CROSS JOIN: the few subjects first, each looked up in the index.
    let part = |table: &str, of: &str| format!("SELECT l.* FROM {table} v CROSS JOIN chain_log l WHERE {of}");
    let chain = int("chain_log.chain", chain.0)?;
    let of_chain = |of: &str| format!("l.chain = {chain} AND l.status <> 'orphaned' AND {of}");
    let mut logs = Vec::new();
    for part_of in Parts::of(&tokens, &payers, &nonces) {
        let mut tables = Tables::new(db.get_database_backend());
        let mut parts = Vec::new();
        if !part_of.tokens.is_empty() {
            tables = tables.with("tokens", "one", part_of.tokens.to_vec());
            parts.push(part("tokens", &of_chain(LISTED)));
        }
        if !part_of.payers.is_empty() {
            tables = tables.with("payers", "one", part_of.payers.to_vec());
            parts.push(part("payers", &of_chain(OF_PAYER)));
        }
        if !part_of.nonces.is_empty() {
            let burnt = part_of.nonces.iter();
            let burnt = burnt.map(|(payer, nonce)| vec![word(payer), u256_bytes(*nonce).into()]);
            tables = tables.with("nonces", "one, two", burnt.collect());
            parts.push(part("nonces", &of_chain(BURNT)));
            let paid = part_of.nonces.iter().flat_map(|(payer, nonce)| {
                [*nonce, credited_form(*nonce)].map(|amount| vec![word(payer), u256_bytes(amount).into()])
            });
            tables = tables.with("paid", "one, two", paid.collect());
            parts.push(part("paid", &of_chain(PAID)));
        }
        let statement = tables.statement(&parts.join(" UNION ALL "));
        logs.extend(chain_log::Entity::find().from_raw_sql(statement).all(db).await?);
    }
    logs.sort_unstable_by_key(|row| (row.block_number, row.log_index, row.id));
    // A table may hold a subject twice, and an amount must not count twice.
    logs.dedup_by_key(|row| row.id);
    fold(&rows(logs)?)
}

/// What one statement asks for; together, all of it once.
struct Parts<'a> {
    tokens: &'a [Vec<Value>],
    payers: &'a [Vec<Value>],
    nonces: &'a [&'a (Address, U256)],
}

impl<'a> Parts<'a> {
    fn of(
        tokens: &'a [Vec<Value>],
        payers: &'a [Vec<Value>],
        nonces: &'a [&'a (Address, U256)],
    ) -> impl Iterator<Item = Self> {
        let (mut tokens, mut payers, mut nonces) =
            (tokens.chunks(SUBJECTS), payers.chunks(SUBJECTS), nonces.chunks(NONCES));
        std::iter::from_fn(move || {
            let part = (tokens.next(), payers.next(), nonces.next());
            if matches!(part, (None, None, None)) {
                return None;
            }
            Some(Self {
                tokens: part.0.unwrap_or_default(),
                payers: part.1.unwrap_or_default(),
                nonces: part.2.unwrap_or_default(),
            })
        })
    }
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
