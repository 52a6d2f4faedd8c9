//! The parts of docs/benchmarks.md that a run writes: everything between two markers each.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

pub const BEGIN: &str = "<!-- measured: cargo xtask bench --write -->";
/// Of the bridges' own part, which a run of theirs alone leaves the others as they are.
pub const BRIDGES_BEGIN: &str = "<!-- measured: cargo xtask bench --only bridges --write -->";
/// Of the hub's part.
pub const HUB_BEGIN: &str = "<!-- measured: cargo xtask bench --only hub --write -->";
pub const END: &str = "<!-- end: measured -->";

pub fn path() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.join("../docs/benchmarks.md")
}

/// `text` with what stands between this marker and the next [`END`] replaced.
pub fn replace(text: &str, begin: &str, measured: &str) -> Result<String> {
    let start = text.find(begin).with_context(|| format!("no marker {begin}"))? + begin.len();
    let end = text[start..]
        .find(END)
        .with_context(|| format!("no marker {END} after {begin}"))?;
    let stop = start + end;
    Ok(format!(
        "{}\n\n{}\n\n{}",
        &text[..start],
        measured.trim(),
        &text[stop..]
    ))
}

pub fn write(begin: &str, measured: &str) -> Result<()> {
    let path = path();
    let name = "docs/benchmarks.md";
    let text = std::fs::read_to_string(&path).with_context(|| format!("could not read {name}"))?;
    let text = replace(&text, begin, measured).with_context(|| name.to_owned())?;
    std::fs::write(&path, text).with_context(|| format!("could not write {name}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn only_what_stands_between_the_markers_changes() {
        let text = format!("before\n{BEGIN}\nold\n{END}\nbetween\n{BRIDGES_BEGIN}\nold\n{END}\nafter\n");
        let once = replace(&text, BEGIN, "new\n").unwrap();
        let rest = format!("between\n{BRIDGES_BEGIN}\nold\n{END}\nafter\n");
        assert_eq!(once, format!("before\n{BEGIN}\n\nnew\n\n{END}\n{rest}"));
        assert_eq!(
            replace(&once, BEGIN, "new").unwrap(),
            once,
            "writing twice changes nothing"
        );
        let other = replace(&text, BRIDGES_BEGIN, "new").unwrap();
        assert!(other.starts_with(&format!("before\n{BEGIN}\nold\n{END}\nbetween\n")));
        assert!(other.ends_with(&format!("{BRIDGES_BEGIN}\n\nnew\n\n{END}\nafter\n")));
    }

    #[test]
    fn a_document_without_markers_is_refused() {
        assert!(replace("text", BEGIN, "new").is_err());
        assert!(replace(&format!("{END} {BEGIN}"), BEGIN, "new").is_err());
    }

    #[test]
    fn the_committed_document_has_the_markers() {
        let text = std::fs::read_to_string(path()).unwrap();
        for begin in [BEGIN, BRIDGES_BEGIN, HUB_BEGIN] {
            assert!(replace(&text, begin, "new").is_ok());
        }
    }
}
