//! What an operator decides about lanes, with the operator's own command.

use super::CARRIERS;
use crate::harness::World;
use crate::relayer_process::built;
use anyhow::{Context, Result, ensure};
use std::process::Command;

fn set(world: &World, verb: &str, bridge: &str) -> Result<()> {
    let output = Command::new(built("relayer")?)
        .arg("--config")
        .arg(world.devnet.options.dir.join("relayer.toml"))
        .args(["lane", verb, bridge])
        .args((verb != "resume").then_some(["--reason", "demo"]).into_iter().flatten())
        .output()
        .context("could not start relayer lane")?;
    ensure!(
        output.status.success(),
        "relayer lane {verb} {bridge} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Nothing new is planned over the others.
pub fn only(world: &World, bridge: &str) -> Result<()> {
    for other in CARRIERS {
        set(world, if other == bridge { "resume" } else { "drain" }, other)?;
    }
    Ok(())
}

pub fn open_all(world: &World) -> Result<()> {
    CARRIERS.into_iter().try_for_each(|bridge| set(world, "resume", bridge))
}
