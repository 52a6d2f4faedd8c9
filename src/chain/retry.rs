//! Retry times: a pure function of the attempt count. The only user of the `backoff` crate, whose own randomness is off.

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;
use rand::Rng;
use std::time::Duration;

/// Exponential delays between a first and a largest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    pub first: Duration,
    pub max: Duration,
}

impl RetryPolicy {
    /// Delay after `attempts` failed attempts (1 = after the first): first, 2 × first, 4 × first, … max.
    pub fn delay(&self, attempts: u32) -> Duration {
        let mut policy = ExponentialBackoff {
            current_interval: self.first,
            initial_interval: self.first,
            randomization_factor: 0.0,
            multiplier: 2.0,
            max_interval: self.max,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        let mut delay = self.first;
        // The 64th doubling of a nanosecond is beyond any maximum: more steps change nothing.
        for _ in 0..attempts.clamp(1, 64) {
            delay = policy.next_backoff().unwrap_or(self.max);
        }
        delay.min(self.max)
    }

    /// [`RetryPolicy::delay`] in milliseconds, up to a quarter longer by the caller's randomness.
    pub fn delay_ms(&self, attempts: u32, rng: &mut impl Rng) -> i64 {
        let delay = i64::try_from(self.delay(attempts).as_millis()).unwrap_or(i64::MAX);
        delay.saturating_add(rng.random_range(0..=delay / 4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const POLICY: RetryPolicy = RetryPolicy {
        first: Duration::from_millis(500),
        max: Duration::from_secs(60),
    };

    #[test]
    fn delays_double_up_to_the_maximum_and_depend_on_the_count_only() {
        for (attempts, ms) in [
            (0, 500),
            (1, 500),
            (2, 1_000),
            (3, 2_000),
            (8, 60_000),
            (u32::MAX, 60_000),
        ] {
            assert_eq!(POLICY.delay(attempts), Duration::from_millis(ms), "after {attempts}");
            assert_eq!(POLICY.delay(attempts), POLICY.delay(attempts));
        }
    }

    #[test]
    fn jitter_comes_from_the_injected_rng_and_only_lengthens() {
        let delay = |seed| POLICY.delay_ms(3, &mut StdRng::seed_from_u64(seed));
        assert_eq!(delay(1), delay(1));
        assert!((0..100).map(delay).all(|ms| (2_000..=2_500).contains(&ms)));
        assert!((0..100).map(delay).any(|ms| ms != delay(0)));
    }
}
