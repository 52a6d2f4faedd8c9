#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::abi::{IEndpoint, IReceiveUln, UlnConfig};
use crate::packet::{Packet, PacketError, Path};
use crate::revert::{ILayerZeroErrors, explain};
use crate::{ConfigError, LayerZeroAdapter, LayerZeroChain, LayerZeroConfig};
use alloy::primitives::{Address, B256, Bytes, U256, b256, hex, keccak256};
use alloy::sol_types::{SolCall, SolError, SolEvent, SolValue};
use async_trait::async_trait;
use relayer_adapter_api::abi::{ISettlementInbox, ISettlementOutbox};
use relayer_adapter_api::{
    AdapterError, BlockRef, BridgeAdapter, BridgeId, ChainId, ChainView, Class, Delivery, GasRule, Header, Kind,
    LogFilter, LogRecord, MessageRef, SealedMessage, SettlementId, TxReceipt, ViewError,
};
use std::collections::{BTreeMap, BTreeSet};

mod conformance;

const SOURCE: ChainId = ChainId(31337);
const TARGET: ChainId = ChainId(31338);
// The same endpoint address on both chains, as on real chains.
const ENDPOINT: Address = Address::repeat_byte(0xe0);
const OUTBOX: Address = Address::repeat_byte(0x0b);
const INBOX: Address = Address::repeat_byte(0x1b);
const SOURCE_PORT: Address = Address::repeat_byte(0xa1);
const TARGET_PORT: Address = Address::repeat_byte(0xa2);
const LIBRARY: Address = Address::repeat_byte(0x11);
const DVN: Address = Address::repeat_byte(0xd1);

fn chain(chain: ChainId, eid: u32, port: Address) -> LayerZeroChain {
    LayerZeroChain {
        chain,
        eid,
        endpoint: ENDPOINT,
        port,
        outbox: Some(OUTBOX),
        receive_library: None,
    }
}

fn config() -> LayerZeroConfig {
    let chains = vec![chain(SOURCE, 30301, SOURCE_PORT), chain(TARGET, 30302, TARGET_PORT)];
    LayerZeroConfig::new(BridgeId::new("lz").unwrap(), chains)
}

fn adapter() -> LayerZeroAdapter {
    LayerZeroAdapter::new(config()).unwrap()
}

