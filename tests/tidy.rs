//! The rules of the house that no lint knows: layering, sizes, and what must not be in the tree.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 700;

/// Stages never import one another; they meet in the store.
const STAGES: &[&str] = &[
    "intake",
    "batcher",
    "router",
    "dispatcher",
    "tracker",
    "payout",
    "reconciler",
    "hub",
    "recover",
];

/// Pure, though below a stage's folder: everybody may name it, and it names nobody.
const HUB_MODEL: &str = "hub/model";

struct Source {
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn collect(folder: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        if entry.is_dir() {
            if !matches!(name.as_str(), "target" | "node_modules" | ".git" | "out" | "cache") {
                collect(&entry, extensions, found);
            }
        } else if extensions.iter().any(|extension| name.ends_with(extension)) {
            found.push(entry);
        }
    }
}

fn sources(folder: &str, extensions: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join(folder), extensions, &mut found);
    let read = |path: PathBuf| Source {
        path: path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/"),
        text: fs::read_to_string(path).unwrap(),
    };
    found.into_iter().map(read).collect()
}

/// Lines of code: comments and the strings of test tables do not import anything.
fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"))
}

fn refuse(offences: Vec<String>) {
    assert!(
        offences.is_empty(),
        "{} offence(s):\n{}",
        offences.len(),
        offences.join("\n")
    );
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let files = sources(".", &[".rs", ".sol", ".js", ".mjs", ".ts", ".py", ".proto"]);
    assert!(files.len() > 50, "the walk found only {} files", files.len());
    let long = files
        .iter()
        .map(|file| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX);
    refuse(
        long.map(|(file, lines)| format!("{}: {lines} lines, at most {LINES_MAX}", file.path))
            .collect(),
    );
}

/// (who may, what only they may name)
const ONLY: &[(&[&str], &str)] = &[
    (&["src/store/"], "sea_orm"),
    (&["src/store/"], "relayer_migrations"),
    (&["src/api/"], "relayer_proto"),
    (&["src/api/"], "tonic"),
    (&["src/api/"], "axum::"),
    (&["src/wiring.rs", "src/wiring/"], "relayer_adapter_layerzero"),
    (&["src/wiring.rs", "src/wiring/"], "relayer_adapter_ccip"),
    (&["src/clock.rs"], "SystemTime::now"),
    (&["src/chain/retry.rs"], "backoff::"),
];

#[test]
fn each_outside_thing_has_one_door() {
    let mut offences = Vec::new();
    for file in sources("src", &[".rs"]) {
        for (doors, word) in ONLY {
            if !doors.iter().any(|door| file.path.starts_with(door))
                && code_lines(&file.text).any(|line| line.contains(word))
            {
                offences.push(format!("{}: `{word}` belongs in {}", file.path, doors.join(" or ")));
            }
        }
    }
    refuse(offences);
}

/// Modules a layer may not name.
fn forbidden_for(path: &str) -> Vec<&'static str> {
    let edges = [
        "config",
        "store",
        "chain",
        "wiring",
        "api",
        "cli",
        "supervisor",
        "metrics",
        "clock",
    ];
    let above = ["wiring", "api", "cli", "supervisor", "config"];
    let within = path.strip_prefix("src/").unwrap_or("");
    let module = if within.starts_with(HUB_MODEL) {
        HUB_MODEL
    } else {
        within.split(['/', '.']).next().unwrap_or("")
    };
    match module {
        "settlement" | "ledger" | HUB_MODEL => edges
            .iter()
            .chain(STAGES)
            .copied()
            .filter(|name| *name != module)
            .collect(),
        "store" | "chain" | "config" => {
            let mut names: Vec<&str> = above
                .iter()
                .chain(STAGES)
                .copied()
                .filter(|name| *name != module)
                .collect();
            if module == "store" {
                names.push("chain");
            }
            names
        }
        stage if STAGES.contains(&stage) => above
            .iter()
            .chain(STAGES)
            .copied()
            .filter(|name| *name != stage)
            .collect(),
        "api" => vec!["wiring", "cli"],
        _ => Vec::new(),
    }
}

