#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod following;
mod judging;

use super::*;
use crate::chain::{Contracts, Observer, ObserverParams};
use crate::hub::model::Eon;
use crate::stage::Stage;
use crate::store::testing::TestStore;
use crate::store::{CheckpointStanding, DriftRow, Hub, HubCheckpoint, HubOperation, LogStatus};
use crate::testing::hub::{Act, CHAIN, HUB, HubChain, NAME};
use alloy::primitives::{Address, B256};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

const TOKEN: Address = Address::repeat_byte(0x70);
const ALICE: Address = Address::repeat_byte(0xa1);
const BOB: Address = Address::repeat_byte(0xb0);
const CHECK_MS: i64 = 1_000;

fn root(n: u8) -> B256 {
    B256::repeat_byte(n)
}

struct World {
    chain: HubChain,
    store: TestStore,
    observer: Observer,
    judge: HubObserver,
    now: AtomicI64,
}

impl World {
    async fn new(chain: HubChain) -> Self {
        Self::starting_at(chain, 0).await
    }

    async fn starting_at(chain: HubChain, start_block: u64) -> Self {
        let store = crate::store::testing::open().await;
        let mut hub = chain.contract();
        hub.start_block = start_block;
        let params = HubObserverParams {
            chain: CHAIN,
            hubs: vec![HUB],
            check_ms: CHECK_MS,
        };
        Self {
            observer: observer(&chain, &store).with_hubs(vec![hub]),
            judge: HubObserver::new(store.clone(), Arc::new(chain.clone()), params),
            chain,
            store,
            now: AtomicI64::new(10_000),
        }
    }

    fn now(&self) -> i64 {
        self.now.load(Ordering::SeqCst)
    }

    /// The chain's observer, until it has nothing more to read.
    async fn read(&self) {
        read(&self.observer, self.now()).await;
    }

    /// Reads and judges, some time later.
    async fn round(&self) {
        self.read().await;
        self.judge.step(self.now(), 10).await.unwrap();
        self.now.fetch_add(100 * CHECK_MS, Ordering::SeqCst);
    }

    async fn hub(&self) -> Hub {
        self.store.find_hub_by_name(NAME).await.unwrap().unwrap()
    }

    async fn checkpoints(&self) -> Vec<HubCheckpoint> {
        let hub = self.hub().await;
        self.store.list_checkpoints(hub.id, Eon(0), 100).await.unwrap()
    }

    /// Eons and standings.
    async fn standings(&self) -> Vec<(u64, CheckpointStanding)> {
        let checkpoints = self.checkpoints().await;
        checkpoints
            .iter()
            .map(|checkpoint| (checkpoint.eon.0, checkpoint.standing))
            .collect()
    }

    async fn operations(&self) -> Vec<HubOperation> {
        let hub = self.hub().await;
        self.store
            .list_hub_operations(hub.id, (None, None), 0, 1_000)
            .await
            .unwrap()
    }

    async fn drifts(&self) -> Vec<DriftRow> {
        self.store.list_open_drifts().await.unwrap()
    }

    async fn subjects(&self) -> Vec<String> {
        self.drifts().await.into_iter().map(|row| row.drift.subject).collect()
    }

    /// One eon: a checkpoint in its first block, then its acts, one to a block, then the rest of it.
    fn eon(&self, n: u8, acts: &[Act]) {
        let chain = &self.chain;
        assert_eq!(chain.eon(), Eon(u64::from(n)));
        chain.act(&[Act::Submit(root(n))]);
        for act in acts {
            chain.act(std::slice::from_ref(act));
        }
        chain.finish_eon();
    }
}

fn observer(chain: &HubChain, store: &TestStore) -> Observer {
    let params = ObserverParams {
        range_max: 7,
        ..ObserverParams::default()
    };
    Observer::new(
        Arc::new(chain.clone()),
        store.store.clone(),
        Contracts::default(),
        params,
    )
}

async fn read(observer: &Observer, now: i64) {
    for _ in 0..200 {
        let outcome = observer.step(now, 50).await.unwrap();
        if !outcome.more && outcome.processed == 0 {
            return;
        }
    }
    panic!("the observer does not come to rest");
}

fn deposit(wallet: Address, amount: u64) -> Act {
    Act::Deposit(TOKEN, wallet, amount)
}
