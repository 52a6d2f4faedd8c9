//! Two chains on loopback with the real contracts of LayerZero V2, Wormhole and, where asked for, CCIP, ours, and the roles nobody else plays
//! locally.
//!
//! Layout: [`anvil`] a chain, [`layerzero`], [`ccip`] and [`wormhole`] the protocols, [`roles`] DVN and executor, [`guardians`] Wormhole's
//! guardians with their public REST, [`hub`] a hub with its operator and wallets, [`switches`] and [`control`] turn them off and on,
//! [`config`] the relayer's configuration for it. Our own contracts come from [`crate::deploy`], the tool operators use.

pub mod abi;
pub mod anvil;
pub mod ccip;
pub mod config;
pub mod control;
pub mod forgetful;
pub mod guardians;
pub mod hub;
pub mod layerzero;
pub mod roles;
pub mod switches;
pub mod wormhole;

use crate::deploy::artifacts::contracts_folder;
use crate::deploy::deployer::{Keys, deploy};
use crate::deploy::deployment::{ChainDeployment, Deployment};
use crate::deploy::plan::{CcipPlan, ChainPlan, LayerZeroPlan, Plan, TokenPlan, WormholePlan};
use crate::deploy::wiring::{Done, wire};
use abi::ITestToken;
use alloy::primitives::{Address, B256, Bytes, U256, aliases::U96, keccak256};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::signers::local::PrivateKeySigner;
use anvil::Anvil;
use anyhow::{Context, Result, ensure};
use ccip::results::{self, Way};
use ccip::v2::Aggregator;
use ccip::{Ccip, Committee};
use guardians::{Guardians, Observed};
use hub::{Hub, HubFile, HubOptions};
use layerzero::{LayerZero, Parts, call, create};
use relayer::adapter::abi::ISettlementVault;
use relayer_adapter_ccip::Version;
use roles::Direction;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use switches::{Setting, Switches};
use tokio_util::sync::{CancellationToken, DropGuard};
use wormhole::Wormhole;

/// Bridge ids of the two port pairs.
pub const BRIDGES: [&str; 2] = ["layerzero", "layerzero-b"];
/// Bridge id of the Wormhole port pair.
pub const WORMHOLE_BRIDGE: &str = "wormhole";
const CHAINS: [u64; 2] = [31_337, 31_338];
/// Wormhole's own ids of two real chains; they have nothing to do with chain ids.
const WORMHOLE_CHAINS: [u16; 2] = [2, 23];
/// Sandbox-like V2 ids; below 30000 LayerZero would take them for V1.
const EIDS: [u32; 2] = [30_301, 30_302];

/// How the devnet shall be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Everything it writes goes here.
    pub dir: PathBuf,
    /// Seconds between blocks.
    pub block_time: u64,
    /// Blocks the DVN waits on the source.
    pub confirmations: u64,
    /// Depth at which the relayer calls a block final.
    pub finality_depth: u64,
    pub exit_delay: u64,
    /// Whole tokens the payer deposits on each chain.
    pub deposit: u64,
    /// Target blocks for which an executed packet is looked at again, in case a reorg undoes it.
    pub watched_blocks: u64,
    /// Wormhole guardians of set 0.
    pub guardians: usize,
    /// Chainlink CCIP too, in this version.
    pub ccip: Option<Version>,
    /// A hub on the source chain, with a registry on the target.
    pub hub: Option<HubOptions>,
    /// How the roles behave from the start.
    pub roles: Setting,
}

impl Options {
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_path_buf(),
            block_time: 1,
            confirmations: 2,
            finality_depth: 3,
            exit_delay: 86_400,
            deposit: 1_000_000,
            watched_blocks: 64,
            guardians: 19,
            ccip: None,
            hub: None,
            roles: Setting::default(),
        }
    }

    /// CCIP too. Tests that need it not are spared its deployment.
    pub fn with_every_protocol(&mut self) -> &mut Self {
        self.ccip = Some(Version::V1_6);
        self
    }
}

