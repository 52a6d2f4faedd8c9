//! Stable error codes. Every error a user can meet has one; its page is generated into docs/errors.md from here.

use relayer_adapter_api::Class;

/// One code and what its page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode {
    /// `RLY-AREA-NNN`
    pub code: &'static str,
    pub title: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What the relayer does about it.
    pub relayer: &'static str,
    /// What you do about it.
    pub you: &'static str,
}

/// An error with a code and a class. Implemented by every module's error enum.
pub trait Coded: std::error::Error + Send + Sync + 'static {
    fn code(&self) -> ErrorCode;
    fn class(&self) -> Class;
}

impl<E: Coded> From<E> for Box<dyn Coded> {
    fn from(error: E) -> Self {
        Box::new(error)
    }
}
