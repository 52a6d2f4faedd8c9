//! Checkpoints an operator has signed for a registry: hubs on chains where no outbox of ours can vouch for them.

use super::codec::{address, b256, int, uint};
use super::entity::checkpoint_signature::{self as table, Column, Entity};
use super::txn::expect_one;
use super::{CheckpointLane, NewEvent, Store, StoreError, Txn};
use crate::settlement::ChainId;
use alloy::primitives::{Address, B256, Bytes};
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

/// A signed checkpoint for one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSignedCheckpoint {
    pub lane: CheckpointLane,
    pub eon: u64,
    pub root: B256,
    /// 65 bytes over the registry's `checkpointDigest`.
    pub signature: Bytes,
}

/// One that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    pub id: i64,
    pub signed: NewSignedCheckpoint,
    pub state: SignatureState,
    pub note: Option<String>,
    pub created_at: i64,
    pub version: i64,
}

/// What became of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureState {
    Open,
    /// The registry has the root in a final block.
    Recorded,
    /// The registry will never take it.
    Refused,
}

impl SignatureState {
    const ALL: [Self; 3] = [Self::Open, Self::Recorded, Self::Refused];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Recorded => "recorded",
            Self::Refused => "refused",
        }
    }
}

impl Store {
    /// Open signatures of a lane that are due, oldest first.
    pub async fn list_due_signatures(
        &self,
        lane: CheckpointLane,
        now_ms: i64,
        limit: u64,
    ) -> Result<Vec<SignedCheckpoint>, StoreError> {
        let rows = Entity::find()
            .filter(Column::TargetChain.eq(int("checkpoint_signature.target_chain", lane.target.0)?))
            .filter(Column::HubChain.eq(int("checkpoint_signature.hub_chain", lane.source.0)?))
            .filter(Column::Hub.eq(lane.hub.to_vec()))
            // A literal, so that the partial index serves.
            .filter(Expr::cust("state = 'open'"))
            .filter(Column::NextAt.lte(now_ms))
            .order_by_asc(Column::Id)
            .limit(limit)
            .all(&self.db)
            .await?;
        rows.into_iter().map(decode).collect()
    }

    /// Signatures of a hub for an eon, for all targets.
    pub async fn list_signatures_of(
        &self,
        chain: ChainId,
        hub: Address,
        eon: u64,
    ) -> Result<Vec<SignedCheckpoint>, StoreError> {
        let rows = Entity::find()
            .filter(Column::HubChain.eq(int("checkpoint_signature.hub_chain", chain.0)?))
            .filter(Column::Hub.eq(hub.to_vec()))
            .filter(Column::Eon.eq(int("checkpoint_signature.eon", eon)?))
            .order_by_asc(Column::Id)
            .all(&self.db)
            .await?;
        rows.into_iter().map(decode).collect()
    }
}

impl Txn {
    /// Stores a signature; one that is there already is left as it is. True when it is new. The caller has checked whose it is.
    pub async fn put_signed_checkpoint(&mut self, new: &NewSignedCheckpoint, cause: &str) -> Result<bool, StoreError> {
        let lane = new.lane;
        let row = table::ActiveModel {
            hub_chain: Set(int("checkpoint_signature.hub_chain", lane.source.0)?),
            hub: Set(lane.hub.to_vec()),
            eon: Set(int("checkpoint_signature.eon", new.eon)?),
            root: Set(new.root.to_vec()),
            target_chain: Set(int("checkpoint_signature.target_chain", lane.target.0)?),
            signature: Set(new.signature.to_vec()),
            state: Set(SignatureState::Open.as_str().to_owned()),
            note: Set(None),
            next_at: Set(self.now_ms),
            created_at: Set(self.now_ms),
            updated_at: Set(self.now_ms),
            version: Set(0),
            ..Default::default()
        };
        let conflict = [
            Column::HubChain,
            Column::Hub,
            Column::Eon,
            Column::Root,
            Column::TargetChain,
        ];
        let written = Entity::insert(row)
            .on_conflict_do_nothing_on(conflict)
            .exec_without_returning(&self.tx)
            .await?;
        let fresh = matches!(written, sea_orm::TryInsertResult::Inserted(n) if n > 0);
        if fresh {
            self.record(NewEvent {
                aggregate: "hub",
                aggregate_id: format!("{}:{:#x}", lane.source, lane.hub),
                event: "checkpoint_signed".into(),
                cause: cause.to_owned(),
                detail: Some(
                    serde_json::json!({ "eon": new.eon, "root": new.root, "target": lane.target.0 }).to_string(),
                ),
                ..NewEvent::default()
            });
        }
        Ok(fresh)
    }

    /// What came of it, and when to look again. `Conflict` when somebody else has written it since.
    pub async fn note_signature(
        &mut self,
        row: &SignedCheckpoint,
        state: SignatureState,
        note: Option<String>,
        next_at: i64,
    ) -> Result<(), StoreError> {
        let written = Entity::update_many()
            .set(table::ActiveModel {
                state: Set(state.as_str().to_owned()),
                note: Set(note),
                next_at: Set(next_at),
                updated_at: Set(self.now_ms),
                version: Set(row.version.saturating_add(1)),
                ..Default::default()
            })
            .filter(Column::Id.eq(row.id))
            .filter(Column::Version.eq(row.version))
            .exec(&self.tx)
            .await?;
        expect_one(written.rows_affected, format!("signature {}", row.id))
    }
}

fn decode(row: table::Model) -> Result<SignedCheckpoint, StoreError> {
    let state = SignatureState::ALL
        .into_iter()
        .find(|state| state.as_str() == row.state)
        .ok_or_else(|| StoreError::Corrupt {
            column: "checkpoint_signature.state",
            reason: format!("{:?} is no state", row.state),
        })?;
    Ok(SignedCheckpoint {
        id: row.id,
        signed: NewSignedCheckpoint {
            lane: CheckpointLane {
                source: ChainId(uint("checkpoint_signature.hub_chain", row.hub_chain)?),
                hub: address("checkpoint_signature.hub", &row.hub)?,
                target: ChainId(uint("checkpoint_signature.target_chain", row.target_chain)?),
            },
            eon: uint("checkpoint_signature.eon", row.eon)?,
            root: b256("checkpoint_signature.root", &row.root)?,
            signature: row.signature.into(),
        },
        state,
        note: row.note,
        created_at: row.created_at,
        version: row.version,
    })
}
