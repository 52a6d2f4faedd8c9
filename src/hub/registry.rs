//! What the registry of a target chain says about a hub, read at one block, and the calls that bring it a checkpoint.

use super::relay_error::RelayError;
use crate::store::CheckpointLane;
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::sol_types::{Eip712Domain, SolCall, SolStruct, SolValue};
use relayer_adapter_api::abi::ICheckpointRegistry;
use relayer_adapter_api::{Call, ChainView, GasRule, ViewError};

/// Name of a hub in every registry.
pub fn hub_id(lane: CheckpointLane) -> B256 {
    keccak256((lane.source.0, lane.hub).abi_encode())
}

/// What it takes to believe a root of a hub. Fixed once registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    /// 0 where there is none: then only the operator's signature counts.
    pub outbox: Address,
    /// 0 = signatures do not count.
    pub operator: Address,
    /// Distinct families, the operator's signature among them.
    pub quorum: u8,
}

/// What the registry has of one eon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    Nothing,
    /// This root, and no other.
    Root(B256),
    /// Two roots contradict one another until the owner chooses.
    Conflicting(B256, B256),
}

impl Recorded {
    /// Whether the registry knows this root for the eon.
    pub fn has(&self, root: B256) -> bool {
        match self {
            Self::Nothing => false,
            Self::Root(found) => *found == root,
            Self::Conflicting(one, other) => *one == root || *other == root,
        }
    }
}

/// Why the registry does not take a checkpoint now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Fewer families vouch for it than the hub needs, now.
    QuorumShort(String),
    /// The newest recorded eon is too far behind this one.
    TooNew {
        last: u64,
    },
    /// The registry wants none of the hub before another eon, ever.
    TooOld {
        first: u64,
    },
    /// Frozen until the owner has chosen between two roots.
    Frozen,
    /// The owner has chosen the other root of this eon, or neither.
    Rejected,
    /// The signature is not the operator's.
    Signature,
    Other(String),
}

/// A registry at one block.
#[allow(missing_debug_implementations, reason = "a view has none")]
pub struct Registry<'a> {
    pub view: &'a dyn ChainView,
    pub address: Address,
}

impl Registry<'_> {
    async fn ask<C: SolCall>(&self, call: C) -> Result<C::Return, RelayError> {
        let attempted = C::SIGNATURE;
        let answer = self
            .view
            .call(None, self.address, call.abi_encode().into(), U256::ZERO)
            .await
            .map_err(|source| RelayError::Read { attempted, source })?;
        C::abi_decode_returns(&answer).map_err(|error| RelayError::Decode {
            attempted,
            reason: error.to_string(),
        })
    }

    /// None when the hub is not registered.
    pub async fn registration(&self, hub: B256) -> Result<Option<Registration>, RelayError> {
        let found = self.ask(ICheckpointRegistry::hubOfCall { hubId: hub }).await?;
        Ok((found.quorum > 0).then_some(Registration {
            outbox: found.outbox,
            operator: found.operator,
            quorum: found.quorum,
        }))
    }

    pub async fn recorded(&self, hub: B256, eon: u64) -> Result<Recorded, RelayError> {
        let found = self
            .ask(ICheckpointRegistry::checkpointOfCall { hubId: hub, eon })
            .await?;
        Ok(match (found.root.is_zero(), found.other.is_zero()) {
            (true, _) => Recorded::Nothing,
            (false, true) => Recorded::Root(found.root),
            (false, false) => Recorded::Conflicting(found.root, found.other),
        })
    }

    /// Families that vouch for a root now, the operator's signature included.
    pub async fn families(&self, hub: B256, eon: u64, root: B256) -> Result<U256, RelayError> {
        self.ask(ICheckpointRegistry::familiesOfCall { hubId: hub, eon, root })
            .await
    }

    /// Runs a call without sending it. The outer error is about the chain, the inner one the registry's word.
    pub async fn simulate(&self, call: &Call) -> Result<Result<(), Refusal>, RelayError> {
        match self.view.call(None, call.to, call.data.clone(), call.value).await {
            Ok(_) => Ok(Ok(())),
            Err(ViewError::Reverted { data }) => Ok(Err(refusal(&data))),
            Err(source) => Err(RelayError::Read {
                attempted: "simulating a recording",
                source,
            }),
        }
    }
}

