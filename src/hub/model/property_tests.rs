//! Any tree: every proof verifies, no altered byte does. Trees are compared with the recursion the hub uses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::account::{TokenPrefix, padding_content};
use super::document::{Document, parse};
use super::proof::{PassiveProof, verify_membership};
use super::transfer::passive_tree;
use super::verify::verify;
use super::*;
use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::sol_types::SolValue;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

const CONTRACT: Address = Address::repeat_byte(0xc0);

/// Zeros are as frequent as amounts: empty wallets are where intervals go wrong.
fn amount() -> impl Strategy<Value = U256> {
    prop_oneof![
        Just(U256::ZERO),
        (1_u64..1000).prop_map(U256::from),
        any::<[u8; 31]>().prop_map(|bytes| U256::from_be_slice(&bytes)),
    ]
}

fn allotment() -> impl Strategy<Value = Allotment> {
    let passive = prop_oneof![
        Just(Passive::default()),
        (any::<[u8; 32]>(), amount(), amount()).prop_map(|(checksum, amount, marker)| Passive {
            checksum: checksum.into(),
            amount,
            marker,
        }),
    ];
    (any::<[u8; 20]>(), any::<[u8; 32]>(), passive, amount()).prop_map(|(wallet, active, passive, amount)| Allotment {
        account: Account {
            wallet: wallet.into(),
            active_state_checksum: active.into(),
            passive,
        },
        amount,
    })
}

/// Tokens in the order of their trails, each with at least one account: two tokens without any have the same leaf.
fn tokens() -> impl Strategy<Value = Vec<(Address, Vec<Allotment>)>> {
    let accounts = prop::collection::vec(allotment(), 1..12);
    prop::collection::vec(accounts, 1..5).prop_map(|tokens| {
        let token = |(accounts, n): (Vec<Allotment>, u8)| match n {
            0 => (CONTRACT, accounts),
            n => (Address::repeat_byte(n), accounts),
        };
        tokens.into_iter().zip(0..).map(token).collect()
    })
}

/// The hub's recursion over a padded list, with Solidity's packing by alloy.
fn recursive(leaves: &[(U256, B256, U256)]) -> (B256, u32) {
    if let [(left, content, right)] = leaves {
        return (keccak256((*left, *content, *right).abi_encode_packed()), 0);
    }
    let (low, high) = leaves.split_at(leaves.len() / 2);
    let ((left, height), (right, _)) = (recursive(low), recursive(high));
    let inner = keccak256((left, high[0].0, right).abi_encode_packed());
    let whole = (height, leaves[0].0, inner, leaves[leaves.len() - 1].2);
    (keccak256(whole.abi_encode_packed()), height + 1)
}

fn recursive_accounts(token: Address, allotments: &[Allotment]) -> B256 {
    let mut leaves = Vec::new();
    let mut left = U256::ZERO;
    for Allotment { account, amount } in allotments {
        let passive = account.passive;
        let passive = keccak256((passive.checksum, passive.amount, passive.marker).abi_encode_packed());
        let owner = (keccak256(CONTRACT), keccak256(token), keccak256(account.wallet));
        let content = (owner.0, owner.1, owner.2, passive, account.active_state_checksum);
        let right = left + *amount;
        leaves.push((left, keccak256(content.abi_encode_packed()), right));
        left = right;
    }
    leaves.resize(leaves.len().max(1).next_power_of_two(), (left, padding_content(), left));
    recursive(&leaves).0
}

fn account_tree(token: Address, allotments: &[Allotment]) -> IntervalTree {
    let mut tree = AccountTreeBuilder::new(CONTRACT, token, allotments.len());
    tree.extend(allotments).unwrap();
    tree.finish().unwrap()
}

fn checkpoint(tokens: &[(Address, Vec<Allotment>)]) -> Checkpoint {
    let commitment = |(token, allotments): &(Address, Vec<Allotment>)| TokenCommitment {
        token: *token,
        accounts: account_tree(*token, allotments),
    };
    Checkpoint::new(CONTRACT, tokens.iter().map(commitment).collect()).unwrap()
}

