//! Showing how the lanes stand: gauges, and a line for each change of a breaker.

use super::error::RouterError;
use super::service::Router;
use super::standing::Standings;
use relayer_adapter_api::ChainId;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// Time between two looks at the lanes for the gauges when there is nothing to route.
const SHOW_MS: i64 = 10_000;

impl Router {
    /// With nothing to route, the gauges are still set now and then.
    pub(super) async fn show_now_and_then(&self, now_ms: i64) -> Result<(), RouterError> {
        if now_ms < self.next_show.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.next_show.store(now_ms.saturating_add(SHOW_MS), Ordering::Relaxed);
        let chains: Vec<ChainId> = self.chains.keys().copied().collect();
        let pairs = chains.iter().flat_map(|from| chains.iter().map(|to| (*from, *to)));
        self.standings(pairs.filter(|(from, to)| from != to).collect(), now_ms)
            .await?;
        Ok(())
    }

    pub(super) fn report(&self, standings: &Standings) {
        standings.show();
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        for (lane, standing) in standings.iter() {
            let name = standing.breaker.name();
            let before = reported.insert(lane.clone(), name).unwrap_or("closed");
            if before == name {
                continue;
            }
            if name == "closed" {
                tracing::info!(%lane, "circuit breaker closed: the lane carries messages again");
            } else {
                tracing::warn!(%lane, breaker = name, health = ?standing.health, "circuit breaker: dispatches of the lane are overdue");
            }
        }
    }
}
