//! What the types cannot say: every problem names its key and what would be right.

use super::{BridgeChainConfig, BridgeConfig, ChainConfig, Config, Finality, Protocol, Role, Secret};
use crate::settlement::receipt::PinnedKeys;
use std::collections::BTreeSet;
use std::fmt;

/// One wrong key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub key: String,
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}

struct Check(Vec<Problem>);

impl Check {
    fn that(&mut self, holds: bool, key: impl Into<String>, reason: impl Into<String>) {
        if !holds {
            self.0.push(Problem {
                key: key.into(),
                reason: reason.into(),
            });
        }
    }

    fn within<T: PartialOrd + fmt::Display>(&mut self, key: &str, value: T, low: T, high: T) {
        let reason = format!("{value} is outside {low} to {high}");
        self.that(value >= low && value <= high, key, reason);
    }
}

impl Config {
    /// Everything that is wrong, in the order of the file. Secrets are not fetched.
    pub fn problems(&self) -> Vec<Problem> {
        let mut check = Check(Vec::new());
        self.check_service(&mut check);
        self.check_limits(&mut check);
        for (name, chain) in &self.chains {
            let key = format!("chains.{name:?}", name = name.as_str());
            check_chain(&mut check, &key, name.reference(), chain);
            let contracts = &chain.contracts;
            check.that(
                contracts.outbox.is_some()
                    || contracts.inbox.is_some()
                    || self.hubs.values().any(|hub| hub.chain == *name),
                format!("{key}.contracts"),
                "a source needs outbox, a target needs inbox and vault",
            );
        }
        for (id, bridge) in &self.bridges {
            self.check_bridge(&mut check, id.as_str(), bridge);
        }
        self.check_hubs(&mut check);
        self.check_coordinators(&mut check);
        check.0
    }

    /// What `serve` needs beyond a valid file.
    pub fn problems_to_serve(&self) -> Vec<Problem> {
        let mut check = Check(self.problems());
        check.that(!self.chains.is_empty(), "chains", "at least one chain is needed");
        let roles = &self.supervisor.roles;
        check.that(
            !self.coordinators.is_empty() || !roles.has(Role::Api),
            "coordinators",
            "at least one coordinator is needed",
        );
        let bridges_matter = roles.has(Role::Api) || roles.has(Role::Engine);
        check.that(
            !bridges_matter || self.bridges.values().any(|bridge| bridge.enabled),
            "bridges",
            "at least one enabled bridge is needed",
        );
        check.0
    }

    fn check_service(&self, check: &mut Check) {
        for (key, listen) in [
            ("api.grpc_listen", self.api.grpc_listen),
            ("api.rest_listen", self.api.rest_listen),
        ] {
            check.that(
                listen.ip().is_loopback() || self.api.insecure_listen,
                key,
                format!(
                    "{listen} is not loopback and there is no TLS: put a TLS proxy in front, or set api.insecure_listen"
                ),
            );
        }
        let same = self.api.grpc_listen == self.api.rest_listen && self.api.grpc_listen.port() != 0;
        check.that(!same, "api.rest_listen", "must differ from api.grpc_listen");
        if let Secret::Value(url) = &self.store.url {
            let known = ["sqlite:", "postgres://", "postgresql://"]
                .iter()
                .any(|scheme| url.starts_with(scheme));
            check.that(known, "store.url", "must start with sqlite: or postgres://");
        }
        check.within("api.body_bytes_max", self.api.body_bytes_max, 1_024, 64 << 20);
        check.within("api.requests_max", self.api.requests_max, 1, 100_000);
        check.within("api.request_timeout_ms", self.api.request_timeout_ms, 100, 600_000);
        check.within("api.stream_items_max", self.api.stream_items_max, 1, 65_536);
        check.within("api.stream_stall_ms", self.api.stream_stall_ms, 100, 3_600_000);
        check.within("api.page_size_max", self.api.page_size_max, 1, 10_000);
        check.within("api.watch_streams_max", self.api.watch_streams_max, 1, 100_000);
        check.within("api.watch_ring_events", self.api.watch_ring_events, 1_000, 10_000_000);
        check.within("api.watch_stall_ms", self.api.watch_stall_ms, 100, 3_600_000);
        let filter = tracing_subscriber::EnvFilter::try_new(&self.log.level);
        check.that(
            filter.is_ok(),
            "log.level",
            "is not a tracing filter such as info or relayer=debug,info",
        );
    }

