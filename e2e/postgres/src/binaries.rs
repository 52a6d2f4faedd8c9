//! Where PostgreSQL's programs are installed.

use std::path::{Path, PathBuf};

/// Programs of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    pub postgres: PathBuf,
    pub initdb: PathBuf,
    pub psql: PathBuf,
}

impl Binaries {
    /// The newest installation under the places packages use, else what the PATH has. None when a program is missing everywhere.
    pub fn find() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let in_path: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let mut places = versioned("/usr/lib/postgresql");
        places.extend(in_path);
        places.extend(["/usr/local/pgsql/bin", "/usr/pgsql/bin"].map(PathBuf::from));
        let find = |name: &str| {
            let mut found = places.iter().map(|place| place.join(name));
            found.find(|program| program.is_file())
        };
        Some(Self {
            postgres: find("postgres")?,
            initdb: find("initdb")?,
            psql: find("psql")?,
        })
    }
}

/// `bin` folders below a folder of versions, newest first.
fn versioned(folder: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for entry in Path::new(folder).read_dir().into_iter().flatten().flatten() {
        let version = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(version) = version {
            found.push((version, entry.path().join("bin")));
        }
    }
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, path)| path).collect()
}
