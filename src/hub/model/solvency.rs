//! The inequality the contract checks with every proof: a checkpoint may allot no more of a token than the contract held when its eon began.

use super::eon::{EONS_KEPT, Eon};
use alloy::primitives::U256;

/// Why a checkpoint is not, or cannot be seen to be, solvent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SolvencyError {
    #[error("checking solvency: {upper_bound} is allotted, {backing} is there to back it")]
    OverCommitted { upper_bound: U256, backing: U256 },
    #[error("checking solvency: the contract's totals contradict its balance {balance}; its own check would revert")]
    Contradiction { balance: U256 },
}

/// What the contract knows about a token, for a checkpoint of eon e.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backing {
    /// Of the contract, now.
    pub balance: U256,
    /// Confirmed in eon e or later.
    pub confirmed_withdrawals: U256,
    /// In eon e or later.
    pub deposits: U256,
    /// Pending at the end of eon e - 1.
    pub pending_withdrawals: U256,
}

impl Backing {
    /// `balance + confirmed withdrawals - deposits - pending withdrawals`, in this order, as the contract computes it.
    pub fn amount(&self) -> Result<U256, SolvencyError> {
        self.balance
            .checked_add(self.confirmed_withdrawals)
            .and_then(|sum| sum.checked_sub(self.deposits))
            .and_then(|sum| sum.checked_sub(self.pending_withdrawals))
            .ok_or(SolvencyError::Contradiction { balance: self.balance })
    }

    /// That this upper bound is covered.
    pub fn check(&self, upper_bound: U256) -> Result<(), SolvencyError> {
        let backing = self.amount()?;
        if upper_bound <= backing {
            Ok(())
        } else {
            Err(SolvencyError::OverCommitted { upper_bound, backing })
        }
    }
}

/// A token's deposits, or confirmed withdrawals, of the eons the contract keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EonTotals {
    slots: [(Eon, U256); EONS_KEPT],
}

impl EonTotals {
    /// As read from the contract's slots, in their order.
    pub fn from_slots(slots: [(Eon, U256); EONS_KEPT]) -> Self {
        Self { slots }
    }

    /// Adds an amount. A later eon takes the slot over; an earlier one is added to it, as in the contract, where it cannot happen.
    pub fn add(&mut self, eon: Eon, amount: U256) -> Option<()> {
        let (held, total) = self.slots.get_mut(eon.slot())?;
        if eon > *held {
            (*held, *total) = (eon, amount);
        } else {
            *total = total.checked_add(amount)?;
        }
        Some(())
    }

    /// Sum over the slots of this eon and later.
    pub fn since(&self, eon: Eon) -> Option<U256> {
        let late = self.slots.iter().filter(|(held, _)| *held >= eon);
        late.map(|(_, total)| *total)
            .try_fold(U256::ZERO, |sum, total| sum.checked_add(total))
    }
}
