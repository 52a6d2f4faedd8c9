//! Top-ups of a vault: tokens through CCIP's pools to our port of the target, which deposits them for the payer the data names.

use crate::abi::tokens::{IOnRamp, IRouter, ITokenPool, Outgoing, TokenAmount};
use crate::abi::v1_6;
use crate::abi::v2_0;
use crate::adapter::{CcipAdapter, no_vote, sent_1_6, sent_2_0};
use crate::config::CcipChain;
use crate::message::{Content, Sent};
use crate::read::{decode, read};
use crate::revert;
use alloy::primitives::{Address, Bytes, U256};
use alloy::sol_types::{SolCall, SolEvent, SolValue};
use async_trait::async_trait;
use relayer_adapter_api::top_up::{TopUp, TopUpBridge, TopUpOffer};
use relayer_adapter_api::{AdapterError, Call, ChainId, ChainView, Class, Delivery, GasRule, MessageRef, TxReceipt};

/// Gas of the port's callback with tokens: the transfer from the port, the vault's measuring and its first deposit of a payer take less than
/// half of it (e2e/tests/top_up.rs); CCIP charges for all of it, and with too little the tokens wait for a manual execution.
const TOP_UP_GAS: u64 = 300_000;
/// EVMExtraArgsV2: gas limit and out-of-order execution, which every version from 1.5 on understands.
const EXTRA_ARGS_V2: [u8; 4] = [0x18, 0x1d, 0xcf, 0x10];
/// The pool's accounting may differ between estimate and inclusion.
const SEND_GAS: GasRule = GasRule::Estimate {
    percent: 130,
    extra: 20_000,
};

impl CcipAdapter {
    /// Both ends; unlike messages, tokens need no outbox at the source.
    fn token_ends(&self, from: ChainId, to: ChainId) -> Result<(&CcipChain, &CcipChain), AdapterError> {
        match (self.by_chain(from), self.by_chain(to)) {
            (Some(source), Some(target)) if from != to => Ok((source, target)),
            _ => Err(AdapterError::NoLane { from: from.0, to: to.0 }),
        }
    }

    /// What the source's pool says the token is on the other side.
    async fn target_token(
        &self,
        source: &dyn ChainView,
        on_ramp: Address,
        selector: u64,
        token: Address,
    ) -> Result<Address, AdapterError> {
        let attempted = "asking for the pool of the token";
        let refused = |reason: String| AdapterError::Protocol {
            attempted,
            reason,
            class: Class::Reject,
        };
        let call = IOnRamp::getPoolBySourceTokenCall {
            destChainSelector: selector,
            sourceToken: token,
        };
        let pool = read(source, on_ramp, call, attempted).await?;
        if pool.is_zero() {
            return Err(refused(format!("CCIP has no pool for token {token}")));
        }
        let call = ITokenPool::getRemoteTokenCall {
            remoteChainSelector: selector,
        };
        let remote = read(source, pool, call, attempted).await?;
        if remote.is_empty() {
            return Err(refused(format!(
                "the pool of token {token} does not serve the target chain"
            )));
        }
        Address::abi_decode_validate(&remote).map_err(|error| decode(attempted, &error.to_string()))
    }

    fn top_up_sent(&self, message: &MessageRef) -> Result<(Sent, &CcipChain), AdapterError> {
        let attempted = "reading the evidence of a top-up";
        let sent = Sent::decode(&message.evidence).map_err(|error| decode(attempted, &error.to_string()))?;
        let (_, to) = self.token_ends(message.source, message.target)?;
        if sent.id() != message.id || sent.selectors().1 != to.selector {
            return Err(decode(attempted, "it belongs to another message"));
        }
        Ok((sent, to))
    }
}

