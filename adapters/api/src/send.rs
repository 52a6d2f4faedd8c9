//! The call that sends, which is the same over every bridge: our outbox's `dispatch`, or `dispatchCheckpoint`, with the lane's port.

use crate::abi::ISettlementOutbox;
use crate::{AdapterError, Body, Call, Class, GasRule, Quote, SealedMessage};
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
    let header = &message.header;
    let data = match &message.body {
        Body::Batch { ids } => ISettlementOutbox::dispatchCall {
            header: Bytes::copy_from_slice(&header.encode()),
            // A committed message is not hashed again: its further ports need only the header.
            settlementIds: ids.iter().filter(|_| !message.committed).map(|id| id.0).collect(),
            port,
            gasLimit: quote.gas_limit,
        }
        .abi_encode(),
        // The outbox reads the root from the hub itself: what goes out can differ from this message only when the hub's chain has.
        Body::Checkpoint { hub } => ISettlementOutbox::dispatchCheckpointCall {
            hub: *hub,
            eon: header.sequence,
            targetChain: header.target.0,
            inbox: header.inbox,
            port,
            gasLimit: quote.gas_limit,
        }
        .abi_encode(),
    };
    Ok(Call {
        chain: header.source,
        to: outbox,
        data: data.into(),
        value,
        gas,
    })
}
