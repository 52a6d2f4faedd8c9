#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::settlement::terms::TermsFields;
use proptest::prelude::*;
use relayer_adapter_api::message::{Header, Kind};
use relayer_adapter_api::{ChainId, tree::verify_range};

const SOURCE: ChainId = ChainId(1001);
const TARGET: ChainId = ChainId(1002);
const INBOX: Address = Address::repeat_byte(0x1b);

fn terms(token: u8, payer: u8, payee: u8, nonce: u64) -> Terms {
    Terms::new(TermsFields {
        job_id: B256::repeat_byte(0x10),
        receipt_hash: B256::from(U256::from(nonce + 1)),
        proof_hash: B256::ZERO,
        source_chain: SOURCE,
        payer: Address::repeat_byte(payer),
        payee: Address::repeat_byte(payee),
        token: Address::repeat_byte(token),
        amount: U256::from(100 + nonce),
        fee: U256::from(nonce % 3),
        nonce: U256::from(nonce),
        deadline: 1_900_000_000 + nonce,
    })
    .unwrap()
}

fn single(terms: Terms) -> Member {
    Member {
        terms,
        authorization: Authorization::Single(Bytes::from(vec![terms.nonce_byte(); 65])),
    }
}

fn id(terms: &Terms) -> SettlementId {
    Domain::new(TARGET, INBOX).settlement_id(terms)
}

/// A message over the members in leaf order.
fn seal(members: &mut [Member]) -> SealedMessage {
    members.sort_by_key(Member::leaf_order);
    let ids: Vec<_> = members.iter().map(|member| id(&member.terms)).collect();
    SealedMessage {
        header: Header {
            kind: Kind::SettlementBatch,
            source: SOURCE,
            target: TARGET,
            outbox: Address::repeat_byte(0x0b),
            inbox: INBOX,
            sequence: 7,
            root: tree::root(&words(&ids)).unwrap(),
            count: u32::try_from(ids.len()).unwrap(),
            fee_recipient: Address::repeat_byte(0xfe),
        },
        body: relayer_adapter_api::Body::Batch { ids },
        committed: false,
    }
}

fn grouped(all: &[Terms]) -> Vec<Member> {
    let ids = all.iter().map(id).collect();
    let group = Arc::new(SignedGroup::new(ids, Bytes::from(vec![9; 65])).unwrap());
    all.iter()
        .enumerate()
        .map(|(index, terms)| Member {
            terms: *terms,
            authorization: Authorization::Group {
                group: group.clone(),
                index,
            },
        })
        .collect()
}

#[test]
fn what_repeats_is_written_once() {
    let mut members: Vec<_> = [
        (1, 1, 1, 0),
        (1, 1, 1, 1),
        (1, 1, 2, 2),
        (1, 1, 1, 256),
        (1, 2, 1, 3),
        (2, 1, 1, 4),
    ]
    .map(|(token, payer, payee, nonce)| single(terms(token, payer, payee, nonce)))
    .into();
    let message = seal(&mut members);
    let packed = pack(&message, 0, &members).unwrap();
    let shape: Vec<Vec<usize>> = packed
        .sections
        .iter()
        .map(|section| section.runs.iter().map(|run| run.items.len()).collect())
        .collect();
    assert_eq!(shape, [vec![2, 1], vec![1], vec![1], vec![1]]);
}

#[test]
fn the_bytes_are_those_of_the_page() {
    let mut members = vec![single(terms(1, 2, 3, 0x0105))];
    let message = seal(&mut members);
    let bytes = encode(&message, 0, &members).unwrap();
    let mut expected = message.header.encode().to_vec();
    expected.extend([0, 0, 0, 0, 0, 1, 0, 0]); // first, n, no proof, mode 0
    expected.extend([1u8; 20]);
    expected.extend([2u8; 20]);
    expected.extend([0u8; 30]);
    expected.push(1); // nonce word
    expected.extend([0, 1]); // runs
    expected.extend([3u8; 20]);
    expected.extend([0, 1, 5]); // items, nonce byte
    expected.extend([0; 10]);
    expected.extend(361u16.to_be_bytes()); // amount
    expected.extend([0; 12]); // fee: 261 % 3
    expected.extend(&(1_900_000_000u64 + 261).to_be_bytes()[3..]);
    expected.extend([0x10; 32]);
    expected.extend(U256::from(262).to_be_bytes::<32>());
    expected.extend([0; 32]);
    expected.extend([0, 65]);
    expected.extend([5; 65]);
    assert_eq!(hex::encode(bytes), hex::encode(expected));
}

