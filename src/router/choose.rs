//! Which lane carries a message: a ranking over what every lane answered. Pure.

use super::breaker::Breaker;
use super::cap::CapBy;
use super::health::Health;
use crate::settlement::policy::RoutePolicy;
use alloy::primitives::U256;
use relayer_adapter_api::{BridgeId, Family};
use serde::{Serialize, Serializer};

/// Arrivals before a lane's own times count instead of what its bridge promises.
const HISTORY_MIN: u32 = 5;

/// What a lane answered when it was asked to carry a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Quoted {
        /// Wei of the source chain.
        #[serde(serialize_with = "decimal")]
        fee: U256,
        /// The most it may cost when it is sent.
        #[serde(serialize_with = "decimal")]
        cap: U256,
        gas_limit: u64,
        expected_s: u64,
    },
    /// The quote is above the cap; asked again later.
    OverCap {
        #[serde(serialize_with = "decimal")]
        fee: U256,
        #[serde(serialize_with = "decimal")]
        cap: U256,
        by: CapBy,
    },
    /// With this message more value would depend on the lane, or the whole bridge, at once than it may; asked again later.
    OverValue {
        #[serde(serialize_with = "decimal")]
        in_flight: U256,
        #[serde(serialize_with = "decimal")]
        value: U256,
        #[serde(serialize_with = "decimal")]
        cap: U256,
        whole_bridge: bool,
    },
    /// This message went, or is going, over this bridge already.
    Used,
    /// Its family brings a vote already; another one would not count.
    FamilyCovered,
    /// Nobody asked it: an operator or its circuit breaker has closed it.
    Shut { reason: String },
    /// The adapter could not or would not quote.
    Refused { reason: String },
}

/// Amounts are decimal strings everywhere people and clients read them.
fn decimal<S: Serializer>(value: &U256, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn decimal_if_known<S: Serializer>(value: &Option<U256>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

/// What a lane is judged by beside its price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Score {
    /// The fee in the common unit (10^-18), where prices are known.
    #[serde(serialize_with = "decimal_if_known")]
    pub fee_value: Option<U256>,
    pub health: Health,
    /// Share that arrived in time, ten thousandths.
    pub success: u32,
    pub breaker: Breaker,
    /// Value that may still depend on the lane at once, in the common unit (10^-18); None = no cap.
    #[serde(serialize_with = "decimal_if_known")]
    pub headroom: Option<U256>,
}

impl Default for Score {
    fn default() -> Self {
        Self {
            fee_value: None,
            health: Health::default(),
            success: Health::default().success(),
            breaker: Breaker::Closed,
            headroom: None,
        }
    }
}

/// One lane and its answer, as the decision keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Offer {
    pub bridge: BridgeId,
    pub family: Family,
    /// A dispatch is overdue on this lane and nothing has arrived over it since.
    pub lane_stalled: bool,
    pub answer: Answer,
    pub score: Score,
}

impl Offer {
    /// How long it will take, milliseconds: what the lane shows, else what the bridge promises.
    fn time_ms(&self, expected_s: u64) -> i64 {
        let promised = i64::try_from(expected_s.saturating_mul(1_000)).unwrap_or(i64::MAX);
        let known = self.score.health.arrived >= HISTORY_MIN;
        self.score.health.p95_ms.filter(|_| known).unwrap_or(promised)
    }
}

/// The lane taken and why, in words for `explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub index: usize,
    pub why: String,
}

/// What decides between two lanes, most important first; the smallest wins.
type Rank = (bool, [U256; 3], usize, BridgeId);

fn rank(policy: RoutePolicy, order: &[BridgeId], offer: &Offer, price: U256, expected_s: u64) -> Rank {
    let place = order.iter().position(|id| *id == offer.bridge).unwrap_or(order.len());
    let time = U256::from(offer.time_ms(expected_s).max(0).unsigned_abs());
    let doubt = U256::from(10_000_u32.saturating_sub(offer.score.success));
    let key = match policy {
        RoutePolicy::Preferred => [U256::from(place), price, time],
        RoutePolicy::Cheapest => [price, U256::ZERO, U256::ZERO],
        RoutePolicy::Fastest => [time, price, U256::ZERO],
        RoutePolicy::Safest => [doubt, time, price],
    };
    (offer.lane_stalled, key, place, offer.bridge.clone())
}

