//! The adapter: our port's messages through quote, send, attestation and delivery.

use crate::abi::ICore;
use crate::config::{ConfigError, WormholeChain, WormholeConfig};
use crate::evidence::Evidence;
use crate::gather::{Gathered, Shelf};
use crate::revert;
use crate::source::{RestGuardian, VaaSource};
use crate::vaa::{Body, Vaa};
use alloy::primitives::{Address, Bytes, U256, keccak256};
use alloy::sol_types::{SolCall, SolError, SolEvent};
use async_trait::async_trait;
use relayer_adapter_api::abi::{ISettlementInbox, ISettlementOutbox, IWormholePort};
use relayer_adapter_api::send::dispatch;
use relayer_adapter_api::{
    AdapterError, BridgeAdapter, BridgeId, Call, ChainId, ChainView, Class, Delivery, Family, GasRule, Header, Lane,
    LogRecord, MessageRef, Quote, SealedMessage, TxReceipt, ViewError, WireMessage, obstacle,
};
use std::sync::Arc;
use std::time::Duration;

/// Ours have 158; blocks of gas, not Wormhole, bound larger ones.
const MESSAGE_BYTES_MAX: u32 = 1_000;
/// Consistency level our port publishes with: final.
pub(crate) const CONSISTENCY: u8 = 1;
/// What bringing a message in costs on the target, and what the port's gas test holds it to. Wormhole itself limits nothing.
const DELIVERY_GAS: u128 = 185_000;
const SEND_GAS: GasRule = GasRule::Estimate {
    percent: 120,
    extra: 20_000,
};
/// The first delivery under a new guardian set copies its keys; another submitter may do that between estimate and inclusion, or not.
const RECEIVE_GAS: GasRule = GasRule::Estimate {
    percent: 120,
    extra: 40_000,
};
/// A core that does not publish is asked again after this time.
const PAUSED_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Wormhole through one port pair (or star of ports).
pub struct WormholeAdapter {
    pub(crate) config: WormholeConfig,
    pub(crate) sources: Vec<Arc<dyn VaaSource>>,
    pub(crate) shelf: Shelf,
}

