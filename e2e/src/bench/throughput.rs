//! How many settlements a relayer takes from submit to final payment, and what one costs it: RPC calls, statements, memory.
//!
//! The world runs already; the relayer's own clock says when each settlement was accepted and when it ended, so that polling for the end
//! distorts nothing.

use crate::coordinator::Signed;
use crate::harness::{Adjust, World, fresh_payee};
use crate::metrics::{scrape, total};
use anyhow::{Context, Result, bail};
use futures::stream::{self, StreamExt, TryStreamExt};
use relayer_proto::v1;
use serde::Serialize;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Payees the settlements are spread over.
const PAYEES: u64 = 20;
/// Largest page `List` answers.
const PAGE: u32 = 500;
/// Silence after which a run is given up: nothing has moved for so long.
const STANDSTILL: Duration = Duration::from_secs(90);

/// What one run showed.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub settlements: u64,
    /// Settlements per message the relayer was configured with.
    pub batch: u32,
    pub accepted_per_s: f64,
    /// From the first accept to the last final payment.
    pub settled_per_s: f64,
    /// Between the 10th and the 90th percentile of the ends: without the time the pipeline takes to fill and to drain.
    pub settled_per_s_sustained: f64,
    pub p50_s: f64,
    pub p95_s: f64,
    pub rpc_calls_per_settlement: f64,
    /// Statements to the database from start to end, intake and idle loops included.
    pub statements_per_settlement: f64,
    /// Largest resident size of the relayer during the run.
    pub rss_mb_max: f64,
    pub elapsed_s: f64,
}

/// A world for measuring: one-second blocks, batches of `batch`.
pub async fn start(batch: u32, adjust: Adjust<'_>) -> Result<World> {
    World::start(&|options, relayer| {
        options.deposit = 100_000_000;
        // No reorgs here, and the roles share the machine with what is measured.
        options.watched_blocks = 8;
        relayer.batch_max = batch;
        relayer.linger_ms = 500;
        // Nothing is overdue because a backlog is being worked off.
        relayer.timeout = 600;
        relayer.rescue_after = 600;
        adjust(options, relayer);
    })
    .await
}

/// `n` settlements, signed, for `PAYEES` payees.
pub async fn sign(world: &World, n: u64) -> Result<Vec<Signed>> {
    let deadline = world.deadline().await?;
    let payees = (0..PAYEES)
        .map(|n| fresh_payee(&n.to_string()))
        .collect::<Result<Vec<_>>>()?;
    (0..n)
        .map(|n| {
            let quarters = 1 + n % 40;
            let job = world.coordinator.job("provider", quarters);
            let payee = payees[(n % PAYEES) as usize];
            world.coordinator.settlement(&job, payee, quarters, deadline)
        })
        .collect()
}

/// Submits `n` new settlements with `in_flight` unary calls at a time and waits until every one is settled.
pub async fn settle_many(world: &World, n: u64, in_flight: usize) -> Result<Figures> {
    let signed = sign(world, n).await?;
    wait_funded(world).await?;
    let before = Costs::read(world).await?;
    let started = Instant::now();
    let client = world.client().await?;
    stream::iter(&signed)
        .map(|one| {
            let mut client = client.clone();
            async move { client.submit(one.request.clone()).await.context("submit") }
        })
        .buffer_unordered(in_flight)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    let accepted = started.elapsed().as_secs_f64();
    let rss_mb_max = wait_settled(world, before.settled + n).await?;
    let elapsed = started.elapsed().as_secs_f64();
    let after = Costs::read(world).await?;
    let mut times = ends(world, n).await?;
    figures(world, &mut times, accepted, elapsed, rss_mb_max, &before, &after)
}

/// Counters of the relayer at one moment.
struct Costs {
    rpc_calls: f64,
    statements: f64,
    settled: u64,
}

impl Costs {
    async fn read(world: &World) -> Result<Self> {
        let text = scrape(&world.relayer.rest_url()).await?;
        Ok(Self {
            rpc_calls: total(&text, "relayer_chain_rpc_calls_total"),
            statements: total(&text, "relayer_store_statements_total"),
            settled: state_count(&text, "settled"),
        })
    }
}

