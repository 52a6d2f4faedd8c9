//! Double entry without I/O: which accounts there are, which postings a business fact makes, and which balances are possible.
//!
//! Every posting is one row (debit account, credit account, amount, cause), so debits equal credits by construction.
//! Layout: [`accounts`] keys and balances, [`postings`] from facts to rows and from rows to new balances.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::float_arithmetic,
        clippy::unwrap_used,
        clippy::panic
    )
)]

pub mod accounts;
pub mod postings;

pub use accounts::{AccountKey, AccountKeyError, AccountKind, Asset, Balance, BalanceError};
pub use postings::{Cause, EventRef, Obligation, Payout, Posting, Reason, new_balances};

#[cfg(test)]
mod tests;
