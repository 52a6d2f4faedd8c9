//! What grows: memory with what is in flight, and start with what is stored.

use super::load;
use super::report::{Table, shown};
use super::site::{Site, memory_mb};
use super::{Backend, Bench};
use crate::devnet::key;
use crate::metrics::{scrape, total};
use anyhow::{Context, Result, ensure};
use relayer::adapter::ChainId;
use relayer::store::seed::Seed;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Settlements signed and submitted at a time, so that the load generator stays small.
const SLICE: usize = 10_000;
/// Open settlements beside the settled ones.
const OPEN: u64 = 10_000;
/// Settlements a message of the memory measurement takes.
const BATCH: u32 = 1_024;

pub async fn run(bench: &Bench) -> Result<Vec<Table>> {
    let in_flight = bench.size(10_000, 100_000);
    let rows = bench.size(50_000, 1_000_000) as u64;
    let mut memory = Table::new(
        "memory",
        "Memory",
        &Backend::NAMES,
        &format!(
            "{} settlements accepted, batched in messages of {BATCH} and sent while the bridge delivers nothing; everything runs.",
            shown(Some(in_flight as f64))
        ),
    );
    let mut start = Table::new(
        "start",
        "Start",
        &Backend::NAMES,
        &format!(
            "`relayer migrate` and `relayer serve` until the health check answers, on a database with {} settled settlements, all their rows and \
             history, and {} open ones.",
            shown(Some(rows as f64)),
            shown(Some(OPEN as f64))
        ),
    );
    for backend in bench.backends() {
        in_flight_memory(bench, backend, in_flight, &mut memory).await?;
        full_start(bench, backend, rows, &mut start).await?;
    }
    Ok(vec![memory, start])
}

async fn in_flight_memory(bench: &Bench, backend: Backend, wanted: usize, table: &mut Table) -> Result<()> {
    let mut site = Site::new(bench, backend, &[], &|_, relayer| {
        relayer.batch_max = BATCH;
        relayer.timeout = 3_600;
        relayer.rescue_after = 3_600;
    })
    .await?;
    site.world.devnet.switches.change(|setting| setting.dvn = false);
    site.relayer().start().await?;
    let pid = site.world.relayer.pid().context("the relayer is not running")?;
    let empty = memory_mb(pid, "VmRSS")?;
    let clients = site.clients(2).await?;
    let mut done = 0;
    while done < wanted {
        bench.progress.say(&format!("{backend}: {done} of {wanted} in flight"));
        let requests = site.requests(SLICE.min(wanted - done)).await?;
        done += requests.len();
        let outcome = load::unary(&clients, requests, 256).await?;
        ensure!(outcome.refused == 0, "{} settlements were refused", outcome.refused);
    }
    bench.progress.say(&format!("{backend}: waiting until all are sent"));
    let until = Instant::now() + Duration::from_secs(120);
    let mut dispatched = 0.0;
    while dispatched < wanted as f64 && Instant::now() < until {
        sleep(Duration::from_secs(1)).await;
        dispatched = state(&site, "dispatched").await?;
    }
    let column = backend.name();
    table.set(column, "empty_mb", "resident, empty", "MB", Some(empty));
    table.set(
        column,
        "rss_mb",
        "resident, all in flight",
        "MB",
        Some(memory_mb(pid, "VmRSS")?),
    );
    table.set(
        column,
        "peak_mb",
        "largest on the way",
        "MB",
        Some(memory_mb(pid, "VmHWM")?),
    );
    table.set(column, "dispatched", "of them sent by then", "", Some(dispatched));
    site.relayer().stop().await
}

async fn state(site: &Site, state: &str) -> Result<f64> {
    let text = scrape(&site.world.relayer.rest_url()).await?;
    Ok(total(
        &text,
        &format!("relayer_settlement_state_count{{state=\"{state}\"}}"),
    ))
}

async fn full_start(bench: &Bench, backend: Backend, rows: u64, table: &mut Table) -> Result<()> {
    let mut site = Site::new(bench, backend, &[], &|_, relayer| relayer.linger_ms = 200).await?;
    let started = Instant::now();
    site.relayer().start().await?;
    let empty = started.elapsed().as_secs_f64();
    site.relayer().stop().await?;
    let store = site.store().await?;
    let progress = |made: u64| bench.progress.say(&format!("{backend}: {made} of {rows} rows made"));
    store.fill(&seed(&site, rows)?, progress).await?;
    let stored = store.count_all_settlements().await?;
    ensure!(stored == rows + OPEN, "{stored} settlements were stored");
    store.checkpoint().await?;
    let gigabytes = store.size_bytes().await? as f64 / 1e9;
    drop(store);
    bench.progress.say(&format!("{backend}: starting"));
    let started = Instant::now();
    site.relayer().start().await?;
    let full = started.elapsed().as_secs_f64();
    let pid = site.world.relayer.pid().context("the relayer is not running")?;
    let column = backend.name();
    table.set(column, "seconds", "start, full", "s", Some(full));
    table.set(column, "gigabytes", "size of the database", "GB", Some(gigabytes));
    table.set(column, "seconds_empty", "start, empty", "s", Some(empty));
    table.set(
        column,
        "rss_mb",
        "resident after the start",
        "MB",
        Some(memory_mb(pid, "VmRSS")?),
    );
    site.relayer().stop().await
}

/// So many settled settlements with all their rows, and some open ones that nothing may send.
fn seed(site: &Site, settled: u64) -> Result<Seed> {
    let (source, target) = (&site.world.devnet.source, &site.world.devnet.target);
    Ok(Seed {
        coordinator_id: site.world.coordinator.name.clone(),
        source: ChainId(source.anvil.chain),
        target: ChainId(target.anvil.chain),
        outbox: source.outbox,
        inbox: target.inbox,
        token: target.token,
        // Nobody on the chains: the books of real accounts stay what they are.
        payer: key("seeded payer")?.address(),
        payee: key("seeded payee")?.address(),
        signer: key("seeded signer")?.address(),
        batch_after: i64::MAX / 2,
        ..Seed::new(settled, OPEN)
    })
}
