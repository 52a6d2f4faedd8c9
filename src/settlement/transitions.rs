//! The transition tables: total, pure, and the only source of what may follow what. ARCHITECTURE.md's diagrams are generated from them.

use super::states::*;
use std::fmt;

/// A move the table does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{aggregate} in state {from} cannot {event}")]
pub struct IllegalTransition {
    pub aggregate: &'static str,
    pub from: String,
    pub event: String,
}

/// One state machine: its name, its rows, its initial state.
pub trait Machine: Copy + Eq + fmt::Display + 'static {
    type Event: Copy + Eq + fmt::Display + 'static;
    const NAME: &'static str;
    const INITIAL: Self;
    const TABLE: &'static [(Self, Self::Event, Self)];

    /// The state after `event`, or why there is none.
    fn apply(self, event: Self::Event) -> Result<Self, IllegalTransition> {
        Self::TABLE
            .iter()
            .find(|(from, on, _)| *from == self && *on == event)
            .map(|(_, _, to)| *to)
            .ok_or_else(|| IllegalTransition {
                aggregate: Self::NAME,
                from: self.to_string(),
                event: event.to_string(),
            })
    }

    /// States from which `event` is possible: the `WHERE state IN` of a compare-and-set.
    fn sources(event: Self::Event) -> Vec<Self> {
        Self::TABLE
            .iter()
            .filter(|(_, on, _)| *on == event)
            .map(|(from, _, _)| *from)
            .collect()
    }
}

impl Machine for SettlementState {
    type Event = SettlementEvent;
    const NAME: &'static str = "settlement";
    const INITIAL: Self = Self::Accepted;
    const TABLE: &'static [(Self, SettlementEvent, Self)] = {
        use SettlementEvent as E;
        use SettlementState as S;
        &[
            (S::Accepted, E::Seal, S::Batched),
            (S::Batched, E::Dispatch, S::Dispatched),
            (S::Batched, E::Deliver, S::Delivered),
            (S::Dispatched, E::Deliver, S::Delivered),
            (S::Batched, E::Requeue, S::Accepted),
            (S::Dispatched, E::Requeue, S::Accepted),
            (S::Delivered, E::Requeue, S::Accepted),
            (S::Delivered, E::Undeliver, S::Dispatched),
            (S::Dispatched, E::Undispatch, S::Batched),
            (S::Settled, E::Unpay, S::Delivered),
            (S::Accepted, E::Pay, S::Settled),
            (S::Batched, E::Pay, S::Settled),
            (S::Dispatched, E::Pay, S::Settled),
            (S::Delivered, E::Pay, S::Settled),
            (S::Disputed, E::Pay, S::Settled),
            (S::Disputed, E::Dismiss, S::Cancelled),
            (S::Accepted, E::Expire, S::Expired),
            (S::Batched, E::Expire, S::Expired),
            (S::Dispatched, E::Expire, S::Expired),
            (S::Delivered, E::Expire, S::Expired),
            (S::Accepted, E::Burn, S::Burned),
            (S::Batched, E::Burn, S::Burned),
            (S::Dispatched, E::Burn, S::Burned),
            (S::Delivered, E::Burn, S::Burned),
            (S::Accepted, E::Supersede, S::Superseded),
            (S::Batched, E::Supersede, S::Superseded),
            (S::Dispatched, E::Supersede, S::Superseded),
            (S::Delivered, E::Supersede, S::Superseded),
            (S::Accepted, E::Cancel, S::Cancelled),
            (S::Batched, E::Cancel, S::Cancelled),
            (S::Dispatched, E::Cancel, S::Cancelled),
            (S::Delivered, E::Cancel, S::Cancelled),
            (S::Accepted, E::Dispute, S::Disputed),
            (S::Batched, E::Dispute, S::Disputed),
            (S::Dispatched, E::Dispute, S::Disputed),
            (S::Delivered, E::Dispute, S::Disputed),
            (S::Expired, E::Dispute, S::Disputed),
            (S::Burned, E::Dispute, S::Disputed),
            (S::Superseded, E::Dispute, S::Disputed),
            (S::Cancelled, E::Dispute, S::Disputed),
        ]
    };
}

