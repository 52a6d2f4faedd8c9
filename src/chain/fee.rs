//! What to pay: pure decisions over plain numbers. Wei per gas throughout.

use super::Fees;
use alloy::primitives::U256;

/// Bounds and habits of spending on one chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeePolicy {
    /// Never more than this per gas.
    pub max_fee_cap: u128,
    /// Never more than this for the gas of one transaction, wei.
    pub tx_cap: U256,
    /// Never more than this for the worst case of one day's transactions, gwei.
    pub day_cap_gwei: u64,
    /// Tip at least this.
    pub priority_floor: u128,
    /// First `max_fee` = base fee × this + tip: room for six full blocks at 200.
    pub base_percent: u32,
    /// How long the transaction at the head of the line may wait before it pays more.
    pub escalate_after_ms: i64,
    /// By how much a replacement raises both fields. Nodes demand at least 10.
    pub escalate_percent: u32,
    /// How often bytes are handed to the endpoints again.
    pub rebroadcast_ms: i64,
    /// Sign in the old format: the chain knows no EIP-1559.
    pub legacy: bool,
}

impl Default for FeePolicy {
    fn default() -> Self {
        Self {
            max_fee_cap: 500_000_000_000,
            tx_cap: U256::from(1_000_000_000_000_000_000u64),
            day_cap_gwei: 10_000_000_000,
            priority_floor: 1_000_000,
            base_percent: 200,
            escalate_after_ms: 30_000,
            escalate_percent: 15,
            rebroadcast_ms: 15_000,
            legacy: false,
        }
    }
}

/// Fee fields of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxFees {
    pub max_fee: u128,
    pub max_priority_fee: u128,
}

/// Inclusion costs more than the cap now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AboveCap {
    pub needed: u128,
}

/// An attempt as far as fees go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    pub fees: TxFees,
    pub created_at: i64,
}

/// What to do about a transaction that is not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nudge {
    /// Hand the same bytes over again.
    Rebroadcast,
    /// Sign anew with these.
    Replace(TxFees),
    /// It should pay more, and may not.
    Capped,
}

fn percent_up(value: u128, percent: u32) -> u128 {
    // Rounded up, so that the rule of 10 % holds for small numbers too.
    value.saturating_mul(u128::from(percent)).div_ceil(100)
}

/// Largest price per gas that the caps allow for this gas limit.
pub fn price_cap(policy: &FeePolicy, gas_limit: u64) -> u128 {
    let by_tx = policy.tx_cap / U256::from(gas_limit.max(1));
    policy.max_fee_cap.min(u128::try_from(by_tx).unwrap_or(u128::MAX))
}

fn wanted(policy: &FeePolicy, now: Fees) -> TxFees {
    let tip = now.priority_fee.max(policy.priority_floor);
    TxFees {
        max_fee: percent_up(now.base_fee, policy.base_percent).saturating_add(tip),
        max_priority_fee: tip,
    }
}

/// Fees of a first attempt: what is wanted, or the cap while that still gets in.
pub fn first_fees(policy: &FeePolicy, cap: u128, now: Fees) -> Result<TxFees, AboveCap> {
    let wanted = wanted(policy, now);
    if wanted.max_fee <= cap {
        return Ok(wanted);
    }
    let needed = now.base_fee.saturating_add(wanted.max_priority_fee);
    if needed > cap {
        return Err(AboveCap { needed });
    }
    Ok(TxFees {
        max_fee: cap,
        max_priority_fee: wanted.max_priority_fee,
    })
}

/// What to do about a transaction the endpoints have had for a while. `tried` is in order of signing and not empty; `underpriced` is
/// what they said to the last of them; `first_in_line`: its nonce is the next one the chain takes.
pub fn nudge(
    policy: &FeePolicy,
    cap: u128,
    tried: &[Tried],
    underpriced: bool,
    first_in_line: bool,
    now: Fees,
    now_ms: i64,
) -> Nudge {
    let Some(last) = tried.last() else {
        return Nudge::Rebroadcast;
    };
    let overdue = now_ms.saturating_sub(last.created_at) >= policy.escalate_after_ms;
    let pay_more = underpriced || (first_in_line && overdue);
    if !pay_more {
        return Nudge::Rebroadcast;
    }
    let dearest = tried.iter().fold(last.fees, |dearest, tried| TxFees {
        max_fee: dearest.max_fee.max(tried.fees.max_fee),
        max_priority_fee: dearest.max_priority_fee.max(tried.fees.max_priority_fee),
    });
    let percent = 100 + policy.escalate_percent.max(10);
    let least = TxFees {
        max_fee: percent_up(dearest.max_fee, percent),
        max_priority_fee: percent_up(dearest.max_priority_fee, percent),
    };
    let wanted = wanted(policy, now);
    let tip = least.max_priority_fee.max(wanted.max_priority_fee);
    let max_fee = least.max_fee.max(wanted.max_fee).min(cap);
    if max_fee < least.max_fee || tip > max_fee {
        return Nudge::Capped;
    }
    Nudge::Replace(TxFees {
        max_fee,
        max_priority_fee: tip,
    })
}

