//! Builds the program from its configuration: store, chains, bridges, stages, listeners. The only place that names a concrete bridge.

mod serve;

pub use serve::serve;

use crate::api::{Ends, Service};
use crate::batcher::{BatchRule, Batcher, BatcherParams};
use crate::chain::decode::Contracts;
use crate::chain::engine::TxEngine;
use crate::chain::fee::FeePolicy;
use crate::chain::observer::{Observer, ObserverParams};
use crate::chain::retry::RetryPolicy;
use crate::chain::sender::{Sender, SenderParams};
use crate::chain::signer::SignerPool;
use crate::chain::{self, Chain, RpcChain, RpcConfig, TxChain};
use crate::clock::{Clock, SystemClock};
use crate::config::{BridgeConfig, ChainConfig, ChainName, Config, Finality, FinalityTag, Protocol};
use crate::dispatcher::{Dispatcher, DispatcherParams};
use crate::error::{Coded, ErrorCode};
use crate::intake::{CoordinatorPolicy, Intake, IntakePolicy, IntakeWriter, TargetPolicy};
use crate::payout::{Payout, PayoutParams, RescueParams};
use crate::reconciler::{Reconciler, ReconcilerParams, TargetContracts};
use crate::router::{Patience, Policy, Router, RouterParams};
use crate::sampler::Sampler;
use crate::settlement::packed::{ChunkLimits, GasModel};
use crate::settlement::receipt::PinnedKeys;
use crate::stage::Stage;
use crate::store::{Store, StoreConfig, StoreError};
use crate::supervisor::{Task, Wakers};
use crate::tracker::{StallRule, Tracker, TrackerParams};
use alloy::primitives::{Address, B256, U256};
use alloy::sol_types::SolCall;
use relayer_adapter_api::abi::ISettlementVault;
use relayer_adapter_api::{BridgeAdapter, BridgeId, ChainId, ChainView, Class, Finding, ViewError};
use relayer_adapter_layerzero::{LayerZeroAdapter, LayerZeroChain, LayerZeroConfig};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The program cannot be built from its configuration.
#[derive(Debug, thiserror::Error)]
pub enum WiringError {
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    #[error("database: {0}")]
    Store(#[from] StoreError),
    #[error("{key}: endpoint {index} serves chain {found}, not {expected}")]
    ChainId {
        key: String,
        index: usize,
        found: u64,
        expected: u64,
    },
    #[error("{key}: {reason}")]
    Key { key: String, reason: String },
    #[error(transparent)]
    Chain(#[from] crate::chain::ChainError),
    #[error("metrics cannot be recorded: {0}")]
    Metrics(String),
    #[error(transparent)]
    Serve(#[from] crate::api::ServeError),
}

macro_rules! codes {
    ($($name:ident = $code:literal, $title:literal, $meaning:literal, $relayer:literal, $you:literal;)*) => {
        $(const $name: ErrorCode = ErrorCode {
            code: $code, title: $title, meaning: $meaning, relayer: $relayer, you: $you,
        };)*
        /// Codes of this module, for docs/errors.md.
        pub const CODES: &[ErrorCode] = &[$($name),*];
    };
}

codes! {
    STORE = "RLY-START-001", "The database cannot be used",
        "It cannot be opened, does not keep what it acknowledges, or has another schema than this program.",
        "Does not start: accepting settlements would promise what the database does not keep.",
        "The message says which: correct store.url, the database's durability settings, or run `relayer migrate`.";
    CHAIN_ID = "RLY-START-002", "An endpoint serves another chain",
        "A configured RPC endpoint answers with another chain id than its table says.",
        "Does not start.",
        "Correct the URL or the chain's table.";
    KEY = "RLY-START-003", "A configured value cannot be used",
        "A key, bridge or chain in the configuration is well formed but cannot be built from.",
        "Does not start.",
        "Correct the key the message names.";
    METRICS = "RLY-START-004", "Metrics cannot be recorded",
        "Another recorder is installed in this process.",
        "Does not start.",
        "Report it.";
}

impl Coded for WiringError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Config(error) => error.code(),
            Self::Store(_) => STORE,
            Self::ChainId { .. } => CHAIN_ID,
            Self::Key { .. } => KEY,
            Self::Chain(error) => error.code(),
            Self::Metrics(_) => METRICS,
            Self::Serve(error) => error.code(),
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            _ => Class::Reject,
        }
    }
}

