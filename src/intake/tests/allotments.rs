//! Settlements that show their payer's allotment at a hub.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::world::*;
use super::*;
use crate::batcher::{BatchRule, Batcher, BatcherParams};
use crate::hub::model::{Account, AccountTreeBuilder, Allotment, Checkpoint, Eon, TokenCommitment};
use crate::stage::Stage;
use crate::store::testing::{self as fixtures, OUTBOX, SOURCE, TARGET};
use crate::store::{Cursor, Halt, HaltReason, HubFact, HubId, NewHub, NewHubLog, Reliance, StoreError};
use relayer_adapter_api::BlockRef;

const HUB: Address = Address::repeat_byte(0x4b);
/// What the hub calls the token.
const COIN: Address = Address::repeat_byte(0xc0);
const NEEDED: u64 = 4_200_007;

/// The payer is allotted this much of both tokens the hub knows, after somebody else.
fn checkpoint(amount: u64) -> Checkpoint {
    let account = |wallet, amount| Allotment {
        account: Account {
            wallet,
            ..Account::default()
        },
        amount: U256::from(amount),
    };
    let tree = |token| {
        let mut builder = AccountTreeBuilder::new(HUB, token, 2);
        let accounts = [account(PAYEE, 5), account(payer().address(), amount)];
        builder.extend(&accounts).unwrap();
        TokenCommitment {
            token,
            accounts: builder.finish().unwrap(),
        }
    };
    Checkpoint::new(HUB, vec![tree(HUB), tree(COIN)]).unwrap()
}

fn claim(amount: u64, eon: u64) -> AllotmentClaim {
    AllotmentClaim {
        hub: "exchange".into(),
        eon: Eon(eon),
        token: COIN,
        account: Account {
            wallet: payer().address(),
            ..Account::default()
        },
        proof: checkpoint(amount).proof(1, 1).unwrap(),
    }
}

fn claiming(tag: u64, claim: AllotmentClaim) -> SubmitRequest {
    SubmitRequest {
        allotment: Some(claim),
        ..request(tag)
    }
}

fn submission(hub: HubId, eon: u64, root: B256) -> NewHubLog {
    NewHubLog {
        hub,
        eon: Eon(eon),
        block: BlockRef {
            number: eon * 10,
            hash: B256::from(U256::from(eon)),
            timestamp: 1,
        },
        log_index: 0,
        tx_hash: B256::ZERO,
        fact: HubFact::Checkpoint { eon: Eon(eon), root },
    }
}

/// Eons 1 to 6 have the same checkpoint; that of eon 7 is provisional.
async fn hub_world() -> (World, HubId) {
    let mut policy = policy();
    let hub = HubPolicy {
        contract: HUB,
        tokens: BTreeMap::from([((TARGET, TOKEN), COIN)]),
        wallets: BTreeMap::new(),
    };
    policy.hubs.insert("exchange".into(), hub);
    let world = world_with(policy, false).await;
    let new = NewHub {
        name: "exchange".into(),
        chain: SOURCE,
        contract: HUB,
        genesis: 1,
        blocks_per_eon: 10,
        start_block: 0,
    };
    let mut txn = world.test.begin(1).await.unwrap();
    let hub = txn.register_hub(&new).await.unwrap();
    let logs: Vec<_> = (1..=7)
        .map(|eon| submission(hub, eon, checkpoint(NEEDED).root()))
        .collect();
    txn.put_hub_logs(&logs).await.unwrap();
    txn.finalize_hub_logs(SOURCE, 100).await.unwrap();
    txn.put_hub_trail(hub, HUB, 0).await.unwrap();
    txn.put_hub_trail(hub, COIN, 1).await.unwrap();
    txn.advance_hubs(&[hub], 0, 100).await.unwrap();
    let block = BlockRef { number: 100, ..block() };
    let cursor = Cursor {
        seen: block,
        finalized: block,
    };
    txn.move_cursor(SOURCE, None, &cursor).await.unwrap();
    txn.commit().await.unwrap();
    (world, hub)
}

