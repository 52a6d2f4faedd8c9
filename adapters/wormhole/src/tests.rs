#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod conformance;
mod sending;
mod wire;

use crate::abi::{CoreGuardianSet, ICore};
use crate::endorsement::{Endorsed, GuardianSet, quorum};
use crate::evidence::Evidence;
use crate::source::{Answer, VaaName, VaaSource, parse};
use crate::vaa::{Body, Signature, Vaa, VaaError};
use crate::{ConfigError, RestGuardian, WormholeAdapter, WormholeChain, WormholeConfig, explain_revert};
use alloy::primitives::{Address, B256, Bytes, U256, address, hex, keccak256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{SolCall, SolError, SolEvent, SolValue};
use async_trait::async_trait;
use base64::Engine as _;
use proptest::prelude::*;
use relayer_adapter_api::abi::{ISettlementInbox, ISettlementOutbox, IWormholePort};
use relayer_adapter_api::{
    AdapterError, BlockRef, BridgeAdapter, BridgeId, ChainId, ChainView, Class, Delivery, Family, Header, Kind,
    LogFilter, LogRecord, MessageRef, SealedMessage, SettlementId, TxReceipt, ViewError,
};
use std::sync::{Arc, Mutex};

const SOURCE: ChainId = ChainId(31337);
const TARGET: ChainId = ChainId(31338);
// The same core address on both chains, as on Ethereum and BSC.
const CORE: Address = Address::repeat_byte(0xc0);
const OUTBOX: Address = Address::repeat_byte(0x0b);
const INBOX: Address = Address::repeat_byte(0x1b);
const SOURCE_PORT: Address = Address::repeat_byte(0xa1);
const TARGET_PORT: Address = Address::repeat_byte(0xa2);
const NOW: u64 = 1_800_000_000;
/// A VAA the real core accepted, signed by the key of `proto-guardian-0`.
const VECTOR: &str = "0100000000010009b93ad1682c7e6d1a51bbf9fbc85b1751f0584a21b7f7e27eec110a297410ff3b41ffa5162369ccf0ebb2a196ebdc1e2e97ca408de001d4f8500b779181a030006b014842000000070002000000000000000000000000cf7ed3acca5a467e9e704c703e8d87f634fb0fc90000000000000000011166647aecbe7fbb829114763da3264225dfdc9d79a48d373ea3409ac1b677a40004000000000000000000000000cf7ed3acca5a467e9e704c703e8d87f634fb0fc90000000000000000000000000000000000000000000000000000000000003039";

fn config() -> WormholeConfig {
    let chain = |chain, wormhole_chain, port| WormholeChain {
        chain,
        wormhole_chain,
        core: CORE,
        port,
        outbox: Some(OUTBOX),
    };
    let chains = vec![chain(SOURCE, 2, SOURCE_PORT), chain(TARGET, 23, TARGET_PORT)];
    WormholeConfig::new(
        BridgeId::new("wormhole").unwrap(),
        chains,
        vec!["http://127.0.0.1:1".into()],
    )
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

/// Message number `n`, published under sequence `n`.
fn body(sequence: u64) -> Body {
    Body {
        timestamp: 1_799_999_000,
        nonce: 0,
        emitter_chain: 2,
        emitter: SOURCE_PORT.into_word(),
        sequence,
        consistency: 1,
        payload: header(sequence).encode().to_vec(),
    }
}

fn reference(sequence: u64) -> MessageRef {
    let expected = Body {
        timestamp: 0,
        ..body(sequence)
    };
    MessageRef {
        source: SOURCE,
        target: TARGET,
        id: body(sequence).digest(),
        evidence: Evidence { expected }.encode(),
    }
}

fn guardian(name: &str) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256(name)).unwrap()
}

/// Guardians `first..first + count`.
fn guardians(first: usize, count: usize) -> Vec<PrivateKeySigner> {
    (first..first + count)
        .map(|n| guardian(&format!("guardian {n}")))
        .collect()
}

fn signature(index: usize, signer: &PrivateKeySigner, digest: B256) -> Signature {
    let made = signer.sign_hash_sync(&digest).unwrap();
    Signature {
        guardian: u8::try_from(index).unwrap(),
        r: made.r().into(),
        s: made.s().into(),
        recovery_id: u8::from(made.v()),
    }
}

