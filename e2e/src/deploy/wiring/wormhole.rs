//! Lanes of Wormhole ports.

use super::{Done, Site, Step};
use alloy::sol_types::SolValue;
use anyhow::{Result, bail};
use relayer::adapter::abi::IWormholePort;

impl Site<'_> {
    pub(super) async fn wormhole_lanes(&self, there: &Site<'_>, steps: &mut Vec<Step>) -> Result<()> {
        for bridge in self.plan.wormhole.keys() {
            let Some(there_plan) = there.plan.wormhole.get(bridge) else {
                continue;
            };
            let remote = there.deployer.chain;
            let (Some(port), Some(peer)) = (self.ports.ports.get(bridge), there.ports.ports.get(bridge)) else {
                bail!(
                    "bridge {bridge}: ports are not deployed on chains {} and {remote}",
                    self.deployer.chain
                );
            };
            let contract = IWormholePort::new(*port, &self.deployer.provider);
            let what = format!("{bridge}: lane to chain {remote}");
            let lane = IWormholePort::Lane {
                wormholeChain: there_plan.wormhole_chain,
                peer: peer.into_word(),
                remoteOutbox: there.outbox.into_word(),
            };
            let current = contract.lane(remote).call().await?;
            if current.wormholeChain == 0 {
                let owner = contract.owner().call().await?;
                let call = IWormholePort::setLaneCall { chainId: remote, lane };
                self.act(steps, *port, owner, call, what).await?;
            } else if current.abi_encode() == lane.abi_encode() {
                self.note(steps, what, Done::Already);
            } else {
                bail!(
                    "chain {}: {what} is wired otherwise and can never change: deploy a new port",
                    self.deployer.chain
                );
            }
        }
        Ok(())
    }
}
