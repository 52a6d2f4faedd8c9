//! What `test`, `demo` and `devnet` do, step by step, each timed and announced.

use crate::contracts;
use crate::postgres::{self, TestDatabase};
use crate::tools::{answers, built, built_release, command, ensure_cargo_tool, root, run};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Parts of `cargo xtask test`, in the order they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// rustfmt, clippy, cargo-deny, forge fmt.
    Lints,
    /// forge build, committed ABIs, forge tests with the gas limits.
    Contracts,
    /// Unit and property tests of every crate.
    Rust,
    /// The tests that use a store again, on PostgreSQL.
    Postgres,
    /// Real chains, real protocol contracts, the real binary; with PostgreSQL where there is one.
    E2e,
    /// The demo, ending with its JSON line.
    Demo,
}

/// Announces a step, runs it, says how long it took.
pub fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    eprintln!("==== {name}");
    let started = Instant::now();
    work().with_context(|| format!("step failed: {name}"))?;
    eprintln!("==== {name}: ok, {:.0} s", started.elapsed().as_secs_f32());
    Ok(())
}

fn cargo(args: &[&str]) -> Result<()> {
    run(command("cargo", args, &root()))
}

fn build_programs() -> Result<()> {
    step("cargo build", || cargo(&["build", "--workspace", "--bins"]))
}

/// Builds everything and hands over to a program of the e2e crate; Ctrl-C reaches it directly.
pub fn run_program(program: &str, args: &[String]) -> Result<()> {
    let forge = contracts::begin()?;
    build_programs()?;
    forge.finish()?;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    run(command(built(program), &args, &root()))
}

/// The same in release mode: what is measured is what is shipped.
pub fn run_release_program(program: &str, args: &[String]) -> Result<()> {
    let forge = contracts::begin()?;
    step("cargo build --release (a quarter of an hour the first time)", || {
        cargo(&["build", "--release", "--workspace", "--bins"])
    })?;
    forge.finish()?;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    run(command(built_release(program), &args, &root()))
}

/// The whole check. Stops at the first failing step.
pub fn test(only: &[Part]) -> Result<()> {
    let wanted = |part: Part| only.is_empty() || only.contains(&part);
    let started = Instant::now();
    let folder = root().join("contracts");
    let forge = contracts::begin()?;
    if wanted(Part::Lints) {
        step("rustfmt", || cargo(&["fmt", "--all", "--check"]))?;
        step("clippy", || {
            cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "-D",
                "warnings",
            ])
        })?;
        step("cargo deny", || {
            ensure_cargo_tool("deny", "0.20.2")?;
            cargo(&["deny", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"])
        })?;
        step("forge fmt", || {
            run(command("npm", &["run", "--silent", "fmt:check"], &folder))
        })?;
    }
    if wanted(Part::Rust) || wanted(Part::Postgres) || wanted(Part::E2e) {
        step("cargo build, all targets", || {
            cargo(&["build", "--workspace", "--all-targets", "--locked"])
        })?;
        ensure_cargo_tool("nextest", "0.9.143")?;
    }
    forge.finish()?;
    if wanted(Part::Contracts) {
        step("committed ABIs", || {
            run(command("npm", &["run", "--silent", "abi:check"], &folder))
        })?;
        step("forge test", || {
            run(command("npm", &["run", "--silent", "test"], &folder))
        })?;
    }
    if wanted(Part::Rust) {
        note_python();
        step("Rust tests, stores on SQLite", || nextest(&on_sqlite(), None))?;
    }
    let mut skipped = Vec::new();
    let database = if wanted(Part::Postgres) || wanted(Part::E2e) {
        postgres::find()?
    } else {
        None
    };
    if wanted(Part::Postgres) {
        match &database {
            Some(database) => step("Rust tests, stores on PostgreSQL", || {
                nextest(&on_postgres(), Some(database))
            })?,
            None => skipped.push("Rust tests on PostgreSQL"),
        }
    }
    if wanted(Part::E2e) {
        step("end-to-end tests, relayer on SQLite", || nextest(E2E, None))?;
        match &database {
            Some(database) => e2e_on_postgres(database)?,
            None => skipped.push("end-to-end tests on PostgreSQL"),
        }
    }
    drop(database);
    if wanted(Part::Demo) {
        step("demo", demo)?;
    }
    let left_out = postgres::left_out(&skipped);
    eprintln!("==== all passed{left_out}, {:.0} s", started.elapsed().as_secs_f32());
    Ok(())
}

