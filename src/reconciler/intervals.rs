//! Which stretch of blocks is compared next, and how a stretch that was read changes what is known. Pure.
//!
//! Stretches never overlap. What failed stays a gap until it is filled; it is tried again later in smaller and smaller pieces, since what
//! an endpoint cannot answer for a thousand blocks it may answer for ten. A gap holds nothing up: what comes after it is compared meanwhile.

use crate::store::{Interval, Standing};

/// Blocks to read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    pub first: u64,
    pub last: u64,
    /// It failed before.
    pub again: bool,
}

/// Most halvings of a gap's pieces.
const HALVINGS_MAX: u32 = 16;

/// What to read next between `start` and `finalized`, at most `range_max` blocks: a gap that is due, oldest first, else what nobody has read.
pub fn next(known: &[Interval], start: u64, finalized: u64, range_max: u64, now_ms: i64) -> Option<Stretch> {
    let range_max = range_max.max(1);
    let due = known.iter().find_map(|interval| match interval.standing {
        Standing::Gap { attempts, next_at, .. } if next_at <= now_ms && interval.first <= finalized => {
            let size = (range_max >> attempts.min(HALVINGS_MAX)).max(1);
            Some(piece(interval.first, interval.last.min(finalized), size, true))
        }
        _ => None,
    });
    if due.is_some() {
        return due;
    }
    let first = unread(known, start);
    if first > finalized {
        return None;
    }
    let end = known
        .iter()
        .map(|interval| interval.first)
        .filter(|next| *next > first)
        .min()
        .map_or(finalized, |next| finalized.min(next.saturating_sub(1)));
    Some(piece(first, end, range_max, false))
}

fn piece(first: u64, last: u64, size: u64, again: bool) -> Stretch {
    let end = first.saturating_add(size.saturating_sub(1)).min(last);
    Stretch {
        first,
        last: end,
        again,
    }
}

/// The first block from `start` on that no interval covers.
fn unread(known: &[Interval], start: u64) -> u64 {
    let mut first = start;
    for interval in known {
        if interval.first <= first && interval.last >= first {
            first = interval.last.saturating_add(1);
        }
    }
    first
}

/// The first block from `start` on that has not been compared, and the time of the last one before it that was.
pub fn frontier(known: &[Interval], start: u64) -> (u64, Option<u64>) {
    let (mut first, mut before) = (start, None);
    for interval in known.iter().filter(|interval| !interval.is_gap()) {
        if interval.first <= first && interval.last >= first {
            first = interval.last.saturating_add(1);
            before = Some(interval.last_timestamp);
        }
    }
    (first, before)
}

/// `known` with `new` in the place of whatever it covers: a gap that is filled in part keeps the rest, checked neighbours become one.
pub fn put(known: &[Interval], new: Interval) -> Vec<Interval> {
    let mut all: Vec<Interval> = Vec::with_capacity(known.len().saturating_add(2));
    for old in known {
        if old.last < new.first || old.first > new.last {
            all.push(old.clone());
            continue;
        }
        if old.first < new.first {
            all.push(left_of(old, new.first));
        }
        if old.last > new.last {
            all.push(Interval {
                first: new.last.saturating_add(1),
                ..old.clone()
            });
        }
    }
    all.push(new);
    all.sort_by_key(|interval| interval.first);
    merged(all)
}

/// What stays of an interval below `first`. Of a checked one that loses its end it is not known any more what the contracts had counted there.
fn left_of(old: &Interval, first: u64) -> Interval {
    let standing = match &old.standing {
        gap @ Standing::Gap { .. } => gap.clone(),
        Standing::Checked { .. } => Standing::Checked {
            last_hash: None,
            counters: None,
        },
    };
    Interval {
        last: first.saturating_sub(1),
        standing,
        ..old.clone()
    }
}

fn merged(all: Vec<Interval>) -> Vec<Interval> {
    let mut out: Vec<Interval> = Vec::with_capacity(all.len());
    for interval in all {
        match out.last_mut() {
            Some(before)
                if !before.is_gap() && !interval.is_gap() && before.last.saturating_add(1) == interval.first =>
            {
                before.last = interval.last;
                before.last_timestamp = interval.last_timestamp;
                before.logs = before.logs.saturating_add(interval.logs);
                before.standing = interval.standing;
            }
            _ => out.push(interval),
        }
    }
    out
}

