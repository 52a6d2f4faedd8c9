//! Lanes of CCIP ports.

use super::{Done, Site, Step};
use alloy::sol_types::SolValue;
use anyhow::{Result, bail};
use relayer::adapter::abi::ICcipPort;

impl Site<'_> {
    pub(super) async fn ccip_lanes(&self, there: &Site<'_>, steps: &mut Vec<Step>) -> Result<()> {
        for (bridge, here_plan) in &self.plan.ccip {
            let Some(there_plan) = there.plan.ccip.get(bridge) else {
                continue;
            };
            let (Some(port), Some(peer)) = (self.ports.ports.get(bridge), there.ports.ports.get(bridge)) else {
                bail!(
                    "bridge {bridge}: ports are not deployed on chains {} and {}",
                    self.deployer.chain,
                    there.deployer.chain
                );
            };
            let contract = ICcipPort::new(*port, &self.deployer.provider);
            let remote = there.deployer.chain;
            let what = format!("{bridge}: lane to chain {remote}");
            let lane = ICcipPort::Lane {
                selector: there_plan.selector,
                peer: peer.into_word(),
                remoteOutbox: there.outbox.into_word(),
                selfExecute: here_plan.self_execute,
            };
            let current = contract.lane(remote).call().await?;
            if current.selector != 0 {
                if current.abi_encode() != lane.abi_encode() {
                    bail!(
                        "chain {}: {what} is wired otherwise and can never change: deploy a new port",
                        self.deployer.chain
                    );
                }
                self.note(steps, what, Done::Already);
                continue;
            }
            let call = ICcipPort::setLaneCall { chainId: remote, lane };
            let owner = contract.owner().call().await?;
            self.act(steps, *port, owner, call, what).await?;
        }
        Ok(())
    }
}
