//! Connects deployed contracts: lanes, freeze, ports, dispatchers, tokens. Every step looks first; what the key may not do is printed
//! for the owner (a multisig) instead.

mod ccip;
mod registry;
mod wormhole;

use super::deployer::{Deployer, Keys};
use super::deployment::{ChainDeployment, Deployment};
use super::plan::{ChainPlan, LayerZeroPlan, Plan};
use alloy::primitives::{Address, Bytes, U256};
use alloy::providers::Provider as _;
use alloy::sol;
use alloy::sol_types::{SolCall, SolValue};
use anyhow::{Context, Result, bail};
use relayer::adapter::abi::{ILayerZeroPort, ISettlementInbox, ISettlementOutbox, ISettlementPort, ISettlementVault};
use serde::Serialize;

sol! {
    struct UlnConfig { uint64 confirmations; uint8 requiredDVNCount; uint8 optionalDVNCount; uint8 optionalDVNThreshold; address[] requiredDVNs; address[] optionalDVNs; }
    struct ExecutorConfig { uint32 maxMessageSize; address executor; }
}

/// "None" in a LayerZero verifier set; 0 would mean "LayerZero's default".
const NO_OPTIONAL_VERIFIERS: u8 = 255;

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// It was so already.
    Already,
    /// Sent and mined.
    Sent,
    /// The key is not the owner; the owner must send this.
    OwnerMust { owner: Address, to: Address, data: Bytes },
    /// Nothing can be done before this Unix second.
    NotBefore(u64),
}

/// One step with its outcome.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    pub chain: u64,
    pub what: String,
    pub done: Done,
}

/// One chain's contracts with the key to wire them.
struct Site<'a> {
    deployer: Deployer,
    plan: &'a ChainPlan,
    outbox: Address,
    inbox: Address,
    vault: Address,
    ports: &'a ChainDeployment,
}

/// Wires every chain of the plan. Ports come before tokens: until the vault lists its first token they need no delay.
pub async fn wire(plan: &Plan, deployment: &Deployment, keys: &Keys) -> Result<Vec<Step>> {
    let mut sites = Vec::new();
    for (chain, wanted) in plan.chain_ids() {
        let found = deployment
            .find(chain)
            .with_context(|| format!("chain {chain} is not deployed: run deploy first"))?;
        let (Some(outbox), Some(inbox), Some(vault)) = (found.outbox, found.inbox, found.vault) else {
            bail!("chain {chain} is only partly deployed: run deploy again");
        };
        let deployer = Deployer::connect(chain, wanted, keys).await?;
        sites.push(Site {
            deployer,
            plan: wanted,
            outbox,
            inbox,
            vault,
            ports: found,
        });
    }
    let mut steps = Vec::new();
    for here in &sites {
        for there in sites.iter().filter(|there| there.deployer.chain != here.deployer.chain) {
            here.lanes(there, &mut steps).await?;
            here.wormhole_lanes(there, &mut steps).await?;
            here.ccip_lanes(there, &mut steps).await?;
        }
    }
    for site in &sites {
        site.ports(&mut steps).await?;
    }
    for site in &sites {
        site.dispatchers(&mut steps).await?;
        site.tokens(&mut steps).await?;
        site.hubs(&sites, &mut steps).await?;
    }
    Ok(steps)
}

