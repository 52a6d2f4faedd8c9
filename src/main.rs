//! The `relayer` binary; the command tree is `relayer::cli`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    // Two TLS back ends are linked; without a named default the first https call would panic. Fails only when one is set already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    relayer::cli::run(std::env::args_os()).await.into()
}
