//! Errors of the store.

use crate::settlement::transitions::IllegalTransition;
use relayer_adapter_api::Class;
use sea_orm::sqlx::{self, error::DatabaseError};
use sea_orm::{DbErr, RuntimeErr};
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
    #[error(
        "database schema is {found}, which this program does not know (it has {expected}): use the program that made the database, or an \
         empty one"
    )]
    SchemaOfAnother { found: String, expected: String },
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
            Self::Database(error) => class_of(error),
            Self::Conflict { .. } => retry(RACE_MS),
            Self::Archive(_)
            | Self::NotDurable(_)
            | Self::Schema { .. }
            | Self::SchemaOfAnother { .. }
            | Self::Insufficient { .. }
            | Self::Missing { .. } => Class::Reject,
            Self::Corrupt { .. } | Self::Illegal(_) => Class::Bug,
        }
    }

    /// Another transaction came first and this one was undone whole: the same again, from the start, will do.
    pub fn is_race(&self) -> bool {
        match self {
            Self::Conflict { .. } => true,
            Self::Database(error) => code_of(error).is_some_and(|code| matches!(&*code, "40001" | "40P01" | "55P03")),
            _ => false,
        }
    }

    /// For a statement whose unique keys were free when they were looked at: somebody was faster.
    pub(super) fn or_race(error: DbErr, what: &str) -> Self {
        match error.sql_err() {
            Some(sea_orm::SqlErr::UniqueConstraintViolation(_)) => Self::Conflict { what: what.to_owned() },
            _ => Self::Database(error),
        }
    }

    /// SQLite: another process holds the file.
    pub(super) fn is_busy(error: &DbErr) -> bool {
        let code = code_of(error).and_then(|code| code.parse::<u32>().ok());
        code.is_some_and(|code| matches!(code & 0xff, 5 | 6))
    }
}

/// The winner is done within a few statements.
const RACE_MS: u64 = 50;
/// A server that restarts, a pool that is exhausted.
const OUTAGE_MS: u64 = 1_000;
/// Somebody must make room first.
const FULL_MS: u64 = 5_000;

fn retry(after_ms: u64) -> Class {
    Class::Retry {
        after: Duration::from_millis(after_ms),
    }
}

pub(super) fn sqlx_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}

pub(super) fn code_of(error: &DbErr) -> Option<std::borrow::Cow<'_, str>> {
    sqlx_error(error)?.as_database_error()?.code()
}

fn class_of(error: &DbErr) -> Class {
    match (error, sqlx_error(error)) {
        (DbErr::ConnectionAcquire(_), _) => retry(OUTAGE_MS),
        (_, Some(sqlx::Error::Database(answer))) => class_of_answer(answer.as_ref()),
        // What we asked for and what came do not fit together.
        (
            _,
            Some(
                sqlx::Error::ColumnDecode { .. }
                | sqlx::Error::ColumnNotFound(_)
                | sqlx::Error::ColumnIndexOutOfBounds { .. }
                | sqlx::Error::TypeNotFound { .. }
                | sqlx::Error::Decode(_)
                | sqlx::Error::Encode(_),
            ),
        ) => Class::Bug,
        // The connection, the pool, the network.
        (DbErr::Conn(_), _) | (_, Some(_)) => retry(OUTAGE_MS),
        _ => Class::Bug,
    }
}

fn class_of_answer(answer: &dyn DatabaseError) -> Class {
    let code = answer.code().unwrap_or_default();
    if answer.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        class_of_sqlite(code.parse().unwrap_or_default())
    } else {
        class_of_sqlstate(&code)
    }
}

/// By the server's SQLSTATE; see the appendix "PostgreSQL Error Codes" of its manual.
pub(super) fn class_of_sqlstate(code: &str) -> Class {
    match code {
        // Serialization failure, deadlock, lock not available: somebody else goes first.
        "40001" | "40P01" | "55P03" => retry(RACE_MS),
        "53100" => retry(FULL_MS),
        // Cancelled, shutdown, crash, still starting, idle for too long, database just dropped.
        _ if code.starts_with("57") || code == "25P03" => retry(OUTAGE_MS),
        // Connection, resources, system (I/O) errors.
        _ if ["08", "53", "58"].iter().any(|class| code.starts_with(class)) => retry(OUTAGE_MS),
        // Data, constraints, transaction state, syntax and names.
        _ if ["22", "23", "25", "42"].iter().any(|class| code.starts_with(class)) => Class::Bug,
        _ => retry(OUTAGE_MS),
    }
}

/// By SQLite's result code; the low byte is the primary one.
pub(super) fn class_of_sqlite(code: u32) -> Class {
    match code & 0xff {
        // BUSY, LOCKED
        5 | 6 => retry(RACE_MS),
        // FULL
        13 => retry(FULL_MS),
        // ERROR (SQL), CONSTRAINT, MISMATCH, MISUSE, RANGE
        1 | 19 | 20 | 21 | 25 => Class::Bug,
        _ => retry(OUTAGE_MS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_postgres_say_whether_the_same_again_may_work() {
        let check = |code: &str, expected: Class| assert_eq!(class_of_sqlstate(code), expected, "{code}");
        check("40P01", retry(RACE_MS));
        check("40001", retry(RACE_MS));
        check("55P03", retry(RACE_MS));
        for outage in [
            "57P01", "57P02", "57P03", "57014", "25P03", "08006", "53300", "58030", "XX000",
        ] {
            check(outage, retry(OUTAGE_MS));
        }
        check("53100", retry(FULL_MS));
        for bug in ["23505", "23502", "42P01", "42703", "22P02", "25P02"] {
            check(bug, Class::Bug);
        }
    }

    #[test]
    fn answers_of_sqlite_say_whether_the_same_again_may_work() {
        let check = |code: u32, expected: Class| assert_eq!(class_of_sqlite(code), expected, "{code}");
        check(5, retry(RACE_MS));
        check(517, retry(RACE_MS));
        check(13, retry(FULL_MS));
        check(10, retry(OUTAGE_MS));
        check(1_034, retry(OUTAGE_MS));
        check(2_067, Class::Bug);
        check(1, Class::Bug);
    }

    #[test]
    fn a_connection_that_is_gone_is_worth_waiting_for() {
        let gone = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        let error = StoreError::Database(DbErr::Query(RuntimeErr::SqlxError(gone.into())));
        assert_eq!(error.class(), retry(OUTAGE_MS));
        assert!(!error.is_race());
        let error = StoreError::Database(DbErr::ConnectionAcquire(sea_orm::ConnAcquireErr::Timeout));
        assert_eq!(error.class(), retry(OUTAGE_MS));
    }
}
