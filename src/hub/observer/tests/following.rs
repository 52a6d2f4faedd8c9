//! What the chain's observer stores of a hub, and how it is held against the contract.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::hub::model::ParentOperation;
use crate::store::{DriftClass, HubOperationKind};
use CheckpointStanding::{Final, Provisional, Seen};
use alloy::primitives::{LogData, U256};
use alloy::sol_types::SolEvent;
use relayer_adapter_api::abi::ICommitChain;

/// Three eons of everything that can happen, the last checkpoint in the newest block.
fn busy() -> HubChain {
    HubChain::new(5, 20, 3)
}

fn live_through(world: &World) {
    world.eon(1, &[deposit(ALICE, 100), deposit(BOB, 7), Act::Deposit(HUB, BOB, 9)]);
    world.eon(2, &[Act::Request(TOKEN, ALICE, 30), deposit(ALICE, 1)]);
    world.eon(3, &[]);
    world.eon(4, &[Act::Request(TOKEN, ALICE, 5)]);
    world.eon(5, &[Act::Confirm(TOKEN, ALICE), Act::Confirm(TOKEN, BOB)]);
    world.chain.act(&[Act::Submit(root(6))]);
}

#[tokio::test]
async fn everything_a_hub_says_is_stored_and_agrees_with_its_contract() {
    let world = World::new(busy()).await;
    live_through(&world);
    world.round().await;
    let hub = world.hub().await;
    assert_eq!((hub.genesis, hub.blocks_per_eon, hub.last_eon), (5, 20, Eon(6)));
    assert_eq!((hub.halted, hub.read_to), (None, world.chain.head_number()));
    let expected = [
        (1, Final),
        (2, Final),
        (3, Final),
        (4, Final),
        (5, Provisional),
        (6, Seen),
    ];
    assert_eq!(world.standings().await, expected);
    let operations = world.operations().await;
    let of = |kind: HubOperationKind| operations.iter().filter(|one| one.kind == kind).count();
    assert_eq!(
        (of(HubOperationKind::Deposit), of(HubOperationKind::WithdrawalRequest)),
        (4, 2)
    );
    let confirmed: Vec<_> = operations
        .iter()
        .filter(|one| one.kind == HubOperationKind::WithdrawalConfirmation)
        .map(|one| (one.wallet, one.amount, one.eon))
        .collect();
    assert_eq!(confirmed, [(ALICE, U256::from(30), Eon(5)), (BOB, U256::ZERO, Eon(5))]);
    assert_eq!(world.subjects().await, [""; 0]);
    // The base moved to the final block with the contract's own slots.
    let (block, slots) = hub.base.unwrap();
    assert_eq!(block, world.chain.head_number() - 3);
    assert_eq!(slots[2], world.chain.accumulator(Eon(2)));
    assert_ne!(slots[2], B256::ZERO);
}

#[tokio::test]
async fn a_checkpoint_is_based_on_the_accumulator_of_the_eon_before() {
    let world = World::new(busy()).await;
    world.eon(1, &[deposit(ALICE, 100)]);
    let after_one = world.chain.accumulator(Eon(1));
    world.eon(2, &[deposit(ALICE, 1)]);
    world.eon(3, &[]);
    world.round().await;
    let bases: Vec<_> = world.checkpoints().await.into_iter().map(|row| row.basis).collect();
    assert_eq!(bases[..2], [Some(B256::ZERO), Some(after_one)]);
    // Slot 1 is taken over by eon 6, on top of what eon 1 left in it.
    for n in 4..=6 {
        world.eon(n, &[]);
    }
    world.round().await;
    world.chain.act(&[Act::Submit(root(7)), deposit(BOB, 3)]);
    world.chain.mine(5);
    world.round().await;
    assert_eq!(world.checkpoints().await[6].basis, Some(after_one));
    assert_eq!(world.subjects().await, [""; 0]);
}

