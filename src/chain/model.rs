//! The simulation's chain: blocks, nonces, a pool, reorgs and broken answers in memory, with nothing else of an EVM. Contracts are a
//! function from call to logs that the test provides. Single-threaded in spirit: one lock, no time, no randomness.

use super::{Chain, Fees, Submission, TransactionSource, TxChain};
use alloy::consensus::transaction::SignerRecoverable;
use alloy::consensus::{Transaction, TxEnvelope};
use alloy::eips::eip2718::Decodable2718;
use alloy::primitives::{Address, B256, Bytes, LogData, U256, keccak256};
use async_trait::async_trait;
use relayer_adapter_api::{BlockRef, Call, ChainId, ChainView, LogFilter, LogRecord, TxReceipt, ViewError};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// What a contract of the model does with a call: see [`ModelOutcome`].
pub type Contract = dyn Fn(&ModelCall) -> ModelOutcome + Send + Sync;

/// Returned bytes and emitted logs, or revert data.
pub type ModelOutcome = Result<(Bytes, Vec<(Address, LogData)>), Vec<u8>>;

/// A call as a contract of the model sees it.
#[derive(Debug, Clone)]
pub struct ModelCall {
    pub from: Address,
    pub to: Address,
    pub data: Bytes,
    pub value: U256,
    pub block: BlockRef,
}

#[derive(Debug, Clone)]
struct Mined {
    from: Address,
    nonce: u64,
    input: Bytes,
    receipt: TxReceipt,
}

#[derive(Debug, Clone)]
struct Block {
    block: BlockRef,
    parent: B256,
    txs: Vec<Mined>,
}

#[derive(Debug)]
struct State {
    blocks: Vec<Block>,
    /// By account and nonce, the newest bytes.
    pool: BTreeMap<(Address, u64), TxEnvelope>,
    fees: Fees,
    finality: u64,
    /// Makes hashes of sibling blocks differ.
    forks: u64,
    seconds_per_block: u64,
    balances: BTreeMap<Address, U256>,
    /// Answers to the next submissions, before the model's own.
    submissions: VecDeque<Result<Submission, ViewError>>,
    /// While set, every read fails.
    dark: bool,
    /// While set, receipts are not found: an index that lags.
    receipts_hidden: bool,
}

/// See the module.
#[derive(Clone)]
pub struct ModelChain {
    id: ChainId,
    contract: Arc<Contract>,
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for ModelChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelChain")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

fn no_contract(_: &ModelCall) -> ModelOutcome {
    Ok((Bytes::new(), Vec::new()))
}

impl ModelChain {
    /// A chain with a genesis block at `timestamp` whose contracts do nothing; blocks are final `finality` below the head.
    pub fn new(id: ChainId, finality: u64, timestamp: u64) -> Self {
        Self::with_contract(id, finality, timestamp, Arc::new(no_contract))
    }

