//! Every value of testdata/nocust/vectors.json.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::account::{TokenPrefix, padding_content};
use super::state::{ActiveState, Holder, check_signer, signed_digest, signer};
use super::transfer::Transfer;
use super::tree::zero_subtrees;
use super::verify::verify;
use super::*;
use alloy::primitives::{Address, B256, U256};
use serde_json::Value;

pub(super) const VECTORS: &str = include_str!("../../../testdata/nocust/vectors.json");

fn vectors() -> Value {
    serde_json::from_str(VECTORS).unwrap()
}

fn hash(value: &Value) -> B256 {
    value.as_str().unwrap().parse().unwrap()
}

fn address(value: &Value) -> Address {
    value.as_str().unwrap().parse().unwrap()
}

fn amount(value: &Value) -> U256 {
    U256::from_str_radix(value.as_str().unwrap(), 10).unwrap()
}

fn hashes(value: &Value) -> Vec<B256> {
    value.as_array().unwrap().iter().map(hash).collect()
}

/// The checkpoints of the vectors, parsed.
pub(super) fn checkpoints() -> Vec<Document> {
    document::parse(VECTORS.as_bytes()).unwrap()
}

#[test]
fn no_part_of_the_vectors_is_left_out() {
    let vectors = vectors();
    let mut parts: Vec<&str> = vectors.as_object().unwrap().keys().map(String::as_str).collect();
    parts.sort_unstable();
    let tested = [
        "active_state",
        "checkpoints",
        "padding_account_leaf",
        "parent_chain_accumulator",
        "transfer_checksum",
        "tx_tree_vectors_from_nocust_client_spec",
        "zero_subtree_hashes",
    ];
    assert_eq!(parts, tested);
}

#[test]
fn zero_subtrees_are_those_of_the_hub() {
    let expected = hashes(&vectors()["zero_subtree_hashes"]);
    assert_eq!(expected.len(), 33);
    assert_eq!(zero_subtrees(expected.len() - 1), expected);
}

#[test]
fn transfer_trees_have_the_roots_of_the_client() {
    let vectors = vectors();
    let trees = vectors["tx_tree_vectors_from_nocust_client_spec"].as_array().unwrap();
    assert_eq!(trees.len(), 4);
    for vector in trees {
        let leaves = hashes(&vector["leaves"]);
        let root = hash(&vector["root"]);
        let tree = HashTree::new(leaves.clone()).unwrap();
        assert_eq!(tree.root(), root);
        for (index, leaf) in leaves.iter().enumerate() {
            let chain = tree.proof(index).unwrap();
            proof::verify_membership(*leaf, index as u64, &chain, root).unwrap();
        }
    }
}

#[test]
fn checkpoints_built_from_their_allotments_are_those_of_the_hub() {
    let checkpoints = checkpoints();
    assert_eq!(checkpoints.len(), 3);
    for expected in checkpoints {
        let allotments = |token: &document::TokenDocument| {
            let allotments = token.accounts.iter().map(|account| account.allotment().unwrap());
            (token.token, allotments.collect())
        };
        let tokens: Vec<(Address, Vec<Allotment>)> = expected.tokens.iter().map(allotments).collect();
        assert_eq!(Document::of(expected.contract, &tokens).unwrap(), expected);
    }
}

#[test]
fn checkpoints_of_the_hub_hold_in_every_check() {
    let report = verify(&checkpoints());
    let failed: Vec<_> = report.verdicts.iter().filter(|verdict| !verdict.holds).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(report.holds);
    // 2 per checkpoint, 4 for each of 4 tokens, 3 for each of 7 accounts.
    assert_eq!(report.checks, 3 * 2 + 4 * 4 + 7 * 3);
}

#[test]
fn proofs_of_the_hub_give_the_upper_bound() {
    for checkpoint in checkpoints() {
        for token in &checkpoint.tokens {
            for account in &token.accounts {
                let bound = account.proof(token).verify(
                    checkpoint.contract,
                    token.token,
                    &account.account(),
                    checkpoint.checkpoint_merkle_root,
                );
                assert_eq!(bound, Ok(token.upper_bound.0));
                let prefix = TokenPrefix::new(checkpoint.contract, token.token);
                assert_eq!(prefix.content(&account.account()), account.content_hash);
            }
        }
    }
}

#[test]
fn padding_belongs_to_nobody() {
    let vectors = vectors();
    let padding = &vectors["padding_account_leaf"];
    assert_eq!(padding_content(), hash(&padding["content_hash"]));
    assert_eq!(padding["left_right"], "upper_bound");
}

