//! Which leaves of a message are executed next, as contiguous ranges. Pure.

use std::ops::Range;

/// Where one leaf stands for payout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaf {
    /// Ended, or paid at the latest block.
    Done,
    /// An execution of it is on its way, or is in a block whose logs have not been read yet.
    InFlight,
    /// Its deadline has passed at the head: an execution could only skip it.
    Late,
    /// An execution or a simulation left it as it was.
    Skipped,
    /// Never tried.
    Fresh,
    /// Nobody knows its terms: this database was recovered, and its coordinator has not submitted it again.
    Unknown,
}

/// What is known about one leaf.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// Ended, or an operator's business.
    pub resolved: bool,
    pub paid_seen: bool,
    pub in_flight: bool,
    pub deadline: u64,
    pub skipped: bool,
}

impl Leaf {
    /// `head_timestamp` of the target chain; the deadline is inclusive.
    pub fn of(facts: Facts, head_timestamp: u64) -> Self {
        if facts.resolved || facts.paid_seen {
            Self::Done
        } else if facts.in_flight {
            Self::InFlight
        } else if facts.deadline < head_timestamp {
            Self::Late
        } else if facts.skipped {
            Self::Skipped
        } else {
            Self::Fresh
        }
    }
}

/// Leaves to execute together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    pub leaves: Range<usize>,
    /// Leaves of it that could be paid; the others are carried along because a second transaction would cost more.
    pub payable: usize,
    /// False when every payable leaf was left before: it must prove itself in a simulation first.
    pub fresh: bool,
}

/// Fresh leaves in runs that bridge up to `gap_max` leaves which an execution would merely skip, then what was left before, apart,
/// so that a stubborn leaf costs nobody else anything. Nothing in flight is ever part of a stretch, and nothing whose terms are unknown.
pub fn stretches(leaves: &[Leaf], gap_max: usize) -> Vec<Stretch> {
    let mut fresh = runs(leaves, Leaf::Fresh, gap_max);
    let covered = |leaf: usize, fresh: &[Stretch]| fresh.iter().any(|stretch| stretch.leaves.contains(&leaf));
    let rest: Vec<Leaf> = leaves
        .iter()
        .enumerate()
        .map(|(index, leaf)| if covered(index, &fresh) { Leaf::InFlight } else { *leaf })
        .collect();
    let again = runs(&rest, Leaf::Skipped, 0);
    fresh.extend(again);
    fresh
}

fn runs(leaves: &[Leaf], wanted: Leaf, gap_max: usize) -> Vec<Stretch> {
    let mut found: Vec<Stretch> = Vec::new();
    for (index, _) in leaves.iter().enumerate().filter(|(_, leaf)| **leaf == wanted) {
        if let Some(last) = found.last_mut() {
            let gap = &leaves[last.leaves.end..index];
            if gap.len() <= gap_max && !gap.contains(&Leaf::InFlight) && !gap.contains(&Leaf::Unknown) {
                last.leaves.end = index.saturating_add(1);
                last.payable = last.payable.saturating_add(1);
                continue;
            }
        }
        found.push(Stretch {
            leaves: index..index.saturating_add(1),
            payable: 1,
            fresh: wanted == Leaf::Fresh,
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(text: &str) -> Vec<Leaf> {
        text.chars()
            .map(|letter| match letter {
                'd' => Leaf::Done,
                'i' => Leaf::InFlight,
                'l' => Leaf::Late,
                's' => Leaf::Skipped,
                'u' => Leaf::Unknown,
                _ => Leaf::Fresh,
            })
            .collect()
    }

    fn check(text: &str, expected: &[(Range<usize>, usize, bool)]) {
        let found: Vec<_> = stretches(&leaves(text), 2)
            .into_iter()
            .map(|stretch| (stretch.leaves, stretch.payable, stretch.fresh))
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_fresh_message_is_one_stretch() {
        check("ffff", &[(0..4, 4, true)]);
        check("", &[]);
        check("ddl", &[]);
    }

    #[test]
    fn small_gaps_are_bridged_and_large_ones_are_not() {
        check("fddf", &[(0..4, 2, true)]);
        check("fdddf", &[(0..1, 1, true), (4..5, 1, true)]);
    }

    #[test]
    fn what_is_in_flight_is_never_sent_again() {
        check("fif", &[(0..1, 1, true), (2..3, 1, true)]);
        check("ii", &[]);
        check("fdif", &[(0..1, 1, true), (3..4, 1, true)]);
    }

    #[test]
    fn what_nobody_knows_the_terms_of_is_never_part_of_an_execution() {
        check("fuf", &[(0..1, 1, true), (2..3, 1, true)]);
        check("fduf", &[(0..1, 1, true), (3..4, 1, true)]);
        check("uu", &[]);
    }

    #[test]
    fn what_was_left_before_goes_apart_unless_it_lies_between_fresh_ones() {
        check("ffss", &[(0..2, 2, true), (2..4, 2, false)]);
        check("fsf", &[(0..3, 2, true)]);
        check("sds", &[(0..1, 1, false), (2..3, 1, false)]);
    }

    #[test]
    fn a_leaf_stands_by_what_is_known_in_order_of_strength() {
        let base = Facts {
            deadline: 100,
            ..Facts::default()
        };
        let check = |facts: Facts, head: u64, expected: Leaf| assert_eq!(Leaf::of(facts, head), expected, "{facts:?}");
        check(base, 100, Leaf::Fresh);
        check(base, 101, Leaf::Late);
        check(Facts { skipped: true, ..base }, 1, Leaf::Skipped);
        check(
            Facts {
                in_flight: true,
                skipped: true,
                ..base
            },
            101,
            Leaf::InFlight,
        );
        check(
            Facts {
                paid_seen: true,
                in_flight: true,
                ..base
            },
            1,
            Leaf::Done,
        );
        check(Facts { resolved: true, ..base }, 101, Leaf::Done);
    }
}