/// The hub observer compared what is known of the promises of this eon with what backs them.
async fn compare(world: &World, hub: HubId, eon: u64, solvent: bool) {
    let checkpoint = world.test.find_checkpoint(hub, Eon(eon)).await.unwrap().unwrap();
    let bounds = world.test.list_hub_bounds(checkpoint.id).await.unwrap();
    assert!(!bounds.is_empty());
    let mut txn = world.test.begin(1).await.unwrap();
    for bound in bounds {
        txn.judge_hub_bound(&bound, Some(bound.upper_bound), solvent, 70)
            .await
            .unwrap();
    }
    txn.commit().await.unwrap();
}

async fn refused(world: &World, request: SubmitRequest, code: &str) {
    let before = stored(world).await;
    let error = world.intake.submit(request).await.unwrap_err();
    assert_eq!(error.code().code, format!("RLY-HUB-{code}"), "{error}");
    assert_eq!(stored(world).await, before);
}

#[tokio::test]
async fn an_allotment_of_a_final_checkpoint_is_accepted_and_remembered() {
    let (world, hub) = hub_world().await;
    let accepted = world.intake.submit(claiming(1, claim(NEEDED, 6))).await.unwrap();
    let row = world.test.get_settlement(accepted.id).await.unwrap();
    let checkpoint = world.test.find_checkpoint(hub, Eon(6)).await.unwrap().unwrap();
    let expected = Reliance {
        hub,
        checkpoint: checkpoint.id,
    };
    assert_eq!(row.relies_on, Some(expected));
    // The proof showed what the checkpoint promises of the token in all.
    let bounds = world.test.list_hub_bounds(checkpoint.id).await.unwrap();
    assert_eq!((bounds[0].token, bounds[0].upper_bound), (COIN, U256::from(NEEDED + 5)));
    // The terms are the same with and without: the first request stands.
    let again = world.intake.submit(request(1)).await.unwrap();
    assert_eq!((again.id, again.existing), (accepted.id, true));
    let plain = world.intake.submit(request(2)).await.unwrap();
    assert_eq!(world.test.get_settlement(plain.id).await.unwrap().relies_on, None);
}

#[tokio::test]
async fn what_an_allotment_does_not_show_is_refused_by_its_own_code() {
    let (world, _) = hub_world().await;
    let changed = |change: &dyn Fn(&mut AllotmentClaim)| {
        let mut claim = claim(NEEDED, 6);
        change(&mut claim);
        claiming(1, claim)
    };
    refused(&world, changed(&|claim| claim.hub = "other".into()), "026").await;
    refused(&world, changed(&|claim| claim.account.wallet = PAYEE), "027").await;
    refused(&world, changed(&|claim| claim.token = TOKEN), "028").await;
    refused(&world, claiming(1, claim(NEEDED - 1, 6)), "029").await;
    // A flipped bit, anywhere.
    refused(
        &world,
        changed(&|claim| claim.proof.allotment_chain[0].0[7] ^= 1),
        "006",
    )
    .await;
    refused(
        &world,
        changed(&|claim| claim.proof.membership_chain[0].0[0] ^= 128),
        "006",
    )
    .await;
    let other_state = |claim: &mut AllotmentClaim| claim.account.active_state_checksum.0[31] ^= 1;
    refused(&world, changed(&other_state), "006").await;
    refused(&world, changed(&|claim| claim.proof.values.push(U256::ZERO)), "005").await;
    // A trail with bits above the proof, and the place of another token.
    refused(&world, changed(&|claim| claim.proof.trail |= 4), "007").await;
    refused(&world, changed(&|claim| claim.proof.token_trail |= 2), "007").await;
    let native = changed(&|claim| claim.proof = checkpoint(NEEDED).proof(0, 1).unwrap());
    refused(&world, native, "006").await;
    // Eons that are provisional, in the future, too old, or of another root.
    refused(&world, claiming(1, claim(NEEDED, 7)), "032").await;
    refused(&world, claiming(1, claim(NEEDED, 8)), "032").await;
    refused(&world, claiming(1, claim(NEEDED, 3)), "033").await;
    refused(&world, claiming(1, claim(NEEDED + 1, 6)), "006").await;
    assert!(world.intake.submit(claiming(1, claim(NEEDED, 4))).await.is_ok());
}

