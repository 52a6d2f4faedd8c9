//! A network's file against the real contracts, and a rehearsal in which nothing leaves the process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy::providers::Provider;
use relayer_e2e::harness::{PATIENCE, World, error_code, fresh_payee};
use relayer_e2e::relayer_process::{RelayerProcess, built};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The devnet's source chain as a network's file would describe it.
fn file(world: &World) -> String {
    let chain = &world.devnet.source;
    let it = &chain.layerzero;
    format!(
        "name = \"devnet\"\nkind = \"local\"\nchain_id = {}\n\n[layerzero]\neid = {}\nendpoint = \"{}\"\nsend_library = \"{}\"\n\
         receive_library = \"{}\"\nsource = \"this devnet\"\ndate = \"2026-11-21\"\n",
        chain.anvil.chain, it.eid, it.endpoint, it.send_library, it.receive_library
    )
}

/// What `doctor --network` says about this file: exit code and the checks that are not ok.
fn doctor(world: &World, text: &str) -> (Option<i32>, Value, Vec<(String, String)>) {
    let path = world.devnet.options.dir.join("network.toml");
    std::fs::write(&path, text).unwrap();
    let output = Command::new(built("relayer").unwrap())
        .arg("--config")
        .arg(world.devnet.options.dir.join("relayer.toml"))
        .args(["doctor", "--json", "--network", path.to_str().unwrap()])
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let checks = report["checks"].as_array().unwrap();
    let told = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
    let bad = checks.iter().filter(|check| check["status"] != "ok");
    let bad = bad
        .inspect(|check| assert!(!told(check, "todo").is_empty(), "{check}"))
        .map(|check| (told(check, "what"), told(check, "status")))
        .collect();
    (output.status.code(), report, bad)
}

#[tokio::test]
async fn doctor_confirms_right_values_on_real_contracts_and_finds_each_wrong_one() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::prepare(folder.path(), &|_, _| {}).await.unwrap();
    let right = file(&world);
    let (code, report, bad) = doctor(&world, &right);
    assert_eq!(code, Some(0), "{report}");
    let absent = |what: &str| (what.to_owned(), "warn".to_owned());
    assert_eq!(
        bad,
        [absent("finality"), absent("CCIP"), absent("Wormhole")],
        "{report}"
    );
    let found = report.to_string();
    for what in ["LayerZero eid", "LayerZero send library", "LayerZero receive library"] {
        assert!(found.contains(what), "{what} was not asked: {report}");
    }

    let it = &world.devnet.source.layerzero;
    let swap = |from: String, to: String| right.replace(&from, &to);
    let both = right
        .replace(&it.send_library.to_string(), "SEND")
        .replace(&it.receive_library.to_string(), &it.send_library.to_string())
        .replace("SEND", &it.receive_library.to_string());
    let nobody = world.devnet.accounts.payee.address().to_string();
    for (what, wrong) in [
        (
            "LayerZero eid",
            swap(format!("eid = {}", it.eid), format!("eid = {}", it.eid + 1)),
        ),
        ("LayerZero endpoint", swap(it.endpoint.to_string(), nobody.clone())),
        // A contract of LayerZero, but another one.
        ("LayerZero eid", swap(it.endpoint.to_string(), it.dvn.to_string())),
        ("LayerZero send library", swap(it.send_library.to_string(), nobody)),
        (
            "LayerZero send library",
            swap(it.send_library.to_string(), it.executor.to_string()),
        ),
        ("LayerZero receive library", both),
    ] {
        let (code, report, bad) = doctor(&world, &wrong);
        assert_eq!(code, Some(1), "{what}: {report}");
        assert!(bad.contains(&(what.to_owned(), "fail".to_owned())), "{what}: {report}");
    }

    // A chain nobody configured, and one whose endpoint serves another chain.
    let chain = world.devnet.source.anvil.chain;
    let (code, report, bad) = doctor(&world, &swap(format!("chain_id = {chain}"), "chain_id = 77".into()));
    assert_eq!((code, bad.len()), (Some(1), 1), "{report}");
    assert!(report.to_string().contains("eip155:77"), "{report}");
}

async fn sent(world: &World) -> u64 {
    let relayer = world.devnet.accounts.relayer.address();
    let mut total = 0;
    for chain in [&world.devnet.source, &world.devnet.target] {
        let provider = world.devnet.wallet(chain, &world.devnet.accounts.relayer).unwrap();
        total += provider.get_transaction_count(relayer).pending().await.unwrap();
    }
    total
}

async fn wait_for_log(log: &Path, text: &str) {
    let until = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(log).unwrap_or_default().contains(text) {
        assert!(Instant::now() < until, "{} does not say {text:?}", log.display());
        sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_dry_run_tells_what_it_would_send_and_sends_nothing() {
    let mut world = World::start(&|_, _| {}).await.unwrap();
    let payee = fresh_payee("dry run").unwrap();
    let first = world.signed(payee, 1).await.unwrap();
    world.submit(&first).await.unwrap();
    world.wait_states(&[first.id], &["settled"], PATIENCE).await.unwrap();
    world.relayer.stop().await.unwrap();

    let dir = world.devnet.options.dir.clone();
    let (grpc, rest) = (world.relayer_options.grpc.clone(), world.relayer_options.rest.clone());
    let process = |log: &str| RelayerProcess::new(&dir.join("relayer.toml"), &dir.join(log), &grpc, &rest);
    // Accepts, but nobody carries on.
    world.relayer = process("accepting.log").with_roles("api,observer");
    world.relayer.start().await.unwrap();
    let signed = world.signed(payee, 4).await.unwrap();
    let id = world.submit(&signed).await.unwrap().settlement_id.parse().unwrap();
    let before = sent(&world).await;
    world.relayer.stop().await.unwrap();

    world.relayer = process("dry.log")
        .with_roles("api,engine,observer")
        .with_flags(&["--dry-run"]);
    world.relayer.start().await.unwrap();
    wait_for_log(&dir.join("dry.log"), "dry run: would send").await;
    // It looks again and again; still nothing may leave.
    sleep(Duration::from_secs(3)).await;
    assert_eq!(sent(&world).await, before);
    assert_eq!(world.state(id).await.unwrap(), "batched");
    let another = world.signed(payee, 2).await.unwrap();
    let refused = world
        .client()
        .await
        .unwrap()
        .submit(another.request.clone())
        .await
        .unwrap_err();
    assert_eq!(error_code(&refused), "RLY-API-019");
    world.relayer.stop().await.unwrap();
    assert_eq!(sent(&world).await, before);

    // The rehearsal left nothing behind that keeps the real run from paying.
    world.relayer = process("real.log").with_roles("api,engine,observer");
    world.relayer.start().await.unwrap();
    world.wait_states(&[id], &["settled"], PATIENCE).await.unwrap();
    assert!(sent(&world).await > before);
}