fn path() -> Path {
    Path {
        src_eid: 30301,
        sender: SOURCE_PORT.into_word(),
        dst_eid: 30302,
        receiver: TARGET_PORT.into_word(),
    }
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

/// The packet of nonce `n` carries message number `n`.
fn packet(nonce: u64) -> Packet {
    Packet {
        path: path(),
        nonce,
        guid: path().guid(nonce),
        message: Bytes::copy_from_slice(&header(nonce).encode()),
    }
}

fn encoded(packet: &Packet) -> Bytes {
    [packet.header().as_slice(), packet.guid.as_slice(), &packet.message]
        .concat()
        .into()
}

fn reference(nonce: u64) -> MessageRef {
    MessageRef {
        source: SOURCE,
        target: TARGET,
        id: packet(nonce).guid,
        evidence: encoded(&packet(nonce)),
    }
}

/// A chain as LayerZero's contracts would answer, set by hand per case.
#[derive(Default)]
struct Scripted {
    fee: U256,
    hashes: BTreeMap<u64, B256>,
    lazy: u64,
    attested: BTreeSet<u64>,
    votes: BTreeMap<u64, U256>,
    /// Answer of a commit or receive.
    reverts: Option<Vec<u8>>,
    receipts: Vec<TxReceipt>,
}

impl Scripted {
    fn committed(mut self, nonce: u64) -> Self {
        self.hashes.insert(nonce, packet(nonce).payload_hash());
        self
    }

    fn attested(mut self, nonce: u64) -> Self {
        self.attested.insert(nonce);
        self
    }

    fn inbound(&self) -> u64 {
        let mut nonce = self.lazy;
        while self.hashes.contains_key(&(nonce + 1)) {
            nonce += 1;
        }
        nonce
    }

    fn endpoint(&self, data: &[u8]) -> Vec<u8> {
        let selector: [u8; 4] = data[..4].try_into().unwrap();
        match selector {
            IEndpoint::inboundPayloadHashCall::SELECTOR => {
                let call = IEndpoint::inboundPayloadHashCall::abi_decode(data).unwrap();
                assert_eq!((call.receiver, call.srcEid), (TARGET_PORT, 30301));
                self.hashes.get(&call.nonce).copied().unwrap_or_default().abi_encode()
            }
            IEndpoint::lazyInboundNonceCall::SELECTOR => self.lazy.abi_encode(),
            IEndpoint::inboundNonceCall::SELECTOR => self.inbound().abi_encode(),
            IEndpoint::getReceiveLibraryCall::SELECTOR => (LIBRARY, true).abi_encode_params(),
            IEndpoint::lzReceiveCall::SELECTOR => Vec::new(),
            other => panic!("endpoint has no {}", hex::encode(other)),
        }
    }

    fn library(&self, data: &[u8]) -> Vec<u8> {
        let attested = |header_hash: B256, payload_hash: B256| {
            self.attested.iter().any(|nonce| {
                packet(*nonce).header_hash() == header_hash && packet(*nonce).payload_hash() == payload_hash
            })
        };
        let selector: [u8; 4] = data[..4].try_into().unwrap();
        match selector {
            IReceiveUln::getUlnConfigCall::SELECTOR => UlnConfig {
                confirmations: 5,
                requiredDVNCount: 1,
                optionalDVNCount: 255,
                optionalDVNThreshold: 0,
                requiredDVNs: vec![DVN],
                optionalDVNs: vec![],
            }
            .abi_encode(),
            IReceiveUln::verifiableCall::SELECTOR => {
                let call = IReceiveUln::verifiableCall::abi_decode(data).unwrap();
                attested(call.headerHash, call.payloadHash).abi_encode()
            }
            IReceiveUln::hashLookupCall::SELECTOR => {
                let call = IReceiveUln::hashLookupCall::abi_decode(data).unwrap();
                (attested(call.headerHash, call.payloadHash), 5u64).abi_encode_params()
            }
            IReceiveUln::commitVerificationCall::SELECTOR => Vec::new(),
            other => panic!("library has no {}", hex::encode(other)),
        }
    }

    fn inbox(&self, data: &[u8]) -> Vec<u8> {
        if let Ok(call) = ISettlementInbox::votesCall::abi_decode(data) {
            let found = self
                .votes
                .iter()
                .find(|(n, _)| keccak256(header(**n).encode()) == call.messageId);
            return found.map(|(_, votes)| *votes).unwrap_or_default().abi_encode();
        }
        let call = ISettlementInbox::portInfoCall::abi_decode(data).unwrap();
        assert_eq!(call.port, TARGET_PORT);
        (U256::from(3), U256::from(1), true, U256::from(1)).abi_encode_params()
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
            hash: B256::repeat_byte(9),
            timestamp: 1_000,
        }
    }

    async fn call(&self, _: Option<Address>, to: Address, data: Bytes, _: U256) -> Result<Bytes, ViewError> {
        let changes = data.starts_with(&IEndpoint::lzReceiveCall::SELECTOR)
            || data.starts_with(&IReceiveUln::commitVerificationCall::SELECTOR)
            || to == OUTBOX;
        if let (true, Some(data)) = (changes, &self.reverts) {
            return Err(ViewError::Reverted { data: data.clone() });
        }
        Ok(match to {
            ENDPOINT => self.endpoint(&data),
            LIBRARY => self.library(&data),
            INBOX => self.inbox(&data),
            OUTBOX => self.fee.abi_encode(),
            other => panic!("nothing at {other}"),
        }
        .into())
    }

    async fn logs(&self, filter: &LogFilter) -> Result<Vec<LogRecord>, ViewError> {
        assert_eq!(filter.addresses, [OUTBOX]);
        let logs = self.receipts.iter().flat_map(|receipt| &receipt.logs);
        Ok(logs
            .filter(|log| filter.topics0.contains(&log.topics[0]))
            .cloned()
            .collect())
    }

    async fn receipt(&self, tx: B256) -> Result<Option<TxReceipt>, ViewError> {
        Ok(self.receipts.iter().find(|receipt| receipt.tx_hash == tx).cloned())
    }
}

