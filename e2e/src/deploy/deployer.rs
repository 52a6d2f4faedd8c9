//! Puts our contracts on the chains of a plan. Repeating it deploys only what is missing.

use super::artifacts::{ours, with_args};
use super::deployment::Deployment;
use super::plan::{ChainPlan, Plan};
use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, Bytes, U256};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::TransactionRequest;
use alloy::signers::local::PrivateKeySigner;
use anyhow::{Context, Result, bail};
use relayer::adapter::abi::ISettlementInbox;
use std::time::Duration;

/// How long a deployment may take to be mined.
const MINED_WITHIN: Duration = Duration::from_secs(300);

/// A chain with the deployer's key.
#[derive(Debug, Clone)]
pub struct Deployer {
    pub chain: u64,
    pub account: Address,
    pub provider: DynProvider,
}

/// Where the deployer's key comes from.
#[derive(Debug, Clone)]
pub enum Keys {
    /// The environment variable each chain of the plan names.
    Environment,
    /// One key for every chain (the devnet).
    One(PrivateKeySigner),
}

impl Keys {
    fn signer(&self, chain: u64, plan: &ChainPlan) -> Result<PrivateKeySigner> {
        match self {
            Self::One(signer) => Ok(signer.clone()),
            Self::Environment => {
                let name = &plan.deployer_key_env;
                let key = std::env::var(name)
                    .with_context(|| format!("chain {chain}: set {name} to the deployer's private key"))?;
                key.trim()
                    .parse()
                    .with_context(|| format!("{name} is not a private key"))
            }
        }
    }
}

impl Deployer {
    /// Connects, and fails unless the endpoint serves the chain the plan names.
    pub async fn connect(chain: u64, plan: &ChainPlan, keys: &Keys) -> Result<Self> {
        let signer = keys.signer(chain, plan)?;
        let account = signer.address();
        let url = plan
            .rpc
            .parse()
            .with_context(|| format!("chain {chain}: {} is not a URL", plan.rpc))?;
        let provider = ProviderBuilder::new().wallet(signer).connect_http(url).erased();
        provider.client().set_poll_interval(Duration::from_millis(20));
        let actual = provider
            .get_chain_id()
            .await
            .with_context(|| format!("chain {chain}: {} does not answer", plan.rpc))?;
        if actual != chain {
            bail!("{} serves chain {actual}, the plan says {chain}", plan.rpc);
        }
        Ok(Self {
            chain,
            account,
            provider,
        })
    }

    pub async fn has_code(&self, address: Address) -> Result<bool> {
        Ok(!self.provider.get_code_at(address).await?.is_empty())
    }

    /// Sends a call and waits until it is mined; a revert is an error.
    pub async fn send(&self, to: Address, data: Bytes, what: &str) -> Result<()> {
        let request = TransactionRequest::default().with_to(to).with_input(data);
        let pending = self
            .provider
            .send_transaction(request)
            .await
            .with_context(|| format!("chain {}: {what}", self.chain))?;
        let receipt = pending.with_timeout(Some(MINED_WITHIN)).get_receipt().await?;
        if !receipt.status() {
            bail!("chain {}: {what} reverted in {}", self.chain, receipt.transaction_hash);
        }
        Ok(())
    }
}