const E2E: &str = "package(relayer-e2e) & kind(test)";

/// What PostgreSQL alone can show; on SQLite these tests have nothing to do.
const POSTGRES_ONLY: &str = "test(/^store::postgres_tests::/)";

/// Modules of the relayer whose tests open a store.
const STORE_USERS: &str =
    "api|batcher|chain|dispatcher|hub|intake|payout|reconciler|recover|router|sampler|store|supervisor|tracker|wiring";

fn on_sqlite() -> String {
    format!("not ({E2E}) & not {POSTGRES_ONLY}")
}

fn on_postgres() -> String {
    format!("package(relayer) & kind(lib) & test(/^({STORE_USERS})::/)")
}

fn nextest(filter: &str, database: Option<&TestDatabase>) -> Result<()> {
    let args = [
        "nextest",
        "run",
        "--workspace",
        "--locked",
        "--no-fail-fast",
        "-E",
        filter,
    ];
    let mut command = command("cargo", &args, &root());
    // A developer's own settings do not decide which store is tested.
    command.env_remove("RELAYER_TEST_STORE").env_remove(postgres::VARIABLE);
    if let Some(database) = database {
        command.env(postgres::VARIABLE, database.url());
    }
    run(command)
}

/// The end-to-end tests again with the relayer's data on PostgreSQL. Left out are those without a relayer's database (contracts,
/// layerzero, wormhole), `chain`, which copies its SQLite file to play a restored backup, and those that bring servers of their own to kill, to
/// share or to restore and so have run already (workers, database, recover). Reliance waits most of its time, on what the unit tests hold on both.
fn e2e_on_postgres(database: &TestDatabase) -> Result<()> {
    let apart = "binary(chain) | binary(contracts) | binary(layerzero) | binary(wormhole) | binary(workers) | binary(database) | binary(recover) | binary(reliance)";
    step("end-to-end tests, relayer on PostgreSQL", || {
        nextest(&format!("{E2E} & not ({apart})"), Some(database))
    })
}

/// The property test against CPython needs an interpreter; its absence must be seen, not guessed.
fn note_python() {
    if !answers("python3", &["--version"]) {
        eprintln!(
            "     python3 is missing: the property test against CPython's json.dumps is skipped (the vectors still run)"
        );
    }
}

/// Runs the demo as a stranger would and checks its last line.
fn demo() -> Result<()> {
    build_programs()?;
    let mut demo = Command::new(built("demo"));
    demo.arg("--json")
        .current_dir(root())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = demo.output().context("could not start the demo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    if !output.status.success() {
        bail!("the demo failed ({})", output.status);
    }
    let line = text.lines().last().context("the demo printed nothing")?;
    let report: serde_json::Value = serde_json::from_str(line).context("the demo's last line is not JSON")?;
    for field in [
        "submitted",
        "settled",
        "duplicates_refused",
        "self_executed",
        "gas_per_settlement",
        "rpc_calls_per_settlement",
        "failovers",
        "quorum_settled",
    ] {
        if report[field].as_f64().is_none_or(|value| value <= 0.0) {
            bail!("the demo reports {field} = {}", report[field]);
        }
    }
    check_bridges(&report)?;
    for (part, field) in [("repaired", "repairs"), ("recovered", "messages"), ("hub", "finalized")] {
        if report[part][field].as_u64().is_none_or(|value| value == 0) {
            bail!("the demo reports {part}.{field} = {}", report[part][field]);
        }
    }
    if report["drift"].as_u64() != Some(0) {
        bail!("the demo reports drift {}", report["drift"]);
    }
    Ok(())
}

/// Every bridge carried its share.
fn check_bridges(report: &serde_json::Value) -> Result<()> {
    for bridge in ["layerzero", "ccip", "wormhole"] {
        let settled = &report["bridges"][bridge]["settled"];
        if settled.as_u64().is_none_or(|settled| settled == 0) {
            bail!("the demo reports bridges.{bridge}.settled = {settled}");
        }
    }
    if report["settled"] != report["submitted"] {
        bail!("the demo settled {} of {}", report["settled"], report["submitted"]);
    }
    Ok(())
}
