//! Accepting: unary, streamed and in groups, on both databases, as fast as it goes and at half of that.

use super::load::{self, Client};
use super::report::{Report, Table};
use super::site::Site;
use super::stats::Outcome;
use super::{Backend, Bench, ceilings, ceilings_store};
use anyhow::{Result, ensure};

/// Table of this family.
pub const KEY: &str = "intake";
/// Members of a group.
const GROUP: usize = 128;
/// Groups under way at a time.
const GROUPS_IN_FLIGHT: usize = 8;
/// Seconds of load at half the rate.
const HALF_SECONDS: f64 = 5.0;
/// What the intake commits at once under load.
const COMMIT: usize = 512;

struct Measure<'a> {
    bench: &'a Bench,
    backend: Backend,
    site: Site,
    clients: Vec<Client>,
    table: &'a mut Table,
    accepted: u64,
}

impl Measure<'_> {
    fn say(&self, what: &str) {
        self.bench.progress.say(&format!("{}: {what}", self.backend));
    }

    fn set(&mut self, key: &str, what: &str, unit: &'static str, value: Option<f64>) {
        self.table.set(self.backend.name(), key, what, unit, value);
    }

    /// Takes the figures of a load over, unless something was refused.
    fn put(&mut self, key: &str, what: &str, outcome: Result<Outcome>) -> f64 {
        let fine = outcome.and_then(|outcome| {
            ensure!(
                outcome.refused == 0 && outcome.done > 0,
                "{} of {} were refused",
                outcome.refused,
                outcome.refused + outcome.done
            );
            Ok(outcome)
        });
        let (rate, p50, p99) = match fine {
            Ok(outcome) => {
                self.accepted += outcome.done;
                let times = &outcome.times;
                (
                    Some(outcome.per_second()),
                    times.percentile_ms(50),
                    times.percentile_ms(99),
                )
            }
            Err(error) => {
                let text = format!("{}: {what} could not be measured: {error:#}", self.backend);
                self.bench.progress.keep(&text);
                (None, None, None)
            }
        };
        self.set(key, &format!("{what}: accepted"), "1/s", rate);
        self.set(&format!("{key}_p50"), &format!("{what}: p50"), "ms", p50);
        self.set(&format!("{key}_p99"), &format!("{what}: p99"), "ms", p99);
        rate.unwrap_or_default()
    }

    async fn unary(&mut self) -> Result<()> {
        let mut best = 0f64;
        for in_flight in [64, 256] {
            let what = format!("unary, {in_flight} in flight");
            self.say(&what);
            let requests = self.site.requests(self.bench.size(3_000, 40_000)).await?;
            let outcome = load::unary(&self.clients, requests, in_flight).await;
            best = best.max(self.put(&format!("unary_{in_flight}"), &what, outcome));
        }
        self.say("unary at half load");
        let requests = self.site.requests(half(best)).await?;
        let outcome = load::unary_paced(&self.clients, requests, best / 2.0).await;
        self.put("unary_half", "unary at half load", outcome);
        self.set(
            "unary_best",
            "unary, best",
            "1/s",
            Some(best).filter(|best| *best > 0.0),
        );
        Ok(())
    }

    async fn streamed(&mut self) -> Result<()> {
        let mut best = 0f64;
        for streams in [1, 2] {
            let what = format!("{streams} stream(s)");
            self.say(&what);
            let requests = self.site.requests(self.bench.size(6_000, 80_000)).await?;
            let outcome = load::stream(&self.clients[..streams], requests).await;
            best = best.max(self.put(&format!("stream_{streams}"), &what, outcome));
        }
        self.set(
            "stream_best",
            "streamed, best",
            "1/s",
            Some(best).filter(|best| *best > 0.0),
        );
        if best > 0.0 {
            self.say("streams at half load");
            let requests = self.site.requests(half(best)).await?;
            let outcome = load::stream_paced(&self.clients[..2], requests, best / 2.0).await;
            self.put("stream_half", "2 streams at half load", outcome);
        }
        Ok(())
    }

    async fn grouped(&mut self) -> Result<()> {
        self.say("groups");
        let count = self.bench.size(40, 500);
        let requests = self.site.groups(count, GROUP).await?;
        let outcome = load::groups(&self.clients, requests, GROUPS_IN_FLIGHT).await;
        self.put(
            "group_128",
            &format!("groups of {GROUP}, {GROUPS_IN_FLIGHT} under way"),
            outcome,
        );
        Ok(())
    }

    /// What was reached of what the machine allows.
    fn shares(&mut self, so_far: &Report) {
        let column = self.backend.name();
        let store = so_far.get(ceilings_store::KEY, &format!("settlements_{COMMIT}"), column);
        let signatures = so_far.get(ceilings::KEY, "signatures", "all cores");
        let ceiling = store.zip(signatures).map(|(one, other)| one.min(other));
        let of = |table: &Table, key: &str, ceiling: Option<f64>| {
            let reached = table.get(key, column);
            reached.zip(ceiling).map(|(reached, ceiling)| reached / ceiling * 100.0)
        };
        let unary = of(self.table, "unary_best", ceiling);
        let streamed = of(self.table, "stream_best", ceiling);
        let grouped = of(self.table, "group_128", store);
        self.set("ceiling", "min(signature ceiling, store ceiling)", "1/s", ceiling);
        self.set("unary_share", "unary, share of that", "%", unary);
        self.set("stream_share", "streamed, share of that", "%", streamed);
        self.set("group_share", "groups, share of the store ceiling", "%", grouped);
    }
}

fn half(best: f64) -> usize {
    (best / 2.0 * HALF_SECONDS) as usize + 1
}

pub async fn run(bench: &Bench, so_far: &Report) -> Result<Vec<Table>> {
    let mut table = Table::new(
        KEY,
        "Accepting",
        &Backend::NAMES,
        "Settlements of one receipt each, to 16 payees, new ones in every row, verified, reserved and durable before they are answered; requests \
         are made and signed beforehand. The load generator runs on the same cores and takes its share: 4 connections; a stream has 2,048 items \
         under way; times of a group are of the whole group. At half load, requests come at half the best rate whatever the answers take, and \
         their time counts from when they were due. Only the API and the observer run: nothing is batched meanwhile.",
    );
    for backend in bench.backends() {
        let mut site = Site::new(bench, backend, &[], &|_, _| {}).await?;
        site.start_accepting().await?;
        let clients = site.clients(4).await?;
        let mut measure = Measure {
            bench,
            backend,
            site,
            clients,
            table: &mut table,
            accepted: 0,
        };
        measure.say("warming up");
        let requests = measure.site.requests(1_000).await?;
        let warm = load::unary(&measure.clients, requests, 64).await?;
        ensure!(
            warm.refused == 0,
            "{} settlements of the warm-up were refused",
            warm.refused
        );
        measure.accepted += warm.done;
        measure.unary().await?;
        measure.streamed().await?;
        measure.grouped().await?;
        measure.shares(so_far);
        measure.site.relayer().stop().await?;
        let bytes = measure.site.store().await?.size_bytes().await? as f64;
        let each = bytes / measure.accepted.max(1) as f64;
        measure.set(
            "bytes_accepted",
            "stored per accepted settlement, indexes included",
            "bytes",
            Some(each),
        );
    }
    Ok(vec![table])
}
