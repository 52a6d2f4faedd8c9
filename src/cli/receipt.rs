//! `receipt verify`: what an auditor runs; needs no relayer and no configuration.

use super::failure::{Exit, Failure};
use super::output::Output;
use crate::settlement::receipt::{Limits, PinnedKeys, verify_cli};
use clap::{Args, Subcommand};
use std::io::Read;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(super) enum ReceiptCommand {
    /// Verify one receipt, or one per line, against pinned keys
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Pinned Ed25519 public key, hex or base64url; may be repeated
    #[arg(long, value_name = "HEX")]
    key: Vec<String>,
    /// JSON or NDJSON; - or nothing = stdin
    file: Option<PathBuf>,
}

pub(super) fn run(command: ReceiptCommand, output: &Output) -> Result<Exit, Failure> {
    let ReceiptCommand::Verify(args) = command;
    let keys = PinnedKeys::parse(&args.key).map_err(|error| Failure::usage(error.to_string()))?;
    let text = match args.file.filter(|path| path.as_os_str() != "-") {
        Some(path) => std::fs::read(&path).map_err(|error| Failure::file(&path, error))?,
        None => {
            let mut text = Vec::new();
            std::io::stdin()
                .read_to_end(&mut text)
                .map_err(|error| Failure::file(&PathBuf::from("stdin"), error))?;
            text
        }
    };
    let verdicts = verify_cli::verify_text(&text, &keys, &Limits::default());
    for verdict in &verdicts {
        output.answer(verdict, || {
            let id = verdict.receipt_id.as_deref().unwrap_or("-");
            let hash = verdict.receipt_hash.as_deref().unwrap_or("-");
            match &verdict.error {
                None => format!("valid    {hash}  {id}  signed by {}", verdict.signers.join(", ")),
                Some(error) => format!("invalid  {hash}  {id}  {error}"),
            }
        });
    }
    let judged = verdicts.iter().all(|verdict| verdict.judged);
    Ok(if judged { Exit::Ok } else { Exit::Failed })
}
