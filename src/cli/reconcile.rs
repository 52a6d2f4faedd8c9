//! `relayer reconcile`: compares ledger, outbox and inbox settlement by settlement, and puts differences right when that is wanted. Works on the
//! database, beside a running relayer.

use super::Global;
use super::config::open_store;
use super::drift::subject;
use super::failure::{DATABASE, Exit, Failure};
use super::output::{Output, duration, fields, table};
use super::prune::moment;
use crate::clock::{Clock, SystemClock};
use crate::reconciler::{Action, ChainReport, Difference, Repaired, Report, Since, reconcile};
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
    Ok(exit(&report))
}

fn exit(report: &Report) -> Exit {
    match (report.agrees(), report.is_complete()) {
        (true, true) => Exit::Ok,
        (true, false) => Exit::Unavailable,
        (false, _) => Exit::Failed,
    }
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
        out.push_str(&format!("\n{}\n", listed(&report.differences)));
    }
    if !report.on_record.is_empty() {
        out.push_str("\non record, found otherwise, still open:\n");
        out.push_str(&format!("{}\n", listed(&report.on_record)));
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

fn listed(differences: &[Difference]) -> String {
    let mut shown = table(&["class", "chain", "subject", "expected", "actual"]);
    for one in differences {
        shown.add_row([
            one.class.clone(),
            one.chain.to_string(),
            subject(&one.subject),
            one.expected.clone(),
            one.actual.clone(),
        ]);
    }
    shown.to_string()
}

fn chain_lines(chain: &ChainReport) -> String {
    if !chain.read {
        return fields(&[(
            "blocks compared",
            "none: this database has not read the chain".to_owned(),
        )]);
    }
    let range = match (chain.first_block, chain.last_block) {
        (Some(first), Some(last)) => format!("{} ({first} to {last}), {} logs", chain.blocks, chain.logs),
        _ => "none new".to_owned(),
    };
    let proof = match (chain.blocks, chain.proven) {
        (0, _) => String::new(),
        (_, true) => {
            "the contracts counted the same messages, payments and sums (other events they do not count)".to_owned()
        }
        (_, false) => "for some blocks the contracts' counts of messages, payments and sums are missing".to_owned(),
    };
    let totals = match chain.totals {
        true => "compared with the accounts",
        false => "not compared now: something final is not booked, or the block's state could not be read",
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
        ("counters and sums", totals.to_owned()),
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
    let mut said = match (differences, report.agrees(), report.is_complete()) {
        (0, true, true) => "ledger, outbox and inbox agree".to_owned(),
        (0, true, false) => "no difference in what was compared".to_owned(),
        (_, true, true) => format!("{done} of {differences} difference(s) repaired: ledger, outbox and inbox agree"),
        _ => format!("{differences} difference(s), {done} repaired"),
    };
    if !report.on_record.is_empty() {
        said.push_str(&format!(", {} on record still open", report.on_record.len()));
    }
    if report.closed > 0 {
        said.push_str(&format!(", {} earlier one(s) are gone", report.closed));
    }
    let unread: Vec<String> = report
        .chains
        .iter()
        .filter(|chain| !chain.read)
        .map(|chain| chain.chain.to_string())
        .collect();
    if !unread.is_empty() {
        said.push_str(&format!(
            "; nothing is known of chain {}: let the relayer read it first",
            unread.join(", ")
        ));
    }
    if report.chains.iter().any(|chain| !chain.gaps.is_empty()) {
        said.push_str("; some blocks could not be read and are tried again");
    }
    said
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn read() -> ChainReport {
        ChainReport {
            chain: 1,
            read: true,
            proven: true,
            totals: true,
            ..ChainReport::default()
        }
    }

    fn of(chain: ChainReport) -> Report {
        Report {
            chains: vec![chain],
            ..Report::default()
        }
    }

    #[test]
    fn only_what_was_read_agrees() {
        let report = of(read());
        assert_eq!(exit(&report), Exit::Ok);
        assert!(text(&report, 1).contains("ledger, outbox and inbox agree"));
        let report = of(ChainReport {
            chain: 1,
            ..ChainReport::default()
        });
        assert_eq!(exit(&report), Exit::Unavailable);
        let said = text(&report, 1);
        assert!(!said.contains("agree"), "{said}");
        assert!(said.contains("nothing is known of chain 1"), "{said}");
    }

    #[test]
    fn what_others_found_is_part_of_the_verdict() {
        let mut report = of(read());
        report.on_record.push(Difference {
            class: "forged".into(),
            chain: 1,
            subject: "vote 0x01 0x02".into(),
            token: None,
            expected: "sent".into(),
            actual: "not".into(),
        });
        assert_eq!(exit(&report), Exit::Failed);
        let said = text(&report, 1);
        assert!(said.contains("vote 0x01 0x02") && !said.contains("agree"), "{said}");
    }

    #[test]
    fn what_is_proven_is_named() {
        let said = chain_lines(&ChainReport { blocks: 4, ..read() });
        assert!(said.contains("messages, payments and sums"), "{said}");
    }
}
