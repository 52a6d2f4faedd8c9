//! Every custom error a call of ours can meet, by name, and what it means for the caller.
//!
//! CCIP wraps errors in errors, across several contracts and versions, so they are decoded against one union, inside out.

use alloy::primitives::Bytes;
use alloy::sol;
use alloy::sol_types::SolInterface;
use relayer_adapter_api::abi::{ICcipPort, ISettlementInbox, ISettlementOutbox};
use relayer_adapter_api::revert::{bare, named};
use relayer_adapter_api::{AdapterError, Class, ViewError};
use std::time::Duration;

sol! {
    #[derive(Debug, PartialEq, Eq)]
    interface ICcipErrors {
        // Router, on-ramps, fee quoters: sending.
        error BadARMSignal();
        error UnsupportedDestinationChain(uint64 destChainSelector);
        error InsufficientFeeTokenAmount();
        error InvalidMsgValue();
        error DestinationChainNotEnabled(uint64 destChainSelector);
        error DestinationChainNotSupported(uint64 destChainSelector);
        error ExtraArgOutOfOrderExecutionMustBeTrue();
        error FeeExceedsMaxAllowed(uint256 feeUSDCents, uint32 maxUSDCentsPerMessage);
        error FeeTokenNotSupported(address token);
        error TokenNotSupported(address token);
        error InvalidEVMAddress(bytes encodedAddress);
        error InvalidExtraArgsData();
        error InvalidExtraArgsTag();
        error InvalidRequestedFinality(bytes4 requested, bytes4 allowed);
        error MessageFeeTooHigh(uint256 msgFeeJuels, uint256 maxFeeJuelsPerMsg);
        error MessageGasLimitTooHigh();
        error MessageTooLarge(uint256 maxSize, uint256 actualSize);
        error MustBeCalledByRouter();
        error NoGasPriceAvailable(uint64 destChainSelector);
        error SenderNotAllowed(address sender);
        error StaleGasPrice(uint64 destChainSelector, uint256 threshold, uint256 timePassed);
        error CanOnlySendOneTokenPerMessage();
        error CannotSendZeroTokens();
        error TokenMaxCapacityExceeded(uint256 capacity, uint256 requested, address tokenAddress);
        error TokenRateLimitReached(uint256 minWaitInSeconds, uint256 available, address tokenAddress);
        error UnsupportedNumberOfTokens(uint256 numberOfTokens, uint256 maxNumberOfTokensPerMsg);
        error UnsupportedToken(address token);
        // Both sides.
        error CursedByRMN(uint64 chainSelector);
        error ReentrancyGuardReentrantCall();
        // Off-ramps: executing.
        error CanOnlySelfCall();
        error EmptyReport(uint64 sourceChainSelector);
        error ExecutionError(bytes32 messageId, bytes err);
        error GasCannotBeZero();
        error InboundImplementationNotFound(address ccvAddress, bytes verifierResults);
        error InsufficientGasForStaticCall();
        error InsufficientGasToCompleteTx(bytes4 err);
        error InvalidGasLimitOverride(uint32 messageGasLimit, uint32 gasLimitOverride);
        error InvalidManualExecutionGasLimit(uint64 sourceChainSelector, bytes32 messageId, uint256 newLimit);
        error InvalidMessageDestChainSelector(uint64 messageDestChainSelector);
        error InvalidOffRamp(address expected, bytes got);
        error InvalidOnRamp(bytes got);
        error InvalidVerifierResultsLength(uint256 expected, uint256 got);
        error ManualExecutionGasAmountCountMismatch(bytes32 messageId, uint64 sequenceNumber);
        error ManualExecutionGasLimitMismatch();
        error ManualExecutionNotYetEnabled(uint64 sourceChainSelector);
        error NoStateProgressMade(bytes32 messageId, bytes err);
        error NotEnoughGasForCall();
        error OptionalCCVQuorumNotReached(uint256 wanted, uint256 got);
        error ReceiverError(bytes err);
        error RequiredCCVMissing(address requiredCCV);
        error RootNotCommitted(uint64 sourceChainSelector);
        error SkippedAlreadyExecutedMessage(bytes32 messageId, uint64 sourceChainSelector, uint64 messageNumber);
        error SourceChainNotEnabled(uint64 sourceChainSelector);
        error TokenHandlingError(address target, bytes err);
        error Error(string reason);
    }
}

use ICcipErrors::ICcipErrorsErrors as Ccip;

