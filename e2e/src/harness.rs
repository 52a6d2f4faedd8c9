//! A whole world for tests and the demo: devnet, relayer process, coordinator, and questions put to the chains themselves.

use crate::coordinator::{Coordinator, Signed};
use crate::database::Database;
use crate::devnet::abi::ITestToken;
use crate::devnet::config::RelayerOptions;
use crate::devnet::{Chain, Devnet, Options, key};
use crate::relayer_process::RelayerProcess;
use alloy::primitives::{Address, B256, U256};
use alloy::providers::Provider;
use alloy::rpc::types::Filter;
use alloy::sol_types::SolEvent;
use anyhow::{Context, Result, bail, ensure};
use ed25519_dalek::SigningKey;
use relayer::adapter::abi::{ISettlementInbox, ISettlementVault};
use relayer::adapter::{ChainId, SettlementId};
use relayer_e2e_postgres::free_port;
use relayer_proto::v1;
use relayer_proto::v1::settlement_service_client::SettlementServiceClient;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

/// How long a settlement may take in a test before the test gives up.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Everything a test needs, in one folder that goes away with it.
#[derive(Debug)]
pub struct World {
    pub devnet: Devnet,
    pub relayer: RelayerProcess,
    pub relayer_options: RelayerOptions,
    pub coordinator: Coordinator,
    /// After the relayer, which uses it.
    _database: Option<Database>,
    /// Keeps the folder alive.
    _folder: Option<tempfile::TempDir>,
}

/// What a test changes before the world starts.
pub type Adjust<'a> = &'a dyn Fn(&mut Options, &mut RelayerOptions);

impl World {
    /// A world in a temporary folder, relayer running.
    pub async fn start(adjust: Adjust<'_>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut world = Self::prepare(folder.path(), adjust).await?;
        world._folder = Some(folder);
        world.relayer.start().await?;
        Ok(world)
    }

    /// A world in `dir`, relayer configured but not started.
    pub async fn prepare(dir: &Path, adjust: Adjust<'_>) -> Result<Self> {
        let mut options = Options::new(dir);
        let listen = || free_port().map(|port| format!("127.0.0.1:{port}"));
        let mut relayer_options = RelayerOptions::new(dir, listen()?, listen()?);
        let receipts = SigningKey::from_bytes(&key("receipts")?.to_bytes().0);
        let public = hex::encode(receipts.verifying_key().as_bytes());
        relayer_options.coordinators.push(("market".into(), vec![public]));
        adjust(&mut options, &mut relayer_options);
        let database = match relayer_options.store_url {
            Some(_) => None,
            None => Database::from_env()?,
        };
        if let Some(database) = &database {
            relayer_options.store_url = Some(database.url().to_owned());
        }
        let devnet = Devnet::start(options).await?;
        let config = devnet.write_relayer_config(&relayer_options)?;
        let log = dir.join("relayer.log");
        let relayer = RelayerProcess::new(&config, &log, &relayer_options.grpc, &relayer_options.rest);
        let relayer = match &relayer_options.roles {
            Some(roles) => relayer.with_roles(roles),
            None => relayer,
        };
        let coordinator = Coordinator::new(
            "market",
            receipts,
            devnet.accounts.payer.clone(),
            ChainId(devnet.source.anvil.chain),
            ChainId(devnet.target.anvil.chain),
            devnet.target.inbox,
            devnet.target.token,
            U256::from(10).pow(U256::from(18)),
        );
        Ok(Self {
            devnet,
            relayer,
            relayer_options,
            coordinator,
            _database: database,
            _folder: None,
        })
    }

    /// A further process on the same configuration and database with listeners of its own, not started.
    pub fn worker(&self, name: &str, roles: &str) -> Result<RelayerProcess> {
        let dir = &self.devnet.options.dir;
        let listen = || free_port().map(|port| format!("127.0.0.1:{port}"));
        let (config, log) = (dir.join("relayer.toml"), dir.join(format!("{name}.log")));
        Ok(RelayerProcess::new(&config, &log, &listen()?, &listen()?).with_roles(roles))
    }

    pub async fn client(&self) -> Result<SettlementServiceClient<Channel>> {
        self.relayer.client().await
    }

    /// Head timestamp of the target chain, Unix seconds.
    pub async fn target_time(&self) -> Result<u64> {
        let head = self
            .devnet
            .target
            .anvil
            .provider
            .get_block(alloy::eips::BlockId::latest())
            .await?;
        Ok(head.context("target has no head")?.header.timestamp)
    }

    /// A deadline in the middle of what intake takes.
    pub async fn deadline(&self) -> Result<u64> {
        Ok(self.target_time().await? + self.devnet.options.exit_delay / 2)
    }

    /// A new settlement of `quarters / 4` tokens to `payee`, signed.
    pub async fn signed(&self, payee: Address, quarters: u64) -> Result<Signed> {
        let job = self.coordinator.job("provider", quarters);
        self.coordinator
            .settlement(&job, payee, quarters, self.deadline().await?)
    }

    /// Submits once; the relayer must take it.
    pub async fn submit(&self, signed: &Signed) -> Result<v1::SubmitResponse> {
        let mut client = self.client().await?;
        let reply = client
            .submit(signed.request.clone())
            .await
            .context("submit")?
            .into_inner();
        ensure!(
            reply.settlement_id == signed.id.to_string(),
            "the relayer computed another id: {}",
            reply.settlement_id
        );
        Ok(reply)
    }

    /// Submits until the relayer acknowledges: what a client does that must not lose a settlement.
    pub async fn submit_surely(&self, signed: &Signed) -> Result<v1::SubmitResponse> {
        let url = self.relayer.grpc_url();
        let asked = surely(&url, async |mut client| client.submit(signed.request.clone()).await);
        Ok(tokio::time::timeout(PATIENCE, asked)
            .await
            .context("submit")??
            .into_inner())
    }

