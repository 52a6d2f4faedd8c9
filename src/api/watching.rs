//! What a watch asks for, from the request's fields.

use super::error::ApiError;
use super::feed::{Filter, Plan, Symbols};
use super::parse;
use crate::settlement::states::{
    DispatchSource, DispatchTarget, ExecutionState, MessageState, SettlementState, TxState,
};
use relayer_proto::v1;
use std::time::Duration;

const AGGREGATES: &[&str] = &[
    "settlement",
    "message",
    "dispatch",
    "execution",
    "tx",
    "chain",
    "ledger",
    "lane",
    "hub",
];
const SETTLEMENTS_MAX: usize = 1_000;
const HEARTBEAT_MS: u32 = 10_000;
const HEARTBEAT_MS_MIN: u32 = 100;

/// Whether it asks for more than settlements.
pub fn beyond_settlements(request: &v1::WatchRequest) -> bool {
    request.aggregates.iter().any(|name| name != "settlement")
}

/// `coordinator` is the one the caller acts as, empty for all.
pub fn plan(request: &v1::WatchRequest, coordinator: &str, symbols: &Symbols) -> Result<Plan, ApiError> {
    if request.from_now && request.after_seq != 0 {
        return Err(ApiError::field("from_now", "and after_seq exclude one another"));
    }
    let after = i64::try_from(request.after_seq).map_err(|error| ApiError::field("after_seq", error))?;
    if request.settlement_ids.len() > SETTLEMENTS_MAX {
        return Err(ApiError::field(
            "settlement_ids",
            format!("more than {SETTLEMENTS_MAX}"),
        ));
    }
    let settlements = request
        .settlement_ids
        .iter()
        .map(|id| parse::hash("settlement_ids", id));
    for state in &request.states {
        if !is_state(state) {
            return Err(ApiError::field("states", format!("{state:?} is not a state")));
        }
    }
    for aggregate in &request.aggregates {
        if !AGGREGATES.contains(&aggregate.as_str()) {
            let known = AGGREGATES.join(", ");
            return Err(ApiError::field(
                "aggregates",
                format!("{aggregate:?} is not one of {known}"),
            ));
        }
    }
    let aggregates = match request.aggregates.as_slice() {
        [] => vec![symbols.of("settlement")],
        some => some.iter().map(|name| symbols.of(name)).collect(),
    };
    let heartbeat_ms = match request.heartbeat_ms {
        0 => HEARTBEAT_MS,
        asked => asked.max(HEARTBEAT_MS_MIN),
    };
    Ok(Plan {
        after: (!request.from_now).then_some(after),
        filter: Filter {
            coordinator: (!coordinator.is_empty()).then(|| symbols.of(coordinator)),
            settlements: settlements.collect::<Result<_, _>>()?,
            states: request.states.iter().map(|name| symbols.of(name)).collect(),
            aggregates,
        },
        heartbeat: Duration::from_millis(heartbeat_ms.into()),
    })
}

fn is_state(name: &str) -> bool {
    name.parse::<SettlementState>().is_ok()
        || name.parse::<MessageState>().is_ok()
        || name.parse::<DispatchSource>().is_ok()
        || name.parse::<DispatchTarget>().is_ok()
        || name.parse::<ExecutionState>().is_ok()
        || name.parse::<TxState>().is_ok()
}
