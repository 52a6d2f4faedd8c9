//! One signature for many settlements, from SubmitGroup to the payments: each paid exactly once, whatever becomes of the others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy::consensus::Transaction as _;
use alloy::primitives::{Address, B256, U256};
use alloy::providers::Provider;
use alloy::sol;
use alloy::sol_types::SolCall;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use relayer::adapter::SettlementId;
use relayer::adapter::abi::{ISettlementInbox, ISettlementVault};
use relayer::settlement::packed::{Mode, Packed};
use relayer::settlement::terms::TermsFields;
use relayer_e2e::coordinator::{Job, SignedGroup};
use relayer_e2e::devnet::abi::ITestToken;
use relayer_e2e::devnet::layerzero::{call, create};
use relayer_e2e::devnet::test_contract;
use relayer_e2e::harness::{PATIENCE, World, fresh_payee, surely};
use relayer_e2e::relayer_process::built;
use relayer_proto::v1;
use relayer_proto::v1::group_result::Result as Outcome;
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;
use tokio::time::{Instant, sleep};

sol! {
    /// contracts/test/mocks: what turns hostile on command.
    interface IHostile {
        function setMood(uint8 mood, address target) external;
    }
    interface IWallet {
        function setMood(uint8 mood) external;
    }
}

/// HostileToken.Mood.Revert
const REVERT: u8 = 1;
/// Wallet.Mood
const REFUSE: u8 = 1;
const ACCEPT_ALL: u8 = 6;

/// `count` jobs with terms, to a few payees.
async fn members(world: &World, name: &str, count: u64) -> Vec<(Job, TermsFields)> {
    let deadline = world.deadline().await.unwrap();
    let c = &world.coordinator;
    (0..count)
        .map(|n| {
            let job = c.job("provider", 1 + n % 9);
            let payee = fresh_payee(&format!("{name} {}", n % 7)).unwrap();
            let fields = c.terms(&job, payee, c.amount(1 + n % 9), deadline);
            (job, fields)
        })
        .collect()
}

async fn submit(world: &World, request: &v1::SubmitGroupRequest) -> v1::SubmitGroupResponse {
    let mut client = world.client().await.unwrap();
    client.submit_group(request.clone()).await.unwrap().into_inner()
}

/// `accepted`, `again`, or the code of the refusal.
fn outcomes(answer: &v1::SubmitGroupResponse) -> Vec<String> {
    let outcome = |result: &v1::GroupResult| match result.result.as_ref().unwrap() {
        Outcome::Accepted(accepted) if accepted.duplicate => "again".to_owned(),
        Outcome::Accepted(_) => "accepted".to_owned(),
        Outcome::Refused(refused) => refused.code.clone(),
    };
    answer.results.iter().map(outcome).collect()
}

/// Submits and expects every item to be accepted.
async fn submit_all(world: &World, group: &SignedGroup) {
    let answer = submit(world, &group.request).await;
    assert_eq!(answer.group_root, group.root.to_string());
    assert!(
        outcomes(&answer).iter().all(|outcome| outcome == "accepted"),
        "{answer:?}"
    );
}

/// The executions of the relayer, as the chain has them.
async fn executions(world: &World, ids: &[SettlementId]) -> Vec<Packed> {
    let mut hashes = BTreeSet::new();
    for id in ids {
        for message in world.get(*id).await.unwrap().messages {
            for execution in message.executions {
                hashes.extend(execution.transaction_hash.parse::<B256>());
            }
        }
    }
    let mut found = Vec::new();
    for hash in hashes {
        let provider = &world.devnet.target.anvil.provider;
        let Some(tx) = provider.get_transaction_by_hash(hash).await.unwrap() else {
            continue;
        };
        let call = ISettlementInbox::executeCall::abi_decode(tx.input()).unwrap();
        found.push(Packed::decode(&call.packed).unwrap());
    }
    found
}

async fn quiet_books(world: &World) {
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.drift().await.unwrap(), 0);
}

