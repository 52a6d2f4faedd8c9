//! `cargo xtask`: everything a developer, an operator or CI runs. It only starts other programs, so that it builds in seconds.
//!
//! `test` checks everything, `demo` settles on two local chains, `devnet` serves them, `contracts` builds, deploys and wires.

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
    /// Settle over two local chains with the real LayerZero V2 contracts and show what happened.
    Demo {
        /// End with one line of JSON.
        #[arg(long)]
        json: bool,
        /// Passed on to the demo program; see `cargo xtask demo -- --help`.
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Start two local chains with everything deployed, and the relayer; serve until Ctrl-C.
    Devnet {
        /// Passed on to the devnet program: --dir D, --no-relayer, --block-time N, --json.
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

fn contracts(args: &[String]) -> Result<()> {
    match args.first().map(String::as_str) {
        Some("build") => steps::build_contracts(),
        Some("test") => steps::test(&[steps::Part::Contracts]),
        _ => steps::run_program("contracts", args),
    }
}
