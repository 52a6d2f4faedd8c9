//! What our contracts count of themselves.

use super::error::Attempted;
use super::{ChainError, Contracts};
use alloy::primitives::{Address, U256};
use alloy::sol_types::SolCall;
use relayer_adapter_api::abi::{ISettlementInbox, ISettlementOutbox};
use relayer_adapter_api::{ChainId, ChainView};

/// The counters of one chain in one block. None for a contract that is not configured there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnCounts {
    pub outbox: Option<OutboxCounts>,
    pub inbox: Option<InboxCounts>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxCounts {
    pub address: Address,
    pub messages: u128,
    pub dispatches: u128,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxCounts {
    pub address: Address,
    pub received: u128,
    pub paid: u128,
}

/// Reads them. An address that answers something else is an error of the configuration.
pub async fn read(chain: ChainId, contracts: &Contracts, view: &dyn ChainView) -> Result<OwnCounts, ChainError> {
    let mut counts = OwnCounts::default();
    if let Some(address) = contracts.outbox {
        let answer = ask(chain, view, address, ISettlementOutbox::countersCall {}).await?;
        counts.outbox = Some(OutboxCounts {
            address,
            messages: answer.messages,
            dispatches: answer.dispatches,
        });
    }
    if let Some(address) = contracts.inbox {
        let answer = ask(chain, view, address, ISettlementInbox::countersCall {}).await?;
        counts.inbox = Some(InboxCounts {
            address,
            received: answer.received,
            paid: answer.paid,
        });
    }
    Ok(counts)
}

async fn ask<C: SolCall>(chain: ChainId, view: &dyn ChainView, to: Address, call: C) -> Result<C::Return, ChainError> {
    let answer = view.call(None, to, call.abi_encode().into(), U256::ZERO).await;
    C::abi_decode_returns(&answer.attempted("reading counters")?).map_err(|error| ChainError::Config {
        chain,
        reason: format!("a configured contract does not count messages: {error}"),
    })
}
