//! The contracts are built beside the Rust build: the Solidity compiler runs on one core, for minutes when nothing is cached.

use crate::steps::step;
use crate::tools::{command, require_node, root, run};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Child;

/// A `forge build` under way. Dropped, it is ended.
#[derive(Debug)]
pub struct ForgeBuild {
    child: Child,
    output: File,
}

/// `npm ci` when the lock file is newer than what is installed; then begins `forge build`, which does nothing when nothing changed.
pub fn begin() -> Result<ForgeBuild> {
    require_node()?;
    let folder = root().join("contracts");
    let stamp = folder.join("node_modules/.package-lock.json");
    if !is_newer(&stamp, &folder.join("package-lock.json")) {
        step("npm ci (compiler, chains, protocol packages)", || {
            run(command(
                "npm",
                &["ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                &folder,
            ))
        })?;
    }
    eprintln!("==== forge build begins in the background");
    let output = tempfile::tempfile().context("no temporary file for the output of forge")?;
    let child = command("npm", &["run", "--silent", "build"], &folder)
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .spawn()
        .context("could not start npm")?;
    Ok(ForgeBuild { child, output })
}

impl ForgeBuild {
    /// Waits for it; what it printed is shown then.
    pub fn finish(mut self) -> Result<()> {
        step("forge build", || {
            let status = self.child.wait()?;
            let mut text = String::new();
            self.output.seek(SeekFrom::Start(0))?;
            self.output.read_to_string(&mut text)?;
            eprint!("{text}");
            if !status.success() {
                bail!("failed ({status}): npm run build, in contracts");
            }
            Ok(())
        })
    }
}

impl Drop for ForgeBuild {
    fn drop(&mut self) {
        // Nothing to end when it was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_newer(file: &Path, than: &Path) -> bool {
    let time = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    matches!((time(file), time(than)), (Some(file), Some(than)) if file >= than)
}
