//! `relayer reconcile`: compares ledger, outbox and inbox settlement by settlement, and puts differences right when that is wanted. Works on the
//! database, beside a running relayer.

use super::Global;
use super::config::open_store;
use super::drift::subject;
use super::failure::{DATABASE, Exit, Failure};
use super::output::{Output, duration, fields, table};
use super::prune::moment;
use crate::clock::{Clock, SystemClock};
use crate::reconciler::{Action, ChainReport, Repaired, Report, Since, reconcile};
use clap::Args;
use serde_json::json;
use std::time::{Duration, Instant};

#[derive(Debug, Args)]
pub(super) struct ReconcileArgs {
    /// Also read the chains again from here: a block number, a date (2026-01-31), a time (2026-01-31T12:00:00Z) or an age (2h). Default: what has
    /// not been compared yet, or from the oldest open difference on
    #[arg(long, value_name = "BLOCK|TIME")]
    since: Option<String>,
    /// Put differences right: store logs that were missed, book what is missing and take back what is too much by new postings, release what is
    /// stuck. Each repair leaves an event
    #[arg(long)]
    repair: bool,
    /// With --repair: say what would be done and change nothing
    #[arg(long, requires = "repair")]
    dry_run: bool,
    /// Who repairs, for the record
    #[arg(long, value_name = "NAME", default_value = "operator")]
    by: String,
}

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(2);

pub(super) async fn run(global: &Global, args: ReconcileArgs, output: &Output) -> Result<Exit, Failure> {
    let now_ms = SystemClock.now_ms();
    let since = match &args.since {
        None => Since::Unread,
        Some(text) => parse_since(text, now_ms)?,
    };
    if args.by.is_empty() || args.by.len() > 200 {
        return Err(Failure::usage("--by has 1 to 200 bytes"));
    }
    let action = match (args.repair, args.dry_run) {
        (false, _) => Action::Report,
        (true, true) => Action::Rehearse,
        (true, false) => Action::Repair {
            by: format!("operator {}", args.by),
        },
    };
    let config = global.load(&[])?;
    let store = open_store(&config).await?;
    let failed = |error: crate::store::StoreError| Failure::new(Exit::Failed, DATABASE, error.to_string());
    store.check_schema().await.map_err(failed)?;
    let books = crate::wiring::books(&config, &store).map_err(|error| Failure::of(&error))?;
    let started = Instant::now();
    let mut told = started;
    let mut progress = |what: &str, count: u64| {
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            eprintln!("{what}: {count}");
        }
    };
    let report = reconcile(&store, &books, (since, &action), now_ms, &mut progress)
        .await
        .map_err(|error| Failure::of(&error))?;
    let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let answer =
        json!({ "agrees": report.agrees(), "complete": report.is_complete(), "took_ms": took, "report": report });
    output.answer(&answer, || text(&report, took));
    Ok(match (report.agrees(), report.is_complete()) {
        (true, true) => Exit::Ok,
        (true, false) => Exit::Unavailable,
        (false, _) => Exit::Failed,
    })
}

fn parse_since(text: &str, now_ms: i64) -> Result<Since, Failure> {
    if let Ok(block) = text.parse::<u64>() {
        return Ok(Since::Block(block));
    }
    let at = moment(text, now_ms).and_then(|ms| u64::try_from(ms / 1_000).ok());
    at.map(Since::Time).ok_or_else(|| {
        Failure::usage("--since must be a block number, a date, a time in UTC or an age: 1200000, 2026-01-31, 2026-01-31T12:00:00Z, 2h")
    })
}

fn text(report: &Report, took_ms: u64) -> String {
    let mut out = String::new();
    for chain in &report.chains {
        out.push_str(&format!("chain {}\n", chain.chain));
        for line in chain_lines(chain).lines() {
            out.push_str(&format!("  {line}\n"));
        }
    }
    if !report.unbalanced_accounts.is_empty() {
        let rows = &report.unbalanced_accounts;
        out.push_str(&format!("accounts whose totals are not their postings: {rows:?}\n"));
    }
    if !report.differences.is_empty() {
        let mut shown = table(&["class", "chain", "subject", "expected", "actual"]);
        for one in &report.differences {
            shown.add_row([
                one.class.clone(),
                one.chain.to_string(),
                subject(&one.subject),
                one.expected.clone(),
                one.actual.clone(),
            ]);
        }
        out.push_str(&format!("\n{shown}\n"));
    }
    if !report.repairs.is_empty() {
        let mut shown = table(&["repair", "class", "subject", "what"]);
        for one in &report.repairs {
            let result = match one.result {
                Repaired::Done => "done",
                Repaired::Would => "would",
                Repaired::Not => "not",
            };
            shown.add_row([
                result.to_owned(),
                one.class.clone(),
                subject(&one.subject),
                one.what.clone(),
            ]);
        }
        out.push_str(&format!("\n{shown}\n"));
    }
    out.push_str(&format!("\n{}; {}\n", verdict(report), duration(took_ms)));
    out
}

fn chain_lines(chain: &ChainReport) -> String {
    let range = match (chain.first_block, chain.last_block) {
        (Some(first), Some(last)) => format!("{} ({first} to {last}), {} logs", chain.blocks, chain.logs),
        _ => "none new".to_owned(),
    };
    let proof = match (chain.blocks, chain.proven) {
        (0, _) => String::new(),
        (_, true) => "the contracts counted the same".to_owned(),
        (_, false) => "the contracts' counters could not be read for some".to_owned(),
    };
    let gaps: Vec<String> = chain
        .gaps
        .iter()
        .map(|gap| format!("{} to {}: {}", gap.first_block, gap.last_block, gap.reason))
        .collect();
    let own = if chain.own_endpoints {
        "other endpoints than the observer's"
    } else {
        "the observer's endpoints (there are no others: reconcile_rpc)"
    };
    fields(&[
        ("blocks compared", range),
        ("proof", proof),
        ("read from", own.to_owned()),
        ("settlements", chain.settlements.to_string()),
        ("payments", chain.payments.to_string()),
        ("messages", chain.messages.to_string()),
        ("not readable", gaps.join("; ")),
    ])
}

fn verdict(report: &Report) -> String {
    let differences = report.differences.len();
    let done = report
        .repairs
        .iter()
        .filter(|line| line.result == Repaired::Done)
        .count();
    let mut said = match (differences, report.agrees()) {
        (0, true) => "ledger, outbox and inbox agree".to_owned(),
        (_, true) => format!("{done} of {differences} difference(s) repaired: ledger, outbox and inbox agree"),
        (_, false) => format!("{differences} difference(s), {done} repaired"),
    };
    if report.closed > 0 {
        said.push_str(&format!(", {} earlier one(s) are gone", report.closed));
    }
    if !report.is_complete() {
        said.push_str("; some blocks could not be read and are tried again");
    }
    said
}
