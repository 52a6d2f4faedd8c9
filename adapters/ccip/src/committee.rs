//! CCIP 1.6 on the target: a committee commits roots over intervals of messages and executes each once; what it leaves, anyone may execute.

use crate::abi::v1_6::{
    ArrivingMessage, ExecutionReport, GasLimitOverride, IOffRamp, IOnRamp, MerkleRoot, SentMessage, SourceChainConfig,
};
use crate::abi::{IRouter, ITypeAndVersion};
use crate::adapter::{CcipAdapter, no_vote};
use crate::config::CcipChain;
use crate::message::Sent;
use crate::read::{decode, is_cursed, read};
use crate::revert;
use crate::v1_6;
use crate::version::Version;
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::sol_types::{SolCall, SolEvent, SolValue};
use relayer_adapter_api::{AdapterError, Call, ChainView, Class, Delivery, GasRule, LogFilter, ViewError};

/// States of a message; the third state is the only final one.
pub(crate) const UNTOUCHED: u8 = 0;
pub(crate) const SUCCESS: u8 = 2;
pub(crate) const FAILURE: u8 = 3;
/// Source blocks before ours that are searched first for the rest of the batch: a committee commits every few minutes.
const BATCH_BLOCKS: u64 = 500;
/// Target blocks searched first for the commit of our message.
const COMMIT_BLOCKS: u64 = 5_000;
/// Target blocks searched for the reason of a failure, which is for people only.
const FAILURE_BLOCKS: u64 = 2_000;
/// Messages of one root; the protocol's tree holds 256.
const BATCH_MAX: u64 = 512;
/// The off-ramp's own work around the receiver: calldata, hashing, proof, state. A transaction with too little gas would mark the message as
/// failed and still succeed, so this is generous and no estimate is asked.
const EXECUTION_OVERHEAD: u64 = 350_000;

/// The off-ramp that serves our on-ramp, with what it says about the lane.
pub(crate) struct OffRamp {
    pub address: Address,
    pub lane: SourceChainConfig,
}

impl CcipAdapter {
    pub(crate) async fn delivery_1_6(
        &self,
        target: &dyn ChainView,
        to: &CcipChain,
        sent: &Sent,
        message: &SentMessage,
    ) -> Result<Delivery, AdapterError> {
        let Some(ramp) = self.off_ramp(target, to, sent).await? else {
            return Ok(pending(&format!(
                "no off-ramp of the target serves on-ramp {}",
                sent.on_ramp
            )));
        };
        let state = state(target, ramp.address, message).await?;
        if state == SUCCESS {
            return Ok(no_vote());
        }
        if is_cursed(target, to.router, message.header.sourceChainSelector).await? {
            return Ok(pending("cursed by the RMN of the target"));
        }
        if state == FAILURE {
            let why = self.failure_1_6(target, ramp.address, message.header.messageId).await?;
            return Ok(Delivery::Attested {
                note: format!("committed, execution failed: {why}"),
            });
        }
        Ok(if !ramp.lane.isEnabled {
            pending("the lane is disabled on the target's off-ramp")
        } else if message.header.sequenceNumber >= ramp.lane.minSeqNr {
            pending("not committed")
        } else {
            Delivery::Attested {
                note: "committed, not executed".to_owned(),
            }
        })
    }

    /// Why the last execution failed, from the event that names our message.
    async fn failure_1_6(&self, target: &dyn ChainView, ramp: Address, id: B256) -> Result<String, AdapterError> {
        let filter = LogFilter {
            addresses: vec![ramp],
            topics0: vec![IOffRamp::ExecutionStateChanged::SIGNATURE_HASH],
            from_block: Some(target.block().number.saturating_sub(FAILURE_BLOCKS)),
        };
        let logs = target
            .logs(&filter)
            .await
            .map_err(|error| revert::error("looking for a failed execution", error))?;
        let last = logs
            .iter()
            .rev()
            .find(|log| log.address == ramp && log.topics.get(3) == Some(&id));
        let event = last.and_then(|log| {
            IOffRamp::ExecutionStateChanged::decode_raw_log(log.topics.iter().copied(), &log.data).ok()
        });
        Ok(match event {
            Some(event) => revert::explain(&event.returnData).0,
            None => "the execution is not in the searched blocks".to_owned(),
        })
    }