fn state_count(text: &str, state: &str) -> u64 {
    let label = format!("relayer_settlement_state_count{{state=\"{state}\"}}");
    text.lines()
        .find_map(|line| line.strip_prefix(&label)?.trim().parse::<f64>().ok())
        .unwrap_or(0.0) as u64
}

/// Waits until the relayer has read the payer's deposit: on a busy machine it takes calls before.
pub async fn wait_funded(world: &World) -> Result<()> {
    let until = Instant::now() + STANDSTILL;
    loop {
        let text = scrape(&world.relayer.rest_url()).await?;
        let available = text
            .lines()
            .filter(|line| line.starts_with("relayer_ledger_account_total{") && line.contains("\"available\""))
            .any(|line| line.rsplit(' ').next().is_some_and(|sum| sum != "0"));
        if available {
            return Ok(());
        }
        if Instant::now() > until {
            bail!("the payer's deposit was not read within {STANDSTILL:?}");
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Waits for so many settled ones; returns the largest resident size seen, in MB.
async fn wait_settled(world: &World, wanted: u64) -> Result<f64> {
    let mut rss = 0_f64;
    let mut last = (String::new(), Instant::now());
    loop {
        let text = scrape(&world.relayer.rest_url()).await?;
        rss = rss.max(resident_mb(world)?);
        if state_count(&text, "settled") >= wanted {
            return Ok(rss);
        }
        let states = ["accepted", "batched", "dispatched", "delivered", "settled"];
        let counts = states
            .map(|state| format!("{state} {}", state_count(&text, state)))
            .join(", ");
        if counts != last.0 {
            tracing::info!("{counts}");
            last = (counts, Instant::now());
        } else if last.1.elapsed() > STANDSTILL {
            bail!("nothing has moved for {STANDSTILL:?}: {counts}");
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Resident size of the relayer process.
pub fn resident_mb(world: &World) -> Result<f64> {
    let pid = world.relayer.pid().context("the relayer is not running")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kilobytes = status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<f64>()
                .ok()
        })
        .context("no VmRSS")?;
    Ok(kilobytes / 1_024.0)
}

/// When each of the newest `n` settlements was accepted and ended, Unix ms.
async fn ends(world: &World, n: u64) -> Result<Vec<(u64, u64)>> {
    let mut client = world.client().await?;
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListRequest {
            page_size: PAGE,
            page_token,
            ..v1::ListRequest::default()
        };
        let page = client.list(request).await.context("list")?.into_inner();
        found.extend(page.settlements.iter().map(|one| (one.accepted_at_ms, one.ended_at_ms)));
        page_token = page.next_page_token;
        if page_token.is_empty() || found.len() as u64 >= n {
            found.truncate(n as usize);
            return Ok(found);
        }
    }
}

fn figures(
    world: &World,
    times: &mut [(u64, u64)],
    accepted: f64,
    elapsed: f64,
    rss_mb_max: f64,
    before: &Costs,
    after: &Costs,
) -> Result<Figures> {
    let count = times.len();
    let mut latencies: Vec<u64> = times.iter().map(|(from, to)| to.saturating_sub(*from)).collect();
    latencies.sort_unstable();
    times.sort_unstable_by_key(|(_, ended)| *ended);
    let first = times.iter().map(|(from, _)| *from).min().context("no settlements")?;
    let end = |percent: usize| times[((count - 1) * percent / 100).min(count - 1)].1;
    let latency = |percent: usize| latencies[(count - 1) * percent / 100] as f64 / 1_000.0;
    let rate = |n: f64, ms: u64| n * 1_000.0 / ms.max(1) as f64;
    Ok(Figures {
        settlements: count as u64,
        batch: world.relayer_options.batch_max,
        accepted_per_s: count as f64 / accepted,
        settled_per_s: rate(count as f64, end(100).saturating_sub(first)),
        settled_per_s_sustained: rate(count as f64 * 0.8, end(90).saturating_sub(end(10))),
        p50_s: latency(50),
        p95_s: latency(95),
        rpc_calls_per_settlement: (after.rpc_calls - before.rpc_calls) / count as f64,
        statements_per_settlement: (after.statements - before.statements) / count as f64,
        rss_mb_max,
        elapsed_s: elapsed,
    })
}
