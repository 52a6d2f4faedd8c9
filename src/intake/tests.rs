#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
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

const HEAD: u64 = 1_000_000;
const EXIT_DELAY: u64 = 100_000;
const COORDINATOR: &str = "alpha";
/// Contract payers of the model chain: one agrees with everything, one with nothing.
const AGREEABLE: Address = Address::repeat_byte(0xc1);
const STUBBORN: Address = Address::repeat_byte(0xc2);

#[derive(Debug)]
struct Noon;

impl Clock for Noon {
    fn now_ms(&self) -> i64 {
        12_000
    }
}

/// A chain on which only contract payers matter.
#[derive(Debug, Clone, Copy)]
struct Contracts {
    down: bool,
}

fn block() -> BlockRef {
    BlockRef {
        number: 7,
        hash: B256::repeat_byte(7),
        timestamp: HEAD,
    }
}

fn unused<T>() -> Result<T, ViewError> {
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

fn receipt_key(tag: u8) -> SigningKey {
    SigningKey::from_bytes(&[tag; 32])
}

fn sign_receipt(mut fields: Value, key: &SigningKey) -> Vec<u8> {
    let canonical = Receipt::parse(fields.to_string().as_bytes(), &Default::default()).unwrap();
    let signature = key.sign(canonical.canonical());
    fields["signature"] = json!({
        "alg": "Ed25519",
        "key_id": URL_SAFE_NO_PAD.encode(key.verifying_key().to_bytes()),
        "sig": URL_SAFE_NO_PAD.encode(signature.to_bytes()),
    });
    fields.to_string().into_bytes()
}

fn fields(tag: u64) -> Value {
    json!({
        "version": "1.0", "receipt_id": format!("r{tag}"), "job_id": format!("j{tag}"), "provider": "miner",
        "client": "client", "status": "COMPLETED", "units": 1.5, "unit_type": "gpu_seconds", "price": 4.2,
        "metadata": {"prompt": "secret words"},
    })
}

fn receipt(tag: u64) -> Vec<u8> {
    sign_receipt(fields(tag), &receipt_key(1))
}

fn payer() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(0x51)).unwrap()
}

struct World {
    test: TestStore,
    intake: Intake,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn policy() -> IntakePolicy {
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
        exit_delay: EXIT_DELAY,
    };
    IntakePolicy {
        coordinators: BTreeMap::from([(COORDINATOR.to_owned(), coordinator), ("lenient".to_owned(), lenient)]),
        targets: BTreeMap::from([(TARGET, target)]),
        lanes: BTreeMap::from([((SOURCE, TARGET), 1)]),
        verify_threads: 1,
        ..IntakePolicy::default()
    }
}

