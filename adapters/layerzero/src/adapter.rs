//! The adapter: our port's packets through quote, send, delivery and rescue.

use crate::abi::{IEndpoint, IReceiveUln};
use crate::config::{ConfigError, LayerZeroChain, LayerZeroConfig};
use crate::packet::Packet;
use crate::path::{Slot, read};
use crate::revert;
use crate::standing::verdict;
use alloy::primitives::{Address, Bytes, U256, keccak256};
use alloy::sol_types::{SolCall, SolEvent};
use async_trait::async_trait;
use relayer_adapter_api::abi::{ISettlementInbox, ISettlementOutbox};
use relayer_adapter_api::send::dispatch;
use relayer_adapter_api::{
    AdapterError, BridgeAdapter, BridgeId, Call, ChainId, ChainView, Delivery, Family, GasRule, Header, Lane,
    LogRecord, MessageId, MessageRef, Quote, SealedMessage, TxReceipt, ViewError, WireMessage, obstacle,
};
use std::time::Duration;

/// Bytes the executor takes when nothing else is configured; ours are 158.
const MESSAGE_BYTES_MAX: u32 = 10_000;
/// The send walks libraries and worker fees that may change with the price feed between estimate and inclusion.
const SEND_GAS: GasRule = GasRule::Estimate {
    percent: 120,
    extra: 20_000,
};
const COMMIT_GAS: GasRule = GasRule::Estimate {
    percent: 120,
    extra: 20_000,
};
/// The endpoint hands 63/64 on and the port needs all of its share; 40,000 is its own work after the estimate's worst case.
const RECEIVE_GAS: GasRule = GasRule::Estimate {
    percent: 120,
    extra: 40_000,
};

/// LayerZero V2 through one port pair (or star of ports).
#[derive(Debug, Clone)]
pub struct LayerZeroAdapter {
    pub(crate) config: LayerZeroConfig,
}

impl LayerZeroAdapter {
    pub fn new(config: LayerZeroConfig) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self { config })
    }

    pub(crate) fn chains(&self) -> impl Iterator<Item = &LayerZeroChain> {
        self.config.chains.iter()
    }

    pub(crate) fn by_chain(&self, chain: ChainId) -> Option<&LayerZeroChain> {
        self.config.chains.iter().find(|entry| entry.chain == chain)
    }

    fn by_eid(&self, eid: u32) -> Option<&LayerZeroChain> {
        self.config.chains.iter().find(|entry| entry.eid == eid)
    }

    /// Both ends of a direction; the source must have our outbox.
    pub(crate) fn ends(
        &self,
        from: ChainId,
        to: ChainId,
    ) -> Result<(&LayerZeroChain, &LayerZeroChain, Address), AdapterError> {
        let no_lane = AdapterError::NoLane { from: from.0, to: to.0 };
        let (Some(source), Some(target)) = (self.by_chain(from), self.by_chain(to)) else {
            return Err(no_lane);
        };
        match source.outbox {
            Some(outbox) if from != to => Ok((source, target, outbox)),
            _ => Err(no_lane),
        }
    }

    /// The packet behind a reference, checked again: what was stored is not more trusted than what is read.
    pub(crate) fn packet_of(&self, message: &MessageRef) -> Result<Packet, AdapterError> {
        let attempted = "reading the evidence of a message";
        let packet = decode_packet(attempted, &message.evidence)?;
        let (source, target, _) = self.ends(message.source, message.target)?;
        if packet.guid != message.id || !between(&packet, source, target) {
            return Err(decode(attempted, "the packet belongs to another message or lane"));
        }
        Ok(packet)
    }

    /// Packets our ports sent in a transaction, with their bytes. The emitter must be the endpoint of the chain the packet names as its
    /// source, and the sender our port there: addresses alone repeat between chains.
    pub(crate) fn packets(&self, receipt: &TxReceipt) -> Result<Vec<(Packet, Bytes)>, AdapterError> {
        let attempted = "reading the packet of a send";
        let mut packets = Vec::new();
        for log in &receipt.logs {
            if log.topics.first() != Some(&IEndpoint::PacketSent::SIGNATURE_HASH) {
                continue;
            }
            if !self.config.chains.iter().any(|entry| entry.endpoint == log.address) {
                continue;
            }
            let event = IEndpoint::PacketSent::decode_raw_log(log.topics.iter().copied(), &log.data)
                .map_err(|error| decode(attempted, &error.to_string()))?;
            let packet = decode_packet(attempted, &event.encodedPayload)?;
            let ours = self
                .by_eid(packet.path.src_eid)
                .is_some_and(|entry| entry.endpoint == log.address && entry.port.into_word() == packet.path.sender);
            if ours {
                packets.push((packet, event.encodedPayload));
            }
        }
        Ok(packets)
    }

    /// Whether the inbox recorded the vote of our port: the only positive proof of arrival.
    async fn is_recorded(&self, target: &dyn ChainView, packet: &Packet, port: Address) -> Result<bool, AdapterError> {
        let header = header_of(packet)?;
        let message_id = keccak256(&packet.message);
        let votes = read(
            target,
            header.inbox,
            ISettlementInbox::votesCall { messageId: message_id },
            "reading the votes of a message",
        )
        .await?;
        if votes.is_zero() {
            return Ok(false);
        }
        let info = read(
            target,
            header.inbox,
            ISettlementInbox::portInfoCall { port },
            "reading the slot of our port",
        )
        .await?;
        Ok(!info.activatableAt.is_zero() && votes.bit(usize::from(info.slot)))
    }

    fn commit_call(&self, target: ChainId, library: Address, packet: &Packet) -> Call {
        let data = IReceiveUln::commitVerificationCall {
            packetHeader: Bytes::copy_from_slice(&packet.header()),
            payloadHash: packet.payload_hash(),
        };
        Call {
            chain: target,
            to: library,
            data: data.abi_encode().into(),
            value: U256::ZERO,
            gas: COMMIT_GAS,
        }
    }

    fn receive_call(&self, target: &LayerZeroChain, packet: &Packet) -> Call {
        let data = IEndpoint::lzReceiveCall {
            origin: packet.origin(),
            receiver: packet.path.receiver_address(),
            guid: packet.guid,
            message: packet.message.clone(),
            extraData: Bytes::new(),
        };
        Call {
            chain: target.chain,
            to: target.endpoint,
            data: data.abi_encode().into(),
            value: U256::ZERO,
            gas: RECEIVE_GAS,
        }
    }
}

