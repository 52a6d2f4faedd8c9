#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::clock::SystemClock;
use crate::error::ErrorCode;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug, thiserror::Error)]
#[error("endpoint down")]
struct Down;

impl Coded for Down {
    fn code(&self) -> ErrorCode {
        ErrorCode {
            code: "RLY-TEST-001",
            title: "",
            meaning: "",
            relayer: "",
            you: "",
        }
    }

    fn class(&self) -> Class {
        Class::Retry {
            after: Duration::from_millis(1),
        }
    }
}

/// Fails or panics first, then works.
struct Script {
    name: &'static str,
    failures: usize,
    panics: usize,
    more: usize,
    steps: Arc<AtomicUsize>,
}

#[async_trait::async_trait]
impl Stage for Script {
    fn name(&self) -> String {
        self.name.into()
    }

    async fn step(&self, _: i64, _: usize) -> Result<Outcome, Box<dyn Coded>> {
        let step = self.steps.fetch_add(1, Ordering::SeqCst);
        assert!(step >= self.panics, "scripted");
        if step < self.panics + self.failures {
            return Err(Down.into());
        }
        Ok(Outcome {
            processed: 0,
            more: step < self.more,
        })
    }
}

struct Bench {
    supervisor: Supervisor,
    wakers: Wakers,
    liveness: Liveness,
}

fn bench() -> Bench {
    let (wakers, liveness) = (Wakers::default(), Liveness::default());
    let supervisor = Supervisor {
        config: SupervisorConfig {
            stop_ms_max: 200,
            backoff_ms_max: 5,
            ..SupervisorConfig::default()
        },
        clock: Arc::new(SystemClock),
        wakers: wakers.clone(),
        liveness: liveness.clone(),
        changes: None,
    };
    Bench {
        supervisor,
        wakers,
        liveness,
    }
}

fn script(name: &'static str, panics: usize, failures: usize, more: usize) -> (Task, Arc<AtomicUsize>) {
    let steps = Arc::new(AtomicUsize::new(0));
    let stage = Arc::new(Script {
        name,
        failures,
        panics,
        more,
        steps: steps.clone(),
    });
    let idle = Duration::from_secs(3_600);
    (Task { stage, idle }, steps)
}

async fn until(condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(10), async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.expect("condition in time");
}

#[tokio::test]
async fn a_failing_and_a_panicking_loop_go_on_and_stop_nobody_else() {
    let bench = bench();
    let stop = CancellationToken::new();
    let (failing, failing_steps) = script("failing", 0, 3, 0);
    let (panicking, panicking_steps) = script("panicking", 2, 0, 0);
    let (fine, fine_steps) = script("fine", 0, 0, 5);
    let run = tokio::spawn(bench.supervisor.run(vec![failing, panicking, fine], stop.clone()));
    until(|| failing_steps.load(Ordering::SeqCst) == 4 && panicking_steps.load(Ordering::SeqCst) == 3).await;
    until(|| fine_steps.load(Ordering::SeqCst) == 6).await;
    until(|| {
        bench
            .liveness
            .snapshot()
            .values()
            .filter(|state| state.error.is_none())
            .count()
            == 3
    })
    .await;
    stop.cancel();
    assert_eq!(run.await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_bell_wakes_an_idle_loop() {
    let bench = bench();
    let stop = CancellationToken::new();
    let (task, steps) = script("idle", 0, 0, 0);
    let run = tokio::spawn(bench.supervisor.run(vec![task], stop.clone()));
    until(|| steps.load(Ordering::SeqCst) == 1).await;
    bench.wakers.of("idle").notify_one();
    until(|| steps.load(Ordering::SeqCst) == 2).await;
    stop.cancel();
    run.await.unwrap();
}

#[tokio::test]
async fn a_commit_of_another_process_wakes_an_idle_loop() {
    let mut bench = bench();
    let (newest, changes) = watch::channel(0);
    bench.supervisor.changes = Some(changes);
    let stop = CancellationToken::new();
    let (task, steps) = script("idle", 0, 0, 0);
    let run = tokio::spawn(bench.supervisor.run(vec![task], stop.clone()));
    until(|| steps.load(Ordering::SeqCst) == 1).await;
    newest.send_replace(7);
    until(|| steps.load(Ordering::SeqCst) == 2).await;
    // Nobody commits any more: the loop lives on its idle time.
    drop(newest);
    bench.wakers.of("idle").notify_one();
    until(|| steps.load(Ordering::SeqCst) == 3).await;
    stop.cancel();
    run.await.unwrap();
}

/// Days forward and back with every look.
#[derive(Debug, Default)]
struct JumpyClock(AtomicUsize);

impl Clock for JumpyClock {
    fn now_ms(&self) -> i64 {
        const DAY_MS: i64 = 86_400_000;
        let looks = self.0.fetch_add(1, Ordering::SeqCst) as i64;
        20_000 * DAY_MS + (looks % 3 - 1) * 365 * DAY_MS
    }
}

#[tokio::test]
async fn loops_keep_their_pace_under_a_clock_that_jumps() {
    let mut bench = bench();
    bench.supervisor.clock = Arc::new(JumpyClock::default());
    let (mut task, steps) = script("steady", 0, 2, 0);
    task.idle = Duration::from_millis(1);
    let stop = CancellationToken::new();
    let run = tokio::spawn(bench.supervisor.run(vec![task], stop.clone()));
    until(|| steps.load(Ordering::SeqCst) > 20).await;
    stop.cancel();
    assert_eq!(run.await.unwrap(), Vec::<String>::new());
}

struct Stuck;

#[async_trait::async_trait]
impl Stage for Stuck {
    fn name(&self) -> String {
        "stuck".into()
    }

    async fn step(&self, _: i64, _: usize) -> Result<Outcome, Box<dyn Coded>> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_stuck_step_is_cut_off_within_the_bound() {
    let bench = bench();
    let (fine, _) = script("fine", 0, 0, 0);
    let stuck = Task {
        stage: Arc::new(Stuck),
        idle: Duration::ZERO,
    };
    let started = Instant::now();
    let stop = CancellationToken::new();
    let run = tokio::spawn(bench.supervisor.run(vec![stuck, fine], stop.clone()));
    until(|| bench.liveness.snapshot().contains_key("fine")).await;
    stop.cancel();
    assert_eq!(run.await.unwrap(), vec!["stuck".to_owned()]);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn pauses_double_up_to_the_bound_and_respect_what_was_asked() {
    let pause = |class, failures| {
        let failure = Failure {
            code: "",
            class,
            text: String::new(),
        };
        failure.pause(failures, Duration::from_secs(30)).as_millis()
    };
    assert_eq!([1, 2, 3, 40].map(|n| pause(Class::Bug, n)), [200, 400, 800, 30_000]);
    let after = Duration::from_secs(2);
    assert_eq!(pause(Class::Retry { after }, 1), 2_000);
    assert_eq!(pause(Class::NotYet, 9), 200);
}
