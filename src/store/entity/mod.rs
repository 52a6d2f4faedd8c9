//! Rows as sea-orm sees them; one file per table of the schema. Nothing outside `store` uses these.
#![allow(dead_code, reason = "sea-orm derives need `Relation` and every column, used or not")]

pub mod account;
pub mod attempt;
pub mod chain_block;
pub mod chain_cursor;
pub mod chain_log;
pub mod checkpoint_signature;
pub mod counter;
pub mod dispatch;
pub mod drift;
pub mod event;
pub mod execution;
pub mod hub;
pub mod hub_bound;
pub mod hub_challenge;
pub mod hub_checkpoint;
pub mod hub_operation;
pub mod hub_trail;
pub mod message;
pub mod message_settlement;
pub mod posting;
pub mod reconcile_interval;
pub mod settlement;
pub mod settlement_group;
pub mod settlement_receipt;
pub mod signer_lease;
pub mod tx;
