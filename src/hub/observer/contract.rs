//! A hub's contract in one block.

use super::error::HubError;
use crate::hub::model::eon::EONS_KEPT;
use crate::hub::model::{Accumulator, Backing, Eon, EonTotals};
use crate::store::Hub;
use alloy::primitives::{Address, B256, U256};
use alloy::sol_types::SolCall;
use relayer_adapter_api::abi::ICommitChain;
use relayer_adapter_api::{BlockRef, ChainView, ViewError};
use std::sync::Arc;

/// Slots as the contract numbers them.
const SLOTS: [u8; 5] = [0, 1, 2, 3, 4];

/// A checkpoint as the contract keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptCheckpoint {
    pub eon: Eon,
    pub root: B256,
}

/// See the module.
pub struct Contract<'a> {
    hub: &'a Hub,
    view: Arc<dyn ChainView>,
}

impl std::fmt::Debug for Contract<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contract")
            .field("hub", &self.hub.name)
            .finish_non_exhaustive()
    }
}

impl<'a> Contract<'a> {
    pub fn new(hub: &'a Hub, view: Arc<dyn ChainView>) -> Self {
        Self { hub, view }
    }

    pub fn block(&self) -> BlockRef {
        self.view.block()
    }

    /// The eon of the block, by the hub's clock.
    pub fn eon(&self) -> Result<Eon, HubError> {
        let clock = self.hub.clock()?;
        clock.eon(self.block().number).map_err(|source| HubError::Clock {
            hub: self.hub.name.clone(),
            source,
        })
    }

    async fn ask<C: SolCall>(&self, attempted: &'static str, call: C) -> Result<C::Return, HubError> {
        let data = call.abi_encode().into();
        let answer = self.view.call(None, self.hub.contract, data, U256::ZERO).await;
        let answer = answer.map_err(|source| HubError::View {
            hub: self.hub.name.clone(),
            attempted,
            source,
        })?;
        C::abi_decode_returns(&answer).map_err(|error| HubError::Decode {
            hub: self.hub.name.clone(),
            attempted,
            reason: error.to_string(),
        })
    }

    fn eon_of(&self, attempted: &'static str, number: U256) -> Result<Eon, HubError> {
        u64::try_from(number).map(Eon).map_err(|_| HubError::Decode {
            hub: self.hub.name.clone(),
            attempted,
            reason: format!("{number} is no eon"),
        })
    }

    pub async fn has_missed_checkpoint(&self) -> Result<bool, HubError> {
        let call = ICommitChain::hasMissedCheckpointSubmissionCall {};
        self.ask("asking for a missed checkpoint", call).await
    }

    /// A challenge over this eon or the one before is open, whether or not it halts the contract already.
    pub async fn is_challenged(&self) -> Result<bool, HubError> {
        let attempted = "asking for live challenges";
        let eon = self.eon()?;
        for eon in [Some(eon), eon.previous()].into_iter().flatten() {
            let call = ICommitChain::getLiveChallengesCall { eon: U256::from(eon.0) };
            if !self.ask(attempted, call).await?.is_zero() {
                return Ok(true);
            }
        }
        self.ask(attempted, ICommitChain::hasOutstandingChallengesCall {}).await
    }

    pub async fn accumulator(&self) -> Result<Accumulator, HubError> {
        let mut slots = [B256::ZERO; 5];
        for (word, slot) in slots.iter_mut().zip(SLOTS) {
            let call = ICommitChain::getParentChainAccumulatorAtSlotCall { slot };
            *word = self.ask("reading the accumulator", call).await?;
        }
        Ok(Accumulator::from_slots(slots))
    }

    /// The checkpoints it keeps, none for slots that were never used.
    pub async fn checkpoints(&self) -> Result<Vec<KeptCheckpoint>, HubError> {
        let attempted = "reading checkpoints";
        let mut kept = Vec::with_capacity(SLOTS.len());
        for slot in SLOTS {
            let call = ICommitChain::getCheckpointAtSlotCall { slot };
            let answer = self.ask(attempted, call).await?;
            let eon = self.eon_of(attempted, answer.eon)?;
            if eon != Eon(0) {
                kept.push(KeptCheckpoint {
                    eon,
                    root: answer.merkleRoot,
                });
            }
        }
        Ok(kept)
    }

    /// Deposits of a token in the eons it keeps.
    pub async fn deposits(&self, token: Address) -> Result<[(Eon, U256); 5], HubError> {
        let call = |slot| ICommitChain::getDepositsAtSlotCall { token, slot };
        self.slots("reading deposits", call, |answer| (answer.eon, answer.amount))
            .await
    }

