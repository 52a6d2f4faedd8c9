//! What is wrong with the database as a whole, when that is what an error says.

use super::StoreError;
use super::error::{code_of, sqlx_error};
use sea_orm::{DbErr, sqlx};

impl StoreError {
    /// No room for what was to be written. The transaction is undone; nothing of it is stored.
    pub fn is_full(&self) -> bool {
        let Self::Database(error) = self else { return false };
        // SQLSTATE disk_full; SQLITE_FULL.
        code_of(error).is_some_and(|code| matches!(&*code, "53100" | "13"))
    }

    /// The database is gone or full: whatever else is tried now fails alike.
    pub fn is_outage(&self) -> bool {
        let Self::Database(error) = self else { return false };
        if self.is_full() || matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_)) {
            return true;
        }
        match sqlx_error(error) {
            // Connection lost, or the server says that it goes or comes.
            Some(sqlx::Error::Database(answer)) => answer
                .code()
                .is_some_and(|code| code.len() == 5 && (code.starts_with("57P") || code.starts_with("08"))),
            Some(error) => matches!(
                error,
                sqlx::Error::Io(_)
                    | sqlx::Error::Protocol(_)
                    | sqlx::Error::PoolTimedOut
                    | sqlx::Error::PoolClosed
                    | sqlx::Error::WorkerCrashed
            ),
            None => false,
        }
    }
}
