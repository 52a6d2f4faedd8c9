//! The adapter: our port's messages through quote, send, delivery and rescue.

use crate::abi::v1_5::SEND_REQUESTED;
use crate::abi::{IRouter, ITypeAndVersion, v1_6, v2_0};
use crate::config::{CcipChain, CcipConfig, ConfigError};
use crate::message::{Content, MessageError, Sent};
use crate::read::{decode, is_cursed, read};
use crate::verifiers::{NoVerifierResults, VerifierResults};
use crate::version::Version;
use alloy::primitives::{Address, Bytes, U256, keccak256};
use alloy::sol_types::SolEvent;
use async_trait::async_trait;
use relayer_adapter_api::abi::{ICcipPort, ISettlementInbox, ISettlementOutbox};
use relayer_adapter_api::send::dispatch;
use relayer_adapter_api::{
    AdapterError, BridgeAdapter, BridgeId, Call, ChainId, ChainView, Class, Delivery, Family, GasRule, Header, Lane,
    LogRecord, MessageRef, Quote, SealedMessage, TxReceipt, WireMessage, obstacle,
};
use std::sync::Arc;
use std::time::Duration;

/// The smallest limit among the versions we speak; ours are 158 bytes.
const MESSAGE_BYTES_MAX: u32 = 30_000;
/// The send asks for the fee once more, whose price may change between estimate and inclusion.
const SEND_GAS: GasRule = GasRule::Estimate {
    percent: 120,
    extra: 20_000,
};
/// A lane that CCIP has switched off is looked at again after this time.
const LANE_OFF_RETRY_AFTER: Duration = Duration::from_secs(300);

/// CCIP through one port pair (or star of ports).
#[derive(Debug, Clone)]
pub struct CcipAdapter {
    pub(crate) config: CcipConfig,
    pub(crate) results: Arc<dyn VerifierResults>,
}

impl CcipAdapter {
    /// Without a source of verifier results: 2.0 messages are executed by CCIP alone.
    pub fn new(config: CcipConfig) -> Result<Self, ConfigError> {
        Self::with_verifier_results(config, Arc::new(NoVerifierResults))
    }

    pub fn with_verifier_results(config: CcipConfig, results: Arc<dyn VerifierResults>) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self { config, results })
    }

    pub(crate) fn chains(&self) -> impl Iterator<Item = &CcipChain> {
        self.config.chains.iter()
    }

    pub(crate) fn by_chain(&self, chain: ChainId) -> Option<&CcipChain> {
        self.chains().find(|entry| entry.chain == chain)
    }

    fn by_selector(&self, selector: u64) -> Option<&CcipChain> {
        self.chains().find(|entry| entry.selector == selector)
    }

    /// Both ends of a direction; the source must have our outbox.
    fn ends(&self, from: ChainId, to: ChainId) -> Result<(&CcipChain, &CcipChain, Address), AdapterError> {
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
    pub(crate) fn sent(&self, message: &MessageRef) -> Result<Sent, AdapterError> {
        let attempted = "reading the evidence of a message";
        let sent = Sent::decode(&message.evidence).map_err(|error| decode(attempted, &error.to_string()))?;
        let (source, target, _) = self.ends(message.source, message.target)?;
        if sent.id() != message.id || !between(&sent, source, target)? {
            return Err(decode(attempted, "the message belongs to another reference or lane"));
        }
        Ok(sent)
    }

    /// What the lane speaks now. CCIP may have moved it since the last send.
    pub(crate) async fn version(
        &self,
        source: &dyn ChainView,
        router: Address,
        selector: u64,
    ) -> Result<(Address, Version), AdapterError> {
        let attempted = "finding the on-ramp";
        let call = IRouter::getOnRampCall {
            destChainSelector: selector,
        };
        let on_ramp = read(source, router, call, attempted).await?;
        if on_ramp.is_zero() {
            return Err(AdapterError::Protocol {
                attempted,
                reason: format!("the Router has no on-ramp to selector {selector}: unsupported, or switched off"),
                class: Class::Retry {
                    after: LANE_OFF_RETRY_AFTER,
                },
            });
        }
        let told = read(source, on_ramp, ITypeAndVersion::typeAndVersionCall {}, attempted).await?;
        match Version::parse(&told) {
            Some(version @ (Version::V1_6 | Version::V2_0)) => Ok((on_ramp, version)),
            Some(Version::V1_5) => Err(refuse_1_5(attempted)),
            None => Err(AdapterError::Protocol {
                attempted,
                reason: format!("on-ramp {on_ramp} says it is {told:?}, which this relayer does not speak"),
                class: Class::Reject,
            }),
        }
    }

    /// Messages our ports sent in a transaction. Whoever emits such an event can claim anything, so the caller compares the id with what our
    /// outbox announced: it binds on-ramp, sender and content.
    fn messages(&self, receipt: &TxReceipt) -> Result<Vec<Sent>, AdapterError> {
        let attempted = "reading the message of a send";
        let mut found = Vec::new();
        for log in &receipt.logs {
            let sent = match log.topics.first() {
                Some(&v1_6::IOnRamp::CCIPMessageSent::SIGNATURE_HASH) => sent_1_6(log),
                Some(&v2_0::IOnRamp::CCIPMessageSent::SIGNATURE_HASH) => sent_2_0(log),
                _ => continue,
            };
            // Somebody else's message in the same transaction is none of our business, whatever shape it has.
            let Ok(sent) = sent else { continue };
            let (source, _) = sent.selectors();
            let Ok((sender, _)) = sent.accounts() else { continue };
            if self.by_selector(source).is_some_and(|entry| entry.port == sender) {
                found.push(sent);
            }
        }
        if found.is_empty()
            && receipt
                .logs
                .iter()
                .any(|log| log.topics.first() == Some(&SEND_REQUESTED))
        {
            return Err(refuse_1_5(attempted));
        }
        Ok(found)
    }

    /// Whether the inbox recorded the vote of our port: the only positive proof of arrival.
    async fn is_recorded(&self, target: &dyn ChainView, sent: &Sent, port: Address) -> Result<bool, AdapterError> {
        let header = header_of(sent)?;
        let call = ISettlementInbox::votesCall {
            messageId: keccak256(sent.data()),
        };
        let votes = read(target, header.inbox, call, "reading the votes of a message").await?;
        if votes.is_zero() {
            return Ok(false);
        }
        let call = ISettlementInbox::portInfoCall { port };
        let info = read(target, header.inbox, call, "reading the slot of our port").await?;
        Ok(!info.activatableAt.is_zero() && votes.bit(usize::from(info.slot)))
    }
}

