//! Every custom error a call of ours can meet, by name, and what it means for the caller.
//!
//! Errors of LayerZero's libraries bubble up through our contracts and are in nobody's ABI, so they are decoded against one union.

use alloy::primitives::Bytes;
use alloy::sol;
use alloy::sol_types::SolInterface;
use relayer_adapter_api::abi::{ILayerZeroPort, ISettlementInbox, ISettlementOutbox};
use relayer_adapter_api::revert::{bare, named};
use relayer_adapter_api::{AdapterError, Class, ViewError};
use std::time::Duration;

sol! {
    #[derive(Debug, PartialEq, Eq)]
    interface ILayerZeroErrors {
        error LZ_AlreadyRegistered();
        error LZ_ComposeExists();
        error LZ_ComposeNotFound(bytes32 expected, bytes32 actual);
        error LZ_DefaultReceiveLibUnavailable();
        error LZ_DefaultSendLibUnavailable();
        error LZ_InsufficientFee(uint256 requiredNative, uint256 suppliedNative, uint256 requiredLzToken, uint256 suppliedLzToken);
        error LZ_InvalidExpiry();
        error LZ_InvalidNonce(uint64 nonce);
        error LZ_InvalidPayloadHash();
        error LZ_InvalidReceiveLibrary();
        error LZ_LzTokenUnavailable();
        error LZ_OnlyNonDefaultLib();
        error LZ_OnlyReceiveLib();
        error LZ_OnlyRegisteredLib();
        error LZ_OnlyRegisteredOrDefaultLib();
        error LZ_OnlySendLib();
        error LZ_PathNotInitializable();
        error LZ_PathNotVerifiable();
        error LZ_PayloadHashNotFound(bytes32 expected, bytes32 actual);
        error LZ_SameValue();
        error LZ_SendReentrancy();
        error LZ_Unauthorized();
        error LZ_UnsupportedEid();
        error LZ_UnsupportedInterface();
        error LZ_ZeroLzTokenFee();
        error LZ_MessageLib_CannotWithdrawAltToken();
        error LZ_MessageLib_InvalidAmount(uint256 requested, uint256 available);
        error LZ_MessageLib_InvalidExecutor();
        error LZ_MessageLib_InvalidMessageSize(uint256 actual, uint256 max);
        error LZ_MessageLib_NotTreasury();
        error LZ_MessageLib_OnlyEndpoint();
        error LZ_MessageLib_TransferFailed();
        error LZ_MessageLib_ZeroMessageSize();
        error LZ_ULN_AtLeastOneDVN();
        error LZ_ULN_InvalidConfigType(uint32 configType);
        error LZ_ULN_InvalidConfirmations();
        error LZ_ULN_InvalidEid();
        error LZ_ULN_InvalidLegacyType1Option();
        error LZ_ULN_InvalidLegacyType2Option();
        error LZ_ULN_InvalidOptionalDVNCount();
        error LZ_ULN_InvalidOptionalDVNThreshold();
        error LZ_ULN_InvalidPacketHeader();
        error LZ_ULN_InvalidPacketVersion();
        error LZ_ULN_InvalidRequiredDVNCount();
        error LZ_ULN_InvalidWorkerId(uint8 workerId);
        error LZ_ULN_InvalidWorkerOptions(uint256 cursor);
        error LZ_ULN_Unsorted();
        error LZ_ULN_UnsupportedEid(uint32 eid);
        error LZ_ULN_UnsupportedOptionType(uint16 optionType);
        error LZ_ULN_Verifying();
        error DVN_EidNotSupported(uint32 eid);
        error DVN_InvalidDVNIdx();
        error DVN_InvalidDVNOptions(uint256 cursor);
        error Executor_EidNotSupported(uint32 eid);
        error Executor_NativeAmountExceedsCap(uint256 amount, uint256 cap);
        error Executor_NoOptions();
        error Executor_UnsupportedOptionType(uint8 optionType);
        error Executor_ZeroLzReceiveGasProvided();
        error Transfer_NativeFailed(address to, uint256 amount);
        error Transfer_ToAddressIsZero();
        error Worker_NotAllowed();
        error Worker_OnlyMessageLib();
        error Error(string reason);
    }
}

use ILayerZeroErrors::ILayerZeroErrorsErrors as Lz;

/// A fee that moved between quote and send is asked again at once.
const REQUOTE_AFTER: Duration = Duration::from_secs(1);
/// No data usually means out of gas somewhere inside: the next try estimates anew.
const NO_DATA_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The protocol's (or our contracts') own words for revert data, and what they mean for the caller.
pub fn explain(data: &[u8]) -> (String, Class) {
    if data.is_empty() {
        return (
            "reverted without data (out of gas, or no contract there)".to_owned(),
            Class::Retry {
                after: NO_DATA_RETRY_AFTER,
            },
        );
    }
    if let Ok(error) = Lz::abi_decode(data) {
        let class = class(&error);
        return (bare(&error), class);
    }
    if let Ok(error) = ISettlementOutbox::ISettlementOutboxErrors::abi_decode(data) {
        return (format!("outbox: {}", bare(&error)), Class::Reject);
    }
    if let Ok(error) = ILayerZeroPort::ILayerZeroPortErrors::abi_decode(data) {
        return (format!("port: {}", bare(&error)), Class::Reject);
    }
    if let Ok(error) = ISettlementInbox::ISettlementInboxErrors::abi_decode(data) {
        return (format!("inbox: {}", bare(&error)), Class::Reject);
    }
    (format!("unknown error {}", Bytes::copy_from_slice(data)), Class::Reject)
}

fn class(error: &Lz) -> Class {
    match error {
        Lz::LZ_InsufficientFee(_) => Class::Retry { after: REQUOTE_AFTER },
        // The state moves on, or moved on already: read it again.
        Lz::LZ_ULN_Verifying(_)
        | Lz::LZ_InvalidNonce(_)
        | Lz::LZ_PayloadHashNotFound(_)
        | Lz::LZ_PathNotVerifiable(_) => Class::NotYet,
        Lz::LZ_ULN_InvalidWorkerOptions(_)
        | Lz::LZ_ULN_InvalidWorkerId(_)
        | Lz::LZ_ULN_UnsupportedOptionType(_)
        | Lz::LZ_ULN_InvalidEid(_)
        | Lz::LZ_ULN_InvalidPacketHeader(_)
        | Lz::LZ_ULN_InvalidPacketVersion(_)
        | Lz::LZ_LzTokenUnavailable(_)
        | Lz::Executor_NoOptions(_)
        | Lz::Executor_UnsupportedOptionType(_)
        | Lz::Executor_ZeroLzReceiveGasProvided(_) => Class::Bug,
        _ => Class::Reject,
    }
}

/// Names a revert; other trouble of the view passes as it is.
pub(crate) fn error(attempted: &'static str, source: ViewError) -> AdapterError {
    named(attempted, source, explain)
}

/// Whether the revert says that somebody else was faster or the chain is not there yet.
pub(crate) fn is_not_yet(source: &ViewError) -> bool {
    matches!(source, ViewError::Reverted { data } if explain(data).1 == Class::NotYet)
}
