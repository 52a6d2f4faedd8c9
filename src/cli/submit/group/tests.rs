#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::settlement::auth::{Classification, classify};
use crate::settlement::terms::{Domain, Terms};
use crate::settlement::{ChainId, SettlementId};
use alloy::primitives::B256;
use clap::Parser;

#[derive(Parser)]
struct Bench {
    #[command(flatten)]
    args: SubmitArgs,
}

fn args(list: &[&str]) -> Result<SubmitArgs, clap::Error> {
    Bench::try_parse_from(std::iter::once("submit").chain(list.iter().copied())).map(|bench| bench.args)
}

fn address(byte: u8) -> String {
    format!("0x{}", alloy::hex::encode([byte; 20]))
}

fn item(nonce: u64, payee: u8) -> Value {
    json!({
        "terms": {
            "source_chain": 1, "target_chain": 2, "inbox": address(1), "payer": "", "payee": address(payee), "token": address(3),
            "amount": "10", "nonce": nonce.to_string(), "deadline": 5,
        },
        "receipts": [{
            "receipt_id": format!("r{nonce}"), "job_id": format!("j{nonce}"), "provider": "p", "price": 1.5,
            "signature": { "alg": "Ed25519", "key_id": "k", "sig": "x" },
        }],
    })
}

/// A file with these items, and a key beside it.
fn files(items: &[Value]) -> (tempfile::TempDir, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let (file, key) = (dir.path().join("group.json"), dir.path().join("key"));
    std::fs::write(&file, json!({ "coordinator": "a", "items": items }).to_string()).unwrap();
    std::fs::write(&key, B256::repeat_byte(7).to_string()).unwrap();
    let text = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    (dir, text(file), text(key))
}

#[test]
fn signing_sorts_the_items_and_covers_all_of_them_with_one_signature() {
    // By payee within a nonce word, the word first.
    let (_dir, file, key) = files(&[item(300, 2), item(5, 9), item(6, 4), item(7, 9)]);
    let args = args(&["--group", &file, "--payer-key-file", &key, "--coordinator", "b"]).unwrap();
    let signer = args.key().unwrap().unwrap().address();
    let group = Group::of(args).unwrap();
    assert_eq!(
        (group.places.as_slice(), group.request.coordinator.as_str()),
        (&[2, 1, 3, 0][..], "b")
    );
    let domain = Domain::new(ChainId(2), address(1).parse().unwrap());
    let ids: Vec<SettlementId> = group
        .request
        .items
        .iter()
        .map(|item| {
            let fields = super::super::fields_of(item.terms.as_ref().unwrap()).unwrap();
            domain.settlement_id(&Terms::new(fields).unwrap())
        })
        .collect();
    let digest = domain.group_digest(group_root(&ids).unwrap(), 4);
    let auth = alloy::hex::decode(&group.request.auth).unwrap();
    assert_eq!(classify(digest, &auth), Classification::RecoveredTo(signer));
}

#[test]
fn results_stand_in_the_order_of_the_file_and_the_worst_of_them_is_the_exit_code() {
    let (_dir, file, key) = files(&[item(300, 2), item(5, 9), item(6, 4)]);
    let group = Group::of(args(&["--group", &file, "--payer-key-file", &key]).unwrap()).unwrap();
    // google.rpc.Code
    let (failed_precondition, unavailable) = (9, 14);
    let refused = |status: i32| {
        Some(Outcome::Refused(v1::Refusal {
            code: "RLY-INTAKE-050".into(),
            status,
            ..Default::default()
        }))
    };
    let accepted = || Some(Outcome::Accepted(v1::SubmitResponse::default()));
    let exit = |outcomes: [Option<Outcome>; 3]| {
        let answers = outcomes.into_iter().map(|result| v1::GroupResult { result }).collect();
        let results = group.results(answers);
        let nonces: Vec<&str> = results.iter().map(|result| result.nonce.as_str()).collect();
        assert_eq!(nonces, ["300", "5", "6"]);
        (exit_of(&results), results)
    };
    assert_eq!(exit([accepted(), accepted(), accepted()]).0, Exit::Ok);
    // The second that was sent is item 1, the last item 0.
    let (code, results) = exit([accepted(), refused(unavailable), accepted()]);
    assert_eq!((code, results[1].outcome.is_err()), (Exit::Unavailable, true));
    let hint = results[1].json()["refused"]["hint"].as_str().unwrap().to_owned();
    assert!(!hint.is_empty());
    let worst = [refused(failed_precondition), refused(unavailable), accepted()];
    assert_eq!(exit(worst).0, Exit::Failed);
    assert_eq!(
        exit([accepted(), accepted(), None]).0,
        Exit::Failed,
        "no word is no yes"
    );
}

#[test]
fn what_cannot_be_sent_says_which_item_is_wrong_and_what_is_missing() {
    let failure = |items: &[Value], extra: &[&str]| {
        let (_dir, file, key) = files(items);
        let extra = extra
            .iter()
            .map(|flag| if *flag == "KEY" { key.as_str() } else { flag });
        let list: Vec<&str> = ["--group", &file].into_iter().chain(extra).collect();
        Group::of(args(&list).unwrap()).unwrap_err()
    };
    let unsigned = failure(&[item(1, 1)], &[]);
    assert!(
        unsigned.exit == Exit::Usage && unsigned.message.contains("--payer-key-env"),
        "{unsigned:?}"
    );
    let mut broken = item(2, 2);
    broken["receipts"] = json!([{ "receipt_id": 1 }]);
    let message = failure(&[item(1, 1), broken], &["--payer-key-file", "KEY"]).message;
    assert!(message.contains("item 1"), "{message}");
    let mut misspelt = item(2, 2);
    misspelt["prof"] = json!("0x");
    let message = failure(&[misspelt], &["--auth", "0x01"]).message;
    assert!(message.contains("prof"), "{message}");
    let message = failure(&[], &["--payer-key-file", "KEY"]).message;
    assert!(message.contains("no items"), "{message}");
    assert!(
        args(&["--group", "x", "--amount", "1"]).is_err(),
        "terms belong to an item"
    );
    assert!(args(&["x.json", "--group", "y"]).is_err());
}
