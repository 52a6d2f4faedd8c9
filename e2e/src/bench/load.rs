//! The load generator: requests made and signed beforehand, put on a service by unary calls, streams or groups. It runs in the bench process,
//! on the same cores as what it measures, and takes its share of them.

use super::stats::{Outcome, Times};
use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use relayer_proto::v1;
use relayer_proto::v1::settlement_service_client::SettlementServiceClient;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

pub type Client = SettlementServiceClient<Channel>;

/// Items of one stream without an answer yet.
const STREAM_WINDOW: usize = 2_048;
/// A paced load is put on in steps of this length.
const STEP: Duration = Duration::from_millis(2);

/// Requests handed out one by one, in order.
struct Supply<T>(Mutex<VecDeque<T>>);

impl<T> Supply<T> {
    fn new(requests: Vec<T>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(requests.into())))
    }

    fn next(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// What one task counted.
#[derive(Default)]
struct Count {
    done: u64,
    refused: u64,
    times: Times,
    first_refusal: Option<String>,
}

impl Count {
    fn answer(&mut self, started: Instant, count: u64, refusals: u64, why: Option<String>) {
        self.times.push(started.elapsed());
        self.done += count;
        self.refused += refusals;
        if self.first_refusal.is_none() {
            self.first_refusal = why;
        }
    }
}

async fn gather(mut tasks: JoinSet<Count>, started: Instant) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut why = None;
    while let Some(count) = tasks.join_next().await {
        let count = count.context("a task of the load generator")?;
        outcome.done += count.done;
        outcome.refused += count.refused;
        outcome.times.extend(count.times);
        why = why.or(count.first_refusal);
    }
    outcome.seconds = started.elapsed().as_secs_f64();
    if let Some(why) = why {
        tracing::warn!(refused = outcome.refused, why, "the load was refused");
    }
    Ok(outcome)
}

async fn submit(client: &mut Client, request: v1::SubmitRequest, due: Instant, count: &mut Count) {
    match client.submit(request).await {
        Ok(_) => count.answer(due, 1, 0, None),
        Err(status) => count.answer(due, 0, 1, Some(status.to_string())),
    }
}

/// Unary calls, always `in_flight` at a time.
pub async fn unary(clients: &[Client], requests: Vec<v1::SubmitRequest>, in_flight: usize) -> Result<Outcome> {
    let supply = Supply::new(requests);
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    for number in 0..in_flight {
        let (supply, mut client) = (supply.clone(), clients[number % clients.len()].clone());
        tasks.spawn(async move {
            let mut count = Count::default();
            while let Some(request) = supply.next() {
                submit(&mut client, request, Instant::now(), &mut count).await;
            }
            count
        });
    }
    gather(tasks, started).await
}

/// Unary calls at a fixed rate, whatever the answers take; times count from when a call was due.
pub async fn unary_paced(clients: &[Client], requests: Vec<v1::SubmitRequest>, per_second: f64) -> Result<Outcome> {
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    let mut pace = Pace::new(started, per_second);
    for (number, request) in requests.into_iter().enumerate() {
        let due = pace.wait().await;
        let mut client = clients[number % clients.len()].clone();
        tasks.spawn(async move {
            let mut count = Count::default();
            submit(&mut client, request, due, &mut count).await;
            count
        });
    }
    gather(tasks, started).await
}

/// Hands out the moments at which calls are due.
struct Pace {
    started: Instant,
    per_second: f64,
    number: u64,
}

impl Pace {
    fn new(started: Instant, per_second: f64) -> Self {
        Self {
            started,
            per_second: per_second.max(1.0),
            number: 0,
        }
    }

    /// Waits for the step in which the next call is due; the call then counts from the start of its step.
    async fn wait(&mut self) -> Instant {
        let due = Duration::from_secs_f64(self.number as f64 / self.per_second);
        self.number += 1;
        let step = due.as_nanos() / STEP.as_nanos();
        let at = self.started + STEP * u32::try_from(step).unwrap_or(u32::MAX);
        if at > Instant::now() {
            tokio::time::sleep_until(at.into()).await;
        }
        at
    }
}

/// One stream per client, each with a window of items under way.
pub async fn stream(clients: &[Client], requests: Vec<v1::SubmitRequest>) -> Result<Outcome> {
    streams(clients, requests, None).await
}

/// The same at a fixed rate over all streams.
pub async fn stream_paced(clients: &[Client], requests: Vec<v1::SubmitRequest>, per_second: f64) -> Result<Outcome> {
    streams(clients, requests, Some(per_second / clients.len() as f64)).await
}