/// Private keys of everybody who acts, each with one job so that nonces never meet. Published by construction: never hold value on them.
#[derive(Debug, Clone)]
pub struct Accounts {
    pub admin: PrivateKeySigner,
    pub guardian: PrivateKeySigner,
    pub dvn: PrivateKeySigner,
    pub executor: PrivateKeySigner,
    pub relayer: PrivateKeySigner,
    pub payer: PrivateKeySigner,
    pub payee: PrivateKeySigner,
}

/// The devnet key of a name.
pub fn key(name: &str) -> Result<PrivateKeySigner> {
    Ok(PrivateKeySigner::from_bytes(&keccak256(format!(
        "relayer devnet, worthless: {name}"
    )))?)
}

impl Accounts {
    fn new() -> Result<Self> {
        Ok(Self {
            admin: key("admin")?,
            guardian: key("guardian")?,
            dvn: key("dvn")?,
            executor: key("executor")?,
            relayer: key("relayer")?,
            payer: key("payer")?,
            payee: key("payee")?,
        })
    }

    fn named(&self) -> [(&'static str, &PrivateKeySigner); 7] {
        [
            ("admin", &self.admin),
            ("guardian", &self.guardian),
            ("dvn", &self.dvn),
            ("executor", &self.executor),
            ("relayer", &self.relayer),
            ("payer", &self.payer),
            ("payee", &self.payee),
        ]
    }
}

/// One chain with everything on it.
#[derive(Debug)]
pub struct Chain {
    pub anvil: Anvil,
    pub layerzero: LayerZero,
    pub wormhole: Wormhole,
    pub ccip: Option<Ccip>,
    pub outbox: Address,
    pub inbox: Address,
    pub vault: Address,
    pub token: Address,
    /// By bridge id.
    pub ports: BTreeMap<String, Address>,
    pub start_block: u64,
    pub registry: Option<Address>,
}

/// What `devnet.json` says about one chain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChainFile {
    pub chain_id: u64,
    pub rpc: String,
    pub outbox: Address,
    pub inbox: Address,
    pub vault: Address,
    pub token: Address,
    pub ports: BTreeMap<String, Address>,
    pub start_block: u64,
    pub layerzero: LayerZero,
    pub wormhole: Wormhole,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ccip: Option<Ccip>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<Address>,
}

/// `devnet.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DevnetFile {
    pub chains: Vec<ChainFile>,
    /// Switches of DVN, executor and guardians: GET and PUT.
    pub control: String,
    /// Public REST of Wormhole's guardians.
    pub guardians: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<HubFile>,
    /// Private keys by role. Worthless.
    pub keys: BTreeMap<String, B256>,
    pub addresses: BTreeMap<String, Address>,
}

/// A running devnet. Dropping it ends everything it started.
#[derive(Debug)]
pub struct Devnet {
    pub options: Options,
    pub source: Chain,
    pub target: Chain,
    pub accounts: Accounts,
    pub switches: Switches,
    pub control: String,
    pub guardians: Guardians,
    /// Where results of CCIP 2.0's verifiers are served.
    pub ccip_results: Option<String>,
    pub hub: Option<Hub>,
    _stop: DropGuard,
}

