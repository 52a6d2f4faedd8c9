//! What an adapter or a stage wants sent: an intent, not yet a transaction. Only `chain` signs, prices and broadcasts.

use crate::ids::ChainId;
use alloy::primitives::{Address, Bytes, U256};

/// How the gas limit of a call is found. Estimates lie on some protocols, so the knowledge travels with the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GasRule {
    /// Estimate, then `estimate * percent / 100 + extra`.
    Estimate { percent: u16, extra: u64 },
    /// Exactly this much, whatever the estimate says.
    Fixed(u64),
    /// The larger of the estimate and this floor.
    AtLeast(u64),
}

/// One call to be made on a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub chain: ChainId,
    pub to: Address,
    pub data: Bytes,
    /// Wei sent along.
    pub value: U256,
    pub gas: GasRule,
}
