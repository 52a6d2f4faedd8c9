//! A stretch of final blocks as the auditor's own endpoints tell it, with the proof that no log was left out: the contracts' counters before and
//! after it.

use super::error::ReconcilerError;
use crate::chain::{Chain, Contracts, decode};
use crate::settlement::ChainId;
use crate::store::{ChainLog, Counters, LogStatus, NewChainLog};
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::sol_types::SolCall;
use relayer_adapter_api::abi::{ISettlementInbox, ISettlementOutbox, ISettlementVault};
use relayer_adapter_api::{BlockRef, ChainView, LogFilter, LogRecord, ViewError};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// Where a log is: its block, its index there.
pub(super) type Place = (B256, u64);

/// What a stretch said.
#[derive(Debug, Clone)]
pub struct Reading {
    pub end: BlockRef,
    pub logs: Vec<NewChainLog>,
    pub counters: Option<Counters>,
    /// The counters say that these are all logs there are of what they count: messages sent and received, payments, the vault's sums.
    pub proven: bool,
}

impl Reading {
    /// Whether the counters bear out that a log that was not read is not there: they would have moved by it.
    fn counts(&self, log: &ChainLog) -> bool {
        let Some(counters) = self.counters.as_ref().filter(|_| self.proven) else {
            return false;
        };
        match log.kind.as_str() {
            "message_dispatched" => counters.dispatched.is_some(),
            "message_received" => counters.received.is_some(),
            "settlement_paid" => counters.paid.is_some(),
            kind => {
                let token = token_of(kind, log.key2, &log.detail);
                let known = token.is_some_and(|token| counters.vault.contains_key(&token));
                known && !log.amount.is_zero()
            }
        }
    }
}

/// Why a stretch could not be compared now. Never a verdict: it is read again.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("{0}")]
    View(#[from] ViewError),
    #[error("block {0} is not there")]
    NoBlock(u64),
    #[error("block {number} is {found} at one endpoint and {expected} at another")]
    Forked {
        number: u64,
        found: String,
        expected: String,
    },
    #[error("{0}")]
    Decode(String),
    #[error(
        "the endpoints told nothing of log {log} ({kind}) of block {number}, and have it when it is asked for by itself"
    )]
    LeftOut { log: String, kind: String, number: u64 },
    #[error("the contracts counted {counted} {what} in these blocks, the endpoints told of {told}")]
    Incomplete {
        what: &'static str,
        counted: u128,
        told: u128,
    },
    #[error("the vault's sums of {token} moved by {moved:?} in these blocks, the logs make it {told:?}")]
    Sums {
        token: Address,
        moved: Box<[u128; 5]>,
        told: Box<[u128; 5]>,
    },
}

/// Reads one chain.
pub(super) struct Reader<'a> {
    pub chain: &'a Arc<dyn Chain>,
    pub contracts: &'a Contracts,
    pub start_block: u64,
    /// Tokens of the vault that are known.
    pub tokens: BTreeSet<Address>,
}

