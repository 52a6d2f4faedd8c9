//! What the database says about every lane at the beginning of a step. Nothing is remembered between steps, so that every process and every
//! start sees the same.

use super::breaker::{Breaker, BreakerRule, breaker};
use super::choose::Score;
use super::health::Health;
use crate::metrics as names;
use crate::store::{InFlight, LaneKey, LaneMode, LaneObstacle, LaneSwitch, Passage, Store, StoreError};
use alloy::primitives::U256;
use metrics::gauge;
use relayer_adapter_api::{ChainId, Lane};
use std::collections::BTreeMap;

/// What a bridge may cost and carry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BridgeLimits {
    /// Wei of the source chain one dispatch may cost…
    pub fee_cap: U256,
    /// …unless the source chain has its own: coins differ.
    pub fee_caps: BTreeMap<ChainId, U256>,
    /// Value (10^-18 of the unit) that may depend on one lane at once; None = no cap.
    pub lane_value: Option<U256>,
    /// The same for all lanes of the bridge together.
    pub bridge_value: Option<U256>,
}

impl BridgeLimits {
    pub fn fee_cap(&self, source: ChainId) -> U256 {
        self.fee_caps.get(&source).copied().unwrap_or(self.fee_cap)
    }

    pub fn caps_value(&self) -> bool {
        self.lane_value.is_some() || self.bridge_value.is_some()
    }

    /// What may still be added.
    fn headroom(&self, sum: &InFlight) -> Option<U256> {
        let lane = self.lane_value.map(|cap| cap.saturating_sub(sum.lane));
        let bridge = self.bridge_value.map(|cap| cap.saturating_sub(sum.bridge));
        match (lane, bridge) {
            (Some(lane), Some(bridge)) => Some(lane.min(bridge)),
            (one, other) => one.or(other),
        }
    }
}

/// How lanes are judged by their own history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryRule {
    /// Dispatches of a lane that are looked at.
    pub dispatches: u64,
    pub breaker: BreakerRule,
}

/// One lane, as of now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// A dispatch is overdue on it and nothing has arrived since.
    pub stalled: bool,
    pub switch: Option<LaneSwitch>,
    /// What the chains say against it.
    pub obstacle: Option<LaneObstacle>,
    pub health: Health,
    pub breaker: Breaker,
    pub in_flight: InFlight,
    pub headroom: Option<U256>,
}

impl Standing {
    fn new(passages: &[Passage], rule: BreakerRule, now_ms: i64) -> Self {
        Self {
            stalled: false,
            switch: None,
            obstacle: None,
            health: Health::of(passages),
            breaker: breaker(passages, rule, now_ms),
            in_flight: InFlight::default(),
            headroom: None,
        }
    }

    /// Why nothing new may be planned over the lane.
    pub fn shut(&self) -> Option<String> {
        match &self.switch {
            Some(switch) => Some(format!("{} by {}: {}", switch.mode, switch.by, switch.reason)),
            None => match &self.obstacle {
                Some(obstacle) => Some(obstacle.reason.clone()),
                None => self.breaker.refusal(),
            },
        }
    }

    pub fn score(&self) -> Score {
        Score {
            fee_value: None,
            health: self.health,
            success: self.health.success(),
            breaker: self.breaker,
            headroom: self.headroom,
        }
    }
}

/// Every lane asked for.
#[derive(Debug, Default)]
pub struct Standings(BTreeMap<LaneKey, Standing>);

pub fn key(lane: &Lane) -> LaneKey {
    LaneKey {
        source: lane.source,
        target: lane.target,
        bridge: lane.bridge.clone(),
    }
}

impl Standings {
    /// Reads them. Sums of value are read only where a cap needs them.
    pub async fn read(
        store: &Store,
        lanes: impl Iterator<Item = (LaneKey, BridgeLimits)>,
        rule: HistoryRule,
        now_ms: i64,
    ) -> Result<Self, StoreError> {
        let stalled = store.list_stalled_lanes().await?;
        let switches = store.list_lane_switches().await?;
        let obstacles = store.list_lane_obstacles().await?;
        let mut all = BTreeMap::new();
        for (key, limits) in lanes {
            let passages = store.list_passages(&key, rule.dispatches).await?;
            let mut standing = Standing::new(&passages, rule.breaker, now_ms);
            standing.stalled = stalled.contains(&key);
            standing.switch = switches.iter().find(|switch| switch.lane == key).cloned();
            standing.obstacle = obstacles.iter().find(|obstacle| obstacle.lane == key).cloned();
            if limits.caps_value() {
                standing.in_flight = store.value_in_flight(&key).await?;
                standing.headroom = limits.headroom(&standing.in_flight);
            }
            all.insert(key, standing);
        }
        Ok(Self(all))
    }

