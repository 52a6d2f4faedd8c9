//! A target chain in a few lines: the rules of inbox and vault that the books depend on, and the logs they emit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::chain::{Chain, Fees, TransactionSource};
use crate::settlement::terms::Terms;
use crate::settlement::{ChainId, MessageId, SettlementId};
use crate::store::testing::{FEE_RECIPIENT, INBOX, OUTBOX, TARGET, TOKEN};
use crate::store::{Cursor, NewChainLog, Store};
use alloy::primitives::{Address, B256, Bytes, LogData, U256, keccak256};
use alloy::sol_types::{SolCall, SolEvent, SolValue};
use async_trait::async_trait;
use relayer_adapter_api::abi::{ISettlementInbox, ISettlementOutbox, ISettlementVault};
use relayer_adapter_api::{BlockRef, Call, ChainView, LogFilter, LogRecord, TxReceipt, ViewError};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

pub const VAULT: Address = Address::repeat_byte(0x5a);

/// State after one block.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub balances: BTreeMap<Address, u128>,
    pub bitmap: BTreeMap<(Address, U256), U256>,
    pub deposited: u128,
    pub withdrawn: u128,
    pub debited: u128,
    pub credited: u128,
    pub claimed: u128,
    pub paid: u128,
    pub claims: BTreeMap<Address, u128>,
    /// Votes recorded by the inbox.
    pub received: u128,
    /// What the outbox sent, and over which ports.
    pub dispatched: BTreeSet<(B256, Address)>,
}

#[derive(Debug, Clone)]
struct Block {
    at: BlockRef,
    parent: B256,
    state: State,
    logs: Vec<Emitted>,
}

/// What is wrong with who reads the model.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// The observer's endpoint answers ranges of logs with nothing.
    pub observer_blind: bool,
    /// The comparison's endpoint does.
    pub auditor_blind: bool,
    /// The comparison's endpoint has no old state.
    pub no_state: bool,
    /// Nobody answers.
    pub dark: bool,
}

/// Every block has one transaction.
#[derive(Debug, Clone)]
pub struct Model {
    blocks: Arc<Mutex<Vec<Block>>>,
    store: Store,
    chain: ChainId,
    pub faults: Arc<Mutex<Faults>>,
    /// Inputs of transactions.
    pub inputs: Arc<Mutex<BTreeMap<B256, Bytes>>>,
}

fn word(address: Address) -> B256 {
    address.into_word()
}

impl Model {
    pub fn new(store: &Store) -> Self {
        Self::of(TARGET, store)
    }

    pub fn of(chain: ChainId, store: &Store) -> Self {
        let at = BlockRef {
            number: 0,
            hash: B256::repeat_byte(0xb0),
            timestamp: 1_000,
        };
        Self {
            blocks: Arc::new(Mutex::new(vec![Block {
                at,
                parent: B256::ZERO,
                state: State::default(),
                logs: Vec::new(),
            }])),
            store: store.clone(),
            chain,
            faults: Arc::default(),
            inputs: Arc::default(),
        }
    }

    pub fn head(&self) -> BlockRef {
        self.blocks.lock().unwrap().last().unwrap().at
    }

    pub fn state(&self) -> State {
        self.blocks.lock().unwrap().last().unwrap().state.clone()
    }

    /// A block at `timestamp` with these logs, seen but not final.
    pub async fn mine(&self, timestamp: u64, state: State, logs: Vec<Emitted>) -> BlockRef {
        let parent = self.head();
        let number = parent.number + 1;
        let hash = keccak256([parent.hash.as_slice(), format!("{logs:?}").as_bytes()].concat());
        let at = BlockRef {
            number,
            hash,
            timestamp: timestamp.max(parent.timestamp),
        };
        self.blocks.lock().unwrap().push(Block {
            at,
            parent: parent.hash,
            state,
            logs: logs.clone(),
        });
        if self.faults.lock().unwrap().observer_blind {
            return at;
        }
        let rows: Vec<NewChainLog> = (0..)
            .zip(logs)
            .map(|(log_index, log)| NewChainLog {
                chain: self.chain,
                block_number: number,
                block_hash: hash,
                block_timestamp: at.timestamp,
                log_index,
                tx_hash: keccak256(hash),
                address: log.address,
                kind: log.kind.into(),
                key: log.key,
                key2: log.key2,
                amount: log.amount,
                detail: log.detail,
            })
            .collect();
        let mut txn = self.store.begin(1).await.unwrap();
        txn.put_logs(&rows).await.unwrap();
        txn.commit().await.unwrap();
        at
    }

