#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod arrival;
mod conformance;
mod endpoint;
mod send;
mod vectors;

use crate::abi::v1_6::{self, MerkleRoot, PriceUpdates, SentMessage};
use crate::abi::{IRmn, IRouter, ITypeAndVersion, OffRampEntry, v2_0};
use crate::message::Sent;
use crate::{CcipAdapter, CcipChain, CcipConfig};
use alloy::primitives::{Address, B256, Bytes, U256, hex, keccak256};
use alloy::sol_types::{SolCall, SolError, SolEvent, SolValue};
use async_trait::async_trait;
use relayer_adapter_api::abi::{ICcipPort, ISettlementInbox, ISettlementOutbox};
use relayer_adapter_api::{
    BlockRef, BridgeId, ChainId, ChainView, Header, Kind, LogFilter, LogRecord, MessageRef, TxReceipt, ViewError,
};

const SOURCE: ChainId = ChainId(31337);
const TARGET: ChainId = ChainId(31338);
const SOURCE_SELECTOR: u64 = 3_379_446_385_462_418_246;
const TARGET_SELECTOR: u64 = 7_759_470_850_252_068_959;
// The same router address on both chains, as it may be on real ones.
const ROUTER: Address = Address::repeat_byte(0x70);
const RMN: Address = Address::repeat_byte(0x71);
const ON_RAMP: Address = Address::repeat_byte(0x72);
const OFF_RAMP: Address = Address::repeat_byte(0x73);
const OUTBOX: Address = Address::repeat_byte(0x0b);
const INBOX: Address = Address::repeat_byte(0x1b);
const SOURCE_PORT: Address = Address::repeat_byte(0xa1);
const TARGET_PORT: Address = Address::repeat_byte(0xa2);
const PAID_GAS: u64 = 120_000;

fn chain(chain: ChainId, selector: u64, port: Address) -> CcipChain {
    CcipChain {
        self_execute: false,
        chain,
        selector,
        router: ROUTER,
        port,
        outbox: Some(OUTBOX),
        fee_token: None,
    }
}

fn config() -> CcipConfig {
    let chains = vec![
        chain(SOURCE, SOURCE_SELECTOR, SOURCE_PORT),
        chain(TARGET, TARGET_SELECTOR, TARGET_PORT),
    ];
    CcipConfig::new(BridgeId::new("ccip").unwrap(), chains)
}

fn adapter() -> CcipAdapter {
    CcipAdapter::new(config()).unwrap()
}

fn header(sequence: u64) -> Header {
    Header {
        kind: Kind::SettlementBatch,
        source: SOURCE,
        target: TARGET,
        outbox: OUTBOX,
        inbox: INBOX,
        sequence,
        root: B256::repeat_byte(7),
        count: 1,
        fee_recipient: Address::ZERO,
    }
}

fn extra_args(gas: u64) -> Bytes {
    [hex!("181dcf10").to_vec(), (U256::from(gas), true).abi_encode_params()]
        .concat()
        .into()
}

/// The message with sequence number `n` on the lane carries message number `n`.
fn emitted(number: u64) -> SentMessage {
    let mut message = SentMessage {
        header: v1_6::Header {
            messageId: B256::ZERO,
            sourceChainSelector: SOURCE_SELECTOR,
            destChainSelector: TARGET_SELECTOR,
            sequenceNumber: number,
            nonce: 0,
        },
        sender: SOURCE_PORT,
        data: Bytes::copy_from_slice(&header(number).encode()),
        receiver: TARGET_PORT.abi_encode().into(),
        extraArgs: extra_args(PAID_GAS),
        feeToken: Address::repeat_byte(0xee),
        feeTokenAmount: U256::from(1000),
        feeValueJuels: U256::from(1),
        tokenAmounts: Vec::new(),
    };
    message.header.messageId = crate::v1_6::message_id(&message, ON_RAMP);
    message
}

