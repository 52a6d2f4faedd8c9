//! The only place that reads the time. Everything else is handed `now` or a [`Clock`], so that tests and the simulation own it.

use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

/// Unix milliseconds for scheduling and stamps. Verdicts use block timestamps, leases the database's clock.
pub trait Clock: Send + Sync + Debug {
    fn now_ms(&self) -> i64;
}

/// The machine's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the time")]
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}
