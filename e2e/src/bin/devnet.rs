//! `cargo xtask devnet`: two local chains with all three protocols on them, and the relayer, until Ctrl-C.

use anyhow::Result;
use clap::Parser;
use comfy_table::Table;
use ed25519_dalek::SigningKey;
use relayer_adapter_ccip::Version;
use relayer_e2e::demo::SAMPLE_KEY;
use relayer_e2e::devnet::config::RelayerOptions;
use relayer_e2e::devnet::hub::HubOptions;
use relayer_e2e::devnet::switches::Setting;
use relayer_e2e::devnet::{Devnet, Options, WORMHOLE_BRIDGE, key};
use relayer_e2e::relayer_process::RelayerProcess;
use relayer_e2e_postgres::free_port;
use std::path::PathBuf;

/// Two local chains with the real contracts of LayerZero V2 (two port pairs), Chainlink CCIP and Wormhole, ours, a funded payer, the roles that
/// carry messages, and the relayer. Everything ends with this program.
#[derive(Parser)]
#[command(name = "cargo xtask devnet")]
struct Cli {
    /// Where devnet.json, relayer.toml, the database and the logs go.
    #[arg(long, default_value = "devnet")]
    dir: PathBuf,
    /// Chains only.
    #[arg(long)]
    no_relayer: bool,
    /// Seconds between blocks.
    #[arg(long, default_value_t = 1)]
    block_time: u64,
    /// Chainlink CCIP in this version. Nobody executes messages of 2.0 but the relayer.
    #[arg(long, value_enum, default_value = "1.6")]
    ccip: Ccip,
    /// Wormhole's guardians: 19 as in the real set, of which 13 must sign.
    #[arg(long, default_value_t = 19, value_parser = clap::value_parser!(u8).range(1..=19))]
    guardians: u8,
    /// Blocks of an eon of the hub on the source chain; 0 = no hub.
    #[arg(long, default_value_t = 0)]
    hub: u64,
    /// How the roles behave from the start, as GET /roles shows it; what is left out behaves well. For example {"dvn": false}.
    #[arg(long, value_name = "JSON", value_parser = roles)]
    roles: Option<Setting>,
    /// Print devnet.json when ready instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Ccip {
    #[value(name = "1.6")]
    V1_6,
    #[value(name = "2.0")]
    V2_0,
    None,
}

fn roles(text: &str) -> Result<Setting, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[tokio::main]
async fn main() {
    let cli = Cli::parse();
    if let Err(error) = run(cli).await {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

async fn run(cli: Cli) -> Result<()> {
    eprintln!("starting two chains and deploying LayerZero V2, CCIP, Wormhole and our contracts …");
    let mut options = Options::new(&cli.dir);
    options.block_time = cli.block_time;
    options.ccip = match cli.ccip {
        Ccip::V1_6 => Some(Version::V1_6),
        Ccip::V2_0 => Some(Version::V2_0),
        Ccip::None => None,
    };
    options.guardians = usize::from(cli.guardians);
    options.hub = (cli.hub > 0).then(|| HubOptions {
        blocks_per_eon: cli.hub,
        ..HubOptions::default()
    });
    options.roles = cli.roles.clone().unwrap_or_default();
    let devnet = Devnet::start(options).await?;
    let mut config = RelayerOptions::new(&cli.dir, "127.0.0.1:50051".into(), "127.0.0.1:8080".into());
    config.bridges.push(WORMHOLE_BRIDGE.to_owned());
    if !cli.no_relayer {
        config.grpc = format!("127.0.0.1:{}", free_port()?);
        config.rest = format!("127.0.0.1:{}", free_port()?);
    }
    let receipts = SigningKey::from_bytes(&key("receipts")?.to_bytes().0);
    // The key of the published AITBC sample too, so that testdata/aitbc/sample_receipt.json can be submitted by hand.
    let keys = vec![hex::encode(receipts.verifying_key().as_bytes()), SAMPLE_KEY.to_owned()];
    config.coordinators.push(("devnet".into(), keys));
    // A database of an earlier devnet tells of chains that no longer exist.
    for suffix in ["", "-wal", "-shm"] {
        let stale = PathBuf::from(format!("{}{suffix}", config.database.display()));
        if stale.exists() {
            std::fs::remove_file(stale)?;
        }
    }
    let path = devnet.write_relayer_config(&config)?;
    let mut relayer = RelayerProcess::new(&path, &cli.dir.join("relayer.log"), &config.grpc, &config.rest);
    if !cli.no_relayer {
        relayer.start().await?;
    }
    if cli.json {
        println!("{}", serde_json::to_string(&devnet.file())?);
    } else {
        print_table(&devnet, &relayer, &cli);
    }
    tokio::signal::ctrl_c().await?;
    eprintln!("stopping");
    relayer.stop().await
}

fn print_table(devnet: &Devnet, relayer: &RelayerProcess, cli: &Cli) {
    let mut table = Table::new();
    table.set_header(["", "source", "target"]);
    let (a, b) = (&devnet.source, &devnet.target);
    table.add_row([
        "chain id".to_owned(),
        a.anvil.chain.to_string(),
        b.anvil.chain.to_string(),
    ]);
    table.add_row(["rpc".to_owned(), a.anvil.url.clone(), b.anvil.url.clone()]);
    for (name, x, y) in [
        ("outbox", a.outbox, b.outbox),
        ("inbox", a.inbox, b.inbox),
        ("vault", a.vault, b.vault),
        ("token", a.token, b.token),
        ("LayerZero endpoint", a.layerzero.endpoint, b.layerzero.endpoint),
        ("Wormhole core", a.wormhole.core, b.wormhole.core),
    ] {
        table.add_row([name.to_owned(), x.to_string(), y.to_string()]);
    }
    if let (Some(x), Some(y)) = (&a.ccip, &b.ccip) {
        table.add_row(["CCIP router".to_owned(), x.router.to_string(), y.router.to_string()]);
    }
    for (bridge, port) in &a.ports {
        let there = b.ports.get(bridge).map(ToString::to_string);
        table.add_row([format!("port {bridge}"), port.to_string(), there.unwrap_or_default()]);
    }
    println!("{table}");
    if let Some(hub) = &devnet.hub {
        println!(
            "hub              {} with eons of {} blocks",
            hub.contract, hub.blocks_per_eon
        );
    }
    println!(
        "payer            {} with {} tokens deposited on each chain",
        devnet.accounts.payer.address(),
        devnet.options.deposit
    );
    println!("roles            GET or PUT {}/roles", devnet.control);
    println!("guardians        {}", devnet.guardians.endpoints.join(" "));
    if !cli.no_relayer {
        println!(
            "relayer          gRPC {}  REST {}",
            relayer.grpc_url(),
            relayer.rest_url()
        );
        println!("relayer's log    {}", relayer.log_path().display());
    }
    println!("files            {0}/devnet.json {0}/relayer.toml", cli.dir.display());
    println!("Ctrl-C ends everything.");
}