fn log<E: SolEvent>(address: Address, event: &E, tx_hash: B256) -> LogRecord {
    let data = event.encode_log_data();
    LogRecord {
        address,
        topics: data.topics().to_vec(),
        data: data.data,
        block_number: 90,
        block_hash: B256::repeat_byte(8),
        tx_hash,
        log_index: 0,
    }
}

/// The receipt of a dispatch that sent `packet`.
fn receipt(packet: &Packet) -> TxReceipt {
    let tx_hash = keccak256(packet.nonce.to_be_bytes());
    let sent = IEndpoint::PacketSent {
        encodedPayload: encoded(packet),
        options: Bytes::new(),
        sendLibrary: Address::repeat_byte(0x5e),
    };
    let dispatched = ISettlementOutbox::MessageDispatched {
        messageId: keccak256(&packet.message),
        port: SOURCE_PORT,
        bridgeRef: packet.guid,
        targetChain: TARGET.0,
        sequence: packet.nonce,
        count: 1,
    };
    TxReceipt {
        tx_hash,
        block_number: 90,
        block_hash: B256::repeat_byte(8),
        succeeded: true,
        gas_used: 1,
        effective_gas_price: 1,
        logs: vec![log(ENDPOINT, &sent, tx_hash), log(OUTBOX, &dispatched, tx_hash)],
    }
}

fn source_with(nonces: &[u64]) -> Scripted {
    Scripted {
        receipts: nonces.iter().map(|nonce| receipt(&packet(*nonce))).collect(),
        ..Scripted::default()
    }
}

async fn delivery(source: &Scripted, target: &Scripted, nonce: u64) -> Delivery {
    adapter().delivery(source, target, &reference(nonce)).await.unwrap()
}

async fn advance(source: &Scripted, target: &Scripted, nonce: u64) -> Vec<(Address, [u8; 4])> {
    let calls = adapter().advance(source, target, &reference(nonce)).await.unwrap();
    assert!(calls.iter().all(|call| call.chain == TARGET && call.value.is_zero()));
    assert!(calls.iter().all(|call| matches!(call.gas, GasRule::Estimate { .. })));
    calls
        .iter()
        .map(|call| (call.to, call.data[..4].try_into().unwrap()))
        .collect()
}

fn pending(note: &str) -> Delivery {
    Delivery::Pending { note: note.to_owned() }
}

fn attested(note: &str) -> Delivery {
    Delivery::Attested { note: note.to_owned() }
}

const COMMIT: (Address, [u8; 4]) = (LIBRARY, IReceiveUln::commitVerificationCall::SELECTOR);
const RECEIVE: (Address, [u8; 4]) = (ENDPOINT, IEndpoint::lzReceiveCall::SELECTOR);

#[test]
fn a_packet_sent_by_the_real_endpoint_decodes_to_its_known_hashes() {
    let raw = hex!(
        "0100000000000000010000759500000000000000000000000068b1d87f95878fe05b998f19b66f4baba5de1aed0000759d00000000000000000000000068b1d87f95878fe05b998f19b66f4baba5de1aed3c8e3381a819eed965cd5b7ec8071d4462a4a7f19454d8b2e12f88bd463fda7a2217acd7ad0f4746f99625a00c7d8d3c7b2cffdf5118f5fc5faca80382fd852f0000000000000000000000000000000000000000000000000000000000000064"
    );
    let packet = Packet::decode(&raw).unwrap();
    assert_eq!(
        (packet.nonce, packet.path.src_eid, packet.path.dst_eid),
        (1, 30101, 30109)
    );
    assert_eq!(
        packet.guid,
        b256!("3c8e3381a819eed965cd5b7ec8071d4462a4a7f19454d8b2e12f88bd463fda7a")
    );
    assert_eq!(
        packet.header_hash(),
        b256!("cbe47f9d6de5a72a05f8d5255fb12ccf32add2309eda2d6d8eb286d4e9cbdbe4")
    );
    assert_eq!(
        packet.payload_hash(),
        b256!("78cdcd46b60918976aa13b535f4b3441ecde637c5e99c036a74e587fafdf8bee")
    );
    assert_eq!(encoded(&packet).as_ref(), raw);
}

