//! Which lane carries a message: a ranking over what every lane answered. Pure.

use alloy::primitives::U256;
use relayer_adapter_api::{BridgeId, Family};
use serde::Serialize;

/// How lanes are ranked once those that hold something up are last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// In this order, then the others by price.
    Preferred(Vec<BridgeId>),
    /// By price, then in this order.
    Cheapest(Vec<BridgeId>),
}

impl Policy {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Preferred(_) => "preferred",
            Self::Cheapest(_) => "cheapest",
        }
    }
}

/// What a lane answered when it was asked to carry a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Quoted {
        /// Wei of the source chain.
        fee: U256,
        gas_limit: u64,
        expected_s: u64,
    },
    /// The quote is above the cap; asked again later.
    OverCap { fee: U256, cap: U256 },
    /// This message went, or is going, over this bridge already.
    Used,
    /// Its family brings a vote already; another one would not count.
    FamilyCovered,
    /// The adapter could not or would not quote.
    Refused { reason: String },
}

/// One lane and its answer, as the decision keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Offer {
    pub bridge: BridgeId,
    pub family: Family,
    /// A dispatch is overdue on this lane and nothing has arrived over it since.
    pub lane_stalled: bool,
    pub answer: Answer,
}

/// The lane taken and why, in words for `explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub index: usize,
    pub why: String,
}

/// The best quoted offer, or None when no lane quoted within its cap.
pub fn choose(policy: &Policy, offers: &[Offer]) -> Option<Choice> {
    let mut ranked: Vec<(usize, &Offer, U256)> = offers
        .iter()
        .enumerate()
        .filter_map(|(index, offer)| match offer.answer {
            Answer::Quoted { fee, .. } => Some((index, offer, fee)),
            _ => None,
        })
        .collect();
    ranked.sort_by_key(|(_, offer, fee)| {
        let place = |order: &[BridgeId]| order.iter().position(|id| *id == offer.bridge).unwrap_or(order.len());
        let key = match policy {
            Policy::Preferred(order) => (U256::from(place(order)), *fee),
            Policy::Cheapest(order) => (*fee, U256::from(place(order))),
        };
        (offer.lane_stalled, key, offer.bridge.clone())
    });
    let (index, offer, fee) = ranked.first()?;
    let passed: Vec<String> = offers
        .iter()
        .filter(|other| other.bridge != offer.bridge && other.lane_stalled)
        .map(|other| format!("{} holds something up", other.bridge))
        .collect();
    let mut why = match (ranked.len(), policy) {
        (1, _) => format!("{} is the only lane that quoted ({fee} wei)", offer.bridge),
        (n, Policy::Preferred(_)) => format!("{} comes first in the preferred order of {n} lanes", offer.bridge),
        (n, Policy::Cheapest(_)) => format!("{} is the cheapest of {n} lanes ({fee} wei)", offer.bridge),
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
                gas_limit: 1,
                expected_s: 1,
            },
        }
    }

    fn refused(name: &str, answer: Answer) -> Offer {
        Offer {
            answer,
            ..quoted(name, 0, false)
        }
    }

    fn check(policy: Policy, offers: &[Offer], expected: Option<&str>) {
        let winner = choose(&policy, offers).map(|choice| offers[choice.index].bridge.to_string());
        assert_eq!(winner.as_deref(), expected, "{policy:?} {offers:?}");
    }

    #[test]
    fn the_preferred_order_beats_the_price() {
        let preferred = || Policy::Preferred(vec![id("b"), id("a")]);
        check(preferred(), &[quoted("a", 1, false), quoted("b", 9, false)], Some("b"));
        check(preferred(), &[quoted("c", 1, false), quoted("a", 9, false)], Some("a"));
        check(preferred(), &[quoted("d", 2, false), quoted("c", 1, false)], Some("c"));
    }

    #[test]
    fn the_cheapest_wins_and_ties_go_by_order() {
        let cheapest = || Policy::Cheapest(vec![id("b"), id("a")]);
        check(cheapest(), &[quoted("a", 1, false), quoted("b", 9, false)], Some("a"));
        check(cheapest(), &[quoted("a", 1, false), quoted("b", 1, false)], Some("b"));
    }

    #[test]
    fn a_lane_that_holds_something_up_is_last_but_not_out() {
        let preferred = || Policy::Preferred(vec![id("a"), id("b")]);
        check(preferred(), &[quoted("a", 1, true), quoted("b", 9, false)], Some("b"));
        check(preferred(), &[quoted("a", 1, true)], Some("a"));
        check(preferred(), &[quoted("a", 1, true), quoted("b", 9, true)], Some("a"));
    }

    #[test]
    fn lanes_without_a_quote_cannot_win() {
        let over = Answer::OverCap {
            fee: U256::from(2),
            cap: U256::from(1),
        };
        let offers = [
            refused("a", over),
            refused("b", Answer::Used),
            refused("c", Answer::FamilyCovered),
            refused("d", Answer::Refused { reason: "down".into() }),
        ];
        check(Policy::Cheapest(vec![]), &offers, None);
        check(Policy::Cheapest(vec![]), &[], None);
    }
}
