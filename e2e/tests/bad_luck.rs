//! G4, G9: one bad thing stays one bad thing, and a payer cannot snatch back what is under way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy::primitives::{Address, U256};
use alloy::sol;
use relayer::adapter::SettlementId;
use relayer::adapter::abi::ISettlementVault;
use relayer::settlement::terms::TermsFields;
use relayer_e2e::coordinator::Signed;
use relayer_e2e::devnet::abi::ITestToken;
use relayer_e2e::devnet::layerzero::{call, create};
use relayer_e2e::devnet::test_contract;
use relayer_e2e::harness::{PATIENCE, World, error_code, fresh_payee};
use std::time::Duration;
use tokio::time::sleep;
use tonic::Code;

sol! {
    /// contracts/test/mocks: what turns hostile on command.
    interface IHostile {
        function setMood(uint8 mood, address target) external;
    }
    interface IWallet {
        function setMood(uint8 mood) external;
    }
}

/// HostileToken.Mood.BurnGas
const BURN_GAS: u8 = 6;
/// Wallet.Mood
const WALLET_BURN_GAS: u8 = 3;
const ACCEPT_ALL: u8 = 6;

async fn submit_some(world: &World, name: &str, count: u64) -> Vec<Signed> {
    let mut signed = Vec::new();
    for n in 0..count {
        let one = world
            .signed(fresh_payee(&format!("{name} {n}")).unwrap(), 1 + n)
            .await
            .unwrap();
        world.submit(&one).await.unwrap();
        signed.push(one);
    }
    signed
}

fn ids(signed: &[Signed]) -> Vec<SettlementId> {
    signed.iter().map(|one| one.id).collect()
}

/// Lists a token on the target and deposits it for the payer.
async fn deposit_token(world: &World, token: Address, amount: U256) {
    let admin = world
        .devnet
        .wallet(&world.devnet.target, &world.devnet.accounts.admin)
        .unwrap();
    let payer = world
        .devnet
        .wallet(&world.devnet.target, &world.devnet.accounts.payer)
        .unwrap();
    let vault = world.devnet.target.vault;
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
    call(&admin, vault, list).await.unwrap();
    call(
        &payer,
        token,
        ITestToken::mintCall {
            to: world.coordinator.payer.address(),
            amount,
        },
    )
    .await
    .unwrap();
    call(&payer, token, ITestToken::approveCall { spender: vault, amount })
        .await
        .unwrap();
    call(&payer, vault, ISettlementVault::depositCall { token, amount })
        .await
        .unwrap();
    // The relayer counts a deposit at finality only.
    sleep(Duration::from_secs(world.devnet.options.finality_depth + 4)).await;
}

#[tokio::test]
async fn a_hostile_token_becomes_a_credit_and_stops_nobody_else() {
    let world = World::start(&|_, relayer| relayer.linger_ms = 2_000).await.unwrap();
    let admin = world
        .devnet
        .wallet(&world.devnet.target, &world.devnet.accounts.admin)
        .unwrap();
    let token = create(
        &admin,
        test_contract("Tokens", "HostileToken").unwrap(),
        "hostile token",
    )
    .await
    .unwrap();
    deposit_token(&world, token, world.coordinator.unit * U256::from(100)).await;
    let victim = fresh_payee("hostile").unwrap();
    call(
        &admin,
        token,
        IHostile::setMoodCall {
            mood: BURN_GAS,
            target: victim,
        },
    )
    .await
    .unwrap();

    let job = world.coordinator.job("provider", 4);
    let fields = TermsFields {
        token,
        ..world.coordinator.terms(
            &job,
            victim,
            world.coordinator.amount(4),
            world.deadline().await.unwrap(),
        )
    };
    let poisoned = world.coordinator.sign(&job, fields).unwrap();
    world.submit(&poisoned).await.unwrap();
    let others = submit_some(&world, "beside the hostile one", 6).await;
    world.wait_states(&ids(&others), &["settled"], PATIENCE).await.unwrap();
    world.wait_states(&[poisoned.id], &["settled"], PATIENCE).await.unwrap();
    assert!(
        world.get(poisoned.id).await.unwrap().settlement.unwrap().credited,
        "a failed transfer must show as a credit"
    );
    let vault = ISettlementVault::new(world.devnet.target.vault, &admin);
    assert_eq!(
        vault.creditOf(victim, token).call().await.unwrap(),
        poisoned.terms.amount
    );
    sleep(Duration::from_secs(4)).await;
    assert_eq!(world.drift().await.unwrap(), 0);
}