    /// Everything mined so far is final, and the cursor knows.
    pub async fn finalize(&self) {
        let head = self.head();
        let old = self.store.get_cursor(self.chain).await.unwrap();
        let cursor = Cursor {
            seen: head,
            finalized: head,
        };
        let mut txn = self.store.begin(1).await.unwrap();
        txn.finalize_logs(self.chain, None, head.number).await.unwrap();
        txn.move_cursor(self.chain, old.as_ref(), &cursor).await.unwrap();
        txn.commit().await.unwrap();
    }

    /// Time passes.
    pub async fn wait_until(&self, timestamp: u64) {
        self.mine(timestamp, self.state(), Vec::new()).await;
    }

    /// The newest block goes away, with its logs.
    pub async fn drop_head(&self) {
        let number = {
            let mut blocks = self.blocks.lock().unwrap();
            blocks.pop();
            blocks.last().unwrap().at.number
        };
        let mut txn = self.store.begin(1).await.unwrap();
        txn.orphan_logs_above(self.chain, number).await.unwrap();
        txn.commit().await.unwrap();
    }

    pub async fn deposit(&self, payer: Address, amount: u128) {
        let mut state = self.state();
        *state.balances.entry(payer).or_default() += amount;
        state.deposited += amount;
        let log = vault_log("deposited", word(payer), word(TOKEN), amount);
        self.mine(0, state, vec![log]).await;
    }

    pub async fn withdraw(&self, payer: Address, amount: u128) {
        let mut state = self.state();
        let balance = state.balances.entry(payer).or_default();
        let amount = amount.min(*balance);
        *balance -= amount;
        state.withdrawn += amount;
        let log = vault_log("withdrawn", word(payer), word(TOKEN), amount);
        self.mine(0, state, vec![log]).await;
    }

    pub async fn burn(&self, payer: Address, nonce: U256) -> bool {
        let mut state = self.state();
        if !use_nonce(&mut state, payer, nonce) {
            return false;
        }
        let log = vault_log("nonce_burned", word(payer), nonce.into(), 0);
        self.mine(0, state, vec![log]).await;
        true
    }

    pub async fn claim(&self, account: Address) {
        let mut state = self.state();
        let amount = state.claims.remove(&account).unwrap_or_default();
        state.claimed += amount;
        let log = vault_log("claimed", word(account), word(TOKEN), amount);
        self.mine(0, state, vec![log]).await;
    }

