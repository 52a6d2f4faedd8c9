//! The ledger of a hub: tokens, wallets and transfers of a coordinator's own hub, checkpoints built from it, allotments of any hub with their
//! proofs. What happens at the contract comes from the observer's rows; [`follow`] books it and tells watchers.
//!
//! Layout: this page registers, admits and records; [`build`] closes an eon and builds a checkpoint; [`import`] takes the contents of somebody
//! else's; [`proof`] proves from either; [`follow`] is the stage; [`error`] the codes.

mod build;
mod error;
mod follow;
mod import;
mod proof;

pub use build::{Built, Progress};
pub use error::{CODES, LedgerError, SIGNED, code_of};
pub use follow::Follower;
pub use import::Import;
pub use proof::{Delivery, Proven};

use crate::clock::Clock;
use crate::hub::model::Eon;
use crate::store::{
    Hub, HubToken, HubWallet, LedgerHead, NewHubWallet, NewTransfer, Store, StoreError, TransferAnswer, Txn,
};
use alloy::primitives::{Address, U256};
use relayer_adapter_api::ChainId;
use std::sync::Arc;

/// How far a hub's chain was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubTime {
    /// Newest block read and its eon.
    pub latest_block: u64,
    pub current: Eon,
    /// Newest final one.
    pub confirmed_block: u64,
    pub confirmed: Eon,
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledger {
    store: Store,
    clock: Arc<dyn Clock>,
}

/// How many were admitted now, how many before, and the trail of the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Admitted {
    pub admitted: u64,
    pub known: u64,
    pub next_trail: u64,
}

/// Times a piece is tried that lost a race for rows.
const TRIES: usize = 5;

impl Ledger {
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Scheduling time, Unix ms.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    async fn begin(&self) -> Result<Txn, StoreError> {
        self.store.begin(self.clock.now_ms()).await
    }

    /// By its configured name, or as `<chain id>:<contract>`.
    pub async fn hub(&self, name: &str) -> Result<Hub, LedgerError> {
        let by_place = name.split_once(':').and_then(|(chain, contract)| {
            let contract: Address = contract.parse().ok()?;
            Some((ChainId(chain.parse().ok()?), contract))
        });
        let found = match by_place {
            Some((chain, contract)) => self.store.find_hub(chain, contract).await?,
            None => self.store.find_hub_by_name(name).await?,
        };
        found.ok_or_else(|| LedgerError::NoHub(name.to_owned()))
    }

    /// None before the hub's chain was read.
    pub async fn time(&self, hub: &Hub) -> Result<Option<HubTime>, LedgerError> {
        let Some(cursor) = self.store.get_cursor(hub.chain).await? else {
            return Ok(None);
        };
        // The hub may have been added after its chain was read.
        let latest = cursor.seen.number.min(hub.read_to);
        let confirmed = cursor.finalized.number.min(latest);
        let clock = hub.clock()?;
        let eon = |block: u64| {
            if block < hub.genesis {
                Ok(Eon(0))
            } else {
                clock.eon(block)
            }
        };
        Ok(Some(HubTime {
            latest_block: latest,
            current: eon(latest)?,
            confirmed_block: confirmed,
            confirmed: eon(confirmed)?,
        }))
    }

    async fn current_eon(&self, hub: &Hub) -> Result<Eon, LedgerError> {
        Ok(self.time(hub).await?.map_or(Eon(0), |time| time.current))
    }

    /// True when it was registered before.
    pub async fn register_token(
        &self,
        hub: &Hub,
        coordinator: &str,
        (token, trail): (Address, u64),
        names: (&str, &str),
    ) -> Result<(HubToken, bool), LedgerError> {
        let mut txn = self.begin().await?;
        let mut head = txn.lock_hub_ledger(hub.id).await?;
        if head.coordinator.is_some() {
            check_keeper(hub, &head, coordinator)?;
        }
        let tokens = txn.hub_tokens(hub.id).await?;
        if let Some(known) = tokens.iter().find(|known| known.token == token && known.trail == trail) {
            return Ok((known.clone(), true));
        }
        let bad = |reason: &str| LedgerError::BadToken {
            token,
            trail,
            reason: reason.to_owned(),
        };
        if trail != tokens.len() as u64 {
            return Err(bad(&format!("the next trail is {}", tokens.len())));
        }
        if (trail == 0) != (token == hub.contract) {
            return Err(bad(
                "the contract itself, which stands for the native coin, is the first",
            ));
        }
        if tokens.iter().any(|known| known.token == token) {
            return Err(bad("it has another trail"));
        }
        head.coordinator = Some(coordinator.to_owned());
        let new = txn.add_hub_token(hub.id, token, trail, names).await?;
        txn.save_hub_ledger(&head).await?;
        txn.commit().await?;
        Ok((new, false))
    }