#[test]
fn a_hole_in_a_group_splits_it_into_two_sections_with_their_own_proofs() {
    let all: Vec<_> = (0..5).map(|nonce| terms(1, 1, 1, nonce)).collect();
    let group = grouped(&all);
    let root = crate::settlement::terms::group_root(&all.iter().map(id).collect::<Vec<_>>()).unwrap();
    let mut members: Vec<_> = [0, 1, 3, 4].map(|index: usize| group[index].clone()).into();
    let message = seal(&mut members);
    let packed = pack(&message, 0, &members).unwrap();
    let ranges: Vec<_> = packed
        .sections
        .iter()
        .map(|section| match &section.mode {
            Mode::Group(range) => range.clone(),
            Mode::Each => panic!("mode 0"),
        })
        .collect();
    assert_eq!(ranges.iter().map(|range| range.first).collect::<Vec<_>>(), [0, 3]);
    for (range, members) in ranges.iter().zip([&all[0..2], &all[3..5]]) {
        let ids: Vec<_> = members.iter().map(|terms| id(terms).0).collect();
        assert!(verify_range(root, range.count, range.first, &ids, &range.proof));
    }
    assert_eq!(Packed::decode(&packed.encode()).unwrap(), packed);
}

#[test]
fn foreign_terms_ranges_and_group_places_are_refused() {
    let mut members: Vec<_> = (0..4).map(|nonce| single(terms(1, 1, 1, nonce))).collect();
    let message = seal(&mut members);
    assert!(matches!(
        pack(&message, 1, &members[..2]),
        Err(PackError::WrongId { leaf: 1, .. })
    ));
    assert!(matches!(pack(&message, 2, &members[..3]), Err(PackError::Range { .. })));
    assert!(matches!(pack(&message, 0, &[]), Err(PackError::Range { .. })));
    let group = grouped(&(0..4).map(|nonce| terms(1, 1, 1, nonce)).collect::<Vec<_>>());
    let Authorization::Group { group: signed, .. } = &group[0].authorization else {
        panic!("not a group")
    };
    members[1].authorization = Authorization::Group {
        group: signed.clone(),
        index: 2,
    };
    assert_eq!(
        pack(&message, 0, &members),
        Err(PackError::NotInGroup { leaf: 1, index: 2 })
    );
    members[1].authorization = Authorization::Single(vec![0; 1025].into());
    assert_eq!(
        pack(&message, 0, &members),
        Err(PackError::AuthTooLong { leaf: 1, len: 1025 })
    );
}

