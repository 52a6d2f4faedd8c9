#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::account::{Account, AccountTreeBuilder, Allotment, Passive, TokenPrefix};
use super::checkpoint::token_tree;
use super::spine::{CHUNK, Spine, SpineBuilder};
use super::{AllotmentProof, IntervalTree, TreeError};
use alloy::primitives::{Address, B256, U256};

const CONTRACT: Address = Address::repeat_byte(0xc0);

fn allotments(count: usize) -> Vec<Allotment> {
    let one = |n: usize| Allotment {
        account: Account {
            wallet: Address::left_padding_from(&n.to_be_bytes()),
            active_state_checksum: B256::ZERO,
            passive: Passive {
                amount: U256::from(n % 3),
                ..Passive::default()
            },
        },
        amount: U256::from(n % 7),
    };
    (0..count).map(one).collect()
}

fn whole(accounts: &[Allotment]) -> IntervalTree {
    let mut tree = AccountTreeBuilder::new(CONTRACT, CONTRACT, accounts.len());
    tree.extend(accounts).unwrap();
    tree.finish().unwrap()
}

fn spine(accounts: &[Allotment], piece: usize) -> Spine {
    let mut builder = SpineBuilder::new(CONTRACT, CONTRACT);
    for part in accounts.chunks(piece) {
        builder.extend(part).unwrap();
    }
    assert_eq!(builder.count(), accounts.len());
    builder.finish().unwrap()
}

#[test]
fn a_tree_without_its_lower_half_has_the_same_root_and_proofs() {
    let prefix = TokenPrefix::new(CONTRACT, CONTRACT);
    for count in [
        0,
        1,
        2,
        3,
        700,
        CHUNK - 1,
        CHUNK,
        CHUNK + 1,
        2 * CHUNK,
        3 * CHUNK + 5,
        5 * CHUNK,
    ] {
        let accounts = allotments(count);
        let tree = whole(&accounts);
        let spine = spine(&accounts, 300);
        assert_eq!(
            (spine.root(), spine.upper_bound()),
            (tree.root(), tree.upper_bound()),
            "{count}"
        );
        let read = Spine::from_bytes(&spine.to_bytes()).unwrap();
        assert_eq!(read, spine);
        let tokens = token_tree(CONTRACT, &[(CONTRACT, read.root(), read.upper_bound())]).unwrap();
        for trail in [0, 1, count / 2, count.saturating_sub(1)]
            .into_iter()
            .filter(|trail| *trail < count)
        {
            let range = read.piece_of(trail as u64).unwrap();
            let part = &accounts[range.start as usize..range.end as usize];
            let (interval, proof) = read.proof(&prefix, part, trail as u64).unwrap();
            assert_eq!(proof, tree.proof(trail).unwrap(), "{trail} of {count}");
            assert_eq!(interval, tree.interval(trail).unwrap());
            let proof = AllotmentProof {
                interval,
                trail: trail as u64,
                allotment_chain: proof.chain,
                values: proof.values,
                token_trail: 0,
                membership_chain: tokens.proof(0).unwrap(),
            };
            let bound = proof.verify(CONTRACT, CONTRACT, &accounts[trail].account, tokens.root());
            assert_eq!(bound, Ok(tree.upper_bound()));
        }
        assert!(read.piece_of(count as u64).is_err());
    }
}

#[test]
fn accounts_that_were_altered_make_no_proof() {
    let mut accounts = allotments(2 * CHUNK + 9);
    let spine = spine(&accounts, CHUNK);
    let prefix = TokenPrefix::new(CONTRACT, CONTRACT);
    let trail = CHUNK as u64 + 3;
    let altered = Err(TreeError::Altered { first: CHUNK as u64 });
    assert_eq!(spine.proof(&prefix, &accounts[CHUNK..2 * CHUNK - 1], trail), altered);
    accounts[CHUNK + 700].amount += U256::from(1);
    assert_eq!(spine.proof(&prefix, &accounts[CHUNK..2 * CHUNK], trail), altered);
    assert!(spine.proof(&prefix, &accounts[..CHUNK], 3).is_ok());
}

#[test]
fn sums_that_do_not_fit_and_bytes_of_another_length_are_refused() {
    let mut accounts = allotments(CHUNK + 1);
    for account in &mut accounts[..2] {
        account.amount = U256::MAX;
    }
    let mut builder = SpineBuilder::new(CONTRACT, CONTRACT);
    assert!(matches!(
        builder.extend(&accounts),
        Err(TreeError::Overflow { leaf: 0 })
    ));
    let bytes = spine(&allotments(CHUNK + 1), CHUNK).to_bytes();
    assert_eq!(bytes.len(), 8 + 2 * 64);
    assert!(matches!(
        Spine::from_bytes(&bytes[..bytes.len() - 1]),
        Err(TreeError::Stored(_))
    ));
    assert!(Spine::from_bytes(&[]).is_err());
}
