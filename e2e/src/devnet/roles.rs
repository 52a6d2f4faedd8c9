//! The parts nobody else plays locally: a DVN that attests packets and an executor that commits and delivers them, one pair per direction.
//!
//! Both look at the chains anew on every tick and keep nothing but the time a packet was first seen, so that reorgs on either side and
//! transactions that vanish need no special case: what is not done is done again.

use super::abi::*;
use super::layerzero::LayerZero;
use super::switches::{PacketName, Switches};
use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::{Filter, TransactionRequest};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{SolCall, SolEvent, SolValue};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Executor gas of a packet whose options cannot be read.
const GAS_FALLBACK: u128 = 500_000;
/// How far back packets are looked for: longer than any path is blocked in a test.
const LOOKBACK_BLOCKS: u64 = 2_000;
const TICK: Duration = Duration::from_millis(100);
const MINED_WITHIN: Duration = Duration::from_secs(15);
/// Header of a packet: version, nonce, source eid, sender, target eid, receiver.
const HEADER: usize = 81;

/// A packet as its `PacketSent` event tells it.
#[derive(Debug, Clone)]
struct Packet {
    nonce: u64,
    src_eid: u32,
    sender: B256,
    dst_eid: u32,
    receiver: Address,
    guid: B256,
    message: Bytes,
    header: Bytes,
    payload_hash: B256,
    gas: u128,
    block: u64,
}

fn word(bytes: &[u8], at: usize) -> B256 {
    B256::from_slice(&bytes[at..at + 32])
}

impl Packet {
    fn decode(encoded: &[u8], options: &[u8], block: u64) -> Result<Self> {
        ensure!(
            encoded.len() >= HEADER + 32 && encoded[0] == 1,
            "not a packet of version 1"
        );
        // Our port writes one option, whose last 16 bytes are the gas.
        let gas = options
            .last_chunk::<16>()
            .map_or(GAS_FALLBACK, |bytes| u128::from_be_bytes(*bytes));
        Ok(Self {
            nonce: u64::from_be_bytes(encoded[1..9].try_into()?),
            src_eid: u32::from_be_bytes(encoded[9..13].try_into()?),
            sender: word(encoded, 13),
            dst_eid: u32::from_be_bytes(encoded[45..49].try_into()?),
            receiver: Address::from_word(word(encoded, 49)),
            guid: word(encoded, 81),
            message: Bytes::copy_from_slice(&encoded[HEADER + 32..]),
            header: Bytes::copy_from_slice(&encoded[..HEADER]),
            payload_hash: keccak256(&encoded[HEADER..]),
            gas,
            block,
        })
    }

    fn origin(&self) -> Origin {
        Origin {
            srcEid: self.src_eid,
            sender: self.sender,
            nonce: self.nonce,
        }
    }
}

/// One direction: watches `source`, acts on `target`.
#[derive(Debug)]
pub struct Direction {
    pub source_chain: u64,
    pub source: LayerZero,
    pub target: LayerZero,
    pub source_provider: DynProvider,
    pub target_url: String,
    /// Blocks the DVN waits on the source.
    pub confirmations: u64,
    pub dvn: PrivateKeySigner,
    pub executor: PrivateKeySigner,
    pub switches: Switches,
}

/// A wallet on the target that survives reorgs: the nonce is asked for every time.
fn wallet(url: &str, signer: &PrivateKeySigner) -> Result<DynProvider> {
    let provider = ProviderBuilder::new()
        .with_simple_nonce_management()
        .wallet(signer.clone())
        .connect_http(url.parse()?);
    provider.client().set_poll_interval(Duration::from_millis(50));
    Ok(provider.erased())
}

async fn send(provider: &DynProvider, to: Address, call: impl SolCall, what: &'static str) -> Result<()> {
    let request = TransactionRequest::default().with_to(to).with_input(call.abi_encode());
    let pending = provider.send_transaction(request).await.context(what)?;
    let receipt = pending
        .with_timeout(Some(MINED_WITHIN))
        .get_receipt()
        .await
        .context(what)?;
    if !receipt.status() {
        bail!("{what} reverted");
    }
    Ok(())
}

