//! `relayer.toml` for a devnet: short waits, shallow finality, one coordinator.

use super::{BRIDGES, Chain, Devnet, WORMHOLE_BRIDGE, ccip, hub};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What a relayer on the devnet is told beyond the devnet itself.
#[derive(Debug, Clone)]
pub struct RelayerOptions {
    /// SQLite file, unless `store_url` is set.
    pub database: PathBuf,
    /// Another database.
    pub store_url: Option<String>,
    /// Roles of the process, `api,engine`; None = all.
    pub roles: Option<String>,
    /// `127.0.0.1:port`
    pub grpc: String,
    pub rest: String,
    /// Coordinator id and its Ed25519 public keys (hex).
    pub coordinators: Vec<(String, Vec<String>)>,
    pub batch_max: u32,
    pub linger_ms: u64,
    /// Seconds a dispatch may be overdue before it is stalled.
    pub timeout: u64,
    /// Seconds after which an attested message is brought in by us.
    pub rescue_after: u64,
    /// RPC endpoints instead of the chains' own (proxies), source then target.
    pub rpc: Option<[String; 2]>,
    /// Bridges it is told of, beside CCIP where the devnet has it.
    pub bridges: Vec<String>,
    /// The bridge messages go over first; none = the first it is told of.
    pub default_bridge: Option<String>,
    /// Lines appended to the file, e.g. further tables.
    pub extra: String,
}

impl RelayerOptions {
    pub fn new(dir: &Path, grpc: String, rest: String) -> Self {
        Self {
            database: dir.join("relayer.db"),
            store_url: None,
            roles: None,
            grpc,
            rest,
            coordinators: Vec::new(),
            batch_max: 64,
            linger_ms: 500,
            timeout: 20,
            rescue_after: 10,
            rpc: None,
            bridges: BRIDGES.map(str::to_owned).into(),
            default_bridge: None,
            extra: String::new(),
        }
    }
}

impl Devnet {
    /// Writes `relayer.toml` into the devnet's folder and returns its path.
    pub fn write_relayer_config(&self, options: &RelayerOptions) -> Result<PathBuf> {
        let path = self.options.dir.join("relayer.toml");
        std::fs::write(&path, self.relayer_config(options)?)
            .with_context(|| format!("could not write {}", path.display()))?;
        Ok(path)
    }

    fn relayer_config(&self, o: &RelayerOptions) -> Result<String> {
        let mut text = format!(
            "# Written by the devnet. Keys in here are worthless.\n\n[store]\nurl = \"{}\"\n\n[api]\ngrpc_listen = \"{}\"\nrest_listen = \"{}\"\n\n\
             [settlement]\ndefault_bridge = \"{}\"\nretry_delay = 1\ntimeout = {}\n\n[supervisor]\nidle_ms = 100\nbackoff_ms_max = 2000\nlease_ms = 5000\n\n\
             [batcher]\ncount_max = {}\nlinger_ms = {}\n\n[tracker]\npoll_ms = 500\npoll_ms_max = 2000\nrescue_after = {}\n\n[payout]\nretry_ms = 2000\nretry_ms_max = 10000\n\n\
             [reconciler]\nsweep_ms = 2000\n\n[tx]\npoll_ms = 250\nescalate_after_ms = 8000\nrebroadcast_ms = 4000\n\n",
            o.store_url
                .clone()
                .unwrap_or_else(|| format!("sqlite://{}", o.database.display())),
            o.grpc,
            o.rest,
            o.default_bridge
                .as_ref()
                .or(o.bridges.first())
                .context("a relayer needs a bridge")?,
            o.timeout,
            o.batch_max,
            o.linger_ms,
            o.rescue_after,
        );
        for (index, chain) in [&self.source, &self.target].into_iter().enumerate() {
            let rpc = o.rpc.as_ref().map_or(&chain.anvil.url, |urls| &urls[index]);
            self.chain_table(&mut text, chain, rpc)?;
        }
        for bridge in &o.bridges {
            self.bridge_table(&mut text, bridge)?;
        }
        self.ccip_table(&mut text)?;
        self.hub_table(&mut text)?;
        for (name, keys) in &o.coordinators {
            let keys: Vec<String> = keys
                .iter()
                .map(|key| format!("\"0x{}\"", key.trim_start_matches("0x")))
                .collect();
            write!(
                text,
                "[coordinators.{name}]\nreceipt_keys = [{}]\namount_rule = \"equal\"\nallow_contract_payers = true\n",
                keys.join(", ")
            )?;
            writeln!(text, "fee_recipient = \"{}\"\n", self.accounts.admin.address())?;
        }
        text.push_str(&o.extra);
        Ok(text)
    }

