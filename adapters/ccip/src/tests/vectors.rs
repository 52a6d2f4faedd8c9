//! What CCIP's own contracts emitted and accepted (testdata/README.md), and decoders against arbitrary bytes.

use super::{ON_RAMP, packed, sent, sent_2_0};
use crate::abi::v1_6::{self as abi, SentMessage, SentToken};
use crate::abi::{v1_5, v2_0};
use crate::message::{MessageError, Sent};
use crate::v2_0::PackedError;
use crate::{PackedMessage, Version, v1_6};
use alloy::primitives::{Address, B256, b256, hex, keccak256};
use alloy::sol_types::{SolCall, SolEvent};
use proptest::prelude::*;
use serde_json::Value;

fn file(name: &str) -> Value {
    let path = format!("{}/testdata/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn of<T: std::str::FromStr<Err: std::fmt::Debug>>(value: &Value) -> T {
    value.as_str().unwrap().parse().unwrap()
}

fn recorded(event: &Value) -> SentMessage {
    let header = &event["header"];
    let tokens = event["tokenAmounts"].as_array().unwrap().iter();
    SentMessage {
        header: abi::Header {
            messageId: of(&header["messageId"]),
            sourceChainSelector: of(&header["sourceChainSelector"]),
            destChainSelector: of(&header["destChainSelector"]),
            sequenceNumber: of(&header["sequenceNumber"]),
            nonce: of(&header["nonce"]),
        },
        sender: of(&event["sender"]),
        data: of(&event["data"]),
        receiver: of(&event["receiver"]),
        extraArgs: of(&event["extraArgs"]),
        feeToken: of(&event["feeToken"]),
        feeTokenAmount: of(&event["feeTokenAmount"]),
        feeValueJuels: of(&event["feeValueJuels"]),
        tokenAmounts: tokens
            .map(|token| SentToken {
                sourcePoolAddress: of(&token["sourcePoolAddress"]),
                destTokenAddress: of(&token["destTokenAddress"]),
                extraData: of(&token["extraData"]),
                amount: of(&token["amount"]),
                destExecData: of(&token["destExecData"]),
            })
            .collect(),
    }
}

#[test]
fn ids_and_leaves_of_1_6_are_those_of_the_contracts_and_give_the_committed_root() {
    let vectors = file("vectors-1.6.json");
    let on_ramp: Address = of(&vectors["onRamp"]);
    let mut leaves = Vec::new();
    for vector in vectors["messages"].as_array().unwrap() {
        let message = recorded(&vector["event"]);
        assert_eq!(v1_6::message_id(&message, on_ramp), of::<B256>(&vector["id"]));
        let arriving = v1_6::arriving(&message).unwrap();
        assert_eq!(arriving.receiver, of::<Address>(&vector["any"]["receiver"]));
        assert_eq!(
            arriving.sender,
            of::<alloy::primitives::Bytes>(&vector["any"]["sender"])
        );
        assert_eq!(v1_6::leaf(&arriving, on_ramp), of::<B256>(&vector["leaf"]));
        leaves.push(v1_6::leaf(&arriving, on_ramp));
        let sent = Sent::new_1_6(on_ramp, 7, message).unwrap();
        assert_eq!(Sent::decode(&sent.encode()).unwrap(), sent);
    }
    assert_eq!(leaves.len(), 5);
    let committed = b256!("130a7b72536cc306820c14323c6bf2b95a200a1d31d6aed1ffc7ca06d5f28d69");
    for index in 0..5 {
        assert_eq!(v1_6::prove(&leaves, index).unwrap().0, committed);
    }
    assert!(v1_6::prove(&leaves, 5).is_none() && v1_6::prove(&[], 0).is_none());
}

#[test]
fn packed_messages_of_2_0_decode_to_what_the_contracts_say() {
    let vectors = file("vectors-2.0.json");
    for vector in vectors["messages"].as_array().unwrap() {
        let packed = PackedMessage::decode(&of::<alloy::primitives::Bytes>(&vector["encoded"])).unwrap();
        assert_eq!(packed.id(), of::<B256>(&vector["id"]));
        let (message, decoded) = (&packed.message, &vector["decoded"]);
        assert_eq!(message.messageNumber, of::<u64>(&decoded["messageNumber"]));
        assert_eq!(message.executionGasLimit, of::<u32>(&decoded["executionGasLimit"]));
        assert_eq!(message.ccipReceiveGasLimit, of::<u32>(&decoded["ccipReceiveGasLimit"]));
        assert_eq!(packed.off_ramp().unwrap(), of::<Address>(&decoded["offRampAddress"]));
        assert_eq!(packed.receiver().unwrap(), of::<Address>(&decoded["receiver"]));
        assert_eq!(message.data, of::<alloy::primitives::Bytes>(&decoded["data"]));
        let transfer = &decoded["tokenTransfer"];
        assert_eq!(message.tokenTransfer.len(), usize::from(!transfer.is_null()));
        for found in &message.tokenTransfer {
            assert_eq!(found.amount, of::<alloy::primitives::U256>(&transfer["amount"]));
            assert_eq!(found.extraData, of::<alloy::primitives::Bytes>(&transfer["extraData"]));
        }
        let sent = Sent::new_2_0(packed.on_ramp().unwrap(), 7, packed.encoded()).unwrap();
        assert_eq!(Sent::decode(&sent.encode()).unwrap(), sent);
    }
}

#[test]
fn the_hand_written_abi_has_the_selectors_and_topics_of_the_deployed_contracts() {
    use crate::abi::{IRmn, IRouter};
    use abi::IOffRamp as Old;
    use v2_0::IOffRamp as New;
    assert_eq!(IRouter::getOnRampCall::SELECTOR, hex!("a8d87a3b"));
    assert_eq!(IRouter::getOffRampsCall::SELECTOR, hex!("a40e69c7"));
    assert_eq!(IRouter::getArmProxyCall::SELECTOR, hex!("5246492f"));
    assert_eq!(IRmn::isCursedCall::SELECTOR, hex!("2cbc26bb"));
    assert_eq!(Old::getSourceChainConfigCall::SELECTOR, hex!("e9d68a8e"));
    assert_eq!(Old::getDynamicConfigCall::SELECTOR, hex!("7437ff9f"));
    assert_eq!(Old::getExecutionStateCall::SELECTOR, hex!("5e36480c"));
    assert_eq!(Old::getMerkleRootCall::SELECTOR, hex!("ccd37ba3"));
    assert_eq!(Old::manuallyExecuteCall::SELECTOR, hex!("5e7bb008"));
    assert_eq!(Old::executeSingleMessageCall::SELECTOR, hex!("60987c20"));
    assert_eq!(New::getExecutionStateCall::SELECTOR, hex!("49d8033e"));
    assert_eq!(New::executeCall::SELECTOR, hex!("3b81ab9b"));
    assert_eq!(New::executeSingleMessageCall::SELECTOR, hex!("d6162963"));
    assert_eq!(
        abi::IOnRamp::CCIPMessageSent::SIGNATURE_HASH,
        b256!("192442a2b2adb6a7948f097023cb6b57d29d3a7a5dd33e6666d33c39cc456f32")
    );
    assert_eq!(
        v2_0::IOnRamp::CCIPMessageSent::SIGNATURE_HASH,
        b256!("371bc2ff0a006f4ef863b1d27a065d4e9f938b6d883eb154572b4aea593b32cc")
    );
    assert_eq!(
        Old::CommitReportAccepted::SIGNATURE_HASH,
        b256!("b967c9b9e1b7af9a61ca71ff00e9f5b89ec6f2e268de8dacf12f0de8e51f3e47")
    );
    assert_eq!(
        Old::ExecutionStateChanged::SIGNATURE_HASH,
        b256!("05665fe9ad095383d018353f4cbcba77e84db27dd215081bbf7cdf9ae6fbe48b")
    );
    assert_eq!(v1_5::SEND_REQUESTED[..4], hex!("d0c3c799"));
}

#[test]
fn versions_are_read_from_what_ramps_say() {
    let check = |told: &str, version: Option<Version>| assert_eq!(Version::parse(told), version, "{told}");
    check("EVM2EVMOnRamp 1.5.0", Some(Version::V1_5));
    check("OnRamp 1.6.0", Some(Version::V1_6));
    check("OnRamp 1.6.2-dev", Some(Version::V1_6));
    check("OffRamp 2.0.0", Some(Version::V2_0));
    for unknown in ["OnRamp 2.1.0", "EVM2EVMOnRamp 1.2.0", "OnRamp 16", "OnRamp", "", " "] {
        check(unknown, None);
    }
}

#[test]
fn a_message_whose_content_was_changed_is_not_the_message() {
    let mut evidence = sent(1).encode().to_vec();
    let last = evidence.len() - 1;
    evidence[40] ^= 1;
    assert!(Sent::decode(&evidence).is_err());
    evidence[40] ^= 1;
    assert!(Sent::decode(&evidence[..last]).is_err());
    evidence[5] ^= 1; // the on-ramp
    assert!(matches!(Sent::decode(&evidence), Err(MessageError::Id { .. })));
    let mut other_ramp = sent_2_0(1).encode().to_vec();
    other_ramp[5] ^= 1;
    assert!(matches!(Sent::decode(&other_ramp), Err(MessageError::OnRamp { .. })));
    let mut layout = sent(1).encode().to_vec();
    layout[1] = 15;
    assert_eq!(Sent::decode(&layout), Err(MessageError::Layout(1, 15)));
    assert_eq!(Sent::decode(&layout[..29]), Err(MessageError::Short(29)));
}

#[test]
fn a_packed_message_with_a_byte_more_or_less_is_refused() {
    let good = packed(3);
    assert_eq!(PackedMessage::decode(&good).unwrap().id(), keccak256(&good));
    for length in 0..good.len() {
        assert!(PackedMessage::decode(&good[..length]).is_err(), "{length}");
    }
    let longer = [good.as_slice(), &[0]].concat();
    assert_eq!(PackedMessage::decode(&longer), Err(PackedError::Trailing(1, "message")));
    let other = [&[2], &good[1..]].concat();
    assert_eq!(PackedMessage::decode(&other), Err(PackedError::Layout(2, "message")));
}

/// Folds a proof of one leaf the way the off-ramp does.
fn fold(leaf: B256, proof: &[B256]) -> B256 {
    proof.iter().fold(leaf, |node, sibling| {
        let (low, high) = if node < *sibling {
            (node, *sibling)
        } else {
            (*sibling, node)
        };
        let one = B256::with_last_byte(1);
        keccak256([one, low, high].concat())
    })
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
        let _ = PackedMessage::decode(&bytes);
        let _ = Sent::decode(&bytes);
        let _ = crate::explain_revert(&bytes);
        let _ = v1_6::gas_limit(&bytes);
    }

    #[test]
    fn no_change_of_a_good_message_makes_a_decoder_panic(at in 0usize..900, to in any::<u8>(), old in any::<bool>()) {
        let sent = if old { sent(1) } else { sent_2_0(1) };
        let mut bytes = sent.encode().to_vec();
        let at = at % bytes.len();
        let changed = bytes[at] != to;
        bytes[at] = to;
        // Fields no id binds (block, and in 1.6 the value of the fee) may change; nothing else may and still give this id.
        if let Ok(found) = Sent::decode(&bytes) {
            prop_assert!(!changed || found.id() != sent.id() || found.data() == sent.data());
            prop_assert_eq!(found.on_ramp, ON_RAMP);
        }
    }

    #[test]
    fn every_leaf_of_every_tree_is_proven(count in 1usize..40, seed in any::<u64>()) {
        let leaves: Vec<B256> = (0..count as u64).map(|n| keccak256((seed ^ n).to_be_bytes())).collect();
        let mut roots = std::collections::BTreeSet::new();
        for (index, leaf) in leaves.iter().enumerate() {
            let (root, proof) = v1_6::prove(&leaves, index).unwrap();
            prop_assert_eq!(fold(*leaf, &proof), root);
            roots.insert(root);
        }
        prop_assert_eq!(roots.len(), 1);
    }
}