fn wrong(key: impl Into<String>, reason: impl std::fmt::Display) -> WiringError {
    WiringError::Key {
        key: key.into(),
        reason: reason.to_string(),
    }
}

fn ms(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn seconds_ms(value: u64) -> i64 {
    ms(value.saturating_mul(1_000))
}

/// Opens the database; refuses one that loses acknowledged commits or has another schema.
pub async fn store(config: &Config) -> Result<Store, WiringError> {
    let url = config.store.url.resolve("store.url")?;
    let store = Store::open(&StoreConfig { url }).await?;
    store.assert_durable().await?;
    if config.store.migrate_on_start {
        store.migrate().await?;
    }
    store.check_schema().await?;
    Ok(store)
}

fn key_of(name: &ChainName, rest: &str) -> String {
    format!("chains.\"{name}\".{rest}")
}

/// One chain behind its endpoints.
pub fn rpc_chain(name: &ChainName, config: &ChainConfig, clock: Arc<dyn Clock>) -> Result<RpcChain, WiringError> {
    let urls: Vec<String> = config
        .rpc
        .iter()
        .map(|url| url.resolve(&key_of(name, "rpc")))
        .collect::<Result<_, _>>()?;
    let finality = match config.finality {
        Finality::Tag(FinalityTag::Finalized) => chain::Finality::Tag(chain::FinalityTag::Finalized),
        Finality::Tag(FinalityTag::Safe) => chain::Finality::Tag(chain::FinalityTag::Safe),
        Finality::Depth(depth) => chain::Finality::Depth(depth),
    };
    let rpc = RpcConfig {
        quorum: config.quorum(),
        timeout: Duration::from_millis(config.rpc_timeout_ms),
        log_range_max: config.log_range_max,
        ..RpcConfig::new(ChainId(config.chain_id), &urls, finality)
    };
    Ok(RpcChain::new(&rpc, clock)?)
}

/// All chains.
pub fn chains(config: &Config, clock: &Arc<dyn Clock>) -> Result<BTreeMap<ChainId, Arc<RpcChain>>, WiringError> {
    let made = config.chains.iter().map(|(name, chain)| {
        let rpc = rpc_chain(name, chain, clock.clone())?;
        Ok((ChainId(chain.chain_id), Arc::new(rpc)))
    });
    made.collect()
}

/// The chain id each endpoint answers by itself, in the order of the configuration.
pub async fn chain_ids(name: &ChainName, config: &ChainConfig) -> Vec<Result<u64, String>> {
    use alloy::providers::{Provider, ProviderBuilder};
    let bound = Duration::from_millis(config.rpc_timeout_ms);
    let ask = config.rpc.iter().map(|url| async move {
        let url = url.resolve(&key_of(name, "rpc")).map_err(|error| error.to_string())?;
        let url = url.parse().map_err(|_| "is not a URL".to_owned())?;
        let provider = ProviderBuilder::new().disable_recommended_fillers().connect_http(url);
        match tokio::time::timeout(bound, provider.get_chain_id()).await {
            Ok(Ok(found)) => Ok(found),
            // The error could repeat the URL and the key in it.
            Ok(Err(_)) => Err("does not answer eth_chainId".to_owned()),
            Err(_) => Err("does not answer in time".to_owned()),
        }
    });
    futures::future::join_all(ask).await
}

/// Fails when an endpoint serves another chain. One that does not answer is only reported: it may come back.
async fn check_chain_ids(config: &Config) -> Result<(), WiringError> {
    for (name, chain) in &config.chains {
        for (index, answer) in chain_ids(name, chain).await.into_iter().enumerate() {
            match answer {
                Ok(found) if found != chain.chain_id => {
                    return Err(WiringError::ChainId {
                        key: key_of(name, "rpc"),
                        index,
                        found,
                        expected: chain.chain_id,
                    });
                }
                Ok(_) => {}
                Err(reason) => tracing::warn!(chain = chain.chain_id, index, reason, "endpoint does not answer"),
            }
        }
    }
    Ok(())
}

/// Signers of one chain.
pub fn signers(name: &ChainName, config: &ChainConfig) -> Result<SignerPool, WiringError> {
    let mut keys = Vec::with_capacity(config.signers.len());
    for (index, secret) in config.signers.iter().enumerate() {
        let key = key_of(name, &format!("signers[{index}]"));
        let text = secret.resolve(&key)?;
        // The parser's own message could repeat the key.
        keys.push(B256::from_str(&text).map_err(|_| wrong(&key, "is not 32 bytes of hex"))?);
    }
    Ok(SignerPool::new(ChainId(config.chain_id), &keys)?)
}

fn fee_policy(config: &Config, chain: &ChainConfig) -> FeePolicy {
    let gwei = U256::from(1_000_000_000u64);
    FeePolicy {
        max_fee_cap: chain.fees.max_fee_per_gas.as_u128(),
        tx_cap: chain.fees.per_tx.0,
        day_cap_gwei: u64::try_from(chain.fees.per_day.0.checked_div(gwei).unwrap_or_default()).unwrap_or(u64::MAX),
        priority_floor: chain.fees.priority_fee_min.as_u128(),
        escalate_after_ms: ms(config.tx.escalate_after_ms),
        escalate_percent: config.tx.escalate_percent,
        rebroadcast_ms: ms(config.tx.rebroadcast_ms),
        legacy: chain.fees.legacy,
        ..FeePolicy::default()
    }
}

fn layerzero(config: &Config, id: &BridgeId, bridge: &BridgeConfig) -> Result<LayerZeroAdapter, WiringError> {
    let key = format!("bridges.{id}");
    let mut chains = Vec::new();
    for (name, entry) in &bridge.chains {
        let missing = |what: &str| wrong(format!("{key}.chains.\"{name}\".{what}"), "is required");
        chains.push(LayerZeroChain {
            chain: ChainId(name.reference()),
            eid: entry.eid.ok_or_else(|| missing("eid"))?,
            endpoint: entry.endpoint_address.ok_or_else(|| missing("endpoint_address"))?,
            port: entry.port.ok_or_else(|| missing("port"))?,
            outbox: config.chains.get(name).and_then(|chain| chain.contracts.outbox),
            receive_library: None,
        });
    }
    let adapter = LayerZeroConfig {
        gas_limit: u128::from(bridge.receive_gas),
        expected_seconds: bridge.expected,
        ..LayerZeroConfig::new(id.clone(), chains)
    };
    LayerZeroAdapter::new(adapter).map_err(|error| wrong(key, error))
}

/// All bridges, enabled or not: what is under way over a disabled one is still followed.
pub fn adapters(config: &Config) -> Result<BTreeMap<BridgeId, Arc<dyn BridgeAdapter>>, WiringError> {
    let made = config.bridges.iter().map(|(id, bridge)| {
        let adapter: Arc<dyn BridgeAdapter> = match bridge.protocol {
            Protocol::Layerzero => Arc::new(layerzero(config, id, bridge)?),
        };
        Ok((id.clone(), adapter))
    });
    made.collect()
}

/// What a bridge's protocol says about its port on the view's chain, for `doctor`.
pub async fn inspect_bridge(
    config: &Config,
    id: &BridgeId,
    bridge: &BridgeConfig,
    view: &dyn ChainView,
) -> Result<Vec<Finding>, String> {
    match bridge.protocol {
        Protocol::Layerzero => {
            let adapter = layerzero(config, id, bridge).map_err(|error| error.to_string())?;
            adapter.inspect(view).await.map_err(|error| error.to_string())
        }
    }
}

/// The stages and what the API needs, built but not running.
#[derive(Debug)]
pub struct Wired {
    pub store: Store,
    pub tasks: Vec<Task>,
    pub service: Service,
    pub wakers: Wakers,
    writer: IntakeWriter,
    clock: Arc<dyn Clock>,
}

struct Wiring<'a> {
    config: &'a Config,
    store: Store,
    clock: Arc<dyn Clock>,
    owner: String,
    rpc: BTreeMap<ChainId, Arc<RpcChain>>,
    chains: BTreeMap<ChainId, Arc<dyn Chain>>,
    senders: BTreeMap<ChainId, Arc<Sender>>,
    adapters: BTreeMap<BridgeId, Arc<dyn BridgeAdapter>>,
    tasks: Vec<Task>,
}