impl Reader<'_> {
    /// Blocks `first..=last`. `before` are the counters as of the block before, where they are known.
    pub async fn read(&self, first: u64, last: u64, before: Option<Counters>) -> Result<Reading, Unreadable> {
        let end = self.block(last).await?;
        let view = self.chain.view(end);
        let addresses = self.contracts.addresses();
        if addresses.is_empty() {
            return Ok(Reading {
                end,
                logs: Vec::new(),
                counters: None,
                proven: true,
            });
        }
        let filter = LogFilter {
            addresses,
            topics0: Vec::new(),
            from_block: Some(first),
        };
        let raw = view.logs(&filter).await?;
        let logs = self.decoded(&raw, end).await?;
        // A node that has forgotten old state still has old logs: those are then compared without the proof.
        let mut tokens = self.tokens.clone();
        tokens.extend(logs.iter().filter_map(|log| token_of(&log.kind, log.key2, &log.detail)));
        let Some(after) = self.counters(view.as_ref(), &tokens).await? else {
            return Ok(Reading {
                end,
                logs,
                counters: None,
                proven: false,
            });
        };
        let known = before.filter(|before| tokens.iter().all(|token| before.vault.contains_key(token)));
        let before = match known {
            Some(before) => Some(before),
            None => self.counters_before(first, &tokens).await?,
        };
        if let Some(before) = &before {
            complete(&logs, before, &after)?;
        }
        Ok(Reading {
            end,
            logs,
            counters: Some(after),
            proven: before.is_some(),
        })
    }

    /// Stored logs that were not read and are not on the chain. Where the contracts do not count, that a range did not tell of a log proves
    /// nothing: then the chain is asked for each by itself, and a reading that left out what is there is worth nothing.
    pub async fn absent(&self, reading: &Reading, stored: &[ChainLog]) -> Result<HashSet<Place>, Unreadable> {
        let read: HashSet<Place> = reading.logs.iter().map(|log| (log.block_hash, log.log_index)).collect();
        let mut absent = HashSet::new();
        for log in stored {
            let place = (log.block_hash, log.log_index);
            if read.contains(&place) {
                continue;
            }
            if !reading.counts(log) && self.has(log).await? {
                return Err(Unreadable::LeftOut {
                    log: log.reference(),
                    kind: log.kind.clone(),
                    number: log.block_number,
                });
            }
            absent.insert(place);
        }
        Ok(absent)
    }

    /// Whether the chain has a log, asked for by itself.
    pub async fn has(&self, log: &ChainLog) -> Result<bool, Unreadable> {
        let (told, _) = self.alone(log.block_number, log.block_hash, log.tx_hash).await?;
        let same = |one: &LogRecord| (one.log_index, one.address) == (log.log_index, log.address);
        Ok(told.iter().any(same))
    }

    /// All logs of ours of a log's transaction, in order.
    pub async fn transaction_of(&self, log: &NewChainLog) -> Result<Vec<NewChainLog>, Unreadable> {
        let (mut told, block) = self.alone(log.block_number, log.block_hash, log.tx_hash).await?;
        told.retain(|one| one.tx_hash == log.tx_hash);
        self.decoded(&told, block).await
    }

    /// What a transaction's receipt and its block's own logs tell, in order; nothing when the chain has another block there.
    async fn alone(&self, number: u64, hash: B256, tx: B256) -> Result<(Vec<LogRecord>, BlockRef), Unreadable> {
        let block = self.block(number).await?;
        if block.hash != hash {
            return Ok((Vec::new(), block));
        }
        let view = self.chain.view(block);
        let filter = LogFilter {
            addresses: self.contracts.addresses(),
            topics0: Vec::new(),
            from_block: None,
        };
        let mut told = view.logs(&filter).await?;
        told.extend(view.receipt(tx).await?.into_iter().flat_map(|receipt| receipt.logs));
        told.retain(|log| log.block_hash == hash);
        told.sort_by_key(|log| log.log_index);
        told.dedup_by_key(|log| log.log_index);
        Ok((told, block))
    }

    async fn block(&self, number: u64) -> Result<BlockRef, Unreadable> {
        let found = self.chain.block_at(number).await?;
        found.map(|(block, _)| block).ok_or(Unreadable::NoBlock(number))
    }

    async fn decoded(&self, raw: &[LogRecord], end: BlockRef) -> Result<Vec<NewChainLog>, Unreadable> {
        let mut blocks = BTreeMap::from([(end.number, end)]);
        let mut logs = Vec::with_capacity(raw.len());
        for log in raw {
            let block = match blocks.get(&log.block_number) {
                Some(block) => *block,
                None => {
                    let block = self.block(log.block_number).await?;
                    blocks.insert(log.block_number, block);
                    block
                }
            };
            if block.hash != log.block_hash {
                return Err(Unreadable::Forked {
                    number: block.number,
                    found: log.block_hash.to_string(),
                    expected: block.hash.to_string(),
                });
            }
            let row = decode::row(self.contracts, self.chain.id(), log, block.timestamp);
            logs.extend(row.map_err(|error| Unreadable::Decode(error.to_string()))?);
        }
        Ok(logs)
    }

    async fn counters_before(&self, first: u64, tokens: &BTreeSet<Address>) -> Result<Option<Counters>, Unreadable> {
        if first <= self.start_block {
            // Our contracts were deployed in the first block that is read, or later.
            return Ok(Some(Counters {
                dispatched: self.contracts.outbox.map(|_| 0),
                received: self.contracts.inbox.map(|_| 0),
                paid: self.contracts.inbox.map(|_| 0),
                vault: tokens.iter().map(|token| (*token, [0; 5])).collect(),
            }));
        }
        let block = self.block(first.saturating_sub(1)).await?;
        self.counters(self.chain.view(block).as_ref(), tokens).await
    }

    /// None where an endpoint cannot say.
    async fn counters(&self, view: &dyn ChainView, tokens: &BTreeSet<Address>) -> Result<Option<Counters>, Unreadable> {
        let mut counters = Counters::default();
        if let Some(outbox) = self.contracts.outbox {
            let call = ISettlementOutbox::countersCall {}.abi_encode();
            let Some(answer) = ask(view, outbox, call).await? else {
                return Ok(None);
            };
            counters.dispatched = match answer.is_empty() {
                // No contract there yet.
                true => Some(0),
                false => Some(
                    ISettlementOutbox::countersCall::abi_decode_returns(&answer)
                        .map_err(|error| Unreadable::Decode(error.to_string()))?
                        .dispatches,
                ),
            };
        }
        if let Some(inbox) = self.contracts.inbox {
            let call = ISettlementInbox::countersCall {}.abi_encode();
            let Some(answer) = ask(view, inbox, call).await? else {
                return Ok(None);
            };
            let (received, paid) = match answer.is_empty() {
                true => (0, 0),
                false => {
                    let answer = ISettlementInbox::countersCall::abi_decode_returns(&answer)
                        .map_err(|error| Unreadable::Decode(error.to_string()))?;
                    (answer.received, answer.paid)
                }
            };
            (counters.received, counters.paid) = (Some(received), Some(paid));
        }
        if let Some(vault) = self.contracts.vault {
            for token in tokens {
                let call = ISettlementVault::totalsCall { token: *token }.abi_encode();
                let Some(answer) = ask(view, vault, call).await? else {
                    return Ok(None);
                };
                counters.vault.insert(*token, totals(&answer)?);
            }
        }
        Ok(Some(counters))
    }
}

