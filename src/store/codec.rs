//! How domain values become columns and back: hashes 32 bytes, addresses 20, U256 32 big-endian bytes, times Unix milliseconds.

use super::StoreError;
use alloy::primitives::{Address, B256, U256};
use std::str::FromStr;

pub fn b256(column: &'static str, bytes: &[u8]) -> Result<B256, StoreError> {
    B256::try_from(bytes).map_err(|_| StoreError::Corrupt {
        column,
        reason: format!("{} bytes, not 32", bytes.len()),
    })
}

pub fn address(column: &'static str, bytes: &[u8]) -> Result<Address, StoreError> {
    Address::try_from(bytes).map_err(|_| StoreError::Corrupt {
        column,
        reason: format!("{} bytes, not 20", bytes.len()),
    })
}

pub fn u256(column: &'static str, bytes: &[u8]) -> Result<U256, StoreError> {
    Ok(U256::from_be_bytes(b256(column, bytes)?.0))
}

pub fn u256_bytes(value: U256) -> Vec<u8> {
    value.to_be_bytes::<32>().to_vec()
}

/// A column that holds a state, event or other name.
pub fn name<T: FromStr>(column: &'static str, text: &str) -> Result<T, StoreError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| StoreError::Corrupt {
        column,
        reason: error.to_string(),
    })
}

pub fn json(column: &'static str, text: &str) -> Result<serde_json::Value, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt {
        column,
        reason: error.to_string(),
    })
}

/// Chain ids, block numbers and the like live in BIGINT columns; values above i64::MAX do not occur in practice and are refused.
pub fn int(column: &'static str, value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Corrupt {
        column,
        reason: format!("{value} does not fit a BIGINT"),
    })
}

pub fn uint(column: &'static str, value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Corrupt {
        column,
        reason: format!("{value} is negative"),
    })
}
