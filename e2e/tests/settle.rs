//! G2, G3, G6: a signed receipt in, the provider paid on another chain, books balanced; and every refusal leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy::primitives::{Address, B256, U256};
use alloy::signers::SignerSync;
use alloy::transports::http::reqwest;
use relayer::adapter::SettlementId;
use relayer::settlement::receipt::{Limits, Receipt, net};
use relayer::settlement::terms::{Domain, Terms, TermsFields};
use relayer_e2e::coordinator::Job;
use relayer_e2e::devnet::key;
use relayer_e2e::harness::{PATIENCE, World, error_code, fresh_payee};
use relayer_e2e::metrics::{scrape, total};
use relayer_proto::v1;
use std::collections::BTreeSet;
use tonic::Code;

async fn count(world: &World) -> usize {
    let request = v1::ListRequest {
        coordinator: "market".into(),
        page_size: 500,
        ..Default::default()
    };
    world
        .client()
        .await
        .unwrap()
        .list(request)
        .await
        .unwrap()
        .into_inner()
        .settlements
        .len()
}

#[tokio::test]
async fn settlements_are_paid_exactly_once_and_the_books_balance() {
    let world = World::start(&|_, relayer| relayer.batch_max = 16).await.unwrap();
    let deposited = U256::from(world.devnet.options.deposit) * world.coordinator.unit;
    let mut signed = Vec::new();
    for n in 0..40u64 {
        let one = world
            .signed(fresh_payee(&format!("{}", n % 7)).unwrap(), 1 + n % 9)
            .await
            .unwrap();
        let reply = world.submit(&one).await.unwrap();
        assert_eq!(reply.state, "accepted");
        signed.push(one);
    }
    let ids: Vec<SettlementId> = signed.iter().map(|one| one.id).collect();
    world.wait_states(&ids, &["settled"], PATIENCE).await.unwrap();
    world.assert_paid_exactly_once(&signed, deposited).await.unwrap();

    // The same again is the original answer, even after the end.
    let again = world.submit(&signed[0]).await.unwrap();
    assert!(again.duplicate);
    assert_eq!(again.state, "settled");

    // Pages cover everything once.
    let mut seen = BTreeSet::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListRequest {
            coordinator: "market".into(),
            page_size: 7,
            page_token,
            ..Default::default()
        };
        let page = world.client().await.unwrap().list(request).await.unwrap().into_inner();
        for settlement in &page.settlements {
            assert!(
                seen.insert(settlement.settlement_id.clone()),
                "{} is on two pages",
                settlement.settlement_id
            );
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), signed.len());

    let found = world.get(signed[3].id).await.unwrap();
    assert!(
        found.settlement.unwrap().evidence.unwrap().block_number > 0,
        "an end without evidence"
    );
    assert!(
        found.history.len() >= 4,
        "the history tells {} events",
        found.history.len()
    );
    assert!(found.bundle.is_none(), "what has ended needs no bundle");

    // A sweep later: reserved is empty, nothing drifts.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    assert_eq!(world.drift().await.unwrap(), 0);
    let text = scrape(&world.relayer.rest_url()).await.unwrap();
    let reserved: f64 = text
        .lines()
        .filter(|line| line.starts_with("relayer_ledger_account_total{") && line.contains("kind=\"reserved\""))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert_eq!(reserved, 0.0);
    assert!(total(&text, "relayer_chain_rpc_calls_total") > 0.0);
}