/// Deploys what is missing on every chain of the plan.
pub async fn deploy(plan: &Plan, keys: &Keys) -> Result<Deployment> {
    let mut deployment = Deployment::read(&plan.state)?;
    for (chain, wanted) in plan.chain_ids() {
        let deployer = Deployer::connect(chain, wanted, keys).await?;
        if deployment.chain(chain).start_block.is_none() {
            deployment.chain(chain).start_block = Some(deployer.provider.get_block_number().await?);
        }
        let outbox_code = with_args(&ours("SettlementOutbox")?, &(wanted.admin,));
        let outbox = ensure(&deployer, plan, &mut deployment, "outbox", outbox_code).await?;
        deployment.chain(chain).outbox = Some(outbox);
        let delays = [wanted.exit_delay, wanted.claim_window, wanted.port_delay].map(U256::from);
        let inbox_args = (wanted.admin, wanted.guardian, delays[0], delays[1], delays[2]);
        let inbox_code = with_args(&ours("SettlementInbox")?, &inbox_args);
        let inbox = ensure(&deployer, plan, &mut deployment, "inbox", inbox_code).await?;
        deployment.chain(chain).inbox = Some(inbox);
        let vault = ISettlementInbox::new(inbox, &deployer.provider).vault().call().await?;
        deployment.chain(chain).vault = Some(vault);
        if let Some(registry) = &wanted.registry {
            let args = (inbox, wanted.admin, U256::from(registry.resolve_delay));
            let code = with_args(&ours("CheckpointRegistry")?, &args);
            let address = ensure(&deployer, plan, &mut deployment, "registry", code).await?;
            deployment.chain(chain).registry = Some(address);
        }
        for (bridge, port) in &wanted.layerzero {
            let args = (port.endpoint, outbox, inbox, wanted.admin, wanted.guardian);
            let code = with_args(&ours("LayerZeroPort")?, &args);
            let address = ensure(&deployer, plan, &mut deployment, &format!("port:{bridge}"), code).await?;
            deployment.chain(chain).ports.insert(bridge.clone(), address);
        }
        for (bridge, port) in &wanted.wormhole {
            let code = with_args(&ours("WormholePort")?, &(port.core, outbox, inbox, wanted.admin));
            let address = ensure(&deployer, plan, &mut deployment, &format!("port:{bridge}"), code).await?;
            deployment.chain(chain).ports.insert(bridge.clone(), address);
        }
        for (bridge, port) in &wanted.ccip {
            let args = (
                port.router,
                port.fee_token.unwrap_or_default(),
                outbox,
                inbox,
                wanted.admin,
            );
            let code = with_args(&ours("CcipPort")?, &args);
            let address = ensure(&deployer, plan, &mut deployment, &format!("port:{bridge}"), code).await?;
            deployment.chain(chain).ports.insert(bridge.clone(), address);
        }
        deployment.write(&plan.state)?;
    }
    Ok(deployment)
}

/// The address of a contract: known, or sent by an interrupted run, or deployed now.
async fn ensure(
    deployer: &Deployer,
    plan: &Plan,
    deployment: &mut Deployment,
    name: &str,
    code: Bytes,
) -> Result<Address> {
    let chain = deployment.chain(deployer.chain);
    let known = match name {
        "outbox" => chain.outbox,
        "inbox" => chain.inbox,
        "registry" => chain.registry,
        _ => name
            .strip_prefix("port:")
            .and_then(|bridge| chain.ports.get(bridge).copied()),
    };
    if let Some(address) = known {
        if !deployer.has_code(address).await? {
            bail!(
                "chain {}: {} says {name} is {address}, where there is no code. Is this the right chain? If it was reset, remove the entry.",
                deployer.chain,
                plan.state.display()
            );
        }
        return Ok(address);
    }
    if let Some(address) = chain.pending.get(name).copied()
        && deployer.has_code(address).await?
    {
        chain.pending.remove(name);
        return Ok(address);
    }
    let nonce = deployer.provider.get_transaction_count(deployer.account).await?;
    let address = deployer.account.create(nonce);
    deployment
        .chain(deployer.chain)
        .pending
        .insert(name.to_owned(), address);
    deployment.write(&plan.state)?;
    let request = TransactionRequest::default().with_deploy_code(code).with_nonce(nonce);
    let what = format!("chain {}: deploying {name}", deployer.chain);
    let pending = deployer
        .provider
        .send_transaction(request)
        .await
        .with_context(|| what.clone())?;
    let receipt = pending.with_timeout(Some(MINED_WITHIN)).get_receipt().await?;
    if !receipt.status() || receipt.contract_address != Some(address) {
        bail!("{what}: reverted or went elsewhere, in {}", receipt.transaction_hash);
    }
    deployment.chain(deployer.chain).pending.remove(name);
    Ok(address)
}
