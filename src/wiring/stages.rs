//! The loops of one process: observer and transaction engine per chain, the pipeline in its order, the intake's policy.

use super::books::{auditor, reconciler_params};
use super::chains::{fee_policy, key_of, signers};
use super::{Face, WiringError, hubs, ms, seconds_ms, wrong};
use crate::api::{Ends, Service};
use crate::batcher::{BatchRule, Batcher, BatcherParams};
use crate::chain::decode::Contracts;
use crate::chain::engine::TxEngine;
use crate::chain::observer::{Observer, ObserverParams};
use crate::chain::retry::RetryPolicy;
use crate::chain::sender::{Sender, SenderParams};
use crate::chain::{Chain, ExitDelayReader, Gate, RpcChain, TxChain};
use crate::clock::Clock;
use crate::config::{BridgeConfig, ChainConfig, Config};
use crate::dispatcher::{Dispatcher, DispatcherParams};
use crate::error::Coded;
use crate::hub::ledger::Follower;
use crate::hub::observer::{HubObserver, HubObserverParams};
use crate::hub::{CheckpointRelay, HubLane, Recorder, SignedCheckpoints};
use crate::intake::{CoordinatorPolicy, Intake, IntakePolicy, IntakeWriter, TargetPolicy};
use crate::payout::{Payout, PayoutParams, RescueParams};
use crate::reconciler::{Origin, Reconciler};
use crate::recover::{Recover, RecoverChain};
use crate::router::{
    BreakerRule, BridgeLimits, CapRule, HistoryRule, LaneWatch, Patience, Router, RouterParams, WatchParams,
};
use crate::sampler::{Censuses, Sampler};
use crate::settlement::packed::{ChunkLimits, GasModel};
use crate::settlement::receipt::PinnedKeys;
use crate::stage::Stage;
use crate::store::{CheckpointLane, Store};
use crate::supervisor::Task;
use crate::tracker::{StallRule, Tracker, TrackerParams};
use alloy::primitives::{Address, U256};
use relayer_adapter_api::{BridgeAdapter, BridgeId, ChainId, Class};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;
use tokio::sync::Notify;

/// How long a start waits for a vault nobody has ever asked.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// How long a lane's quote stands for the next messages of the lane: a few blocks, well within the buffer adapters add to it.
const QUOTE_MS: i64 = 5_000;

/// How often hubs' ledgers are looked at: what happens there becomes final with blocks, and the observer's commits wake the loop.
const HUB_LEDGER_MS: u64 = 2_000;

pub(super) struct Wiring<'a> {
    pub config: &'a Config,
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub owner: String,
    pub rpc: BTreeMap<ChainId, Arc<RpcChain>>,
    pub chains: BTreeMap<ChainId, Arc<dyn Chain>>,
    pub senders: BTreeMap<ChainId, Arc<Sender>>,
    pub adapters: BTreeMap<BridgeId, Arc<dyn BridgeAdapter>>,
    pub tasks: Vec<Task>,
    /// Of the chains that are sent to.
    pub gates: BTreeMap<ChainId, Arc<Gate>>,
}

