//! What the chains say against lanes, as the watch found it last: a curse, a pause, a blocked library. Gone when the chains say so no more.

use super::{LaneKey, chains, planned_over};
use crate::store::{NewEvent, Store, StoreError, Txn, codec};
use relayer_adapter_api::ChainId;
use sea_orm::{ConnectionTrait, QueryResult, Statement, Value};

/// A reason not to use a lane that nobody decided and nobody needs to lift.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneObstacle {
    pub lane: LaneKey,
    pub reason: String,
    /// First seen, Unix ms.
    pub since: i64,
}

fn obstacle(row: &QueryResult) -> Result<LaneObstacle, StoreError> {
    let chain = |column: &str| -> Result<ChainId, StoreError> {
        Ok(ChainId(codec::uint("lane_obstacle.chain", row.try_get("", column)?)?))
    };
    Ok(LaneObstacle {
        lane: LaneKey {
            source: chain("source_chain")?,
            target: chain("target_chain")?,
            bridge: codec::name("lane_obstacle.bridge", &row.try_get::<String>("", "bridge")?)?,
        },
        reason: row.try_get("", "reason")?,
        since: row.try_get("", "since")?,
    })
}

impl Store {
    /// Every obstacle that stands.
    pub async fn list_lane_obstacles(&self) -> Result<Vec<LaneObstacle>, StoreError> {
        let sql = "SELECT bridge, source_chain, target_chain, reason, since FROM lane_obstacle \
                   ORDER BY bridge, source_chain, target_chain";
        let statement = Statement::from_string(self.db.get_database_backend(), sql);
        self.db.query_all_raw(statement).await?.iter().map(obstacle).collect()
    }

    /// The obstacle of one lane, if any.
    pub async fn find_lane_obstacle(&self, lane: &LaneKey) -> Result<Option<LaneObstacle>, StoreError> {
        let all = self.list_lane_obstacles().await?;
        Ok(all.into_iter().find(|obstacle| obstacle.lane == *lane))
    }
}

impl Txn {
    /// Notes an obstacle, or that there is none any more (None), and wakes the messages that have a dispatch planned over the lane.
    pub async fn set_lane_obstacle(&mut self, lane: &LaneKey, reason: Option<&str>) -> Result<(), StoreError> {
        let backend = self.tx.get_database_backend();
        let (source, target) = chains(lane)?;
        let key: [Value; 3] = [lane.bridge.to_string().into(), source.into(), target.into()];
        let statement = match reason {
            None => {
                let sql = "DELETE FROM lane_obstacle WHERE bridge = $1 AND source_chain = $2 AND target_chain = $3";
                Statement::from_sql_and_values(backend, sql, key)
            }
            Some(reason) => {
                let sql = "INSERT INTO lane_obstacle (bridge, source_chain, target_chain, reason, since) \
                           VALUES ($1, $2, $3, $4, $5) ON CONFLICT (bridge, source_chain, target_chain) DO UPDATE SET \
                           reason = excluded.reason";
                let rest: [Value; 2] = [reason.into(), self.now_ms.into()];
                Statement::from_sql_and_values(backend, sql, key.into_iter().chain(rest))
            }
        };
        self.tx.execute_raw(statement).await?;
        planned_over(self, lane).await?;
        self.record(NewEvent {
            aggregate: "lane",
            aggregate_id: lane.to_string(),
            event: if reason.is_some() { "block" } else { "unblock" }.into(),
            cause: "lane-watch".into(),
            detail: reason.map(|reason| serde_json::json!({ "reason": reason }).to_string()),
            ..NewEvent::default()
        });
        Ok(())
    }
}