#[test]
fn layers_point_downwards_only() {
    let mut offences = Vec::new();
    for file in sources("src", &[".rs"]) {
        // Tests may wire more than the code they test.
        if file.path.contains("/tests") {
            continue;
        }
        for module in forbidden_for(&file.path) {
            let named = |line: &str| {
                [
                    format!("crate::{module}::"),
                    format!("crate::{module};"),
                    format!("crate::{module}}}"),
                ]
                .iter()
                .any(|use_| line.contains(use_))
                    && !line.contains("crate::hub::model")
            };
            if code_lines(&file.text).any(named) {
                offences.push(format!("{}: names crate::{module}, which is not below it", file.path));
            }
        }
    }
    refuse(offences);
}

#[test]
fn nothing_unfinished_or_private_is_in_the_tree() {
    let words = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("db", "g!("),
        concat!("FIX", "ME"),
        concat!("../sh", "ared"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
    ];
    let mut offences = Vec::new();
    for file in sources(
        ".",
        &[
            ".rs", ".sol", ".js", ".mjs", ".md", ".toml", ".py", ".sh", ".proto", ".json",
        ],
    ) {
        for word in words {
            if file.text.contains(word) {
                offences.push(format!("{}: contains `{word}`", file.path));
            }
        }
        let ignored = file.text.lines().any(|line| line.trim() == concat!("#[ig", "nore]"));
        if ignored {
            offences.push(format!("{}: an ignored test must say why", file.path));
        }
    }
    refuse(offences);
}

#[test]
fn no_third_party_protocol_file_is_committed() {
    let names = [
        "EndpointV2",
        "SendUln302",
        "ReceiveUln302",
        "DVNFeeLib",
        "OnRamp",
        "OffRamp",
        "FeeQuoter",
        "RMNRemote",
    ];
    let files = sources(".", &[".sol", ".json", ".bin"]);
    let theirs = files.iter().filter(|file| {
        let stem = Path::new(&file.path)
            .file_stem()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        names.contains(&stem.as_str())
    });
    refuse(
        theirs
            .map(|file| format!("{}: looks like third-party protocol code", file.path))
            .collect(),
    );
}

/// Crates of bridges, as Rust names them.
fn bridges() -> Vec<String> {
    let folders = fs::read_dir(root().join("adapters")).unwrap();
    let names = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name != "api")
        .map(|name| format!("relayer_adapter_{}", name.replace('-', "_")))
        .collect()
}

#[test]
fn a_bridge_is_known_to_its_crate_and_the_wiring_only() {
    let bridges = bridges();
    assert!(
        bridges.iter().any(|bridge| bridge == "relayer_adapter_toy"),
        "{bridges:?}"
    );
    let mut offences = Vec::new();
    for file in sources("src", &[".rs"]) {
        let wiring = file.path == "src/wiring.rs" || file.path.starts_with("src/wiring/");
        for bridge in &bridges {
            let named = code_lines(&file.text).any(|line| line.contains(bridge.as_str()));
            // The toy exists in tests only, so that nothing in the product can lean on it.
            let allowed = match bridge.as_str() {
                "relayer_adapter_toy" => file.path.ends_with("_tests.rs"),
                _ => wiring,
            };
            if named && !allowed {
                offences.push(format!("{}: names {bridge}", file.path));
            }
        }
    }
    for file in sources("adapters", &[".rs", "Cargo.toml"]) {
        let own = file.path.split('/').nth(1).unwrap_or_default().replace('-', "_");
        for bridge in bridges.iter().filter(|bridge| !bridge.ends_with(&format!("_{own}"))) {
            let package = bridge.replace('_', "-");
            if file.text.contains(bridge.as_str()) || file.text.contains(&package) {
                offences.push(format!(
                    "{}: bridges do not know one another, and this one names {bridge}",
                    file.path
                ));
            }
        }
    }
    refuse(offences);
}
