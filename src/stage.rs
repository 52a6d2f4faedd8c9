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