impl Devnet {
    /// Starts two chains, deploys, wires, funds, and lets the roles play.
    pub async fn start(options: Options) -> Result<Self> {
        std::fs::create_dir_all(&options.dir).with_context(|| format!("could not create {}", options.dir.display()))?;
        let accounts = Accounts::new()?;
        let logs = ["chain-a.log", "chain-b.log"].map(|log| options.dir.join(log));
        let (a, b) = tokio::try_join!(Anvil::start(CHAINS[0], &logs[0]), Anvil::start(CHAINS[1], &logs[1]))?;
        for anvil in [&a, &b] {
            for (_, signer) in accounts.named() {
                anvil
                    .set_balance(signer.address(), U256::from(10).pow(U256::from(22)))
                    .await?;
            }
        }
        let (source, target, hub) = build(&options, &accounts, a, b).await?;
        let stop = CancellationToken::new();
        let switches = Switches::default();
        switches.set(options.roles.clone());
        let control = control::serve(switches.clone(), stop.clone()).await?;
        play(&options, &accounts, [&source, &target], &switches, &stop);
        let observed = [&source, &target].map(|chain| Observed {
            wormhole: chain.wormhole.clone(),
            provider: chain.anvil.provider.clone(),
            admin_url: chain.anvil.url.clone(),
        });
        let guardians = Guardians::start(
            observed,
            options.guardians,
            options.finality_depth,
            accounts.admin.clone(),
            switches.clone(),
            stop.clone(),
        )
        .await?;
        if let Some(hub) = &hub {
            tokio::spawn(hub.clone().run(switches.clone(), stop.clone()));
        }
        let ccip_results = serve_results(&options, [&source, &target], &switches, &stop).await?;
        for chain in [&source, &target] {
            // The deposit counts at finality only; nobody wants to wait for it.
            chain.anvil.mine(options.finality_depth + 2).await?;
            chain.anvil.mine_every(options.block_time).await?;
        }
        let devnet = Self {
            options,
            source,
            target,
            accounts,
            switches,
            control,
            guardians,
            ccip_results,
            hub,
            _stop: stop.drop_guard(),
        };
        devnet.write_file()?;
        Ok(devnet)
    }

    pub fn file(&self) -> DevnetFile {
        let chain = |chain: &Chain| ChainFile {
            chain_id: chain.anvil.chain,
            rpc: chain.anvil.url.clone(),
            outbox: chain.outbox,
            inbox: chain.inbox,
            vault: chain.vault,
            token: chain.token,
            ports: chain.ports.clone(),
            start_block: chain.start_block,
            layerzero: chain.layerzero.clone(),
            wormhole: chain.wormhole.clone(),
            ccip: chain.ccip.clone(),
            registry: chain.registry,
        };
        DevnetFile {
            chains: vec![chain(&self.source), chain(&self.target)],
            control: self.control.clone(),
            guardians: self.guardians.endpoints.clone(),
            hub: self.hub.as_ref().map(Hub::file),
            keys: self
                .accounts
                .named()
                .map(|(name, signer)| (name.to_owned(), signer.to_bytes()))
                .into(),
            addresses: self
                .accounts
                .named()
                .map(|(name, signer)| (name.to_owned(), signer.address()))
                .into(),
        }
    }

    fn write_file(&self) -> Result<()> {
        let path = self.options.dir.join("devnet.json");
        let text = serde_json::to_string_pretty(&self.file())? + "\n";
        std::fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))
    }

    /// A provider that signs as `signer` on a chain; nonces are asked for every time, so reorgs do no harm.
    pub fn wallet(&self, chain: &Chain, signer: &PrivateKeySigner) -> Result<DynProvider> {
        wallet(&chain.anvil.url, signer)
    }
}

/// The roles that act on what they see, in both directions.
fn play(options: &Options, accounts: &Accounts, [a, b]: [&Chain; 2], switches: &Switches, stop: &CancellationToken) {
    for (from, to) in [(a, b), (b, a)] {
        let direction = Direction {
            source_chain: from.anvil.chain,
            source: from.layerzero.clone(),
            target: to.layerzero.clone(),
            source_provider: from.anvil.provider.clone(),
            target_url: to.anvil.url.clone(),
            confirmations: options.confirmations,
            dvn: accounts.dvn.clone(),
            executor: accounts.executor.clone(),
            switches: switches.clone(),
            watched_blocks: options.watched_blocks,
        };
        tokio::spawn(direction.run(stop.clone()));
        if let (Some(here), Some(there), Some(Version::V1_6)) = (&from.ccip, &to.ccip, options.ccip) {
            let committee = Committee {
                source: here.clone(),
                target: there.clone(),
                source_provider: from.anvil.provider.clone(),
                target_url: to.anvil.url.clone(),
                confirmations: options.confirmations,
                admin: accounts.admin.clone(),
                switches: switches.clone(),
            };
            tokio::spawn(committee.run(stop.clone()));
        }
    }
}