#[tokio::test]
async fn a_hub_that_is_configured_later_is_read_from_its_genesis() {
    let world = World::new(busy()).await;
    live_through(&world);
    let plain = observer(&world.chain, &world.store);
    read(&plain, 1).await;
    assert_eq!(world.store.find_hub(CHAIN, HUB).await.unwrap(), None);
    world.read().await;
    assert_eq!(world.operations().await.len(), 8);
    assert_eq!(world.hub().await.read_to, world.chain.head_number());
    // Switched off for a while, it is behind; then it is brought level again.
    world.chain.act(&[deposit(BOB, 1)]);
    world.chain.mine(6);
    read(&plain, 1).await;
    assert_eq!(world.operations().await.len(), 8);
    world.chain.act(&[deposit(BOB, 2)]);
    world.read().await;
    assert_eq!(world.operations().await.len(), 10);
    world.round().await;
    assert_eq!(world.subjects().await, [""; 0]);
}

#[tokio::test]
async fn a_hub_that_is_not_there_yet_waits_without_holding_its_chain_up() {
    let chain = HubChain::new(5, 20, 3);
    let world = World::new(chain).await;
    world.read().await;
    // Block 5 is the head, final is block 2: nobody answers there.
    assert_eq!(world.store.get_cursor(CHAIN).await.unwrap().unwrap().seen.number, 5);
    assert_eq!(world.store.list_hubs().await.unwrap(), []);
    world.eon(1, &[deposit(ALICE, 1)]);
    world.round().await;
    assert_eq!(world.operations().await.len(), 1);
}

#[tokio::test]
async fn without_its_history_a_hub_is_followed_from_the_slots_on_chain() {
    let chain = busy();
    let first = World::new(chain.clone()).await;
    live_through(&first);
    let start = chain.head_number() - 10;
    let world = World::starting_at(chain, start).await;
    world.round().await;
    let (block, slots) = world.hub().await.base.unwrap();
    assert_eq!(block, world.chain.head_number() - 3);
    assert_eq!(slots[1], world.chain.accumulator(Eon(1)));
    world.chain.act(&[deposit(ALICE, 4)]);
    world.chain.finish_eon();
    world.eon(7, &[deposit(ALICE, 5)]);
    world.round().await;
    assert_eq!(world.operations().await.len(), 2);
    assert_eq!(world.subjects().await, [""; 0]);
    assert_eq!(world.hub().await.base.unwrap().1[1], world.chain.accumulator(Eon(6)));
}

#[tokio::test]
async fn a_reorg_across_the_boundary_of_an_eon_takes_everything_back_and_gives_it_anew() {
    let world = World::new(HubChain::new(5, 20, 8)).await;
    world.eon(1, &[]);
    world.eon(2, &[]);
    // The last two blocks of eon 3 and the first two of eon 4.
    world.chain.act(&[Act::Submit(root(3))]);
    let last = world.chain.clock.last_block(Eon(3)).unwrap();
    world.chain.mine(last - 2 - world.chain.head_number());
    world.chain.act(&[deposit(ALICE, 10)]);
    world.chain.act(&[deposit(BOB, 20)]);
    world.chain.act(&[Act::Submit(root(4))]);
    world.chain.act(&[deposit(ALICE, 30)]);
    world.round().await;
    assert_eq!(world.standings().await.last(), Some(&(4, Seen)));
    let eons: Vec<u64> = world.operations().await.iter().map(|one| one.eon.0).collect();
    assert_eq!(eons, [3, 3, 4]);
    // Bob's deposit comes late, with a checkpoint of another root.
    world.chain.fork(3);
    world.chain.act(&[]);
    world.chain.act(&[deposit(BOB, 20)]);
    world.chain.act(&[Act::Submit(root(0x44))]);
    world.round().await;
    let rows: Vec<_> = world
        .operations()
        .await
        .iter()
        .map(|one| (one.wallet, one.eon.0))
        .collect();
    assert_eq!(rows, [(ALICE, 3), (BOB, 4)]);
    let newest = world.checkpoints().await.pop().unwrap();
    assert_eq!((newest.eon, newest.root, newest.standing), (Eon(4), root(0x44), Seen));
    assert_eq!(world.standings().await.len(), 4);
    world.chain.mine(12);
    world.round().await;
    assert_eq!(world.standings().await[2..], [(3, Final), (4, Provisional)]);
    assert_eq!(world.subjects().await, [""; 0]);
    assert!(world.hub().await.halted.is_none());
}