#[async_trait]
impl TopUpBridge for CcipAdapter {
    async fn offer(&self, source: &dyn ChainView, top_up: &TopUp) -> Result<TopUpOffer, AdapterError> {
        let (from, to) = self.token_ends(top_up.source, top_up.target)?;
        let (on_ramp, _) = self.version(source, from.router, to.selector).await?;
        let target_token = self.target_token(source, on_ramp, to.selector, top_up.token).await?;
        let outgoing = Outgoing {
            receiver: to.port.abi_encode().into(),
            data: top_up.payer.abi_encode().into(),
            tokenAmounts: vec![TokenAmount {
                token: top_up.token,
                amount: top_up.amount,
            }],
            feeToken: Address::ZERO,
            extraArgs: [
                EXTRA_ARGS_V2.to_vec(),
                (U256::from(TOP_UP_GAS), true).abi_encode_params(),
            ]
            .concat()
            .into(),
        };
        let call = IRouter::getFeeCall {
            destChainSelector: to.selector,
            message: outgoing.clone(),
        };
        let native_fee = read(source, from.router, call, "asking CCIP for its fee").await?;
        let send = IRouter::ccipSendCall {
            destChainSelector: to.selector,
            message: outgoing,
        };
        Ok(TopUpOffer {
            spender: from.router,
            native_fee,
            target_token,
            call: Call {
                chain: top_up.source,
                to: from.router,
                data: send.abi_encode().into(),
                value: native_fee,
                gas: SEND_GAS,
            },
        })
    }

    async fn check(&self, source: &dyn ChainView, sender: Address, offer: &TopUpOffer) -> Result<(), AdapterError> {
        let call = &offer.call;
        source
            .call(Some(sender), call.to, call.data.clone(), call.value)
            .await
            .map(|_: Bytes| ())
            .map_err(|error| revert::error("simulating the top-up", error))
    }

    fn decode(&self, source: ChainId, receipt: &TxReceipt) -> Result<MessageRef, AdapterError> {
        let attempted = "reading the receipt of a top-up";
        if !receipt.succeeded {
            return Err(decode(attempted, "the transaction reverted"));
        }
        let from = self.by_chain(source).map(|entry| entry.selector);
        for log in &receipt.logs {
            let sent = match log.topics.first() {
                Some(&v1_6::IOnRamp::CCIPMessageSent::SIGNATURE_HASH) => sent_1_6(log),
                Some(&v2_0::IOnRamp::CCIPMessageSent::SIGNATURE_HASH) => sent_2_0(log),
                _ => continue,
            };
            let sent = sent.map_err(|error| decode(attempted, &error.to_string()))?;
            let (here, there) = sent.selectors();
            let Some(target) = self.chains().find(|entry| entry.selector == there) else {
                continue;
            };
            let receiver = sent.accounts().map(|(_, receiver)| receiver);
            if Some(here) == from && receiver.is_ok_and(|receiver| receiver == target.port) {
                return Ok(MessageRef {
                    source,
                    target: target.chain,
                    id: sent.id(),
                    evidence: sent.encode(),
                });
            }
        }
        Err(decode(attempted, "no CCIP message to a port of ours"))
    }

    async fn arrival(&self, target: &dyn ChainView, message: &MessageRef) -> Result<Delivery, AdapterError> {
        let (sent, to) = self.top_up_sent(message)?;
        let delivery = match &sent.content {
            Content::V1_6(content) => self.delivery_1_6(target, to, &sent, content).await?,
            Content::V2_0(packed) => self.delivery_2_0(target, to, packed).await?,
        };
        // Executed without a vote is what a top-up should be: it succeeds only if the vault took the tokens.
        Ok(if delivery == no_vote() {
            Delivery::Received
        } else {
            delivery
        })
    }

    async fn finish(
        &self,
        source: &dyn ChainView,
        target: &dyn ChainView,
        message: &MessageRef,
    ) -> Result<Vec<Call>, AdapterError> {
        let (sent, to) = self.top_up_sent(message)?;
        match &sent.content {
            Content::V1_6(content) => self.advance_1_6(source, target, to, &sent, content).await,
            Content::V2_0(packed) => self.advance_2_0(target, to, packed).await,
        }
    }
}
