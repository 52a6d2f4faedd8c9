//! `cargo xtask contracts deploy|wire|show --file F`: our contracts on any chain, from a file, idempotently.

use anyhow::Result;
use clap::{Parser, Subcommand};
use comfy_table::Table;
use relayer_e2e::deploy::deployer::{Keys, deploy};
use relayer_e2e::deploy::deployment::Deployment;
use relayer_e2e::deploy::plan::Plan;
use relayer_e2e::deploy::wiring::{Done, Step, show, wire};
use std::path::PathBuf;

#[derive(Parser)]
#[command(
    name = "cargo xtask contracts",
    about = "Deploy and wire the settlement contracts on any chain, from a file"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Deploy what is missing.
    Deploy(Options),
    /// Connect lanes, ports, dispatchers and tokens; print what the owner must still do.
    Wire(Options),
    /// Show what is deployed and wired.
    Show(Options),
}

#[derive(clap::Args)]
struct Options {
    /// The plan; see config/contracts.example.toml.
    #[arg(long)]
    file: PathBuf,
    /// Machine-readable output.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() {
    if let Err(error) = run(Cli::parse().command).await {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Deploy(options) => {
            let deployment = deploy(&Plan::read(&options.file)?, &Keys::Environment).await?;
            println!("{}", serde_json::to_string_pretty(&deployment)?);
        }
        Command::Wire(options) => {
            let plan = Plan::read(&options.file)?;
            let steps = wire(&plan, &Deployment::read(&plan.state)?, &Keys::Environment).await?;
            if options.json {
                println!("{}", serde_json::to_string_pretty(&steps)?)
            } else {
                print_steps(&steps)
            }
        }
        Command::Show(options) => {
            let plan = Plan::read(&options.file)?;
            let rows = show(&plan, &Deployment::read(&plan.state)?, &Keys::Environment).await?;
            if options.json {
                println!("{}", serde_json::to_string_pretty(&rows)?);
                return Ok(());
            }
            let mut table = Table::new();
            table.set_header(["chain", "what", "is"]);
            for (chain, what, is) in rows {
                table.add_row([chain.to_string(), what, is]);
            }
            println!("{table}");
        }
    }
    Ok(())
}

fn print_steps(steps: &[Step]) {
    let mut table = Table::new();
    table.set_header(["chain", "step", "outcome"]);
    for step in steps {
        let outcome = match &step.done {
            Done::Already => "already so".to_owned(),
            Done::Sent => "done".to_owned(),
            Done::OwnerMust { owner, .. } => format!("owner {owner} must do it, see below"),
            Done::NotBefore(0) => "waits for its proposal".to_owned(),
            Done::NotBefore(second) => format!("not before Unix second {second}: run wire again then"),
        };
        table.add_row([step.chain.to_string(), step.what.clone(), outcome]);
    }
    println!("{table}");
    for step in steps {
        if let Done::OwnerMust { owner, to, data } = &step.done {
            println!(
                "\nchain {}: {}\n  from {owner}\n  to   {to}\n  data {data}",
                step.chain, step.what
            );
        }
    }
}
