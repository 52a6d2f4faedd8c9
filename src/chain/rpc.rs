//! The product's [`Chain`]: n endpoints, quorum q.

use super::breaker::BreakerPolicy;
use super::endpoint::{Endpoint, EndpointConfig, Header};
use super::node_text::PoolAnswer;
use super::pool::{Pool, quorum_height};
use super::view::PinnedView;
use super::{Chain, ChainError, Fees, Submission, TransactionSource, TxChain};
use crate::clock::Clock;
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use async_trait::async_trait;
use relayer_adapter_api::{BlockRef, Call, ChainId, ChainView, ViewError};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Tags a node may know final blocks by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinalityTag {
    Safe,
    Finalized,
}

/// When a block counts as final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finality {
    Tag(FinalityTag),
    /// So many blocks below the head.
    Depth(u64),
}

/// Policy for one chain.
#[derive(Debug, Clone)]
pub struct RpcConfig {
    pub chain: ChainId,
    pub endpoints: Vec<EndpointConfig>,
    /// Equal answers that make a verdict; 1 ..= number of endpoints.
    pub quorum: usize,
    pub timeout: Duration,
    pub finality: Finality,
    pub breaker: BreakerPolicy,
    /// How old an answer about the head or the fees may be before it is asked for again.
    pub head_age_ms_max: i64,
    /// Blocks in one `eth_getLogs`.
    pub log_range_max: u64,
    /// Refuse to hand out signed bytes, whoever asks: the last door of a dry run.
    pub read_only: bool,
}

impl RpcConfig {
    /// Defaults: quorum 2 (1 of 1), 10 s time-out, breaker after 5 failures for 15 s, heads for 500 ms, 2,000 blocks of logs.
    pub fn new(chain: ChainId, urls: &[String], finality: Finality) -> Self {
        Self {
            chain,
            endpoints: urls
                .iter()
                .map(|url| EndpointConfig {
                    url: url.clone(),
                    requests_per_second: None,
                })
                .collect(),
            quorum: if urls.len() > 1 { 2 } else { 1 },
            timeout: Duration::from_secs(10),
            finality,
            breaker: BreakerPolicy {
                failures_max: 5,
                cooldown_ms: 15_000,
            },
            head_age_ms_max: 500,
            log_range_max: 2_000,
            read_only: false,
        }
    }
}

/// Heads this many reads in a row below the highest seen are believed: the chain did shrink.
const REGRESSIONS_MAX: u32 = 3;

#[derive(Debug, Default)]
struct Cache {
    head: Option<(Header, i64)>,
    /// Highest head ever handed out.
    highest: u64,
    regressions: u32,
    /// Final block found for the head of this hash.
    finalized: Option<(B256, BlockRef)>,
    fees: Option<(Fees, i64)>,
}

/// A chain behind n JSON-RPC endpoints.
#[derive(Debug)]
pub struct RpcChain {
    pool: Pool,
    finality: Finality,
    head_age_ms_max: i64,
    log_range_max: u64,
    read_only: bool,
    clock: Arc<dyn Clock>,
    calls: Arc<AtomicU64>,
    cache: Mutex<Cache>,
}

impl RpcChain {
    pub fn new(config: &RpcConfig, clock: Arc<dyn Clock>) -> Result<Self, ChainError> {
        let chain = config.chain;
        let refuse = |reason: String| ChainError::Config { chain, reason };
        if config.quorum == 0 || config.quorum > config.endpoints.len() {
            let (quorum, endpoints) = (config.quorum, config.endpoints.len());
            return Err(refuse(format!(
                "a quorum of {quorum} of {endpoints} endpoints is not possible"
            )));
        }
        if config.quorum == 1 {
            tracing::warn!(chain = chain.0, "one endpoint alone decides what is true on this chain");
        }
        let calls = Arc::new(AtomicU64::new(0));
        let mut endpoints = Vec::with_capacity(config.endpoints.len());
        for endpoint in &config.endpoints {
            let made = Endpoint::new(
                chain,
                endpoint,
                config.timeout,
                config.breaker,
                clock.clone(),
                calls.clone(),
            );
            endpoints.push(Arc::new(made.map_err(refuse)?));
        }
        Ok(Self {
            pool: Pool {
                chain,
                endpoints,
                quorum: config.quorum,
            },
            finality: config.finality,
            head_age_ms_max: config.head_age_ms_max,
            log_range_max: config.log_range_max,
            read_only: config.read_only,
            clock,
            calls,
            cache: Mutex::new(Cache::default()),
        })
    }