#[test]
fn bytes_that_are_no_packet_are_refused() {
    let good = encoded(&packet(4)).to_vec();
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        Packet::decode(&bytes)
    };
    assert_eq!(Packet::decode(&good[..112]), Err(PacketError::Short(112)));
    assert_eq!(changed(0, 2), Err(PacketError::Version(2)));
    assert_eq!(changed(8, 5), Err(PacketError::Guid(packet(4).guid)));
    assert!(matches!(changed(49, 1), Err(PacketError::Receiver(_))));
}

#[test]
fn a_configuration_that_confuses_chains_is_refused() {
    let mut twice = config();
    twice.chains[1].chain = SOURCE;
    assert_eq!(
        LayerZeroAdapter::new(twice).unwrap_err(),
        ConfigError::ChainTwice(SOURCE)
    );
    let mut eid = config();
    eid.chains[1].eid = 30301;
    assert_eq!(LayerZeroAdapter::new(eid).unwrap_err(), ConfigError::Eid(TARGET, 30301));
    let mut zero = config();
    zero.chains[0].port = Address::ZERO;
    assert_eq!(LayerZeroAdapter::new(zero).unwrap_err(), ConfigError::Zero(SOURCE));
}

#[test]
fn lanes_exist_between_configured_chains_with_an_outbox_at_the_source() {
    let mut config = config();
    config.chains[1].outbox = None;
    let adapter = LayerZeroAdapter::new(config).unwrap();
    let lane = adapter.lane(SOURCE, TARGET).unwrap();
    assert_eq!((lane.source_port, lane.target_port), (SOURCE_PORT, TARGET_PORT));
    assert!(adapter.lane(TARGET, SOURCE).is_none());
    assert!(adapter.lane(SOURCE, SOURCE).is_none());
    assert!(adapter.lane(SOURCE, ChainId(1)).is_none());
}

fn message(committed: bool) -> SealedMessage {
    SealedMessage {
        header: header(1),
        body: relayer_adapter_api::Body::Batch {
            ids: vec![SettlementId(B256::repeat_byte(5))],
        },
        committed,
    }
}

#[tokio::test]
async fn a_quote_adds_the_buffer_and_rounds_up() {
    let source = Scripted {
        fee: U256::from(1_001),
        ..Scripted::default()
    };
    let quote = adapter().quote(&source, &message(false)).await.unwrap();
    assert_eq!(quote.native_fee, U256::from(1_102));
}

#[tokio::test]
async fn a_refused_quote_names_the_protocols_error_and_its_class() {
    let error = ILayerZeroErrors::DVN_EidNotSupported { eid: 30302 };
    let source = Scripted {
        reverts: Some(error.abi_encode()),
        ..Scripted::default()
    };
    let error = adapter().quote(&source, &message(false)).await.unwrap_err();
    assert_eq!(error.class(), Class::Reject);
    assert!(
        error.to_string().contains("DVN_EidNotSupported { eid: 30302 }"),
        "{error}"
    );
}

#[tokio::test]
async fn a_send_pays_the_quote_and_repeats_ids_only_for_the_first_port() {
    let source = Scripted {
        fee: U256::from(1_000),
        ..Scripted::default()
    };
    let adapter = adapter();
    let quote = adapter.quote(&source, &message(false)).await.unwrap();
    for (committed, ids) in [(false, 1), (true, 0)] {
        let call = adapter.build_send(&message(committed), &quote).unwrap();
        assert_eq!((call.chain, call.to, call.value), (SOURCE, OUTBOX, U256::from(1_100)));
        let dispatch = ISettlementOutbox::dispatchCall::abi_decode(&call.data).unwrap();
        assert_eq!(dispatch.settlementIds.len(), ids);
        assert_eq!((dispatch.port, dispatch.gasLimit), (SOURCE_PORT, quote.gas_limit));
        assert_eq!(dispatch.header.as_ref(), header(1).encode());
    }
    let mut foreign = message(false);
    foreign.header.outbox = INBOX;
    assert_eq!(adapter.build_send(&foreign, &quote).unwrap_err().class(), Class::Reject);
}

#[test]
fn the_receipt_of_a_send_gives_guid_and_packet() {
    assert_eq!(adapter().decode_send(&receipt(&packet(7))).unwrap(), reference(7));
}

