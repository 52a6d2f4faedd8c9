//! Whom the server runs as: it refuses to run as root.

use anyhow::{Context, Result, bail};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

#[derive(Debug, Clone, Copy)]
pub(crate) struct User {
    pub uid: u32,
    pub gid: u32,
}

impl User {
    /// None when we are not root: then the server runs as we do. `ours` is a folder we have just made.
    pub fn to_run_as(ours: &Path) -> Result<Option<Self>> {
        if ours.metadata()?.uid() != 0 {
            return Ok(None);
        }
        let users = std::fs::read_to_string("/etc/passwd").context("could not read /etc/passwd")?;
        for name in ["postgres", "nobody"] {
            if let Some(user) = find(&users, name) {
                return Ok(Some(user));
            }
        }
        bail!("PostgreSQL does not run as root, and there is neither a user postgres nor nobody");
    }

    pub fn own(&self, folder: &Path) -> Result<()> {
        chown(folder, Some(self.uid), Some(self.gid))
            .with_context(|| format!("could not give {} away", folder.display()))
    }
}

fn find(users: &str, name: &str) -> Option<User> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some(User {
        uid: fields.next()?.parse().ok()?,
        gid: fields.next()?.parse().ok()?,
    })
}
