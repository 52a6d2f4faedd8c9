//! A bridge that exists only in tests, and the smallest whole adapter there is: `docs/adding-a-bridge.md` points here.
//!
//! Its port announces a message (`ToySent`), somebody vouches for it on the target (`ToyVouched`), anyone may then deliver it
//! (`ToyDelivered`). The fee is flat. There are no such contracts; tests write the logs.

use abi::IToyPort;
use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::sol_types::{SolCall, SolEvent};
use async_trait::async_trait;
use relayer_adapter_api::send::dispatch;
use relayer_adapter_api::{
    AdapterError, BridgeAdapter, BridgeId, Call, ChainId, ChainView, Delivery, Family, Finding, GasRule, Lane,
    LogFilter, LogRecord, MessageRef, Quote, SealedMessage, TxReceipt, WireMessage,
};
use std::time::Duration;

pub mod abi {
    //! The port that does not exist.
    #![allow(missing_debug_implementations)]
    use alloy::sol;

    sol! {
        interface IToyPort {
            event ToySent(bytes32 indexed id, bytes message);
            event ToyVouched(bytes32 indexed id);
            event ToyDelivered(bytes32 indexed id);

            function deliver(bytes message) external;
        }
    }
}

/// The last family the inbox counts: no real bridge has it.
pub const FAMILY: Family = Family(15);
const EXPECTED: Duration = Duration::from_secs(30);
/// How far back a vouching or a delivery is looked for.
const SEARCH_BLOCKS: u64 = 10_000;

/// One end of the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToyChain {
    pub chain: ChainId,
    pub port: Address,
    pub outbox: Address,
}

/// Any number of chains, each connected with each.
#[derive(Debug, Clone)]
pub struct ToyAdapter {
    pub id: BridgeId,
    pub chains: Vec<ToyChain>,
    pub fee: U256,
}

/// The bridge's name of a message.
pub fn toy_id(message: &[u8]) -> B256 {
    keccak256([b"toy", message].concat())
}

fn decode(attempted: &'static str, reason: impl std::fmt::Display) -> AdapterError {
    AdapterError::Decode {
        attempted,
        reason: reason.to_string(),
    }
}

impl ToyAdapter {
    fn by_chain(&self, chain: ChainId) -> Option<&ToyChain> {
        self.chains.iter().find(|entry| entry.chain == chain)
    }

    fn ends(&self, from: ChainId, to: ChainId) -> Result<(&ToyChain, &ToyChain), AdapterError> {
        match (self.by_chain(from), self.by_chain(to)) {
            (Some(source), Some(target)) if from != to => Ok((source, target)),
            _ => Err(AdapterError::NoLane { from: from.0, to: to.0 }),
        }
    }

    /// What was stored is checked as if it had just been read.
    fn known(&self, message: &MessageRef) -> Result<&ToyChain, AdapterError> {
        let attempted = "reading the evidence of a message";
        let header = WireMessage::decode(&message.evidence)
            .map_err(|error| decode(attempted, error))?
            .header;
        let lane = (header.source, header.target) == (message.source, message.target);
        if !lane || toy_id(&message.evidence) != message.id {
            return Err(decode(attempted, "it belongs to another message or lane"));
        }
        Ok(self.ends(message.source, message.target)?.1)
    }

    async fn has_log(&self, view: &dyn ChainView, port: Address, topic0: B256, id: B256) -> Result<bool, AdapterError> {
        let filter = LogFilter {
            addresses: vec![port],
            topics0: vec![topic0],
            from_block: Some(view.block().number.saturating_sub(SEARCH_BLOCKS)),
        };
        let logs = view.logs(&filter).await.map_err(|source| AdapterError::View {
            attempted: "looking for a message at its port",
            source,
        })?;
        let of = |log: &LogRecord| {
            log.address == port && log.topics.first() == Some(&topic0) && log.topics.get(1) == Some(&id)
        };
        Ok(logs.iter().any(of))
    }

    /// What `doctor` is told: a toy has little to say.
    pub fn inspect(&self, view: &dyn ChainView) -> Vec<Finding> {
        let here = self.by_chain(view.chain());
        let found = here.map_or("none".to_owned(), |here| here.port.to_string());
        vec![Finding::check(
            here.is_some(),
            "port",
            found,
            "Name a port for this chain.",
        )]
    }
}

