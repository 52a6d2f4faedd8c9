//! A payment that needs two bridges, and a bridge that goes silent. What the relayer is said to do is read from the chains.

use super::{say, tables};
use crate::carriage::{Carried, Heads, carried, heads};
use crate::coordinator::Signed;
use crate::harness::{PATIENCE, World, fresh_payee};
use alloy::primitives::{B256, U256};
use anyhow::{Context, Result, bail, ensure};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// In quarters of a token: more than one family of bridges is trusted with.
const LARGE: u64 = 4 * 25_000;
/// How long the demo looks on while a payment must not happen.
const LOOK: Duration = Duration::from_secs(3);

/// The message that was sent after these heads, once it is as wanted.
async fn wait(world: &World, after: Heads, what: &str, wanted: impl Fn(&Carried) -> bool) -> Result<Carried> {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = carried(&world.devnet, after).await?;
        if let Some(one) = found.into_iter().find(&wanted) {
            return Ok(one);
        }
        if Instant::now() > until {
            bail!(
                "{what}: not after {PATIENCE:?}; the log is {}",
                world.relayer.log_path().display()
            );
        }
        sleep(Duration::from_millis(300)).await;
    }
}

fn names(legs: &[crate::carriage::Leg]) -> String {
    let names: Vec<&str> = legs.iter().map(|leg| leg.bridge.as_str()).collect();
    names.join(" and ")
}

/// A payment above what one bridge family is trusted with: paid when a second one has brought it, not before. Returns its message too.
pub async fn two_of_three(world: &World) -> Result<(B256, Signed)> {
    let after = heads(&world.devnet).await?;
    world.devnet.switches.change(|setting| setting.dvn = false);
    let payee = fresh_payee("large")?;
    let one = world.signed(payee, LARGE).await?;
    world.submit(&one).await?;
    say(format!(
        "4. One payment of {} tokens: above the token's limit for one bridge family, so two of the three must bring it",
        tables::whole(one.terms.amount)
    ));
    let brought = wait(world, after, "one bridge brings it", |one| one.received.len() == 1).await?;
    let until = Instant::now() + LOOK;
    while Instant::now() < until {
        let balance = world.balance(&world.devnet.target, payee).await?;
        ensure!(balance.is_zero(), "paid {balance} on the word of one bridge");
        sleep(Duration::from_millis(200)).await;
    }
    let state = world.state(one.id).await?;
    ensure!(state == "dispatched", "{state} on the word of one bridge");
    say(format!(
        "   sent over {}; {} has brought it, LayerZero's DVN keeps silent: {} s later the payee holds nothing",
        names(&brought.sent),
        names(&brought.received),
        LOOK.as_secs()
    ));
    world.devnet.switches.change(|setting| setting.dvn = true);
    world.wait_states(&[one.id], &["settled"], PATIENCE).await?;
    let done = wait(world, after, "it is paid", |one| {
        one.received.len() >= 2 && one.settled() == 1
    })
    .await?;
    let balance = world.balance(&world.devnet.target, payee).await?;
    ensure!(balance == one.terms.amount, "the payee holds {balance}");
    say(format!(
        "   the DVN speaks again: brought by {}, paid {} tokens",
        names(&done.received),
        tables::whole(balance)
    ));
    Ok((done.message, one))
}

/// LayerZero's DVN is silent, another bridge takes over; when the DVN speaks again both have brought the message, and nothing is paid twice.
pub async fn failover(world: &World) -> Result<Vec<Signed>> {
    let after = heads(&world.devnet).await?;
    world.devnet.switches.change(|setting| setting.dvn = false);
    let mut signed = Vec::new();
    for n in 0..3 {
        let one = world.signed(fresh_payee(&format!("failover {n}"))?, 4 + n).await?;
        world.submit(&one).await?;
        signed.push(one);
    }
    say("5. LayerZero's DVN goes silent, with three settlements on their way over it");
    let ids: Vec<_> = signed.iter().map(|one| one.id).collect();
    let moved = wait(world, after, "another bridge takes over", |one| one.sent.len() > 1).await?;
    ensure!(moved.received.is_empty(), "it had arrived already");
    let silent = stalled_after(world, &signed[0]).await?;
    world.wait_states(&ids, &["settled"], PATIENCE).await?;
    let paid = wait(world, after, "it is paid", |one| one.settled() > 0).await?;
    say(format!(
        "   overdue {silent:.0} s after it was sent, so the same message went over {} too: brought by {}, paid",
        paid.sent.last().context("nothing was sent")?.bridge,
        names(&paid.received)
    ));
    let balances = balances(world, &signed).await?;
    world.devnet.switches.change(|setting| setting.dvn = true);
    let both = wait(world, after, "both bridges bring it", |one| one.received.len() > 1).await?;
    sleep(LOOK).await;
    let payments = world.payments().await?;
    ensure!(
        signed.iter().all(|one| payments.get(&one.id.0) == Some(&1))
            && self::balances(world, &signed).await? == balances,
        "the late arrival changed what was paid"
    );
    say(format!(
        "   the DVN speaks again: brought by {} now, and still each of the three paid exactly once",
        names(&both.received)
    ));
    Ok(signed)
}

async fn balances(world: &World, signed: &[Signed]) -> Result<Vec<U256>> {
    let mut found = Vec::new();
    for one in signed {
        found.push(world.balance(&world.devnet.target, one.terms.payee).await?);
    }
    Ok(found)
}

/// Seconds from inclusion until the relayer called the first dispatch overdue, as it says itself.
async fn stalled_after(world: &World, signed: &Signed) -> Result<f64> {
    let found = world.get(signed.id).await?;
    let mut dispatches = found.messages.iter().flat_map(|message| &message.dispatches);
    let stalled = dispatches.find(|dispatch| dispatch.stalled_at_ms > 0);
    let stalled = stalled.context("another bridge took over without a stalled dispatch")?;
    Ok(stalled.stalled_at_ms.saturating_sub(stalled.included_at_ms) as f64 / 1_000.0)
}