#[tokio::test]
async fn a_token_in_the_place_of_another_is_refused() {
    let (world, hub) = hub_world().await;
    // As the contract knows it, the coin is at position 2, wherever the hub puts it in its tree.
    world.test.execute("DELETE FROM hub_trail WHERE trail = 1").await;
    refused(&world, claiming(1, claim(NEEDED, 6)), "028").await;
    let mut txn = world.test.begin(1).await.unwrap();
    txn.put_hub_trail(hub, COIN, 2).await.unwrap();
    txn.commit().await.unwrap();
    refused(&world, claiming(1, claim(NEEDED, 6)), "028").await;
}

#[tokio::test]
async fn a_configured_wallet_vouches_for_its_payer() {
    let mut policy = policy();
    let hub = HubPolicy {
        contract: HUB,
        tokens: BTreeMap::from([((TARGET, TOKEN), COIN)]),
        wallets: BTreeMap::from([(payer().address(), PAYEE)]),
    };
    policy.hubs.insert("exchange".into(), hub);
    let mut claim = claim(NEEDED, 6);
    claim.account.wallet = PAYEE;
    let world = world_with(policy, false).await;
    // It is believed as far as its proof goes, which is the payer's.
    let error = world.intake.submit(claiming(1, claim)).await.unwrap_err();
    assert_eq!(error.code().code, "RLY-HUB-030", "no hub was read yet");
}

async fn halt(world: &World, hub: HubId, reason: Option<HaltReason>) {
    let halt = reason.map(|reason| Halt {
        reason,
        eon: Eon(7),
        since_ms: 1,
        is_final: false,
    });
    let mut txn = world.test.begin(1).await.unwrap();
    txn.set_hub_halt(hub, halt, "test").await.unwrap();
    txn.commit().await.unwrap();
}

fn batcher(world: &World) -> Batcher {
    Batcher::new(
        world.test.store.clone(),
        BatcherParams {
            rule: BatchRule {
                count_max: 10,
                linger_ms: 0,
            },
            deadline_margin: 0,
            targets: vec![TARGET],
            outboxes: BTreeMap::from([(SOURCE, OUTBOX)]),
        },
    )
}

#[tokio::test]
async fn while_its_hub_is_halted_nothing_is_accepted_and_nothing_batched() {
    let (world, hub) = hub_world().await;
    world.intake.submit(claiming(1, claim(NEEDED, 6))).await.unwrap();
    world.intake.submit(request(2)).await.unwrap();
    compare(&world, hub, 6, true).await;
    for reason in [HaltReason::LiveChallenge, HaltReason::MissedCheckpoint] {
        halt(&world, hub, Some(reason)).await;
        refused(&world, claiming(3, claim(NEEDED, 6)), "031").await;
    }
    let batcher = batcher(&world);
    let batched = async || batcher.step(1_000_000, 10).await.unwrap().processed;
    assert_eq!(batched().await, 1, "only the one that relies on no hub");
    assert_eq!(batched().await, 0);
    halt(&world, hub, None).await;
    assert_eq!(batched().await, 1);
}

