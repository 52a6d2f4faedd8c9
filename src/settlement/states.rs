//! States and events of every aggregate. What may follow what is in [`super::transitions`].

use crate::names::names;

names! {
    /// Where a settlement stands.
    SettlementState, "settlement state" {
        /// Verified, reserved and durable; waits for a batch.
        Accepted = "accepted",
        /// In a sealed message.
        Batched = "batched",
        /// The message is on its way over at least one bridge.
        Dispatched = "dispatched",
        /// The target inbox has the message at the quorum its amount needs.
        Delivered = "delivered",
        /// Paid or credited, proven at a finalized target block.
        Settled = "settled",
        /// Deadline passed at a finalized block with the nonce unused there.
        Expired = "expired",
        /// The payer burned the nonce, finalized.
        Burned = "burned",
        /// Another settlement was paid on this nonce, finalized.
        Superseded = "superseded",
        /// Ended unpaid after its coordinator had asked to cancel.
        Cancelled = "cancelled",
        /// Evidence contradicts itself; an operator decides.
        Disputed = "disputed",
    }
}

impl SettlementState {
    /// Whether nothing but a broken finality can move it again.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Settled | Self::Expired | Self::Burned | Self::Superseded | Self::Cancelled
        )
    }

    /// Terminal without payment: the reservation is released and its receipts are free again.
    pub fn ended_unpaid(self) -> bool {
        matches!(self, Self::Expired | Self::Burned | Self::Superseded | Self::Cancelled)
    }
}

names! {
    /// What happens to a settlement.
    SettlementEvent, "settlement event" {
        Seal = "seal",
        Dispatch = "dispatch",
        Deliver = "deliver",
        /// Finalized `SettlementPaid` of this id.
        Pay = "pay",
        /// Finalized proof of expiry.
        Expire = "expire",
        Burn = "burn",
        Supersede = "supersede",
        /// Ended unpaid while a cancel was asked for.
        Cancel = "cancel",
        /// Its message was abandoned or stalled on every lane.
        Requeue = "requeue",
        /// A reorg took the message off the target.
        Undeliver = "undeliver",
        /// A reorg took the dispatch off the source.
        Undispatch = "undispatch",
        /// Finality of the paying block broke.
        Unpay = "unpay",
        Dispute = "dispute",
        /// An operator gave a disputed one up: it was not paid.
        Dismiss = "dismiss",
    }
}

names! {
    /// Where a message stands.
    MessageState, "message state" {
        Sealed = "sealed",
        /// The target inbox has it at its tier's quorum, at the latest block.
        Received = "received",
        /// Every leaf is resolved.
        Executed = "executed",
        /// Given up; its settlements were batched again.
        Abandoned = "abandoned",
    }
}

names! {
    MessageEvent, "message event" {
        Receive = "receive",
        Unreceive = "unreceive",
        Execute = "execute",
        /// A resolved leaf came back to life by a reorg.
        Reopen = "reopen",
        Abandon = "abandon",
    }
}

names! {
    /// Source side of a dispatch.
    DispatchSource, "dispatch source state" {
        Planned = "planned",
        /// Nonce, intent and signed bytes are stored.
        Prepared = "prepared",
        Submitted = "submitted",
        Included = "included",
        Finalized = "finalized",
        /// Given up before it was sent or after it reverted for good.
        Dropped = "dropped",
    }
}

names! {
    DispatchSourceEvent, "dispatch source event" {
        Prepare = "prepare",
        Submit = "submit",
        Include = "include",
        /// Reverted on chain: quote again.
        Revert = "revert",
        Finalize = "finalize",
        /// A reorg took it out of its block.
        Unwind = "unwind",
        Drop = "drop",
    }
}

names! {
    /// Target side of a dispatch.
    DispatchTarget, "dispatch target state" {
        Pending = "pending",
        Attested = "attested",
        Received = "received",
    }
}

names! {
    DispatchTargetEvent, "dispatch target event" {
        Attest = "attest",
        Receive = "receive",
        Unwind = "unwind",
    }
}

names! {
    /// Where an execution stands.
    ExecutionState, "execution state" {
        Planned = "planned",
        Prepared = "prepared",
        Submitted = "submitted",
        Included = "included",
        Finalized = "finalized",
        /// Reverted on chain, or nothing left to pay; what is unpaid is planned anew.
        Reverted = "reverted",
    }
}

names! {
    ExecutionEvent, "execution event" {
        Prepare = "prepare",
        Submit = "submit",
        Include = "include",
        Finalize = "finalize",
        Revert = "revert",
        Unwind = "unwind",
    }
}

names! {
    /// Where a transaction (one account nonce) stands.
    TxState, "transaction state" {
        /// Signed bytes stored; possibly sent, see `first_sent_at`.
        Prepared = "prepared",
        Submitted = "submitted",
        /// One attempt is in a block; `succeeded` tells how it went.
        Included = "included",
        Finalized = "finalized",
        /// Another hash of this nonce, not ours to count, is final.
        Replaced = "replaced",
        /// Never sent; the nonce was given back.
        Cancelled = "cancelled",
    }
}

names! {
    TxEvent, "transaction event" {
        Submit = "submit",
        Include = "include",
        Finalize = "finalize",
        Unwind = "unwind",
        Replace = "replace",
        Cancel = "cancel",
    }
}
