//! What `doctor` asks about a port: its own wiring, and the verifiers LayerZero will demand of its messages.

use crate::abi::{IEndpoint, IReceiveUln};
use crate::adapter::LayerZeroAdapter;
use crate::config::LayerZeroChain;
use alloy::primitives::{Address, B256, U256};
use alloy::sol_types::SolCall;
use relayer_adapter_api::abi::{ILayerZeroPort, ISettlementPort};
use relayer_adapter_api::{AdapterError, ChainId, ChainView, Finding};

const ASK_OWNER: &str = "Port wiring is set once and frozen: deploy and wire a new port (`cargo xtask contracts`).";

async fn ask<C: SolCall>(view: &dyn ChainView, to: Address, call: C) -> Result<C::Return, AdapterError> {
    let attempted = "inspecting a port";
    let data = call.abi_encode().into();
    let answer = view
        .call(None, to, data, U256::ZERO)
        .await
        .map_err(|source| AdapterError::View { attempted, source })?;
    C::abi_decode_returns(&answer).map_err(|error| AdapterError::Decode {
        attempted,
        reason: error.to_string(),
    })
}

impl LayerZeroAdapter {
    /// Looks at this instance's port on the view's chain. An error means that the chain did not answer, or not as a port does.
    pub async fn inspect(&self, view: &dyn ChainView) -> Result<Vec<Finding>, AdapterError> {
        let Some(here) = self.by_chain(view.chain()) else {
            return Ok(Vec::new());
        };
        let endpoint = ask(view, here.port, ILayerZeroPort::endpointCall {}).await?;
        let frozen = ask(view, here.port, ISettlementPort::frozenCall {}).await?;
        let family = ask(view, here.port, ISettlementPort::familyCall {}).await?;
        let mut findings = vec![
            Finding::check(
                endpoint == here.endpoint,
                "endpoint",
                format!("the port uses {endpoint}"),
                "Correct endpoint_address, or the port.",
            ),
            Finding::check(
                frozen,
                "frozen",
                if frozen {
                    "peers, libraries and verifiers can no longer change"
                } else {
                    "the port can still be changed"
                },
                "Freeze the port: only frozen ports can be activated.",
            ),
            Finding::check(
                family == 1,
                "family",
                format!("{family}"),
                "A LayerZero port has family 1.",
            ),
        ];
        for remote in self.chains().filter(|remote| remote.chain != here.chain) {
            findings.extend(self.inspect_lane(view, here, remote).await?);
        }
        Ok(findings)
    }

    async fn inspect_lane(
        &self,
        view: &dyn ChainView,
        here: &LayerZeroChain,
        remote: &LayerZeroChain,
    ) -> Result<Vec<Finding>, AdapterError> {
        let name = |what: &str| format!("{what} of chain {}", remote.chain);
        let lane = ask(
            view,
            here.port,
            ILayerZeroPort::laneCall {
                chainId: remote.chain.0,
            },
        )
        .await?;
        if lane.eid == 0 {
            let todo = format!("Set the lane to chain {} before freezing. {ASK_OWNER}", remote.chain);
            return Ok(vec![Finding::fail(name("lane"), "not set", todo)]);
        }
        let peer = remote.port.into_word();
        let mut findings = vec![
            Finding::check(
                lane.eid == remote.eid,
                name("endpoint id"),
                lane.eid.to_string(),
                ASK_OWNER,
            ),
            Finding::check(
                lane.peer == peer,
                name("peer"),
                Address::from_word(lane.peer).to_string(),
                ASK_OWNER,
            ),
        ];
        if let Some(outbox) = remote.outbox {
            let expected: B256 = outbox.into_word();
            let found = Address::from_word(lane.remoteOutbox).to_string();
            findings.push(Finding::check(
                lane.remoteOutbox == expected,
                name("remote outbox"),
                found,
                ASK_OWNER,
            ));
        }
        let receive = IEndpoint::getReceiveLibraryCall {
            receiver: here.port,
            srcEid: remote.eid,
        };
        let library = ask(view, here.endpoint, receive).await?;
        findings.push(if library.isDefault {
            let todo = format!("LayerZero can change a default library at will: pin one. {ASK_OWNER}");
            Finding::fail(name("receive library"), format!("{} (the default)", library.lib), todo)
        } else {
            Finding::ok(name("receive library"), format!("{}, pinned", library.lib))
        });
        findings.push(
            self.inspect_verifiers(view, here.port, library.lib, remote.chain, remote.eid)
                .await?,
        );
        Ok(findings)
    }

    /// The verifier set that must attest what arrives from `remote`.
    async fn inspect_verifiers(
        &self,
        view: &dyn ChainView,
        port: Address,
        library: Address,
        remote: ChainId,
        eid: u32,
    ) -> Result<Finding, AdapterError> {
        let call = IReceiveUln::getUlnConfigCall {
            oapp: port,
            remoteEid: eid,
        };
        let uln = ask(view, library, call).await?;
        let what = format!("verifiers of chain {remote}");
        let needed = uln
            .requiredDVNs
            .len()
            .saturating_add(usize::from(uln.optionalDVNThreshold));
        let found = format!(
            "{} required, {} of {} optional, {} confirmations: {:?}",
            uln.requiredDVNs.len(),
            uln.optionalDVNThreshold,
            uln.optionalDVNs.len(),
            uln.confirmations,
            uln.requiredDVNs
        );
        Ok(match needed {
            0 => Finding::fail(what, found, format!("Nobody attests: nothing can arrive. {ASK_OWNER}")),
            1 => Finding::warn(
                what,
                found,
                "One verifier alone can forge what arrives over this bridge: require two or more of different operators.",
            ),
            _ => Finding::ok(what, found),
        })
    }
}
