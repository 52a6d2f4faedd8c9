//! What our own contracts say against a lane; the same for every bridge.

use crate::abi::{ISettlementInbox, ISettlementOutbox, ISettlementPort};
use crate::adapter::Lane;
use crate::error::AdapterError;
use crate::view::ChainView;
use alloy::primitives::{Address, Bytes, U256};
use alloy::sol_types::SolCall;

const ATTEMPTED: &str = "asking our contracts about a lane";

/// Why the two ports of a lane carry nothing now, in words; None when they would.
pub async fn of_ports(
    source: &dyn ChainView,
    target: &dyn ChainView,
    lane: &Lane,
) -> Result<Option<String>, AdapterError> {
    for (view, port) in [(source, lane.source_port), (target, lane.target_port)] {
        if !read(view, port, ISettlementPort::frozenCall {}).await? {
            return Ok(Some(format!("port {port} on chain {} is not frozen", view.chain())));
        }
    }
    let outbox = read(source, lane.source_port, ISettlementPort::outboxCall {}).await?;
    let call = ISettlementOutbox::portSlotCall { port: lane.source_port };
    if read(source, outbox, call).await? == 0 {
        let port = lane.source_port;
        return Ok(Some(format!(
            "port {port} is not one of the outbox on chain {}",
            lane.source
        )));
    }
    let inbox = read(target, lane.target_port, ISettlementPort::inboxCall {}).await?;
    let call = ISettlementInbox::portInfoCall { port: lane.target_port };
    if !read(target, inbox, call).await?.active {
        let port = lane.target_port;
        return Ok(Some(format!(
            "port {port} is not active at the inbox on chain {}",
            lane.target
        )));
    }
    Ok(None)
}

async fn read<C: SolCall>(view: &dyn ChainView, to: Address, call: C) -> Result<C::Return, AdapterError> {
    let data = view
        .call(None, to, Bytes::from(call.abi_encode()), U256::ZERO)
        .await
        .map_err(|source| AdapterError::View {
            attempted: ATTEMPTED,
            source,
        })?;
    C::abi_decode_returns(&data).map_err(|error| AdapterError::Decode {
        attempted: ATTEMPTED,
        reason: error.to_string(),
    })
}