    fn check_limits(&self, check: &mut Check) {
        check.within("settlement.max_retries", self.settlement.max_retries, 1, 1_000);
        check.within("settlement.retry_delay", self.settlement.retry_delay, 1, 86_400);
        check.within("settlement.timeout", self.settlement.timeout, 10, 30 * 86_400);
        check.that(
            !self.supervisor.roles.is_empty(),
            "supervisor.roles",
            "name at least one of api, engine and observer",
        );
        check.within("supervisor.idle_ms", self.supervisor.idle_ms, 10, 60_000);
        check.within("supervisor.step_rows_max", self.supervisor.step_rows_max, 1, 10_000);
        check.within(
            "supervisor.backoff_ms_max",
            self.supervisor.backoff_ms_max,
            100,
            3_600_000,
        );
        check.within("supervisor.stop_ms_max", self.supervisor.stop_ms_max, 100, 600_000);
        check.within("supervisor.lease_ms", self.supervisor.lease_ms, 1_000, 3_600_000);
        check.within("intake.receipt_bytes_max", self.intake.receipt_bytes_max, 256, 16 << 20);
        check.within(
            "intake.receipts_per_settlement_max",
            self.intake.receipts_per_settlement_max,
            1,
            1_024,
        );
        check.within("intake.proof_bytes_max", self.intake.proof_bytes_max, 0, 16 << 20);
        check.within("intake.queue_max", self.intake.queue_max, 1, 1_000_000);
        check.within("intake.queue_bytes_max", self.intake.queue_bytes_max, 1 << 20, 16 << 30);
        check.within("intake.commit_rows_max", self.intake.commit_rows_max, 1, 2_000);
        check.within("intake.verify_threads", self.intake.verify_threads, 0, 256);
        check.within("batcher.count_max", self.batcher.count_max, 1, 1_024);
        check.within("batcher.linger_ms", self.batcher.linger_ms, 0, 86_400_000);
        check.that(
            self.intake.deadline_margin > self.batcher.deadline_margin,
            "intake.deadline_margin",
            "must exceed batcher.deadline_margin, or accepted settlements would never be batched",
        );
        self.check_router(check);
        check.within("router.abandon_after", self.router.abandon_after, 1, 30 * 86_400);
        check.within(
            "router.abandon_after_all_stalled",
            self.router.abandon_after_all_stalled,
            self.router.abandon_after,
            30 * 86_400,
        );
        check.within("router.quote_timeout_ms", self.router.quote_timeout_ms, 100, 600_000);
        check.within(
            "dispatcher.quote_age_ms_max",
            self.dispatcher.quote_age_ms_max,
            1_000,
            3_600_000,
        );
        check.within("dispatcher.failures_max", self.dispatcher.failures_max, 1, 1_000);
        self.check_delivery(check);
    }

    /// Limits of the stages behind the dispatcher.
    fn check_delivery(&self, check: &mut Check) {
        check.within("tracker.poll_ms", self.tracker.poll_ms, 10, self.tracker.poll_ms_max);
        check.within("payout.executions_max", self.payout.executions_max, 1, 1_000);
        check.within("tracker.rescue_after", self.tracker.rescue_after, 1, 30 * 86_400);
        check.within("payout.chunk_bytes_max", self.payout.chunk_bytes_max, 1_024, 131_072);
        check.within(
            "payout.chunk_gas_max",
            self.payout.chunk_gas_max,
            500_000,
            1_000_000_000,
        );
        check.within("payout.retry_ms", self.payout.retry_ms, 10, self.payout.retry_ms_max);
        check.within("reconciler.sweep_ms", self.reconciler.sweep_ms, 100, 86_400_000);
        check.within("reconciler.patience", self.reconciler.patience, 1, 30 * 86_400);
        check.within("tx.poll_ms", self.tx.poll_ms, 10, 600_000);
        check.within("tx.escalate_after_ms", self.tx.escalate_after_ms, 100, 86_400_000);
        // Nodes refuse a replacement that raises either fee by less than 10 %.
        check.within("tx.escalate_percent", self.tx.escalate_percent, 10, 200);
        check.within("tx.rebroadcast_ms", self.tx.rebroadcast_ms, 100, 86_400_000);
    }