#[test]
fn active_state_checksum_digest_and_signer_are_those_of_the_hub() {
    let vectors = vectors();
    let vector = &vectors["active_state"];
    let holder = Holder {
        contract: address(&vector["contract"]),
        token: address(&vector["token"]),
        wallet: address(&vector["wallet"]),
    };
    let state = ActiveState {
        holder,
        trail: vector["trail"].as_u64().unwrap(),
        eon: Eon(vector["eon"].as_u64().unwrap()),
        tx_set_root: hash(&vector["tx_set_root"]),
        spent: amount(&vector["spent"]),
        gained: amount(&vector["gained"]),
    };
    let checksum = state.checksum();
    assert_eq!(checksum, hash(&vector["checksum"]));
    assert_eq!(signed_digest(checksum), hash(&vector["digest_signed"]));
    let rsv = vector["signature_rsv_by_ganache_account_0"].as_str().unwrap();
    assert_eq!(signer(checksum, rsv), Ok(holder.wallet));
    assert_eq!(check_signer(checksum, &format!("0x{rsv}"), holder.wallet), Ok(()));
}

#[test]
fn transfer_checksums_are_those_of_the_hub() {
    let vectors = vectors();
    let vector = &vectors["transfer_checksum"];
    let transfer = Transfer {
        counterparty: address(&vector["counterparty"]),
        amount: amount(&vector["amount"]),
        recipient_trail: vector["recipient_trail"].as_u64().unwrap(),
        nonce: amount(&vector["nonce"]),
    };
    assert_eq!(transfer.checksum(), hash(&vector["active_checksum"]));
    let nonce = amount(&vector["passive_unpositioned_nonce_uint256"]);
    assert_eq!(transfer.passive_nonce(None), nonce);
    assert_eq!(transfer.passive_checksum(None), hash(&vector["passive_checksum"]));
    // The active state of the vectors is over this one transfer.
    let set = HashTree::new(vec![transfer.checksum()]).unwrap();
    assert_eq!(set.root(), hash(&vectors["active_state"]["tx_set_root"]));
}

#[test]
fn the_accumulator_follows_the_operations_of_the_vectors() {
    let vectors = vectors();
    let steps = vectors["parent_chain_accumulator"].as_array().unwrap();
    assert_eq!(steps.len(), 3);
    let mut accumulator = Accumulator::from_slots([B256::ZERO; eon::EONS_KEPT]);
    for vector in steps {
        let operation = match vector["operation"].as_u64().unwrap() {
            0 => Operation::Deposit,
            1 => Operation::Withdrawal,
            _ => Operation::Cancellation,
        };
        let step = ParentOperation {
            eon: Eon(vector["eon"].as_u64().unwrap()),
            token: address(&vector["token"]),
            participant: address(&vector["participant"]),
            operation,
            value: amount(&vector["value"]),
        };
        accumulator.append(&step);
        assert_eq!(accumulator.at(step.eon), hash(&vector["accumulator"]));
    }
}

/// What the registry's Solidity is tested with as well.
const REGISTRY_VECTORS: &str = include_str!("../../../contracts/test/vectors/checkpoint.json");

/// Whether the model takes an allotment as the registry is shown it.
fn holds(case: &Value) -> bool {
    let words = |key: &str| -> Vec<B256> {
        let bytes: alloy::primitives::Bytes = case[key].as_str().unwrap().parse().unwrap();
        assert_eq!(bytes.len() % 32, 0);
        bytes.chunks_exact(32).map(B256::from_slice).collect()
    };
    let trail = |key: &str| case[key].as_str().unwrap().parse().unwrap();
    let account = Account {
        wallet: address(&case["wallet"]),
        active_state_checksum: hash(&case["activeStateChecksum"]),
        passive: Passive {
            checksum: hash(&case["passiveRoot"]),
            amount: amount(&case["passiveAmount"]),
            marker: amount(&case["passiveMarker"]),
        },
    };
    let proof = AllotmentProof {
        interval: Interval {
            left: amount(&case["left"]),
            right: amount(&case["right"]),
        },
        trail: trail("trail"),
        allotment_chain: words("allotmentChain"),
        values: words("values").into_iter().map(Into::into).collect(),
        token_trail: trail("tokenTrail"),
        membership_chain: words("membershipChain"),
    };
    let held = proof.verify(
        address(&case["hub"]),
        address(&case["token"]),
        &account,
        hash(&case["root"]),
    );
    held.is_ok()
}

#[test]
fn the_model_and_the_registry_take_and_refuse_the_same_allotments() {
    let file: Value = serde_json::from_str(REGISTRY_VECTORS).unwrap();
    for (key, expected) in [("allotments", true), ("badAllotments", false)] {
        let cases = file[key].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            assert_eq!(holds(case), expected, "{key}: {}", case["why"]);
        }
    }
}
