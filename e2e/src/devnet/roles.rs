//! The parts nobody else plays locally: a DVN that attests packets and an executor that commits and delivers them, one pair per direction.
//!
//! Both look at the chains anew whenever a head or a switch changed and keep nothing but when a packet was first seen and last tried, so that
//! reorgs on either side and transactions that vanish need no special case: what is not done is done again. What is due goes out together:
//! one attestation for all packets, then commits and deliveries with consecutive nonces, so a burst costs two blocks, not three per packet.

use super::abi::*;
use super::layerzero::LayerZero;
use super::switches::{PacketName, Setting, Switches};
use alloy::eips::BlockId;
use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::{Filter, TransactionRequest};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{SolCall, SolEvent, SolValue};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Executor gas of a packet whose options cannot be read.
const GAS_FALLBACK: u128 = 500_000;
/// How far back packets are looked for: longer than any path is blocked in a test.
const LOOKBACK_BLOCKS: u64 = 2_000;
const TICK: Duration = Duration::from_millis(200);
const MINED_WITHIN: Duration = Duration::from_secs(15);
/// A delivery that failed is tried again after this time; anyone else may be faster.
const DELIVER_AGAIN_AFTER: Duration = Duration::from_secs(3);
/// Attestations in one transaction.
const ATTESTATIONS_MAX: usize = 32;
/// Gas is fixed, because a delivery cannot be estimated before its commit is mined; what is not used is not paid.
const ATTEST_GAS: u64 = 400_000;
const COMMIT_GAS: u64 = 500_000;
/// The executor's own work around the receive callback.
const DELIVER_GAS: u64 = 1_000_000;
const MAX_FEE_PER_GAS: u128 = 100_000_000_000;
const PRIORITY_FEE_PER_GAS: u128 = 1_000_000_000;
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

    fn key(&self) -> Key {
        (self.sender, self.nonce, self.payload_hash)
    }

    fn origin(&self) -> Origin {
        Origin {
            srcEid: self.src_eid,
            sender: self.sender,
            nonce: self.nonce,
        }
    }
}

/// Sender, nonce and payload hash: after a reorg another packet may take the nonce.
type Key = (B256, u64, B256);

/// What a role remembers of the packets of one direction.
#[derive(Debug, Default)]
struct Memory {
    first_seen: BTreeMap<Key, Instant>,
    tried: BTreeMap<Key, Instant>,
    /// Target height at which a packet was first seen executed.
    executed: BTreeMap<Key, u64>,
    /// Heads and switches at the end of the last look.
    last: Option<(B256, B256, Setting)>,
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
    /// Executed packets are looked at again for this many target blocks, in case a reorg undoes them.
    pub watched_blocks: u64,
}

/// A wallet on the target that survives reorgs: the nonce is asked for every time.
pub(super) fn wallet(url: &str, signer: &PrivateKeySigner) -> Result<DynProvider> {
    let provider = ProviderBuilder::new()
        .with_simple_nonce_management()
        .wallet(signer.clone())
        .connect_http(url.parse()?);
    provider.client().set_poll_interval(Duration::from_millis(50));
    Ok(provider.erased())
}

pub(super) fn request(to: Address, call: impl SolCall, gas: u64) -> TransactionRequest {
    TransactionRequest::default()
        .with_to(to)
        .with_input(call.abi_encode())
        .with_gas_limit(gas)
        .with_max_fee_per_gas(MAX_FEE_PER_GAS)
        .with_max_priority_fee_per_gas(PRIORITY_FEE_PER_GAS)
}

/// Sends all, then waits for all. A revert is no error: the next look at the chain says what is still to do.
pub(super) async fn send_all(provider: &DynProvider, requests: Vec<TransactionRequest>) -> Result<()> {
    let mut pending = Vec::with_capacity(requests.len());
    for request in requests {
        pending.push(provider.send_transaction(request).await.context("sending as a role")?);
    }
    for sent in pending {
        sent.with_timeout(Some(MINED_WITHIN)).get_receipt().await?;
    }
    Ok(())
}

pub(super) async fn head(provider: &DynProvider) -> Result<(u64, B256, u64)> {
    let block = provider.get_block(BlockId::latest()).await?;
    let header = block.context("the chain has no head")?.header;
    Ok((header.number, header.hash, header.timestamp))
}

