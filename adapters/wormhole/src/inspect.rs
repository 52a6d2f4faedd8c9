//! What `doctor` asks about a port: its own wiring, Wormhole's core behind it, and the guardians' endpoints.

use crate::abi::ICore;
use crate::adapter::{CONSISTENCY, WormholeAdapter, read};
use crate::config::WormholeChain;
use crate::endorsement::quorum;
use alloy::primitives::{Address, U256};
use futures::future::join_all;
use relayer_adapter_api::abi::{ISettlementPort, IWormholePort};
use relayer_adapter_api::{AdapterError, ChainView, Finding};

const ASK_OWNER: &str = "Port wiring is set once and frozen: deploy and wire a new port (`cargo xtask contracts`).";
const ATTEMPTED: &str = "inspecting a port";
/// Wormhole's own network has 19.
const GUARDIANS_FEW: usize = 13;

impl WormholeAdapter {
    /// Looks at this instance's port on the view's chain. An error means that the chain did not answer, or not as a port does.
    pub async fn inspect(&self, view: &dyn ChainView) -> Result<Vec<Finding>, AdapterError> {
        let Some(here) = self.by_chain(view.chain()) else {
            return Ok(Vec::new());
        };
        let core = read(view, here.port, IWormholePort::coreCall {}, ATTEMPTED).await?;
        let level = read(view, here.port, IWormholePort::CONSISTENCYCall {}, ATTEMPTED).await?;
        let frozen = read(view, here.port, ISettlementPort::frozenCall {}, ATTEMPTED).await?;
        let family = read(view, here.port, ISettlementPort::familyCall {}, ATTEMPTED).await?;
        let mut findings = vec![
            Finding::check(
                core == here.core,
                "core",
                format!("the port uses {core}"),
                "Correct bridge_address, or the port.",
            ),
            Finding::check(
                frozen,
                "frozen",
                if frozen {
                    "peers can no longer change"
                } else {
                    "the port can still be changed"
                },
                "Freeze the port: only frozen ports can be activated.",
            ),
            Finding::check(
                family == 3,
                "family",
                family.to_string(),
                "A Wormhole port has family 3.",
            ),
            Finding::check(
                level == CONSISTENCY,
                "consistency",
                level.to_string(),
                "Only messages of final blocks may be published: this is not a port of ours.",
            ),
        ];
        findings.extend(self.inspect_core(view, here).await?);
        for remote in self.chains().filter(|remote| remote.chain != here.chain) {
            findings.extend(inspect_lane(view, here, remote).await?);
        }
        Ok(findings)
    }

    async fn inspect_core(&self, view: &dyn ChainView, here: &WormholeChain) -> Result<Vec<Finding>, AdapterError> {
        let id = read(view, here.core, ICore::chainIdCall {}, ATTEMPTED).await?;
        let evm = read(view, here.core, ICore::evmChainIdCall {}, ATTEMPTED).await?;
        let fee = read(view, here.core, ICore::messageFeeCall {}, ATTEMPTED).await?;
        let index = read(view, here.core, ICore::getCurrentGuardianSetIndexCall {}, ATTEMPTED).await?;
        let set = read(view, here.core, ICore::getGuardianSetCall { index }, ATTEMPTED).await?;
        let guardians = format!(
            "set {index} with {} guardians, quorum {}",
            set.keys.len(),
            quorum(set.keys.len())
        );
        let mut findings = vec![
            Finding::check(
                id == here.wormhole_chain,
                "Wormhole chain id",
                format!("the core says {id}"),
                "Correct wormhole_chain: it is not the chain id.",
            ),
            Finding::check(
                evm == U256::from(here.chain.0),
                "core of this chain",
                format!("set up for chain {evm}"),
                "A core of another chain is a fork's leftover: correct bridge_address.",
            ),
            Finding::ok("message fee", format!("{fee} wei")),
            if set.keys.len() < GUARDIANS_FEW {
                Finding::warn(
                    "guardians",
                    guardians,
                    "Fewer than Wormhole's network has: a test network?",
                )
            } else {
                Finding::ok("guardians", guardians)
            },
        ];
        findings.push(match self.publishes(view, here).await {
            Ok(()) => Finding::ok("publishing", "the core takes messages"),
            Err(AdapterError::Protocol { reason, .. }) => Finding::fail(
                "publishing",
                reason,
                "Wormhole is paused or shut down on this chain: settle over another bridge until it is back.",
            ),
            Err(error) => return Err(error),
        });
        findings.push(self.inspect_endpoints(index).await);
        Ok(findings)
    }

    /// Each endpoint should answer, and know the set the chain knows (or one that is on its way to it).
    async fn inspect_endpoints(&self, index: u32) -> Finding {
        let asked = self
            .sources
            .iter()
            .map(|source| async move { (source.name(), source.guardian_set().await) });
        let answers = join_all(asked).await;
        let current = answers
            .iter()
            .filter(|(_, set)| set.as_ref().is_ok_and(|set| *set >= index))
            .count();
        let texts: Vec<String> = answers
            .iter()
            .map(|(host, set)| match set {
                Ok(set) => format!("{host}: set {set}"),
                Err(reason) => format!("{host}: {reason}"),
            })
            .collect();
        let what = "guardian endpoints";
        match current {
            0 => Finding::fail(
                what,
                texts.join("; "),
                "Without one no message can be brought in: name others.",
            ),
            1 => Finding::warn(
                what,
                texts.join("; "),
                "One endpoint alone may go away: name several of different operators.",
            ),
            _ => Finding::ok(what, texts.join("; ")),
        }
    }
}

async fn inspect_lane(
    view: &dyn ChainView,
    here: &WormholeChain,
    remote: &WormholeChain,
) -> Result<Vec<Finding>, AdapterError> {
    let name = |what: &str| format!("{what} of chain {}", remote.chain);
    let call = IWormholePort::laneCall {
        chainId: remote.chain.0,
    };
    let lane = read(view, here.port, call, ATTEMPTED).await?;
    if lane.wormholeChain == 0 {
        let todo = format!("Set the lane to chain {} before freezing. {ASK_OWNER}", remote.chain);
        return Ok(vec![Finding::fail(name("lane"), "not set", todo)]);
    }
    let mut findings = vec![
        Finding::check(
            lane.wormholeChain == remote.wormhole_chain,
            name("Wormhole chain id"),
            lane.wormholeChain.to_string(),
            ASK_OWNER,
        ),
        Finding::check(
            lane.peer == remote.port.into_word(),
            name("peer"),
            Address::from_word(lane.peer).to_string(),
            ASK_OWNER,
        ),
    ];
    if let Some(outbox) = remote.outbox {
        findings.push(Finding::check(
            lane.remoteOutbox == outbox.into_word(),
            name("remote outbox"),
            Address::from_word(lane.remoteOutbox).to_string(),
            ASK_OWNER,
        ));
    }
    Ok(findings)
}
