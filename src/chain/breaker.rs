//! When to leave an endpoint alone: a breaker with half-open probes, and a request budget. Pure; `now` is a parameter.

/// Bounds of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Failures in a row that open it.
    pub failures_max: u32,
    /// How long it stays open before one call may probe.
    pub cooldown_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed {
        failures: u32,
    },
    Open {
        until_ms: i64,
    },
    /// One probe is on its way; it counts as lost after another cooldown.
    HalfOpen {
        since_ms: i64,
    },
}

/// State of one endpoint's breaker.
#[derive(Debug, Clone, Copy)]
pub struct Breaker {
    policy: BreakerPolicy,
    phase: Phase,
}

impl Breaker {
    pub fn new(policy: BreakerPolicy) -> Self {
        Self {
            policy,
            phase: Phase::Closed { failures: 0 },
        }
    }

    /// Whether a call may go out now. True in the open state once per cooldown: that call is the probe.
    pub fn admit(&mut self, now_ms: i64) -> bool {
        match self.phase {
            Phase::Closed { .. } => true,
            Phase::Open { until_ms } if now_ms >= until_ms => {
                self.phase = Phase::HalfOpen { since_ms: now_ms };
                true
            }
            Phase::HalfOpen { since_ms } if now_ms >= since_ms.saturating_add(self.policy.cooldown_ms) => {
                self.phase = Phase::HalfOpen { since_ms: now_ms };
                true
            }
            Phase::Open { .. } | Phase::HalfOpen { .. } => false,
        }
    }

    pub fn succeeded(&mut self) {
        self.phase = Phase::Closed { failures: 0 };
    }

    pub fn failed(&mut self, now_ms: i64) {
        let open = Phase::Open {
            until_ms: now_ms.saturating_add(self.policy.cooldown_ms),
        };
        self.phase = match self.phase {
            Phase::Closed { failures } if failures + 1 < self.policy.failures_max => {
                Phase::Closed { failures: failures + 1 }
            }
            _ => open,
        };
    }

    /// Closed, so worth asking first.
    pub fn is_healthy(&self) -> bool {
        matches!(self.phase, Phase::Closed { .. })
    }
}

/// Requests per second an endpoint may get, with one second of burst. Counted in thousandths of a request.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    per_second: u32,
    milli_tokens: i64,
    at_ms: i64,
}

impl Budget {
    pub fn new(per_second: u32) -> Self {
        Self {
            per_second,
            milli_tokens: i64::from(per_second).saturating_mul(1_000),
            at_ms: i64::MIN,
        }
    }

    /// Takes one request; false when the budget is used up for now.
    pub fn take(&mut self, now_ms: i64) -> bool {
        let full = i64::from(self.per_second).saturating_mul(1_000);
        let elapsed = now_ms.saturating_sub(self.at_ms).clamp(0, 1_000);
        // per_second requests in 1,000 ms are per_second thousandths in 1 ms.
        self.milli_tokens = self
            .milli_tokens
            .saturating_add(elapsed.saturating_mul(i64::from(self.per_second)))
            .min(full);
        self.at_ms = now_ms;
        if self.milli_tokens < 1_000 {
            return false;
        }
        self.milli_tokens -= 1_000;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: BreakerPolicy = BreakerPolicy {
        failures_max: 3,
        cooldown_ms: 1_000,
    };

    #[test]
    fn opens_after_failures_in_a_row_and_only_then() {
        let mut breaker = Breaker::new(POLICY);
        breaker.failed(0);
        breaker.failed(0);
        breaker.succeeded();
        breaker.failed(0);
        breaker.failed(0);
        assert!(breaker.admit(1), "two failures in a row are below the bound");
        breaker.failed(1);
        assert!(!breaker.admit(2), "three in a row open it");
        assert!(!breaker.is_healthy());
    }

    #[test]
    fn lets_one_probe_through_per_cooldown() {
        let mut breaker = Breaker::new(POLICY);
        (0..3).for_each(|_| breaker.failed(0));
        assert!(!breaker.admit(999));
        assert!(breaker.admit(1_000), "the probe");
        assert!(!breaker.admit(1_001), "only one");
        breaker.failed(1_002);
        assert!(!breaker.admit(1_500), "a failed probe opens it again");
        assert!(breaker.admit(2_002));
        breaker.succeeded();
        assert!(breaker.admit(2_003) && breaker.is_healthy());
    }

    #[test]
    fn a_probe_that_never_answers_does_not_close_the_door_for_ever() {
        let mut breaker = Breaker::new(POLICY);
        (0..3).for_each(|_| breaker.failed(0));
        assert!(breaker.admit(1_000));
        assert!(!breaker.admit(1_999));
        assert!(breaker.admit(2_000));
    }

    #[test]
    fn budget_refills_with_time_and_never_beyond_one_second() {
        let mut budget = Budget::new(2);
        assert!(budget.take(0) && budget.take(0));
        assert!(!budget.take(0));
        assert!(!budget.take(499));
        assert!(budget.take(500));
        assert!(budget.take(60_000) && budget.take(60_000));
        assert!(!budget.take(60_000));
    }
}
