#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::document::{Decimal, Document, DocumentError, parse};
use super::vector_tests::{VECTORS, checkpoints};
use super::verify::{Check, verify};
use crate::error::Coded;
use alloy::primitives::{B256, U256};
use serde_json::{Value, json};

/// The third checkpoint of the vectors: two tokens, three accounts and padding.
fn checkpoint() -> Document {
    checkpoints().remove(2)
}

fn json() -> Value {
    serde_json::to_value(checkpoint()).unwrap()
}

/// Checks that fail once the checkpoint was changed.
fn failing(change: impl FnOnce(&mut Document)) -> Vec<Check> {
    let mut document = checkpoint();
    change(&mut document);
    let report = verify(&[document]);
    assert_eq!(
        report.failed,
        report.verdicts.iter().filter(|verdict| !verdict.holds).count()
    );
    assert_eq!(report.holds, report.failed == 0);
    let failed = report.verdicts.into_iter().filter(|verdict| !verdict.holds);
    failed.map(|verdict| verdict.check).collect()
}

fn refusal(text: &str) -> String {
    let error = parse(text.as_bytes()).unwrap_err();
    assert_eq!(error.code().code, "RLY-HUB-001");
    error.to_string()
}

#[test]
fn an_untouched_checkpoint_holds() {
    assert!(failing(|_| ()).is_empty());
}

#[test]
fn a_wrong_stated_hash_fails_its_own_check_only() {
    let wrong = B256::repeat_byte(1);
    assert_eq!(
        failing(|it| it.tokens[0].accounts[1].content_hash = wrong),
        [Check::ContentHash]
    );
    assert_eq!(
        failing(|it| it.tokens[0].accounts[1].leaf_hash = wrong),
        [Check::LeafHash]
    );
    assert_eq!(
        failing(|it| it.tokens[0].account_tree_root = wrong),
        [Check::AccountRoot]
    );
    assert_eq!(failing(|it| it.tokens[1].token_leaf = wrong), [Check::TokenLeaf]);
    let proof = failing(|it| it.tokens[0].accounts[2].allotment_chain[1] = wrong);
    assert_eq!(proof, [Check::AllotmentProof]);
    assert_eq!(failing(|it| it.tokens[0].accounts[2].trail ^= 1).len(), 6);
}

#[test]
fn a_wrong_root_fails_every_proof_and_the_root() {
    let failed = failing(|it| it.checkpoint_merkle_root = B256::repeat_byte(1));
    let count = |check| failed.iter().filter(|failed| **failed == check).count();
    let found = [Check::MembershipProof, Check::AllotmentProof, Check::CheckpointRoot].map(count);
    assert_eq!((found, failed.len()), ([2, 4, 1], 7));
}

#[test]
fn an_allotment_beyond_the_upper_bound_fails() {
    let failed = failing(|it| it.tokens[0].accounts[2].right.0 += U256::from(1));
    assert!(
        failed.contains(&Check::Intervals) && failed.contains(&Check::CheckpointRoot),
        "{failed:?}"
    );
    let failed = failing(|it| it.tokens[0].upper_bound.0 += U256::from(1));
    assert!(
        failed.contains(&Check::Intervals) && failed.contains(&Check::AllotmentProof),
        "{failed:?}"
    );
}

#[test]
fn a_gap_an_overlap_or_a_missing_account_fails() {
    for change in [1, -1] {
        let failed = failing(|it| {
            let left = &mut it.tokens[0].accounts[2].left.0;
            *left = if change > 0 {
                *left + U256::from(1)
            } else {
                *left - U256::from(1)
            };
        });
        assert!(failed.contains(&Check::Intervals), "{failed:?}");
    }
    let failed = failing(|it| {
        it.tokens[0].accounts.remove(1);
    });
    assert!(failed.contains(&Check::Intervals), "{failed:?}");
    let failed = failing(|it| it.tokens[0].accounts[0].left.0 = U256::MAX);
    assert!(failed.contains(&Check::Intervals), "{failed:?}");
}

#[test]
fn tokens_out_of_order_fail() {
    assert!(failing(|it| it.tokens.swap(0, 1)).contains(&Check::Tokens));
    assert!(failing(|it| it.tokens[1].token = it.contract).contains(&Check::Tokens));
    assert!(failing(|it| it.tokens[1].token_trail = 3).contains(&Check::Tokens));
    assert!(failing(|it| it.tokens.clear()).contains(&Check::Tokens));
    let failed = failing(|it| {
        it.tokens.remove(1);
    });
    assert_eq!(failed, [Check::CheckpointRoot]);
}

