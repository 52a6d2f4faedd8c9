//! Observer, sender and engine on a model chain. What needs a real node is in e2e/tests/chain.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::model::ModelChain;
use super::*;
use crate::clock::Clock;
use crate::settlement::states::TxState;
use crate::stage::Stage;
use crate::store::testing::TestStore;
use crate::store::{Intent, IntentKind, StoreError, TxChange, TxId, TxRow};
use relayer_adapter_api::{GasRule, LogFilter};
use std::sync::atomic::{AtomicI64, Ordering};

const CHAIN: ChainId = ChainId(9);

#[derive(Debug, Default)]
struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

struct World {
    chain: ModelChain,
    store: TestStore,
    clock: Arc<HandClock>,
    sender: Arc<Sender>,
    engine: TxEngine,
    observer: Observer,
}

impl World {
    async fn new(finality: u64) -> Self {
        let store = crate::store::testing::open().await;
        let chain = ModelChain::new(CHAIN, finality, 1_000);
        let clock = Arc::new(HandClock(AtomicI64::new(1_000_000)));
        let params = SenderParams {
            owner: "worker".into(),
            lease_ms: 60_000,
            fees: FeePolicy::default(),
        };
        let signers = SignerPool::new(CHAIN, &[B256::repeat_byte(7)]).unwrap();
        let shared: Arc<dyn TxChain> = Arc::new(chain.clone());
        let sender = Arc::new(Sender::new(
            shared.clone(),
            store.clone(),
            signers,
            params,
            clock.clone(),
        ));
        Self {
            engine: TxEngine::new(shared.clone(), store.clone(), sender.clone()),
            observer: Observer::new(shared, store.clone(), Contracts::default(), ObserverParams::default()),
            chain,
            store,
            clock,
            sender,
        }
    }

    fn now(&self) -> i64 {
        self.clock.now_ms()
    }

    fn signer(&self) -> Address {
        self.sender.addresses()[0]
    }

    async fn prepare(&self, n: u64) -> TxId {
        let planned = self.sender.plan(&call()).await.unwrap();
        let mut txn = self.store.begin(self.now()).await.unwrap();
        let intent = Intent::new(IntentKind::Execution, n.to_string());
        let id = self.sender.prepare(&mut txn, &planned, intent).await.unwrap();
        txn.commit().await.unwrap();
        id
    }

    async fn engine(&self) {
        self.engine.step(self.now(), 50).await.unwrap();
    }

    async fn round(&self) {
        while self.observer.step(self.now(), 50).await.unwrap().more {}
        self.engine().await;
        self.clock.0.fetch_add(1_000, Ordering::SeqCst);
    }

    async fn tx(&self, id: TxId) -> TxRow {
        self.store.get_tx(id).await.unwrap()
    }

    async fn until(&self, id: TxId, state: TxState) {
        for _ in 0..60 {
            self.round().await;
            if self.tx(id).await.state == state {
                return;
            }
            self.chain.mine(1);
        }
        panic!("{id} did not become {state}: {:?}", self.tx(id).await);
    }
}

fn call() -> Call {
    Call {
        chain: CHAIN,
        to: Address::repeat_byte(3),
        data: Bytes::from_static(b"hello"),
        value: U256::from(1),
        gas: GasRule::Estimate {
            percent: 110,
            extra: 1_000,
        },
    }
}

#[tokio::test]
async fn nothing_is_sent_before_the_database_says_it_may_have_been() {
    let world = World::new(2).await;
    let id = world.prepare(1).await;
    assert_eq!(world.chain.pooled(), 0, "preparing sends nothing");
    assert_eq!(world.tx(id).await.first_sent_at, None);
    // The network is gone at the very moment of the first send: the note must be there all the same.
    world.chain.set_dark(true);
    world.engine().await;
    let row = world.tx(id).await;
    assert_eq!((row.state, row.first_sent_at), (TxState::Submitted, Some(world.now())));
    let mut txn = world.store.begin(world.now()).await.unwrap();
    assert!(
        txn.tx_apply(&row, TxChange::Cancel, "test").await.is_err(),
        "its nonce is not free any more"
    );
    drop(txn);
    world.chain.set_dark(false);
    world.clock.0.fetch_add(15_000, Ordering::SeqCst);
    world.until(id, TxState::Finalized).await;
}

