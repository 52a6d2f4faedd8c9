//! What a simulated execution means for its range of leaves. Pure.

/// Answer of an `eth_call` of `execute` at the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Simulated {
    /// Settlements it would pay.
    Paid(usize),
    /// It would revert, or its bytes could not even be made.
    Reverted(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Send,
    /// Judge both halves on their own: something in it spoils it, or most of it cannot be paid.
    Split,
    /// Nothing of it can be paid now.
    Leave,
    /// This one leaf makes an execution revert.
    Poisoned(String),
}

/// `leaves` in the range, `payable` of which could be paid as far as we know.
pub fn judge(leaves: usize, payable: usize, simulated: Simulated) -> Verdict {
    match simulated {
        Simulated::Reverted(why) if leaves <= 1 => Verdict::Poisoned(why),
        Simulated::Reverted(_) => Verdict::Split,
        Simulated::Paid(0) => Verdict::Leave,
        // Half of what could be paid is worth the gas of skipping the rest; below that the halves are looked at.
        Simulated::Paid(paid) if leaves <= 1 || paid.saturating_mul(2) >= payable => Verdict::Send,
        Simulated::Paid(_) => Verdict::Split,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(leaves: usize, payable: usize, simulated: Simulated, expected: Verdict) {
        assert_eq!(
            judge(leaves, payable, simulated.clone()),
            expected,
            "{leaves} {payable} {simulated:?}"
        );
    }

    #[test]
    fn what_pays_is_sent() {
        check(8, 8, Simulated::Paid(8), Verdict::Send);
        check(8, 8, Simulated::Paid(4), Verdict::Send);
        check(8, 2, Simulated::Paid(2), Verdict::Send);
        check(1, 1, Simulated::Paid(1), Verdict::Send);
    }

    #[test]
    fn what_pays_nothing_is_left() {
        check(8, 8, Simulated::Paid(0), Verdict::Leave);
        check(1, 1, Simulated::Paid(0), Verdict::Leave);
    }

    #[test]
    fn what_pays_little_is_split() {
        check(8, 8, Simulated::Paid(3), Verdict::Split);
    }

    #[test]
    fn a_revert_is_split_down_to_the_leaf_that_causes_it() {
        check(8, 8, Simulated::Reverted("x".into()), Verdict::Split);
        check(1, 1, Simulated::Reverted("x".into()), Verdict::Poisoned("x".into()));
    }
}
