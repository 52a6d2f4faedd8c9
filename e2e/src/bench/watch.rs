//! Events to a hundred watchers: how many per second, and whether each of them saw every one, once, in order.

use super::load::{self, Client};
use super::report::Table;
use super::site::Site;
use super::stats::per_second;
use super::{Backend, Bench};
use alloy::primitives::keccak256;
use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use relayer_proto::v1;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const WATCHERS: usize = 100;
const CONNECTIONS: usize = 10;
/// A watcher that is cut off more often than this measures nothing.
const RECONNECTS_MAX: u64 = 20;
/// Longest silence of a watcher that still waits for events.
const SILENCE: Duration = Duration::from_secs(60);

/// What one watcher saw.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    events: u64,
    first: u64,
    last: u64,
    /// Over sequence numbers and settlements, in order: equal only when the same events came in the same order.
    digest: [u8; 32],
}

impl Seen {
    fn new(after: u64) -> Self {
        Self {
            events: 0,
            first: 0,
            last: after,
            digest: [0; 32],
        }
    }

    fn add(&mut self, event: &v1::Event) -> Result<()> {
        ensure!(
            event.seq > self.last,
            "event {} came after event {}",
            event.seq,
            self.last
        );
        if self.events == 0 {
            self.first = event.seq;
        }
        self.last = event.seq;
        self.events += 1;
        let input = [
            &self.digest[..],
            &event.seq.to_be_bytes(),
            event.settlement_id.as_bytes(),
        ]
        .concat();
        self.digest = keccak256(input).0;
        Ok(())
    }
}

async fn newest(client: &mut Client) -> Result<u64> {
    let request = v1::WatchRequest {
        from_now: true,
        heartbeat_ms: 100,
        ..v1::WatchRequest::default()
    };
    let mut stream = client.watch(request).await.context("watch")?.into_inner();
    let first = stream.next().await.context("the stream ended")??;
    Ok(first.after_seq)
}

/// Reads until `wanted` settlements were seen being accepted. A stream that the relayer ends (a client too slow for it) is continued from its
/// cursor, as any client would; returns how often.
async fn watch(mut client: Client, after: u64, wanted: u64) -> Result<(Seen, u64, Instant)> {
    let mut seen = Seen::new(after);
    let (mut cursor, mut reconnects) = (after, 0);
    loop {
        let request = v1::WatchRequest {
            after_seq: cursor,
            states: vec!["accepted".into()],
            ..v1::WatchRequest::default()
        };
        let mut stream = client.watch(request).await.context("watch")?.into_inner();
        while seen.events < wanted {
            let next = tokio::time::timeout(SILENCE, stream.next()).await;
            let Ok(next) = next else {
                bail!("a watcher got {} of {wanted} events", seen.events);
            };
            let Some(Ok(response)) = next else {
                break;
            };
            cursor = response.after_seq;
            for event in &response.events {
                seen.add(event)?;
            }
        }
        if seen.events >= wanted {
            return Ok((seen, reconnects, Instant::now()));
        }
        reconnects += 1;
        ensure!(
            reconnects <= RECONNECTS_MAX,
            "a watcher was cut off {RECONNECTS_MAX} times"
        );
    }
}

pub async fn run(bench: &Bench) -> Result<Vec<Table>> {
    let events = bench.size(2_000, 20_000);
    let mut table = Table::new(
        "watch",
        "Watch",
        &Backend::NAMES,
        &format!(
            "{WATCHERS} watchers on {CONNECTIONS} connections, in the process that also submits {events} settlements by unary calls as fast as \
             they are accepted. Each watcher must get every one of the events, once and in order (compared by a hash over all). Events delivered to \
             all watchers together per second, from the first submit until the last watcher has the last event; watchers that follow behind read \
             what they missed."
        ),
    );
    for backend in bench.backends() {
        bench.progress.say(&format!("{events} events on {backend}"));
        let mut site = Site::new(bench, backend, &[], &|_, _| {}).await?;
        site.start_accepting().await?;
        let requests = site.requests(events).await?;
        let mut clients = site.clients(CONNECTIONS).await?;
        let after = newest(&mut clients[0]).await?;
        let mut watchers = JoinSet::new();
        for number in 0..WATCHERS {
            watchers.spawn(watch(clients[number % CONNECTIONS].clone(), after, events as u64));
        }
        let submitters = site.clients(4).await?;
        let started = Instant::now();
        let outcome = load::unary(&submitters, requests, 256).await?;
        ensure!(outcome.refused == 0, "{} settlements were refused", outcome.refused);
        let mut all: Vec<Seen> = Vec::new();
        let (mut last, mut reconnected) = (started, 0);
        while let Some(watcher) = watchers.join_next().await {
            let (seen, reconnects, at) = watcher??;
            reconnected += reconnects;
            last = last.max(at);
            all.push(seen);
        }
        let first = all.first().context("no watchers")?;
        ensure!(all.iter().all(|seen| seen == first), "watchers saw different events");
        let seconds = last.duration_since(started).as_secs_f64();
        let column = backend.name();
        let mut set = |key: &str, what: &str, unit, value| table.set(column, key, what, unit, Some(value));
        set(
            "deliveries_per_second",
            "events delivered",
            "1/s",
            per_second(first.events * all.len() as u64, seconds),
        );
        set(
            "events_per_second",
            "events, each to all watchers",
            "1/s",
            per_second(first.events, seconds),
        );
        set("accepted_per_second", "accepted meanwhile", "1/s", outcome.per_second());
        set(
            "reconnects",
            "streams ended by the relayer and continued",
            "",
            reconnected as f64,
        );
        set("gaps", "watchers with a gap, a repetition or another order", "", 0.0);
        site.relayer().stop().await?;
    }
    Ok(vec![table])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn event(seq: u64, id: &str) -> v1::Event {
        v1::Event {
            seq,
            settlement_id: id.into(),
            ..v1::Event::default()
        }
    }

    fn seen(events: &[(u64, &str)]) -> Result<Seen> {
        let mut seen = Seen::new(10);
        for (seq, id) in events {
            seen.add(&event(*seq, id))?;
        }
        Ok(seen)
    }

    #[test]
    fn a_repetition_or_a_step_back_is_noticed() {
        assert!(seen(&[(11, "a"), (11, "a")]).is_err());
        assert!(seen(&[(12, "a"), (11, "b")]).is_err());
        assert!(seen(&[(10, "a")]).is_err(), "the cursor itself is not repeated");
    }

    #[test]
    fn watchers_are_equal_only_when_they_saw_the_same() {
        assert_eq!(
            seen(&[(11, "a"), (13, "b")]).unwrap(),
            seen(&[(11, "a"), (13, "b")]).unwrap()
        );
        assert_ne!(
            seen(&[(11, "a"), (13, "b")]).unwrap(),
            seen(&[(11, "a"), (13, "c")]).unwrap()
        );
        assert_ne!(
            seen(&[(11, "a"), (12, "x"), (13, "b")]).unwrap(),
            seen(&[(11, "a"), (13, "b")]).unwrap()
        );
    }
}