#[tokio::test]
async fn a_missing_receipt_is_never_taken_for_a_foreign_transaction() {
    let world = World::new(2).await;
    let id = world.prepare(1).await;
    world.engine().await;
    world.chain.hide_receipts(true);
    world.chain.mine(10);
    for _ in 0..5 {
        world.round().await;
        world.chain.mine(1);
    }
    assert_eq!(
        world.tx(id).await.state,
        TxState::Submitted,
        "the block's body shows our own hash"
    );
    world.chain.hide_receipts(false);
    world.until(id, TxState::Finalized).await;
}

#[tokio::test]
async fn an_endpoint_that_wants_more_gets_more_at_once() {
    let world = World::new(2).await;
    world.chain.mine(1);
    world.round().await;
    let id = world.prepare(1).await;
    world.chain.answer_next_submission(Ok(Submission::Underpriced));
    world.engine().await;
    assert_eq!(world.chain.pooled(), 0);
    world.engine().await;
    let attempts = world.store.list_attempts(id).await.unwrap();
    assert_eq!(attempts.len(), 2);
    assert!(attempts[1].max_fee * 10 >= attempts[0].max_fee * 11);
    assert_eq!(world.chain.pooled(), 1);
    world.until(id, TxState::Finalized).await;
}

#[tokio::test]
async fn an_earlier_attempt_that_gets_in_counts() {
    let world = World::new(2).await;
    world.chain.mine(1);
    world.round().await;
    let id = world.prepare(1).await;
    world.engine().await;
    // The second attempt is stored, and reaches nobody.
    world.clock.0.fetch_add(31_000, Ordering::SeqCst);
    let refused = ViewError::Unavailable {
        chain: CHAIN.0,
        reason: "cut".into(),
    };
    world.chain.answer_next_submission(Err(refused));
    world.engine().await;
    let attempts = world.store.list_attempts(id).await.unwrap();
    assert_eq!(attempts.len(), 2);
    world.chain.mine(1);
    world.until(id, TxState::Finalized).await;
    assert_eq!(world.tx(id).await.included.unwrap().hash, attempts[0].hash);
}

#[tokio::test]
async fn a_dark_chain_only_delays() {
    let world = World::new(2).await;
    let ids = [world.prepare(1).await, world.prepare(2).await];
    world.chain.mine(1);
    world.round().await;
    world.chain.mine(1);
    while world.observer.step(world.now(), 50).await.unwrap().more {}
    world.chain.set_dark(true);
    for _ in 0..20 {
        assert!(world.observer.step(world.now(), 50).await.is_err());
        assert!(world.engine.step(world.now(), 50).await.is_err());
        world.clock.0.fetch_add(5_000, Ordering::SeqCst);
    }
    world.chain.set_dark(false);
    for id in ids {
        world.until(id, TxState::Finalized).await;
    }
    let head = world.chain.head().await.unwrap();
    assert_eq!(world.chain.transaction_count(world.signer(), head).await.unwrap(), 2);
}

#[tokio::test]
async fn the_pool_of_open_transactions_is_part_of_what_funds_must_cover() {
    let world = World::new(2).await;
    world.chain.set_balance(world.signer(), U256::MAX >> 1usize);
    world.prepare(1).await;
    let committed = world.store.committed_wei(CHAIN, world.signer()).await.unwrap();
    world.chain.set_balance(world.signer(), committed);
    // Balances change by blocks.
    world.chain.mine(1);
    let refused = world.sender.plan(&call()).await.unwrap_err();
    assert!(matches!(refused, ChainError::FundsShort { .. }), "{refused}");
}

#[tokio::test]
async fn the_model_forgets_what_a_reorg_takes() {
    let chain = ModelChain::new(CHAIN, 3, 0);
    chain.mine(5);
    let head = chain.head().await.unwrap();
    chain.reorg(2);
    let now = chain.head().await.unwrap();
    assert_eq!(now.number, head.number);
    assert_ne!(now.hash, head.hash);
    let gone = chain.view(head).logs(&LogFilter::default()).await;
    assert!(matches!(gone, Err(ViewError::UnknownBlock { .. })));
}

