//! One endpoint: JSON-RPC with a time-out, a breaker, a budget and a checked chain id; and the reads of which everything is made.

use super::breaker::{Breaker, BreakerPolicy, Budget};
use super::node_text::{PoolAnswer, ReadAnswer, pool_answer, read_answer};
use crate::clock::Clock;
use crate::metrics as names;
use alloy::primitives::{Address, B256, Bytes, U64, U128, U256};
use alloy::rpc::client::RpcClient;
use alloy::transports::RpcError;
use relayer_adapter_api::{BlockRef, ChainId, LogFilter, LogRecord, TxReceipt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How to reach an endpoint.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    pub url: String,
    /// Requests per second it may get; None = no limit.
    pub requests_per_second: Option<u32>,
}

/// Why an endpoint gave no plain answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// No usable answer: says nothing about the chain.
    Failed(String),
    Reverted(Vec<u8>),
    UnknownBlock,
}

/// What is read of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub block: BlockRef,
    pub parent_hash: B256,
}

/// One endpoint of a chain.
#[derive(Debug)]
pub struct Endpoint {
    /// Host and port, without path and credentials: keys of providers are in paths.
    pub name: String,
    chain: ChainId,
    client: RpcClient,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    breaker: Mutex<Breaker>,
    budget: Option<Mutex<Budget>>,
    chain_checked: AtomicBool,
    calls: Arc<AtomicU64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawHeader {
    number: U64,
    hash: B256,
    parent_hash: B256,
    timestamp: U64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawLog {
    address: Address,
    topics: Vec<B256>,
    data: Bytes,
    block_number: U64,
    block_hash: B256,
    transaction_hash: B256,
    log_index: U64,
    #[serde(default)]
    removed: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawReceipt {
    transaction_hash: B256,
    block_number: U64,
    block_hash: B256,
    status: U64,
    gas_used: U64,
    #[serde(default)]
    effective_gas_price: U128,
    logs: Vec<RawLog>,
}

#[derive(Deserialize)]
struct RawBody {
    hash: B256,
    transactions: Vec<RawBodyTx>,
}

#[derive(Deserialize)]
struct RawBodyTx {
    hash: B256,
    from: Address,
    nonce: U64,
}

#[derive(Deserialize)]
struct RawInput {
    hash: B256,
    input: Bytes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawFeeHistory {
    base_fee_per_gas: Vec<U128>,
    #[serde(default)]
    reward: Vec<Vec<U128>>,
}

impl RawHeader {
    fn header(self) -> Header {
        Header {
            block: BlockRef {
                number: self.number.to(),
                hash: self.hash,
                timestamp: self.timestamp.to(),
            },
            parent_hash: self.parent_hash,
        }
    }
}

impl RawLog {
    fn record(self) -> LogRecord {
        LogRecord {
            address: self.address,
            topics: self.topics,
            data: self.data,
            block_number: self.block_number.to(),
            block_hash: self.block_hash,
            tx_hash: self.transaction_hash,
            log_index: self.log_index.to(),
        }
    }
}

impl RawReceipt {
    fn receipt(self) -> TxReceipt {
        TxReceipt {
            tx_hash: self.transaction_hash,
            block_number: self.block_number.to(),
            block_hash: self.block_hash,
            succeeded: self.status == U64::from(1),
            gas_used: self.gas_used.to(),
            effective_gas_price: self.effective_gas_price.to(),
            logs: self.logs.into_iter().map(RawLog::record).collect(),
        }
    }
}

fn parse<T: DeserializeOwned>(method: &str, value: Value) -> Result<T, CallError> {
    serde_json::from_value(value).map_err(|error| CallError::Failed(format!("{method} answered nonsense: {error}")))
}

fn optional<T: DeserializeOwned>(method: &str, value: Value) -> Result<Option<T>, CallError> {
    if value.is_null() {
        Ok(None)
    } else {
        parse(method, value).map(Some)
    }
}

fn pinned(block: &BlockRef) -> Value {
    json!({"blockHash": block.hash, "requireCanonical": true})
}

fn hex(number: u64) -> String {
    format!("{number:#x}")
}

/// An error's text without addresses: a URL may carry an access key.
fn without_urls(text: &str) -> String {
    let words = text
        .split(' ')
        .map(|word| if word.contains("://") { "(url)" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// Locks a mutex whose data is valid whatever a panicking holder did.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

enum Raw {
    Value(Value),
    Error {
        code: i64,
        message: String,
        data: Option<Bytes>,
    },
}

impl Endpoint {
    pub fn new(
        chain: ChainId,
        config: &EndpointConfig,
        timeout: Duration,
        breaker: BreakerPolicy,
        clock: Arc<dyn Clock>,
        calls: Arc<AtomicU64>,
    ) -> Result<Self, String> {
        let url: alloy::transports::http::reqwest::Url = config
            .url
            .parse()
            .map_err(|error| format!("an endpoint's url is malformed: {error}"))?;
        let name = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            _ => return Err("an endpoint's url has no host".into()),
        };
        Ok(Self {
            name,
            chain,
            client: RpcClient::new_http(url),
            timeout,
            clock,
            breaker: Mutex::new(Breaker::new(breaker)),
            budget: config.requests_per_second.map(|rate| Mutex::new(Budget::new(rate))),
            chain_checked: AtomicBool::new(false),
            calls,
        })
    }

    /// Worth asking before others.
    pub fn is_healthy(&self) -> bool {
        locked(&self.breaker).is_healthy()
    }

    fn failure(&self, reason: String) -> CallError {
        locked(&self.breaker).failed(self.clock.now_ms());
        // A failed endpoint may come back as another one (a proxy, a restarted node): check its chain id again.
        self.chain_checked.store(false, Ordering::Relaxed);
        metrics::counter!(names::CHAIN_RPC_ERRORS_TOTAL, "chain" => self.chain.to_string(), "endpoint" => self.name.clone())
            .increment(1);
        CallError::Failed(format!("{}: {reason}", self.name))
    }

    async fn exchange(&self, method: &'static str, params: Value) -> Result<Raw, CallError> {
        if let Some(budget) = &self.budget
            && !locked(budget).take(self.clock.now_ms())
        {
            return Err(CallError::Failed(format!("{}: request budget used up", self.name)));
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
        metrics::counter!(names::CHAIN_RPC_CALLS_TOTAL, "chain" => self.chain.to_string(), "method" => method)
            .increment(1);
        let call = self.client.request::<Value, Value>(method, params);
        match tokio::time::timeout(self.timeout, call).await {
            Err(_) => Err(self.failure(format!("{method} timed out"))),
            Ok(Ok(value)) => Ok(Raw::Value(value)),
            Ok(Err(RpcError::NullResp)) => Ok(Raw::Value(Value::Null)),
            Ok(Err(RpcError::ErrorResp(payload))) => Ok(Raw::Error {
                code: payload.code,
                message: payload.message.to_string(),
                data: payload.as_revert_data(),
            }),
            Ok(Err(other)) => Err(self.failure(format!("{method}: {}", without_urls(&other.to_string())))),
        }
    }

    async fn admitted(&self) -> Result<(), CallError> {
        if !locked(&self.breaker).admit(self.clock.now_ms()) {
            return Err(CallError::Failed(format!("{}: left alone after failures", self.name)));
        }
        if self.chain_checked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let answer = match self.exchange("eth_chainId", json!([])).await? {
            Raw::Value(value) => parse::<U64>("eth_chainId", value).ok(),
            Raw::Error { .. } => None,
        };
        match answer {
            Some(id) if id.to::<u64>() == self.chain.0 => {
                self.chain_checked.store(true, Ordering::Relaxed);
                Ok(())
            }
            Some(id) => Err(self.failure(format!("serves chain {id}, not {}", self.chain))),
            None => Err(self.failure("does not tell its chain id".into())),
        }
    }

    /// One read. An error answer that is not about the question counts against the endpoint.
    async fn read(&self, method: &'static str, params: Value) -> Result<Value, CallError> {
        self.admitted().await?;
        match self.exchange(method, params).await? {
            Raw::Value(value) => {
                locked(&self.breaker).succeeded();
                Ok(value)
            }
            Raw::Error { code, message, data } => match read_answer(code, &message) {
                ReadAnswer::Reverted => {
                    locked(&self.breaker).succeeded();
                    Err(CallError::Reverted(data.unwrap_or_default().to_vec()))
                }
                ReadAnswer::UnknownBlock => {
                    locked(&self.breaker).succeeded();
                    Err(CallError::UnknownBlock)
                }
                ReadAnswer::Failure => Err(self.failure(format!("{method}: error {code}: {message}"))),
            },
        }
    }

    async fn read_some(&self, method: &'static str, params: Value) -> Result<Value, CallError> {
        let value = self.read(method, params).await?;
        if value.is_null() {
            return Err(self.failure(format!("{method} answered null")));
        }
        Ok(value)
    }

    /// Newest block (`latest`) or the newest of a finality tag.
    pub async fn tagged(&self, tag: &'static str) -> Result<Header, CallError> {
        let value = self.read_some("eth_getBlockByNumber", json!([tag, false])).await?;
        parse::<RawHeader>("eth_getBlockByNumber", value).map(RawHeader::header)
    }

    pub async fn header(&self, number: u64) -> Result<Option<Header>, CallError> {
        let value = self.read("eth_getBlockByNumber", json!([hex(number), false])).await?;
        let raw: Option<RawHeader> = optional("eth_getBlockByNumber", value)?;
        Ok(raw
            .map(RawHeader::header)
            .filter(|header| header.block.number == number))
    }

    pub async fn call(
        &self,
        block: &BlockRef,
        from: Option<Address>,
        to: Address,
        data: &Bytes,
        value: U256,
    ) -> Result<Bytes, CallError> {
        let from = from.unwrap_or_default();
        let tx = json!({"from": from, "to": to, "data": data, "value": value});
        let value = self.read_some("eth_call", json!([tx, pinned(block)])).await?;
        parse("eth_call", value)
    }

    pub async fn estimate(&self, from: Address, to: Address, data: &Bytes, value: U256) -> Result<u64, CallError> {
        let tx = json!({"from": from, "to": to, "data": data, "value": value});
        let value = self.read_some("eth_estimateGas", json!([tx, "latest"])).await?;
        parse::<U64>("eth_estimateGas", value).map(|gas| gas.to())
    }

    pub async fn logs(&self, block: &BlockRef, filter: &LogFilter) -> Result<Vec<LogRecord>, CallError> {
        let mut query = serde_json::Map::new();
        if !filter.addresses.is_empty() {
            query.insert("address".into(), json!(filter.addresses));
        }
        if !filter.topics0.is_empty() {
            query.insert("topics".into(), json!([filter.topics0]));
        }
        match filter.from_block {
            None => query.insert("blockHash".into(), json!(block.hash)),
            Some(from) => {
                query.insert("fromBlock".into(), json!(hex(from)));
                query.insert("toBlock".into(), json!(hex(block.number)))
            }
        };
        let value = self.read_some("eth_getLogs", json!([Value::Object(query)])).await?;
        let raw: Vec<RawLog> = parse("eth_getLogs", value)?;
        // A range names no block, and a node that does not have the end of it answers with what it has: so the same endpoint
        // must show the very block the range was meant to end in.
        if filter.from_block.is_some() {
            self.must_have(block).await?;
        }
        let mut logs: Vec<LogRecord> = Vec::with_capacity(raw.len());
        for log in raw {
            let outside = match filter.from_block {
                None => log.block_hash != block.hash,
                Some(from) => log.block_number.to::<u64>() < from || log.block_number.to::<u64>() > block.number,
            };
            let foreign = !filter.addresses.is_empty() && !filter.addresses.contains(&log.address);
            if log.removed || outside || foreign {
                return Err(self.failure("eth_getLogs answered logs that were not asked for".into()));
            }
            logs.push(log.record());
        }
        logs.sort_by_key(|log| (log.block_number, log.log_index));
        Ok(logs)
    }

    async fn must_have(&self, block: &BlockRef) -> Result<(), CallError> {
        match self.header(block.number).await? {
            Some(header) if header.block.hash == block.hash => Ok(()),
            _ => Err(CallError::UnknownBlock),
        }
    }

    /// The receipt, if its block is the pinned one or an ancestor of it.
    pub async fn receipt(&self, block: &BlockRef, tx: B256) -> Result<Option<TxReceipt>, CallError> {
        let value = self.read("eth_getTransactionReceipt", json!([tx])).await?;
        let raw: Option<RawReceipt> = optional("eth_getTransactionReceipt", value)?;
        let receipt = raw.map(RawReceipt::receipt).filter(|receipt| receipt.tx_hash == tx);
        // "No receipt" is only worth something from an endpoint that has the pinned block.
        if receipt.as_ref().is_none_or(|receipt| receipt.block_hash != block.hash) {
            self.must_have(block).await?;
        }
        let Some(receipt) = receipt.filter(|receipt| receipt.block_number <= block.number) else {
            return Ok(None);
        };
        if receipt.block_hash == block.hash {
            return Ok(Some(receipt));
        }
        let canonical = self.header(receipt.block_number).await?;
        Ok(canonical
            .is_some_and(|header| header.block.hash == receipt.block_hash)
            .then_some(receipt))
    }

    pub async fn transaction_count(&self, account: Address, block: &BlockRef) -> Result<u64, CallError> {
        let value = self
            .read_some("eth_getTransactionCount", json!([account, pinned(block)]))
            .await?;
        parse::<U64>("eth_getTransactionCount", value).map(|count| count.to())
    }

    /// With the transactions in this endpoint's pool.
    pub async fn pooled_count(&self, account: Address) -> Result<u64, CallError> {
        let value = self
            .read_some("eth_getTransactionCount", json!([account, "pending"]))
            .await?;
        parse::<U64>("eth_getTransactionCount", value).map(|count| count.to())
    }

    /// By height instead of by hash, for searching; what is found is then proven by the block's body.
    pub async fn transaction_count_at(&self, account: Address, number: u64) -> Result<u64, CallError> {
        let value = self
            .read_some("eth_getTransactionCount", json!([account, hex(number)]))
            .await?;
        parse::<U64>("eth_getTransactionCount", value).map(|count| count.to())
    }

    /// The transaction of this account and nonce in a block's body.
    pub async fn body_tx(&self, block: &BlockRef, account: Address, nonce: u64) -> Result<Option<B256>, CallError> {
        let value = self
            .read("eth_getBlockByNumber", json!([hex(block.number), true]))
            .await?;
        let body: Option<RawBody> = optional("eth_getBlockByNumber", value)?;
        let body = body
            .filter(|body| body.hash == block.hash)
            .ok_or(CallError::UnknownBlock)?;
        let found = body
            .transactions
            .iter()
            .find(|tx| tx.from == account && tx.nonce.to::<u64>() == nonce);
        Ok(found.map(|tx| tx.hash))
    }

    /// What a transaction was told; `None` when this endpoint does not know it.
    pub async fn input(&self, tx: B256) -> Result<Option<Bytes>, CallError> {
        let value = self.read("eth_getTransactionByHash", json!([tx])).await?;
        let raw: Option<RawInput> = optional("eth_getTransactionByHash", value)?;
        Ok(raw.filter(|raw| raw.hash == tx).map(|raw| raw.input))
    }

    pub async fn balance(&self, account: Address, block: &BlockRef) -> Result<U256, CallError> {
        let value = self
            .read_some("eth_getBalance", json!([account, pinned(block)]))
            .await?;
        parse("eth_getBalance", value)
    }

    pub async fn code(&self, account: Address) -> Result<Bytes, CallError> {
        let value = self.read_some("eth_getCode", json!([account, "latest"])).await?;
        parse("eth_getCode", value)
    }

    /// Base fee of the next block and the median of what recent blocks' median transactions tipped.
    pub async fn fees(&self) -> Result<(u128, u128), CallError> {
        let value = self.read_some("eth_feeHistory", json!(["0x5", "latest", [50]])).await?;
        let history: RawFeeHistory = parse("eth_feeHistory", value)?;
        let base = history.base_fee_per_gas.last().copied().unwrap_or_default();
        let mut tips: Vec<u128> = history
            .reward
            .iter()
            .filter_map(|row| row.first())
            .map(|tip| tip.to())
            .collect();
        tips.sort_unstable();
        let tip = tips.get(tips.len() / 2).copied().unwrap_or_default();
        if base.is_zero() {
            // A chain without a base fee: its gas price is all there is.
            let price = self.read_some("eth_gasPrice", json!([])).await?;
            return Ok((0, parse::<U128>("eth_gasPrice", price)?.to()));
        }
        Ok((base.to(), tip))
    }

    /// Hands over signed bytes. `Ok(None)` = taken.
    pub async fn send(&self, raw: &Bytes) -> Result<Option<(PoolAnswer, String)>, CallError> {
        self.admitted().await?;
        match self.exchange("eth_sendRawTransaction", json!([raw])).await? {
            Raw::Value(_) => Ok(None),
            Raw::Error { message, .. } => Ok(Some((pool_answer(&message), message))),
        }
    }
}
