//! A relayer to measure: two chains, its own database, and requests signed beforehand.

use super::{Backend, Bench, connect};
use crate::coordinator::{Coordinator, Signed};
use crate::devnet::abi::ITestToken;
use crate::devnet::config::RelayerOptions;
use crate::devnet::{Options, key};
use crate::harness::{PATIENCE, World};
use crate::relayer_process::RelayerProcess;
use alloy::primitives::{Address, U256};
use anyhow::{Context, Result, ensure};
use futures::stream::{self, StreamExt, TryStreamExt};
use relayer::store::{Store, StoreConfig};
use relayer_proto::v1;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Payees the settlements are spread over.
pub const PAYEES: u64 = 16;

/// One key of the configuration, as `section.key`, and its value.
pub type Setting<'a> = (&'a str, toml::Value);

/// A world in a folder of its own. The relayer is not started.
#[derive(Debug)]
pub struct Site {
    pub world: World,
    pub url: String,
    folder: tempfile::TempDir,
}

impl Site {
    pub async fn new(
        bench: &Bench,
        backend: Backend,
        settings: &[Setting<'_>],
        adjust: &dyn Fn(&mut Options, &mut RelayerOptions),
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let url = bench.database_url(backend, folder.path())?;
        let world = World::prepare(folder.path(), &|options, relayer| {
            options.deposit = 100_000_000;
            adjust(options, relayer);
        })
        .await?;
        let site = Self { world, url, folder };
        site.configure(settings)?;
        Ok(site)
    }

    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("relayer.toml")
    }

    /// Changes keys of relayer.toml; a running relayer does not notice.
    pub fn configure(&self, settings: &[Setting<'_>]) -> Result<()> {
        let path = self.config_path();
        let text = std::fs::read_to_string(&path)?;
        let mut all = vec![("store.url", toml::Value::from(self.url.clone()))];
        all.push(("log.level", "warn".into()));
        all.extend(settings.iter().cloned());
        std::fs::write(&path, with_settings(&text, &all)?)?;
        Ok(())
    }

    /// Starts a relayer that accepts and follows the chains, and does nothing else: figures of the intake are its own.
    pub async fn start_accepting(&mut self) -> Result<()> {
        // Once with everything, so that the payer's deposit is in the books.
        self.world.relayer.start().await?;
        self.world.relayer.stop().await?;
        self.configure(&[("supervisor.roles", "api,observer".into())])?;
        self.world.relayer.start().await
    }

    /// The same database and ports with another configuration file: what the folder's relayer.toml says now.
    pub fn relayer(&mut self) -> &mut RelayerProcess {
        &mut self.world.relayer
    }

    pub async fn clients(&self, connections: usize) -> Result<Vec<super::load::Client>> {
        connect(&self.world.relayer.grpc_url(), connections).await
    }

    /// The relayer's database, opened beside it.
    pub async fn store(&self) -> Result<Store> {
        Ok(Store::open(&StoreConfig::new(&self.url)).await?)
    }

    pub fn payees() -> Result<Vec<Address>> {
        (0..PAYEES)
            .map(|n| Ok(key(&format!("bench payee {n}"))?.address()))
            .collect()
    }

    /// So many new settlements, signed on all cores.
    pub async fn sign(&self, count: usize) -> Result<Vec<Signed>> {
        let deadline = self.world.deadline().await?;
        let payees = Self::payees()?;
        on_all_cores(count, &|n| {
            let coordinator = &self.world.coordinator;
            let job = coordinator.job("provider", 1);
            coordinator.settlement(&job, payees[n % payees.len()], 1, deadline)
        })
    }

    /// The usual payees hold the token before they are paid for the first time: a fresh balance slot is the payee's cost, not the batch's.
    pub async fn endow(&self) -> Result<()> {
        let devnet = &self.world.devnet;
        let wallet = devnet.wallet(&devnet.target, &devnet.accounts.payer)?;
        let token = ITestToken::new(devnet.target.token, wallet);
        for payee in Self::payees()? {
            token.mint(payee, U256::from(1)).send().await?.get_receipt().await?;
        }
        Ok(())
    }

    /// Submits over one connection.
    pub async fn submit(&self, signed: &[Signed]) -> Result<()> {
        let clients = self.clients(1).await?;
        let client = clients.first().context("no connection")?;
        stream::iter(signed)
            .map(|one| {
                let mut client = client.clone();
                async move { client.submit(one.request.clone()).await.context("submit") }
            })
            .buffer_unordered(64)
            .try_for_each(|_| async { Ok(()) })
            .await
    }

    /// Until the last of them is settled: a message ends at once, so one is asked for until it is done.
    pub async fn wait_settled(&self, signed: &[Signed]) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        for one in signed.iter().rev() {
            while self.world.state(one.id).await? != "settled" {
                ensure!(Instant::now() < until, "{} is not settled after {PATIENCE:?}", one.id);
                sleep(Duration::from_millis(200)).await;
            }
        }
        Ok(())
    }