/// The best quoted offer, or None when no lane quoted within its cap. All of them start on one chain, so that fees compare in wei; the common
/// unit takes over where every one of them has its value.
pub fn choose(policy: RoutePolicy, order: &[BridgeId], offers: &[Offer]) -> Option<Choice> {
    let quoted = offers
        .iter()
        .enumerate()
        .filter_map(|(index, offer)| match offer.answer {
            Answer::Quoted { fee, expected_s, .. } => Some((index, offer, fee, expected_s)),
            _ => None,
        });
    let quoted: Vec<_> = quoted.collect();
    let valued = quoted.iter().all(|(_, offer, ..)| offer.score.fee_value.is_some());
    let mut ranked: Vec<(Rank, usize, &Offer, U256)> = quoted
        .into_iter()
        .map(|(index, offer, fee, expected_s)| {
            let price = offer.score.fee_value.filter(|_| valued).unwrap_or(fee);
            (rank(policy, order, offer, price, expected_s), index, offer, fee)
        })
        .collect();
    ranked.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    let (_, index, offer, fee) = ranked.first()?;
    let passed: Vec<String> = offers
        .iter()
        .filter(|other| other.bridge != offer.bridge && other.lane_stalled)
        .map(|other| format!("{} holds something up", other.bridge))
        .collect();
    let mut why = match (ranked.len(), policy) {
        (1, _) => format!("{} is the only lane that quoted ({fee} wei)", offer.bridge),
        (n, RoutePolicy::Preferred) => format!("{} comes first in the preferred order of {n} lanes", offer.bridge),
        (n, RoutePolicy::Cheapest) => format!("{} is the cheapest of {n} lanes ({fee} wei)", offer.bridge),
        (n, RoutePolicy::Fastest) => format!("{} is the fastest of {n} lanes", offer.bridge),
        (n, RoutePolicy::Safest) => {
            let percent = offer.score.success / 100;
            format!("{} is the safest of {n} lanes (rated {percent} %)", offer.bridge)
        }
    };
    if offer.lane_stalled {
        why.push_str("; it holds something up, but so does every other");
    } else if !passed.is_empty() {
        why = format!("{why}; {}", passed.join(", "));
    }
    Some(Choice { index: *index, why })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn id(name: &str) -> BridgeId {
        BridgeId::new(name).unwrap()
    }

    fn quoted(name: &str, fee: u64, lane_stalled: bool) -> Offer {
        Offer {
            bridge: id(name),
            family: Family::LAYERZERO,
            lane_stalled,
            answer: Answer::Quoted {
                fee: U256::from(fee),
                cap: U256::MAX,
                gas_limit: 1,
                expected_s: 1,
            },
            score: Score::default(),
        }
    }

    fn with(name: &str, fee: u64, p95_ms: i64, overdue: u32) -> Offer {
        let health = Health {
            arrived: 20,
            overdue,
            p50_ms: Some(p95_ms),
            p95_ms: Some(p95_ms),
        };
        let score = Score {
            health,
            success: health.success(),
            ..Score::default()
        };
        Offer {
            score,
            ..quoted(name, fee, false)
        }
    }

    fn refused(name: &str, answer: Answer) -> Offer {
        Offer {
            answer,
            ..quoted(name, 0, false)
        }
    }

    type Policy = (RoutePolicy, Vec<BridgeId>);

    fn preferred_order(order: Vec<BridgeId>) -> Policy {
        (RoutePolicy::Preferred, order)
    }

    fn cheapest_order(order: Vec<BridgeId>) -> Policy {
        (RoutePolicy::Cheapest, order)
    }

    fn check(policy: Policy, offers: &[Offer], expected: Option<&str>) {
        let winner = choose(policy.0, &policy.1, offers).map(|choice| offers[choice.index].bridge.to_string());
        assert_eq!(winner.as_deref(), expected, "{policy:?} {offers:?}");
    }

    #[test]
    fn the_preferred_order_beats_the_price() {
        let preferred = || preferred_order(vec![id("b"), id("a")]);
        check(preferred(), &[quoted("a", 1, false), quoted("b", 9, false)], Some("b"));
        check(preferred(), &[quoted("c", 1, false), quoted("a", 9, false)], Some("a"));
        check(preferred(), &[quoted("d", 2, false), quoted("c", 1, false)], Some("c"));
    }

    #[test]
    fn the_cheapest_wins_and_ties_go_by_order() {
        let cheapest = || cheapest_order(vec![id("b"), id("a")]);
        check(cheapest(), &[quoted("a", 1, false), quoted("b", 9, false)], Some("a"));
        check(cheapest(), &[quoted("a", 1, false), quoted("b", 1, false)], Some("b"));
    }

    #[test]
    fn a_lane_that_holds_something_up_is_last_but_not_out() {
        let preferred = || preferred_order(vec![id("a"), id("b")]);
        check(preferred(), &[quoted("a", 1, true), quoted("b", 9, false)], Some("b"));
        check(preferred(), &[quoted("a", 1, true)], Some("a"));
        check(preferred(), &[quoted("a", 1, true), quoted("b", 9, true)], Some("a"));
    }

    #[test]
    fn lanes_without_a_quote_cannot_win() {
        let over = Answer::OverCap {
            fee: U256::from(2),
            cap: U256::from(1),
            by: CapBy::Absolute,
        };
        let offers = [
            refused("a", over),
            refused("b", Answer::Used),
            refused("c", Answer::FamilyCovered),
            refused("d", Answer::Refused { reason: "down".into() }),
        ];
        check(cheapest_order(vec![]), &offers, None);
        check(cheapest_order(vec![]), &[], None);
    }

    #[test]
    fn the_fastest_goes_by_what_lanes_have_shown_and_else_by_what_they_promise() {
        let fastest = || (RoutePolicy::Fastest, vec![]);
        check(fastest(), &[with("a", 1, 900, 0), with("b", 9, 800, 0)], Some("b"));
        check(fastest(), &[with("a", 1, 800, 0), with("b", 9, 800, 0)], Some("a"));
        // One second is promised.
        check(fastest(), &[with("a", 1, 1_001, 0), quoted("b", 9, false)], Some("b"));
        let mut young = with("a", 1, 10, 0);
        young.score.health.arrived = HISTORY_MIN - 1;
        check(fastest(), &[young, with("b", 9, 900, 0)], Some("b"));
    }

    #[test]
    fn the_safest_goes_by_success_then_time_then_price() {
        let safest = || (RoutePolicy::Safest, vec![]);
        check(safest(), &[with("a", 1, 1, 3), with("b", 9, 9, 0)], Some("b"));
        check(safest(), &[with("a", 9, 1, 0), with("b", 1, 2, 0)], Some("a"));
        check(safest(), &[with("a", 9, 1, 0), with("b", 1, 1, 0)], Some("b"));
        check(safest(), &[quoted("a", 1, false), with("b", 9, 9, 0)], Some("b"));
    }

    #[test]
    fn prices_compare_in_the_unit_only_when_every_fee_has_its_value() {
        let valued = |name, fee, value: Option<u64>| {
            let mut offer = quoted(name, fee, false);
            offer.score.fee_value = value.map(U256::from);
            offer
        };
        let cheapest = || (RoutePolicy::Cheapest, vec![]);
        check(
            cheapest(),
            &[valued("a", 1, Some(9)), valued("b", 2, Some(8))],
            Some("b"),
        );
        check(cheapest(), &[valued("a", 1, Some(9)), valued("b", 2, None)], Some("a"));
    }

    #[test]
    fn a_lane_that_is_shut_or_full_cannot_win() {
        let full = Answer::OverValue {
            in_flight: U256::from(5),
            value: U256::from(5),
            cap: U256::from(9),
            whole_bridge: true,
        };
        let shut = Answer::Shut {
            reason: "paused".into(),
        };
        check(
            (RoutePolicy::Safest, vec![]),
            &[refused("a", full), refused("b", shut)],
            None,
        );
    }
}