#[test]
fn a_receipt_that_does_not_prove_our_send_is_refused() {
    let check = |change: &dyn Fn(&mut TxReceipt), why: &str| {
        let mut receipt = receipt(&packet(7));
        change(&mut receipt);
        let error = adapter().decode_send(&receipt).unwrap_err();
        assert!(error.to_string().contains(why), "{error}, expected {why}");
    };
    check(&|r| r.succeeded = false, "reverted");
    check(&|r| r.logs[0].address = OUTBOX, "no packet of our port");
    check(&|r| r.logs[1].address = ENDPOINT, "did not announce");
    check(&|r| r.logs.truncate(1), "did not announce");
    check(&|r| r.logs.push(r.logs[0].clone()), "two packets");
    let mut foreign = packet(7);
    foreign.path.sender = OUTBOX.into_word();
    foreign.guid = foreign.path.guid(7);
    check(
        &|r| r.logs = super::tests::receipt(&foreign).logs,
        "no packet of our port",
    );
    let mut elsewhere = packet(7);
    elsewhere.path.receiver = OUTBOX.into_word();
    elsewhere.guid = elsewhere.path.guid(7);
    check(&|r| r.logs = super::tests::receipt(&elsewhere).logs, "different lanes");
}

#[tokio::test]
async fn only_the_vote_of_our_own_port_is_an_arrival() {
    let mut target = Scripted::default();
    target.votes.insert(1, U256::from(0b0100)); // slot 2, another port
    assert_eq!(
        delivery(&source_with(&[1]), &target, 1).await,
        pending("0 of 1 verifiers attested")
    );
    target.votes.insert(1, U256::from(0b1100)); // and slot 3, ours
    assert_eq!(delivery(&source_with(&[1]), &target, 1).await, Delivery::Received);
}

#[tokio::test]
async fn a_message_goes_from_unattested_to_committed() {
    let source = source_with(&[1]);
    let target = Scripted::default();
    assert_eq!(
        delivery(&source, &target, 1).await,
        pending("0 of 1 verifiers attested")
    );
    assert_eq!(advance(&source, &target, 1).await, []);
    let target = target.attested(1);
    assert_eq!(delivery(&source, &target, 1).await, attested("attested, not committed"));
    assert_eq!(advance(&source, &target, 1).await, [COMMIT]);
    let target = target.committed(1);
    assert_eq!(delivery(&source, &target, 1).await, attested("committed, not executed"));
    assert_eq!(advance(&source, &target, 1).await, [RECEIVE]);
}

#[tokio::test]
async fn a_message_behind_an_unverified_nonce_names_it() {
    let source = source_with(&[7, 8, 9]);
    let target = Scripted {
        lazy: 6,
        ..Scripted::default()
    };
    let check = async |target: &Scripted, note: &str| {
        assert_eq!(delivery(&source, target, 9).await, pending(note));
        assert_eq!(advance(&source, target, 9).await, []);
    };
    check(&target, "0 of 1 verifiers attested; blocked behind nonce 7").await;
    let target = target.attested(8).attested(9);
    check(&target, "blocked behind nonce 7").await;
    let target = target.committed(8).committed(9);
    check(&target, "blocked behind nonce 7").await;
}

#[tokio::test]
async fn earlier_attested_nonces_are_committed_to_free_ours() {
    let source = source_with(&[1, 2, 3]);
    let target = Scripted::default().attested(1).attested(2).attested(3).committed(2);
    assert_eq!(
        delivery(&source, &target, 3).await,
        attested("attested, 2 packets of the path not committed")
    );
    assert_eq!(advance(&source, &target, 3).await, [COMMIT, COMMIT]);
}

#[tokio::test]
async fn an_earlier_nonce_whose_packet_is_not_found_blocks() {
    let target = Scripted::default().attested(1).attested(2);
    assert_eq!(
        delivery(&source_with(&[2]), &target, 2).await,
        pending("blocked behind nonce 1")
    );
}

#[tokio::test]
async fn a_nonce_used_up_without_a_vote_never_arrives_this_way() {
    let target = Scripted {
        lazy: 2,
        ..Scripted::default()
    };
    assert!(matches!(
        delivery(&source_with(&[1]), &target, 1).await,
        Delivery::Failed { .. }
    ));
    assert_eq!(advance(&source_with(&[1]), &target, 1).await, []);
}

