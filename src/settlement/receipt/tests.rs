#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::json::parse;
use super::verify_cli::{verify_line, verify_text};
use super::*;
use alloy::primitives::{U256, keccak256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};

const VECTORS: &str = include_str!("../../../testdata/aitbc/receipt_vectors.json");
const SAMPLE: &str = include_str!("../../../testdata/aitbc/sample_receipt.json");
const PUBLISHED_SAMPLE: &str = include_str!("../../../testdata/aitbc/sample_receipt_signed.public.json");
const SAMPLE_KEY: &str = "4c9bc7d00f69924d1cdee40c3650a2bcbb37191de2d53d93b5f21b2d3d27dbd4";
const SAMPLE_HASH: &str = "195326a790912e675caeb4e207d9a093b495474b37911d26f1476115450fa6f3";

fn vectors() -> serde_json::Value {
    serde_json::from_str(VECTORS).unwrap()
}

fn object(text: &str) -> Object {
    match parse(text.as_bytes(), &Limits::default()).unwrap() {
        Value::Object(object) => object,
        _ => panic!("not an object"),
    }
}

fn canonical_of(text: &str) -> String {
    canonical::write_object(&canonical::payload(&object(text)))
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn pins(keys: &[&SigningKey]) -> PinnedKeys {
    PinnedKeys::parse(keys.iter().map(|key| hex::encode(key.verifying_key().to_bytes()))).unwrap()
}

fn entry(key: &SigningKey, canonical: &str) -> String {
    format!(
        r#"{{"alg":"Ed25519","key_id":"{}","sig":"{}"}}"#,
        URL_SAFE_NO_PAD.encode(key.verifying_key().to_bytes()),
        URL_SAFE_NO_PAD.encode(key.sign(canonical.as_bytes()).to_bytes())
    )
}

/// A receipt with these extra members, signed by `key`.
fn signed(key: &SigningKey, members: &str) -> String {
    let body = format!(r#""receipt_id":"r1","job_id":"j1","provider":"m1"{members}"#);
    let entry = entry(key, &canonical_of(&format!("{{{body}}}")));
    format!(r#"{{{body},"signature":{entry}}}"#)
}

fn verify(text: &str, keys: &PinnedKeys) -> Result<VerifiedReceipt, ReceiptError> {
    Receipt::parse(text.as_bytes(), &Limits::default())?.verify(keys)
}

#[test]
fn every_vector_gives_its_canonical_bytes_hash_and_signature() {
    let vectors = vectors();
    let keys = PinnedKeys::parse([vectors["test_key"]["ed25519_public_hex"].as_str().unwrap()]).unwrap();
    let cases = vectors["canonicalisation_and_signature"].as_array().unwrap();
    assert_eq!(cases.len(), 7);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let canonical = canonical_of(case["wire"].as_str().unwrap());
        assert_eq!(canonical, case["canonical"].as_str().unwrap(), "{name}");
        let hash = hex::encode(receipt_hash(canonical.as_bytes()));
        assert_eq!(hash, case["receipt_hash_sha256"].as_str().unwrap(), "{name}");
        let entry = SignatureEntry {
            alg: case["signature"]["alg"].as_str().unwrap().into(),
            key_id: case["signature"]["key_id"].as_str().unwrap().into(),
            sig: case["signature"]["sig"].as_str().unwrap().into(),
        };
        assert!(keys.verify(canonical.as_bytes(), &entry).is_ok(), "{name}");
        let other = format!("{canonical} ");
        assert_eq!(
            keys.verify(other.as_bytes(), &entry),
            Err(SignatureError::Wrong),
            "{name}"
        );
    }
}

#[test]
fn a_live_receipt_verifies_with_its_post_signing_fields_and_its_attestation() {
    let vectors = vectors();
    let live = &vectors["live_coordinator_receipt"];
    let signer = vectors["test_key"]["ed25519_public_hex"].as_str().unwrap();
    let attestor = live["as_signed"]["attestations"][0]["key_id"].as_str().unwrap();
    for form in ["as_signed", "with_post_signing_fields"] {
        let text = live[form].to_string();
        let receipt = verify(&text, &PinnedKeys::parse([signer, attestor]).unwrap()).unwrap();
        assert_eq!(receipt.canonical(), live["canonical"].as_str().unwrap().as_bytes());
        assert_eq!(
            hex::encode(receipt.hash()),
            live["receipt_hash_sha256"].as_str().unwrap()
        );
        assert_eq!(receipt.signers.len(), 2);
        assert_eq!(receipt.price.as_deref(), Some("0.25"));
        assert_eq!(
            verify(&text, &PinnedKeys::parse([signer]).unwrap())
                .unwrap()
                .signers
                .len(),
            1
        );
        assert!(matches!(
            verify(&text, &PinnedKeys::parse([attestor]).unwrap()),
            Err(ReceiptError::Signature(SignatureError::UnknownKey(_)))
        ));
    }
    let stripped: Vec<_> = live["unsigned_extension_keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key.as_str().unwrap())
        .collect();
    assert_eq!(stripped, canonical::POST_SIGNING_KEYS);
}

#[test]
fn the_real_sample_verifies() {
    let receipt = verify(SAMPLE, &PinnedKeys::parse([SAMPLE_KEY]).unwrap()).unwrap();
    assert_eq!(hex::encode(receipt.hash()), SAMPLE_HASH);
    assert_eq!(
        (
            receipt.receipt_id.as_str(),
            receipt.job_id.as_str(),
            receipt.provider.as_str()
        ),
        ("rcpt-20250926-000123", "job-abc123", "ait1minerxyz...")
    );
    assert_eq!(receipt.price.as_deref(), Some("4.2"));
    assert_eq!(receipt.canonical().len(), 412);
}

#[test]
fn a_changed_field_or_an_unknown_key_is_refused() {
    let keys = PinnedKeys::parse([SAMPLE_KEY]).unwrap();
    let dearer = SAMPLE.replace("4.2", "4.3");
    assert_eq!(
        verify(&dearer, &keys).unwrap_err(),
        ReceiptError::Signature(SignatureError::Wrong)
    );
    let extra = SAMPLE.replace("\"version\"", "\"extra\":1,\"version\"");
    assert!(verify(&extra, &keys).is_err());
    let other = pins(&[&key(1)]);
    assert!(matches!(
        verify(SAMPLE, &other),
        Err(ReceiptError::Signature(SignatureError::UnknownKey(_)))
    ));
    assert!(matches!(
        verify(SAMPLE, &PinnedKeys::default()),
        Err(ReceiptError::Signature(SignatureError::UnknownKey(_)))
    ));
}

#[test]
fn only_pinned_keys_count_whatever_the_key_id_claims() {
    let (pinned, stranger) = (key(1), key(2));
    let keys = pins(&[&pinned]);
    let by_stranger = signed(&stranger, "");
    assert!(verify(&by_stranger, &keys).is_err());
    let pinned_id = URL_SAFE_NO_PAD.encode(pinned.verifying_key().to_bytes());
    let stranger_id = URL_SAFE_NO_PAD.encode(stranger.verifying_key().to_bytes());
    let claims_pinned = by_stranger.replace(&stranger_id, &pinned_id);
    assert_eq!(
        verify(&claims_pinned, &keys).unwrap_err(),
        ReceiptError::Signature(SignatureError::Wrong)
    );
    let named = signed(&pinned, "").replace(&pinned_id, "miner-ed25519-2025-09");
    assert!(verify(&named, &keys).is_ok());
    let stranger_named = by_stranger.replace(&stranger_id, "miner-ed25519-2025-09");
    assert!(verify(&stranger_named, &keys).is_err());
}

#[test]
fn attestations_of_pinned_keys_must_hold_and_others_count_for_nothing() {
    let (signer, attestor, stranger) = (key(1), key(2), key(3));
    let keys = pins(&[&signer, &attestor]);
    let base = signed(&signer, "");
    let with = |entries: &str| base.replacen('{', &format!("{{\"attestations\":[{entries}],"), 1);
    let good = entry(&attestor, &canonical_of(&base));
    let wrong = entry(&attestor, "something else");
    let foreign = entry(&stranger, &canonical_of(&base));
    assert_eq!(verify(&with(&good), &keys).unwrap().signers.len(), 2);
    assert_eq!(verify(&with(&foreign), &keys).unwrap().signers.len(), 1);
    assert_eq!(
        verify(&with(&format!("{foreign},{wrong}")), &keys).unwrap_err(),
        ReceiptError::Attestation {
            index: 1,
            error: SignatureError::Wrong
        }
    );
    assert_eq!(
        verify(&with("7"), &keys).unwrap_err(),
        ReceiptError::Field("attestations")
    );
}

#[test]
fn a_status_that_is_present_must_be_completed() {
    let signer = key(1);
    let keys = pins(&[&signer]);
    assert!(verify(&signed(&signer, r#","status":"COMPLETED""#), &keys).is_ok());
    assert!(verify(&signed(&signer, r#","status":null"#), &keys).is_ok());
    assert_eq!(
        verify(&signed(&signer, r#","status":"FAILED""#), &keys).unwrap_err(),
        ReceiptError::Status("FAILED".into())
    );
    assert_eq!(
        verify(&signed(&signer, r#","status":7"#), &keys).unwrap_err(),
        ReceiptError::Field("status")
    );
}

#[test]
fn malformed_receipts_are_refused_with_the_field_named() {
    let check = |text: &str, expected: ReceiptError| {
        assert_eq!(
            Receipt::parse(text.as_bytes(), &Limits::default()).unwrap_err(),
            expected,
            "{text}"
        );
    };
    check("[]", ReceiptError::NotAnObject);
    check(r#"{"job_id":"j","provider":"p"}"#, ReceiptError::Missing("receipt_id"));
    check(
        r#"{"receipt_id":null,"job_id":"j","provider":"p"}"#,
        ReceiptError::Missing("receipt_id"),
    );
    check(
        r#"{"receipt_id":"","job_id":"j","provider":"p"}"#,
        ReceiptError::Field("receipt_id"),
    );
    check(
        r#"{"receipt_id":"r","job_id":1,"provider":"p"}"#,
        ReceiptError::Field("job_id"),
    );
    check(
        r#"{"receipt_id":"r","job_id":"\ud800","provider":"p"}"#,
        ReceiptError::Field("job_id"),
    );
    check(
        r#"{"receipt_id":"r","job_id":"\u0000","provider":"p"}"#,
        ReceiptError::Field("job_id"),
    );
    check(
        r#"{"receipt_id":"r","job_id":"j","provider":"p","price":"4"}"#,
        ReceiptError::Field("price"),
    );
    check(
        r#"{"receipt_id":"r","job_id":"j","provider":"p","signature":"x"}"#,
        ReceiptError::Field("signature"),
    );
    let unsigned = r#"{"receipt_id":"r","job_id":"j","provider":"p","signature":null}"#;
    assert_eq!(verify(unsigned, &pins(&[&key(1)])).unwrap_err(), ReceiptError::Unsigned);
}

#[test]
fn algorithm_and_signature_encoding_are_checked() {
    let signer = key(1);
    let keys = pins(&[&signer]);
    let good = signed(&signer, "");
    assert!(matches!(
        verify(&good.replace("Ed25519", "HS256"), &keys),
        Err(ReceiptError::Signature(SignatureError::Algorithm(_)))
    ));
    let at = good.find("\"sig\":\"").unwrap() + 7;
    let short = format!("{}{}", &good[..at], &good[at + 4..]);
    assert_eq!(
        verify(&short, &keys).unwrap_err(),
        ReceiptError::Signature(SignatureError::Encoding)
    );
}

#[test]
fn weak_and_malformed_keys_cannot_be_pinned() {
    assert!(matches!(PinnedKeys::parse(["00"]), Err(KeyError::Encoding(_))));
    assert!(matches!(PinnedKeys::parse(["zz"]), Err(KeyError::Encoding(_))));
    let identity = format!("01{}", "00".repeat(31));
    assert!(matches!(PinnedKeys::parse([identity]), Err(KeyError::NotAKey(_))));
    let twice = PinnedKeys::parse([SAMPLE_KEY, "TJvH0A9pkk0c3uQMNlCivLs3GR3i1T2TtfIbLT0n29Q"]).unwrap();
    assert_eq!(twice.iter().count(), 1);
}

#[test]
fn size_and_depth_are_bounded() {
    let limits = Limits {
        bytes_max: 20,
        depth_max: 3,
    };
    let check = |text: &str, expected: Option<JsonError>| {
        assert_eq!(parse(text.as_bytes(), &limits).err(), expected, "{text}");
    };
    check(r#"{"a":[[1]]}"#, None);
    check(r#"{"a":[[[1]]]}"#, Some(JsonError::TooDeep { max: 3 }));
    check(&"1".repeat(20), None);
    check(&"1".repeat(21), Some(JsonError::TooLong { bytes: 21, max: 20 }));
    let deep = "[".repeat(200_000);
    assert_eq!(
        parse(deep.as_bytes(), &Limits::default()).err(),
        Some(JsonError::TooDeep { max: 64 })
    );
}

#[test]
fn what_python_would_not_read_or_write_is_refused() {
    for text in [
        "",
        " ",
        "{",
        "{}x",
        "{'a':1}",
        "{\"a\":NaN}",
        "[Infinity]",
        "[-Infinity]",
        "[1e400]",
        "[01]",
        "[1.]",
        "[.5]",
        "[+1]",
        "[1,]",
        "{\"a\":1,}",
        "\"\n\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u00é\"",
        "\"",
        "\u{feff}{}",
        "[1 2]",
        "{\"a\" 1}",
        "nul",
    ] {
        assert!(parse(text.as_bytes(), &Limits::default()).is_err(), "{text:?}");
    }
    assert!(parse(b"\"\xff\"", &Limits::default()).is_err());
    let long = format!("[{}]", "9".repeat(4301));
    assert!(parse(long.as_bytes(), &Limits::default()).is_err());
}

#[test]
fn the_last_of_duplicate_keys_wins() {
    assert_eq!(
        canonical_of(r#"{"price":1,"a":2,"price":3.0}"#),
        r#"{"a":2,"price":3.0}"#
    );
}

#[test]
fn only_the_closed_list_is_stripped_and_only_at_the_top() {
    let text = r#"{"zk_status":"x","signature":1,"metadata":{"zk_status":"kept","signature":2},"zk_other":"kept"}"#;
    assert_eq!(
        canonical_of(text),
        r#"{"metadata":{"signature":2,"zk_status":"kept"},"zk_other":"kept"}"#
    );
}

#[test]
fn lone_surrogates_stay_as_cpython_keeps_them() {
    assert_eq!(
        canonical_of(r#"{"a":"\uD83Dx\uDE00 \ud83d\ud83d\ude00"}"#),
        r#"{"a":"\ud83dx\ude00 \ud83d\ud83d\ude00"}"#
    );
}

#[test]
fn prices_become_units_exactly_or_not_at_all() {
    let check = |price: &str, decimals: u8, expected: Option<&str>| {
        let units = decimal_to_units(price, decimals);
        assert_eq!(
            units.clone().ok().map(|units| units.to_string()).as_deref(),
            expected,
            "{price} {units:?}"
        );
    };
    check("4.2", 6, Some("4200000"));
    check("4.2", 1, Some("42"));
    check("4.2", 0, None);
    check("0.30000000000000004", 18, Some("300000000000000040"));
    check("0.30000000000000004", 17, Some("30000000000000004"));
    check("0.30000000000000004", 16, None);
    check("1e-07", 6, None);
    check("1e-07", 7, Some("1"));
    check("1.5e+16", 0, Some("15000000000000000"));
    check("1e+22", 6, Some("10000000000000000000000000000"));
    check("100.0", 0, Some("100"));
    check("100", 2, Some("10000"));
    check("0", 18, Some("0"));
    check("0.0", 0, Some("0"));
    check("-0.0", 0, Some("0"));
    check("-1", 0, None);
    check("1e+300", 18, None);
    check("5e-324", 255, None);
    check("1.", 0, None);
    check("abc", 0, None);
    check("", 0, None);
    check("1e99999999999999999999", 0, None);
    let max = U256::MAX.to_string();
    check(&max, 0, Some(&max));
    check(&format!("{max}0"), 0, None);
    check(
        "115792089237316195423570985008687907853269984665640564039457584007913129639936",
        0,
        None,
    );
}

#[test]
fn amounts_follow_the_rule_of_the_coordinator() {
    let check = |rule: AmountRule, amount: u64, prices: &[Option<&str>], ok: bool| {
        let result = check_amount(rule, U256::from(amount), prices.iter().copied(), 2);
        assert_eq!(result.is_ok(), ok, "{rule} {amount} {prices:?}: {result:?}");
    };
    let (equal, at_most, free) = (AmountRule::Equal, AmountRule::AtMost, AmountRule::Free);
    check(equal, 420, &[Some("4.2")], true);
    check(equal, 419, &[Some("4.2")], false);
    check(equal, 421, &[Some("4.2")], false);
    check(at_most, 420, &[Some("4.2")], true);
    check(at_most, 1, &[Some("4.2")], true);
    check(at_most, 421, &[Some("4.2")], false);
    check(free, 999, &[Some("4.2")], true);
    check(free, 999, &[None], true);
    check(equal, 0, &[None], false);
    check(at_most, 1, &[None], false);
    check(at_most, 1, &[Some("4.2"), None], false);
    check(equal, 720, &[Some("4.2"), Some("3.0")], true);
    check(equal, 720, &[Some("4.2"), Some("3.001")], false);
    check(at_most, 1, &[Some("0.001")], false);
    assert_eq!("at_most".parse(), Ok(at_most));
    assert!("most".parse::<AmountRule>().is_err());
}

fn receipt(id: &str, job: &str) -> Receipt {
    let text = format!(r#"{{"receipt_id":"{id}","job_id":"{job}","provider":"p"}}"#);
    Receipt::parse(text.as_bytes(), &Limits::default()).unwrap()
}

#[test]
fn one_receipt_stands_for_itself_and_many_give_sorted_roots() {
    use relayer_adapter_api::tree;
    let receipts: Vec<_> = (0..5).map(|n| receipt(&format!("r{n}"), &format!("j{n}"))).collect();
    let one = net([&receipts[0]]).unwrap();
    assert_eq!((one.receipt_hash, one.job_id), (receipts[0].hash(), keccak256("j0")));
    let netted = net(&receipts).unwrap();
    let mut sorted: Vec<_> = receipts.iter().collect();
    sorted.sort_by_key(|receipt| receipt.hash());
    let hashes: Vec<_> = sorted.iter().map(|receipt| receipt.hash()).collect();
    let jobs: Vec<_> = sorted.iter().map(|receipt| keccak256(&receipt.job_id)).collect();
    assert_eq!(netted.receipt_hash, tree::root(&hashes).unwrap());
    assert_eq!(netted.job_id, tree::root(&jobs).unwrap());
    let reversed = net(receipts.iter().rev()).unwrap();
    assert_eq!(
        (reversed.receipt_hash, reversed.job_id),
        (netted.receipt_hash, netted.job_id)
    );
    let by_order: Vec<_> = netted.order.iter().map(|index| receipts[*index].hash()).collect();
    assert_eq!(by_order, hashes);
}

#[test]
fn a_receipt_twice_two_receipts_of_one_job_and_none_at_all_are_refused() {
    let (a, b, a2) = (receipt("r1", "j1"), receipt("r2", "j2"), receipt("r3", "j1"));
    assert_eq!(net([&a, &b, &a]), Err(NettingError::Duplicate(a.hash())));
    assert_eq!(net([&a, &b, &a2]), Err(NettingError::SameJob("j1".into())));
    assert!(matches!(net([]), Err(NettingError::Tree(_))));
}

#[test]
fn verdicts_name_what_was_judged_and_why_it_failed() {
    let keys = PinnedKeys::parse([SAMPLE_KEY]).unwrap();
    let limits = Limits::default();
    let good = verify_text(SAMPLE.as_bytes(), &keys, &limits);
    assert_eq!(good.len(), 1);
    assert_eq!(
        serde_json::to_string(&good[0]).unwrap(),
        format!(
            r#"{{"receipt_id":"rcpt-20250926-000123","receipt_hash":"{SAMPLE_HASH}","valid":true,"signers":["{SAMPLE_KEY}"],"error":null}}"#
        )
    );
    let unpinned = verify_text(SAMPLE.as_bytes(), &PinnedKeys::default(), &limits);
    assert!(!unpinned[0].valid && unpinned[0].signers.is_empty() && unpinned[0].judged);
    assert_eq!(unpinned[0].receipt_hash.as_deref(), Some(SAMPLE_HASH));
    assert!(unpinned[0].error.as_deref().unwrap().contains("not pinned"));
    let partial = verify_line(br#"{"a":1}"#, &keys, &limits);
    assert_eq!((partial.valid, partial.judged), (false, true));
    assert!(partial.receipt_hash.is_some() && partial.receipt_id.is_none());
}

#[test]
fn lines_are_judged_one_by_one_and_blank_ones_skipped() {
    let keys = PinnedKeys::parse([SAMPLE_KEY]).unwrap();
    let limits = Limits::default();
    let line = SAMPLE.replace('\n', " ");
    let text = format!("{line}\r\n\n{}\nnot json\n[]\n", line.replace("4.2", "4.3"));
    let verdicts = verify_text(text.as_bytes(), &keys, &limits);
    let flags: Vec<_> = verdicts.iter().map(|verdict| (verdict.valid, verdict.judged)).collect();
    assert_eq!(flags, [(true, true), (false, true), (false, false), (false, false)]);
    let broken = verify_text(b"{\n\"a\":\n", &keys, &limits);
    assert_eq!(broken.len(), 1);
    assert!(!broken[0].judged);
}

#[test]
fn the_published_sample_file_is_judged_as_the_receipt_it_holds() {
    let keys = PinnedKeys::parse([SAMPLE_KEY]).unwrap();
    let verdicts = verify_text(PUBLISHED_SAMPLE.as_bytes(), &keys, &Limits::default());
    assert!(verdicts[0].valid);
    assert_eq!(verdicts[0].receipt_hash.as_deref(), Some(SAMPLE_HASH));
}
