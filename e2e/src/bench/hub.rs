//! Hub checkpoints: a tree of many allotments, its proofs made and checked beside raw hashes, and postings of the ledger.

use super::report::{Table, VALUE};
use super::stats::per_second;
use super::{Backend, Bench, hub_ledger};
use alloy::primitives::{Address, B256, U256, keccak256};
use anyhow::{Context, Result, ensure};
use relayer::adapter::ChainId;
use relayer::hub::model::account::TokenPrefix;
use relayer::hub::model::checkpoint::{Checkpoint, TokenCommitment};
use relayer::hub::model::interval::IntervalProof;
use relayer::hub::model::{Account, AccountTreeBuilder, Allotment, AllotmentProof};
use relayer::ledger::{Asset, EventRef, Posting, postings};
use relayer::store::{Store, StoreConfig};
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Tables of this family.
pub const TREE: &str = "hub_tree";
pub const POSTINGS: &str = "postings";
const CONTRACT: Address = Address::repeat_byte(0xc0);
const TOKEN: Address = Address::repeat_byte(0x70);
/// Allotments handed over at a time, as a ledger reads them.
const PIECE: usize = 65_536;
/// Accounts postings move between.
const PAYERS: u64 = 1_000;
/// Postings of one commit.
const TOGETHER: u64 = 512;
/// As long as what an interval node hashes.
const NODE_BYTES: usize = 100;

/// Whether a table is one of this family.
pub fn is_of(table: &str) -> bool {
    [TREE, POSTINGS, hub_ledger::LEDGER].contains(&table)
}

/// What a process of its own measured, so that the memory is that of the tree.
#[derive(Debug, Serialize, Deserialize)]
pub struct Measured {
    pub seconds: f64,
    pub rss_mb: f64,
    pub proofs_per_second: f64,
    pub hashes_per_proof: f64,
    pub hashes_per_second: f64,
}

fn allotment(n: u64) -> Allotment {
    let mut wallet = [0u8; 20];
    // Wallets are hashes; these only have to differ.
    wallet[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    wallet[12..].copy_from_slice(&n.to_be_bytes());
    Allotment {
        account: Account {
            wallet: Address::from(wallet),
            ..Account::default()
        },
        amount: U256::from(1_000_000_000 + n),
    }
}

/// Builds a checkpoint of `count` allotments, then makes and checks proofs of wallets all over it, beside as many raw hashes.
pub fn measure(count: usize) -> Result<Measured> {
    let mut building = Duration::ZERO;
    let mut builder = AccountTreeBuilder::new(CONTRACT, TOKEN, count);
    let mut next = 0;
    while next < count {
        let end = count.min(next + PIECE);
        let piece: Vec<Allotment> = (next..end).map(|n| allotment(n as u64)).collect();
        let started = Instant::now();
        builder.extend(&piece)?;
        building += started.elapsed();
        next = end;
    }
    let started = Instant::now();
    let native = AccountTreeBuilder::new(CONTRACT, CONTRACT, 0).finish()?;
    let tokens = vec![
        TokenCommitment {
            token: CONTRACT,
            accounts: native,
        },
        TokenCommitment {
            token: TOKEN,
            accounts: builder.finish()?,
        },
    ];
    let checkpoint = Checkpoint::new(CONTRACT, tokens)?;
    building += started.elapsed();
    let rss_mb = peak_mb()?;
    let proofs = count.min(100_000);
    let proofs_per_second = make_and_check(&checkpoint, count, proofs)?;
    let depth = checkpoint.tokens()[1].accounts.depth();
    // Wallet, content and leaf; two for each node; the token's leaf and one node above it.
    let hashes_per_proof = (3 + 2 * depth + 2) as f64;
    Ok(Measured {
        seconds: building.as_secs_f64(),
        rss_mb,
        proofs_per_second,
        hashes_per_proof,
        hashes_per_second: raw_hashes(proofs * 20),
    })
}

/// One thread, as the figure beside it.
fn make_and_check(checkpoint: &Checkpoint, count: usize, proofs: usize) -> Result<f64> {
    let accounts = &checkpoint.tokens()[1].accounts;
    let membership_chain = checkpoint.membership_chain(1)?;
    let (root, upper_bound) = (checkpoint.root(), accounts.upper_bound());
    let prefix = TokenPrefix::new(CONTRACT, TOKEN);
    let mut buffer = IntervalProof::default();
    let started = Instant::now();
    for step in 0..proofs {
        // A stride that visits wallets in no order a cache would like.
        let at = step.wrapping_mul(7_919) % count;
        accounts.proof_into(at, &mut buffer)?;
        let proof = AllotmentProof {
            interval: accounts.interval(at)?,
            trail: at as u64,
            allotment_chain: std::mem::take(&mut buffer.chain),
            values: std::mem::take(&mut buffer.values),
            token_trail: 1,
            membership_chain: membership_chain.clone(),
        };
        let content = prefix.content(&allotment(at as u64).account);
        let bound = proof.verify_content(content, root)?;
        ensure!(bound == upper_bound, "a proof led to another upper bound");
        (buffer.chain, buffer.values) = (proof.allotment_chain, proof.values);
    }
    Ok(per_second(proofs as u64, started.elapsed().as_secs_f64()))
}

fn raw_hashes(count: usize) -> f64 {
    let mut input = [7u8; NODE_BYTES];
    let started = Instant::now();
    for _ in 0..count {
        let hash: B256 = keccak256(black_box(input));
        input[..32].copy_from_slice(hash.as_slice());
    }
    black_box(input);
    per_second(count as u64, started.elapsed().as_secs_f64())
}

/// Most memory this process has had, MB.
fn peak_mb() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading this process's memory")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line
        .and_then(|line| line.trim().strip_suffix("kB"))
        .context("no VmHWM")?;
    Ok(kib.trim().parse::<f64>()? * 1024.0 / 1e6)
}