    /// Requests of so many new settlements.
    pub async fn requests(&self, count: usize) -> Result<Vec<v1::SubmitRequest>> {
        Ok(self.sign(count).await?.into_iter().map(|one| one.request).collect())
    }

    /// So many groups of `size` new settlements, one signature of the payer for each.
    pub async fn groups(&self, count: usize, size: usize) -> Result<Vec<v1::SubmitGroupRequest>> {
        let deadline = self.world.deadline().await?;
        let payees = Self::payees()?;
        on_all_cores(count, &|_| group(&self.world.coordinator, size, &payees, deadline))
    }
}

/// Calls `make(0..count)` on all cores.
fn on_all_cores<T: Send>(count: usize, make: &(dyn Fn(usize) -> Result<T> + Sync)) -> Result<Vec<T>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = count.div_ceil(cores).max(1);
    let parts: Vec<Result<Vec<T>>> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..cores)
            .map(|core| {
                let range = (core * share).min(count)..((core + 1) * share).min(count);
                scope.spawn(move || range.map(make).collect::<Result<Vec<T>>>())
            })
            .collect();
        let joined = running.into_iter().map(|thread| thread.join());
        joined
            .map(|part| part.unwrap_or_else(|_| Err(anyhow::anyhow!("a signing thread ended"))))
            .collect()
    });
    let mut all = Vec::with_capacity(count);
    for part in parts {
        all.extend(part?);
    }
    Ok(all)
}

fn group(coordinator: &Coordinator, size: usize, payees: &[Address], deadline: u64) -> Result<v1::SubmitGroupRequest> {
    let members = (0..size).map(|n| {
        let job = coordinator.job("provider", 1);
        let terms = coordinator.terms(&job, payees[n % payees.len()], coordinator.amount(1), deadline);
        (job, terms)
    });
    Ok(coordinator.group(members.collect())?.request)
}

/// A configuration file with some keys changed.
fn with_settings(text: &str, settings: &[Setting<'_>]) -> Result<String> {
    let mut file: toml::Table = text
        .parse()
        .context("the devnet wrote a configuration that is no TOML")?;
    for (path, value) in settings {
        let (section, name) = path.split_once('.').context("a setting is section.key")?;
        let table = file
            .entry(section)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let table = table.as_table_mut().with_context(|| format!("{section} is no table"))?;
        table.insert(name.to_owned(), value.clone());
    }
    Ok(toml::to_string(&file)?)
}

/// A figure of `/proc/<pid>/status` in MB (10^6 bytes).
pub fn memory_mb(pid: u32, field: &str) -> Result<f64> {
    let path = PathBuf::from("/proc").join(pid.to_string()).join("status");
    memory_of(&std::fs::read_to_string(&path)?, field).with_context(|| format!("{field} of {}", show(&path)))
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

fn memory_of(status: &str, field: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024.0 / 1_000_000.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn settings_replace_and_add_keys_and_leave_the_rest() {
        let text = "[store]\nurl = \"a\"\n\n[chains.\"eip155:1\"]\nchain_id = 1\n";
        let changed = with_settings(text, &[("store.url", "b".into()), ("intake.queue_max", 7.into())]).unwrap();
        let table: toml::Table = changed.parse().unwrap();
        assert_eq!(table["store"]["url"].as_str(), Some("b"));
        assert_eq!(table["intake"]["queue_max"].as_integer(), Some(7));
        assert_eq!(table["chains"]["eip155:1"]["chain_id"].as_integer(), Some(1));
    }

    #[test]
    fn work_is_spread_and_its_results_keep_their_order() {
        let made = on_all_cores(7, &|n| Ok(n * 2)).unwrap();
        assert_eq!(made, [0, 2, 4, 6, 8, 10, 12]);
        assert!(on_all_cores(0, &Ok).unwrap().is_empty());
        assert!(on_all_cores(3, &|n| if n == 2 { Err(anyhow::anyhow!("no")) } else { Ok(n) }).is_err());
    }

    #[test]
    fn memory_is_read_in_megabytes() {
        let status = "Name:\trelayer\nVmHWM:\t  2000 kB\nVmRSS:\t  1000 kB\n";
        assert_eq!(memory_of(status, "VmRSS"), Some(1.024));
        assert_eq!(memory_of(status, "VmHWM"), Some(2.048));
        assert_eq!(memory_of(status, "VmSwap"), None);
    }
}
