//! The endpoint the relayer reads the target chain from leaves out a deposit. The relayer finds it by itself, an operator has it repaired.

use super::{say, tables};
use crate::devnet::Devnet;
use crate::devnet::abi::ITestToken;
use crate::devnet::forgetful::Forgetful;
use crate::devnet::layerzero::call;
use crate::harness::{PATIENCE, World};
use crate::relayer_process::built;
use alloy::primitives::U256;
use anyhow::{Context, Result, ensure};
use relayer::adapter::abi::ISettlementVault;
use serde::Serialize;
use std::process::Command;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Whole tokens the payer deposits unseen.
const UNSEEN: u64 = 500;
/// Longer than the relayer takes to read a block and call it final.
const READ_WITHIN: Duration = Duration::from_secs(6);

/// What was found and put right.
#[derive(Debug, Clone, Serialize)]
pub struct Repaired {
    pub differences: u64,
    pub repairs: u64,
    /// Their classes.
    pub classes: Vec<String>,
}

async fn deposit(devnet: &Devnet, amount: U256) -> Result<()> {
    let target = &devnet.target;
    let payer = devnet.wallet(target, &devnet.accounts.payer)?;
    let (token, to) = (target.token, devnet.accounts.payer.address());
    call(&payer, token, ITestToken::mintCall { to, amount }).await?;
    // The vault may draw whatever the payer has since the first deposit.
    call(&payer, target.vault, ISettlementVault::depositCall { token, amount }).await
}

/// Returns what was deposited too.
pub async fn forgotten(world: &World, endpoint: &Forgetful) -> Result<(U256, Repaired)> {
    let amount = U256::from(UNSEEN) * world.coordinator.unit;
    endpoint.forget(true);
    deposit(&world.devnet, amount).await?;
    sleep(READ_WITHIN).await;
    endpoint.forget(false);
    ensure!(endpoint.forgotten() > 0, "the endpoint forgot nothing");
    say(format!(
        "8. The payer deposits {} tokens, and the endpoint the relayer reads the target chain from leaves the log out",
        tables::whole(amount)
    ));
    let until = Instant::now() + PATIENCE;
    while world.drift().await? == 0 {
        ensure!(Instant::now() < until, "the relayer did not notice");
        sleep(Duration::from_millis(300)).await;
    }
    let found = reconcile(world, &[])?;
    let differences = found["report"]["differences"].as_array().context("no differences")?;
    ensure!(
        !differences.is_empty(),
        "the relayer's own report says that nothing differs"
    );
    say("   found and named by the relayer, which compares with another endpoint's word and the contracts' counters:");
    for one in differences {
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        say(format!(
            "     {}: {}, {} there, {} here",
            text("class"),
            text("subject"),
            text("expected"),
            text("actual")
        ));
    }
    let mut classes: Vec<String> = differences
        .iter()
        .filter_map(|one| one["class"].as_str().map(str::to_owned))
        .collect();
    classes.sort();
    classes.dedup();
    let mut repairs = 0;
    let until = Instant::now() + PATIENCE;
    loop {
        let done = reconcile(world, &["--repair", "--by", "demo"])?;
        let lines = done["report"]["repairs"].as_array().context("no repairs")?;
        repairs += lines.iter().filter(|line| line["result"] == "done").count() as u64;
        if done["agrees"] == true && world.drift().await? == 0 {
            break;
        }
        ensure!(Instant::now() < until, "the repair did not end it: {done}");
        sleep(Duration::from_secs(1)).await;
    }
    say("   `relayer reconcile --repair` stored the log and booked the deposit: ledger, outbox and inbox agree again");
    let found = Repaired {
        differences: differences.len() as u64,
        repairs,
        classes,
    };
    Ok((amount, found))
}

/// The operator's command; it ends with 1 while something differs.
fn reconcile(world: &World, flags: &[&str]) -> Result<serde_json::Value> {
    let output = Command::new(built("relayer")?)
        .arg("--config")
        .arg(world.devnet.options.dir.join("relayer.toml"))
        .args(["--json", "reconcile"])
        .args(flags)
        .output()
        .context("could not start relayer reconcile")?;
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).with_context(|| format!("relayer reconcile failed: {said}"))
}
