//! Commands about settlements the relayer has: status, list, explain, cancel.

use super::Global;
use super::explain::story;
use super::failure::{Exit, Failure};
use super::output::{Output, fields, short, table, time};
use crate::api::v1;
use crate::clock::{Clock, SystemClock};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct IdArgs {
    /// Settlement id: 0x and 64 hex digits
    id: String,
    /// Write the execution bundle to this file (status only; from dispatched on)
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[arg(long)]
    coordinator: Option<String>,
    /// accepted, batched, dispatched, delivered, settled, expired, burned, superseded, cancelled or disputed
    #[arg(long)]
    state: Option<String>,
    #[arg(long, value_name = "ADDRESS")]
    payer: Option<String>,
    #[arg(long, value_name = "ADDRESS")]
    payee: Option<String>,
    #[arg(long, value_name = "CHAIN ID")]
    target_chain: Option<u64>,
    #[arg(long)]
    job_id: Option<String>,
    /// Stop after this many
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

pub(super) async fn status(global: &Global, args: IdArgs, output: &Output) -> Result<Exit, Failure> {
    let found = global.client().await?.get(&args.id).await?;
    if let Some(path) = &args.bundle {
        let Some(bundle) = &found.bundle else {
            return Err(Failure::new(
                Exit::Failed,
                super::failure::BUNDLE,
                "there is no bundle yet: the settlement has not been dispatched",
            ));
        };
        let bundle = crate::api::bundle_file(bundle).map_err(|error| Failure::file(path, error))?;
        let text = serde_json::to_string_pretty(&bundle).unwrap_or_default();
        std::fs::write(path, text + "\n").map_err(|error| Failure::file(path, error))?;
    }
    output.answer(&found, || human(&found));
    Ok(Exit::Ok)
}

fn human(found: &v1::GetResponse) -> String {
    let settlement = found.settlement.clone().unwrap_or_default();
    let terms = settlement.terms.clone().unwrap_or_default();
    let evidence = settlement.evidence.clone().unwrap_or_default();
    let state = match settlement.credited {
        true => format!("{} (as a credit: claim it from the vault)", settlement.state),
        false => settlement.state.clone(),
    };
    let jobs: Vec<&str> = settlement
        .receipts
        .iter()
        .map(|receipt| receipt.job_id.as_str())
        .collect();
    let proof = match evidence.block_number {
        0 => String::new(),
        block => format!("block {block}, transaction {}", evidence.transaction_hash),
    };
    let mut text = fields(&[
        ("settlement", settlement.settlement_id.clone()),
        ("state", state),
        ("skipped", settlement.skip_reason.clone()),
        ("coordinator", settlement.coordinator.clone()),
        ("jobs", jobs.join(", ")),
        (
            "amount",
            format!("{} + fee {} of token {}", terms.amount, terms.fee, terms.token),
        ),
        ("payer", terms.payer),
        ("payee", terms.payee),
        ("chains", format!("{} to {}", terms.source_chain, terms.target_chain)),
        ("policy", settlement.policy.clone()),
        ("nonce", terms.nonce),
        ("deadline", time(terms.deadline.saturating_mul(1_000))),
        ("accepted", time(settlement.accepted_at_ms)),
        ("cancel asked", time(settlement.cancel_requested_at_ms)),
        ("ended", time(settlement.ended_at_ms)),
        ("proof", proof),
        ("supersedes", settlement.supersedes.clone()),
        ("trace", settlement.trace_id.clone()),
    ]);
    if !found.messages.is_empty() {
        let mut rows = table(&["message", "leaf", "state", "bridge", "source", "target", "note"]);
        for message in &found.messages {
            let place = format!("{}/{}", message.leaf, message.leaves);
            if message.dispatches.is_empty() {
                rows.add_row([&short(&message.message_id), &place, &message.state, "", "", "", ""]);
            }
            for dispatch in &message.dispatches {
                rows.add_row([
                    &short(&message.message_id),
                    &place,
                    &message.state,
                    &dispatch.bridge,
                    &dispatch.source_state,
                    &dispatch.target_state,
                    &dispatch.note,
                ]);
            }
        }
        text.push_str(&format!("\n{rows}\n"));
    }
    text
}

pub(super) async fn list(global: &Global, args: ListArgs, output: &Output) -> Result<Exit, Failure> {
    let mut client = global.client().await?;
    let mut request = v1::ListRequest {
        coordinator: args.coordinator.unwrap_or_default(),
        state: args.state.unwrap_or_default(),
        payer: args.payer.unwrap_or_default(),
        payee: args.payee.unwrap_or_default(),
        target_chain: args.target_chain.unwrap_or_default(),
        job_id: args.job_id.unwrap_or_default(),
        ..Default::default()
    };
    let mut found = Vec::new();
    loop {
        let missing = args.limit.saturating_sub(found.len());
        request.page_size = u32::try_from(missing.min(500)).unwrap_or(500);
        if request.page_size == 0 {
            break;
        }
        let page = client.list(request.clone()).await?;
        found.extend(page.settlements);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    found.truncate(args.limit);
    output.answer(&found, || {
        let mut rows = table(&["settlement", "state", "amount", "payee", "target", "accepted", "note"]);
        for settlement in &found {
            let terms = settlement.terms.clone().unwrap_or_default();
            rows.add_row([
                settlement.settlement_id.clone(),
                settlement.state.clone(),
                terms.amount,
                short(&terms.payee),
                terms.target_chain.to_string(),
                time(settlement.accepted_at_ms),
                settlement.skip_reason.clone(),
            ]);
        }
        rows.to_string()
    });
    Ok(Exit::Ok)
}

pub(super) async fn explain(global: &Global, args: IdArgs, output: &Output) -> Result<Exit, Failure> {
    let found = global.client().await?.get(&args.id).await?;
    let now_ms = u64::try_from(SystemClock.now_ms()).unwrap_or_default();
    let story = story(&found, now_ms);
    output.answer(&story, || story.to_string());
    Ok(Exit::Ok)
}

pub(super) async fn cancel(global: &Global, args: IdArgs, output: &Output) -> Result<Exit, Failure> {
    let answer = global.client().await?.cancel(&args.id).await?;
    output.answer(&answer, || {
        format!(
            "{} is {}; it will not be batched again.\nIts signed terms stay payable until the payer has burned the nonce or the \
             deadline has passed; then it ends as cancelled and the reservation is released.",
            answer.settlement_id, answer.state
        )
    });
    Ok(Exit::Ok)
}