fn log(kind: &str, index: u64, key: B256, key2: B256, amount: U256, detail: Value) -> NewChainLog {
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

fn listing(index: u64, token: Address, quorums: [u8; 3]) -> NewChainLog {
    let detail = json!({
        "token": token, "decimals": "6", "limit1": "100000000", "limit2": "200000000",
        "quorum1": quorums[0].to_string(), "quorum2": quorums[1].to_string(), "quorum3": quorums[2].to_string(),
    });
    log("token_listed", index, token.into_word(), B256::ZERO, U256::ZERO, detail)
}

async fn put(test: &TestStore, logs: &[NewChainLog]) {
    let mut txn = test.begin(1).await.unwrap();
    txn.put_logs(logs).await.unwrap();
    txn.commit().await.unwrap();
}

async fn world_with(policy: IntakePolicy, down: bool) -> World {
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

async fn world() -> World {
    world_with(policy(), false).await
}

/// A request that is fine, over one receipt.
fn request(tag: u64) -> SubmitRequest {
    let request = SubmitRequest {
        coordinator_id: COORDINATOR.into(),
        trace_id: format!("t{tag}"),
        codec: String::new(),
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
    };
    signed(request)
}

/// The digest its terms give, whether or not they are acceptable.
fn digest(request: &SubmitRequest) -> B256 {
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

fn signed_by(mut request: SubmitRequest, key: &PrivateKeySigner) -> SubmitRequest {
    request.auth = key
        .sign_hash_sync(&digest(&request))
        .unwrap()
        .as_bytes()
        .to_vec()
        .into();
    request
}

fn signed(request: SubmitRequest) -> SubmitRequest {
    signed_by(request, &payer())
}

/// A fine request, changed and signed anew.
fn with(change: impl FnOnce(&mut SubmitRequest)) -> SubmitRequest {
    let mut request = request(1);
    change(&mut request);
    signed(request)
}

/// A fine request, changed after it was signed.
fn tampered(change: impl FnOnce(&mut SubmitRequest)) -> SubmitRequest {
    let mut request = request(1);
    change(&mut request);
    request
}

async fn stored(world: &World) -> usize {
    let all = world
        .test
        .list_settlements(&SettlementFilter::default(), None, 100)
        .await;
    all.unwrap().len()
}

async fn check_refused(world: &World, request: SubmitRequest, code: &str) -> IntakeError {
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

#[tokio::test]
async fn an_accepted_request_is_on_disk_when_it_is_answered() {
    let world = world().await;
    let accepted = world.intake.submit(request(1)).await.unwrap();
    assert!(!accepted.existing && !accepted.revocable);
    assert_eq!(accepted.id.0, digest(&request(1)));
    let row = world.test.get_settlement(accepted.id).await.unwrap();
    assert_eq!(row.auth.len(), 65);
    assert_eq!((row.tier, row.fee_recipient), (1, FEE_RECIPIENT));
    let again = world.intake.submit(request(1)).await.unwrap();
    assert_eq!(
        again,
        Accepted {
            existing: true,
            ..accepted
        }
    );
    assert_eq!(testing::reserved(&world.test, payer().address()).await, 4_200_007);
    // No prompt reaches the database.
    let receipts = world.test.list_covered_receipts(row.id).await.unwrap();
    assert_eq!(receipts[0].price.as_deref(), Some("4.2"));
    assert!(!format!("{receipts:?}").contains("secret"));
}

#[tokio::test]
async fn a_bad_receipt_is_refused_by_its_own_code() {
    let world = world().await;
    let cases: Vec<(SubmitRequest, &str)> = vec![
        (tampered(|r| r.coordinator_id = "nobody".into()), "003"),
        (tampered(|r| r.codec = "other/1".into()), "004"),
        (tampered(|r| r.trace_id = "x".repeat(65)), "005"),
        (tampered(|r| r.receipts.clear()), "006"),
        (tampered(|r| r.receipts = vec![receipt(1); 65]), "006"),
        (tampered(|r| r.receipts[0] = vec![b' '; 262_145]), "007"),
        (tampered(|r| r.proof = Some(vec![0; 65_537])), "008"),
        (tampered(|r| r.receipts[0] = b"{".to_vec()), "009"),
        (tampered(|r| r.receipts[0] = b"[]".to_vec()), "009"),
        (tampered(|r| r.receipts[0] = fields(1).to_string().into_bytes()), "010"),
        (
            tampered(|r| r.receipts[0] = sign_receipt(fields(1), &receipt_key(2))),
            "010",
        ),
    ];
    for (request, code) in cases {
        check_refused(&world, request, code).await;
    }
    let mut forged: Value = serde_json::from_slice(&receipt(1)).unwrap();
    forged["price"] = json!(42);
    let forged = forged.to_string().into_bytes();
    check_refused(&world, tampered(|r| r.receipts[0] = forged), "011").await;
    let mut failed = fields(1);
    failed["status"] = json!("FAILED");
    let failed = sign_receipt(failed, &receipt_key(1));
    check_refused(&world, tampered(|r| r.receipts[0] = failed), "012").await;
    check_refused(&world, tampered(|r| r.receipts.push(receipt(1))), "013").await;
    let mut other = fields(2);
    other["provider"] = json!("another miner");
    let other = sign_receipt(other, &receipt_key(1));
    check_refused(&world, tampered(|r| r.receipts.push(other)), "013").await;
}

#[tokio::test]
async fn wrong_terms_are_refused_by_their_own_code() {
    let world = world().await;
    let wrong = Some(B256::repeat_byte(9));
    let cases: Vec<(SubmitRequest, &str)> = vec![
        (tampered(|r| r.terms.receipt_hash = wrong), "014"),
        (tampered(|r| r.terms.job_id = wrong), "014"),
        (
            tampered(|r| {
                r.terms.proof_hash = wrong;
                r.proof = Some(vec![1, 2, 3]);
            }),
            "014",
        ),
        (tampered(|r| r.terms.payee = Address::ZERO), "015"),
        (tampered(|r| r.terms.amount = U256::from(1) << 96), "015"),
        (tampered(|r| r.terms.nonce = U256::from(1) << 255), "015"),
        (tampered(|r| r.terms.amount = U256::ZERO), "016"),
        (tampered(|r| r.terms.target = ChainId(5)), "017"),
        (tampered(|r| r.terms.inbox = Some(PAYEE)), "018"),
        (tampered(|r| r.terms.source = ChainId(5)), "019"),
        (with(|r| r.coordinator_id = "lenient".into()), "021"),
        (with(|r| r.terms.token = PAYEE), "028"),
        (with(|r| r.terms.amount = U256::from(4_200_001)), "030"),
        (with(|r| r.terms.amount = U256::from(4_199_999)), "030"),
        (with(|r| r.terms.deadline = HEAD + 899), "034"),
        (with(|r| r.terms.deadline = HEAD + EXIT_DELAY - 599), "035"),
        (with(|r| r.terms.fee = U256::from(1_000_000_000u64)), "036"),
    ];
    for (request, code) in cases {
        check_refused(&world, request, code).await;
    }
    let inexact = |tag: u64, price: Value| {
        with(|r| {
            let mut fields = fields(tag);
            fields["price"] = price;
            r.receipts[0] = sign_receipt(fields, &receipt_key(1));
        })
    };
    check_refused(&world, inexact(1, json!(0.0000001)), "031").await;
    check_refused(&world, inexact(1, Value::Null), "032").await;
    // What is just inside the bounds is accepted.
    let near = with(|r| r.terms.deadline = HEAD + 900);
    world.intake.submit(near).await.unwrap();
    let mut far = request(2);
    far.terms.deadline = HEAD + EXIT_DELAY - 600;
    world.intake.submit(signed(far)).await.unwrap();
}

#[tokio::test]
async fn tiers_refuse_what_the_vault_or_the_bridges_cannot_carry() {
    let world = world().await;
    let amount = |amount: u64| {
        with(|r| {
            r.coordinator_id = "lenient".into();
            r.terms.fee = U256::ZERO;
            r.terms.amount = U256::from(amount);
        })
    };
    check_refused(&world, amount(200_000_001), "029").await;
    check_refused(&world, amount(100_000_001), "033").await;
    world.intake.submit(amount(100_000_000)).await.unwrap();
}

#[tokio::test]
async fn only_the_payers_word_counts() {
    let world = world().await;
    let stranger = PrivateKeySigner::from_bytes(&B256::repeat_byte(0x52)).unwrap();
    check_refused(&world, signed_by(request(1), &stranger), "024").await;
    check_refused(&world, tampered(|r| r.terms.amount += U256::from(1)), "024").await;
    check_refused(&world, tampered(|r| r.auth = Bytes::new()), "024").await;
    check_refused(&world, tampered(|r| r.auth = vec![1; 1025].into()), "022").await;
    let order =
        U256::from_be_slice(&hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141").unwrap());
    let high_s = tampered(|r| {
        let mut auth = r.auth.to_vec();
        let s = order - U256::from_be_slice(&auth[32..64]);
        auth[32..64].copy_from_slice(&s.to_be_bytes::<32>());
        auth[64] = 27 + 28 - auth[64];
        r.auth = auth.into();
    });
    check_refused(&world, high_s, "023").await;
    // v 0 and 1 are normalized, and stored so.
    let zero_v = tampered(|r| {
        let mut auth = r.auth.to_vec();
        auth[64] -= 27;
        r.auth = auth.into();
    });
    let accepted = world.intake.submit(zero_v).await.unwrap();
    let row = world.test.get_settlement(accepted.id).await.unwrap();
    assert_eq!(row.auth, request(1).auth);
}

#[tokio::test]
async fn a_registered_signer_counts_until_its_removal_is_announced() {
    let world = world().await;
    let signer = PrivateKeySigner::from_bytes(&B256::repeat_byte(0x53)).unwrap();
    let by_signer = |tag| signed_by(request(tag), &signer);
    let fact = |kind: &str, index| {
        let (payer, signer) = (payer().address().into_word(), signer.address().into_word());
        log(kind, index, payer, signer, U256::ZERO, json!({}))
    };
    check_refused(&world, by_signer(1), "024").await;
    put(&world.test, &[fact("signer_added", 1)]).await;
    let accepted = world.intake.submit(by_signer(1)).await.unwrap();
    assert!(!accepted.revocable);
    put(&world.test, &[fact("signer_removal_announced", 2)]).await;
    check_refused(&world, by_signer(2), "025").await;
    put(&world.test, &[fact("signer_added", 3)]).await;
    world.intake.submit(by_signer(2)).await.unwrap();
    put(&world.test, &[fact("signer_removed", 4)]).await;
    check_refused(&world, by_signer(3), "024").await;
    assert!(world.intake.submit(by_signer(2)).await.unwrap().existing);
}

#[tokio::test]
async fn contract_payers_need_permission_and_their_own_consent() {
    let world = world().await;
    let of = |payer: Address, coordinator: &str| {
        tampered(|r| {
            r.coordinator_id = coordinator.into();
            r.terms.payer = payer;
            r.terms.fee = U256::ZERO;
            r.auth = vec![5; 200].into();
        })
    };
    check_refused(&world, of(AGREEABLE, COORDINATOR), "026").await;
    check_refused(&world, of(STUBBORN, "lenient"), "027").await;
    let accepted = world.intake.submit(of(AGREEABLE, "lenient")).await.unwrap();
    assert!(accepted.revocable);
    assert_eq!(world.test.get_settlement(accepted.id).await.unwrap().auth, vec![5; 200]);
    let down = world_with(policy(), true).await;
    let error = check_refused(&down, of(AGREEABLE, "lenient"), "043").await;
    assert_eq!(error.refusal(), Refusal::Unavailable);
}

#[tokio::test]
async fn a_payer_on_the_way_out_cannot_promise_what_it_takes_along() {
    let world = world().await;
    let who = payer().address().into_word();
    let leave =
        |kind: &str, index, amount: u64| log(kind, index, who, TOKEN.into_word(), U256::from(amount), json!({}));
    put(&world.test, &[leave("withdrawal_announced", 1, 996_000_000)]).await;
    check_refused(&world, request(1), "036").await;
    // A new announcement replaces the first; a withdrawal not yet booked still counts; one that was cancelled does not.
    put(&world.test, &[leave("withdrawal_announced", 2, 995_000_000)]).await;
    world.intake.submit(request(1)).await.unwrap();
    put(&world.test, &[leave("withdrawn", 3, 995_000_000)]).await;
    check_refused(&world, request(2), "036").await;
    let nonce = |n: u64| B256::from(U256::from(n));
    put(
        &world.test,
        &[
            log("burn_announced", 4, who, nonce(3), U256::ZERO, json!({})),
            log("nonce_burned", 5, who, nonce(4), U256::ZERO, json!({})),
            log(
                "settlement_paid",
                6,
                B256::repeat_byte(0x44),
                who,
                U256::from(5),
                json!({}),
            ),
            log(
                "settlement_paid",
                7,
                B256::repeat_byte(0x45),
                who,
                U256::from(6) | (U256::from(1) << 255),
                json!({}),
            ),
        ],
    )
    .await;
    for (tag, code) in [(3, "037"), (4, "038"), (5, "038"), (6, "038")] {
        check_refused(&world, request(tag), code).await;
    }
}

#[tokio::test]
async fn conflicts_name_the_settlement_in_the_way() {
    let world = world().await;
    let first = world.intake.submit(request(1)).await.unwrap();
    let mut same_nonce = request(2);
    same_nonce.terms.nonce = U256::from(1);
    let mut same_receipt = request(1);
    same_receipt.terms.nonce = U256::from(3);
    let mut same_job = request(4);
    let mut job = fields(4);
    job["job_id"] = json!("j1");
    same_job.receipts[0] = sign_receipt(job, &receipt_key(1));
    for (request, code) in [(same_nonce, "039"), (same_receipt, "040"), (same_job, "041")] {
        let error = check_refused(&world, signed(request), code).await;
        assert_eq!(error.conflict(), Some(first.id));
        assert_eq!(error.refusal(), Refusal::Exists);
    }
    let mut elsewhere = request(1);
    elsewhere.coordinator_id = "lenient".into();
    elsewhere.terms.fee = U256::ZERO;
    let elsewhere = signed(elsewhere);
    check_refused(&world, elsewhere, "039").await;
}

#[tokio::test]
async fn the_same_settlement_gets_its_answer_even_when_it_would_be_refused_today() {
    let world = world().await;
    let first = world.intake.submit(request(1)).await.unwrap();
    let delisted = log(
        "token_delisted",
        9,
        TOKEN.into_word(),
        B256::ZERO,
        U256::ZERO,
        json!({}),
    );
    put(&world.test, &[delisted]).await;
    check_refused(&world, request(2), "028").await;
    let again = world.intake.submit(request(1)).await.unwrap();
    assert_eq!((again.id, again.existing), (first.id, true));
}

#[tokio::test]
async fn many_requests_share_commits_and_are_judged_alone() {
    let world = world().await;
    let mut requests: Vec<SubmitRequest> = (1..=60).map(request).collect();
    requests[10] = tampered(|r| r.terms.payee = Address::ZERO);
    requests[20] = request(1);
    let answers = world.intake.submit_many(requests).await;
    assert!(answers[10].is_err());
    assert_eq!(answers[20].as_ref().unwrap().id, answers[0].as_ref().unwrap().id);
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 59);
    assert_eq!(stored(&world).await, 58);
    assert_eq!(testing::reserved(&world.test, payer().address()).await, 58 * 4_200_007);
    assert!(world.test.list_unbalanced_accounts().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_full_intake_says_so_and_a_stopped_one_too() {
    let world = world_with(
        IntakePolicy {
            queue_max: 2,
            ..policy()
        },
        false,
    )
    .await;
    let answers = world.intake.submit_many((1..=5).map(request).collect()).await;
    assert!(answers[0].is_ok() && answers[1].is_ok());
    for answer in &answers[2..] {
        assert_eq!(answer.as_ref().unwrap_err().refusal(), Refusal::Busy);
    }
    world.stop.cancel();
    let error = loop {
        match world.intake.submit(request(9)).await {
            Err(error) => break error,
            Ok(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(error.code().code, "RLY-INTAKE-002");
}

#[tokio::test]
async fn nothing_is_accepted_before_the_target_chain_was_read() {
    let test = testing::open().await;
    let (intake, writer) = Intake::new(
        policy(),
        test.store.clone(),
        BTreeMap::new(),
        Arc::new(Noon),
        Arc::new(Notify::new()),
    )
    .unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(writer.run(stop.clone()));
    let error = intake.submit(request(1)).await.unwrap_err();
    assert_eq!(error.code().code, "RLY-INTAKE-042");
    stop.cancel();
}

#[test]
fn codes_are_unique_and_in_order() {
    let codes: Vec<&str> = CODES.iter().map(|page| page.code).collect();
    let mut sorted = codes.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(codes, sorted);
}

#[test]
fn payers_of_other_coordinators_are_refused() {
    let mut policy = policy();
    let coordinator = policy.coordinators.get_mut(COORDINATOR).unwrap();
    coordinator.payers = BTreeSet::from([PAYEE]);
    let error = verify::verify(&policy, &request(1)).unwrap_err();
    assert_eq!(error.code().code, "RLY-INTAKE-020");
}
