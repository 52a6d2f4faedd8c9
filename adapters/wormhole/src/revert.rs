//! Every revert a call of ours can meet, by name, and what it means for the caller.

use crate::abi::ICore;
use alloy::primitives::Bytes;
use alloy::sol_types::{SolError, SolInterface};
use relayer_adapter_api::abi::{ISettlementInbox, ISettlementOutbox, IWormholePort};
use relayer_adapter_api::revert::{bare, named};
use relayer_adapter_api::{AdapterError, Class, ViewError};
use std::time::Duration;

use IWormholePort::IWormholePortErrors as Port;

/// A fee that moved between quote and send is asked again at once.
const REQUOTE_AFTER: Duration = Duration::from_secs(1);
/// No data usually means out of gas somewhere inside: the next try estimates anew.
const NO_DATA_RETRY_AFTER: Duration = Duration::from_secs(5);
/// Signatures that do not suit the chain's guardian set are collected anew.
const RECOLLECT_AFTER: Duration = Duration::from_secs(15);

/// The protocol's (or our contracts') own words for revert data, and what they mean for the caller.
pub fn explain(data: &[u8]) -> (String, Class) {
    if data.is_empty() {
        let after = NO_DATA_RETRY_AFTER;
        return (
            "reverted without data (out of gas, or no contract there)".to_owned(),
            Class::Retry { after },
        );
    }
    if let Ok(error) = Port::abi_decode(data) {
        return (format!("port: {}", bare(&error)), class(&error));
    }
    if let Ok(error) = ISettlementOutbox::ISettlementOutboxErrors::abi_decode(data) {
        return (format!("outbox: {}", bare(&error)), Class::Reject);
    }
    if let Ok(error) = ISettlementInbox::ISettlementInboxErrors::abi_decode(data) {
        return (format!("inbox: {}", bare(&error)), Class::Reject);
    }
    if let Ok(error) = ICore::Error::abi_decode(data) {
        // The core's reasons are texts; the caller's behaviour hangs on none of them but the fee's.
        let class = match error.reason.as_str() {
            INVALID_FEE => Class::Retry { after: REQUOTE_AFTER },
            _ => Class::Reject,
        };
        return (format!("core: {}", error.reason), class);
    }
    (format!("unknown error {}", Bytes::copy_from_slice(data)), Class::Reject)
}

/// What the core says to a value that is not the fee: it is alive.
pub(crate) const INVALID_FEE: &str = "invalid fee";

fn class(error: &Port) -> Class {
    match error {
        Port::FeeTooLow(_) => Class::Retry { after: REQUOTE_AFTER },
        // Somebody else brought it in: the next look finds it received.
        Port::AlreadyDelivered(_) => Class::NotYet,
        // The guardian set changed between the look and the call, or the core refused: the signatures are collected anew.
        Port::NoQuorum(_) | Port::BadSignature(_) | Port::NotVerified(_) => Class::Retry { after: RECOLLECT_AFTER },
        Port::BadVaa(_) => Class::Bug,
        _ => Class::Reject,
    }
}

/// Names a revert; other trouble of the view passes as it is.
pub(crate) fn error(attempted: &'static str, source: ViewError) -> AdapterError {
    named(attempted, source, explain)
}

/// Whether the revert says that somebody else was faster.
pub(crate) fn is_done(source: &ViewError) -> bool {
    matches!(source, ViewError::Reverted { data } if IWormholePort::AlreadyDelivered::abi_decode(data).is_ok())
}
