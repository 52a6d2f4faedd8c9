//! Names of the inbox's skip reasons, as stored and shown; docs/wire.md section 4. Pure.

/// `reason` of `SettlementSkipped`, or what `executeOne` answers; None for 0, which is no skip.
pub fn skip_name(reason: u8) -> Option<&'static str> {
    match reason {
        0 => None,
        1 => Some("nonce_used"),
        2 => Some("expired"),
        3 => Some("payer_paused"),
        4 => Some("token_refused"),
        5 => Some("quorum_short"),
        6 => Some("signature_refused"),
        7 => Some("payer_short"),
        _ => Some("unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::skip_name;
    use relayer_adapter_api::abi::ISettlementInbox::Skip;

    #[test]
    fn names_follow_the_interface() {
        for (skip, name) in [
            (Skip::None, None),
            (Skip::NonceUsed, Some("nonce_used")),
            (Skip::Expired, Some("expired")),
            (Skip::PayerPaused, Some("payer_paused")),
            (Skip::TokenRefused, Some("token_refused")),
            (Skip::QuorumShort, Some("quorum_short")),
            (Skip::SignatureRefused, Some("signature_refused")),
            (Skip::PayerShort, Some("payer_short")),
        ] {
            assert_eq!(skip_name(skip as u8), name);
        }
    }
}
