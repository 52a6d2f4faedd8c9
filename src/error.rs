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

/// A step of a loop panicked.
pub const PANIC: ErrorCode = ErrorCode {
    code: "RLY-INTERNAL-001",
    title: "A step panicked",
    meaning: "A loop met something its code holds impossible.",
    relayer: "Logs it, pauses and tries the step again; everything else goes on.",
    you: "Report it with the log around it.",
};

const OWN: &[ErrorCode] = &[PANIC];

/// The codes of all modules, sorted. docs/errors.md is generated from it.
pub fn registry() -> Vec<ErrorCode> {
    let modules: &[&[ErrorCode]] = &[
        OWN,
        crate::api::error::CODES,
        crate::batcher::CODES,
        crate::chain::CODES,
        crate::cli::CODES,
        crate::config::CODES,
        crate::dispatcher::CODES,
        crate::hub::ledger::CODES,
        crate::hub::model::CODES,
        crate::hub::RELAY_CODES,
        crate::hub::observer::CODES,
        crate::intake::CODES,
        crate::intake::allotment::CODES,
        crate::payout::CODES,
        crate::reconciler::CODES,
        crate::recover::CODES,
        crate::router::CODES,
        crate::sampler::CODES,
        crate::tracker::CODES,
        crate::wiring::CODES,
    ];
    let mut codes: Vec<ErrorCode> = modules.iter().flat_map(|codes| codes.iter().copied()).collect();
    codes.sort_by_key(|code| code.code);
    codes
}

/// The page of a code, if it is one of ours.
pub fn find(code: &str) -> Option<ErrorCode> {
    registry().into_iter().find(|known| known.code == code)
}

/// docs/errors.md.
pub fn page() -> String {
    let mut page = String::from(
        "# Errors\n\nEvery refusal and every failure a user can meet has a stable code: in gRPC as `google.rpc.ErrorInfo.reason` (domain \
         `relayer`), in REST as `code` of the problem JSON, on the command line before the message. Generated from the code by \
         `relayer docs errors`; a test fails when this file and the code differ.\n",
    );
    for code in registry() {
        page.push_str(&format!(
            "\n## {}: {}\n\n{}\n\n* **The relayer:** {}\n* **You:** {}\n",
            code.code, code.title, code.meaning, code.relayer, code.you
        ));
    }
    page
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::path::Path;

    #[test]
    fn codes_are_unique_well_formed_and_explained() {
        let codes = registry();
        for pair in codes.windows(2) {
            assert_ne!(pair[0].code, pair[1].code);
        }
        for code in codes {
            let parts: Vec<_> = code.code.split('-').collect();
            assert!(
                parts.len() == 3 && parts[0] == "RLY" && parts[2].len() == 3,
                "{}",
                code.code
            );
            for text in [code.title, code.meaning, code.relayer, code.you] {
                assert!(!text.is_empty(), "{}", code.code);
            }
        }
    }

    /// `UPDATE_DOCS=1 cargo nextest run --workspace errors_page` rewrites the file.
    #[test]
    fn the_errors_page_is_the_registry() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, page()).unwrap();
        }
        assert!(
            std::fs::read_to_string(&path).unwrap() == page(),
            "run with UPDATE_DOCS=1 to rewrite docs/errors.md"
        );
    }
}