impl Wiring<'_> {
    fn task(&mut self, stage: impl Stage + 'static, idle_ms: u64) {
        self.tasks.push(Task {
            stage: Arc::new(stage),
            idle: Duration::from_millis(idle_ms),
        });
    }

    fn signer_accounts(&self) -> Vec<(Arc<dyn Chain>, Vec<Address>)> {
        let senders = self.senders.iter();
        senders
            .filter_map(|(id, sender)| Some((self.chains.get(id)?.clone(), sender.addresses())))
            .collect()
    }

    fn all_adapters(&self) -> Vec<Arc<dyn BridgeAdapter>> {
        self.adapters.values().cloned().collect()
    }

    pub fn observers(&mut self) {
        for chain in self.config.chains.values() {
            let id = ChainId(chain.chain_id);
            let Some(rpc) = self.rpc.get(&id).cloned() else {
                continue;
            };
            let observer = observer(self.config, chain, rpc.clone(), self.store.clone());
            self.task(observer, chain.poll_ms);
            let hubs: Vec<Address> = hubs::followed(self.config, id).iter().map(|hub| hub.contract).collect();
            if !hubs.is_empty() {
                let params = HubObserverParams {
                    chain: id,
                    hubs,
                    check_ms: ms(self.config.reconciler.sweep_ms),
                };
                self.task(HubObserver::new(self.store.clone(), rpc, params), chain.poll_ms);
            }
        }
    }

    /// Sender and transaction engine of every chain.
    pub fn engines(&mut self) -> Result<(), WiringError> {
        for (name, chain) in &self.config.chains {
            let id = ChainId(chain.chain_id);
            let Some(rpc) = self.rpc.get(&id).cloned() else {
                continue;
            };
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
            let gate = self.gate(id, chain, rpc.clone(), pool.addresses());
            let sender = Sender::new(rpc.clone(), self.store.clone(), pool, params, self.clock.clone()).behind(gate);
            if self.config.dry_run {
                // No engine either: what an earlier run prepared stays where it is.
                self.senders.insert(id, Arc::new(sender.dry_run()));
                continue;
            }
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

    /// What keeps a chain from being sent to while this database is behind it.
    fn gate(&mut self, id: ChainId, chain: &ChainConfig, rpc: Arc<RpcChain>, signers: Vec<Address>) -> Arc<Gate> {
        let contracts = contracts(chain);
        let gate = Arc::new(Gate::new(
            rpc,
            self.store.clone(),
            contracts,
            signers,
            self.clock.clone(),
        ));
        self.gates.insert(id, gate.clone());
        gate
    }

    pub fn router(&self) -> Result<Router, WiringError> {
        let config = self.config;
        let enabled = config.bridges.iter().filter(|(_, bridge)| bridge.enabled);
        let mut limits = BTreeMap::new();
        for (id, bridge) in enabled.clone() {
            limits.insert(id.clone(), bridge_limits(id, bridge)?);
        }
        let prices = config.prices.parse();
        let prices = prices.map_err(|(key, reason)| wrong(key, reason))?;
        let adapters = enabled.filter_map(|(id, _)| self.adapters.get(id).cloned()).collect();
        let preferred = BridgeId::new(&config.settlement.default_bridge)
            .ok()
            .into_iter()
            .collect();
        let params = RouterParams {
            owner: self.owner.clone(),
            lease_ms: config.supervisor.lease_ms,
            policy: config.router.policy,
            order: preferred,
            quote_timeout: Duration::from_millis(config.router.quote_timeout_ms),
            limits,
            cap_rule: CapRule {
                of_fees: config.router.fee_of_fees_max,
                of_amounts: config.router.fee_of_amounts_max,
            },
            prices: Arc::new(prices),
            history: HistoryRule {
                dispatches: config.router.health_dispatches,
                breaker: breaker_rule(config),
            },
            dispatches_max: config.settlement.max_retries as usize,
            patience: Patience {
                with_lane_ms: seconds_ms(config.router.abandon_after),
                without_lane_ms: seconds_ms(config.router.abandon_after_all_stalled),
            },
            retry_min_ms: seconds_ms(config.settlement.retry_delay),
            retry_max_ms: seconds_ms(config.settlement.timeout),
            recheck_ms: seconds_ms(config.settlement.timeout),
            quote_ms: ms(config.dispatcher.quote_age_ms_max).min(QUOTE_MS),
        };
        Ok(Router::new(self.store.clone(), adapters, self.chains.clone(), params))
    }

    /// The pipeline, in its order.
    pub fn stages(&mut self) -> Result<(), WiringError> {
        let config = self.config;
        let idle = config.supervisor.idle_ms;
        let lease_ms = config.supervisor.lease_ms;
        self.batcher();
        let router = self.router()?;
        self.task(router, idle);
        let watch = WatchParams {
            every_ms: ms(config.router.watch_ms),
            timeout: Duration::from_millis(config.router.quote_timeout_ms),
        };
        let watch = LaneWatch::new(self.store.clone(), self.all_adapters(), self.chains.clone(), watch);
        self.task(watch, idle.max(config.router.watch_ms));
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
            ask_early: false,
        };
        let (store, chains) = (self.store.clone(), self.chains.clone());
        self.task(
            Tracker::new(store, self.all_adapters(), chains, params),
            idle.min(config.tracker.poll_ms),
        );
        self.payout();
        self.checkpoints();
        self.reconcilers()?;
        let sampler = Sampler {
            store: self.store.clone(),
            chains: self.chains.keys().copied().collect(),
            bridges: self.adapters.keys().cloned().collect(),
            signers: self.signer_accounts(),
            next_balances: AtomicI64::new(0),
            censuses: Censuses::default(),
            next_figures: AtomicI64::new(0),
        };
        self.task(sampler, 1_000);
        self.task(Follower::new(self.store.clone(), self.clock.clone()), HUB_LEDGER_MS);
        Ok(())
    }
}

/// Our contracts on a chain.
fn contracts(chain: &ChainConfig) -> Contracts {
    Contracts {
        outbox: chain.contracts.outbox,
        inbox: chain.contracts.inbox,
        vault: chain.contracts.vault,
        registry: chain.contracts.registry,
    }
}