/// Signed by those of `set` that `who` picks.
fn signed(body: Body, index: u32, set: &[PrivateKeySigner], who: impl Fn(usize) -> bool) -> Vaa {
    let digest = body.digest();
    let picked = set.iter().enumerate().filter(|(n, _)| who(*n));
    Vaa {
        guardian_set: index,
        signatures: picked.map(|(n, signer)| signature(n, signer, digest)).collect(),
        body,
    }
}

fn set(index: u32, signers: &[PrivateKeySigner], expires: u32) -> GuardianSet {
    GuardianSet {
        index,
        keys: signers.iter().map(PrivateKeySigner::address).collect(),
        expires,
    }
}

/// The core's rule, written again from its source: what `assemble` gives must pass it.
fn core_accepts(vaa: &Vaa, set: &GuardianSet) -> bool {
    let digest = vaa.body.digest();
    let ascending = vaa
        .signatures
        .windows(2)
        .all(|pair| pair[0].guardian < pair[1].guardian);
    let all = vaa
        .signatures
        .iter()
        .all(|one| set.keys.get(usize::from(one.guardian)).copied() == one.signer(&digest));
    vaa.guardian_set == set.index && vaa.signatures.len() >= quorum(set.keys.len()) && ascending && all
}

// ------------------------------------------------------------------------------------------------------------------------- a made-up world

/// An endpoint that says what a test told it.
struct Endpoint(Mutex<Answer>);

#[async_trait]
impl VaaSource for Endpoint {
    fn name(&self) -> &str {
        "endpoint"
    }

    async fn signed_vaa(&self, name: VaaName) -> Answer {
        assert_eq!((name.emitter_chain, name.emitter), (2, SOURCE_PORT.into_word()));
        self.0.lock().unwrap().clone()
    }

    async fn guardian_set(&self) -> Result<u32, String> {
        Ok(0)
    }
}

fn vaa(vaa: Vaa) -> Answer {
    Answer::Vaa(Box::new(vaa))
}

fn down() -> Answer {
    Answer::Useless("connection refused".into())
}

/// The target chain (or, for quotes, the source) as its contracts would answer.
#[derive(Default)]
struct World {
    sets: Vec<GuardianSet>,
    votes: U256,
    delivered: B256,
    /// Answer of `publishMessage` and `executeVAAv1`.
    reverts: Option<Vec<u8>>,
    fee: U256,
}

impl World {
    fn with_sets(sets: Vec<GuardianSet>) -> Self {
        Self {
            sets,
            ..Self::default()
        }
    }

    fn core(&self, data: &[u8]) -> Vec<u8> {
        if data.starts_with(&ICore::getCurrentGuardianSetIndexCall::SELECTOR) {
            return self.sets.last().unwrap().index.abi_encode();
        }
        if let Ok(call) = ICore::getGuardianSetCall::abi_decode(data) {
            let found = self.sets.iter().find(|set| set.index == call.index);
            return CoreGuardianSet {
                keys: found.map(|set| set.keys.clone()).unwrap_or_default(),
                expirationTime: found.map_or(0, |set| set.expires),
            }
            .abi_encode();
        }
        assert!(data.starts_with(&ICore::publishMessageCall::SELECTOR));
        0u64.abi_encode()
    }
}

#[async_trait]
impl ChainView for World {
    fn chain(&self) -> ChainId {
        TARGET
    }

    fn block(&self) -> BlockRef {
        BlockRef {
            number: 100,
            hash: B256::repeat_byte(9),
            timestamp: NOW,
        }
    }

    async fn call(&self, _: Option<Address>, to: Address, data: Bytes, _: U256) -> Result<Bytes, ViewError> {
        let changes = data.starts_with(&ICore::publishMessageCall::SELECTOR)
            || data.starts_with(&IWormholePort::executeVAAv1Call::SELECTOR);
        if let (true, Some(data)) = (changes, &self.reverts) {
            return Err(ViewError::Reverted { data: data.clone() });
        }
        Ok(match to {
            CORE => self.core(&data),
            INBOX if data.starts_with(&ISettlementInbox::votesCall::SELECTOR) => self.votes.abi_encode(),
            INBOX => (U256::from(3), U256::from(3), true, U256::from(1)).abi_encode_params(),
            TARGET_PORT if changes => Vec::new(),
            TARGET_PORT => self.delivered.abi_encode(),
            OUTBOX => self.fee.abi_encode(),
            other => panic!("nothing at {other}"),
        }
        .into())
    }

