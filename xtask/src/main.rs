//! `cargo xtask`: everything a developer, an operator or CI runs. It only starts other programs, so that it builds in seconds.
//!
//! `test` checks everything, `demo` settles on two local chains, `bench` measures, `devnet` serves them, `contracts` builds, deploys and wires.

mod contracts;
mod postgres;
mod steps;
mod tools;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Build, test and show the settlement relayer")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lints, Rust tests, contract tests, end-to-end tests and the demo; what CI runs.
    Test {
        /// Run only these parts, in their usual order.
        #[arg(long, value_enum, value_delimiter = ',')]
        only: Vec<steps::Part>,
    },
    /// Settle over two local chains with the real contracts of LayerZero V2, CCIP and Wormhole and show what happened.
    Demo {
        /// End with one line of JSON.
        #[arg(long)]
        json: bool,
        /// Passed on to the demo program; see `cargo xtask demo -- --help`.
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Measure what this machine allows and what the relayer makes of it, in release mode, on SQLite and PostgreSQL (half an hour).
    ///
    /// In one run: signatures, plain SQL, gRPC and the chain node as ceilings; accepting unary, streamed and in groups; end to end with blocks
    /// of a second; gas and RPC calls by batch size; the three bridges beside each other; bytes, memory, start; Watch. The chains, the database and the load generator share the
    /// machine with the relayer. Without PostgreSQL installed its figures are null.
    Bench {
        /// End with one line of JSON on standard output: every figure, the machine, the targets.
        #[arg(long)]
        json: bool,
        /// Small sizes, under five minutes.
        #[arg(long)]
        quick: bool,
        /// Rewrite the measured part of docs/benchmarks.md.
        #[arg(long)]
        write: bool,
        /// Only these families: processor, store, grpc, node, intake, settling, gas, bridges, scale, watch, books.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
    },
    /// Start two local chains with everything deployed (LayerZero V2, CCIP, Wormhole, our contracts), and the relayer; serve until Ctrl-C.
    Devnet {
        /// Passed on to the devnet program: --dir D, --no-relayer, --block-time N, --ccip 1.6|2.0|none, --guardians N, --roles JSON, --json.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Build our contracts, deploy and wire them on any chain from a file, or show what is deployed.
    Contracts {
        /// build | test | deploy --file F | wire --file F | show --file F
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        args: Vec<String>,
    },
}

fn main() {
    let outcome = match Cli::parse().command {
        Command::Test { only } => steps::test(&only),
        Command::Demo { json, args } => demo(json, args),
        Command::Bench {
            json,
            quick,
            write,
            only,
        } => bench([("--json", json), ("--quick", quick), ("--write", write)], &only),
        Command::Devnet { args } => steps::run_program("devnet", &args),
        Command::Contracts { args } => contracts(&args),
    };
    if let Err(error) = outcome {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

fn demo(json: bool, mut args: Vec<String>) -> Result<()> {
    if json {
        args.push("--json".into());
    }
    steps::run_program("demo", &args)
}

fn bench(switches: [(&str, bool); 3], only: &[String]) -> Result<()> {
    let mut args: Vec<String> = switches
        .iter()
        .filter(|(_, on)| *on)
        .map(|(switch, _)| (*switch).to_owned())
        .collect();
    if !only.is_empty() {
        args.push(format!("--only={}", only.join(",")));
    }
    steps::run_release_program("bench", &args)
}

fn contracts(args: &[String]) -> Result<()> {
    match args.first().map(String::as_str) {
        Some("build") => contracts::begin()?.finish(),
        Some("test") => steps::test(&[steps::Part::Contracts]),
        _ => steps::run_program("contracts", args),
    }
}
