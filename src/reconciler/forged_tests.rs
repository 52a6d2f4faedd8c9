//! A vote no outbox explains is an alarm; one the source was not yet read for, or that was pruned, is none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::model::{Emitted, Model, VAULT};
use super::*;
use crate::stage::Stage;
use crate::store::testing::{self, INBOX, OUTBOX, SOURCE, TARGET, TestStore};
use crate::store::{DriftClass, DriftRow};
use alloy::primitives::{Address, B256, U256};
use serde_json::json;
use std::sync::Arc;

const PORT: Address = Address::repeat_byte(0x71);
const SOURCE_PORT: Address = Address::repeat_byte(0x72);
const OTHER_PORT: Address = Address::repeat_byte(0x73);
const OTHER_SOURCE_PORT: Address = Address::repeat_byte(0x74);
/// Of a bridge that is not configured.
const STRANGE_PORT: Address = Address::repeat_byte(0x75);
const MESSAGE: B256 = B256::repeat_byte(0x11);

struct World {
    store: TestStore,
    source: Model,
    target: Model,
    reconciler: Reconciler,
}

fn log(address: Address, kind: &'static str, message: B256, port: Address) -> Emitted {
    Emitted {
        address,
        kind,
        key: message,
        key2: port.into_word(),
        amount: U256::ZERO,
        detail: json!({}),
    }
}

impl World {
    async fn new() -> Self {
        let store = testing::open().await;
        let (source, target) = (Model::of(SOURCE, &store), Model::new(&store));
        let world = Self {
            reconciler: reconciler(&store, &source, &target),
            store,
            source,
            target,
        };
        world.source.wait_until(2_000).await;
        world.source.finalize().await;
        world
    }

    async fn vote(&self, timestamp: u64, message: B256, port: Address) {
        let mut state = self.target.state();
        state.received += 1;
        let logs = vec![log(INBOX, "message_received", message, port)];
        self.target.mine(timestamp, state, logs).await;
        self.target.finalize().await;
    }

    async fn dispatch(&self, timestamp: u64, message: B256, port: Address) {
        let mut state = self.source.state();
        state.dispatched.insert((message, port));
        let logs = vec![log(OUTBOX, "message_dispatched", message, port)];
        self.source.mine(timestamp, state, logs).await;
        self.source.finalize().await;
    }

    /// The source chain is final up to then.
    async fn read_source(&self, timestamp: u64) {
        self.source.wait_until(timestamp).await;
        self.source.finalize().await;
    }

    async fn alarms(&self) -> Vec<DriftRow> {
        self.reconciler.step(50, 1_000).await.unwrap();
        self.open().await
    }

    async fn open(&self) -> Vec<DriftRow> {
        self.store.list_open_drifts().await.unwrap()
    }
}

fn reconciler(store: &TestStore, source: &Model, target: &Model) -> Reconciler {
    let contracts = TargetContracts {
        inbox: INBOX,
        vault: VAULT,
    };
    let params = ReconcilerParams {
        chain_id: TARGET,
        target: Some(contracts),
        outbox: None,
        sweep_ms: 0,
    };
    let origin = Origin {
        chain: Arc::new(source.clone()),
        outbox: OUTBOX,
        ports: [(PORT, SOURCE_PORT), (OTHER_PORT, OTHER_SOURCE_PORT)].into(),
    };
    Reconciler::new(store.store.clone(), Arc::new(target.clone()), params).with_origins(vec![origin])
}

#[tokio::test]
async fn a_vote_for_what_no_outbox_sent_is_an_alarm_that_survives_a_restart() {
    let world = World::new().await;
    world.vote(3_000, MESSAGE, PORT).await;
    world.read_source(3_020).await;
    let alarms = world.alarms().await;
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    let drift = &alarms[0].drift;
    assert_eq!((drift.class, drift.chain), (DriftClass::Forged, TARGET));
    assert!(drift.subject.contains(&MESSAGE.to_string()) && drift.subject.contains(&PORT.to_string()));
    // Another process, and again: still one, and still open.
    let again = reconciler(&world.store, &world.source, &world.target);
    for _ in 0..3 {
        again.step(60, 1_000).await.unwrap();
    }
    assert_eq!(world.open().await, alarms);
}

