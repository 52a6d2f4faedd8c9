//! The shared vectors of docs/wire.md sections 1, 4 and 5, which forge runs as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::auth::{Classification, Decision, classify, decide, normalize};
use super::packed::{Authorization, GroupRange, Item, Member, Mode, Packed, Run, Section, leaf_order, pack};
use super::terms::{Domain, SignedGroup, Terms, TermsError, TermsFields, group_root};
use super::{ChainId, SettlementId};
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::signers::local::PrivateKeySigner;
use relayer_adapter_api::message::Header;
use relayer_adapter_api::{SealedMessage, tree};
use serde_json::Value;
use std::sync::Arc;

const TERMS: &str = include_str!("../../contracts/test/vectors/terms.json");
const PACKED: &str = include_str!("../../contracts/test/vectors/packed.json");
const SIGNATURES: &str = include_str!("../../contracts/test/vectors/signatures.json");

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

fn uint(value: &Value, key: &str) -> U256 {
    U256::from_str_radix(text(value, key), 10).unwrap()
}

fn word(value: &Value, key: &str) -> B256 {
    text(value, key).parse().unwrap()
}

fn address(value: &Value, key: &str) -> Address {
    text(value, key).parse().unwrap()
}

fn bytes(value: &Value, key: &str) -> Bytes {
    text(value, key).parse().unwrap()
}

fn words(value: &Value, key: &str) -> Vec<B256> {
    bytes(value, key).chunks_exact(32).map(B256::from_slice).collect()
}

fn ids(value: &Value, key: &str) -> Vec<SettlementId> {
    words(value, key).into_iter().map(SettlementId).collect()
}

fn domain(value: &Value) -> Domain {
    Domain::new(
        ChainId(text(value, "chainId").parse().unwrap()),
        address(value, "inbox"),
    )
}

fn fields(value: &Value) -> TermsFields {
    TermsFields {
        job_id: word(value, "jobId"),
        receipt_hash: word(value, "receiptHash"),
        proof_hash: word(value, "proofHash"),
        source_chain: ChainId(text(value, "sourceChainId").parse().unwrap()),
        payer: address(value, "payer"),
        payee: address(value, "payee"),
        token: address(value, "token"),
        amount: uint(value, "amount"),
        fee: uint(value, "fee"),
        nonce: uint(value, "nonce"),
        deadline: text(value, "deadline").parse().unwrap(),
    }
}

/// Address of the key that a name stands for.
fn signer(name: &str) -> Address {
    PrivateKeySigner::from_bytes(&keccak256(name)).unwrap().address()
}

#[test]
fn terms_give_the_id_and_the_signature_its_signer() {
    for case in list(&read(TERMS), "terms") {
        let domain = domain(case);
        let id = domain.settlement_id(&Terms::new(fields(case)).unwrap());
        assert_eq!(domain.separator(), word(case, "separator"), "{case}");
        assert_eq!(id.0, word(case, "id"), "{case}");
        let recovered = classify(id.0, &bytes(case, "signature"));
        assert_eq!(
            recovered,
            Classification::RecoveredTo(signer(text(case, "signer"))),
            "{case}"
        );
    }
}

#[test]
fn unfit_terms_are_refused() {
    for case in list(&read(TERMS), "unfit") {
        let abi = relayer_adapter_api::abi::ISettlementInbox::Settlement {
            jobId: word(case, "jobId"),
            receiptHash: word(case, "receiptHash"),
            proofHash: word(case, "proofHash"),
            sourceChainId: uint(case, "sourceChainId"),
            payer: address(case, "payer"),
            payee: address(case, "payee"),
            token: address(case, "token"),
            amount: uint(case, "amount"),
            fee: uint(case, "fee"),
            nonce: uint(case, "nonce"),
            deadline: uint(case, "deadline"),
        };
        let refused: Result<Terms, TermsError> = Terms::try_from(&abi);
        assert!(refused.is_err(), "{case}");
    }
}

