//! Whatever happens in whatever order: the books balance, nothing is paid twice, a reservation is released exactly once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::model::Model;
use super::tests::reconciler;
use super::*;
use crate::ledger::{AccountKey, Reason};
use crate::settlement::states::SettlementState;
use crate::settlement::terms::{Domain, Terms};
use crate::settlement::{MessageId, SettlementId};
use crate::stage::Stage;
use crate::store::testing::{self, ASSET, DEADLINE, INBOX, TARGET, TestStore, accept, new_settlement, seal};
use crate::store::{Accept, FactsQuery, SettlementFilter};
use alloy::primitives::{Address, B256, U256};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const PAYERS: [Address; 2] = [Address::repeat_byte(0xa1), Address::repeat_byte(0xa2)];

#[derive(Debug, Clone)]
enum Op {
    Deposit {
        payer: usize,
        amount: u64,
    },
    Withdraw {
        payer: usize,
        amount: u64,
    },
    Accept {
        payer: usize,
        nonce: u64,
        amount: u64,
        tag: u64,
    },
    Seal,
    Abandon,
    Pay {
        first: usize,
        count: usize,
        credited: bool,
    },
    Stranger {
        payer: usize,
        nonce: u64,
        amount: u64,
    },
    Burn {
        payer: usize,
        nonce: u64,
    },
    Cancel {
        which: usize,
    },
    Finalize,
    Step,
    RepeatLogs,
    Expire,
}

fn op() -> impl Strategy<Value = Op> {
    let payer = 0..PAYERS.len();
    prop_oneof![
        2 => (payer.clone(), 1..400u64).prop_map(|(payer, amount)| Op::Deposit { payer, amount }),
        1 => (payer.clone(), 1..100u64).prop_map(|(payer, amount)| Op::Withdraw { payer, amount }),
        6 => (payer.clone(), 0..8u64, 1..150u64, 0..10u64)
            .prop_map(|(payer, nonce, amount, tag)| Op::Accept { payer, nonce, amount, tag }),
        2 => Just(Op::Seal),
        1 => Just(Op::Abandon),
        3 => (0..8usize, 1..4usize, any::<bool>()).prop_map(|(first, count, credited)| Op::Pay { first, count, credited }),
        1 => (payer.clone(), 0..8u64, 1..60u64).prop_map(|(payer, nonce, amount)| Op::Stranger { payer, nonce, amount }),
        1 => (payer, 0..8u64).prop_map(|(payer, nonce)| Op::Burn { payer, nonce }),
        1 => (0..8usize).prop_map(|which| Op::Cancel { which }),
        3 => Just(Op::Finalize),
        3 => Just(Op::Step),
        1 => Just(Op::RepeatLogs),
        1 => Just(Op::Expire),
    ]
}

struct World {
    store: TestStore,
    model: Model,
    reconciler: Reconciler,
    accepted: Vec<(SettlementId, Terms)>,
    messages: Vec<MessageId>,
    paid: BTreeSet<SettlementId>,
}

impl World {
    async fn new() -> Self {
        let store = testing::open().await;
        let model = Model::new(&store);
        let reconciler = reconciler(&store, &model);
        Self {
            store,
            model,
            reconciler,
            accepted: Vec::new(),
            messages: Vec::new(),
            paid: BTreeSet::new(),
        }
    }

    async fn apply(&mut self, op: Op) {
        match op {
            Op::Deposit { payer, amount } => self.model.deposit(PAYERS[payer], amount.into()).await,
            Op::Withdraw { payer, amount } => self.model.withdraw(PAYERS[payer], amount.into()).await,
            Op::Accept {
                payer,
                nonce,
                amount,
                tag,
            } => {
                let new = new_settlement(PAYERS[payer], nonce, amount, amount % 3, tag);
                // As the intake does: a nonce that is known to be used is refused.
                let query = FactsQuery {
                    nonces: BTreeSet::from([(PAYERS[payer], U256::from(nonce))]),
                    ..FactsQuery::default()
                };
                if !self.store.vault_facts(TARGET, &query).await.unwrap().nonces.is_empty() {
                    return;
                }
                if let Accept::Accepted(row) = &accept(&self.store, &[new]).await[0] {
                    self.accepted.push((row.id, row.terms));
                }
            }
            Op::Seal => self.seal().await,
            Op::Abandon => self.abandon().await,
            Op::Pay { first, count, credited } => {
                let items: Vec<_> = self.accepted.iter().skip(first).take(count).copied().collect();
                let message = self.messages.last().copied().unwrap_or(MessageId(B256::repeat_byte(9)));
                self.execute(message, &items, credited).await;
            }
            Op::Stranger { payer, nonce, amount } => {
                let terms = testing::terms(PAYERS[payer], nonce, amount, 1, B256::repeat_byte(0xee));
                let id = Domain::new(TARGET, INBOX).settlement_id(&terms);
                self.execute(MessageId(B256::repeat_byte(8)), &[(id, terms)], false)
                    .await;
            }
            Op::Burn { payer, nonce } => {
                self.model.burn(PAYERS[payer], U256::from(nonce)).await;
            }
            Op::Cancel { which } => {
                if let Some((id, _)) = self.accepted.get(which) {
                    let mut txn = self.store.begin(40).await.unwrap();
                    txn.request_cancel(*id, "operator").await.unwrap();
                    txn.commit().await.unwrap();
                }
            }
            Op::Finalize => self.model.finalize().await,
            Op::Step => {
                self.reconciler.step(50, 100).await.unwrap();
            }
            Op::RepeatLogs => {
                let mut txn = self.store.begin(1).await.unwrap();
                txn.unmark_applied_final(&(1..300).collect::<Vec<_>>()).await.unwrap();
                txn.commit().await.unwrap();
            }
            Op::Expire => self.model.wait_until(DEADLINE + 1).await,
        }
    }