#[tokio::test]
async fn a_group_of_128_with_five_bad_items_is_paid_but_for_those_exactly_once() {
    let world = World::start(&|_, relayer| {
        relayer.batch_max = 128;
        relayer.linger_ms = 1_000;
    })
    .await
    .unwrap();
    let deposited = U256::from(world.devnet.options.deposit) * world.coordinator.unit;
    let mut all = members(&world, "of 128", 128).await;
    // Above its receipt, too late, and three that go bad after they were signed.
    all[17].1.amount += U256::ONE;
    all[40].1.deadline = world.target_time().await.unwrap() + 60;
    let mut group = world.coordinator.group(all).unwrap();
    let is_bad = |at: &usize| {
        let terms = &group.members[*at].terms;
        terms.amount % U256::from(4) == U256::ONE
            || terms.deadline < group.members[0].terms.deadline.max(group.members[1].terms.deadline)
    };
    let mut bad: BTreeSet<usize> = (0..128).filter(is_bad).collect();
    assert_eq!(bad.len(), 2, "{bad:?}");
    let spoiled: Vec<usize> = [5, 64, 127]
        .into_iter()
        .map(|at| if bad.contains(&at) { at - 1 } else { at })
        .collect();
    group.request.items[spoiled[0]].receipts[0].truncate(40);
    group.request.items[spoiled[1]].receipts[0] = world.coordinator.job("provider", 3).receipt;
    group.request.items[spoiled[2]].receipts.clear();
    bad.extend(&spoiled);

    let answer = submit(&world, &group.request).await;
    assert_eq!(answer.group_root, group.root.to_string());
    let first = outcomes(&answer);
    for (at, outcome) in first.iter().enumerate() {
        assert_eq!(outcome.starts_with("RLY-INTAKE-"), bad.contains(&at), "{at}: {outcome}");
    }
    let codes: BTreeSet<&String> = bad.iter().map(|at| &first[*at]).collect();
    assert_eq!(codes.len(), 5, "each for its own reason: {codes:?}");

    // The same again, and one of them alone, is the first answer.
    let again: Vec<String> = outcomes(&submit(&world, &group.request).await);
    for (one, other) in first.iter().zip(&again) {
        assert_eq!(other, if one == "accepted" { "again" } else { one });
    }
    let good: Vec<_> = (0..128)
        .filter(|at| !bad.contains(at))
        .map(|at| group.members[at].clone())
        .collect();
    assert!(world.submit(&good[3]).await.unwrap().duplicate);

    let ids: Vec<SettlementId> = good.iter().map(|one| one.id).collect();
    world.wait_states(&ids, &["settled"], PATIENCE).await.unwrap();
    world.assert_paid_exactly_once(&good, deposited).await.unwrap();
    let messages: BTreeSet<String> = world
        .get(ids[0])
        .await
        .unwrap()
        .messages
        .into_iter()
        .map(|m| m.message_id)
        .collect();
    for id in [ids[50], ids[122]] {
        let of: BTreeSet<String> = world
            .get(id)
            .await
            .unwrap()
            .messages
            .into_iter()
            .map(|m| m.message_id)
            .collect();
        assert_eq!(of, messages, "the group was spread over messages");
    }
    for packed in executions(&world, &ids).await {
        for section in &packed.sections {
            assert!(
                matches!(section.mode, Mode::Group(_)),
                "a section with one signature each"
            );
        }
    }
    quiet_books(&world).await;
}

#[tokio::test]
async fn a_hostile_payee_and_an_expired_member_leave_the_rest_of_their_group_alone() {
    let world = World::start(&|_, relayer| relayer.linger_ms = 1_000).await.unwrap();
    let (chain, accounts) = (&world.devnet.target, &world.devnet.accounts);
    let admin = world.devnet.wallet(chain, &accounts.admin).unwrap();
    let payer = world.devnet.wallet(chain, &accounts.payer).unwrap();
    let code = test_contract("Tokens", "HostileToken").unwrap();
    let token = create(&admin, code, "hostile token").await.unwrap();
    let amount = world.coordinator.unit * U256::from(100);
    let limit = alloy::primitives::aliases::U96::MAX;
    let list = ISettlementVault::listTokenCall {
        token,
        decimals: 18,
        limit1: limit,
        limit2: limit,
        quorum1: 1,
        quorum2: 1,
        quorum3: 0,
    };
    call(&admin, chain.vault, list).await.unwrap();
    let to = world.coordinator.payer.address();
    call(&payer, token, ITestToken::mintCall { to, amount }).await.unwrap();
    let spender = chain.vault;
    call(&payer, token, ITestToken::approveCall { spender, amount })
        .await
        .unwrap();
    call(&payer, chain.vault, ISettlementVault::depositCall { token, amount })
        .await
        .unwrap();
    sleep(Duration::from_secs(world.devnet.options.finality_depth + 4)).await;
    let victim = fresh_payee("victim of 12 2").unwrap();
    let mood = IHostile::setMoodCall {
        mood: REVERT,
        target: victim,
    };
    call(&admin, token, mood).await.unwrap();

    // Nothing arrives until one member has run out of time.
    world.devnet.switches.change(|setting| setting.dvn = false);
    let soon = world.target_time().await.unwrap() + 1_000;
    let mut all = members(&world, "victim of 12", 12).await;
    for (_, fields) in &mut all {
        fields.token = token;
    }
    all[3].1.deadline = soon;
    let group = world.coordinator.group(all).unwrap();
    submit_all(&world, &group).await;
    let (late, timely): (Vec<_>, Vec<_>) = group.members.iter().partition(|one| one.terms.deadline == soon);
    let timely: Vec<SettlementId> = timely.iter().map(|one| one.id).collect();
    world.wait_states(&timely, &["dispatched"], PATIENCE).await.unwrap();
    chain.anvil.increase_time(1_100).await.unwrap();
    world.devnet.switches.change(|setting| setting.dvn = true);
    world.wait_states(&timely, &["settled"], PATIENCE).await.unwrap();
    world.wait_states(&[late[0].id], &["expired"], PATIENCE).await.unwrap();
    for member in &group.members {
        let found = world.get(member.id).await.unwrap().settlement.unwrap();
        let hit = member.terms.payee == victim && member.id != late[0].id;
        assert_eq!(found.credited, hit, "{found:?}");
    }
    quiet_books(&world).await;
}

