//! Hubs and their checkpoints as the rest of the program sees them. Written by [`super::hub_chain`] together with the cursor of the hub's chain.

use super::codec::{address, b256, int, name, uint};
use super::entity::{hub, hub_checkpoint};
use super::settlement::Reliance;
use super::{Store, StoreError};
use crate::hub::model::{Eon, EonClock};
use crate::names::names;
use alloy::primitives::{Address, B256};
use relayer_adapter_api::{BlockRef, ChainId};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use std::fmt;

/// Row number of a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HubId(pub i64);

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

names! {
    /// Why nobody may rely on a hub.
    HaltReason, "reason of a halt" {
        /// An eon went by without a checkpoint: for ever.
        MissedCheckpoint = "missed_checkpoint",
        /// While it lasts.
        LiveChallenge = "live_challenge",
    }
}

/// A hub that stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Halt {
    pub reason: HaltReason,
    /// In which it was seen.
    pub eon: Eon,
    /// Unix ms.
    pub since_ms: i64,
    /// Seen in a final block. A missed checkpoint that is not final yet may go away with a reorg.
    pub is_final: bool,
}

/// A hub's contract on its chain and how far it was followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hub {
    pub id: HubId,
    /// As configured.
    pub name: String,
    pub chain: ChainId,
    pub contract: Address,
    /// Block of the contract's deployment; eon 1 begins there.
    pub genesis: u64,
    pub blocks_per_eon: u64,
    /// First block whose logs are read.
    pub start_block: u64,
    /// Its logs are stored up to this block.
    pub read_to: u64,
    /// Of its newest checkpoint, final or not; 0 before the first.
    pub last_eon: Eon,
    pub halted: Option<Halt>,
    /// The accumulator's slots as the contract confirmed them, and in which block. None: to be read from the contract.
    pub base: Option<(u64, [B256; 5])>,
    /// Final block of the last comparison with the contract.
    pub checked_block: Option<u64>,
}

impl Hub {
    pub fn clock(&self) -> Result<EonClock, StoreError> {
        EonClock::new(self.genesis, self.blocks_per_eon).map_err(|error| StoreError::Corrupt {
            column: "hub.blocks_per_eon",
            reason: error.to_string(),
        })
    }

    /// Whether everything the contract ever said is read.
    pub fn is_followed_from_genesis(&self) -> bool {
        self.start_block <= self.genesis
    }
}

names! {
    /// Standing of a checkpoint of a hub.
    CheckpointStanding, "standing of a checkpoint" {
        /// The block of its submission is not final.
        Seen = "seen",
        /// In a final block; challenges against it may still be open.
        Provisional = "provisional",
        /// The next one was accepted in a final block.
        Final = "final",
        /// A reorg took its block.
        Orphaned = "orphaned",
    }
}

/// One accepted checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubCheckpoint {
    /// Row number.
    pub id: i64,
    pub hub: HubId,
    pub eon: Eon,
    pub root: B256,
    /// Accumulator of the eon before, as followed; None while it is not known.
    pub basis: Option<B256>,
    /// Why nobody may rely on it, although the contract took it.
    pub refused: Option<String>,
    pub standing: CheckpointStanding,
    /// Of its submission.
    pub block: BlockRef,
    pub log_index: u64,
    pub tx_hash: B256,
    /// When its standing changed last, Unix ms.
    pub updated_at: i64,
}

impl Store {
    /// In the order they were configured first.
    pub async fn list_hubs(&self) -> Result<Vec<Hub>, StoreError> {
        let rows = hub::Entity::find().order_by_asc(hub::Column::Id).all(&self.db).await?;
        rows.into_iter().map(decode_hub).collect()
    }

    pub async fn find_hub(&self, chain: ChainId, contract: Address) -> Result<Option<Hub>, StoreError> {
        let row = hub::Entity::find()
            .filter(hub::Column::Chain.eq(int("hub.chain", chain.0)?))
            .filter(hub::Column::Contract.eq(contract.to_vec()))
            .one(&self.db)
            .await?;
        row.map(decode_hub).transpose()
    }

    pub async fn find_hub_by_name(&self, name: &str) -> Result<Option<Hub>, StoreError> {
        let row = hub::Entity::find()
            .filter(hub::Column::Name.eq(name))
            .one(&self.db)
            .await?;
        row.map(decode_hub).transpose()
    }

    pub async fn get_hub(&self, id: HubId) -> Result<Hub, StoreError> {
        let row = hub::Entity::find_by_id(id.0).one(&self.db).await?;
        row.map(decode_hub).transpose()?.ok_or_else(|| StoreError::Missing {
            what: format!("hub {id}"),
        })
    }

