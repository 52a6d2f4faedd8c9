//! How far the packets of one path got on the target, from state alone.

use crate::abi::{IEndpoint, IReceiveUln, UlnConfig};
use crate::packet::{Packet, Path};
use crate::revert;
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::sol_types::SolCall;
use relayer_adapter_api::{AdapterError, ChainView};

/// What the endpoint stores for a packet that is not to be executed any more.
const NIL: B256 = B256::repeat_byte(0xff);

/// State of one nonce of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// No payload hash, nonce not passed: verifiers or the commit are missing.
    Open,
    /// This payload hash is committed.
    Committed(B256),
    /// Taken out of execution by the port's delegate (we name none).
    Nilified,
    /// Executed, cleared, skipped or burnt: the endpoint does not tell which.
    Passed,
}

/// One path on one target, as of the view's block.
pub(crate) struct PathReader<'a> {
    pub view: &'a dyn ChainView,
    pub endpoint: Address,
    pub path: Path,
}

/// Calls a view function and decodes its answer.
pub(crate) async fn read<C: SolCall>(
    view: &dyn ChainView,
    to: Address,
    call: C,
    attempted: &'static str,
) -> Result<C::Return, AdapterError> {
    let data = view
        .call(None, to, Bytes::from(call.abi_encode()), U256::ZERO)
        .await
        .map_err(|source| revert::error(attempted, source))?;
    C::abi_decode_returns(&data).map_err(|error| AdapterError::Decode {
        attempted,
        reason: error.to_string(),
    })
}

impl PathReader<'_> {
    fn receiver(&self) -> Address {
        self.path.receiver_address()
    }

    pub async fn slot(&self, nonce: u64) -> Result<Slot, AdapterError> {
        let call = IEndpoint::inboundPayloadHashCall {
            receiver: self.receiver(),
            srcEid: self.path.src_eid,
            sender: self.path.sender,
            nonce,
        };
        let hash = read(self.view, self.endpoint, call, "reading the inbound payload hash").await?;
        if hash == NIL {
            return Ok(Slot::Nilified);
        }
        if !hash.is_zero() {
            return Ok(Slot::Committed(hash));
        }
        let call = IEndpoint::lazyInboundNonceCall {
            receiver: self.receiver(),
            srcEid: self.path.src_eid,
            sender: self.path.sender,
        };
        let lazy = read(self.view, self.endpoint, call, "reading the lazy inbound nonce").await?;
        Ok(if nonce <= lazy { Slot::Passed } else { Slot::Open })
    }

    /// Last nonce below which all are verified; only nonces up to it can be executed.
    pub async fn verified_up_to(&self) -> Result<u64, AdapterError> {
        let call = IEndpoint::inboundNonceCall {
            receiver: self.receiver(),
            srcEid: self.path.src_eid,
            sender: self.path.sender,
        };
        read(self.view, self.endpoint, call, "reading the inbound nonce").await
    }

    pub async fn receive_library(&self, configured: Option<Address>) -> Result<Address, AdapterError> {
        if let Some(library) = configured {
            return Ok(library);
        }
        let call = IEndpoint::getReceiveLibraryCall {
            receiver: self.receiver(),
            srcEid: self.path.src_eid,
        };
        Ok(read(self.view, self.endpoint, call, "reading the receive library")
            .await?
            .lib)
    }

    pub async fn verifiers(&self, library: Address) -> Result<UlnConfig, AdapterError> {
        let call = IReceiveUln::getUlnConfigCall {
            oapp: self.receiver(),
            remoteEid: self.path.src_eid,
        };
        read(self.view, library, call, "reading the verifier set").await
    }

    /// Whether enough verifiers attested this packet, so that anyone may commit it.
    pub async fn is_verifiable(
        &self,
        library: Address,
        verifiers: &UlnConfig,
        packet: &Packet,
    ) -> Result<bool, AdapterError> {
        let call = IReceiveUln::verifiableCall {
            config: verifiers.clone(),
            headerHash: packet.header_hash(),
            payloadHash: packet.payload_hash(),
        };
        read(self.view, library, call, "asking whether verifiers are done").await
    }

    /// How many required verifiers attested this packet with enough confirmations.
    pub async fn attested_by(
        &self,
        library: Address,
        verifiers: &UlnConfig,
        packet: &Packet,
    ) -> Result<usize, AdapterError> {
        let (header_hash, payload_hash) = (keccak256(packet.header()), packet.payload_hash());
        let mut attested = 0;
        for dvn in &verifiers.requiredDVNs {
            let call = IReceiveUln::hashLookupCall {
                headerHash: header_hash,
                payloadHash: payload_hash,
                dvn: *dvn,
            };
            let found = read(self.view, library, call, "reading a verifier's word").await?;
            if found.submitted && found.confirmations >= verifiers.confirmations {
                attested += 1;
            }
        }
        Ok(attested)
    }
}
