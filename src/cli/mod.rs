//! The `relayer` command. Tables for people, `--json` for machines; answers on stdout, errors on stderr with code and hint.
//!
//! Layout: this page is the command tree; [`failure`] exit codes; [`output`] tables, amounts and times; one file per command.

mod config;
mod doctor;
mod drift;
mod execute;
mod explain;
pub mod failure;
mod hub;
mod hub_audit;
mod hub_checkpoint;
mod lane;
mod output;
mod prune;
mod quote;
mod receipt;
mod reconcile;
mod recover;
mod route;
mod serve;
mod settlements;
mod submit;
mod vault;
mod watch;

pub use failure::{CODES, Exit, Failure};

use clap::{Args, Parser, Subcommand};
use output::Output;
use std::ffi::OsString;
use std::path::PathBuf;

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  refused, failed, or a check did not pass
  2  wrong usage or configuration
  3  not reachable: the relayer, a chain or the database; trying again may help
  4  no such settlement";

/// Cross-chain settlement relayer: signed job receipts in, providers paid on another chain, books balanced.
#[derive(Debug, Parser)]
#[command(name = "relayer", version, after_help = AFTER_HELP, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Configuration file
    #[arg(long, global = true, env = "RELAYER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// gRPC address of the relayer, for client commands
    #[arg(
        long,
        global = true,
        env = "RELAYER_SERVER",
        default_value = "http://127.0.0.1:50051",
        value_name = "URL"
    )]
    server: String,
    /// Environment variable that holds the coordinator's bearer token
    #[arg(long, global = true, value_name = "NAME", default_value = "RELAYER_TOKEN")]
    token_env: String,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the relayer
    Serve(serve::ServeArgs),
    /// Submit a settlement
    Submit(Box<submit::SubmitArgs>),
    /// Show one settlement
    Status(settlements::IdArgs),
    /// List settlements
    List(settlements::ListArgs),
    /// Print every change as it happens; connects again by itself where it left off
    Watch(watch::WatchArgs),
    /// Tell the story of one settlement: what happened, why, and what happens next
    Explain(settlements::IdArgs),
    /// Price of one message over every lane now, or why a lane refuses
    Quote(quote::QuoteArgs),
    /// Stop batching a settlement; its signed terms stay payable until deadline or nonce burn
    Cancel(settlements::IdArgs),
    /// Execute one dispatched settlement on the target chain, without the relayer
    Execute(execute::ExecuteArgs),
    /// Receipts
    #[command(subcommand)]
    Receipt(receipt::ReceiptCommand),
    /// Hubs: their checkpoints and the ledger behind them
    #[command(subcommand)]
    Hub(hub::HubCommand),
    /// Check chains, contracts, wiring, roles, funds and the database, and say what to do
    Doctor(doctor::DoctorArgs),
    /// Configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Lanes: how they stand; pause, drain and resume them
    #[command(subcommand)]
    Lane(lane::LaneCommand),
    /// A payer's money in a vault
    #[command(subcommand)]
    Vault(vault::VaultCommand),
    /// Bring the database schema up to date
    Migrate,
    /// Make a restored or empty database know again what the chains know; run it before serve where serve asks for it
    Recover(recover::RecoverArgs),
    /// Archive settlements that ended long ago and delete their history; nonces and paid receipts stay known for ever
    Prune(prune::PruneArgs),
    /// Compare ledger, outbox and inbox settlement by settlement, and repair what differs; works beside a running relayer
    Reconcile(reconcile::ReconcileArgs),
    /// List differences between the ledger and the chains, or follow them
    Drift(drift::DriftArgs),
    /// End the dispute of a settlement, by an operator's word and the chain's
    Dispute(drift::DisputeArgs),
    /// Generated documentation
    #[command(subcommand, hide = true)]
    Docs(config::DocsCommand),
}

/// Runs the command line and prints what came of it.
pub async fn run(args: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Printing can only fail when nobody reads.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Ok };
        }
    };
    let output = Output { json: cli.global.json };
    match dispatch(cli, &output).await {
        Ok(exit) => exit,
        Err(failure) => {
            output.failure(&failure);
            failure.exit
        }
    }
}

async fn dispatch(cli: Cli, output: &Output) -> Result<Exit, Failure> {
    let global = &cli.global;
    match cli.command {
        Command::Serve(args) => serve::serve(global, args).await,
        Command::Submit(args) => submit::submit(global, *args, output).await,
        Command::Status(args) => settlements::status(global, args, output).await,
        Command::List(args) => settlements::list(global, args, output).await,
        Command::Watch(args) => watch::watch(global, args, output).await,
        Command::Explain(args) => settlements::explain(global, args, output).await,
        Command::Quote(args) => quote::quote(global, args, output).await,
        Command::Cancel(args) => settlements::cancel(global, args, output).await,
        Command::Execute(args) => execute::execute(args, output).await,
        Command::Receipt(command) => receipt::run(command, output),
        Command::Hub(command) => hub::run(global, command, output).await,
        Command::Doctor(args) => doctor::run(global, args, output).await,
        Command::Config(command) => config::run(global, command, output),
        Command::Lane(command) => lane::run(global, command, output).await,
        Command::Vault(command) => vault::run(global, command, output).await,
        Command::Migrate => config::migrate(global, output).await,
        Command::Recover(args) => recover::recover(global, args, output).await,
        Command::Prune(args) => prune::prune(global, args, output).await,
        Command::Reconcile(args) => reconcile::run(global, args, output).await,
        Command::Drift(args) => drift::drift(global, args, output).await,
        Command::Dispute(args) => drift::dispute(global, args, output).await,
        Command::Docs(command) => config::docs(command),
    }
}

impl Global {
    /// Connects to the relayer.
    async fn client(&self) -> Result<crate::api::Client, Failure> {
        Ok(self.connect().await?)
    }

    async fn connect(&self) -> Result<crate::api::Client, crate::api::client::ClientError> {
        let token = std::env::var(&self.token_env).ok().filter(|token| !token.is_empty());
        crate::api::Client::connect(&self.server, token.as_deref()).await
    }

    /// The configuration, from `--config`, or `relayer.toml` here if there is one, or the defaults.
    fn load(&self, flags: &[(&str, String)]) -> Result<crate::config::Config, Failure> {
        Ok(crate::config::Config::load(self.config_file().as_deref(), flags)?)
    }

    fn config_file(&self) -> Option<PathBuf> {
        let here = PathBuf::from("relayer.toml");
        self.config.clone().or_else(|| here.exists().then_some(here))
    }
}

#[cfg(test)]
mod tests;