    fn check_router(&self, check: &mut Check) {
        let router = &self.router;
        // Ten times what the settlements pay is a mistake, not a subsidy.
        check.within("router.fee_of_fees_max", router.fee_of_fees_max, 0, 100_000);
        check.within("router.fee_of_amounts_max", router.fee_of_amounts_max, 0, 10_000);
        check.within("router.health_dispatches", router.health_dispatches, 8, 10_000);
        let failures_max = u32::try_from(router.health_dispatches).unwrap_or(u32::MAX);
        check.within("router.breaker_failures", router.breaker_failures, 0, failures_max);
        check.within("router.breaker_cooldown", router.breaker_cooldown, 1, 30 * 86_400);
        check.within(
            "router.breaker_cooldown_max",
            router.breaker_cooldown_max,
            router.breaker_cooldown,
            30 * 86_400,
        );
        if let Err((key, reason)) = self.prices.parse() {
            check.that(false, key, reason);
        }
        for chain in self.prices.native.keys().chain(self.prices.tokens.keys()) {
            let known = self.chains.contains_key(chain);
            check.that(known, "prices", format!("{chain} is not configured under chains"));
        }
        if router.fee_of_fees_max > 0 || router.fee_of_amounts_max > 0 {
            for (name, chain) in &self.chains {
                let priced = chain.contracts.outbox.is_none() || self.prices.native.contains_key(name);
                let reason = "is required by router.fee_of_fees_max and router.fee_of_amounts_max";
                check.that(priced, format!("prices.native.\"{name}\""), reason);
            }
        }
    }

    fn check_value_caps(&self, check: &mut Check, key: &str, bridge: &BridgeConfig) {
        for (name, cap) in [
            ("lane_value_max", &bridge.lane_value_max),
            ("value_max", &bridge.value_max),
        ] {
            let Some(cap) = cap else { continue };
            if let Err(reason) = super::value(cap) {
                check.that(false, format!("{key}.{name}"), reason);
            }
            let priced = self.prices.tokens.values().any(|tokens| !tokens.is_empty());
            check.that(
                priced,
                format!("{key}.{name}"),
                "needs prices.tokens: value without a price is carried by nobody",
            );
        }
    }

    fn check_bridge(&self, check: &mut Check, id: &str, bridge: &BridgeConfig) {
        let key = format!("bridges.{id}");
        check.that(
            !bridge.default_fee.0.is_zero(),
            format!("{key}.default_fee"),
            "a cap of 0 lets nothing through",
        );
        self.check_value_caps(check, &key, bridge);
        check.within(&format!("{key}.receive_gas"), bridge.receive_gas, 50_000, 5_000_000);
        if bridge.protocol == Protocol::Wormhole {
            check.that(
                !bridge.guardian_endpoints.is_empty(),
                format!("{key}.guardian_endpoints"),
                "name the REST endpoints of some guardians: without one nothing arrives",
            );
        }
        let listed: BTreeSet<_> = bridge.supported_chains.iter().collect();
        for name in &listed {
            check.that(
                self.chains.contains_key(*name),
                format!("{key}.supported_chains"),
                format!("{name} is not configured under chains"),
            );
            check.that(
                bridge.chains.contains_key(*name),
                format!("{key}.chains"),
                format!("{name} is supported but has no table [{key}.chains.\"{name}\"]"),
            );
        }
        for (name, chain) in &bridge.chains {
            let key = format!("{key}.chains.\"{name}\"");
            check.that(
                listed.contains(name),
                key.clone(),
                format!("{name} is not in supported_chains"),
            );
            check.that(chain.port.is_some(), format!("{key}.port"), "is required");
            check.that(
                chain.fee_cap.is_none_or(|cap| !cap.0.is_zero()),
                format!("{key}.fee_cap"),
                "a cap of 0 lets nothing through",
            );
            check_protocol(check, &key, bridge.protocol, chain);
        }
    }

    fn check_hubs(&self, check: &mut Check) {
        let mut places = BTreeSet::new();
        for (name, hub) in &self.hubs {
            let key = format!("hubs.{name}");
            check.that(
                is_name(name),
                key.clone(),
                "a hub's name is 1 to 64 characters of a-z, A-Z, 0-9, '-' and '_'",
            );
            check.that(
                self.chains.contains_key(&hub.chain),
                format!("{key}.chain"),
                format!("{} is not configured under chains", hub.chain),
            );
            check.that(!hub.contract.is_zero(), format!("{key}.contract"), "is zero");
            check.that(
                places.insert((hub.chain.clone(), hub.contract)),
                format!("{key}.contract"),
                "is another hub's as well",
            );
            check.that(
                hub.coordinator
                    .as_ref()
                    .is_none_or(|id| self.coordinators.contains_key(id)),
                format!("{key}.coordinator"),
                "is not configured under coordinators",
            );
            let mut tokens = BTreeSet::new();
            for token in &hub.tokens {
                let key = format!("{key}.tokens");
                check.that(
                    self.chains.contains_key(&token.chain),
                    key.clone(),
                    format!("{} is not configured under chains", token.chain),
                );
                check.that(
                    tokens.insert((token.chain.clone(), token.token)),
                    key,
                    format!("names {} twice", token.token),
                );
            }
            for (index, target) in hub.targets.iter().enumerate() {
                let key = format!("{key}.targets");
                check.that(*target != hub.chain, key.clone(), "names the hub's own chain");
                check.that(
                    !hub.targets[..index].contains(target),
                    key.clone(),
                    format!("names {target} twice"),
                );
                let registry = self.chains.get(target).and_then(|chain| chain.contracts.registry);
                check.that(
                    registry.is_some(),
                    key,
                    format!("chains.\"{target}\".contracts.registry is not configured"),
                );
            }
        }
    }

