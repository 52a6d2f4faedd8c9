//! `cargo xtask bench`: what this machine allows and what the relayer makes of it, measured in one run.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use relayer_e2e::bench::machine::Machine;
use relayer_e2e::bench::report::Report;
use relayer_e2e::bench::targets::{self, Target};
use relayer_e2e::bench::{Bench, Family, bridges, ceilings_grpc, document, hub, run};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Instant;

/// Measures the ceilings of this machine and the relayer beside them: accepting, settling, gas, memory, start and Watch, on SQLite and on a
/// private PostgreSQL. Compiled in release mode by `cargo xtask bench`.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Cli {
    /// End with one line of JSON on standard output; the tables go to standard error.
    #[arg(long)]
    json: bool,
    /// Small sizes: under five minutes instead of half an hour, and less to rely on.
    #[arg(long)]
    quick: bool,
    /// Write the tables into docs/benchmarks.md.
    #[arg(long)]
    write: bool,
    /// Only these families of figures.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Family>,
    /// Serves calls that do nothing; the bench starts itself with this.
    #[arg(long, hide = true)]
    serve_nothing: Option<SocketAddr>,
    /// Measures a hub's checkpoint of so many allotments and prints it as JSON; the bench starts itself with this.
    #[arg(long, hide = true)]
    measure_tree: Option<usize>,
}

#[tokio::main]
async fn main() {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::WARN)
        .init();
    let outcome = match (cli.serve_nothing, cli.measure_tree) {
        (Some(listen), _) => ceilings_grpc::serve(listen).await,
        (_, Some(count)) => print_tree(count),
        _ => tokio::select! {
            outcome = measure(&cli) => outcome,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted; everything it started is stopped")),
        },
    };
    if let Err(error) = outcome {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

fn print_tree(count: usize) -> Result<()> {
    println!("{}", serde_json::to_string(&hub::measure(count)?)?);
    Ok(())
}

fn command_line(cli: &Cli) -> String {
    let mut line = String::from("cargo xtask bench");
    if cli.quick {
        line.push_str(" --quick");
    }
    if !cli.only.is_empty() {
        let names: Vec<&str> = cli.only.iter().map(|family| family.name()).collect();
        line.push_str(&format!(" --only {}", names.join(",")));
    }
    line
}

async fn measure(cli: &Cli) -> Result<()> {
    ensure!(
        !(cli.write && cfg!(debug_assertions)),
        "figures of a debug build are not written; run `cargo xtask bench`"
    );
    let families = if cli.only.is_empty() {
        Family::ALL.to_vec()
    } else {
        cli.only.clone()
    };
    let machine = Machine::look();
    eprintln!("{}", machine.sentence());
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures mean nothing");
    }
    let started = Instant::now();
    let mut bench = Bench::new(cli.quick, families.len())?;
    if !bench.has_postgres() {
        eprintln!("PostgreSQL is not installed: its figures are null");
    }
    let report = run(&mut bench, &families).await;
    let seconds = started.elapsed().as_secs_f64();
    let judged = targets::judge(&report);
    // Bridges and hub have a part of their own, so that measuring them does not cost half an hour.
    let (bridges, rest) = report.part(bridges::is_of);
    let (hub, others) = rest.part(hub::is_of);
    let of = |is_of: &dyn Fn(&str) -> bool| -> Vec<Target> {
        judged.iter().filter(|target| is_of(target.table)).cloned().collect()
    };
    let of_others = of(&|table| !bridges::is_of(table) && !hub::is_of(table));
    let parts = [
        (document::BEGIN, others, of_others, cli.only.is_empty()),
        (document::BRIDGES_BEGIN, bridges, of(&bridges::is_of), true),
        (document::HUB_BEGIN, hub, of(&hub::is_of), true),
    ];
    for (begin, report, judged, with_targets) in parts {
        if report.tables.is_empty() && report.failures.is_empty() {
            continue;
        }
        let judged = if with_targets {
            targets::markdown(&judged)
        } else {
            String::new()
        };
        let text = document(cli, &machine, &report, &judged, seconds);
        eprintln!("{text}");
        if cli.write && !report.tables.is_empty() {
            document::write(begin, &text)?;
            eprintln!("written to docs/benchmarks.md");
        }
    }
    if cli.json {
        println!("{}", line(cli, &machine, &report, &judged, seconds)?);
    }
    ensure!(
        report.failures.is_empty(),
        "{} families could not be measured",
        report.failures.len()
    );
    Ok(())
}

fn document(cli: &Cli, machine: &Machine, report: &Report, targets: &str, seconds: f64) -> String {
    let debug = if cfg!(debug_assertions) { " (debug build)" } else { "" };
    format!(
        "Command: `{}`{debug}, {:.0} s. Machine: {}.\n\n{targets}\n{}",
        command_line(cli),
        seconds,
        machine.sentence(),
        report.markdown()
    )
}

fn line(cli: &Cli, machine: &Machine, report: &Report, judged: &[Target], seconds: f64) -> Result<Value> {
    let mut object = report.json();
    object.insert("command".into(), command_line(cli).into());
    object.insert("quick".into(), cli.quick.into());
    object.insert("release".into(), (!cfg!(debug_assertions)).into());
    object.insert("seconds".into(), json!(seconds.round()));
    object.insert("machine".into(), serde_json::to_value(machine).context("the machine")?);
    object.insert("targets".into(), targets::json(judged));
    Ok(Value::Object(object))
}
