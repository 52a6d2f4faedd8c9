//! CCIP 2.0 on the target: verifiers sign message ids off chain, and anyone executes with their results, as often as it takes.

use crate::abi::v2_0::IOffRamp;
use crate::adapter::{CcipAdapter, no_vote};
use crate::committee::{FAILURE, SUCCESS, UNTOUCHED, pending};
use crate::config::CcipChain;
use crate::read::{decode, is_cursed, read};
use crate::revert;
use crate::v2_0::PackedMessage;
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::sol_types::SolCall;
use async_trait::async_trait;
use relayer_adapter_api::{AdapterError, Call, ChainView, Delivery, GasRule, ViewError};
use std::fmt::Debug;

/// The off-ramp's own work: calldata, verification of the signatures, state. Measured 345,000 in all with two signatures.
const EXECUTION_OVERHEAD: u64 = 450_000;

/// What verifiers said about one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Verifiers (their resolvers) on the target.
    pub ccvs: Vec<Address>,
    /// One result per verifier.
    pub results: Vec<Bytes>,
}

/// Where verifier results come from. They are made off chain and checked on chain, so a source can delay and never forge.
#[async_trait]
pub trait VerifierResults: Send + Sync + Debug {
    /// None while the verifiers are not done.
    async fn find(&self, message_id: B256, encoded: &Bytes) -> Result<Option<Verified>, AdapterError>;
}

/// Nobody to ask: messages of 2.0 are followed, and executed by CCIP's own executors only.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoVerifierResults;

#[async_trait]
impl VerifierResults for NoVerifierResults {
    async fn find(&self, _: B256, _: &Bytes) -> Result<Option<Verified>, AdapterError> {
        Ok(None)
    }
}

impl CcipAdapter {
    pub(crate) async fn delivery_2_0(
        &self,
        target: &dyn ChainView,
        to: &CcipChain,
        packed: &PackedMessage,
    ) -> Result<Delivery, AdapterError> {
        let (ramp, id) = (off_ramp(packed)?, packed.id());
        let state = state(target, ramp, id).await?;
        if state == SUCCESS {
            return Ok(no_vote());
        }
        if is_cursed(target, to.router, packed.message.sourceChainSelector).await? {
            return Ok(pending("cursed by the RMN of the target"));
        }
        let call = IOffRamp::getSourceChainConfigCall {
            sourceChainSelector: packed.message.sourceChainSelector,
        };
        let lane = read(target, ramp, call, "asking an off-ramp for its lane").await?;
        if !lane.isEnabled {
            return Ok(pending("the lane is disabled on the target's off-ramp"));
        }
        // Anyone can bring a failure about with junk results, so a failure says nothing but that somebody tried.
        let tried = if state == FAILURE { ", an execution failed" } else { "" };
        Ok(match self.results.find(id, packed.encoded()).await {
            Ok(Some(_)) => Delivery::Attested {
                note: format!("verified, not executed{tried}"),
            },
            Ok(None) => pending(&format!("no verifier results yet{tried}")),
            // CCIP's own executors may be faster than an endpoint that is down.
            Err(error) => pending(&format!("{error}{tried}")),
        })
    }

    pub(crate) async fn advance_2_0(
        &self,
        target: &dyn ChainView,
        to: &CcipChain,
        packed: &PackedMessage,
    ) -> Result<Vec<Call>, AdapterError> {
        let (ramp, id) = (off_ramp(packed)?, packed.id());
        let state = state(target, ramp, id).await?;
        if !(state == UNTOUCHED || state == FAILURE)
            || is_cursed(target, to.router, packed.message.sourceChainSelector).await?
        {
            return Ok(Vec::new());
        }
        let Some(verified) = self.results.find(id, packed.encoded()).await? else {
            return Ok(Vec::new());
        };
        let gas = self.receiver_gas_2_0(target, ramp, packed, &verified).await?;
        let paid_for = packed.message.ccipReceiveGasLimit;
        let receiver = u64::from(gas);
        let call = IOffRamp::executeCall {
            encodedMessage: packed.encoded().clone(),
            ccvs: verified.ccvs,
            verifierResults: verified.results,
            gasLimitOverride: if gas == paid_for { 0 } else { gas },
        };
        let needed = u64::from(packed.message.executionGasLimit).max(receiver.saturating_add(receiver / 32));
        Ok(vec![Call {
            chain: target.chain(),
            to: ramp,
            data: call.abi_encode().into(),
            value: U256::ZERO,
            gas: GasRule::Fixed(needed.saturating_add(EXECUTION_OVERHEAD)),
        }])
    }

    /// Gas with which verifiers and our receiver agree to the message: what was paid for, doubled until they do. The outer call would
    /// succeed even where the message fails, so the inner one is simulated.
    async fn receiver_gas_2_0(
        &self,
        target: &dyn ChainView,
        ramp: Address,
        packed: &PackedMessage,
        verified: &Verified,
    ) -> Result<u32, AdapterError> {
        let mut gas = packed.message.ccipReceiveGasLimit;
        loop {
            let call = IOffRamp::executeSingleMessageCall {
                message: packed.message.clone(),
                messageId: packed.id(),
                ccvs: verified.ccvs.clone(),
                verifierResults: verified.results.clone(),
                gasLimitOverride: gas,
            };
            let doubled = gas.saturating_mul(2);
            match target
                .call(Some(ramp), ramp, call.abi_encode().into(), U256::ZERO)
                .await
            {
                Ok(_) => return Ok(gas),
                Err(ViewError::Reverted { data })
                    if revert::is_out_of_gas(&data) && doubled <= self.config.rescue_gas_max && doubled != 0 =>
                {
                    gas = doubled;
                }
                Err(error) => return Err(revert::error("simulating the execution of a message", error)),
            }
        }
    }
}

fn off_ramp(packed: &PackedMessage) -> Result<Address, AdapterError> {
    packed
        .off_ramp()
        .map_err(|error| decode("reading the off-ramp of a message", &error.to_string()))
}

async fn state(target: &dyn ChainView, ramp: Address, id: B256) -> Result<u8, AdapterError> {
    let call = IOffRamp::getExecutionStateCall { messageId: id };
    read(target, ramp, call, "reading the execution state of a message").await
}
