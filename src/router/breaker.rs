//! Circuit breaker of a lane, computed from the lane's own dispatches: no state of its own, so that a restart and every other process come
//! to the same answer. Pure.

use crate::store::Passage;
use serde::Serialize;

/// When a lane is closed to new messages, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerRule {
    /// Dispatches overdue in a row, with no arrival between them; 0 = never.
    pub failures: u32,
    /// Rest after the last of them; doubles with each further one…
    pub cooldown_ms: i64,
    /// …up to this.
    pub cooldown_max_ms: i64,
}

/// `Closed` lets everything through, as with the electrical kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Breaker {
    Closed,
    /// Nothing goes over the lane until then, Unix ms.
    Open {
        until: i64,
    },
    /// One dispatch at a time goes over the lane to see how it does. `since`: a dispatch planned from then on is the probe.
    HalfOpen {
        since: i64,
        probing: bool,
    },
}

impl Breaker {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
        }
    }

    /// Why nothing may go over the lane now.
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::Closed | Self::HalfOpen { probing: false, .. } => None,
            Self::Open { until } => Some(format!("its circuit breaker is open until {until} (Unix ms)")),
            Self::HalfOpen { probing: true, .. } => Some("its circuit breaker waits for a probe under way".to_owned()),
        }
    }
}

/// A success and a failure at the same time: the success is later, since whatever arrives shows that the lane works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sign {
    Overdue,
    Arrived,
}

