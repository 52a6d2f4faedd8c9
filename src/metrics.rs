//! Every metric: its name, its kind, its help. Modules record through the constants below; nothing else names a metric.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MetricKind {
    Counter,
    Gauge,
    /// Upper bounds of the buckets.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    pub kind: MetricKind,
    pub unit: Unit,
    pub help: &'static str,
}

macro_rules! metrics_table {
    ($($constant:ident = $name:literal, $kind:expr, $unit:expr, $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: &str = $name;)*
        /// All of them, in the order of the pipeline.
        pub const METRICS: &[Metric] = &[$(Metric { name: $name, kind: $kind, unit: $unit, help: $help }),*];
    };
}

/// From a fast local call to a time-out, seconds.
const SECONDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

use MetricKind::{Counter, Gauge, Histogram};

metrics_table! {
    API_REQUESTS_TOTAL = "relayer_api_requests_total", Counter, Unit::Count, "Requests answered, by method and code.";
    API_REQUEST_SECONDS = "relayer_api_request_seconds", Histogram(SECONDS), Unit::Seconds, "Time to answer a request, by method.";
    API_STREAM_COUNT = "relayer_api_stream_count", Gauge, Unit::Count, "Streams that are open, by method.";
    INTAKE_REFUSED_TOTAL = "relayer_intake_refused_total", Counter, Unit::Count, "Submissions refused, by error code.";
    INTAKE_ACCEPTED_TOTAL = "relayer_intake_accepted_total", Counter, Unit::Count, "Submissions accepted, by whether they were duplicates.";
    INTAKE_COMMIT_SECONDS = "relayer_intake_commit_seconds", Histogram(SECONDS), Unit::Seconds, "Time of one group commit of submissions.";
    INTAKE_QUEUE_COUNT = "relayer_intake_queue_count", Gauge, Unit::Count, "Submissions under way: being verified, or waiting for their commit.";
    SETTLEMENT_STATE_COUNT = "relayer_settlement_state_count", Gauge, Unit::Count, "Settlements by state.";
    SETTLEMENT_OLDEST_AGE_SECONDS = "relayer_settlement_oldest_age_seconds", Gauge, Unit::Seconds, "Age of the oldest settlement, by state that has not ended.";
    LOOP_ALIVE_TIMESTAMP_SECONDS = "relayer_loop_alive_timestamp_seconds", Gauge, Unit::Seconds, "Unix time a loop last finished a step; a loop that stands still is stuck.";
    LOOP_STEP_SECONDS = "relayer_loop_step_seconds", Histogram(SECONDS), Unit::Seconds, "Duration of a step, by loop.";
    LOOP_ROWS_TOTAL = "relayer_loop_rows_total", Counter, Unit::Count, "Rows changed, by loop.";
    LOOP_ERRORS_TOTAL = "relayer_loop_errors_total", Counter, Unit::Count, "Steps that failed as a whole, by loop and error code.";
    STORE_STATEMENTS_TOTAL = "relayer_store_statements_total", Counter, Unit::Count, "Statements sent to the database, by first word.";
    CHAIN_RPC_CALLS_TOTAL = "relayer_chain_rpc_calls_total", Counter, Unit::Count, "RPC calls, by chain and method.";
    CHAIN_RPC_ERRORS_TOTAL = "relayer_chain_rpc_errors_total", Counter, Unit::Count, "RPC calls without a usable answer, by chain and endpoint.";
    CHAIN_HEAD_NUMBER = "relayer_chain_head_number", Gauge, Unit::Count, "Newest block read, by chain.";
    CHAIN_FINALIZED_NUMBER = "relayer_chain_finalized_number", Gauge, Unit::Count, "Newest final block read, by chain.";
    CHAIN_SIGNER_BALANCE_WEI = "relayer_chain_signer_balance_wei", Gauge, Unit::Count, "Native balance of a signer, by chain and signer; approximate above 2^53.";
    MESSAGE_STATE_COUNT = "relayer_message_state_count", Gauge, Unit::Count, "Messages by state.";
    DISPATCH_STALLED_COUNT = "relayer_dispatch_stalled_count", Gauge, Unit::Count, "Dispatches overdue against their lane, by bridge.";
    ROUTER_LANE_OPEN_COUNT = "relayer_router_lane_open_count", Gauge, Unit::Count, "1 when a lane takes new messages, 0 when an operator, the chains or its circuit breaker have shut it, by bridge, source and target.";
    ROUTER_LANE_BLOCKED_COUNT = "relayer_router_lane_blocked_count", Gauge, Unit::Count, "1 while contracts of a lane say something against it (a curse, a pause, a blocked library), by bridge, source and target.";
    ROUTER_LANE_SUCCESS_RATIO = "relayer_router_lane_success_ratio", Gauge, Unit::Count, "Share of a lane's last dispatches that arrived in time, one half without history, by bridge, source and target.";
    ROUTER_LANE_P95_SECONDS = "relayer_router_lane_p95_seconds", Gauge, Unit::Seconds, "Time from source finality to arrival that 95 of 100 of a lane's last dispatches did not exceed, by bridge, source and target.";
    ROUTER_LANE_IN_FLIGHT_VALUE = "relayer_router_lane_in_flight_value", Gauge, Unit::Count, "Value that depends on a lane now, in the unit of prices; read only where a cap is set; approximate; by bridge, source and target.";
    HUB_RELAYED_TOTAL = "relayer_hub_relayed_total", Counter, Unit::Count, "Checkpoints sealed, recorded by a registry, or given up, by hub, target and step.";
    HUB_REGISTRY_DRIFT_COUNT = "relayer_hub_registry_drift_count", Gauge, Unit::Count, "Eons of a hub for which a registry has two roots, or another one than the hub's chain, by hub and target.";
    TX_STATE_COUNT = "relayer_tx_state_count", Gauge, Unit::Count, "Transactions by chain and state.";
    LEDGER_ACCOUNT_TOTAL = "relayer_ledger_account_total", Gauge, Unit::Count, "Sum of ledger balances, by account kind, chain and token; base units, approximate above 2^53.";
    HUB_HALTED_COUNT = "relayer_hub_halted_count", Gauge, Unit::Count, "1 while a hub stands still (a missed checkpoint, a live challenge) and nothing may rely on it, by hub.";
    HUB_LAST_EON = "relayer_hub_last_eon", Gauge, Unit::Count, "Eon of a hub's newest checkpoint, by hub.";
    HUB_READ_NUMBER = "relayer_hub_read_number", Gauge, Unit::Count, "Block up to which a hub's logs are stored, by hub.";
    LEDGER_DRIFT_ASSET_COUNT = "relayer_ledger_drift_asset_count", Gauge, Unit::Count, "Unresolved differences between ledger and chains, by class, chain and token (empty where it is about no token).";
    RECONCILER_UNCOMPARED_AGE_SECONDS = "relayer_reconciler_uncompared_age_seconds", Gauge, Unit::Seconds, "Age of the oldest final block that has not been compared, by chain, as of the newest final block.";
    RECONCILER_GAP_BLOCKS = "relayer_reconciler_gap_blocks", Gauge, Unit::Count, "Final blocks whose comparison failed and is tried again, by chain.";
    LEDGER_DRIFT_COUNT = "relayer_ledger_drift_count", Gauge, Unit::Count, "Unresolved differences between ledger and chains, by class.";
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    METRICS
        .iter()
        .try_fold(PrometheusBuilder::new(), |builder, metric| match metric.kind {
            Histogram(buckets) => builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets),
            Counter | Gauge => Ok(builder),
        })
}

fn describe() {
    for metric in METRICS {
        match metric.kind {
            Counter => describe_counter!(metric.name, metric.unit, metric.help),
            Gauge => describe_gauge!(metric.name, metric.unit, metric.help),
            Histogram(_) => describe_histogram!(metric.name, metric.unit, metric.help),
        }
    }
}

/// Makes the process record. Once per process; the handle renders `/metrics`.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = builder()?.install_recorder()?;
    describe();
    Ok(handle)
}

/// A recorder of its own, for tests.
pub fn recorder() -> Result<PrometheusRecorder, BuildError> {
    Ok(builder()?.build_recorder())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn names_are_stable() {
        let names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
        insta::assert_snapshot!(names.join("\n"));
    }

    #[test]
    fn histograms_have_buckets_and_help() {
        let recorder = recorder().unwrap();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::histogram!(API_REQUEST_SECONDS, "method" => "Get").record(0.02);
        });
        let text = handle.render();
        assert!(
            text.contains("# HELP relayer_api_request_seconds Time to answer"),
            "{text}"
        );
        assert!(
            text.contains("relayer_api_request_seconds_bucket{method=\"Get\",le=\"0.025\"} 1"),
            "{text}"
        );
    }
}
