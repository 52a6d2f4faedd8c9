//! Which nonce comes next, and which are missing. Pure.

/// What is known about a signer's nonces when a new one is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Transactions the chain counts at the head.
    pub chain_count: u64,
    /// First nonce that is this database's business.
    pub base: u64,
    /// Highest nonce stored.
    pub last: Option<u64>,
}

/// Where the next nonce may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The lowest free nonce from here on.
    From(u64),
    /// The key has a history and the database none: its history ends here, and ours begins.
    Adopt(u64),
    /// The chain knows more transactions than the database: it is an old copy, or the key is used elsewhere.
    Ahead { known: u64 },
}

/// Decides where to look for the next nonce.
pub fn start(known: Known) -> Start {
    let next = known.last.map_or(0, |last| last.saturating_add(1)).max(known.base);
    if known.chain_count <= next {
        return Start::From(known.chain_count.max(known.base));
    }
    if known.last.is_none() && known.base == 0 {
        return Start::Adopt(known.chain_count);
    }
    Start::Ahead { known: next }
}

/// Nonces between the chain's count and the last one waiting that no row holds: they jam everything behind them. `taken` is ascending.
pub fn gaps(chain_count: u64, taken: &[u64], last_waiting: Option<u64>) -> Vec<u64> {
    let Some(last) = last_waiting else {
        return Vec::new();
    };
    (chain_count..last)
        .filter(|nonce| taken.binary_search(nonce).is_err())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(chain_count: u64, base: u64, last: Option<u64>, expected: Start) {
        let known = Known {
            chain_count,
            base,
            last,
        };
        assert_eq!(start(known), expected, "{known:?}");
    }

    #[test]
    fn a_fresh_key_starts_at_zero_and_a_used_one_where_it_stands() {
        check(0, 0, None, Start::From(0));
        check(7, 0, None, Start::Adopt(7));
        check(7, 7, None, Start::From(7));
    }

    #[test]
    fn counts_on_from_the_stored_nonces() {
        check(3, 0, Some(2), Start::From(3));
        check(3, 0, Some(9), Start::From(3));
        check(0, 5, Some(6), Start::From(5));
    }

    #[test]
    fn refuses_while_the_chain_is_ahead() {
        check(4, 0, Some(2), Start::Ahead { known: 3 });
        check(9, 7, None, Start::Ahead { known: 7 });
        check(9, 7, Some(7), Start::Ahead { known: 8 });
    }

    #[test]
    fn gaps_are_what_no_row_holds_below_the_last_waiting() {
        assert_eq!(gaps(2, &[2, 3, 5], Some(5)), vec![4]);
        assert_eq!(gaps(2, &[4], Some(4)), vec![2, 3]);
        assert_eq!(gaps(2, &[2], Some(2)), Vec::<u64>::new());
        assert_eq!(gaps(2, &[], None), Vec::<u64>::new());
    }
}
