//! What coins and tokens are worth in one unit, so that fees on different chains and amounts of different tokens compare. Exact: a price is
//! a fraction of whole numbers, a value a whole number of 10^-18 units. Pure.

use alloy::primitives::{Address, U256};
use relayer_adapter_api::ChainId;
use std::collections::BTreeMap;

/// Values are whole numbers of 10^-18 of the unit.
pub const VALUE_DECIMALS: u8 = 18;
/// More digits are no price anybody knows; fewer keep every product of a price and an amount within 256 bits.
const DIGITS_MAX: usize = 20;
/// No token has more.
const COIN_DECIMALS_MAX: u8 = 36;

/// Something with a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coin {
    /// What fees on this chain are paid in.
    Native(ChainId),
    Token(ChainId, Address),
}

/// Where prices come from. Static ones from the configuration now; an oracle would be another implementation.
pub trait PriceSource: std::fmt::Debug + Send + Sync {
    /// None = nobody knows; whatever needs it is then refused, never guessed.
    fn price(&self, coin: Coin) -> Option<Price>;

    /// What values are counted in, for people: `usd`.
    fn unit(&self) -> &str;
}

/// Value of one base unit (wei) as an exact fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    numerator: U256,
    /// Never zero: a power of ten.
    denominator: U256,
}

impl Price {
    /// From the decimal price of one whole coin: `3000.5` for a coin of 18 decimals.
    pub fn parse(text: &str, coin_decimals: u8) -> Result<Self, String> {
        let bad = |why: &str| Err(format!("{text:?} is not a price: {why}"));
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{fraction}");
        if whole.is_empty() || text.ends_with('.') || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return bad("write a decimal number such as 3000.5");
        }
        if digits.len() > DIGITS_MAX {
            return bad("more than 20 digits");
        }
        if coin_decimals > COIN_DECIMALS_MAX {
            return bad("a coin has at most 36 decimals");
        }
        let Ok(digits_value) = U256::from_str_radix(&digits, 10) else {
            return bad("write a decimal number such as 3000.5");
        };
        if digits_value.is_zero() {
            return bad("it must be above zero");
        }
        // digits * 10^18 / 10^(fraction + coin decimals), with the powers of ten cancelled. Exponents stay below 60, so both fit.
        let up = usize::from(VALUE_DECIMALS);
        let down = fraction.len().saturating_add(usize::from(coin_decimals));
        let ten = |exponent: usize| U256::from(10).checked_pow(U256::from(exponent));
        let fraction = match (ten(up.saturating_sub(down)), ten(down.saturating_sub(up))) {
            (Some(times), Some(denominator)) => digits_value.checked_mul(times).map(|n| (n, denominator)),
            _ => None,
        };
        match fraction {
            Some((numerator, denominator)) => Ok(Self { numerator, denominator }),
            None => bad("it is too large"),
        }
    }

    /// Value of an amount, rounded up: for what is paid. None when it does not fit.
    pub fn value_up(&self, amount: U256) -> Option<U256> {
        let product = amount.checked_mul(self.numerator)?;
        let floor = product.checked_div(self.denominator)?;
        let exact = product.checked_rem(self.denominator)?.is_zero();
        floor.checked_add(U256::from(u8::from(!exact)))
    }

    /// Value of an amount, rounded down: for what is earned.
    pub fn value_down(&self, amount: U256) -> Option<U256> {
        amount.checked_mul(self.numerator)?.checked_div(self.denominator)
    }

    /// The largest amount whose value, rounded up, is not above `value`.
    pub fn amount_within(&self, value: U256) -> Option<U256> {
        value.checked_mul(self.denominator)?.checked_div(self.numerator)
    }
}

/// Prices that do not move.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StaticPrices {
    pub unit: String,
    pub prices: BTreeMap<Coin, Price>,
}

impl PriceSource for StaticPrices {
    fn price(&self, coin: Coin) -> Option<Price> {
        self.prices.get(&coin).copied()
    }

    fn unit(&self) -> &str {
        &self.unit
    }
}