impl Wiring<'_> {
    fn task(&mut self, stage: impl Stage + 'static, idle_ms: u64) {
        self.tasks.push(Task {
            stage: Arc::new(stage),
            idle: Duration::from_millis(idle_ms),
        });
    }

    fn all_adapters(&self) -> Vec<Arc<dyn BridgeAdapter>> {
        self.adapters.values().cloned().collect()
    }

    /// Observer, sender and transaction engine of every chain.
    fn chain_stages(&mut self) -> Result<(), WiringError> {
        for (name, chain) in &self.config.chains {
            let id = ChainId(chain.chain_id);
            let Some(rpc) = self.rpc.get(&id).cloned() else {
                continue;
            };
            let contracts = Contracts {
                outbox: chain.contracts.outbox,
                inbox: chain.contracts.inbox,
                vault: chain.contracts.vault,
            };
            let params = ObserverParams {
                start_block: chain.start_block,
                range_max: chain.log_range_max,
                ..ObserverParams::default()
            };
            self.task(
                Observer::new(rpc.clone(), self.store.clone(), contracts, params),
                chain.poll_ms,
            );
            let pool = signers(name, chain)?;
            if pool.addresses().is_empty() {
                tracing::warn!(chain = id.0, "no signer: this relayer sends nothing on this chain");
                continue;
            }
            let params = SenderParams {
                owner: self.owner.clone(),
                lease_ms: self.config.supervisor.lease_ms,
                fees: fee_policy(self.config, chain),
            };
            let sender = Sender::new(rpc.clone(), self.store.clone(), pool, params, self.clock.clone());
            let sender = Arc::new(sender);
            self.senders.insert(id, sender.clone());
            let tx_chain: Arc<dyn TxChain> = rpc;
            self.task(
                TxEngine::new(tx_chain, self.store.clone(), sender),
                self.config.tx.poll_ms,
            );
        }
        Ok(())
    }

    fn router(&self) -> Router {
        let config = self.config;
        let enabled = config.bridges.iter().filter(|(_, bridge)| bridge.enabled);
        let caps: Vec<U256> = enabled.clone().map(|(_, bridge)| bridge.default_fee.0).collect();
        let adapters = enabled.filter_map(|(id, _)| self.adapters.get(id).cloned()).collect();
        let preferred = BridgeId::new(&config.settlement.default_bridge)
            .ok()
            .into_iter()
            .collect();
        let params = RouterParams {
            owner: self.owner.clone(),
            lease_ms: config.supervisor.lease_ms,
            policy: Policy::Preferred(preferred),
            quote_timeout: Duration::from_millis(config.router.quote_timeout_ms),
            fee_caps: BTreeMap::new(),
            fee_cap_default: caps.into_iter().max().unwrap_or_default(),
            dispatches_max: config.settlement.max_retries as usize,
            patience: Patience {
                with_lane_ms: seconds_ms(config.router.abandon_after),
                without_lane_ms: seconds_ms(config.router.abandon_after_all_stalled),
            },
            retry_min_ms: seconds_ms(config.settlement.retry_delay),
            retry_max_ms: seconds_ms(config.settlement.timeout),
            recheck_ms: seconds_ms(config.settlement.timeout),
        };
        Router::new(self.store.clone(), adapters, self.chains.clone(), params)
    }

    /// The pipeline, in its order.
    fn stages(&mut self) {
        let config = self.config;
        let idle = config.supervisor.idle_ms;
        let lease_ms = config.supervisor.lease_ms;
        self.batcher();
        self.task(self.router(), idle);
        let params = DispatcherParams {
            owner: self.owner.clone(),
            lease_ms,
            quote_age_max_ms: ms(config.dispatcher.quote_age_ms_max),
            quote_timeout: Duration::from_millis(config.router.quote_timeout_ms),
            retry: RetryPolicy {
                first: Duration::from_secs(config.settlement.retry_delay),
                max: Duration::from_secs(config.settlement.timeout),
            },
            failures_max: config.dispatcher.failures_max,
        };
        let (store, chains, senders) = (self.store.clone(), self.chains.clone(), self.senders.clone());
        self.task(
            Dispatcher::new(store, self.all_adapters(), chains, senders, params),
            idle,
        );
        let params = TrackerParams {
            owner: self.owner.clone(),
            lease_ms,
            stall: StallRule {
                timeout_ms: seconds_ms(config.settlement.timeout),
                history_min: 8,
                history_factor: 3,
            },
            poll_min_ms: ms(config.tracker.poll_ms),
            poll_max_ms: ms(config.tracker.poll_ms_max),
        };
        let (store, chains) = (self.store.clone(), self.chains.clone());
        self.task(
            Tracker::new(store, self.all_adapters(), chains, params),
            idle.min(config.tracker.poll_ms),
        );
        self.payout();
        self.reconcilers();
        let sampler = Sampler {
            store: self.store.clone(),
            chains: self.chains.keys().copied().collect(),
            bridges: self.adapters.keys().cloned().collect(),
        };
        self.task(sampler, 5_000);
    }
}

