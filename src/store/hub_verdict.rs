//! What the hub observer found out beside the logs: whether a hub stands still, how far its accumulator was confirmed, what it promised and
//! what backs it; and rows put right against the chain.

use super::codec::{int, u256_bytes};
use super::hub::{Halt, HubId};
use super::hub_chain::{HubFact, LATER, NewHubLog};
use super::hub_reads::HubBound;
use super::{StoreError, Txn, codec};
use crate::hub::model::Eon;
use alloy::primitives::{Address, B256, U256};
use relayer_adapter_api::{BlockRef, ChainId};
use sea_orm::Value;
use std::collections::BTreeSet;

/// What a checkpoint is to those who rely on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointFact {
    /// Row number of the checkpoint.
    pub id: i64,
    pub root: B256,
    pub standing: super::CheckpointStanding,
    pub refused: Option<String>,
}

/// What intake must know of a hub to rely on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFacts {
    pub id: HubId,
    pub halted: Option<super::HaltReason>,
    /// Its logs are stored up to the newest final block of its chain. While they are not, its newest checkpoint is one of long ago.
    pub is_level: bool,
    pub last_eon: Eon,
    /// Position of the token that was asked for, when it is known.
    pub token_trail: Option<u64>,
    pub checkpoint: Option<CheckpointFact>,
}

/// What was put right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Rows the chain has and the database had lost.
    pub missing: u64,
    /// Rows the database had and the chain has not.
    pub phantom: u64,
}

const TABLES: [&str; 3] = ["hub_checkpoint", "hub_operation", "hub_challenge"];

impl Txn {
    /// Halts a hub, or lets it go on. True when that is a change of reason; whether a halt is final is noted without an event.
    pub async fn set_hub_halt(&mut self, hub: HubId, halt: Option<Halt>, cause: &str) -> Result<bool, StoreError> {
        let before = self
            .rows("SELECT name, halted FROM hub WHERE id = $1", [hub.0.into()])
            .await?;
        let before = before.first().ok_or_else(|| StoreError::Missing {
            what: format!("hub {hub}"),
        })?;
        let (name, was): (String, Option<String>) = (before.try_get("", "name")?, before.try_get("", "halted")?);
        let reason = halt.map(|halt| halt.reason.as_str().to_owned());
        let eon = halt.map(|halt| int("hub.halted_eon", halt.eon.0)).transpose()?;
        let changed = was != reason;
        self.run(
            "UPDATE hub SET halted = $2, halted_eon = $3, halted_at = $4, halt_final = $5 WHERE id = $1",
            [
                hub.0.into(),
                reason.clone().into(),
                eon.into(),
                halt.map(|halt| halt.since_ms).into(),
                halt.is_some_and(|halt| halt.is_final).into(),
            ],
        )
        .await?;
        if changed {
            let event = if reason.is_some() { "hub_halted" } else { "hub_resumed" };
            self.record_hub(name, event, (was, reason), cause);
        }
        Ok(changed)
    }

    /// The accumulator's slots as of a final block, and with them the comparison done there. `Conflict` when the base moved meanwhile.
    pub async fn set_hub_base(
        &mut self,
        hub: HubId,
        old: Option<u64>,
        block: u64,
        slots: &[B256; 5],
    ) -> Result<(), StoreError> {
        let old = old.map(|old| int("hub.base_block", old)).transpose()?.unwrap_or(-1);
        let written = self
            .run(
                "UPDATE hub SET base_block = $3, base_slots = $4, checked_block = $3 WHERE id = $1 AND base_block = $2",
                [
                    hub.0.into(),
                    old.into(),
                    int("hub.base_block", block)?.into(),
                    slots.concat().into(),
                ],
            )
            .await?;
        super::txn::expect_one(written, format!("hub {hub}"))
    }

    /// The accumulator a checkpoint was based on, as followed.
    pub async fn set_checkpoint_basis(&mut self, checkpoint: i64, basis: B256) -> Result<(), StoreError> {
        self.run(
            "UPDATE hub_checkpoint SET basis = $2 WHERE id = $1",
            [checkpoint.into(), basis.to_vec().into()],
        )
        .await?;
        Ok(())
    }

