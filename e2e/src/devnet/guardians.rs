//! Wormhole's guardians: they look at both cores, sign what is final, and serve it over the public REST of a real guardian, from several
//! endpoints of which each may be down or lie.
//!
//! They keep the signatures they gave, as real ones do: a new guardian set does not sign old messages until it is asked to.

use super::key;
use super::layerzero::call;
use super::switches::Switches;
use super::wormhole::{ICoreBridge, Wormhole, governance, new_fee, new_set};
use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::Filter;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolEvent;
use anyhow::{Context, Result};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relayer_adapter_wormhole::{Body, Signature, Vaa, quorum};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Endpoints that serve one and the same set of guardians.
const ENDPOINTS: usize = 3;
const LOOKBACK_BLOCKS: u64 = 2_000;
const TICK: Duration = Duration::from_millis(200);
/// The one consistency level our ports take.
const FINALIZED: u8 = 1;

/// How an endpoint behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    #[default]
    Honest,
    /// Answers 503.
    Down,
    /// Says it has no VAA.
    Empty,
    /// The right body, signed by nobody.
    BadSignatures,
    /// Another body under the right signatures.
    WrongPayload,
    /// No JSON.
    Garbage,
}

/// What the guardians are told to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardianSetting {
    /// They sign what they see.
    pub signing: bool,
    /// Extra wait between seeing and signing.
    pub delay_ms: u64,
    /// How many of them sign; all when absent.
    pub signers: Option<usize>,
    /// By endpoint; honest where nothing is said.
    pub endpoints: Vec<Endpoint>,
}

impl Default for GuardianSetting {
    fn default() -> Self {
        Self {
            signing: true,
            delay_ms: 0,
            signers: None,
            endpoints: Vec::new(),
        }
    }
}

/// A chain the guardians look at, and who may pay for governance there.
#[derive(Debug, Clone)]
pub struct Observed {
    pub wormhole: Wormhole,
    pub provider: DynProvider,
    pub admin_url: String,
}

type Name = (u16, B256, u64);

/// A message, and what was signed of it.
#[derive(Debug, Clone)]
struct Seen {
    body: Body,
    since: Instant,
    signed: Option<Vaa>,
    signed_at: Option<Instant>,
}

#[derive(Debug)]
struct Shared {
    switches: Switches,
    /// All sets there were; the last one is current.
    sets: Mutex<Vec<Vec<PrivateKeySigner>>>,
    seen: Mutex<BTreeMap<Name, Seen>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn signer(set: u32, index: usize) -> Result<PrivateKeySigner> {
    key(&format!("guardian {set} {index}"))
}

/// Addresses of a set in which nobody stayed from an earlier one.
pub fn set_addresses(set: u32, count: usize) -> Result<Vec<Address>> {
    (0..count).map(|index| Ok(signer(set, index)?.address())).collect()
}

fn sign(body: &Body, set: u32, keys: &[PrivateKeySigner], count: usize) -> Result<Vaa> {
    let digest = body.digest();
    let mut signatures = Vec::new();
    for (index, key) in keys.iter().enumerate().take(count) {
        let made = key.sign_hash_sync(&digest)?;
        signatures.push(Signature {
            guardian: u8::try_from(index)?,
            r: made.r().into(),
            s: made.s().into(),
            recovery_id: u8::from(made.v()),
        });
    }
    Ok(Vaa {
        guardian_set: set,
        signatures,
        body: body.clone(),
    })
}

impl Shared {
    /// Signs what is due by the switches.
    fn sign_due(&self) -> Result<()> {
        let setting = self.switches.get().guardians;
        if !setting.signing {
            return Ok(());
        }
        let (index, keys) = self.current();
        for seen in locked(&self.seen).values_mut() {
            if seen.signed.is_none() && seen.since.elapsed() >= Duration::from_millis(setting.delay_ms) {
                let count = setting.signers.unwrap_or(keys.len());
                seen.signed = Some(sign(&seen.body, index, &keys, count)?);
                seen.signed_at = Some(Instant::now());
            }
        }
        Ok(())
    }

