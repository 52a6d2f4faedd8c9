//! The relayer's database is put back to an older copy, although payments were made since.

use super::say;
use crate::coordinator::Signed;
use crate::harness::{PATIENCE, World, fresh_payee};
use crate::relayer_process::built;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::time::sleep;

/// Settlements paid after the copy was made.
const LATER: u64 = 4;

/// What recovery found on the chains that the old copy did not know.
#[derive(Debug, Clone, Serialize)]
pub struct Recovered {
    pub messages: u64,
    pub settlements: u64,
}

fn files(database: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|ending| PathBuf::from(format!("{}{ending}", database.display())))
}

/// Copies the database's files that are there; the relayer must not run.
fn copy(from: &Path, to: &Path) -> Result<()> {
    for (from, to) in files(from).into_iter().zip(files(to)) {
        if from.exists() {
            std::fs::copy(&from, &to).with_context(|| format!("could not copy {}", from.display()))?;
        } else if to.exists() {
            std::fs::remove_file(&to).with_context(|| format!("could not remove {}", to.display()))?;
        }
    }
    Ok(())
}

/// Pays a few, restores the copy made before, recovers, and submits them again. Returns them.
pub async fn old_copy(world: &mut World, dir: &Path) -> Result<(Vec<Signed>, Recovered)> {
    let database = world.relayer_options.database.clone();
    let backup = dir.join("backup.db");
    world.relayer.stop().await?;
    copy(&database, &backup)?;
    world.relayer.start().await?;
    let mut signed = Vec::new();
    for n in 0..LATER {
        let one = world.signed(fresh_payee(&format!("restored {n}"))?, 4 + n).await?;
        world.submit(&one).await?;
        signed.push(one);
    }
    let ids: Vec<_> = signed.iter().map(|one| one.id).collect();
    world.wait_states(&ids, &["settled"], PATIENCE).await?;
    world.relayer.kill()?;
    copy(&backup, &database)?;
    say(format!(
        "9. The database is put back to a copy from before the last {LATER} payments"
    ));
    world.relayer.start().await?;
    refuses_to_send(world).await?;
    let report = recover(world)?;
    for one in &signed {
        world.submit(one).await?;
    }
    world.wait_states(&ids, &["settled"], PATIENCE).await?;
    let payments = world.payments().await?;
    ensure!(
        ids.iter().all(|id| payments.get(&id.0) == Some(&1)),
        "a settlement was paid twice after the recovery"
    );
    say(format!(
        "   `relayer recover` found {} messages on the chains that the copy did not know; their coordinator submitted the {LATER} again:\n   \
         settled at once from what the chain says, and none paid twice",
        report.messages
    ));
    Ok((signed, report))
}

/// It runs and answers, and keeps its hands off the chains.
async fn refuses_to_send(world: &World) -> Result<()> {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let log = std::fs::read_to_string(world.relayer.log_path())?;
        if log.contains("RLY-RECOVER-001") {
            break;
        }
        ensure!(
            tokio::time::Instant::now() < until,
            "the relayer did not notice that its database is old"
        );
        sleep(Duration::from_millis(300)).await;
    }
    say(
        "   started on it, the relayer sees that the chains are ahead (RLY-RECOVER-001): it answers, and sends nothing",
    );
    Ok(())
}

fn recover(world: &World) -> Result<Recovered> {
    let output = Command::new(built("relayer")?)
        .arg("--config")
        .arg(world.devnet.options.dir.join("relayer.toml"))
        .args(["--json", "recover"])
        .output()
        .context("could not start relayer recover")?;
    ensure!(
        output.status.success(),
        "relayer recover failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let chains = report["chains"].as_array().context("a report without chains")?;
    let sum = |what: &str| chains.iter().filter_map(|chain| chain[what].as_u64()).sum();
    Ok(Recovered {
        messages: sum("messages"),
        settlements: sum("leaves"),
    })
}