/// Everything a proof is judged by, as bytes that can be altered.
fn claim_bytes(proof: &AllotmentProof, token: Address, account: &Account, root: B256) -> Vec<u8> {
    let mut bytes = [
        CONTRACT.as_slice(),
        token.as_slice(),
        account.wallet.as_slice(),
        root.as_slice(),
    ]
    .concat();
    bytes.extend(account.active_state_checksum);
    bytes.extend(account.passive.checksum);
    let numbers = [
        account.passive.amount,
        account.passive.marker,
        proof.interval.left,
        proof.interval.right,
    ];
    for word in numbers.iter().chain(&proof.values) {
        bytes.extend(word.to_be_bytes::<32>());
    }
    for hash in proof.allotment_chain.iter().chain(&proof.membership_chain) {
        bytes.extend(hash);
    }
    bytes.extend(proof.trail.to_be_bytes());
    bytes.extend(proof.token_trail.to_be_bytes());
    bytes
}

/// Judges such bytes; the lengths are those of `shape`.
fn judge(bytes: &[u8], shape: &AllotmentProof) -> Result<U256, ProofError> {
    let mut at = 0;
    let mut take = |len: usize| {
        at += len;
        &bytes[at - len..at]
    };
    let (contract, token, wallet) = (
        Address::from_slice(take(20)),
        Address::from_slice(take(20)),
        Address::from_slice(take(20)),
    );
    let (root, active, passive) = (
        B256::from_slice(take(32)),
        B256::from_slice(take(32)),
        B256::from_slice(take(32)),
    );
    let mut number = || U256::from_be_slice(take(32));
    let account = Account {
        wallet,
        active_state_checksum: active,
        passive: Passive {
            checksum: passive,
            amount: number(),
            marker: number(),
        },
    };
    let interval = Interval {
        left: number(),
        right: number(),
    };
    let values = shape.values.iter().map(|_| number()).collect();
    let mut hash = || B256::from_slice(take(32));
    let allotment_chain = shape.allotment_chain.iter().map(|_| hash()).collect();
    let membership_chain = shape.membership_chain.iter().map(|_| hash()).collect();
    let proof = AllotmentProof {
        interval,
        values,
        allotment_chain,
        membership_chain,
        trail: u64::from_be_bytes(take(8).try_into().unwrap()),
        token_trail: u64::from_be_bytes(take(8).try_into().unwrap()),
    };
    proof.verify(contract, token, &account, root)
}

/// Changes one scalar of a JSON document: a digit, a letter, a number.
fn alter(value: &mut Value, target: &mut usize, mask: u8) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| alter(item, target, mask)),
        Value::Object(members) => members.values_mut().for_each(|member| alter(member, target, mask)),
        scalar => {
            if *target == 0 {
                *scalar = match &*scalar {
                    Value::Number(number) => (number.as_u64().unwrap() ^ u64::from(mask)).into(),
                    text => {
                        let mut text = text.as_str().unwrap().to_owned();
                        let last = text.pop().unwrap().to_digit(16).unwrap();
                        let decimal = !text.starts_with("0x");
                        let radix = if decimal { 10 } else { 16 };
                        let other = (last + 1 + u32::from(mask) % (radix - 1)) % radix;
                        text.push(char::from_digit(other, radix).unwrap());
                        Value::String(text)
                    }
                };
            }
            *target = target.wrapping_sub(1);
        }
    }
}

