//! Rows of a hub's ledger to answers.

use crate::hub::ledger::{Built, Delivery, HubTime, Proven};
use crate::store::{
    Hub, HubCheckpoint, HubEvent, HubRoot, HubToken, HubTransfer, HubWallet, LedgerHead, StoredCommitment,
};
use alloy::primitives::B256;
use relayer_proto::v1;

fn hex(hash: &B256) -> String {
    hash.to_string()
}

fn address(address: &alloy::primitives::Address) -> String {
    format!("{address:#x}")
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

pub fn hub(hub: &Hub, time: Option<HubTime>, head: Option<LedgerHead>, built_eon: u64) -> v1::Hub {
    v1::Hub {
        name: hub.name.clone(),
        chain: hub.chain.0,
        contract: address(&hub.contract),
        genesis: hub.genesis,
        blocks_per_eon: hub.blocks_per_eon,
        last_eon: hub.last_eon.0,
        halted: hub.halted.map(|halt| halt.reason.to_string()).unwrap_or_default(),
        current_eon: time.map_or(0, |time| time.current.0),
        confirmed_eon: time.map_or(0, |time| time.confirmed.0),
        latest_block: time.map_or(0, |time| time.latest_block),
        confirmed_block: time.map_or(0, |time| time.confirmed_block),
        ledger_of: head.and_then(|head| head.coordinator).unwrap_or_default(),
        built_eon,
    }
}

pub fn contents(root: &HubRoot, commitments: &[StoredCommitment]) -> v1::CheckpointContents {
    let token = |commitment: &StoredCommitment| v1::TokenCommitment {
        token: address(&commitment.token),
        token_trail: commitment.token_trail,
        account_root: hex(&commitment.account_root),
        upper_bound: commitment.upper_bound.to_string(),
        accounts: commitment.accounts,
    };
    v1::CheckpointContents {
        origin: root.origin.as_str().into(),
        root: hex(&root.root),
        accounts: root.accounts,
        tokens: commitments.iter().map(token).collect(),
    }
}

/// None when there is neither.
pub fn checkpoint(
    hub: &Hub,
    on_chain: Option<HubCheckpoint>,
    known: Option<(HubRoot, Vec<StoredCommitment>)>,
) -> Option<v1::HubCheckpoint> {
    let eon = match (&on_chain, &known) {
        (Some(checkpoint), _) => checkpoint.eon.0,
        (None, Some((root, _))) => root.eon,
        (None, None) => return None,
    };
    let mut answer = v1::HubCheckpoint {
        hub: hub.name.clone(),
        eon,
        contents: known.map(|(root, commitments)| contents(&root, &commitments)),
        ..Default::default()
    };
    if let Some(checkpoint) = on_chain {
        answer.root = hex(&checkpoint.root);
        answer.standing = checkpoint.standing.to_string();
        answer.basis = checkpoint.basis.map(|basis| hex(&basis)).unwrap_or_default();
        answer.block_number = checkpoint.block.number;
        answer.transaction_hash = hex(&checkpoint.tx_hash);
    }
    Some(answer)
}

pub fn built(hub: &Hub, built: &Built, accumulator: Option<B256>) -> v1::BuiltCheckpoint {
    v1::BuiltCheckpoint {
        hub: hub.name.clone(),
        eon: built.root.eon,
        root: hex(&built.root.root),
        accumulator: accumulator.map(|basis| hex(&basis)).unwrap_or_default(),
        contents: Some(contents(&built.root, &built.commitments)),
        duplicate: built.duplicate,
    }
}

pub fn token(token: HubToken) -> v1::HubToken {
    v1::HubToken {
        address: address(&token.token),
        name: token.name,
        short_name: token.short_name,
        trail: token.trail,
        wallets: token.wallets,
    }
}

pub fn imported_token(commitment: &StoredCommitment) -> v1::HubToken {
    v1::HubToken {
        address: address(&commitment.token),
        trail: commitment.token_trail,
        wallets: commitment.accounts,
        ..Default::default()
    }
}

pub fn registration(account: &HubWallet) -> v1::Registration {
    v1::Registration {
        eon_number: account.admitted_eon,
        authorization: account.authorization.clone(),
        operator_authorization: account.operator_authorization.clone(),
        trail_identifier: account.trail,
    }
}

fn merkle_proof(proven: &Proven) -> v1::MerkleProof {
    let (proof, account) = (&proven.proof, &proven.allotment.account);
    v1::MerkleProof {
        eon_number: proven.root.eon,
        left: proof.interval.left.to_string(),
        right: proof.interval.right.to_string(),
        allotment_chain: proof.allotment_chain.iter().map(hex).collect(),
        membership_chain: proof.membership_chain.iter().map(hex).collect(),
        values: proof.values.iter().map(ToString::to_string).collect(),
        trail: proof.trail,
        active_state_checksum: hex(&account.active_state_checksum),
        passive_checksum: hex(&account.passive.checksum),
        passive_amount: account.passive.amount.to_string(),
        passive_marker: account.passive.marker.to_string(),
    }
}

pub fn allotment(proven: &Proven, registration: Option<v1::Registration>) -> v1::GetAllotmentResponse {
    v1::GetAllotmentResponse {
        merkle_proof: Some(merkle_proof(proven)),
        root: hex(&proven.root.root),
        standing: proven.standing.map(|standing| standing.to_string()).unwrap_or_default(),
        upper_bound: proven.commitment.upper_bound.to_string(),
        token_trail: proven.commitment.token_trail,
        registration,
    }
}

pub fn delivery(delivery: &Delivery) -> v1::DeliveryProof {
    v1::DeliveryProof {
        merkle_proof: Some(merkle_proof(&delivery.recipient)),
        transfer_membership_chain: delivery.proof.chain.iter().map(hex).collect(),
        transfer_membership_values: delivery.proof.values.iter().map(ToString::to_string).collect(),
        transfer_membership_trail: delivery.proof.trail,
        root: hex(&delivery.recipient.root.root),
    }
}

/// `closed` is the ledger's newest eon whose checkpoint was begun.
pub fn transaction(transfer: &HubTransfer, closed: u64) -> v1::HubTransaction {
    let wallet = |wallet: &alloy::primitives::Address, trail| v1::WalletRef {
        address: address(wallet),
        token: address(&transfer.token),
        trail_identifier: trail,
    };
    v1::HubTransaction {
        id: unsigned(transfer.id),
        tx_id: transfer.tx_id.clone(),
        amount: transfer.amount.to_string(),
        wallet: Some(wallet(&transfer.sender, transfer.sender_trail)),
        recipient: Some(wallet(&transfer.recipient, transfer.recipient_trail)),
        nonce: transfer.nonce.to_string(),
        position: transfer.position.to_string(),
        eon_number: transfer.eon,
        at_ms: unsigned(transfer.at_ms),
        complete: transfer.eon < closed,
    }
}

pub fn event(event: &HubEvent) -> v1::HubEvent {
    let text = |of: Option<alloy::primitives::Address>| of.map(|of| address(&of)).unwrap_or_default();
    v1::HubEvent {
        seq: unsigned(event.seq),
        r#type: event.kind.as_str().into(),
        at_ms: unsigned(event.at_ms),
        eon: event.eon,
        token: text(event.token),
        wallet: text(event.wallet),
        recipient: text(event.recipient),
        amount: event.amount.map(|amount| amount.to_string()).unwrap_or_default(),
        reference: event.reference.clone(),
    }
}
