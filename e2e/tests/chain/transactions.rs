//! Transactions through the engine.

use crate::world::{CHAIN, GWEI, KEY, KillAfter, SIGNER, World, dispatch, payee, transfer};
use alloy::primitives::{Address, Bytes, U256};
use relayer::adapter::{Call, GasRule};
use relayer::chain::fee::TxFees;
use relayer::chain::signer::{SignerPool, Unsigned};
use relayer::chain::{ChainError, Submission, TxChain};
use relayer::error::Coded;
use relayer::settlement::states::TxState;
use relayer::stage::Stage;
use relayer::store::{Intent, IntentKind, TxChange};
use serde_json::json;

async fn assert_paid_once(world: &World, n: u64) {
    assert_eq!(
        world.anvil.balance(payee(n)).await,
        U256::from(1_000 + n),
        "transfer {n}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_become_final_and_pay_once() {
    let world = World::new(3).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(world.prepare_transfer(n).await);
    }
    for id in &ids {
        world.until(*id, TxState::Finalized).await;
        assert_eq!(world.tx(*id).await.succeeded, Some(true));
    }
    for n in 0..5 {
        assert_paid_once(&world, n).await;
    }
    assert_eq!(world.anvil.count(SIGNER).await, 5);
    let unposted = world
        .process
        .store
        .list_finalized_unposted_txs(CHAIN, 10)
        .await
        .unwrap();
    assert_eq!(unposted.len(), 5);
    let mut txn = world.process.store.begin(world.now()).await.unwrap();
    txn.mark_tx_posted(ids[0]).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(
        world
            .process
            .store
            .list_finalized_unposted_txs(CHAIN, 10)
            .await
            .unwrap()
            .len(),
        4
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_any_two_awaits_neither_loses_nor_repeats() {
    let mut world = World::new(2).await;
    let mut polls = 1;
    for n in 0..3 {
        let id = world.prepare_transfer(n).await;
        let mut rounds = 0;
        while world.tx(id).await.state != TxState::Finalized {
            rounds += 1;
            assert!(rounds < 200, "{:?}", world.tx(id).await);
            // Bytes stored but not sent are what a kill leaves; pools forget, so time must pass for the repetition.
            let step = KillAfter::new(world.process.engine.step(world.now(), 100), polls);
            let finished = step.await.is_some();
            polls = if finished { 1 } else { polls + 1 };
            world.restart().await;
            KillAfter::new(world.process.observer.step(world.now(), 100), 1 + rounds).await;
            world.restart().await;
            world.observe().await;
            world.clock.advance(16_000);
            world.anvil.mine(1).await;
        }
    }
    for n in 0..3 {
        assert_paid_once(&world, n).await;
    }
    assert_eq!(
        world.anvil.count(SIGNER).await,
        3,
        "every nonce was used once, for its own transfer"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reorgs_of_any_depth_at_any_state_end_in_one_payment() {
    let world = World::new(10).await;
    world.anvil.mine(20).await;
    let mut n = 100;
    for state in [TxState::Prepared, TxState::Submitted, TxState::Included] {
        for depth in 1..=8 {
            n += 1;
            let id = world.prepare_transfer(n).await;
            if state != TxState::Prepared {
                world.until(id, state).await;
            }
            assert_eq!(world.tx(id).await.state, state);
            if state == TxState::Included {
                world.anvil.mine(depth - 1).await;
                world.observe().await;
            }
            let included = world.tx(id).await.included;
            world.anvil.reorg(depth).await;
            if let Some(inclusion) = included {
                world.round().await;
                let row = world.tx(id).await;
                assert_ne!(row.included, Some(inclusion), "depth {depth}: its block is gone");
            }
            world.clock.advance(16_000);
            world.until(id, TxState::Finalized).await;
            assert_paid_once(&world, n).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn finality_that_breaks_is_unwound_and_repaired() {
    let world = World::new(1).await;
    world.anvil.mine(10).await;
    let id = world.prepare_transfer(7).await;
    world.until(id, TxState::Finalized).await;
    world.anvil.reorg(6).await;
    world.observe().await;
    world.engine_step().await;
    assert_eq!(world.tx(id).await.state, TxState::Submitted);
    world.clock.advance(16_000);
    world.until(id, TxState::Finalized).await;
    assert_paid_once(&world, 7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_that_no_longer_gets_in_is_raised_by_time() {
    let world = World::new(2).await;
    world.anvil.mine(1).await;
    world.observe().await;
    let id = world.prepare_transfer(1).await;
    world.engine_step().await;
    let first = world.process.store.list_attempts(id).await.unwrap()[0].clone();
    // Above what the first attempt offers: it stays in the pool.
    let base = first.max_fee + GWEI;
    for _ in 0..3 {
        world.anvil.rpc("anvil_setNextBlockBaseFeePerGas", json!([base])).await;
        world.anvil.mine(1).await;
        world.round().await;
    }
    assert_eq!(world.tx(id).await.state, TxState::Submitted);
    assert_eq!(
        world.process.store.list_attempts(id).await.unwrap().len(),
        1,
        "not before its time"
    );
    world.clock.advance(30_000);
    world.until(id, TxState::Finalized).await;
    let attempts = world.process.store.list_attempts(id).await.unwrap();
    assert!(attempts.len() >= 2);
    for pair in attempts.windows(2) {
        assert!(pair[1].max_fee * 10 >= pair[0].max_fee * 11, "{pair:?}");
        assert!(
            pair[1].max_priority_fee * 10 >= pair[0].max_priority_fee * 11,
            "{pair:?}"
        );
    }
    assert_paid_once(&world, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anvils_answers_to_a_broadcast_are_classified() {
    let world = World::new(2).await;
    let chain = &world.process.chain;
    let signers = SignerPool::new(CHAIN, &[KEY]).unwrap();
    let sign = |nonce, value: U256, max_fee: u128| {
        let tx = Unsigned {
            chain: CHAIN,
            nonce,
            to: payee(1),
            value,
            data: Bytes::new(),
            gas_limit: 21_000,
        };
        let fees = TxFees {
            max_fee,
            max_priority_fee: GWEI.min(max_fee),
        };
        signers.sign(SIGNER, &tx, &fees, false).unwrap().raw
    };
    let first = sign(0, U256::from(1), 3 * GWEI);
    assert_eq!(chain.submit(&first).await.unwrap(), Submission::Accepted);
    assert_eq!(
        chain.submit(&first).await.unwrap(),
        Submission::Accepted,
        "already known"
    );
    let same_price = sign(0, U256::from(2), 3 * GWEI);
    assert_eq!(chain.submit(&same_price).await.unwrap(), Submission::Underpriced);
    assert_eq!(
        chain.submit(&sign(1, U256::MAX >> 100, 3 * GWEI)).await.unwrap(),
        Submission::FundsShort
    );
    assert_eq!(
        chain.submit(&sign(1, U256::from(1), 1)).await.unwrap(),
        Submission::Underpriced
    );
    world.anvil.mine(1).await;
    assert_eq!(chain.submit(&same_price).await.unwrap(), Submission::NonceTooLow);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_transaction_on_our_nonce_frees_the_intent_once_final() {
    let world = World::new(3).await;
    world.anvil.mine(5).await;
    world.observe().await;
    let id = world.prepare_transfer(1).await;
    let signers = SignerPool::new(CHAIN, &[KEY]).unwrap();
    let tx = Unsigned {
        chain: CHAIN,
        nonce: 0,
        to: payee(99),
        value: U256::from(5),
        data: Bytes::new(),
        gas_limit: 21_000,
    };
    let fees = TxFees {
        max_fee: 10 * GWEI,
        max_priority_fee: 5 * GWEI,
    };
    let foreign = signers.sign(SIGNER, &tx, &fees, false).unwrap();
    world.anvil.rpc("eth_sendRawTransaction", json!([foreign.raw])).await;
    world.anvil.mine(1).await;
    world.round().await;
    world.round().await;
    assert_eq!(
        world.tx(id).await.state,
        TxState::Submitted,
        "not final yet: nothing is decided"
    );
    let refused = world.prepare(&transfer(1), dispatch(1)).await.unwrap_err();
    assert_eq!(refused.code().code, "RLY-CHAIN-008");
    world.until(id, TxState::Replaced).await;
    assert_eq!(world.anvil.balance(payee(1)).await, U256::ZERO);
    let again = world.prepare_transfer(1).await;
    world.until(again, TxState::Finalized).await;
    assert_paid_once(&world, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_is_bound_to_one_transaction_until_that_came_to_nothing() {
    let world = World::new(2).await;
    let id = world.prepare_transfer(1).await;
    let planned = world.process.sender.plan(&transfer(1)).await.unwrap();
    let mut txn = world.process.store.begin(world.now()).await.unwrap();
    let refused = world
        .process
        .sender
        .prepare(&mut txn, &planned, dispatch(1))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, ChainError::IntentBound { tx, .. } if tx == id),
        "{refused}"
    );
    drop(txn);
    world.until(id, TxState::Finalized).await;
    assert_eq!(
        world.prepare(&transfer(1), dispatch(1)).await.unwrap_err().code().code,
        "RLY-CHAIN-008"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_revert_frees_the_intent() {
    let world = World::new(2).await;
    let reverting = Address::repeat_byte(0xaa);
    world
        .anvil
        .rpc("anvil_setCode", json!([reverting, "0x60006000fd"]))
        .await;
    let call = Call {
        to: reverting,
        gas: GasRule::Fixed(60_000),
        value: U256::ZERO,
        ..transfer(1)
    };
    let id = world.prepare(&call, dispatch(1)).await.unwrap();
    world.until(id, TxState::Included).await;
    assert_eq!(world.tx(id).await.succeeded, Some(false));
    assert!(
        world.prepare(&transfer(1), dispatch(1)).await.is_err(),
        "a reorg could still turn the outcome"
    );
    world.until(id, TxState::Finalized).await;
    let again = world.prepare_transfer(1).await;
    world.until(again, TxState::Finalized).await;
    assert_paid_once(&world, 1).await;
    let estimated = Call {
        gas: GasRule::AtLeast(1),
        ..call
    };
    assert_eq!(
        world.process.sender.plan(&estimated).await.unwrap_err().code().code,
        "RLY-CHAIN-002"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_prepares_nothing_while_the_chain_is_ahead() {
    let mut world = World::new(2).await;
    let first = world.prepare_transfer(0).await;
    world.until(first, TxState::Finalized).await;
    world.process.store.checkpoint().await.unwrap();
    let copy = world.dir.path().join("copy");
    std::fs::copy(world.dir.path().join("db"), &copy).unwrap();
    let second = world.prepare_transfer(1).await;
    world.until(second, TxState::Finalized).await;
    world.restart_from(copy).await;
    let refused = world.prepare(&transfer(1), dispatch(1)).await.unwrap_err();
    assert!(
        matches!(refused, ChainError::ChainAhead { count: 2, known: 1, .. }),
        "{refused}"
    );
    assert_eq!(refused.code().code, "RLY-CHAIN-007");
    assert_paid_once(&world, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_a_history_is_adopted_by_an_empty_database() {
    let world = World::new(2).await;
    let tx = json!({"from": SIGNER, "to": payee(50), "value": "0x1"});
    world.anvil.rpc("eth_sendTransaction", json!([tx])).await;
    world.anvil.mine(1).await;
    let id = world.prepare_transfer(1).await;
    assert_eq!(world.tx(id).await.nonce, Some(1));
    world.until(id, TxState::Finalized).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_given_back_is_filled_so_that_the_rest_can_go() {
    let world = World::new(2).await;
    world.anvil.mine(1).await;
    let ids = [
        world.prepare_transfer(0).await,
        world.prepare_transfer(1).await,
        world.prepare_transfer(2).await,
    ];
    let mut txn = world.process.store.begin(world.now()).await.unwrap();
    let row = txn.get_tx(ids[0]).await.unwrap();
    txn.tx_apply(&row, TxChange::Cancel, "test").await.unwrap();
    txn.commit().await.unwrap();
    world.until(ids[2], TxState::Finalized).await;
    world.until(ids[1], TxState::Finalized).await;
    assert_eq!(world.anvil.balance(payee(0)).await, U256::ZERO);
    assert_paid_once(&world, 1).await;
    assert_paid_once(&world, 2).await;
    let noop = Intent::new(IntentKind::Noop, format!("{CHAIN}:{SIGNER:#x}:0"));
    assert_eq!(world.process.store.list_txs_of_intent(&noop).await.unwrap().len(), 1);
    let again = world.prepare_transfer(0).await;
    world.until(again, TxState::Finalized).await;
    assert_paid_once(&world, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn funds_that_run_short_pause_and_are_never_a_reason_to_drop() {
    let world = World::new(2).await;
    world.anvil.rpc("anvil_setBalance", json!([SIGNER, "0x1"])).await;
    world.anvil.mine(1).await;
    let refused = world.prepare(&transfer(1), dispatch(1)).await.unwrap_err();
    assert_eq!(refused.code().code, "RLY-CHAIN-006");
    assert!(world.process.sender.is_short());
    world
        .anvil
        .rpc("anvil_setBalance", json!([SIGNER, "0xde0b6b3a7640000"]))
        .await;
    world.anvil.mine(1).await;
    let id = world.prepare_transfer(1).await;
    assert!(!world.process.sender.is_short());
    world.until(id, TxState::Finalized).await;
    assert_paid_once(&world, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caps_refuse_before_anything_is_stored() {
    let mut world = World::new(2).await;
    for (cap, code) in [
        ("gas", "RLY-CHAIN-003"),
        ("tx", "RLY-CHAIN-004"),
        ("day", "RLY-CHAIN-005"),
    ] {
        world.policy = Default::default();
        match cap {
            "gas" => world.policy.max_fee_cap = 1,
            "tx" => world.policy.tx_cap = U256::from(1_000),
            _ => world.policy.day_cap_gwei = 10,
        }
        world.restart().await;
        let refused = world.prepare(&transfer(1), dispatch(1)).await.unwrap_err();
        assert_eq!(refused.code().code, code, "{refused}");
        assert!(world.process.store.find_live_tx(&dispatch(1)).await.unwrap().is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_lost_its_lease_stores_nothing() {
    let world = World::new(2).await;
    let planned = world.process.sender.plan(&transfer(1)).await.unwrap();
    let txn = world.process.store.begin(world.now()).await.unwrap();
    txn.raise_signer_epoch(CHAIN, SIGNER).await.unwrap();
    txn.commit().await.unwrap();
    let mut txn = world.process.store.begin(world.now()).await.unwrap();
    let refused = world.process.sender.prepare(&mut txn, &planned, dispatch(1)).await;
    assert_eq!(refused.unwrap_err().code().code, "RLY-CHAIN-015");
}
