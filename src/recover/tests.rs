#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gate;
mod world;

use super::RecoverError;
use crate::chain::ChainError;
use crate::chain::model::ModelChain;
use crate::error::Coded;
use crate::settlement::SettlementId;
use crate::store::testing::{self as fixtures, OUTBOX, PAYEE, PAYER, SOURCE, TARGET};
use crate::store::{Intent, IntentKind, NewAttempt, NewSettlement, NewTx, TxChange};
use alloy::primitives::{Address, B256, U256};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use relayer_adapter_api::{Body, SealedMessage};
use world::{DEPOSIT, World, settlement};

async fn why_shut(world: &World, chain: &ModelChain) -> Option<String> {
    match world.gate(chain).check().await {
        Ok(()) => None,
        Err(error @ ChainError::RecoveryNeeded { .. }) => {
            assert_eq!(error.code().code, "RLY-RECOVER-001");
            Some(error.to_string())
        }
        Err(other) => panic!("{other}"),
    }
}

fn ids(news: &[&NewSettlement]) -> Vec<SettlementId> {
    news.iter().map(|new| new.id).collect()
}

// ---- an empty database

#[tokio::test]
async fn what_was_paid_ends_settled_when_it_is_submitted_again_and_nothing_is_reserved() {
    let world = World::new().await;
    let (paid, also) = (settlement(0), settlement(1));
    let message = world.sealed(&ids(&[&paid, &also]));
    world.dispatch(&message, "alpha").await;
    world.deliver(&message, "alpha").await;
    world.pay(&message, &[&paid, &also]).await;
    world.recover().await;
    world.settle().await;
    assert_eq!(world.message_state(&message).await, "executed");
    for new in [&paid, &also] {
        let settlement = world.submit(new).await;
        assert_eq!(settlement.state.as_str(), "settled");
        assert!(settlement.evidence.is_some());
        assert_eq!(world.submit(new).await.state.as_str(), "settled", "and once more");
    }
    assert_eq!(fixtures::reserved(world.store(), PAYER).await, 0);
    assert_eq!(fixtures::available(world.store(), PAYER).await, DEPOSIT - 203);
    assert_eq!(fixtures::paid(world.store(), PAYEE).await, 201);
    assert_eq!(fixtures::income(world.store()).await, 2);
    world.settle().await;
    world.assert_agreed().await;
}

#[tokio::test]
async fn what_is_on_its_way_joins_its_message_and_is_batched_no_second_time() {
    let world = World::new().await;
    let (one, other) = (settlement(0), settlement(1));
    let message = world.sealed(&ids(&[&one, &other]));
    world.dispatch(&message, "alpha").await;
    let report = world.recover().await;
    assert_eq!(report.awaited, 2);
    assert_eq!((report.chains[0].messages, report.chains[0].leaves), (1, 2));
    assert_eq!(world.dispatches(message.id()).await, ["alpha finalized pending"]);
    world.settle().await;
    assert_eq!(world.submit(&one).await.state.as_str(), "dispatched");
    world.deliver(&message, "alpha").await;
    world.settle().await;
    assert_eq!(world.message_state(&message).await, "received");
    assert_eq!(world.state(&one).await, "delivered");
    assert_eq!(world.submit(&other).await.state.as_str(), "delivered");
    assert!(world.batchable().await.is_empty());
    world.pay(&message, &[&one, &other]).await;
    world.settle().await;
    for new in [&one, &other] {
        assert_eq!(world.state(new).await, "settled");
    }
    assert_eq!(world.message_state(&message).await, "executed");
    world.assert_agreed().await;
}

#[tokio::test]
async fn what_never_left_is_batched_as_on_the_first_day() {
    let world = World::new().await;
    let sent = settlement(0);
    world.dispatch(&world.sealed(&[sent.id]), "alpha").await;
    world.recover().await;
    world.settle().await;
    let lost = settlement(1);
    assert_eq!(world.submit(&lost).await.state.as_str(), "accepted");
    assert_eq!(world.batchable().await, [lost.id]);
    let next = world
        .db
        .store
        .begin(1)
        .await
        .unwrap()
        .next_sequence(OUTBOX, TARGET, 1)
        .await;
    assert_eq!(next.unwrap(), 2, "above the highest the chain has seen");
}