/// The blocks of `known` above `number` left the chain: what was known of them is forgotten.
pub fn cut(known: &[Interval], number: u64) -> Vec<Interval> {
    let mut kept = Vec::with_capacity(known.len());
    for old in known {
        if old.last <= number {
            kept.push(old.clone());
        } else if old.first <= number {
            kept.push(left_of(old, number.saturating_add(1)));
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use alloy::primitives::B256;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn interval(first: u64, last: u64, gap: bool) -> Interval {
        let standing = if gap {
            Standing::Gap {
                reason: "no answer".into(),
                attempts: 1,
                next_at: 0,
            }
        } else {
            Standing::Checked {
                last_hash: Some(B256::with_last_byte(last as u8)),
                counters: None,
            }
        };
        Interval {
            first,
            last,
            last_timestamp: last * 10,
            logs: last - first + 1,
            since: 0,
            standing,
        }
    }

    /// Per block: whether it is checked.
    fn blocks(known: &[Interval]) -> BTreeMap<u64, bool> {
        let mut blocks = BTreeMap::new();
        for one in known {
            for number in one.first..=one.last {
                assert_eq!(
                    blocks.insert(number, !one.is_gap()),
                    None,
                    "block {number} twice in {known:?}"
                );
            }
        }
        blocks
    }

    #[test]
    fn a_failed_stretch_holds_up_nothing_and_is_filled_in_smaller_pieces() {
        let known = put(&put(&[], interval(0, 9, false)), interval(10, 19, true));
        let fresh = |now| next(&known, 0, 40, 10, now);
        assert_eq!(
            fresh(-1),
            Some(Stretch {
                first: 20,
                last: 29,
                again: false
            })
        );
        assert_eq!(
            fresh(0),
            Some(Stretch {
                first: 10,
                last: 14,
                again: true
            })
        );
        assert_eq!(frontier(&known, 0), (10, Some(90)));
        let half = put(&known, interval(10, 14, false));
        assert_eq!(half.len(), 2);
        assert_eq!((half[0].first, half[0].last, half[1].first), (0, 14, 15));
        let whole = put(&half, interval(15, 19, false));
        assert_eq!(whole.len(), 1);
        assert_eq!(frontier(&whole, 0), (20, Some(190)));
    }

    #[test]
    fn blocks_that_left_the_chain_are_read_again() {
        let known = [interval(0, 9, false), interval(10, 29, true)];
        let kept = cut(&known, 5);
        assert_eq!(kept.len(), 1);
        assert!(!kept[0].is_gap() && kept[0].last == 5);
        assert_eq!(next(&kept, 0, 9, 100, 0).map(|stretch| stretch.first), Some(6));
        assert_eq!(cut(&known, 29), known);
    }

    proptest! {
        /// Whatever succeeds and fails in whatever order: no block is in two stretches, the last reading of a block is what counts, nothing
        /// is forgotten, and in the end every block has been read.
        #[test]
        fn every_block_is_read_in_the_end_and_none_is_lost(
            outcomes in prop::collection::vec(any::<bool>(), 1..60), range in 1..9u64, start in 0..5u64,
        ) {
            let finalized = 40;
            let mut known: Vec<Interval> = Vec::new();
            let mut truth: BTreeMap<u64, bool> = BTreeMap::new();
            for checked in outcomes {
                let Some(stretch) = next(&known, start, finalized, range, 0) else { break };
                prop_assert!(stretch.first >= start && stretch.last <= finalized && stretch.first <= stretch.last);
                prop_assert!(stretch.last - stretch.first < range);
                known = put(&known, interval(stretch.first, stretch.last, !checked));
                for number in stretch.first..=stretch.last {
                    // What was checked is not asked for again.
                    prop_assert!(truth.get(&number) != Some(&true));
                    truth.insert(number, checked);
                }
                prop_assert_eq!(&blocks(&known), &truth);
            }
            let mut rounds = 0;
            while let Some(stretch) = next(&known, start, finalized, range, 0) {
                known = put(&known, interval(stretch.first, stretch.last, false));
                rounds += 1;
                prop_assert!(rounds < 1_000);
            }
            prop_assert_eq!(known.len(), 1);
            prop_assert_eq!((known[0].first, known[0].last), (start, finalized));
        }
    }
}
