//! What a message still needs: which lanes may carry it next, or that nothing is left to try. Pure.

use relayer_adapter_api::{BridgeId, Family};

/// A dispatch the message has, as far as the decision cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carriage {
    pub bridge: BridgeId,
    pub family: Family,
    /// Dropped before it was sent.
    pub dropped: bool,
    /// Overdue since, Unix ms.
    pub stalled_at: Option<i64>,
    pub received: bool,
}

impl Carriage {
    /// Counts on its way to the quorum: neither given up nor overdue.
    fn covers(&self) -> bool {
        self.received || (!self.dropped && self.stalled_at.is_none())
    }
}

/// What to do about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// Enough families are on their way.
    Nothing,
    /// One of these lanes may carry it next; never empty.
    OneOf(Vec<BridgeId>),
    /// No lane is left that this message has not used. `stalled_since` is set when every carriage is overdue, to the newest.
    Exhausted { stalled_since: Option<i64> },
}

/// `families` = how many distinct families the inbox asks for; `dispatches_max` bounds what one message may cost.
pub fn need(families: usize, carriages: &[Carriage], lanes: &[(BridgeId, Family)], dispatches_max: usize) -> Need {
    let mut covered: Vec<Family> = carriages.iter().filter(|c| c.covers()).map(|c| c.family).collect();
    covered.sort();
    covered.dedup();
    if covered.len() >= families {
        return Need::Nothing;
    }
    let open: Vec<BridgeId> = lanes
        .iter()
        .filter(|(bridge, family)| !covered.contains(family) && !carriages.iter().any(|c| c.bridge == *bridge))
        .map(|(bridge, _)| bridge.clone())
        .collect();
    if !open.is_empty() && carriages.len() < dispatches_max {
        return Need::OneOf(open);
    }
    let all_stalled = !carriages.is_empty() && covered.is_empty();
    let stalled_since = carriages.iter().filter_map(|c| c.stalled_at).max();
    Need::Exhausted {
        stalled_since: stalled_since.filter(|_| all_stalled),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn id(name: &str) -> BridgeId {
        BridgeId::new(name).unwrap()
    }

    fn lanes(names: &[(&str, u8)]) -> Vec<(BridgeId, Family)> {
        names.iter().map(|(name, family)| (id(name), Family(*family))).collect()
    }

    fn going(name: &str, family: u8) -> Carriage {
        Carriage {
            bridge: id(name),
            family: Family(family),
            dropped: false,
            stalled_at: None,
            received: false,
        }
    }

    fn stalled(name: &str, at: i64) -> Carriage {
        Carriage {
            stalled_at: Some(at),
            ..going(name, 1)
        }
    }

    fn one_of(names: &[&str]) -> Need {
        Need::OneOf(names.iter().map(|name| id(name)).collect())
    }

    #[test]
    fn a_fresh_message_may_take_any_lane() {
        assert_eq!(need(1, &[], &lanes(&[("a", 1), ("b", 1)]), 3), one_of(&["a", "b"]));
    }

    #[test]
    fn a_message_on_its_way_needs_nothing() {
        assert_eq!(
            need(1, &[going("a", 1)], &lanes(&[("a", 1), ("b", 1)]), 3),
            Need::Nothing
        );
    }

    #[test]
    fn a_stall_opens_the_lanes_not_used_yet() {
        assert_eq!(
            need(1, &[stalled("a", 5)], &lanes(&[("a", 1), ("b", 1)]), 3),
            one_of(&["b"])
        );
    }

    #[test]
    fn an_overdue_dispatch_that_arrived_after_all_covers() {
        let arrived = Carriage {
            received: true,
            ..stalled("a", 5)
        };
        assert_eq!(need(1, &[arrived], &lanes(&[("a", 1), ("b", 1)]), 3), Need::Nothing);
    }

    #[test]
    fn every_lane_stalled_is_exhausted_since_the_newest_stall() {
        let all = lanes(&[("a", 1), ("b", 1)]);
        let expected = Need::Exhausted { stalled_since: Some(9) };
        assert_eq!(need(1, &[stalled("a", 5), stalled("b", 9)], &all, 3), expected);
    }

    #[test]
    fn the_bound_on_dispatches_holds_even_with_lanes_left() {
        let all = lanes(&[("a", 1), ("b", 1)]);
        let expected = Need::Exhausted { stalled_since: Some(5) };
        assert_eq!(need(1, &[stalled("a", 5)], &all, 1), expected);
    }

    #[test]
    fn two_families_need_lanes_of_two_families() {
        let all = lanes(&[("a", 1), ("b", 1), ("c", 2)]);
        assert_eq!(need(2, &[going("a", 1)], &all, 3), one_of(&["c"]));
        assert_eq!(need(2, &[going("a", 1), going("c", 2)], &all, 3), Need::Nothing);
        let only_one = lanes(&[("a", 1), ("b", 1)]);
        let waits = Need::Exhausted { stalled_since: None };
        assert_eq!(need(2, &[going("a", 1)], &only_one, 3), waits);
    }

    #[test]
    fn no_lane_at_all_waits() {
        assert_eq!(need(1, &[], &[], 3), Need::Exhausted { stalled_since: None });
    }
}