impl Direction {
    /// Plays both roles until cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let mut first_seen: BTreeMap<(B256, u64, B256), Instant> = BTreeMap::new();
        loop {
            let tick = self.tick(&mut first_seen);
            tokio::select! {
                () = stop.cancelled() => return,
                outcome = tick => if let Err(error) = outcome {
                    tracing::debug!(chain = self.source_chain, error = format!("{error:#}"), "devnet role will try again");
                    sleep(TICK * 5).await;
                },
            }
            tokio::select! { () = stop.cancelled() => return, () = sleep(TICK) => {} }
        }
    }

    async fn packets(&self) -> Result<Vec<Packet>> {
        let head = self.source_provider.get_block_number().await?;
        let filter = Filter::new()
            .address(self.source.endpoint)
            .event_signature(IEndpointV2::PacketSent::SIGNATURE_HASH)
            .from_block(head.saturating_sub(LOOKBACK_BLOCKS))
            .to_block(head);
        let mut packets = Vec::new();
        for log in self.source_provider.get_logs(&filter).await? {
            let event = IEndpointV2::PacketSent::decode_log(&log.inner)?;
            let packet = Packet::decode(&event.encodedPayload, &event.options, log.block_number.unwrap_or(head))?;
            if packet.dst_eid == self.target.eid && packet.block + self.confirmations <= head {
                packets.push(packet);
            }
        }
        Ok(packets)
    }

    async fn tick(&self, first_seen: &mut BTreeMap<(B256, u64, B256), Instant>) -> Result<()> {
        let dvn = wallet(&self.target_url, &self.dvn)?;
        let executor = wallet(&self.target_url, &self.executor)?;
        let libraries = IReceiveUln302View::new(self.target.receive_view, &dvn);
        let endpoint = IEndpointV2View::new(self.target.endpoint_view, &dvn);
        for packet in self.packets().await? {
            let seen = *first_seen
                .entry((packet.sender, packet.nonce, packet.payload_hash))
                .or_insert_with(Instant::now);
            let setting = self.switches.get();
            let name = PacketName {
                source_chain: self.source_chain,
                sender: Address::from_word(packet.sender),
                nonce: packet.nonce,
            };
            let executable = endpoint.executable(packet.origin(), packet.receiver).call().await?;
            if executable == 3 {
                continue;
            }
            let mut verifiable = libraries
                .verifiable(packet.header.clone(), packet.payload_hash)
                .call()
                .await?;
            if verifiable == 0 && setting.attests(name, seen.elapsed()) {
                self.attest(&dvn, &packet).await?;
                verifiable = libraries
                    .verifiable(packet.header.clone(), packet.payload_hash)
                    .call()
                    .await?;
            }
            if !setting.executes(seen.elapsed()) {
                continue;
            }
            if verifiable == 1 {
                let call = IUln302::commitVerificationCall {
                    packetHeader: packet.header.clone(),
                    payloadHash: packet.payload_hash,
                };
                send(&executor, self.target.receive_library, call, "commitVerification").await?;
            }
            if endpoint.executable(packet.origin(), packet.receiver).call().await? == 2 {
                self.deliver(&executor, &packet).await?;
            }
        }
        Ok(())
    }

    /// The DVN contract takes a signed call of `verify`; it never reverts for a bad signature, so the caller looks at the state after.
    async fn attest(&self, provider: &DynProvider, packet: &Packet) -> Result<()> {
        let contract = IDVN::new(self.target.dvn, provider);
        let vid = contract.vid().call().await?;
        let verify = IUln302::verifyCall {
            packetHeader: packet.header.clone(),
            payloadHash: packet.payload_hash,
            confirmations: self.confirmations,
        };
        let data = Bytes::from(verify.abi_encode());
        let head = provider
            .get_block(alloy::eips::BlockId::latest())
            .await?
            .context("target has no head")?;
        // Two expirations make two hashes, and the DVN refuses a hash it has seen, even one that a reorg undid on the other side.
        let expiration = U256::from(head.header.timestamp + 3_600 + head.header.number % 1_000);
        let target = self.target.receive_library;
        let hash = keccak256((vid, target, expiration, data.clone()).abi_encode_packed());
        let signature = self.dvn.sign_message_sync(hash.as_slice())?;
        let param = ExecuteParam {
            vid,
            target,
            callData: data,
            expiration,
            signatures: Bytes::copy_from_slice(&signature.as_bytes()),
        };
        send(
            provider,
            self.target.dvn,
            IDVN::executeCall { params: vec![param] },
            "DVN.execute",
        )
        .await
    }

    async fn deliver(&self, provider: &DynProvider, packet: &Packet) -> Result<()> {
        let params = ExecutionParams {
            receiver: packet.receiver,
            origin: packet.origin(),
            guid: packet.guid,
            message: packet.message.clone(),
            extraData: Bytes::new(),
            gasLimit: U256::from(packet.gas),
        };
        send(
            provider,
            self.target.executor,
            IExecutor::execute302Call { params },
            "Executor.execute302",
        )
        .await
    }
}
