//! The books: the comparison of a whole database with itself and with what the chains said.

use super::report::{Table, shown};
use super::{Backend, Bench};
use anyhow::{Context, Result, ensure};
use relayer::reconciler::compare::Patience;
use relayer::reconciler::pass;
use relayer::store::seed::Seed;
use relayer::store::{Store, StoreConfig};
use std::time::Instant;

pub async fn run(bench: &Bench) -> Result<Vec<Table>> {
    let rows = bench.size(20_000, 1_000_000) as u64;
    let mut books = Table::new(
        "books",
        "Books",
        &Backend::NAMES,
        &format!(
            "`relayer reconcile` over {} settled settlements without reading the chains again: every payment against its settlement and its sum, every message against its root, every account \
             against its postings.",
            shown(Some(rows as f64))
        ),
    );
    for backend in bench.backends() {
        let folder = tempfile::tempdir()?;
        let url = bench.database_url(backend, folder.path())?;
        let store = Store::open(&StoreConfig::new(url)).await?;
        store.migrate().await?;
        let column = backend.name();
        let progress = |made: u64| bench.progress.say(&format!("{backend}: {made} of {rows} rows made"));
        let seed = Seed {
            events: false,
            ..Seed::new(rows, 1_000)
        };
        store.fill(&seed, progress).await?;
        store.checkpoint().await?;
        bench.progress.say(&format!("{backend}: comparing {rows} settlements"));
        let seconds = compare(&store, &seed, rows).await?;
        books.set(column, "reconcile_seconds", "all compared", "s", Some(seconds));
        let per_second = rows as f64 / seconds.max(f64::EPSILON);
        books.set(
            column,
            "reconciled_per_second",
            "settlements compared",
            "1/s",
            Some(per_second),
        );
    }
    Ok(vec![books])
}

async fn compare(store: &Store, seed: &Seed, rows: u64) -> Result<f64> {
    let patience = Patience { now: 0, seconds: 600 };
    let last = i64::MAX as u64;
    let started = Instant::now();
    let mut payments = 0;
    for chain in [seed.target, seed.source] {
        let passed = pass(store, chain, last, patience, &mut |_, _| {})
            .await
            .context("comparing")?;
        ensure!(passed.findings.is_empty(), "found {:?}", passed.findings.first());
        payments += passed.payments;
    }
    let unbalanced = store.list_unbalanced_accounts().await?;
    let seconds = started.elapsed().as_secs_f64();
    ensure!(payments == rows, "{payments} payments were compared");
    ensure!(unbalanced.is_empty(), "accounts {unbalanced:?} are not their postings");
    Ok(seconds)
}
