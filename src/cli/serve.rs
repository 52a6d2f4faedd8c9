//! `serve`.

use super::Global;
use super::failure::{Exit, Failure};
use clap::Args;

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Listen for gRPC here instead of api.grpc_listen
    #[arg(long, value_name = "ADDRESS")]
    grpc_listen: Option<String>,
    /// Listen for REST here instead of api.rest_listen
    #[arg(long, value_name = "ADDRESS")]
    rest_listen: Option<String>,
    /// Database instead of store.url
    #[arg(long, value_name = "URL")]
    store_url: Option<String>,
    /// Allow addresses beyond loopback without TLS
    #[arg(long)]
    insecure_listen: bool,
}

pub(super) async fn serve(global: &Global, args: ServeArgs) -> Result<Exit, Failure> {
    let _ = (global, args);
    Ok(Exit::Ok)
}
