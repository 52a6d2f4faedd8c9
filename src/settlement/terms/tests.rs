#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use alloy::primitives::address;
use alloy::sol_types::{SolStruct, eip712_domain};

fn sample() -> TermsFields {
    TermsFields {
        job_id: keccak256("job-abc123"),
        receipt_hash: keccak256("receipt"),
        proof_hash: B256::ZERO,
        source_chain: ChainId(11_155_111),
        payer: address!("00000000000000000000000000000000000000a1"),
        payee: address!("00000000000000000000000000000000000000b2"),
        token: address!("00000000000000000000000000000000000000c3"),
        amount: U256::from(4_200_000),
        fee: U256::from(17),
        nonce: U256::from(0x1234),
        deadline: 1_800_000_000,
    }
}

#[test]
fn the_id_agrees_with_an_independent_eip712_implementation() {
    let inbox = address!("00000000000000000000000000000000000000d4");
    let domain = Domain::new(ChainId(84_532), inbox);
    let reference = eip712_domain! {
        name: "Settlement",
        version: "1",
        chain_id: 84_532,
        verifying_contract: inbox,
    };
    let terms = Terms::new(sample()).unwrap();
    assert_eq!(domain.separator(), reference.separator());
    assert_eq!(
        domain.settlement_id(&terms).0,
        terms.to_abi().eip712_signing_hash(&reference)
    );
}

#[test]
fn the_group_digest_agrees_with_an_independent_eip712_implementation() {
    alloy::sol! {
        struct SettlementGroup { bytes32 root; uint256 count; }
    }
    let inbox = address!("00000000000000000000000000000000000000d4");
    let reference = eip712_domain! { name: "Settlement", version: "1", chain_id: 5, verifying_contract: inbox, };
    let group = SettlementGroup {
        root: keccak256("root"),
        count: U256::from(3),
    };
    let digest = Domain::new(ChainId(5), inbox).group_digest(group.root, 3);
    assert_eq!(digest, group.eip712_signing_hash(&reference));
}

#[test]
fn every_field_changes_the_id() {
    let domain = Domain::new(ChainId(1), Address::repeat_byte(9));
    let base = domain.settlement_id(&Terms::new(sample()).unwrap());
    let changes: [fn(&mut TermsFields); 11] = [
        |f| f.job_id.0[31] ^= 1,
        |f| f.receipt_hash.0[0] ^= 1,
        |f| f.proof_hash.0[5] ^= 1,
        |f| f.source_chain.0 += 1,
        |f| f.payer.0[19] ^= 1,
        |f| f.payee.0[19] ^= 1,
        |f| f.token.0[19] ^= 1,
        |f| f.amount += U256::from(1),
        |f| f.fee += U256::from(1),
        |f| f.nonce += U256::from(1),
        |f| f.deadline += 1,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut fields = sample();
        change(&mut fields);
        assert_ne!(
            domain.settlement_id(&Terms::new(fields).unwrap()),
            base,
            "field {index}"
        );
    }
    let terms = Terms::new(sample()).unwrap();
    assert_ne!(
        Domain::new(ChainId(2), Address::repeat_byte(9)).settlement_id(&terms),
        base
    );
    assert_ne!(
        Domain::new(ChainId(1), Address::repeat_byte(8)).settlement_id(&terms),
        base
    );
}

#[test]
fn bounds_hold_at_both_edges() {
    let check = |change: fn(&mut TermsFields), expected: Result<(), TermsError>| {
        let mut fields = sample();
        change(&mut fields);
        assert_eq!(Terms::new(fields).map(|_| ()), expected);
    };
    let u96_max = |f: &mut TermsFields| f.amount = U256::from((1u128 << 96) - 1);
    check(u96_max, Ok(()));
    check(
        |f| f.amount = U256::from(1u128 << 96),
        Err(TermsError::TooLarge("amount")),
    );
    check(|f| f.amount = U256::ZERO, Err(TermsError::Zero("amount")));
    check(|f| f.fee = U256::ZERO, Ok(()));
    check(|f| f.fee = U256::from(1u128 << 96), Err(TermsError::TooLarge("fee")));
    check(|f| f.nonce = (U256::from(1) << 255) - U256::from(1), Ok(()));
    check(|f| f.nonce = U256::from(1) << 255, Err(TermsError::Nonce));
    check(|f| f.deadline = DEADLINE_MAX, Ok(()));
    check(|f| f.deadline = DEADLINE_MAX + 1, Err(TermsError::Deadline(1 << 40)));
    check(|f| f.receipt_hash = B256::ZERO, Err(TermsError::Zero("receiptHash")));
    check(|f| f.job_id = B256::ZERO, Ok(()));
    check(|f| f.source_chain = ChainId(0), Err(TermsError::Zero("sourceChainId")));
    check(|f| f.payer = Address::ZERO, Err(TermsError::Zero("payer")));
    check(|f| f.payee = Address::ZERO, Err(TermsError::Zero("payee")));
    check(|f| f.token = Address::ZERO, Err(TermsError::Zero("token")));
}

#[test]
fn abi_and_back_is_the_same_and_wide_values_are_refused() {
    let terms = Terms::new(sample()).unwrap();
    let mut abi = terms.to_abi();
    assert_eq!(Terms::try_from(&abi), Ok(terms));
    abi.sourceChainId = U256::from(1u128 << 64);
    assert_eq!(Terms::try_from(&abi), Err(TermsError::SourceChain));
}

#[test]
fn the_nonce_splits_into_word_and_bit() {
    let terms = Terms::new(sample()).unwrap();
    assert_eq!((terms.nonce_word(), terms.nonce_byte()), (U256::from(0x12), 0x34));
    assert_eq!(terms.debit(), U256::from(4_200_017));
}