#[tokio::test]
async fn what_relies_on_a_checkpoint_that_a_reorg_took_or_nobody_backs_waits() {
    let (world, hub) = hub_world().await;
    world.intake.submit(claiming(1, claim(NEEDED, 6))).await.unwrap();
    world.intake.submit(claiming(2, claim(NEEDED, 4))).await.unwrap();
    compare(&world, hub, 6, true).await;
    compare(&world, hub, 4, true).await;
    // Before the transaction: SQLite has one connection.
    let four = world.test.find_checkpoint(hub, Eon(4)).await.unwrap().unwrap().id;
    let mut txn = world.test.begin(1).await.unwrap();
    txn.orphan_hub_logs_above(SOURCE, 55).await.unwrap();
    txn.advance_hubs(&[hub], 55, 100).await.unwrap();
    txn.refuse_checkpoint(four, "RLY-HUB-008").await.unwrap();
    // Another root for eon 6 does not stand for the one that was proven.
    let logs: Vec<_> = [6, 7]
        .map(|eon| {
            let mut log = submission(hub, eon, B256::repeat_byte(6));
            log.block.hash = B256::repeat_byte(eon as u8);
            log
        })
        .to_vec();
    txn.put_hub_logs(&logs).await.unwrap();
    txn.finalize_hub_logs(SOURCE, 100).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(batcher(&world).step(1_000_000, 10).await.unwrap().processed, 0);
    refused(&world, claiming(3, claim(NEEDED, 6)), "006").await;
    refused(&world, claiming(3, claim(NEEDED, 4)), "034").await;
    // The block comes back.
    let mut txn = world.test.begin(1).await.unwrap();
    txn.orphan_hub_logs_above(SOURCE, 55).await.unwrap();
    txn.advance_hubs(&[hub], 55, 100).await.unwrap();
    let logs: Vec<_> = [6, 7]
        .map(|eon| submission(hub, eon, checkpoint(NEEDED).root()))
        .to_vec();
    txn.put_hub_logs(&logs).await.unwrap();
    txn.finalize_hub_logs(SOURCE, 100).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(batcher(&world).step(1_000_000, 10).await.unwrap().processed, 1);
}

#[tokio::test]
async fn an_ancient_allotment_does_not_pass_while_the_hub_is_read_for_the_first_time() {
    let (world, hub) = hub_world().await;
    // The rows stand at eon 7, the chain is far ahead.
    world.test.execute("UPDATE hub SET read_to = 70").await;
    refused(&world, claiming(1, claim(NEEDED, 6)), "030").await;
    let mut txn = world.test.begin(1).await.unwrap();
    txn.advance_hubs(&[hub], 70, 100).await.unwrap();
    txn.commit().await.unwrap();
    world.intake.submit(claiming(1, claim(NEEDED, 6))).await.unwrap();
}

#[tokio::test]
async fn nothing_relies_on_a_promise_before_it_was_compared_with_what_backs_it() {
    let (world, hub) = hub_world().await;
    world.intake.submit(claiming(1, claim(NEEDED, 6))).await.unwrap();
    world.intake.submit(request(2)).await.unwrap();
    let batcher = batcher(&world);
    let batched = async || batcher.step(1_000_000, 10).await.unwrap().processed;
    assert_eq!(batched().await, 1, "only the one that relies on no hub");
    compare(&world, hub, 6, false).await;
    assert_eq!(batched().await, 0);
    compare(&world, hub, 6, true).await;
    assert_eq!(batched().await, 1);
}

#[tokio::test]
async fn a_hub_that_halts_after_its_settlements_were_listed_stops_the_seal() {
    let (world, hub) = hub_world().await;
    let accepted = world.intake.submit(claiming(1, claim(NEEDED, 6))).await.unwrap();
    compare(&world, hub, 6, true).await;
    let listed = world.test.list_batchable(TARGET, 1_000_000, 0, 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    halt(&world, hub, Some(HaltReason::LiveChallenge)).await;
    let message = fixtures::sealed(&[accepted.id], 1);
    let mut txn = world.test.begin(1).await.unwrap();
    let error = txn.seal_message(&message, 1, None, "batcher").await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    drop(txn);
    halt(&world, hub, None).await;
    let mut txn = world.test.begin(1).await.unwrap();
    txn.seal_message(&message, 1, None, "batcher").await.unwrap();
}