#[tokio::test]
async fn fees_netting_rest_and_cancel() {
    let world = World::start(&|_, _| {}).await.unwrap();
    let collector = world.devnet.accounts.admin.address();

    // A fee on top goes to the fee recipient; the payee gets exactly the amount.
    let job = world.coordinator.job("provider", 8);
    let payee = fresh_payee("with fee").unwrap();
    let fee = U256::from(12_345);
    let fields = TermsFields {
        fee,
        ..world.coordinator.terms(
            &job,
            payee,
            world.coordinator.amount(8),
            world.deadline().await.unwrap(),
        )
    };
    let with_fee = world.coordinator.sign(&job, fields).unwrap();
    world.submit(&with_fee).await.unwrap();

    // Three receipts of one payee as one settlement: roots instead of hashes, the sum as amount.
    let jobs: Vec<Job> = (1..=3)
        .map(|quarters| world.coordinator.job("provider", quarters))
        .collect();
    let parsed: Vec<Receipt> = jobs
        .iter()
        .map(|job| Receipt::parse(&job.receipt, &Limits::default()).unwrap())
        .collect();
    let netted = net(&parsed).unwrap();
    let netted_payee = fresh_payee("netted").unwrap();
    let mut fields = world.coordinator.terms(
        &jobs[0],
        netted_payee,
        world.coordinator.amount(6),
        world.deadline().await.unwrap(),
    );
    (fields.receipt_hash, fields.job_id) = (netted.receipt_hash, netted.job_id);
    let terms = Terms::new(fields).unwrap();
    let id = Domain::new(world.coordinator.target, world.coordinator.inbox).settlement_id(&terms);
    let auth = world
        .coordinator
        .payer
        .sign_hash_sync(&id.0)
        .unwrap()
        .as_bytes()
        .to_vec()
        .into();
    let request = world
        .coordinator
        .request(&jobs.iter().collect::<Vec<_>>(), &terms, &auth);
    let reply = world
        .client()
        .await
        .unwrap()
        .submit(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(reply.settlement_id, id.to_string());

    // A receipt inside the net is held: alone it is refused.
    let alone = world
        .coordinator
        .settlement(&jobs[1], netted_payee, 2, world.deadline().await.unwrap())
        .unwrap();
    let status = world.client().await.unwrap().submit(alone.request).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists, "{status}");

    // The original design's REST routes.
    let url = format!("{}/v1/settlement/{}/status", world.relayer.rest_url(), with_fee.id);
    let status: serde_json::Value =
        serde_json::from_str(&reqwest::get(&url).await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(status["message_id"], with_fee.id.to_string());
    let missing = format!("{}/v1/settlement/{}/status", world.relayer.rest_url(), B256::ZERO);
    assert_eq!(reqwest::get(&missing).await.unwrap().status().as_u16(), 404);

    world
        .wait_states(&[with_fee.id, id], &["settled"], PATIENCE)
        .await
        .unwrap();
    assert_eq!(
        world.balance(&world.devnet.target, payee).await.unwrap(),
        with_fee.terms.amount
    );
    assert_eq!(
        world.balance(&world.devnet.target, netted_payee).await.unwrap(),
        terms.amount
    );
    assert_eq!(world.balance(&world.devnet.target, collector).await.unwrap(), fee);

    // Cancel: not batched any more, released only once the deadline has passed in a finalized block.
    world.devnet.switches.change(|setting| setting.dvn = false);
    let payer = world.coordinator.payer.address();
    let soon = world.target_time().await.unwrap() + 1_000;
    let job = world.coordinator.job("provider", 4);
    let cancelled = world.coordinator.settlement(&job, payer, 4, soon).unwrap();
    world.submit(&cancelled).await.unwrap();
    let request = v1::CancelRequest {
        settlement_id: cancelled.id.to_string(),
    };
    let answer = world
        .client()
        .await
        .unwrap()
        .cancel(request)
        .await
        .unwrap()
        .into_inner();
    assert!(answer.cancel_requested_at_ms > 0);
    assert_ne!(answer.state, "cancelled", "a cancel is not a verdict");
    world.devnet.target.anvil.increase_time(1_100).await.unwrap();
    world
        .wait_states(&[cancelled.id], &["cancelled"], PATIENCE)
        .await
        .unwrap();

    // Its receipt is free again, under new terms, and the new settlement knows the old one.
    world.devnet.switches.change(|setting| setting.dvn = true);
    let again = world
        .coordinator
        .settlement(
            &job,
            fresh_payee("second life").unwrap(),
            4,
            world.deadline().await.unwrap(),
        )
        .unwrap();
    let reply = world.submit(&again).await.unwrap();
    assert_eq!(reply.supersedes, cancelled.id.to_string());
    world.wait_states(&[again.id], &["settled"], PATIENCE).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    assert_eq!(world.drift().await.unwrap(), 0);
}

/// Submits and expects a refusal; the number of settlements stays as it was.
async fn refused(world: &World, what: &str, request: v1::SubmitRequest, code: Code) -> String {
    let before = count(world).await;
    let status = match world.client().await.unwrap().submit(request).await {
        Ok(_) => panic!("{what}: accepted"),
        Err(status) => status,
    };
    assert_eq!(status.code(), code, "{what}: {status}");
    let rly = error_code(&status);
    assert!(rly.starts_with("RLY-"), "{what}: no stable code in {status}");
    assert_eq!(count(world).await, before, "{what}: something was stored");
    rly
}

#[tokio::test]
async fn every_bad_input_is_refused_with_its_own_code_and_nothing_is_stored() {
    let world = World::start(&|_, _| {}).await.unwrap();
    let c = &world.coordinator;
    let deadline = world.deadline().await.unwrap();
    let payee = fresh_payee("nobody").unwrap();
    let good = || {
        let job = c.job("provider", 4);
        let fields = c.terms(&job, payee, c.amount(4), deadline);
        (job, fields)
    };
    let signed = |change: &dyn Fn(&mut TermsFields)| {
        let (job, mut fields) = good();
        change(&mut fields);
        c.sign(&job, fields).unwrap().request
    };
    let edited = |change: &dyn Fn(&mut v1::SubmitRequest)| {
        let (job, fields) = good();
        let mut request = c.sign(&job, fields).unwrap().request;
        change(&mut request);
        request
    };
    let text = |edit: &dyn Fn(String) -> String| {
        edited(&|request| {
            request.receipts[0] = edit(String::from_utf8(request.receipts[0].clone()).unwrap()).into_bytes()
        })
    };
    let mut codes = BTreeSet::new();
    let cases: Vec<(&str, v1::SubmitRequest, Code)> = vec![
        (
            "malformed receipt",
            text(&|json| json.replace('{', "[")),
            Code::InvalidArgument,
        ),
        (
            "oversized receipt",
            text(&|json| json.replace("\"client\":\"", &format!("\"client\":\"{}", "x".repeat(300_000)))),
            Code::InvalidArgument,
        ),
        (
            "changed receipt",
            text(&|json| json.replace("gpu_seconds", "gpu_minutes")),
            Code::InvalidArgument,
        ),
        (
            "job not completed",
            text(&|json| json.replace("COMPLETED", "FAILED")),
            Code::InvalidArgument,
        ),
        (
            "no receipt",
            edited(&|request| request.receipts.clear()),
            Code::InvalidArgument,
        ),
        (
            "unknown coordinator",
            edited(&|request| request.coordinator = "stranger".into()),
            Code::PermissionDenied,
        ),
        (
            "no signature",
            edited(&|request| request.auth = "0x".into()),
            Code::InvalidArgument,
        ),
        (
            "wrong inbox",
            edited(&|request| request.terms.as_mut().unwrap().inbox = payee.to_string()),
            Code::InvalidArgument,
        ),
        (
            "unsupported lane",
            signed(&|fields| fields.source_chain = relayer::adapter::ChainId(1)),
            Code::FailedPrecondition,
        ),
        (
            "token not listed",
            signed(&|fields| fields.token = Address::repeat_byte(0x99)),
            Code::FailedPrecondition,
        ),
        (
            "above the receipt",
            signed(&|fields| fields.amount += U256::ONE),
            Code::InvalidArgument,
        ),
        (
            "deadline too near",
            signed(&|fields| fields.deadline -= 86_400 / 2 - 10),
            Code::FailedPrecondition,
        ),
        (
            "deadline beyond the exit delay",
            signed(&|fields| fields.deadline += 86_400),
            Code::FailedPrecondition,
        ),
        (
            "zero amount",
            edited(&|request| request.terms.as_mut().unwrap().amount = "0".into()),
            Code::InvalidArgument,
        ),
        (
            "not a number",
            edited(&|request| request.terms.as_mut().unwrap().amount = "1.5".into()),
            Code::InvalidArgument,
        ),
    ];
    for (what, request, code) in cases {
        codes.insert(refused(&world, what, request, code).await);
    }

    // A key nobody pinned, a signature of a stranger, a high-s twin.
    let (mut job, fields) = good();
    job.receipt = String::from_utf8(job.receipt)
        .unwrap()
        .replace("\"sig\":\"", "\"sig\":\"AAAA")
        .into_bytes();
    let request = c.sign(&job, fields).unwrap().request;
    codes.insert(refused(&world, "wrong receipt signature", request, Code::InvalidArgument).await);
    let stranger = key("stranger").unwrap();
    let (job, fields) = good();
    let mut one = c.sign(&job, fields).unwrap();
    let auth = stranger.sign_hash_sync(&one.id.0).unwrap();
    one.request.auth = alloy::primitives::Bytes::from(auth.as_bytes().to_vec()).to_string();
    codes.insert(
        refused(
            &world,
            "signed by a stranger",
            one.request.clone(),
            Code::InvalidArgument,
        )
        .await,
    );
    let order = "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
        .parse::<U256>()
        .unwrap();
    let mut bytes = one.auth.to_vec();
    let s = U256::from_be_slice(&bytes[32..64]);
    bytes[32..64].copy_from_slice(&(order - s).to_be_bytes::<32>());
    bytes[64] = if bytes[64] == 27 { 28 } else { 27 };
    one.request.auth = alloy::primitives::Bytes::from(bytes).to_string();
    codes.insert(refused(&world, "high s", one.request, Code::InvalidArgument).await);

    // More than the payer has.
    let job = c.job("provider", 4 * 9_999);
    let mut big = Vec::new();
    for _ in 0..101 {
        let job = c.job("provider", 4 * 9_999);
        big.push(c.settlement(&job, payee, 4 * 9_999, deadline).unwrap());
    }
    let request = c.settlement(&job, payee, 4 * 9_999, deadline).unwrap().request;
    let mut refusals = 0;
    world.devnet.switches.change(|setting| setting.dvn = false);
    for one in big {
        match world.client().await.unwrap().submit(one.request).await {
            Ok(_) => {}
            Err(status) => {
                assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
                refusals += 1;
            }
        }
    }
    assert_eq!(
        refusals, 1,
        "a deposit of 1,000,000 covers 100 settlements of 9,999, not 101"
    );
    codes.insert(refused(&world, "balance too small", request, Code::FailedPrecondition).await);

    // Conflicts name what they conflict with.
    let (job, fields) = good();
    let small = TermsFields {
        amount: c.amount(1),
        ..fields
    };
    let tiny = c.job("provider", 1);
    let first = c
        .sign(
            &tiny,
            TermsFields {
                receipt_hash: tiny.receipt_hash,
                job_id: c.terms(&tiny, payee, c.amount(1), deadline).job_id,
                ..small
            },
        )
        .unwrap();
    world.submit(&first).await.unwrap();
    let other = c
        .sign(
            &job,
            TermsFields {
                nonce: first.terms.nonce,
                payee: Address::repeat_byte(7),
                amount: c.amount(4),
                ..fields
            },
        )
        .unwrap();
    let status = world.client().await.unwrap().submit(other.request).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists, "{status}");
    assert!(
        status.message().contains(&first.id.to_string()),
        "the conflict is not named: {status}"
    );
    codes.insert(error_code(&status));
    assert!(codes.len() >= 14, "only {} distinct codes: {codes:?}", codes.len());
}
