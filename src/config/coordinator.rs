//! One API client: its token, the receipt keys pinned for it, the payers it may use.

use super::Secret;
use crate::settlement::receipt::AmountRule;
use alloy::primitives::Address;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CoordinatorConfig {
    /// Bearer token. Without one the coordinator is open to whoever reaches the listener: loopback only.
    pub token: Option<Secret>,
    /// Ed25519 public keys that may sign or attest its receipts, hex or base64url.
    pub receipt_keys: Vec<String>,
    /// Payers it may use; empty = any.
    pub payers: Vec<Address>,
    pub amount_rule: AmountRule,
    pub allow_contract_payers: bool,
    /// Receives the fees of its settlements on the target chain; required when terms carry a fee.
    pub fee_recipient: Option<Address>,
}

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self {
            token: None,
            receipt_keys: Vec::new(),
            payers: Vec::new(),
            amount_rule: AmountRule::Equal,
            allow_contract_payers: false,
            fee_recipient: None,
        }
    }
}