#[tokio::test]
async fn a_contract_payer_that_burns_all_gas_delays_only_itself() {
    let world = World::start(&|_, relayer| relayer.linger_ms = 2_000).await.unwrap();
    let owner = world.devnet.accounts.payer.clone();
    let funds = world.coordinator.unit * U256::from(50);
    let provider = world.devnet.wallet(&world.devnet.target, &owner).unwrap();
    let wallet = create(&provider, test_contract("Wallet", "Wallet").unwrap(), "contract wallet")
        .await
        .unwrap();
    call(&provider, wallet, IWallet::setMoodCall { mood: ACCEPT_ALL })
        .await
        .unwrap();
    let (token, vault) = (world.devnet.target.token, world.devnet.target.vault);
    call(
        &provider,
        token,
        ITestToken::mintCall {
            to: owner.address(),
            amount: funds,
        },
    )
    .await
    .unwrap();
    call(
        &provider,
        token,
        ITestToken::approveCall {
            spender: vault,
            amount: U256::MAX,
        },
    )
    .await
    .unwrap();
    call(
        &provider,
        vault,
        ISettlementVault::depositForCall {
            payer: wallet,
            token,
            amount: funds,
        },
    )
    .await
    .unwrap();
    sleep(Duration::from_secs(world.devnet.options.finality_depth + 4)).await;

    let job = world.coordinator.job("provider", 4);
    let terms = world.coordinator.terms(
        &job,
        fresh_payee("of a contract").unwrap(),
        world.coordinator.amount(4),
        world.deadline().await.unwrap(),
    );
    let one = world
        .coordinator
        .sign(&job, TermsFields { payer: wallet, ..terms })
        .unwrap();
    let reply = world.submit(&one).await.unwrap();
    assert!(
        reply.revocable,
        "a contract payer can revoke, and the answer must say so"
    );
    // After acceptance the wallet turns into a gas bomb.
    call(&provider, wallet, IWallet::setMoodCall { mood: WALLET_BURN_GAS })
        .await
        .unwrap();
    let others = submit_some(&world, "beside the bomb", 6).await;
    world.wait_states(&ids(&others), &["settled"], PATIENCE).await.unwrap();
    let state = world.state(one.id).await.unwrap();
    assert!(
        ["dispatched", "delivered"].contains(&state.as_str()),
        "the bomb's own settlement is {state}"
    );
    // It comes to its senses and is paid.
    call(&provider, wallet, IWallet::setMoodCall { mood: ACCEPT_ALL })
        .await
        .unwrap();
    world.wait_states(&[one.id], &["settled"], PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_dead_target_endpoint_only_delays() {
    let world = World::start(&|_, _| {}).await.unwrap();
    let before = submit_some(&world, "before the outage", 4).await;
    world
        .wait_states(&ids(&before), &["dispatched", "delivered", "settled"], PATIENCE)
        .await
        .unwrap();
    world.devnet.target.anvil.freeze().unwrap();
    let deadline = before[0].terms.deadline;
    sleep(Duration::from_secs(25)).await;
    // Intake goes on: what it needs of the target it has read before.
    let job = world.coordinator.job("provider", 3);
    let during = world
        .coordinator
        .settlement(&job, fresh_payee("during the outage").unwrap(), 3, deadline)
        .unwrap();
    world.submit_surely(&during).await.unwrap();
    for one in &before {
        let state = world.state(one.id).await.unwrap();
        assert!(
            !["expired", "burned", "cancelled", "disputed"].contains(&state.as_str()),
            "an outage is not a verdict: {state}"
        );
    }
    world.devnet.target.anvil.thaw().unwrap();
    world.wait_states(&ids(&before), &["settled"], PATIENCE).await.unwrap();
    world.wait_states(&[during.id], &["settled"], PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_silent_verifier_delays_its_path_only_and_the_second_pair_takes_over() {
    let world = World::start(&|_, relayer| relayer.timeout = 10).await.unwrap();
    let silent = world.devnet.source.ports["layerzero"];
    world.devnet.switches.change(|setting| {
        setting.silent_ports.insert(silent);
    });
    let signed = submit_some(&world, "behind a silent verifier", 5).await;
    world.wait_states(&ids(&signed), &["settled"], PATIENCE).await.unwrap();
    let found = world.get(signed[0].id).await.unwrap();
    let bridges: Vec<_> = found
        .messages
        .iter()
        .flat_map(|message| &message.dispatches)
        .map(|dispatch| dispatch.bridge.clone())
        .collect();
    assert!(
        bridges.contains(&"layerzero".into()) && bridges.contains(&"layerzero-b".into()),
        "went over {bridges:?}"
    );
    let first = found
        .messages
        .iter()
        .flat_map(|message| &message.dispatches)
        .find(|dispatch| dispatch.bridge == "layerzero")
        .unwrap();
    assert!(first.stalled_at_ms > 0, "the silent path is not shown as stalled");

    // The verifier wakes up: the late message changes nothing.
    world.devnet.switches.change(|setting| setting.silent_ports.clear());
    sleep(Duration::from_secs(8)).await;
    let deposited = U256::from(world.devnet.options.deposit) * world.coordinator.unit;
    world.assert_paid_exactly_once(&signed, deposited).await.unwrap();
    assert_eq!(world.drift().await.unwrap(), 0);
}

#[tokio::test]
async fn a_payer_cannot_snatch_a_payment_in_flight() {
    let world = World::start(&|_, _| {}).await.unwrap();
    world.devnet.switches.change(|setting| setting.dvn = false);
    let flying = submit_some(&world, "in flight", 3).await;
    world
        .wait_states(&ids(&flying), &["dispatched"], PATIENCE)
        .await
        .unwrap();

    let payer = world
        .devnet
        .wallet(&world.devnet.target, &world.devnet.accounts.payer)
        .unwrap();
    let (token, vault) = (world.devnet.target.token, world.devnet.target.vault);
    let everything = U256::from(world.devnet.options.deposit) * world.coordinator.unit;
    call(
        &payer,
        vault,
        ISettlementVault::announceWithdrawalCall {
            token,
            amount: everything,
        },
    )
    .await
    .unwrap();
    call(
        &payer,
        vault,
        ISettlementVault::announceBurnCall {
            nonce: flying[0].terms.nonce,
        },
    )
    .await
    .unwrap();
    sleep(Duration::from_secs(4)).await;

    // New work against money that is about to leave is refused, as is a nonce that is about to burn.
    let job = world.coordinator.job("provider", 2);
    let late = world
        .coordinator
        .settlement(
            &job,
            fresh_payee("too late").unwrap(),
            2,
            world.deadline().await.unwrap(),
        )
        .unwrap();
    let status = world.client().await.unwrap().submit(late.request).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    assert!(error_code(&status).starts_with("RLY-INTAKE-"), "{status}");

    // What was in flight is paid all the same.
    world.devnet.switches.change(|setting| setting.dvn = true);
    world.wait_states(&ids(&flying), &["settled"], PATIENCE).await.unwrap();
    let paid = world.payments().await.unwrap();
    assert!(flying.iter().all(|one| paid.get(&one.id.0) == Some(&1)));
}
