//! `doctor --network NAME`: a network's file against its chain, through the configured endpoints.

use crate::chain::Chain;
use crate::clock::{Clock, SystemClock};
use crate::config::network::Network;
use crate::config::{BridgeConfig, ChainConfig, ChainName, Config, ConfigError, Finality, FinalityTag};
use crate::wiring;
use relayer_adapter_api::Finding;
use std::sync::Arc;

/// All findings by area. An error means that there is no such network.
pub(super) async fn findings(config: &Config, name: &str) -> Result<Vec<(String, Vec<Finding>)>, ConfigError> {
    let network = Network::find(name)?;
    let others = Network::all()?;
    let area = network.name.clone();
    let Some((chain_name, chain)) = config.chain(network.chain_id) else {
        let todo = format!(
            "Add [chains.\"eip155:{0}\"] with chain_id = {0} and rpc to the configuration.",
            network.chain_id
        );
        let found = format!("no chain {} is configured", network.chain_id);
        return Ok(vec![(area, vec![Finding::fail("endpoint", found, todo)])]);
    };
    let mut areas = vec![(area.clone(), endpoints(chain_name, chain).await)];
    areas[0].1.extend(finality(&network, chain));
    // The rule of the file is asked for, whatever the configuration prefers.
    let rule = network.finality.as_ref().and_then(|finality| finality.rule());
    let asked = ChainConfig {
        finality: rule.unwrap_or(chain.finality),
        ..chain.clone()
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    match wiring::rpc_chain(chain_name, &asked, clock) {
        Ok(rpc) => {
            let rpc: &dyn Chain = &rpc;
            areas.push((area, wiring::inspect_network(&network, &others, rpc).await));
        }
        Err(error) => areas.push((
            area,
            vec![Finding::fail(
                "endpoint",
                error.to_string(),
                "Correct the chain's table.",
            )],
        )),
    }
    for (id, bridge) in &config.bridges {
        areas.push((format!("bridges.{id}"), configured(&network, chain_name, bridge)));
    }
    Ok(areas)
}

/// Every endpoint alone: a wrong one would only be outvoted.
async fn endpoints(name: &ChainName, chain: &ChainConfig) -> Vec<Finding> {
    let answers = wiring::chain_ids(name, chain).await.into_iter().enumerate();
    let judge = |(index, answer): (usize, Result<u64, String>)| {
        let what = format!("chain id, endpoint {index}");
        match answer {
            Ok(found) => Finding::check(
                found == chain.chain_id,
                what,
                format!("chain {found}"),
                "The endpoint serves another chain: correct its URL.",
            ),
            Err(error) => Finding::fail(what, error, "Check that the endpoint is up and reachable."),
        }
    };
    answers.map(judge).collect()
}

fn finality(network: &Network, chain: &ChainConfig) -> Option<Finding> {
    let rule = network.finality.as_ref()?.rule()?;
    let shown = |rule: Finality| match rule {
        Finality::Tag(FinalityTag::Finalized) => "tag finalized".to_owned(),
        Finality::Tag(FinalityTag::Safe) => "tag safe".to_owned(),
        Finality::Depth(depth) => format!("{depth} blocks"),
    };
    let what = "configured finality";
    if chain.finality == rule {
        return Some(Finding::ok(what, shown(rule)));
    }
    let found = format!("{}, the file says {}", shown(chain.finality), shown(rule));
    let todo = "What is paid on a block that is taken back is lost: follow the file, unless you know better.";
    Some(Finding::warn(what, found, todo))
}

/// What the configuration of a bridge says about this network, as far as the file speaks of it.
fn configured(network: &Network, name: &ChainName, bridge: &BridgeConfig) -> Vec<Finding> {
    let (Some(entry), Some(file)) = (bridge.chains.get(name), &network.layerzero) else {
        return Vec::new();
    };
    let todo = "The configuration and the network's file differ: one of them is wrong.";
    let mut findings = Vec::new();
    if let Some(eid) = entry.eid {
        findings.push(Finding::check(eid == file.eid, "eid", eid.to_string(), todo));
    }
    if let Some(endpoint) = entry.endpoint_address {
        let holds = endpoint == file.endpoint;
        findings.push(Finding::check(holds, "endpoint_address", endpoint.to_string(), todo));
    }
    findings
}
