//! A chain with one hub on it, in memory: the hub's contract is whatever its acts add up to at the block that is asked about.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::chain::{Chain, Fees, HubContract};
use crate::hub::model::{Accumulator, Eon, EonClock, Operation, ParentOperation};
use alloy::primitives::{Address, B256, Bytes, LogData, U256, keccak256};
use alloy::sol_types::{SolCall, SolEvent, SolInterface};
use async_trait::async_trait;
use relayer_adapter_api::abi::ICommitChain;
use relayer_adapter_api::{BlockRef, Call, ChainId, ChainView, LogFilter, LogRecord, TxReceipt, ViewError};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

pub const CHAIN: ChainId = ChainId(31_337);
pub const HUB: Address = Address::repeat_byte(0x4b);
pub const NAME: &str = "exchange";

/// What somebody does to the hub's contract.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    Deposit(Address, Address, u64),
    Request(Address, Address, u64),
    Confirm(Address, Address),
    Submit(B256),
    Challenge(Address, Address),
    Answer(Address, Address),
    /// Changes the accumulator and emits nothing.
    Cancel(Address, Address, u64),
    /// An event that changes nothing.
    Odd(LogData),
    /// Somebody takes coins out that the contract's books say are there.
    Steal(Address, u64),
    /// From now on the token's `balanceOf` reverts.
    Break(Address),
}

#[derive(Debug, Clone)]
struct Block {
    block: BlockRef,
    parent: B256,
    acts: Vec<Act>,
}

/// A chain's blocks before a fork.
#[derive(Debug)]
pub struct ForkedBlocks(Vec<Block>);

#[derive(Debug)]
struct State {
    blocks: Vec<Block>,
    finality: u64,
    forks: u64,
    hidden: BTreeSet<u64>,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct HubChain {
    pub clock: EonClock,
    state: Arc<Mutex<State>>,
    meanwhile: Meanwhile,
}

type Happening = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Clone, Default)]
struct Meanwhile(Arc<Mutex<Option<Happening>>>);

impl std::fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meanwhile")
    }
}

/// A contract's storage.
#[derive(Debug, Clone)]
struct Contract {
    accumulator: Accumulator,
    checkpoints: [(u64, B256); 5],
    last: u64,
    live: BTreeMap<u64, u64>,
    deposits: BTreeMap<Address, [(u64, U256); 5]>,
    confirmed: BTreeMap<Address, [(u64, U256); 5]>,
    /// Running totals.
    pending: BTreeMap<Address, [(u64, U256); 5]>,
    broken: BTreeSet<Address>,
    /// Eon, token, wallet, amount, whether it was confirmed.
    requests: Vec<(u64, Address, Address, U256, bool)>,
    balances: BTreeMap<Address, U256>,
    tokens: Vec<Address>,
}

impl HubChain {
    /// A hub deployed in block `genesis`; blocks are final `finality` below the head.
    pub fn new(genesis: u64, blocks_per_eon: u64, finality: u64) -> Self {
        let state = State {
            blocks: Vec::new(),
            finality,
            forks: 0,
            hidden: BTreeSet::new(),
        };
        let chain = Self {
            clock: EonClock::new(genesis, blocks_per_eon).unwrap(),
            state: Arc::new(Mutex::new(state)),
            meanwhile: Meanwhile::default(),
        };
        chain.mine(genesis + 1);
        chain
    }

