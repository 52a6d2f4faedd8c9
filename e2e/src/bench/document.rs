//! The part of docs/benchmarks.md that a run writes: everything between two markers.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

pub const BEGIN: &str = "<!-- measured: cargo xtask bench --write -->";
pub const END: &str = "<!-- end: measured -->";

pub fn path() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.join("../docs/benchmarks.md")
}

/// `text` with what stands between the markers replaced.
pub fn replace(text: &str, measured: &str) -> Result<String> {
    let start = text.find(BEGIN).with_context(|| format!("no marker {BEGIN}"))? + BEGIN.len();
    let stop = text.find(END).with_context(|| format!("no marker {END}"))?;
    anyhow::ensure!(start <= stop, "the markers are in the wrong order");
    Ok(format!(
        "{}\n\n{}\n\n{}",
        &text[..start],
        measured.trim(),
        &text[stop..]
    ))
}

pub fn write(measured: &str) -> Result<()> {
    let path = path();
    let name = "docs/benchmarks.md";
    let text = std::fs::read_to_string(&path).with_context(|| format!("could not read {name}"))?;
    let text = replace(&text, measured).with_context(|| name.to_owned())?;
    std::fs::write(&path, text).with_context(|| format!("could not write {name}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn only_what_stands_between_the_markers_changes() {
        let text = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let once = replace(&text, "new\n").unwrap();
        assert_eq!(once, format!("before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"));
        assert_eq!(replace(&once, "new").unwrap(), once, "writing twice changes nothing");
    }

    #[test]
    fn a_document_without_markers_is_refused() {
        assert!(replace("text", "new").is_err());
        assert!(replace(&format!("{END} {BEGIN}"), "new").is_err());
    }

    #[test]
    fn the_committed_document_has_the_markers() {
        let text = std::fs::read_to_string(path()).unwrap();
        assert!(replace(&text, "new").is_ok());
    }
}
