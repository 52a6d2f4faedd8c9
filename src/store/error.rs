//! Errors of the store.

use crate::settlement::transitions::IllegalTransition;
use relayer_adapter_api::Class;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("database: {0}")]
    Database(#[from] sea_orm::DbErr),
    /// The database does not keep what it acknowledges; refused at start.
    #[error("database is not durable: {0}")]
    NotDurable(String),
    #[error("database schema is {found}, this program needs {expected}: run `relayer migrate`")]
    Schema { found: String, expected: String },
    /// A column holds what this program never writes.
    #[error("column {column} is corrupt: {reason}")]
    Corrupt { column: &'static str, reason: String },
    /// Somebody else changed the row first, or our lease ran out; read again.
    #[error("{what} changed in the meantime")]
    Conflict { what: String },
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    #[error("{what} does not exist")]
    Missing { what: String },
    #[error("the archive cannot be written: {0}")]
    Archive(#[from] std::io::Error),
    /// The account cannot cover the debit.
    #[error("balance too small: {available} available, {needed} needed")]
    Insufficient {
        available: alloy::primitives::U256,
        needed: alloy::primitives::U256,
    },
}

impl StoreError {
    pub fn class(&self) -> Class {
        match self {
            Self::Database(_) => Class::Retry {
                after: Duration::from_secs(1),
            },
            Self::Conflict { .. } => Class::Retry {
                after: Duration::from_millis(50),
            },
            Self::Archive(_)
            | Self::NotDurable(_)
            | Self::Schema { .. }
            | Self::Insufficient { .. }
            | Self::Missing { .. } => Class::Reject,
            Self::Corrupt { .. } | Self::Illegal(_) => Class::Bug,
        }
    }
}