#[async_trait]
impl BridgeAdapter for LayerZeroAdapter {
    fn id(&self) -> BridgeId {
        self.config.id.clone()
    }

    fn lane(&self, from: ChainId, to: ChainId) -> Option<Lane> {
        let (source, target, _) = self.ends(from, to).ok()?;
        Some(Lane {
            bridge: self.id(),
            family: Family::LAYERZERO,
            source: from,
            target: to,
            source_port: source.port,
            target_port: target.port,
            message_bytes_max: MESSAGE_BYTES_MAX,
            expected: Duration::from_secs(self.config.expected_seconds),
            self_delivered: false,
        })
    }

    async fn quote(&self, source: &dyn ChainView, message: &SealedMessage) -> Result<Quote, AdapterError> {
        let attempted = "asking the port for its fee";
        let (from, _, outbox) = self.ends(message.header.source, message.header.target)?;
        let call = ISettlementOutbox::quoteCall {
            header: message.bytes().into(),
            port: from.port,
            gasLimit: self.config.gas_limit,
        };
        let fee = read(source, outbox, call, attempted).await?;
        let overflow = || decode(attempted, &format!("fee {fee} is absurd"));
        let percent = U256::from(100 + u16::from(self.config.fee_buffer_percent));
        let native_fee = fee.checked_mul(percent).ok_or_else(overflow)?.div_ceil(U256::from(100));
        Ok(Quote {
            native_fee,
            gas_limit: self.config.gas_limit,
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
        for (packet, bytes) in self.packets(receipt)? {
            let header = header_of(&packet)?;
            let (source, target, outbox) = self.ends(header.source, header.target)?;
            if !between(&packet, source, target) {
                return Err(decode(attempted, "packet and message name different lanes"));
            }
            let message_id = MessageId(keccak256(&packet.message));
            let announced = receipt.logs.iter().any(|log| {
                log.address == outbox
                    && dispatched(log).is_some_and(|event| {
                        event.messageId == message_id.0 && event.port == source.port && event.bridgeRef == packet.guid
                    })
            });
            if !announced {
                return Err(decode(attempted, "our outbox did not announce the packet of our port"));
            }
            let reference = MessageRef {
                source: header.source,
                target: header.target,
                id: packet.guid,
                evidence: bytes,
            };
            if found.replace(reference).is_some() {
                return Err(decode(attempted, "two packets of our port in one transaction"));
            }
        }
        found.ok_or_else(|| decode(attempted, "no packet of our port"))
    }

    async fn delivery(
        &self,
        source: &dyn ChainView,
        target: &dyn ChainView,
        message: &MessageRef,
    ) -> Result<Delivery, AdapterError> {
        let packet = self.packet_of(message)?;
        let (_, to, _) = self.ends(message.source, message.target)?;
        if self.is_recorded(target, &packet, to.port).await? {
            return Ok(Delivery::Received);
        }
        let standing = self.standing(source, target, message).await?;
        Ok(verdict(&standing))
    }

    async fn advance(
        &self,
        source: &dyn ChainView,
        target: &dyn ChainView,
        message: &MessageRef,
    ) -> Result<Vec<Call>, AdapterError> {
        let (_, to, _) = self.ends(message.source, message.target)?;
        let standing = self.standing(source, target, message).await?;
        let executable = standing.slot == Slot::Committed(standing.packet.payload_hash())
            && standing.committable.is_empty()
            && standing.blocked_behind.is_none();
        let stuck = standing.blocked_behind.is_some() || standing.waiting.is_some();
        // Commits first; the receive is offered once it can be simulated, so every call returned here works by itself.
        let calls: Vec<Call> = if executable {
            vec![self.receive_call(to, &standing.packet)]
        } else if stuck {
            // Only verifiers can help; a commit now would be paid for nothing.
            Vec::new()
        } else {
            standing
                .committable
                .iter()
                .map(|packet| self.commit_call(message.target, standing.library, packet))
                .collect()
        };
        let mut useful = Vec::with_capacity(calls.len());
        for call in calls {
            match target.call(None, call.to, call.data.clone(), call.value).await {
                Ok(_) => useful.push(call),
                // Somebody else did it in the meantime.
                Err(error) if revert::is_not_yet(&error) => {}
                Err(error) => return Err(revert::error("simulating the rescue of a packet", error)),
            }
        }
        Ok(useful)
    }

    /// LayerZero's owners may block a library, and what was pinned can lose its default: then nothing is sent, or nothing comes in.
    async fn obstacle(
        &self,
        source: &dyn ChainView,
        target: &dyn ChainView,
        lane: &Lane,
    ) -> Result<Option<String>, AdapterError> {
        let attempted = "asking the endpoint for a library";
        let (from, to, _) = self.ends(lane.source, lane.target)?;
        let sending = IEndpoint::getSendLibraryCall {
            sender: from.port,
            dstEid: to.eid,
        };
        let receiving = IEndpoint::getReceiveLibraryCall {
            receiver: to.port,
            srcEid: from.eid,
        };
        let sending = answered(read(source, from.endpoint, sending, attempted).await)?;
        let receiving = answered(read(target, to.endpoint, receiving, attempted).await)?.map(|found| found.lib);
        for (view, here, library, what) in [(source, from, sending, "send"), (target, to, receiving, "receive")] {
            let blocked = read(view, here.endpoint, IEndpoint::blockedLibraryCall {}, attempted).await?;
            if library.is_none_or(|library| library == blocked) {
                return Ok(Some(format!(
                    "LayerZero has blocked the {what} library on chain {}",
                    here.chain
                )));
            }
        }
        obstacle::of_ports(source, target, lane).await
    }
}

/// None when the endpoint refused to name a library, which it does when there is none.
fn answered<T>(answer: Result<T, AdapterError>) -> Result<Option<T>, AdapterError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(
            AdapterError::Protocol { .. }
            | AdapterError::View {
                source: ViewError::Reverted { .. },
                ..
            },
        ) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn dispatched(log: &LogRecord) -> Option<ISettlementOutbox::MessageDispatched> {
    ISettlementOutbox::MessageDispatched::decode_raw_log(log.topics.iter().copied(), &log.data).ok()
}

fn between(packet: &Packet, source: &LayerZeroChain, target: &LayerZeroChain) -> bool {
    let path = &packet.path;
    (path.src_eid, path.sender) == (source.eid, source.port.into_word())
        && (path.dst_eid, path.receiver) == (target.eid, target.port.into_word())
}

fn header_of(packet: &Packet) -> Result<Header, AdapterError> {
    let message = WireMessage::decode(&packet.message);
    let message = message.map_err(|error| decode("reading the message of a packet", &error.to_string()))?;
    Ok(message.header)
}

fn decode_packet(attempted: &'static str, bytes: &[u8]) -> Result<Packet, AdapterError> {
    Packet::decode(bytes).map_err(|error| decode(attempted, &error.to_string()))
}

fn decode(attempted: &'static str, reason: &str) -> AdapterError {
    AdapterError::Decode {
        attempted,
        reason: reason.to_owned(),
    }
}
