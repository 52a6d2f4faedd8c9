//! When a dispatch is overdue. A stall is an alert and lets the router try another lane; it is never a verdict. Pure.

/// When a dispatch counts as overdue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StallRule {
    /// The configured time-out: nothing is overdue sooner.
    pub timeout_ms: i64,
    /// Arrivals needed before a lane's own history counts.
    pub history_min: usize,
    /// A lane whose slowest recent arrival took longer than the time-out gets this many times that.
    pub history_factor: i64,
}

/// What is known about a dispatch on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transit {
    pub included_at: i64,
    /// Source finality; bridges start counting there.
    pub finalized_at: Option<i64>,
}

impl StallRule {
    /// The time from source finality after which a dispatch is overdue, given how long the last arrivals took.
    pub fn threshold_ms(&self, history_ms: &[i64]) -> i64 {
        if history_ms.len() < self.history_min {
            return self.timeout_ms;
        }
        let slowest = history_ms.iter().copied().max().unwrap_or(0);
        self.timeout_ms.max(slowest.saturating_mul(self.history_factor))
    }

    /// Whether it is overdue. Before source finality the lane is not to blame, so the patience doubles.
    pub fn overdue(&self, now_ms: i64, transit: Transit, history_ms: &[i64]) -> bool {
        let threshold = self.threshold_ms(history_ms);
        match transit.finalized_at {
            Some(at) => now_ms.saturating_sub(at) >= threshold,
            None => now_ms.saturating_sub(transit.included_at) >= threshold.saturating_mul(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: StallRule = StallRule {
        timeout_ms: 1_000,
        history_min: 3,
        history_factor: 2,
    };

    fn check(now_ms: i64, finalized_at: Option<i64>, history: &[i64], expected: bool) {
        let transit = Transit {
            included_at: 0,
            finalized_at,
        };
        assert_eq!(
            RULE.overdue(now_ms, transit, history),
            expected,
            "at {now_ms}, final {finalized_at:?}, {history:?}"
        );
    }

    #[test]
    fn overdue_counts_from_source_finality() {
        check(1_499, Some(500), &[], false);
        check(1_500, Some(500), &[], true);
    }

    #[test]
    fn before_finality_the_patience_doubles() {
        check(1_999, None, &[], false);
        check(2_000, None, &[], true);
    }

    #[test]
    fn a_slow_lane_is_judged_by_its_own_history() {
        check(1_500, Some(0), &[900, 100, 100], false);
        check(1_800, Some(0), &[900, 100, 100], true);
        check(1_000, Some(0), &[10, 10, 10], true);
    }

    #[test]
    fn a_short_history_does_not_count() {
        check(1_000, Some(0), &[90_000, 90_000], true);
    }
}
