//! Runs each stage in a loop of its own: step, then wait for a wake-up or the idle time. A step that fails is tried again after a pause that
//! grows with repeated failures; nothing a stage meets ends the process. Restarting is just another claim.

use crate::clock::Clock;
use crate::config::SupervisorConfig;
use crate::error::{Coded, PANIC};
use crate::liveness::{Liveness, LoopState};
use crate::metrics as names;
use crate::stage::{Outcome, Stage};
use metrics::{counter, gauge, histogram};
use relayer_adapter_api::Class;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Least time between two steps of a loop that was woken: what many others did meanwhile is looked at once.
const STEP_SPACING: Duration = Duration::from_millis(25);

/// Pause after the first failure of a loop; doubles up to the configured bound.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);

/// At least this long between two wake-ups by commits of other processes: what comes in between is found by the same look.
const WAKE_PAUSE: Duration = Duration::from_millis(50);

/// Wakes loops early. Losing a wake-up only costs the idle time, so this carries no data.
#[derive(Debug, Clone, Default)]
pub struct Wakers(Arc<Mutex<BTreeMap<String, Arc<Notify>>>>);

impl Wakers {
    /// The bell of one loop.
    pub fn of(&self, name: &str) -> Arc<Notify> {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.entry(name.to_owned()).or_default().clone()
    }

    /// Rings all bells: after a step that changed something, whoever is next looks at once.
    pub fn wake_all(&self) {
        for notify in self.0.lock().unwrap_or_else(PoisonError::into_inner).values() {
            notify.notify_one();
        }
    }
}

/// One loop: the stage, and how long it waits when nothing is due.
pub struct Task {
    pub stage: Arc<dyn Stage>,
    pub idle: Duration,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task")
            .field("stage", &self.stage.name())
            .field("idle", &self.idle)
            .finish()
    }
}

/// What runs the loops.
#[derive(Debug)]
pub struct Supervisor {
    pub config: SupervisorConfig,
    pub clock: Arc<dyn Clock>,
    pub wakers: Wakers,
    pub liveness: Liveness,
    /// Where the database is shared: the newest event anybody has committed.
    pub changes: Option<watch::Receiver<i64>>,
}

impl Supervisor {
    /// Runs the loops until `stop`, then gives running steps the configured time. Returns the names of loops that were cut off.
    pub async fn run(self, tasks: Vec<Task>, stop: CancellationToken) -> Vec<String> {
        let supervisor = Arc::new(self);
        let mut set = JoinSet::new();
        let running = Arc::new(Mutex::new(BTreeMap::new()));
        for task in tasks {
            let name = task.stage.name();
            running
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(name.clone(), ());
            let (supervisor, stop, running) = (supervisor.clone(), stop.clone(), running.clone());
            set.spawn(async move {
                supervisor.run_loop(&name, task, stop).await;
                running.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
            });
        }
        if let Some(changes) = supervisor.changes.clone() {
            tokio::spawn(wake_on_changes(changes, supervisor.wakers.clone(), stop.clone()));
        }
        stop.cancelled().await;
        let bound = Duration::from_millis(supervisor.config.stop_ms_max);
        let drained = tokio::time::timeout(bound, async { while set.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            set.abort_all();
        }
        let left = running.lock().unwrap_or_else(PoisonError::into_inner);
        left.keys().cloned().collect()
    }

    async fn run_loop(&self, name: &str, task: Task, stop: CancellationToken) {
        let bell = self.wakers.of(name);
        let mut failures = 0u32;
        let mut last_error: Option<Failure> = None;
        while !stop.is_cancelled() {
            let started = tokio::time::Instant::now();
            let pause = match self.step(name, &*task.stage).await {
                Ok(outcome) => {
                    if last_error.take().is_some() {
                        tracing::info!(stage = name, "loop works again");
                    }
                    failures = 0;
                    if outcome.processed > 0 {
                        self.wakers.wake_all();
                    }
                    if outcome.more { Duration::ZERO } else { task.idle }
                }
                Err(failure) => {
                    failures = failures.saturating_add(1);
                    // Once per kind of failure: the words may differ from endpoint to endpoint.
                    if last_error.as_ref().map(|last| last.code) != Some(failure.code) {
                        failure.log(name);
                    }
                    let pause = failure.pause(failures, Duration::from_millis(self.config.backoff_ms_max));
                    last_error = Some(failure);
                    pause
                }
            };
            self.liveness.set(
                name,
                LoopState {
                    alive_at_ms: self.clock.now_ms(),
                    failures,
                    error: last_error.as_ref().map(|last| last.text.clone()),
                },
            );
            if pause.is_zero() {
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
                // A failing loop is not hurried: its pause protects whatever is failing.
                () = bell.notified(), if failures == 0 => tokio::time::sleep_until(started + STEP_SPACING.min(pause)).await,
            }
        }
    }

    async fn step(&self, name: &str, stage: &dyn Stage) -> Result<Outcome, Failure> {
        let started = Instant::now();
        let step = stage.step(self.clock.now_ms(), self.config.step_rows_max);
        let result = futures::FutureExt::catch_unwind(AssertUnwindSafe(step)).await;
        let label = name.to_owned();
        histogram!(names::LOOP_STEP_SECONDS, "loop" => label.clone()).record(started.elapsed().as_secs_f64());
        gauge!(names::LOOP_ALIVE_TIMESTAMP_SECONDS, "loop" => label.clone()).set(self.clock.now_ms() as f64 / 1_000.0);
        let failure = match result {
            Ok(Ok(outcome)) => {
                counter!(names::LOOP_ROWS_TOTAL, "loop" => label).increment(outcome.processed as u64);
                return Ok(outcome);
            }
            Ok(Err(error)) => Failure::of(&*error),
            Err(_) => Failure {
                code: PANIC.code,
                class: Class::Bug,
                text: format!("{} the step panicked", PANIC.code),
            },
        };
        counter!(names::LOOP_ERRORS_TOTAL, "loop" => label, "code" => failure.code).increment(1);
        Err(failure)
    }
}

/// Looks at once when another process has committed something. Losing this only costs the idle time.
async fn wake_on_changes(mut changes: watch::Receiver<i64>, wakers: Wakers, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() {
                return;
            },
        }
        wakers.wake_all();
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(WAKE_PAUSE) => {}
        }
    }
}

#[derive(Debug)]
struct Failure {
    code: &'static str,
    class: Class,
    text: String,
}

impl Failure {
    fn of(error: &dyn Coded) -> Self {
        let code = error.code().code;
        Self {
            code,
            class: error.class(),
            text: format!("{code} {error}"),
        }
    }

    fn log(&self, stage: &str) {
        match self.class {
            Class::NotYet => tracing::debug!(stage, error = self.text, "loop waits"),
            Class::Retry { .. } => tracing::warn!(stage, error = self.text, "loop failed, trying again"),
            Class::Reject | Class::Bug => tracing::error!(stage, error = self.text, "loop failed, trying again"),
        }
    }

    fn pause(&self, failures: u32, bound: Duration) -> Duration {
        let doubled = BACKOFF_FIRST.saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        let asked = match self.class {
            Class::Retry { after } => after,
            Class::NotYet => return BACKOFF_FIRST,
            Class::Reject | Class::Bug => BACKOFF_FIRST,
        };
        doubled.max(asked).min(bound)
    }
}

#[cfg(test)]
mod tests;