impl Machine for MessageState {
    type Event = MessageEvent;
    const NAME: &'static str = "message";
    const INITIAL: Self = Self::Sealed;
    const TABLE: &'static [(Self, MessageEvent, Self)] = {
        use MessageEvent as E;
        use MessageState as S;
        &[
            (S::Sealed, E::Receive, S::Received),
            (S::Received, E::Unreceive, S::Sealed),
            (S::Received, E::Execute, S::Executed),
            (S::Sealed, E::Execute, S::Executed),
            (S::Executed, E::Reopen, S::Received),
            (S::Sealed, E::Abandon, S::Abandoned),
            (S::Received, E::Abandon, S::Abandoned),
        ]
    };
}

impl Machine for DispatchSource {
    type Event = DispatchSourceEvent;
    const NAME: &'static str = "dispatch (source)";
    const INITIAL: Self = Self::Planned;
    const TABLE: &'static [(Self, DispatchSourceEvent, Self)] = {
        use DispatchSource as S;
        use DispatchSourceEvent as E;
        &[
            (S::Planned, E::Prepare, S::Prepared),
            (S::Planned, E::Drop, S::Dropped),
            (S::Prepared, E::Submit, S::Submitted),
            (S::Prepared, E::Include, S::Included),
            (S::Submitted, E::Include, S::Included),
            (S::Prepared, E::Revert, S::Planned),
            (S::Submitted, E::Revert, S::Planned),
            (S::Included, E::Revert, S::Planned),
            (S::Included, E::Finalize, S::Finalized),
            (S::Included, E::Unwind, S::Submitted),
            (S::Finalized, E::Unwind, S::Submitted),
        ]
    };
}

impl Machine for DispatchTarget {
    type Event = DispatchTargetEvent;
    const NAME: &'static str = "dispatch (target)";
    const INITIAL: Self = Self::Pending;
    const TABLE: &'static [(Self, DispatchTargetEvent, Self)] = {
        use DispatchTarget as S;
        use DispatchTargetEvent as E;
        &[
            (S::Pending, E::Attest, S::Attested),
            (S::Pending, E::Receive, S::Received),
            (S::Attested, E::Receive, S::Received),
            (S::Attested, E::Unwind, S::Pending),
            (S::Received, E::Unwind, S::Pending),
        ]
    };
}

impl Machine for ExecutionState {
    type Event = ExecutionEvent;
    const NAME: &'static str = "execution";
    const INITIAL: Self = Self::Planned;
    const TABLE: &'static [(Self, ExecutionEvent, Self)] = {
        use ExecutionEvent as E;
        use ExecutionState as S;
        &[
            (S::Planned, E::Prepare, S::Prepared),
            (S::Planned, E::Revert, S::Reverted),
            (S::Prepared, E::Submit, S::Submitted),
            (S::Prepared, E::Include, S::Included),
            (S::Submitted, E::Include, S::Included),
            (S::Prepared, E::Revert, S::Reverted),
            (S::Submitted, E::Revert, S::Reverted),
            (S::Included, E::Revert, S::Reverted),
            (S::Included, E::Finalize, S::Finalized),
            (S::Included, E::Unwind, S::Submitted),
            (S::Finalized, E::Unwind, S::Submitted),
        ]
    };
}

impl Machine for TxState {
    type Event = TxEvent;
    const NAME: &'static str = "transaction";
    const INITIAL: Self = Self::Prepared;
    const TABLE: &'static [(Self, TxEvent, Self)] = {
        use TxEvent as E;
        use TxState as S;
        &[
            (S::Prepared, E::Submit, S::Submitted),
            (S::Prepared, E::Include, S::Included),
            (S::Submitted, E::Include, S::Included),
            (S::Included, E::Finalize, S::Finalized),
            (S::Included, E::Unwind, S::Submitted),
            (S::Finalized, E::Unwind, S::Submitted),
            (S::Submitted, E::Replace, S::Replaced),
            (S::Prepared, E::Cancel, S::Cancelled),
        ]
    };
}