async fn measure_apart(count: usize) -> Result<Measured> {
    let output = tokio::process::Command::new(std::env::current_exe()?)
        .args(["--measure-tree", &count.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await?;
    ensure!(output.status.success(), "measuring a tree failed: {}", output.status);
    serde_json::from_slice(&output.stdout).context("reading what was measured")
}

async fn tree(bench: &Bench) -> Result<Table> {
    let count = bench.size(100_000, 1_000_000);
    bench.progress.say(&format!("a checkpoint of {count} allotments"));
    let measured = measure_apart(count).await?;
    let mut table = Table::new(
        TREE,
        "Checkpoint of a hub",
        &[VALUE],
        &format!(
            "{count} allotments of one token beside the native coin, in pieces of {PIECE}, hashed on all cores, in a process of its own. Proofs of \
             100,000 wallets all over the tree, each made and then checked up to the checkpoint's root, on one thread; raw hashes of \
             {NODE_BYTES} bytes, one after the other, on one thread of the same process right after."
        ),
    );
    let mut row = |key: &str, what: &str, unit, value: f64| table.row(key, what, unit, vec![Some(value)]);
    row("seconds", "building it", "s", measured.seconds);
    row("rss_mb", "peak memory of the process", "MB", measured.rss_mb);
    row(
        "proofs_per_second",
        "proofs made and checked",
        "1/s",
        measured.proofs_per_second,
    );
    row(
        "hashes_per_proof",
        "hashes a check needs",
        "",
        measured.hashes_per_proof,
    );
    row("hashes_per_second", "raw keccak256", "1/s", measured.hashes_per_second);
    let share = measured.proofs_per_second * measured.hashes_per_proof / measured.hashes_per_second * 100.0;
    row("share", "share of the raw hashes they need", "%", share);
    Ok(table)
}

/// Deposits of many payers, the plainest posting: two accounts, one row.
fn deposits(from: u64, count: u64) -> Result<Vec<Posting>> {
    let asset = Asset {
        chain: ChainId(31_338),
        token: TOKEN,
    };
    let one = |n: u64| {
        let event = EventRef {
            chain: asset.chain,
            block: keccak256(n.to_be_bytes()),
            log_index: n,
        };
        let payer = Address::from_word(B256::from(U256::from(1 + n % PAYERS)));
        postings::deposit_finalized(asset, payer, U256::from(1_000), event).context("a deposit")
    };
    (from..from + count).map(one).collect()
}

async fn post(bench: &Bench) -> Result<Table> {
    let count = bench.size(16_384, 131_072) as u64;
    let mut table = Table::new(
        POSTINGS,
        "Postings",
        &Backend::NAMES,
        &format!(
            "{count} deposits of {PAYERS} payers, {TOGETHER} to a commit, by the function the reconciler uses: accounts locked in order, one row per \
             movement, one update per account. Every account is summed up anew at the end."
        ),
    );
    for backend in bench.backends() {
        bench.progress.say(&format!("postings on {backend}"));
        let folder = tempfile::tempdir()?;
        let store = Store::open(&StoreConfig::new(bench.database_url(backend, folder.path())?)).await?;
        store.migrate().await?;
        let mut seconds = 0.0;
        for from in (0..count).step_by(TOGETHER as usize) {
            let new = deposits(from, TOGETHER)?;
            let started = Instant::now();
            let mut txn = store.begin(1).await?;
            let posted = txn.post(&new).await?;
            txn.commit().await?;
            seconds += started.elapsed().as_secs_f64();
            ensure!(posted.iter().all(Option::is_some), "a posting was not made");
        }
        let wrong = store.list_unbalanced_accounts().await?;
        ensure!(
            wrong.is_empty(),
            "accounts {wrong:?} are not the sums of their postings"
        );
        let rate = per_second(count, seconds);
        table.set(backend.name(), "per_second", "postings", "1/s", Some(rate));
    }
    Ok(table)
}

pub async fn run(bench: &Bench) -> Result<Vec<Table>> {
    Ok(vec![
        tree(bench).await?,
        post(bench).await?,
        hub_ledger::run(bench).await?,
    ])
}