fn totals(answer: &Bytes) -> Result<[u128; 5], Unreadable> {
    if answer.is_empty() {
        return Ok([0; 5]);
    }
    let sums = ISettlementVault::totalsCall::abi_decode_returns(answer)
        .map_err(|error| Unreadable::Decode(error.to_string()))?;
    Ok([
        sums.deposited,
        sums.withdrawn,
        sums.debited,
        sums.credited,
        sums.claimed,
    ])
}

/// The token whose sums a log moves.
fn token_of(kind: &str, key2: B256, detail: &serde_json::Value) -> Option<Address> {
    match kind {
        "deposited" | "withdrawn" | "credited" | "claimed" => Some(Address::from_word(key2)),
        "runs_paid" => detail["token"].as_str()?.parse().ok(),
        _ => None,
    }
}

/// What the logs make of the vault's sums of a token.
fn moved(logs: &[NewChainLog], token: Address) -> [U256; 5] {
    let mut sums = [U256::ZERO; 5];
    let of_token = |log: &&NewChainLog| token_of(&log.kind, log.key2, &log.detail) == Some(token);
    for log in logs.iter().filter(of_token) {
        let (place, amount) = match log.kind.as_str() {
            "deposited" => (0, log.amount),
            "withdrawn" => (1, log.amount),
            "credited" => (3, log.amount),
            "claimed" => (4, log.amount),
            _ => (2, log.amount.saturating_add(fees(log))),
        };
        sums[place] = sums[place].saturating_add(amount);
    }
    sums
}

/// Fees of `RunsPaid`; its amount is the sum of the amounts alone.
fn fees(log: &NewChainLog) -> U256 {
    let runs = log.detail["runs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let fee = |run: &serde_json::Value| run["fee"].as_str().and_then(|fee| fee.parse::<U256>().ok());
    runs.iter()
        .filter_map(fee)
        .fold(U256::ZERO, |sum, fee| sum.saturating_add(fee))
}

async fn ask(view: &dyn ChainView, to: Address, data: Vec<u8>) -> Result<Option<Bytes>, Unreadable> {
    match view.call(None, to, data.into(), U256::ZERO).await {
        Ok(answer) => Ok(Some(answer)),
        // The logs of these blocks were read; so the block is there, and its state is not.
        Err(ViewError::Unavailable { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The logs are as many as the contracts counted.
fn complete(logs: &[NewChainLog], before: &Counters, after: &Counters) -> Result<(), Unreadable> {
    let told = |kind: &str| logs.iter().filter(|log| log.kind == kind).count() as u128;
    for (what, kind, before, after) in [
        ("dispatches", "message_dispatched", before.dispatched, after.dispatched),
        ("arrivals", "message_received", before.received, after.received),
        ("payments", "settlement_paid", before.paid, after.paid),
    ] {
        let (Some(before), Some(after)) = (before, after) else {
            continue;
        };
        let counted = after.saturating_sub(before);
        let told = told(kind);
        if counted != told {
            return Err(Unreadable::Incomplete { what, counted, told });
        }
    }
    for (token, after) in &after.vault {
        let before = before.vault.get(token).copied().unwrap_or_default();
        let told = moved(logs, *token).map(|sum| u128::try_from(sum).unwrap_or(u128::MAX));
        let mut by_contract = [0u128; 5];
        for (place, sum) in by_contract.iter_mut().enumerate() {
            *sum = after[place].saturating_sub(before[place]);
        }
        if by_contract != told {
            return Err(Unreadable::Sums {
                token: *token,
                moved: Box::new(by_contract),
                told: Box::new(told),
            });
        }
    }
    Ok(())
}

/// As it would be stored.
pub(super) fn as_stored(log: &NewChainLog) -> ChainLog {
    ChainLog {
        id: 0,
        chain: log.chain,
        block_number: log.block_number,
        block_hash: log.block_hash,
        block_timestamp: log.block_timestamp,
        log_index: log.log_index,
        tx_hash: log.tx_hash,
        address: log.address,
        kind: log.kind.clone(),
        key: log.key,
        key2: log.key2,
        amount: log.amount,
        detail: log.detail.clone(),
        status: LogStatus::Final,
        applied_seen: true,
        applied_final: true,
    }
}

impl Unreadable {
    pub(super) fn of(chain: ChainId, error: ViewError) -> ReconcilerError {
        ReconcilerError::View {
            chain,
            attempted: "reading for the comparison",
            source: error,
        }
    }
}