#[async_trait]
impl BridgeAdapter for CcipAdapter {
    fn id(&self) -> BridgeId {
        self.config.id.clone()
    }

    fn lane(&self, from: ChainId, to: ChainId) -> Option<Lane> {
        let (source, target, _) = self.ends(from, to).ok()?;
        Some(Lane {
            bridge: self.id(),
            family: Family::CCIP,
            source: from,
            target: to,
            source_port: source.port,
            target_port: target.port,
            message_bytes_max: MESSAGE_BYTES_MAX,
            expected: Duration::from_secs(self.config.expected_seconds),
            self_delivered: source.self_execute,
        })
    }

    /// A port that pays in a token is priced in native coin all the same, so that lanes can be compared.
    async fn quote(&self, source: &dyn ChainView, message: &SealedMessage) -> Result<Quote, AdapterError> {
        let attempted = "asking CCIP for its fee";
        let (from, to, outbox) = self.ends(message.header.source, message.header.target)?;
        self.version(source, from.router, to.selector).await?;
        let header: Bytes = message.bytes().into();
        let gas_limit = self.config.gas_limit;
        let fee = if from.fee_token.is_none() {
            let call = ISettlementOutbox::quoteCall {
                header,
                port: from.port,
                gasLimit: gas_limit,
            };
            read(source, outbox, call, attempted).await?
        } else {
            let call = ICcipPort::feeInCall {
                token: Address::ZERO,
                targetChain: message.header.target.0,
                message: header,
                gasLimit: gas_limit,
            };
            read(source, from.port, call, attempted).await?
        };
        let overflow = || decode(attempted, &format!("fee {fee} is absurd"));
        let percent = U256::from(100 + u16::from(self.config.fee_buffer_percent));
        Ok(Quote {
            native_fee: fee.checked_mul(percent).ok_or_else(overflow)?.div_ceil(U256::from(100)),
            gas_limit,
            valid_for: Duration::from_secs(self.config.quote_valid_seconds),
            expected: Duration::from_secs(self.config.expected_seconds),
        })
    }

    fn build_send(&self, message: &SealedMessage, quote: &Quote) -> Result<Call, AdapterError> {
        let (from, _, outbox) = self.ends(message.header.source, message.header.target)?;
        let value = if from.fee_token.is_none() {
            quote.native_fee
        } else {
            U256::ZERO
        };
        dispatch(message, quote, (outbox, from.port), value, SEND_GAS)
    }