    /// The off-ramp of the target that takes messages of our on-ramp. During migrations several serve one source.
    pub(crate) async fn off_ramp(
        &self,
        target: &dyn ChainView,
        to: &CcipChain,
        sent: &Sent,
    ) -> Result<Option<OffRamp>, AdapterError> {
        let (source, _) = sent.selectors();
        let ramps = read(target, to.router, IRouter::getOffRampsCall {}, "listing the off-ramps").await?;
        for entry in ramps.iter().filter(|entry| entry.sourceChainSelector == source) {
            let attempted = "asking an off-ramp for its version";
            let version = read(target, entry.offRamp, ITypeAndVersion::typeAndVersionCall {}, attempted).await?;
            if Version::parse(&version) != Some(Version::V1_6) {
                continue;
            }
            let call = IOffRamp::getSourceChainConfigCall {
                sourceChainSelector: source,
            };
            let lane = read(target, entry.offRamp, call, "asking an off-ramp for its lane").await?;
            if lane.onRamp.as_ref() == sent.on_ramp.abi_encode().as_slice() {
                return Ok(Some(OffRamp {
                    address: entry.offRamp,
                    lane,
                }));
            }
        }
        Ok(None)
    }

    pub(crate) async fn advance_1_6(
        &self,
        source: &dyn ChainView,
        target: &dyn ChainView,
        to: &CcipChain,
        sent: &Sent,
        message: &SentMessage,
    ) -> Result<Vec<Call>, AdapterError> {
        let Some(ramp) = self.off_ramp(target, to, sent).await? else {
            return Ok(Vec::new());
        };
        let state = state(target, ramp.address, message).await?;
        let committed = message.header.sequenceNumber < ramp.lane.minSeqNr;
        if !(state == UNTOUCHED || state == FAILURE)
            || !committed
            || is_cursed(target, to.router, message.header.sourceChainSelector).await?
        {
            return Ok(Vec::new());
        }
        let Some(root) = self.committed_root(target, ramp.address, sent, message).await? else {
            return Err(not_yet("the commit of the message is not in the searched blocks"));
        };
        if state == UNTOUCHED && !self.is_open(target, ramp.address, &root).await? {
            return Ok(Vec::new());
        }
        let batch = self.batch(source, sent, message, &root).await?;
        let arriving = shaped(message)?;
        let gas = self.receiver_gas_1_6(target, ramp.address, &arriving).await?;
        let call = manual_execution(target, ramp.address, arriving, batch, gas)?;
        match target.call(None, call.to, call.data.clone(), call.value).await {
            Ok(_) => Ok(vec![call]),
            // Somebody else did it in the meantime.
            Err(error) if revert::is_not_yet(&error) => Ok(Vec::new()),
            Err(error) => Err(revert::error("simulating the manual execution", error)),
        }
    }

    /// The committed interval our message is in.
    async fn committed_root(
        &self,
        target: &dyn ChainView,
        ramp: Address,
        sent: &Sent,
        message: &SentMessage,
    ) -> Result<Option<MerkleRoot>, AdapterError> {
        for back in [COMMIT_BLOCKS, self.config.search_blocks] {
            let filter = LogFilter {
                addresses: vec![ramp],
                topics0: vec![IOffRamp::CommitReportAccepted::SIGNATURE_HASH],
                from_block: Some(target.block().number.saturating_sub(back)),
            };
            let logs = target
                .logs(&filter)
                .await
                .map_err(|error| revert::error("looking for the commit of a message", error))?;
            for log in logs.iter().rev().filter(|log| log.address == ramp) {
                let report = IOffRamp::CommitReportAccepted::decode_raw_log(log.topics.iter().copied(), &log.data)
                    .map_err(|error| decode("reading a commit", &error.to_string()))?;
                let mut roots = report.blessedMerkleRoots.into_iter().chain(report.unblessedMerkleRoots);
                if let Some(ours) = roots.find(|root| commits_to(root, sent, message)) {
                    return Ok(Some(ours));
                }
            }
        }
        Ok(None)
    }