    async fn logs(&self, _: &LogFilter) -> Result<Vec<LogRecord>, ViewError> {
        panic!("no logs are needed");
    }

    async fn receipt(&self, _: B256) -> Result<Option<TxReceipt>, ViewError> {
        panic!("no receipts are needed");
    }
}

struct Asked {
    adapter: WormholeAdapter,
    endpoints: Vec<Arc<Endpoint>>,
}

impl Asked {
    fn of(answers: Vec<Answer>) -> Self {
        let endpoints: Vec<_> = answers
            .into_iter()
            .map(|one| Arc::new(Endpoint(Mutex::new(one))))
            .collect();
        let sources = endpoints
            .iter()
            .map(|one| Arc::clone(one) as Arc<dyn VaaSource>)
            .collect();
        Self {
            adapter: WormholeAdapter::with_sources(config(), sources).unwrap(),
            endpoints,
        }
    }

    fn say(&self, endpoint: usize, answer: Answer) {
        *self.endpoints[endpoint].0.lock().unwrap() = answer;
    }

    async fn delivery(&self, world: &World) -> Delivery {
        self.adapter.delivery(world, world, &reference(1)).await.unwrap()
    }

    /// The VAA in the one call that brings message 1 in, if there is one.
    async fn call(&self, world: &World) -> Option<Vaa> {
        let calls = self.adapter.advance(world, world, &reference(1)).await.unwrap();
        assert!(calls.len() <= 1);
        let call = calls.first()?;
        assert_eq!((call.chain, call.to, call.value), (TARGET, TARGET_PORT, U256::ZERO));
        let call = IWormholePort::executeVAAv1Call::abi_decode(&call.data).unwrap();
        Some(Vaa::decode(&call.vaa).unwrap())
    }
}

// ------------------------------------------------------------------------------------------------------------------------- delivery

#[tokio::test]
async fn without_a_vaa_a_message_is_pending() {
    let world = World::with_sets(vec![set(0, &guardians(0, 19), 0)]);
    let asked = Asked::of(vec![Answer::Absent, down()]);
    let note = "no VAA yet, 1 of 2 endpoints say so; no answer from endpoint".to_owned();
    assert_eq!(asked.delivery(&world).await, Delivery::Pending { note });
    assert_eq!(asked.call(&world).await, None);
}

#[tokio::test]
async fn nineteen_signatures_are_trimmed_to_the_quorum() {
    let members = guardians(0, 19);
    let world = World::with_sets(vec![set(0, &members, 0)]);
    let asked = Asked::of(vec![vaa(signed(body(1), 0, &members, |_| true))]);
    let note = "13 guardians of set 0 signed".to_owned();
    assert_eq!(asked.delivery(&world).await, Delivery::Attested { note });
    let sent = asked.call(&world).await.unwrap();
    assert_eq!(sent.signatures.len(), 13);
    assert!(core_accepts(&sent, &world.sets[0]));
}

#[tokio::test]
async fn one_honest_endpoint_among_liars_is_enough() {
    let members = guardians(0, 19);
    let world = World::with_sets(vec![set(0, &members, 0)]);
    let mut bad_signatures = signed(body(1), 0, &members, |n| n < 13);
    for signature in &mut bad_signatures.signatures {
        signature.s = B256::repeat_byte(0x11);
    }
    let mut wrong_payload = signed(body(1), 0, &members, |n| n < 13);
    wrong_payload.body.payload[100] ^= 1;
    let strangers = signed(body(1), 0, &guardians(50, 19), |_| true);
    let honest = signed(body(1), 0, &members, |n| n >= 6);
    let answers = vec![
        vaa(bad_signatures),
        vaa(wrong_payload),
        vaa(strangers),
        down(),
        vaa(honest),
    ];
    let asked = Asked::of(answers.clone());
    assert!(core_accepts(&asked.call(&world).await.unwrap(), &world.sets[0]));

    let without = Asked::of(answers[..4].to_vec());
    let delivery = without.delivery(&world).await;
    assert!(matches!(delivery, Delivery::Pending { .. }), "{delivery:?}");
    assert_eq!(without.call(&world).await, None);
}

