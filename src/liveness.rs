//! How the loops stand: written by the supervisor, read by the faces.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How the loops stand, for `/readyz`.
#[derive(Debug, Clone, Default)]
pub struct Liveness(Arc<Mutex<BTreeMap<String, LoopState>>>);

/// One loop as last seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct LoopState {
    /// Unix ms of the last finished step; 0 = none yet.
    pub alive_at_ms: i64,
    /// Steps that failed since the last one that did not.
    pub failures: u32,
    /// Code and message of the failure, while it lasts.
    pub error: Option<String>,
}

impl Liveness {
    pub fn set(&self, name: &str, state: LoopState) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), state);
    }

    pub fn snapshot(&self) -> BTreeMap<String, LoopState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