#[test]
fn groups_give_the_root_the_digest_and_the_signature_its_signer() {
    for case in list(&read(TERMS), "groups") {
        let ids = ids(case, "ids");
        let root = group_root(&ids).unwrap();
        assert_eq!(root, word(case, "root"), "{case}");
        let digest = domain(case).group_digest(root, u32::try_from(ids.len()).unwrap());
        assert_eq!(
            (ids.len(), digest),
            (number(case, "count"), word(case, "digest")),
            "{case}"
        );
        let recovered = classify(digest, &bytes(case, "signature"));
        assert_eq!(
            recovered,
            Classification::RecoveredTo(signer(text(case, "signer"))),
            "{case}"
        );
    }
}

#[test]
fn netted_receipts_give_the_two_roots() {
    for case in list(&read(TERMS), "netting") {
        let hashes = words(case, "receiptHashes");
        let jobs: Vec<_> = list(case, "jobs")
            .iter()
            .map(|job| keccak256(job.as_str().unwrap()))
            .collect();
        assert_eq!(hashes.len(), jobs.len());
        assert!(hashes.is_sorted());
        let (receipt_hash, job_id) = super::receipt::netting::roots(&hashes, &jobs).unwrap();
        assert_eq!(
            (receipt_hash, job_id),
            (word(case, "receiptHash"), word(case, "jobId")),
            "{case}"
        );
    }
}

#[test]
fn signatures_are_accepted_asked_about_or_refused_as_the_inbox_would() {
    let file = read(SIGNATURES);
    let domain = domain(&file);
    for case in list(&file, "cases") {
        let payer = address(case, "payer");
        let mut terms = file["terms"].clone();
        terms["payer"] = case["payer"].clone();
        let id = domain.settlement_id(&Terms::new(fields(&terms)).unwrap());
        assert_eq!(id.0, word(case, "id"), "{case}");
        let stored = normalize(&bytes(case, "auth"));
        let speaks_for_payer = |address: Address| {
            address == payer
                || list(&file, "signers")
                    .iter()
                    .any(|row| self::address(row, "payer") == payer && self::address(row, "signer") == address)
        };
        let has_code = !text(case, "wallet").is_empty();
        let expected = match text(case, "intake") {
            "accept" => Decision::Accept,
            "ask" => Decision::AskContract,
            "refuse" => Decision::Refuse,
            other => panic!("intake {other}"),
        };
        assert_eq!(
            decide(classify(id.0, &stored), speaks_for_payer, has_code),
            expected,
            "{case}"
        );
        if expected != Decision::Refuse {
            assert_eq!(stored, bytes(case, "stored"), "{case}");
        }
    }
}

fn item(value: &Value) -> Item {
    let fields = fields(value);
    Item {
        nonce_byte: fields.nonce.byte(0),
        amount: fields.amount,
        fee: fields.fee,
        deadline: fields.deadline,
        job_id: fields.job_id,
        receipt_hash: fields.receipt_hash,
        proof_hash: fields.proof_hash,
        auth: value.get("auth").map(|_| bytes(value, "auth")),
    }
}

fn section(value: &Value) -> Section {
    let runs = list(value, "runs").iter().map(|run| Run {
        payee: address(run, "payee"),
        items: list(run, "items").iter().map(item).collect(),
    });
    Section {
        token: address(value, "token"),
        payer: address(value, "payer"),
        nonce_word: U256::from_be_slice(&bytes(value, "nonceWord")),
        mode: match text(value, "mode") {
            "0" => Mode::Each,
            _ => Mode::Group(GroupRange {
                count: number(value, "groupCount"),
                first: number(value, "groupFirst"),
                proof: words(value, "groupProof"),
                auth: bytes(value, "auth"),
            }),
        },
        runs: runs.collect(),
    }
}