    /// One execution: what the inbox would pay of these, in runs of equal payer and payee. Returns the ids paid.
    pub async fn execute(
        &self,
        message: MessageId,
        items: &[(SettlementId, Terms)],
        credited: bool,
        fees_credited: bool,
    ) -> Vec<SettlementId> {
        let mut state = self.state();
        let now = self.head().timestamp;
        let mut credits = Vec::new();
        let mut logs = Vec::new();
        let mut paid = Vec::new();
        let mut runs: Vec<(Address, Vec<Value>)> = Vec::new();
        for run in items.chunk_by(|(_, a), (_, b)| (a.payer, a.payee) == (b.payer, b.payee)) {
            let (mut amount, mut fee, mut count) = (0u128, 0u128, 0u64);
            let (payer, payee) = (run[0].1.payer, run[0].1.payee);
            for (id, terms) in run {
                let debit: u128 = terms.debit().to();
                let covered = state.balances.get(&payer).copied().unwrap_or_default() >= debit;
                if now > terms.deadline || !covered || !use_nonce(&mut state, payer, terms.nonce) {
                    continue;
                }
                *state.balances.entry(payer).or_default() -= debit;
                state.debited += debit;
                state.paid += 1;
                amount += terms.amount.to::<u128>();
                fee += terms.fee.to::<u128>();
                count += 1;
                paid.push(*id);
                logs.push(Emitted {
                    address: INBOX,
                    kind: "settlement_paid",
                    key: id.0,
                    key2: word(payer),
                    amount: terms.nonce | (U256::from(u8::from(credited)) << 255),
                    detail: json!({}),
                });
            }
            if count == 0 {
                continue;
            }
            if credited {
                credits.push((payee, amount));
            }
            if fees_credited && fee > 0 {
                credits.push((FEE_RECIPIENT, fee));
            }
            let entry = json!({
                "payee": payee, "amount": amount.to_string(), "fee": fee.to_string(), "count": count.to_string(),
            });
            match runs.last_mut() {
                Some((before, entries)) if *before == payer => {
                    // The section goes on, so its end comes later.
                    let end = logs.iter().rposition(|log: &Emitted| log.kind == "runs_paid").unwrap();
                    logs.remove(end);
                    entries.push(entry);
                }
                _ => runs.push((payer, vec![entry])),
            }
            logs.push(Emitted {
                address: INBOX,
                kind: "runs_paid",
                key: message.0,
                key2: word(payer),
                amount: runs.last().unwrap().1.iter().map(|entry| number(entry, "amount")).sum(),
                detail: json!({"token": TOKEN, "payer": payer, "runs": runs.last().unwrap().1}),
            });
        }
        let mut all = Vec::new();
        for (account, amount) in credits {
            state.credited += amount;
            *state.claims.entry(account).or_default() += amount;
            all.push(vault_log("credited", word(account), word(TOKEN), amount));
        }
        all.extend(logs);
        self.mine(0, state, all).await;
        paid
    }
}

fn number(entry: &Value, field: &str) -> U256 {
    entry[field].as_str().unwrap().parse().unwrap()
}

impl Emitted {
    /// As the contract emits it.
    fn data(&self) -> LogData {
        use ISettlementInbox as Inbox;
        use ISettlementOutbox as Outbox;
        use ISettlementVault as Vault;
        let (one, two) = (Address::from_word(self.key), Address::from_word(self.key2));
        let amount = self.amount;
        match self.kind {
            "deposited" => Vault::Deposited {
                payer: one,
                token: two,
                from: one,
                amount,
            }
            .encode_log_data(),
            "withdrawn" => Vault::Withdrawn {
                payer: one,
                token: two,
                amount,
            }
            .encode_log_data(),
            "credited" => Vault::Credited {
                account: one,
                token: two,
                amount,
            }
            .encode_log_data(),
            "claimed" => Vault::Claimed {
                account: one,
                token: two,
                amount,
            }
            .encode_log_data(),
            "nonce_burned" => Vault::NonceBurned {
                payer: one,
                nonce: self.key2.into(),
            }
            .encode_log_data(),
            "settlement_paid" => Inbox::SettlementPaid {
                id: self.key,
                payer: two,
                nonceAndCredited: amount,
            }
            .encode_log_data(),
            "message_received" => Inbox::MessageReceived {
                messageId: self.key,
                port: two,
                votes: U256::ZERO,
            }
            .encode_log_data(),
            "message_dispatched" => Outbox::MessageDispatched {
                messageId: self.key,
                port: two,
                bridgeRef: B256::ZERO,
                targetChain: 0,
                sequence: 0,
                count: 0,
            }
            .encode_log_data(),
            "runs_paid" => {
                let mut runs = Vec::new();
                for entry in self.detail["runs"].as_array().unwrap() {
                    runs.extend(entry["payee"].as_str().unwrap().parse::<Address>().unwrap());
                    runs.extend(number(entry, "count").to::<u16>().to_be_bytes());
                    runs.extend(&number(entry, "amount").to::<u128>().to_be_bytes()[3..]);
                    runs.extend(&number(entry, "fee").to::<u128>().to_be_bytes()[3..]);
                }
                Inbox::RunsPaid {
                    messageId: self.key,
                    token: TOKEN,
                    payer: two,
                    runs: runs.into(),
                }
                .encode_log_data()
            }
            other => panic!("the model emits no {other}"),
        }
    }
}