    async fn execute(&mut self, message: MessageId, items: &[(SettlementId, Terms)], credited: bool) {
        for id in self.model.execute(message, items, credited, credited).await {
            assert!(self.paid.insert(id), "the model paid {id} twice");
        }
    }

    async fn seal(&mut self) {
        let waiting = self.store.list_batchable(TARGET, i64::MAX, 0, 5).await.unwrap();
        let ids: Vec<SettlementId> = waiting.iter().map(|row| row.id).collect();
        if !ids.is_empty() {
            self.messages.push(seal(&self.store, &ids).await.id());
        }
    }

    async fn abandon(&mut self) {
        let Some(id) = self.messages.pop() else { return };
        let mut txn = self.store.begin(45).await.unwrap();
        // Executed messages have nothing left to give up.
        if txn.abandon_message(id, "test", 45, None, "router").await.is_ok() {
            txn.commit().await.unwrap();
        }
    }

    /// Nothing is pending any more.
    async fn finish(&mut self) {
        self.model.wait_until(DEADLINE + 1).await;
        self.model.finalize().await;
        for _ in 0..3 {
            self.reconciler.step(50, 1_000).await.unwrap();
        }
    }

    async fn check(&self) {
        assert!(self.store.list_unbalanced_accounts().await.unwrap().is_empty());
        let filter = SettlementFilter::default();
        let rows = self.store.list_settlements(&filter, None, 1_000).await.unwrap();
        assert_eq!(rows.len(), self.accepted.len());
        let mut open: BTreeMap<Address, U256> = BTreeMap::new();
        for row in rows {
            let postings = self.store.list_postings(row.id).await.unwrap();
            let count = |reasons: &[Reason]| postings.iter().filter(|p| reasons.contains(&p.reason)).count();
            let pays = count(&[Reason::Payment, Reason::Credit, Reason::External]);
            let releases = count(&[Reason::Release]);
            assert_eq!(count(&[Reason::Accept]), 1);
            let expected = match row.state {
                SettlementState::Settled => (1, 0),
                state if state.ended_unpaid() => (0, 1),
                _ => (0, 0),
            };
            assert_eq!((pays, releases), expected, "{row:?}");
            if !row.state.is_terminal() {
                let sum = open.entry(row.terms.payer).or_default();
                *sum += row.terms.debit();
            }
        }
        for payer in PAYERS {
            let reserved = self
                .store
                .get_balance(AccountKey::reserved(ASSET, payer))
                .await
                .unwrap();
            assert_eq!(reserved.shortfall(), U256::ZERO);
            assert_eq!(reserved.amount(), open.remove(&payer).unwrap_or_default());
        }
    }

    /// Whatever happened, the comparison finds nothing: the books say of every settlement what the chain says.
    async fn check_three_sides(&self) {
        let patience = super::compare::Patience { now: 0, seconds: 0 };
        let books = self.store.page_books(TARGET, 0, 1_000).await.unwrap();
        assert_eq!(books.len(), self.accepted.len());
        let found = super::examine::check_all(&self.store, TARGET, &books, &patience)
            .await
            .unwrap();
        assert_eq!(found, vec![]);
    }

    /// A comparison of everything, read from the chain.
    async fn audit(&self) {
        let params = AuditorParams {
            contracts: crate::chain::Contracts {
                outbox: Some(testing::OUTBOX),
                inbox: Some(INBOX),
                vault: Some(super::model::VAULT),
                registry: None,
            },
            start_block: 0,
            range_max: 7,
            every_ms: 0,
            patience: 0,
        };
        let chain = std::sync::Arc::new(self.model.clone());
        let auditor = Auditor::new(self.store.clone(), chain.clone(), chain, params);
        while auditor.step(60, 100).await.unwrap().more {}
        let gaps = self.store.list_intervals(TARGET).await.unwrap();
        assert!(!gaps.iter().any(crate::store::Interval::is_gap), "{gaps:?}");
    }

    async fn check_ends(&self) {
        for (id, _) in &self.accepted {
            let row = self.store.get_settlement(*id).await.unwrap();
            assert!(row.state.is_terminal(), "{row:?}");
            assert_eq!(row.state == SettlementState::Settled, self.paid.contains(id), "{row:?}");
        }
        assert_eq!(self.store.list_open_drifts().await.unwrap(), vec![]);
    }
}

fn run(ops: Vec<Op>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::new().await;
        for op in ops {
            world.apply(op).await;
            world.check().await;
        }
        world.finish().await;
        world.check().await;
        world.check_three_sides().await;
        world.audit().await;
        world.check_ends().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: testing::cases(40), max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn books_balance_nothing_is_paid_twice_and_reservations_end_once(ops in prop::collection::vec(op(), 1..40)) {
        run(ops);
    }
}
