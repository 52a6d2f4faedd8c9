//! Who is asking: bearer tokens of coordinators. A coordinator without a token is open to whoever reaches the listener, which
//! configuration then confines to loopback.

use super::error::{ApiError, COORDINATOR, Kind, TOKEN};
use crate::config::{ConfigError, CoordinatorConfig};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Tokens by coordinator. Only hashes are kept: comparing them takes the same time whatever the token.
#[derive(Debug, Clone, Default)]
pub struct Auth {
    coordinators: BTreeMap<String, Option<[u8; 32]>>,
}

/// What a request may act as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Showed this coordinator's token.
    Coordinator(String),
    /// Showed no token.
    Anonymous,
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl Auth {
    pub fn from_config(coordinators: &BTreeMap<String, CoordinatorConfig>) -> Result<Self, ConfigError> {
        let mut auth = Self::default();
        for (id, coordinator) in coordinators {
            let token = match &coordinator.token {
                Some(secret) => Some(digest(&secret.resolve(&format!("coordinators.{id}.token"))?)),
                None => None,
            };
            auth.coordinators.insert(id.clone(), token);
        }
        Ok(auth)
    }

    /// Reads an `authorization` header.
    pub fn caller(&self, header: Option<&str>) -> Result<Caller, ApiError> {
        let Some(header) = header else {
            return Ok(Caller::Anonymous);
        };
        let refused = |reason: &str| ApiError::new(Kind::Unauthenticated, TOKEN, reason);
        let (scheme, token) = header.split_once(' ').unwrap_or(("", header));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(refused("authorization must be `Bearer <token>`"));
        }
        let presented = digest(token.trim());
        let owner = self.coordinators.iter().find(|(_, token)| **token == Some(presented));
        match owner {
            Some((id, _)) => Ok(Caller::Coordinator(id.clone())),
            None => Err(refused("unknown bearer token")),
        }
    }

    /// The coordinator a caller acts as when it names `requested` (may be empty with a token).
    pub fn act_as(&self, caller: &Caller, requested: &str) -> Result<String, ApiError> {
        match caller {
            Caller::Coordinator(id) if requested.is_empty() || requested == id => Ok(id.clone()),
            Caller::Coordinator(id) => Err(ApiError::new(
                Kind::PermissionDenied,
                COORDINATOR,
                format!("this token belongs to {id}, not to {requested}"),
            )),
            Caller::Anonymous if requested.is_empty() => {
                Err(ApiError::field("coordinator", "is empty and no bearer token names one"))
            }
            Caller::Anonymous => match self.coordinators.get(requested) {
                Some(None) => Ok(requested.to_owned()),
                Some(Some(_)) => Err(ApiError::new(
                    Kind::Unauthenticated,
                    TOKEN,
                    format!("coordinator {requested} needs its bearer token"),
                )),
                None => Err(ApiError::new(
                    Kind::PermissionDenied,
                    COORDINATOR,
                    format!("coordinator {requested} is not configured"),
                )),
            },
        }
    }

    /// Whether a caller may see what belongs to `owner`.
    pub fn may_see(&self, caller: &Caller, owner: &str) -> bool {
        match caller {
            Caller::Coordinator(id) => id == owner,
            // Settlements of coordinators that left the configuration stay visible where nobody has a token.
            Caller::Anonymous => match self.coordinators.get(owner) {
                Some(token) => token.is_none(),
                None => self.open(),
            },
        }
    }

    /// True when no coordinator has a token.
    pub fn open(&self) -> bool {
        self.coordinators.values().all(Option::is_none)
    }
}