/// What the settlements of a message bring and move, in the unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Worth {
    /// Fees the settlements pay, rounded down.
    pub fees: U256,
    /// Amounts for the payees, rounded down: what a fee is compared with.
    pub amounts: U256,
    /// Both, rounded up: what the vault pays out on the word of this message.
    pub at_stake: U256,
}

/// Values what each token's settlements of a message move. `sums`: token, amounts, fees. None when a price is missing.
pub fn worth(prices: &dyn PriceSource, target: ChainId, sums: &[(Address, U256, U256)]) -> Option<Worth> {
    let mut worth = Worth::default();
    for (token, amounts, fees) in sums {
        let price = prices.price(Coin::Token(target, *token))?;
        worth.fees = worth.fees.checked_add(price.value_down(*fees)?)?;
        worth.amounts = worth.amounts.checked_add(price.value_down(*amounts)?)?;
        worth.at_stake = worth
            .at_stake
            .checked_add(price.value_up(amounts.checked_add(*fees)?)?)?;
    }
    Some(worth)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    fn u(n: u128) -> U256 {
        U256::from(n)
    }

    fn ether(n: u128) -> U256 {
        u(n * 1_000_000_000_000_000_000)
    }

    #[test]
    fn coins_of_different_decimals_meet_in_one_unit() {
        let eth = Price::parse("3000.5", 18).unwrap();
        assert_eq!(eth.value_up(ether(2)), Some(ether(6001)));
        let usdc = Price::parse("1", 6).unwrap();
        assert_eq!(usdc.value_down(u(6_001_000_000)), Some(ether(6001)));
        let odd = Price::parse("0.5", 24).unwrap();
        assert_eq!(odd.value_up(u(10).pow(u(24))), Some(ether(1) / u(2)));
    }

    #[test]
    fn what_is_paid_rounds_up_and_what_is_earned_down() {
        let third = Price::parse("0.3", 18).unwrap();
        assert_eq!(third.value_up(u(1)), Some(u(1)));
        assert_eq!(third.value_down(u(1)), Some(u(0)));
        assert_eq!(third.value_up(u(10)), Some(u(3)));
        assert_eq!(third.value_down(u(10)), Some(u(3)));
    }

    #[test]
    fn nonsense_is_no_price() {
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "1e3",
            "0",
            "0.00",
            "1 2",
            "1,5",
            "+1",
            "123456789012345678901",
        ] {
            assert!(Price::parse(text, 18).is_err(), "{text:?}");
        }
        assert!(Price::parse("1", 37).is_err());
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        let price = Price::parse("3000", 6).unwrap();
        assert_eq!(price.value_up(U256::MAX), None);
        assert_eq!(price.value_down(U256::MAX), None);
    }

    #[test]
    fn a_token_without_a_price_leaves_the_message_without_a_worth() {
        let target = ChainId(2);
        let (known, unknown) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let prices = StaticPrices {
            unit: "usd".into(),
            prices: [(Coin::Token(target, known), Price::parse("2", 18).unwrap())].into(),
        };
        let one = (known, u(10), u(3));
        let expected = Worth {
            fees: u(6),
            amounts: u(20),
            at_stake: u(26),
        };
        assert_eq!(worth(&prices, target, &[one]), Some(expected));
        assert_eq!(worth(&prices, target, &[one, (unknown, u(1), u(0))]), None);
        assert_eq!(worth(&prices, ChainId(3), &[one]), None);
    }

    proptest! {
        /// The cap in wei that follows from a cap in the unit never lets a fee through that is worth more, and refuses none that is not.
        #[test]
        fn the_amount_within_a_value_is_the_largest(whole in 0_u64..100_000, cents in 1_u64..100, decimals in 0_u8..25, value in any::<u128>()) {
            let price = Price::parse(&format!("{whole}.{cents:02}"), decimals).unwrap();
            let value = U256::from(value);
            let amount = price.amount_within(value).unwrap();
            prop_assert!(price.value_up(amount).unwrap() <= value);
            prop_assert!(price.value_up(amount + U256::from(1)).unwrap() > value);
        }
    }
}