    /// JSON-RPC calls made so far, to all endpoints.
    pub fn calls_total(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh_head(&self) -> Option<Header> {
        let now = self.clock.now_ms();
        let cache = self.cache();
        cache
            .head
            .filter(|(_, at)| now.saturating_sub(*at) < self.head_age_ms_max)
            .map(|(header, _)| header)
    }

    async fn header_at(&self, number: u64) -> Result<Option<Header>, ViewError> {
        self.pool
            .agree("reading a block", None, |endpoint| {
                Box::pin(async move { endpoint.header(number).await })
            })
            .await
    }

    /// The newest block of a tag that q endpoints have; its hash agreed by q.
    async fn tagged(&self, tag: &'static str) -> Result<Header, ViewError> {
        let headers = self
            .pool
            .all_or_error("reading the head", |endpoint| {
                Box::pin(async move { endpoint.tagged(tag).await })
            })
            .await?;
        let unavailable = |reason: String| ViewError::Unavailable {
            chain: self.pool.chain.0,
            reason,
        };
        let quorum = self.pool.quorum;
        let heights = headers.iter().map(|header| header.block.number).collect();
        let height = quorum_height(heights, quorum).ok_or_else(|| {
            unavailable(format!(
                "{} of {} endpoints told their head, {quorum} must",
                headers.len(),
                self.pool.endpoints.len()
            ))
        })?;
        let agreed = headers
            .iter()
            .filter(|header| header.block.number == height)
            .find(|header| headers.iter().filter(|other| other == header).count() >= quorum);
        if let Some(header) = agreed {
            return Ok(*header);
        }
        let header = self.header_at(height).await?;
        header.ok_or_else(|| unavailable(format!("block {height} is not there yet")))
    }

    /// Refuses a head below one handed out before, unless it insists.
    fn admit_head(&self, header: Header) -> Result<Header, ViewError> {
        let now = self.clock.now_ms();
        let mut cache = self.cache();
        if header.block.number < cache.highest {
            cache.regressions += 1;
            if cache.regressions < REGRESSIONS_MAX {
                return Err(ViewError::Unavailable {
                    chain: self.pool.chain.0,
                    reason: format!("the head went back from {} to {}", cache.highest, header.block.number),
                });
            }
        }
        cache.regressions = 0;
        cache.highest = header.block.number;
        cache.head = Some((header, now));
        Ok(header)
    }

    async fn head_header(&self) -> Result<Header, ViewError> {
        if let Some(header) = self.fresh_head() {
            return Ok(header);
        }
        let header = self.tagged("latest").await?;
        self.admit_head(header)
    }

    /// First block in which the account's count is above `nonce`, searched backwards in growing steps, then by halves.
    async fn block_of_nonce(&self, account: Address, nonce: u64, last: u64) -> Result<u64, ViewError> {
        let used_at = |number: u64| async move {
            let count = self
                .pool
                .agree("reading a past transaction count", None, |endpoint| {
                    Box::pin(async move { endpoint.transaction_count_at(account, number).await })
                })
                .await?;
            Ok::<bool, ViewError>(count > nonce)
        };
        // Invariant: used at `high`; unused at `low`, or `low` is 0.
        let (mut high, mut step) = (last, 1u64);
        let mut low = loop {
            let probe = high.saturating_sub(step);
            if probe == 0 || !used_at(probe).await? {
                break probe;
            }
            high = probe;
            step = step.saturating_mul(2);
        };
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if used_at(middle).await? {
                high = middle;
            } else {
                low = middle;
            }
        }
        Ok(high)
    }
}

#[async_trait]
impl Chain for RpcChain {
    fn id(&self) -> ChainId {
        self.pool.chain
    }

    async fn head(&self) -> Result<BlockRef, ViewError> {
        Ok(self.head_header().await?.block)
    }

