#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use serde_json::Value;
use std::collections::BTreeSet;

const DOCUMENTED: &str = include_str!("../../config/relayer.toml");

/// The documented file with the keys that have no default switched on.
fn uncommented() -> String {
    let lines = DOCUMENTED.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if !key.is_empty() && !key.starts_with(' ') => key,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn paths(prefix: &str, value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) if !map.is_empty() && !prefix.ends_with("finality") && !prefix.ends_with("token") => {
            for (key, value) in map {
                paths(&format!("{prefix}.{key}"), value, out);
            }
        }
        _ => {
            out.insert(prefix.to_owned());
        }
    }
}

#[test]
fn the_documented_file_is_the_defaults() {
    assert_eq!(Config::from_toml(DOCUMENTED).unwrap(), Config::default());
}

#[test]
fn every_key_is_documented_and_every_documented_key_exists() {
    let text = uncommented();
    let config = Config::from_toml(&text).unwrap();
    assert_eq!(config.problems(), vec![]);
    let mut known = BTreeSet::new();
    paths("", &serde_json::to_value(&config).unwrap(), &mut known);
    let mut documented = BTreeSet::new();
    let table: toml::Table = toml::from_str(&text).unwrap();
    paths("", &serde_json::to_value(&table).unwrap(), &mut documented);
    // Each protocol's example shows the keys of that protocol; together they show all.
    let of_any_bridge = |keys: BTreeSet<String>| -> BTreeSet<String> {
        let any = |key: String| match key.strip_prefix(".bridges.").and_then(|rest| rest.split_once('.')) {
            Some((_, rest)) => format!(".bridges.*.{rest}"),
            None => key,
        };
        keys.into_iter().map(any).collect()
    };
    let (known, documented) = (of_any_bridge(known), of_any_bridge(documented));
    let differing: Vec<&String> = known.symmetric_difference(&documented).collect();
    assert!(differing.is_empty(), "{differing:?}");
}

#[test]
fn example_tables_show_the_defaults() {
    let config = Config::from_toml(&uncommented()).unwrap();
    let chain = config.chains.values().next().unwrap();
    let shown = ChainConfig {
        chain_id: 0,
        rpc: vec![],
        reconcile_rpc: vec![],
        contracts: ContractsConfig::default(),
        ..chain.clone()
    };
    assert_eq!(shown, ChainConfig::default());
    let of_default_protocol = |bridge: &&BridgeConfig| bridge.protocol == Protocol::default();
    let bridge = config.bridges.values().find(of_default_protocol).unwrap();
    let shown = BridgeConfig {
        lane_value_max: None,
        value_max: None,
        supported_chains: vec![],
        chains: BTreeMap::new(),
        ..bridge.clone()
    };
    assert_eq!(shown, BridgeConfig::default());
    let coordinator = config.coordinators.values().next().unwrap();
    let shown = CoordinatorConfig {
        token: None,
        receipt_keys: vec![],
        fee_recipient: None,
        ..coordinator.clone()
    };
    assert_eq!(shown, CoordinatorConfig::default());
}

#[track_caller]
fn refused(text: &str, key: &str) {
    let shown = match Config::from_toml(text) {
        Err(error) => error.to_string(),
        Ok(config) => format!("{:?}", config.problems_to_serve()),
    };
    assert!(shown.contains(key), "{shown}");
}

#[test]
fn unknown_and_wrong_keys_are_named() {
    refused("[api]\ngrpc = 1", "grpc");
    refused("[nonsense]\na = 1", "nonsense");
    refused("[api]\ngrpc_listen = \"0.0.0.0:1\"", "api.grpc_listen");
    refused("[batcher]\ncount_max = 1025", "batcher.count_max");
    refused("[intake]\ndeadline_margin = 600", "intake.deadline_margin");
    refused("[tx]\nescalate_percent = 9", "tx.escalate_percent");
    refused("[supervisor]\nroles = []", "supervisor.roles");
    refused(
        "[supervisor]\nroles = [\"api\", \"cook\"]",
        "unknown role \"cook\": the roles are api, engine and observer",
    );
    refused("[chains.\"eip155:1\"]\nrpc = [\"http://x\"]", "chain_id");
    refused("[chains.mainnet]\nchain_id = 1", "eip155");
    refused(
        "[bridges.layerzero]\nsupported_chains = [\"eip155:1\"]",
        "bridges.layerzero.supported_chains",
    );
    refused("[coordinators.a]\n", "coordinators.a.receipt_keys");
    refused("", "chains");
    refused("[bridges.layerzero]\ndefault_fee = \"1 btc\"", "not an amount");
}

