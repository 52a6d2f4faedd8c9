//! Limits and times of the stages. Every queue, batch, age and retry has one.

use super::Roles;
use crate::settlement::policy::RoutePolicy;
use serde::{Deserialize, Serialize};

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $ty:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $(pub $field: $ty,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }
    };
}

section! {
    /// The original design's keys; seconds. None of them is ever a verdict about a settlement.
    SettlementConfig {
        default_bridge: String = "layerzero".into(),
        max_retries: u32 = 3,
        retry_delay: u64 = 30,
        timeout: u64 = 3_600,
    }
}
section! {
    SupervisorConfig {
        roles: Roles = Roles::default(),
        idle_ms: u64 = 1_000,
        step_rows_max: usize = 256,
        backoff_ms_max: u64 = 30_000,
        stop_ms_max: u64 = 10_000,
        lease_ms: i64 = 15_000,
    }
}
section! {
    IntakeConfig {
        receipt_bytes_max: usize = 262_144,
        receipts_per_settlement_max: usize = 64,
        proof_bytes_max: usize = 65_536,
        queue_max: usize = 8_192,
        queue_bytes_max: usize = 64 << 20,
        commit_rows_max: usize = 512,
        verify_threads: usize = 0,
        deadline_margin: u64 = 900,
        exit_margin: u64 = 600,
    }
}
section! {
    BatcherConfig {
        count_max: u32 = 128,
        linger_ms: u64 = 2_000,
        deadline_margin: u64 = 600,
    }
}
section! {
    RouterConfig {
        policy: RoutePolicy = RoutePolicy::Preferred,
        quote_timeout_ms: u64 = 10_000,
        watch_ms: u64 = 30_000,
        fee_of_fees_max: u64 = 0,
        fee_of_amounts_max: u64 = 0,
        health_dispatches: u64 = 64,
        breaker_failures: u32 = 5,
        breaker_cooldown: u64 = 300,
        breaker_cooldown_max: u64 = 3_600,
        abandon_after: u64 = 1_800,
        abandon_after_all_stalled: u64 = 14_400,
    }
}
section! {
    DispatcherConfig {
        quote_age_ms_max: u64 = 60_000,
        failures_max: u32 = 5,
    }
}
section! {
    TrackerConfig {
        poll_ms: u64 = 500,
        poll_ms_max: u64 = 60_000,
        rescue: bool = true,
        rescue_after: u64 = 600,
    }
}
section! {
    PayoutConfig {
        chunk_bytes_max: usize = 120_000,
        chunk_gas_max: u64 = 16_000_000,
        retry_ms: u64 = 15_000,
        retry_ms_max: u64 = 900_000,
        executions_max: usize = 64,
    }
}
section! {
    ReconcilerConfig {
        sweep_ms: u64 = 30_000,
        patience: u64 = 600,
    }
}
section! {
    TxConfig {
        poll_ms: u64 = 1_000,
        escalate_after_ms: u64 = 30_000,
        escalate_percent: u32 = 15,
        rebroadcast_ms: u64 = 15_000,
    }
}
