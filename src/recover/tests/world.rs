//! Two model chains with the logs and counters of our contracts, a database, and the stages that only read. What an earlier life of the relayer
//! sent is sent by the test; what the database knew of it is what the test stored.

use super::super::{Recover, RecoverChain, Report, Standing};
use crate::chain::fee::TxFees;
use crate::chain::model::{ModelCall, ModelChain, ModelOutcome};
use crate::chain::signer::{SignerPool, Unsigned};
use crate::chain::{Chain, Contracts, Gate, Observer, ObserverParams, Submission, TxChain};
use crate::clock::Clock;
use crate::reconciler::{Reconciler, ReconcilerParams, TargetContracts};
use crate::settlement::{ChainId, MessageId, SettlementId};
use crate::stage::Stage;
use crate::store::testing::{self as fixtures, INBOX, OUTBOX, PAYEE, PAYER, SOURCE, TARGET, TOKEN};
use crate::store::{Accept, NewSettlement, Settlement, Store};
use crate::testing::{ScriptedBridge, Shared, source_port, target_port};
use crate::tracker::{StallRule, Tracker, TrackerParams};
use alloy::primitives::{Address, B256, Bytes, LogData, U256};
use alloy::sol_types::{SolCall, SolEvent, SolValue};
use relayer_adapter_api::abi::{ISettlementInbox as Inbox, ISettlementOutbox as Outbox, ISettlementVault as Vault};
use relayer_adapter_api::{BridgeAdapter, BridgeId, Header, Lane, SealedMessage};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const VAULT: Address = Address::repeat_byte(0x5a);
pub const DEPOSIT: u64 = 1_000_000;
const NOW_MS: i64 = 5_000_000_000;
const OUR_KEY: u8 = 7;
/// Whoever brings messages to the target.
const BRIDGE_KEY: u8 = 8;

#[derive(Debug)]
pub struct FrozenClock;

impl Clock for FrozenClock {
    fn now_ms(&self) -> i64 {
        NOW_MS
    }
}

/// What the contracts count.
#[derive(Debug, Default)]
struct Counts {
    dispatched: BTreeMap<B256, u128>,
    received: u128,
    paid: u128,
    deposited: u128,
    debited: u128,
}

pub struct World {
    pub db: fixtures::TestStore,
    pub source: ModelChain,
    pub target: ModelChain,
    pub keys: [SignerPool; 2],
    counts: Arc<Mutex<Counts>>,
    bridges: Vec<Arc<dyn BridgeAdapter>>,
    sequence: Mutex<u64>,
}

fn outbox(counts: &Mutex<Counts>, call: &ModelCall) -> ModelOutcome {
    let mut counts = counts.lock().unwrap();
    if call.data.starts_with(&Outbox::countersCall::SELECTOR) {
        let dispatches: u128 = counts.dispatched.values().sum();
        let answer = (counts.dispatched.len() as u128, dispatches).abi_encode();
        return Ok((answer.into(), vec![]));
    }
    let Ok(dispatch) = Outbox::dispatchCall::abi_decode(&call.data) else {
        return Ok((Bytes::new(), vec![]));
    };
    let header = Header::decode(&dispatch.header).unwrap();
    let message = alloy::primitives::keccak256(&dispatch.header);
    if call.from != Address::ZERO {
        *counts.dispatched.entry(message).or_default() += 1;
    }
    let log = Outbox::MessageDispatched {
        messageId: message,
        port: dispatch.port,
        bridgeRef: B256::repeat_byte(1),
        targetChain: header.target.0,
        sequence: header.sequence,
        count: header.count,
    };
    Ok((Bytes::new(), vec![(OUTBOX, log.encode_log_data())]))
}