#[tokio::test]
async fn another_payload_under_our_nonce_and_a_nilified_one_are_failures() {
    for hash in [B256::repeat_byte(0xff), B256::repeat_byte(0x12)] {
        let mut target = Scripted::default();
        target.hashes.insert(1, hash);
        let delivery = delivery(&source_with(&[1]), &target, 1).await;
        assert!(matches!(delivery, Delivery::Failed { .. }), "{delivery:?}");
        assert_eq!(advance(&source_with(&[1]), &target, 1).await, []);
    }
}

#[tokio::test]
async fn a_rescue_somebody_else_made_first_is_left_out_and_a_real_refusal_is_told() {
    let mut target = Scripted::default().attested(1);
    target.reverts = Some(ILayerZeroErrors::LZ_ULN_Verifying {}.abi_encode());
    assert_eq!(advance(&source_with(&[1]), &target, 1).await, []);
    target = target.committed(1);
    target.reverts = Some(ISettlementInbox::NotPort { caller: TARGET_PORT }.abi_encode());
    let error = adapter()
        .advance(&source_with(&[1]), &target, &reference(1))
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::Reject);
    assert!(error.to_string().contains("inbox: NotPort"), "{error}");
}

#[tokio::test]
async fn evidence_that_does_not_fit_the_reference_is_refused() {
    let mut wrong_id = reference(1);
    wrong_id.id = packet(2).guid;
    let mut wrong_lane = reference(1);
    (wrong_lane.source, wrong_lane.target) = (TARGET, SOURCE);
    for reference in [wrong_id, wrong_lane] {
        let outcome = adapter()
            .delivery(&Scripted::default(), &Scripted::default(), &reference)
            .await;
        assert!(matches!(outcome, Err(AdapterError::Decode { .. })), "{outcome:?}");
    }
}

#[test]
fn reverts_are_classed_by_what_the_caller_can_do() {
    let check = |data: Vec<u8>, class: Class, name: &str| {
        let (text, found) = explain(&data);
        assert_eq!(found, class, "{text}");
        assert!(text.contains(name), "{text}");
    };
    let fee = ILayerZeroErrors::LZ_InsufficientFee {
        requiredNative: U256::from(2),
        suppliedNative: U256::from(1),
        requiredLzToken: U256::ZERO,
        suppliedLzToken: U256::ZERO,
    };
    assert!(matches!(explain(&fee.abi_encode()).1, Class::Retry { .. }));
    assert!(matches!(explain(&[]).1, Class::Retry { .. }));
    check(hex!("4c3118d4").to_vec(), Class::NotYet, "LZ_ULN_Verifying");
    check(hex!("0177e1ca").to_vec(), Class::NotYet, "LZ_PathNotVerifiable");
    check(hex!("00575ea1").to_vec(), Class::Bug, "Executor_NoOptions");
    check(hex!("6c1ccdb5").to_vec(), Class::Reject, "LZ_DefaultSendLibUnavailable");
    check(
        ISettlementOutbox::UnknownPort { port: SOURCE_PORT }.abi_encode(),
        Class::Reject,
        "outbox: UnknownPort",
    );
    check(hex!("deadbeef").to_vec(), Class::Reject, "unknown error 0xdeadbeef");
}

#[test]
fn the_hand_written_error_list_has_the_selectors_of_the_deployed_contracts() {
    use ILayerZeroErrors as E;
    assert_eq!(E::LZ_InsufficientFee::SELECTOR, hex!("4f3ec0d3"));
    assert_eq!(E::LZ_InvalidNonce::SELECTOR, hex!("c09b6350"));
    assert_eq!(E::LZ_PayloadHashNotFound::SELECTOR, hex!("7182306f"));
    assert_eq!(E::LZ_MessageLib_InvalidMessageSize::SELECTOR, hex!("c667af3e"));
    assert_eq!(E::DVN_EidNotSupported::SELECTOR, hex!("d009138a"));
    assert_eq!(E::Executor_EidNotSupported::SELECTOR, hex!("c3baa0b7"));
    assert_eq!(E::Executor_NativeAmountExceedsCap::SELECTOR, hex!("0084ce02"));
    assert_eq!(E::LZ_ULN_InvalidWorkerOptions::SELECTOR, hex!("6592671c"));
}