/// Worst case of a transaction's gas.
pub fn worst_case(gas_limit: u64, fees: &TxFees) -> U256 {
    // 64 + 128 bits fit 256.
    U256::from(gas_limit).saturating_mul(U256::from(fees.max_fee))
}

/// Wei as gwei, rounded up: what the daily cap counts.
pub fn gwei_up(wei: U256) -> u64 {
    u64::try_from(wei.div_ceil(U256::from(1_000_000_000u64))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const GWEI: u128 = 1_000_000_000;

    fn policy() -> FeePolicy {
        FeePolicy {
            max_fee_cap: 100 * GWEI,
            priority_floor: GWEI,
            ..FeePolicy::default()
        }
    }

    fn fees(base: u128, tip: u128) -> Fees {
        Fees {
            base_fee: base * GWEI,
            priority_fee: tip * GWEI,
        }
    }

    fn pay(max: u128, tip: u128) -> TxFees {
        TxFees {
            max_fee: max * GWEI,
            max_priority_fee: tip * GWEI,
        }
    }

    #[test]
    fn first_fees_leave_room_below_the_cap() {
        let cap = 100 * GWEI;
        for (now, expected) in [
            (fees(10, 2), Ok(pay(22, 2))),
            (fees(10, 0), Ok(pay(21, 1))),
            (fees(0, 0), Ok(pay(1, 1))),
            (fees(60, 2), Ok(pay(100, 2))),
            (fees(98, 2), Ok(pay(100, 2))),
            (fees(99, 2), Err(AboveCap { needed: 101 * GWEI })),
        ] {
            assert_eq!(first_fees(&policy(), cap, now), expected, "{now:?}");
        }
    }

    fn check(tried: &[(TxFees, i64)], underpriced: bool, first: bool, now: Fees, now_ms: i64) -> Nudge {
        let tried: Vec<Tried> = tried
            .iter()
            .map(|(fees, created_at)| Tried {
                fees: *fees,
                created_at: *created_at,
            })
            .collect();
        nudge(&policy(), 100 * GWEI, &tried, underpriced, first, now, now_ms)
    }

    #[test]
    fn pays_more_by_time_only_at_the_head_of_the_line() {
        let tried = [(pay(20, 2), 0)];
        assert_eq!(check(&tried, false, true, fees(1, 1), 29_999), Nudge::Rebroadcast);
        assert_eq!(check(&tried, false, false, fees(1, 1), 1_000_000), Nudge::Rebroadcast);
        let raised = Nudge::Replace(TxFees {
            max_fee: 23 * GWEI,
            max_priority_fee: 2_300_000_000,
        });
        assert_eq!(check(&tried, false, true, fees(1, 1), 30_000), raised);
    }

    #[test]
    fn pays_more_at_once_when_underpriced_wherever_it_stands() {
        let tried = [(pay(20, 2), 0)];
        assert!(matches!(check(&tried, true, false, fees(1, 1), 1), Nudge::Replace(_)));
    }

    #[test]
    fn follows_the_market_when_that_is_higher() {
        let tried = [(pay(20, 2), 0)];
        assert_eq!(check(&tried, true, true, fees(40, 5), 1), Nudge::Replace(pay(85, 5)));
    }

    #[test]
    fn every_replacement_raises_both_fields_by_ten_percent_of_the_dearest() {
        let history = [(pay(30, 2), 0), (pay(20, 9), 5)];
        let Nudge::Replace(next) = check(&history, true, true, fees(1, 1), 10) else {
            panic!("must replace");
        };
        assert!(
            next.max_fee * 10 >= 30 * GWEI * 11 && next.max_priority_fee * 10 >= 9 * GWEI * 11,
            "{next:?}"
        );
        let tiny = TxFees {
            max_fee: 1,
            max_priority_fee: 1,
        };
        let Nudge::Replace(next) = check(&[(tiny, 0)], true, true, fees(0, 0), 1) else {
            panic!("must replace");
        };
        assert!(next.max_fee >= 2 && next.max_priority_fee >= 2);
    }

    #[test]
    fn stops_at_the_cap_and_uses_it_up_before() {
        assert_eq!(
            check(&[(pay(80, 2), 0)], true, true, fees(60, 2), 1),
            Nudge::Replace(TxFees {
                max_fee: 100 * GWEI,
                max_priority_fee: 2_300_000_000
            })
        );
        assert_eq!(check(&[(pay(90, 2), 0)], true, true, fees(60, 2), 1), Nudge::Capped);
    }

    #[test]
    fn the_cap_per_transaction_bounds_the_price() {
        let policy = FeePolicy {
            tx_cap: U256::from(1_000u64),
            ..policy()
        };
        assert_eq!(price_cap(&policy, 10), 100);
        assert_eq!(price_cap(&policy, 0), 1_000);
        assert_eq!(gwei_up(U256::from(1u64)), 1);
        assert_eq!(gwei_up(U256::ZERO), 0);
    }
}