    pub fn of(&self, lane: &Lane) -> Option<&Standing> {
        self.0.get(&key(lane))
    }

    /// Since when nothing is sent over it, Unix ms: an operator has paused it, or the chains say something against it.
    pub fn held_since(&self, lane: &LaneKey) -> Option<i64> {
        let standing = self.0.get(lane)?;
        let paused = standing
            .switch
            .as_ref()
            .filter(|switch| switch.mode == LaneMode::Paused);
        let paused = paused.map(|switch| switch.at);
        paused.or(standing.obstacle.as_ref().map(|obstacle| obstacle.since))
    }

    /// Set while the lane's breaker lets one probe through.
    pub fn probe_since(&self, lane: &LaneKey) -> Option<i64> {
        match self.0.get(lane)?.breaker {
            Breaker::HalfOpen { since, .. } => Some(since),
            Breaker::Closed | Breaker::Open { .. } => None,
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&LaneKey, &Standing)> {
        self.0.iter()
    }

    /// Shows them as gauges.
    pub fn show(&self) {
        for (lane, standing) in &self.0 {
            let labels = [
                ("bridge", lane.bridge.to_string()),
                ("source", lane.source.to_string()),
                ("target", lane.target.to_string()),
            ];
            gauge!(names::ROUTER_LANE_OPEN_COUNT, &labels).set(f64::from(u8::from(standing.shut().is_none())));
            gauge!(names::ROUTER_LANE_BLOCKED_COUNT, &labels).set(f64::from(u8::from(standing.obstacle.is_some())));
            gauge!(names::ROUTER_LANE_SUCCESS_RATIO, &labels).set(f64::from(standing.health.success()) / 10_000.0);
            if let Some(p95_ms) = standing.health.p95_ms {
                gauge!(names::ROUTER_LANE_P95_SECONDS, &labels).set(p95_ms as f64 / 1_000.0);
            }
            // Values are counted in 10^-18.
            gauge!(names::ROUTER_LANE_IN_FLIGHT_VALUE, &labels).set(f64::from(standing.in_flight.lane) / 1e18);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use relayer_adapter_api::BridgeId;

    fn u(n: u64) -> U256 {
        U256::from(n)
    }

    #[test]
    fn the_chain_has_its_own_fee_cap_or_that_of_the_bridge() {
        let limits = BridgeLimits {
            fee_cap: u(5),
            fee_caps: [(ChainId(2), u(7))].into(),
            ..BridgeLimits::default()
        };
        assert_eq!((limits.fee_cap(ChainId(1)), limits.fee_cap(ChainId(2))), (u(5), u(7)));
    }

    #[test]
    fn the_tighter_cap_is_the_headroom() {
        let sum = InFlight {
            lane: u(40),
            bridge: u(90),
            unknown: 0,
        };
        let with = |lane: Option<u64>, bridge: Option<u64>| {
            let limits = BridgeLimits {
                lane_value: lane.map(u),
                bridge_value: bridge.map(u),
                ..BridgeLimits::default()
            };
            limits.headroom(&sum)
        };
        assert_eq!(with(None, None), None);
        assert_eq!(with(Some(100), None), Some(u(60)));
        assert_eq!(with(Some(100), Some(100)), Some(u(10)));
        assert_eq!(with(Some(30), Some(100)), Some(u(0)));
    }

    #[test]
    fn an_operators_word_comes_before_the_chains_and_those_before_the_breaker() {
        let rule = BreakerRule {
            failures: 1,
            cooldown_ms: 10,
            cooldown_max_ms: 10,
        };
        let failed = Passage {
            planned_at: 0,
            stalled_at: Some(5),
            received_at: None,
            transit_ms: None,
            dropped: false,
        };
        let mut standing = Standing::new(&[failed], rule, 6);
        assert!(standing.shut().unwrap().contains("circuit breaker"));
        let lane = LaneKey {
            source: ChainId(1),
            target: ChainId(2),
            bridge: BridgeId::new("a").unwrap(),
        };
        standing.obstacle = Some(LaneObstacle {
            lane: lane.clone(),
            reason: "cursed".into(),
            since: 3,
        });
        assert_eq!(standing.shut().unwrap(), "cursed");
        standing.switch = Some(LaneSwitch {
            lane,
            mode: LaneMode::Draining,
            reason: "upgrade".into(),
            by: "ann".into(),
            at: 1,
        });
        assert_eq!(standing.shut().unwrap(), "draining by ann: upgrade");
    }
}