impl Site<'_> {
    /// Sends a call if the key owns the contract, else says what the owner must send.
    async fn act<C: SolCall>(
        &self,
        steps: &mut Vec<Step>,
        to: Address,
        owner: Address,
        call: C,
        what: String,
    ) -> Result<()> {
        let data = Bytes::from(call.abi_encode());
        let done = if owner == self.deployer.account {
            self.deployer.send(to, data, &what).await?;
            Done::Sent
        } else {
            Done::OwnerMust { owner, to, data }
        };
        steps.push(Step {
            chain: self.deployer.chain,
            what,
            done,
        });
        Ok(())
    }

    fn note(&self, steps: &mut Vec<Step>, what: String, done: Done) {
        steps.push(Step {
            chain: self.deployer.chain,
            what,
            done,
        });
    }

    async fn lanes(&self, there: &Site<'_>, steps: &mut Vec<Step>) -> Result<()> {
        for (bridge, here_plan) in &self.plan.layerzero {
            let Some(there_plan) = there.plan.layerzero.get(bridge) else {
                continue;
            };
            let (Some(port), Some(peer)) = (self.ports.ports.get(bridge), there.ports.ports.get(bridge)) else {
                bail!(
                    "bridge {bridge}: ports are not deployed on chains {} and {}",
                    self.deployer.chain,
                    there.deployer.chain
                );
            };
            let contract = ILayerZeroPort::new(*port, &self.deployer.provider);
            let remote = there.deployer.chain;
            let what = format!("{bridge}: lane to chain {remote}");
            let lane = ILayerZeroPort::Lane {
                eid: there_plan.eid,
                peer: peer.into_word(),
                remoteOutbox: there.outbox.into_word(),
                sendLibrary: here_plan.send_library,
                receiveLibrary: here_plan.receive_library,
            };
            let current = contract.lane(remote).call().await?;
            if current.eid != 0 {
                if current.abi_encode() != lane.abi_encode() {
                    bail!(
                        "chain {}: {what} is wired otherwise and can never change: deploy a new port",
                        self.deployer.chain
                    );
                }
                self.note(steps, what, Done::Already);
                continue;
            }
            let call = ILayerZeroPort::setLaneCall {
                chainId: remote,
                lane,
                sendUln: verifiers(here_plan, here_plan.confirmations),
                executor: ExecutorConfig {
                    maxMessageSize: here_plan.max_message_size,
                    executor: here_plan.executor,
                }
                .abi_encode()
                .into(),
                // What comes from there was confirmed there.
                receiveUln: verifiers(here_plan, there_plan.confirmations),
            };
            let owner = contract.owner().call().await?;
            self.act(steps, *port, owner, call, what).await?;
        }
        Ok(())
    }

    async fn ports(&self, steps: &mut Vec<Step>) -> Result<()> {
        for (bridge, port) in &self.ports.ports {
            let contract = ILayerZeroPort::new(*port, &self.deployer.provider);
            let frozen = ISettlementPort::new(*port, &self.deployer.provider)
                .frozen()
                .call()
                .await?;
            let what = format!("{bridge}: freeze the port");
            if frozen {
                self.note(steps, what, Done::Already);
            } else {
                self.act(
                    steps,
                    *port,
                    contract.owner().call().await?,
                    ILayerZeroPort::freezeCall {},
                    what,
                )
                .await?;
            }
            self.inbox_port(steps, bridge, *port).await?;
            let outbox = ISettlementOutbox::new(self.outbox, &self.deployer.provider);
            let what = format!("{bridge}: add the port to the outbox");
            if outbox.portSlot(*port).call().await? != 0 {
                self.note(steps, what, Done::Already);
            } else {
                let owner = outbox.owner().call().await?;
                self.act(
                    steps,
                    self.outbox,
                    owner,
                    ISettlementOutbox::addPortCall { port: *port },
                    what,
                )
                .await?;
            }
        }
        Ok(())
    }

    async fn inbox_port(&self, steps: &mut Vec<Step>, bridge: &str, port: Address) -> Result<()> {
        let inbox = ISettlementInbox::new(self.inbox, &self.deployer.provider);
        let owner = inbox.owner().call().await?;
        let what = format!("{bridge}: activate the port in the inbox");
        let mut info = inbox.portInfo(port).call().await?;
        if info.active {
            self.note(steps, what, Done::Already);
            return Ok(());
        }
        if info.activatableAt.is_zero() {
            let proposal = format!("{bridge}: propose the port to the inbox");
            self.act(
                steps,
                self.inbox,
                owner,
                ISettlementInbox::proposePortCall { port },
                proposal,
            )
            .await?;
            info = inbox.portInfo(port).call().await?;
        }
        let head = self
            .deployer
            .provider
            .get_block(alloy::eips::BlockId::latest())
            .await?
            .context("the chain has no head")?;
        let at: u64 = info.activatableAt.try_into().unwrap_or(u64::MAX);
        if info.activatableAt.is_zero() || at > head.header.timestamp + 1 {
            self.note(steps, what, Done::NotBefore(at));
            return Ok(());
        }
        self.act(
            steps,
            self.inbox,
            owner,
            ISettlementInbox::activatePortCall { port },
            what,
        )
        .await
    }

    async fn dispatchers(&self, steps: &mut Vec<Step>) -> Result<()> {
        let outbox = ISettlementOutbox::new(self.outbox, &self.deployer.provider);
        for account in &self.plan.dispatchers {
            let what = format!("dispatcher {account}");
            if outbox.isDispatcher(*account).call().await? {
                self.note(steps, what, Done::Already);
                continue;
            }
            let owner = outbox.owner().call().await?;
            let call = ISettlementOutbox::setDispatcherCall {
                account: *account,
                allowed: true,
            };
            self.act(steps, self.outbox, owner, call, what).await?;
        }
        Ok(())
    }

    async fn tokens(&self, steps: &mut Vec<Step>) -> Result<()> {
        let vault = ISettlementVault::new(self.vault, &self.deployer.provider);
        for token in &self.plan.tokens {
            let what = format!("list token {}", token.address);
            let call = ISettlementVault::listTokenCall {
                token: token.address,
                decimals: token.decimals,
                limit1: token.limit1,
                limit2: token.limit2,
                quorum1: token.quorum1,
                quorum2: token.quorum2,
                quorum3: token.quorum3,
            };
            let now = vault.tokenConfig(token.address).call().await?;
            let same = now.listed
                && (now.decimals, now.limit1, now.limit2) == (call.decimals, call.limit1, call.limit2)
                && (now.quorum1, now.quorum2, now.quorum3) == (call.quorum1, call.quorum2, call.quorum3);
            if same {
                self.note(steps, what, Done::Already);
            } else {
                self.act(steps, self.vault, vault.owner().call().await?, call, what)
                    .await?;
            }
        }
        Ok(())
    }
}