#[tokio::test]
async fn submitted_before_the_recovery_or_after_it_is_the_same() {
    let world = World::new().await;
    let (paid, sent, lost) = (settlement(0), settlement(1), settlement(2));
    let message = world.sealed(&ids(&[&paid, &sent]));
    world.dispatch(&message, "alpha").await;
    world.deliver(&message, "alpha").await;
    world.pay(&message, &[&paid]).await;
    world.settle().await;
    for new in [&paid, &sent, &lost] {
        world.submit(new).await;
    }
    assert_eq!(world.state(&paid).await, "settled");
    let report = world.recover().await;
    assert_eq!(report.chains[0].attached, 1);
    world.settle().await;
    assert_eq!(world.state(&sent).await, "delivered");
    assert_eq!(world.batchable().await, [lost.id]);
    world.assert_agreed().await;
}

#[tokio::test]
async fn a_settlement_that_needs_two_families_counts_the_votes_again() {
    let world = World::new().await;
    let mut one = settlement(0);
    one.tier = 2;
    let message = world.sealed(&[one.id]);
    world.dispatch(&message, "alpha").await;
    world.deliver(&message, "alpha").await;
    world.recover().await;
    world.settle().await;
    assert_eq!(world.message_state(&message).await, "received");
    world.submit(&one).await;
    world.settle().await;
    assert_eq!(world.message_state(&message).await, "sealed", "one vote is not two");
    assert_eq!(world.state(&one).await, "dispatched");
}

#[tokio::test]
async fn a_second_message_of_the_same_settlements_overtakes_the_first() {
    let world = World::new().await;
    let (one, other) = (settlement(0), settlement(1));
    let first = world.sealed(&ids(&[&one, &other]));
    let second = world.sealed(&ids(&[&one, &other]));
    world.dispatch(&first, "alpha").await;
    world.dispatch(&second, "beta").await;
    let report = world.recover().await;
    assert_eq!(report.chains[0].overtaken, 1);
    assert_eq!(world.message_state(&first).await, "abandoned");
    world.settle().await;
    world.submit(&one).await;
    assert!(world.batchable().await.is_empty());
    let open = world
        .store()
        .begin(1)
        .await
        .unwrap()
        .open_leaves(second.id())
        .await
        .unwrap();
    assert_eq!(open.len(), 2);
}

// ---- a restored copy

#[tokio::test]
async fn a_copy_learns_what_left_after_it_was_made() {
    let world = World::new().await;
    world.settle().await;
    let (waiting, sealed, later) = (settlement(0), settlement(1), settlement(2));
    world.submit(&waiting).await;
    world.submit(&sealed).await;
    let unsent = world.seal(&[sealed.id]).await;
    // After the copy: the sealed one is sent, the waiting one with another that the copy does not know, which is paid.
    world.dispatch(&unsent, "alpha").await;
    let mixed = world.sealed(&ids(&[&waiting, &later]));
    world.dispatch(&mixed, "alpha").await;
    world.deliver(&mixed, "alpha").await;
    world.pay(&mixed, &[&later]).await;
    let report = world.recover().await;
    assert_eq!(report.chains[0].messages, 1);
    assert_eq!(report.chains[0].dispatches, 2);
    assert_eq!(report.chains[0].attached, 1);
    world.settle().await;
    assert_eq!(world.state(&sealed).await, "dispatched");
    assert_eq!(world.state(&waiting).await, "delivered");
    assert_eq!(world.submit(&later).await.state.as_str(), "settled");
    assert!(world.batchable().await.is_empty());
    world.assert_agreed().await;
}

#[tokio::test]
async fn a_message_that_was_given_up_after_the_copy_is_given_up_again() {
    let world = World::new().await;
    world.settle().await;
    let (one, other) = (settlement(0), settlement(1));
    world.submit(&one).await;
    world.submit(&other).await;
    let never_sent = world.seal(&ids(&[&one, &other])).await;
    // After the copy it was given up before it was sent, and its settlements were batched again, with one left over.
    let instead = world.sealed(&[one.id]);
    world.dispatch(&instead, "alpha").await;
    let report = world.recover().await;
    assert_eq!(report.chains[0].overtaken, 1);
    assert_eq!(world.message_state(&never_sent).await, "abandoned");
    assert_eq!(world.state(&one).await, "dispatched");
    assert_eq!(world.batchable().await, [other.id]);
}

