//! A disk that is soon full: a file system in memory that only the server and its children see, gone with them.

use crate::user::User;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Mounts on `$0` with the options `$1` and becomes the rest.
const MOUNT: &str = r#"mount -t tmpfs -o "$1" small "$0" && shift && exec "$@""#;

#[derive(Debug)]
pub(crate) struct SmallDisk {
    folder: PathBuf,
    bytes: u64,
    user: Option<User>,
}

impl SmallDisk {
    /// None when this system does not let us mount.
    pub fn new(home: &Path, user: Option<User>, bytes: u64) -> Result<Option<Self>> {
        let folder = home.join("small");
        std::fs::create_dir(&folder).with_context(|| format!("could not make {}", folder.display()))?;
        if let Some(user) = user {
            user.own(&folder)?;
        }
        let disk = Self { folder, bytes, user };
        let tried = disk
            .command(Path::new("true"), home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        Ok(tried.is_ok_and(|status| status.success()).then_some(disk))
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A program in a world where the disk is mounted, as the unprivileged user. Its process is the one that is started.
    pub fn command(&self, program: &Path, home: &Path) -> Command {
        let mut command = Command::new("unshare");
        command.current_dir(home).env("LC_ALL", "C").env("HOME", home);
        if self.user.is_none() {
            // Not root: root among our own mounts only, without becoming root for the server.
            command.args(["--user", "--map-current-user", "--keep-caps"]);
        }
        command.args(["--mount", "--propagation", "private", "sh", "-c", MOUNT]);
        command.arg(&self.folder);
        match &self.user {
            Some(user) => {
                let options = format!("size={},mode=0700,uid={},gid={}", self.bytes, user.uid, user.gid);
                command.arg(options).arg("setpriv");
                command.arg(format!("--reuid={}", user.uid));
                command.arg(format!("--regid={}", user.gid)).arg("--clear-groups");
            }
            None => {
                command.arg(format!("size={},mode=0700", self.bytes));
            }
        }
        command.arg(program);
        command
    }
}
