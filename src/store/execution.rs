//! Executions: target transactions that pay a range of leaves.

use super::dispatch::set;
use super::entity::execution::{self, Column, Entity, Model};
use super::lease::Claim;
use super::txn::expect_one;
use super::{NewEvent, Store, StoreError, TxId, Txn, codec};
use crate::settlement::states::{ExecutionEvent, ExecutionState};
use crate::settlement::transitions::Machine;
use relayer_adapter_api::{ChainId, MessageId};
use sea_orm::sea_query::{Expr, ExprTrait, LockBehavior, LockType, Order, Query};
use sea_orm::{ActiveValue::Set, ColumnTrait, DbBackend, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder};
use std::fmt;
use std::ops::Range;

/// Row number of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExecutionId(pub i64);

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A target transaction that pays a range of leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    pub id: ExecutionId,
    pub message: MessageId,
    pub target: ChainId,
    pub leaves: Range<usize>,
    pub state: ExecutionState,
    pub tx: Option<TxId>,
    pub gas_used: Option<u64>,
    /// Settlements it paid, once final.
    pub paid: Option<u32>,
    pub note: Option<String>,
    pub created_at: i64,
    pub version: i64,
}

impl Execution {
    /// Whether it may still pay: its leaves must not be planned again.
    pub fn is_live(&self) -> bool {
        matches!(
            self.state,
            ExecutionState::Planned | ExecutionState::Prepared | ExecutionState::Submitted
        )
    }
}

/// Columns to write beside the state; `None` leaves a column as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecutionPatch {
    pub tx: Option<TxId>,
    pub gas_used: Option<u64>,
    pub paid: Option<u32>,
    pub note: Option<Option<String>>,
}

/// One branch per state, so that each goes by the index.
const MIRROR: &str = "SELECT e.id FROM execution e JOIN tx t ON t.id = e.tx_id WHERE e.state = 'prepared' AND t.state <> 'prepared' \
    UNION ALL SELECT e.id FROM execution e JOIN tx t ON t.id = e.tx_id \
    WHERE e.state = 'submitted' AND t.state IN ('included', 'finalized', 'replaced', 'cancelled') \
    UNION ALL SELECT e.id FROM execution e JOIN tx t ON t.id = e.tx_id WHERE e.state = 'included' AND t.state <> 'included'";

impl Store {
    /// Leases up to `limit` executions whose transaction is in another state than they are.
    pub async fn claim_moved_executions(
        &self,
        owner: &str,
        limit: usize,
        lease_ms: i64,
    ) -> Result<Vec<Claim<Execution>>, StoreError> {
        let lease_now = self.lease_now_ms().await?;
        let mut due = Query::select();
        due.column(Column::Id)
            .from(Entity)
            .and_where(Expr::cust(format!("id IN ({MIRROR})")))
            .and_where(Column::LeaseUntil.lt(lease_now))
            .order_by(Column::Id, Order::Asc)
            .limit(limit as u64);
        if self.db.get_database_backend() == DbBackend::Postgres {
            due.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        }
        let mut rows = Entity::update_many()
            .col_expr(Column::LeaseOwner, Expr::val(owner))
            .col_expr(Column::LeaseUntil, Expr::val(lease_now.saturating_add(lease_ms)))
            .col_expr(Column::LeaseToken, Expr::col(Column::LeaseToken).add(1))
            .filter(Column::Id.in_subquery(due))
            .exec_with_returning(&self.db)
            .await?;
        rows.sort_by_key(|row| row.id);
        rows.into_iter()
            .map(|row| {
                let token = row.lease_token;
                Ok(Claim {
                    row: execution_of(row)?,
                    token,
                })
            })
            .collect()
    }

    /// All executions of a message, oldest first.
    pub async fn list_executions(&self, message: MessageId) -> Result<Vec<Execution>, StoreError> {
        let rows = Entity::find()
            .filter(Column::MessageId.eq(message.0.to_vec()))
            .order_by_asc(Column::Id)
            .all(&self.db)
            .await?;
        rows.into_iter().map(execution_of).collect()
    }

    /// Executions of a chain that are not in a block yet.
    pub async fn count_live_executions(&self, chain: ChainId) -> Result<u64, StoreError> {
        Ok(Entity::find()
            .filter(Column::TargetChain.eq(codec::int("execution.target_chain", chain.0)?))
            .filter(Column::State.is_in(["planned", "prepared", "submitted"]))
            .count(&self.db)
            .await?)
    }
}