    pub fn contract(&self) -> HubContract {
        HubContract {
            name: NAME.into(),
            contract: HUB,
            start_block: 0,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// One block with these acts; returns its number.
    pub fn act(&self, acts: &[Act]) -> u64 {
        let mut state = self.state();
        let number = state.blocks.len() as u64;
        let parent = state.blocks.last().map_or(B256::ZERO, |block| block.block.hash);
        let seed = [parent.as_slice(), &number.to_be_bytes(), &state.forks.to_be_bytes()].concat();
        let block = BlockRef {
            number,
            hash: keccak256(seed),
            timestamp: 1_000_000 + number,
        };
        state.blocks.push(Block {
            block,
            parent,
            acts: acts.to_vec(),
        });
        number
    }

    /// Empty blocks.
    pub fn mine(&self, n: u64) {
        for _ in 0..n {
            self.act(&[]);
        }
    }

    pub fn head_number(&self) -> u64 {
        self.state().blocks.len() as u64 - 1
    }

    /// The eon of the next block.
    pub fn eon(&self) -> Eon {
        self.clock.eon(self.head_number() + 1).unwrap()
    }

    /// Empty blocks up to the one before the first of the next eon.
    pub fn finish_eon(&self) {
        let next = self.clock.first_block(self.eon().checked_add(1).unwrap()).unwrap();
        self.mine(next - 1 - self.head_number());
    }

    /// The newest blocks are gone; others follow when they are mined.
    pub fn fork(&self, depth: u64) {
        let mut state = self.state();
        let keep = state.blocks.len() - usize::try_from(depth).unwrap();
        state.blocks.truncate(keep);
        state.forks += 1;
    }

    /// Like [`HubChain::fork`], with empty blocks in the place of those that are gone, and what [`HubChain::put_back`] takes.
    pub fn fork_of(&self, depth: u64) -> ForkedBlocks {
        let before = ForkedBlocks(self.state().blocks.clone());
        self.fork(depth);
        self.mine(depth + 1);
        before
    }

    pub fn put_back(&self, before: ForkedBlocks) {
        self.state().blocks = before.0;
    }

    /// From now on a range with this block answers without its logs.
    pub fn hide(&self, block: u64) {
        self.state().hidden.insert(block);
    }

    /// Happens while the contract is asked the next question.
    pub fn meanwhile(&self, what: impl Future<Output = ()> + Send + 'static) {
        *self.meanwhile.0.lock().unwrap() = Some(Box::pin(what));
    }

    pub fn show_all(&self) {
        self.state().hidden.clear();
    }

    /// What the contract's storage is after a block.
    fn replay(&self, to: u64) -> (Contract, Vec<LogRecord>) {
        let state = self.state();
        let mut contract = Contract::new();
        let mut logs = Vec::new();
        for block in state.blocks.iter().filter(|block| block.block.number <= to) {
            for act in &block.acts {
                let Some(data) = contract.apply(&self.clock, block.block.number, act) else {
                    continue;
                };
                let index = logs
                    .iter()
                    .filter(|log: &&LogRecord| log.block_number == block.block.number)
                    .count() as u64;
                logs.push(LogRecord {
                    address: HUB,
                    topics: data.topics().to_vec(),
                    data: data.data.clone(),
                    block_number: block.block.number,
                    block_hash: block.block.hash,
                    tx_hash: keccak256([block.block.hash.as_slice(), &index.to_be_bytes()].concat()),
                    log_index: index,
                });
            }
        }
        (contract, logs)
    }

    /// The accumulator's slot of an eon, as of the head.
    pub fn accumulator(&self, eon: Eon) -> B256 {
        self.replay(u64::MAX).0.accumulator.at(eon)
    }
}

fn add(slots: &mut [(u64, U256); 5], eon: u64, amount: U256) {
    let slot = &mut slots[(eon % 5) as usize];
    if slot.0 < eon {
        *slot = (eon, amount);
    } else {
        slot.1 += amount;
    }
}

/// The slot of an eon of a running total, which goes on from the newest one before: as the contract does it.
fn carry(slots: &mut [(u64, U256); 5], eon: u64) -> &mut U256 {
    let before = (0..5).filter_map(|back| {
        let at = (eon - 1).checked_sub(back)?;
        let slot = slots[(at % 5) as usize];
        (slot.0 > 0 && slot.0 < eon).then_some(slot)
    });
    let total = before.max_by_key(|slot| slot.0).map_or(U256::ZERO, |slot| slot.1);
    let slot = &mut slots[(eon % 5) as usize];
    if slot.0 < eon {
        *slot = (eon, total);
    }
    &mut slot.1
}

impl Contract {
    fn new() -> Self {
        Self {
            accumulator: Accumulator::from_slots([B256::ZERO; 5]),
            checkpoints: [(0, B256::ZERO); 5],
            last: 0,
            live: BTreeMap::new(),
            deposits: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            pending: BTreeMap::new(),
            broken: BTreeSet::new(),
            requests: Vec::new(),
            balances: BTreeMap::new(),
            tokens: vec![HUB],
        }
    }

    fn append(&mut self, eon: Eon, operation: Operation, token: Address, participant: Address, amount: u64) {
        if !self.tokens.contains(&token) {
            self.tokens.push(token);
        }
        self.accumulator.append(&ParentOperation {
            eon,
            token,
            participant,
            operation,
            value: U256::from(amount),
        });
    }

    fn apply(&mut self, clock: &EonClock, block: u64, act: &Act) -> Option<LogData> {
        let eon = clock.eon(block).unwrap_or_default();
        match act.clone() {
            Act::Deposit(token, recipient, amount) => {
                self.append(eon, Operation::Deposit, token, recipient, amount);
                let amount = U256::from(amount);
                add(self.deposits.entry(token).or_default(), eon.0, amount);
                *self.balances.entry(token).or_default() += amount;
                Some(
                    ICommitChain::Deposit {
                        token,
                        recipient,
                        amount,
                    }
                    .encode_log_data(),
                )
            }
            Act::Request(token, requestor, amount) => {
                self.append(eon, Operation::Withdrawal, token, requestor, amount);
                let amount = U256::from(amount);
                *carry(self.pending.entry(token).or_default(), eon.0) += amount;
                self.requests.push((eon.0, token, requestor, amount, false));
                Some(
                    ICommitChain::WithdrawalRequest {
                        token,
                        requestor,
                        amount,
                    }
                    .encode_log_data(),
                )
            }
            Act::Confirm(token, requestor) => {
                let mut amount = U256::ZERO;
                for request in &mut self.requests {
                    let payable = clock.withdrawal_is_payable(block, Eon(request.0)).unwrap();
                    if payable && !request.4 && (request.1, request.2) == (token, requestor) {
                        request.4 = true;
                        amount += request.3;
                    }
                }
                *carry(self.pending.entry(token).or_default(), eon.0) -= amount;
                add(self.confirmed.entry(token).or_default(), eon.0, amount);
                *self.balances.entry(token).or_default() -= amount;
                Some(
                    ICommitChain::WithdrawalConfirmation {
                        token,
                        requestor,
                        amount,
                    }
                    .encode_log_data(),
                )
            }
            Act::Submit(root) => {
                self.last = eon.0;
                self.checkpoints[eon.slot()] = (eon.0, root);
                let event = ICommitChain::CheckpointSubmission {
                    eon: U256::from(eon.0),
                    merkleRoot: root,
                };
                Some(event.encode_log_data())
            }
            Act::Challenge(token, recipient) => {
                *self.live.entry(eon.0).or_default() += 1;
                let sender = recipient;
                Some(
                    ICommitChain::ChallengeIssued {
                        token,
                        recipient,
                        sender,
                    }
                    .encode_log_data(),
                )
            }
            Act::Answer(token, account) => {
                let live = self.live.values_mut().find(|live| **live > 0).unwrap();
                *live -= 1;
                let event = ICommitChain::StateUpdate {
                    token,
                    account,
                    eon: U256::from(eon.0),
                    trail: 3,
                    allotmentChain: vec![B256::repeat_byte(1)],
                    membershipChain: Vec::new(),
                    values: vec![U256::from(7)],
                    lrDeltasPassiveMark: [[U256::from(1); 2]; 3],
                    activeStateChecksum: B256::ZERO,
                    passiveChecksum: B256::ZERO,
                    r: B256::ZERO,
                    s: B256::ZERO,
                    v: 27,
                };
                Some(event.encode_log_data())
            }
            Act::Cancel(token, wallet, amount) => {
                self.append(eon, Operation::Cancellation, token, wallet, amount);
                let pending = carry(self.pending.entry(token).or_default(), eon.0);
                *pending = pending.saturating_sub(U256::from(amount));
                None
            }
            Act::Odd(data) => Some(data),
            Act::Steal(token, amount) => {
                *self.balances.entry(token).or_default() -= U256::from(amount);
                None
            }
            Act::Break(token) => {
                self.broken.insert(token);
                None
            }
        }
    }

    /// None: the call reverts.
    fn answer(&self, clock: &EonClock, block: u64, data: &[u8]) -> Option<Vec<u8>> {
        use ICommitChain::ICommitChainCalls as Calls;
        let eon = clock.eon(block).unwrap();
        let live = |eon: u64| U256::from(self.live.get(&eon).copied().unwrap_or_default());
        let slot = |of: &BTreeMap<Address, [(u64, U256); 5]>, token: Address, slot: u8| {
            let (eon, amount) = of.get(&token).map_or((0, U256::ZERO), |slots| slots[slot as usize]);
            (U256::from(eon), amount)
        };
        Some(match Calls::abi_decode(data).unwrap() {
            Calls::genesis(_) => ICommitChain::genesisCall::abi_encode_returns(&U256::from(clock.genesis())),
            Calls::BLOCKS_PER_EON(_) => {
                ICommitChain::BLOCKS_PER_EONCall::abi_encode_returns(&U256::from(clock.blocks_per_eon()))
            }
            Calls::hasMissedCheckpointSubmission(_) => {
                let missed = eon.0 - self.last > 1;
                ICommitChain::hasMissedCheckpointSubmissionCall::abi_encode_returns(&missed)
            }
            Calls::hasOutstandingChallenges(_) => {
                let late = !live(eon.0 - 1).is_zero() && clock.challenges_are_open(block).unwrap();
                ICommitChain::hasOutstandingChallengesCall::abi_encode_returns(&late)
            }
            Calls::getLiveChallenges(call) => {
                ICommitChain::getLiveChallengesCall::abi_encode_returns(&live(call.eon.to()))
            }
            Calls::getParentChainAccumulatorAtSlot(call) => {
                let word = self.accumulator.slots()[call.slot as usize];
                ICommitChain::getParentChainAccumulatorAtSlotCall::abi_encode_returns(&word)
            }
            Calls::getCheckpointAtSlot(call) => {
                let (eon, root) = self.checkpoints[call.slot as usize];
                let answer = ICommitChain::getCheckpointAtSlotReturn {
                    eon: U256::from(eon),
                    merkleRoot: root,
                    liveChallenges: live(eon),
                };
                ICommitChain::getCheckpointAtSlotCall::abi_encode_returns(&answer)
            }
            Calls::getDepositsAtSlot(call) => {
                let (eon, amount) = slot(&self.deposits, call.token, call.slot);
                let answer = ICommitChain::getDepositsAtSlotReturn { eon, amount };
                ICommitChain::getDepositsAtSlotCall::abi_encode_returns(&answer)
            }
            Calls::getConfirmedWithdrawalsAtSlot(call) => {
                let (eon, amount) = slot(&self.confirmed, call.token, call.slot);
                let answer = ICommitChain::getConfirmedWithdrawalsAtSlotReturn { eon, amount };
                ICommitChain::getConfirmedWithdrawalsAtSlotCall::abi_encode_returns(&answer)
            }
            Calls::getPendingWithdrawalsAtSlot(call) => {
                let (eon, amount) = slot(&self.pending, call.token, call.slot);
                let answer = ICommitChain::getPendingWithdrawalsAtSlotReturn { eon, amount };
                ICommitChain::getPendingWithdrawalsAtSlotCall::abi_encode_returns(&answer)
            }
            Calls::getServerContractLedgerStateVariables(call) => {
                if self.broken.contains(&call.token) {
                    return None;
                }
                let asked: u64 = call.eonNumber.to();
                // What a slot holds is that of the eon only if it is this eon's.
                let of = |of: &BTreeMap<Address, [(u64, U256); 5]>| match slot(of, call.token, (asked % 5) as u8) {
                    (eon, amount) if eon == call.eonNumber => amount,
                    _ => U256::ZERO,
                };
                let answer = ICommitChain::getServerContractLedgerStateVariablesReturn {
                    pendingWithdrawals: of(&self.pending),
                    confirmedWithdrawals: of(&self.confirmed),
                    deposits: of(&self.deposits),
                    totalBalance: self.balances.get(&call.token).copied().unwrap_or_default(),
                };
                ICommitChain::getServerContractLedgerStateVariablesCall::abi_encode_returns(&answer)
            }
            Calls::getTokenTrail(call) => {
                let trail = self.tokens.iter().position(|token| *token == call.token).unwrap();
                ICommitChain::getTokenTrailCall::abi_encode_returns(&(trail as u64))
            }
            other => panic!("the model does not answer {other:?}"),
        })
    }
}

fn unused<T>() -> Result<T, ViewError> {
    panic!("nobody asks for this")
}

#[async_trait]
impl Chain for HubChain {
    fn id(&self) -> ChainId {
        CHAIN
    }

    async fn head(&self) -> Result<BlockRef, ViewError> {
        Ok(self.state().blocks.last().unwrap().block)
    }

    async fn finalized(&self) -> Result<BlockRef, ViewError> {
        let state = self.state();
        let number = (state.blocks.len() as u64 - 1).saturating_sub(state.finality);
        Ok(state.blocks[usize::try_from(number).unwrap()].block)
    }

    fn view(&self, block: BlockRef) -> Arc<dyn ChainView> {
        Arc::new(HubView {
            chain: self.clone(),
            block,
        })
    }

    async fn block_at(&self, number: u64) -> Result<Option<(BlockRef, B256)>, ViewError> {
        let state = self.state();
        let block = state.blocks.get(usize::try_from(number).unwrap());
        Ok(block.map(|block| (block.block, block.parent)))
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

struct HubView {
    chain: HubChain,
    block: BlockRef,
}

impl HubView {
    fn check(&self) -> Result<(), ViewError> {
        let state = self.chain.state();
        let known = state.blocks.get(usize::try_from(self.block.number).unwrap());
        if known.is_some_and(|known| known.block.hash == self.block.hash) {
            return Ok(());
        }
        Err(ViewError::UnknownBlock {
            chain: CHAIN.0,
            block: self.block.number.to_string(),
        })
    }
}

#[async_trait]
impl ChainView for HubView {
    fn chain(&self) -> ChainId {
        CHAIN
    }

    fn block(&self) -> BlockRef {
        self.block
    }

    async fn call(&self, _from: Option<Address>, to: Address, data: Bytes, _value: U256) -> Result<Bytes, ViewError> {
        self.check()?;
        let meanwhile = self.chain.meanwhile.0.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile.await;
        }
        // Before its deployment there is no code, and a call to nobody answers nothing.
        if to != HUB || self.block.number < self.chain.clock.genesis() {
            return Ok(Bytes::new());
        }
        let (contract, _) = self.chain.replay(self.block.number);
        let answer = contract.answer(&self.chain.clock, self.block.number, &data);
        answer.map(Bytes::from).ok_or(ViewError::Reverted { data: Vec::new() })
    }

    async fn logs(&self, filter: &LogFilter) -> Result<Vec<LogRecord>, ViewError> {
        self.check()?;
        let from = filter.from_block.unwrap_or(self.block.number);
        let (_, logs) = self.chain.replay(self.block.number);
        let hidden = self.chain.state().hidden.clone();
        let wanted = logs
            .into_iter()
            .filter(|log| log.block_number >= from && filter.addresses.contains(&log.address))
            .filter(|log| !hidden.contains(&log.block_number));
        Ok(wanted.collect())
    }

    async fn receipt(&self, _tx: B256) -> Result<Option<TxReceipt>, ViewError> {
        unused()
    }
}
