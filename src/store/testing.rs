//! What tests of several modules share: a database of their own and settlements to put in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod database;

use super::*;
use crate::ledger::{AccountKey, Asset, EventRef, Payout, postings};
use crate::settlement::terms::{Domain, Terms, TermsFields};
use crate::settlement::{ChainId, SettlementId};
use alloy::primitives::{Address, B256, U256, keccak256};
pub use database::TestDatabase;

pub const SOURCE: ChainId = ChainId(31_337);
pub const TARGET: ChainId = ChainId(31_338);
pub const INBOX: Address = Address::repeat_byte(0x1b);
pub const OUTBOX: Address = Address::repeat_byte(0x0b);
pub const TOKEN: Address = Address::repeat_byte(0x70);
pub const PAYER: Address = Address::repeat_byte(0xaa);
pub const PAYEE: Address = Address::repeat_byte(0xbb);
pub const FEE_RECIPIENT: Address = Address::repeat_byte(0xfe);
pub const DEADLINE: u64 = 2_000_000;

/// A store on a database that goes away with this value.
#[derive(Debug)]
pub struct TestStore {
    pub store: Store,
    pub database: TestDatabase,
}

impl TestStore {
    /// Something the product never does to its own database.
    pub async fn execute(&self, sql: &str) {
        use sea_orm::ConnectionTrait;
        self.store.db.execute_unprepared(sql).await.unwrap();
    }

    /// What events of this name led to, in order; empty where they led to nothing.
    pub async fn events(&self, name: &str) -> Vec<String> {
        use sea_orm::{ConnectionTrait, Statement};
        let backend = self.store.db.get_database_backend();
        let sql = "SELECT to_state FROM event WHERE event = $1 ORDER BY seq";
        let statement = Statement::from_sql_and_values(backend, sql, [name.into()]);
        let rows = self.store.db.query_all_raw(statement).await.unwrap();
        rows.iter()
            .map(|row| {
                row.try_get::<Option<String>>("", "to_state")
                    .unwrap()
                    .unwrap_or_default()
            })
            .collect()
    }
}

impl std::ops::Deref for TestStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

/// The one door to a database for tests; see [`TestDatabase`].
pub async fn open() -> TestStore {
    let database = TestDatabase::migrated().await;
    TestStore {
        store: database.open().await,
        database,
    }
}

/// Cases of a property test about decisions rather than about the database: PostgreSQL makes a database for each of them.
pub fn cases(n: u32) -> u32 {
    if database::server().is_some() {
        (n / 10).max(1)
    } else {
        n
    }
}

pub const ASSET: Asset = Asset {
    chain: TARGET,
    token: TOKEN,
};

pub fn event(block: u64, log_index: u64) -> EventRef {
    EventRef {
        chain: TARGET,
        block: B256::from(U256::from(block)),
        log_index,
    }
}

/// A deposit as the reconciler posts it, in a block of its own.
pub async fn deposit(store: &Store, payer: Address, amount: u64, block: u64) {
    let mut txn = store.begin(1).await.unwrap();
    let posting = postings::deposit_finalized(ASSET, payer, U256::from(amount), event(block, 0)).unwrap();
    txn.post(&[posting]).await.unwrap();
    txn.commit().await.unwrap();
}

pub fn terms(payer: Address, nonce: u64, amount: u64, fee: u64, receipt: B256) -> Terms {
    Terms::new(TermsFields {
        job_id: keccak256(format!("job of {receipt}")),
        receipt_hash: receipt,
        proof_hash: B256::ZERO,
        source_chain: SOURCE,
        payer,
        payee: PAYEE,
        token: TOKEN,
        amount: U256::from(amount),
        fee: U256::from(fee),
        nonce: U256::from(nonce),
        deadline: DEADLINE,
    })
    .unwrap()
}

pub fn receipt_of(tag: u64) -> CoveredReceipt {
    CoveredReceipt {
        hash: B256::from(U256::from(tag) | (U256::from(1) << 200)),
        receipt_id: format!("receipt-{tag}"),
        job_id: format!("job-{tag}"),
        provider: "provider".into(),
        price: Some("4.2".into()),
    }
}