fn observer(config: &Config, chain: &ChainConfig, rpc: Arc<RpcChain>, store: Store) -> Observer {
    let params = ObserverParams {
        start_block: chain.start_block,
        range_max: chain.log_range_max,
        ..ObserverParams::default()
    };
    let hubs = hubs::followed(config, ChainId(chain.chain_id));
    Observer::new(rpc, store, contracts(chain), params).with_hubs(hubs)
}

/// Everything recovery needs of the configured chains and bridges.
pub(super) fn recover(
    config: &Config,
    store: Store,
    rpc: &BTreeMap<ChainId, Arc<RpcChain>>,
    adapters: &BTreeMap<BridgeId, Arc<dyn BridgeAdapter>>,
) -> Result<Recover, WiringError> {
    let mut chains = BTreeMap::new();
    for (name, chain) in &config.chains {
        let id = ChainId(chain.chain_id);
        let Some(rpc) = rpc.get(&id) else { continue };
        let member = RecoverChain {
            chain: rpc.clone(),
            transactions: rpc.clone(),
            contracts: contracts(chain),
            observer: observer(config, chain, rpc.clone(), store.clone()),
            signers: signers(name, chain)?.addresses(),
        };
        chains.insert(id, member);
    }
    let ids: Vec<ChainId> = chains.keys().copied().collect();
    let pairs = ids.iter().flat_map(|from| ids.iter().map(move |to| (*from, *to)));
    let lanes = pairs.flat_map(|(from, to)| adapters.values().filter_map(move |adapter| adapter.lane(from, to)));
    let lanes = lanes.collect();
    Ok(Recover::new(store, chains, lanes))
}