    /// Nobody may rely on a checkpoint from now on. True the first time.
    pub async fn refuse_checkpoint(&mut self, checkpoint: i64, reason: &str) -> Result<bool, StoreError> {
        let rows = self
            .rows(
                "UPDATE hub_checkpoint SET refused = $2, updated_at = $3 WHERE id = $1 AND refused IS NULL RETURNING hub_id, eon",
                [checkpoint.into(), reason.into(), self.now_ms.into()],
            )
            .await?;
        let Some(row) = rows.first() else {
            return Ok(false);
        };
        let (hub, eon): (i64, i64) = (row.try_get("", "hub_id")?, row.try_get("", "eon")?);
        let subject = self.checkpoint_subject(hub, eon.unsigned_abs()).await?;
        self.record_hub(
            subject,
            "checkpoint_refused",
            (None, Some(reason.to_owned())),
            "observer",
        );
        Ok(true)
    }

    /// What a proof against a checkpoint showed of its promises; a repetition changes nothing.
    pub async fn put_hub_bound(
        &mut self,
        checkpoint: i64,
        token: Address,
        upper_bound: U256,
    ) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO hub_bound (hub_checkpoint_id, token, upper_bound, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            [
                checkpoint.into(),
                token.to_vec().into(),
                u256_bytes(upper_bound).into(),
                self.now_ms.into(),
            ],
        )
        .await?;
        Ok(())
    }

    /// Whether a promise was covered in a final block; `backing` None: the contract's own sum would fail.
    pub async fn judge_hub_bound(
        &mut self,
        bound: &HubBound,
        backing: Option<U256>,
        solvent: bool,
        block: u64,
    ) -> Result<(), StoreError> {
        self.run(
            "UPDATE hub_bound SET backing = $3, solvent = $4, checked_block = $5 WHERE hub_checkpoint_id = $1 AND token = $2",
            [
                bound.checkpoint.into(),
                bound.token.to_vec().into(),
                backing.map(u256_bytes).into(),
                solvent.into(),
                int("hub_bound.checked_block", block)?.into(),
            ],
        )
        .await?;
        Ok(())
    }

    /// Makes the rows of a hub in final blocks `from ..= to` what the chain says, given all its logs there: what is missing is stored, what the
    /// chain does not have is orphaned. With an event when anything changed.
    pub async fn restore_hub_logs(
        &mut self,
        hub: HubId,
        logs: &[NewHubLog],
        (from, to): (u64, u64),
    ) -> Result<Restored, StoreError> {
        let there: BTreeSet<(B256, u64)> = logs.iter().map(|log| (log.block.hash, log.log_index)).collect();
        let mut phantom = 0_u64;
        let mut known = BTreeSet::new();
        // Blocks in which an operation came or went.
        let mut changed: BTreeSet<i64> = BTreeSet::new();
        for table in TABLES {
            let values: [Value; 3] = [
                hub.0.into(),
                int("block_number", from)?.into(),
                int("block_number", to)?.into(),
            ];
            let sql = format!(
                "SELECT id, block_hash, log_index, block_number FROM {table} WHERE hub_id = $1 AND block_number >= $2 AND block_number <= $3 \
                 AND standing <> 'orphaned'"
            );
            for row in self.rows(sql, values).await? {
                let (id, hash, index): (i64, Vec<u8>, i64) = (
                    row.try_get("", "id")?,
                    row.try_get("", "block_hash")?,
                    row.try_get("", "log_index")?,
                );
                let place = (codec::b256("block_hash", &hash)?, index.unsigned_abs());
                known.insert(place);
                if !there.contains(&place) {
                    if table == "hub_operation" {
                        changed.insert(row.try_get("", "block_number")?);
                    }
                    let sql = format!("UPDATE {table} SET standing = 'orphaned' WHERE id = $1");
                    phantom = phantom.saturating_add(self.run(sql, [id.into()]).await?);
                }
            }
        }
        for log in logs {
            let is_new = !known.contains(&(log.block.hash, log.log_index));
            if is_new && matches!(log.fact, HubFact::Operation { .. }) {
                changed.insert(int("block_number", log.block.number)?);
            }
        }
        let missing = self.put_hub_logs(logs).await?;
        if let Some(first) = changed.first() {
            self.turn_hub_ledgers_back("hub_id = $1", hub.0, first.saturating_sub(1))
                .await?;
        }
        if phantom > 0 {
            self.demote_checkpoints(hub, (from, to)).await?;
        }
        let restored = Restored { missing, phantom };
        if restored != Restored::default() {
            self.refresh_last_eon("id = $1", hub.0).await?;
            let subject = self.hub_name(hub.0).await?;
            let states = (None, Some(format!("{missing} restored, {phantom} orphaned")));
            self.record_hub(subject, "hub_reread", states, &format!("blocks {from} to {to}"));
        }
        Ok(restored)
    }

    /// Checkpoints are final no more when the one that made them so was never there.
    async fn demote_checkpoints(&mut self, hub: HubId, (from, to): (u64, u64)) -> Result<(), StoreError> {
        use super::CheckpointStanding::{Final, Provisional};
        let rows = self.rows("SELECT chain FROM hub WHERE id = $1", [hub.0.into()]).await?;
        let Some(row) = rows.first() else {
            return Ok(());
        };
        let condition = format!("hub_id = {hub} AND NOT {LATER}");
        let cause = format!("blocks {from} to {to} read again");
        self.move_checkpoints(row.try_get("", "chain")?, (Final, Provisional), &condition, to, &cause)
            .await
    }

    /// That this block is still final, wherever the head is by now; it stays so until the commit. `Conflict` when finality broke, or when nothing
    /// is known of so old a block any more.
    pub async fn expect_final(&mut self, chain: ChainId, block: &BlockRef) -> Result<(), StoreError> {
        let id = int("chain_cursor.chain", chain.0)?;
        // Writes nothing; whoever moves the cursor waits.
        let lock =
            "UPDATE chain_cursor SET updated_at = updated_at WHERE chain = $1 RETURNING final_number, final_hash";
        let rows = self.rows(lock, [id.into()]).await?;
        let conflict = || StoreError::Conflict {
            what: format!("final block {} of chain {chain}", block.number),
        };
        let row = rows.first().ok_or_else(conflict)?;
        let (number, hash): (i64, Vec<u8>) = (row.try_get("", "final_number")?, row.try_get("", "final_hash")?);
        if hash == block.hash.as_slice() {
            return Ok(());
        }
        if codec::uint("chain_cursor.final_number", number)? > block.number {
            let sql = "SELECT number FROM chain_block WHERE chain = $1 AND number = $2 AND hash = $3";
            let values = [
                id.into(),
                int("chain_block.number", block.number)?.into(),
                block.hash.to_vec().into(),
            ];
            if !self.rows(sql, values).await?.is_empty() {
                return Ok(());
            }
        }
        Err(conflict())
    }

    /// Position of a token at a hub, which never changes; a repetition changes nothing.
    pub async fn put_hub_trail(&mut self, hub: HubId, token: Address, trail: u64) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO hub_trail (hub_id, token, trail) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            [
                hub.0.into(),
                token.to_vec().into(),
                int("hub_trail.trail", trail)?.into(),
            ],
        )
        .await?;
        Ok(())
    }

    /// How a hub and its checkpoint of an eon stand in this transaction.
    pub async fn hub_facts(&self, name: &str, eon: Eon, token: Address) -> Result<Option<HubFacts>, StoreError> {
        let rows = self
            .rows(
                "SELECT h.id AS id, h.halted AS halted, h.last_eon AS last_eon, \
                 EXISTS (SELECT 1 FROM chain_cursor r WHERE r.chain = h.chain AND h.read_to >= r.final_number) AS is_level, \
                 c.id AS checkpoint, c.root AS root, c.standing AS standing, \
                 c.refused AS refused, t.trail AS trail FROM hub h LEFT JOIN hub_trail t ON t.hub_id = h.id AND t.token = $3 \
                 LEFT JOIN hub_checkpoint c ON c.hub_id = h.id AND c.eon = $2 AND c.standing <> 'orphaned' \
                 WHERE h.name = $1",
                [
                    name.into(),
                    int("hub_checkpoint.eon", eon.0)?.into(),
                    token.to_vec().into(),
                ],
            )
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let halted: Option<String> = row.try_get("", "halted")?;
        let last_eon: i64 = row.try_get("", "last_eon")?;
        let trail: Option<i64> = row.try_get("", "trail")?;
        let id: Option<i64> = row.try_get("", "checkpoint")?;
        let checkpoint = match id {
            None => None,
            Some(id) => {
                let (root, standing): (Vec<u8>, String) = (row.try_get("", "root")?, row.try_get("", "standing")?);
                Some(CheckpointFact {
                    id,
                    root: codec::b256("hub_checkpoint.root", &root)?,
                    standing: codec::name("hub_checkpoint.standing", &standing)?,
                    refused: row.try_get("", "refused")?,
                })
            }
        };
        Ok(Some(HubFacts {
            id: HubId(row.try_get("", "id")?),
            halted: halted.map(|halted| codec::name("hub.halted", &halted)).transpose()?,
            is_level: row.try_get("", "is_level")?,
            last_eon: Eon(codec::uint("hub.last_eon", last_eon)?),
            token_trail: trail.map(|trail| codec::uint("hub_trail.trail", trail)).transpose()?,
            checkpoint,
        }))
    }
}