/// The same message, packed for 2.0.
fn packed(number: u64) -> Vec<u8> {
    let mut out = vec![1];
    for value in [SOURCE_SELECTOR, TARGET_SELECTOR, number] {
        out.extend(value.to_be_bytes());
    }
    out.extend(400_000u32.to_be_bytes());
    out.extend(u32::try_from(PAID_GAS).unwrap().to_be_bytes());
    out.extend([0; 36]);
    for address in [
        ON_RAMP.abi_encode(),
        OFF_RAMP.to_vec(),
        SOURCE_PORT.abi_encode(),
        TARGET_PORT.to_vec(),
    ] {
        out.push(u8::try_from(address.len()).unwrap());
        out.extend(address);
    }
    out.extend([0; 4]);
    out.extend(158u16.to_be_bytes());
    out.extend(header(number).encode());
    out
}

fn sent(number: u64) -> Sent {
    Sent::new_1_6(ON_RAMP, 90, emitted(number)).unwrap()
}

fn sent_2_0(number: u64) -> Sent {
    Sent::new_2_0(ON_RAMP, 90, &packed(number)).unwrap()
}

fn reference(sent: &Sent) -> MessageRef {
    MessageRef {
        source: SOURCE,
        target: TARGET,
        id: sent.id(),
        evidence: sent.encode(),
    }
}

fn log<E: SolEvent>(address: Address, event: &E) -> LogRecord {
    let data = event.encode_log_data();
    LogRecord {
        address,
        topics: data.topics().to_vec(),
        data: data.data,
        block_number: 90,
        block_hash: B256::repeat_byte(8),
        tx_hash: B256::repeat_byte(9),
        log_index: 0,
    }
}

fn emission(number: u64) -> LogRecord {
    let event = v1_6::IOnRamp::CCIPMessageSent {
        destChainSelector: TARGET_SELECTOR,
        sequenceNumber: number,
        message: emitted(number),
    };
    log(ON_RAMP, &event)
}

fn emission_2_0(number: u64) -> LogRecord {
    let event = v2_0::IOnRamp::CCIPMessageSent {
        destChainSelector: TARGET_SELECTOR,
        sender: SOURCE_PORT,
        messageId: keccak256(packed(number)),
        feeToken: Address::ZERO,
        tokenAmountBeforeTokenPoolFees: U256::ZERO,
        encodedMessage: packed(number).into(),
        receipts: Vec::new(),
        verifierBlobs: Vec::new(),
    };
    log(ON_RAMP, &event)
}

fn announcement(sent: &Sent) -> LogRecord {
    let event = ISettlementOutbox::MessageDispatched {
        messageId: keccak256(sent.data()),
        port: SOURCE_PORT,
        bridgeRef: sent.id(),
        targetChain: TARGET.0,
        sequence: 1,
        count: 1,
    };
    log(OUTBOX, &event)
}

fn receipt(logs: Vec<LogRecord>) -> TxReceipt {
    TxReceipt {
        tx_hash: B256::repeat_byte(9),
        block_number: 90,
        block_hash: B256::repeat_byte(8),
        succeeded: true,
        gas_used: 1,
        effective_gas_price: 1,
        logs,
    }
}

/// The commit of an interval of our messages.
fn commit(min: u64, max: u64) -> (LogRecord, B256) {
    let leaves: Vec<B256> = (min..=max)
        .map(|number| crate::v1_6::leaf(&crate::v1_6::arriving(&emitted(number)).unwrap(), ON_RAMP))
        .collect();
    let (root, _) = crate::v1_6::prove(&leaves, 0).unwrap();
    let event = v1_6::IOffRamp::CommitReportAccepted {
        blessedMerkleRoots: Vec::new(),
        unblessedMerkleRoots: vec![MerkleRoot {
            sourceChainSelector: SOURCE_SELECTOR,
            onRampAddress: ON_RAMP.abi_encode().into(),
            minSeqNr: min,
            maxSeqNr: max,
            merkleRoot: root,
        }],
        priceUpdates: PriceUpdates {
            tokenPriceUpdates: Vec::new(),
            gasPriceUpdates: Vec::new(),
        },
    };
    (log(OFF_RAMP, &event), root)
}

