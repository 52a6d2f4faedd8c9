//! When a hub stands still. Bad news counts at the head, good news when it is final. Pure.

use crate::hub::model::Eon;
use crate::store::{Halt, HaltReason};

/// What the contract says in one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub eon: Eon,
    pub missed: bool,
    pub challenged: bool,
}

impl Standing {
    pub fn is_sound(&self) -> bool {
        !self.missed && !self.challenged
    }
}

/// Whether the final block matters: not for a hub that is sound and was.
pub fn needs_final(seen: &Standing, was: Option<&Halt>) -> bool {
    !seen.is_sound() || was.is_some()
}

/// `finalized` may be absent only when [`needs_final`] says so.
pub fn judge(seen: &Standing, finalized: Option<&Standing>, was: Option<&Halt>, now_ms: i64) -> Option<Halt> {
    let is = |reason: HaltReason, eon: Eon, is_final: bool| {
        let same = was.filter(|was| was.reason == reason);
        Some(Halt {
            reason,
            eon: same.map_or(eon, |was| was.eon),
            since_ms: same.map_or(now_ms, |was| was.since_ms),
            is_final,
        })
    };
    if let Some(was) = was
        && was.reason == HaltReason::MissedCheckpoint
        && was.is_final
    {
        return Some(*was);
    }
    if let Some(finalized) = finalized.filter(|finalized| finalized.missed) {
        return is(HaltReason::MissedCheckpoint, finalized.eon, true);
    }
    if seen.missed {
        return is(HaltReason::MissedCheckpoint, seen.eon, false);
    }
    if let Some(finalized) = finalized.filter(|finalized| finalized.challenged) {
        return is(HaltReason::LiveChallenge, finalized.eon, true);
    }
    if seen.challenged {
        return is(HaltReason::LiveChallenge, seen.eon, false);
    }
    None
}