#[tokio::test]
async fn a_member_executes_itself_while_the_relayer_is_off_and_the_rest_is_paid_later() {
    let mut world = World::start(&|_, relayer| relayer.linger_ms = 1_000).await.unwrap();
    let deposited = U256::from(world.devnet.options.deposit) * world.coordinator.unit;
    world.devnet.switches.change(|setting| setting.dvn = false);
    let group = world.coordinator.group(members(&world, "on its own", 9).await).unwrap();
    submit_all(&world, &group).await;
    let ids = group.ids();
    world.wait_states(&ids, &["dispatched"], PATIENCE).await.unwrap();
    let one = &group.members[4];
    let bundle = world
        .get(one.id)
        .await
        .unwrap()
        .bundle
        .expect("a bundle of what is dispatched");
    let file = world.devnet.options.dir.join("bundle.json");
    let relayer = built("relayer").unwrap();
    let status = Command::new(&relayer)
        .args([
            "--server",
            &world.relayer.grpc_url(),
            "status",
            &one.id.to_string(),
            "--bundle",
        ])
        .arg(&file)
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    world.relayer.stop().await.unwrap();
    world.devnet.switches.change(|setting| setting.dvn = true);
    let inbox = ISettlementInbox::new(world.devnet.target.inbox, &world.devnet.target.anvil.provider);
    let message: B256 = bundle.message_id.parse().unwrap();
    let until = Instant::now() + PATIENCE;
    while inbox.votes(message).call().await.unwrap().is_zero() {
        assert!(Instant::now() < until, "the message was not delivered");
        sleep(Duration::from_millis(200)).await;
    }
    let executed = Command::new(&relayer)
        .args(["execute", "--bundle"])
        .arg(&file)
        .args(["--rpc", &world.devnet.target.anvil.url, "--key-env", "PAYEE_KEY"])
        .env("PAYEE_KEY", world.devnet.accounts.payee.to_bytes().to_string())
        .output()
        .unwrap();
    assert!(
        executed.status.success(),
        "{}",
        String::from_utf8_lossy(&executed.stderr)
    );
    let paid = world.payments().await.unwrap();
    assert_eq!(
        paid.into_iter().collect::<Vec<_>>(),
        [(one.id.0, 1)],
        "that one and no other"
    );
    // The relayer comes back to a group with a used nonce in its middle.
    world.relayer.start().await.unwrap();
    world.wait_states(&ids, &["settled"], PATIENCE).await.unwrap();
    world.assert_paid_exactly_once(&group.members, deposited).await.unwrap();
    quiet_books(&world).await;
}

