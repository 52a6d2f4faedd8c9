//! An operator's word for a checkpoint: checked against the registries it can be meant for, stored, and brought there by the recorder.

use super::model::Eon;
use super::registry::checkpoint_digest;
use super::relay::{HubLane, Targets};
use super::relay_error::RelayError;
use crate::chain::Chain;
use crate::clock::Clock;
use crate::store::{NewSignedCheckpoint, Store};
use alloy::primitives::{Address, B256, Bytes, Signature};
use relayer_adapter_api::ChainId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Takes signed checkpoints of the configured hubs.
pub struct SignedCheckpoints {
    store: Store,
    targets: Targets,
    lanes: Vec<HubLane>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for SignedCheckpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedCheckpoints")
            .field("lanes", &self.lanes)
            .finish_non_exhaustive()
    }
}

impl SignedCheckpoints {
    pub fn new(
        store: Store,
        chains: BTreeMap<ChainId, Arc<dyn Chain>>,
        lanes: Vec<HubLane>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            store,
            targets: Targets::new(chains),
            lanes,
            clock,
        }
    }

    /// Stores the signature for every registry in whose domain it is the operator's, and returns their chains. A signature names its registry,
    /// so that is one of them at most unless two share an address. Refused when it is nobody's.
    pub async fn submit(
        &self,
        (chain, hub): (ChainId, Address),
        eon: Eon,
        root: B256,
        signature: &Bytes,
    ) -> Result<Vec<ChainId>, RelayError> {
        let of_hub = self
            .lanes
            .iter()
            .filter(|of| (of.lane.source, of.lane.hub) == (chain, hub));
        let refused = || RelayError::SignatureRefused { hub, eon: eon.0 };
        let signed = Signature::from_raw(signature).map_err(|_| refused())?;
        let signed = signed
            .normalize_s()
            .map_or(Some(signed), |_| None)
            .ok_or_else(refused)?;
        if eon.0 == 0 || root.is_zero() {
            return Err(refused());
        }
        let mut taken = Vec::new();
        for of in of_hub {
            let target = of.lane.target;
            let cursor = self.store.get_cursor(target).await?;
            let registration = self
                .targets
                .registration(of, &cursor.ok_or(RelayError::NotRead(target))?)
                .await?;
            let digest = checkpoint_digest(of.lane, of.registry, eon.0, root);
            let signer = signed.recover_address_from_prehash(&digest).map_err(|_| refused())?;
            if registration.operator.is_zero() || signer != registration.operator {
                continue;
            }
            let new = NewSignedCheckpoint {
                lane: of.lane,
                eon: eon.0,
                root,
                // 27 or 28, as the contract wants it.
                signature: signed.as_bytes().into(),
            };
            let mut txn = self.store.begin(self.clock.now_ms()).await?;
            txn.put_signed_checkpoint(&new, "operator").await?;
            txn.commit().await?;
            taken.push(target);
        }
        if taken.is_empty() {
            return Err(refused());
        }
        Ok(taken)
    }
}
