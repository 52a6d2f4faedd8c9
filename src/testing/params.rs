//! How the stages of a [`super::Flow`] are set, unless a test sets them otherwise.

use super::{FEE_CAP, PATIENCE, QUOTE_MS, TIMEOUT_MS};
use crate::chain::retry::RetryPolicy;
use crate::dispatcher::DispatcherParams;
use crate::payout::{PayoutParams, RescueParams};
use crate::router::{BreakerRule, BridgeLimits, CapRule, HistoryRule, RoutePolicy, RouterParams, StaticPrices};
use crate::settlement::packed::{ChunkLimits, GasModel};
use crate::tracker::{StallRule, TrackerParams};
use alloy::primitives::U256;
use relayer_adapter_api::BridgeId;
use std::sync::Arc;
use std::time::Duration;

fn bridge_limits() -> BridgeLimits {
    BridgeLimits {
        fee_cap: U256::from(FEE_CAP),
        ..BridgeLimits::default()
    }
}

pub(super) fn router_params(order: Vec<BridgeId>, dispatches_max: usize) -> RouterParams {
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

pub(super) fn dispatcher_params() -> DispatcherParams {
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

pub(super) fn tracker_params() -> TrackerParams {
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

pub(super) fn payout_params() -> PayoutParams {
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
