//! What every stage of the pipeline is: one `step`, without loops and without a clock.

use crate::error::Coded;
use async_trait::async_trait;

/// What one step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Rows that changed.
    pub processed: usize,
    /// True when more is due right now, so the loop should not wait.
    pub more: bool,
}

impl Outcome {
    pub fn new(processed: usize, limit: usize) -> Self {
        Self {
            processed,
            more: processed >= limit,
        }
    }
}

/// One stage. Claims due rows in its states, does one step for each, applies an event, releases. The loop is the supervisor's.
#[async_trait]
pub trait Stage: Send + Sync {
    /// Name in logs and metrics, e.g. `batcher` or `observer:31337`.
    fn name(&self) -> String;

    /// One step at `now_ms` over at most `limit` rows. An error is about the whole step (database, RPC); a row that fails is
    /// recorded on the row and never stops the others.
    async fn step(&self, now_ms: i64, limit: usize) -> Result<Outcome, Box<dyn Coded>>;
}

/// When to look at something again that has waited since `since_ms`: an eighth of its age later, within bounds. A pure function, so that
/// every worker and every restart comes to the same answer.
pub fn retry_at(now_ms: i64, since_ms: i64, min_ms: i64, max_ms: i64) -> i64 {
    let age = now_ms.saturating_sub(since_ms).max(0);
    now_ms.saturating_add((age / 8).clamp(min_ms, max_ms.max(min_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_become_rarer_with_age_within_bounds() {
        assert_eq!(retry_at(5_000, 5_000, 1_000, 60_000), 6_000);
        assert_eq!(retry_at(80_000, 0, 1_000, 60_000), 90_000);
        assert_eq!(retry_at(80_000_000, 0, 1_000, 60_000), 80_060_000);
        assert_eq!(retry_at(0, 9_000, 1_000, 60_000), 1_000);
    }
}
