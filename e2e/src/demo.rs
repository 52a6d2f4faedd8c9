//! The demo: what happens, in order. Everything it claims about money it has read from the chains itself.

use crate::coordinator::{Job, Signed};
use crate::harness::{PATIENCE, World, error_code, fresh_payee};
use crate::metrics::{scrape, total};
use crate::relayer_process::built;
use alloy::consensus::Transaction as _;
use alloy::network::TransactionResponse as _;
use alloy::primitives::utils::format_ether;
use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::providers::Provider;
use alloy::sol_types::SolCall;
use anyhow::{Context, Result, bail, ensure};
use comfy_table::Table;
use futures::stream::{self, StreamExt, TryStreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use relayer::adapter::abi::ISettlementInbox;
use relayer::settlement::terms::TermsFields;
use serde::Serialize;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The published sample of AITBC and the key it verifies under; see testdata/aitbc/README.md.
const SAMPLE: &str = include_str!("../../testdata/aitbc/sample_receipt.json");
pub const SAMPLE_KEY: &str = "4c9bc7d00f69924d1cdee40c3650a2bcbb37191de2d53d93b5f21b2d3d27dbd4";
const SAMPLE_JOB: &str = "job-abc123";
const SAMPLE_HASH: &str = "0x195326a790912e675caeb4e207d9a093b495474b37911d26f1476115450fa6f3";
/// Payees of the generated settlements.
const PAYEES: u64 = 20;
const BATCH: u32 = 64;
/// Unary calls a coordinator keeps open at once.
const IN_FLIGHT: usize = 32;

/// The last line of `cargo xtask demo --json`.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub submitted: u64,
    pub settled: u64,
    pub duplicates_refused: u64,
    pub self_executed: u64,
    pub bridge: String,
    pub drift: u64,
    pub gas_per_settlement: u64,
    pub rpc_calls_per_settlement: f64,
    pub settled_per_second: f64,
    pub elapsed_s: f64,
}

fn say(text: impl AsRef<str>) {
    eprintln!("{}", text.as_ref());
}

/// Runs the whole demo in `dir`.
pub async fn run(dir: &Path, generated: u64) -> Result<Report> {
    let started = Instant::now();
    say("1. Two chains on this machine, the real LayerZero V2 contracts, our outbox, inbox, vault and two port pairs");
    let mut world = World::prepare(dir, &|_, relayer| {
        relayer.batch_max = BATCH;
        relayer.linger_ms = 1_500;
        relayer.coordinators[0].1.push(SAMPLE_KEY.into());
    })
    .await?;
    let deposited = U256::from(world.devnet.options.deposit) * world.coordinator.unit;
    say(format!(
        "   ready after {:.1} s; the payer has deposited {} tokens",
        started.elapsed().as_secs_f32(),
        whole(deposited)
    ));
    world.relayer.start().await?;
    say(format!(
        "2. The relayer runs on an empty SQLite file; gRPC {}, REST {}",
        world.relayer.grpc_url(),
        world.relayer.rest_url()
    ));

    let mut signed = vec![sample(&world).await?];
    let deadline = world.deadline().await?;
    for n in 0..generated {
        let quarters = 1 + n % 40;
        let job = world.coordinator.job("provider", quarters);
        signed.push(world.coordinator.settlement(
            &job,
            fresh_payee(&format!("{}", n % PAYEES))?,
            quarters,
            deadline,
        )?);
    }
    let submitting = Instant::now();
    submit_all(&world, &signed).await?;
    let accepted = submitting.elapsed().as_secs_f64();
    say(format!(
        "3. Accepted the real AITBC sample receipt and {generated} generated ones, durably, in {accepted:.1} s ({:.0}/s, {IN_FLIGHT} calls in flight)",
        signed.len() as f64 / accepted
    ));
    let duplicates = duplicates(&world, &signed).await?;
    let settling = wait_settled(&world, &signed, submitting).await?;
    world
        .assert_paid_exactly_once(&signed, deposited)
        .await
        .context("the chain disagrees")?;
    let text = scrape(&world.relayer.rest_url()).await?;
    let rpc_calls = total(&text, "relayer_chain_rpc_calls_total") / signed.len() as f64;
    let executions = executions(&world).await?;
    let own = self_execution(&mut world, dir).await?;
    signed.push(own);
    world
        .assert_paid_exactly_once(&signed, deposited)
        .await
        .context("the chain disagrees at the end")?;
    let drift = settled_books(&world).await?;

    let gas: u64 = executions.iter().map(|(_, gas)| gas).sum();
    let report = Report {
        submitted: signed.len() as u64,
        settled: signed.len() as u64,
        duplicates_refused: duplicates,
        self_executed: 1,
        bridge: "layerzero".into(),
        drift,
        gas_per_settlement: gas / (signed.len() as u64 - 1),
        rpc_calls_per_settlement: (rpc_calls * 100.0).round() / 100.0,
        settled_per_second: ((signed.len() - 1) as f64 / settling * 10.0).round() / 10.0,
        elapsed_s: (started.elapsed().as_secs_f64() * 10.0).round() / 10.0,
    };
    closing(&world, &signed, deposited, &executions, &report).await?;
    world.relayer.stop().await?;
    Ok(report)
}