/// Reads the registry's revert.
pub fn refusal(data: &[u8]) -> Refusal {
    use ICheckpointRegistry::ICheckpointRegistryErrors as E;
    use alloy::sol_types::SolInterface;
    match E::abi_decode(data) {
        Ok(E::QuorumShort(short)) => Refusal::QuorumShort(format!("{} of {} families", short.families, short.quorum)),
        Ok(E::EonTooNew(wrong)) => Refusal::TooNew { last: wrong.last },
        Ok(E::EonTooOld(wrong)) => Refusal::TooOld { first: wrong.first },
        Ok(E::HubFrozen(_)) => Refusal::Frozen,
        Ok(E::RootRejected(_)) => Refusal::Rejected,
        Ok(E::SignatureRefused(_)) => Refusal::Signature,
        Ok(other) => Refusal::Other(format!("{other:?}")),
        Err(_) => Refusal::Other(format!(
            "reverts with 0x{}",
            alloy::hex::encode(&data[..data.len().min(68)])
        )),
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::QuorumShort(short) => write!(f, "the quorum is short: {short}"),
            Self::TooNew { last } => write!(f, "the newest recorded eon {last} is too far behind it"),
            Self::TooOld { first } => write!(f, "the registry wants no eon of the hub before {first}"),
            Self::Frozen => f.write_str("the hub is frozen: two roots of an eon contradict one another"),
            Self::Rejected => f.write_str("its owner has rejected this root of the eon"),
            Self::Signature => f.write_str("the signature is not the operator's"),
            Self::Other(why) => f.write_str(why),
        }
    }
}

/// Gas of a recording: a few storage words, and refunds make estimates tight.
const GAS: GasRule = GasRule::Estimate {
    percent: 125,
    extra: 20_000,
};

fn call(lane: CheckpointLane, registry: Address, data: Vec<u8>) -> Call {
    Call {
        chain: lane.target,
        to: registry,
        data: data.into(),
        value: U256::ZERO,
        gas: GAS,
    }
}

/// Brings a message that its quorum has voted for.
pub fn record_call(lane: CheckpointLane, registry: Address, message: Vec<u8>) -> Call {
    let data = ICheckpointRegistry::recordCall {
        message: message.into(),
    };
    call(lane, registry, data.abi_encode())
}

/// Brings the operator's signature.
pub fn record_signed_call(lane: CheckpointLane, registry: Address, eon: u64, root: B256, signature: &Bytes) -> Call {
    let data = ICheckpointRegistry::recordSignedCall {
        chain: lane.source.0,
        hub: lane.hub,
        eon,
        root,
        signature: signature.clone(),
    };
    call(lane, registry, data.abi_encode())
}

mod signed {
    #![allow(missing_debug_implementations)]
    alloy::sol! {
        /// What an operator signs, in the domain of one registry.
        struct Checkpoint {
            uint256 chain;
            address hub;
            uint256 eon;
            bytes32 root;
        }
    }
}