#[tokio::test]
async fn a_message_seen_before_its_dispatch_was_read_is_no_alarm() {
    let world = World::new().await;
    // The observer of the source is slow: what it has read ends before the vote.
    world.vote(3_000, MESSAGE, PORT).await;
    for read in [2_500, 3_000, 3_009] {
        world.read_source(read).await;
        assert_eq!(world.alarms().await, vec![], "source read up to {read}");
    }
    world.dispatch(3_009, MESSAGE, SOURCE_PORT).await;
    world.read_source(4_000).await;
    assert_eq!(world.alarms().await, vec![]);
}

#[tokio::test]
async fn a_vote_over_a_bridge_the_message_was_not_given_to_is_an_alarm() {
    let world = World::new().await;
    world.dispatch(2_900, MESSAGE, SOURCE_PORT).await;
    world.vote(3_000, MESSAGE, PORT).await;
    world.vote(3_001, MESSAGE, OTHER_PORT).await;
    world.read_source(4_000).await;
    let alarms = world.alarms().await;
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert!(alarms[0].drift.subject.contains(&OTHER_PORT.to_string()));
    // Sent over it late: explained, if strange.
    world.dispatch(4_001, MESSAGE, OTHER_SOURCE_PORT).await;
    assert_eq!(world.alarms().await, vec![]);
}

#[tokio::test]
async fn a_port_nobody_has_configured_is_believed_what_any_outbox_sent() {
    let world = World::new().await;
    world.dispatch(2_900, MESSAGE, SOURCE_PORT).await;
    world.vote(3_000, MESSAGE, STRANGE_PORT).await;
    world.vote(3_000, B256::repeat_byte(0x12), STRANGE_PORT).await;
    world.read_source(4_000).await;
    let alarms = world.alarms().await;
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert!(alarms[0].drift.subject.contains(&B256::repeat_byte(0x12).to_string()));
}

#[tokio::test]
async fn the_outbox_is_asked_before_a_vote_is_called_forged() {
    let world = World::new().await;
    // Its log was pruned, or is older than what is read; the outbox remembers.
    let mut state = world.source.state();
    state.dispatched.insert((MESSAGE, SOURCE_PORT));
    world.source.mine(2_900, state, Vec::new()).await;
    world.source.finalize().await;
    world.vote(3_000, MESSAGE, PORT).await;
    world.read_source(4_000).await;
    assert_eq!(world.alarms().await, vec![]);
}

#[tokio::test]
async fn an_alarm_ends_when_the_port_is_removed() {
    let world = World::new().await;
    world.vote(3_000, MESSAGE, PORT).await;
    world.read_source(4_000).await;
    assert_eq!(world.alarms().await.len(), 1);
    let removed = Emitted {
        key2: B256::ZERO,
        ..log(INBOX, "port_removed", PORT.into_word(), PORT)
    };
    let state = world.target.state();
    world.target.mine(4_100, state, vec![removed]).await;
    world.target.finalize().await;
    assert_eq!(world.alarms().await, vec![]);
}

#[tokio::test]
async fn many_votes_are_judged_page_by_page_and_none_is_passed_over() {
    let world = World::new().await;
    // Seven in one block, more than a page; then one per block.
    let mut state = world.target.state();
    state.received += 7;
    let together = (1..=7).map(|n| log(INBOX, "message_received", B256::repeat_byte(n), PORT));
    world.target.mine(3_000, state, together.collect()).await;
    for n in 8..=12 {
        world.vote(3_000 + u64::from(n), B256::repeat_byte(n), PORT).await;
    }
    world.read_source(4_000).await;
    for _ in 0..8 {
        world.reconciler.step(50, 3).await.unwrap();
    }
    assert_eq!(world.open().await.len(), 12);
}
