//! Watching the lanes themselves: a curse, a pause or a blocked library shuts a lane as soon as its contracts say so, and opens it as soon as
//! they say so no more. What is found is kept in the database, where the router of every process and `relayer lane list` read it.

use super::error::RouterError;
use super::standing::key;
use crate::chain::Chain;
use crate::error::Coded;
use crate::stage::{Outcome, Stage};
use crate::store::Store;
use async_trait::async_trait;
use futures::future::join_all;
use relayer_adapter_api::{BridgeAdapter, ChainId, ChainView, Lane};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Longest reason kept: it is shown in lists and goes into every decision.
const REASON_MAX: usize = 300;

/// Configuration of the watch.
#[derive(Debug, Clone, Copy)]
pub struct WatchParams {
    /// Time between two looks.
    pub every_ms: i64,
    /// A lane whose contracts do not answer in time stays as it was.
    pub timeout: Duration,
}

/// See the module's page. Needs no lease: two that look find the same.
pub struct LaneWatch {
    store: Store,
    adapters: Vec<Arc<dyn BridgeAdapter>>,
    chains: BTreeMap<ChainId, Arc<dyn Chain>>,
    params: WatchParams,
    next_at: AtomicI64,
}

impl std::fmt::Debug for LaneWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LaneWatch")
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}

impl LaneWatch {
    pub fn new(
        store: Store,
        adapters: Vec<Arc<dyn BridgeAdapter>>,
        chains: BTreeMap<ChainId, Arc<dyn Chain>>,
        params: WatchParams,
    ) -> Self {
        Self {
            store,
            adapters,
            chains,
            params,
            next_at: AtomicI64::new(0),
        }
    }

    /// Each chain at the newest block the observer has read; chains nobody has read yet are left out.
    async fn views(&self) -> Result<BTreeMap<ChainId, Arc<dyn ChainView>>, RouterError> {
        let mut views = BTreeMap::new();
        for (id, chain) in &self.chains {
            if let Some(cursor) = self.store.get_cursor(*id).await? {
                views.insert(*id, chain.view(cursor.seen));
            }
        }
        Ok(views)
    }

    /// What was found about a lane; None when nobody answered.
    async fn look(
        &self,
        adapter: &dyn BridgeAdapter,
        lane: &Lane,
        source: &dyn ChainView,
        target: &dyn ChainView,
    ) -> Option<Option<String>> {
        let asking = adapter.obstacle(source, target, lane);
        match tokio::time::timeout(self.params.timeout, asking).await {
            Ok(Ok(found)) => Some(found.map(|reason| reason.chars().take(REASON_MAX).collect())),
            Ok(Err(error)) => {
                tracing::debug!(lane = %key(lane), %error, "the lane's contracts did not answer");
                None
            }
            Err(_) => {
                tracing::debug!(lane = %key(lane), "the lane's contracts did not answer in time");
                None
            }
        }
    }

    async fn watch(&self, now_ms: i64) -> Result<usize, RouterError> {
        let views = self.views().await?;
        let mut asked = Vec::new();
        for adapter in &self.adapters {
            for (from, source) in &views {
                for (to, target) in &views {
                    if let Some(lane) = adapter.lane(*from, *to) {
                        asked.push((adapter, lane, source, target));
                    }
                }
            }
        }
        let looks = asked
            .iter()
            .map(|(adapter, lane, source, target)| self.look(adapter.as_ref(), lane, source.as_ref(), target.as_ref()));
        let found = join_all(looks).await;
        let stand = self.store.list_lane_obstacles().await?;
        let mut changed = 0_usize;
        for ((_, lane, ..), found) in asked.iter().zip(found) {
            let Some(found) = found else { continue };
            let key = key(lane);
            let before = stand.iter().find(|obstacle| obstacle.lane == key);
            if before.map(|obstacle| &obstacle.reason) == found.as_ref() {
                continue;
            }
            let mut txn = self.store.begin(now_ms).await?;
            txn.set_lane_obstacle(&key, found.as_deref()).await?;
            txn.commit().await?;
            changed = changed.saturating_add(1);
            match found {
                Some(reason) => tracing::warn!(lane = %key, reason, "the lane carries nothing now"),
                None => tracing::info!(lane = %key, "nothing stands against the lane any more"),
            }
        }
        Ok(changed)
    }
}

#[async_trait]
impl Stage for LaneWatch {
    fn name(&self) -> String {
        "lane-watch".into()
    }

    async fn step(&self, now_ms: i64, _limit: usize) -> Result<Outcome, Box<dyn Coded>> {
        if now_ms < self.next_at.load(Ordering::Relaxed) {
            return Ok(Outcome::default());
        }
        self.next_at
            .store(now_ms.saturating_add(self.params.every_ms), Ordering::Relaxed);
        let processed = self.watch(now_ms).await?;
        Ok(Outcome { processed, more: false })
    }
}
