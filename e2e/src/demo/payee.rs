//! A payee on its own.

use super::{lanes, say, tables};
use crate::coordinator::Signed;
use crate::devnet::BRIDGES;
use crate::harness::{PATIENCE, World};
use crate::relayer_process::built;
use alloy::primitives::B256;
use anyhow::{Context, Result, ensure};
use relayer::adapter::abi::ISettlementInbox;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A settlement is dispatched, the relayer is switched off, the payee pays itself from a bundle file.
pub async fn alone(world: &mut World, dir: &Path) -> Result<Signed> {
    // A bridge whose own roles bring messages in: Wormhole has none.
    lanes::only(world, BRIDGES[0])?;
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
        .args(["--server", &world.relayer.grpc_url(), "status"])
        .args([&one.id.to_string(), "--bundle"])
        .arg(&file)
        .stdout(Stdio::null())
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
        tables::whole(balance)
    ));
    world.relayer.start().await?;
    world.wait_states(&[one.id], &["settled"], PATIENCE).await?;
    say("   Started again, the relayer has found the payment on the chain and booked it");
    Ok(one)
}