#[test]
fn a_hub_needs_its_chain_and_a_registry_on_every_target() {
    const ZERO: &str = "0x0000000000000000000000000000000000000000";
    const ONE: &str = "0x0000000000000000000000000000000000000001";
    let chain = |id: u64, contracts: &str| {
        format!(
            "[chains.\"eip155:{id}\"]\nchain_id = {id}\nrpc = [\"http://x\"]\n[chains.\"eip155:{id}\".contracts]\n{contracts}\n"
        )
    };
    let hub = |contract: &str, targets: &str| {
        format!("[hubs.a]\nchain = \"eip155:1\"\ncontract = \"{contract}\"\ntargets = {targets}\n")
    };
    let target = format!("inbox = \"{ONE}\"\nvault = \"{ONE}\"\nregistry = \"{ONE}\"");
    let keys = |parts: &[String]| -> Vec<String> {
        let config = Config::from_toml(&parts.concat()).unwrap();
        config.problems().into_iter().map(|problem| problem.key).collect()
    };
    // A chain with nothing but a hub is no mistake.
    let good = [chain(1, ""), chain(2, &target), hub(ONE, "[\"eip155:2\"]")];
    assert_eq!(keys(&good), [] as [String; 0]);
    let bare = target.replace("registry", "#");
    assert_eq!(
        keys(&[chain(1, ""), chain(2, &bare), hub(ONE, "[\"eip155:2\"]")]),
        ["hubs.a.targets"]
    );
    assert_eq!(
        keys(&[chain(1, &target), hub(ONE, "[\"eip155:1\"]")]),
        ["hubs.a.targets"]
    );
    assert_eq!(keys(&[chain(1, &target), hub(ZERO, "[]")]), ["hubs.a.contract"]);
    assert_eq!(keys(&[hub(ONE, "[]")]), ["hubs.a.chain"]);
    let twin = hub(ONE, "[]").replace("hubs.a", "hubs.b");
    assert_eq!(keys(&[chain(1, ""), hub(ONE, "[]"), twin]), ["hubs.b.contract"]);
    let alone = format!("outbox = \"{ONE}\"\nregistry = \"{ONE}\"");
    assert_eq!(keys(&[chain(1, &alone)]), ["chains.\"eip155:1\".contracts.registry"]);
    refused("[hubs.a]\nchain = \"eip155:1\"\n", "contract");
    refused("[hubs.a]\nchain = \"mainnet\"\n", "eip155");
}

#[test]
fn secrets_are_never_printed() {
    let text = "[coordinators.a]\ntoken = \"hunter2\"\n[store]\nurl = \"postgres://u:hunter2@h/d\"\n\
                [chains.\"eip155:1\"]\nsigners = [\"hunter2\"]\nrpc = [\"http://hunter2\"]";
    let config = Config::from_toml(text).unwrap();
    for shown in [
        format!("{config:?}"),
        serde_json::to_string(&config).unwrap(),
        format!("{:?}", config.problems()),
    ] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let wrong = Config::from_toml("[coordinators.a]\ntoken = [\"hunter2\"]")
        .unwrap_err()
        .to_string();
    assert!(!wrong.contains("hunter2"), "{wrong}");
}

#[test]
fn a_secret_comes_from_a_file_or_an_existing_variable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, "  0xabc\n").unwrap();
    assert_eq!(Secret::File(path).resolve("k").unwrap(), "0xabc");
    assert_eq!(Secret::Value("v".into()).resolve("k").unwrap(), "v");
    let missing = Secret::Env("RELAYER_TEST_SURELY_UNSET".into())
        .resolve("coordinators.a.token")
        .unwrap_err();
    assert!(missing.to_string().contains("coordinators.a.token"), "{missing}");
    assert!(Secret::Value(" ".into()).resolve("k").is_err());
}

#[test]
fn wei_reads_units_exactly() {
    let wei = |text: &str| text.parse::<Wei>().map(|wei| wei.0.to_string());
    assert_eq!(wei("1000").unwrap(), "1000");
    assert_eq!(wei("30 gwei").unwrap(), "30000000000");
    assert_eq!(wei("0.05 ether").unwrap(), "50000000000000000");
    assert_eq!(wei("1.5 gwei").unwrap(), "1500000000");
    assert!(wei("-1").is_err());
    assert!(wei("1.5").is_err());
    assert!(wei("x gwei").is_err());
}

#[test]
fn flags_win_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("relayer.toml");
    std::fs::write(&path, "[log]\nlevel = \"debug\"\nformat = \"json\"\n").unwrap();
    let config = Config::read(Some(&path), &[("log.level", "trace".into())]).unwrap();
    assert_eq!(
        (config.log.level.as_str(), config.log.format),
        ("trace", LogFormat::Json)
    );
}

#[test]
fn roles_come_as_a_list_or_as_one_text() {
    let roles = |text: &str| Config::from_toml(text).unwrap().supervisor.roles;
    let list = roles("[supervisor]\nroles = [\"observer\", \"api\"]");
    assert!(list.has(Role::Api) && list.has(Role::Observer) && !list.has(Role::Engine));
    assert_eq!(list, roles("[supervisor]\nroles = \"api, observer\""));
    assert_eq!(list.to_string(), "api,observer");
    let flags = [("supervisor.roles", "engine".to_owned())];
    let flagged = Config::read(None, &flags).unwrap().supervisor.roles;
    assert_eq!(flagged.to_string(), "engine");
}

#[test]
fn an_observer_needs_neither_coordinators_nor_bridges() {
    let keys = |roles: &str| -> Vec<String> {
        let config = Config::from_toml(&format!("[supervisor]\nroles = \"{roles}\"")).unwrap();
        config
            .problems_to_serve()
            .into_iter()
            .map(|problem| problem.key)
            .collect()
    };
    assert_eq!(keys("observer"), ["chains"]);
    assert_eq!(keys("engine"), ["chains", "bridges"]);
    assert_eq!(keys("api,observer"), ["chains", "coordinators", "bridges"]);
}

#[test]
fn quorum_defaults_to_two_of_three() {
    let chain = |urls: usize, set: usize| {
        ChainConfig {
            rpc: vec![Secret::Value("http://x".into()); urls],
            rpc_quorum: set,
            ..ChainConfig::default()
        }
        .quorum()
    };
    assert_eq!([chain(1, 0), chain(2, 0), chain(3, 0), chain(4, 3)], [1, 1, 2, 3]);
}
