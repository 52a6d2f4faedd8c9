//! What a settlement is, without any I/O or clock: terms and their id, authorizations, receipts, the packed execution bytes, states.
//!
//! Layout: [`terms`] what the payer signs and the id it gives, [`auth`] signatures at intake, [`packed`] the bytes of
//! `execute` and how a message is cut into chunks, [`receipt`] the receipt codec and the rules on its price, [`policy`] how lanes are ranked, [`price`] what
//! coins and tokens are worth in one unit,
//! [`states`] and [`transitions`] what may follow what.
//! Message and tree codecs live in `relayer_adapter_api`.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::float_arithmetic,
        clippy::unwrap_used,
        clippy::panic
    )
)]

pub mod auth;
pub mod packed;
pub mod policy;
pub mod price;
pub mod receipt;
pub mod states;
pub mod terms;
pub mod transitions;

#[cfg(test)]
mod vector_tests;

pub use relayer_adapter_api::{ChainId, MessageId, SettlementId};
