//! When a hub stands still, and what it may promise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::store::{Halt, HaltReason};
use HaltReason::{LiveChallenge, MissedCheckpoint};
use alloy::primitives::U256;
use judge::{Standing, judge, needs_final};

fn standing(missed: bool, challenged: bool) -> Standing {
    Standing {
        eon: Eon(4),
        missed,
        challenged,
    }
}

fn halt(reason: HaltReason, is_final: bool) -> Halt {
    Halt {
        reason,
        eon: Eon(3),
        since_ms: 5,
        is_final,
    }
}

#[test]
fn bad_news_counts_at_the_head_and_good_news_when_it_is_final() {
    let (sound, missed, challenged) = (standing(false, false), standing(true, false), standing(false, true));
    let check = |seen: Standing, finalized: Standing, was: Option<Halt>, expected: Option<(HaltReason, bool)>| {
        let found = judge(&seen, Some(&finalized), was.as_ref(), 9);
        assert_eq!(
            found.map(|halt| (halt.reason, halt.is_final)),
            expected,
            "{seen:?} {finalized:?} {was:?}"
        );
        found
    };
    check(sound, sound, None, None);
    check(missed, sound, None, Some((MissedCheckpoint, false)));
    check(missed, missed, None, Some((MissedCheckpoint, true)));
    check(challenged, sound, None, Some((LiveChallenge, false)));
    // Answered, but not finally.
    check(
        sound,
        challenged,
        Some(halt(LiveChallenge, true)),
        Some((LiveChallenge, true)),
    );
    check(sound, sound, Some(halt(LiveChallenge, true)), None);
    // A miss that is not final may go away with a reorg, a final one never.
    check(sound, sound, Some(halt(MissedCheckpoint, false)), None);
    check(
        sound,
        sound,
        Some(halt(MissedCheckpoint, true)),
        Some((MissedCheckpoint, true)),
    );
    // A challenge that nobody answers becomes a missed checkpoint.
    check(
        standing(true, true),
        challenged,
        Some(halt(LiveChallenge, true)),
        Some((MissedCheckpoint, false)),
    );
    let going_on = check(
        challenged,
        challenged,
        Some(halt(LiveChallenge, false)),
        Some((LiveChallenge, true)),
    );
    assert_eq!((going_on.unwrap().since_ms, going_on.unwrap().eon), (5, Eon(3)));
    let fresh = judge(&challenged, None, None, 9).unwrap();
    assert_eq!((fresh.since_ms, fresh.eon), (9, Eon(4)));
    assert!(!needs_final(&sound, None) && needs_final(&missed, None));
    assert!(needs_final(&sound, Some(&halt(LiveChallenge, true))));
}

async fn halted(world: &World) -> Option<(HaltReason, bool)> {
    let halted = world.hub().await.halted;
    halted.map(|halt| (halt.reason, halt.is_final))
}

#[tokio::test]
async fn a_missed_checkpoint_halts_for_ever_once_it_is_final() {
    let world = World::new(HubChain::new(5, 20, 3)).await;
    world.eon(1, &[]);
    world.round().await;
    assert_eq!(halted(&world).await, None);
    // Eon 2 ends without one. While that is not final, a reorg may still bring it.
    world.chain.finish_eon();
    world.chain.mine(1);
    world.round().await;
    assert_eq!(halted(&world).await, Some((MissedCheckpoint, false)));
    world.chain.fork(2);
    world.chain.act(&[Act::Submit(root(2))]);
    world.chain.mine(4);
    world.round().await;
    assert_eq!(halted(&world).await, None);
    assert_eq!(world.standings().await[1].0, 2);
    world.chain.finish_eon();
    world.chain.mine(4);
    world.round().await;
    assert_eq!(halted(&world).await, Some((MissedCheckpoint, true)));
    world.chain.act(&[Act::Submit(root(4))]);
    world.chain.mine(4);
    world.round().await;
    assert_eq!(halted(&world).await, Some((MissedCheckpoint, true)));
    let events = world.store.events("hub_halted").await;
    assert_eq!(events, ["missed_checkpoint", "missed_checkpoint"]);
}

#[tokio::test]
async fn a_live_challenge_halts_until_its_answer_is_final() {
    let world = World::new(HubChain::new(5, 20, 3)).await;
    world.eon(1, &[]);
    world.chain.act(&[Act::Submit(root(2))]);
    world.round().await;
    assert_eq!(halted(&world).await, None);
    world.chain.act(&[Act::Challenge(TOKEN, ALICE)]);
    world.round().await;
    assert_eq!(halted(&world).await, Some((LiveChallenge, false)));
    world.chain.mine(3);
    world.round().await;
    assert_eq!(halted(&world).await, Some((LiveChallenge, true)));
    world.chain.act(&[Act::Answer(TOKEN, ALICE)]);
    world.round().await;
    assert_eq!(
        halted(&world).await,
        Some((LiveChallenge, true)),
        "the answer is not final"
    );
    world.chain.mine(3);
    world.round().await;
    assert_eq!(halted(&world).await, None);
    assert_eq!(world.store.events("hub_resumed").await, [""]);
}

