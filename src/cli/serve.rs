//! `serve`: configuration, logs, signals; everything else is wiring.

use super::Global;
use super::failure::{Exit, Failure};
use crate::config::{Config, ConfigError, LogConfig, LogFormat};
use crate::wiring;
use clap::Args;
use std::io::IsTerminal;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Listen for gRPC here instead of api.grpc_listen
    #[arg(long, value_name = "ADDRESS")]
    grpc_listen: Option<String>,
    /// Listen for REST here instead of api.rest_listen
    #[arg(long, value_name = "ADDRESS")]
    rest_listen: Option<String>,
    /// Do only this part of the work: api, engine, observer, in any mixture [default: supervisor.roles]
    #[arg(long, value_name = "ROLE,…")]
    roles: Option<String>,
    /// Allow addresses beyond loopback without TLS
    #[arg(long)]
    insecure_listen: bool,
    /// Simulate and report transactions, send none, accept nothing; for a copy of the database
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn serve(global: &Global, args: ServeArgs) -> Result<Exit, Failure> {
    let mut flags = Vec::new();
    if let Some(address) = args.grpc_listen {
        flags.push(("api.grpc_listen", address));
    }
    if let Some(address) = args.rest_listen {
        flags.push(("api.rest_listen", address));
    }
    if let Some(roles) = args.roles {
        flags.push(("supervisor.roles", roles));
    }
    let mut config = Config::read(global.config_file().as_deref(), &flags)?;
    config.api.insecure_listen |= args.insecure_listen;
    config.dry_run = args.dry_run;
    let problems = config.problems_to_serve();
    if !problems.is_empty() {
        return Err(ConfigError::Invalid(problems).into());
    }
    start_logs(&config.log);
    let metrics =
        crate::metrics::install().map_err(|error| Failure::of(&wiring::WiringError::Metrics(error.to_string())))?;
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone()));
    wiring::serve(&config, Some(metrics), stop)
        .await
        .map_err(|error| Failure::of(&error))?;
    Ok(Exit::Ok)
}

/// Logs go to stderr. `RUST_LOG` wins over the configuration, as everywhere in Rust.
fn start_logs(config: &LogConfig) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(&config.level));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // Fails only when a subscriber is installed already, and then that one logs.
    let _ = match config.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

async fn stop_on_signal(stop: CancellationToken) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::error!("signals cannot be caught: stop the process with SIGKILL; nothing accepted is lost");
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("stopping");
    stop.cancel();
}