/// A settlement over one receipt; `tag` names the receipt and its job.
pub fn new_settlement(payer: Address, nonce: u64, amount: u64, fee: u64, tag: u64) -> NewSettlement {
    let receipt = receipt_of(tag);
    let terms = terms(payer, nonce, amount, fee, receipt.hash);
    NewSettlement {
        id: Domain::new(TARGET, INBOX).settlement_id(&terms),
        coordinator_id: "coordinator".into(),
        trace_id: format!("trace-{tag}"),
        target: TARGET,
        inbox: INBOX,
        terms,
        auth: vec![1u8; 65].into(),
        auth_kind: AuthKind::Ecdsa,
        revocable: false,
        group: None,
        tier: 1,
        fee_recipient: if fee == 0 { Address::ZERO } else { FEE_RECIPIENT },
        policy: None,
        receipts: vec![receipt],
        leaving: U256::ZERO,
        relies_on: None,
    }
}

pub async fn accept(store: &Store, news: &[NewSettlement]) -> Vec<Accept> {
    let mut txn = store.begin(10).await.unwrap();
    let answers = txn.accept_settlements(news).await.unwrap();
    txn.commit().await.unwrap();
    answers
}

pub async fn balance(store: &Store, key: AccountKey) -> u64 {
    let balance = store.get_balance(key).await.unwrap();
    assert_eq!(balance.shortfall(), U256::ZERO, "{key} is overdrawn");
    balance.amount().to()
}

pub async fn available(store: &Store, payer: Address) -> u64 {
    balance(store, AccountKey::available(ASSET, payer)).await
}

pub async fn reserved(store: &Store, payer: Address) -> u64 {
    balance(store, AccountKey::reserved(ASSET, payer)).await
}

pub async fn paid(store: &Store, payee: Address) -> u64 {
    balance(store, AccountKey::payee(ASSET, payee)).await
}

pub async fn income(store: &Store) -> u64 {
    balance(store, AccountKey::fees_income(ASSET)).await
}

pub fn payment(block: u64, log_index: u64) -> Payment {
    Payment {
        evidence: Evidence {
            block_number: block,
            block_hash: event(block, 0).block,
            tx: Some(keccak256(block.to_be_bytes())),
        },
        payout: Payout::Paid,
        fee_is_ours: true,
        event: event(block, log_index),
    }
}

pub fn ending(end: crate::settlement::states::SettlementEvent) -> Ending {
    Ending {
        event: end,
        evidence: Evidence {
            block_number: 9,
            block_hash: B256::repeat_byte(9),
            tx: None,
        },
        log: None,
    }
}

/// Seals accepted settlements into one message.
pub async fn seal(store: &Store, ids: &[SettlementId]) -> relayer_adapter_api::SealedMessage {
    seal_with(store, ids, None).await
}

/// A message of these, which nobody has stored.
pub fn sealed(ids: &[SettlementId], sequence: u64) -> relayer_adapter_api::SealedMessage {
    use relayer_adapter_api::{Body, Header, Kind, SealedMessage, tree};
    let words: Vec<B256> = ids.iter().map(|id| id.0).collect();
    SealedMessage {
        header: Header {
            kind: Kind::SettlementBatch,
            source: SOURCE,
            target: TARGET,
            outbox: OUTBOX,
            inbox: INBOX,
            sequence,
            root: tree::root(&words).unwrap(),
            count: ids.len() as u32,
            fee_recipient: FEE_RECIPIENT,
        },
        body: Body::Batch { ids: ids.to_vec() },
        committed: false,
    }
}

/// The same with a policy.
pub async fn seal_with(
    store: &Store,
    ids: &[SettlementId],
    policy: Option<crate::settlement::policy::RoutePolicy>,
) -> relayer_adapter_api::SealedMessage {
    let mut txn = store.begin(20).await.unwrap();
    let sequence = txn.next_sequence(OUTBOX, TARGET, 1).await.unwrap();
    let message = sealed(ids, sequence);
    txn.seal_message(&message, 1, policy, "batcher").await.unwrap();
    txn.commit().await.unwrap();
    message
}

/// Nothing can be read or written through this store or its clones any more, as when the database is away.
pub async fn close(store: &Store) {
    store.db.clone().close().await.unwrap();
}

/// SQLite: the file may not grow by more than `spare` pages, as on a disk that is full; None gives the room back.
pub async fn limit_pages(store: &Store, spare: Option<i64>) {
    use sea_orm::{ConnectionTrait, DbBackend, Statement};
    let read = Statement::from_string(DbBackend::Sqlite, "PRAGMA page_count");
    let row = store.db.query_one_raw(read).await.unwrap().unwrap();
    let used: i64 = row.try_get_by_index(0).unwrap();
    let most = spare.map_or(i64::from(u32::MAX - 1), |spare| used + spare);
    let limit = format!("PRAGMA max_page_count = {most}");
    store.db.execute_unprepared(&limit).await.unwrap();
}