/// What the operator of a hub signs for the registry of a lane's target: its `checkpointDigest`.
pub fn checkpoint_digest(lane: CheckpointLane, registry: Address, eon: u64, root: B256) -> B256 {
    let domain = Eip712Domain::new(
        Some("CheckpointRegistry".into()),
        Some("1".into()),
        Some(U256::from(lane.target.0)),
        Some(registry),
        None,
    );
    let checkpoint = signed::Checkpoint {
        chain: U256::from(lane.source.0),
        hub: lane.hub,
        eon: U256::from(eon),
        root,
    };
    checkpoint.eip712_signing_hash(&domain)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use alloy::sol_types::SolError;
    use relayer_adapter_api::ChainId;

    const LANE: CheckpointLane = CheckpointLane {
        source: ChainId(31_337),
        hub: Address::repeat_byte(4),
        target: ChainId(31_338),
    };

    #[test]
    fn a_hub_is_named_by_its_chain_and_contract_as_abi_words() {
        let words = [U256::from(31_337).to_be_bytes::<32>(), LANE.hub.into_word().0].concat();
        assert_eq!(hub_id(LANE), keccak256(words));
    }

    #[test]
    fn the_digest_is_that_of_eip_712() {
        let (registry, root) = (Address::repeat_byte(9), B256::repeat_byte(3));
        let word = |value: u64| U256::from(value).to_be_bytes::<32>().to_vec();
        let domain_type = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
        let domain = [
            keccak256(domain_type).to_vec(),
            keccak256("CheckpointRegistry").to_vec(),
            keccak256("1").to_vec(),
            word(31_338),
            registry.into_word().to_vec(),
        ];
        let fields = [
            keccak256("Checkpoint(uint256 chain,address hub,uint256 eon,bytes32 root)").to_vec(),
            word(31_337),
            LANE.hub.into_word().to_vec(),
            word(7),
            root.to_vec(),
        ];
        let parts = [
            vec![0x19, 0x01],
            keccak256(domain.concat()).to_vec(),
            keccak256(fields.concat()).to_vec(),
        ];
        assert_eq!(checkpoint_digest(LANE, registry, 7, root), keccak256(parts.concat()));
    }

    const VECTORS: &str = include_str!("../../contracts/test/vectors/checkpoint.json");

    fn cases(key: &str) -> Vec<serde_json::Value> {
        let file: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
        let cases = file[key].as_array().unwrap().clone();
        assert!(!cases.is_empty());
        cases
    }

    #[test]
    fn hubs_and_signatures_are_those_of_the_vectors_forge_runs() {
        let text = |case: &serde_json::Value, key: &str| case[key].as_str().unwrap().to_owned();
        let lane = |case: &serde_json::Value, source: &str, target: &str| CheckpointLane {
            source: ChainId(text(case, source).parse().unwrap()),
            hub: text(case, "hub").parse().unwrap(),
            target: ChainId(text(case, target).parse().unwrap()),
        };
        for case in cases("messages") {
            let lane = lane(&case, "sourceChain", "targetChain");
            assert_eq!(hub_id(lane).to_string(), text(&case, "hubId"), "{case}");
        }
        for case in cases("signed") {
            let lane = lane(&case, "chain", "chainId");
            let (registry, eon) = (
                text(&case, "registry").parse().unwrap(),
                text(&case, "eon").parse().unwrap(),
            );
            let digest = checkpoint_digest(lane, registry, eon, text(&case, "root").parse().unwrap());
            assert_eq!(digest.to_string(), text(&case, "digest"), "{case}");
            let signature: Bytes = text(&case, "signature").parse().unwrap();
            let signed = alloy::primitives::Signature::from_raw(&signature).unwrap();
            let signer = signed.recover_address_from_prehash(&digest).unwrap();
            assert_eq!(signer, text(&case, "operator").parse::<Address>().unwrap(), "{case}");
        }
    }

    #[test]
    fn reverts_are_told_apart() {
        use ICheckpointRegistry as R;
        let check = |data: Vec<u8>, expected: Refusal| assert_eq!(refusal(&data), expected);
        check(
            R::EonTooOld { eon: 7, first: 20 }.abi_encode(),
            Refusal::TooOld { first: 20 },
        );
        check(
            R::EonTooNew { eon: 7, last: 1 }.abi_encode(),
            Refusal::TooNew { last: 1 },
        );
        check(R::HubFrozen { hubId: B256::ZERO }.abi_encode(), Refusal::Frozen);
        check(R::SignatureRefused {}.abi_encode(), Refusal::Signature);
        let short = R::QuorumShort {
            families: U256::from(1),
            quorum: U256::from(2),
        };
        check(short.abi_encode(), Refusal::QuorumShort("1 of 2 families".into()));
        check(vec![], Refusal::Other("reverts with 0x".into()));
    }
}