impl Wiring<'_> {
    fn batcher(&mut self) {
        let config = self.config;
        let chains = config.chains.values();
        let params = BatcherParams {
            rule: BatchRule {
                count_max: config.batcher.count_max as usize,
                linger_ms: ms(config.batcher.linger_ms),
            },
            deadline_margin: config.batcher.deadline_margin,
            targets: chains
                .clone()
                .filter(|chain| chain.contracts.inbox.is_some())
                .map(|chain| ChainId(chain.chain_id))
                .collect(),
            outboxes: chains
                .filter_map(|chain| Some((ChainId(chain.chain_id), chain.contracts.outbox?)))
                .collect(),
        };
        // Batches wait for their linger time, so looking more often than that pays off only when the linger time is short.
        let idle = config.supervisor.idle_ms.min(config.batcher.linger_ms.max(50));
        self.task(Batcher::new(self.store.clone(), params), idle);
    }

    fn reconcilers(&mut self) {
        for chain in self.config.chains.values() {
            let id = ChainId(chain.chain_id);
            let Some(rpc) = self.chains.get(&id).cloned() else {
                continue;
            };
            let contracts = &chain.contracts;
            let target = contracts.inbox.zip(contracts.vault);
            let params = ReconcilerParams {
                chain_id: id,
                target: target.map(|(inbox, vault)| TargetContracts { inbox, vault }),
                outbox: contracts.outbox,
                sweep_ms: ms(self.config.reconciler.sweep_ms),
            };
            self.task(
                Reconciler::new(self.store.clone(), rpc, params),
                self.config.supervisor.idle_ms,
            );
        }
    }

    fn payout(&mut self) {
        let config = self.config;
        let params = PayoutParams {
            owner: self.owner.clone(),
            lease_ms: config.supervisor.lease_ms,
            limits: ChunkLimits {
                bytes_max: config.payout.chunk_bytes_max,
                gas_max: config.payout.chunk_gas_max,
            },
            gas: GasModel::default(),
            gap_max: 4,
            executions_max: config.payout.executions_max,
            simulations_max: 32,
            probes_max: 32,
            retry_min_ms: ms(config.payout.retry_ms),
            retry_max_ms: ms(config.payout.retry_ms_max),
            recheck_ms: ms(config.payout.retry_ms_max),
            rescue: RescueParams {
                enabled: config.tracker.rescue,
                patience_ms: seconds_ms(config.tracker.rescue_after),
                interval_ms: seconds_ms(config.tracker.rescue_after),
                attempts_max: 5,
                value_cap: U256::ZERO,
            },
        };
        let (store, chains, senders) = (self.store.clone(), self.chains.clone(), self.senders.clone());
        let payout = Payout::new(store, self.all_adapters(), chains, senders, params);
        self.task(payout, config.supervisor.idle_ms);
    }

    /// Number of bridge families that connect each ordered pair of chains.
    fn lanes(&self) -> BTreeMap<(ChainId, ChainId), u8> {
        let mut lanes = BTreeMap::new();
        let enabled = self
            .adapters
            .iter()
            .filter(|(id, _)| self.config.bridges.get(*id).is_some_and(|bridge| bridge.enabled));
        let enabled: Vec<_> = enabled.map(|(_, adapter)| adapter).collect();
        for from in self.chains.keys() {
            for to in self.chains.keys().filter(|to| *to != from) {
                let families: BTreeSet<_> = enabled
                    .iter()
                    .filter_map(|adapter| adapter.lane(*from, *to))
                    .map(|lane| lane.family)
                    .collect();
                if let Ok(count @ 1..) = u8::try_from(families.len()) {
                    lanes.insert((*from, *to), count);
                }
            }
        }
        lanes
    }

    /// Asks every vault for its exit delay; waits for chains that do not answer, because no deadline could be judged without.
    async fn targets(&self, stop: &CancellationToken) -> Result<BTreeMap<ChainId, TargetPolicy>, WiringError> {
        let mut targets = BTreeMap::new();
        for (name, chain) in &self.config.chains {
            let (Some(inbox), Some(vault)) = (chain.contracts.inbox, chain.contracts.vault) else {
                continue;
            };
            let id = ChainId(chain.chain_id);
            let Some(rpc) = self.chains.get(&id) else { continue };
            let exit_delay = loop {
                match exit_delay(rpc.as_ref(), vault).await {
                    Ok(delay) => break delay,
                    Err(error) if error.class() == Class::Reject || stop.is_cancelled() => {
                        return Err(wrong(key_of(name, "contracts.vault"), error));
                    }
                    Err(error) => {
                        tracing::warn!(chain = id.0, %error, "waiting for the vault's exit delay");
                        tokio::select! {
                            () = stop.cancelled() => {}
                            () = tokio::time::sleep(Duration::from_secs(2)) => {}
                        }
                    }
                }
            };
            targets.insert(id, TargetPolicy { inbox, exit_delay });
        }
        Ok(targets)
    }

    async fn intake(
        &self,
        accepted: Arc<tokio::sync::Notify>,
        stop: &CancellationToken,
    ) -> Result<(Intake, IntakeWriter), WiringError> {
        let config = self.config;
        let mut coordinators = BTreeMap::new();
        for (id, coordinator) in &config.coordinators {
            let keys = PinnedKeys::parse(&coordinator.receipt_keys);
            let policy = CoordinatorPolicy {
                keys: keys.map_err(|error| wrong(format!("coordinators.{id}.receipt_keys"), error))?,
                payers: coordinator.payers.iter().copied().collect(),
                amount_rule: coordinator.amount_rule,
                allow_contract_payers: coordinator.allow_contract_payers,
                fee_recipient: coordinator.fee_recipient,
            };
            coordinators.insert(id.clone(), policy);
        }
        let policy = IntakePolicy {
            coordinators,
            targets: self.targets(stop).await?,
            lanes: self.lanes(),
            receipt_bytes_max: config.intake.receipt_bytes_max,
            receipts_max: config.intake.receipts_per_settlement_max,
            proof_bytes_max: config.intake.proof_bytes_max,
            queue_max: config.intake.queue_max,
            commit_rows_max: config.intake.commit_rows_max,
            verify_threads: config.intake.verify_threads,
            deadline_margin: config.intake.deadline_margin,
            exit_margin: config.intake.exit_margin,
        };
        Intake::new(
            policy,
            self.store.clone(),
            self.chains.clone(),
            self.clock.clone(),
            accepted,
        )
        .map_err(|error| wrong("intake.verify_threads", error))
    }
}

