#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod allotments;
mod groups;
mod recalled;
mod world;

use super::*;
use crate::error::Coded;
use crate::settlement::ChainId;
use crate::store::testing::{self, FEE_RECIPIENT, INBOX, PAYEE, TOKEN};
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::signers::local::PrivateKeySigner;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use world::*;

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
        (tampered(|r| r.policy = "quickest".into()), "052"),
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
        (tampered(|r| r.terms.payer = Address::ZERO), "015"),
        (tampered(|r| r.terms.amount = U256::from(1) << 96), "015"),
        (tampered(|r| r.terms.nonce = U256::from(1) << 255), "015"),
        (tampered(|r| r.terms.amount = U256::ZERO), "016"),
        (tampered(|r| r.terms.target = ChainId(5)), "017"),
        (tampered(|r| r.terms.inbox = Some(PAYEE)), "018"),
        (tampered(|r| r.terms.source = ChainId(5)), "019"),
        (with(|r| r.coordinator_id = "lenient".into()), "021"),
        (with(|r| r.terms.token = FEE_RECIPIENT), "028"),
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
async fn money_is_not_sent_where_nobody_can_use_it() {
    let world = world().await;
    for payee in [Address::ZERO, INBOX, VAULT, TOKEN] {
        check_refused(&world, tampered(|r| r.terms.payee = payee), "045").await;
    }
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

/// Hands all over as a stream does and returns the answers by their number.
async fn streamed(world: &World, requests: Vec<SubmitRequest>) -> BTreeMap<usize, Result<Accepted, IntakeError>> {
    let (send, mut answers) = tokio::sync::mpsc::unbounded_channel();
    for (number, request) in requests.into_iter().enumerate() {
        let send = send.clone();
        let reply = move |answer| send.send((number, answer)).unwrap();
        world.intake.submit_with(request, reply).await;
    }
    drop(send);
    let mut all = BTreeMap::new();
    while let Some((number, answer)) = answers.recv().await {
        assert!(all.insert(number, answer).is_none(), "{number} was answered twice");
    }
    all
}

#[tokio::test]
async fn a_stream_waits_where_a_single_request_is_refused() {
    let small = IntakePolicy {
        queue_max: 2,
        queue_bytes_max: 1,
        ..policy()
    };
    let world = world_with(small, false).await;
    let mut requests: Vec<SubmitRequest> = (1..=20).map(request).collect();
    requests.push(request(3));
    requests.push(tampered(|r| r.receipts[0] = b"{".to_vec()));
    let answers = streamed(&world, requests).await;
    assert_eq!(answers.len(), 22);
    assert!((0..20).all(|number| !answers[&number].as_ref().unwrap().existing));
    assert!(answers[&20].as_ref().unwrap().existing);
    assert_eq!(answers[&21].as_ref().unwrap_err().code().code, "RLY-INTAKE-009");
    assert_eq!(stored(&world).await, 20);
}

#[tokio::test]
async fn too_many_bytes_at_once_are_refused_as_too_many_requests_are() {
    let small = IntakePolicy {
        queue_bytes_max: 4_096,
        ..policy()
    };
    let world = world_with(small, false).await;
    let answers = world.intake.submit_many((1..=50).map(request).collect()).await;
    assert!(answers[0].is_ok());
    assert!(answers.iter().flatten().count() < 50);
    for refused in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(refused.refusal(), Refusal::Busy);
    }
    // With the others out of the way there is room again, also for one that is larger than the bound.
    let mut large = request(60);
    large.proof = Some(vec![7; 60_000]);
    world.intake.submit(signed(large)).await.unwrap();
}

#[tokio::test]
async fn what_was_taken_before_a_stop_is_stored_and_answered() {
    let world = world().await;
    let (send, mut answers) = tokio::sync::mpsc::unbounded_channel();
    for tag in 1..=30 {
        let send = send.clone();
        let reply = move |answer: Result<Accepted, IntakeError>| send.send(answer).unwrap();
        world.intake.submit_with(request(tag), reply).await;
    }
    world.stop.cancel();
    for _ in 1..=30 {
        answers.recv().await.unwrap().unwrap();
    }
    let late = send.clone();
    let reply = move |answer: Result<Accepted, IntakeError>| late.send(answer).unwrap();
    world.intake.submit_with(request(31), reply).await;
    let error = answers.recv().await.unwrap().unwrap_err();
    assert_eq!(error.code().code, "RLY-INTAKE-002");
    assert_eq!(stored(&world).await, 30);
}

