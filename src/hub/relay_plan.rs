//! Which checkpoints of a hub set out for a chain, and which messages are not worth waiting for. Pure.

use super::model::Eon;
use super::model::eon::EONS_KEPT;
use crate::settlement::MessageId;
use crate::settlement::states::MessageState;
use crate::store::{CheckpointStanding, HubCheckpoint};
use alloy::primitives::B256;

/// A message of the lane, as far as the decision cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    pub id: MessageId,
    pub eon: Eon,
    pub root: B256,
    pub state: MessageState,
    /// As many bridges as its quorum needs have been given it: what is missing is under way.
    pub covered: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Seal { eon: Eon, root: B256 },
    GiveUp { message: MessageId, reason: String },
}

/// `checkpoints` are those of the hub's chain, ascending, at least the newest five; `messages` those of the lane that may matter to them.
/// Whatever is given up comes first: it makes room for its eon.
pub fn plan(halted: bool, checkpoints: &[HubCheckpoint], messages: &[Sealed]) -> Vec<Step> {
    // What is not in a final block could still become another root.
    let certain: Vec<&HubCheckpoint> = checkpoints.iter().filter(|checkpoint| is_certain(checkpoint)).collect();
    let Some(newest) = certain.last().map(|checkpoint| checkpoint.eon) else {
        return Vec::new();
    };
    let mut steps = Vec::new();
    let mut given_up = Vec::new();
    for message in messages.iter().filter(|message| is_open(message.state)) {
        let of_eon = certain.iter().find(|checkpoint| checkpoint.eon == message.eon);
        if let Some(reason) = hopeless(message, of_eon.copied(), newest) {
            given_up.push(message.id);
            steps.push(Step::GiveUp {
                message: message.id,
                reason,
            });
        }
    }
    if halted {
        return steps;
    }
    for checkpoint in certain {
        let taken = messages.iter().any(|message| {
            let same = message.eon == checkpoint.eon;
            let lives = message.state != MessageState::Abandoned && !given_up.contains(&message.id);
            same && (lives || message.root == checkpoint.root)
        });
        let kept = !is_overwritten(checkpoint.eon, newest, 1);
        if kept && !taken && checkpoint.refused.is_none() {
            steps.push(Step::Seal {
                eon: checkpoint.eon,
                root: checkpoint.root,
            });
        }
    }
    steps
}

fn is_certain(checkpoint: &HubCheckpoint) -> bool {
    matches!(
        checkpoint.standing,
        CheckpointStanding::Provisional | CheckpointStanding::Final
    )
}

fn is_open(state: MessageState) -> bool {
    matches!(state, MessageState::Sealed | MessageState::Received)
}

/// The contract keeps five eons; `rounds` times that many have gone by.
fn is_overwritten(eon: Eon, newest: Eon, rounds: u64) -> bool {
    let kept = (EONS_KEPT as u64).saturating_mul(rounds);
    eon.0.saturating_add(kept) <= newest.0
}

