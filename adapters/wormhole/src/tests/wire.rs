//! Wire format and signatures.

use super::*;

#[test]
fn a_vaa_the_real_core_accepted_is_read_and_signed_byte_for_byte() {
    let bytes = hex::decode(VECTOR).unwrap();
    let vaa = Vaa::decode(&bytes).unwrap();
    assert_eq!(vaa.encode().unwrap(), bytes);
    let signer = guardian("proto-guardian-0");
    assert_eq!(signer.address(), address!("21fB80F79164Ae62079cFaB6251D215C43c3bbec"));
    assert!(core_accepts(&vaa, &set(0, std::slice::from_ref(&signer), 0)));
    assert_eq!(signed(vaa.body.clone(), 0, &[signer], |_| true), vaa);
    assert_eq!((vaa.body.emitter_chain, vaa.body.nonce, vaa.body.sequence), (2, 7, 0));
}

#[test]
fn truncated_bytes_and_other_versions_are_no_vaa() {
    let mut bytes = hex::decode(VECTOR).unwrap();
    for length in 0..(6 + 66 + 51) {
        assert!(
            matches!(Vaa::decode(&bytes[..length]), Err(VaaError::Short(_))),
            "{length}"
        );
    }
    bytes[0] = 2;
    assert_eq!(Vaa::decode(&bytes), Err(VaaError::Version(2)));
}

#[test]
fn a_recovery_id_above_one_signs_nothing() {
    let vaa = Vaa::decode(&hex::decode(VECTOR).unwrap()).unwrap();
    let mut signature = vaa.signatures[0];
    for id in [2, 27, 28, 255] {
        signature.recovery_id = id;
        assert_eq!(signature.signer(&vaa.body.digest()), None);
    }
}

#[test]
fn quorum_is_more_than_two_thirds() {
    assert_eq!([1, 2, 3, 4, 7, 13, 19].map(quorum), [1, 2, 3, 3, 5, 9, 13]);
}

proptest! {
    #[test]
    fn whatever_arrives_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400), versioned in any::<bool>(), count in 0u8..6) {
        let mut bytes = bytes;
        if versioned && bytes.len() > 5 {
            bytes[0] = 1;
            bytes[5] = count;
        }
        if let Ok(vaa) = Vaa::decode(&bytes) {
            prop_assert_eq!(vaa.encode().unwrap(), bytes.clone());
            let mut endorsed = Endorsed::new(vaa.body.clone());
            endorsed.add(&vaa);
            prop_assert!(endorsed.assemble(&set(0, &guardians(0, 1), 0)).is_none());
        }
        let _ = parse(&bytes);
        let _ = Evidence::decode(&bytes);
        let _ = explain_revert(&bytes);
    }

    #[test]
    fn signatures_from_anywhere_give_a_vaa_the_core_accepts_or_none(picked in proptest::collection::vec(any::<bool>(), 19), strangers in 0usize..4) {
        let members = guardians(0, 19);
        let mut vaa = signed(body(1), 4, &members, |n| picked[n]);
        for n in 0..strangers {
            let stranger = guardian(&format!("stranger {n}"));
            vaa.signatures.insert(0, signature(n, &stranger, vaa.body.digest()));
        }
        let mut endorsed = Endorsed::new(body(1));
        endorsed.add(&vaa);
        let members = set(4, &members, 0);
        let made = endorsed.assemble(&members);
        prop_assert_eq!(made.is_some(), picked.iter().filter(|one| **one).count() >= 13);
        if let Some(made) = made {
            prop_assert_eq!(made.signatures.len(), 13);
            prop_assert!(core_accepts(&made, &members));
        }
    }
}