    pub fn with_contract(id: ChainId, finality: u64, timestamp: u64, contract: Arc<Contract>) -> Self {
        let genesis = Block {
            block: BlockRef {
                number: 0,
                hash: keccak256(id.0.to_be_bytes()),
                timestamp,
            },
            parent: B256::ZERO,
            txs: Vec::new(),
        };
        let state = State {
            blocks: vec![genesis],
            pool: BTreeMap::new(),
            fees: Fees {
                base_fee: 1_000_000_000,
                priority_fee: 1_000_000_000,
            },
            finality,
            forks: 0,
            seconds_per_block: 1,
            balances: BTreeMap::new(),
            submissions: VecDeque::new(),
            dark: false,
            receipts_hidden: false,
        };
        Self {
            id,
            contract,
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Mines `n` blocks, each with everything in the pool whose nonce is next and whose price suffices.
    pub fn mine(&self, n: u64) {
        for _ in 0..n {
            self.mine_one();
        }
    }

    fn mine_one(&self) {
        let mut state = self.state();
        let Some(parent) = state.blocks.last().map(|block| block.block) else {
            return;
        };
        let number = parent.number + 1;
        let seed = [
            parent.hash.as_slice(),
            &number.to_be_bytes(),
            &state.forks.to_be_bytes(),
        ]
        .concat();
        let block = BlockRef {
            number,
            hash: keccak256(seed),
            timestamp: parent.timestamp + state.seconds_per_block,
        };
        let mut txs: Vec<Mined> = Vec::new();
        let mut log_index = 0;
        let pool = std::mem::take(&mut state.pool);
        for ((from, nonce), tx) in pool {
            let before = txs.iter().filter(|mined| mined.from == from).count() as u64;
            let next = state.count(from, parent.number) + before;
            if nonce > next || (nonce == next && tx.max_fee_per_gas() < state.fees.base_fee) {
                state.pool.insert((from, nonce), tx);
                continue;
            }
            if nonce == next {
                txs.push(self.execute(from, &tx, block, &mut log_index, state.fees.base_fee));
            }
        }
        state.blocks.push(Block {
            block,
            parent: parent.hash,
            txs,
        });
    }

    fn execute(&self, from: Address, tx: &TxEnvelope, block: BlockRef, log_index: &mut u64, base_fee: u128) -> Mined {
        let call = ModelCall {
            from,
            to: tx.to().unwrap_or_default(),
            data: tx.input().clone(),
            value: tx.value(),
            block,
        };
        let outcome = (self.contract)(&call);
        let mut logs = Vec::new();
        for (address, log) in outcome.iter().flat_map(|(_, logs)| logs.iter()) {
            logs.push(LogRecord {
                address: *address,
                topics: log.topics().to_vec(),
                data: log.data.clone(),
                block_number: block.number,
                block_hash: block.hash,
                tx_hash: *tx.tx_hash(),
                log_index: *log_index,
            });
            *log_index += 1;
        }
        Mined {
            from,
            nonce: tx.nonce(),
            input: tx.input().clone(),
            receipt: TxReceipt {
                tx_hash: *tx.tx_hash(),
                block_number: block.number,
                block_hash: block.hash,
                succeeded: outcome.is_ok(),
                gas_used: tx.gas_limit() / 2,
                effective_gas_price: tx.max_fee_per_gas().min(base_fee.saturating_add(1)),
                logs,
            },
        }
    }

    /// Replaces the newest `depth` blocks by as many empty ones. Their transactions are forgotten.
    pub fn reorg(&self, depth: u64) {
        {
            let mut state = self.state();
            let keep = state
                .blocks
                .len()
                .saturating_sub(usize::try_from(depth).unwrap_or(usize::MAX))
                .max(1);
            state.blocks.truncate(keep);
            state.forks += 1;
        }
        let pool = std::mem::take(&mut self.state().pool);
        self.mine(depth);
        self.state().pool = pool;
    }

    pub fn set_fees(&self, fees: Fees) {
        self.state().fees = fees;
    }

    pub fn set_balance(&self, account: Address, balance: U256) {
        self.state().balances.insert(account, balance);
    }

    pub fn set_seconds_per_block(&self, seconds: u64) {
        self.state().seconds_per_block = seconds;
    }

    /// While dark, every call fails.
    pub fn set_dark(&self, dark: bool) {
        self.state().dark = dark;
    }

    pub fn hide_receipts(&self, hidden: bool) {
        self.state().receipts_hidden = hidden;
    }

    /// What the next submission is answered instead of being taken.
    pub fn answer_next_submission(&self, answer: Result<Submission, ViewError>) {
        self.state().submissions.push_back(answer);
    }

    /// Transactions waiting in the pool.
    pub fn pooled(&self) -> usize {
        self.state().pool.len()
    }

    fn lit(&self) -> Result<std::sync::MutexGuard<'_, State>, ViewError> {
        let state = self.state();
        if state.dark {
            return Err(ViewError::Unavailable {
                chain: self.id.0,
                reason: "dark".into(),
            });
        }
        Ok(state)
    }

    fn pinned(&self, block: &BlockRef) -> Result<std::sync::MutexGuard<'_, State>, ViewError> {
        let state = self.lit()?;
        if state
            .at(block.number)
            .is_none_or(|known| known.block.hash != block.hash)
        {
            return Err(ViewError::UnknownBlock {
                chain: self.id.0,
                block: block.number.to_string(),
            });
        }
        Ok(state)
    }
}

impl State {
    fn at(&self, number: u64) -> Option<&Block> {
        self.blocks.get(usize::try_from(number).ok()?)
    }

