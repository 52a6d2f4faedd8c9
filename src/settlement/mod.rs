//! PURE: what a settlement is. Terms, receipts, signatures, states and transitions, the packed encoding.

pub mod states;
pub mod transitions;
