//! Generated parts of the documentation must equal what the code says. `UPDATE_DOCS=1` writes them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use relayer::settlement::states::{
    DispatchSource, DispatchTarget, ExecutionState, MessageState, SettlementState, TxState,
};
use relayer::settlement::transitions::Machine;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// A Mermaid state diagram of one machine.
fn diagram<M: Machine>() -> String {
    let mut text = format!(
        "#### {}\n\n```mermaid\nstateDiagram-v2\n    [*] --> {}\n",
        M::NAME,
        M::INITIAL
    );
    for (from, event, to) in M::TABLE {
        writeln!(text, "    {from} --> {to} : {event}").unwrap();
    }
    text.push_str("```\n");
    text
}

fn diagrams() -> String {
    [
        diagram::<SettlementState>(),
        diagram::<MessageState>(),
        diagram::<DispatchSource>(),
        diagram::<DispatchTarget>(),
        diagram::<ExecutionState>(),
        diagram::<TxState>(),
    ]
    .join("\n")
}

/// Compares what stands between two markers of a file with `expected`.
fn check_section(file: &str, marker: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = (
        format!("<!-- generated: {marker} -->\n"),
        format!("<!-- end: {marker} -->"),
    );
    let start = text
        .find(&begin)
        .unwrap_or_else(|| panic!("{file} has no marker {begin:?}"))
        + begin.len();
    let stop = text
        .find(&end)
        .unwrap_or_else(|| panic!("{file} has no marker {end:?}"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{}\n{expected}\n{}", &text[..start], &text[stop..])).unwrap();
        return;
    }
    assert_eq!(
        text[start..stop].trim(),
        expected.trim(),
        "{file} is out of date: run with UPDATE_DOCS=1"
    );
}

#[test]
fn state_diagrams_are_those_of_the_tables() {
    check_section("ARCHITECTURE.md", "state diagrams", &diagrams());
}

#[test]
fn the_guide_to_a_new_bridge_names_every_method_of_the_trait_and_every_file_it_points_to() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let code = fs::read_to_string(root.join("adapters/api/src/adapter.rs")).unwrap();
    let body = code.split_once("pub trait BridgeAdapter").unwrap().1;
    let methods: Vec<&str> = body
        .split("fn ")
        .skip(1)
        .map(|rest| rest.split('(').next().unwrap())
        .collect();
    let guide = fs::read_to_string(root.join("docs/adding-a-bridge.md")).unwrap();
    let rows = guide
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let named: Vec<&str> = rows.map(|(name, _)| name).collect();
    assert!(methods.len() >= 7, "{methods:?}");
    assert_eq!(named, methods, "docs/adding-a-bridge.md");
    let quoted = guide.split('`').skip(1).step_by(2);
    let paths: Vec<&str> = quoted
        .filter(|text| text.contains('/') && !text.contains(['*', ' ']) && !text.contains("NAME"))
        .collect();
    assert!(paths.len() >= 5, "{paths:?}");
    for path in paths {
        assert!(
            root.join(path).exists(),
            "docs/adding-a-bridge.md names {path}, which is not there"
        );
    }
}