fn records(block: &Block) -> Vec<LogRecord> {
    let record = |(log_index, log): (u64, &Emitted)| {
        let data = log.data();
        LogRecord {
            address: log.address,
            topics: data.topics().to_vec(),
            data: data.data,
            block_number: block.at.number,
            block_hash: block.at.hash,
            tx_hash: keccak256(block.at.hash),
            log_index,
        }
    };
    (0..).zip(&block.logs).map(record).collect()
}

fn use_nonce(state: &mut State, payer: Address, nonce: U256) -> bool {
    let bitmap = state.bitmap.entry((payer, nonce >> 8)).or_default();
    let bit = usize::from(nonce.byte(0));
    if bitmap.bit(bit) {
        return false;
    }
    bitmap.set_bit(bit, true);
    true
}

fn vault_log(kind: &'static str, key: B256, key2: B256, amount: u128) -> Emitted {
    Emitted {
        address: VAULT,
        kind,
        key,
        key2,
        amount: U256::from(amount),
        detail: json!({}),
    }
}

/// A log before it is in a block.
#[derive(Debug, Clone)]
pub struct Emitted {
    pub address: Address,
    pub kind: &'static str,
    pub key: B256,
    pub key2: B256,
    pub amount: U256,
    pub detail: Value,
}

fn unused<T>() -> Result<T, ViewError> {
    panic!("the reconciler does not ask for this")
}

impl Model {
    fn lit(&self) -> Result<(), ViewError> {
        match self.faults.lock().unwrap().dark {
            true => Err(unavailable(self.chain)),
            false => Ok(()),
        }
    }
}

fn unavailable(chain: ChainId) -> ViewError {
    ViewError::Unavailable {
        chain: chain.0,
        reason: "dark".into(),
    }
}

#[async_trait]
impl TransactionSource for Model {
    async fn transaction_inputs(&self, tx: B256) -> Result<Vec<Bytes>, ViewError> {
        self.lit()?;
        Ok(self.inputs.lock().unwrap().get(&tx).cloned().into_iter().collect())
    }
}

#[async_trait]
impl Chain for Model {
    fn id(&self) -> ChainId {
        self.chain
    }
    async fn head(&self) -> Result<BlockRef, ViewError> {
        unused()
    }
    async fn finalized(&self) -> Result<BlockRef, ViewError> {
        self.lit()?;
        Ok(Model::head(self))
    }
    fn view(&self, block: BlockRef) -> Arc<dyn ChainView> {
        Arc::new(View {
            block,
            model: self.clone(),
        })
    }
    async fn block_at(&self, number: u64) -> Result<Option<(BlockRef, B256)>, ViewError> {
        self.lit()?;
        let blocks = self.blocks.lock().unwrap();
        let found = blocks.iter().find(|block| block.at.number == number);
        Ok(found.map(|block| (block.at, block.parent)))
    }
    async fn estimate_gas(&self, _from: Address, _call: &Call) -> Result<u64, ViewError> {
        unused()
    }
    async fn fees(&self) -> Result<Fees, ViewError> {
        unused()
    }
    async fn broadcast(&self, _raw: &Bytes) -> Result<B256, ViewError> {
        unused()
    }
    async fn transaction_count(&self, _account: Address, _block: BlockRef) -> Result<u64, ViewError> {
        unused()
    }
    async fn balance(&self, _account: Address, _block: BlockRef) -> Result<U256, ViewError> {
        unused()
    }
    async fn code(&self, _account: Address) -> Result<Bytes, ViewError> {
        unused()
    }
}

