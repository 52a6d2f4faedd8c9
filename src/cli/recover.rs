//! `relayer recover`: makes a restored or empty database know again what the chains know (docs/recovery.md).

use super::Global;
use super::failure::{DATABASE, Exit, Failure};
use super::output::{Output, fields};
use crate::clock::SystemClock;
use crate::recover::{ChainReport, Report, Standing};
use crate::settlement::ChainId;
use crate::wiring;
use clap::Args;
use std::time::Duration;

#[derive(Debug, Args)]
pub(super) struct RecoverArgs {
    /// Say what is ahead of the database and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Seconds to wait for each chain to become final and for its signers' transactions
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    wait: u64,
    /// Go on over messages whose calldata no endpoint has: their settlements may travel twice, and are paid once
    #[arg(long, conflicts_with = "dry_run")]
    accept_unreadable: bool,
}

pub(super) async fn recover(global: &Global, args: RecoverArgs, output: &Output) -> Result<Exit, Failure> {
    let config = global.load(&[])?;
    let store = wiring::store(&config).await.map_err(|error| Failure::of(&error))?;
    let recover = wiring::recover(&config, store)
        .await
        .map_err(|error| Failure::of(&error))?;
    let done = if args.dry_run {
        recover.dry_run().await
    } else {
        let how = Standing {
            wait: Duration::from_secs(args.wait),
            accept_unreadable: args.accept_unreadable,
        };
        recover
            .run(how, &SystemClock, &|chain: ChainId, what: &str| {
                eprintln!("chain {chain}: {what}")
            })
            .await
    };
    let report = done.map_err(|error| Failure::of(&error))?;
    let answer = serde_json::to_value(&report)
        .map_err(|error| Failure::new(Exit::Failed, DATABASE, format!("the report cannot be written: {error}")))?;
    output.answer(&answer, || text(&report));
    Ok(Exit::Ok)
}

/// The report for people.
fn text(report: &Report) -> String {
    let mut parts: Vec<String> = report.chains.iter().map(|line| chain(line, report.dry_run)).collect();
    parts.push(match (report.dry_run, report.awaited) {
        (_, 0) => "no settlement is waited for".into(),
        (_, awaited) => format!(
            "{awaited} settlements on their way are unknown here: have their coordinators submit them again (docs/recovery.md)"
        ),
    });
    parts.join("\n\n")
}

fn chain(line: &ChainReport, dry_run: bool) -> String {
    let mut rows = vec![("chain", line.chain.to_string())];
    if dry_run {
        rows.push(("ahead", line.ahead.clone().unwrap_or_else(|| "nothing".into())));
        rows.push(("final block read", line.block.to_string()));
        rows.push(("unknown messages", line.messages.to_string()));
    } else {
        rows.push(("read up to", format!("final block {}", line.block)));
        rows.push(("messages", format!("{} with {} leaves", line.messages, line.leaves)));
        rows.push(("dispatches", line.dispatches.to_string()));
        rows.push(("settlements attached", line.attached.to_string()));
        rows.push(("messages overtaken", line.overtaken.to_string()));
        rows.push(("transactions forgotten", line.forgotten.to_string()));
    }
    if line.unknown_ports > 0 {
        rows.push(("over unknown ports", line.unknown_ports.to_string()));
    }
    if !line.unreadable.is_empty() {
        rows.push(("unreadable", line.unreadable.join(", ")));
    }
    for signer in &line.signers {
        let nonces = format!(
            "{} has sent {}, {} were known",
            signer.signer, signer.count, signer.known
        );
        rows.push(("signer", nonces));
    }
    fields(&rows)
}