/// What CCIP 2.0 makes public, on a devnet that has it.
async fn serve_results(
    options: &Options,
    [a, b]: [&Chain; 2],
    switches: &Switches,
    stop: &CancellationToken,
) -> Result<Option<String>> {
    let mut ways = Vec::new();
    for (from, to) in [(a, b), (b, a)] {
        let (Some(here), Some(there)) = (&from.ccip, to.ccip.as_ref().and_then(|ccip| ccip.verifiers.as_ref())) else {
            return Ok(None);
        };
        ways.push(Way {
            source_provider: from.anvil.provider.clone(),
            on_ramp: here.on_ramp,
            confirmations: options.confirmations,
            aggregator: Aggregator {
                switches: switches.clone(),
                resolver: there.resolver,
            },
        });
    }
    Ok(Some(results::serve(ways, stop.clone()).await?))
}

fn wallet(url: &str, signer: &PrivateKeySigner) -> Result<DynProvider> {
    let provider = ProviderBuilder::new()
        .with_simple_nonce_management()
        .wallet(signer.clone())
        .connect_http(url.parse()?);
    provider.client().set_poll_interval(Duration::from_millis(20));
    Ok(provider.erased())
}

/// Everything that is put on the two chains, while they still mine at once.
async fn build(options: &Options, accounts: &Accounts, a: Anvil, b: Anvil) -> Result<(Chain, Chain, Option<Hub>)> {
    let parts = Parts {
        admin: accounts.admin.address(),
        dvn: accounts.dvn.address(),
        executor: accounts.executor.address(),
    };
    let (pa, pb) = (wallet(&a.url, &accounts.admin)?, wallet(&b.url, &accounts.admin)?);
    let (la, lb) = tokio::try_join!(
        layerzero::deploy(&pa, EIDS[0], parts),
        layerzero::deploy(&pb, EIDS[1], parts)
    )?;
    tokio::try_join!(
        layerzero::wire(&pa, &la, &lb, options.confirmations),
        layerzero::wire(&pb, &lb, &la, options.confirmations),
    )?;
    let guardians = guardians::set_addresses(0, options.guardians)?;
    let (wa, wb) = tokio::try_join!(
        wormhole::deploy(&pa, WORMHOLE_CHAINS[0], a.chain, &guardians),
        wormhole::deploy(&pb, WORMHOLE_CHAINS[1], b.chain, &guardians),
    )?;
    let token_code = test_contract("Tokens", "PlainToken")?;
    let (ta, tb) = tokio::try_join!(
        create(&pa, token_code.clone(), "test token"),
        create(&pb, token_code.clone(), "test token"),
    )?;
    let ccips = match options.ccip {
        Some(version) => Some(ccip::put(version, accounts, [&a, &b], [&pa, &pb], [ta, tb]).await?),
        None => None,
    };
    let [ca, cb] = ccips.map_or([None, None], |both| both.map(Some));
    let mut plan = Plan {
        state: options.dir.join("deployment.json"),
        chains: BTreeMap::from([
            (
                a.chain.to_string(),
                chain_plan(options, accounts, &a, (&la, &wa, ca.as_ref()), ta),
            ),
            (
                b.chain.to_string(),
                chain_plan(options, accounts, &b, (&lb, &wb, cb.as_ref()), tb),
            ),
        ]),
    };
    if plan.state.exists() {
        std::fs::remove_file(&plan.state)?;
    }
    let keys = Keys::One(accounts.admin.clone());
    let deployment = deploy(&plan, &keys).await?;
    for step in wire(&plan, &deployment, &keys).await? {
        ensure!(
            matches!(step.done, Done::Sent),
            "devnet wiring: {} ended with {:?}",
            step.what,
            step.done
        );
    }
    let mut source = assemble(options, accounts, a, (la, wa), ta, &deployment).await?;
    let mut target = assemble(options, accounts, b, (lb, wb), tb, &deployment).await?;
    (source.ccip, target.ccip) = (ca, cb);
    // Last of all, because its clock runs with the chain's blocks.
    let hub = match &options.hub {
        Some(wanted) => Some(hub::put(wanted, accounts, [&source, &target], options.block_time, &mut plan).await?),
        None => None,
    };
    if hub.is_some() {
        let deployment = deploy(&plan, &keys).await?;
        wire(&plan, &deployment, &keys).await?;
        target.registry = deployment.find(target.anvil.chain).and_then(|chain| chain.registry);
    }
    Ok((source, target, hub))
}

