#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::output::{duration, ether, short, time};
use super::*;
use crate::api::client::ClientError;
use clap::CommandFactory;

/// Help of the command and of everything below it.
fn help(command: &mut clap::Command, path: &str, out: &mut String) {
    out.push_str(&format!("$ {path} --help\n{}\n\n", command.render_help()));
    let names: Vec<String> = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for name in names {
        let sub = command.find_subcommand_mut(&name).unwrap();
        help(sub, &format!("{path} {name}"), out);
    }
}

#[test]
fn help_is_stable() {
    let mut command = Cli::command();
    command.build();
    let mut text = String::new();
    help(&mut command, "relayer", &mut text);
    insta::assert_snapshot!(text);
}

#[test]
fn a_failure_names_code_message_and_hint() {
    let refused = ClientError::Refused {
        code: Some("RLY-INTAKE-039".into()),
        not_found: false,
        unavailable: false,
        message: "the nonce belongs to settlement 0x11".into(),
        metadata: vec![("conflict".into(), "0x11".into())],
    };
    let failure = Failure::from(refused);
    assert_eq!(failure.exit, Exit::Failed);
    insta::assert_snapshot!("failure_text", Output { json: false }.failure_text(&failure));
    insta::assert_snapshot!("failure_json", Output { json: true }.failure_text(&failure));
}

#[test]
fn exit_codes_tell_what_kind_of_failure_it_was() {
    let refused = |not_found, unavailable| ClientError::Refused {
        code: None,
        not_found,
        unavailable,
        message: String::new(),
        metadata: vec![],
    };
    let unreachable = ClientError::Unreachable {
        server: "x".into(),
        reason: "y".into(),
    };
    let exit = |error: ClientError| Failure::from(error).exit;
    assert_eq!(exit(refused(true, false)), Exit::NotFound);
    assert_eq!(exit(refused(false, true)), Exit::Unavailable);
    assert_eq!(exit(refused(false, false)), Exit::Failed);
    assert_eq!(exit(unreachable), Exit::Unavailable);
    let config = crate::config::ConfigError::Parse("x".into());
    assert_eq!(Failure::from(config).exit, Exit::Usage);
}

async fn exit_of(args: &[&str]) -> Exit {
    run(args.iter().map(OsString::from)).await
}

#[tokio::test]
async fn commands_end_with_the_documented_codes() {
    assert_eq!(exit_of(&["relayer", "--version"]).await, Exit::Ok);
    assert_eq!(exit_of(&["relayer", "nonsense"]).await, Exit::Usage);
    let nobody = ["relayer", "--server", "http://127.0.0.1:1", "list"];
    assert_eq!(exit_of(&nobody).await, Exit::Unavailable);
    assert_eq!(
        exit_of(&["relayer", "config", "check", "/nowhere.toml"]).await,
        Exit::Usage
    );
    assert_eq!(
        exit_of(&["relayer", "receipt", "verify", "/nowhere.json"]).await,
        Exit::Usage
    );
    let bundle = [
        "relayer",
        "execute",
        "--bundle",
        "/nowhere.json",
        "--rpc",
        "http://127.0.0.1:1",
    ];
    assert_eq!(exit_of(&bundle).await, Exit::Usage);
}

#[tokio::test]
async fn migrate_makes_a_database_that_can_be_checked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("relayer.toml");
    let url = format!("sqlite://{}", dir.path().join("relayer.db").display());
    std::fs::write(&path, format!("[store]\nurl = \"{url}\"\n")).unwrap();
    let path = path.to_str().unwrap();
    for _ in 0..2 {
        assert_eq!(exit_of(&["relayer", "--config", path, "migrate"]).await, Exit::Ok);
    }
    // No chain is configured, so there is nothing to serve: doctor says so and fails.
    assert_eq!(exit_of(&["relayer", "--config", path, "doctor"]).await, Exit::Failed);
}

#[test]
fn times_and_durations_read_well() {
    assert_eq!(time(0), "");
    assert_eq!(time(951_782_400_000), "2000-02-29 00:00:00Z");
    assert_eq!(time(1_795_261_412_298), "2026-11-21 11:43:32Z");
    assert_eq!(time(4_102_444_799_999), "2099-12-31 23:59:59Z");
    let shown = [0, 850, 12_340, 245_000, 7_380_000, 273_600_000].map(duration);
    assert_eq!(shown, ["0 ms", "850 ms", "12.3 s", "4 min 5 s", "2 h 3 min", "3 d 4 h"]);
    assert_eq!(ether("985628160000000"), "0.00098562816 ether");
    assert_eq!(ether("0"), "0 ether");
    assert_eq!(short("0x765a07f03ff88fce240a245a"), "0x765a07f0…245a");
    assert_eq!(short("0x1234"), "0x1234");
}