impl Txn {
    /// Inserts a planned execution.
    pub async fn execution_insert(
        &mut self,
        message: MessageId,
        target: ChainId,
        leaves: Range<usize>,
        cause: &str,
    ) -> Result<ExecutionId, StoreError> {
        let number = |value: usize| {
            i32::try_from(value).map_err(|_| StoreError::Corrupt {
                column: "execution.first_leaf",
                reason: format!("{value} does not fit"),
            })
        };
        let row = execution::ActiveModel {
            message_id: Set(message.0.to_vec()),
            target_chain: Set(codec::int("execution.target_chain", target.0)?),
            first_leaf: Set(number(leaves.start)?),
            leaves: Set(number(leaves.len())?),
            state: Set(ExecutionState::INITIAL.as_str().to_owned()),
            next_at: Set(self.now_ms),
            attempts: Set(0),
            created_at: Set(self.now_ms),
            version: Set(0),
            lease_until: Set(0),
            lease_token: Set(0),
            ..Default::default()
        };
        let row = Entity::insert(row).exec_with_returning(&self.tx).await?;
        self.record(NewEvent {
            aggregate: "execution",
            aggregate_id: row.id.to_string(),
            event: "plan".into(),
            to_state: Some(ExecutionState::INITIAL.to_string()),
            cause: cause.to_owned(),
            detail: Some(detail(message, &leaves, None)),
            ..Default::default()
        });
        Ok(ExecutionId(row.id))
    }

    /// Applies one move and writes `patch`. With a `token` the claim must still hold; its lease is given back.
    pub async fn execution_apply(
        &mut self,
        id: ExecutionId,
        token: Option<i64>,
        event: ExecutionEvent,
        patch: ExecutionPatch,
        cause: &str,
    ) -> Result<Execution, StoreError> {
        let row = Entity::find_by_id(id.0).one(&self.tx).await?;
        let row = row.ok_or_else(|| StoreError::Missing {
            what: format!("execution {id}"),
        })?;
        let from: ExecutionState = codec::name("execution.state", &row.state)?;
        let to = from.apply(event)?;
        let mut changed = execution::ActiveModel {
            state: Set(to.as_str().to_owned()),
            version: Set(row.version.saturating_add(1)),
            ..Default::default()
        };
        if token.is_some() {
            changed.lease_owner = Set(None);
            changed.lease_until = Set(0);
        }
        set(&mut changed.tx_id, patch.tx.map(|id| Some(id.0)));
        set(&mut changed.note, patch.note);
        set(&mut changed.paid, patch.paid.map(|paid| i32::try_from(paid).ok()));
        let gas = patch
            .gas_used
            .map(|gas| codec::int("execution.gas_used", gas))
            .transpose()?;
        set(&mut changed.gas_used, gas.map(Some));
        let mut update = Entity::update_many()
            .set(changed)
            .filter(Column::Id.eq(id.0))
            .filter(Column::Version.eq(row.version));
        if let Some(token) = token {
            update = update.filter(Column::LeaseToken.eq(token));
        }
        let mut rows = update.exec_with_returning(&self.tx).await?;
        expect_one(rows.len() as u64, format!("execution {id}"))?;
        let after = execution_of(rows.remove(0))?;
        self.record(NewEvent {
            aggregate: "execution",
            aggregate_id: id.to_string(),
            event: event.to_string(),
            from_state: Some(from.to_string()),
            to_state: Some(to.to_string()),
            cause: cause.to_owned(),
            detail: Some(detail(after.message, &after.leaves, after.note.as_deref())),
            ..Default::default()
        });
        Ok(after)
    }
}

fn detail(message: MessageId, leaves: &Range<usize>, note: Option<&str>) -> String {
    serde_json::json!({ "message": message, "first": leaves.start, "leaves": leaves.len(), "note": note }).to_string()
}

fn execution_of(row: Model) -> Result<Execution, StoreError> {
    let number = |value: i32| {
        usize::try_from(value).map_err(|_| StoreError::Corrupt {
            column: "execution.leaves",
            reason: format!("{value} is negative"),
        })
    };
    let first = number(row.first_leaf)?;
    let leaves = first..first.saturating_add(number(row.leaves)?);
    Ok(Execution {
        id: ExecutionId(row.id),
        message: MessageId(codec::b256("execution.message_id", &row.message_id)?),
        target: ChainId(codec::uint("execution.target_chain", row.target_chain)?),
        leaves,
        state: codec::name("execution.state", &row.state)?,
        tx: row.tx_id.map(TxId),
        gas_used: row
            .gas_used
            .map(|gas| codec::uint("execution.gas_used", gas))
            .transpose()?,
        paid: row.paid.and_then(|paid| u32::try_from(paid).ok()),
        note: row.note,
        created_at: row.created_at,
        version: row.version,
    })
}
