//! The command line as an operator and a tester use it: doctor, quote, submit, status, list, explain, cancel, receipts, configuration.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy::primitives::U256;
use relayer_e2e::demo::SAMPLE_KEY;
use relayer_e2e::harness::{PATIENCE, World, fresh_payee};
use relayer_e2e::relayer_process::built;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn relayer(world: &World, args: &[&str]) -> Output {
    let config = world.devnet.options.dir.join("relayer.toml");
    Command::new(built("relayer").unwrap())
        .arg("--config")
        .arg(config)
        .args(["--server", &world.relayer.grpc_url()])
        .args(args)
        .env("PAYER_KEY", world.coordinator.payer.to_bytes().to_string())
        .output()
        .unwrap()
}

/// Runs a command that must succeed and print JSON.
fn json(world: &World, args: &[&str]) -> Value {
    let args = [args, &["--json"]].concat();
    let output = relayer(world, &args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{args:?}: {error}: {}", String::from_utf8_lossy(&output.stdout)))
}

fn text(world: &World, args: &[&str]) -> String {
    let output = relayer(world, args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_command_line_tells_the_truth_from_doctor_to_settled() {
    let world = World::start(&|_, relayer| relayer.coordinators[0].1.push(SAMPLE_KEY.into()))
        .await
        .unwrap();

    // Everything is wired; a devnet has warnings, no failures.
    let doctor = text(&world, &["doctor"]);
    assert!(doctor.contains(" 0 failed"), "{doctor}");
    let chains = [
        world.devnet.source.anvil.chain.to_string(),
        world.devnet.target.anvil.chain.to_string(),
    ];
    let quote = text(
        &world,
        &["quote", "--source-chain", &chains[0], "--target-chain", &chains[1]],
    );
    assert!(quote.contains("layerzero") && quote.contains("layerzero-b"), "{quote}");

    // The published AITBC receipt: verified on its own, then settled.
    let receipt = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/aitbc/sample_receipt.json");
    let receipt = receipt.to_str().unwrap();
    let verdict = json(&world, &["receipt", "verify", "--key", SAMPLE_KEY, receipt]);
    assert_eq!(verdict["valid"], true, "{verdict}");
    assert_eq!(
        verdict["receipt_hash"],
        "195326a790912e675caeb4e207d9a093b495474b37911d26f1476115450fa6f3"
    );
    let unpinned = json(&world, &["receipt", "verify", receipt]);
    assert_eq!(
        unpinned["valid"], false,
        "a key nobody pinned proves nothing: {unpinned}"
    );

    let payee = fresh_payee("command line").unwrap();
    let amount = (world.coordinator.unit * U256::from(42) / U256::from(10)).to_string();
    let submit = |nonce: &str| {
        json(
            &world,
            &[
                "submit",
                "--coordinator",
                "market",
                "--receipt",
                receipt,
                "--source-chain",
                &chains[0],
                "--target-chain",
                &chains[1],
                "--inbox",
                &world.devnet.target.inbox.to_string(),
                "--payer",
                &world.coordinator.payer.address().to_string(),
                "--payee",
                &payee.to_string(),
                "--token",
                &world.devnet.target.token.to_string(),
                "--amount",
                &amount,
                "--nonce",
                nonce,
                "--deadline",
                "+30000",
                "--payer-key-env",
                "PAYER_KEY",
            ],
        )
    };
    let accepted = submit("77");
    let id = accepted["settlement_id"].as_str().unwrap().to_owned();
    world
        .wait_states(&[id.parse().unwrap()], &["settled"], PATIENCE)
        .await
        .unwrap();
    assert!(text(&world, &["status", &id]).contains("settled"));
    assert!(text(&world, &["list"]).contains("settled"));
    let story = text(&world, &["explain", &id]);
    for step in ["accepted", "layerzero", "settled"] {
        assert!(story.contains(step), "explain does not tell of {step}:\n{story}");
    }
    assert_eq!(
        world.balance(&world.devnet.target, payee).await.unwrap().to_string(),
        amount
    );

    // Refusals: exit code, code and hint on standard error.
    let broken = world.devnet.options.dir.join("broken.json");
    std::fs::write(&broken, b"{ not json").unwrap();
    let refused = relayer(&world, &["submit", broken.to_str().unwrap()]);
    assert!(!refused.status.success());
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("RLY-"),
        "{}",
        String::from_utf8_lossy(&refused.stderr)
    );
    let missing = relayer(&world, &["status", &format!("0x{}", "0".repeat(64))]);
    assert_eq!(missing.status.code(), Some(4));

    // The configuration is judged, and secrets are not shown.
    let shown = text(&world, &["config", "check"]);
    let key = world.devnet.accounts.relayer.to_bytes().to_string();
    assert!(
        !shown.contains(key.trim_start_matches("0x")),
        "a private key was printed"
    );
    let bad = world.devnet.options.dir.join("bad.toml");
    std::fs::write(&bad, "[batcher]\ncuont_max = 3\n").unwrap();
    let output = relayer(&world, &["config", "check", bad.to_str().unwrap()]);
    assert!(!output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("cuont_max")
            || String::from_utf8_lossy(&output.stdout).contains("cuont_max")
    );
}