#[test]
fn no_checkpoint_at_all_does_not_hold() {
    assert!(!verify(&[]).holds);
    assert!(matches!(parse(b"{\"checkpoints\":[]}"), Err(DocumentError::Empty)));
}

#[test]
fn a_verdict_names_what_it_is_about() {
    let mut document = checkpoint();
    document.tokens[0].accounts[1].leaf_hash = B256::ZERO;
    let report = verify(&[checkpoint(), document.clone()]);
    assert_eq!((report.failed, report.roots.len()), (1, 2));
    let verdict = report.verdicts.iter().find(|verdict| !verdict.holds).unwrap();
    assert_eq!((verdict.checkpoint, verdict.trail), (1, Some(1)));
    assert_eq!(verdict.token, Some(document.contract));
    assert_eq!(verdict.wallet, Some(document.tokens[0].accounts[1].wallet));
    assert!(verdict.reason.as_ref().unwrap().contains("0xb986"), "{verdict:?}");
    let json = serde_json::to_value(verdict).unwrap();
    assert_eq!((&json["check"], &json["holds"]), (&json!("leaf_hash"), &json!(false)));
}

#[test]
fn one_checkpoint_and_a_list_of_them_are_read() {
    assert_eq!(parse(json().to_string().as_bytes()).unwrap(), [checkpoint()]);
    assert_eq!(parse(VECTORS.as_bytes()).unwrap().len(), 3);
}

#[test]
fn what_is_no_checkpoint_is_refused_with_the_place() {
    assert!(refusal("").contains("EOF"));
    assert!(refusal("{").contains("line 1 column 1"));
    assert!(refusal("[]").contains("contract") || refusal("[]").contains("invalid"));
    assert!(refusal("{}").contains("missing field `contract`"));
    assert!(refusal("{\"checkpoints\":[{}]}").contains("missing field `contract`"));
    assert!(refusal("{\"checkpoints\":7}").contains("invalid type"));
    assert!(refusal(&format!("{} {{}}", json())).contains("trailing"));
    assert!(parse(b"{\"contract\":\"\xff\"}").is_err());
}

fn refusal_with(pointer: &str, value: Value) -> String {
    let mut json = json();
    *json.pointer_mut(pointer).unwrap() = value;
    refusal(&json.to_string())
}

#[test]
fn malformed_fields_are_refused() {
    let amount = "/tokens/0/upper_bound";
    for bad in ["", "-1", "+1", "1.0", "1e18", "0x10", " 1", "01", "1_000", "٣"] {
        assert!(
            refusal_with(amount, json!(bad)).contains("string of decimal digits"),
            "{bad:?}"
        );
    }
    assert!(refusal_with(amount, json!(1000)).contains("string of decimal digits"));
    let over = "115792089237316195423570985008687907853269984665640564039457584007913129639936";
    assert!(refusal_with(amount, json!(over)).contains("string of decimal digits"));
    refusal_with(amount, Value::Null);
    refusal_with("/tokens/0/accounts/0/values/0", json!(7));
    refusal_with("/tokens/0/accounts/0/trail", json!(-1));
    refusal_with("/tokens/0/accounts/0/trail", json!(1.5));
    refusal_with("/tokens/0/accounts/0/trail", json!("0"));
    refusal_with("/tokens/0/accounts/0/wallet", json!("0x12"));
    refusal_with("/tokens/0/accounts/0/leaf_hash", json!("0x12"));
    refusal_with("/tokens/0/membership_chain", json!(null));
}

#[test]
fn unknown_and_repeated_fields_are_refused_because_nothing_would_check_them() {
    let mut json = json();
    json["tokens"][0]["accounts"][0]["balance"] = json!("1");
    assert!(refusal(&json.to_string()).contains("unknown field `balance`"));
    assert!(refusal("{\"tokens\":[],\"tokens\":[]}").contains("duplicate field `tokens`"));
}

#[test]
fn the_largest_amount_is_read_and_written() {
    let max = Decimal(U256::MAX);
    let text = serde_json::to_string(&max).unwrap();
    assert_eq!(serde_json::from_str::<Decimal>(&text).unwrap(), max);
}