/// Another worker's sender on the same database and key.
fn second_sender(world: &World) -> Sender {
    let params = SenderParams {
        owner: "second worker".into(),
        lease_ms: 60_000,
        fees: FeePolicy::default(),
    };
    let signers = SignerPool::new(CHAIN, &[B256::repeat_byte(7)]).unwrap();
    let chain: Arc<dyn Chain> = Arc::new(world.chain.clone());
    Sender::new(chain, world.store.store.clone(), signers, params, world.clock.clone())
}

#[tokio::test]
async fn a_lease_given_back_serves_the_next_worker_at_once_and_the_first_no_more() {
    let world = World::new(0).await;
    let second = second_sender(&world);
    let planned = world.sender.plan(&call()).await.unwrap();
    assert!(matches!(second.plan(&call()).await, Err(ChainError::NoLease { .. })));

    world.sender.release_leases().await.unwrap();
    assert!(second.plan(&call()).await.is_ok());
    // A step that was cut off while its process stopped, and comes to its write only now.
    let mut txn = world.store.begin(world.now()).await.unwrap();
    let intent = Intent::new(IntentKind::Execution, "late");
    let late = world.sender.prepare(&mut txn, &planned, intent).await;
    assert!(
        matches!(late, Err(ChainError::Store(StoreError::Conflict { .. }))),
        "{late:?}"
    );
}

#[tokio::test]
async fn a_worker_whose_clock_jumps_neither_steals_nor_loses_a_lease() {
    const DAY_MS: i64 = 86_400_000;
    let mut world = World::new(0).await;
    let first = world.sender.plan(&call()).await.unwrap();
    let steady = world.clock.clone();
    // The other machine is a day ahead, then a day behind: by the database's clock no time has passed.
    for jump in [DAY_MS, -DAY_MS] {
        world.clock = Arc::new(HandClock(AtomicI64::new(steady.now_ms() + jump)));
        let second = second_sender(&world);
        assert!(
            matches!(second.plan(&call()).await, Err(ChainError::NoLease { .. })),
            "{jump}"
        );
    }
    // The holder's own clock jumps: the lease is renewed under the same token, and what it planned is still its own.
    for jump in [DAY_MS, -2 * DAY_MS, DAY_MS] {
        steady.0.fetch_add(jump, Ordering::SeqCst);
        assert_eq!(world.sender.plan(&call()).await.unwrap().token, first.token, "{jump}");
    }
    let mut txn = world.store.begin(steady.now_ms()).await.unwrap();
    let intent = Intent::new(IntentKind::Execution, "1");
    world.sender.prepare(&mut txn, &first, intent).await.unwrap();
    txn.commit().await.unwrap();
}

#[tokio::test]
async fn a_dry_run_simulates_and_prices_but_leases_signs_and_sends_nothing() {
    let world = World::new(2).await;
    let dry = |params| {
        let signers = SignerPool::new(CHAIN, &[B256::repeat_byte(7)]).unwrap();
        let chain: Arc<dyn TxChain> = Arc::new(world.chain.clone());
        Sender::new(chain, world.store.clone(), signers, params, world.clock.clone()).dry_run()
    };
    let params = || SenderParams {
        owner: "rehearsal".into(),
        lease_ms: 60_000,
        fees: FeePolicy::default(),
    };
    let sender = dry(params());
    match sender.plan(&call()).await.unwrap_err() {
        ChainError::DryRun(would) => {
            assert_eq!((would.to, would.value), (call().to, call().value));
            assert!(would.gas > 0 && would.cost > U256::from(would.gas));
        }
        other => panic!("{other}"),
    }
    // The lease is free for the process that really sends, and what that one plans the rehearsal cannot sign.
    let planned = world.sender.plan(&call()).await.unwrap();
    let mut txn = world.store.begin(world.now()).await.unwrap();
    let intent = Intent::new(IntentKind::Execution, "1");
    let refused = sender.prepare(&mut txn, &planned, intent).await.unwrap_err();
    assert!(matches!(refused, ChainError::Signing { .. }), "{refused}");
    drop(txn);
    world.engine().await;
    assert_eq!(world.chain.pooled(), 0);
    // Caps hold in a rehearsal as well: it reports what would really happen.
    let capped = dry(SenderParams {
        fees: FeePolicy {
            max_fee_cap: 1,
            ..FeePolicy::default()
        },
        ..params()
    });
    assert!(matches!(capped.plan(&call()).await, Err(ChainError::FeeCap { .. })));
}