#[tokio::test]
async fn when_finality_breaks_a_final_checkpoint_is_provisional_again() {
    let world = World::new(HubChain::new(5, 20, 2)).await;
    for n in 1..=3 {
        world.eon(n, &[deposit(ALICE, 1)]);
    }
    world.round().await;
    assert_eq!(world.standings().await, [(1, Final), (2, Final), (3, Provisional)]);
    // Everything of eon 3 is lost, final or not.
    world.chain.fork(20);
    world.chain.mine(3);
    world.round().await;
    assert_eq!(world.standings().await, [(1, Final), (2, Provisional)]);
    assert_eq!(world.hub().await.last_eon, Eon(2));
    assert_eq!(world.operations().await.len(), 2);
    world.chain.act(&[Act::Submit(root(9)), deposit(BOB, 8)]);
    world.chain.mine(4);
    world.round().await;
    assert_eq!(world.standings().await[1..], [(2, Final), (3, Provisional)]);
    assert_eq!(world.subjects().await, [""; 0]);
}

#[tokio::test]
async fn a_log_range_that_was_answered_empty_is_found_named_and_read_again() {
    let world = World::new(busy()).await;
    world.eon(1, &[deposit(ALICE, 100), deposit(BOB, 7)]);
    world.chain.hide(7);
    world.chain.hide(6);
    world.round().await;
    // Still empty: the first comparison reports what is missing, the checkpoint of block 6 among it.
    let subjects = world.subjects().await;
    assert!(
        subjects.contains(&"hub exchange accumulator slot 1 after block 4".to_owned()),
        "{subjects:?}"
    );
    assert!(
        subjects.contains(&"hub exchange checkpoint 1".to_owned()),
        "{subjects:?}"
    );
    assert!(
        subjects.contains(&format!("hub exchange eon 1 deposits of {TOKEN:#x}")),
        "{subjects:?}"
    );
    let missing = world
        .drifts()
        .await
        .into_iter()
        .find(|row| row.drift.subject.contains("checkpoint 1"));
    assert_eq!(missing.unwrap().drift.class, DriftClass::Missing);
    assert_eq!(world.operations().await.len(), 1);
    world.chain.show_all();
    world.chain.act(&[Act::Submit(root(2))]);
    world.round().await;
    assert_eq!(world.subjects().await, [""; 0]);
    let amounts: Vec<_> = world.operations().await.iter().map(|one| one.amount).collect();
    assert_eq!(amounts, [U256::from(7), U256::from(100)]);
    assert!(
        world
            .operations()
            .await
            .iter()
            .all(|one| one.standing == LogStatus::Final)
    );
    assert_eq!(world.standings().await[0].0, 1);
}

#[tokio::test]
async fn a_row_that_vanished_is_put_back_from_the_chain() {
    let world = World::new(busy()).await;
    world.eon(1, &[deposit(ALICE, 100), deposit(BOB, 7)]);
    world.round().await;
    world.eon(2, &[deposit(ALICE, 3)]);
    world.read().await;
    world.store.execute("DELETE FROM hub_operation WHERE eon = 2").await;
    assert_eq!(world.operations().await.len(), 2);
    world.chain.act(&[Act::Submit(root(3))]);
    world.round().await;
    assert_eq!(world.operations().await.len(), 3);
    assert_eq!(world.subjects().await, [""; 0]);
    let events = world.store.events("hub_reread").await;
    assert_eq!(events, ["1 restored, 0 orphaned"]);
}

#[tokio::test]
async fn a_row_the_chain_does_not_have_is_taken_out_of_account() {
    let world = World::new(busy()).await;
    world.eon(1, &[deposit(ALICE, 100)]);
    world.round().await;
    world.eon(2, &[deposit(ALICE, 3)]);
    world.read().await;
    world
        .store
        .execute(
            "INSERT INTO hub_operation (hub_id, kind, token, wallet, amount, eon, standing, block_number, block_hash, block_timestamp, log_index, \
             tx_hash, created_at) SELECT hub_id, kind, token, wallet, amount, eon, standing, block_number, block_hash, block_timestamp, 77, \
             tx_hash, created_at FROM hub_operation WHERE eon = 2",
        )
        .await;
    assert_eq!(world.operations().await.len(), 3);
    world.chain.act(&[Act::Submit(root(3))]);
    world.round().await;
    assert_eq!(world.operations().await.len(), 2);
    assert_eq!(world.subjects().await, [""; 0]);
    assert_eq!(world.store.events("hub_reread").await, ["0 restored, 1 orphaned"]);
}