#[derive(Debug)]
struct View {
    block: BlockRef,
    model: Model,
}

#[async_trait]
impl ChainView for View {
    fn chain(&self) -> ChainId {
        self.model.chain
    }
    fn block(&self) -> BlockRef {
        self.block
    }
    async fn call(&self, _from: Option<Address>, to: Address, data: Bytes, _value: U256) -> Result<Bytes, ViewError> {
        if self.model.faults.lock().unwrap().no_state {
            return Err(unavailable(self.model.chain));
        }
        let blocks = self.model.blocks.lock().unwrap();
        let found = blocks.iter().find(|block| block.at.hash == self.block.hash);
        let Some(Block { state, .. }) = found else {
            return Err(ViewError::UnknownBlock {
                chain: self.model.chain.0,
                block: self.block.hash.to_string(),
            });
        };
        let selector: [u8; 4] = data[..4].try_into().unwrap();
        Ok(match selector {
            ISettlementVault::nonceBitmapCall::SELECTOR => {
                assert_eq!(to, VAULT);
                let call = ISettlementVault::nonceBitmapCall::abi_decode(&data).unwrap();
                let bitmap = state.bitmap.get(&(call.payer, call.word));
                bitmap.copied().unwrap_or_default().abi_encode().into()
            }
            ISettlementVault::totalsCall::SELECTOR => {
                assert_eq!(to, VAULT);
                let sums = (
                    state.deposited,
                    state.withdrawn,
                    state.debited,
                    state.credited,
                    state.claimed,
                );
                sums.abi_encode().into()
            }
            ISettlementInbox::countersCall::SELECTOR if to == INBOX => (state.received, state.paid).abi_encode().into(),
            ISettlementOutbox::countersCall::SELECTOR if to == OUTBOX => {
                (0u128, state.dispatched.len() as u128).abi_encode().into()
            }
            ISettlementOutbox::dispatchedCall::SELECTOR if to == OUTBOX => {
                let call = ISettlementOutbox::dispatchedCall::abi_decode(&data).unwrap();
                state
                    .dispatched
                    .contains(&(call.messageId, call.port))
                    .abi_encode()
                    .into()
            }
            ISettlementOutbox::committedCall::SELECTOR if to == OUTBOX => {
                let call = ISettlementOutbox::committedCall::abi_decode(&data).unwrap();
                let committed = state.dispatched.iter().any(|(message, _)| *message == call.messageId);
                committed.abi_encode().into()
            }
            other => panic!("call {other:02x?} to {to}"),
        })
    }
    async fn logs(&self, filter: &LogFilter) -> Result<Vec<LogRecord>, ViewError> {
        self.model.lit()?;
        if self.model.faults.lock().unwrap().auditor_blind {
            return Ok(Vec::new());
        }
        let first = filter.from_block.unwrap_or(self.block.number);
        let blocks = self.model.blocks.lock().unwrap();
        let range = blocks
            .iter()
            .filter(|block| (first..=self.block.number).contains(&block.at.number));
        let mut logs = Vec::new();
        for block in range {
            logs.extend(records(block));
        }
        Ok(logs)
    }
    async fn receipt(&self, tx: B256) -> Result<Option<TxReceipt>, ViewError> {
        self.model.lit()?;
        let blocks = self.model.blocks.lock().unwrap();
        let found = blocks
            .iter()
            .find(|block| keccak256(block.at.hash) == tx && block.at.number <= self.block.number);
        Ok(found.map(|block| TxReceipt {
            tx_hash: tx,
            block_number: block.at.number,
            block_hash: block.at.hash,
            succeeded: true,
            gas_used: 0,
            effective_gas_price: 0,
            logs: records(block),
        }))
    }
}