#[test]
fn every_truncation_and_extension_is_refused() {
    let mut members: Vec<_> = (0..3).map(|nonce| single(terms(1, 1, 1, nonce))).collect();
    members.extend(grouped(&[terms(2, 1, 1, 9), terms(2, 1, 2, 10)]));
    let message = seal(&mut members);
    let bytes = encode(&message, 0, &members).unwrap();
    for len in 0..bytes.len() {
        assert!(Packed::decode(&bytes[..len]).is_err(), "length {len}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(Packed::decode(&longer), Err(LayoutError::Trailing(1)));
}

#[test]
fn bad_modes_counts_and_nonce_words_are_refused() {
    let mut members = vec![single(terms(1, 2, 3, 0))];
    let message = seal(&mut members);
    let good = encode(&message, 0, &members).unwrap();
    let check = |at: usize, value: u8, expected: LayoutError| {
        let mut bytes = good.clone();
        bytes[at] = value;
        assert_eq!(Packed::decode(&bytes), Err(expected), "byte {at}");
    };
    check(165, 2, LayoutError::Mode(2));
    check(163, 0, LayoutError::Bounds("leaf range"));
    check(161, 1, LayoutError::Bounds("leaf range"));
    check(206, 0x80, LayoutError::Bounds("nonce word"));
    check(238, 0, LayoutError::Bounds("run count"));
    check(260, 0, LayoutError::Bounds("item count"));
    check(260, 2, LayoutError::Bounds("item count"));
}

#[test]
fn chunks_cover_every_leaf_once_and_keep_to_the_limits() {
    let mut members: Vec<_> = (0..1024u64)
        .map(|nonce| single(terms(1, 1, u8::try_from(nonce % 200).unwrap() + 1, nonce)))
        .collect();
    let message = seal(&mut members);
    let limits = ChunkLimits::default();
    let chunks = plan_chunks(0, &members, &limits, &GasModel::default()).unwrap();
    assert!(chunks.len() > 1);
    let mut next = 0;
    for chunk in &chunks {
        assert_eq!(chunk.leaves.start, next);
        next = chunk.leaves.end;
        let bytes = encode(&message, chunk.leaves.start, &members[chunk.leaves.clone()]).unwrap();
        assert!(bytes.len() <= chunk.bytes && chunk.bytes <= limits.bytes_max);
        assert!(chunk.gas <= limits.gas_max);
    }
    assert_eq!(next, 1024);
}

#[test]
fn a_member_too_big_for_any_chunk_is_named() {
    let members = vec![single(terms(1, 1, 1, 0)), single(terms(1, 1, 1, 1))];
    let limits = ChunkLimits {
        bytes_max: 100,
        gas_max: 16_000_000,
    };
    let error = plan_chunks(3, &members, &limits, &GasModel::default()).unwrap_err();
    assert_eq!(error.leaf, 3);
    let model = GasModel::default();
    let limits = ChunkLimits {
        bytes_max: 120_000,
        gas_max: model.base,
    };
    assert!(plan_chunks(0, &members, &limits, &model).is_err());
    assert_eq!(plan_chunks(0, &[], &limits, &model), Ok(vec![]));
}

/// Members over few tokens, payers and payees; about half of them signed in one group per (token, payer).
fn arbitrary_members() -> impl Strategy<Value = Vec<Member>> {
    prop::collection::btree_map(0u64..700, (1u8..3, 1u8..3, 1u8..4, any::<bool>(), any::<bool>()), 1..60).prop_map(
        |rows| {
            let mut members = Vec::new();
            let mut groups: std::collections::BTreeMap<(u8, u8), Vec<(Terms, bool)>> = Default::default();
            for (nonce, (token, payer, payee, in_group, absent)) in rows {
                let terms = terms(token, payer, payee, nonce);
                if in_group {
                    groups.entry((token, payer)).or_default().push((terms, absent));
                } else {
                    members.push(single(terms));
                }
            }
            for mut group in groups.into_values() {
                group.sort_by_key(|(terms, _)| leaf_order(terms, None));
                let signed = grouped(&group.iter().map(|(terms, _)| *terms).collect::<Vec<_>>());
                let present = signed.into_iter().zip(&group).filter(|(_, (_, absent))| !absent);
                members.extend(present.map(|(member, _)| member));
            }
            if members.is_empty() {
                members.push(single(terms(1, 1, 1, 0)));
            }
            members
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn decoding_gives_back_what_was_packed(mut members in arbitrary_members(), cut in any::<(u16, u16)>()) {
        let message = seal(&mut members);
        let first = usize::from(cut.0) % members.len();
        let end = first + 1 + usize::from(cut.1) % (members.len() - first);
        let range = &members[first..end];
        let packed = pack(&message, first, range).unwrap();
        let decoded = Packed::decode(&packed.encode()).unwrap();
        prop_assert_eq!(&decoded, &packed);
        let terms = decoded.terms().unwrap();
        prop_assert_eq!(&terms, &range.iter().map(|member| member.terms).collect::<Vec<_>>());
        let ids: Vec<_> = terms.iter().map(|terms| id(terms).0).collect();
        prop_assert!(verify_range(message.header.root, message.ids().len(), decoded.first, &ids, &decoded.proof));
        let whole = ChunkLimits { bytes_max: usize::MAX, gas_max: u64::MAX };
        let plan = plan_chunks(first, range, &whole, &GasModel::default()).unwrap();
        prop_assert_eq!(plan.len(), 1);
        prop_assert!(plan[0].bytes >= packed.encode().len());
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_reencode_to_themselves(mut members in arbitrary_members(), flips in prop::collection::vec(any::<(u16, u8)>(), 1..4)) {
        let message = seal(&mut members);
        let mut bytes = encode(&message, 0, &members).unwrap();
        let len = bytes.len();
        for (at, value) in flips {
            bytes[usize::from(at) % len] = value;
        }
        if let Ok(decoded) = Packed::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }
}