fn scalars(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(scalars).sum(),
        Value::Object(members) => members.values().map(scalars).sum(),
        _ => 1,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn account_trees_are_those_of_the_hub(allotments in prop::collection::vec(allotment(), 0..40)) {
        prop_assert_eq!(account_tree(CONTRACT, &allotments).root(), recursive_accounts(CONTRACT, &allotments));
    }

    #[test]
    fn a_tree_in_pieces_is_the_tree_in_one(allotments in prop::collection::vec(allotment(), 0..40), cut in any::<Index>()) {
        let (first, second) = allotments.split_at(cut.index(allotments.len() + 1));
        let mut tree = AccountTreeBuilder::new(CONTRACT, CONTRACT, 0);
        tree.extend(first).unwrap();
        tree.extend(second).unwrap();
        prop_assert_eq!(tree.finish().unwrap(), account_tree(CONTRACT, &allotments));
    }

    #[test]
    fn every_proof_of_a_checkpoint_holds(tokens in tokens()) {
        let checkpoint = checkpoint(&tokens);
        for (token_trail, (token, allotments)) in tokens.iter().enumerate() {
            let sum = allotments.iter().fold(U256::ZERO, |sum, allotment| sum + allotment.amount);
            for (trail, Allotment { account, amount }) in allotments.iter().enumerate() {
                let proof = checkpoint.proof(token_trail as u64, trail as u64).unwrap();
                prop_assert_eq!(proof.interval.amount(), Some(*amount));
                prop_assert_eq!(proof.verify(CONTRACT, *token, account, checkpoint.root()), Ok(sum));
            }
        }
    }

    #[test]
    fn no_altered_byte_of_a_proof_holds(tokens in tokens(), token in any::<Index>(), trail in any::<Index>(), at in any::<Index>(), mask in 1_u8..) {
        let checkpoint = checkpoint(&tokens);
        let token_trail = token.index(tokens.len());
        let (token, allotments) = &tokens[token_trail];
        let trail = trail.index(allotments.len());
        let proof = checkpoint.proof(token_trail as u64, trail as u64).unwrap();
        let mut bytes = claim_bytes(&proof, *token, &allotments[trail].account, checkpoint.root());
        prop_assert_eq!(judge(&bytes, &proof), Ok(checkpoint.tokens()[token_trail].accounts.upper_bound()));
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        prop_assert!(judge(&bytes, &proof).is_err(), "byte {} of {}", at, bytes.len());
    }

    #[test]
    fn a_proof_of_another_length_does_not_hold(tokens in tokens(), extra in any::<[u8; 32]>(), member in any::<bool>()) {
        let checkpoint = checkpoint(&tokens);
        let (token, allotments) = &tokens[0];
        let judge = |proof: &AllotmentProof| proof.verify(CONTRACT, *token, &allotments[0].account, checkpoint.root());
        let whole = checkpoint.proof(0, 0).unwrap();
        let mut longer = whole.clone();
        let mut shorter = whole;
        if member {
            longer.membership_chain.push(extra.into());
            prop_assert!(shorter.membership_chain.pop().is_none() || judge(&shorter).is_err());
        } else {
            longer.allotment_chain.push(extra.into());
            prop_assert!(judge(&longer).is_err());
            longer.values.push(longer.values.last().copied().unwrap_or(longer.interval.right));
            prop_assert!(shorter.allotment_chain.pop().is_none() || judge(&shorter).is_err());
            prop_assert!(shorter.values.pop().is_none() || judge(&shorter).is_err());
        }
        prop_assert!(judge(&longer).is_err());
    }

    #[test]
    fn passive_deliveries_are_proven_and_forgeries_are_not(transfers in prop::collection::vec((any::<[u8; 32]>(), amount()), 1..20), which in any::<Index>(), mask in 1_u8..) {
        let transfers: Vec<(B256, U256)> = transfers.into_iter().map(|(checksum, amount)| (checksum.into(), amount)).collect();
        let tree = passive_tree(&transfers).unwrap();
        for (trail, (checksum, _)) in transfers.iter().enumerate() {
            let siblings = tree.proof(trail).unwrap();
            let mut proof = PassiveProof {
                interval: tree.interval(trail).unwrap(),
                trail: trail as u64,
                chain: siblings.chain,
                values: siblings.values,
            };
            prop_assert_eq!(proof.verify(*checksum, tree.root(), tree.upper_bound()), Ok(()));
            let mut other = *checksum;
            other.0[which.index(32)] ^= mask;
            prop_assert!(proof.verify(other, tree.root(), tree.upper_bound()).is_err());
            proof.interval.right += U256::from(mask);
            prop_assert!(proof.verify(*checksum, tree.root(), tree.upper_bound()).is_err());
        }
    }

    #[test]
    fn members_of_a_plain_tree_are_proven_and_others_are_not(leaves in prop::collection::vec(any::<[u8; 32]>(), 1..40), which in any::<Index>(), mask in 1_u8..) {
        let leaves: Vec<B256> = leaves.into_iter().map(B256::from).collect();
        let tree = HashTree::new(leaves.clone()).unwrap();
        for (trail, leaf) in leaves.iter().enumerate() {
            let mut chain = tree.proof(trail).unwrap();
            prop_assert_eq!(verify_membership(*leaf, trail as u64, &chain, tree.root()), Ok(()));
            let mut other = *leaf;
            other.0[which.index(32)] ^= mask;
            prop_assert!(verify_membership(other, trail as u64, &chain, tree.root()).is_err());
            if !chain.is_empty() {
                let level = which.index(chain.len());
                chain[level].0[which.index(32)] ^= mask;
                prop_assert!(verify_membership(*leaf, trail as u64, &chain, tree.root()).is_err());
            }
        }
    }

    #[test]
    fn a_stated_checkpoint_holds_until_anything_in_it_is_altered(tokens in tokens(), which in any::<Index>(), mask in any::<u8>()) {
        let document = Document::of(CONTRACT, &tokens).unwrap();
        let mut json = serde_json::to_value(&document).unwrap();
        let parsed = parse(json.to_string().as_bytes()).unwrap();
        prop_assert_eq!(&parsed, &vec![document]);
        prop_assert!(verify(&parsed).holds);
        let mut target = which.index(scalars(&json));
        alter(&mut json, &mut target, mask.max(1));
        // An amount with a leading zero or a number too large is refused before it is judged.
        if let Ok(altered) = parse(json.to_string().as_bytes()) {
            prop_assert!(!verify(&altered).holds);
        }
    }
}