/// A chain as CCIP's contracts would answer, set by hand per case; serves as source and as target.
struct Scripted {
    version: &'static str,
    on_ramp: Address,
    fee: U256,
    /// Answer to a request for the fee, or to the final simulation of a rescue.
    reverts: Option<Vec<u8>>,
    cursed: bool,
    off_ramps: Vec<OffRampEntry>,
    off_ramp_version: &'static str,
    served: Address,
    enabled: bool,
    /// First sequence number that is not committed.
    uncommitted: u64,
    state: u8,
    committed_at: u64,
    votes: U256,
    /// What the receiver needs; with less it reverts without data.
    needs_gas: u64,
    /// Answer of the inner simulation, whatever the gas.
    inner: Option<Vec<u8>>,
    logs: Vec<LogRecord>,
}

const THRESHOLD: u32 = 3600;
const NOW: u64 = 1_800_000_000;

impl Default for Scripted {
    fn default() -> Self {
        Self {
            version: "OnRamp 1.6.0",
            on_ramp: ON_RAMP,
            fee: U256::from(1001),
            reverts: None,
            cursed: false,
            off_ramps: vec![OffRampEntry {
                sourceChainSelector: SOURCE_SELECTOR,
                offRamp: OFF_RAMP,
            }],
            off_ramp_version: "OffRamp 1.6.0",
            served: ON_RAMP,
            enabled: true,
            uncommitted: 1,
            state: 0,
            committed_at: NOW - 10,
            votes: U256::ZERO,
            needs_gas: 60_000,
            inner: None,
            logs: Vec::new(),
        }
    }
}

fn answer<C: SolCall>(value: &C::Return) -> Bytes {
    C::abi_encode_returns(value).into()
}

impl Scripted {
    fn inner(&self, gas: U256) -> Result<Bytes, ViewError> {
        if let Some(data) = &self.inner {
            return Err(ViewError::Reverted { data: data.clone() });
        }
        if gas < U256::from(self.needs_gas) {
            let data = crate::revert::ICcipErrors::ReceiverError { err: Bytes::new() }.abi_encode();
            return Err(ViewError::Reverted { data });
        }
        Ok(Bytes::new())
    }

    fn scripted_revert(&self) -> Result<Bytes, ViewError> {
        match &self.reverts {
            Some(data) => Err(ViewError::Reverted { data: data.clone() }),
            None => Ok(Bytes::new()),
        }
    }

    fn router(&self, selector: [u8; 4]) -> Bytes {
        match selector {
            IRouter::getOnRampCall::SELECTOR => answer::<IRouter::getOnRampCall>(&self.on_ramp),
            IRouter::getOffRampsCall::SELECTOR => answer::<IRouter::getOffRampsCall>(&self.off_ramps),
            IRouter::getArmProxyCall::SELECTOR => answer::<IRouter::getArmProxyCall>(&RMN),
            other => panic!("the router has no {}", hex::encode(other)),
        }
    }

