//! The price of receipts against the amount of terms, in base units of the token, exact or refused.

use alloy::primitives::U256;
use std::str::FromStr;

/// Largest exponent that can matter: a CPython integer has at most 4,300 digits, a float at most 308 of exponent.
const EXPONENT_MAX: i64 = 10_000;
/// U256 has at most 78 decimal digits.
const UNITS_DIGITS_MAX: usize = 78;

/// Why an amount is not what its receipts allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    #[error("price {0:?} is not a decimal number")]
    NotDecimal(String),
    #[error("price {0} is negative")]
    Negative(String),
    #[error("price {price} has no exact form with {decimals} decimals")]
    Inexact { price: String, decimals: u8 },
    #[error("price {0} is too large")]
    TooLarge(String),
    #[error("the receipt has no price, and the rule is {0}")]
    NoPrice(AmountRule),
    #[error("amount {amount} breaks the rule {rule} against a price of {price}")]
    Rule {
        rule: AmountRule,
        amount: U256,
        price: U256,
    },
}

/// How the amount of a settlement must relate to the sum of its receipts' prices; set per coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AmountRule {
    Equal,
    AtMost,
    Free,
}

impl AmountRule {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::AtMost => "at_most",
            Self::Free => "free",
        }
    }
}

impl std::fmt::Display for AmountRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A rule that is none of the three.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("amount rule {0:?} is not equal, at_most or free")]
pub struct AmountRuleError(pub String);

impl FromStr for AmountRule {
    type Err = AmountRuleError;

    fn from_str(text: &str) -> Result<Self, AmountRuleError> {
        [Self::Equal, Self::AtMost, Self::Free]
            .into_iter()
            .find(|rule| rule.as_str() == text)
            .ok_or_else(|| AmountRuleError(text.to_owned()))
    }
}

/// Checks the terms' amount (without the fee) against the prices of all receipts of the settlement.
pub fn check_amount<'a>(
    rule: AmountRule,
    amount: U256,
    prices: impl IntoIterator<Item = Option<&'a str>>,
    decimals: u8,
) -> Result<(), AmountError> {
    if rule == AmountRule::Free {
        return Ok(());
    }
    let mut sum = U256::ZERO;
    for price in prices {
        let price = price.ok_or(AmountError::NoPrice(rule))?;
        sum = sum
            .checked_add(decimal_to_units(price, decimals)?)
            .ok_or_else(|| AmountError::TooLarge(price.to_owned()))?;
    }
    let holds = match rule {
        AmountRule::Equal => amount == sum,
        AmountRule::AtMost => amount <= sum,
        AmountRule::Free => true,
    };
    if holds {
        Ok(())
    } else {
        Err(AmountError::Rule {
            rule,
            amount,
            price: sum,
        })
    }
}

/// `lexeme * 10^decimals` as an integer; a lexeme that gives none is refused, never rounded.
pub fn decimal_to_units(lexeme: &str, decimals: u8) -> Result<U256, AmountError> {
    let not_decimal = || AmountError::NotDecimal(lexeme.to_owned());
    let (negative, unsigned) = match lexeme.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, lexeme),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().map_err(|_| not_decimal())?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return Err(not_decimal()),
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    let digits = format!("{whole}{fraction}");
    if whole.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(not_decimal());
    }
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Ok(U256::ZERO);
    }
    if negative {
        return Err(AmountError::Negative(lexeme.to_owned()));
    }
    let too_large = || AmountError::TooLarge(lexeme.to_owned());
    let inexact = || AmountError::Inexact {
        price: lexeme.to_owned(),
        decimals,
    };
    if exponent > EXPONENT_MAX {
        return Err(too_large());
    }
    if exponent < EXPONENT_MAX.saturating_neg() {
        return Err(inexact());
    }
    let trailing = digits.len().saturating_sub(digits.trim_end_matches('0').len());
    // Zeros to append to the significant digits; negative means digits would be cut off.
    let shift = exponent
        .saturating_add(i64::from(decimals))
        .saturating_add(i64::try_from(trailing).map_err(|_| too_large())?)
        .saturating_sub(i64::try_from(fraction.len()).map_err(|_| too_large())?);
    let zeros = usize::try_from(shift).map_err(|_| inexact())?;
    if significant.len().saturating_add(zeros) > UNITS_DIGITS_MAX {
        return Err(too_large());
    }
    U256::from_str_radix(&format!("{significant}{}", "0".repeat(zeros)), 10).map_err(|_| too_large())
}
