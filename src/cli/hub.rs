//! `relayer hub`: the command tree, and `hub verify`, which an auditor or a wallet runs and which needs no relayer, no chain and no configuration.

use super::Global;
use super::failure::{Exit, Failure};
use super::hub_audit::{self, AllotmentArgs, AuditArgs, BuildArgs, HolderArgs, HubWatchArgs, ImportArgs};
use super::output::{Output, short, table};
use crate::error::Coded;
use crate::hub::model::document::{DOCUMENT_BYTES_MAX, parse};
use crate::hub::model::verify::{Report, verify};
use crate::hub::model::{DOES_NOT_HOLD, Document, DocumentError};
use clap::{Args, Subcommand};
use std::io::Read;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum HubCommand {
    /// Recompute every root and check every proof of a checkpoint; docs/hub.md tells its shape
    Verify(VerifyArgs),
    /// Show how a checkpoint of a followed hub fares on its way to each target
    Checkpoint(super::hub_checkpoint::CheckpointArgs),
    /// Hubs the relayer follows
    List,
    /// Under which trail a wallet was admitted, and what it has now
    Whois(HolderArgs),
    /// Transfers of a hub, newest first
    Audit(AuditArgs),
    /// What a wallet is allotted in an eon; the proof is checked here
    Allotment(AllotmentArgs),
    /// Close the eon before and build a checkpoint from the ledger kept here
    Build(BuildArgs),
    /// Give the relayer the contents of a checkpoint of somebody else's hub
    Import(ImportArgs),
    /// Print what happens at a hub as it happens
    Watch(HubWatchArgs),
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Checkpoint as JSON, or an object whose `checkpoints` lists several; - = stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) async fn run(global: &Global, command: HubCommand, output: &Output) -> Result<Exit, Failure> {
    match command {
        HubCommand::Verify(args) => verify_file(args, output),
        HubCommand::Checkpoint(args) => super::hub_checkpoint::checkpoint(global, args, output).await,
        HubCommand::List => hub_audit::list(global, output).await,
        HubCommand::Whois(args) => hub_audit::whois(global, args, output).await,
        HubCommand::Audit(args) => hub_audit::audit(global, args, output).await,
        HubCommand::Allotment(args) => hub_audit::allotment(global, args, output).await,
        HubCommand::Build(args) => hub_audit::build(global, args, output).await,
        HubCommand::Import(args) => hub_audit::import(global, args, output).await,
        HubCommand::Watch(args) => hub_audit::watch(global, args, output).await,
    }
}

/// Checkpoints in a file, or on standard input.
pub(super) fn documents(path: &Path) -> Result<Vec<Document>, Failure> {
    let text = if path.as_os_str() == "-" {
        read(std::io::stdin(), Path::new("stdin"))?
    } else {
        let file = std::fs::File::open(path).map_err(|error| Failure::file(path, error))?;
        read(file, path)?
    };
    parse(&text).map_err(|error| Failure::of(&error))
}

fn verify_file(args: VerifyArgs, output: &Output) -> Result<Exit, Failure> {
    let documents = documents(&args.file)?;
    let report = verify(&documents);
    output.answer(&report, || print(&report));
    if report.holds {
        return Ok(Exit::Ok);
    }
    let message = format!("{} of {} checks do not hold", report.failed, report.checks);
    Err(Failure::new(Exit::Failed, DOES_NOT_HOLD, message))
}

fn read(from: impl Read, path: &Path) -> Result<Vec<u8>, Failure> {
    // One byte more than is allowed tells a longer input from one that fits.
    let most = (DOCUMENT_BYTES_MAX as u64).saturating_add(1);
    let mut text = Vec::new();
    from.take(most)
        .read_to_end(&mut text)
        .map_err(|error| Failure::file(path, error))?;
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(Failure::of(&DocumentError::TooLarge as &dyn Coded));
    }
    Ok(text)
}

fn print(report: &Report) -> String {
    let several = report.roots.len() > 1;
    let mut rows = table(&["", "checkpoint", "check", "token", "trail", "wallet", "why"]);
    for verdict in &report.verdicts {
        let address = |address: Option<alloy::primitives::Address>| {
            address.map(|address| short(&address.to_string())).unwrap_or_default()
        };
        rows.add_row([
            if verdict.holds { "holds" } else { "FAILS" }.to_owned(),
            verdict.checkpoint.to_string(),
            verdict.check.to_string(),
            address(verdict.token),
            verdict.trail.map(|trail| trail.to_string()).unwrap_or_default(),
            address(verdict.wallet),
            verdict.reason.clone().unwrap_or_default(),
        ]);
    }
    if !several && let Some(column) = rows.column_mut(1) {
        column.set_constraint(comfy_table::ColumnConstraint::Hidden);
    }
    // Reasons are long; without this every line would be padded to the longest.
    let mut text = format!("{}\n\n", rows.trim_fmt());
    for root in &report.roots {
        text.push_str(&format!("checkpoint root {root}\n"));
    }
    let verdict = if report.holds { "all hold" } else { "NOT all hold" };
    text + &format!("{} checks, {} failed: {verdict}", report.checks, report.failed)
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
