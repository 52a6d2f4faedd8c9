//! Events of the registry of checkpoints: the subject is the hub's id, the second subject the eon.

use super::ChainError;
use super::decode::{Decoded, decoded, event, word};
use alloy::primitives::{B256, U256};
use alloy::sol_types::SolEvent;
use relayer_adapter_api::LogRecord;
use relayer_adapter_api::abi::ICheckpointRegistry as Registry;
use serde_json::json;

/// An eon as the second subject of a log.
pub(crate) fn eon_word(eon: u64) -> B256 {
    U256::from(eon).into()
}

pub(super) fn registry(topic: B256, log: &LogRecord) -> Result<Option<Decoded>, ChainError> {
    let of_eon = |kind, hub: B256, eon: u64, mut detail: serde_json::Value| {
        detail["hubId"] = json!(hub);
        detail["eon"] = json!(eon.to_string());
        decoded(kind, hub, eon_word(eon), U256::ZERO, detail)
    };
    Ok(Some(match topic {
        Registry::HubRegistered::SIGNATURE_HASH => {
            let e: Registry::HubRegistered = event(log)?;
            let detail = json!({
                "hubId": e.hubId, "chain": e.chain.to_string(), "hub": e.hub, "outbox": e.outbox, "operator": e.operator,
                "quorum": e.quorum.to_string(), "gapMax": e.gapMax.to_string(), "eonSeconds": e.eonSeconds.to_string(),
                "firstEon": e.firstEon.to_string(),
            });
            decoded("hub_registered", e.hubId, word(e.hub), U256::ZERO, detail)
        }
        Registry::TokenRegistered::SIGNATURE_HASH => {
            let e: Registry::TokenRegistered = event(log)?;
            let detail = json!({ "hubId": e.hubId, "token": e.token, "trail": e.trail.to_string() });
            decoded(
                "hub_token_registered",
                e.hubId,
                word(e.token),
                U256::from(e.trail),
                detail,
            )
        }
        Registry::CheckpointSigned::SIGNATURE_HASH => {
            let e: Registry::CheckpointSigned = event(log)?;
            of_eon("checkpoint_signed", e.hubId, e.eon, json!({ "root": e.root }))
        }
        Registry::CheckpointRecorded::SIGNATURE_HASH => {
            let e: Registry::CheckpointRecorded = event(log)?;
            of_eon("checkpoint_recorded", e.hubId, e.eon, json!({ "root": e.root }))
        }
        Registry::CheckpointFinal::SIGNATURE_HASH => {
            let e: Registry::CheckpointFinal = event(log)?;
            of_eon("checkpoint_final", e.hubId, e.eon, json!({ "root": e.root }))
        }
        Registry::CheckpointConflict::SIGNATURE_HASH => {
            let e: Registry::CheckpointConflict = event(log)?;
            let detail = json!({ "recorded": e.recorded, "other": e.other });
            of_eon("checkpoint_conflict", e.hubId, e.eon, detail)
        }
        Registry::ResolutionAnnounced::SIGNATURE_HASH => {
            let e: Registry::ResolutionAnnounced = event(log)?;
            let detail = json!({ "root": e.root, "executableAt": e.executableAt.to_string() });
            of_eon("resolution_announced", e.hubId, e.eon, detail)
        }
        Registry::ConflictResolved::SIGNATURE_HASH => {
            let e: Registry::ConflictResolved = event(log)?;
            of_eon("conflict_resolved", e.hubId, e.eon, json!({ "root": e.root }))
        }
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::decode::{Contracts, decode};
    use super::*;
    use alloy::primitives::Address;

    fn check(event: &impl SolEvent, kind: &str) -> Decoded {
        let data = event.encode_log_data();
        let log = LogRecord {
            address: Address::repeat_byte(9),
            topics: data.topics().to_vec(),
            data: data.data,
            block_number: 1,
            block_hash: B256::repeat_byte(1),
            tx_hash: B256::repeat_byte(2),
            log_index: 3,
        };
        let contracts = Contracts {
            registry: Some(log.address),
            ..Contracts::default()
        };
        assert!(contracts.addresses().contains(&log.address));
        let decoded = decode(&contracts, &log).unwrap().expect("a kind of ours");
        assert_eq!(decoded.kind, kind);
        decoded
    }

    #[test]
    fn the_subject_is_the_hub_and_its_eon() {
        let hub = B256::repeat_byte(7);
        let root = B256::repeat_byte(8);
        let recorded = check(
            &Registry::CheckpointRecorded {
                hubId: hub,
                eon: 5,
                root,
            },
            "checkpoint_recorded",
        );
        assert_eq!((recorded.key, recorded.key2), (hub, eon_word(5)));
        assert_eq!(recorded.detail["root"], json!(root));
        let registered = Registry::HubRegistered {
            hubId: hub,
            chain: 5,
            hub: Address::repeat_byte(1),
            outbox: Address::repeat_byte(2),
            operator: Address::repeat_byte(3),
            quorum: 2,
            gapMax: 3,
            eonSeconds: 3600,
            firstEon: 40,
        };
        let registered = check(&registered, "hub_registered");
        assert_eq!((registered.key, registered.key2), (hub, word(Address::repeat_byte(1))));
        assert_eq!(registered.detail["firstEon"], json!("40"));
        let conflict = Registry::CheckpointConflict {
            hubId: hub,
            eon: 6,
            recorded: root,
            other: B256::repeat_byte(9),
        };
        let conflict = check(&conflict, "checkpoint_conflict");
        assert_eq!((conflict.key2, &conflict.detail["eon"]), (eon_word(6), &json!("6")));
        assert_eq!(conflict.detail["other"], json!(B256::repeat_byte(9)));
    }
}
