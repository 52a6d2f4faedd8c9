//! The most a dispatch may cost: an absolute number of wei for the lane, and shares of what its settlements pay and move. Pure.

use crate::settlement::price::{Price, Worth};
use alloy::primitives::U256;
use serde::Serialize;

/// Ten thousandths of a whole.
const WHOLE: u64 = 10_000;

/// Shares of a message's worth its bridge fee may take, in ten thousandths; 0 = no such cap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapRule {
    /// Of the fees the settlements pay.
    pub of_fees: u64,
    /// Of their amounts.
    pub of_amounts: u64,
}

impl CapRule {
    pub fn is_relative(&self) -> bool {
        self.of_fees > 0 || self.of_amounts > 0
    }
}

/// Which cap is the lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CapBy {
    Absolute,
    Fees,
    Amounts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// Wei of the source chain.
    pub wei: U256,
    pub by: CapBy,
}

/// The lowest cap. None when a relative cap is set and the message or the native coin has no price: nothing is guessed.
pub fn fee_cap(absolute: U256, rule: CapRule, worth: Option<Worth>, native: Option<Price>) -> Option<Cap> {
    let mut lowest = Cap {
        wei: absolute,
        by: CapBy::Absolute,
    };
    if !rule.is_relative() {
        return Some(lowest);
    }
    let (worth, native) = (worth?, native?);
    for (share, of, by) in [
        (rule.of_fees, worth.fees, CapBy::Fees),
        (rule.of_amounts, worth.amounts, CapBy::Amounts),
    ] {
        if share == 0 {
            continue;
        }
        let value = of.checked_mul(U256::from(share))?.checked_div(U256::from(WHOLE))?;
        let wei = native.amount_within(value)?;
        if wei < lowest.wei {
            lowest = Cap { wei, by };
        }
    }
    Some(lowest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn check(absolute: u64, of_fees: u64, of_amounts: u64, expected: (u64, CapBy)) {
        let worth = Worth {
            fees: U256::from(1_000),
            amounts: U256::from(50_000),
            at_stake: U256::from(51_000),
        };
        // One wei is worth 2.
        let native = Price::parse("2", 18).unwrap();
        let rule = CapRule { of_fees, of_amounts };
        let cap = fee_cap(U256::from(absolute), rule, Some(worth), Some(native)).unwrap();
        assert_eq!((cap.wei, cap.by), (U256::from(expected.0), expected.1));
    }

    #[test]
    fn the_lowest_of_the_three_counts() {
        check(400, 0, 0, (400, CapBy::Absolute));
        // Half of the fees: 500, which 250 wei are worth.
        check(400, 5_000, 0, (250, CapBy::Fees));
        // A hundredth of the amounts: 500.
        check(400, 0, 100, (250, CapBy::Amounts));
        check(400, 5_000, 20, (50, CapBy::Amounts));
        check(10, 5_000, 20, (10, CapBy::Absolute));
    }

    #[test]
    fn a_share_above_the_whole_is_a_subsidy_somebody_chose() {
        check(4_000, 20_000, 0, (1_000, CapBy::Fees));
    }

    #[test]
    fn settlements_that_pay_no_fee_let_nothing_through_under_a_cap_of_their_fees() {
        let rule = CapRule {
            of_fees: 10_000,
            of_amounts: 0,
        };
        let cap = fee_cap(
            U256::from(9),
            rule,
            Some(Worth::default()),
            Some(Price::parse("2", 18).unwrap()),
        );
        assert_eq!(cap.unwrap().wei, U256::ZERO);
    }

    #[test]
    fn a_relative_cap_without_prices_is_unknown_and_an_absolute_one_needs_none() {
        let rule = CapRule {
            of_fees: 1,
            of_amounts: 0,
        };
        let native = Price::parse("2", 18).unwrap();
        assert_eq!(fee_cap(U256::from(9), rule, None, Some(native)), None);
        assert_eq!(fee_cap(U256::from(9), rule, Some(Worth::default()), None), None);
        assert_eq!(
            fee_cap(U256::from(9), CapRule::default(), None, None).unwrap().wei,
            U256::from(9)
        );
    }
}