/// Trails have more bits than a tree is deep; the contract ignores the rest.
#[test]
fn a_trail_beyond_the_tree_is_refused_where_the_contract_takes_it() {
    let allotments = [Allotment::default(), Allotment::default(), Allotment::default()];
    let checkpoint = checkpoint(&[(CONTRACT, allotments.to_vec())]);
    let mut proof = checkpoint.proof(0, 1).unwrap();
    let judge = |proof: &AllotmentProof| proof.verify(CONTRACT, CONTRACT, &Account::default(), checkpoint.root());
    assert!(judge(&proof).is_ok());
    proof.trail = 1 + 4;
    assert_eq!(judge(&proof), Err(ProofError::Trail { trail: 5, depth: 2 }));
    proof.trail = 1;
    proof.token_trail = 1;
    assert_eq!(judge(&proof), Err(ProofError::Trail { trail: 1, depth: 0 }));
    proof.token_trail = 0;
    proof.membership_chain = vec![B256::ZERO; 33];
    assert_eq!(judge(&proof), Err(ProofError::TooDeep(33)));
}

/// Overlapping siblings, a line that begins late, an interval the wrong way round: what a cheating hub would try.
#[test]
fn overlapping_allotments_are_refused_before_their_hash_is_looked_at() {
    let u = U256::from;
    let climb = |left: u64, right: u64, trail, values: &[u64]| {
        let interval = Interval {
            left: u(left),
            right: u(right),
        };
        let values: Vec<U256> = values.iter().copied().map(u).collect();
        interval::climb(B256::ZERO, interval, trail, &vec![B256::ZERO; values.len()], &values).map(|(_, bound)| bound)
    };
    assert_eq!(climb(0, 5, 0, &[7, 9]), Ok(u(9)));
    assert_eq!(climb(3, 5, 1, &[0, 9]), Ok(u(9)));
    let own = |left: u64, right: u64| Interval {
        left: u(left),
        right: u(right),
    };
    let overlap = |level, value: u64, own| {
        Err(ProofError::Overlap {
            level,
            value: u(value),
            own,
        })
    };
    assert_eq!(climb(0, 5, 0, &[4]), overlap(0, 4, own(0, 5)));
    assert_eq!(climb(3, 5, 1, &[4]), overlap(0, 4, own(3, 5)));
    assert_eq!(climb(3, 5, 1, &[0, 4]), overlap(1, 4, own(0, 5)));
    assert_eq!(climb(3, 5, 0, &[9]), Err(ProofError::NotFromZero(u(3))));
    assert_eq!(climb(5, 3, 0, &[9]), Err(ProofError::Inverted(own(5, 3))));
}

/// Large enough for every level that is hashed by several threads, and one leaf over a power of two, so that half of it is padding.
#[test]
fn a_tree_of_many_threads_is_the_tree_of_one() {
    let allotments: Vec<Allotment> = (0_u64..4097)
        .map(|n| Allotment {
            account: Account {
                wallet: Address::left_padding_from(&n.to_be_bytes()),
                ..Account::default()
            },
            amount: U256::from(n % 7),
        })
        .collect();
    let tree = account_tree(CONTRACT, &allotments);
    assert_eq!((tree.len(), tree.depth()), (4097, 13));
    assert_eq!(tree.root(), recursive_accounts(CONTRACT, &allotments));
    let prefix = TokenPrefix::new(CONTRACT, CONTRACT);
    let mut proof = interval::IntervalProof::default();
    for trail in [0, 1, 511, 4095, 4096] {
        tree.proof_into(trail, &mut proof).unwrap();
        let interval = tree.interval(trail).unwrap();
        let leaf = preimage::interval_leaf(interval, prefix.content(&allotments[trail].account));
        let found = interval::climb(leaf, interval, trail as u64, &proof.chain, &proof.values);
        assert_eq!(found, Ok((tree.root(), tree.upper_bound())));
    }
}
