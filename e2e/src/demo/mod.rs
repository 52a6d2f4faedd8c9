//! The demo: what happens, in order. Everything it claims about money it has read from the chains itself.
//!
//! Layout: [`submit`] what is submitted and refused, [`progress`] the wait for it, [`lanes`] which bridge it takes, [`trouble`] a payment that
//! needs two bridges and a bridge that goes silent, [`payee`] a payee on its own, [`hub`] checkpoints of a hub, [`books`] a log the relayer was not
//! shown, [`restore`] an old database, [`tables`] what was read from the chains.

mod books;
mod hub;
mod lanes;
mod payee;
mod progress;
mod restore;
mod submit;
mod tables;
mod trouble;

use crate::carriage::{Carried, Heads, carried, heads};
use crate::coordinator::Signed;
use crate::devnet::forgetful::Forgetful;
use crate::devnet::hub::HubOptions;
use crate::devnet::{BRIDGES, WORMHOLE_BRIDGE, ccip};
use crate::harness::{PATIENCE, World};
use crate::metrics::{scrape, total};
use crate::witness::Witness;
use alloy::primitives::{B256, U256};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tables::BridgeFigures;
use tokio::time::{Instant, sleep};

pub use submit::SAMPLE_KEY;

/// In the order in which they carry their share.
const CARRIERS: [&str; 3] = [BRIDGES[0], ccip::BRIDGE, WORMHOLE_BRIDGE];
/// Settlements of a message: several messages per bridge, so that times have a spread.
const BATCH: u32 = 16;
/// Seconds after source finality at which a dispatch is overdue. Short, so that nobody waits long to see another bridge take over, and
/// longer than any healthy bridge takes on a busy machine.
const OVERDUE_AFTER: u64 = 15;
/// As short as the hub's operator can be: three eons shall pass while somebody looks on.
const EON_BLOCKS: u64 = 16;

/// The last line of `cargo xtask demo --json`.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub submitted: u64,
    pub settled: u64,
    pub duplicates_refused: u64,
    pub self_executed: u64,
    /// The bridge the router prefers.
    pub bridge: String,
    pub bridges: BTreeMap<String, BridgeFigures>,
    /// Messages that went over a further bridge because the first did not bring them.
    pub failovers: u64,
    /// Settlements paid only after two bridges of different families had brought them.
    pub quorum_settled: u64,
    /// Checkpoints of the hub that the other chain has learnt.
    pub hub: hub::HubFigures,
    /// A difference that was brought about, found and put right.
    pub repaired: books::Repaired,
    /// What recovery found after an old copy of the database was put back.
    pub recovered: restore::Recovered,
    pub drift: u64,
    pub gas_per_settlement: u64,
    pub rpc_calls_per_settlement: f64,
    pub settled_per_second: f64,
    pub elapsed_s: f64,
}

/// What one bridge alone was given to carry.
#[derive(Debug)]
struct Share {
    bridge: &'static str,
    /// Heads before it began.
    after: Heads,
    rpc_calls: f64,
    seconds: f64,
}

fn say(text: impl AsRef<str>) {
    eprintln!("{}", text.as_ref());
}

/// Runs the whole demo in `dir`.
pub async fn run(dir: &Path, generated: u64) -> Result<Report> {
    let started = Instant::now();
    let (mut world, mut deposited, endpoint) = ready(dir).await?;
    let witness = Witness::watch([&world.devnet.source, &world.devnet.target]);
    let begin = heads(&world.devnet).await?;
    let mut story = Story {
        signed: submit::make(&world, generated).await?,
        shares: Vec::new(),
        duplicates: 0,
    };
    story.carry_shares(&world).await?;
    checked(&world, &story.signed, deposited).await?;
    let shared = story.signed.len();
    let (rpc_calls, seconds) = story.shares.iter().fold((0.0, 0.0), |(calls, seconds), share| {
        (calls + share.rpc_calls, seconds + share.seconds)
    });

    lanes::open_all(&world)?;
    let (quorum_message, large) = trouble::two_of_three(&world).await?;
    story.signed.push(large);
    story.signed.extend(trouble::failover(&world).await?);
    checked(&world, &story.signed, deposited).await?;
    story.signed.push(payee::alone(&mut world, dir).await?);
    checked(&world, &story.signed, deposited).await?;
    lanes::open_all(&world)?;
    let hub = hub::checkpoints(&world, begin).await?;
    let (unseen, repaired) = books::forgotten(&world, &endpoint).await?;
    deposited += unseen;
    let (again, recovered) = restore::old_copy(&mut world, dir).await?;
    story.signed.extend(again);
    checked(&world, &story.signed, deposited).await?;
    let drift = settled_books(&world).await?;

    let messages = carried(&world.devnet, begin).await?;
    let bridges = tables::figures(&world, &witness, &messages, &story.shares, quorum_message).await?;
    let executions = tables::executions(&world, &messages);
    let gas: u64 = executions.iter().map(|(_, gas)| gas).sum();
    let paid: u64 = executions.iter().map(|(paid, _)| paid).sum();
    let quorum_settled = settled_by(&messages, |one| one.message == quorum_message);
    let report = Report {
        submitted: story.signed.len() as u64,
        settled: settled_by(&messages, |_| true),
        duplicates_refused: story.duplicates,
        self_executed: 1,
        bridge: CARRIERS[0].into(),
        failovers: failovers(&messages, quorum_message),
        quorum_settled,
        hub,
        repaired,
        recovered,
        drift,
        gas_per_settlement: gas / paid.max(1),
        rpc_calls_per_settlement: tables::two_digits(rpc_calls / shared as f64),
        settled_per_second: tables::two_digits(shared as f64 / seconds),
        elapsed_s: tables::two_digits(started.elapsed().as_secs_f64()),
        bridges,
    };
    ensure!(
        report.bridges.values().map(|bridge| bridge.settled).sum::<u64>() + quorum_settled == report.settled,
        "the settlements of the bridges do not add up: {report:?}"
    );
    tables::closing(&world, &story.signed, deposited, &executions, &report).await?;
    world.relayer.stop().await?;
    Ok(report)
}