impl Direction {
    /// Plays both roles until cancelled.
    pub async fn run(self, stop: CancellationToken) {
        // Once: a new HTTP client per look would cost more than everything it asks.
        let wallets =
            wallet(&self.target_url, &self.dvn).and_then(|dvn| Ok((dvn, wallet(&self.target_url, &self.executor)?)));
        let (dvn, executor) = match wallets {
            Ok(wallets) => wallets,
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "devnet roles cannot start");
                return;
            }
        };
        let mut memory = Memory::default();
        loop {
            let tick = self.tick(&mut memory, &dvn, &executor);
            tokio::select! {
                () = stop.cancelled() => return,
                outcome = tick => if let Err(error) = outcome {
                    tracing::debug!(chain = self.source_chain, error = format!("{error:#}"), "devnet role will try again");
                    memory.last = None;
                    sleep(TICK * 5).await;
                },
            }
            tokio::select! { () = stop.cancelled() => return, () = sleep(TICK) => {} }
        }
    }

    /// Packets of this direction that have the confirmations the DVN waits for, lowest nonce of each path first.
    async fn packets(&self, head: u64) -> Result<Vec<Packet>> {
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
        packets.sort_by_key(Packet::key);
        Ok(packets)
    }

    async fn tick(&self, memory: &mut Memory, dvn: &DynProvider, executor: &DynProvider) -> Result<()> {
        let setting = self.switches.get();
        let (source_head, source_hash, _) = head(&self.source_provider).await?;
        let (target_head, target_hash, _) = head(dvn).await?;
        let look = (source_hash, target_hash, setting);
        let waits = look.2.dvn_delay_ms > 0 || look.2.executor_delay_ms > 0;
        if !waits && memory.last.as_ref() == Some(&look) {
            return Ok(());
        }
        let (mut unattested, mut moves) = (Vec::new(), Vec::new());
        let mut paths = BTreeMap::new();
        for packet in self.packets(source_head).await? {
            let age = memory
                .first_seen
                .entry(packet.key())
                .or_insert_with(Instant::now)
                .elapsed();
            let executed = memory.executed.get(&packet.key()).copied();
            if executed.is_some_and(|height| height + self.watched_blocks < target_head) {
                continue;
            }
            if self.is_executed(dvn, &packet).await? {
                memory.executed.entry(packet.key()).or_insert(target_head);
                continue;
            }
            memory.executed.remove(&packet.key());
            let libraries = IReceiveUln302View::new(self.target.receive_view, dvn);
            let verifiable = libraries
                .verifiable(packet.header.clone(), packet.payload_hash)
                .call()
                .await?;
            let name = PacketName {
                source_chain: self.source_chain,
                sender: Address::from_word(packet.sender),
                nonce: packet.nonce,
            };
            if verifiable == 0 && look.2.attests(name, age) {
                unattested.push(packet);
            } else if (verifiable == 1 || verifiable == 2) && look.2.executes(age) {
                let reachable = match paths.entry((packet.sender, packet.receiver)) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => new.insert(self.verified(dvn, &packet).await?),
                };
                self.next_moves(memory, reachable, &packet, verifiable == 1, &mut moves);
            }
        }
        if !unattested.is_empty() {
            self.attest(dvn, &unattested).await?;
        }
        if !moves.is_empty() {
            send_all(executor, moves).await?;
        }
        memory.last = Some(look);
        Ok(())
    }

    /// Executed, or used up otherwise.
    async fn is_executed(&self, provider: &DynProvider, packet: &Packet) -> Result<bool> {
        let endpoint = IEndpointV2View::new(self.target.endpoint_view, provider);
        Ok(endpoint.executable(packet.origin(), packet.receiver).call().await? == 3)
    }

    /// Last gapless verified nonce of the packet's path.
    async fn verified(&self, provider: &DynProvider, packet: &Packet) -> Result<u64> {
        let endpoint = IEndpointV2::new(self.target.endpoint, provider);
        let call = endpoint.inboundNonce(packet.receiver, packet.src_eid, packet.sender);
        Ok(call.call().await?)
    }

    /// Commit what is attested, deliver what no earlier nonce blocks. `reachable` moves on with every commit planned here.
    fn next_moves(
        &self,
        memory: &mut Memory,
        reachable: &mut u64,
        packet: &Packet,
        commit: bool,
        moves: &mut Vec<TransactionRequest>,
    ) {
        if memory
            .tried
            .get(&packet.key())
            .is_some_and(|tried| tried.elapsed() < DELIVER_AGAIN_AFTER)
        {
            return;
        }
        if commit {
            let call = IUln302::commitVerificationCall {
                packetHeader: packet.header.clone(),
                payloadHash: packet.payload_hash,
            };
            moves.push(request(self.target.receive_library, call, COMMIT_GAS));
        }
        if packet.nonce == *reachable + 1 {
            *reachable = packet.nonce;
        }
        if packet.nonce > *reachable {
            return;
        }
        let params = ExecutionParams {
            receiver: packet.receiver,
            origin: packet.origin(),
            guid: packet.guid,
            message: packet.message.clone(),
            extraData: Bytes::new(),
            gasLimit: U256::from(packet.gas),
        };
        let gas = u64::try_from(packet.gas)
            .unwrap_or(u64::MAX)
            .saturating_mul(2)
            .saturating_add(DELIVER_GAS);
        moves.push(request(self.target.executor, IExecutor::execute302Call { params }, gas));
        memory.tried.insert(packet.key(), Instant::now());
    }

    /// The DVN contract takes signed calls of `verify`; it never reverts for a bad signature, so the next look at the state decides.
    async fn attest(&self, provider: &DynProvider, packets: &[Packet]) -> Result<()> {
        let contract = IDVN::new(self.target.dvn, provider);
        let vid = contract.vid().call().await?;
        let (number, _, timestamp) = head(provider).await?;
        // Two expirations make two hashes, and the DVN refuses a hash it has seen, even one that a reorg undid on the other side.
        let expiration = U256::from(timestamp + 3_600 + number % 1_000);
        let target = self.target.receive_library;
        let mut params = Vec::with_capacity(packets.len());
        for packet in packets.iter().take(ATTESTATIONS_MAX) {
            let verify = IUln302::verifyCall {
                packetHeader: packet.header.clone(),
                payloadHash: packet.payload_hash,
                confirmations: self.confirmations,
            };
            let data = Bytes::from(verify.abi_encode());
            let hash = keccak256((vid, target, expiration, data.clone()).abi_encode_packed());
            let signature = self.dvn.sign_message_sync(hash.as_slice())?;
            params.push(ExecuteParam {
                vid,
                target,
                callData: data,
                expiration,
                signatures: Bytes::copy_from_slice(&signature.as_bytes()),
            });
        }
        let gas = ATTEST_GAS * (params.len() as u64 + 1);
        send_all(
            provider,
            vec![request(self.target.dvn, IDVN::executeCall { params }, gas)],
        )
        .await
    }
}