#[tokio::test]
async fn a_checkpoint_that_promises_more_than_there_is_is_refused() {
    let world = World::new(HubChain::new(5, 20, 3)).await;
    world.eon(1, &[deposit(ALICE, 100), deposit(BOB, 50)]);
    world.eon(2, &[Act::Request(TOKEN, ALICE, 40)]);
    world.eon(3, &[deposit(BOB, 5)]);
    world.eon(4, &[]);
    world.round().await;
    let checkpoints = world.checkpoints().await;
    let put = async |eon: usize, amount: u64| {
        let mut txn = world.store.begin(1).await.unwrap();
        txn.put_hub_bound(checkpoints[eon - 1].id, TOKEN, U256::from(amount))
            .await
            .unwrap();
        txn.commit().await.unwrap();
    };
    // At the end of eon 2: 150 in the contract, 40 of them asked for.
    put(3, 110).await;
    world.chain.act(&[Act::Submit(root(5))]);
    world.round().await;
    let bounds = world.store.list_hub_bounds(checkpoints[2].id).await.unwrap();
    assert_eq!(bounds[0].solvent, Some(true));
    assert_eq!(world.subjects().await, [""; 0]);
    put(2, 151).await;
    world.chain.mine(1);
    world.round().await;
    let refused: Vec<_> = world.checkpoints().await.into_iter().map(|row| row.refused).collect();
    assert_eq!(refused, [None, Some("RLY-HUB-008".to_owned()), None, None, None]);
    assert_eq!(
        world.subjects().await,
        [format!("hub exchange checkpoint 2 upper bound of {TOKEN:#x}")]
    );
    // Coins that left behind the contract's back: its own sum fails or shrinks.
    put(4, 110).await;
    world.chain.act(&[Act::Steal(TOKEN, 20)]);
    world.chain.mine(4);
    world.round().await;
    assert_eq!(world.checkpoints().await[3].refused.as_deref(), Some("RLY-HUB-008"));
}

async fn put_bound(world: &World, eon: usize, token: Address, amount: u64) {
    let checkpoints = world.checkpoints().await;
    let mut txn = world.store.begin(1).await.unwrap();
    txn.put_hub_bound(checkpoints[eon - 1].id, token, U256::from(amount))
        .await
        .unwrap();
    txn.commit().await.unwrap();
}

async fn refused(world: &World, eon: usize) -> bool {
    world.checkpoints().await[eon - 1].refused.is_some()
}

#[tokio::test]
async fn requests_of_eons_long_past_are_pending_still() {
    let world = World::new(HubChain::new(5, 20, 3)).await;
    world.eon(1, &[deposit(ALICE, 100)]);
    world.eon(2, &[Act::Request(TOKEN, ALICE, 40)]);
    world.eon(3, &[]);
    world.eon(4, &[]);
    world.round().await;
    // Asked for in eon 2 and not paid in eon 3, in which nobody asked for anything.
    put_bound(&world, 4, TOKEN, 61).await;
    put_bound(&world, 3, TOKEN, 60).await;
    world.chain.act(&[Act::Submit(root(5))]);
    world.chain.mine(4);
    world.round().await;
    assert!(refused(&world, 4).await);
    assert!(!refused(&world, 3).await);
}

#[tokio::test]
async fn a_slot_that_a_later_eon_took_is_not_what_the_earlier_one_had() {
    let world = World::new(HubChain::new(5, 20, 3)).await;
    world.eon(1, &[deposit(ALICE, 100)]);
    world.eon(2, &[Act::Request(TOKEN, ALICE, 40)]);
    for n in 3..=6 {
        world.eon(n, &[]);
    }
    world.round().await;
    // Eon 7 takes the slot of eon 2, whose total was that of eon 6 as well.
    world.eon(7, &[Act::Request(TOKEN, ALICE, 10)]);
    world.round().await;
    put_bound(&world, 7, TOKEN, 60).await;
    put_bound(&world, 6, TOKEN, 61).await;
    world.chain.act(&[Act::Submit(root(8))]);
    world.chain.mine(4);
    world.round().await;
    assert!(refused(&world, 6).await);
    assert!(!refused(&world, 7).await);
    let bounds = world.store.list_hub_bounds(world.checkpoints().await[6].id).await;
    assert_eq!(bounds.unwrap()[0].solvent, Some(true));
}

#[tokio::test]
async fn a_token_that_does_not_answer_is_refused_and_hides_nothing_else() {
    let world = World::new(HubChain::new(5, 20, 3)).await;
    world.eon(1, &[deposit(ALICE, 100), Act::Break(TOKEN)]);
    world.chain.hide(world.chain.head_number() - 1);
    world.eon(2, &[]);
    world.round().await;
    put_bound(&world, 2, TOKEN, 1).await;
    world.chain.act(&[Act::Submit(root(3)), Act::Cancel(TOKEN, ALICE, 1)]);
    world.chain.mine(4);
    world.round().await;
    assert!(refused(&world, 2).await);
    let subjects = world.subjects().await;
    assert!(
        subjects.iter().any(|subject| subject.contains("accumulator slot 3")),
        "{subjects:?}"
    );
}
