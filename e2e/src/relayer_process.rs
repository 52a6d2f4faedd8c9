//! The real relayer binary as a child process: started, waited for, killed without mercy, started again.

use crate::leash::{Leash, own_group};
use anyhow::{Context, Result, bail};
use relayer_proto::v1::settlement_service_client::SettlementServiceClient;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

/// Path of a program of this workspace, beside the running one.
pub fn built(program: &str) -> Result<PathBuf> {
    let mut folder = std::env::current_exe()?;
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let path = folder.join(format!("{program}{}", std::env::consts::EXE_SUFFIX));
    if !path.exists() {
        bail!("{} is not built: run `cargo build --workspace --bins`", path.display());
    }
    Ok(path)
}

/// A port of 127.0.0.1 that was free a moment ago.
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// One relayer on one configuration file. Dropping it kills the process.
#[derive(Debug)]
pub struct RelayerProcess {
    config: PathBuf,
    log: PathBuf,
    grpc: String,
    rest: String,
    /// None = all.
    flags: Vec<String>,
    roles: Option<String>,
    child: Option<Child>,
    /// The relayer dies with us, even when we are killed.
    leash: Option<Leash>,
}

impl RelayerProcess {
    /// `grpc` and `rest` are the addresses (`127.0.0.1:port`) the configuration names.
    pub fn new(config: &Path, log: &Path, grpc: &str, rest: &str) -> Self {
        Self {
            config: config.into(),
            log: log.into(),
            grpc: grpc.into(),
            rest: rest.into(),
            flags: Vec::new(),
            roles: None,
            child: None,
            leash: None,
        }
    }

    /// The process shall do only this part of the work.
    pub fn with_roles(mut self, roles: &str) -> Self {
        self.roles = Some(roles.to_owned());
        self
    }

    /// Further flags of `relayer serve`.
    pub fn with_flags(mut self, flags: &[&str]) -> Self {
        self.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        self
    }

    fn is_api(&self) -> bool {
        self.roles.as_ref().is_none_or(|roles| roles.contains("api"))
    }

    pub fn grpc_url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    pub fn rest_url(&self) -> String {
        format!("http://{}", self.rest)
    }

    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Runs `relayer migrate`, then `relayer serve`, and waits until it takes calls.
    pub async fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait_ready(Duration::from_secs(60)).await
    }

    /// Starts without waiting.
    pub fn spawn(&mut self) -> Result<()> {
        let binary = built("relayer")?;
        let migrated = Command::new(&binary)
            .arg("--config")
            .arg(&self.config)
            .arg("migrate")
            .stdout(self.log_file()?)
            .stderr(self.log_file()?)
            .status()
            .context("could not start relayer migrate")?;
        if !migrated.success() {
            let said = std::fs::read_to_string(&self.log).unwrap_or_default();
            bail!("relayer migrate failed:\n{said}");
        }
        let mut command = Command::new(&binary);
        command.arg("--config").arg(&self.config).arg("serve");
        command.args(["--grpc-listen", &self.grpc, "--rest-listen", &self.rest]);
        if let Some(roles) = &self.roles {
            command.args(["--roles", roles]);
        }
        command.args(&self.flags);
        let child = own_group(&mut command)
            .stdin(Stdio::null())
            .stdout(self.log_file()?)
            .stderr(self.log_file()?)
            .spawn()
            .context("could not start relayer serve")?;
        self.leash = Some(Leash::on(child.id())?);
        self.child = Some(child);
        Ok(())
    }

    fn log_file(&self) -> Result<File> {
        let file = OpenOptions::new().create(true).append(true).open(&self.log);
        file.with_context(|| format!("could not open {}", self.log.display()))
    }

    /// Waits until the gRPC port answers, or, without the role `api`, the REST port.
    pub async fn wait_ready(&mut self, patience: Duration) -> Result<()> {
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                bail!(
                    "the relayer ended with {status} while starting; its log is {}",
                    self.log.display()
                );
            }
            if !self.is_api() {
                if crate::metrics::scrape(&self.rest_url()).await.is_ok() {
                    return Ok(());
                }
            } else if let Ok(channel) = Channel::from_shared(self.grpc_url())?.connect().await {
                let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
                let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
                if health
                    .check(request)
                    .await
                    .is_ok_and(|reply| reply.into_inner().status == 1)
                {
                    return Ok(());
                }
            }
            if Instant::now() > until {
                bail!(
                    "the relayer did not get ready in {patience:?}; its log is {}",
                    self.log.display()
                );
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn client(&self) -> Result<SettlementServiceClient<Channel>> {
        let client = SettlementServiceClient::connect(self.grpc_url()).await?;
        Ok(client.max_decoding_message_size(64 << 20))
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// SIGSTOP: the process holds what it holds and does nothing.
    pub fn freeze(&self) -> Result<()> {
        self.signal("-STOP")
    }

    /// SIGCONT: goes on where it was, as if no time had passed.
    pub fn thaw(&self) -> Result<()> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.pid().context("the relayer does not run")?;
        let status = Command::new("kill").arg(signal).arg(pid.to_string()).status()?;
        if !status.success() {
            bail!("kill {signal} {pid} failed");
        }
        Ok(())
    }

    /// kill -9: nothing is flushed, nothing is said.
    pub fn kill(&mut self) -> Result<()> {
        self.leash = None;
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// SIGTERM, then waits for the process to end by itself.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        Command::new("kill").arg("-TERM").arg(child.id().to_string()).status()?;
        // Still on its leash while it stops: should we be killed meanwhile, nothing is left behind.
        let leash = self.leash.take();
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if child.try_wait()?.is_some() {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        drop(leash);
        child.kill()?;
        child.wait()?;
        bail!("the relayer did not stop within 20 s of SIGTERM")
    }
}

impl Drop for RelayerProcess {
    fn drop(&mut self) {
        self.leash = None;
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