    /// Withdrawals of a token confirmed in the eons it keeps.
    pub async fn confirmed_withdrawals(&self, token: Address) -> Result<[(Eon, U256); 5], HubError> {
        let call = |slot| ICommitChain::getConfirmedWithdrawalsAtSlotCall { token, slot };
        self.slots("reading confirmed withdrawals", call, |answer| {
            (answer.eon, answer.amount)
        })
        .await
    }

    /// Position of a token; the contract itself is the first. None for one it does not know.
    pub async fn token_trail(&self, token: Address) -> Result<Option<u64>, HubError> {
        if token == self.hub.contract {
            return Ok(Some(0));
        }
        let call = ICommitChain::getTokenTrailCall { token };
        match self.ask("asking for a token's position", call).await {
            Ok(trail) => Ok(Some(trail)),
            Err(HubError::View {
                source: ViewError::Reverted { .. },
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What waits to be withdrawn of a token, a running total: at the end of the newest five eons in which it changed.
    pub async fn pending_withdrawals(&self, token: Address) -> Result<[(Eon, U256); 5], HubError> {
        let call = |slot| ICommitChain::getPendingWithdrawalsAtSlotCall { token, slot };
        self.slots("reading pending withdrawals", call, |answer| {
            (answer.eon, answer.amount)
        })
        .await
    }

    /// Amounts of the eons it keeps, slot by slot.
    async fn slots<C: SolCall>(
        &self,
        attempted: &'static str,
        call: impl Fn(u8) -> C,
        read: impl Fn(C::Return) -> (U256, U256),
    ) -> Result<[(Eon, U256); 5], HubError> {
        let mut slots = [(Eon(0), U256::ZERO); 5];
        for (place, slot) in slots.iter_mut().zip(SLOTS) {
            let (eon, amount) = read(self.ask(attempted, call(slot)).await?);
            *place = (self.eon_of(attempted, eon)?, amount);
        }
        Ok(slots)
    }

    /// What it holds of a token now. None when the token does not say, and with it nothing that the contract checks of the token.
    async fn balance(&self, token: Address) -> Result<Option<U256>, HubError> {
        let call = ICommitChain::getServerContractLedgerStateVariablesCall {
            // The balance is today's, whichever eon is asked for.
            eonNumber: U256::from(1),
            token,
        };
        match self.ask("reading a token's balance", call).await {
            Ok(answer) => Ok(Some(answer.totalBalance)),
            Err(HubError::View {
                source: ViewError::Reverted { .. },
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What backs a checkpoint's promises of a token: docs/hub.md.
    pub async fn backing(&self, token: Address, eon: Eon) -> Result<Backed, HubError> {
        let before = eon.previous().unwrap_or_default();
        let Some(balance) = self.balance(token).await? else {
            return Ok(Backed::Fails);
        };
        let slots = self.confirmed_withdrawals(token).await?;
        let deposits = EonTotals::from_slots(self.deposits(token).await?).since(eon);
        let (Some(deposits), Some(confirmed_withdrawals)) = (deposits, EonTotals::from_slots(slots).since(eon)) else {
            return Ok(Backed::Fails);
        };
        let backing = |pending_withdrawals| Backing {
            balance,
            confirmed_withdrawals,
            deposits,
            pending_withdrawals,
        };
        Ok(match total_at(&self.pending_withdrawals(token).await?, before) {
            Total::Known(total) => Backed::By(backing(total)),
            Total::Before(later, total) => {
                let confirmed = slots.iter().find(|(held, _)| *held == later);
                let confirmed = confirmed.map_or(U256::ZERO, |(_, amount)| *amount);
                match total.checked_add(confirmed) {
                    Some(all) => Backed::Less(backing(all), later),
                    None => Backed::Fails,
                }
            }
        })
    }
}

/// What backs a promise, as far as the contract says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backed {
    By(Backing),
    /// What is pending includes what was asked for in this later eon.
    Less(Backing, Eon),
    /// The contract's own sum fails.
    Fails,
}

/// A running total at the end of an eon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Total {
    Known(U256),
    /// The slot that may hold it was taken by this eon, the first later one in which it changed, and holds that eon's.
    Before(Eon, U256),
}

/// An eon in which nothing changed has the total of the one before it.
pub fn total_at(slots: &[(Eon, U256); 5], eon: Eon) -> Total {
    let (mut newest, mut total) = (Eon(0), U256::ZERO);
    let mut taken = Eon(0);
    let mut next: Option<(Eon, U256)> = None;
    for (held, amount) in slots {
        if *held <= eon {
            if *held >= newest {
                (newest, total) = (*held, *amount);
            }
        } else {
            taken = taken.max(Eon(held.0.saturating_sub(EONS_KEPT as u64)));
            if next.is_none_or(|(next, _)| *held < next) {
                next = Some((*held, *amount));
            }
        }
    }
    match next {
        Some((later, amount)) if taken > newest => Total::Before(later, amount),
        _ => Total::Known(total),
    }
}