#[tokio::test]
async fn what_nothing_explains_stays_on_record_and_what_follows_is_judged_anew() {
    let world = World::new(busy()).await;
    world.eon(1, &[deposit(ALICE, 100)]);
    world.eon(2, &[Act::Cancel(TOKEN, ALICE, 5)]);
    for n in 3..=6 {
        world.round().await;
        world.eon(n, &[]);
    }
    world.round().await;
    let subjects = world.subjects().await;
    assert_eq!(subjects, ["hub exchange accumulator slot 2 after block 4"]);
    world.eon(7, &[deposit(ALICE, 1)]);
    world.round().await;
    assert_eq!(world.subjects().await, subjects);
    let (_, slots) = world.hub().await.base.unwrap();
    assert_eq!(slots[2], world.chain.accumulator(Eon(7)));
}

#[tokio::test]
async fn a_hub_that_misbehaves_is_reported_and_holds_nobody_up() {
    let world = World::new(busy()).await;
    let whole = ICommitChain::Deposit {
        token: TOKEN,
        recipient: ALICE,
        amount: U256::from(1),
    }
    .encode_log_data();
    let broken = LogData::new(whole.topics().to_vec(), whole.data.slice(..31)).unwrap();
    let of_another_eon = ICommitChain::CheckpointSubmission {
        eon: U256::from(9),
        merkleRoot: root(9),
    };
    world
        .chain
        .act(&[Act::Submit(root(1)), Act::Odd(broken), deposit(ALICE, 2)]);
    world.chain.act(&[Act::Odd(of_another_eon.encode_log_data())]);
    let again = ICommitChain::CheckpointSubmission {
        eon: U256::from(1),
        merkleRoot: root(0x11),
    };
    world.chain.act(&[Act::Odd(again.encode_log_data())]);
    world.chain.mine(9);
    world.round().await;
    let classes: Vec<_> = world.drifts().await.iter().map(|row| row.drift.class).collect();
    assert_eq!(
        classes,
        [DriftClass::Unknown, DriftClass::Unknown, DriftClass::Duplicate]
    );
    assert_eq!(world.operations().await.len(), 1);
    assert_eq!(world.checkpoints().await[0].root, root(1));
    assert_eq!(
        world.store.get_cursor(CHAIN).await.unwrap().unwrap().seen.number,
        world.chain.head_number()
    );
}

#[tokio::test]
async fn challenges_and_their_answers_are_kept_with_the_proof() {
    let world = World::new(busy()).await;
    world.eon(1, &[Act::Challenge(TOKEN, ALICE), Act::Answer(TOKEN, ALICE)]);
    world.round().await;
    let hub = world.hub().await;
    let rows = world.store.list_hub_challenges(hub.id, Eon(0), 0, 10).await.unwrap();
    assert_eq!(
        (rows[0].sender, rows[0].eon, &rows[0].proof),
        (Some(ALICE), Eon(1), &None)
    );
    let proof = rows[1].proof.as_ref().unwrap();
    assert_eq!(
        (proof["trail"].as_str(), proof["values"][0].as_str()),
        (Some("3"), Some("7"))
    );
}

#[tokio::test]
async fn a_confirmation_is_no_step_of_the_accumulator() {
    let world = World::new(busy()).await;
    live_through(&world);
    world.round().await;
    let steps: Vec<Option<ParentOperation>> = world.operations().await.iter().map(follow::step).collect();
    assert_eq!(steps.iter().filter(|step| step.is_none()).count(), 2);
}

