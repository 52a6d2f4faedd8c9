//! Reading the formats of the proto: hex hashes and addresses, decimal amounts.

use super::error::ApiError;
use alloy::primitives::{Address, B256, Bytes, U256};
use std::str::FromStr;

fn prefixed(field: &'static str, text: &str) -> Result<(), ApiError> {
    if text.starts_with("0x") {
        Ok(())
    } else {
        Err(ApiError::field(field, "must be 0x-prefixed hex"))
    }
}

/// 32 bytes.
pub fn hash(field: &'static str, text: &str) -> Result<B256, ApiError> {
    prefixed(field, text)?;
    B256::from_str(text).map_err(|_| ApiError::field(field, "must be 32 bytes, 0x and 64 hex digits"))
}

/// 32 bytes; empty is `None`.
pub fn optional_hash(field: &'static str, text: &str) -> Result<Option<B256>, ApiError> {
    if text.is_empty() {
        Ok(None)
    } else {
        hash(field, text).map(Some)
    }
}

/// 20 bytes, any case.
pub fn address(field: &'static str, text: &str) -> Result<Address, ApiError> {
    prefixed(field, text)?;
    Address::from_str(text).map_err(|_| ApiError::field(field, "must be 20 bytes, 0x and 40 hex digits"))
}

/// 20 bytes; empty is `None`.
pub fn optional_address(field: &'static str, text: &str) -> Result<Option<Address>, ApiError> {
    if text.is_empty() {
        Ok(None)
    } else {
        address(field, text).map(Some)
    }
}

/// Any bytes; empty is no bytes.
pub fn bytes(field: &'static str, text: &str) -> Result<Bytes, ApiError> {
    if text.is_empty() {
        return Ok(Bytes::new());
    }
    prefixed(field, text)?;
    Bytes::from_str(text).map_err(|_| ApiError::field(field, "must be 0x-prefixed hex"))
}

/// Digits only: no sign, no hex, no exponent, no separator.
pub fn decimal(field: &'static str, text: &str) -> Result<U256, ApiError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ApiError::field(field, "must be a decimal number of base units"));
    }
    U256::from_str_radix(text, 10).map_err(|_| ApiError::field(field, "does not fit 256 bits"))
}
