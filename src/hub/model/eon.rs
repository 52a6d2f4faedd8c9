//! Time of a hub: eons of a fixed number of blocks, counted from the contract's deployment. Length and genesis are read from the contract,
//! because the documentation upstream and its deployments disagree.

use std::num::NonZeroU64;

/// Eons the contract keeps: checkpoints, accumulators and totals live in `eon % 5`.
pub const EONS_KEPT: usize = 5;

/// Number of an eon. The first is 1; 0 stands for "before the first", as in `lastSubmissionEon`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Eon(pub u64);

impl std::fmt::Display for Eon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Eon {
    /// Where the contract keeps what belongs to this eon.
    pub fn slot(self) -> usize {
        const KEPT: u64 = EONS_KEPT as u64;
        (self.0 % KEPT) as usize
    }

    /// `distance` eons later, unless numbers run out.
    pub fn checked_add(self, distance: u64) -> Option<Self> {
        self.0.checked_add(distance).map(Self)
    }

    pub fn previous(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }
}

/// Why a question about time has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClockError {
    #[error("setting the hub's clock: an eon cannot have 0 blocks")]
    NoBlocks,
    #[error("finding the eon of block {block}: the hub's genesis is block {genesis}")]
    BeforeGenesis { block: u64, genesis: u64 },
    #[error("finding the blocks of eon {0}: block numbers do not reach it")]
    OutOfRange(Eon),
    #[error("comparing the hub's eons: checkpoint {last} is of a later eon than {current}, the eon of this block")]
    Ahead { last: Eon, current: Eon },
}

/// Standing of an accepted checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Challenges against it may still be open.
    Provisional,
    /// The next one was accepted, which the contract does only without live challenges on this one.
    Final,
}

impl Standing {
    /// Of the checkpoint of `eon` when `last` is the newest accepted one.
    pub fn of(eon: Eon, last: Eon) -> Self {
        if last > eon { Self::Final } else { Self::Provisional }
    }
}

/// Which block is in which eon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EonClock {
    genesis: u64,
    blocks_per_eon: NonZeroU64,
}

impl EonClock {
    /// `genesis()` and `BLOCKS_PER_EON()` of the contract.
    pub fn new(genesis: u64, blocks_per_eon: u64) -> Result<Self, ClockError> {
        let blocks_per_eon = NonZeroU64::new(blocks_per_eon).ok_or(ClockError::NoBlocks)?;
        Ok(Self {
            genesis,
            blocks_per_eon,
        })
    }

    pub fn genesis(&self) -> u64 {
        self.genesis
    }

    pub fn blocks_per_eon(&self) -> u64 {
        self.blocks_per_eon.get()
    }

    /// `BLOCKS_PER_EPOCH`: challenges open after it and are answered within it.
    pub fn epoch_blocks(&self) -> u64 {
        self.blocks_per_eon.get() / 4
    }

    /// `EXTENDED_BLOCKS_PER_EPOCH`: when withdrawals of two eons ago may be confirmed.
    pub fn extended_epoch_blocks(&self) -> u64 {
        self.blocks_per_eon.get() / 3
    }

    fn age(&self, block: u64) -> Result<u64, ClockError> {
        block.checked_sub(self.genesis).ok_or(ClockError::BeforeGenesis {
            block,
            genesis: self.genesis,
        })
    }

    /// The contract's `currentEon` in that block.
    pub fn eon(&self, block: u64) -> Result<Eon, ClockError> {
        let whole = self.age(block)? / self.blocks_per_eon;
        Ok(Eon(whole.saturating_add(1)))
    }

    /// The contract's `currentEra` in that block: blocks since the eon began.
    pub fn era(&self, block: u64) -> Result<u64, ClockError> {
        Ok(self.age(block)? % self.blocks_per_eon)
    }

    pub fn first_block(&self, eon: Eon) -> Result<u64, ClockError> {
        let out_of_range = ClockError::OutOfRange(eon);
        let whole = eon.previous().ok_or(out_of_range)?;
        let age = whole.0.checked_mul(self.blocks_per_eon.get()).ok_or(out_of_range)?;
        age.checked_add(self.genesis).ok_or(out_of_range)
    }

    pub fn last_block(&self, eon: Eon) -> Result<u64, ClockError> {
        let out_of_range = ClockError::OutOfRange(eon);
        let next = eon.checked_add(1).ok_or(out_of_range)?;
        // The first block of a later eon is never block 0.
        Ok(self.first_block(next)?.saturating_sub(1))
    }

    /// Whether a hub that waits for this many confirmations builds this eon's checkpoint by now: the previous eon's last block is buried twice as deep.
    pub fn checkpoint_is_due(&self, block: u64, confirmations: u64) -> Result<bool, ClockError> {
        Ok(self.era(block)? >= confirmations.saturating_mul(2))
    }

    /// The contract's `hasMissedCheckpointSubmission`: it halts the hub for ever.
    pub fn checkpoint_is_missed(&self, block: u64, last: Eon) -> Result<bool, ClockError> {
        let current = self.eon(block)?;
        let behind = current.0.checked_sub(last.0);
        Ok(behind.ok_or(ClockError::Ahead { last, current })? > 1)
    }

    /// The contract's `hasOutstandingChallenges`, given the live challenges of the previous eon: it halts the hub while they are open.
    pub fn challenges_are_outstanding(&self, block: u64, live_in_previous_eon: u64) -> Result<bool, ClockError> {
        Ok(live_in_previous_eon > 0 && self.era(block)? > self.epoch_blocks())
    }

    /// Whether a challenge may be issued in this block.
    pub fn challenges_are_open(&self, block: u64) -> Result<bool, ClockError> {
        Ok(self.era(block)? > self.epoch_blocks())
    }

    /// Whether `confirmWithdrawal` in this block pays what was requested in that eon.
    pub fn withdrawal_is_payable(&self, block: u64, requested: Eon) -> Result<bool, ClockError> {
        let (eon, era) = (self.eon(block)?, self.era(block)?);
        let ripe = requested.0.saturating_add(2);
        Ok(ripe < eon.0 || (ripe == eon.0 && era >= self.extended_epoch_blocks()))
    }
}
