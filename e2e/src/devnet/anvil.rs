//! One anvil process on loopback that dies with us, however we die.

use crate::deploy::artifacts::contracts_folder;
use crate::leash::own_group;
use alloy::primitives::{Address, U256};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use anyhow::{Context, Result, bail};
use relayer_e2e_postgres::free_port;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Runs anvil and ends it when its standard input closes: the pipe closes with our process, even on kill -9.
const WATCHDOG: &str = r#""$@" & child=$!; read -r _; kill -9 "$child" 2>/dev/null; wait "$child""#;

/// A chain of its own.
#[derive(Debug)]
pub struct Anvil {
    pub chain: u64,
    pub url: String,
    pub provider: DynProvider,
    watchdog: Child,
}

/// The native anvil that `npm ci` fetched, else the one on the PATH.
pub fn anvil_program() -> PathBuf {
    let platform = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("macos", "aarch64") => "darwin-arm64",
        ("macos", _) => "darwin-amd64",
        (_, "aarch64") => "linux-arm64",
        _ => "linux-amd64",
    };
    let fetched = contracts_folder().join(format!("node_modules/@foundry-rs/anvil-{platform}/bin/anvil"));
    if fetched.exists() {
        fetched
    } else {
        PathBuf::from("anvil")
    }
}

impl Anvil {
    /// Starts a chain that mines every transaction at once; see [`Anvil::mine_every`].
    pub async fn start(chain: u64, log: &Path) -> Result<Self> {
        let port = free_port()?;
        let program = anvil_program();
        let log = std::fs::File::create(log).with_context(|| format!("could not create {}", log.display()))?;
        let mut command = Command::new("sh");
        command.args(["-c", WATCHDOG, "anvil"]).arg(&program);
        let watchdog = own_group(&mut command)
            .args([
                "--host",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--chain-id",
                &chain.to_string(),
            ])
            .args([
                "--gas-limit",
                "300000000",
                "--base-fee",
                "1000000000",
                "--accounts",
                "1",
            ])
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("could not start {}", program.display()))?;
        let url = format!("http://127.0.0.1:{port}");
        let provider = ProviderBuilder::new()
            .disable_recommended_fillers()
            .connect_http(url.parse()?)
            .erased();
        let anvil = Self {
            chain,
            url,
            provider,
            watchdog,
        };
        anvil.wait_ready().await?;
        Ok(anvil)
    }

    async fn wait_ready(&self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if self
                .provider
                .get_chain_id()
                .await
                .is_ok_and(|chain| chain == self.chain)
            {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
        bail!(
            "anvil for chain {} did not answer at {} within 20 s",
            self.chain,
            self.url
        )
    }

    async fn rpc(&self, method: &'static str, params: serde_json::Value) -> Result<serde_json::Value> {
        self.provider
            .raw_request(method.into(), params)
            .await
            .with_context(|| format!("{method} on chain {}", self.chain))
    }

    pub async fn set_balance(&self, account: Address, wei: U256) -> Result<()> {
        self.rpc("anvil_setBalance", json!([account, wei])).await.map(drop)
    }

    /// From now on a block every `seconds`, transactions or not.
    pub async fn mine_every(&self, seconds: u64) -> Result<()> {
        self.rpc("evm_setAutomine", json!([false])).await?;
        self.rpc("evm_setIntervalMining", json!([seconds])).await.map(drop)
    }

    /// No block unless asked for.
    pub async fn stop_mining(&self) -> Result<()> {
        self.rpc("evm_setAutomine", json!([false])).await?;
        self.rpc("evm_setIntervalMining", json!([0])).await.map(drop)
    }

    pub async fn mine(&self, blocks: u64) -> Result<()> {
        self.rpc("anvil_mine", json!([format!("0x{blocks:x}"), "0x1"]))
            .await
            .map(drop)
    }

    /// Replaces the last `depth` blocks by empty ones; their transactions are gone.
    pub async fn reorg(&self, depth: u64) -> Result<()> {
        self.rpc("anvil_reorg", json!([depth, []])).await.map(drop)
    }

    /// The next block's clock jumps ahead.
    pub async fn increase_time(&self, seconds: u64) -> Result<()> {
        self.rpc("evm_increaseTime", json!([seconds])).await.map(drop)
    }

    /// Stops the process without ending it: the endpoint hangs, as a dead node's does.
    pub fn freeze(&self) -> Result<()> {
        self.signal("-STOP")
    }

    pub fn thaw(&self) -> Result<()> {
        self.signal("-CONT")
    }

    /// Signals anvil itself, the watchdog's only child.
    fn signal(&self, signal: &str) -> Result<()> {
        let status = Command::new("pkill")
            .args([signal, "-P", &self.watchdog.id().to_string()])
            .status()?;
        if !status.success() {
            bail!("could not send {signal} to anvil of chain {}", self.chain);
        }
        Ok(())
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.thaw();
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}
