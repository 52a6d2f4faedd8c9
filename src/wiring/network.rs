//! What the chain says about a network's file: `relayer doctor --network NAME`. Reads only; each answer is a finding, also none.
//!
//! The ABI fragments are written by hand from the protocols' documentation. They stand here and not in the adapters because a file may be
//! checked long before a port of ours exists on the network.

use crate::chain::Chain;
use crate::config::network::{CcipNetwork, LayerZeroNetwork, Network, WormholeNetwork};
use abi::{ICore, IEndpoint, IErc20, IMessageLibrary, IRouter, ITypeAndVersion};
use alloy::primitives::{Address, Bytes, U256};
use alloy::sol_types::SolCall;
use relayer_adapter_api::{ChainView, Finding, ViewError};
use std::sync::Arc;

mod abi {
    #![allow(missing_debug_implementations)]
    use alloy::sol;

    sol! {
        interface IEndpoint {
            function eid() external view returns (uint32);
            function isRegisteredLibrary(address library) external view returns (bool);
            function isSupportedEid(uint32 eid) external view returns (bool);
        }
        interface IMessageLibrary {
            /// 0 sends, 1 receives.
            function messageLibType() external view returns (uint8);
        }
        interface ITypeAndVersion {
            function typeAndVersion() external view returns (string memory);
            function getStaticConfig() external view;
        }
        interface IRouter {
            function isChainSupported(uint64 chainSelector) external view returns (bool);
            function getOnRamp(uint64 destChainSelector) external view returns (address);
            function getArmProxy() external view returns (address);
        }
        interface IErc20 {
            function symbol() external view returns (string memory);
        }
        interface ICore {
            function chainId() external view returns (uint16);
            function evmChainId() external view returns (uint256);
            function getCurrentGuardianSetIndex() external view returns (uint32);
            function messageFee() external view returns (uint256);
        }
    }
}

const CORRECT: &str = "Do not use this value: look it up at its source again and correct the network's file.";
const ASK_AGAIN: &str = "Check that the endpoint is up, then ask again.";
const NO_LANE: &str = "Nothing can be sent this way over this bridge; leave the lane out, or correct the file.";

/// A question about one network at one block.
struct Asking<'a> {
    chain: &'a dyn Chain,
    view: Arc<dyn ChainView>,
    findings: Vec<Finding>,
}

/// Everything the file says, each value by itself. `others` are the networks lanes could lead to.
pub async fn inspect_network(network: &Network, others: &[Network], chain: &dyn Chain) -> Vec<Finding> {
    let head = match chain.head().await {
        Ok(head) => head,
        Err(error) => return vec![Finding::fail("head", error.to_string(), ASK_AGAIN)],
    };
    let mut asking = Asking {
        chain,
        view: chain.view(head),
        findings: Vec::new(),
    };
    asking.finality(network).await;
    let others: Vec<&Network> = others
        .iter()
        .filter(|other| other.kind == network.kind && other.chain_id != network.chain_id)
        .collect();
    match &network.layerzero {
        Some(layerzero) => asking.layerzero(layerzero, &others).await,
        None => asking.absent("LayerZero"),
    }
    match &network.ccip {
        Some(ccip) => asking.ccip(ccip, &others).await,
        None => asking.absent("CCIP"),
    }
    match &network.wormhole {
        Some(wormhole) => asking.wormhole(wormhole, network.chain_id).await,
        None => asking.absent("Wormhole"),
    }
    asking.findings
}