    /// Checkpoints on the chain as it is now, ascending by eon, from this eon on.
    pub async fn list_checkpoints(
        &self,
        hub: HubId,
        from_eon: Eon,
        limit: u64,
    ) -> Result<Vec<HubCheckpoint>, StoreError> {
        use hub_checkpoint::Column;
        let rows = hub_checkpoint::Entity::find()
            .filter(Column::HubId.eq(hub.0))
            .filter(Column::Eon.gte(int("hub_checkpoint.eon", from_eon.0)?))
            .filter(Column::Standing.ne(CheckpointStanding::Orphaned.as_str()))
            .order_by_asc(Column::Eon)
            .limit(limit)
            .all(&self.db)
            .await?;
        rows.into_iter().map(decode_checkpoint).collect()
    }

    /// The hub and the checkpoint a settlement relies on, whatever has become of them.
    pub async fn find_reliance(&self, relies_on: Reliance) -> Result<Option<(Hub, HubCheckpoint)>, StoreError> {
        let hub = self.get_hub(relies_on.hub).await?;
        let row = hub_checkpoint::Entity::find_by_id(relies_on.checkpoint)
            .one(&self.db)
            .await?;
        Ok(row
            .map(decode_checkpoint)
            .transpose()?
            .map(|checkpoint| (hub, checkpoint)))
    }

    /// The checkpoint of an eon on the chain as it is now.
    pub async fn find_checkpoint(&self, hub: HubId, eon: Eon) -> Result<Option<HubCheckpoint>, StoreError> {
        use hub_checkpoint::Column;
        let row = hub_checkpoint::Entity::find()
            .filter(Column::HubId.eq(hub.0))
            .filter(Column::Eon.eq(int("hub_checkpoint.eon", eon.0)?))
            .filter(Column::Standing.ne(CheckpointStanding::Orphaned.as_str()))
            .one(&self.db)
            .await?;
        row.map(decode_checkpoint).transpose()
    }
}

pub(super) fn decode_hub(row: hub::Model) -> Result<Hub, StoreError> {
    let halted = match (&row.halted, row.halted_eon, row.halted_at) {
        (Some(reason), Some(eon), Some(since_ms)) => Some(Halt {
            reason: name("hub.halted", reason)?,
            eon: Eon(uint("hub.halted_eon", eon)?),
            since_ms,
            is_final: row.halt_final,
        }),
        _ => None,
    };
    Ok(Hub {
        id: HubId(row.id),
        name: row.name,
        chain: ChainId(uint("hub.chain", row.chain)?),
        contract: address("hub.contract", &row.contract)?,
        genesis: uint("hub.genesis", row.genesis)?,
        blocks_per_eon: uint("hub.blocks_per_eon", row.blocks_per_eon)?,
        start_block: uint("hub.start_block", row.start_block)?,
        read_to: uint("hub.read_to", row.read_to)?,
        last_eon: Eon(uint("hub.last_eon", row.last_eon)?),
        halted,
        base: decode_base(row.base_block, &row.base_slots)?,
        checked_block: row
            .checked_block
            .map(|block| uint("hub.checked_block", block))
            .transpose()?,
    })
}

/// A negative block: the base is not known.
fn decode_base(block: i64, slots: &[u8]) -> Result<Option<(u64, [B256; 5])>, StoreError> {
    let Ok(block) = u64::try_from(block) else {
        return Ok(None);
    };
    let words: Vec<B256> = slots
        .chunks(32)
        .map(|slot| b256("hub.base_slots", slot))
        .collect::<Result<_, _>>()?;
    let slots = <[B256; 5]>::try_from(words).map_err(|words| StoreError::Corrupt {
        column: "hub.base_slots",
        reason: format!("{} slots, not 5", words.len()),
    })?;
    Ok(Some((block, slots)))
}

pub(super) fn decode_checkpoint(row: hub_checkpoint::Model) -> Result<HubCheckpoint, StoreError> {
    Ok(HubCheckpoint {
        id: row.id,
        hub: HubId(row.hub_id),
        eon: Eon(uint("hub_checkpoint.eon", row.eon)?),
        root: b256("hub_checkpoint.root", &row.root)?,
        basis: row
            .basis
            .as_deref()
            .map(|basis| b256("hub_checkpoint.basis", basis))
            .transpose()?,
        refused: row.refused,
        standing: name("hub_checkpoint.standing", &row.standing)?,
        block: BlockRef {
            number: uint("hub_checkpoint.block_number", row.block_number)?,
            hash: b256("hub_checkpoint.block_hash", &row.block_hash)?,
            timestamp: uint("hub_checkpoint.block_timestamp", row.block_timestamp)?,
        },
        log_index: uint("hub_checkpoint.log_index", row.log_index)?,
        tx_hash: b256("hub_checkpoint.tx_hash", &row.tx_hash)?,
        updated_at: row.updated_at,
    })
}
