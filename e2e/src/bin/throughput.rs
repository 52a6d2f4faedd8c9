//! Settles many settlements on two local chains and prints what that took, as one line of JSON.

use anyhow::Result;
use clap::Parser;
use relayer_e2e::bench::throughput::{settle_many, start};

/// End-to-end throughput on SQLite with one-second blocks.
#[derive(Parser)]
struct Cli {
    #[arg(long, default_value_t = 2_000)]
    settlements: u64,
    /// Settlements per message.
    #[arg(long, default_value_t = 128)]
    batch: u32,
    /// Unary calls at a time.
    #[arg(long, default_value_t = 256)]
    in_flight: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let cli = Cli::parse();
    let mut world = start(cli.batch, &|_, _| {}).await?;
    let figures = settle_many(&world, cli.settlements, cli.in_flight).await;
    let log = std::fs::read_to_string(world.relayer.log_path()).unwrap_or_default();
    for line in log
        .lines()
        .filter(|line| line.contains("WARN") || line.contains("ERROR"))
        .take(20)
    {
        eprintln!("{line}");
    }
    println!("{}", serde_json::to_string(&figures?)?);
    world.relayer.stop().await
}