    /// Admits wallets in this order, all or none, and books what they deposited before.
    pub async fn admit(
        &self,
        hub: &Hub,
        coordinator: &str,
        token: Address,
        wallets: &[NewHubWallet],
    ) -> Result<Admitted, LedgerError> {
        let eon = self.current_eon(hub).await?.0.max(1);
        for tries in 1.. {
            match self.try_admit(hub, coordinator, token, eon, wallets).await {
                Err(LedgerError::Store(error)) if error.is_race() && tries < TRIES => {}
                answer => return answer,
            }
        }
        Ok(Admitted::default())
    }

    async fn try_admit(
        &self,
        hub: &Hub,
        coordinator: &str,
        token: Address,
        eon: u64,
        wallets: &[NewHubWallet],
    ) -> Result<Admitted, LedgerError> {
        let mut txn = self.begin().await?;
        let head = txn.lock_hub_ledger(hub.id).await?;
        check_keeper(hub, &head, coordinator)?;
        let tokens = txn.hub_tokens(hub.id).await?;
        let mut found = self.token_among(hub, tokens, token)?;
        let fresh = txn.admit_hub_wallets(&mut found, eon, wallets).await?;
        let addresses: Vec<Address> = fresh.iter().map(|wallet| wallet.wallet).collect();
        txn.book_hub_operations_of(&head, token, &addresses).await?;
        txn.save_hub_ledger(&head).await?;
        txn.commit().await?;
        Ok(Admitted {
            admitted: fresh.len() as u64,
            known: wallets.len().saturating_sub(fresh.len()) as u64,
            next_trail: found.wallets,
        })
    }

    fn token_among(&self, hub: &Hub, tokens: Vec<HubToken>, token: Address) -> Result<HubToken, LedgerError> {
        let found = tokens.into_iter().find(|known| known.token == token);
        found.ok_or_else(|| LedgerError::NoToken {
            hub: hub.name.clone(),
            token,
        })
    }

    /// Records transfers of an eon (0 = the chain's current one), each taken or refused by itself, in one transaction.
    pub async fn record(
        &self,
        hub: &Hub,
        coordinator: &str,
        eon: Eon,
        transfers: &[NewTransfer],
    ) -> Result<Vec<TransferAnswer>, LedgerError> {
        let current = self.current_eon(hub).await?;
        let eon = if eon.0 == 0 { current } else { eon };
        for tries in 1.. {
            match self.try_record(hub, coordinator, (eon, current), transfers).await {
                Err(LedgerError::Store(error)) if error.is_race() && tries < TRIES => {}
                answer => return answer,
            }
        }
        Ok(Vec::new())
    }

    async fn try_record(
        &self,
        hub: &Hub,
        coordinator: &str,
        (eon, current): (Eon, Eon),
        transfers: &[NewTransfer],
    ) -> Result<Vec<TransferAnswer>, LedgerError> {
        let mut txn = self.begin().await?;
        let mut head = txn.lock_hub_ledger(hub.id).await?;
        check_keeper(hub, &head, coordinator)?;
        let bad = |reason: String| LedgerError::BadEon { eon, reason };
        if eon.0 == 0 || eon > current {
            return Err(bad(format!("the chain is in eon {current}")));
        }
        if eon.0 < head.closed_eon {
            let reason = format!("it is closed, the checkpoint of eon {} was begun", head.closed_eon);
            // A transfer that was recorded before is answered all the same: nobody can know when the eon was closed.
            let known = txn.known_hub_transfers(hub.id, transfers).await?;
            return known.ok_or_else(|| bad(reason));
        }
        if let Some((foreign, root)) = txn.find_foreign_checkpoint(hub.id).await?
            && eon >= foreign
        {
            let known = txn.known_hub_transfers(hub.id, transfers).await?;
            return known.ok_or(LedgerError::Foreign { eon: foreign, root });
        }
        let answers = txn
            .record_hub_transfers(&mut head, hub.contract, eon.0, transfers)
            .await?;
        txn.save_hub_ledger(&head).await?;
        txn.commit().await?;
        Ok(answers)
    }

    /// An account, and what it could spend now.
    pub async fn whois(&self, hub: &Hub, token: Address, wallet: Address) -> Result<(HubWallet, U256), LedgerError> {
        let tokens = self.store.list_ledger_tokens(hub.id).await?;
        let found = self.token_among(hub, tokens, token)?;
        let account = self.store.find_hub_wallet(found.id, wallet).await?;
        let account = account.ok_or(LedgerError::NotAdmitted { token, wallet })?;
        let leaving = match self.store.find_hub_ledger(hub.id).await? {
            Some(head) => self.store.hub_leaving(&head, token, wallet).await?,
            None => U256::ZERO,
        };
        let available = account.balance().saturating_sub(leaving);
        Ok((account, available))
    }
}

/// That this coordinator keeps the ledger.
fn check_keeper(hub: &Hub, head: &LedgerHead, coordinator: &str) -> Result<(), LedgerError> {
    if head.coordinator.as_deref() == Some(coordinator) {
        return Ok(());
    }
    Err(LedgerError::NotKept {
        hub: hub.name.clone(),
        by: head.coordinator.clone(),
    })
}

#[cfg(test)]
pub(crate) mod tests;
