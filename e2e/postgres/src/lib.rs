//! A private PostgreSQL server: its own data folder, its own port of 127.0.0.1, gone with the value that holds it.
//!
//! Started from installed binaries, as an unprivileged user when we are root (the server refuses root). It keeps the durability settings
//! of the product: fsync, synchronous_commit and full_page_writes are on. Only starts other programs, so that it builds in seconds.

mod binaries;
mod port;
mod small_disk;
mod user;

use anyhow::{Context, Result, bail};
pub use binaries::Binaries;
pub use port::free_port;
use small_disk::SmallDisk;
use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use user::User;

/// How long a start, with recovery after a crash, may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for its standard input to close, then ends the server at once: it may not outlive us, even after kill -9.
const GUARD: &str = r#"read -r _; kill -QUIT "$0" 2>/dev/null"#;

/// A running server. Dropping it ends it and removes its data.
#[derive(Debug)]
pub struct Server {
    binaries: Binaries,
    user: Option<User>,
    disk: Option<SmallDisk>,
    folder: TempDir,
    port: u16,
    child: Option<Child>,
    guard: Option<Child>,
}

impl Server {
    /// A new server with an empty cluster. `Ok(None)` when PostgreSQL is not installed.
    pub fn start() -> Result<Option<Self>> {
        Self::start_on(None)
    }

    /// A new server whose databases lie on a disk of so many bytes, apart from its log. `Ok(None)` also when we may not mount one, which takes
    /// root or a kernel that lets users have mounts of their own.
    pub fn start_on_small_disk(bytes: u64) -> Result<Option<Self>> {
        Self::start_on(Some(bytes))
    }

    fn start_on(disk_bytes: Option<u64>) -> Result<Option<Self>> {
        let Some(binaries) = Binaries::find() else {
            return Ok(None);
        };
        let folder = tempfile::Builder::new().prefix("relayer-postgres-").tempdir()?;
        let mut server = Self {
            user: User::to_run_as(folder.path())?,
            disk: None,
            binaries,
            folder,
            port: free_port()?,
            child: None,
            guard: None,
        };
        if let Some(user) = &server.user {
            user.own(server.folder.path())?;
        }
        if let Some(bytes) = disk_bytes {
            server.disk = SmallDisk::new(server.folder.path(), server.user, bytes)?;
            if server.disk.is_none() {
                return Ok(None);
            }
        }
        server.init()?;
        server.run()?;
        if let Some(disk) = &server.disk {
            let tablespace = format!("CREATE TABLESPACE small LOCATION '{}'", disk.folder().display());
            psql(&server.binaries, &server.url("postgres"), &tablespace)?;
        }
        Ok(Some(server))
    }

    /// URL of a database; `postgres` exists from the start.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://relayer@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database and answers its URL.
    pub fn create_database(&self, name: &str) -> Result<String> {
        let place = if self.disk.is_some() { " TABLESPACE small" } else { "" };
        let create = format!("CREATE DATABASE \"{name}\"{place}");
        psql(&self.binaries, &self.url("postgres"), &create)?;
        Ok(self.url(name))
    }

    /// Leaves no room on the small disk; answers what the server said.
    pub fn fill_disk(&self) -> Result<String> {
        let url = self.url("postgres");
        psql(&self.binaries, &url, "CREATE TABLE filler (text TEXT) TABLESPACE small")?;
        let mut said = String::new();
        // Large steps first, then the rest page by page: a step that fails may leave room for a smaller one.
        for rows in [10_000, 1_000, 100, 10, 1, 1, 1] {
            let insert =
                format!("INSERT INTO filler SELECT repeat(md5(i::text), 200) FROM generate_series(1, {rows}) i");
            loop {
                match psql(&self.binaries, &url, &insert) {
                    Ok(_) => {}
                    Err(error) => {
                        said = error.to_string();
                        break;
                    }
                }
            }
        }
        Ok(said)
    }

    /// Takes back what [`Server::fill_disk`] wrote.
    pub fn free_disk(&self) -> Result<()> {
        let url = self.url("postgres");
        // One after the other: the room is there after the commit, and a checkpoint before it would need some.
        psql(&self.binaries, &url, "DROP TABLE filler")?;
        psql(&self.binaries, &url, "CHECKPOINT")?;
        Ok(())
    }

