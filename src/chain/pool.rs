//! The endpoints of a chain and how their answers become one: agreement of q, the first good one, or all of them.

use super::endpoint::{CallError, Endpoint};
use futures::future::{BoxFuture, join_all};
use relayer_adapter_api::{BlockRef, ChainId, ViewError};
use std::sync::Arc;

/// The endpoints of one chain.
#[derive(Debug, Clone)]
pub struct Pool {
    pub chain: ChainId,
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Equal answers that make a verdict.
    pub quorum: usize,
}

/// An answer of an endpoint that is about the question; failures are not.
type Vote<T> = Result<T, CallError>;

/// Counts votes; the first answer with `quorum` equal votes wins. Failures never vote.
fn tally<T: PartialEq>(votes: &[Vote<T>], quorum: usize) -> Option<usize> {
    (0..votes.len()).find(|&i| {
        !matches!(votes[i], Err(CallError::Failed(_)))
            && votes.iter().filter(|vote| **vote == votes[i]).count() >= quorum
    })
}

/// The q-th highest of what was reported: with fewer than q lying, at least one honest endpoint has it.
pub(super) fn quorum_height(mut heights: Vec<u64>, quorum: usize) -> Option<u64> {
    heights.sort_unstable_by(|a, b| b.cmp(a));
    heights.get(quorum.checked_sub(1)?).copied()
}

impl Pool {
    fn in_order(&self) -> Vec<Arc<Endpoint>> {
        let (mut healthy, rest): (Vec<_>, Vec<_>) = self.endpoints.iter().cloned().partition(|e| e.is_healthy());
        healthy.extend(rest);
        healthy
    }

    fn unavailable(&self, what: &str, reasons: Vec<String>) -> ViewError {
        ViewError::Unavailable {
            chain: self.chain.0,
            reason: format!("{what}: {}", reasons.join("; ")),
        }
    }

    pub(super) fn view_error(&self, what: &str, error: CallError, block: Option<&BlockRef>) -> ViewError {
        match error {
            CallError::Failed(reason) => self.unavailable(what, vec![reason]),
            CallError::Reverted(data) => ViewError::Reverted { data },
            CallError::UnknownBlock => ViewError::UnknownBlock {
                chain: self.chain.0,
                block: block.map_or("?".into(), |block| format!("{} ({})", block.number, block.hash)),
            },
        }
    }

    /// Asks `quorum` endpoints, then the rest, until q answers are equal. For everything a verdict may rest on.
    pub async fn agree<T, F>(&self, what: &str, block: Option<&BlockRef>, ask: F) -> Result<T, ViewError>
    where
        T: PartialEq + Send,
        F: Fn(Arc<Endpoint>) -> BoxFuture<'static, Result<T, CallError>> + Send + Sync,
    {
        let order = self.in_order();
        let mut votes: Vec<Vote<T>> = Vec::with_capacity(order.len());
        let (first, rest) = order.split_at(self.quorum.min(order.len()));
        for wave in [first, rest] {
            votes.extend(join_all(wave.iter().cloned().map(&ask)).await);
            if let Some(winner) = tally(&votes, self.quorum) {
                return votes
                    .swap_remove(winner)
                    .map_err(|error| self.view_error(what, error, block));
            }
        }
        let answers = votes
            .iter()
            .filter(|vote| !matches!(vote, Err(CallError::Failed(_))))
            .count();
        let mut reasons = vec![format!(
            "{answers} of {} answered, no {} agree",
            votes.len(),
            self.quorum
        )];
        reasons.extend(votes.into_iter().filter_map(|vote| match vote {
            Err(CallError::Failed(reason)) => Some(reason),
            _ => None,
        }));
        Err(self.unavailable(what, reasons))
    }

    /// The first good answer. For what only costs money within caps, or time: estimates, prices, code.
    pub async fn any<T, F>(&self, what: &str, ask: F) -> Result<T, ViewError>
    where
        T: Send,
        F: Fn(Arc<Endpoint>) -> BoxFuture<'static, Result<T, CallError>> + Send + Sync,
    {
        let mut reasons = Vec::new();
        for endpoint in self.in_order() {
            match ask(endpoint).await {
                Ok(value) => return Ok(value),
                Err(CallError::Failed(reason)) => reasons.push(reason),
                Err(CallError::UnknownBlock) => reasons.push("unknown block".into()),
                Err(error) => return Err(self.view_error(what, error, None)),
            }
        }
        Err(self.unavailable(what, reasons))
    }

    /// Every endpoint's answer, and the reasons of those that gave none.
    pub async fn all<T, F>(&self, ask: F) -> (Vec<T>, Vec<String>)
    where
        T: Send,
        F: Fn(Arc<Endpoint>) -> BoxFuture<'static, Result<T, CallError>> + Send + Sync,
    {
        let mut values = Vec::new();
        let mut reasons = Vec::new();
        for answer in join_all(self.endpoints.iter().cloned().map(&ask)).await {
            match answer {
                Ok(value) => values.push(value),
                Err(CallError::Failed(reason)) => reasons.push(reason),
                Err(other) => reasons.push(format!("{other:?}")),
            }
        }
        (values, reasons)
    }

    /// [`Pool::all`], failing when nobody answered.
    pub async fn all_or_error<T, F>(&self, what: &str, ask: F) -> Result<Vec<T>, ViewError>
    where
        T: Send,
        F: Fn(Arc<Endpoint>) -> BoxFuture<'static, Result<T, CallError>> + Send + Sync,
    {
        let (values, reasons) = self.all(ask).await;
        if values.is_empty() {
            return Err(self.unavailable(what, reasons));
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Vote<u8> {
        Err(CallError::Failed("x".into()))
    }

    #[test]
    fn a_verdict_needs_q_equal_votes_and_failures_do_not_vote() {
        for (votes, quorum, winner) in [
            (vec![Ok(1), Ok(1)], 2, Some(0)),
            (vec![Ok(1), Ok(2)], 2, None),
            (vec![Ok(1), Ok(2), Ok(2)], 2, Some(1)),
            (vec![failed(), failed(), failed()], 2, None),
            (vec![failed(), Ok(3)], 1, Some(1)),
            (
                vec![Err(CallError::UnknownBlock), Err(CallError::UnknownBlock), Ok(1)],
                2,
                Some(0),
            ),
            (
                vec![
                    Err(CallError::Reverted(vec![1])),
                    Err(CallError::Reverted(vec![2])),
                    Ok(1),
                ],
                2,
                None,
            ),
        ] {
            assert_eq!(tally(&votes, quorum), winner, "{votes:?} at {quorum}");
        }
    }

    #[test]
    fn one_liar_cannot_raise_the_head() {
        assert_eq!(quorum_height(vec![10, 1_000_000, 9], 2), Some(10));
        assert_eq!(quorum_height(vec![10, 0, 9], 2), Some(9));
        assert_eq!(quorum_height(vec![10], 2), None);
        assert_eq!(quorum_height(vec![10], 1), Some(10));
    }
}
