//! `config check`, `migrate`, and the hidden `docs`.

use super::Global;
use super::failure::{CHECKS, DATABASE, Exit, Failure};
use super::output::Output;
use crate::config::Config;
use crate::store::{Store, StoreConfig};
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Judge a configuration; --json prints the resolved one without its secrets
    Check(CheckArgs),
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Default: --config, else relayer.toml here
    file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum DocsCommand {
    /// Print docs/errors.md
    Errors,
}

pub(super) fn run(global: &Global, command: ConfigCommand, output: &Output) -> Result<Exit, Failure> {
    let ConfigCommand::Check(args) = command;
    let file = args.file.or_else(|| global.config_file());
    let config = Config::read(file.as_deref(), &[])?;
    let mut problems = config.problems_to_serve();
    for (key, secret) in config.secrets() {
        if let Err(error) = secret.resolve(&key) {
            problems.push(crate::config::Problem {
                key,
                reason: error.to_string(),
            });
        }
    }
    let shown: Vec<serde_json::Value> = problems
        .iter()
        .map(|problem| serde_json::json!({ "key": problem.key, "reason": problem.reason }))
        .collect();
    let report = serde_json::json!({ "ok": problems.is_empty(), "problems": shown, "config": config });
    let name = file.map_or("the defaults".to_owned(), |file| file.display().to_string());
    output.answer(&report, || match problems.len() {
        0 => format!(
            "{name} is fine: {} chain(s), {} bridge(s), {} coordinator(s)",
            config.chains.len(),
            config.bridges.len(),
            config.coordinators.len()
        ),
        n => {
            let lines: String = problems.iter().map(|problem| format!("  {problem}\n")).collect();
            format!("{name} has {n} problem(s):\n{lines}")
        }
    });
    if problems.is_empty() {
        return Ok(Exit::Ok);
    }
    Err(Failure::new(
        Exit::Usage,
        CHECKS,
        format!("{name} cannot be served with"),
    ))
}

/// Opens the configured database.
pub(super) async fn open_store(config: &Config) -> Result<Store, Failure> {
    let url = config.store.url.resolve("store.url")?;
    let store = Store::open(&StoreConfig::new(url)).await;
    store.map_err(|error| Failure::new(Exit::Unavailable, DATABASE, error.to_string()))
}

pub(super) async fn migrate(global: &Global, output: &Output) -> Result<Exit, Failure> {
    let config = global.load(&[])?;
    let store = open_store(&config).await?;
    let failed = |error: crate::store::StoreError| Failure::new(Exit::Failed, DATABASE, error.to_string());
    store.migrate().await.map_err(failed)?;
    store.check_schema().await.map_err(failed)?;
    let version = crate::store::SCHEMA_VERSION;
    output.answer(&serde_json::json!({ "schema": version }), || {
        format!("schema is {version}")
    });
    Ok(Exit::Ok)
}

pub(super) fn docs(command: DocsCommand) -> Result<Exit, Failure> {
    let DocsCommand::Errors = command;
    print!("{}", crate::error::page());
    Ok(Exit::Ok)
}