/// The members of a case, from what is to be encoded.
fn members(case: &Value) -> Vec<Member> {
    let mut members = Vec::new();
    for section in list(case, "sections") {
        let group = (text(section, "mode") == "1")
            .then(|| Arc::new(SignedGroup::new(ids(section, "groupIds"), bytes(section, "auth")).unwrap()));
        let first = group.as_ref().map(|_| number(section, "groupFirst"));
        let items = list(section, "runs").iter().flat_map(|run| list(run, "items"));
        for (index, item) in items.enumerate() {
            members.push(Member {
                terms: Terms::new(fields(item)).unwrap(),
                authorization: match &group {
                    None => Authorization::Single(bytes(item, "auth")),
                    Some(group) => Authorization::Group {
                        group: group.clone(),
                        index: first.unwrap() + index,
                    },
                },
            });
        }
    }
    members
}

#[test]
fn packed_bytes_are_those_of_the_vectors_both_ways() {
    for case in list(&read(PACKED), "cases") {
        let name = text(case, "name");
        let header = Header::decode(&bytes(case, "message")).unwrap();
        let expected = Packed {
            header: header.clone(),
            first: number(case, "first"),
            proof: words(case, "proof"),
            sections: list(case, "sections").iter().map(section).collect(),
        };
        assert_eq!(Bytes::from(expected.encode()), bytes(case, "packed"), "{name}");
        assert_eq!(Packed::decode(&bytes(case, "packed")).unwrap(), expected, "{name}");
        let domain = Domain::new(header.target, header.inbox);
        let terms = expected.terms().unwrap();
        let derived: Vec<_> = terms.iter().map(|terms| domain.settlement_id(terms)).collect();
        assert_eq!(
            (derived.len(), derived),
            (number(case, "items"), ids(case, "ids")),
            "{name}"
        );
    }
}

#[test]
fn members_pack_into_the_bytes_of_the_vectors() {
    let mut equal = 0;
    for case in list(&read(PACKED), "cases") {
        let message = SealedMessage {
            header: Header::decode(&bytes(case, "message")).unwrap(),
            body: relayer_adapter_api::Body::Batch {
                ids: ids(case, "messageIds"),
            },
            committed: true,
        };
        let packed = pack(&message, number(case, "first"), &members(case)).unwrap();
        let vector = Packed::decode(&bytes(case, "packed")).unwrap();
        assert_eq!((&packed.proof, packed.terms()), (&vector.proof, vector.terms()));
        // The wire also allows a run to be split where the payee stays the same, which we never do.
        let splits = vector
            .sections
            .iter()
            .any(|section| section.runs.windows(2).any(|runs| runs[0].payee == runs[1].payee));
        assert_eq!(packed == vector, !splits, "{}", text(case, "name"));
        equal += usize::from(!splits);
    }
    assert!(equal >= 8);
}

#[test]
fn broken_layouts_are_refused_and_wrong_roots_do_not_hold() {
    let file = read(PACKED);
    let domain = domain(&file);
    for case in list(&file, "bad") {
        let decoded = Packed::decode(&bytes(case, "packed"));
        if text(case, "error") == "layout" {
            assert!(decoded.is_err(), "{case}");
            continue;
        }
        // A layout that reads is for this inbox only if chain and inbox say so, and commits to its items only if the proof holds.
        let holds = decoded.is_ok_and(|packed| {
            let ids: Vec<_> = packed
                .terms()
                .unwrap()
                .iter()
                .map(|terms| domain.settlement_id(terms).0)
                .collect();
            let header = &packed.header;
            (header.target, header.inbox) == (domain.chain, domain.inbox)
                && tree::verify_range(header.root, header.count as usize, packed.first, &ids, &packed.proof)
        });
        assert!(!holds, "{case}");
    }
}

#[test]
fn leaf_order_puts_the_nonce_word_before_the_payee() {
    let file = read(SIGNATURES);
    let mut terms = file["terms"].clone();
    terms["payer"] = list(&file, "cases")[0]["payer"].clone();
    let base = fields(&terms);
    let with = |payee: u8, nonce: u64| {
        let terms = Terms::new(TermsFields {
            payee: Address::repeat_byte(payee),
            nonce: U256::from(nonce),
            ..base
        });
        leaf_order(&terms.unwrap(), None)
    };
    assert!(with(9, 255) < with(1, 256));
    assert!(with(1, 255) < with(9, 0));
    assert!(with(1, 0) < with(1, 1));
}