    /// What the server printed.
    pub fn log_path(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// kill -9 of the main process: clients lose their connections, nothing is flushed, the next start recovers from the log.
    pub fn kill(&mut self) {
        for child in [self.guard.take(), self.child.take()].into_iter().flatten() {
            end(child);
        }
    }

    /// Starts a killed server again, on the same port and data. Its orphaned children may take a moment to notice.
    pub fn run(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut child = self.spawn()?;
            while Instant::now() < until {
                if child.try_wait()?.is_some() {
                    break;
                }
                if self.answers() {
                    self.guard = Some(guard(child.id())?);
                    self.child = Some(child);
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            if Instant::now() >= until {
                end(child);
                bail!("PostgreSQL did not start:\n{}", self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn init(&self) -> Result<()> {
        let output = self
            .unprivileged(&self.binaries.initdb)
            .args(["--auth=trust", "--username=relayer", "--encoding=UTF8", "--locale=C"])
            .arg("--no-sync")
            .arg(self.data())
            .output()
            .context("could not start initdb")?;
        if !output.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    fn spawn(&self) -> Result<Child> {
        let log = self.log_file()?;
        let mut command = match &self.disk {
            Some(disk) => disk.command(&self.binaries.postgres, self.folder.path()),
            None => self.unprivileged(&self.binaries.postgres),
        };
        command.arg("-D").arg(self.data());
        for setting in [
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".into(),
            "unix_socket_directories=".into(),
            "max_connections=200".into(),
            "shared_buffers=256MB".into(),
            "max_wal_size=4GB".into(),
            // The data folder is made anew for each run; a crash of the server is survived all the same.
            "fsync=on".into(),
            "synchronous_commit=on".into(),
            "full_page_writes=on".into(),
        ] {
            command.arg("-c").arg(setting);
        }
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("could not start postgres")
    }

    fn answers(&self) -> bool {
        Command::new(&self.binaries.psql)
            .args([
                "--no-psqlrc",
                "--quiet",
                "--dbname",
                &self.url("postgres"),
                "--command",
                "SELECT 1",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    fn unprivileged(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env("LC_ALL", "C");
        if let Some(user) = &self.user {
            command.uid(user.uid).gid(user.gid).env("HOME", self.folder.path());
        }
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_file(&self) -> Result<File> {
        let log = self.log_path();
        let file = OpenOptions::new().create(true).append(true).open(&log);
        file.with_context(|| format!("could not open {}", log.display()))
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// Runs one statement on any server and answers what it printed: rows as lines, columns separated by `|`.
pub fn execute(url: &str, sql: &str) -> Result<String> {
    let binaries = Binaries::find().context("psql is not installed")?;
    psql(&binaries, url, sql)
}

fn psql(binaries: &Binaries, url: &str, sql: &str) -> Result<String> {
    let output = Command::new(&binaries.psql)
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--dbname", url])
        .args(["--command", sql])
        .output()
        .context("could not start psql")?;
    if !output.status.success() {
        bail!("{sql}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn guard(pid: u32) -> Result<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", GUARD]).arg(pid.to_string()).process_group(0);
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    child.context("could not start a watchdog")
}

/// The URL with another database: what stands between the last `/` of the path and the options.
pub fn with_database(url: &str, name: &str) -> String {
    let (base, options) = url
        .split_once('?')
        .map_or((url, None), |(base, rest)| (base, Some(rest)));
    let server = base.find("://").map_or(0, |at| at + 3);
    let base = base[server..].find('/').map_or(base, |at| &base[..server + at]);
    match options {
        Some(options) => format!("{base}/{name}?{options}"),
        None => format!("{base}/{name}"),
    }
}

#[test]
fn the_database_of_a_url_is_replaced_and_its_options_stay() {
    let check = |url: &str, expected: &str| assert_eq!(with_database(url, "x"), expected);
    check("postgres://u:p@host:1/postgres", "postgres://u:p@host:1/x");
    check("postgres://host", "postgres://host/x");
    check(
        "postgres://host/db?sslmode=disable",
        "postgres://host/x?sslmode=disable",
    );
}
