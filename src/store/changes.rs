//! Who has heard of the newest event: an early wake-up for those that otherwise poll. Never the only way to learn of it.
//!
//! Every commit of this process is known here at once. On PostgreSQL a listener, started by the first who asks, hears of the commits of
//! all processes; when its connection is lost it is made again, and what was missed is read.

use super::entity::counter;
use super::txn::EVENT_SEQ;
use super::{Store, StoreError};
use sea_orm::sqlx::postgres::PgListener;
use sea_orm::{DatabaseConnection, DbBackend, EntityTrait};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Channel of NOTIFY; the payload is the last `seq` of a commit.
pub(super) const CHANNEL: &str = "relayer_events";

/// Between two attempts to listen again.
const RELISTEN: Duration = Duration::from_millis(500);

/// What this process has heard.
pub(super) struct Changes {
    newest: watch::Sender<i64>,
    /// Where to listen; the listener has a connection of its own.
    url: String,
    listener: OnceLock<AbortHandle>,
}

impl std::fmt::Debug for Changes {
    // The URL may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes")
            .field("newest", &*self.newest.borrow())
            .finish_non_exhaustive()
    }
}

impl Changes {
    pub fn new(url: &str) -> Self {
        Self {
            newest: watch::Sender::new(0),
            url: url.to_owned(),
            listener: OnceLock::new(),
        }
    }

    pub fn publish(&self, seq: i64) {
        publish(&self.newest, seq);
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.get() {
            listener.abort();
        }
    }
}

fn publish(newest: &watch::Sender<i64>, seq: i64) {
    newest.send_if_modified(|known| {
        let newer = seq > *known;
        if newer {
            *known = seq;
        }
        newer
    });
}

impl Store {
    /// The newest committed event this process has heard of, whoever committed it; 0 before it heard of any. A hint that comes early:
    /// a notification can be lost, so poll now and then all the same. Needs a runtime.
    pub fn changes(&self) -> watch::Receiver<i64> {
        if self.db.get_database_backend() == DbBackend::Postgres {
            self.changes.listener.get_or_init(|| {
                let listening = listen(self.db.clone(), self.changes.url.clone(), self.changes.newest.clone());
                tokio::spawn(listening).abort_handle()
            });
        }
        self.changes.newest.subscribe()
    }

    /// The newest committed event; 0 when there is none.
    pub async fn newest_seq(&self) -> Result<i64, StoreError> {
        let newest = newest_seq(&self.db).await?;
        self.changes.publish(newest);
        Ok(newest)
    }
}

async fn newest_seq(db: &DatabaseConnection) -> Result<i64, StoreError> {
    let row = counter::Entity::find_by_id(EVENT_SEQ).one(db).await?;
    Ok(row.map_or(0, |row| row.value))
}

async fn listen(db: DatabaseConnection, url: String, newest: watch::Sender<i64>) {
    let mut heard = true;
    loop {
        match follow(&db, &url, &newest, &mut heard).await {
            Ok(()) => tracing::info!("lost the connection that listens for events"),
            // Said once per outage; the stages report the database as well.
            Err(error) if heard => tracing::warn!(%error, "cannot listen for events, polling goes on"),
            Err(_) => {}
        }
        heard = false;
        tokio::time::sleep(RELISTEN).await;
    }
}

/// Listens until the connection is lost.
async fn follow(
    db: &DatabaseConnection,
    url: &str,
    newest: &watch::Sender<i64>,
    heard: &mut bool,
) -> Result<(), StoreError> {
    let mut listener = PgListener::connect(url).await.map_err(lost)?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await.map_err(lost)?;
    // What was committed before we listened, or while nobody did.
    publish(newest, newest_seq(db).await?);
    *heard = true;
    while let Some(notification) = listener.try_recv().await.map_err(lost)? {
        if let Ok(seq) = notification.payload().parse() {
            publish(newest, seq);
        }
    }
    Ok(())
}

fn lost(error: sea_orm::sqlx::Error) -> StoreError {
    StoreError::Database(sea_orm::DbErr::Conn(sea_orm::RuntimeErr::SqlxError(error.into())))
}
