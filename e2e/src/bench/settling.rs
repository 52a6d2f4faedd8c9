//! From submit to final payment on two chains with blocks of a second.

use super::report::Table;
use super::site::Site;
use super::throughput::{Figures, settle_many};
use super::{Backend, Bench};
use anyhow::Result;

/// Table of this family.
pub const KEY: &str = "settling";
const BATCH: u32 = 128;
const IN_FLIGHT: usize = 256;

pub async fn run(bench: &Bench) -> Result<Vec<Table>> {
    let settlements = bench.size(2_000, 30_000) as u64;
    let mut table = Table::new(
        KEY,
        "End to end",
        &Backend::NAMES,
        &format!(
            "{settlements} settlements, messages of {BATCH}, two chains with blocks of 1 s, 2 source confirmations, finality depth 3, the real \
             LayerZero V2 contracts; chains, DVN, executor, relayer and load generator share the cores. From the first submit to the last final \
             payment, and between the 10th and the 90th percentile of the ends (sustained: without filling and draining). RPC calls include all \
             polling of both chains."
        ),
    );
    for backend in bench.backends() {
        bench.progress.say(&format!("{settlements} settlements on {backend}"));
        let mut site = Site::new(bench, backend, &[], &|_, relayer| {
            relayer.batch_max = BATCH;
            relayer.linger_ms = 500;
            // Nothing is overdue because a backlog is being worked off.
            relayer.timeout = 600;
            relayer.rescue_after = 600;
        })
        .await?;
        site.relayer().start().await?;
        let figures = settle_many(&site.world, settlements, IN_FLIGHT).await?;
        let drift = site.world.drift().await?;
        site.relayer().stop().await?;
        let bytes = site.store().await?.size_bytes().await? as f64 / figures.settlements as f64;
        put(&mut table, backend, &figures, bytes, drift);
    }
    Ok(vec![table])
}

fn put(table: &mut Table, backend: Backend, figures: &Figures, bytes: f64, drift: u64) {
    let column = backend.name();
    let mut set = |key: &str, what: &str, unit, value| table.set(column, key, what, unit, Some(value));
    set("settled_per_second", "settled", "1/s", figures.settled_per_s);
    set(
        "sustained_per_second",
        "settled, sustained",
        "1/s",
        figures.settled_per_s_sustained,
    );
    set("p50_s", "submit to final payment, p50", "s", figures.p50_s);
    set("p95_s", "submit to final payment, p95", "s", figures.p95_s);
    set(
        "accepted_per_second",
        "accepted meanwhile",
        "1/s",
        figures.accepted_per_s,
    );
    set(
        "rpc_calls_per_settlement",
        "RPC calls per settlement",
        "",
        figures.rpc_calls_per_settlement,
    );
    set(
        "statements_per_settlement",
        "SQL statements per settlement",
        "",
        figures.statements_per_settlement,
    );
    set(
        "bytes_settled",
        "stored per settled settlement, everything included",
        "bytes",
        bytes,
    );
    set("rss_mb_max", "largest resident memory", "MB", figures.rss_mb_max);
    set(
        "drift",
        "differences between books and chains at the end",
        "",
        drift as f64,
    );
}
