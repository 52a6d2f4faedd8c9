//! The shared vectors of docs/wire.md sections 2 and 3, which forge runs as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy::primitives::{Address, B256, U256, keccak256};
use relayer_adapter_api::message::{Header, Kind, WireMessage};
use relayer_adapter_api::{ChainId, tree};
use serde_json::Value;
use std::str::FromStr;

const TREE: &str = include_str!("../../../contracts/test/vectors/tree.json");
const MESSAGE: &str = include_str!("../../../contracts/test/vectors/message.json");
const CHECKPOINT: &str = include_str!("../../../contracts/test/vectors/checkpoint.json");

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a Vec<Value> {
    let list = value[key].as_array().unwrap();
    assert!(!list.is_empty(), "{key} is empty");
    list
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} of {value}"))
}

fn number(value: &Value, key: &str) -> usize {
    text(value, key).parse().unwrap()
}

fn word(value: &Value, key: &str) -> B256 {
    text(value, key).parse().unwrap()
}

fn bytes(value: &Value, key: &str) -> Vec<u8> {
    hex::decode(&text(value, key)[2..]).unwrap()
}

fn words(value: &Value, key: &str) -> Vec<B256> {
    bytes(value, key).chunks_exact(32).map(B256::from_slice).collect()
}

/// Id i of every tree of the file.
fn ids(count: usize) -> Vec<B256> {
    (0..count)
        .map(|i| keccak256(U256::from(i).to_be_bytes::<32>()))
        .collect()
}

#[test]
fn leaf_and_node_hash_as_the_vectors_do() {
    let tree_file = read(TREE);
    assert_eq!(
        tree::leaf(word(&tree_file["leaf"], "id")),
        word(&tree_file["leaf"], "hash")
    );
    let node = &tree_file["node"];
    assert_eq!(tree::node(word(node, "left"), word(node, "right")), word(node, "hash"));
}

#[test]
fn roots_are_those_of_the_vectors() {
    for case in list(&read(TREE), "roots") {
        assert_eq!(
            tree::root(&ids(number(case, "count"))).unwrap(),
            word(case, "root"),
            "{case}"
        );
    }
}

#[test]
fn range_proofs_are_those_of_the_vectors_and_hold() {
    for case in list(&read(TREE), "proofs") {
        let (count, first, items) = (number(case, "count"), number(case, "first"), number(case, "items"));
        let (ids, proof) = (ids(count), words(case, "proof"));
        assert_eq!(tree::range_proof(&ids, first, first + items).unwrap(), proof, "{case}");
        assert!(
            tree::verify_range(word(case, "root"), count, first, &ids[first..first + items], &proof),
            "{case}"
        );
    }
}

#[test]
fn bad_range_proofs_do_not_hold() {
    for case in list(&read(TREE), "bad") {
        let (ids, proof) = (words(case, "ids"), words(case, "proof"));
        let (count, first) = (number(case, "count"), number(case, "first"));
        assert!(
            !tree::verify_range(word(case, "root"), count, first, &ids, &proof),
            "{case}"
        );
    }
}

#[test]
fn messages_encode_and_decode_as_the_vectors_do() {
    for case in list(&read(MESSAGE), "messages") {
        let chain = |key| ChainId(text(case, key).parse().unwrap());
        let padded = |key| Address::from_word(word(case, key));
        let header = Header {
            kind: Kind::SettlementBatch,
            source: chain("sourceChain"),
            target: chain("targetChain"),
            outbox: padded("outbox"),
            inbox: padded("inbox"),
            sequence: text(case, "sequence").parse().unwrap(),
            root: word(case, "root"),
            count: text(case, "count").parse().unwrap(),
            fee_recipient: Address::from_str(text(case, "feeRecipient")).unwrap(),
        };
        assert_eq!(header.encode().to_vec(), bytes(case, "bytes"), "{case}");
        assert_eq!(header.batch_id().0, word(case, "messageId"), "{case}");
        assert_eq!(Header::decode(&bytes(case, "bytes")), Ok(header), "{case}");
    }
}

#[test]
fn bad_messages_are_refused() {
    for case in list(&read(MESSAGE), "bad") {
        assert!(Header::decode(&bytes(case, "bytes")).is_err(), "{case}");
    }
}

#[test]
fn checkpoints_encode_and_decode_as_the_vectors_do() {
    for case in list(&read(CHECKPOINT), "messages") {
        let chain = |key| ChainId(text(case, key).parse().unwrap());
        let account = |key| Address::from_str(text(case, key)).unwrap();
        let message = WireMessage {
            header: Header {
                kind: Kind::Checkpoint,
                source: chain("sourceChain"),
                target: chain("targetChain"),
                outbox: account("outbox"),
                inbox: account("inbox"),
                sequence: text(case, "eon").parse().unwrap(),
                root: word(case, "root"),
                count: 0,
                fee_recipient: Address::ZERO,
            },
            hub: Some(account("hub")),
        };
        assert_eq!(message.encode(), bytes(case, "bytes"), "{case}");
        assert_eq!(message.id().0, word(case, "messageId"), "{case}");
        assert_eq!(WireMessage::decode(&bytes(case, "bytes")), Ok(message), "{case}");
    }
}

#[test]
fn bad_checkpoints_are_refused() {
    for case in list(&read(CHECKPOINT), "bad") {
        // A batch is something else, and no checkpoint.
        let taken = WireMessage::decode(&bytes(case, "bytes")).is_ok_and(|message| message.hub.is_some());
        assert!(!taken, "{case}");
    }
}