/// A fee that moved between quote and send is asked again at once.
const REQUOTE_AFTER: Duration = Duration::from_secs(1);
/// No data usually means out of gas somewhere inside: the next try estimates anew.
const NO_DATA_RETRY_AFTER: Duration = Duration::from_secs(5);
/// A curse, a stale price or a disabled lane is somebody's decision and lasts.
const PAUSED_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Errors wrap errors; deeper than this nobody means well.
const DEPTH_MAX: usize = 4;

/// The protocol's (or our contracts') own words for revert data, and what they mean for the caller.
pub fn explain(data: &[u8]) -> (String, Class) {
    explain_within(data, DEPTH_MAX)
}

fn explain_within(data: &[u8], depth: usize) -> (String, Class) {
    if data.is_empty() {
        return (
            "reverted without data (out of gas, or no contract there)".to_owned(),
            Class::Retry {
                after: NO_DATA_RETRY_AFTER,
            },
        );
    }
    if let Ok(error) = Ccip::abi_decode(data) {
        return match wrapped(&error) {
            Some((name, inner)) if depth > 0 => {
                let (text, class) = explain_within(inner, depth - 1);
                (format!("{name}: {text}"), class)
            }
            _ => (bare(&error), class(&error)),
        };
    }
    if let Ok(error) = ISettlementOutbox::ISettlementOutboxErrors::abi_decode(data) {
        return (format!("outbox: {}", bare(&error)), Class::Reject);
    }
    if let Ok(error) = ICcipPort::ICcipPortErrors::abi_decode(data) {
        let class = match error {
            ICcipPort::ICcipPortErrors::FeeTooLow(_) => Class::Retry { after: REQUOTE_AFTER },
            _ => Class::Reject,
        };
        return (format!("port: {}", bare(&error)), class);
    }
    if let Ok(error) = ISettlementInbox::ISettlementInboxErrors::abi_decode(data) {
        return (format!("inbox: {}", bare(&error)), Class::Reject);
    }
    (format!("unknown error {}", Bytes::copy_from_slice(data)), Class::Reject)
}

/// What a wrapping error wraps.
fn wrapped(error: &Ccip) -> Option<(&'static str, &[u8])> {
    match error {
        Ccip::ExecutionError(error) => Some(("execution failed", &error.err)),
        Ccip::NoStateProgressMade(error) => Some(("execution failed again", &error.err)),
        Ccip::ReceiverError(error) => Some(("the receiver reverted", &error.err)),
        Ccip::TokenHandlingError(error) => Some(("a token failed", &error.err)),
        _ => None,
    }
}

/// Whether the receiver ran out of the gas it was given: it, or something it called, reverted without data.
pub(crate) fn is_out_of_gas(data: &[u8]) -> bool {
    match Ccip::abi_decode(data) {
        Ok(Ccip::ReceiverError(error)) => error.err.is_empty(),
        Ok(Ccip::NotEnoughGasForCall(_)) => true,
        _ => false,
    }
}

fn class(error: &Ccip) -> Class {
    match error {
        Ccip::InsufficientFeeTokenAmount(_) => Class::Retry { after: REQUOTE_AFTER },
        Ccip::TokenRateLimitReached(limit) => Class::Retry {
            after: Duration::from_secs(u64::try_from(limit.minWaitInSeconds).unwrap_or(u64::MAX)),
        },
        Ccip::CursedByRMN(_)
        | Ccip::BadARMSignal(_)
        | Ccip::DestinationChainNotEnabled(_)
        | Ccip::SourceChainNotEnabled(_)
        | Ccip::StaleGasPrice(_)
        | Ccip::NoGasPriceAvailable(_) => Class::Retry {
            after: PAUSED_RETRY_AFTER,
        },
        // The state moves on, or moved on already: read it again.
        Ccip::ManualExecutionNotYetEnabled(_) | Ccip::RootNotCommitted(_) | Ccip::SkippedAlreadyExecutedMessage(_) => {
            Class::NotYet
        }
        Ccip::CanOnlySelfCall(_)
        | Ccip::EmptyReport(_)
        | Ccip::ExtraArgOutOfOrderExecutionMustBeTrue(_)
        | Ccip::InvalidExtraArgsData(_)
        | Ccip::InvalidGasLimitOverride(_)
        | Ccip::InvalidManualExecutionGasLimit(_)
        | Ccip::InvalidVerifierResultsLength(_)
        | Ccip::InvalidMsgValue(_)
        | Ccip::ManualExecutionGasAmountCountMismatch(_)
        | Ccip::ManualExecutionGasLimitMismatch(_) => Class::Bug,
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
