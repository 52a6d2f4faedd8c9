//! Authorizations at intake: 65-byte signatures are normalized and recovered, everything else is left to ERC-1271; docs/wire.md section 5.

use super::terms::AUTH_BYTES_MAX;
use alloy::consensus::crypto::secp256k1::recover_signer;
use alloy::primitives::{Address, B256, Bytes, Signature, U256, uint};

/// Length of `r | s | v`.
pub const SIGNATURE_BYTES: usize = 65;
/// Half the order of secp256k1: the largest low s.
const S_MAX: U256 = uint!(0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0_U256);

/// Why an authorization can never be accepted, whoever the payer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("authorization of {0} bytes is longer than {AUTH_BYTES_MAX}")]
    TooLong(usize),
    #[error("signature has a high s")]
    HighS,
}

/// What the bytes of an authorization can be. Whether an address is the payer or a registered signer, and whether the
/// payer has code, is the caller's knowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Classification {
    /// A well-formed signature over the digest by this address. The inbox tries ERC-1271 as well when the address is
    /// not the payer's or a signer's and the payer has code.
    RecoveredTo(Address),
    /// No ECDSA signature: only a payer with code can accept it.
    Contract1271Only,
    Refused(Refusal),
}

/// The form that is stored and sent: `v` of 0 or 1 becomes 27 or 28 in a 65-byte signature; other lengths stay untouched.
pub fn normalize(auth: &[u8]) -> Bytes {
    let mut bytes = auth.to_vec();
    if bytes.len() == SIGNATURE_BYTES
        && let Some(v) = bytes.last_mut()
        && *v < 2
    {
        *v = v.saturating_add(27);
    }
    bytes.into()
}

/// Classifies a normalized authorization over `digest`.
pub fn classify(digest: B256, auth: &[u8]) -> Classification {
    if auth.len() > AUTH_BYTES_MAX {
        return Classification::Refused(Refusal::TooLong(auth.len()));
    }
    if auth.len() != SIGNATURE_BYTES {
        return Classification::Contract1271Only;
    }
    let r = U256::from_be_slice(&auth[..32]);
    let s = U256::from_be_slice(&auth[32..64]);
    if s > S_MAX {
        return Classification::Refused(Refusal::HighS);
    }
    let parity = match auth[64] {
        27 => false,
        28 => true,
        _ => return Classification::Contract1271Only,
    };
    match recover_signer(&Signature::new(r, s, parity), digest) {
        Ok(address) => Classification::RecoveredTo(address),
        Err(_) => Classification::Contract1271Only,
    }
}

/// What intake does with an authorization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The payer's key or a signer it registered: the inbox will accept it.
    Accept,
    /// Only the payer's contract can tell; ask it with `isValidSignature`.
    AskContract,
    /// The inbox would refuse it.
    Refuse,
}

/// Combines the classification with what the caller knows of the payer, in the order in which the inbox checks.
pub fn decide(
    classification: Classification,
    speaks_for_payer: impl FnOnce(Address) -> bool,
    payer_has_code: bool,
) -> Decision {
    match classification {
        Classification::RecoveredTo(address) if speaks_for_payer(address) => Decision::Accept,
        Classification::Refused(_) => Decision::Refuse,
        _ if payer_has_code => Decision::AskContract,
        _ => Decision::Refuse,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use alloy::primitives::keccak256;
    use alloy::signers::{SignerSync, local::PrivateKeySigner};

    const N: U256 = uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256);

    fn signed() -> (B256, Address, Vec<u8>) {
        let signer = PrivateKeySigner::from_bytes(&B256::repeat_byte(7)).unwrap();
        let digest = keccak256("digest");
        let bytes = signer.sign_hash_sync(&digest).unwrap().as_bytes().to_vec();
        (digest, signer.address(), bytes)
    }

    #[test]
    fn half_the_order_is_the_largest_low_s() {
        assert_eq!(S_MAX, N >> 1);
    }

    #[test]
    fn a_good_signature_recovers_its_signer() {
        let (digest, address, auth) = signed();
        assert_eq!(classify(digest, &auth), Classification::RecoveredTo(address));
    }

    #[test]
    fn v_zero_and_one_are_normalized_and_then_recover() {
        let (digest, address, mut auth) = signed();
        let good = auth.clone();
        auth[64] -= 27;
        assert_eq!(classify(digest, &auth), Classification::Contract1271Only);
        assert_eq!(normalize(&auth), good);
        assert_eq!(normalize(&good), good);
        assert_eq!(
            classify(digest, &normalize(&auth)),
            Classification::RecoveredTo(address)
        );
    }

    #[test]
    fn other_lengths_stay_untouched() {
        for len in [0, 1, 64, 66, 130] {
            let auth = vec![1u8; len];
            assert_eq!(normalize(&auth), auth);
            assert_eq!(classify(B256::ZERO, &auth), Classification::Contract1271Only);
        }
    }

    #[test]
    fn the_malleated_twin_with_high_s_is_refused() {
        let (digest, _, mut auth) = signed();
        let s = N - U256::from_be_slice(&auth[32..64]);
        auth[32..64].copy_from_slice(&s.to_be_bytes::<32>());
        auth[64] = 27 + 28 - auth[64];
        assert_eq!(classify(digest, &auth), Classification::Refused(Refusal::HighS));
    }

    #[test]
    fn another_digest_recovers_another_address() {
        let (_, address, auth) = signed();
        assert_ne!(
            classify(keccak256("other"), &auth),
            Classification::RecoveredTo(address)
        );
    }

    #[test]
    fn zero_r_or_s_and_strange_v_are_no_ecdsa() {
        let (digest, _, auth) = signed();
        for (range, value) in [(0..32, 0u8), (32..64, 0), (64..65, 29), (64..65, 2)] {
            let mut broken = auth.clone();
            broken[range].fill(value);
            assert_eq!(classify(digest, &broken), Classification::Contract1271Only);
        }
    }

    #[test]
    fn an_oversized_authorization_is_refused() {
        assert_eq!(
            classify(B256::ZERO, &[0; 1025]),
            Classification::Refused(Refusal::TooLong(1025))
        );
        assert_eq!(classify(B256::ZERO, &[0; 1024]), Classification::Contract1271Only);
    }
}