/// Chains and relayer, what the payer has deposited, and the endpoint through which the relayer reads the target chain.
async fn ready(dir: &Path) -> Result<(World, U256, Forgetful)> {
    let started = Instant::now();
    say(
        "1. Two chains on this machine with the real contracts of LayerZero V2, Chainlink CCIP 1.6 and Wormhole (19 guardians), and ours;\n   on the first a hub's contract, on the second the registry of its checkpoints",
    );
    let mut world = World::prepare(dir, &|devnet, relayer| {
        devnet.with_every_protocol();
        devnet.hub = Some(HubOptions {
            blocks_per_eon: EON_BLOCKS,
            ..HubOptions::default()
        });
        relayer.bridges = vec![BRIDGES[0].into(), WORMHOLE_BRIDGE.into()];
        relayer.batch_max = BATCH;
        relayer.linger_ms = 1_000;
        relayer.timeout = OVERDUE_AFTER;
        relayer.coordinators[0].1.push(SAMPLE_KEY.into());
    })
    .await?;
    let (source, target) = (&world.devnet.source.anvil, &world.devnet.target.anvil);
    let endpoint = Forgetful::before(target).await?;
    world.relayer_options.rpc = Some([source.url.clone(), endpoint.url.clone()]);
    world.devnet.write_relayer_config(&world.relayer_options)?;
    let deposited = U256::from(world.devnet.options.deposit) * world.coordinator.unit;
    say(format!(
        "   ready after {:.1} s; the payer has deposited {} tokens",
        started.elapsed().as_secs_f32(),
        tables::whole(deposited)
    ));
    world.relayer.start().await?;
    say(format!(
        "2. The relayer runs on an empty SQLite file; gRPC {}, REST {}",
        world.relayer.grpc_url(),
        world.relayer.rest_url()
    ));
    Ok((world, deposited, endpoint))
}

/// What was submitted, and over which bridges.
struct Story {
    signed: Vec<Signed>,
    shares: Vec<Share>,
    duplicates: u64,
}

impl Story {
    /// A third for each bridge: an operator lets the router plan over one at a time.
    async fn carry_shares(&mut self, world: &World) -> Result<()> {
        let share = self.signed.len().div_ceil(CARRIERS.len());
        let mut submitted = 0;
        for (bridge, part) in CARRIERS.into_iter().zip(self.signed.chunks(share)) {
            lanes::only(world, bridge)?;
            let (after, calls, started) = (heads(&world.devnet).await?, rpc_calls(world).await?, Instant::now());
            submit::all(world, part).await?;
            submitted += part.len();
            let seconds = started.elapsed().as_secs_f64();
            let what = if self.shares.is_empty() {
                "3. The real AITBC sample receipt and generated ones,"
            } else {
                "   Generated ones,"
            };
            say(format!(
                "{what} {} settlements, accepted durably in {seconds:.1} s ({:.0}/s, {} calls in flight). Over {bridge} alone:",
                part.len(),
                part.len() as f64 / seconds,
                submit::IN_FLIGHT,
            ));
            if self.duplicates == 0 {
                self.duplicates = submit::duplicates(world, part).await?;
            }
            let seconds = progress::wait_settled(world, submitted as u64, started).await?;
            self.shares.push(Share {
                bridge,
                after,
                rpc_calls: rpc_calls(world).await? - calls,
                seconds,
            });
        }
        Ok(())
    }
}

async fn rpc_calls(world: &World) -> Result<f64> {
    let text = scrape(&world.relayer.rest_url()).await?;
    Ok(total(&text, "relayer_chain_rpc_calls_total"))
}

async fn checked(world: &World, signed: &[Signed], deposited: U256) -> Result<()> {
    let outcome = world.assert_paid_exactly_once(signed, deposited).await;
    outcome.context("the chain disagrees")
}

fn settled_by(messages: &[Carried], which: impl Fn(&Carried) -> bool) -> u64 {
    messages.iter().filter(|one| which(one)).map(Carried::settled).sum()
}

/// Messages that went over more bridges than their payments asked for.
fn failovers(messages: &[Carried], quorum_message: B256) -> u64 {
    let more = |one: &&Carried| one.sent.len() > if one.message == quorum_message { 2 } else { 1 };
    messages.iter().filter(more).count() as u64
}

/// Lets sweeps pass until no difference is open, and reads those that stay: what the restored copy did not know is looked at again after a while.
async fn settled_books(world: &World) -> Result<u64> {
    let until = Instant::now() + PATIENCE;
    loop {
        sleep(Duration::from_secs(4)).await;
        let open = world.drift().await?;
        if open == 0 || Instant::now() > until {
            return Ok(open);
        }
    }
}
