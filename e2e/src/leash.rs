//! Ends a child process when this one ends, however it ends: the kernel closes our pipes even after kill -9.

use anyhow::{Context, Result};
use std::process::{Child, Command, Stdio};

/// Waits for its standard input to close, then kills the process it was told.
const GUARD: &str = r#"read -r _; kill -9 "$0" 2>/dev/null"#;

/// Held beside a running child; let go before the child is reaped, because its number may be given to another process then.
#[derive(Debug)]
pub struct Leash(Child);

impl Leash {
    /// Kills process `pid` when this process has gone.
    pub fn on(pid: u32) -> Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", GUARD]).arg(pid.to_string());
        let guard = own_group(&mut command)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Ok(Self(guard.context("could not start a watchdog")?))
    }
}

/// Ctrl-C in a terminal reaches the whole group; a group of its own lets us end things in order.
pub fn own_group(command: &mut Command) -> &mut Command {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    command
}

impl Drop for Leash {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
