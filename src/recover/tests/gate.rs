//! What shuts the gate before a chain, and what does not.

use super::why_shut;
use super::world::{World, settlement};
use crate::error::Coded;
use crate::store::testing::{SOURCE, TARGET};

#[tokio::test]
async fn a_first_start_on_fresh_contracts_is_free_to_send() {
    let world = World::new().await;
    world.observe().await;
    assert_eq!(why_shut(&world, &world.source).await, None);
    // The key was used for something else before: for the deposit, here.
    assert_eq!(why_shut(&world, &world.target).await, None);
}

#[tokio::test]
async fn messages_that_came_in_before_anything_was_sent_from_a_chain_keep_no_later_process_from_it() {
    let world = World::new().await;
    world.settle().await;
    assert_eq!(why_shut(&world, &world.source).await, None);
    // Its key was used for the deposit, and nothing is sent with it before the process ends.
    assert_eq!(why_shut(&world, &world.target).await, None);
    let one = settlement(0);
    world.submit(&one).await;
    let message = world.seal(&[one.id]).await;
    world.deliver(&message, "alpha").await;
    world.settle().await;
    assert_eq!(why_shut(&world, &world.target).await, None);
}

#[tokio::test]
async fn messages_this_database_sealed_are_no_sign_of_another_life_of_their_target() {
    let world = World::new().await;
    let one = settlement(0);
    world.settle().await;
    world.submit(&one).await;
    let message = world.seal(&[one.id]).await;
    world.deliver(&message, "alpha").await;
    let gate = world.gate_of(&world.target, Vec::new());
    assert!(gate.check().await.is_ok(), "the target could not be asked before");
}

#[tokio::test]
async fn a_recovered_database_stays_in_step_with_a_chain_it_has_sent_nothing_on() {
    let mut world = World::new().await;
    let message = world.sealed(&[settlement(0).id]);
    world.deliver(&message, "alpha").await;
    world.lose_database().await;
    let shut = world.gate_of(&world.target, Vec::new());
    assert!(shut.check().await.is_err());
    world.recover().await;
    for _ in 0..2 {
        assert!(world.gate_of(&world.target, Vec::new()).check().await.is_ok());
    }
}

#[tokio::test]
async fn an_empty_database_over_contracts_with_a_history_sends_nothing_until_recovered() {
    let world = World::new().await;
    let one = settlement(0);
    let message = world.sealed(&[one.id]);
    world.dispatch(&message, "alpha").await;
    world.deliver(&message, "alpha").await;
    for chain in [&world.source, &world.target] {
        assert!(
            why_shut(&world, chain)
                .await
                .unwrap()
                .contains("have carried 1 messages")
        );
    }
    // Having read everything since is no recovery, and neither is another start.
    world.settle().await;
    assert!(why_shut(&world, &world.source).await.unwrap().contains("is due"));
    world.recover().await;
    for chain in [&world.source, &world.target] {
        assert_eq!(why_shut(&world, chain).await, None);
    }
}

#[tokio::test]
async fn a_running_gate_opens_when_somebody_has_recovered() {
    let world = World::new().await;
    world.dispatch(&world.sealed(&[settlement(0).id]), "alpha").await;
    world.observe().await;
    let gate = world.gate(&world.source);
    assert!(gate.check().await.is_err());
    world.recover().await;
    // Its clock stands still, so that only another gate looks again.
    assert!(gate.check().await.is_err());
    assert_eq!(why_shut(&world, &world.source).await, None);
}

#[tokio::test]
async fn a_restored_database_sends_nothing_while_its_signer_is_ahead() {
    let world = World::new().await;
    world.settle().await;
    let known = settlement(0);
    world.submit(&known).await;
    let message = world.seal(&[known.id]).await;
    // Sent after the copy was made.
    world.dispatch(&message, "alpha").await;
    let txn = world.store().begin(1).await.unwrap();
    txn.adopt_nonces(TARGET, world.signer(), 1).await.unwrap();
    txn.commit().await.unwrap();
    world.observe().await;
    let why = why_shut(&world, &world.source).await.unwrap();
    assert!(why.contains("has sent 1 transactions"), "{why}");
    assert_eq!(
        why_shut(&world, &world.target).await,
        None,
        "no other chain waits for it"
    );
}

#[tokio::test]
async fn a_batch_nobody_knows_shuts_the_gate_even_with_a_new_key() {
    let world = World::new().await;
    world.settle().await;
    let (known, lost) = (settlement(0), settlement(1));
    world.submit(&known).await;
    let message = world.seal(&[known.id]).await;
    world.dispatch(&message, "alpha").await;
    world.dispatch(&world.sealed(&[lost.id]), "alpha").await;
    let txn = world.store().begin(1).await.unwrap();
    txn.adopt_nonces(SOURCE, world.signer(), 2).await.unwrap();
    txn.commit().await.unwrap();
    let gate = world.gate(&world.source);
    let error = gate.check().await.unwrap_err();
    assert_eq!(error.code().code, "RLY-RECOVER-002", "its logs have not been read");
    world.observe().await;
    let why = why_shut(&world, &world.source).await.unwrap();
    assert!(why.contains("1 batches"), "{why}");
}

#[tokio::test]
async fn a_recovery_that_was_cut_off_leaves_the_gate_shut() {
    let world = World::new().await;
    world.observe().await;
    let mut txn = world.store().begin(1).await.unwrap();
    assert!(txn.begin_recovery(SOURCE, "test").await.unwrap());
    assert!(!txn.begin_recovery(SOURCE, "test").await.unwrap());
    txn.commit().await.unwrap();
    assert!(why_shut(&world, &world.source).await.is_some());
    world.recover().await;
    assert_eq!(why_shut(&world, &world.source).await, None);
}