/// `passages`: the lane's last dispatches, in any order.
pub fn breaker(passages: &[Passage], rule: BreakerRule, now_ms: i64) -> Breaker {
    let overdue = passages
        .iter()
        .filter_map(|passage| Some((passage.stalled_at?, Sign::Overdue)));
    let arrived = passages
        .iter()
        .filter_map(|passage| Some((passage.received_at?, Sign::Arrived)));
    let mut signs: Vec<(i64, Sign)> = overdue.chain(arrived).filter(|(at, _)| *at <= now_ms).collect();
    signs.sort_unstable();
    let since_arrival = signs.iter().rev().take_while(|(_, sign)| *sign == Sign::Overdue);
    let failures = u32::try_from(since_arrival.count()).unwrap_or(u32::MAX);
    let Some((last, _)) = signs.last().copied() else {
        return Breaker::Closed;
    };
    if rule.failures == 0 || failures < rule.failures {
        return Breaker::Closed;
    }
    let further = failures.saturating_sub(rule.failures).min(32);
    let rest = rule.cooldown_ms.saturating_mul(1_i64 << further);
    let until = last.saturating_add(rest.min(rule.cooldown_max_ms.max(rule.cooldown_ms)));
    if now_ms < until {
        return Breaker::Open { until };
    }
    let probing = passages
        .iter()
        .any(|passage| passage.is_under_way() && passage.planned_at >= until);
    Breaker::HalfOpen { since: until, probing }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    const RULE: BreakerRule = BreakerRule {
        failures: 2,
        cooldown_ms: 100,
        cooldown_max_ms: 350,
    };

    fn passage(planned_at: i64, stalled_at: Option<i64>, received_at: Option<i64>) -> Passage {
        Passage {
            planned_at,
            stalled_at,
            received_at,
            transit_ms: None,
            dropped: false,
        }
    }

    fn failed(at: i64) -> Passage {
        passage(at - 10, Some(at), None)
    }

    #[test]
    fn failures_in_a_row_open_it_and_an_arrival_closes_it() {
        let two = [failed(1_000), failed(1_010)];
        assert_eq!(breaker(&two[..1], RULE, 1_020), Breaker::Closed);
        assert_eq!(breaker(&two, RULE, 1_020), Breaker::Open { until: 1_110 });
        let between = [failed(1_000), passage(0, None, Some(1_005)), failed(1_010)];
        assert_eq!(breaker(&between, RULE, 1_020), Breaker::Closed);
        let after = [failed(1_000), failed(1_010), passage(0, Some(900), Some(1_015))];
        assert_eq!(breaker(&after, RULE, 1_020), Breaker::Closed);
    }

    #[test]
    fn after_its_rest_one_probe_goes_and_decides() {
        let mut all = vec![failed(1_000), failed(1_010)];
        assert_eq!(
            breaker(&all, RULE, 1_110),
            Breaker::HalfOpen {
                since: 1_110,
                probing: false
            }
        );
        all.push(passage(1_110, None, None));
        assert_eq!(
            breaker(&all, RULE, 1_120),
            Breaker::HalfOpen {
                since: 1_110,
                probing: true
            }
        );
        all[2].stalled_at = Some(1_130);
        // Twice the rest after the third failure.
        assert_eq!(breaker(&all, RULE, 1_140), Breaker::Open { until: 1_330 });
        all[2].received_at = Some(1_150);
        assert_eq!(breaker(&all, RULE, 1_160), Breaker::Closed);
    }

    #[test]
    fn the_rest_has_a_bound() {
        let many: Vec<Passage> = (0..60).map(|n| failed(1_000 + n)).collect();
        assert_eq!(breaker(&many, RULE, 1_100), Breaker::Open { until: 1_059 + 350 });
    }

    #[test]
    fn what_was_dropped_before_it_was_sent_is_no_probe() {
        let dropped = Passage {
            dropped: true,
            ..passage(1_110, None, None)
        };
        let all = [failed(1_000), failed(1_010), dropped];
        assert_eq!(
            breaker(&all, RULE, 1_120),
            Breaker::HalfOpen {
                since: 1_110,
                probing: false
            }
        );
    }

    #[test]
    fn zero_failures_switch_it_off() {
        let off = BreakerRule { failures: 0, ..RULE };
        assert_eq!(breaker(&[failed(1), failed(2), failed(3)], off, 4), Breaker::Closed);
    }

    fn passages() -> impl Strategy<Value = Vec<Passage>> {
        let one = (
            0_i64..1_000,
            prop::option::of(0_i64..500),
            prop::option::of(0_i64..900),
            any::<bool>(),
        );
        prop::collection::vec(one, 0..12).prop_map(|all| {
            let made = all.into_iter().map(|(planned, stalls, arrives, dropped)| Passage {
                dropped: dropped && arrives.is_none(),
                ..passage(planned, stalls.map(|ms| planned + ms), arrives.map(|ms| planned + ms))
            });
            made.collect()
        })
    }

    proptest! {
        /// Whoever reads the same rows, in whatever order, comes to the same answer.
        #[test]
        fn the_order_of_reading_changes_nothing(all in passages(), now in 0_i64..3_000, turn in 0_usize..12) {
            let mut turned = all.clone();
            turned.reverse();
            let by = if turned.is_empty() { 0 } else { turn % turned.len() };
            turned.rotate_left(by);
            prop_assert_eq!(breaker(&all, RULE, now), breaker(&turned, RULE, now));
        }

        #[test]
        fn an_arrival_after_every_failure_closes_it(all in passages(), now in 2_000_i64..3_000) {
            let mut all = all;
            all.push(passage(0, None, Some(1_999)));
            prop_assert_eq!(breaker(&all, RULE, now), Breaker::Closed);
        }

        /// It never rests longer than its bound, and what keeps it half open is a dispatch that is really under way.
        #[test]
        fn it_never_stays_open_for_ever(all in passages()) {
            let never = Breaker::Open { until: 0 };
            let late = breaker(&all, RULE, 10_000);
            prop_assert!(std::mem::discriminant(&late) != std::mem::discriminant(&never), "{late:?}");
            if let Breaker::HalfOpen { since, probing: true } = late {
                prop_assert!(all.iter().any(|p| p.is_under_way() && p.planned_at >= since));
            }
        }

        /// Fewer failures than the rule asks for never open it.
        #[test]
        fn it_needs_its_failures(all in passages(), now in 0_i64..3_000) {
            let failures = all.iter().filter(|p| p.stalled_at.is_some_and(|at| at <= now)).count();
            if failures < RULE.failures as usize {
                prop_assert_eq!(breaker(&all, RULE, now), Breaker::Closed);
            }
        }
    }
}