    fn chain_table(&self, text: &mut String, chain: &Chain, rpc: &str) -> Result<()> {
        let id = chain.anvil.chain;
        // Whoever is given another endpoint than the chain's own compares with the chain's own.
        let compared_with = if rpc == chain.anvil.url {
            String::new()
        } else {
            format!("reconcile_rpc = [\"{}\"]\n", chain.anvil.url)
        };
        write!(
            text,
            "[chains.\"eip155:{id}\"]\nchain_id = {id}\nrpc = [\"{rpc}\"]\n{compared_with}rpc_timeout_ms = 3000\npoll_ms = 250\nfinality = {{ depth = {} }}\nstart_block = {}\n\
             signers = [\"{}\"]\n\n[chains.\"eip155:{id}\".contracts]\noutbox = \"{}\"\ninbox = \"{}\"\nvault = \"{}\"\n{}\n",
            self.options.finality_depth,
            chain.start_block,
            self.accounts.relayer.to_bytes(),
            chain.outbox,
            chain.inbox,
            chain.vault,
            chain
                .registry
                .map(|registry| format!("registry = \"{registry}\"\n"))
                .unwrap_or_default(),
        )?;
        Ok(())
    }

    fn bridge_table(&self, text: &mut String, bridge: &str) -> Result<()> {
        let names: Vec<String> = [&self.source, &self.target]
            .iter()
            .map(|chain| format!("\"eip155:{}\"", chain.anvil.chain))
            .collect();
        let is_wormhole = bridge == WORMHOLE_BRIDGE;
        let protocol = if is_wormhole { "wormhole" } else { "layerzero" };
        write!(
            text,
            "[bridges.{bridge}]\nprotocol = \"{protocol}\"\nsupported_chains = [{}]\nexpected = 5\n",
            names.join(", ")
        )?;
        if is_wormhole {
            writeln!(text, "guardian_endpoints = {:?}", self.guardians.endpoints)?;
        }
        text.push('\n');
        for chain in [&self.source, &self.target] {
            let port = chain.ports.get(bridge).context("bridge without a port")?;
            write!(
                text,
                "[bridges.{bridge}.chains.\"eip155:{}\"]\nport = \"{port}\"\n",
                chain.anvil.chain
            )?;
            let (layerzero, wormhole) = (&chain.layerzero, &chain.wormhole);
            if is_wormhole {
                let (id, core) = (wormhole.wormhole_chain, wormhole.core);
                write!(text, "wormhole_chain = {id}\nbridge_address = \"{core}\"\n\n")?;
            } else {
                let (eid, endpoint) = (layerzero.eid, layerzero.endpoint);
                write!(text, "eid = {eid}\nendpoint_address = \"{endpoint}\"\n\n")?;
            }
        }
        Ok(())
    }

    /// The hub, on a devnet that has one: its checkpoints go to the other chain.
    fn hub_table(&self, text: &mut String) -> Result<()> {
        let target = self.target.anvil.chain;
        if let Some(hub) = &self.hub {
            write!(
                text,
                "[hubs.{}]\nchain = \"eip155:{}\"\ncontract = \"{}\"\nstart_block = {}\ntargets = [\"eip155:{target}\"]\n\n",
                hub::NAME,
                hub.chain,
                hub.contract,
                hub.genesis,
            )?;
            let at_hub = hub.tokens[hub::TOKEN];
            write!(
                text,
                "[[hubs.{}.tokens]]\nchain = \"eip155:{target}\"\ntoken = \"{}\"\nat_hub = \"{at_hub}\"\n\n",
                hub::NAME,
                self.target.token,
            )?;
        }
        Ok(())
    }

    /// CCIP's bridge, on a devnet that has it.
    fn ccip_table(&self, text: &mut String) -> Result<()> {
        let chains = [&self.source, &self.target];
        let [Some(_), Some(_)] = chains.map(|chain| chain.ccip.as_ref()) else {
            return Ok(());
        };
        let names = chains.map(|chain| format!("\"eip155:{}\"", chain.anvil.chain));
        write!(
            text,
            "[bridges.{}]\nprotocol = \"ccip\"\nsupported_chains = [{}]\nreceive_gas = 120000\nexpected = 5\n\n",
            ccip::BRIDGE,
            names.join(", ")
        )?;
        if let Some(endpoint) = &self.ccip_results {
            text.truncate(text.trim_end().len());
            write!(text, "\nresults_endpoint = \"{endpoint}\"\n\n")?;
        }
        for chain in chains {
            let port = chain.ports.get(ccip::BRIDGE).context("bridge without a port")?;
            let Some(here) = &chain.ccip else { continue };
            write!(
                text,
                "[bridges.{}.chains.\"eip155:{}\"]\nport = \"{port}\"\nselector = \"{}\"\nrouter_address = \"{}\"\n\n",
                ccip::BRIDGE,
                chain.anvil.chain,
                here.selector,
                here.router,
            )?;
            if here.verifiers.is_some() {
                // A line of the table above: nobody is paid to execute what leaves here.
                text.truncate(text.trim_end().len());
                text.push_str("\nself_execute = true\n\n");
            }
        }
        Ok(())
    }
}