    fn current(&self) -> (u32, Vec<PrivateKeySigner>) {
        let sets = locked(&self.sets);
        let index = sets.len().saturating_sub(1);
        (
            u32::try_from(index).unwrap_or(u32::MAX),
            sets.last().cloned().unwrap_or_default(),
        )
    }
}

/// The guardians' handle. Their tasks end with the devnet.
#[derive(Debug)]
pub struct Guardians {
    /// Base URLs.
    pub endpoints: Vec<String>,
    shared: Arc<Shared>,
    chains: [Observed; 2],
    admin: PrivateKeySigner,
    governance_sequence: AtomicU64,
}

impl Guardians {
    pub async fn start(
        chains: [Observed; 2],
        count: usize,
        finality_depth: u64,
        admin: PrivateKeySigner,
        switches: Switches,
        stop: CancellationToken,
    ) -> Result<Self> {
        let keys = (0..count).map(|index| signer(0, index)).collect::<Result<Vec<_>>>()?;
        let shared = Arc::new(Shared {
            switches,
            sets: Mutex::new(vec![keys]),
            seen: Mutex::default(),
        });
        for chain in &chains {
            tokio::spawn(watch(chain.clone(), Arc::clone(&shared), finality_depth, stop.clone()));
        }
        let mut endpoints = Vec::new();
        for index in 0..ENDPOINTS {
            endpoints.push(serve(Arc::clone(&shared), index, stop.clone()).await?);
        }
        Ok(Self {
            endpoints,
            shared,
            chains,
            admin,
            governance_sequence: AtomicU64::new(0),
        })
    }

    /// Replaces the first `replaced` guardians; those who stay move to lower indices. Both cores learn it the way they always do, by a VAA of
    /// governance signed by the set that goes.
    pub async fn rotate(&self, replaced: usize) -> Result<u32> {
        let (index, keys) = self.shared.current();
        let next = index + 1;
        let mut new: Vec<PrivateKeySigner> = keys.iter().skip(replaced).cloned().collect();
        for slot in new.len()..keys.len() {
            new.push(signer(next, slot)?);
        }
        let addresses: Vec<Address> = new.iter().map(PrivateKeySigner::address).collect();
        let vaa = self.governed(new_set(next, &addresses))?;
        for chain in &self.chains {
            let to = chain.wormhole.core;
            call(
                &self.wallet(chain)?,
                to,
                ICoreBridge::submitNewGuardianSetCall { vaa: vaa.clone() },
            )
            .await?;
        }
        locked(&self.shared.sets).push(new);
        Ok(next)
    }

    /// Sets the fee for publishing on one chain (0 = source, 1 = target).
    pub async fn set_fee(&self, chain: usize, fee: U256) -> Result<()> {
        let chain = &self.chains[chain];
        let vaa = self.governed(new_fee(chain.wormhole.wormhole_chain, fee))?;
        call(
            &self.wallet(chain)?,
            chain.wormhole.core,
            ICoreBridge::submitSetMessageFeeCall { vaa },
        )
        .await
    }

    /// Signs everything seen so far again, with the current set: what real guardians do for an observation request.
    pub fn reobserve(&self) {
        for seen in locked(&self.shared.seen).values_mut() {
            seen.signed = None;
        }
    }

    /// When the VAA with this message (its hash) was signed last.
    pub fn signed_at(&self, message: B256) -> Option<std::time::Instant> {
        let seen = locked(&self.shared.seen);
        let found = seen.values().find(|seen| keccak256(&seen.body.payload) == message)?;
        found.signed_at.map(Instant::into_std)
    }

    /// What guardians sign who have been turned: a message that no core ever published, in the name of a port on one chain (0 = source,
    /// 1 = target). The caller submits it; the honest endpoints know nothing of it.
    pub fn forge(&self, chain: usize, emitter: Address, sequence: u64, payload: Vec<u8>) -> Result<Bytes> {
        let (index, keys) = self.shared.current();
        let body = Body {
            timestamp: 1,
            nonce: 0,
            emitter_chain: self.chains[chain].wormhole.wormhole_chain,
            emitter: emitter.into_word(),
            sequence,
            consistency: FINALIZED,
            payload,
        };
        Ok(sign(&body, index, &keys, quorum(keys.len()))?.encode()?.into())
    }

    fn governed(&self, payload: Vec<u8>) -> Result<Bytes> {
        let (index, keys) = self.shared.current();
        let sequence = self.governance_sequence.fetch_add(1, Ordering::Relaxed);
        let vaa = sign(&governance(sequence, payload), index, &keys, quorum(keys.len()))?;
        Ok(vaa.encode()?.into())
    }

    fn wallet(&self, chain: &Observed) -> Result<DynProvider> {
        let provider = ProviderBuilder::new()
            .with_simple_nonce_management()
            .wallet(self.admin.clone())
            .connect_http(chain.admin_url.parse()?);
        provider.client().set_poll_interval(Duration::from_millis(50));
        Ok(provider.erased())
    }
}

/// Looks at one chain until cancelled. Everything final is read anew each time, so a reorg replaces what it changed.
async fn watch(chain: Observed, shared: Arc<Shared>, finality_depth: u64, stop: CancellationToken) {
    let mut last = B256::ZERO;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            outcome = look(&chain, &shared, finality_depth, &mut last) => if let Err(error) = outcome {
                tracing::debug!(chain = chain.wormhole.wormhole_chain, error = format!("{error:#}"), "guardians will look again");
            },
        }
        tokio::select! { () = stop.cancelled() => return, () = sleep(TICK) => {} }
    }
}