/// A transaction of the target says which logs it emits.
fn inbox(counts: &Mutex<Counts>, call: &ModelCall) -> ModelOutcome {
    let mut counts = counts.lock().unwrap();
    if call.data.starts_with(&Inbox::countersCall::SELECTOR) {
        return Ok(((counts.received, counts.paid).abi_encode().into(), vec![]));
    }
    if call.data.starts_with(&Vault::totalsCall::SELECTOR) {
        let answer = (counts.deposited, 0u128, counts.debited, 0u128, 0u128).abi_encode();
        return Ok((answer.into(), vec![]));
    }
    let logs: Vec<(Address, LogData)> = serde_json::from_slice(&call.data).unwrap_or_default();
    for (_, log) in &logs {
        match log.topics()[0] {
            Inbox::MessageReceived::SIGNATURE_HASH => counts.received += 1,
            Inbox::SettlementPaid::SIGNATURE_HASH => counts.paid += 1,
            Inbox::RunsPaid::SIGNATURE_HASH => {
                let runs = Inbox::RunsPaid::decode_log_data(log).unwrap().runs;
                let sum: U256 = U256::from_be_slice(&runs[22..35]) + U256::from_be_slice(&runs[35..48]);
                counts.debited += sum.to::<u128>();
            }
            Vault::Deposited::SIGNATURE_HASH => {
                counts.deposited += Vault::Deposited::decode_log_data(log).unwrap().amount.to::<u128>();
            }
            _ => {}
        }
    }
    Ok((Bytes::new(), logs))
}

impl World {
    /// An empty database, chains on which the payer has deposited and nothing else has happened.
    pub async fn new() -> Self {
        let counts: Arc<Mutex<Counts>> = Arc::default();
        let (of_source, of_target) = (counts.clone(), counts.clone());
        let scripted: Shared = Arc::default();
        let bridge = |name: &str| -> Arc<dyn BridgeAdapter> {
            Arc::new(ScriptedBridge {
                id: BridgeId::new(name).unwrap(),
                world: scripted.clone(),
            })
        };
        let keys = [OUR_KEY, BRIDGE_KEY].map(B256::repeat_byte);
        let keys = [SOURCE, TARGET].map(|chain| SignerPool::new(chain, &keys).unwrap());
        let world = Self {
            db: fixtures::open().await,
            source: ModelChain::with_contract(SOURCE, 0, 1_000_000, Arc::new(move |call| outbox(&of_source, call))),
            target: ModelChain::with_contract(TARGET, 0, 1_000_000, Arc::new(move |call| inbox(&of_target, call))),
            keys,
            counts,
            bridges: vec![bridge("alpha"), bridge("beta")],
            sequence: Mutex::new(0),
        };
        let deposit = Vault::Deposited {
            payer: PAYER,
            token: TOKEN,
            from: PAYER,
            amount: U256::from(DEPOSIT),
        };
        world.emit(vec![(VAULT, deposit.encode_log_data())]).await;
        world
    }

    pub fn store(&self) -> &Store {
        &self.db.store
    }

    pub fn signer(&self) -> Address {
        self.keys[0].addresses()[0]
    }

    /// The database is lost; another one, empty, is in its place.
    pub async fn lose_database(&mut self) {
        self.db = fixtures::open().await;
    }

    /// Signed by our key, without a word to the database; not mined.
    pub async fn post(&self, chain: &ModelChain, to: Address, data: Vec<u8>) {
        self.post_by(0, chain, to, data).await;
    }

    async fn post_by(&self, key: usize, chain: &ModelChain, to: Address, data: Vec<u8>) {
        let keys = &self.keys[usize::from(chain.id() == TARGET)];
        let signer = keys.addresses()[key];
        let unsigned = Unsigned {
            chain: chain.id(),
            nonce: chain.pooled_count(signer).await.unwrap(),
            to,
            value: U256::ZERO,
            data: data.into(),
            gas_limit: 1_000_000,
        };
        let fees = TxFees {
            max_fee: 10_000_000_000,
            max_priority_fee: 1,
        };
        let signed = keys.sign(signer, &unsigned, &fees, false).unwrap();
        assert_eq!(chain.submit(&signed.raw).await.unwrap(), Submission::Accepted);
    }

    async fn emit(&self, logs: Vec<(Address, LogData)>) {
        self.emit_by(0, logs).await;
    }

    async fn emit_by(&self, key: usize, logs: Vec<(Address, LogData)>) {
        let data = serde_json::to_vec(&logs).unwrap();
        self.post_by(key, &self.target, INBOX, data).await;
        self.target.mine(1);
    }

    /// A message nobody stores.
    pub fn sealed(&self, ids: &[SettlementId]) -> SealedMessage {
        let mut sequence = self.sequence.lock().unwrap();
        *sequence += 1;
        fixtures::sealed(ids, *sequence)
    }

