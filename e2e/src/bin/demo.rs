//! `cargo xtask demo`: the whole story on two local chains, told while it happens and proven from the chains.

use anyhow::Result;
use clap::Parser;
use relayer_e2e::demo;
use std::path::PathBuf;

/// Settles the real AITBC sample receipt and 200 generated ones over the real contracts of LayerZero V2, CCIP and Wormhole in turn, has a duplicate
/// refused, pays a large one only when two bridges have brought it, lets one bridge take over from another, lets a payee execute its own settlement
/// with the relayer switched off, has the other chain learn a hub's checkpoints over two bridges each, has a deposit the relayer was not shown found and
/// repaired, puts an older copy of the database back and recovers, and compares the bridges.
#[derive(Parser)]
#[command(name = "cargo xtask demo")]
struct Cli {
    /// End with one line of JSON on standard output; the story goes to standard error.
    #[arg(long)]
    json: bool,
    /// Generated settlements.
    #[arg(long, default_value_t = 200)]
    settlements: u64,
    /// Keep files here instead of a temporary folder.
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[tokio::main]
async fn main() {
    let cli = Cli::parse();
    match run(&cli).await {
        Ok(report) if cli.json => println!("{report}"),
        Ok(_) => {}
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::exit(1);
        }
    }
}

async fn run(cli: &Cli) -> Result<serde_json::Value> {
    let folder = tempfile::tempdir()?;
    let dir = cli.dir.as_deref().unwrap_or(folder.path());
    tokio::select! {
        report = demo::run(dir, cli.settlements) => Ok(serde_json::to_value(report?)?),
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted; everything it started is stopped"),
    }
}
