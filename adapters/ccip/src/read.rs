//! Reading contracts through a view, and the RMN's curses.

use crate::abi::{IRmn, IRouter};
use crate::revert;
use alloy::primitives::{Address, Bytes, FixedBytes, U256};
use alloy::sol_types::SolCall;
use relayer_adapter_api::{AdapterError, ChainView};

/// Calls a view function and decodes its answer.
pub(crate) async fn read<C: SolCall>(
    view: &dyn ChainView,
    to: Address,
    call: C,
    attempted: &'static str,
) -> Result<C::Return, AdapterError> {
    let data = view
        .call(None, to, Bytes::from(call.abi_encode()), U256::ZERO)
        .await
        .map_err(|source| revert::error(attempted, source))?;
    C::abi_decode_returns(&data).map_err(|error| decode(attempted, &error.to_string()))
}

pub(crate) fn decode(attempted: &'static str, reason: &str) -> AdapterError {
    AdapterError::Decode {
        attempted,
        reason: reason.to_owned(),
    }
}

/// Whether the RMN of the view's chain has cursed the remote chain, or everything.
pub(crate) async fn is_cursed(view: &dyn ChainView, router: Address, selector: u64) -> Result<bool, AdapterError> {
    let rmn = read(view, router, IRouter::getArmProxyCall {}, "finding the RMN").await?;
    let subject = FixedBytes(u128::from(selector).to_be_bytes());
    read(view, rmn, IRmn::isCursedCall { subject }, "asking the RMN for a curse").await
}
