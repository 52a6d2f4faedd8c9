//! Proofs from contents that are known here. Each is checked against the root before it is given away: a wallet may stake its money on it.

use super::{Ledger, LedgerError};
use crate::hub::model::account::TokenPrefix;
use crate::hub::model::checkpoint::token_tree;
use crate::hub::model::proof::PassiveProof;
use crate::hub::model::transfer::passive_tree;
use crate::hub::model::{AllotmentProof, Eon, Spine};
use crate::store::{CheckpointStanding, Hub, HubRoot, HubTransfer, StoredAllotment, StoredCommitment};
use alloy::primitives::{Address, B256, U256};

/// An allotment and what proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    pub root: HubRoot,
    pub commitment: StoredCommitment,
    pub allotment: StoredAllotment,
    pub proof: AllotmentProof,
    /// Of the chain's checkpoint, when it has this root.
    pub standing: Option<CheckpointStanding>,
}

/// That a transfer reached its recipient: it is in the passive set the recipient's account commits to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub recipient: Proven,
    pub proof: PassiveProof,
}

impl Ledger {
    /// What a wallet is allotted in an eon; in the newest whose contents are known when none is named.
    pub async fn allotment(
        &self,
        hub: &Hub,
        (token, wallet): (Address, Address),
        eon: Option<Eon>,
    ) -> Result<Proven, LedgerError> {
        let root = self.store.find_hub_root(hub.id, eon.map(|eon| eon.0)).await?;
        let root = root.ok_or(LedgerError::NoContents { eon })?;
        let commitments = self.store.list_hub_commitments(root.id).await?;
        let commitment = commitments.iter().find(|commitment| commitment.token == token);
        let commitment = commitment.ok_or_else(|| LedgerError::NoToken {
            hub: hub.name.clone(),
            token,
        })?;
        let found = self.store.find_hub_allotment(commitment.id, wallet).await?;
        let allotment = found.ok_or(LedgerError::NoAllotment {
            eon: Eon(root.eon),
            token,
            wallet,
        })?;
        let proof = self.prove(hub, &root, &commitments, commitment, &allotment).await?;
        let checkpoint = self.store.find_checkpoint(hub.id, Eon(root.eon)).await?;
        Ok(Proven {
            standing: checkpoint
                .filter(|checkpoint| checkpoint.root == root.root)
                .map(|checkpoint| checkpoint.standing),
            commitment: commitment.clone(),
            root,
            allotment,
            proof,
        })
    }

    async fn prove(
        &self,
        hub: &Hub,
        root: &HubRoot,
        commitments: &[StoredCommitment],
        commitment: &StoredCommitment,
        allotment: &StoredAllotment,
    ) -> Result<AllotmentProof, LedgerError> {
        let altered = |reason: String| LedgerError::Altered {
            eon: Eon(root.eon),
            reason,
        };
        let leaves: Vec<(Address, B256, U256)> = commitments
            .iter()
            .map(|leaf| (leaf.token, leaf.account_root, leaf.upper_bound))
            .collect();
        let membership = token_tree(hub.contract, &leaves)?;
        let spine = Spine::from_bytes(&commitment.spine)?;
        let piece = spine.piece_of(allotment.trail)?;
        let accounts = self.store.list_hub_allotments(commitment.id, piece).await?;
        let accounts: Vec<_> = accounts.iter().map(StoredAllotment::allotment).collect();
        let prefix = TokenPrefix::new(hub.contract, commitment.token);
        let (interval, siblings) = spine
            .proof(&prefix, &accounts, allotment.trail)
            .map_err(|error| altered(error.to_string()))?;
        let index = usize::try_from(commitment.token_trail).map_err(|error| altered(error.to_string()))?;
        let proof = AllotmentProof {
            interval,
            trail: allotment.trail,
            allotment_chain: siblings.chain,
            values: siblings.values,
            token_trail: commitment.token_trail,
            membership_chain: membership.proof(index)?,
        };
        proof
            .verify(hub.contract, commitment.token, &allotment.account, root.root)
            .map_err(|error| altered(error.to_string()))?;
        Ok(proof)
    }

    /// None while the next eon's contents are not known.
    pub async fn delivery(&self, hub: &Hub, transfer: &HubTransfer) -> Result<Option<Delivery>, LedgerError> {
        let eon = Eon(transfer.eon.saturating_add(1));
        let recipient = self
            .allotment(hub, (transfer.token, transfer.recipient), Some(eon))
            .await;
        let recipient = match recipient {
            Ok(recipient) => recipient,
            Err(error) if error.is_absent() => return Ok(None),
            Err(error) => return Err(error),
        };
        let tokens = self.store.list_ledger_tokens(hub.id).await?;
        let token = tokens.iter().find(|token| token.token == transfer.token);
        let Some(account) = self
            .store
            .find_hub_wallet(token.map_or(0, |token| token.id), transfer.recipient)
            .await?
        else {
            return Ok(None);
        };
        let received = self.store.list_received(account.id, transfer.eon).await?;
        let Some(trail) = received.iter().position(|one| one.id == transfer.id) else {
            return Ok(None);
        };
        let set: Vec<(B256, U256)> = received
            .iter()
            .map(|one| (one.received_checksum(), one.amount))
            .collect();
        let tree = passive_tree(&set)?;
        let siblings = tree.proof(trail)?;
        let proof = PassiveProof {
            interval: tree.interval(trail)?,
            trail: trail as u64,
            chain: siblings.chain,
            values: siblings.values,
        };
        let passive = recipient.allotment.account.passive;
        proof
            .verify(transfer.received_checksum(), passive.checksum, passive.amount)
            .map_err(|error| LedgerError::Altered {
                eon,
                reason: error.to_string(),
            })?;
        Ok(Some(Delivery { recipient, proof }))
    }
}
