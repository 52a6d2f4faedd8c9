//! How an execution follows its transaction. Pure.

use crate::settlement::states::{ExecutionEvent, ExecutionState, TxState};

/// Events that bring an execution to where its transaction is, in order; empty when it is there.
pub fn follow(execution: ExecutionState, tx: TxState, succeeded: Option<bool>) -> Vec<ExecutionEvent> {
    use ExecutionEvent as E;
    use ExecutionState as X;
    let mined = match tx {
        TxState::Included | TxState::Finalized => succeeded,
        _ => None,
    };
    let lost = matches!(tx, TxState::Replaced | TxState::Cancelled) || mined == Some(false);
    let is_final = tx == TxState::Finalized;
    match execution {
        X::Planned | X::Reverted => vec![],
        X::Finalized if lost => vec![E::Unwind, E::Revert],
        _ if lost => vec![E::Revert],
        X::Prepared | X::Submitted => match mined {
            Some(_) if is_final => vec![E::Include, E::Finalize],
            Some(_) => vec![E::Include],
            None if execution == X::Prepared && tx == TxState::Submitted => vec![E::Submit],
            None => vec![],
        },
        X::Included => match mined {
            Some(_) if is_final => vec![E::Finalize],
            Some(_) => vec![],
            None => vec![E::Unwind],
        },
        X::Finalized => match mined {
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
    use ExecutionEvent as E;
    use ExecutionState as X;
    use TxState as T;

    fn check(execution: X, tx: T, succeeded: Option<bool>, expected: &[E]) {
        assert_eq!(
            follow(execution, tx, succeeded),
            expected,
            "{execution} {tx} {succeeded:?}"
        );
    }

    #[test]
    fn forward_in_order_however_much_was_missed() {
        check(X::Prepared, T::Prepared, None, &[]);
        check(X::Prepared, T::Submitted, None, &[E::Submit]);
        check(X::Submitted, T::Included, Some(true), &[E::Include]);
        check(X::Prepared, T::Finalized, Some(true), &[E::Include, E::Finalize]);
        check(X::Included, T::Finalized, Some(true), &[E::Finalize]);
    }

    #[test]
    fn a_revert_or_a_lost_nonce_ends_it() {
        check(X::Submitted, T::Included, Some(false), &[E::Revert]);
        check(X::Submitted, T::Replaced, None, &[E::Revert]);
        check(X::Prepared, T::Cancelled, None, &[E::Revert]);
    }

    #[test]
    fn a_reorg_unwinds_it() {
        check(X::Included, T::Submitted, None, &[E::Unwind]);
        check(X::Finalized, T::Submitted, None, &[E::Unwind]);
    }

    #[test]
    fn every_answer_is_a_walk_of_the_table() {
        for execution in X::ALL {
            for tx in T::ALL {
                for succeeded in [None, Some(true), Some(false)] {
                    let events = follow(*execution, *tx, succeeded);
                    let walked = events.iter().try_fold(*execution, |state, event| state.apply(*event));
                    assert!(walked.is_ok(), "{execution} {tx} {succeeded:?}: {events:?}");
                }
            }
        }
    }
}