fn verifiers(plan: &LayerZeroPlan, confirmations: u64) -> Bytes {
    let config = UlnConfig {
        confirmations,
        requiredDVNCount: u8::try_from(plan.verifiers.len()).unwrap_or(u8::MAX),
        optionalDVNCount: NO_OPTIONAL_VERIFIERS,
        optionalDVNThreshold: 0,
        requiredDVNs: plan.verifiers.clone(),
        optionalDVNs: Vec::new(),
    };
    config.abi_encode().into()
}

/// What is wired now, per chain, for people.
pub async fn show(plan: &Plan, deployment: &Deployment, keys: &Keys) -> Result<Vec<(u64, String, String)>> {
    let mut rows = Vec::new();
    for (chain, wanted) in plan.chain_ids() {
        let Some(found) = deployment.find(chain) else {
            rows.push((chain, "not deployed".into(), String::new()));
            continue;
        };
        let deployer = Deployer::connect(chain, wanted, keys).await?;
        for (name, address) in [("outbox", found.outbox), ("inbox", found.inbox), ("vault", found.vault)] {
            rows.push((
                chain,
                name.into(),
                address.map_or("missing".into(), |address| address.to_string()),
            ));
        }
        if let Some(vault) = found.vault {
            let vault = ISettlementVault::new(vault, &deployer.provider);
            let exit: U256 = vault.exitDelay().call().await?;
            rows.push((chain, "vault owner".into(), vault.owner().call().await?.to_string()));
            rows.push((chain, "exit delay".into(), format!("{exit} s")));
        }
        if let (Some(address), Some(registry)) = (found.registry, &wanted.registry) {
            rows.push((chain, "registry".into(), address.to_string()));
            rows.extend(registry::rows(chain, &deployer, address, registry).await?);
        }
        for (bridge, port) in &found.ports {
            let frozen = ISettlementPort::new(*port, &deployer.provider).frozen().call().await?;
            let inbox = ISettlementInbox::new(found.inbox.unwrap_or_default(), &deployer.provider);
            let info = inbox.portInfo(*port).call().await?;
            let state = format!("{port} frozen={frozen} active={} slot={}", info.active, info.slot);
            rows.push((chain, format!("port {bridge}"), state));
        }
    }
    Ok(rows)
}