    /// Whether anyone may execute a message nobody has tried yet: the committee has had its time since the commit.
    async fn is_open(&self, target: &dyn ChainView, ramp: Address, root: &MerkleRoot) -> Result<bool, AdapterError> {
        let call = IOffRamp::getMerkleRootCall {
            sourceChainSelector: root.sourceChainSelector,
            root: root.merkleRoot,
        };
        let committed_at = read(target, ramp, call, "reading when a root was committed").await?;
        let settings = read(
            target,
            ramp,
            IOffRamp::getDynamicConfigCall {},
            "reading the execution threshold",
        )
        .await?;
        let threshold = U256::from(settings.permissionLessExecutionThresholdSeconds);
        let open_after = committed_at.saturating_add(threshold);
        Ok(!committed_at.is_zero() && U256::from(target.block().timestamp) > open_after)
    }

    /// Everybody's messages of the interval, as leaves; they must give the committed root.
    async fn batch(
        &self,
        source: &dyn ChainView,
        sent: &Sent,
        message: &SentMessage,
        root: &MerkleRoot,
    ) -> Result<(B256, Vec<B256>), AdapterError> {
        let span = root.maxSeqNr.saturating_sub(root.minSeqNr);
        if span >= BATCH_MAX {
            return Err(decode(
                "rebuilding a committed batch",
                &format!("it spans {span} messages"),
            ));
        }
        for back in [BATCH_BLOCKS, self.config.search_blocks] {
            let leaves = self.leaves(source, sent, root, back).await?;
            if leaves.len() as u64 != span + 1 {
                continue;
            }
            let index =
                usize::try_from(message.header.sequenceNumber.saturating_sub(root.minSeqNr)).unwrap_or(usize::MAX);
            match v1_6::prove(&leaves, index) {
                Some((found, proof)) if found == root.merkleRoot => return Ok((leaves[index], proof)),
                _ => return Err(not_yet("the messages of the interval do not give the committed root")),
            }
        }
        Err(not_yet(
            "not all messages of the committed interval are in the searched source blocks",
        ))
    }

    /// Leaves of the interval in order of sequence number, without gaps at its front; shorter when some are missing.
    async fn leaves(
        &self,
        source: &dyn ChainView,
        sent: &Sent,
        root: &MerkleRoot,
        back: u64,
    ) -> Result<Vec<B256>, AdapterError> {
        let filter = LogFilter {
            addresses: vec![sent.on_ramp],
            topics0: vec![IOnRamp::CCIPMessageSent::SIGNATURE_HASH],
            from_block: Some(sent.block.saturating_sub(back)),
        };
        let logs = source
            .logs(&filter)
            .await
            .map_err(|error| revert::error("looking for the other messages of a batch", error))?;
        let (_, dest) = sent.selectors();
        let dest_topic = B256::from(U256::from(dest));
        let mut leaves = Vec::new();
        // Logs come in chain order, and sequence numbers grow with it.
        for log in logs
            .iter()
            .filter(|log| log.address == sent.on_ramp && log.topics.get(1) == Some(&dest_topic))
        {
            let event = IOnRamp::CCIPMessageSent::decode_raw_log(log.topics.iter().copied(), &log.data)
                .map_err(|error| decode("reading the messages of a batch", &error.to_string()))?;
            if event.sequenceNumber == root.minSeqNr.saturating_add(leaves.len() as u64)
                && event.sequenceNumber <= root.maxSeqNr
            {
                leaves.push(v1_6::leaf(&shaped(&event.message)?, sent.on_ramp));
            }
        }
        Ok(leaves)
    }