fn hopeless(message: &Sealed, checkpoint: Option<&HubCheckpoint>, newest: Eon) -> Option<String> {
    if let Some(checkpoint) = checkpoint {
        if checkpoint.root != message.root {
            return Some(format!("the hub's chain has root {} for the eon now", checkpoint.root));
        }
        if let Some(refused) = &checkpoint.refused {
            return Some(format!("the checkpoint is refused: {refused}"));
        }
    }
    if message.state == MessageState::Received {
        return None;
    }
    // Without the hub's word no further bridge can be given it; what is on its way gets as much time again.
    let lost = is_overwritten(message.eon, newest, 1) && !message.covered;
    (lost || is_overwritten(message.eon, newest, 2))
        .then(|| format!("the hub's contract is at eon {newest} and has overwritten it"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::store::HubId;
    use relayer_adapter_api::BlockRef;

    fn root(eon: u64) -> B256 {
        B256::left_padding_from(&eon.to_be_bytes())
    }

    fn checkpoint(eon: u64, standing: CheckpointStanding) -> HubCheckpoint {
        HubCheckpoint {
            id: 1,
            hub: HubId(1),
            eon: Eon(eon),
            root: root(eon),
            basis: None,
            refused: None,
            standing,
            block: BlockRef {
                number: 1,
                hash: B256::ZERO,
                timestamp: 0,
            },
            log_index: 0,
            tx_hash: B256::ZERO,
            updated_at: 0,
        }
    }

    /// Checkpoints `from..=to`, the newest provisional.
    fn chain(from: u64, to: u64) -> Vec<HubCheckpoint> {
        (from..=to)
            .map(|eon| {
                let standing = if eon == to {
                    CheckpointStanding::Provisional
                } else {
                    CheckpointStanding::Final
                };
                checkpoint(eon, standing)
            })
            .collect()
    }

    fn message(eon: u64, state: MessageState, covered: bool) -> Sealed {
        Sealed {
            id: MessageId(root(eon)),
            eon: Eon(eon),
            root: root(eon),
            state,
            covered,
        }
    }

    fn seals(steps: &[Step]) -> Vec<u64> {
        let eon = |step: &Step| match step {
            Step::Seal { eon, .. } => Some(eon.0),
            Step::GiveUp { .. } => None,
        };
        steps.iter().filter_map(eon).collect()
    }

    fn given_up(steps: &[Step]) -> Vec<u64> {
        let id = |step: &Step| match step {
            Step::GiveUp { message, .. } => Some(u64::from_be_bytes(message.0.0[24..].try_into().unwrap())),
            Step::Seal { .. } => None,
        };
        steps.iter().filter_map(id).collect()
    }

    #[test]
    fn the_last_five_eons_set_out_oldest_first_and_once() {
        assert_eq!(seals(&plan(false, &chain(1, 8), &[])), [4, 5, 6, 7, 8]);
        let under_way = [
            message(4, MessageState::Executed, true),
            message(5, MessageState::Sealed, false),
            message(6, MessageState::Received, true),
        ];
        assert_eq!(seals(&plan(false, &chain(1, 8), &under_way)), [7, 8]);
        assert_eq!(plan(false, &[], &[]), []);
    }

    #[test]
    fn nothing_sets_out_that_is_not_in_a_final_block_or_is_refused() {
        let mut all = chain(1, 2);
        all.push(checkpoint(3, CheckpointStanding::Seen));
        all[0].refused = Some("insolvent".into());
        assert_eq!(seals(&plan(false, &all, &[])), [2]);
    }

    #[test]
    fn of_a_halted_hub_nothing_sets_out() {
        assert_eq!(plan(true, &chain(1, 8), &[]), []);
    }

    #[test]
    fn a_root_that_left_the_hubs_chain_makes_room_for_the_one_that_replaced_it() {
        let mut old = message(3, MessageState::Sealed, true);
        old.root = B256::repeat_byte(9);
        let steps = plan(false, &chain(3, 3), &[old]);
        assert_eq!((given_up(&steps), seals(&steps)), (vec![3], vec![3]));
        // One that was recorded is the registry's business.
        old.state = MessageState::Executed;
        assert_eq!(plan(false, &chain(3, 3), &[old]), []);
    }

    #[test]
    fn what_was_given_up_is_not_sealed_again() {
        let gone = message(8, MessageState::Abandoned, false);
        assert_eq!(seals(&plan(false, &chain(8, 8), &[gone])), [] as [u64; 0]);
    }

    #[test]
    fn what_the_contract_has_overwritten_waits_only_while_it_is_under_way() {
        let check = |newest, message, expected: &[u64]| {
            assert_eq!(given_up(&plan(false, &chain(newest, newest), &[message])), expected);
        };
        check(7, message(3, MessageState::Sealed, false), &[]);
        check(8, message(3, MessageState::Sealed, false), &[3]);
        check(8, message(3, MessageState::Sealed, true), &[]);
        check(13, message(3, MessageState::Sealed, true), &[3]);
        check(13, message(3, MessageState::Received, true), &[]);
    }
}
