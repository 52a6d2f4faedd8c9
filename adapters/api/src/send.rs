//! The call that sends, which is the same over every bridge: our outbox's `dispatch` with the lane's port.

use crate::abi::ISettlementOutbox;
use crate::{AdapterError, Call, Class, GasRule, Quote, SealedMessage};
use alloy::primitives::{Address, Bytes, U256};
use alloy::sol_types::SolCall;

/// Calls `outbox` to send the message over `port` with `value` wei for the bridge. Rejects a message of another outbox.
pub fn dispatch(
    message: &SealedMessage,
    quote: &Quote,
    (outbox, port): (Address, Address),
    value: U256,
    gas: GasRule,
) -> Result<Call, AdapterError> {
    if message.header.outbox != outbox {
        return Err(AdapterError::Protocol {
            attempted: "building a send",
            reason: format!("the message names outbox {}, ours is {outbox}", message.header.outbox),
            class: Class::Reject,
        });
    }
    // A committed message is not hashed again: its further ports need only the header.
    let settlement_ids = if message.committed {
        Vec::new()
    } else {
        message.ids.iter().map(|id| id.0).collect()
    };
    let call = ISettlementOutbox::dispatchCall {
        header: Bytes::copy_from_slice(&message.header.encode()),
        settlementIds: settlement_ids,
        port,
        gasLimit: quote.gas_limit,
    };
    Ok(Call {
        chain: message.header.source,
        to: outbox,
        data: call.abi_encode().into(),
        value,
        gas,
    })
}
