#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

const LOCAL: &str = r#"
name = "local"
kind = "local"
chain_id = 31337

[finality]
depth = 3
source = "a test"
date = "2026-11-21"

[layerzero]
eid = 30301
endpoint = "0x1a44076050125825900e736c501f859c50fE728c"
send_library = "0xbB2Ea70C9E858123480642Cf96acbcCE1372dCe1"
receive_library = "0xc02Ab410f0734EFa3F14628780e6e695156024C2"
source = "a test"
date = "2026-11-21"
"#;

/// The file with `from` replaced is refused, and the message names `says`.
fn refused(from: &str, to: &str, says: &str) {
    assert!(LOCAL.contains(from), "{from}");
    let error = Network::parse("local", &LOCAL.replace(from, to))
        .unwrap_err()
        .to_string();
    assert!(error.contains(says), "{error}");
}

#[test]
fn every_file_in_the_folder_is_in_the_program_and_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/networks");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut known: Vec<String> = FILES.iter().map(|(name, _)| format!("{name}.toml")).collect();
    files.sort();
    known.sort();
    assert_eq!(files, known);
    let networks = Network::all().unwrap();
    let ids: Vec<u64> = networks.iter().map(|network| network.chain_id).collect();
    assert_eq!(ids, [1, 137, 56, 42_161, 11_155_111, 80_002, 97, 421_614]);
}

#[test]
fn known_values_are_read_as_they_stand() {
    let bsc = Network::find("bsc").unwrap();
    assert_eq!(
        bsc.finality.unwrap().rule(),
        Some(Finality::Tag(FinalityTag::Finalized))
    );
    assert_eq!(bsc.layerzero.unwrap().eid, 30_102);
    assert_eq!(bsc.ccip.unwrap().selector, 11_344_663_589_394_136_015);
    // A test network repeats the Wormhole id of its main network.
    assert_eq!(bsc.wormhole.unwrap().chain_id, 4);
    let test = Network::find("bsc-testnet").unwrap();
    assert_eq!(test.wormhole.unwrap().chain_id, 4);
    // What no source gives is not there.
    assert_eq!((test.layerzero, test.finality), (None, None));
}

#[test]
fn a_wrong_file_is_refused_with_the_key() {
    assert!(Network::parse("local", LOCAL).is_ok());
    refused("chain_id = 31337", "chain_id = 31337\nchainid = 1", "chainid");
    refused("chain_id = 31337", "chain_id = 31337\nchain_id = 1", "duplicate key");
    refused("eid = 30301", "eid = 30301\nEid = 2", "Eid");
    refused("chain_id = 31337", "", "chain_id");
    refused("chain_id = 31337", "chain_id = 0", "networks.local.chain_id");
    // Lower case, one wrong digit, one missing digit.
    refused(
        "0x1a44076050125825900e736c501f859c50fE728c",
        "0x1a44076050125825900e736c501f859c50fe728c",
        "checksum",
    );
    refused(
        "0x1a44076050125825900e736c501f859c50fE728c",
        "0x2a44076050125825900e736c501f859c50fE728c",
        "checksum",
    );
    refused(
        "0x1a44076050125825900e736c501f859c50fE728c",
        "0x1a44076050125825900e736c501f859c50fE728",
        "checksum",
    );
    let zero = format!("0x{}", "0".repeat(40));
    refused(
        "0x1a44076050125825900e736c501f859c50fE728c",
        &zero,
        "layerzero.endpoint: is zero",
    );
    refused(
        "0xbB2Ea70C9E858123480642Cf96acbcCE1372dCe1",
        "0xc02Ab410f0734EFa3F14628780e6e695156024C2",
        "layerzero.send_library as well",
    );
    refused("depth = 3", "depth = 3\ntag = \"finalized\"", "either tag or depth");
    refused("depth = 3", "", "either tag or depth");
    refused(
        "depth = 3\nsource = \"a test\"",
        "depth = 3\nsource = \" \"",
        "finality.source",
    );
    refused("2026-11-21", "21 Nov 2026", "YYYY-MM-DD");
    refused("2026-11-21", "2026-13-21", "YYYY-MM-DD");
    refused("kind = \"local\"", "kind = \"moon\"", "moon");
    refused("kind = \"local\"", "kind = \"testnet\"", "layerzero.eid");
}

#[test]
fn ids_that_two_networks_share_are_refused() {
    let one = Network::parse("local", LOCAL).unwrap();
    let same = clashes(&[one.clone(), one.clone()]);
    let keys: Vec<&str> = same.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "networks.local.name",
            "networks.local.chain_id",
            "networks.local.layerzero.eid"
        ]
    );
    let mut other = one.clone();
    other.name = "other".into();
    other.chain_id = 2;
    let found = clashes(&[one, other]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].reason, "30301 is local's as well");
}

#[test]
fn an_unknown_network_is_answered_with_the_known_ones() {
    let error = Network::find("base").unwrap_err().to_string();
    assert!(error.contains("arbitrum-sepolia"), "{error}");
    assert!(matches!(Network::find("missing.toml"), Err(ConfigError::File(..))));
}
