//! What the database allows: exactly the rows one settlement writes when it is accepted, by plain statements, in groups as large as the
//! intake's own.

use super::report::Table;
use super::stats::per_second;
use super::{Backend, Bench};
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use anyhow::{Context, Result, ensure};
use relayer::adapter::ChainId;
use relayer::ledger::{Asset, EventRef, postings};
use relayer::settlement::SettlementId;
use relayer::settlement::terms::{Domain, Terms, TermsFields};
use relayer::store::ceiling::AcceptedRows;
use relayer::store::{AuthKind, CoveredReceipt, NewSettlement, Store, StoreConfig};
use std::time::Instant;

/// Table of this family.
pub const KEY: &str = "store";
const PAYER: Address = Address::repeat_byte(0xaa);
const TOKEN: Address = Address::repeat_byte(0x70);
const INBOX: Address = Address::repeat_byte(0x1b);
const TARGET: ChainId = ChainId(31_338);
/// Settlements of one group while the database is filled.
const FILL: u64 = 512;
/// Groups prepared at a time: preparing is not measured, and holds their values in memory.
const AHEAD: u64 = 8;

/// A settlement like those of the load, accepted by the product.
pub async fn accept_one(store: &Store) -> Result<AcceptedRows> {
    let asset = Asset {
        chain: TARGET,
        token: TOKEN,
    };
    let seen = EventRef {
        chain: TARGET,
        block: B256::repeat_byte(1),
        log_index: 0,
    };
    let deposit =
        postings::deposit_finalized(asset, PAYER, U256::from(10).pow(U256::from(24)), seen).context("a deposit")?;
    let new = settlement()?;
    let mut txn = store.begin(1).await?;
    txn.post(&[deposit]).await?;
    txn.accept_settlements(std::slice::from_ref(&new)).await?;
    txn.commit().await?;
    Ok(store.read_accepted_rows(new.id).await?)
}

fn settlement() -> Result<NewSettlement> {
    let hash = keccak256("receipt");
    let text = hash.to_string();
    let terms = Terms::new(TermsFields {
        job_id: keccak256("job"),
        receipt_hash: hash,
        proof_hash: B256::ZERO,
        source_chain: ChainId(31_337),
        payer: PAYER,
        payee: Address::repeat_byte(0xbb),
        token: TOKEN,
        amount: U256::from(10).pow(U256::from(18)),
        fee: U256::ZERO,
        nonce: U256::from(1) << 40,
        deadline: 2_000_000_000,
    })?;
    let id: SettlementId = Domain::new(TARGET, INBOX).settlement_id(&terms);
    Ok(NewSettlement {
        id,
        coordinator_id: "market".into(),
        trace_id: id.to_string()[2..18].to_owned(),
        target: TARGET,
        inbox: INBOX,
        terms,
        auth: Bytes::from(vec![27; 65]),
        auth_kind: AuthKind::Ecdsa,
        revocable: false,
        group: None,
        tier: 1,
        fee_recipient: Address::ZERO,
        policy: None,
        relies_on: None,
        receipts: vec![CoveredReceipt {
            hash,
            receipt_id: text[2..34].to_owned(),
            job_id: text[34..].to_owned(),
            provider: "provider".into(),
            price: Some("0.25".into()),
        }],
        leaving: U256::ZERO,
    })
}

/// Settlements per second by plain statements in groups of `size`; the store's size per settlement as a by-product.
async fn write(store: &Store, rows: &AcceptedRows, first: u64, groups: u64, size: u64) -> Result<f64> {
    let mut seconds = 0.0;
    let mut next = first;
    let mut left = groups;
    while left > 0 {
        let mut ready = Vec::new();
        for _ in 0..left.min(AHEAD) {
            ready.push(store.prepare_plain_group(rows, next, size).await?);
            next += size;
        }
        left -= ready.len() as u64;
        let started = Instant::now();
        for group in ready {
            store.write_plain_group(group).await?;
        }
        seconds += started.elapsed().as_secs_f64();
    }
    Ok(per_second(groups * size, seconds))
}

pub async fn run(bench: &Bench) -> Result<Vec<Table>> {
    let settlements = if bench.quick { 8_192 } else { 65_536 };
    let mut table = Table::new(
        KEY,
        "Database",
        &Backend::NAMES,
        &format!(
            "Exactly the rows one accepted settlement writes (copied from one the product accepted: settlement, receipt, posting, event; two \
             account rows and one counter per commit), same tables and indexes, multi-row INSERTs prepared beforehand, one connection, \
             {settlements} settlements with keys in random order, after as many to begin with: keys in random order touch a page each in every \
             index, so that a database slows down as it grows. The relayer does the same while it checks what is already there."
        ),
    );
    for backend in bench.backends() {
        let folder = tempfile::tempdir()?;
        let url = bench.database_url(backend, folder.path())?;
        let store = Store::open(&StoreConfig::new(url)).await?;
        store.migrate().await?;
        let rows = accept_one(&store).await?;
        let mut next = 1_000;
        bench.progress.say(&format!("filling {backend}"));
        write(&store, &rows, next, settlements / FILL, FILL).await?;
        next += settlements;
        for size in [512, 128] {
            bench
                .progress
                .say(&format!("plain statements on {backend}, groups of {size}"));
            let groups = settlements / size;
            let rate = write(&store, &rows, next, groups, size).await?;
            next += groups * size;
            let what = format!("settlements, {size} per commit");
            table.set(backend.name(), &format!("settlements_{size}"), &what, "1/s", Some(rate));
            let what = format!("rows, {size} per commit");
            let inserted = rate * rows.rows() as f64;
            table.set(backend.name(), &format!("rows_{size}"), &what, "1/s", Some(inserted));
        }
        let stored = store.count_all_settlements().await?;
        ensure!(stored == next - 1_000 + 1, "{stored} settlements were stored");
    }
    Ok(vec![table])
}
