//! When a message is given up and its settlements are batched again. Safe whenever it happens (the inbox pays a nonce once); it costs a fee. Pure.

/// How long the router waits before it gives a message up, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// With a lane at hand that holds nothing up.
    pub with_lane_ms: i64,
    /// When every lane holds something up: what is batched again would queue behind it, unless the stall was this message's own.
    pub without_lane_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Abandon,
    /// Look again then, Unix ms.
    KeepUntil(i64),
}

/// `stalled_since`: since when every dispatch of the message is overdue.
pub fn abandon(now_ms: i64, stalled_since: i64, lane_at_hand: bool, patience: Patience) -> Verdict {
    let wait = if lane_at_hand {
        patience.with_lane_ms
    } else {
        patience.without_lane_ms
    };
    let due = stalled_since.saturating_add(wait);
    if now_ms >= due {
        Verdict::Abandon
    } else {
        // A lane may recover earlier, so the longer wait is cut into the shorter one's steps.
        let step = now_ms.saturating_add(patience.with_lane_ms.max(1_000));
        Verdict::KeepUntil(due.min(step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        with_lane_ms: 10_000,
        without_lane_ms: 100_000,
    };

    fn check(now_ms: i64, lane_at_hand: bool, expected: Verdict) {
        assert_eq!(
            abandon(now_ms, 0, lane_at_hand, PATIENCE),
            expected,
            "at {now_ms}, lane {lane_at_hand}"
        );
    }

    #[test]
    fn with_a_lane_at_hand_the_short_patience_counts() {
        check(4_000, true, Verdict::KeepUntil(10_000));
        check(9_999, true, Verdict::KeepUntil(10_000));
        check(10_000, true, Verdict::Abandon);
    }

    #[test]
    fn without_a_lane_the_long_patience_counts_and_is_looked_at_in_steps() {
        check(10_000, false, Verdict::KeepUntil(20_000));
        check(95_000, false, Verdict::KeepUntil(100_000));
        check(100_000, false, Verdict::Abandon);
    }
}