#[tokio::test]
async fn signatures_of_several_endpoints_add_up() {
    let members = guardians(0, 19);
    let world = World::with_sets(vec![set(0, &members, 0)]);
    let halves = vec![
        vaa(signed(body(1), 0, &members, |n| n < 8)),
        vaa(signed(body(1), 0, &members, |n| n >= 7)),
    ];
    let few = Asked::of(halves[..1].to_vec());
    let note = "signed by 8 of 13 guardians needed of set 0".to_owned();
    assert_eq!(few.delivery(&world).await, Delivery::Pending { note });
    assert!(core_accepts(
        &Asked::of(halves).call(&world).await.unwrap(),
        &world.sets[0]
    ));
}

#[tokio::test]
async fn a_quorum_for_another_message_of_the_sequence_is_a_failure() {
    let members = guardians(0, 19);
    let world = World::with_sets(vec![set(0, &members, 0)]);
    let other = Body {
        payload: header(2).encode().to_vec(),
        ..body(1)
    };
    let asked = Asked::of(vec![vaa(signed(other.clone(), 0, &members, |n| n < 13))]);
    assert!(matches!(asked.delivery(&world).await, Delivery::Failed { .. }));
    let asked = Asked::of(vec![vaa(signed(other, 0, &members, |n| n < 12))]);
    assert!(matches!(asked.delivery(&world).await, Delivery::Pending { .. }));
}

#[tokio::test]
async fn a_quorum_for_another_sequence_says_nothing_about_ours() {
    let members = guardians(0, 19);
    let world = World::with_sets(vec![set(0, &members, 0)]);
    let asked = Asked::of(vec![vaa(signed(body(2), 0, &members, |_| true))]);
    assert!(matches!(asked.delivery(&world).await, Delivery::Pending { .. }));
}

#[tokio::test]
async fn the_time_of_the_block_is_the_guardians_to_say() {
    let members = guardians(0, 19);
    let world = World::with_sets(vec![set(0, &members, 0)]);
    let moved = Body {
        timestamp: 1_799_999_005,
        ..body(1)
    };
    let asked = Asked::of(vec![vaa(signed(moved, 0, &members, |_| true))]);
    assert!(asked.call(&world).await.is_some());
}

// ------------------------------------------------------------------------------------------------------------------------- guardian sets

#[tokio::test]
async fn an_expired_set_is_relabelled_when_enough_guardians_stayed() {
    let old = guardians(0, 19);
    // Fourteen stay, all at other places.
    let new: Vec<_> = guardians(5, 19).into_iter().rev().collect();
    let expired = u32::try_from(NOW).unwrap() - 1;
    let world = World::with_sets(vec![set(0, &old, expired), set(1, &new, 0)]);
    let asked = Asked::of(vec![vaa(signed(body(1), 0, &old, |_| true))]);
    let sent = asked.call(&world).await.unwrap();
    assert!(core_accepts(&sent, &world.sets[1]));
    assert_eq!(sent.guardian_set, 1);
}

#[tokio::test]
async fn an_expired_set_that_cannot_be_relabelled_waits_for_new_signatures() {
    let (old, new) = (guardians(0, 19), guardians(12, 19));
    let expired = u32::try_from(NOW).unwrap() - 1;
    let world = World::with_sets(vec![set(0, &old, expired), set(1, &new, 0)]);
    let asked = Asked::of(vec![vaa(signed(body(1), 0, &old, |_| true))]);
    let note = "signed by 7 of 13 guardians needed of set 1".to_owned();
    assert_eq!(asked.delivery(&world).await, Delivery::Pending { note });
    assert_eq!(asked.call(&world).await, None);
    asked.say(0, vaa(signed(body(1), 1, &new, |n| n < 13)));
    assert!(core_accepts(&asked.call(&world).await.unwrap(), &world.sets[1]));
}

#[tokio::test]
async fn an_old_set_counts_until_it_expires() {
    let (old, new) = (guardians(0, 19), guardians(30, 19));
    let expires = u32::try_from(NOW).unwrap() + 60;
    let world = World::with_sets(vec![set(0, &old, expires), set(1, &new, 0)]);
    let asked = Asked::of(vec![vaa(signed(body(1), 0, &old, |n| n < 13))]);
    assert!(core_accepts(&asked.call(&world).await.unwrap(), &world.sets[0]));
}