impl std::fmt::Debug for WormholeAdapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WormholeAdapter")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl WormholeAdapter {
    pub fn new(config: WormholeConfig) -> Result<Self, ConfigError> {
        let sources = RestGuardian::all(&config)?;
        Self::with_sources(config, sources)
    }

    /// With other sources of VAAs than the configured REST endpoints.
    pub fn with_sources(config: WormholeConfig, sources: Vec<Arc<dyn VaaSource>>) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            config,
            sources,
            shelf: Shelf::default(),
        })
    }

    pub(crate) fn chains(&self) -> impl Iterator<Item = &WormholeChain> {
        self.config.chains.iter()
    }

    pub(crate) fn by_chain(&self, chain: ChainId) -> Option<&WormholeChain> {
        self.config.chains.iter().find(|entry| entry.chain == chain)
    }

    /// Both ends of a direction; the source must have our outbox.
    pub(crate) fn ends(
        &self,
        from: ChainId,
        to: ChainId,
    ) -> Result<(&WormholeChain, &WormholeChain, Address), AdapterError> {
        let no_lane = AdapterError::NoLane { from: from.0, to: to.0 };
        let (Some(source), Some(target)) = (self.by_chain(from), self.by_chain(to)) else {
            return Err(no_lane);
        };
        match source.outbox {
            Some(outbox) if from != to => Ok((source, target, outbox)),
            _ => Err(no_lane),
        }
    }

    /// The message behind a reference, checked again: what was stored is not more trusted than what is read.
    fn evidence_of(&self, message: &MessageRef) -> Result<(Evidence, Header), AdapterError> {
        let attempted = "reading the evidence of a message";
        let evidence = Evidence::decode(&message.evidence).map_err(|error| decode(attempted, &error.to_string()))?;
        let header = header_of(&evidence.expected)?;
        let (source, _, _) = self.ends(message.source, message.target)?;
        let ours = (header.source, header.target) == (message.source, message.target)
            && is_ours(&evidence.expected, source)
            && !message.id.is_zero();
        if !ours {
            return Err(decode(attempted, "the message belongs to another lane"));
        }
        Ok((evidence, header))
    }

    /// What our ports published in a transaction. The emitter must be the core of the chain the message names as its source, and the sender
    /// our port there: addresses alone repeat between chains.
    fn published(&self, receipt: &TxReceipt) -> Result<Vec<(Body, Header)>, AdapterError> {
        let attempted = "reading what a send published";
        let mut published = Vec::new();
        for log in &receipt.logs {
            if log.topics.first() != Some(&ICore::LogMessagePublished::SIGNATURE_HASH) {
                continue;
            }
            if !self.chains().any(|entry| entry.core == log.address) {
                continue;
            }
            let event = ICore::LogMessagePublished::decode_raw_log(log.topics.iter().copied(), &log.data)
                .map_err(|error| decode(attempted, &error.to_string()))?;
            if !self.chains().any(|entry| entry.port == event.sender) {
                continue;
            }
            let mut body = Body {
                timestamp: 0,
                nonce: event.nonce,
                emitter_chain: 0,
                emitter: event.sender.into_word(),
                sequence: event.sequence,
                consistency: event.consistencyLevel,
                payload: event.payload.to_vec(),
            };
            let header = header_of(&body)?;
            let (source, _, _) = self.ends(header.source, header.target)?;
            body.emitter_chain = source.wormhole_chain;
            if source.core == log.address && is_ours(&body, source) {
                published.push((body, header));
            }
        }
        Ok(published)
    }

    /// Whether the inbox recorded the vote of our port: the only positive proof of arrival.
    async fn is_recorded(
        &self,
        target: &dyn ChainView,
        header: &Header,
        payload: &[u8],
        port: Address,
    ) -> Result<bool, AdapterError> {
        let call = ISettlementInbox::votesCall {
            messageId: keccak256(payload),
        };
        let votes = read(target, header.inbox, call, "reading the votes of a message").await?;
        if votes.is_zero() {
            return Ok(false);
        }
        let call = ISettlementInbox::portInfoCall { port };
        let info = read(target, header.inbox, call, "reading the slot of our port").await?;
        Ok(!info.activatableAt.is_zero() && votes.bit(usize::from(info.slot)))
    }

    /// Whether a VAA of this name came in, whatever it carried.
    async fn is_taken(
        &self,
        target: &dyn ChainView,
        to: &WormholeChain,
        message: &MessageRef,
        evidence: &Evidence,
    ) -> Result<bool, AdapterError> {
        let call = IWormholePort::deliveredCall {
            chainId: message.source.0,
            sequence: evidence.expected.sequence,
        };
        let digest = read(target, to.port, call, "asking the port for a sequence").await?;
        Ok(!digest.is_zero())
    }

    /// An error unless the core publishes messages. A value that is not the fee is refused with a reason only a working core gives.
    pub(crate) async fn publishes(&self, view: &dyn ChainView, chain: &WormholeChain) -> Result<(), AdapterError> {
        let attempted = "asking the core whether it publishes";
        let call = ICore::publishMessageCall {
            nonce: 0,
            payload: Bytes::new(),
            consistencyLevel: CONSISTENCY,
        };
        let data = Bytes::from(call.abi_encode());
        let reason = match view.call(Some(chain.port), chain.core, data, U256::ZERO).await {
            Ok(_) => return Ok(()),
            Err(ViewError::Reverted { data }) => match ICore::Error::abi_decode(&data) {
                Ok(error) if error.reason == revert::INVALID_FEE => return Ok(()),
                _ => format!("Wormhole's core does not publish: {}", revert::explain(&data).0),
            },
            Err(source) => return Err(AdapterError::View { attempted, source }),
        };
        Err(AdapterError::Protocol {
            attempted,
            reason,
            class: Class::Retry {
                after: PAUSED_RETRY_AFTER,
            },
        })
    }

    fn receive_call(&self, to: &WormholeChain, vaa: &Vaa) -> Result<Call, AdapterError> {
        let bytes = vaa
            .encode()
            .map_err(|error| decode("encoding a VAA", &error.to_string()))?;
        let data = IWormholePort::executeVAAv1Call { vaa: bytes.into() };
        Ok(Call {
            chain: to.chain,
            to: to.port,
            data: data.abi_encode().into(),
            value: U256::ZERO,
            gas: RECEIVE_GAS,
        })
    }
}

#[async_trait]
impl BridgeAdapter for WormholeAdapter {
    fn id(&self) -> BridgeId {
        self.config.id.clone()
    }

    fn lane(&self, from: ChainId, to: ChainId) -> Option<Lane> {
        let (source, target, _) = self.ends(from, to).ok()?;
        Some(Lane {
            bridge: self.id(),
            family: Family::WORMHOLE,
            source: from,
            target: to,
            source_port: source.port,
            target_port: target.port,
            message_bytes_max: MESSAGE_BYTES_MAX,
            expected: Duration::from_secs(self.config.expected_seconds),
            self_delivered: true,
        })
    }

    async fn quote(&self, source: &dyn ChainView, message: &SealedMessage) -> Result<Quote, AdapterError> {
        let (from, _, outbox) = self.ends(message.header.source, message.header.target)?;
        self.publishes(source, from).await?;
        let call = ISettlementOutbox::quoteCall {
            header: message.bytes().into(),
            port: from.port,
            gasLimit: 0,
        };
        let native_fee = read(source, outbox, call, "asking the port for its fee").await?;
        Ok(Quote {
            native_fee,
            gas_limit: DELIVERY_GAS,
            valid_for: Duration::from_secs(self.config.quote_valid_seconds),
            expected: Duration::from_secs(self.config.expected_seconds),
        })
    }