    fn check_coordinators(&self, check: &mut Check) {
        let loopback = self.api.grpc_listen.ip().is_loopback() && self.api.rest_listen.ip().is_loopback();
        for (id, coordinator) in &self.coordinators {
            let key = format!("coordinators.{id}");
            check.that(
                is_name(id),
                key.clone(),
                "a coordinator id is 1 to 64 characters of a-z, A-Z, 0-9, '-' and '_'",
            );
            check.that(
                !coordinator.receipt_keys.is_empty(),
                format!("{key}.receipt_keys"),
                "at least one is required",
            );
            if let Err(error) = PinnedKeys::parse(&coordinator.receipt_keys) {
                check.that(false, format!("{key}.receipt_keys"), error.to_string());
            }
            check.that(
                coordinator.token.is_some() || loopback,
                format!("{key}.token"),
                "is required when the API listens beyond loopback",
            );
        }
    }
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn check_chain(check: &mut Check, key: &str, reference: u64, chain: &ChainConfig) {
    check.that(
        chain.chain_id == reference,
        format!("{key}.chain_id"),
        format!("is {}, but the name says {reference}", chain.chain_id),
    );
    check.that(
        !chain.rpc.is_empty(),
        format!("{key}.rpc"),
        "at least one URL is required",
    );
    for url in chain.rpc.iter().chain(&chain.reconcile_rpc) {
        if let Secret::Value(url) = url {
            let http = url.starts_with("http://") || url.starts_with("https://");
            check.that(http, format!("{key}.rpc"), "must be http:// or https:// URLs");
        }
    }
    check.that(
        chain.quorum() <= chain.rpc.len().max(1),
        format!("{key}.rpc_quorum"),
        format!("{} of {} endpoints cannot agree", chain.quorum(), chain.rpc.len()),
    );
    check.within(&format!("{key}.rpc_timeout_ms"), chain.rpc_timeout_ms, 100, 600_000);
    check.within(&format!("{key}.poll_ms"), chain.poll_ms, 10, 600_000);
    check.within(&format!("{key}.log_range_max"), chain.log_range_max, 1, 1_000_000);
    if let Finality::Depth(depth) = chain.finality {
        check.within(&format!("{key}.finality.depth"), depth, 0, 100_000);
    }
    let contracts = &chain.contracts;
    check.that(
        contracts.inbox.is_some() == contracts.vault.is_some(),
        format!("{key}.contracts"),
        "inbox and vault belong together",
    );
    check.that(
        contracts.registry.is_none() || contracts.inbox.is_some(),
        format!("{key}.contracts.registry"),
        "needs the inbox whose votes it counts",
    );
    check.that(
        chain.fees.per_tx <= chain.fees.per_day,
        format!("{key}.fees.per_tx"),
        "must not exceed fees.per_day",
    );
}

/// What each protocol must know of a chain.
fn check_protocol(check: &mut Check, key: &str, protocol: Protocol, chain: &BridgeChainConfig) {
    let required: &[(bool, &str)] = match protocol {
        Protocol::Layerzero => &[
            (chain.eid.is_some(), "eid"),
            (chain.endpoint_address.is_some(), "endpoint_address"),
        ],
        Protocol::Wormhole => &[
            (chain.wormhole_chain.is_some(), "wormhole_chain"),
            (chain.bridge_address.is_some(), "bridge_address"),
        ],
        Protocol::Ccip => &[(chain.router_address.is_some(), "router_address")],
    };
    for (is_set, name) in required {
        check.that(*is_set, format!("{key}.{name}"), "is required");
    }
    if protocol == Protocol::Ccip {
        let selector = chain.selector.as_deref().map(str::parse::<u64>);
        check.that(
            matches!(selector, Some(Ok(_))),
            format!("{key}.selector"),
            "must be CCIP's id of the chain, a decimal number in quotes",
        );
    }
}
