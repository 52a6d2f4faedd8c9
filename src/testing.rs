//! Two scripted chains, a scripted bridge and the real stages on a database of their own. What the world answers is set by the test;
//! the transaction engine and the observers are played by [`Flow`]'s methods.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod hub;
mod world;

pub use world::{World, block, bridge_ref, source_port, target_port};

use crate::chain::fee::FeePolicy;
use crate::chain::retry::RetryPolicy;
use crate::chain::sender::{Sender, SenderParams};
use crate::chain::signer::SignerPool;
use crate::chain::{Chain, Fees};
use crate::clock::Clock;
use crate::dispatcher::{Dispatcher, DispatcherParams};
use crate::hub::{CheckpointRelay, HubLane, Recorder};
use crate::payout::{Payout, PayoutParams, RescueParams};
use crate::router::{
    BreakerRule, BridgeLimits, CapRule, HistoryRule, LaneWatch, Patience, RoutePolicy, Router, RouterParams,
    StaticPrices, WatchParams,
};
use crate::settlement::packed::{ChunkLimits, GasModel, Packed};
use crate::settlement::states::{MessageState, SettlementState};
use crate::settlement::{MessageId, SettlementId};
use crate::stage::{Outcome, Stage};
use crate::store::testing::{self as fixtures, INBOX, OUTBOX, SOURCE, TARGET, TestStore};
use crate::store::{
    ChainLog, CheckpointLane, Cursor, Dispatch, Execution, Inclusion, NewChainLog, Store, TxChange, TxId, TxRow,
};
use crate::tracker::{StallRule, Tracker, TrackerParams};
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::sol_types::{SolCall, SolError};
use async_trait::async_trait;
use relayer_adapter_api::abi::{ICheckpointRegistry, ISettlementInbox};
use relayer_adapter_api::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use world::ScriptedChain;
pub(crate) use world::{ScriptedBridge, Shared};

#[derive(Debug)]
struct FrozenClock;

impl Clock for FrozenClock {
    fn now_ms(&self) -> i64 {
        0
    }
}

/// The stages between sealing and settling, over a scripted world. Time stands still unless a test moves it.
pub struct Flow {
    pub db: TestStore,
    pub router: Router,
    pub lane_watch: LaneWatch,
    pub dispatcher: Dispatcher,
    pub tracker: Tracker,
    pub payout: Payout,
    pub relay: CheckpointRelay,
    pub recorder: Recorder,
    pub chains: BTreeMap<ChainId, Arc<dyn Chain>>,
    world: Shared,
    now_ms: AtomicI64,
}

pub const HUB: Address = Address::repeat_byte(0x48);
pub const REGISTRY: Address = Address::repeat_byte(0x4e);

/// The flow's hub: on the source chain, known at the target.
pub fn hub_lane() -> HubLane {
    HubLane {
        name: "exchange".into(),
        lane: CheckpointLane {
            source: SOURCE,
            hub: HUB,
            target: TARGET,
        },
        outbox: Some(OUTBOX),
        inbox: INBOX,
        registry: REGISTRY,
        policy: None,
    }
}

/// Stall time-out of the flow's tracker.
pub const TIMEOUT_MS: i64 = 60_000;
/// Patience of the flow's router.
pub const PATIENCE: Patience = Patience {
    with_lane_ms: 10_000,
    without_lane_ms: 600_000,
};
pub const FEE_CAP: u64 = 1_000;
/// Time between two looks of the flow's lane watch.
pub const WATCH_MS: i64 = 1_000;
/// How long a quote stands with the router of the flow.
pub const QUOTE_MS: i64 = 500;

impl Flow {
    /// Bridges in preferred order, each with a fee of 10.
    pub async fn new(bridges: &[&str], dispatches_max: usize) -> Self {
        Self::with(bridges, dispatches_max, |_| {}).await
    }

    /// The same with other parameters of the router.
    pub async fn with(bridges: &[&str], dispatches_max: usize, change: impl FnOnce(&mut RouterParams)) -> Self {
        let world: Shared = Arc::default();
        world.lock().unwrap().fees = bridges.iter().map(|name| ((*name).to_owned(), 10)).collect();
        let bridge = |name: &&str| -> Arc<dyn BridgeAdapter> {
            Arc::new(ScriptedBridge {
                id: BridgeId::new(name).unwrap(),
                world: world.clone(),
            })
        };
        Self::build(
            bridges.iter().map(bridge).collect(),
            world.clone(),
            dispatches_max,
            change,
        )
        .await
    }

