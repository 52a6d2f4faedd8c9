//! The observer: seen, final, orphaned, and the same rows whichever way the blocks were read.

use crate::world::{Anvil, CHAIN, SIGNER, World};
use alloy::primitives::{Address, B256, U256, address};
use relayer::adapter::abi::{ISettlementInbox, ISettlementVault};
use relayer::chain::Contracts;
use relayer::chain::fee::FeePolicy;
use relayer::store::{ChainLog, LogStatus};

const INBOX: Address = address!("00000000000000000000000000000000000000a2");
const VAULT: Address = address!("00000000000000000000000000000000000000a3");

fn paid(n: u8) -> ISettlementInbox::SettlementPaid {
    ISettlementInbox::SettlementPaid {
        id: B256::repeat_byte(n),
        payer: SIGNER,
        nonceAndCredited: U256::from(n),
    }
}

async fn world(finality: u64) -> World {
    let anvil = Anvil::start(CHAIN);
    anvil.install_emitter(INBOX).await;
    anvil.install_emitter(VAULT).await;
    anvil.mine(1).await;
    let urls = vec![anvil.url.clone()];
    let contracts = Contracts {
        outbox: None,
        inbox: Some(INBOX),
        vault: Some(VAULT),
        registry: None,
    };
    World::with(anvil, urls, finality, FeePolicy::default(), contracts).await
}

async fn payments(world: &World, n: u8) -> Vec<ChainLog> {
    let store = &world.process.store;
    store
        .find_logs(CHAIN, "settlement_paid", B256::repeat_byte(n), None, true)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_seen_then_final_and_each_is_shown_once() {
    let world = world(3).await;
    world.observe().await;
    world.anvil.emit(SIGNER, INBOX, &paid(1)).await;
    world.anvil.mine(1).await;
    world.observe().await;
    let store = &world.process.store;
    let seen = store.list_unapplied_seen(CHAIN, 10).await.unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].status, seen[0].key), (LogStatus::Seen, B256::repeat_byte(1)));
    assert!(store.list_unapplied_final(CHAIN, 10).await.unwrap().is_empty());
    let mut txn = store.begin(world.now()).await.unwrap();
    txn.mark_applied_seen(&seen).await.unwrap();
    txn.commit().await.unwrap();
    assert!(store.list_unapplied_seen(CHAIN, 10).await.unwrap().is_empty());
    world.anvil.mine(3).await;
    world.observe().await;
    let last = store.list_unapplied_final(CHAIN, 10).await.unwrap();
    assert_eq!(last.len(), 1);
    let mut txn = store.begin(world.now()).await.unwrap();
    txn.mark_applied_final(&[last[0].id]).await.unwrap();
    txn.commit().await.unwrap();
    assert!(store.list_unapplied_final(CHAIN, 10).await.unwrap().is_empty());
    let cursor = store.get_cursor(CHAIN).await.unwrap().unwrap();
    assert_eq!(cursor.seen, world.head().await);
    assert_eq!(cursor.finalized.number + 3, cursor.seen.number);
}

