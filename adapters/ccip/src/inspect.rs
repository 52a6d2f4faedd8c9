//! What `doctor` asks about a port: its own wiring, and what CCIP's Router and RMN say about its lanes.

use crate::abi::{IRouter, ITypeAndVersion};
use crate::adapter::CcipAdapter;
use crate::config::CcipChain;
use crate::read::{is_cursed, read};
use crate::version::Version;
use alloy::primitives::Address;
use relayer_adapter_api::abi::{ICcipPort, ISettlementPort};
use relayer_adapter_api::{AdapterError, ChainView, Finding};

const ATTEMPTED: &str = "inspecting a port";
const ASK_OWNER: &str = "Port wiring is set once and frozen: deploy and wire a new port (`cargo xtask contracts`).";

impl CcipAdapter {
    /// Looks at this instance's port on the view's chain. An error means that the chain did not answer, or not as a port does.
    pub async fn inspect(&self, view: &dyn ChainView) -> Result<Vec<Finding>, AdapterError> {
        let Some(here) = self.by_chain(view.chain()) else {
            return Ok(Vec::new());
        };
        let router = read(view, here.port, ICcipPort::routerCall {}, ATTEMPTED).await?;
        let fee_token = read(view, here.port, ICcipPort::feeTokenCall {}, ATTEMPTED).await?;
        let frozen = read(view, here.port, ISettlementPort::frozenCall {}, ATTEMPTED).await?;
        let family = read(view, here.port, ISettlementPort::familyCall {}, ATTEMPTED).await?;
        let state = if frozen {
            "peers can no longer change"
        } else {
            "the port can still be changed"
        };
        let mut findings = vec![
            Finding::check(
                router == here.router,
                "router",
                format!("the port uses {router}"),
                "Correct router_address, or the port.",
            ),
            Finding::check(
                fee_token == here.fee_token.unwrap_or_default(),
                "fee token",
                if fee_token.is_zero() {
                    "native coin".to_owned()
                } else {
                    fee_token.to_string()
                },
                "Name in fee_token what the port was deployed with.",
            ),
            Finding::check(
                frozen,
                "frozen",
                state,
                "Freeze the port: only frozen ports can be activated.",
            ),
            Finding::check(family == 2, "family", format!("{family}"), "A CCIP port has family 2."),
        ];
        for remote in self.chains().filter(|remote| remote.chain != here.chain) {
            findings.extend(self.inspect_lane(view, here, remote).await?);
            findings.extend(self.inspect_protocol(view, here, remote).await?);
        }
        Ok(findings)
    }

    async fn inspect_lane(
        &self,
        view: &dyn ChainView,
        here: &CcipChain,
        remote: &CcipChain,
    ) -> Result<Vec<Finding>, AdapterError> {
        let name = |what: &str| format!("{what} of chain {}", remote.chain);
        let call = ICcipPort::laneCall {
            chainId: remote.chain.0,
        };
        let lane = read(view, here.port, call, ATTEMPTED).await?;
        if lane.selector == 0 {
            let todo = format!("Set the lane to chain {} before freezing. {ASK_OWNER}", remote.chain);
            return Ok(vec![Finding::fail(name("lane"), "not set", todo)]);
        }
        let (selector, peer) = (lane.selector.to_string(), Address::from_word(lane.peer).to_string());
        let mut findings = vec![
            Finding::check(lane.selector == remote.selector, name("selector"), selector, ASK_OWNER),
            Finding::check(lane.peer == remote.port.into_word(), name("peer"), peer, ASK_OWNER),
            Finding::check(
                lane.selfExecute == here.self_execute,
                name("executor"),
                if lane.selfExecute {
                    "nobody is paid, we deliver"
                } else {
                    "CCIP's is paid"
                },
                "Say in self_execute what the lane was wired with.",
            ),
        ];
        if let Some(outbox) = remote.outbox {
            let found = Address::from_word(lane.remoteOutbox).to_string();
            findings.push(Finding::check(
                lane.remoteOutbox == outbox.into_word(),
                name("remote outbox"),
                found,
                ASK_OWNER,
            ));
        }
        Ok(findings)
    }

    /// Which version carries messages there today, whether anything from there is accepted, and whether the RMN has stopped the lane.
    async fn inspect_protocol(
        &self,
        view: &dyn ChainView,
        here: &CcipChain,
        remote: &CcipChain,
    ) -> Result<Vec<Finding>, AdapterError> {
        let name = |what: &str| format!("{what} chain {}", remote.chain);
        let mut findings = Vec::new();
        if here.outbox.is_some() {
            findings.push(match self.version(view, here.router, remote.selector).await {
                Ok((on_ramp, version)) => {
                    Finding::ok(name("sending to"), format!("CCIP {version} by on-ramp {on_ramp}"))
                }
                Err(AdapterError::Protocol { reason, .. }) => Finding::fail(
                    name("sending to"),
                    reason,
                    "Leave this chain out of the bridge, or wait for CCIP to move the lane.",
                ),
                Err(error) => return Err(error),
            });
        }
        let ramps = read(view, here.router, IRouter::getOffRampsCall {}, ATTEMPTED).await?;
        let mut versions = Vec::new();
        for entry in ramps
            .iter()
            .filter(|entry| entry.sourceChainSelector == remote.selector)
        {
            let told = read(view, entry.offRamp, ITypeAndVersion::typeAndVersionCall {}, ATTEMPTED).await?;
            versions.extend(Version::parse(&told).map(|version| version.to_string()));
        }
        findings.push(Finding::check(
            !versions.is_empty(),
            name("receiving from"),
            if versions.is_empty() {
                "no off-ramp".to_owned()
            } else {
                format!("CCIP {}", versions.join(", "))
            },
            "CCIP has no lane from there: leave the chain out of the bridge.",
        ));
        let cursed = is_cursed(view, here.router, remote.selector).await?;
        findings.push(Finding::check(
            !cursed,
            name("RMN about"),
            if cursed {
                "cursed: nothing is sent to or executed from it"
            } else {
                "no curse"
            },
            "Chainlink has stopped the lane; route over another bridge until the curse is lifted.",
        ));
        Ok(findings)
    }
}