fn bridge_limits(id: &BridgeId, bridge: &BridgeConfig) -> Result<BridgeLimits, WiringError> {
    let cap = |name: &str, text: &Option<String>| {
        let value = text.as_deref().map(crate::config::value).transpose();
        value.map_err(|reason| wrong(format!("bridges.{id}.{name}"), reason))
    };
    let chains = bridge.chains.iter();
    Ok(BridgeLimits {
        fee_cap: bridge.default_fee.0,
        fee_caps: chains
            .filter_map(|(name, chain)| Some((ChainId(name.reference()), chain.fee_cap?.0)))
            .collect(),
        lane_value: cap("lane_value_max", &bridge.lane_value_max)?,
        bridge_value: cap("value_max", &bridge.value_max)?,
    })
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
        let batcher = Batcher::new(self.store.clone(), params).behind(self.gates.clone());
        self.task(batcher, idle);
    }

    fn reconcilers(&mut self) -> Result<(), WiringError> {
        for (name, chain) in &self.config.chains {
            let id = ChainId(chain.chain_id);
            let Some(rpc) = self.rpc.get(&id).cloned() else {
                continue;
            };
            let (auditor, _) = auditor(self.config, (name, chain), &self.store, &rpc, &self.clock)?;
            let params = reconciler_params(self.config, chain);
            let reconciler = Reconciler::new(self.store.clone(), rpc, params).with_origins(self.origins(id));
            self.task(reconciler, self.config.supervisor.idle_ms);
            self.task(auditor, self.config.supervisor.idle_ms);
        }
        Ok(())
    }

    /// Where messages to a chain come from: the other chains with an outbox, and which port there belongs to which port here.
    fn origins(&self, target: ChainId) -> Vec<Origin> {
        let mut origins = Vec::new();
        for chain in self.config.chains.values() {
            let id = ChainId(chain.chain_id);
            let (Some(rpc), Some(outbox)) = (self.chains.get(&id), chain.contracts.outbox) else {
                continue;
            };
            if id == target {
                continue;
            }
            let lanes = self.adapters.values().filter_map(|adapter| adapter.lane(id, target));
            origins.push(Origin {
                chain: rpc.clone(),
                outbox,
                ports: lanes.map(|lane| (lane.target_port, lane.source_port)).collect(),
            });
        }
        origins
    }

    /// The relay of hubs' checkpoints and the recorder at their targets.
    fn checkpoints(&mut self) {
        let lanes = self.hub_lanes();
        if lanes.is_empty() {
            return;
        }
        let (store, chains, senders) = (self.store.clone(), self.chains.clone(), self.senders.clone());
        let idle = self.config.supervisor.idle_ms;
        self.task(CheckpointRelay::new(store.clone(), chains.clone(), lanes.clone()), idle);
        self.task(Recorder::new(store, chains, senders, lanes), idle);
    }

    /// Every configured hub with every chain that learns its checkpoints.
    fn hub_lanes(&self) -> Vec<HubLane> {
        let chains = &self.config.chains;
        let mut lanes = Vec::new();
        for (name, hub) in &self.config.hubs {
            for target in &hub.targets {
                let contracts = chains.get(target).map(|chain| &chain.contracts);
                let ends = contracts.and_then(|contracts| contracts.inbox.zip(contracts.registry));
                // Validation has refused a target without them.
                let Some((inbox, registry)) = ends else { continue };
                lanes.push(HubLane {
                    name: name.clone(),
                    lane: CheckpointLane {
                        source: ChainId(hub.chain.reference()),
                        hub: hub.contract,
                        target: ChainId(target.reference()),
                    },
                    outbox: chains.get(&hub.chain).and_then(|chain| chain.contracts.outbox),
                    inbox,
                    registry,
                    policy: hub.policy,
                });
            }
        }
        lanes
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

    /// Every vault's exit delay, from the database or the chain. A chain that does not answer now is asked again by a loop of its own;
    /// until then nothing is accepted for it. An address that is no vault fails the start.
    async fn targets(&mut self) -> Result<BTreeMap<ChainId, TargetPolicy>, WiringError> {
        let mut readers = Vec::new();
        for (name, chain) in &self.config.chains {
            let id = ChainId(chain.chain_id);
            let contracts = &chain.contracts;
            let (Some(inbox), Some(vault), Some(rpc)) = (contracts.inbox, contracts.vault, self.chains.get(&id)) else {
                continue;
            };
            let reader = ExitDelayReader::new(rpc.clone(), self.store.clone(), vault);
            readers.push((name, id, inbox, vault, reader));
        }
        let asked = readers
            .iter()
            .map(|(.., reader)| tokio::time::timeout(FIRST_ANSWER, reader.learn()));
        let answers = futures::future::join_all(asked).await;
        let mut targets = BTreeMap::new();
        for ((name, id, inbox, vault, reader), answer) in readers.into_iter().zip(answers) {
            match answer {
                Ok(Ok(_)) => {}
                Ok(Err(error)) if error.class() == Class::Reject => {
                    return Err(wrong(key_of(name, "contracts.vault"), error));
                }
                Ok(Err(error)) => tracing::warn!(chain = id.0, %error, "starting without the vault's exit delay"),
                Err(_) => tracing::warn!(chain = id.0, "starting without the vault's exit delay: no answer"),
            }
            let exit_delay = reader.delay();
            if exit_delay.get().is_none() {
                self.task(reader, self.config.supervisor.idle_ms);
            }
            let target = TargetPolicy {
                inbox,
                vault,
                exit_delay,
            };
            targets.insert(id, target);
        }
        Ok(targets)
    }

    /// Intake and API. `accepted` is rung after every commit of the intake.
    pub async fn face(&mut self, accepted: Arc<Notify>) -> Result<Face, WiringError> {
        let config = self.config;
        let (intake, writer) = self.intake(accepted).await?;
        let ends = config.chains.values().map(|chain| {
            let ends = Ends {
                outbox: chain.contracts.outbox,
                inbox: chain.contracts.inbox,
            };
            (ChainId(chain.chain_id), ends)
        });
        let service = Service {
            store: self.store.clone(),
            intake,
            router: Arc::new(self.router()?),
            clock: self.clock.clone(),
            ends: ends.collect(),
            count_max: config.batcher.count_max,
            quote_age_ms_max: config.dispatcher.quote_age_ms_max,
        };
        let lanes = self.hub_lanes();
        let takes_signed = !lanes.is_empty() && !config.dry_run;
        let signed = takes_signed.then(|| {
            let (store, chains, clock) = (self.store.clone(), self.chains.clone(), self.clock.clone());
            Arc::new(SignedCheckpoints::new(store, chains, lanes, clock))
        });
        Ok(Face {
            service,
            writer,
            signed,
        })
    }

    async fn intake(&mut self, accepted: Arc<Notify>) -> Result<(Intake, IntakeWriter), WiringError> {
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
            targets: self.targets().await?,
            lanes: self.lanes(),
            hubs: hubs::policies(config),
            receipt_bytes_max: config.intake.receipt_bytes_max,
            receipts_max: config.intake.receipts_per_settlement_max,
            proof_bytes_max: config.intake.proof_bytes_max,
            queue_max: config.intake.queue_max,
            queue_bytes_max: config.intake.queue_bytes_max,
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

/// When lanes are shut by their own history.
pub fn breaker_rule(config: &Config) -> BreakerRule {
    BreakerRule {
        failures: config.router.breaker_failures,
        cooldown_ms: seconds_ms(config.router.breaker_cooldown),
        cooldown_max_ms: seconds_ms(config.router.breaker_cooldown_max),
    }
}
