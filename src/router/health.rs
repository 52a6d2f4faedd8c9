//! How a lane has been doing: shares and times over its last dispatches. Pure.

use crate::store::Passage;
use serde::Serialize;

/// Over the last dispatches of a lane that came to something: arrived, or overdue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    pub arrived: u32,
    /// Overdue at some time; some of them arrived after all.
    pub overdue: u32,
    /// From source finality to arrival, milliseconds: half of them took no longer…
    pub p50_ms: Option<i64>,
    /// …and 95 of 100.
    pub p95_ms: Option<i64>,
}

impl Health {
    pub fn of(passages: &[Passage]) -> Self {
        let count =
            |wanted: fn(&&Passage) -> bool| u32::try_from(passages.iter().filter(wanted).count()).unwrap_or(u32::MAX);
        let mut transits: Vec<i64> = passages.iter().filter_map(|passage| passage.transit_ms).collect();
        transits.sort_unstable();
        Self {
            arrived: count(|passage| passage.received_at.is_some() && passage.stalled_at.is_none()),
            overdue: count(|passage| passage.stalled_at.is_some()),
            p50_ms: percentile(&transits, 50),
            p95_ms: percentile(&transits, 95),
        }
    }

    /// Share that arrived in time, in ten thousandths, as if one had arrived and one had not before the first: a lane without history is
    /// neither good nor bad, and one success proves little.
    pub fn success(&self) -> u32 {
        let arrived = u64::from(self.arrived).saturating_add(1);
        let all = arrived.saturating_add(u64::from(self.overdue)).saturating_add(1);
        u32::try_from(arrived.saturating_mul(10_000) / all).unwrap_or(10_000)
    }
}

/// The smallest value that so many of 100 do not exceed. `sorted` ascending.
fn percentile(sorted: &[i64], of_100: usize) -> Option<i64> {
    let rank = sorted.len().saturating_mul(of_100).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn passage(transit_ms: Option<i64>, stalled_at: Option<i64>) -> Passage {
        Passage {
            planned_at: 0,
            stalled_at,
            received_at: transit_ms,
            transit_ms,
            dropped: false,
        }
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let all: Vec<Passage> = (1..=100).map(|ms| passage(Some(ms), None)).collect();
        let health = Health::of(&all);
        assert_eq!((health.p50_ms, health.p95_ms), (Some(50), Some(95)));
        let health = Health::of(&all[..1]);
        assert_eq!((health.p50_ms, health.p95_ms), (Some(1), Some(1)));
        assert_eq!(Health::of(&[]).p95_ms, None);
    }

    #[test]
    fn late_arrivals_count_as_overdue_and_what_is_under_way_not_at_all() {
        let health = Health::of(&[
            passage(Some(9), Some(5)),
            passage(None, Some(5)),
            passage(Some(1), None),
            passage(None, None),
        ]);
        assert_eq!((health.arrived, health.overdue), (1, 2));
    }

    #[test]
    fn success_starts_in_the_middle_and_is_earned() {
        let with = |arrived, overdue| {
            Health {
                arrived,
                overdue,
                ..Health::default()
            }
            .success()
        };
        assert_eq!(with(0, 0), 5_000);
        assert!(with(1, 0) > with(0, 0));
        assert!(with(50, 0) > with(50, 1));
        assert!(with(50, 1) > with(1, 0));
        assert!(with(0, 1) < with(0, 0));
    }
}
