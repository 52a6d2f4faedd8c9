//! The chain module against real anvil nodes: transactions, reorgs, liars, restarts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "chain/world.rs"]
mod world;

#[path = "chain/endpoints.rs"]
mod endpoints;
#[path = "chain/observing.rs"]
mod observing;
#[path = "chain/transactions.rs"]
mod transactions;
