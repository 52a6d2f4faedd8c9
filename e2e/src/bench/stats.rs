//! Times of many calls: percentiles and rates. Plain numbers, nothing else.

use std::time::Duration;

/// Times of calls, in no order.
#[derive(Debug, Clone, Default)]
pub struct Times(Vec<u32>);

impl Times {
    pub fn push(&mut self, time: Duration) {
        // More than an hour is as bad as an hour; microseconds in 32 bits keep a million calls in 4 MB.
        self.0.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The time within which this percentage of the calls ended, milliseconds; None without calls. The nearest rank: a time that was measured.
    pub fn percentile_ms(&self, percent: u32) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent.min(100) as usize).div_ceil(100).max(1);
        sorted.get(rank - 1).map(|micros| f64::from(*micros) / 1_000.0)
    }
}

/// What a load produced.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Calls answered as wanted.
    pub done: u64,
    /// Calls answered otherwise; a measurement with any of them is void.
    pub refused: u64,
    pub seconds: f64,
    pub times: Times,
}

impl Outcome {
    pub fn per_second(&self) -> f64 {
        per_second(self.done, self.seconds)
    }
}

pub fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// Calls per second when each needs one of both: the slower one counts more.
pub fn both(one: f64, other: f64) -> f64 {
    if one > 0.0 && other > 0.0 {
        1.0 / (1.0 / one + 1.0 / other)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn times(millis: impl IntoIterator<Item = u64>) -> Times {
        let mut times = Times::default();
        for one in millis {
            times.push(Duration::from_millis(one));
        }
        times
    }

    #[test]
    fn percentiles_are_measured_values_by_nearest_rank() {
        let hundred = times((1..=100).rev());
        assert_eq!(hundred.percentile_ms(50), Some(50.0));
        assert_eq!(hundred.percentile_ms(99), Some(99.0));
        assert_eq!(hundred.percentile_ms(100), Some(100.0));
        assert_eq!(hundred.percentile_ms(0), Some(1.0));
        let three = times([30, 10, 20]);
        assert_eq!(three.percentile_ms(50), Some(20.0));
        assert_eq!(three.percentile_ms(99), Some(30.0));
    }

    #[test]
    fn no_calls_have_no_percentile() {
        assert_eq!(Times::default().percentile_ms(50), None);
    }

    #[test]
    fn two_needs_of_one_call_add_up() {
        assert!((both(30_000.0, 60_000.0) - 20_000.0).abs() < 1e-6);
        assert_eq!(both(0.0, 5.0), 0.0);
    }

    #[test]
    fn a_rate_of_no_time_is_zero() {
        assert_eq!(per_second(5, 0.0), 0.0);
        assert_eq!(per_second(5, 2.0), 2.5);
    }
}