    pub async fn get(&self, id: SettlementId) -> Result<v1::GetResponse> {
        let request = v1::GetRequest {
            settlement_id: id.to_string(),
        };
        Ok(self.client().await?.get(request).await.context("get")?.into_inner())
    }

    pub async fn state(&self, id: SettlementId) -> Result<String> {
        Ok(self.get(id).await?.settlement.context("no settlement")?.state)
    }

    /// Waits until all of `ids` are in one of `states`; on time-out says where each stuck one is.
    pub async fn wait_states(&self, ids: &[SettlementId], states: &[&str], patience: Duration) -> Result<()> {
        let until = Instant::now() + patience;
        loop {
            let mut missing = Vec::new();
            for id in ids {
                match self.state(*id).await {
                    Ok(state) if states.contains(&state.as_str()) => {}
                    Ok(state) => missing.push(format!("{id}: {state}")),
                    Err(error) => missing.push(format!("{id}: {error:#}")),
                }
            }
            if missing.is_empty() {
                return Ok(());
            }
            if Instant::now() > until {
                let log = std::fs::read_to_string(self.relayer.log_path()).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(60).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                bail!(
                    "{} of {} not in {states:?} after {patience:?}:\n{}\n---- log\n{}",
                    missing.len(),
                    ids.len(),
                    missing.join("\n"),
                    tail.join("\n")
                );
            }
            sleep(Duration::from_millis(300)).await;
        }
    }

    /// Token balance on a chain, asked of the chain.
    pub async fn balance(&self, chain: &Chain, account: Address) -> Result<U256> {
        Ok(ITestToken::new(chain.token, &chain.anvil.provider)
            .balanceOf(account)
            .call()
            .await?)
    }

    /// How often the target's inbox says each settlement was paid, from its logs.
    pub async fn payments(&self) -> Result<BTreeMap<B256, usize>> {
        let chain = &self.devnet.target;
        let filter = Filter::new()
            .address(chain.inbox)
            .event_signature(ISettlementInbox::SettlementPaid::SIGNATURE_HASH)
            .from_block(chain.start_block);
        let mut counts = BTreeMap::new();
        for log in chain.anvil.provider.get_logs(&filter).await? {
            let event = ISettlementInbox::SettlementPaid::decode_log(&log.inner)?;
            *counts.entry(event.id).or_default() += 1;
        }
        Ok(counts)
    }

    /// Fails unless the chain says that each of `signed` was paid exactly once, its payees got the sums, and the payer's deposit shrank by no more.
    pub async fn assert_paid_exactly_once(&self, signed: &[Signed], deposited: U256) -> Result<()> {
        let payments = self.payments().await?;
        for one in signed {
            ensure!(
                payments.get(&one.id.0) == Some(&1),
                "{} was paid {:?} times",
                one.id,
                payments.get(&one.id.0)
            );
        }
        ensure!(
            payments.len() == signed.len(),
            "{} settlements were paid, {} submitted",
            payments.len(),
            signed.len()
        );
        let mut due: BTreeMap<Address, U256> = BTreeMap::new();
        let mut debit = U256::ZERO;
        for one in signed {
            *due.entry(one.terms.payee).or_default() += one.terms.amount;
            debit += one.terms.debit();
        }
        for (payee, amount) in due {
            let balance = self.balance(&self.devnet.target, payee).await?;
            ensure!(balance == amount, "{payee} holds {balance}, was due {amount}");
        }
        let vault = ISettlementVault::new(self.devnet.target.vault, &self.devnet.target.anvil.provider);
        let left = vault
            .balanceOf(self.coordinator.payer.address(), self.devnet.target.token)
            .call()
            .await?;
        ensure!(
            left == deposited - debit,
            "the payer's deposit is {left}, should be {}",
            deposited - debit
        );
        Ok(())
    }

    /// Open differences between ledger and chains, after a sweep had time to run.
    pub async fn drift(&self) -> Result<u64> {
        drift_of(&self.relayer).await
    }
}

/// Open differences as a process with the engine's role shows them.
pub async fn drift_of(process: &RelayerProcess) -> Result<u64> {
    let text = crate::metrics::scrape(&process.rest_url()).await?;
    ensure!(
        text.contains("relayer_settlement_state_count"),
        "this process samples no figures"
    );
    Ok(crate::metrics::total(&text, "relayer_ledger_drift_count") as u64)
}

/// Asks the relayer at `url` until it answers, over every kind of outage: what a client does that must not lose what it asked for. Fails
/// when it is refused.
pub async fn surely<T, F>(url: &str, ask: impl Fn(SettlementServiceClient<Channel>) -> F) -> Result<T>
where
    F: Future<Output = Result<T, tonic::Status>>,
{
    loop {
        if let Ok(client) = SettlementServiceClient::connect(url.to_owned()).await {
            match ask(client).await {
                Ok(answer) => return Ok(answer),
                Err(status) => ensure!(is_transient(&status), "refused: {status}"),
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Whether trying again may help.
pub fn is_transient(status: &tonic::Status) -> bool {
    use tonic::Code;
    matches!(
        status.code(),
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Unknown | Code::Cancelled
    )
}

/// The stable code of a refusal (`RLY-…`), from its ErrorInfo.
pub fn error_code(status: &tonic::Status) -> String {
    use tonic_types::StatusExt;
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

/// A payee nobody has used before.
pub fn fresh_payee(name: &str) -> Result<Address> {
    Ok(key(&format!("payee {name}"))?.address())
}
