//! Hubs beside the observer's walk: those that are level with the cursor are read along with our own contracts; one that is new, or was switched
//! off for a while, is brought level first, a piece in each step. A hub that cannot be read stays behind and holds up nobody.

use super::ChainError;
use super::error::Attempted;
use super::hub_logs::{self, HubContract, HubLogs};
use super::observer::Observer;
use crate::store::{Cursor, Hub, NewHub};
use alloy::primitives::{Address, U256};
use alloy::sol_types::SolCall;
use relayer_adapter_api::abi::ICommitChain;
use relayer_adapter_api::{BlockRef, ViewError};

/// Where a hub stands against its chain's cursor.
enum Way {
    Level(Box<Hub>),
    /// Some of its way was read, more is left.
    Behind,
    /// Nothing can be read of it now.
    Waits,
}

impl Observer {
    /// Hubs whose logs are stored up to the cursor, after a piece of the way for each that is behind; and whether one has more of it before it.
    pub(super) async fn level_hubs(&self, now_ms: i64, cursor: &Cursor) -> Result<(Vec<Hub>, bool), ChainError> {
        let mut level = Vec::with_capacity(self.hubs.len());
        let mut more = false;
        for wanted in &self.hubs {
            match self.bring_level(now_ms, cursor, wanted).await {
                Ok(Way::Level(hub)) => level.push(*hub),
                Ok(Way::Behind) => more = true,
                Ok(Way::Waits) => {}
                // The database's trouble is everybody's.
                Err(ChainError::Store(error)) => return Err(ChainError::Store(error)),
                Err(error) => tracing::warn!(hub = wanted.name, %error, "hub is behind and cannot be read"),
            }
        }
        Ok((level, more))
    }

    async fn bring_level(&self, now_ms: i64, cursor: &Cursor, wanted: &HubContract) -> Result<Way, ChainError> {
        let chain = self.chain.id();
        let known = self.store.find_hub(chain, wanted.contract).await?;
        let hub = match known {
            Some(hub) if hub.name == wanted.name => hub,
            _ => {
                let Some(new) = self.introduce(wanted).await? else {
                    return Ok(Way::Waits);
                };
                let mut txn = self.store.begin(now_ms).await?;
                let id = txn.register_hub(&new).await?;
                txn.commit().await?;
                tracing::info!(
                    hub = new.name,
                    genesis = new.genesis,
                    blocks_per_eon = new.blocks_per_eon,
                    "hub is followed"
                );
                self.store.get_hub(id).await?
            }
        };
        if hub.read_to > cursor.seen.number {
            return Ok(Way::Waits);
        }
        if hub.read_to == cursor.seen.number {
            return Ok(Way::Level(Box::new(hub)));
        }
        if hub.read_to < cursor.finalized.number {
            let to = cursor
                .finalized
                .number
                .min(hub.read_to.saturating_add(self.params.range_max.max(1)));
            let end = self.must_read_block(to).await?.block;
            let logs = hub_logs::read_final(self.chain.as_ref(), &hub, hub.read_to + 1, end).await?;
            self.put_behind(now_ms, cursor, &hub, &logs, to).await?;
            if to < cursor.seen.number {
                return Ok(Way::Behind);
            }
            return Ok(Way::Level(Box::new(Hub { read_to: to, ..hub })));
        }
        let mut logs = HubLogs::default();
        for number in hub.read_to + 1..=cursor.seen.number {
            // By the very hashes the walk has stored: should the chain have changed, the node does not know them and nothing is written.
            let Some(block) = self.store.find_block(chain, number).await? else {
                return Ok(Way::Waits);
            };
            let read = hub_logs::read_block(self.chain.as_ref(), &hub, block.block).await?;
            logs.logs.extend(read.logs);
            logs.odd.extend(read.odd);
        }
        self.put_behind(now_ms, cursor, &hub, &logs, cursor.seen.number).await?;
        Ok(Way::Level(Box::new(Hub {
            read_to: cursor.seen.number,
            ..hub
        })))
    }

    async fn put_behind(
        &self,
        now_ms: i64,
        cursor: &Cursor,
        hub: &Hub,
        logs: &HubLogs,
        to: u64,
    ) -> Result<(), ChainError> {
        let chain = self.chain.id();
        let mut txn = self.store.begin(now_ms).await?;
        // Nothing may have been orphaned in between.
        txn.move_cursor(chain, Some(cursor), cursor).await?;
        logs.put(&mut txn, chain).await?;
        txn.advance_hubs(&[hub.id], hub.read_to, to).await?;
        txn.finalize_hub_logs(chain, cursor.finalized.number).await?;
        txn.commit().await?;
        Ok(())
    }

    /// Genesis and length of an eon, from the contract. None while there is no such contract.
    async fn introduce(&self, wanted: &HubContract) -> Result<Option<NewHub>, ChainError> {
        let block = self.chain.finalized().await.attempted("reading the final block")?;
        let genesis = self.ask(block, wanted.contract, ICommitChain::genesisCall {}).await?;
        let length = self
            .ask(block, wanted.contract, ICommitChain::BLOCKS_PER_EONCall {})
            .await?;
        let (Some(genesis), Some(blocks_per_eon)) = (genesis, length) else {
            tracing::warn!(
                hub = wanted.name,
                contract = %wanted.contract,
                "no hub answers at this address in the newest final block"
            );
            return Ok(None);
        };
        let number = |what: &str, value: U256| {
            u64::try_from(value)
                .ok()
                .filter(|number| i64::try_from(*number).is_ok())
                .ok_or_else(|| ChainError::Config {
                    chain: self.chain.id(),
                    reason: format!("hub {} at {}: {what} is {value}", wanted.name, wanted.contract),
                })
        };
        let (genesis, blocks_per_eon) = (
            number("its genesis", genesis)?,
            number("BLOCKS_PER_EON", blocks_per_eon)?,
        );
        if blocks_per_eon == 0 || genesis > block.number {
            return Err(ChainError::Config {
                chain: self.chain.id(),
                reason: format!(
                    "hub {} at {}: genesis {genesis} with {blocks_per_eon} blocks to an eon in block {}",
                    wanted.name, wanted.contract, block.number
                ),
            });
        }
        Ok(Some(NewHub {
            name: wanted.name.clone(),
            chain: self.chain.id(),
            contract: wanted.contract,
            genesis,
            blocks_per_eon,
            start_block: wanted.start_block,
        }))
    }

    async fn ask<C>(&self, block: BlockRef, contract: Address, call: C) -> Result<Option<U256>, ChainError>
    where
        C: SolCall<Return = U256>,
    {
        let view = self.chain.view(block);
        let answer = view.call(None, contract, call.abi_encode().into(), U256::ZERO).await;
        match answer {
            Ok(answer) => Ok(C::abi_decode_returns(&answer).ok()),
            Err(ViewError::Reverted { .. }) => Ok(None),
            Err(source) => Err(ChainError::View {
                attempted: "asking a hub for its clock",
                source,
            }),
        }
    }
}
