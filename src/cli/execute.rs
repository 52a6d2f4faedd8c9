//! `execute --bundle`: a payee executes its own dispatched settlement. Needs no relayer, no database and no configuration; everything in the
//! bundle is checked against itself and against the chain before anything is sent.

use super::failure::{BUNDLE, CHAIN, Exit, Failure, SKIPPED};
use super::output::{Output, fields};
use super::submit::private_key;
use crate::payout::Bundle;
use crate::settlement::terms::Terms;
use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::{Address, Bytes, U256};
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::{SolCall, SolEvent};
use clap::Args;
use relayer_adapter_api::abi::{ISettlementInbox, ISettlementVault};
use relayer_adapter_api::{ChainId, SettlementId};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// Estimates do not see what later blocks change; the whole of what is unused comes back.
const GAS_PERCENT: u64 = 130;

#[derive(Debug, Args)]
pub(super) struct ExecuteArgs {
    /// Bundle written by `relayer status ID --bundle FILE`
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// HTTP endpoint of the target chain
    #[arg(long, value_name = "URL")]
    rpc: String,
    /// Variable with the private key that pays the gas
    #[arg(long, value_name = "NAME", conflicts_with = "key_file")]
    key_env: Option<String>,
    /// File with the private key that pays the gas
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Check and simulate only
    #[arg(long)]
    dry_run: bool,
    /// Give up waiting for inclusion after this many seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    wait: u64,
}

/// What the command answers.
#[derive(Debug, Default, Serialize)]
struct Report {
    settlement_id: String,
    paid: bool,
    dry_run: bool,
    credited: bool,
    transaction_hash: String,
    block_number: u64,
    gas_used: u64,
}

/// A bundle whose parts agree.
struct Checked {
    id: SettlementId,
    terms: Terms,
    chain: ChainId,
    inbox: Address,
    calldata: Bytes,
    /// A group member's call is the packed `execute`; its result counts payments.
    packed: bool,
}

fn broken(reason: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, BUNDLE, reason.to_string())
}

fn chain_failed(attempted: &str, error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Unavailable, CHAIN, format!("{attempted}: {error}"))
}

fn check(bundle: &Bundle) -> Result<Checked, Failure> {
    bundle.verify().map_err(broken)?;
    let terms = bundle.terms.terms().map_err(broken)?;
    let grouped = bundle.group.is_some();
    let calldata = if grouped {
        bundle.call().data
    } else {
        let call = ISettlementInbox::executeOneCall {
            message: bundle.message.clone(),
            settlement: terms.to_abi(),
            auth: bundle.auth.clone(),
            leaf: U256::from(bundle.leaf),
            proof: bundle.proof.clone(),
        };
        call.abi_encode().into()
    };
    Ok(Checked {
        id: bundle.settlement_id,
        terms,
        chain: ChainId(bundle.chain_id),
        inbox: bundle.inbox,
        calldata,
        packed: grouped,
    })
}

pub(super) async fn execute(args: ExecuteArgs, output: &Output) -> Result<Exit, Failure> {
    let text = std::fs::read(&args.bundle).map_err(|error| Failure::file(&args.bundle, error))?;
    let bundle: Bundle = serde_json::from_slice(&text).map_err(|error| Failure::file(&args.bundle, error))?;
    let checked = check(&bundle)?;
    let key = private_key(args.key_env.as_deref(), args.key_file.as_deref())?;
    let Some(key) = key.or_else(|| args.dry_run.then(alloy::signers::local::PrivateKeySigner::random)) else {
        return Err(Failure::usage("--key-env or --key-file is needed to send"));
    };
    let url = args.rpc.parse().map_err(|_| Failure::usage("--rpc is not a URL"))?;
    let from = key.address();
    let provider = ProviderBuilder::new()
        .wallet(EthereumWallet::from(key))
        .connect_http(url);
    let found = provider
        .get_chain_id()
        .await
        .map_err(|error| chain_failed("asking for the chain id", error))?;
    if found != checked.chain.0 {
        return Err(broken(format!(
            "--rpc is chain {found}, the bundle is for chain {}",
            checked.chain
        )));
    }
    let mut report = Report {
        settlement_id: checked.id.to_string(),
        dry_run: args.dry_run,
        ..Report::default()
    };
    simulate(&provider, &checked, from).await?;
    if !args.dry_run {
        send(&provider, &checked, from, args.wait, &mut report).await?;
    }
    output.answer(&report, || {
        let how = match (report.paid, report.credited) {
            (false, _) => "would be paid now",
            (true, false) => "paid",
            (true, true) => "paid as a credit: the token refused the transfer, claim it from the vault",
        };
        let shown = |number: u64| if number == 0 { String::new() } else { number.to_string() };
        fields(&[
            ("settlement", report.settlement_id.clone()),
            ("result", how.into()),
            ("payee", checked.terms.payee.to_string()),
            ("amount", checked.terms.amount.to_string()),
            ("transaction", report.transaction_hash.clone()),
            ("block", shown(report.block_number)),
            ("gas used", shown(report.gas_used)),
        ])
    });
    Ok(Exit::Ok)
}