    /// The same over any adapters, in preferred order.
    pub async fn over(adapters: Vec<Arc<dyn BridgeAdapter>>, world: Shared, dispatches_max: usize) -> Self {
        Self::build(adapters, world, dispatches_max, |_| {}).await
    }

    async fn build(
        adapters: Vec<Arc<dyn BridgeAdapter>>,
        world: Shared,
        dispatches_max: usize,
        change: impl FnOnce(&mut RouterParams),
    ) -> Self {
        let db = fixtures::open().await;
        let chain = |id| -> Arc<dyn Chain> {
            Arc::new(ScriptedChain {
                id,
                world: world.clone(),
            })
        };
        let chains: BTreeMap<ChainId, Arc<dyn Chain>> = [SOURCE, TARGET].map(|id| (id, chain(id))).into();
        let ids: Vec<BridgeId> = adapters.iter().map(|adapter| adapter.id()).collect();
        let senders: BTreeMap<ChainId, Arc<Sender>> = chains
            .iter()
            .map(|(id, chain)| (*id, Arc::new(sender(chain.clone(), &db.store))))
            .collect();
        let mut params = router_params(ids, dispatches_max);
        change(&mut params);
        let flow = Self {
            lane_watch: LaneWatch::new(
                db.store.clone(),
                adapters.clone(),
                chains.clone(),
                WatchParams {
                    every_ms: WATCH_MS,
                    timeout: Duration::from_secs(1),
                },
            ),
            router: Router::new(db.store.clone(), adapters.clone(), chains.clone(), params),
            dispatcher: Dispatcher::new(
                db.store.clone(),
                adapters.clone(),
                chains.clone(),
                senders.clone(),
                dispatcher_params(),
            ),
            tracker: Tracker::new(db.store.clone(), adapters.clone(), chains.clone(), tracker_params()),
            payout: Payout::new(
                db.store.clone(),
                adapters,
                chains.clone(),
                senders.clone(),
                payout_params(),
            ),
            relay: CheckpointRelay::new(db.store.clone(), chains.clone(), vec![hub_lane()]),
            recorder: Recorder::new(db.store.clone(), chains.clone(), senders, vec![hub_lane()]),
            chains,
            db,
            world,
            now_ms: AtomicI64::new(1_000_000),
        };
        flow.read_up_to(SOURCE, 10).await;
        flow.read_up_to(TARGET, 10).await;
        flow
    }