fn chain_plan(
    options: &Options,
    accounts: &Accounts,
    anvil: &Anvil,
    (lz, wormhole, ccip): (&LayerZero, &Wormhole, Option<&Ccip>),
    token: Address,
) -> ChainPlan {
    let port = LayerZeroPlan {
        eid: lz.eid,
        endpoint: lz.endpoint,
        send_library: lz.send_library,
        receive_library: lz.receive_library,
        executor: lz.executor,
        max_message_size: 10_000,
        confirmations: options.confirmations,
        verifiers: vec![lz.dvn],
    };
    let whole = U96::from(10u64.pow(18));
    ChainPlan {
        rpc: anvil.url.clone(),
        deployer_key_env: String::new(),
        admin: accounts.admin.address(),
        guardian: accounts.guardian.address(),
        exit_delay: options.exit_delay,
        claim_window: options.exit_delay,
        port_delay: options.exit_delay + 73 * 3600,
        dispatchers: vec![accounts.relayer.address()],
        tokens: vec![TokenPlan {
            address: token,
            decimals: 18,
            limit1: whole * U96::from(10_000u64),
            limit2: whole * U96::from(100_000u64),
            quorum1: 1,
            quorum2: 2,
            quorum3: 0,
        }],
        layerzero: BRIDGES
            .iter()
            .map(|bridge| ((*bridge).to_owned(), port.clone()))
            .collect(),
        wormhole: BTreeMap::from([(
            WORMHOLE_BRIDGE.to_owned(),
            WormholePlan {
                wormhole_chain: wormhole.wormhole_chain,
                core: wormhole.core,
            },
        )]),
        ccip: ccip
            .map(|ccip| {
                let port = CcipPlan {
                    selector: ccip.selector,
                    router: ccip.router,
                    fee_token: None,
                    self_execute: ccip.verifiers.is_some(),
                };
                (ccip::BRIDGE.to_owned(), port)
            })
            .into_iter()
            .collect(),
        registry: None,
    }
}

/// Collects a chain's addresses and deposits for the payer.
async fn assemble(
    options: &Options,
    accounts: &Accounts,
    anvil: Anvil,
    (layerzero, wormhole): (LayerZero, Wormhole),
    token: Address,
    deployment: &Deployment,
) -> Result<Chain> {
    let found: &ChainDeployment = deployment.find(anvil.chain).context("chain was not deployed")?;
    let vault = found.vault.context("no vault")?;
    let provider = wallet(&anvil.url, &accounts.payer)?;
    let amount = U256::from(options.deposit) * U256::from(10).pow(U256::from(18));
    if !amount.is_zero() {
        call(
            &provider,
            token,
            ITestToken::mintCall {
                to: accounts.payer.address(),
                amount,
            },
        )
        .await?;
        call(
            &provider,
            token,
            ITestToken::approveCall {
                spender: vault,
                amount: U256::MAX,
            },
        )
        .await?;
        call(&provider, vault, ISettlementVault::depositCall { token, amount }).await?;
    }
    Ok(Chain {
        layerzero,
        wormhole,
        ccip: None,
        outbox: found.outbox.context("no outbox")?,
        inbox: found.inbox.context("no inbox")?,
        vault,
        token,
        ports: found.ports.clone(),
        start_block: found.start_block.unwrap_or(0),
        registry: found.registry,
        anvil,
    })
}

/// Creation code of a contract of `contracts/test`.
pub fn test_contract(file: &str, contract: &str) -> Result<Bytes> {
    let path = contracts_folder().join(format!("out/{file}.sol/{contract}.json"));
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "{contract} is not compiled ({}): run `cargo xtask contracts build`",
            path.display()
        )
    })?;
    let json: serde_json::Value = serde_json::from_str(&text)?;
    Ok(json["bytecode"]["object"]
        .as_str()
        .with_context(|| format!("{contract} has no bytecode"))?
        .parse()?)
}