    fn off_ramp(&self, from: Option<Address>, selector: [u8; 4], data: &[u8]) -> Result<Bytes, ViewError> {
        use v1_6::IOffRamp as Old;
        use v2_0::IOffRamp as New;
        Ok(match selector {
            ITypeAndVersion::typeAndVersionCall::SELECTOR => {
                answer::<ITypeAndVersion::typeAndVersionCall>(&self.off_ramp_version.to_owned())
            }
            Old::getSourceChainConfigCall::SELECTOR if self.off_ramp_version.contains("2.0") => {
                answer::<New::getSourceChainConfigCall>(&v2_0::SourceChainConfig {
                    router: ROUTER,
                    isEnabled: self.enabled,
                    onRamps: vec![self.served.abi_encode().into()],
                    defaultCCVs: Vec::new(),
                    laneMandatedCCVs: Vec::new(),
                })
            }
            Old::getSourceChainConfigCall::SELECTOR => {
                answer::<Old::getSourceChainConfigCall>(&v1_6::SourceChainConfig {
                    router: ROUTER,
                    isEnabled: self.enabled,
                    minSeqNr: self.uncommitted,
                    isRMNVerificationDisabled: true,
                    onRamp: self.served.abi_encode().into(),
                })
            }
            Old::getDynamicConfigCall::SELECTOR => (ROUTER, THRESHOLD, Address::ZERO).abi_encode_params().into(),
            Old::getExecutionStateCall::SELECTOR | New::getExecutionStateCall::SELECTOR => {
                U256::from(self.state).abi_encode().into()
            }
            Old::getMerkleRootCall::SELECTOR => U256::from(self.committed_at).abi_encode().into(),
            Old::executeSingleMessageCall::SELECTOR => {
                assert_eq!(from, Some(OFF_RAMP), "only the off-ramp may call itself");
                let call = Old::executeSingleMessageCall::abi_decode(data).unwrap();
                return self.inner(call.message.gasLimit);
            }
            New::executeSingleMessageCall::SELECTOR => {
                assert_eq!(from, Some(OFF_RAMP), "only the off-ramp may call itself");
                let call = New::executeSingleMessageCall::abi_decode(data).unwrap();
                return self.inner(U256::from(call.gasLimitOverride));
            }
            Old::manuallyExecuteCall::SELECTOR => return self.scripted_revert(),
            other => panic!("the off-ramp has no {}", hex::encode(other)),
        })
    }
}

#[async_trait]
impl ChainView for Scripted {
    fn chain(&self) -> ChainId {
        TARGET
    }

    fn block(&self) -> BlockRef {
        BlockRef {
            number: 100,
            hash: B256::repeat_byte(1),
            timestamp: NOW,
        }
    }

    async fn call(&self, from: Option<Address>, to: Address, data: Bytes, _: U256) -> Result<Bytes, ViewError> {
        let selector: [u8; 4] = data[..4].try_into().unwrap();
        match to {
            ROUTER => Ok(self.router(selector)),
            RMN => {
                let call = IRmn::isCursedCall::abi_decode(&data).unwrap();
                let subjects = [SOURCE_SELECTOR, TARGET_SELECTOR].map(|selector| u128::from(selector).to_be_bytes());
                assert!(subjects.contains(&call.subject.0));
                // A target is cursed against its source only.
                Ok((self.cursed && call.subject.0 == subjects[0]).abi_encode().into())
            }
            ON_RAMP => Ok(answer::<ITypeAndVersion::typeAndVersionCall>(&self.version.to_owned())),
            OFF_RAMP => self.off_ramp(from, selector, &data),
            INBOX if selector == ISettlementInbox::votesCall::SELECTOR => Ok(self.votes.abi_encode().into()),
            INBOX => Ok((3u16, 2u16, true, U256::from(9)).abi_encode_params().into()),
            OUTBOX | SOURCE_PORT => {
                self.scripted_revert()?;
                let native = to == OUTBOX || ICcipPort::feeInCall::abi_decode(&data).unwrap().token.is_zero();
                assert!(native, "lanes are compared in native coin");
                Ok(self.fee.abi_encode().into())
            }
            other => panic!("nothing is at {other}"),
        }
    }

    async fn logs(&self, filter: &LogFilter) -> Result<Vec<LogRecord>, ViewError> {
        let logs = self.logs.iter().filter(|log| {
            filter.topics0.contains(&log.topics[0])
                && filter.addresses.contains(&log.address)
                && filter.from_block.is_some_and(|from| from <= log.block_number)
        });
        Ok(logs.cloned().collect())
    }

    async fn receipt(&self, _: B256) -> Result<Option<TxReceipt>, ViewError> {
        Ok(None)
    }
}