#[tokio::test]
async fn a_contract_payer_s_group_waits_while_the_contract_refuses_and_is_paid_when_it_agrees() {
    let world = World::start(&|_, relayer| relayer.linger_ms = 1_000).await.unwrap();
    let chain = &world.devnet.target;
    let owner = world.devnet.wallet(chain, &world.devnet.accounts.payer).unwrap();
    let code = test_contract("Wallet", "Wallet").unwrap();
    let wallet = create(&owner, code, "contract wallet").await.unwrap();
    let mood = |mood: u8| IWallet::setMoodCall { mood };
    call(&owner, wallet, mood(ACCEPT_ALL)).await.unwrap();
    let (token, amount) = (chain.token, world.coordinator.unit * U256::from(50));
    let to = world.coordinator.payer.address();
    call(&owner, token, ITestToken::mintCall { to, amount }).await.unwrap();
    let spender = chain.vault;
    let approve = ITestToken::approveCall {
        spender,
        amount: U256::MAX,
    };
    call(&owner, token, approve).await.unwrap();
    let deposit = ISettlementVault::depositForCall {
        payer: wallet,
        token,
        amount,
    };
    call(&owner, chain.vault, deposit).await.unwrap();
    sleep(Duration::from_secs(world.devnet.options.finality_depth + 4)).await;

    let mut all = members(&world, "of a contract", 8).await;
    for (_, fields) in &mut all {
        fields.payer = wallet;
    }
    let group = world.coordinator.group(all).unwrap();
    let answer = submit(&world, &group.request).await;
    for result in &answer.results {
        let Some(Outcome::Accepted(accepted)) = &result.result else {
            panic!("{result:?}");
        };
        assert!(
            accepted.revocable,
            "a contract payer can revoke, and the answer must say so"
        );
    }
    call(&owner, wallet, mood(REFUSE)).await.unwrap();
    let ids = group.ids();
    world.wait_states(&ids, &["delivered"], PATIENCE).await.unwrap();
    let beside = world
        .coordinator
        .group(members(&world, "beside the contract", 5).await)
        .unwrap();
    submit_all(&world, &beside).await;
    world.wait_states(&beside.ids(), &["settled"], PATIENCE).await.unwrap();
    world.wait_states(&ids, &["delivered"], Duration::ZERO).await.unwrap();
    // Its word is taken back, so the group cannot grow; what was accepted is answered as before.
    assert_eq!(outcomes(&submit(&world, &group.request).await), ["again"; 8]);
    call(&owner, wallet, mood(ACCEPT_ALL)).await.unwrap();
    world.wait_states(&ids, &["settled"], PATIENCE).await.unwrap();
    quiet_books(&world).await;
}

#[tokio::test]
async fn kills_while_groups_come_in_lose_nothing_and_pay_nothing_twice() {
    const GROUPS: usize = 12;
    const KILLS: usize = 6;
    const SEED: u64 = 20_261_123;
    let mut world = World::start(&|_, relayer| {
        relayer.batch_max = 32;
        relayer.linger_ms = 300;
    })
    .await
    .unwrap();
    let deposited = U256::from(world.devnet.options.deposit) * world.coordinator.unit;
    let mut groups = Vec::new();
    for n in 0..GROUPS {
        let size = 5 + (n as u64 * 7) % 40;
        let all = members(&world, &format!("kill {n}"), size).await;
        groups.push(world.coordinator.group(all).unwrap());
    }
    let url = world.relayer.grpc_url();
    let requests: Vec<_> = groups.iter().map(|group| group.request.clone()).collect();
    let client = tokio::spawn(async move {
        for request in requests {
            let answer = surely(&url, async |mut client| client.submit_group(request.clone()).await);
            let answer = answer.await.unwrap().into_inner();
            let taken = |outcome: &String| outcome == "accepted" || outcome == "again";
            assert!(outcomes(&answer).iter().all(taken), "{answer:?}");
            sleep(Duration::from_millis(400)).await;
        }
    });
    let mut rng = StdRng::seed_from_u64(SEED);
    for kill in 0..KILLS {
        sleep(Duration::from_millis(rng.random_range(100..1_500))).await;
        world.relayer.kill().unwrap();
        let started = world.relayer.start().await;
        started.unwrap_or_else(|error| panic!("start after kill {kill} (seed {SEED}): {error:#}"));
    }
    tokio::time::timeout(PATIENCE, client)
        .await
        .expect("every group is acknowledged")
        .unwrap();
    let all: Vec<_> = groups.iter().flat_map(|group| group.members.clone()).collect();
    let ids: Vec<SettlementId> = all.iter().map(|one| one.id).collect();
    world.wait_states(&ids, &["settled"], PATIENCE).await.unwrap();
    world.assert_paid_exactly_once(&all, deposited).await.unwrap();
    let payees: BTreeSet<Address> = all.iter().map(|one| one.terms.payee).collect();
    assert!(payees.len() > 50, "one payee would prove little");
    quiet_books(&world).await;
}
