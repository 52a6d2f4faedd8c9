//! A configured intake over a database of its own, receipts and requests that are fine, and a target chain of contract payers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::*;
use crate::chain::{Chain, Fees};
use crate::clock::Clock;
use crate::error::Coded;
use crate::settlement::ChainId;
use crate::settlement::receipt::{AmountRule, PinnedKeys, Receipt};
use crate::settlement::terms::{Domain, Terms, TermsFields};
use crate::store::testing::{self, FEE_RECIPIENT, INBOX, PAYEE, SOURCE, TARGET, TOKEN, TestStore};
use crate::store::{Cursor, NewChainLog, SettlementFilter};
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use relayer_adapter_api::{BlockRef, Call, ChainView, LogFilter, LogRecord, TxReceipt, ViewError};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub(super) const HEAD: u64 = 1_000_000;
pub(super) const EXIT_DELAY: u64 = 100_000;
pub(super) const VAULT: Address = Address::repeat_byte(0x7a);
pub(super) const COORDINATOR: &str = "alpha";
/// Contract payers of the model chain: one agrees with everything, one with nothing.
pub(super) const AGREEABLE: Address = Address::repeat_byte(0xc1);
pub(super) const STUBBORN: Address = Address::repeat_byte(0xc2);

#[derive(Debug)]
pub(super) struct Noon;

impl Clock for Noon {
    fn now_ms(&self) -> i64 {
        12_000
    }
}

/// A chain on which only contract payers matter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contracts {
    down: bool,
}

pub(super) fn block() -> BlockRef {
    BlockRef {
        number: 7,
        hash: B256::repeat_byte(7),
        timestamp: HEAD,
    }
}

pub(super) fn unused<T>() -> Result<T, ViewError> {
    panic!("the intake does not ask for this")
}

#[async_trait]
impl Chain for Contracts {
    fn id(&self) -> ChainId {
        TARGET
    }
    async fn head(&self) -> Result<BlockRef, ViewError> {
        Ok(block())
    }
    async fn finalized(&self) -> Result<BlockRef, ViewError> {
        unused()
    }
    fn view(&self, _block: BlockRef) -> Arc<dyn ChainView> {
        Arc::new(*self)
    }
    async fn block_at(&self, _number: u64) -> Result<Option<(BlockRef, B256)>, ViewError> {
        unused()
    }
    async fn estimate_gas(&self, _from: Address, _call: &Call) -> Result<u64, ViewError> {
        unused()
    }
    async fn fees(&self) -> Result<Fees, ViewError> {
        unused()
    }
    async fn broadcast(&self, _raw: &Bytes) -> Result<B256, ViewError> {
        unused()
    }
    async fn transaction_count(&self, _account: Address, _block: BlockRef) -> Result<u64, ViewError> {
        unused()
    }
    async fn balance(&self, _account: Address, _block: BlockRef) -> Result<U256, ViewError> {
        unused()
    }
    async fn code(&self, account: Address) -> Result<Bytes, ViewError> {
        if self.down {
            return Err(ViewError::Unavailable {
                chain: TARGET.0,
                reason: "down".into(),
            });
        }
        let has_code = account == AGREEABLE || account == STUBBORN;
        Ok(if has_code { vec![1u8].into() } else { Bytes::new() })
    }
}

#[async_trait]
impl ChainView for Contracts {
    fn chain(&self) -> ChainId {
        TARGET
    }
    fn block(&self) -> BlockRef {
        block()
    }
    async fn call(&self, _from: Option<Address>, to: Address, data: Bytes, _value: U256) -> Result<Bytes, ViewError> {
        assert_eq!(data[..4], [0x16, 0x26, 0xba, 0x7e]);
        let mut word = vec![0u8; 32];
        if to == AGREEABLE {
            word[..4].copy_from_slice(&data[..4]);
        }
        Ok(word.into())
    }
    async fn logs(&self, _filter: &LogFilter) -> Result<Vec<LogRecord>, ViewError> {
        unused()
    }
    async fn receipt(&self, _tx: B256) -> Result<Option<TxReceipt>, ViewError> {
        unused()
    }
}