impl Asking<'_> {
    fn absent(&mut self, bridge: &str) {
        let todo = format!("Settlements over {bridge} need its values from an official source first.");
        self.findings
            .push(Finding::warn(bridge, "the file has no values", todo));
    }

    async fn raw(&self, to: Address, data: Vec<u8>) -> Result<Bytes, ViewError> {
        self.view.call(None, to, data.into(), U256::ZERO).await
    }

    /// The answer, or a finding about why there is none. A contract that answers something else is the wrong contract; an endpoint that
    /// does not answer says nothing about the value.
    async fn ask<C: SolCall>(&mut self, what: &str, to: Address, call: C) -> Option<C::Return> {
        let finding = match self.raw(to, call.abi_encode()).await {
            Ok(answer) => match C::abi_decode_returns(&answer) {
                Ok(answer) => return Some(answer),
                Err(_) => Finding::fail(what, format!("{to} does not answer {}", C::SIGNATURE), CORRECT),
            },
            Err(error @ ViewError::Reverted { .. }) => {
                Finding::fail(what, format!("{to}, {}: {error}", C::SIGNATURE), CORRECT)
            }
            Err(error) => Finding::fail(what, error.to_string(), ASK_AGAIN),
        };
        self.findings.push(finding);
        None
    }

    fn equal<T: PartialEq + std::fmt::Display>(&mut self, what: &str, found: T, expected: T) {
        let holds = found == expected;
        let shown = if holds {
            found.to_string()
        } else {
            format!("the chain says {found}, the file {expected}")
        };
        self.findings.push(Finding::check(holds, what, shown, CORRECT));
    }

    /// False when there is nobody to ask.
    async fn code(&mut self, what: &str, address: Address) -> bool {
        let finding = match self.chain.code(address).await {
            Ok(code) if code.is_empty() => Finding::fail(what, format!("no contract at {address}"), CORRECT),
            Ok(code) => Finding::ok(what, format!("{address}, {} bytes", code.len())),
            Err(error) => Finding::fail(what, error.to_string(), ASK_AGAIN),
        };
        let there = finding.level == relayer_adapter_api::Level::Ok;
        self.findings.push(finding);
        there
    }

    async fn finality(&mut self, network: &Network) {
        let finding = match (&network.finality, self.chain.finalized().await) {
            (None, _) => Finding::warn(
                "finality",
                "the file has no rule",
                "Decide on a rule yourself: `finality` of the chain's table.",
            ),
            (Some(_), Ok(block)) => {
                let behind = self.view.block().number.saturating_sub(block.number);
                Finding::ok("finality", format!("block {}, {behind} behind the head", block.number))
            }
            (Some(_), Err(error)) => Finding::fail(
                "finality",
                error.to_string(),
                "The endpoint may not know the tag: use another endpoint, or a depth.",
            ),
        };
        self.findings.push(finding);
    }

    async fn layerzero(&mut self, file: &LayerZeroNetwork, others: &[&Network]) {
        if !self.code("LayerZero endpoint", file.endpoint).await {
            return;
        }
        if let Some(eid) = self.ask("LayerZero eid", file.endpoint, IEndpoint::eidCall {}).await {
            self.equal("LayerZero eid", eid, file.eid);
        }
        for (what, library, kind) in [
            ("LayerZero send library", file.send_library, 0),
            ("LayerZero receive library", file.receive_library, 1),
        ] {
            self.library(what, file.endpoint, library, kind).await;
        }
        for other in others {
            let Some(remote) = &other.layerzero else { continue };
            let what = format!("LayerZero lane to {}", other.name);
            let call = IEndpoint::isSupportedEidCall { eid: remote.eid };
            if let Some(open) = self.ask(&what, file.endpoint, call).await {
                self.lane(what, open, format!("eid {}", remote.eid));
            }
        }
    }

    async fn library(&mut self, what: &str, endpoint: Address, library: Address, kind: u8) {
        if !self.code(what, library).await {
            return;
        }
        let call = IEndpoint::isRegisteredLibraryCall { library };
        if let Some(registered) = self.ask(what, endpoint, call).await {
            let found = if registered {
                "registered"
            } else {
                "not registered with the endpoint"
            };
            self.findings.push(Finding::check(registered, what, found, CORRECT));
        }
        if let Some(found) = self.ask(what, library, IMessageLibrary::messageLibTypeCall {}).await {
            let name = |kind: u8| match kind {
                0 => "sends",
                1 => "receives",
                _ => "does both",
            };
            self.equal(what, name(found), name(kind));
        }
    }

    fn lane(&mut self, what: String, open: bool, found: String) {
        self.findings.push(if open {
            Finding::ok(what, found)
        } else {
            Finding::warn(what, format!("{found}: not supported"), NO_LANE)
        });
    }

    async fn ccip(&mut self, file: &CcipNetwork, others: &[&Network]) {
        if !self.code("CCIP router", file.router).await {
            return;
        }
        self.typed("CCIP router", file.router, "Router ").await;
        if let Some(proxy) = self
            .ask("CCIP RMN proxy", file.router, IRouter::getArmProxyCall {})
            .await
        {
            self.equal("CCIP RMN proxy", proxy, file.rmn_proxy);
        }
        if self.code("CCIP token admin registry", file.token_admin_registry).await {
            self.typed(
                "CCIP token admin registry",
                file.token_admin_registry,
                "TokenAdminRegistry ",
            )
            .await;
        }
        if self.code("CCIP LINK token", file.link).await
            && let Some(symbol) = self.ask("CCIP LINK token", file.link, IErc20::symbolCall {}).await
        {
            self.equal("CCIP LINK token", symbol.as_str(), "LINK");
        }
        let mut told = false;
        for other in others {
            let Some(remote) = &other.ccip else { continue };
            let what = format!("CCIP lane to {}", other.name);
            let call = IRouter::isChainSupportedCall {
                chainSelector: remote.selector,
            };
            let Some(open) = self.ask(&what, file.router, call).await else {
                continue;
            };
            if !open {
                self.lane(what, false, format!("selector {}", remote.selector));
                continue;
            }
            told |= self.on_ramp(what, file, remote.selector, !told).await;
        }
        if !told {
            self.findings.push(Finding::warn(
                "CCIP selector",
                format!("{}, which no contract here could confirm", file.selector),
                "The router does not know its own selector, its on-ramps do: look it up again before using it.",
            ));
        }
    }

    /// Version of a lane's on-ramp and, once, the selector the on-ramp knows its own chain by. True when it told.
    async fn on_ramp(&mut self, what: String, file: &CcipNetwork, to: u64, tell: bool) -> bool {
        let call = IRouter::getOnRampCall { destChainSelector: to };
        let Some(ramp) = self.ask(&what, file.router, call).await else {
            return false;
        };
        let Some(version) = self.ask(&what, ramp, ITypeAndVersion::typeAndVersionCall {}).await else {
            return false;
        };
        // Named per version: the structs behind one name differ.
        let place = match version.as_str() {
            known if known.starts_with("OnRamp 1.6") || known.starts_with("OnRamp 2.0") => Some(0),
            known if known.starts_with("EVM2EVMOnRamp 1.5") => Some(1),
            _ => None,
        };
        let carried = place == Some(0);
        let found = format!("{version} at {ramp}");
        self.findings.push(if carried {
            Finding::ok(what, found)
        } else {
            Finding::warn(
                what,
                found,
                "This relayer carries over CCIP 1.6 and 2.0 only: use another bridge for this lane.",
            )
        });
        let Some(place) = place.filter(|_| tell) else {
            return false;
        };
        let data = ITypeAndVersion::getStaticConfigCall {}.abi_encode();
        let Ok(answer) = self.raw(ramp, data).await else {
            return false;
        };
        let word = answer.chunks_exact(32).nth(place).map(U256::from_be_slice);
        let Some(selector) = word.and_then(|word| u64::try_from(word).ok()) else {
            return false;
        };
        self.equal("CCIP selector", selector, file.selector);
        true
    }

    async fn typed(&mut self, what: &str, address: Address, prefix: &str) {
        let call = ITypeAndVersion::typeAndVersionCall {};
        if let Some(found) = self.ask(what, address, call).await {
            let holds = found.starts_with(prefix);
            self.findings.push(Finding::check(holds, what, found, CORRECT));
        }
    }

    async fn wormhole(&mut self, file: &WormholeNetwork, chain_id: u64) {
        if !self.code("Wormhole core", file.core).await {
            return;
        }
        if let Some(found) = self.ask("Wormhole chain id", file.core, ICore::chainIdCall {}).await {
            self.equal("Wormhole chain id", found, file.chain_id);
        }
        if let Some(found) = self
            .ask("Wormhole EVM chain id", file.core, ICore::evmChainIdCall {})
            .await
        {
            self.equal("Wormhole EVM chain id", found, U256::from(chain_id));
        }
        let set = ICore::getCurrentGuardianSetIndexCall {};
        if let Some(index) = self.ask("Wormhole guardian set", file.core, set).await {
            self.findings
                .push(Finding::ok("Wormhole guardian set", index.to_string()));
        }
        if let Some(fee) = self
            .ask("Wormhole message fee", file.core, ICore::messageFeeCall {})
            .await
        {
            self.findings
                .push(Finding::ok("Wormhole message fee", format!("{fee} wei")));
        }
    }
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