async fn exit_delay(chain: &dyn Chain, vault: Address) -> Result<u64, ViewError> {
    let head = chain.head().await?;
    let data = ISettlementVault::exitDelayCall {}.abi_encode().into();
    let answer = chain.view(head).call(None, vault, data, U256::ZERO).await?;
    let delay = ISettlementVault::exitDelayCall::abi_decode_returns(&answer)
        .map_err(|_| ViewError::Reverted { data: answer.to_vec() })?;
    Ok(u64::try_from(delay).unwrap_or(u64::MAX))
}

/// Builds everything. No stage runs yet; targets are asked for what never changes.
pub async fn wire(config: &Config, store: Store, stop: &CancellationToken) -> Result<Wired, WiringError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let rpc = chains(config, &clock)?;
    let mut wiring = Wiring {
        config,
        store: store.clone(),
        clock: clock.clone(),
        // A name no other process has, so that leases of a killed predecessor are never taken for ours.
        owner: format!("relayer-{}-{:08x}", std::process::id(), rand::random::<u32>()),
        chains: rpc
            .iter()
            .map(|(id, chain)| (*id, chain.clone() as Arc<dyn Chain>))
            .collect(),
        rpc,
        senders: BTreeMap::new(),
        adapters: adapters(config)?,
        tasks: Vec::new(),
    };
    wiring.chain_stages()?;
    wiring.stages();
    let ends = config.chains.values().map(|chain| {
        let ends = Ends {
            outbox: chain.contracts.outbox,
            inbox: chain.contracts.inbox,
        };
        (ChainId(chain.chain_id), ends)
    });
    let wakers = Wakers::default();
    let (intake, writer) = wiring.intake(wakers.of("batcher"), stop).await?;
    let service = Service {
        store: store.clone(),
        intake,
        router: Arc::new(wiring.router()),
        clock: clock.clone(),
        ends: ends.collect(),
        count_max: config.batcher.count_max,
        quote_age_ms_max: config.dispatcher.quote_age_ms_max,
    };
    Ok(Wired {
        store,
        tasks: wiring.tasks,
        service,
        wakers,
        writer,
        clock,
    })
}
