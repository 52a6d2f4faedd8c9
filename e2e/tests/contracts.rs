//! `cargo xtask contracts deploy|wire|show`: idempotent, and what only an owner may do is printed for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use relayer_e2e::devnet::{Chain, Devnet, Options, key};
use relayer_e2e::relayer_process::built;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

fn plan(devnet: &Devnet, state: &str, admin: &str) -> String {
    let mut text = format!("state = \"{state}\"\n");
    let chain = |text: &mut String, chain: &Chain| {
        let (id, lz) = (chain.anvil.chain, &chain.layerzero);
        write!(
            text,
            "[chains.{id}]\nrpc = \"{}\"\ndeployer_key_env = \"DEPLOYER_KEY\"\nadmin = \"{admin}\"\nguardian = \"{}\"\nexit_delay = 86400\n\
             claim_window = 86400\nport_delay = 604800\ndispatchers = [\"{}\"]\n[[chains.{id}.tokens]]\naddress = \"{}\"\ndecimals = 18\n\
             limit1 = \"1000000000000000000000\"\nlimit2 = \"2000000000000000000000\"\nquorum1 = 1\nquorum2 = 2\nquorum3 = 0\n\
             [chains.{id}.layerzero.layerzero]\neid = {}\nendpoint = \"{}\"\nsend_library = \"{}\"\nreceive_library = \"{}\"\nexecutor = \"{}\"\n\
             max_message_size = 10000\nconfirmations = 2\nverifiers = [\"{}\"]\n",
            chain.anvil.url,
            devnet.accounts.guardian.address(),
            devnet.accounts.relayer.address(),
            chain.token,
            lz.eid,
            lz.endpoint,
            lz.send_library,
            lz.receive_library,
            lz.executor,
            lz.dvn,
        )
        .unwrap();
    };
    chain(&mut text, &devnet.source);
    chain(&mut text, &devnet.target);
    text
}

/// Runs the program with the devnet admin's key; standard output as JSON.
fn contracts(devnet: &Devnet, command: &str, file: &Path) -> Value {
    let output = Command::new(built("contracts").unwrap())
        .args([command, "--json", "--file"])
        .arg(file)
        .env("DEPLOYER_KEY", devnet.accounts.admin.to_bytes().to_string())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn outcomes(steps: &Value) -> Vec<String> {
    let name = |done: &Value| {
        done.as_str().map_or_else(
            || done.as_object().unwrap().keys().next().unwrap().clone(),
            str::to_owned,
        )
    };
    steps
        .as_array()
        .unwrap()
        .iter()
        .map(|step| name(&step["done"]))
        .collect()
}

#[tokio::test]
async fn deploying_and_wiring_twice_changes_nothing_and_owners_get_their_calldata() {
    let folder = tempfile::tempdir().unwrap();
    let devnet = Devnet::start(Options::new(folder.path())).await.unwrap();

    // The key is the owner: everything is done, and the second time nothing is.
    let own = folder.path().join("own.toml");
    std::fs::write(
        &own,
        plan(&devnet, "own.json", &devnet.accounts.admin.address().to_string()),
    )
    .unwrap();
    let first = contracts(&devnet, "deploy", &own);
    assert_eq!(
        contracts(&devnet, "deploy", &own),
        first,
        "a second deploy must find the first"
    );
    let steps = outcomes(&contracts(&devnet, "wire", &own));
    assert!(steps.iter().all(|done| done == "sent"), "{steps:?}");
    let again = outcomes(&contracts(&devnet, "wire", &own));
    assert_eq!(
        again.len(),
        steps.len() - 2,
        "a port is proposed once per chain: {again:?}"
    );
    assert!(again.iter().all(|done| done == "already"), "{again:?}");
    assert!(
        contracts(&devnet, "show", &own)
            .to_string()
            .contains("frozen=true active=true")
    );

    // Somebody else is: calldata instead of transactions.
    let theirs = folder.path().join("theirs.toml");
    std::fs::write(
        &theirs,
        plan(&devnet, "theirs.json", &key("multisig").unwrap().address().to_string()),
    )
    .unwrap();
    contracts(&devnet, "deploy", &theirs);
    let steps = outcomes(&contracts(&devnet, "wire", &theirs));
    assert!(
        steps.iter().all(|done| done == "owner_must" || done == "not_before"),
        "{steps:?}"
    );
    assert!(steps.iter().any(|done| done == "owner_must"));
}