    /// The inbox counts an arrival no log tells of.
    pub fn leave_out_an_arrival(&self) {
        self.counts.lock().unwrap().received += 1;
    }

    /// The earlier life sealed it with the database that was copied.
    pub async fn seal(&self, ids: &[SettlementId]) -> SealedMessage {
        *self.sequence.lock().unwrap() += 1;
        fixtures::seal(self.store(), ids).await
    }

    pub fn dispatch_data(message: &SealedMessage, bridge: &str) -> Vec<u8> {
        let call = Outbox::dispatchCall {
            header: message.header.encode().to_vec().into(),
            settlementIds: message.ids().iter().map(|id| id.0).collect(),
            port: source_port(bridge),
            gasLimit: 200_000,
        };
        call.abi_encode()
    }

    pub async fn dispatch(&self, message: &SealedMessage, bridge: &str) {
        self.post(&self.source, OUTBOX, Self::dispatch_data(message, bridge))
            .await;
        self.source.mine(1);
    }

    pub async fn deliver(&self, message: &SealedMessage, bridge: &str) {
        let log = Inbox::MessageReceived {
            messageId: message.id().0,
            port: target_port(bridge),
            votes: U256::from(1),
        };
        self.emit_by(1, vec![(INBOX, log.encode_log_data())]).await;
    }

    /// One execution that pays these, as one run.
    pub async fn pay(&self, message: &SealedMessage, paid: &[&NewSettlement]) {
        let mut logs: Vec<(Address, LogData)> = Vec::new();
        let (mut amount, mut fee) = (0u128, 0u128);
        for new in paid {
            let log = Inbox::SettlementPaid {
                id: new.id.0,
                payer: PAYER,
                nonceAndCredited: new.terms.nonce,
            };
            logs.push((INBOX, log.encode_log_data()));
            amount += new.terms.amount.to::<u128>();
            fee += new.terms.fee.to::<u128>();
        }
        let mut runs = PAYEE.to_vec();
        runs.extend(u16::try_from(paid.len()).unwrap().to_be_bytes());
        runs.extend(&amount.to_be_bytes()[3..]);
        runs.extend(&fee.to_be_bytes()[3..]);
        let log = Inbox::RunsPaid {
            messageId: message.id().0,
            token: TOKEN,
            payer: PAYER,
            runs: runs.into(),
        };
        logs.push((INBOX, log.encode_log_data()));
        self.emit(logs).await;
    }

    fn contracts(chain: ChainId) -> Contracts {
        if chain == SOURCE {
            Contracts {
                outbox: Some(OUTBOX),
                ..Contracts::default()
            }
        } else {
            Contracts {
                inbox: Some(INBOX),
                vault: Some(VAULT),
                ..Contracts::default()
            }
        }
    }

    fn chains(&self) -> [&ModelChain; 2] {
        [&self.source, &self.target]
    }

    fn observer(&self, chain: &ModelChain) -> Observer {
        let contracts = Self::contracts(chain.id());
        let params = ObserverParams::default();
        Observer::new(Arc::new(chain.clone()), self.store().clone(), contracts, params)
    }

    pub fn gate(&self, chain: &ModelChain) -> Arc<Gate> {
        self.gate_of(chain, vec![self.signer()])
    }

    pub fn gate_of(&self, chain: &ModelChain, signers: Vec<Address>) -> Arc<Gate> {
        let contracts = Self::contracts(chain.id());
        Arc::new(Gate::new(
            Arc::new(chain.clone()),
            self.store().clone(),
            contracts,
            signers,
            Arc::new(FrozenClock),
        ))
    }

    /// Reads everything the chains have.
    pub async fn observe(&self) {
        for chain in self.chains() {
            let observer = self.observer(chain);
            while observer.read_on(NOW_MS, 100).await.unwrap().processed > 0 {}
        }
    }