async fn look(chain: &Observed, shared: &Shared, finality_depth: u64, last: &mut B256) -> Result<()> {
    let block = chain.provider.get_block(BlockId::latest()).await?;
    let head = block.context("the chain has no head")?.header;
    if *last != head.hash {
        let last_final = head.number.saturating_sub(finality_depth);
        let filter = Filter::new()
            .address(chain.wormhole.core)
            .event_signature(ICoreBridge::LogMessagePublished::SIGNATURE_HASH)
            .from_block(last_final.saturating_sub(LOOKBACK_BLOCKS))
            .to_block(last_final);
        for log in chain.provider.get_logs(&filter).await? {
            let event = ICoreBridge::LogMessagePublished::decode_log(&log.inner)?;
            let timestamp = match log.block_timestamp {
                Some(timestamp) => timestamp,
                None => {
                    let number = log.block_number.context("a log without a block")?;
                    let block = chain.provider.get_block(BlockId::number(number)).await?;
                    block.context("a log of an unknown block")?.header.timestamp
                }
            };
            let body = Body {
                timestamp: u32::try_from(timestamp)?,
                nonce: event.nonce,
                emitter_chain: chain.wormhole.wormhole_chain,
                emitter: event.sender.into_word(),
                sequence: event.sequence,
                consistency: event.consistencyLevel,
                payload: event.payload.to_vec(),
            };
            let name = (body.emitter_chain, body.emitter, body.sequence);
            let mut seen = locked(&shared.seen);
            if seen.get(&name).is_none_or(|known| known.body != body) {
                let fresh = Seen {
                    body,
                    since: Instant::now(),
                    signed: None,
                    signed_at: None,
                };
                seen.insert(name, fresh);
            }
        }
        *last = head.hash;
    }
    shared.sign_due()
}

#[derive(Clone)]
struct Site {
    shared: Arc<Shared>,
    index: usize,
}

async fn serve(shared: Arc<Shared>, index: usize, stop: CancellationToken) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let routes = Router::new()
        .route("/v1/signed_vaa/{chain}/{emitter}/{sequence}", get(signed_vaa))
        .route("/v1/guardianset/current", get(guardian_set))
        .with_state(Site { shared, index });
    tokio::spawn(async move {
        let served = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::warn!(%error, "a devnet guardian endpoint ended");
        }
    });
    Ok(format!("http://{address}"))
}

impl Site {
    fn mode(&self) -> Endpoint {
        let setting = self.shared.switches.get().guardians;
        setting.endpoints.get(self.index).copied().unwrap_or_default()
    }
}

fn refuse(status: StatusCode, code: u8, message: &str) -> Response {
    (status, Json(json!({ "code": code, "message": message, "details": [] }))).into_response()
}

async fn signed_vaa(State(site): State<Site>, Path((chain, emitter, sequence)): Path<(u16, String, u64)>) -> Response {
    let mode = site.mode();
    if mode == Endpoint::Down {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, 14, "unavailable");
    }
    if mode == Endpoint::Garbage {
        return (StatusCode::OK, "<html>a friendly proxy</html>").into_response();
    }
    // As strict as the real ones: 64 digits, no 0x.
    let Ok(bytes) = hex::decode(&emitter) else {
        return refuse(StatusCode::BAD_REQUEST, 3, "failed to decode address");
    };
    let Ok(emitter) = B256::try_from(bytes.as_slice()) else {
        return refuse(StatusCode::BAD_REQUEST, 3, "address must be 32 bytes");
    };
    let found = locked(&site.shared.seen)
        .get(&(chain, emitter, sequence))
        .and_then(|seen| seen.signed.clone());
    let Some(mut vaa) = found.filter(|_| mode != Endpoint::Empty) else {
        return refuse(StatusCode::NOT_FOUND, 5, "requested VAA not found in store");
    };
    match mode {
        Endpoint::BadSignatures => {
            for signature in &mut vaa.signatures {
                signature.s = B256::repeat_byte(0x11);
            }
        }
        Endpoint::WrongPayload => {
            // The root of the batch: a forged one would pay somebody else.
            if let Some(byte) = vaa.body.payload.get_mut(100) {
                *byte ^= 0xff;
            }
        }
        _ => {}
    }
    match vaa.encode() {
        Ok(bytes) => Json(json!({ "vaaBytes": STANDARD.encode(bytes) })).into_response(),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, 13, &error.to_string()),
    }
}

async fn guardian_set(State(site): State<Site>) -> Response {
    if site.mode() == Endpoint::Down {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, 14, "unavailable");
    }
    let (index, keys) = site.shared.current();
    let addresses: Vec<String> = keys.iter().map(|key| key.address().to_string()).collect();
    Json(json!({ "guardianSet": { "index": index, "addresses": addresses } })).into_response()
}