    async fn finalized(&self) -> Result<BlockRef, ViewError> {
        let head = self.head_header().await?.block;
        if let Some((for_head, block)) = self.cache().finalized
            && for_head == head.hash
        {
            return Ok(block);
        }
        let block = match self.finality {
            Finality::Tag(FinalityTag::Finalized) => self.tagged("finalized").await?.block,
            Finality::Tag(FinalityTag::Safe) => self.tagged("safe").await?.block,
            Finality::Depth(0) => head,
            Finality::Depth(depth) => {
                let number = head.number.saturating_sub(depth);
                let header = self.header_at(number).await?;
                let header = header.ok_or_else(|| ViewError::UnknownBlock {
                    chain: self.pool.chain.0,
                    block: number.to_string(),
                })?;
                header.block
            }
        };
        self.cache().finalized = Some((head.hash, block));
        Ok(block)
    }

    fn view(&self, block: BlockRef) -> Arc<dyn ChainView> {
        Arc::new(PinnedView::new(self.pool.clone(), block, self.log_range_max))
    }

    async fn block_at(&self, number: u64) -> Result<Option<(BlockRef, B256)>, ViewError> {
        if let Some(head) = self.fresh_head()
            && head.block.number == number
        {
            return Ok(Some((head.block, head.parent_hash)));
        }
        Ok(self
            .header_at(number)
            .await?
            .map(|header| (header.block, header.parent_hash)))
    }

    async fn estimate_gas(&self, from: Address, call: &Call) -> Result<u64, ViewError> {
        self.pool
            .any("estimating gas", |endpoint| {
                let (to, data, value) = (call.to, call.data.clone(), call.value);
                Box::pin(async move { endpoint.estimate(from, to, &data, value).await })
            })
            .await
    }

    async fn fees(&self) -> Result<Fees, ViewError> {
        let now = self.clock.now_ms();
        let cached = self.cache().fees;
        if let Some((fees, at)) = cached
            && now.saturating_sub(at) < self.head_age_ms_max
        {
            return Ok(fees);
        }
        let (base_fee, priority_fee) = self
            .pool
            .any("reading fees", |endpoint| {
                Box::pin(async move { endpoint.fees().await })
            })
            .await?;
        let fees = Fees { base_fee, priority_fee };
        self.cache().fees = Some((fees, now));
        Ok(fees)
    }

    async fn broadcast(&self, raw: &Bytes) -> Result<B256, ViewError> {
        match self.submit(raw).await? {
            Submission::Accepted => Ok(keccak256(raw)),
            other => Err(ViewError::Unavailable {
                chain: self.pool.chain.0,
                reason: format!("the transaction was not taken: {other:?}"),
            }),
        }
    }

    async fn transaction_count(&self, account: Address, block: BlockRef) -> Result<u64, ViewError> {
        self.pool
            .agree("reading a transaction count", Some(&block), |endpoint| {
                Box::pin(async move { endpoint.transaction_count(account, &block).await })
            })
            .await
    }

    async fn balance(&self, account: Address, block: BlockRef) -> Result<U256, ViewError> {
        self.pool
            .agree("reading a balance", Some(&block), |endpoint| {
                Box::pin(async move { endpoint.balance(account, &block).await })
            })
            .await
    }

    async fn code(&self, account: Address) -> Result<Bytes, ViewError> {
        self.pool
            .any("reading code", |endpoint| {
                Box::pin(async move { endpoint.code(account).await })
            })
            .await
    }
}

#[async_trait]
impl TransactionSource for RpcChain {
    async fn transaction_inputs(&self, tx: B256) -> Result<Vec<Bytes>, ViewError> {
        let answers = self
            .pool
            .all_or_error("reading a transaction's input", |endpoint| {
                Box::pin(async move { endpoint.input(tx).await })
            })
            .await?;
        let mut inputs: Vec<Bytes> = Vec::new();
        for input in answers.into_iter().flatten() {
            if !inputs.contains(&input) {
                inputs.push(input);
            }
        }
        Ok(inputs)
    }
}