#[tokio::test]
async fn a_group_is_stored_with_its_accepted_items_and_not_without() {
    let world = world().await;
    let root = B256::repeat_byte(0x6a);
    let part = |tag: u64, index: usize| {
        let request = request(tag);
        let checked = verify::check(&policy(), &request).unwrap();
        let signed = verify::Signed::over(checked.id.0, &request.auth).unwrap();
        let member = crate::store::GroupMember { root, index };
        (checked.with(signed, Some(member)), authorize::Authority::PAYER)
    };
    let group = |ids: Vec<crate::settlement::SettlementId>| crate::store::NewGroup {
        root,
        coordinator_id: COORDINATOR.into(),
        payer: payer().address(),
        target: testing::TARGET,
        inbox: INBOX,
        ids,
        auth: vec![1; 65].into(),
    };
    let items = vec![part(1, 0), part(2, 1), part(1, 2)];
    let ids = items.iter().map(|(verified, _)| verified.id).collect();
    let room = world.intake.room(3, 100).unwrap();
    let answers = world.intake.commit_group(group(ids), items, room).await.unwrap();
    assert_eq!(answers.len(), 3);
    assert!(answers.iter().all(Result::is_ok));
    assert!(answers[2].as_ref().unwrap().existing);
    let row = world
        .test
        .get_settlement(answers[1].as_ref().unwrap().id)
        .await
        .unwrap();
    assert_eq!(row.group.map(|member| (member.root, member.index)), Some((root, 1)));
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

#[tokio::test]
async fn a_target_whose_exit_delay_is_not_known_is_not_ready_yet() {
    let mut policy = policy();
    let unknown = crate::chain::ExitDelay::default();
    for target in policy.targets.values_mut() {
        target.exit_delay = unknown.clone();
    }
    let world = world_with(policy, false).await;
    let error = check_refused(&world, request(1), "042").await;
    assert_eq!(error.refusal(), Refusal::Unavailable);
    assert!(error.to_string().contains("target not ready"), "{error}");
    unknown.set(EXIT_DELAY);
    assert!(!world.intake.submit(request(1)).await.unwrap().existing);
}

#[tokio::test]
async fn a_full_disk_refuses_with_its_own_code_stores_no_half_and_heals_by_itself() {
    let world = world().await;
    if world.test.database.is_postgres() {
        eprintln!("skipped: a full disk under PostgreSQL is a test of the store");
        return;
    }
    testing::limit_pages(&world.test, Some(0)).await;
    let (mut taken, mut refused) = (0, Vec::new());
    for tag in 1..60 {
        match world.intake.submit(request(tag)).await {
            Ok(_) => taken += 1,
            Err(error) => {
                assert_eq!(error.code().code, "RLY-INTAKE-050", "{error}");
                assert_eq!(error.refusal(), Refusal::Unavailable);
                refused.push(tag);
            }
        }
    }
    assert!(!refused.is_empty(), "60 settlements fit into no page at all");
    assert_eq!(stored(&world).await, taken);
    let each = 4_200_007;
    assert_eq!(
        testing::reserved(&world.test, payer().address()).await,
        each * taken as u64
    );
    for tag in &refused {
        let row = world
            .test
            .find_settlement(crate::settlement::SettlementId(digest(&request(*tag))))
            .await;
        assert!(row.unwrap().is_none(), "a refused settlement is there");
    }

    testing::limit_pages(&world.test, None).await;
    for tag in &refused {
        assert!(!world.intake.submit(request(*tag)).await.unwrap().existing);
    }
    assert_eq!(stored(&world).await, 59);
    assert_eq!(testing::reserved(&world.test, payer().address()).await, each * 59);
}

#[tokio::test]
async fn a_policy_is_kept_and_another_one_later_changes_nothing() {
    use crate::settlement::policy::RoutePolicy;
    let world = world().await;
    let with = |policy: &str| SubmitRequest {
        policy: policy.into(),
        ..request(1)
    };
    let first = world.intake.submit(with("cheapest")).await.unwrap();
    let second = world.intake.submit(with("safest")).await.unwrap();
    assert_eq!((second.id, second.existing), (first.id, true));
    let row = world.test.get_settlement(first.id).await.unwrap();
    assert_eq!(row.policy, Some(RoutePolicy::Cheapest));
    let plain = world.intake.submit(request(2)).await.unwrap();
    assert_eq!(world.test.get_settlement(plain.id).await.unwrap().policy, None);
}