#[tokio::test(flavor = "multi_thread")]
async fn reorgs_orphan_what_they_take_and_show_it_again() {
    let world = world(10).await;
    world.anvil.mine(12).await;
    world.observe().await;
    for depth in 1..=8u8 {
        world.anvil.emit(SIGNER, INBOX, &paid(depth)).await;
        world.anvil.mine(u64::from(depth)).await;
        world.observe().await;
        let store = &world.process.store;
        let seen = store.list_unapplied_seen(CHAIN, 10).await.unwrap();
        assert_eq!(seen.len(), 1, "depth {depth}");
        let mut txn = store.begin(world.now()).await.unwrap();
        txn.mark_applied_seen(&seen).await.unwrap();
        txn.commit().await.unwrap();
        world.anvil.reorg(u64::from(depth)).await;
        world.observe().await;
        let orphaned = store.list_unapplied_seen(CHAIN, 10).await.unwrap();
        assert_eq!(orphaned.len(), 1, "depth {depth}");
        assert_eq!(orphaned[0].status, LogStatus::Orphaned);
        let mut txn = store.begin(world.now()).await.unwrap();
        assert!(
            txn.mark_applied_seen(&seen).await.is_err(),
            "its standing changed since it was listed"
        );
        drop(txn);
        let mut txn = store.begin(world.now()).await.unwrap();
        txn.mark_applied_seen(&orphaned).await.unwrap();
        txn.commit().await.unwrap();
        assert!(
            store
                .find_logs(CHAIN, "settlement_paid", B256::repeat_byte(depth), None, false)
                .await
                .unwrap()
                .is_empty()
        );
        assert_eq!(store.get_cursor(CHAIN).await.unwrap().unwrap().seen, world.head().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_leaves_and_comes_back_is_seen_again() {
    let world = world(10).await;
    world.anvil.mine(2).await;
    world.anvil.emit(SIGNER, INBOX, &paid(1)).await;
    world.anvil.mine(1).await;
    world.observe().await;
    let before = payments(&world, 1).await;
    // What a reorg there and back does to the rows.
    let store = &world.process.store;
    let mut txn = store.begin(world.now()).await.unwrap();
    let again: Vec<_> = before
        .iter()
        .map(|log| relayer::store::NewChainLog {
            chain: log.chain,
            block_number: log.block_number,
            block_hash: log.block_hash,
            block_timestamp: log.block_timestamp,
            log_index: log.log_index,
            tx_hash: log.tx_hash,
            address: log.address,
            kind: log.kind.clone(),
            key: log.key,
            key2: log.key2,
            amount: log.amount,
            detail: log.detail.clone(),
        })
        .collect();
    assert_eq!(
        txn.orphan_logs_above(CHAIN, before[0].block_number - 1).await.unwrap(),
        1
    );
    txn.put_logs(&again).await.unwrap();
    txn.commit().await.unwrap();
    let after = payments(&world, 1).await;
    assert_eq!(after.len(), 1, "the same row");
    assert_eq!((after[0].status, after[0].applied_seen), (LogStatus::Seen, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_finality_orphans_final_logs_and_says_so() {
    let world = world(1).await;
    world.anvil.mine(10).await;
    world.anvil.emit(SIGNER, INBOX, &paid(1)).await;
    world.anvil.mine(2).await;
    world.observe().await;
    let last = world.process.store.list_unapplied_final(CHAIN, 10).await.unwrap();
    assert_eq!(last.len(), 1);
    let mut txn = world.process.store.begin(world.now()).await.unwrap();
    txn.mark_applied_final(&[last[0].id]).await.unwrap();
    txn.commit().await.unwrap();
    world.anvil.reorg(5).await;
    world.observe().await;
    let reversals = world.process.store.list_orphaned_applied(CHAIN, 10).await.unwrap();
    assert_eq!(reversals.len(), 1);
    assert_eq!(
        world.process.store.get_cursor(CHAIN).await.unwrap().unwrap().seen,
        world.head().await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_in_ranges_and_block_by_block_gives_the_same_rows() {
    let mut world = world(5).await;
    for n in 1..=6 {
        world.anvil.emit(SIGNER, INBOX, &paid(n)).await;
        let deposit = ISettlementVault::Deposited {
            payer: SIGNER,
            token: INBOX,
            from: SIGNER,
            amount: U256::from(n),
        };
        world.anvil.emit(SIGNER, VAULT, &deposit).await;
        world.anvil.mine(2).await;
        world.observe().await;
    }
    world.anvil.mine(6).await;
    world.observe().await;
    let by_block = world.process.store.list_unapplied_final(CHAIN, 100).await.unwrap();
    world.restart_from(world.dir.path().join("second")).await;
    world.observe().await;
    let by_range = world.process.store.list_unapplied_final(CHAIN, 100).await.unwrap();
    let strip = |logs: Vec<ChainLog>| {
        logs.into_iter()
            .map(|log| ChainLog { id: 0, ..log })
            .collect::<Vec<_>>()
    };
    assert_eq!(by_block.len(), 12);
    assert_eq!(strip(by_block), strip(by_range));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_grow_with_blocks_and_not_with_logs() {
    let world = world(5).await;
    world.observe().await;
    for n in 1..=50 {
        world.anvil.emit(SIGNER, INBOX, &paid(n)).await;
    }
    world.anvil.mine(1).await;
    let before = world.process.chain.calls_total();
    world.observe().await;
    let calls = world.process.chain.calls_total() - before;
    assert_eq!(
        world.process.store.list_unapplied_seen(CHAIN, 100).await.unwrap().len(),
        50
    );
    // Head (twice, for this world remembers no answers), final block, block, logs.
    assert!(calls <= 5, "{calls} calls for one block");
}
