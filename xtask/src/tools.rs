//! Finding and starting the programs a step needs, with errors that say what to install.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Root of the workspace, one above this crate.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or_else(|| here.to_path_buf(), Path::to_path_buf)
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn built_in(profile: &str, program: &str) -> PathBuf {
    target_dir()
        .join(profile)
        .join(format!("{program}{}", std::env::consts::EXE_SUFFIX))
}

/// Path of a program built by this workspace in the dev profile.
pub fn built(program: &str) -> PathBuf {
    built_in("debug", program)
}

/// Path of a program built by this workspace in the release profile.
pub fn built_release(program: &str) -> PathBuf {
    built_in("release", program)
}

/// A command run from a folder of the workspace.
pub fn command(program: impl AsRef<Path>, args: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(program.as_ref());
    command.args(args).current_dir(folder);
    command
}

/// Runs a command to its end; an error when it cannot be started or fails.
pub fn run(mut command: Command) -> Result<()> {
    let shown = format!("{command:?}").replace('"', "");
    let status = command.status().with_context(|| format!("could not start: {shown}"))?;
    if !status.success() {
        bail!("failed ({status}): {shown}");
    }
    Ok(())
}

/// Whether a program answers when asked for its version.
pub fn answers(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Installs a cargo subcommand when it is missing.
pub fn ensure_cargo_tool(subcommand: &str, version: &str) -> Result<()> {
    if answers("cargo", &[subcommand, "--version"]) {
        return Ok(());
    }
    eprintln!("     cargo-{subcommand} is missing: installing {version} from crates.io (a few minutes, once)");
    let package = format!("cargo-{subcommand}");
    run(command(
        "cargo",
        &["install", &package, "--version", version, "--locked"],
        &root(),
    ))
}

/// Fails with what to install when Node or npm is missing or older than 20.
pub fn require_node() -> Result<()> {
    let version = Command::new("node").arg("--version").output();
    let Ok(output) = version else {
        bail!(
            "Node.js is missing: install Node.js 20 or newer (with npm), it brings the chains and the Solidity compiler"
        );
    };
    let text = String::from_utf8_lossy(&output.stdout)
        .trim()
        .trim_start_matches('v')
        .to_owned();
    let major: u32 = text.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    if major < 20 {
        bail!("Node.js {text} is too old: install 20 or newer");
    }
    if !answers("npm", &["--version"]) {
        bail!("npm is missing: it comes with Node.js 20 or newer");
    }
    Ok(())
}
