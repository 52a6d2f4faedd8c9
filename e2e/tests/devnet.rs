//! The devnet program as a user starts it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use relayer_e2e::devnet::DevnetFile;
use relayer_e2e::relayer_process::built;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Starts `devnet --json` and reads the line it prints when ready.
fn start(dir: &std::path::Path, args: &[&str]) -> (Child, DevnetFile) {
    let mut child = Command::new(built("devnet").unwrap())
        .arg("--json")
        .arg("--dir")
        .arg(dir)
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    (child, serde_json::from_str(&line).expect("devnet.json on one line"))
}

fn answers(url: &str) -> bool {
    TcpStream::connect(url.trim_start_matches("http://")).is_ok()
}

#[test]
fn killing_the_devnet_without_mercy_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, file) = start(folder.path(), &["--no-relayer", "--ccip", "none"]);
    let urls: Vec<&str> = file.chains.iter().map(|chain| chain.rpc.as_str()).collect();
    assert_eq!(urls.len(), 2);
    assert!(urls.iter().all(|url| answers(url)) && answers(&file.control));
    for name in ["devnet.json", "relayer.toml"] {
        assert!(folder.path().join(name).exists(), "{name}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while urls.iter().any(|url| answers(url)) {
        assert!(Instant::now() < until, "a chain outlived the devnet");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_relayer_configuration_it_writes_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    let roles = r#"{"dvn": false, "ccip": {"commits": false}}"#;
    let (mut child, file) = start(folder.path(), &["--no-relayer", "--roles", roles]);
    for chain in &file.chains {
        let bridges: Vec<&str> = chain.ports.keys().map(String::as_str).collect();
        assert_eq!(bridges, ["ccip", "layerzero", "layerzero-b", "wormhole"]);
    }
    let config = folder.path().join("relayer.toml");
    let written = std::fs::read_to_string(&config).unwrap();
    for protocol in ["layerzero", "ccip", "wormhole"] {
        assert!(written.contains(&format!("protocol = \"{protocol}\"")), "{protocol}");
    }
    let checked = Command::new(built("relayer").unwrap())
        .arg("--config")
        .arg(&config)
        .args(["config", "check"])
        .output()
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
