//! What adapters make of reverts, beside the words of their own protocol.

use crate::{AdapterError, Class, ViewError};
use std::fmt::Debug;

/// `Name(Name { fields })` without the outer repetition.
pub fn bare(error: &impl Debug) -> String {
    let text = format!("{error:?}");
    match text.split_once('(') {
        Some((_, inner)) => inner.strip_suffix(')').unwrap_or(inner).to_owned(),
        None => text,
    }
}

/// Names a revert in the protocol's words; other trouble of the view passes as it is.
pub fn named(attempted: &'static str, source: ViewError, explain: fn(&[u8]) -> (String, Class)) -> AdapterError {
    match source {
        ViewError::Reverted { data } => {
            let (reason, class) = explain(&data);
            AdapterError::Protocol {
                attempted,
                reason,
                class,
            }
        }
        source => AdapterError::View { attempted, source },
    }
}
