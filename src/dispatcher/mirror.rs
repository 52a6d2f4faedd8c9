//! How a dispatch follows its transaction. Pure.

use crate::settlement::states::{DispatchSource, DispatchSourceEvent, TxState};

/// Events that bring a dispatch to where its transaction is, in order; empty when it is there.
pub fn follow(dispatch: DispatchSource, tx: TxState, succeeded: Option<bool>) -> Vec<DispatchSourceEvent> {
    use DispatchSource as D;
    use DispatchSourceEvent as E;
    let mined = match tx {
        TxState::Included | TxState::Finalized => succeeded,
        _ => None,
    };
    let lost = matches!(tx, TxState::Replaced | TxState::Cancelled) || mined == Some(false);
    let is_final = tx == TxState::Finalized;
    match dispatch {
        D::Planned | D::Dropped => vec![],
        D::Finalized if lost => vec![E::Unwind, E::Revert],
        _ if lost => vec![E::Revert],
        D::Prepared | D::Submitted => match mined {
            Some(_) if is_final => vec![E::Include, E::Finalize],
            Some(_) => vec![E::Include],
            None if dispatch == D::Prepared && tx == TxState::Submitted => vec![E::Submit],
            None => vec![],
        },
        D::Included => match mined {
            Some(_) if is_final => vec![E::Finalize],
            Some(_) => vec![],
            None => vec![E::Unwind],
        },
        D::Finalized => match mined {
            Some(_) if is_final => vec![],
            Some(_) => vec![E::Unwind, E::Include],
            None => vec![E::Unwind],
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::settlement::transitions::Machine;
    use DispatchSource as D;
    use DispatchSourceEvent as E;
    use TxState as T;

    fn check(dispatch: D, tx: T, succeeded: Option<bool>, expected: &[E]) {
        assert_eq!(
            follow(dispatch, tx, succeeded),
            expected,
            "{dispatch} {tx} {succeeded:?}"
        );
    }

    #[test]
    fn forward_in_order_however_much_was_missed() {
        check(D::Prepared, T::Prepared, None, &[]);
        check(D::Prepared, T::Submitted, None, &[E::Submit]);
        check(D::Prepared, T::Included, Some(true), &[E::Include]);
        check(D::Submitted, T::Finalized, Some(true), &[E::Include, E::Finalize]);
        check(D::Included, T::Included, Some(true), &[]);
        check(D::Included, T::Finalized, Some(true), &[E::Finalize]);
        check(D::Finalized, T::Finalized, Some(true), &[]);
    }

    #[test]
    fn a_revert_or_a_lost_nonce_plans_anew() {
        check(D::Prepared, T::Cancelled, None, &[E::Revert]);
        check(D::Submitted, T::Replaced, None, &[E::Revert]);
        check(D::Submitted, T::Included, Some(false), &[E::Revert]);
        check(D::Included, T::Finalized, Some(false), &[E::Revert]);
        check(D::Finalized, T::Included, Some(false), &[E::Unwind, E::Revert]);
    }

    #[test]
    fn a_reorg_unwinds_from_every_state() {
        check(D::Included, T::Submitted, None, &[E::Unwind]);
        check(D::Finalized, T::Submitted, None, &[E::Unwind]);
        check(D::Finalized, T::Included, Some(true), &[E::Unwind, E::Include]);
        check(D::Submitted, T::Submitted, None, &[]);
    }

    #[test]
    fn every_answer_is_a_walk_of_the_table() {
        for dispatch in D::ALL {
            for tx in T::ALL {
                for succeeded in [None, Some(true), Some(false)] {
                    let events = follow(*dispatch, *tx, succeeded);
                    let walked = events.iter().try_fold(*dispatch, |state, event| state.apply(*event));
                    assert!(walked.is_ok(), "{dispatch} {tx} {succeeded:?}: {events:?}");
                }
            }
        }
    }
}
