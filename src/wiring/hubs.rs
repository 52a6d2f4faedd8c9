//! Hubs from their tables: which contracts a chain's observer follows, and what intake believes of them.

use crate::chain::HubContract;
use crate::config::Config;
use crate::intake::HubPolicy;
use relayer_adapter_api::ChainId;
use std::collections::BTreeMap;

/// Hubs whose contracts stand on this chain.
pub(super) fn followed(config: &Config, chain: ChainId) -> Vec<HubContract> {
    let here = config
        .hubs
        .iter()
        .filter(|(_, hub)| ChainId(hub.chain.reference()) == chain);
    here.map(|(name, hub)| HubContract {
        name: name.clone(),
        contract: hub.contract,
        start_block: hub.start_block,
    })
    .collect()
}

/// By name.
pub(super) fn policies(config: &Config) -> BTreeMap<String, HubPolicy> {
    let policy = |hub: &crate::config::HubConfig| HubPolicy {
        contract: hub.contract,
        tokens: hub
            .tokens
            .iter()
            .map(|token| ((ChainId(token.chain.reference()), token.token), token.at_hub))
            .collect(),
        wallets: hub.wallets.clone(),
    };
    config
        .hubs
        .iter()
        .map(|(name, hub)| (name.clone(), policy(hub)))
        .collect()
}
