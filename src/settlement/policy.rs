//! How the lanes that could carry a message are ranked.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Lanes that hold something up come last whatever the policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoutePolicy {
    /// In the configured order, then by price.
    #[default]
    Preferred,
    /// By price, then in the configured order.
    Cheapest,
    /// By the time 95 of 100 recent messages took, or the one the bridge promises while there is no history; then by price.
    Fastest,
    /// By the share of recent dispatches that arrived in time, then by time, then by price.
    Safest,
}

impl RoutePolicy {
    pub const ALL: [Self; 4] = [Self::Preferred, Self::Cheapest, Self::Fastest, Self::Safest];

    pub fn name(self) -> &'static str {
        match self {
            Self::Preferred => "preferred",
            Self::Cheapest => "cheapest",
            Self::Fastest => "fastest",
            Self::Safest => "safest",
        }
    }
}

impl fmt::Display for RoutePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for RoutePolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|policy| policy.name() == text);
        found.ok_or_else(|| format!("{text:?} is not preferred, cheapest, fastest or safest"))
    }
}
