//! What payout reads of a message in one go: its leaves with terms and authorizations, and what the target chain said about each.

use super::chain_log::rows;
use super::entity::{chain_log, message, message_settlement, settlement, settlement_group};
use super::lease::Claim;
use super::message::Message;
use super::settlement::{Settlement, decode};
use super::txn::expect_one;
use super::{ChainLog, LogStatus, Store, StoreError, Txn, codec};
use crate::settlement::packed::{Authorization, Member};
use crate::settlement::terms::SignedGroup;
use alloy::primitives::B256;
use relayer_adapter_api::{ChainId, MessageId, SettlementId};
use sea_orm::sea_query::Query;
use sea_orm::{ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Statement};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One leaf of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageMember {
    pub leaf: usize,
    /// It ended, or left this message.
    pub resolved: bool,
    pub settlement: Settlement,
    pub authorization: Authorization,
}

impl MessageMember {
    /// What the packed encoding takes.
    pub fn member(&self) -> Member {
        Member {
            terms: self.settlement.terms,
            authorization: self.authorization.clone(),
        }
    }
}

/// What the target chain said about a leaf so far, orphaned logs aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeafSeen {
    pub paid: bool,
    /// Reason of the newest skip, as the inbox numbers them.
    pub skipped: Option<u8>,
}

impl Store {
    /// The leaves this database knows the settlements of, in order, with terms and authorizations: all of them, unless it was recovered and
    /// not everything has been submitted again.
    pub async fn list_members(&self, id: MessageId) -> Result<Vec<MessageMember>, StoreError> {
        self.members(id, None).await
    }

    /// Whether a message has open leaves, and this database knows the settlement of none of them: it was recovered, and nobody has submitted
    /// them again.
    pub async fn is_foreign(&self, id: MessageId) -> Result<bool, StoreError> {
        let open = "SELECT 1 FROM message_settlement m WHERE m.message_id = $1 AND NOT m.resolved";
        let known = "AND EXISTS (SELECT 1 FROM settlement s WHERE s.settlement_id = m.settlement_id)";
        let sql = format!("SELECT 1 AS one WHERE EXISTS ({open}) AND NOT EXISTS ({open} {known})");
        let statement = Statement::from_sql_and_values(self.db.get_database_backend(), sql, [id.0.to_vec().into()]);
        Ok(self.db.query_one_raw(statement).await?.is_some())
    }

    /// One leaf, with its terms and authorization.
    pub async fn get_member(&self, id: MessageId, leaf: usize) -> Result<MessageMember, StoreError> {
        let found = self.members(id, Some(leaf)).await?.pop();
        found.ok_or_else(|| StoreError::Missing {
            what: format!("leaf {leaf} of message {id}"),
        })
    }

    async fn members(&self, id: MessageId, leaf: Option<usize>) -> Result<Vec<MessageMember>, StoreError> {
        use message_settlement::Column;
        let mut condition = Condition::all().add(Column::MessageId.eq(id.0.to_vec()));
        if let Some(leaf) = leaf {
            condition = condition.add(Column::Leaf.eq(i32::try_from(leaf).unwrap_or(i32::MAX)));
        }
        let rows = message_settlement::Entity::find()
            .filter(condition.clone())
            .order_by_asc(Column::Leaf)
            .all(&self.db)
            .await?;
        let wanted = Query::select()
            .column(Column::SettlementId)
            .from(message_settlement::Entity)
            .cond_where(condition)
            .to_owned();
        let settlements = settlement::Entity::find()
            .filter(settlement::Column::SettlementId.in_subquery(wanted))
            .all(&self.db)
            .await?;
        let mut by_id: BTreeMap<Vec<u8>, Settlement> = BTreeMap::new();
        for row in &settlements {
            by_id.insert(row.settlement_id.clone(), decode(row)?);
        }
        let groups = self.signed_groups(by_id.values()).await?;
        rows.into_iter()
            .filter_map(|row| Some((by_id.remove(&row.settlement_id)?, row)))
            .map(|(settlement, row)| {
                Ok(MessageMember {
                    leaf: leaf_number(row.leaf)?,
                    resolved: row.resolved,
                    authorization: authorization(&settlement, &groups)?,
                    settlement,
                })
            })
            .collect()
    }