async fn streams(clients: &[Client], requests: Vec<v1::SubmitRequest>, pace: Option<f64>) -> Result<Outcome> {
    let wanted = requests.len() as u64;
    let mut parts: Vec<Vec<v1::SubmitRequest>> = clients.iter().map(|_| Vec::new()).collect();
    for (number, request) in requests.into_iter().enumerate() {
        parts[number % clients.len()].push(request);
    }
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    for (client, part) in clients.iter().zip(parts) {
        tasks.spawn(one_stream(client.clone(), part, pace));
    }
    let outcome = gather(tasks, started).await?;
    ensure!(
        outcome.done + outcome.refused == wanted,
        "{} of {wanted} items of a stream were answered",
        outcome.done + outcome.refused
    );
    Ok(outcome)
}

async fn one_stream(mut client: Client, part: Vec<v1::SubmitRequest>, pace: Option<f64>) -> Count {
    let (items, waiting) = mpsc::channel(STREAM_WINDOW);
    let window = Arc::new(Semaphore::new(STREAM_WINDOW));
    let started = Instant::now();
    // When each item was due, in microseconds since the start; the position is the item's number.
    let due: Arc<Vec<std::sync::atomic::AtomicU64>> = Arc::new(part.iter().map(|_| 0.into()).collect());
    let (sender_due, sender_window) = (due.clone(), window.clone());
    let sender = tokio::spawn(async move {
        let mut pace = pace.map(|per_second| Pace::new(started, per_second));
        for (number, submit) in part.into_iter().enumerate() {
            let at = match &mut pace {
                Some(pace) => pace.wait().await,
                None => {
                    if let Ok(permit) = sender_window.acquire().await {
                        permit.forget();
                    }
                    Instant::now()
                }
            };
            let micros = at.saturating_duration_since(started).as_micros() as u64;
            sender_due[number].store(micros, std::sync::atomic::Ordering::Relaxed);
            let item = v1::SubmitStreamRequest {
                item: number as u64,
                submit: Some(submit),
            };
            if items.send(item).await.is_err() {
                return;
            }
        }
    });
    let mut count = Count::default();
    match client.submit_stream(ReceiverStream::new(waiting)).await {
        Ok(answers) => {
            let mut answers = answers.into_inner();
            while let Some(answer) = answers.next().await {
                let Ok(answer) = answer else {
                    count.first_refusal = answer.err().map(|status| status.to_string());
                    break;
                };
                let sent = due
                    .get(answer.item as usize)
                    .map_or(0, |micros| micros.load(std::sync::atomic::Ordering::Relaxed));
                let sent = started + Duration::from_micros(sent);
                match answer.result {
                    Some(v1::submit_stream_response::Result::Accepted(_)) => count.answer(sent, 1, 0, None),
                    Some(v1::submit_stream_response::Result::Refused(refusal)) => {
                        count.answer(sent, 0, 1, Some(format!("{}: {}", refusal.code, refusal.message)));
                    }
                    None => count.answer(sent, 0, 1, Some("an answer without a result".into())),
                }
                window.add_permits(1);
            }
        }
        Err(status) => count.first_refusal = Some(status.to_string()),
    }
    sender.abort();
    if let Some(why) = &count.first_refusal {
        tracing::warn!(why, "a stream was refused");
    }
    count
}

/// Groups by unary calls, always `in_flight` at a time; times are of a whole group.
pub async fn groups(clients: &[Client], requests: Vec<v1::SubmitGroupRequest>, in_flight: usize) -> Result<Outcome> {
    let supply = Supply::new(requests);
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    for number in 0..in_flight {
        let (supply, mut client) = (supply.clone(), clients[number % clients.len()].clone());
        tasks.spawn(async move {
            let mut count = Count::default();
            while let Some(request) = supply.next() {
                let (due, items) = (Instant::now(), request.items.len() as u64);
                match client.submit_group(request).await {
                    Ok(answer) => {
                        let results = answer.into_inner().results;
                        let accepted = |result: &&v1::GroupResult| {
                            matches!(result.result, Some(v1::group_result::Result::Accepted(_)))
                        };
                        let done = results.iter().filter(accepted).count() as u64;
                        let why = (done < items).then(|| format!("{results:?}").chars().take(300).collect());
                        count.answer(due, done, items - done, why);
                    }
                    Err(status) => count.answer(due, 0, items, Some(status.to_string())),
                }
            }
            count
        });
    }
    gather(tasks, started).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[tokio::test]
    async fn a_pace_hands_out_the_rate_it_was_given_in_steps() {
        let started = Instant::now();
        let mut pace = Pace::new(started, 10_000.0);
        let mut last = started;
        for _ in 0..=200 {
            last = pace.wait().await;
        }
        assert_eq!(
            last - started,
            Duration::from_millis(20),
            "call 200 at 10,000/s is due after 20 ms"
        );
        assert!(started.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn a_supply_hands_out_each_request_once_and_in_order() {
        let supply = Supply::new(vec![1, 2, 3]);
        assert_eq!(
            [supply.next(), supply.next(), supply.next(), supply.next()],
            [Some(1), Some(2), Some(3), None]
        );
    }
}