/// Submits over one connection, several calls at a time.
async fn submit_all(world: &World, signed: &[Signed]) -> Result<()> {
    let client = world.client().await?;
    stream::iter(signed)
        .map(|one| {
            let mut client = client.clone();
            async move { client.submit(one.request.clone()).await.context("submit") }
        })
        .buffer_unordered(IN_FLIGHT)
        .try_for_each(|_| async { Ok(()) })
        .await
}

/// The real receipt: a job of AITBC at a price of 4.2, paid as 4.2 tokens.
async fn sample(world: &World) -> Result<Signed> {
    let receipt_hash: B256 = SAMPLE_HASH.parse()?;
    let job = Job {
        job_id: SAMPLE_JOB.into(),
        receipt: SAMPLE.as_bytes().to_vec(),
        receipt_hash,
    };
    let amount = world.coordinator.unit * U256::from(42) / U256::from(10);
    let fields: TermsFields =
        world
            .coordinator
            .terms(&job, fresh_payee("aitbc sample")?, amount, world.deadline().await?);
    world.coordinator.sign(&job, fields)
}

/// The same settlement again gets the original answer; its receipt under other terms is refused.
async fn duplicates(world: &World, signed: &[Signed]) -> Result<u64> {
    let again = world.submit(&signed[1]).await?;
    ensure!(again.duplicate, "a repeated settlement was not recognised");
    let request = &signed[1].request;
    let receipt = request.receipts[0].clone();
    let original = request.terms.as_ref().context("terms")?;
    let job = Job {
        job_id: String::from_utf8_lossy(&receipt)
            .split("\"job_id\":\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .unwrap_or("")
            .into(),
        receipt,
        receipt_hash: signed[1].terms.receipt_hash,
    };
    let twice = world.coordinator.sign(
        &job,
        world
            .coordinator
            .terms(&job, fresh_payee("thief")?, signed[1].terms.amount, original.deadline),
    )?;
    match world.client().await?.submit(twice.request).await {
        Ok(_) => bail!("the same receipt was accepted for a second payment"),
        Err(status) => {
            ensure!(
                status.code() == tonic::Code::AlreadyExists,
                "unexpected refusal: {status}"
            );
            say(format!(
                "4. The same receipt under other terms was refused: {} {}",
                error_code(&status),
                status.message()
            ));
        }
    }
    Ok(1)
}

/// Shows how many are in which state until all are settled; returns the seconds from the first submit.
async fn wait_settled(world: &World, signed: &[Signed], since: Instant) -> Result<f64> {
    let bar = ProgressBar::new(signed.len() as u64);
    bar.set_style(
        ProgressStyle::with_template("   {elapsed_precise} [{bar:30}] {pos}/{len} settled  {msg}")?
            .progress_chars("=> "),
    );
    let until = Instant::now() + PATIENCE * 2;
    let mut shown = String::new();
    say("5. Batched, sent over LayerZero, attested by the DVN, executed, finalized:");
    loop {
        let text = scrape(&world.relayer.rest_url()).await?;
        let count = |state: &str| state_count(&text, state);
        let settled = count("settled");
        let states = ["accepted", "batched", "dispatched", "delivered", "settled"];
        let message = states.map(|state| format!("{state} {}", count(state))).join("  ");
        bar.set_position(settled);
        bar.set_message(message.clone());
        if bar.is_hidden() && message != shown {
            say(format!("   {:5.1} s  {message}", since.elapsed().as_secs_f32()));
            shown = message;
        }
        if settled >= signed.len() as u64 {
            bar.finish();
            let seconds = since.elapsed().as_secs_f64();
            say(format!("   all {} settled after {seconds:.1} s", signed.len()));
            return Ok(seconds);
        }
        if Instant::now() > until {
            let ids: Vec<_> = signed.iter().map(|one| one.id).collect();
            world.wait_states(&ids, &["settled"], Duration::ZERO).await?;
        }
        sleep(Duration::from_millis(250)).await;
    }
}

fn state_count(text: &str, state: &str) -> u64 {
    let label = format!("relayer_settlement_state_count{{state=\"{state}\"}}");
    text.lines()
        .find_map(|line| line.strip_prefix(&label)?.trim().parse::<f64>().ok())
        .unwrap_or(0.0) as u64
}

/// Gas of every `execute` the relayer sent, from the chain's receipts: (settlements paid, gas).
async fn executions(world: &World) -> Result<Vec<(u64, u64)>> {
    let chain = &world.devnet.target;
    let provider = &chain.anvil.provider;
    let relayer = world.devnet.accounts.relayer.address();
    let mut found = Vec::new();
    for number in chain.start_block..=provider.get_block_number().await? {
        let block = provider
            .get_block_by_number(number.into())
            .full()
            .await?
            .context("block vanished")?;
        for transaction in block.transactions.txns() {
            let executes = transaction.to() == Some(chain.inbox)
                && transaction
                    .input()
                    .starts_with(&ISettlementInbox::executeCall::SELECTOR);
            if !executes || transaction.from() != relayer {
                continue;
            }
            let receipt = provider
                .get_transaction_receipt(transaction.tx_hash())
                .await?
                .context("receipt vanished")?;
            let paid = keccak256("SettlementPaid(bytes32,address,uint256)");
            let count = receipt
                .inner
                .logs()
                .iter()
                .filter(|log| log.topic0() == Some(&paid))
                .count();
            found.push((count as u64, receipt.gas_used));
        }
    }
    Ok(found)
}

/// A settlement is dispatched, the relayer is switched off, the payee pays itself from a bundle file.
async fn self_execution(world: &mut World, dir: &Path) -> Result<Signed> {
    let payee = world.devnet.accounts.payee.clone();
    world.devnet.switches.change(|setting| setting.dvn = false);
    let one = world.signed(payee.address(), 10).await?;
    world.submit(&one).await?;
    world.wait_states(&[one.id], &["dispatched"], PATIENCE).await?;
    let bundle = world
        .get(one.id)
        .await?
        .bundle
        .context("a dispatched settlement without a bundle")?;
    let relayer = built("relayer")?;
    let file = dir.join("bundle.json");
    let status = Command::new(&relayer)
        .args([
            "--server",
            &world.relayer.grpc_url(),
            "status",
            &one.id.to_string(),
            "--bundle",
        ])
        .arg(&file)
        .stdout(std::process::Stdio::null())
        .status()?;
    ensure!(status.success(), "relayer status --bundle failed");
    world.relayer.stop().await?;
    say("6. The relayer is switched off. One settlement is under way; its payee has the bundle file");
    world.devnet.switches.change(|setting| setting.dvn = true);
    let message: B256 = bundle.message_id.parse()?;
    let inbox = ISettlementInbox::new(world.devnet.target.inbox, &world.devnet.target.anvil.provider);
    let until = Instant::now() + PATIENCE;
    while inbox.votes(message).call().await?.is_zero() {
        ensure!(Instant::now() < until, "LayerZero did not deliver the message");
        sleep(Duration::from_millis(200)).await;
    }
    let output = Command::new(&relayer)
        .args(["execute", "--bundle"])
        .arg(&file)
        .args(["--rpc", &world.devnet.target.anvil.url, "--key-env", "PAYEE_KEY"])
        .env("PAYEE_KEY", payee.to_bytes().to_string())
        .output()?;
    ensure!(
        output.status.success(),
        "relayer execute failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let balance = world.balance(&world.devnet.target, payee.address()).await?;
    ensure!(balance == one.terms.amount, "the payee holds {balance}");
    say(format!(
        "   `relayer execute --bundle bundle.json` paid it: the chain says {} holds {} tokens",
        payee.address(),
        whole(balance)
    ));
    world.relayer.start().await?;
    world.wait_states(&[one.id], &["settled"], PATIENCE).await?;
    say("   Started again, the relayer has found the payment on the chain and booked it");
    Ok(one)
}

/// Lets one sweep pass and reads the open differences.
async fn settled_books(world: &World) -> Result<u64> {
    sleep(Duration::from_secs(4)).await;
    world.drift().await
}

async fn closing(
    world: &World,
    signed: &[Signed],
    deposited: U256,
    executions: &[(u64, u64)],
    report: &Report,
) -> Result<()> {
    let chain = &world.devnet.target;
    let payees: std::collections::BTreeSet<Address> = signed.iter().map(|one| one.terms.payee).collect();
    let mut received = U256::ZERO;
    for payee in &payees {
        received += world.balance(chain, *payee).await?;
    }
    let vault = world.balance(chain, chain.vault).await?;
    let relayer = world.devnet.accounts.relayer.address();
    let funded = U256::from(10).pow(U256::from(22));
    let spent_source = funded - world.devnet.source.anvil.provider.get_balance(relayer).await?;
    let spent_target = funded - chain.anvil.provider.get_balance(relayer).await?;
    let mut table = Table::new();
    table.set_header(["read from the chains", ""]);
    table.add_row([
        "settlements paid, each exactly once".into(),
        format!("{}", signed.len()),
    ]);
    table.add_row([
        format!("{} payees hold", payees.len()),
        format!("{} tokens", whole(received)),
    ]);
    table.add_row(["deposited by the payer".into(), format!("{} tokens", whole(deposited))]);
    table.add_row(["left in the vault".into(), format!("{} tokens", whole(vault))]);
    table.add_row([
        "deposited - paid - left".into(),
        format!("{} tokens", whole(deposited - received - vault)),
    ]);
    table.add_row([
        "source: gas and LayerZero fees of the relayer".into(),
        format!("{} ether", format_ether(spent_source)),
    ]);
    table.add_row([
        "target: gas of the relayer".into(),
        format!("{} ether", format_ether(spent_target)),
    ]);
    let (least, most) = executions.iter().fold((u64::MAX, 0), |(least, most), (paid, _)| {
        (least.min(*paid), most.max(*paid))
    });
    let sizes = format!("{}, of {least} to {most} settlements", executions.len());
    table.add_row(["executions before the self-executed one".into(), sizes]);
    table.add_row(["gas per settlement".into(), report.gas_per_settlement.to_string()]);
    say(table.to_string());
    let mut table = Table::new();
    table.set_header(["said by the relayer", ""]);
    table.add_row([
        "RPC calls per settlement".into(),
        format!("{:.2}", report.rpc_calls_per_settlement),
    ]);
    table.add_row([
        "settled per second, first submit to last finality".into(),
        format!("{:.1}", report.settled_per_second),
    ]);
    table.add_row([
        "differences between ledger and chains (drift)".into(),
        report.drift.to_string(),
    ]);
    table.add_row(["duplicates refused".into(), report.duplicates_refused.to_string()]);
    say(table.to_string());
    Ok(())
}

/// Whole tokens with at most two digits behind the point.
fn whole(units: U256) -> String {
    let cents = units / U256::from(10).pow(U256::from(16));
    let cents: u128 = cents.try_into().unwrap_or(u128::MAX);
    format!("{}.{:02}", cents / 100, cents % 100)
}
