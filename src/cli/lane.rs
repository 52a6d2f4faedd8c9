//! `relayer lane`: what an operator decides about lanes, and how they stand. Works on the database, beside a running relayer, which reads it
//! before every decision.

use super::Global;
use super::config::open_store;
use super::failure::{DATABASE, Exit, Failure};
use super::output::{Output, fields};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::router::health::Health;
use crate::store::{LaneKey, LaneMode, LaneObstacle, LaneSwitch, Store, StoreError};
use clap::{Args, Subcommand};
use relayer_adapter_api::{BridgeId, ChainId};
use serde_json::json;

#[derive(Debug, Subcommand)]
pub(super) enum LaneCommand {
    /// Show every configured lane: open, paused or draining, what its contracts say against it, and how its last dispatches fared
    List,
    /// Send nothing more over a lane, not even what is planned; what was sent is followed to its end
    Pause(SetArgs),
    /// Plan nothing more over a lane; what is planned is still sent
    Drain(SetArgs),
    /// Open a lane again
    Resume(SetArgs),
}

#[derive(Debug, Args)]
pub(super) struct SetArgs {
    /// Bridge, as in the configuration
    bridge: String,
    /// Only lanes from this chain (numeric id); default: all
    #[arg(long, value_name = "CHAIN")]
    source: Option<u64>,
    /// Only lanes to this chain (numeric id); default: all
    #[arg(long, value_name = "CHAIN")]
    target: Option<u64>,
    /// Why, for whoever reads it later
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Who decides, for the record
    #[arg(long, value_name = "NAME", default_value = "operator")]
    by: String,
}

/// Longest reason and name: they are shown in lists and kept in every decision.
const TEXT_MAX: usize = 200;

fn failed(error: StoreError) -> Failure {
    Failure::new(Exit::Failed, DATABASE, error.to_string())
}

pub(super) async fn run(global: &Global, command: LaneCommand, output: &Output) -> Result<Exit, Failure> {
    let config = global.load(&[])?;
    let (args, mode) = match command {
        LaneCommand::List => {
            let store = opened(&config).await?;
            return list(&config, &store, output).await;
        }
        LaneCommand::Pause(args) => (args, Some(LaneMode::Paused)),
        LaneCommand::Drain(args) => (args, Some(LaneMode::Draining)),
        LaneCommand::Resume(args) => (args, None),
    };
    if args.reason.len() > TEXT_MAX || args.by.len() > TEXT_MAX {
        return Err(Failure::usage("--reason and --by have at most 200 bytes"));
    }
    let lanes = chosen(&config, &args);
    if lanes.is_empty() {
        return Err(Failure::usage(
            "no configured lane is meant: `relayer lane list` shows them",
        ));
    }
    let store = opened(&config).await?;
    let mut txn = store.begin(SystemClock.now_ms()).await.map_err(failed)?;
    for lane in &lanes {
        txn.set_lane_mode(lane, mode, &args.reason, &args.by)
            .await
            .map_err(failed)?;
    }
    txn.commit().await.map_err(failed)?;
    let word = mode.map_or("open", LaneMode::name);
    let names: Vec<String> = lanes.iter().map(ToString::to_string).collect();
    output.answer(&json!({ "lanes": names, "mode": word }), || {
        format!("{word}: {}", names.join(", "))
    });
    Ok(Exit::Ok)
}

async fn opened(config: &Config) -> Result<Store, Failure> {
    let store = open_store(config).await?;
    store.check_schema().await.map_err(failed)?;
    Ok(store)
}

/// Every ordered pair of chains a bridge serves.
fn lanes(config: &Config) -> Vec<LaneKey> {
    let mut all = Vec::new();
    for (bridge, entry) in &config.bridges {
        for source in &entry.supported_chains {
            let others = entry.supported_chains.iter().filter(|target| *target != source);
            all.extend(others.map(|target| LaneKey {
                source: ChainId(source.reference()),
                target: ChainId(target.reference()),
                bridge: bridge.clone(),
            }));
        }
    }
    all
}

fn chosen(config: &Config, args: &SetArgs) -> Vec<LaneKey> {
    let Ok(bridge) = BridgeId::new(&args.bridge) else {
        return Vec::new();
    };
    let meant = |lane: &LaneKey| {
        lane.bridge == bridge
            && args.source.is_none_or(|chain| lane.source == ChainId(chain))
            && args.target.is_none_or(|chain| lane.target == ChainId(chain))
    };
    lanes(config).into_iter().filter(meant).collect()
}

async fn list(config: &Config, store: &Store, output: &Output) -> Result<Exit, Failure> {
    let switches = store.list_lane_switches().await.map_err(failed)?;
    let obstacles = store.list_lane_obstacles().await.map_err(failed)?;
    let stalled = store.list_stalled_lanes().await.map_err(failed)?;
    let mut shown = Vec::new();
    let mut rows = Vec::new();
    for lane in lanes(config) {
        let passages = store
            .list_passages(&lane, config.router.health_dispatches)
            .await
            .map_err(failed)?;
        let breaker =
            crate::router::breaker::breaker(&passages, crate::wiring::breaker_rule(config), SystemClock.now_ms());
        let health = Health::of(&passages);
        let switch = switches.iter().find(|switch| switch.lane == lane);
        let obstacle = obstacles.iter().find(|obstacle| obstacle.lane == lane);
        let holds_up = stalled.contains(&lane);
        shown.push(json!({
            "bridge": lane.bridge,
            "source_chain": lane.source.0,
            "target_chain": lane.target.0,
            "mode": switch.map_or("open", |switch| switch.mode.name()),
            "reason": switch.map(|switch| &switch.reason),
            "by": switch.map(|switch| &switch.by),
            "set_at_ms": switch.map(|switch| switch.at),
            "obstacle": obstacle.map(|obstacle| json!({ "reason": obstacle.reason, "since_ms": obstacle.since })),
            "breaker": breaker,
            "holds_something_up": holds_up,
            "health": health,
            "success": health.success(),
        }));
        rows.push((
            lane.to_string(),
            line(switch, obstacle, breaker.name(), holds_up, health),
        ));
    }
    output.answer(&json!({ "lanes": shown }), || {
        let rows: Vec<(&str, String)> = rows.iter().map(|(lane, line)| (lane.as_str(), line.clone())).collect();
        fields(&rows)
    });
    Ok(Exit::Ok)
}

fn line(
    switch: Option<&LaneSwitch>,
    obstacle: Option<&LaneObstacle>,
    breaker: &str,
    holds_up: bool,
    health: Health,
) -> String {
    let mode = switch.map_or("open".to_owned(), |switch| {
        format!("{} by {}: {}", switch.mode, switch.by, switch.reason)
    });
    let p95 = health
        .p95_ms
        .map_or("no arrivals yet".to_owned(), |ms| format!("p95 {} s", ms / 1_000));
    let stalled = if holds_up { ", holds something up" } else { "" };
    let blocked = obstacle.map_or_else(String::new, |obstacle| format!("; blocked: {}", obstacle.reason));
    format!(
        "{mode}{blocked}; breaker {breaker}{stalled}; {} arrived in time, {} overdue, {p95}",
        health.arrived, health.overdue
    )
}