#[tokio::test]
async fn a_set_the_target_does_not_know_yet_is_relabelled_backwards() {
    let (old, new) = (guardians(0, 19), guardians(3, 19));
    let world = World::with_sets(vec![set(0, &old, 0)]);
    let asked = Asked::of(vec![vaa(signed(body(1), 1, &new, |_| true))]);
    assert!(core_accepts(&asked.call(&world).await.unwrap(), &world.sets[0]));
}

#[tokio::test]
async fn a_set_without_guardians_vouches_for_nothing() {
    let world = World::with_sets(vec![set(0, &[], 0)]);
    let asked = Asked::of(vec![vaa(signed(body(1), 0, &[], |_| true))]);
    assert!(matches!(asked.delivery(&world).await, Delivery::Pending { .. }));
}

#[tokio::test]
async fn a_message_once_attested_survives_endpoints_that_go_down_and_a_rotation() {
    let old = guardians(0, 19);
    let mut world = World::with_sets(vec![set(0, &old, 0)]);
    let asked = Asked::of(vec![vaa(signed(body(1), 0, &old, |_| true))]);
    assert!(matches!(asked.delivery(&world).await, Delivery::Attested { .. }));
    asked.say(0, down());
    assert!(core_accepts(&asked.call(&world).await.unwrap(), &world.sets[0]));
    world.sets[0].expires = u32::try_from(NOW).unwrap() - 1;
    world.sets.push(set(1, &guardians(3, 19), 0));
    assert!(core_accepts(&asked.call(&world).await.unwrap(), &world.sets[1]));
}

// ------------------------------------------------------------------------------------------------------------------------- arrival

#[tokio::test]
async fn the_vote_of_our_port_is_the_arrival() {
    let mut world = World::with_sets(vec![set(0, &guardians(0, 19), 0)]);
    let asked = Asked::of(vec![Answer::Absent]);
    world.votes = U256::from(1 << 3);
    assert_eq!(asked.delivery(&world).await, Delivery::Received);
    world.votes = U256::from(1 << 2);
    assert!(matches!(asked.delivery(&world).await, Delivery::Pending { .. }));
}

#[tokio::test]
async fn a_sequence_that_came_in_without_our_message_is_a_failure() {
    let mut world = World::with_sets(vec![set(0, &guardians(0, 19), 0)]);
    world.delivered = B256::repeat_byte(1);
    let asked = Asked::of(vec![Answer::Absent]);
    assert!(matches!(asked.delivery(&world).await, Delivery::Failed { .. }));
    assert_eq!(asked.call(&world).await, None);
}

#[tokio::test]
async fn a_delivery_somebody_else_was_faster_with_is_no_error() {
    let members = guardians(0, 19);
    let mut world = World::with_sets(vec![set(0, &members, 0)]);
    let asked = Asked::of(vec![vaa(signed(body(1), 0, &members, |_| true))]);
    let digest = body(1).digest();
    world.reverts = Some(IWormholePort::AlreadyDelivered { digest }.abi_encode());
    assert_eq!(asked.call(&world).await, None);
    world.reverts = Some(
        IWormholePort::BadSignature {
            guardianIndex: U256::from(3),
        }
        .abi_encode(),
    );
    let refused = asked.adapter.advance(&world, &world, &reference(1)).await.unwrap_err();
    assert!(matches!(refused.class(), Class::Retry { .. }), "{refused}");
}

#[tokio::test]
async fn evidence_of_another_lane_is_not_followed() {
    let world = World::with_sets(vec![set(0, &guardians(0, 1), 0)]);
    let asked = Asked::of(vec![Answer::Absent]);
    let mut strange = vec![reference(1), reference(1), reference(1)];
    strange[0].target = SOURCE;
    strange[1].evidence = Bytes::from_static(b"\x02");
    let mut other = body(1);
    other.emitter = TARGET_PORT.into_word();
    strange[2].evidence = Evidence { expected: other }.encode();
    for reference in strange {
        assert!(asked.adapter.delivery(&world, &world, &reference).await.is_err());
    }
}