#[tokio::test]
async fn a_number_taken_twice_names_two_messages() {
    let world = World::new().await;
    world.settle().await;
    let (one, other) = (settlement(0), settlement(1));
    world.submit(&one).await;
    // Sealed by a copy that ran without being recovered, with the number the chain knows for another.
    let foreign = world.sealed(&[other.id]);
    fixtures::seal(world.store(), &[one.id]).await;
    world.dispatch(&foreign, "alpha").await;
    let report = world.recover().await;
    assert_eq!(report.chains[0].messages, 1);
    let stored = world.store().get_message(foreign.id()).await.unwrap();
    assert_eq!(stored.header, foreign.header);
}

/// A transaction the copy has stored and never sent.
async fn prepared(world: &World, chain: &ModelChain, nonce: u64, intent: &str) -> crate::store::TxId {
    let lease = world
        .store()
        .acquire_signer_lease(SOURCE, world.signer(), "old", 60_000)
        .await;
    let lease = lease.unwrap().unwrap();
    let mut txn = world.store().begin(1).await.unwrap();
    let new = NewTx {
        chain: crate::chain::Chain::id(chain),
        signer: world.signer(),
        nonce,
        intent: Intent::new(IntentKind::Dispatch, intent),
        to: Address::ZERO,
        value: U256::ZERO,
        data: vec![].into(),
        gas_limit: 21_000,
        token: lease.token,
    };
    let attempt = NewAttempt {
        hash: B256::from(U256::from(nonce + 1)),
        raw: vec![1].into(),
        max_fee: 1,
        max_priority_fee: 1,
    };
    let id = txn.insert_tx(new, attempt).await.unwrap();
    txn.commit().await.unwrap();
    id
}

#[tokio::test]
async fn a_stored_transaction_whose_nonce_is_taken_is_forgotten_and_old_leases_write_nothing() {
    let world = World::new().await;
    world.settle().await;
    let old = world
        .store()
        .acquire_signer_lease(SOURCE, world.signer(), "old", 60_000)
        .await;
    let old = old.unwrap().unwrap();
    let taken = prepared(&world, &world.source, 0, "1:0").await;
    let free = prepared(&world, &world.source, 5, "2:0").await;
    world.dispatch(&world.sealed(&[settlement(0).id]), "alpha").await;
    let report = world.recover().await;
    assert_eq!(report.chains[0].forgotten, 1);
    let state = async |id| world.store().get_tx(id).await.unwrap().state.to_string();
    assert_eq!(
        (state(taken).await, state(free).await),
        ("cancelled".into(), "prepared".into())
    );
    assert_eq!(world.store().find_nonce_base(SOURCE, world.signer()).await.unwrap(), 1);
    let txn = world.store().begin(1).await.unwrap();
    assert!(txn.check_signer_lease(SOURCE, world.signer(), old.token).await.is_err());
    drop(txn);
    let new = world
        .store()
        .acquire_signer_lease(SOURCE, world.signer(), "new", 60_000)
        .await;
    assert!(new.unwrap().unwrap().token > old.token);
}