    /// What a relayer does that may not send: reads, counts arrivals, books and ends.
    pub async fn settle(&self) {
        let chains: BTreeMap<ChainId, Arc<dyn Chain>> = self
            .chains()
            .map(|chain| (chain.id(), Arc::new(chain.clone()) as Arc<dyn Chain>))
            .into();
        let params = TrackerParams {
            owner: "test".into(),
            lease_ms: 60_000,
            stall: StallRule {
                timeout_ms: i64::MAX / 4,
                history_min: 3,
                history_factor: 2,
            },
            poll_min_ms: 1_000,
            poll_max_ms: 10_000,
            ask_early: false,
        };
        let tracker = Tracker::new(self.store().clone(), self.bridges.clone(), chains, params);
        for _ in 0..3 {
            self.observe().await;
            tracker.step(NOW_MS, 100).await.unwrap();
            for chain in self.chains() {
                let target = TargetContracts {
                    inbox: INBOX,
                    vault: VAULT,
                };
                let is_target = chain.id() == TARGET;
                let params = ReconcilerParams {
                    chain_id: chain.id(),
                    target: is_target.then_some(target),
                    outbox: (!is_target).then_some(OUTBOX),
                    sweep_ms: 0,
                };
                let reconciler = Reconciler::new(self.store().clone(), Arc::new(chain.clone()), params);
                reconciler.step(NOW_MS, 1_000).await.unwrap();
            }
        }
    }

    pub fn recovery(&self) -> Recover {
        let chains = self.chains().map(|chain| {
            let member = RecoverChain {
                chain: Arc::new(chain.clone()),
                transactions: Arc::new(chain.clone()),
                contracts: Self::contracts(chain.id()),
                observer: self.observer(chain),
                signers: vec![self.signer()],
            };
            (chain.id(), member)
        });
        Recover::new(self.store().clone(), chains.into(), self.lanes())
    }

    pub fn lanes(&self) -> Vec<Lane> {
        self.bridges
            .iter()
            .filter_map(|bridge| bridge.lane(SOURCE, TARGET))
            .collect()
    }

    pub async fn recover(&self) -> Report {
        self.try_recover().await.unwrap()
    }

    pub async fn try_recover(&self) -> Result<Report, super::super::RecoverError> {
        let how = Standing {
            wait: Duration::ZERO,
            accept_unreadable: false,
        };
        self.recovery().run(how, &FrozenClock, &|_, _| {}).await
    }

    pub async fn submit(&self, new: &NewSettlement) -> Settlement {
        let mut answers = fixtures::accept(self.store(), std::slice::from_ref(new)).await;
        match answers.remove(0) {
            Accept::Accepted(settlement) | Accept::Existing(settlement) => settlement,
            other => panic!("{} was refused: {other:?}", new.id),
        }
    }

    pub async fn state(&self, new: &NewSettlement) -> String {
        self.store().get_settlement(new.id).await.unwrap().state.to_string()
    }

    /// Settlements that the next batch would take.
    pub async fn batchable(&self) -> Vec<SettlementId> {
        let rows = self.store().list_batchable(TARGET, i64::MAX, 0, 1_000).await.unwrap();
        rows.into_iter().map(|row| row.id).collect()
    }

    pub async fn dispatches(&self, message: MessageId) -> Vec<String> {
        let rows = self.store().list_dispatches(message).await.unwrap();
        rows.iter()
            .map(|row| format!("{} {} {}", row.bridge, row.source_state, row.target_state))
            .collect()
    }

    pub async fn message_state(&self, message: &SealedMessage) -> String {
        self.store().get_message(message.id()).await.unwrap().state.to_string()
    }

    /// Ledger, logs and contracts agree, and every account is the sum of its postings.
    pub async fn assert_agreed(&self) {
        let open = self.store().list_open_drifts().await.unwrap();
        assert!(open.is_empty(), "{open:?}");
        assert!(self.store().list_unbalanced_accounts().await.unwrap().is_empty());
        let debited = self.counts.lock().unwrap().debited;
        let (available, reserved) = (
            fixtures::available(self.store(), PAYER).await,
            fixtures::reserved(self.store(), PAYER).await,
        );
        assert_eq!(u128::from(available + reserved) + debited, u128::from(DEPOSIT));
    }
}

/// The n-th settlement of the payer, of 100 + n with a fee of 1.
pub fn settlement(n: u64) -> NewSettlement {
    fixtures::new_settlement(PAYER, n, 100 + n, 1, n + 1)
}