#[tokio::test]
async fn a_chain_that_moves_on_holds_no_comparison_up() {
    let world = World::new(busy()).await;
    world.eon(1, &[deposit(ALICE, 100)]);
    world.round().await;
    for _ in 0..3 {
        let before = world.hub().await.checked_block;
        world.chain.act(&[deposit(ALICE, 1)]);
        world.read().await;
        let (chain, now) = (world.chain.clone(), world.now());
        let plain = observer(&world.chain, &world.store);
        let hubs = vec![world.chain.contract()];
        world.chain.meanwhile(async move {
            chain.act(&[deposit(BOB, 2)]);
            read(&plain.with_hubs(hubs), now).await;
        });
        world.judge.step(world.now(), 10).await.unwrap();
        world.now.fetch_add(100 * CHECK_MS, Ordering::SeqCst);
        assert_ne!(world.hub().await.checked_block, before);
    }
    assert_eq!(world.subjects().await, [""; 0]);
}

#[tokio::test]
async fn comparisons_that_finality_breaks_every_time_are_reported() {
    let world = World::new(HubChain::new(5, 20, 2)).await;
    world.eon(1, &[deposit(ALICE, 100)]);
    world.round().await;
    for _ in 0..6 {
        world.chain.mine(3);
        world.read().await;
        let (chain, now) = (world.chain.clone(), world.now());
        let observer = observer(&world.chain, &world.store).with_hubs(vec![world.chain.contract()]);
        world.chain.meanwhile(async move {
            // The questions are about a block that is known still: only the store knows better.
            let forked = chain.fork_of(3);
            read(&observer, now).await;
            chain.put_back(forked);
        });
        world.judge.step(world.now(), 10).await.unwrap();
        world.now.fetch_add(100 * CHECK_MS, Ordering::SeqCst);
        world.read().await;
    }
    assert_eq!(world.subjects().await, ["hub exchange comparisons"]);
    world.chain.mine(3);
    world.round().await;
    assert_eq!(world.subjects().await, [""; 0]);
}

#[tokio::test]
async fn a_checkpoint_is_final_no_more_when_its_successor_was_never_there() {
    let world = World::new(busy()).await;
    world.eon(1, &[deposit(ALICE, 100)]);
    world.eon(2, &[]);
    world.round().await;
    assert_eq!(world.standings().await, [(1, Final), (2, Provisional)]);
    world
        .store
        .execute(
            "INSERT INTO hub_checkpoint (hub_id, eon, root, standing, block_number, block_hash, block_timestamp, log_index, tx_hash, created_at, \
             updated_at) SELECT hub_id, 3, root, 'provisional', block_number + 20, block_hash, block_timestamp, 77, tx_hash, created_at, updated_at \
             FROM hub_checkpoint WHERE eon = 2",
        )
        .await;
    world
        .store
        .execute("UPDATE hub_checkpoint SET standing = 'final' WHERE eon = 2")
        .await;
    world.chain.mine(4);
    world.round().await;
    world.round().await;
    assert_eq!(world.standings().await, [(1, Final), (2, Provisional)]);
    assert_eq!(world.store.events("hub_reread").await, ["0 restored, 1 orphaned"]);
}

#[tokio::test]
async fn a_request_that_was_left_out_is_looked_for_until_it_is_found() {
    let world = World::new(busy()).await;
    world.eon(1, &[deposit(ALICE, 100)]);
    world.round().await;
    world.chain.act(&[Act::Submit(root(2))]);
    let hidden = world.chain.act(&[Act::Request(TOKEN, ALICE, 30)]);
    world.chain.hide(hidden);
    world.chain.finish_eon();
    for n in 3..=8 {
        world.round().await;
        world.eon(n, &[]);
    }
    assert_eq!(world.operations().await.len(), 1);
    let subjects = world.subjects().await;
    assert!(
        subjects.contains(&format!("hub exchange pending withdrawals of {TOKEN:#x}")),
        "{subjects:?}"
    );
    world.chain.show_all();
    for n in 9..=12 {
        world.eon(n, &[]);
        world.round().await;
    }
    assert_eq!(world.operations().await.len(), 2);
    assert_eq!(world.subjects().await, [""; 0]);
    assert_eq!(world.hub().await.base.unwrap().1[2], world.chain.accumulator(Eon(2)));
}
