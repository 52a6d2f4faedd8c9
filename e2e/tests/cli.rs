//! The command line as an operator and a tester use it: doctor, quote, submit, status, list, explain, cancel, receipts, configuration.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy::primitives::U256;
use relayer_e2e::demo::SAMPLE_KEY;
use relayer_e2e::harness::{PATIENCE, World, fresh_payee};
use relayer_e2e::relayer_process::built;
use relayer_proto::v1;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

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

/// A group from a file with its signature, and from standard input with a key: each item its own answer, and only what was accepted is paid.
async fn groups(world: &World) {
    let deadline = world.deadline().await.unwrap();
    let c = &world.coordinator;
    let payee = fresh_payee("command line group").unwrap();
    let member = |quarters: u64| {
        let job = c.job("provider", quarters);
        let fields = c.terms(&job, payee, c.amount(quarters), deadline);
        (job, fields)
    };
    let mut members: Vec<_> = (1..=4).map(member).collect();
    // Above its receipt.
    members[2].1.amount += U256::ONE;
    let group = c.group(members).unwrap();
    let written = |name: &str, request: &v1::SubmitGroupRequest| {
        let items = request.items.iter().map(|item| {
            let receipts = item.receipts.iter().map(|raw| std::str::from_utf8(raw).unwrap());
            json!({ "terms": item.terms, "receipts": receipts.collect::<Vec<_>>() })
        });
        let body = json!({ "coordinator": "market", "auth": request.auth, "items": items.collect::<Vec<_>>() });
        let file = world.devnet.options.dir.join(name);
        std::fs::write(&file, body.to_string()).unwrap();
        file
    };
    let file = written("group.json", &group.request);
    let submit = ["submit", "--json", "--group", file.to_str().unwrap()];
    let mut ids = Vec::new();
    for again in [false, true] {
        let output = relayer(world, &submit);
        assert_eq!(output.status.code(), Some(1), "one of them was refused");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["group_root"], group.root.to_string());
        assert_eq!(
            (&answer["accepted"], &answer["refused"]),
            (&json!(3), &json!(1)),
            "{answer}"
        );
        let refused = &answer["results"][2]["refused"];
        assert!(refused["code"].as_str().unwrap().starts_with("RLY-INTAKE-"), "{answer}");
        assert!(!refused["hint"].as_str().unwrap().is_empty());
        ids.clear();
        for item in [0, 1, 3] {
            let accepted = &answer["results"][item]["accepted"];
            assert_eq!(accepted["duplicate"], again, "{answer}");
            ids.push(accepted["settlement_id"].as_str().unwrap().parse().unwrap());
        }
    }
    let table = relayer(world, &["submit", "--group", file.to_str().unwrap()]).stdout;
    let table = String::from_utf8(table).unwrap();
    assert!(
        table.contains("accepted before") && table.contains("RLY-INTAKE-"),
        "{table}"
    );

    // Another signature changes nothing about what was accepted, and refuses a new group as a whole.
    let other = format!("0x{}", "11".repeat(65));
    let foreign = relayer(world, &[&submit[..], &["--auth", &other]].concat());
    assert_eq!(foreign.status.code(), Some(1));
    let answer: Value = serde_json::from_slice(&foreign.stdout).unwrap();
    assert_eq!(
        (&answer["accepted"], &answer["refused"]),
        (&json!(3), &json!(1)),
        "{answer}"
    );
    let new = c.group([8, 9].map(member).into()).unwrap();
    let new = written("new.json", &new.request);
    let foreign = relayer(
        world,
        &["submit", "--json", "--group", new.to_str().unwrap(), "--auth", &other],
    );
    assert_eq!(foreign.status.code(), Some(1));
    assert!(
        foreign.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&foreign.stdout)
    );
    assert!(String::from_utf8_lossy(&foreign.stderr).contains("RLY-INTAKE-"));

    // Unsigned items, in any order, from standard input.
    let mut unsigned: Vec<Value> = [5, 6, 7].map(member).iter().map(|(job, fields)| {
        let raw = std::str::from_utf8(&job.receipt).unwrap();
        json!({
            "terms": {
                "source_chain": fields.source_chain.0, "target_chain": c.target.0, "inbox": c.inbox, "payer": fields.payer,
                "payee": fields.payee, "token": fields.token, "amount": fields.amount.to_string(), "nonce": fields.nonce.to_string(),
                "deadline": fields.deadline,
            },
            "receipts": [raw],
        })
    }).collect();
    unsigned.reverse();
    let config = world.devnet.options.dir.join("relayer.toml");
    let mut child = Command::new(built("relayer").unwrap())
        .arg("--config")
        .arg(config)
        .args([
            "--server",
            &world.relayer.grpc_url(),
            "--json",
            "submit",
            "--group",
            "-",
        ])
        .args(["--coordinator", "market", "--payer-key-env", "PAYER_KEY"])
        .env("PAYER_KEY", c.payer.to_bytes().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let body = json!({ "items": unsigned }).to_string();
    child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    for result in answer["results"].as_array().unwrap() {
        ids.push(result["accepted"]["settlement_id"].as_str().unwrap().parse().unwrap());
    }
    assert_eq!(ids.len(), 6);
    world.wait_states(&ids, &["settled"], PATIENCE).await.unwrap();
    let paid = world.balance(&world.devnet.target, payee).await.unwrap();
    assert_eq!(
        paid,
        [1, 2, 4, 5, 6, 7]
            .map(|quarters| c.amount(quarters))
            .iter()
            .sum::<U256>()
    );
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

    groups(&world).await;

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
