//! A hub's ledger kept here: a checkpoint built from its rows, and allotments proven from what was built.

use super::report::Table;
use super::stats::per_second;
use super::{Backend, Bench};
use alloy::primitives::{Address, B256, U256, keccak256};
use anyhow::{Context, Result, ensure};
use relayer::adapter::{BlockRef, ChainId};
use relayer::clock::SystemClock;
use relayer::hub::ledger::Ledger;
use relayer::hub::model::Eon;
use relayer::store::{Cursor, Hub, HubFact, HubOperationKind, NewHub, NewHubLog, NewHubWallet, Store, StoreConfig};
use std::sync::Arc;
use std::time::Instant;

/// The table of this family.
pub const LEDGER: &str = "hub_ledger";
const CONTRACT: Address = Address::repeat_byte(0xc0);
const CHAIN: ChainId = ChainId(31_337);
const KEEPER: &str = "keeper";
/// Wallets or deposits of one transaction.
const PIECE: u64 = 5_000;
/// One wallet in so many has funds.
const FUNDED: u64 = 10;
/// Proofs made one after the other.
const PROOFS: u64 = 1_000;

pub async fn run(bench: &Bench) -> Result<Table> {
    let wallets = bench.size(20_000, 1_000_000) as u64;
    let mut table = Table::new(
        LEDGER,
        "Ledger of a hub",
        &Backend::NAMES,
        &format!(
            "A checkpoint built from the rows of {wallets} wallets, one in {FUNDED} with a deposit: read, hashed and stored in pieces of 8,192. Then \
             {PROOFS} allotments of wallets all over it, each proven from what was stored and checked up to its root, one after the other."
        ),
    );
    for backend in bench.backends() {
        let folder = tempfile::tempdir()?;
        let store = Store::open(&StoreConfig::new(bench.database_url(backend, folder.path())?)).await?;
        store.migrate().await?;
        let ledger = Ledger::new(store, Arc::new(SystemClock));
        let hub = open(&ledger).await?;
        let say = |what: &str, n: u64| bench.progress.say(&format!("{backend}: {n} of {wallets} {what}"));
        admit(&ledger, &hub, wallets, say).await?;
        let hub = deposit(&ledger, &hub, wallets, say).await?;
        let started = Instant::now();
        let built = ledger
            .build(&hub, KEEPER, Eon(2), (None, false), &|n, _| say("accounts built", n))
            .await
            .context("building")?;
        let seconds = started.elapsed().as_secs_f64();
        ensure!(
            built.root.accounts == wallets,
            "{} accounts were built",
            built.root.accounts
        );
        let column = backend.name();
        table.set(column, "build_seconds", "building it", "s", Some(seconds));
        let rate = per_second(wallets, seconds);
        table.set(column, "accounts_per_second", "accounts", "1/s", Some(rate));
        let started = Instant::now();
        for step in 0..PROOFS {
            let of = (CONTRACT, wallet(step.wrapping_mul(7_919) % wallets));
            let proven = ledger.allotment(&hub, of, Some(Eon(2))).await.context("proving")?;
            proven
                .proof
                .verify(CONTRACT, CONTRACT, &proven.allotment.account, built.root.root)
                .context("a proof leads elsewhere")?;
        }
        let rate = per_second(PROOFS, started.elapsed().as_secs_f64());
        table.set(
            column,
            "proofs_per_second",
            "proofs made and checked",
            "1/s",
            Some(rate),
        );
    }
    Ok(table)
}

fn wallet(n: u64) -> Address {
    Address::from_word(keccak256(n.to_be_bytes()))
}

fn block(number: u64) -> BlockRef {
    BlockRef {
        number,
        hash: keccak256(number.to_be_bytes()),
        timestamp: number,
    }
}

async fn open(ledger: &Ledger) -> Result<Hub> {
    let mut txn = ledger.store().begin(1).await?;
    let new = NewHub {
        name: "own".into(),
        chain: CHAIN,
        contract: CONTRACT,
        genesis: 0,
        blocks_per_eon: 10,
        start_block: 0,
    };
    txn.register_hub(&new).await?;
    txn.commit().await?;
    let hub = ledger.hub("own").await?;
    ledger
        .register_token(&hub, KEEPER, (CONTRACT, 0), ("Coin", "C"))
        .await?;
    Ok(hub)
}

async fn admit(ledger: &Ledger, hub: &Hub, wallets: u64, say: impl Fn(&str, u64)) -> Result<()> {
    for from in (0..wallets).step_by(PIECE as usize) {
        let until = wallets.min(from + PIECE);
        let new: Vec<NewHubWallet> = (from..until)
            .map(|n| NewHubWallet {
                wallet: wallet(n),
                ..NewHubWallet::default()
            })
            .collect();
        ledger.admit(hub, KEEPER, CONTRACT, &new).await?;
        say("wallets admitted", until);
    }
    Ok(())
}

/// Deposits in the first block; the chain is final up to the eon after.
async fn deposit(ledger: &Ledger, hub: &Hub, wallets: u64, say: impl Fn(&str, u64)) -> Result<Hub> {
    let store = ledger.store();
    for from in (0..wallets).step_by((PIECE * FUNDED) as usize) {
        let of = (from..wallets.min(from + PIECE * FUNDED)).step_by(FUNDED as usize);
        let logs: Vec<NewHubLog> = of
            .map(|n| NewHubLog {
                hub: hub.id,
                eon: Eon(1),
                block: block(1),
                log_index: n,
                tx_hash: B256::from(U256::from(n)),
                fact: HubFact::Operation {
                    kind: HubOperationKind::Deposit,
                    token: CONTRACT,
                    wallet: wallet(n),
                    amount: U256::from(1_000 + n),
                },
            })
            .collect();
        let mut txn = store.begin(1).await?;
        txn.put_hub_logs(&logs).await?;
        txn.commit().await?;
    }
    let mut txn = store.begin(1).await?;
    let cursor = Cursor {
        seen: block(12),
        finalized: block(11),
    };
    txn.move_cursor(CHAIN, None, &cursor).await?;
    txn.advance_hubs(&[hub.id], hub.read_to, 12).await?;
    txn.finalize_hub_logs(CHAIN, 11).await?;
    txn.commit().await?;
    let hub = store.get_hub(hub.id).await?;
    let mut booked = 0;
    loop {
        let followed = ledger.follow(&hub, 1, PIECE).await?;
        booked += followed;
        say("deposits booked", booked);
        if followed == 0 {
            return Ok(hub);
        }
    }
}