    /// Gas with which our receiver takes the message: what was paid for, doubled until it does.
    async fn receiver_gas_1_6(
        &self,
        target: &dyn ChainView,
        ramp: Address,
        arriving: &ArrivingMessage,
    ) -> Result<U256, AdapterError> {
        let mut trial = arriving.clone();
        loop {
            let call = IOffRamp::executeSingleMessageCall {
                message: trial.clone(),
                offchainTokenData: vec![Bytes::new(); trial.tokenAmounts.len()],
                tokenGasOverrides: Vec::new(),
            };
            let doubled = trial.gasLimit.saturating_mul(U256::from(2));
            match target
                .call(Some(ramp), ramp, call.abi_encode().into(), U256::ZERO)
                .await
            {
                Ok(_) => return Ok(trial.gasLimit),
                Err(ViewError::Reverted { data })
                    if revert::is_out_of_gas(&data)
                        && doubled <= U256::from(self.config.rescue_gas_max)
                        && !doubled.is_zero() =>
                {
                    trial.gasLimit = doubled;
                }
                Err(error) => return Err(revert::error("simulating the execution of a message", error)),
            }
        }
    }
}

fn commits_to(root: &MerkleRoot, sent: &Sent, message: &SentMessage) -> bool {
    root.sourceChainSelector == message.header.sourceChainSelector
        && root.onRampAddress.as_ref() == sent.on_ramp.abi_encode().as_slice()
        && (root.minSeqNr..=root.maxSeqNr).contains(&message.header.sequenceNumber)
}

async fn state(target: &dyn ChainView, ramp: Address, message: &SentMessage) -> Result<u8, AdapterError> {
    let call = IOffRamp::getExecutionStateCall {
        sourceChainSelector: message.header.sourceChainSelector,
        sequenceNumber: message.header.sequenceNumber,
    };
    read(target, ramp, call, "reading the execution state of a message").await
}

fn shaped(message: &SentMessage) -> Result<ArrivingMessage, AdapterError> {
    v1_6::arriving(message).map_err(|error| decode("shaping a message for the off-ramp", &error.to_string()))
}

/// The call anyone may make. Override arrays must have the report's shape even where nothing is overridden; 0 keeps the sender's limit.
fn manual_execution(
    target: &dyn ChainView,
    ramp: Address,
    arriving: ArrivingMessage,
    (_, proofs): (B256, Vec<B256>),
    gas: U256,
) -> Result<Call, AdapterError> {
    let raised = if gas == arriving.gasLimit { U256::ZERO } else { gas };
    let overhead = U256::from(EXECUTION_OVERHEAD);
    let gas_limit = u64::try_from(gas.saturating_add(gas / U256::from(32)).saturating_add(overhead))
        .map_err(|_| decode("sizing a manual execution", "the message asks for absurd gas"))?;
    let report = ExecutionReport {
        sourceChainSelector: arriving.header.sourceChainSelector,
        offchainTokenData: vec![vec![Bytes::new(); arriving.tokenAmounts.len()]],
        proofs,
        proofFlagBits: U256::ZERO,
        messages: vec![arriving],
    };
    let overrides = GasLimitOverride {
        receiverExecutionGasLimit: raised,
        tokenGasOverrides: vec![0; report.messages[0].tokenAmounts.len()],
    };
    let call = IOffRamp::manuallyExecuteCall {
        reports: vec![report],
        gasLimitOverrides: vec![vec![overrides]],
    };
    Ok(Call {
        chain: target.chain(),
        to: ramp,
        data: call.abi_encode().into(),
        value: U256::ZERO,
        gas: GasRule::Fixed(gas_limit),
    })
}

pub(crate) fn pending(note: &str) -> Delivery {
    Delivery::Pending { note: note.to_owned() }
}

fn not_yet(reason: &str) -> AdapterError {
    AdapterError::Protocol {
        attempted: "preparing the manual execution of a message",
        reason: reason.to_owned(),
        class: Class::NotYet,
    }
}
