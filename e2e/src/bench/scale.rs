//! What grows: memory with what is in flight, and start with what is stored.

use super::load;
use super::report::{Table, shown};
use super::site::{Site, memory_mb};
use super::{Backend, Bench};
use crate::metrics::{scrape, total};
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Settlements signed and submitted at a time, so that the load generator stays small.
const SLICE: usize = 10_000;
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
            "`relayer migrate` and `relayer serve` until the health check answers, on a database with {} settled settlements (copies of one the \
             relayer settled, with all its rows).",
            shown(Some(rows as f64))
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
    bench.progress.say(&format!("{backend}: settling one"));
    let signed = site.sign(1).await?;
    site.world.submit(&signed[0]).await?;
    site.world
        .wait_states(&[signed[0].id], &["settled"], Duration::from_secs(60))
        .await?;
    site.relayer().stop().await?;
    let store = site.store().await?;
    let copied = store.read_accepted_rows(signed[0].id).await?;
    let mut next = 1u64;
    while next < rows {
        bench.progress.say(&format!("{backend}: {next} of {rows} rows"));
        for _ in 0..20 {
            let size = 500.min(rows + 1 - next);
            if size == 0 {
                break;
            }
            let group = store.prepare_plain_group(&copied, next, size).await?;
            store.write_plain_group(group).await?;
            next += size;
        }
    }
    let stored = store.count_all_settlements().await?;
    ensure!(stored > rows, "only {stored} settlements were stored");
    drop(store);
    bench.progress.say(&format!("{backend}: starting"));
    let started = Instant::now();
    site.relayer().start().await?;
    let full = started.elapsed().as_secs_f64();
    let pid = site.world.relayer.pid().context("the relayer is not running")?;
    let column = backend.name();
    table.set(column, "seconds", "start, full", "s", Some(full));
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
