//! `relayer drift` and `relayer dispute`: what operators see and decide, over the relayer's gRPC.

use super::Global;
use super::failure::{Exit, Failure};
use super::output::{Output, short, table, time};
use crate::api::client::OperatorClient;
use crate::api::v1;
use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(super) struct OperatorArgs {
    /// Environment variable that holds the operator's bearer token
    #[arg(long, value_name = "NAME", default_value = "RELAYER_OPERATOR_TOKEN")]
    operator_token_env: String,
}

#[derive(Debug, Args)]
pub(super) struct DriftArgs {
    /// Only this class: missing, duplicate, amount, payee, root, stale, unknown or forged
    #[arg(long, default_value = "")]
    class: String,
    /// Only this chain (numeric id)
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    chain: u64,
    /// Only this settlement
    #[arg(long, default_value = "", hide_default_value = true, value_name = "ID")]
    settlement: String,
    /// Also those that are resolved
    #[arg(long)]
    all: bool,
    /// Print differences as they are found and as they go away, from the first on
    #[arg(long, conflicts_with_all = ["class", "chain", "settlement", "all"])]
    follow: bool,
    #[command(flatten)]
    operator: OperatorArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Outcome {
    /// The chain paid it, in a final block: it ends as settled
    Paid,
    /// It was not paid and is given up: it ends as cancelled, and what is still reserved for it is free again
    Unpaid,
}

#[derive(Debug, Args)]
pub(super) struct DisputeArgs {
    /// Settlement
    id: String,
    /// What is true
    #[arg(long, value_enum)]
    outcome: Outcome,
    /// Why, for whoever reads it later
    #[arg(long, value_name = "TEXT")]
    note: String,
    /// Who decides, for the record
    #[arg(long, value_name = "NAME")]
    by: String,
    #[command(flatten)]
    operator: OperatorArgs,
}

async fn connected(global: &Global, args: &OperatorArgs) -> Result<OperatorClient, Failure> {
    let token = std::env::var(&args.operator_token_env)
        .ok()
        .filter(|token| !token.is_empty());
    Ok(OperatorClient::connect(&global.server, token.as_deref()).await?)
}

pub(super) async fn drift(global: &Global, args: DriftArgs, output: &Output) -> Result<Exit, Failure> {
    let mut client = connected(global, &args.operator).await?;
    if args.follow {
        return follow(&mut client, output).await;
    }
    let mut request = v1::ListDriftRequest {
        class: args.class,
        chain: args.chain,
        settlement_id: args.settlement,
        resolved: args.all,
        page_size: 500,
        page_token: String::new(),
    };
    let mut drifts = Vec::new();
    loop {
        let page = client.list_drift(request.clone()).await?;
        drifts.extend(page.drifts);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let open = drifts.iter().filter(|drift| drift.resolved_at_ms == 0).count();
    let answer = serde_json::json!({ "open": open, "drifts": drifts });
    output.answer(&answer, || listed(&drifts));
    Ok(Exit::Ok)
}

fn listed(drifts: &[v1::Drift]) -> String {
    if drifts.is_empty() {
        return "no differences on record".into();
    }
    let mut shown = table(&["class", "chain", "subject", "expected", "actual", "found", "resolved"]);
    for drift in drifts {
        shown.add_row([
            drift.class.clone(),
            drift.chain.to_string(),
            subject(&drift.subject),
            drift.expected.clone(),
            drift.actual.clone(),
            time(drift.found_at_ms),
            drift.resolution.clone(),
        ]);
    }
    shown.to_string()
}

/// The subject with its long hash cut to what one recognises.
pub(super) fn subject(text: &str) -> String {
    match text.split_once(' ') {
        Some((what @ ("settlement" | "message" | "transaction"), id)) => format!("{what} {}", short(id)),
        _ => text.to_owned(),
    }
}

async fn follow(client: &mut OperatorClient, output: &Output) -> Result<Exit, Failure> {
    let mut changes = client.stream_drift(0).await?;
    while let Some(change) = changes.next().await? {
        let Some(drift) = &change.drift else { continue };
        output.answer(&change, || {
            let what = if drift.resolved_at_ms == 0 { "found" } else { "gone " };
            let at = drift.resolved_at_ms.max(drift.found_at_ms);
            format!(
                "{} {what} {} on chain {}: {}; expected {}, actual {} {}",
                time(at),
                drift.class,
                drift.chain,
                drift.subject,
                drift.expected,
                drift.actual,
                drift.resolution,
            )
        });
    }
    Ok(Exit::Ok)
}

pub(super) async fn dispute(global: &Global, args: DisputeArgs, output: &Output) -> Result<Exit, Failure> {
    let mut client = connected(global, &args.operator).await?;
    let outcome = match args.outcome {
        Outcome::Paid => "paid",
        Outcome::Unpaid => "unpaid",
    };
    let answer = client
        .resolve_dispute(v1::ResolveDisputeRequest {
            settlement_id: args.id,
            outcome: outcome.into(),
            note: args.note,
            by: args.by,
        })
        .await?;
    output.answer(&answer, || format!("{} is {}", answer.settlement_id, answer.state));
    Ok(Exit::Ok)
}