    fn mined_up_to(&self, number: u64) -> impl Iterator<Item = &Mined> {
        self.blocks
            .iter()
            .take_while(move |block| block.block.number <= number)
            .flat_map(|block| block.txs.iter())
    }

    fn count(&self, account: Address, number: u64) -> u64 {
        self.mined_up_to(number).filter(|mined| mined.from == account).count() as u64
    }

    fn head(&self) -> BlockRef {
        // `blocks` starts with the genesis block and is never emptied.
        self.blocks.last().map_or(
            BlockRef {
                number: 0,
                hash: B256::ZERO,
                timestamp: 0,
            },
            |block| block.block,
        )
    }
}

#[async_trait]
impl Chain for ModelChain {
    fn id(&self) -> ChainId {
        self.id
    }

    async fn head(&self) -> Result<BlockRef, ViewError> {
        Ok(self.lit()?.head())
    }

    async fn finalized(&self) -> Result<BlockRef, ViewError> {
        let state = self.lit()?;
        let head = state.head();
        let number = head.number.saturating_sub(state.finality);
        Ok(state.at(number).map_or(head, |block| block.block))
    }

    fn view(&self, block: BlockRef) -> Arc<dyn ChainView> {
        Arc::new(ModelView {
            chain: self.clone(),
            block,
        })
    }

    async fn block_at(&self, number: u64) -> Result<Option<(BlockRef, B256)>, ViewError> {
        Ok(self.lit()?.at(number).map(|block| (block.block, block.parent)))
    }

    async fn estimate_gas(&self, from: Address, call: &Call) -> Result<u64, ViewError> {
        let block = self.lit()?.head();
        let call = ModelCall {
            from,
            to: call.to,
            data: call.data.clone(),
            value: call.value,
            block,
        };
        (self.contract)(&call)
            .map(|_| 21_000 + 16 * call.data.len() as u64)
            .map_err(|data| ViewError::Reverted { data })
    }

    async fn fees(&self) -> Result<Fees, ViewError> {
        Ok(self.lit()?.fees)
    }

    async fn broadcast(&self, raw: &Bytes) -> Result<B256, ViewError> {
        match self.submit(raw).await? {
            Submission::Accepted => Ok(keccak256(raw)),
            other => Err(ViewError::Unavailable {
                chain: self.id.0,
                reason: format!("{other:?}"),
            }),
        }
    }

    async fn transaction_count(&self, account: Address, block: BlockRef) -> Result<u64, ViewError> {
        Ok(self.pinned(&block)?.count(account, block.number))
    }

    async fn balance(&self, account: Address, block: BlockRef) -> Result<U256, ViewError> {
        let state = self.pinned(&block)?;
        Ok(state.balances.get(&account).copied().unwrap_or(U256::MAX >> 1usize))
    }

