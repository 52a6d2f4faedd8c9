//! `cargo xtask bench`: what this machine allows and what we make of it, measured in one run.
//!
//! Layout: [`report`] figures as JSON and Markdown, [`targets`] the goals, [`stats`] percentiles, [`machine`] what it runs on, [`document`]
//! docs/benchmarks.md; one file per family of figures: `ceilings*` what processor, database, gRPC and node allow, [`intake`] accepting,
//! [`settling`] end to end, [`gas`], [`bridges`] beside each other, [`hub`] checkpoints and postings, [`scale`] bytes, memory and start, [`watch`], [`books`] their comparison with the chains; [`site`] a relayer to measure and [`load`] what is put on it.

pub mod books;
pub mod bridges;
pub mod ceilings;
pub mod ceilings_grpc;
pub mod ceilings_node;
pub mod ceilings_store;
pub mod document;
pub mod gas;
pub mod hub;
pub mod hub_ledger;
pub mod intake;
pub mod load;
pub mod machine;
pub mod progress;
pub mod report;
pub mod scale;
pub mod settling;
pub mod site;
pub mod stats;
pub mod targets;
pub mod throughput;
pub mod watch;

use anyhow::{Context, Result};
use load::Client;
use progress::Progress;
use relayer_e2e_postgres::Server;
use relayer_proto::v1::settlement_service_client::SettlementServiceClient;
use report::{Report, Table};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use tonic::transport::Channel;

/// A database to measure on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

impl Backend {
    /// Columns of a table with a figure for each.
    pub const NAMES: [&'static str; 2] = ["sqlite", "postgres"];

    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => Self::NAMES[0],
            Self::Postgres => Self::NAMES[1],
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        })
    }
}

/// What every family is given.
#[derive(Debug)]
pub struct Bench {
    /// Small sizes: the whole run in a few minutes.
    pub quick: bool,
    pub progress: Progress,
    postgres: Option<Server>,
    databases: AtomicU64,
}

impl Bench {
    pub fn new(quick: bool, families: usize) -> Result<Self> {
        Ok(Self {
            quick,
            progress: Progress::new(families),
            postgres: Server::start().context("starting a private PostgreSQL")?,
            databases: AtomicU64::new(0),
        })
    }

    pub fn has_postgres(&self) -> bool {
        self.postgres.is_some()
    }

    /// Databases there are on this machine.
    pub fn backends(&self) -> Vec<Backend> {
        let postgres = self.postgres.as_ref().map(|_| Backend::Postgres);
        std::iter::once(Backend::Sqlite).chain(postgres).collect()
    }

    /// URL of a new, empty database; one on SQLite is a file in `folder`.
    pub fn database_url(&self, backend: Backend, folder: &Path) -> Result<String> {
        match backend {
            Backend::Sqlite => Ok(format!("sqlite://{}", folder.join("relayer.db").display())),
            Backend::Postgres => {
                let name = format!("bench_{}", self.databases.fetch_add(1, Ordering::Relaxed));
                let server = self.postgres.as_ref().context("PostgreSQL is not installed")?;
                server.create_database(&name)
            }
        }
    }

    /// `quick` sizes are for trying things out, `full` ones for figures.
    pub fn size(&self, quick: usize, full: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

/// Families of figures, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Family {
    /// Signatures and hashes per second.
    Processor,
    /// Plain statements with the rows of settlements.
    Store,
    /// Empty calls.
    Grpc,
    /// Raw transactions.
    Node,
    /// Accepted per second: unary, streamed, in groups.
    Intake,
    /// From submit to final payment.
    Settling,
    /// Gas and RPC calls by batch size.
    Gas,
    /// The three bridges beside each other: gas, fees, times, RPC calls.
    Bridges,
    /// A checkpoint of a million allotments, its proofs, and postings.
    Hub,
    /// Bytes per settlement, memory, start.
    Scale,
    /// Events to many watchers.
    Watch,
    /// The comparison of a million settlements.
    Books,
}

impl Family {
    pub const ALL: [Self; 12] = [
        Self::Processor,
        Self::Store,
        Self::Grpc,
        Self::Node,
        Self::Intake,
        Self::Settling,
        Self::Gas,
        Self::Bridges,
        Self::Hub,
        Self::Scale,
        Self::Watch,
        Self::Books,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Processor => "processor",
            Self::Store => "store",
            Self::Grpc => "grpc",
            Self::Node => "node",
            Self::Intake => "intake",
            Self::Settling => "settling",
            Self::Gas => "gas",
            Self::Bridges => "bridges",
            Self::Hub => "hub",
            Self::Scale => "scale",
            Self::Watch => "watch",
            Self::Books => "books",
        }
    }

    async fn run(self, bench: &Bench, so_far: &Report) -> Result<Vec<Table>> {
        match self {
            Self::Processor => ceilings::run(bench).await,
            Self::Store => ceilings_store::run(bench).await,
            Self::Grpc => ceilings_grpc::run(bench).await,
            Self::Node => ceilings_node::run(bench).await,
            Self::Intake => intake::run(bench, so_far).await,
            Self::Settling => settling::run(bench).await,
            Self::Gas => gas::run(bench).await,
            Self::Bridges => bridges::run(bench).await,
            Self::Hub => hub::run(bench).await,
            Self::Scale => scale::run(bench).await,
            Self::Watch => watch::run(bench).await,
            Self::Books => books::run(bench).await,
        }
    }
}

/// Runs the families one after the other; one that fails is reported and does not stop the others.
pub async fn run(bench: &mut Bench, families: &[Family]) -> Report {
    let mut report = Report::default();
    for (number, family) in (1..).zip(families) {
        bench.progress.family(number, family.name());
        match family.run(bench, &report).await {
            Ok(tables) => report.tables.extend(tables),
            Err(error) => {
                bench.progress.keep(&format!("failed: {error:#}"));
                report.failures.push((family.name().into(), format!("{error:#}")));
            }
        }
    }
    bench.progress.finish();
    report
}

/// Several connections to a service.
pub async fn connect(url: &str, connections: usize) -> Result<Vec<Client>> {
    let mut clients = Vec::with_capacity(connections);
    for _ in 0..connections {
        let channel = Channel::from_shared(url.to_owned())?
            .tcp_nodelay(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20)
            .connect()
            .await?;
        clients.push(SettlementServiceClient::new(channel).max_decoding_message_size(64 << 20));
    }
    Ok(clients)
}