#[tokio::test]
async fn nothing_is_taken_over_while_transactions_of_the_key_wait_in_a_pool() {
    let world = World::new().await;
    let message = world.sealed(&[settlement(0).id]);
    world.dispatch(&message, "alpha").await;
    let late = world.sealed(&[settlement(1).id]);
    world
        .post(&world.source, OUTBOX, World::dispatch_data(&late, "alpha"))
        .await;
    let error = world.try_recover().await.unwrap_err();
    assert!(
        matches!(
            error,
            RecoverError::Busy {
                settled: 1,
                counted: 2,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(error.code().code, "RLY-RECOVER-005");
    assert!(why_shut(&world, &world.source).await.is_some());
    world.source.mine(1);
    let report = world.recover().await;
    assert_eq!(
        report.chains[0].messages, 1,
        "the one that waited; the other was adopted before"
    );
    assert!(world.store().find_message(late.id()).await.unwrap().is_some());
}

#[tokio::test]
async fn calldata_nobody_has_is_no_recovery_unless_it_is_accepted() {
    let world = World::new().await;
    let mut message = world.sealed(&ids(&[&settlement(0), &settlement(1)]));
    // The outbox of the model does not look; no calldata gives these leaves.
    message.body = Body::Batch { ids: Vec::new() };
    // Over two bridges it is still one message that nobody can read.
    world.dispatch(&message, "alpha").await;
    world.dispatch(&message, "beta").await;
    let error = world.try_recover().await.unwrap_err();
    assert_eq!(error.code().code, "RLY-RECOVER-006");
    assert!(why_shut(&world, &world.source).await.is_some());
    let how = super::Standing {
        wait: std::time::Duration::ZERO,
        accept_unreadable: true,
    };
    let report = world
        .recovery()
        .run(how, &world::FrozenClock, &|_, _| {})
        .await
        .unwrap();
    assert_eq!(report.chains[0].unreadable, [message.id().to_string()]);
    assert_eq!(why_shut(&world, &world.source).await, None, "that was accepted");
    let second = world.sealed(&[settlement(7).id]);
    world.dispatch(&second, "alpha").await;
    world.observe().await;
    let txn = world.store().begin(1).await.unwrap();
    txn.adopt_nonces(SOURCE, world.signer(), 3).await.unwrap();
    txn.commit().await.unwrap();
    assert!(why_shut(&world, &world.source).await.is_some(), "and no other");
}

#[tokio::test]
async fn logs_an_endpoint_left_out_are_no_recovery() {
    let world = World::new().await;
    world.dispatch(&world.sealed(&[settlement(0).id]), "alpha").await;
    world.leave_out_an_arrival();
    let error = world.try_recover().await.unwrap_err();
    assert_eq!(error.code().code, "RLY-RECOVER-007");
    assert!(error.to_string().contains("counts 1 arrivals"), "{error}");
    assert!(why_shut(&world, &world.target).await.is_some());
    assert_eq!(why_shut(&world, &world.source).await, None, "the other is whole");
}

#[tokio::test]
async fn a_chain_that_cannot_be_asked_keeps_no_other_shut() {
    let world = World::new().await;
    world.dispatch(&world.sealed(&[settlement(0).id]), "alpha").await;
    world.target.set_dark(true);
    world.try_recover().await.unwrap_err();
    assert_eq!(why_shut(&world, &world.source).await, None);
    world.target.set_dark(false);
    assert!(why_shut(&world, &world.target).await.unwrap().contains("is due"));
    world.recover().await;
    assert_eq!(why_shut(&world, &world.target).await, None);
}

#[tokio::test]
async fn a_number_nobody_gives_is_adopted_and_leaves_numbers_to_those_after_it() {
    let world = World::new().await;
    let mut message = world.sealed(&[settlement(0).id]);
    for sequence in [u64::MAX, i64::MAX as u64] {
        message.header.sequence = sequence;
        world.dispatch(&message, "alpha").await;
    }
    let report = world.recover().await;
    assert_eq!(report.chains[0].messages, 2);
    let next = world
        .store()
        .begin(1)
        .await
        .unwrap()
        .next_sequence(OUTBOX, TARGET, 1)
        .await;
    assert_eq!(next.unwrap(), 1);
}

#[tokio::test]
async fn transactions_of_this_database_that_wait_in_a_pool_are_nobody_else_s() {
    let world = World::new().await;
    world.settle().await;
    let known = prepared(&world, &world.source, 0, "1:0").await;
    world
        .post(
            &world.source,
            OUTBOX,
            World::dispatch_data(&world.sealed(&[settlement(0).id]), "alpha"),
        )
        .await;
    assert!(
        matches!(world.try_recover().await, Err(RecoverError::Busy { .. })),
        "it was never sent"
    );
    let row = world.store().get_tx(known).await.unwrap();
    let mut txn = world.store().begin(1).await.unwrap();
    txn.tx_apply(&row, TxChange::Submit, "test").await.unwrap();
    txn.commit().await.unwrap();
    world.recover().await;
    assert_eq!(why_shut(&world, &world.source).await, None);
}

#[tokio::test]
async fn old_watch_cursors_do_not_take_new_events_for_those_that_are_lost() {
    let world = World::new().await;
    world.settle().await;
    let before = world.store().newest_seq().await.unwrap();
    world.dispatch(&world.sealed(&[settlement(0).id]), "alpha").await;
    world.recover().await;
    let oldest = world.store().oldest_cursor().await.unwrap();
    assert!(oldest > before + 1_000_000_000, "{oldest}");
    assert!(
        world.store().newest_seq().await.unwrap() > oldest,
        "what recovery says can be watched"
    );
}

// ---- any history

/// What the earlier life did before (stored) and after the copy was made.
struct History {
    settlements: Vec<NewSettlement>,
    /// Message, bridges it left over, delivered, members paid.
    messages: Vec<(SealedMessage, Vec<&'static str>, bool, Vec<usize>)>,
}

async fn live(world: &World, rng: &mut StdRng) -> History {
    let settlements: Vec<NewSettlement> = (0..rng.random_range(1..14)).map(settlement).collect();
    let known = rng.random_range(0..=settlements.len());
    if rng.random_bool(0.7) {
        world.settle().await;
        for new in &settlements[..known] {
            world.submit(new).await;
        }
    }
    let mut waiting: Vec<usize> = (0..settlements.len()).collect();
    waiting.shuffle(rng);
    let mut messages = Vec::new();
    while !waiting.is_empty() && rng.random_bool(0.85) {
        let count = rng.random_range(1..=waiting.len());
        let members: Vec<usize> = waiting.drain(..count).collect();
        let ids: Vec<SettlementId> = members.iter().map(|index| settlements[*index].id).collect();
        let stored = world.store().list_settlements_by_id(&ids).await.unwrap().len() == ids.len();
        let message = if stored && messages.is_empty() && rng.random_bool(0.5) {
            world.seal(&ids).await
        } else {
            world.sealed(&ids)
        };
        let bridges: Vec<&str> = match rng.random_range(0..4) {
            0 => vec![],
            1 => vec!["alpha"],
            2 => vec!["beta"],
            _ => vec!["alpha", "beta"],
        };
        for bridge in &bridges {
            world.dispatch(&message, bridge).await;
        }
        let delivered = !bridges.is_empty() && rng.random_bool(0.7);
        let mut paid = Vec::new();
        if delivered {
            world.deliver(&message, bridges[0]).await;
            let some = rng.random_range(0..=members.len());
            let mut left = members[..some].to_vec();
            paid = left.clone();
            while !left.is_empty() {
                let run: Vec<usize> = left.drain(..rng.random_range(1..=left.len())).collect();
                let run: Vec<&NewSettlement> = run.iter().map(|index| &settlements[*index]).collect();
                world.pay(&message, &run).await;
            }
        }
        if bridges.is_empty() && rng.random_bool(0.5) {
            // Given up unsent, and batched again.
            waiting.extend(members);
        }
        messages.push((message, bridges, delivered, paid));
    }
    History { settlements, messages }
}

#[tokio::test]
async fn any_history_is_recovered_from_any_copy() {
    for seed in 0..u64::from(fixtures::cases(30)) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::new().await;
        let history = live(&world, &mut rng).await;
        if rng.random_bool(0.3) {
            world.lose_database().await;
        }
        let mut again: Vec<&NewSettlement> = history.settlements.iter().collect();
        again.shuffle(&mut rng);
        let early = rng.random_range(0..=again.len());
        if rng.random_bool(0.5) {
            world.settle().await;
            for new in &again[..early] {
                world.submit(new).await;
            }
        }
        for _ in 0..rng.random_range(1..3) {
            world.recover().await;
        }
        world.settle().await;
        for new in &again {
            world.submit(new).await;
        }
        world.settle().await;
        world.assert_agreed().await;

        let batchable = world.batchable().await;
        for (index, new) in history.settlements.iter().enumerate() {
            let state = world.state(new).await;
            let carried = history
                .messages
                .iter()
                .filter(|(message, bridges, ..)| message.ids().contains(&new.id) && !bridges.is_empty());
            let carried: Vec<_> = carried.collect();
            let paid = carried.iter().any(|(.., paid)| paid.contains(&index));
            assert_eq!(state == "settled", paid, "seed {seed}: {} is {state}", new.id);
            let expected = match carried.last() {
                _ if paid => vec!["settled"],
                Some((_, _, true, _)) => vec!["delivered"],
                Some(_) => vec!["dispatched"],
                // In a message that was sealed and kept, or in none.
                None => vec!["accepted", "batched"],
            };
            assert!(
                expected.contains(&state.as_str()),
                "seed {seed}: {} is {state}, not {expected:?}",
                new.id
            );
            assert_eq!(batchable.contains(&new.id), state == "accepted", "seed {seed}");
            let carriers = world.store().count_carriers(new.id).await.unwrap();
            assert!(
                carriers <= 1,
                "seed {seed}: {} is in {carriers} messages that go on",
                new.id
            );
        }
    }
}