#[async_trait]
impl BridgeAdapter for ToyAdapter {
    fn id(&self) -> BridgeId {
        self.id.clone()
    }

    fn lane(&self, from: ChainId, to: ChainId) -> Option<Lane> {
        let (source, target) = self.ends(from, to).ok()?;
        Some(Lane {
            bridge: self.id(),
            family: FAMILY,
            source: from,
            target: to,
            source_port: source.port,
            target_port: target.port,
            self_delivered: false,
            message_bytes_max: 1_000,
            expected: EXPECTED,
        })
    }

    async fn quote(&self, _source: &dyn ChainView, message: &SealedMessage) -> Result<Quote, AdapterError> {
        self.ends(message.header.source, message.header.target)?;
        Ok(Quote {
            native_fee: self.fee,
            gas_limit: 200_000,
            valid_for: Duration::from_secs(60),
            expected: EXPECTED,
        })
    }

    fn build_send(&self, message: &SealedMessage, quote: &Quote) -> Result<Call, AdapterError> {
        let (source, _) = self.ends(message.header.source, message.header.target)?;
        let gas = GasRule::Estimate { percent: 120, extra: 0 };
        dispatch(message, quote, (source.outbox, source.port), quote.native_fee, gas)
    }

    fn decode_send(&self, receipt: &TxReceipt) -> Result<MessageRef, AdapterError> {
        let attempted = "reading the receipt of a send";
        if !receipt.succeeded {
            return Err(decode(attempted, "the transaction reverted"));
        }
        let mut found = None;
        for log in &receipt.logs {
            let topic = log.topics.first();
            if topic != Some(&IToyPort::ToySent::SIGNATURE_HASH) {
                continue;
            }
            let event = IToyPort::ToySent::decode_raw_log(log.topics.iter().copied(), &log.data)
                .map_err(|error| decode(attempted, error))?;
            let header = WireMessage::decode(&event.message)
                .map_err(|error| decode(attempted, error))?
                .header;
            let (source, _) = self.ends(header.source, header.target)?;
            // Anyone can emit the same event: only our port's counts, and only what its id names.
            if log.address != source.port || toy_id(&event.message) != event.id {
                return Err(decode(attempted, "an announcement that is not our port's"));
            }
            let reference = MessageRef {
                source: header.source,
                target: header.target,
                id: event.id,
                evidence: event.message,
            };
            if found.replace(reference).is_some() {
                return Err(decode(attempted, "two messages in one transaction"));
            }
        }
        found.ok_or_else(|| decode(attempted, "no message of our port"))
    }

    async fn delivery(
        &self,
        _source: &dyn ChainView,
        target: &dyn ChainView,
        message: &MessageRef,
    ) -> Result<Delivery, AdapterError> {
        let port = self.known(message)?.port;
        let (delivered, vouched) = (
            IToyPort::ToyDelivered::SIGNATURE_HASH,
            IToyPort::ToyVouched::SIGNATURE_HASH,
        );
        if self.has_log(target, port, delivered, message.id).await? {
            return Ok(Delivery::Received);
        }
        if self.has_log(target, port, vouched, message.id).await? {
            return Ok(Delivery::Attested {
                note: "anyone can deliver it".into(),
            });
        }
        Ok(Delivery::Pending {
            note: "nobody has vouched for it".into(),
        })
    }

    async fn advance(
        &self,
        source: &dyn ChainView,
        target: &dyn ChainView,
        message: &MessageRef,
    ) -> Result<Vec<Call>, AdapterError> {
        let to = *self.known(message)?;
        if !matches!(self.delivery(source, target, message).await?, Delivery::Attested { .. }) {
            return Ok(Vec::new());
        }
        let call = IToyPort::deliverCall {
            message: message.evidence.clone(),
        };
        Ok(vec![Call {
            chain: to.chain,
            to: to.port,
            data: call.abi_encode().into(),
            value: U256::ZERO,
            gas: GasRule::Estimate { percent: 120, extra: 0 },
        }])
    }
}

#[cfg(test)]
mod tests;