    async fn code(&self, _: Address) -> Result<Bytes, ViewError> {
        self.lit().map(|_| Bytes::from_static(&[0]))
    }
}

#[async_trait]
impl TxChain for ModelChain {
    async fn submit(&self, raw: &Bytes) -> Result<Submission, ViewError> {
        let mut state = self.lit()?;
        if let Some(answer) = state.submissions.pop_front() {
            return answer;
        }
        let refused = |reason: String| Ok(Submission::Refused(reason));
        let tx = match TxEnvelope::decode_2718(&mut raw.as_ref()) {
            Ok(tx) => tx,
            Err(error) => return refused(error.to_string()),
        };
        let from = match tx.recover_signer() {
            Ok(from) => from,
            Err(error) => return refused(error.to_string()),
        };
        if tx.nonce() < state.count(from, u64::MAX) {
            return Ok(Submission::NonceTooLow);
        }
        let key = (from, tx.nonce());
        if let Some(known) = state.pool.get(&key) {
            if known.tx_hash() == tx.tx_hash() {
                return Ok(Submission::Accepted);
            }
            if tx.max_fee_per_gas() * 10 < known.max_fee_per_gas() * 11 {
                return Ok(Submission::Underpriced);
            }
        }
        state.pool.insert(key, tx);
        Ok(Submission::Accepted)
    }

    async fn pooled_count(&self, account: Address) -> Result<u64, ViewError> {
        let state = self.lit()?;
        let mut count = state.count(account, u64::MAX);
        while state.pool.contains_key(&(account, count)) {
            count += 1;
        }
        Ok(count)
    }

    async fn find_by_nonce(
        &self,
        account: Address,
        nonce: u64,
        block: BlockRef,
    ) -> Result<Option<(B256, BlockRef)>, ViewError> {
        let state = self.pinned(&block)?;
        let found = state
            .mined_up_to(block.number)
            .find(|mined| mined.from == account && mined.nonce == nonce);
        Ok(found.and_then(|mined| {
            let block = state.at(mined.receipt.block_number)?.block;
            Some((mined.receipt.tx_hash, block))
        }))
    }
}

#[async_trait]
impl TransactionSource for ModelChain {
    async fn transaction_inputs(&self, tx: B256) -> Result<Vec<Bytes>, ViewError> {
        let state = self.lit()?;
        let found = state.mined_up_to(u64::MAX).find(|mined| mined.receipt.tx_hash == tx);
        Ok(found.map(|mined| mined.input.clone()).into_iter().collect())
    }
}

struct ModelView {
    chain: ModelChain,
    block: BlockRef,
}

#[async_trait]
impl ChainView for ModelView {
    fn chain(&self) -> ChainId {
        self.chain.id
    }

    fn block(&self) -> BlockRef {
        self.block
    }

    async fn call(&self, from: Option<Address>, to: Address, data: Bytes, value: U256) -> Result<Bytes, ViewError> {
        drop(self.chain.pinned(&self.block)?);
        let call = ModelCall {
            from: from.unwrap_or_default(),
            to,
            data,
            value,
            block: self.block,
        };
        (self.chain.contract)(&call)
            .map(|(answer, _)| answer)
            .map_err(|data| ViewError::Reverted { data })
    }

    async fn logs(&self, filter: &LogFilter) -> Result<Vec<LogRecord>, ViewError> {
        let state = self.chain.pinned(&self.block)?;
        let from = filter.from_block.unwrap_or(self.block.number);
        let wanted = |log: &&LogRecord| {
            log.block_number >= from
                && (filter.addresses.is_empty() || filter.addresses.contains(&log.address))
                && (filter.topics0.is_empty() || log.topics.first().is_some_and(|topic| filter.topics0.contains(topic)))
        };
        let logs = state
            .mined_up_to(self.block.number)
            .flat_map(|mined| mined.receipt.logs.iter());
        Ok(logs.filter(wanted).cloned().collect())
    }

    async fn receipt(&self, tx: B256) -> Result<Option<TxReceipt>, ViewError> {
        let state = self.chain.pinned(&self.block)?;
        if state.receipts_hidden {
            return Ok(None);
        }
        let found = state
            .mined_up_to(self.block.number)
            .find(|mined| mined.receipt.tx_hash == tx);
        Ok(found.map(|mined| mined.receipt.clone()))
    }
}