/// Calls without sending: says why the inbox would leave it as it is.
async fn simulate(provider: &impl Provider, checked: &Checked, from: Address) -> Result<(), Failure> {
    let call = TransactionRequest::default()
        .with_from(from)
        .with_to(checked.inbox)
        .with_input(checked.calldata.clone());
    let result = provider
        .call(call)
        .await
        .map_err(|error| chain_failed("simulating the execution", error))?;
    let skip = if checked.packed {
        let paid = ISettlementInbox::executeCall::abi_decode_returns(&result).map_err(broken)?;
        if paid.is_zero() {
            Some("skipped".to_owned())
        } else {
            None
        }
    } else {
        match ISettlementInbox::executeOneCall::abi_decode_returns(&result).map_err(broken)? {
            ISettlementInbox::Skip::None => None,
            reason => Some(format!("{reason:?}")),
        }
    };
    let Some(mut reason) = skip else { return Ok(()) };
    if nonce_used(provider, checked).await.unwrap_or(false) {
        reason.push_str(": the nonce is used, so it was paid or burned before");
    }
    Err(Failure::new(Exit::Failed, SKIPPED, reason))
}

async fn nonce_used(provider: &impl Provider, checked: &Checked) -> Option<bool> {
    let view = async |to: Address, data: Vec<u8>| {
        let call = TransactionRequest::default().with_to(to).with_input(data);
        provider.call(call).await.ok()
    };
    let vault = view(checked.inbox, ISettlementInbox::vaultCall {}.abi_encode()).await?;
    let vault = ISettlementInbox::vaultCall::abi_decode_returns(&vault).ok()?;
    let call = ISettlementVault::nonceBitmapCall {
        payer: checked.terms.payer,
        word: checked.terms.nonce_word(),
    };
    let word = view(vault, call.abi_encode()).await?;
    let word = ISettlementVault::nonceBitmapCall::abi_decode_returns(&word).ok()?;
    Some(word.bit(usize::from(checked.terms.nonce_byte())))
}

async fn send(
    provider: &impl Provider,
    checked: &Checked,
    from: Address,
    wait: u64,
    report: &mut Report,
) -> Result<(), Failure> {
    let call = TransactionRequest::default()
        .with_from(from)
        .with_to(checked.inbox)
        .with_input(checked.calldata.clone());
    let estimate = provider
        .estimate_gas(call.clone())
        .await
        .map_err(|error| chain_failed("estimating gas", error))?;
    let call = call.with_gas_limit(estimate.saturating_mul(GAS_PERCENT) / 100);
    let pending = provider
        .send_transaction(call)
        .await
        .map_err(|error| chain_failed("sending", error))?;
    report.transaction_hash = pending.tx_hash().to_string();
    let receipt = pending
        .with_timeout(Some(Duration::from_secs(wait)))
        .get_receipt()
        .await
        .map_err(|error| chain_failed(&format!("waiting for {}", report.transaction_hash), error))?;
    report.block_number = receipt.block_number.unwrap_or_default();
    report.gas_used = receipt.gas_used;
    let paid = receipt.inner.logs().iter().find_map(|log| {
        let event = ISettlementInbox::SettlementPaid::decode_log(&log.inner).ok()?;
        (log.address() == checked.inbox && event.id == checked.id.0).then_some(event.data)
    });
    match paid {
        Some(event) => {
            report.paid = true;
            report.credited = event.nonceAndCredited.bit(255);
            Ok(())
        }
        None => {
            let message = format!("transaction {} did not pay it", report.transaction_hash);
            Err(Failure::new(Exit::Failed, SKIPPED, message))
        }
    }
}
