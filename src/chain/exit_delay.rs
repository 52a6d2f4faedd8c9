//! A vault's exit delay: asked of the chain once in the life of a database, so that a dead endpoint never keeps a process from starting.

use super::error::Attempted;
use super::{Chain, ChainError};
use crate::error::Coded;
use crate::stage::{Outcome, Stage};
use crate::store::Store;
use alloy::primitives::{Address, U256};
use alloy::sol_types::SolCall;
use async_trait::async_trait;
use relayer_adapter_api::ViewError;
use relayer_adapter_api::abi::ISettlementVault;
use std::sync::{Arc, OnceLock};

/// Seconds between an announcement and its effect; not known until the vault or the database has said so. Clones learn together.
#[derive(Debug, Clone, Default)]
pub struct ExitDelay(Arc<OnceLock<u64>>);

impl ExitDelay {
    pub fn get(&self) -> Option<u64> {
        self.0.get().copied()
    }

    /// The first word counts: the delay never changes.
    pub fn set(&self, seconds: u64) {
        let _ = self.0.set(seconds);
    }
}

impl From<u64> for ExitDelay {
    fn from(seconds: u64) -> Self {
        let delay = Self::default();
        delay.set(seconds);
        delay
    }
}

/// Learns the exit delay of one vault.
pub struct ExitDelayReader {
    chain: Arc<dyn Chain>,
    store: Store,
    vault: Address,
    delay: ExitDelay,
}

impl std::fmt::Debug for ExitDelayReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExitDelayReader")
            .field("chain", &self.chain.id())
            .field("vault", &self.vault)
            .field("delay", &self.delay)
            .finish_non_exhaustive()
    }
}

impl ExitDelayReader {
    pub fn new(chain: Arc<dyn Chain>, store: Store, vault: Address) -> Self {
        Self {
            chain,
            store,
            vault,
            delay: ExitDelay::default(),
        }
    }

    /// What the reader fills in.
    pub fn delay(&self) -> ExitDelay {
        self.delay.clone()
    }

    /// From the database, else from the vault, which is then remembered. True when it was news.
    pub async fn learn(&self) -> Result<bool, ChainError> {
        if self.delay.get().is_some() {
            return Ok(false);
        }
        let id = self.chain.id();
        let seconds = match self.store.find_exit_delay(id, self.vault).await? {
            Some(seconds) => seconds,
            None => {
                let seconds = self.ask().await.attempted("asking the vault for its exit delay")?;
                self.store.put_exit_delay(id, self.vault, seconds).await?;
                seconds
            }
        };
        self.delay.set(seconds);
        Ok(true)
    }

    async fn ask(&self) -> Result<u64, ViewError> {
        let head = self.chain.head().await?;
        let data = ISettlementVault::exitDelayCall {}.abi_encode().into();
        let answer = self.chain.view(head).call(None, self.vault, data, U256::ZERO).await?;
        let delay = ISettlementVault::exitDelayCall::abi_decode_returns(&answer)
            .map_err(|_| ViewError::Reverted { data: answer.to_vec() })?;
        Ok(u64::try_from(delay).unwrap_or(u64::MAX))
    }
}

#[async_trait]
impl Stage for ExitDelayReader {
    fn name(&self) -> String {
        format!("exit_delay:{}", self.chain.id())
    }

    async fn step(&self, _: i64, _: usize) -> Result<Outcome, Box<dyn Coded>> {
        let news = self.learn().await?;
        Ok(Outcome {
            processed: usize::from(news),
            more: false,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::chain::model::ModelChain;
    use crate::store::testing;
    use alloy::primitives::Bytes;
    use alloy::sol_types::SolValue;
    use relayer_adapter_api::{ChainId, Class};

    const CHAIN: ChainId = ChainId(9);
    const VAULT: Address = Address::repeat_byte(0x0a);

    fn chain(seconds: u64) -> ModelChain {
        let answer: Bytes = U256::from(seconds).abi_encode().into();
        ModelChain::with_contract(CHAIN, 0, 1_000, Arc::new(move |_| Ok((answer.clone(), Vec::new()))))
    }

    #[tokio::test]
    async fn a_vault_is_asked_once_in_the_life_of_a_database() {
        let store = testing::open().await;
        let first = chain(86_400);
        let reader = ExitDelayReader::new(Arc::new(first.clone()), store.store.clone(), VAULT);
        first.set_dark(true);
        assert!(matches!(reader.learn().await.unwrap_err().class(), Class::Retry { .. }));
        assert_eq!(reader.delay().get(), None);
        first.set_dark(false);
        let delay = reader.delay();
        assert!(reader.learn().await.unwrap());
        assert_eq!(delay.get(), Some(86_400));

        // The next start finds the chain dark and needs it not.
        first.set_dark(true);
        let reader = ExitDelayReader::new(Arc::new(first), store.store.clone(), VAULT);
        assert!(reader.learn().await.unwrap());
        assert_eq!(reader.delay().get(), Some(86_400));

        // Another vault is another question; the first answer of a vault stays.
        let other = ExitDelayReader::new(Arc::new(chain(7)), store.store.clone(), Address::ZERO);
        other.learn().await.unwrap();
        assert_eq!(other.delay().get(), Some(7));
        store.put_exit_delay(CHAIN, VAULT, 1).await.unwrap();
        assert_eq!(store.find_exit_delay(CHAIN, VAULT).await.unwrap(), Some(86_400));
    }

    #[tokio::test]
    async fn what_is_no_vault_is_refused_and_not_remembered() {
        let store = testing::open().await;
        let chain = ModelChain::with_contract(CHAIN, 0, 1_000, Arc::new(|_| Ok((Bytes::new(), Vec::new()))));
        let reader = ExitDelayReader::new(Arc::new(chain), store.store.clone(), VAULT);
        assert_eq!(reader.learn().await.unwrap_err().class(), Class::Reject);
        assert_eq!(store.find_exit_delay(CHAIN, VAULT).await.unwrap(), None);
    }
}
