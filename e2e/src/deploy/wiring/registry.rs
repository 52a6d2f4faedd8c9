//! Hubs of a registry and the positions of their tokens.

use super::{Done, Site, Step};
use crate::deploy::deployer::Deployer;
use crate::deploy::plan::RegistryPlan;
use alloy::primitives::Address;
use anyhow::{Context, Result, bail};
use relayer::adapter::abi::ICheckpointRegistry;

impl Site<'_> {
    pub(super) async fn hubs(&self, sites: &[Site<'_>], steps: &mut Vec<Step>) -> Result<()> {
        let Some(plan) = &self.plan.registry else {
            return Ok(());
        };
        let chain = self.deployer.chain;
        let address = self
            .ports
            .registry
            .with_context(|| format!("chain {chain}: the registry is not deployed: run deploy again"))?;
        let registry = ICheckpointRegistry::new(address, &self.deployer.provider);
        let owner = registry.owner().call().await?;
        for (name, wanted) in &plan.hubs {
            let what = format!("hub {name}: register it");
            let outbox = sites.iter().find(|site| site.deployer.chain == wanted.chain);
            let hub = ICheckpointRegistry::Hub {
                chain: wanted.chain,
                hub: wanted.contract,
                outbox: outbox.map(|site| site.outbox).unwrap_or_default(),
                operator: wanted.operator.unwrap_or_default(),
                quorum: wanted.quorum,
                gapMax: wanted.gap_max,
                eonSeconds: wanted.eon_seconds,
                firstEon: wanted.first_eon,
            };
            let id = registry.hubIdOf(wanted.chain, wanted.contract).call().await?;
            let now = registry.hubOf(id).call().await?;
            if now == hub {
                self.note(steps, what, Done::Already);
            } else if now.hub.is_zero() {
                let call = ICheckpointRegistry::registerHubCall { hub };
                self.act(steps, address, owner, call, what).await?;
            } else {
                bail!("chain {chain}: hub {name} is registered otherwise and can never change: deploy a new registry");
            }
            for token in &wanted.tokens {
                let what = format!("hub {name}: token {} is at {}", token.address, token.trail);
                let at = registry.trailOf(id, token.address).call().await?;
                if at.known && at.trail == token.trail {
                    self.note(steps, what, Done::Already);
                } else if at.known {
                    bail!("chain {chain}: {what}, but it is registered at {} for ever", at.trail);
                } else {
                    let call = ICheckpointRegistry::registerTokenCall {
                        hubId: id,
                        token: token.address,
                        trail: token.trail,
                    };
                    self.act(steps, address, owner, call, what).await?;
                }
            }
        }
        Ok(())
    }
}

/// What a registry says of the hubs of its plan, for people.
pub(super) async fn rows(
    chain: u64,
    deployer: &Deployer,
    address: Address,
    plan: &RegistryPlan,
) -> Result<Vec<(u64, String, String)>> {
    let registry = ICheckpointRegistry::new(address, &deployer.provider);
    let mut rows = Vec::new();
    for (name, wanted) in &plan.hubs {
        let id = registry.hubIdOf(wanted.chain, wanted.contract).call().await?;
        let hub = registry.hubOf(id).call().await?;
        let state = registry.stateOf(id).call().await?;
        let is = if hub.hub.is_zero() {
            "not registered".to_owned()
        } else {
            format!(
                "{} quorum={} eon={} frozen={}",
                hub.hub, hub.quorum, state.lastEon, state.frozen
            )
        };
        rows.push((chain, format!("hub {name}"), is));
    }
    Ok(rows)
}