pub(super) fn receipt_key(tag: u8) -> SigningKey {
    SigningKey::from_bytes(&[tag; 32])
}

pub(super) fn sign_receipt(mut fields: Value, key: &SigningKey) -> Vec<u8> {
    let canonical = Receipt::parse(fields.to_string().as_bytes(), &Default::default()).unwrap();
    let signature = key.sign(canonical.canonical());
    fields["signature"] = json!({
        "alg": "Ed25519",
        "key_id": URL_SAFE_NO_PAD.encode(key.verifying_key().to_bytes()),
        "sig": URL_SAFE_NO_PAD.encode(signature.to_bytes()),
    });
    fields.to_string().into_bytes()
}

pub(super) fn fields(tag: u64) -> Value {
    json!({
        "version": "1.0", "receipt_id": format!("r{tag}"), "job_id": format!("j{tag}"), "provider": "miner",
        "client": "client", "status": "COMPLETED", "units": 1.5, "unit_type": "gpu_seconds", "price": 4.2,
        "metadata": {"prompt": "secret words"},
    })
}

pub(super) fn receipt(tag: u64) -> Vec<u8> {
    sign_receipt(fields(tag), &receipt_key(1))
}

pub(super) fn payer() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(0x51)).unwrap()
}

pub(super) struct World {
    pub(super) test: TestStore,
    pub(super) intake: Intake,
    pub(super) stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(super) fn policy() -> IntakePolicy {
    let coordinator = CoordinatorPolicy {
        keys: PinnedKeys::parse([hex::encode(receipt_key(1).verifying_key().to_bytes())]).unwrap(),
        payers: BTreeSet::new(),
        amount_rule: AmountRule::Equal,
        allow_contract_payers: false,
        fee_recipient: Some(FEE_RECIPIENT),
    };
    let lenient = CoordinatorPolicy {
        amount_rule: AmountRule::Free,
        allow_contract_payers: true,
        fee_recipient: None,
        ..coordinator.clone()
    };
    let target = TargetPolicy {
        inbox: INBOX,
        vault: VAULT,
        exit_delay: EXIT_DELAY.into(),
    };
    IntakePolicy {
        coordinators: BTreeMap::from([(COORDINATOR.to_owned(), coordinator), ("lenient".to_owned(), lenient)]),
        targets: BTreeMap::from([(TARGET, target)]),
        lanes: BTreeMap::from([((SOURCE, TARGET), 1)]),
        verify_threads: 1,
        ..IntakePolicy::default()
    }
}

pub(super) fn log(kind: &str, index: u64, key: B256, key2: B256, amount: U256, detail: Value) -> NewChainLog {
    NewChainLog {
        chain: TARGET,
        block_number: 1,
        block_hash: B256::repeat_byte(1),
        block_timestamp: HEAD - 10,
        log_index: index,
        tx_hash: B256::repeat_byte(0x77),
        address: Address::repeat_byte(0x99),
        kind: kind.into(),
        key,
        key2,
        amount,
        detail,
    }
}

pub(super) fn listing(index: u64, token: Address, quorums: [u8; 3]) -> NewChainLog {
    let detail = json!({
        "token": token, "decimals": "6", "limit1": "100000000", "limit2": "200000000",
        "quorum1": quorums[0].to_string(), "quorum2": quorums[1].to_string(), "quorum3": quorums[2].to_string(),
    });
    log("token_listed", index, token.into_word(), B256::ZERO, U256::ZERO, detail)
}

pub(super) async fn put(test: &TestStore, logs: &[NewChainLog]) {
    let mut txn = test.begin(1).await.unwrap();
    txn.put_logs(logs).await.unwrap();
    txn.commit().await.unwrap();
}

pub(super) async fn world_with(policy: IntakePolicy, down: bool) -> World {
    let test = testing::open().await;
    put(&test, &[listing(0, TOKEN, [1, 2, 0])]).await;
    let mut txn = test.begin(1).await.unwrap();
    let cursor = Cursor {
        seen: block(),
        finalized: block(),
    };
    txn.move_cursor(TARGET, None, &cursor).await.unwrap();
    txn.commit().await.unwrap();
    for (n, payer) in [(100, payer().address()), (101, AGREEABLE), (102, STUBBORN)] {
        testing::deposit(&test, payer, 1_000_000_000, n).await;
    }
    let chain: Arc<dyn Chain> = Arc::new(Contracts { down });
    let chains = BTreeMap::from([(TARGET, chain)]);
    let (intake, writer) = Intake::new(
        policy,
        test.store.clone(),
        chains,
        Arc::new(Noon),
        Arc::new(Notify::new()),
    )
    .unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(writer.run(stop.clone()));
    World { test, intake, stop }
}

pub(super) async fn world() -> World {
    world_with(policy(), false).await
}

/// A request that is fine, over one receipt.
pub(super) fn request(tag: u64) -> SubmitRequest {
    let request = SubmitRequest {
        coordinator_id: COORDINATOR.into(),
        trace_id: format!("t{tag}"),
        codec: String::new(),
        policy: String::new(),
        receipts: vec![receipt(tag)],
        terms: RequestedTerms {
            job_id: None,
            receipt_hash: None,
            proof_hash: None,
            source: SOURCE,
            target: TARGET,
            inbox: Some(INBOX),
            payer: payer().address(),
            payee: PAYEE,
            token: TOKEN,
            amount: U256::from(4_200_000),
            fee: U256::from(7),
            nonce: U256::from(tag),
            deadline: HEAD + 50_000,
        },
        auth: Bytes::new(),
        proof: None,
        allotment: None,
    };
    signed(request)
}

/// The digest its terms give, whether or not they are acceptable.
pub(super) fn digest(request: &SubmitRequest) -> B256 {
    let receipts: Vec<Receipt> = request
        .receipts
        .iter()
        .map(|bytes| Receipt::parse(bytes, &Default::default()).unwrap())
        .collect();
    let netted = crate::settlement::receipt::net(&receipts).unwrap();
    let terms = &request.terms;
    let proof = request.proof.as_ref().map(keccak256);
    let terms = Terms::new(TermsFields {
        job_id: netted.job_id,
        receipt_hash: netted.receipt_hash,
        proof_hash: proof.or(terms.proof_hash).unwrap_or_default(),
        source_chain: terms.source,
        payer: terms.payer,
        payee: terms.payee,
        token: terms.token,
        amount: terms.amount,
        fee: terms.fee,
        nonce: terms.nonce,
        deadline: terms.deadline,
    })
    .unwrap();
    Domain::new(request.terms.target, INBOX).settlement_id(&terms).0
}

pub(super) fn signed_by(mut request: SubmitRequest, key: &PrivateKeySigner) -> SubmitRequest {
    request.auth = key
        .sign_hash_sync(&digest(&request))
        .unwrap()
        .as_bytes()
        .to_vec()
        .into();
    request
}

pub(super) fn signed(request: SubmitRequest) -> SubmitRequest {
    signed_by(request, &payer())
}

/// A fine request, changed and signed anew.
pub(super) fn with(change: impl FnOnce(&mut SubmitRequest)) -> SubmitRequest {
    let mut request = request(1);
    change(&mut request);
    signed(request)
}

/// A fine request, changed after it was signed.
pub(super) fn tampered(change: impl FnOnce(&mut SubmitRequest)) -> SubmitRequest {
    let mut request = request(1);
    change(&mut request);
    request
}

pub(super) async fn stored(world: &World) -> usize {
    let all = world
        .test
        .list_settlements(&SettlementFilter::default(), None, 100)
        .await;
    all.unwrap().len()
}

pub(super) async fn check_refused(world: &World, request: SubmitRequest, code: &str) -> IntakeError {
    let before = stored(world).await;
    let what = format!("{request:?}");
    let error = match world.intake.submit(request).await {
        Ok(_) => panic!("accepted, expected {code}: {what}"),
        Err(error) => error,
    };
    assert_eq!(error.code().code, format!("RLY-INTAKE-{code}"), "{error}");
    assert_eq!(stored(world).await, before);
    error
}
