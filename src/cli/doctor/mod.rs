//! `doctor`: looks at everything a settlement needs, and says what to do about what is wrong. Reads only.
//!
//! Layout: this page collects and prints; [`checks`] what is asked of chains and contracts; [`network`] a public network's file.

mod checks;
mod network;

use super::Global;
use super::failure::{CHECKS, Exit, Failure};
use super::output::{Output, table};
use crate::chain::Chain;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::store::{Store, StoreConfig};
use crate::wiring;
use checks::ChainChecks;
use clap::Args;
use relayer_adapter_api::{ChainId, Finding, Level};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Show what is fine as well
    #[arg(long)]
    all: bool,
    /// Compare a network of config/networks, or a file, with its chain instead
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
}

#[derive(Debug, Serialize)]
struct Line {
    area: String,
    what: String,
    status: &'static str,
    found: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    todo: String,
}

#[derive(Debug, Serialize)]
struct Report {
    ok: usize,
    warn: usize,
    fail: usize,
    checks: Vec<Line>,
}

fn status(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Warn => "warn",
        Level::Fail => "fail",
    }
}

pub(super) async fn run(global: &Global, args: DoctorArgs, output: &Output) -> Result<Exit, Failure> {
    let config = Config::read(global.config_file().as_deref(), &[])?;
    let mut lines = Vec::new();
    let mut add = |area: &str, findings: Vec<Finding>| {
        lines.extend(findings.into_iter().map(|finding| Line {
            area: area.to_owned(),
            what: finding.what,
            status: status(finding.level),
            found: finding.found,
            todo: finding.todo,
        }));
    };
    if let Some(name) = &args.network {
        for (area, findings) in network::findings(&config, name).await? {
            add(&area, findings);
        }
        return finish(lines, args.all, output);
    }
    add("config", check_config(&config));
    add("store", check_store(&config).await);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut chains: BTreeMap<ChainId, Arc<dyn Chain>> = BTreeMap::new();
    for (name, chain) in &config.chains {
        let rpc = match wiring::rpc_chain(name, chain, clock.clone()) {
            Ok(rpc) => Arc::new(rpc),
            Err(error) => {
                add(
                    name.as_str(),
                    vec![Finding::fail(
                        "endpoints",
                        error.to_string(),
                        "Correct the chain's table.",
                    )],
                );
                continue;
            }
        };
        let checks = ChainChecks {
            name,
            config: chain,
            chain: rpc.as_ref(),
            now_s: u64::try_from(clock.now_ms() / 1_000).unwrap_or_default(),
        };
        add(name.as_str(), checks.run().await);
        chains.insert(rpc.id(), rpc);
    }
    for (id, bridge) in &config.bridges {
        for (name, findings) in checks::bridge(&config, id, bridge, &chains).await {
            add(&format!("{id} on {name}"), findings);
        }
    }
    finish(lines, args.all, output)
}

fn finish(lines: Vec<Line>, all: bool, output: &Output) -> Result<Exit, Failure> {
    let report = summed(lines);
    let failed = report.fail;
    output.answer(&report, || print(&report, all));
    if failed == 0 {
        return Ok(Exit::Ok);
    }
    Err(Failure::new(Exit::Failed, CHECKS, format!("{failed} check(s) failed")))
}

fn summed(checks: Vec<Line>) -> Report {
    let count = |status: &str| checks.iter().filter(|line| line.status == status).count();
    Report {
        ok: count("ok"),
        warn: count("warn"),
        fail: count("fail"),
        checks,
    }
}

fn print(report: &Report, all: bool) -> String {
    let mut rows = table(&["", "area", "check", "found"]);
    let mut todo = String::new();
    for line in report.checks.iter().filter(|line| all || line.status != "ok") {
        rows.add_row([line.status, &line.area, &line.what, &line.found]);
        if !line.todo.is_empty() {
            todo.push_str(&format!("  {} ({}): {}\n", line.what, line.area, line.todo));
        }
    }
    let mut text = String::new();
    if report.checks.iter().any(|line| all || line.status != "ok") {
        text.push_str(&format!("{rows}\n\n"));
    }
    if !todo.is_empty() {
        text.push_str(&format!("What to do:\n{todo}\n"));
    }
    text + &format!("{} ok, {} warnings, {} failed", report.ok, report.warn, report.fail)
}

fn check_config(config: &Config) -> Vec<Finding> {
    let problems = config.problems_to_serve();
    if problems.is_empty() {
        return vec![Finding::ok("values", "consistent")];
    }
    let fail = |problem: crate::config::Problem| Finding::fail(problem.key, problem.reason, "Correct the key.");
    problems.into_iter().map(fail).collect()
}

async fn check_store(config: &Config) -> Vec<Finding> {
    let opened = async {
        let url = config
            .store
            .url
            .resolve("store.url")
            .map_err(|error| error.to_string())?;
        // Looking must not create a database.
        if let Some(path) = url
            .strip_prefix("sqlite://")
            .filter(|path| !std::path::Path::new(path).exists())
        {
            return Err(format!("{path} does not exist"));
        }
        Store::open(&StoreConfig::new(url))
            .await
            .map_err(|error| error.to_string())
    };
    let store: Store = match opened.await {
        Ok(store) => store,
        Err(error) => {
            return vec![Finding::warn(
                "database",
                error,
                "`relayer migrate` or `relayer serve` creates it; else correct store.url.",
            )];
        }
    };
    let durability = match store.durability().await {
        Ok(durability) => {
            let found: Vec<String> = durability
                .settings
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let found = format!("{}: {}", durability.backend, found.join(", "));
            let todo = durability.problem.unwrap_or_default();
            Finding::check(
                todo.is_empty(),
                "durability",
                found,
                format!("Acknowledged commits could be lost: {todo}."),
            )
        }
        Err(error) => Finding::fail("durability", error.to_string(), "Check the database."),
    };
    let schema = match store.check_schema().await {
        Ok(()) => Finding::ok("schema", crate::store::SCHEMA_VERSION),
        Err(error) => Finding::fail("schema", error.to_string(), "Run `relayer migrate`."),
    };
    vec![durability, schema]
}