    fn build_send(&self, message: &SealedMessage, quote: &Quote) -> Result<Call, AdapterError> {
        let (from, _, outbox) = self.ends(message.header.source, message.header.target)?;
        dispatch(message, quote, (outbox, from.port), quote.native_fee, SEND_GAS)
    }

    fn decode_send(&self, receipt: &TxReceipt) -> Result<MessageRef, AdapterError> {
        let attempted = "reading the receipt of a send";
        if !receipt.succeeded {
            return Err(decode(attempted, "the transaction reverted"));
        }
        let mut found = None;
        for (body, header) in self.published(receipt)? {
            let (source, _, outbox) = self.ends(header.source, header.target)?;
            let message_id = keccak256(&body.payload);
            let announced = receipt
                .logs
                .iter()
                .filter(|log| log.address == outbox)
                .filter_map(dispatched)
                .find(|event| event.messageId == message_id && event.port == source.port);
            let announced = announced.ok_or_else(|| decode(attempted, "our outbox did not announce the message"))?;
            let reference = MessageRef {
                source: header.source,
                target: header.target,
                id: announced.bridgeRef,
                evidence: Evidence { expected: body }.encode(),
            };
            if found.replace(reference).is_some() {
                return Err(decode(attempted, "two messages of our port in one transaction"));
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
        let (evidence, header) = self.evidence_of(message)?;
        let (_, to, _) = self.ends(message.source, message.target)?;
        let payload = &evidence.expected.payload;
        if self.is_recorded(target, &header, payload, to.port).await? {
            self.shelf.forget(message.id);
            return Ok(Delivery::Received);
        }
        if self.is_taken(target, to, message, &evidence).await? {
            return Ok(Delivery::Failed {
                why: "its sequence brought another message".into(),
            });
        }
        Ok(match self.gather(target, to, message.id, &evidence).await? {
            Gathered::Ready(vaa) => Delivery::Attested {
                note: format!("{} guardians of set {} signed", vaa.signatures.len(), vaa.guardian_set),
            },
            Gathered::Other => Delivery::Failed {
                why: "the guardians signed another message under its sequence".into(),
            },
            Gathered::Missing(note) => Delivery::Pending { note },
        })
    }

    async fn advance(
        &self,
        _source: &dyn ChainView,
        target: &dyn ChainView,
        message: &MessageRef,
    ) -> Result<Vec<Call>, AdapterError> {
        let (evidence, _) = self.evidence_of(message)?;
        let (_, to, _) = self.ends(message.source, message.target)?;
        if self.is_taken(target, to, message, &evidence).await? {
            return Ok(Vec::new());
        }
        let Gathered::Ready(vaa) = self.gather(target, to, message.id, &evidence).await? else {
            return Ok(Vec::new());
        };
        let call = self.receive_call(to, &vaa)?;
        match target.call(None, call.to, call.data.clone(), call.value).await {
            Ok(_) => Ok(vec![call]),
            Err(error) if revert::is_done(&error) => Ok(Vec::new()),
            Err(error) => Err(revert::error("simulating the delivery of a VAA", error)),
        }
    }

    async fn obstacle(
        &self,
        source: &dyn ChainView,
        target: &dyn ChainView,
        lane: &Lane,
    ) -> Result<Option<String>, AdapterError> {
        let (from, _, _) = self.ends(lane.source, lane.target)?;
        match self.publishes(source, from).await {
            Ok(()) => obstacle::of_ports(source, target, lane).await,
            Err(AdapterError::Protocol { reason, .. }) => Ok(Some(reason)),
            Err(error) => Err(error),
        }
    }
}

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

fn dispatched(log: &LogRecord) -> Option<ISettlementOutbox::MessageDispatched> {
    ISettlementOutbox::MessageDispatched::decode_raw_log(log.topics.iter().copied(), &log.data).ok()
}

fn is_ours(body: &Body, source: &WormholeChain) -> bool {
    (body.emitter_chain, body.emitter, body.consistency)
        == (source.wormhole_chain, source.port.into_word(), CONSISTENCY)
}

fn header_of(body: &Body) -> Result<Header, AdapterError> {
    let message = WireMessage::decode(&body.payload);
    Ok(message
        .map_err(|error| decode("reading a published message", &error.to_string()))?
        .header)
}

fn decode(attempted: &'static str, reason: &str) -> AdapterError {
    AdapterError::Decode {
        attempted,
        reason: reason.to_owned(),
    }
}
