#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::settlement::auth::{Classification, classify};
use clap::Parser;

#[derive(Parser)]
struct Bench {
    #[command(flatten)]
    args: SubmitArgs,
}

fn args(list: &[&str]) -> SubmitArgs {
    Bench::parse_from(std::iter::once("submit").chain(list.iter().copied())).args
}

const RECEIPT: &str = r#"{"receipt_id":"r1","job_id":"j1","provider":"p1","price":1.5,
    "signature":{"alg":"Ed25519","key_id":"k","sig":"x"}}"#;

#[test]
fn flags_win_over_the_file_and_deadlines_may_be_relative() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("request.json");
    let body = format!(
        r#"{{"coordinator":"a","auth":"0x01","receipts":[{RECEIPT}],"terms":{{"source_chain":1,"target_chain":2,
        "payer":"0xaa","payee":"0xbb","token":"0xcc","amount":"10","nonce":"1","deadline":5}}}}"#
    );
    std::fs::write(&path, body).unwrap();
    let path = path.to_str().unwrap();
    let request = args(&[path, "--coordinator", "b", "--amount", "11", "--deadline", "+60"])
        .request(1_000)
        .unwrap();
    let terms = request.terms.unwrap();
    assert_eq!(request.coordinator, "b");
    assert_eq!(
        (
            terms.amount.as_str(),
            terms.fee.as_str(),
            terms.nonce.as_str(),
            terms.deadline
        ),
        ("11", "0", "1", 1_060)
    );
    assert_eq!(request.receipts, [RECEIPT.as_bytes().to_vec()]);
    assert!(args(&[path, "--deadline", "soon"]).request(0).is_err());
}

#[test]
fn signing_completes_the_terms_and_recovers_to_the_payer() {
    let key = PrivateKeySigner::from_bytes(&B256::repeat_byte(7)).unwrap();
    let address = |byte: u8| format!("0x{}", alloy::hex::encode([byte; 20]));
    let mut request = v1::SubmitRequest {
        terms: Some(v1::Terms {
            source_chain: 1,
            target_chain: 2,
            inbox: address(1),
            payee: address(2),
            token: address(3),
            amount: "10".into(),
            fee: "0".into(),
            nonce: "1".into(),
            deadline: 5,
            ..Default::default()
        }),
        receipts: vec![RECEIPT.into()],
        proof: vec![1, 2, 3],
        ..Default::default()
    };
    sign(&mut request, &key).unwrap();
    let proto = request.terms.unwrap();
    assert_eq!(proto.job_id, keccak256("j1").to_string());
    assert_eq!(proto.proof_hash, keccak256([1, 2, 3]).to_string());
    let terms = Terms::new(fields_of(&proto).unwrap()).unwrap();
    let id = Domain::new(ChainId(2), parse::address("", &proto.inbox).unwrap()).settlement_id(&terms);
    let auth = parse::bytes("", &request.auth).unwrap();
    assert_eq!(classify(id.0, &auth), Classification::RecoveredTo(key.address()));
}

#[test]
fn a_bad_key_is_refused_without_repeating_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, "hunter2").unwrap();
    let failure = private_key(None, Some(&path)).unwrap_err();
    assert!(!failure.message.contains("hunter2"), "{}", failure.message);
    assert!(private_key(None, None).unwrap().is_none());
}