/// What the endpoints together made of a transaction. One that has it is enough; "nonce too low" tells most, "refused" least.
fn merge(answers: &[Option<(PoolAnswer, String)>]) -> Submission {
    let has = |wanted: PoolAnswer| answers.iter().flatten().any(|(answer, _)| *answer == wanted);
    if answers.iter().any(Option::is_none) || has(PoolAnswer::AlreadyKnown) {
        Submission::Accepted
    } else if has(PoolAnswer::NonceTooLow) {
        Submission::NonceTooLow
    } else if has(PoolAnswer::Underpriced) {
        Submission::Underpriced
    } else if has(PoolAnswer::FundsShort) {
        Submission::FundsShort
    } else {
        let texts: Vec<&str> = answers.iter().flatten().map(|(_, text)| text.as_str()).collect();
        Submission::Refused(texts.join("; "))
    }
}

#[async_trait]
impl TxChain for RpcChain {
    async fn submit(&self, raw: &Bytes) -> Result<Submission, ViewError> {
        if self.read_only {
            return Err(ViewError::Unavailable {
                chain: self.pool.chain.0,
                reason: "dry run: no transaction leaves this process".into(),
            });
        }
        let answers = self
            .pool
            .all_or_error("broadcasting", |endpoint| {
                let raw = raw.clone();
                Box::pin(async move { endpoint.send(&raw).await })
            })
            .await?;
        Ok(merge(&answers))
    }

    async fn pooled_count(&self, account: Address) -> Result<u64, ViewError> {
        let counts = self
            .pool
            .all_or_error("reading the pool", |endpoint| {
                Box::pin(async move { endpoint.pooled_count(account).await })
            })
            .await?;
        Ok(counts.into_iter().max().unwrap_or_default())
    }

    async fn find_by_nonce(
        &self,
        account: Address,
        nonce: u64,
        block: BlockRef,
    ) -> Result<Option<(B256, BlockRef)>, ViewError> {
        if self.transaction_count(account, block).await? <= nonce {
            return Ok(None);
        }
        let number = self.block_of_nonce(account, nonce, block.number).await?;
        let unknown = || ViewError::UnknownBlock {
            chain: self.pool.chain.0,
            block: number.to_string(),
        };
        let found = self.header_at(number).await?.ok_or_else(unknown)?.block;
        let hash = self
            .pool
            .agree("reading a block's transactions", Some(&found), |endpoint| {
                Box::pin(async move { endpoint.body_tx(&found, account, nonce).await })
            })
            .await?;
        // The pinned block must still be canonical, or what was found is not among its ancestors.
        let pinned = self.header_at(block.number).await?;
        if pinned.is_none_or(|header| header.block.hash != block.hash) {
            return Err(unknown());
        }
        hash.map(|hash| Some((hash, found))).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[tokio::test]
    async fn a_read_only_chain_does_not_even_connect_to_send() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let config = RpcConfig {
            read_only: true,
            ..RpcConfig::new(ChainId(1), &[url], Finality::Depth(0))
        };
        let chain = RpcChain::new(&config, Arc::new(crate::clock::SystemClock)).unwrap();
        let raw = Bytes::from_static(&[2, 0xc0]);
        let refused = chain.submit(&raw).await.unwrap_err().to_string();
        assert!(refused.contains("dry run"), "{refused}");
        assert!(chain.broadcast(&raw).await.is_err());
        let connected = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
        assert!(connected.is_err(), "somebody connected");
    }

    #[test]
    fn one_endpoint_that_has_the_transaction_is_enough() {
        let refused = |answer, text: &str| Some((answer, text.to_owned()));
        for (answers, expected) in [
            (vec![None], Submission::Accepted),
            (vec![refused(PoolAnswer::FundsShort, ""), None], Submission::Accepted),
            (
                vec![
                    refused(PoolAnswer::AlreadyKnown, ""),
                    refused(PoolAnswer::NonceTooLow, ""),
                ],
                Submission::Accepted,
            ),
            (
                vec![
                    refused(PoolAnswer::NonceTooLow, ""),
                    refused(PoolAnswer::Underpriced, ""),
                ],
                Submission::NonceTooLow,
            ),
            (vec![refused(PoolAnswer::Underpriced, "")], Submission::Underpriced),
            (
                vec![refused(PoolAnswer::Refused, "a"), refused(PoolAnswer::Refused, "b")],
                Submission::Refused("a; b".into()),
            ),
        ] {
            assert_eq!(merge(&answers), expected, "{answers:?}");
        }
    }
}