    fn decode_send(&self, receipt: &TxReceipt) -> Result<MessageRef, AdapterError> {
        let attempted = "reading the receipt of a send";
        if !receipt.succeeded {
            return Err(decode(attempted, "the transaction reverted"));
        }
        let mut found = None;
        for sent in self.messages(receipt)? {
            let header = header_of(&sent)?;
            let (source, target, outbox) = self.ends(header.source, header.target)?;
            if !between(&sent, source, target)? {
                return Err(decode(attempted, "CCIP's and our message name different lanes"));
            }
            let message_id = keccak256(sent.data());
            let announced = receipt.logs.iter().any(|log| {
                log.address == outbox
                    && dispatched(log).is_some_and(|event| {
                        event.messageId == message_id && event.port == source.port && event.bridgeRef == sent.id()
                    })
            });
            if !announced {
                return Err(decode(attempted, "our outbox did not announce the message of our port"));
            }
            let reference = MessageRef {
                source: header.source,
                target: header.target,
                id: sent.id(),
                evidence: sent.encode(),
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
        let sent = self.sent(message)?;
        let (_, to, _) = self.ends(message.source, message.target)?;
        if self.is_recorded(target, &sent, to.port).await? {
            return Ok(Delivery::Received);
        }
        match &sent.content {
            Content::V1_6(content) => self.delivery_1_6(target, to, &sent, content).await,
            Content::V2_0(packed) => self.delivery_2_0(target, to, packed).await,
        }
    }

    async fn advance(
        &self,
        source: &dyn ChainView,
        target: &dyn ChainView,
        message: &MessageRef,
    ) -> Result<Vec<Call>, AdapterError> {
        let sent = self.sent(message)?;
        let (_, to, _) = self.ends(message.source, message.target)?;
        if self.is_recorded(target, &sent, to.port).await? {
            return Ok(Vec::new());
        }
        match &sent.content {
            Content::V1_6(content) => self.advance_1_6(source, target, to, &sent, content).await,
            Content::V2_0(packed) => self.advance_2_0(target, to, packed).await,
        }
    }

    async fn obstacle(
        &self,
        source: &dyn ChainView,
        target: &dyn ChainView,
        lane: &Lane,
    ) -> Result<Option<String>, AdapterError> {
        let (from, to, _) = self.ends(lane.source, lane.target)?;
        match self.version(source, from.router, to.selector).await {
            Ok(_) => {}
            Err(AdapterError::Protocol { reason, .. }) => return Ok(Some(reason)),
            Err(error) => return Err(error),
        }
        for (view, here, there) in [(source, from, to), (target, to, from)] {
            if is_cursed(view, here.router, there.selector).await? {
                return Ok(Some(format!(
                    "the RMN on chain {} has cursed the lane with chain {}",
                    here.chain, there.chain
                )));
            }
        }
        obstacle::of_ports(source, target, lane).await
    }
}

pub(crate) fn sent_1_6(log: &LogRecord) -> Result<Sent, MessageError> {
    let event = v1_6::IOnRamp::CCIPMessageSent::decode_raw_log_validate(log.topics.iter().copied(), &log.data)
        .map_err(|error| MessageError::Abi(error.to_string()))?;
    Sent::new_1_6(log.address, log.block_number, event.message)
}

pub(crate) fn sent_2_0(log: &LogRecord) -> Result<Sent, MessageError> {
    let event = v2_0::IOnRamp::CCIPMessageSent::decode_raw_log_validate(log.topics.iter().copied(), &log.data)
        .map_err(|error| MessageError::Abi(error.to_string()))?;
    let sent = Sent::new_2_0(log.address, log.block_number, &event.encodedMessage)?;
    if sent.id() != event.messageId {
        return Err(MessageError::Id {
            claimed: event.messageId,
            found: sent.id(),
        });
    }
    Ok(sent)
}

fn dispatched(log: &LogRecord) -> Option<ISettlementOutbox::MessageDispatched> {
    ISettlementOutbox::MessageDispatched::decode_raw_log(log.topics.iter().copied(), &log.data).ok()
}

fn between(sent: &Sent, source: &CcipChain, target: &CcipChain) -> Result<bool, AdapterError> {
    let accounts = sent
        .accounts()
        .map_err(|error| decode("reading the ends of a message", &error.to_string()))?;
    Ok(sent.selectors() == (source.selector, target.selector) && accounts == (source.port, target.port))
}

fn header_of(sent: &Sent) -> Result<Header, AdapterError> {
    let message = WireMessage::decode(sent.data());
    Ok(message
        .map_err(|error| decode("reading the message that CCIP carries", &error.to_string()))?
        .header)
}

fn refuse_1_5(attempted: &'static str) -> AdapterError {
    AdapterError::Protocol {
        attempted,
        reason:
            "this lane still speaks CCIP 1.5, which this relayer does not; use another bridge until CCIP has moved it"
                .to_owned(),
        class: Class::Reject,
    }
}

/// CCIP calls a message executed that our inbox knows nothing of: dropped at the receiver, or another message took the number in a reorg.
pub(crate) fn no_vote() -> Delivery {
    Delivery::Failed {
        why: "CCIP calls it executed, but the inbox has no vote of our port".to_owned(),
    }
}
