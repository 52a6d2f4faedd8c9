//! The accumulator, followed from where the contract confirmed it over every operation since.

use super::error::HubError;
use crate::hub::model::{Accumulator, Operation, ParentOperation};
use crate::store::{Hub, HubCheckpoint, HubOperation, HubOperationKind, HubPlace, Store};
use alloy::primitives::B256;

/// Operations read at once.
const PAGE: u64 = 5_000;

/// Where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    pub accumulator: Accumulator,
    /// Row numbers of checkpoints with the accumulator of the eon before at their submission.
    pub bases: Vec<(i64, B256)>,
}

/// The step an operation makes; a confirmation makes none.
pub fn step(operation: &HubOperation) -> Option<ParentOperation> {
    let kind = match operation.kind {
        HubOperationKind::Deposit => Operation::Deposit,
        HubOperationKind::WithdrawalRequest => Operation::Withdrawal,
        HubOperationKind::WithdrawalConfirmation => return None,
    };
    Some(ParentOperation {
        eon: operation.eon,
        token: operation.token,
        participant: operation.wallet,
        operation: kind,
        value: operation.amount,
    })
}

/// From the end of block `base` over final rows up to block `to`.
pub async fn follow(store: &Store, hub: &Hub, (base, slots): (u64, [B256; 5]), to: u64) -> Result<Followed, HubError> {
    let mut accumulator = Accumulator::from_slots(slots);
    let mut bases = Vec::new();
    let checkpoints = store.list_final_checkpoints_between(hub.id, base, to).await?;
    let mut waiting = checkpoints.iter().peekable();
    let mut after = HubPlace::end_of(base);
    loop {
        let page = store.list_final_hub_operations(hub.id, after, to, PAGE).await?;
        for operation in &page {
            after = HubPlace {
                block: operation.block.number,
                log_index: operation.log_index,
            };
            while let Some(checkpoint) = waiting.next_if(|checkpoint| place(checkpoint) < after) {
                bases.extend(basis(checkpoint, &accumulator));
            }
            if let Some(step) = step(operation) {
                accumulator.append(&step);
            }
        }
        if (page.len() as u64) < PAGE {
            break;
        }
    }
    for checkpoint in waiting {
        bases.extend(basis(checkpoint, &accumulator));
    }
    Ok(Followed { accumulator, bases })
}

fn place(checkpoint: &HubCheckpoint) -> HubPlace {
    HubPlace {
        block: checkpoint.block.number,
        log_index: checkpoint.log_index,
    }
}

fn basis(checkpoint: &HubCheckpoint, accumulator: &Accumulator) -> Option<(i64, B256)> {
    Some((checkpoint.id, accumulator.at(checkpoint.eon.previous()?)))
}