    /// The groups these settlements were signed in, by root.
    async fn signed_groups<'a>(
        &self,
        settlements: impl Iterator<Item = &'a Settlement>,
    ) -> Result<BTreeMap<B256, Arc<SignedGroup>>, StoreError> {
        let mut groups = BTreeMap::new();
        for settlement in settlements {
            let Some(place) = settlement.group.filter(|place| !groups.contains_key(&place.root)) else {
                continue;
            };
            let row = settlement_group::Entity::find()
                .filter(settlement_group::Column::TargetChain.eq(codec::int("target_chain", settlement.target.0)?))
                .filter(settlement_group::Column::Inbox.eq(settlement.inbox.to_vec()))
                .filter(settlement_group::Column::GroupRoot.eq(place.root.to_vec()))
                .one(&self.db)
                .await?;
            let row = row.ok_or_else(|| StoreError::Missing {
                what: format!("group {}", place.root),
            })?;
            let ids = row
                .ids
                .chunks(32)
                .map(|id| codec::b256("settlement_group.ids", id).map(SettlementId))
                .collect::<Result<_, _>>()?;
            let group = SignedGroup::new(ids, row.auth.into()).map_err(|error| StoreError::Corrupt {
                column: "settlement_group.ids",
                reason: error.to_string(),
            })?;
            groups.insert(place.root, Arc::new(group));
        }
        Ok(groups)
    }

    /// What the target chain said about each leaf of a message so far.
    pub async fn list_leaves_seen(&self, message: &Message) -> Result<BTreeMap<usize, LeafSeen>, StoreError> {
        let sql = "SELECT ms.leaf AS leaf, l.kind AS kind, \
                   CASE WHEN l.kind = 'settlement_paid' THEN '' ELSE l.detail END AS detail FROM message_settlement ms \
                   JOIN chain_log l ON l.chain = $1 AND l.key = ms.settlement_id \
                   AND l.kind IN ('settlement_paid', 'settlement_skipped') AND l.status <> 'orphaned' \
                   WHERE ms.message_id = $2 ORDER BY l.block_number, l.log_index";
        let chain = codec::int("chain_log.chain", message.header.target.0)?;
        let values = [chain.into(), message.id.0.to_vec().into()];
        let statement = Statement::from_sql_and_values(self.db.get_database_backend(), sql, values);
        let mut seen: BTreeMap<usize, LeafSeen> = BTreeMap::new();
        for row in self.db.query_all_raw(statement).await? {
            let leaf = leaf_number(row.try_get("", "leaf")?)?;
            let entry = seen.entry(leaf).or_default();
            if row.try_get::<String>("", "kind")? == "settlement_paid" {
                entry.paid = true;
            } else {
                entry.skipped = Some(skip_reason(&row.try_get::<String>("", "detail")?));
            }
        }
        Ok(seen)
    }

    /// Number of logs of a kind in one transaction, orphaned ones aside.
    pub async fn count_logs_of_tx(&self, chain: ChainId, kind: &str, tx: B256) -> Result<u64, StoreError> {
        let sql = "SELECT COUNT(*) AS n FROM chain_log WHERE chain = $1 AND kind = $2 AND tx_hash = $3 AND status <> 'orphaned'";
        let values = [
            codec::int("chain_log.chain", chain.0)?.into(),
            kind.into(),
            tx.to_vec().into(),
        ];
        let statement = Statement::from_sql_and_values(self.db.get_database_backend(), sql, values);
        let row = self.db.query_one_raw(statement).await?;
        let count: i64 = row.map_or(Ok(0), |row| row.try_get("", "n"))?;
        codec::uint("count", count)
    }

    /// Every port that was activated or removed on a chain, in chain order, orphaned logs aside.
    pub async fn list_port_logs(&self, chain: ChainId) -> Result<Vec<ChainLog>, StoreError> {
        let models = chain_log::Entity::find()
            .filter(chain_log::Column::Chain.eq(codec::int("chain_log.chain", chain.0)?))
            .filter(chain_log::Column::Kind.is_in(["port_activated", "port_removed"]))
            .filter(chain_log::Column::Status.ne(LogStatus::Orphaned.as_str()))
            .order_by_asc(chain_log::Column::BlockNumber)
            .order_by_asc(chain_log::Column::LogIndex)
            .all(&self.db)
            .await?;
        rows(models)
    }
}

impl Txn {
    /// Gives a claimed message back until `next_at`, or until now when it was moved or woken while it was held: what happened
    /// meanwhile has not been looked at.
    pub async fn release_claim(&mut self, claim: &Claim<Message>, next_at: i64) -> Result<(), StoreError> {
        let row = self.lock_message(claim.row.id).await?;
        let next_at = if row.version == claim.row.version {
            next_at
        } else {
            self.now_ms
        };
        self.release_message(row.id, claim.token, next_at).await
    }

    /// Fails unless the claim of a message still holds; the lease is kept, and nobody takes it over until the end of the transaction.
    /// Guards what is written on a message's behalf.
    pub async fn expect_message_lease(&self, id: MessageId, token: i64) -> Result<(), StoreError> {
        let held = message::Entity::find()
            .filter(message::Column::MessageId.eq(id.0.to_vec()))
            .filter(message::Column::LeaseToken.eq(token))
            .lock_exclusive()
            .one(&self.tx)
            .await?;
        expect_one(u64::from(held.is_some()), format!("lease of message {id}"))
    }
}

fn authorization(
    settlement: &Settlement,
    groups: &BTreeMap<B256, Arc<SignedGroup>>,
) -> Result<Authorization, StoreError> {
    let Some(place) = settlement.group else {
        return Ok(Authorization::Single(settlement.auth.clone()));
    };
    let group = groups.get(&place.root).ok_or_else(|| StoreError::Missing {
        what: format!("group {}", place.root),
    })?;
    Ok(Authorization::Group {
        group: group.clone(),
        index: place.index,
    })
}

/// `reason` of the log's detail; 0 when it has none, which no skip has.
fn skip_reason(detail: &str) -> u8 {
    let value: serde_json::Value = serde_json::from_str(detail).unwrap_or_default();
    let reason = &value["reason"];
    let text = reason.as_str().map_or_else(|| reason.to_string(), str::to_owned);
    text.parse().unwrap_or(0)
}

fn leaf_number(leaf: i32) -> Result<usize, StoreError> {
    usize::try_from(leaf).map_err(|_| StoreError::Corrupt {
        column: "message_settlement.leaf",
        reason: format!("{leaf} is negative"),
    })
}