    pub fn store(&self) -> &Store {
        &self.db.store
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    pub fn wait(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }

    pub async fn step(&self, stage: &dyn Stage) -> Outcome {
        let outcome = stage.step(self.now_ms(), 100).await;
        outcome.unwrap_or_else(|error| panic!("{}: {error}", stage.name()))
    }

    /// Accepts and seals `n` settlements with nonces from 0 on.
    pub async fn seal(&self, n: u64) -> MessageId {
        self.seal_with(n, None).await
    }

    /// The same for settlements that were submitted with a policy.
    pub async fn seal_with(&self, n: u64, policy: Option<RoutePolicy>) -> MessageId {
        fixtures::deposit(self.store(), fixtures::PAYER, 1_000_000, 1).await;
        let base: u64 = self
            .store()
            .count_settlements()
            .await
            .unwrap()
            .iter()
            .map(|(_, n)| n)
            .sum();
        let news: Vec<_> = (base..base + n)
            .map(|nonce| fixtures::new_settlement(fixtures::PAYER, nonce, 100, 0, nonce + 1))
            .collect();
        fixtures::accept(self.store(), &news).await;
        let ids: Vec<SettlementId> = news.iter().map(|new| new.id).collect();
        fixtures::seal_with(self.store(), &ids, policy).await.id()
    }

    /// The observer of a chain has read up to this block.
    pub async fn read_up_to(&self, chain: ChainId, number: u64) {
        let old = self.store().get_cursor(chain).await.unwrap();
        let cursor = Cursor {
            seen: block(number),
            finalized: block(number.saturating_sub(5)),
        };
        let mut txn = self.store().begin(self.now_ms()).await.unwrap();
        txn.move_cursor(chain, old.as_ref(), &cursor).await.unwrap();
        txn.commit().await.unwrap();
    }

    pub async fn put_log(&self, chain: ChainId, number: u64, log: (&str, B256, B256), detail: serde_json::Value) {
        let (kind, key, key2) = log;
        let new = NewChainLog {
            chain,
            block_number: number,
            block_hash: block(number).hash,
            block_timestamp: block(number).timestamp,
            log_index: keccak256(format!("{kind}{key}{key2}"))[0].into(),
            tx_hash: self.tx_hash(chain, number),
            address: if chain == SOURCE { OUTBOX } else { INBOX },
            kind: kind.to_owned(),
            key,
            key2,
            amount: U256::ZERO,
            detail,
        };
        let mut txn = self.store().begin(self.now_ms()).await.unwrap();
        txn.put_logs(&[new]).await.unwrap();
        txn.commit().await.unwrap();
    }

    fn tx_hash(&self, chain: ChainId, number: u64) -> B256 {
        keccak256(format!("tx of {chain} in {number}"))
    }

    /// The outbox said that the message went out over a bridge.
    pub async fn log_dispatched(&self, message: MessageId, bridge: &str, number: u64) {
        let port = source_port(bridge).into_word();
        let reference = bridge_ref(self.tx_hash(SOURCE, number));
        let detail = serde_json::json!({ "bridgeRef": reference });
        self.put_log(SOURCE, number, ("message_dispatched", message.0, port), detail)
            .await;
    }

    /// The inbox said that a bridge brought the message.
    pub async fn log_received(&self, message: MessageId, bridge: &str, number: u64) {
        let port = target_port(bridge).into_word();
        self.put_log(
            TARGET,
            number,
            ("message_received", message.0, port),
            serde_json::json!({}),
        )
        .await;
    }

    pub async fn log_paid(&self, settlement: SettlementId, number: u64) {
        let log = ("settlement_paid", settlement.0, fixtures::PAYER.into_word());
        self.put_log(TARGET, number, log, serde_json::json!({})).await;
    }

    pub async fn log_skipped(&self, settlement: SettlementId, reason: u8, number: u64) {
        let log = ("settlement_skipped", settlement.0, B256::ZERO);
        let detail = serde_json::json!({ "reason": reason.to_string() });
        self.put_log(TARGET, number, log, detail).await;
    }

    /// A reorg took every block above `number`.
    pub async fn orphan_above(&self, chain: ChainId, number: u64) {
        let mut txn = self.store().begin(self.now_ms()).await.unwrap();
        txn.orphan_logs_above(chain, number).await.unwrap();
        txn.commit().await.unwrap();
    }

    pub async fn finalize_logs(&self, chain: ChainId, number: u64) {
        let mut txn = self.store().begin(self.now_ms()).await.unwrap();
        txn.finalize_logs(chain, None, number).await.unwrap();
        txn.commit().await.unwrap();
    }

    pub async fn tx(&self, id: TxId) -> TxRow {
        self.store().get_tx(id).await.unwrap()
    }

    /// The engine found out something about a transaction.
    pub async fn change_tx(&self, id: TxId, change: TxChange) {
        let row = self.tx(id).await;
        let mut txn = self.store().begin(self.now_ms()).await.unwrap();
        txn.tx_apply(&row, change, "engine").await.unwrap();
        txn.commit().await.unwrap();
    }

    pub async fn include(&self, id: TxId, number: u64, succeeded: bool) {
        let row = self.tx(id).await;
        let inclusion = Inclusion {
            hash: self.tx_hash(row.chain, number),
            block_number: number,
            block_hash: block(number).hash,
        };
        let change = TxChange::Include {
            inclusion,
            succeeded,
            gas_used: 90_000,
            gas_price: 7,
        };
        self.change_tx(id, change).await;
    }

    /// Router and dispatcher carry the message to a transaction that is in a block, with its log read.
    pub async fn dispatch(&self, message: MessageId, bridge: &str, number: u64) -> Dispatch {
        self.step(&self.router).await;
        self.step(&self.dispatcher).await;
        let tx = self.dispatch_over(message, bridge).await.tx.expect("prepared");
        self.change_tx(tx, TxChange::Submit).await;
        self.include(tx, number, true).await;
        self.log_dispatched(message, bridge, number).await;
        self.step(&self.dispatcher).await;
        self.dispatch_over(message, bridge).await
    }

    pub async fn dispatch_over(&self, message: MessageId, bridge: &str) -> Dispatch {
        let all = self.store().list_dispatches(message).await.unwrap();
        let found = all.into_iter().find(|dispatch| dispatch.bridge.as_str() == bridge);
        found.unwrap_or_else(|| panic!("no dispatch over {bridge}"))
    }

    pub async fn executions(&self, message: MessageId) -> Vec<Execution> {
        self.store().list_executions(message).await.unwrap()
    }

    pub async fn message_state(&self, message: MessageId) -> MessageState {
        self.store().get_message(message).await.unwrap().state
    }

    /// States of the members in leaf order.
    pub async fn states(&self, message: MessageId) -> Vec<SettlementState> {
        let members = self.store().list_members(message).await.unwrap();
        members.iter().map(|member| member.settlement.state).collect()
    }

    /// Skip reasons of the members in leaf order.
    pub async fn reasons(&self, message: MessageId) -> Vec<Option<String>> {
        let members = self.store().list_members(message).await.unwrap();
        members
            .into_iter()
            .map(|member| member.settlement.skip_reason)
            .collect()
    }

    pub async fn ids(&self, message: MessageId) -> Vec<SettlementId> {
        self.store()
            .get_sealed_message(message, false)
            .await
            .unwrap()
            .ids()
            .to_vec()
    }

    pub async fn unapplied(&self, chain: ChainId) -> Vec<ChainLog> {
        self.store().list_unapplied_seen(chain, 100).await.unwrap()
    }
}

fn sender(chain: Arc<dyn Chain>, store: &Store) -> Sender {
    let signers = SignerPool::new(chain.id(), &[B256::repeat_byte(7)]).unwrap();
    let params = SenderParams {
        owner: "test".into(),
        lease_ms: 60_000,
        fees: FeePolicy::default(),
    };
    Sender::new(chain, store.clone(), signers, params, Arc::new(FrozenClock))
}

fn bridge_limits() -> BridgeLimits {
    BridgeLimits {
        fee_cap: U256::from(FEE_CAP),
        ..BridgeLimits::default()
    }
}

fn router_params(order: Vec<BridgeId>, dispatches_max: usize) -> RouterParams {
    RouterParams {
        owner: "test".into(),
        lease_ms: 60_000,
        policy: RoutePolicy::Preferred,
        limits: order.iter().map(|id| (id.clone(), bridge_limits())).collect(),
        order,
        quote_timeout: Duration::from_secs(5),
        cap_rule: CapRule::default(),
        prices: Arc::new(StaticPrices::default()),
        history: HistoryRule {
            dispatches: 64,
            breaker: BreakerRule {
                failures: 5,
                cooldown_ms: 300_000,
                cooldown_max_ms: 3_600_000,
            },
        },
        dispatches_max,
        patience: PATIENCE,
        retry_min_ms: 1_000,
        retry_max_ms: 60_000,
        recheck_ms: 15_000,
        quote_ms: QUOTE_MS,
    }
}

fn dispatcher_params() -> DispatcherParams {
    DispatcherParams {
        owner: "test".into(),
        lease_ms: 60_000,
        quote_age_max_ms: 30_000,
        quote_timeout: Duration::from_secs(5),
        retry: RetryPolicy {
            first: Duration::from_secs(1),
            max: Duration::from_secs(60),
        },
        failures_max: 3,
    }
}

fn tracker_params() -> TrackerParams {
    TrackerParams {
        owner: "test".into(),
        lease_ms: 60_000,
        stall: StallRule {
            timeout_ms: TIMEOUT_MS,
            history_min: 3,
            history_factor: 2,
        },
        poll_min_ms: 1_000,
        poll_max_ms: 10_000,
        ask_early: true,
    }
}

fn payout_params() -> PayoutParams {
    PayoutParams {
        owner: "test".into(),
        lease_ms: 60_000,
        limits: ChunkLimits::default(),
        gas: GasModel::default(),
        gap_max: 2,
        executions_max: 8,
        simulations_max: 64,
        probes_max: 8,
        retry_min_ms: 1_000,
        retry_max_ms: 60_000,
        recheck_ms: 15_000,
        rescue: RescueParams {
            enabled: true,
            patience_ms: 30_000,
            interval_ms: 20_000,
            attempts_max: 3,
            value_cap: U256::from(100),
        },
    }
}
