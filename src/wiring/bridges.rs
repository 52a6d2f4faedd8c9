//! Bridges from their tables. A new bridge adds its arm to the two matches below.

use super::{WiringError, wrong};
use crate::config::{BridgeConfig, Config, Protocol};
use relayer_adapter_api::top_up::TopUpBridge;
use relayer_adapter_api::{BridgeAdapter, BridgeId, ChainId, ChainView, Finding};
use relayer_adapter_ccip::{CcipAdapter, CcipChain, CcipConfig, ResultsEndpoint};
use relayer_adapter_layerzero::{LayerZeroAdapter, LayerZeroChain, LayerZeroConfig};
use relayer_adapter_wormhole::{WormholeAdapter, WormholeChain, WormholeConfig};
use std::collections::BTreeMap;
use std::sync::Arc;

fn layerzero(config: &Config, id: &BridgeId, bridge: &BridgeConfig) -> Result<LayerZeroAdapter, WiringError> {
    let key = format!("bridges.{id}");
    let mut chains = Vec::new();
    for (name, entry) in &bridge.chains {
        let missing = |what: &str| wrong(format!("{key}.chains.\"{name}\".{what}"), "is required");
        chains.push(LayerZeroChain {
            chain: ChainId(name.reference()),
            eid: entry.eid.ok_or_else(|| missing("eid"))?,
            endpoint: entry.endpoint_address.ok_or_else(|| missing("endpoint_address"))?,
            port: entry.port.ok_or_else(|| missing("port"))?,
            outbox: config.chains.get(name).and_then(|chain| chain.contracts.outbox),
            receive_library: None,
        });
    }
    let adapter = LayerZeroConfig {
        gas_limit: u128::from(bridge.receive_gas),
        expected_seconds: bridge.expected,
        ..LayerZeroConfig::new(id.clone(), chains)
    };
    LayerZeroAdapter::new(adapter).map_err(|error| wrong(key, error))
}

fn wormhole(config: &Config, id: &BridgeId, bridge: &BridgeConfig) -> Result<WormholeAdapter, WiringError> {
    let key = format!("bridges.{id}");
    let mut chains = Vec::new();
    for (name, entry) in &bridge.chains {
        let missing = |what: &str| wrong(format!("{key}.chains.\"{name}\".{what}"), "is required");
        chains.push(WormholeChain {
            chain: ChainId(name.reference()),
            wormhole_chain: entry.wormhole_chain.ok_or_else(|| missing("wormhole_chain"))?,
            core: entry.bridge_address.ok_or_else(|| missing("bridge_address"))?,
            port: entry.port.ok_or_else(|| missing("port"))?,
            outbox: config.chains.get(name).and_then(|chain| chain.contracts.outbox),
        });
    }
    let adapter = WormholeConfig {
        expected_seconds: bridge.expected,
        ..WormholeConfig::new(id.clone(), chains, bridge.guardian_endpoints.clone())
    };
    WormholeAdapter::new(adapter).map_err(|error| wrong(key, error))
}

fn ccip(config: &Config, id: &BridgeId, bridge: &BridgeConfig) -> Result<CcipAdapter, WiringError> {
    let key = format!("bridges.{id}");
    let mut chains = Vec::new();
    for (name, entry) in &bridge.chains {
        let missing = |what: &str| wrong(format!("{key}.chains.\"{name}\".{what}"), "is required");
        let selector = entry.selector.as_deref().and_then(|text| text.parse().ok());
        chains.push(CcipChain {
            chain: ChainId(name.reference()),
            selector: selector.ok_or_else(|| missing("selector"))?,
            router: entry.router_address.ok_or_else(|| missing("router_address"))?,
            port: entry.port.ok_or_else(|| missing("port"))?,
            outbox: config.chains.get(name).and_then(|chain| chain.contracts.outbox),
            fee_token: entry.fee_token,
            self_execute: entry.self_execute,
        });
    }
    let adapter = CcipConfig {
        gas_limit: u128::from(bridge.receive_gas),
        expected_seconds: bridge.expected,
        ..CcipConfig::new(id.clone(), chains)
    };
    match &bridge.results_endpoint {
        None => CcipAdapter::new(adapter),
        Some(base) => ResultsEndpoint::new(base)
            .and_then(|endpoint| CcipAdapter::with_verifier_results(adapter, Arc::new(endpoint))),
    }
    .map_err(|error| wrong(key, error))
}

/// All bridges, enabled or not: what is under way over a disabled one is still followed.
pub fn adapters(config: &Config) -> Result<BTreeMap<BridgeId, Arc<dyn BridgeAdapter>>, WiringError> {
    let made = config.bridges.iter().map(|(id, bridge)| {
        let adapter: Arc<dyn BridgeAdapter> = match bridge.protocol {
            Protocol::Layerzero => Arc::new(layerzero(config, id, bridge)?),
            Protocol::Wormhole => Arc::new(wormhole(config, id, bridge)?),
            Protocol::Ccip => Arc::new(ccip(config, id, bridge)?),
        };
        Ok((id.clone(), adapter))
    });
    made.collect()
}

/// A bridge that carries tokens into vaults, by its name in the configuration.
pub fn top_up_bridge(config: &Config, id: &BridgeId) -> Result<Arc<dyn TopUpBridge>, WiringError> {
    match config.bridges.get(id) {
        Some(bridge) if bridge.protocol == Protocol::Ccip => Ok(Arc::new(ccip(config, id, bridge)?)),
        Some(_) => Err(wrong(format!("bridges.{id}.protocol"), "carries no tokens; ccip does")),
        None => Err(wrong(format!("bridges.{id}"), "is not configured")),
    }
}

/// What a bridge's protocol says about its port on the view's chain, for `doctor`.
pub async fn inspect_bridge(
    config: &Config,
    id: &BridgeId,
    bridge: &BridgeConfig,
    view: &dyn ChainView,
) -> Result<Vec<Finding>, String> {
    match bridge.protocol {
        Protocol::Layerzero => {
            let adapter = layerzero(config, id, bridge).map_err(|error| error.to_string())?;
            adapter.inspect(view).await.map_err(|error| error.to_string())
        }
        Protocol::Wormhole => {
            let adapter = wormhole(config, id, bridge).map_err(|error| error.to_string())?;
            adapter.inspect(view).await.map_err(|error| error.to_string())
        }
        Protocol::Ccip => {
            let adapter = ccip(config, id, bridge).map_err(|error| error.to_string())?;
            adapter.inspect(view).await.map_err(|error| error.to_string())
        }
    }
}
